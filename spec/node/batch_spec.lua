-- get_many: misses that come together are loaded together, each key lands by itself.

local node = require "spec.support.node"
local http = require "spec.support.http"
local cjson = require "cjson"

local CONFIG = [[
return {
    node = { listen = listen(), scripts = { getters = 2, routes = 2 } },
    cluster = hg.args.peers and cluster {} or nil,
    groups = {
        test = {
            source = { concurrency = 3, queue = 100, timeout = "2s", breaker = { failures = 0 } },
            negative_ttl = "1m",
            get_many = function(keys, ctx)
                hg.log.info("[SlowDB] %d keys, %s, %s", #keys, ctx.group, ctx.reason)
                assert(ctx.remaining() > 0 and ctx.old == nil)
                hg.sleep(0.05)
                local out = {}
                for _, key in ipairs(keys) do
                    hg.log.info("[SlowDB] search key %s", key)
                    if key:find("^bad") then
                        out[key] = hg.fail { class = "denied", message = "not for you" }
                    elseif key:find("^none") then
                        out[key] = hg.not_found { ttl = "1h" }
                    elseif key:find("^odd") then
                        out[key] = {}
                    elseif key:find("^keep") then
                        out[key] = hg.keep()
                    elseif key:find("^all%-throw") then
                        error("no luck")
                    elseif key:find("^all%-nil") then
                        return nil, "the database is away"
                    elseif key:find("^all%-text") then
                        return "text"
                    elseif key:find("^all%-loop") then
                        while true do end
                    elseif key:find("^number") then
                        out[key] = 630
                    elseif key:find("^typed") then
                        out[key] = hg.value("typed", { type = "text/plain", ttl = "1h" })
                    elseif not key:find("^absent") then
                        out[key] = "value of " .. key
                    end
                end
                return out
            end,
            batch = { window = "20ms", max = 10 },
            expose_errors = true,
        },
        outer = { getter = function(key)
            local values, errors = hg.group("test"):get_many { key .. "-1", key .. "-2", key .. "-1" }
            return errors and "errors" or values[key .. "-1"] .. "," .. values[key .. "-2"]
        end },
    },
    routes = {
        ["GET /api"] = hg.serve("test"), ["GET /outer"] = hg.serve("outer"),
        ["GET /many"] = function(req)
            local keys = {}
            for i = 1, tonumber(req.query.count or 0) do
                keys[i] = (req.query.prefix or "k") .. i
            end
            for key in (req.query.keys or ""):gmatch("[^,]+") do
                keys[#keys + 1] = key
            end
            local values, errors = hg.group("test"):get_many(keys, { timeout = tonumber(req.query.timeout) })
            local count = 0
            for _ in pairs(values) do
                count = count + 1
            end
            return hg.json.encode { count = count, values = values, errors = errors }
        end,
        ["POST /misuse"] = function(req)
            local f = assert(loadstring("return function(group) return group:get_many(" .. req.body .. ") end"))()
            return tostring(f(hg.group("test")))
        end,
    },
}
]]

local function runs(nodes)
    local total = 0
    for _, n in ipairs(nodes) do
        total = total + n:count(" keys, test, ")
    end
    return total
end

describe("get_many", function()
    after_each(node.finish)

    it("loads what comes together in one run, and each key has its own answer", function()
        local n = node.start { config = CONFIG }
        local want = {
            { "/api?key=a", 200, "value of a" }, { "/api?key=b", 200, "value of b" }, { "/api?key=absent", 404 },
            { "/api?key=none", 404 }, { "/api?key=bad", 403 }, { "/api?key=odd", 502 }, { "/api?key=keep", 502 },
            { "/api?key=number", 200, "630" }, { "/api?key=typed", 200, "typed" },
        }
        local items = {}
        for i, row in ipairs(want) do
            items[i] = { n.api_port, { path = row[1] } }
        end
        for i, r in ipairs(http.many(items, 10)) do
            assert.equal(want[i][2], r.status, want[i][1])
            if want[i][3] then
                assert.equal(want[i][3], r.body)
            end
        end
        assert.is_true(runs { n } <= 2, runs { n } .. " runs")
        assert.equal("text/plain", n:get("/api?key=typed").headers["content-type"])
        assert.equal(404, n:get("/api?key=absent").status)
        assert.equal(1, n:count("search key absent\n"))
        local stats = n:stats("test")
        assert.equal(9, stats.local_loads)
        assert.equal(3, stats.local_load_errors)
        assert.equal(0, stats.flights)
    end)

    it("that fails as a whole fails each key, and the next asker asks again", function()
        local n = node.start { config = CONFIG }
        for _, case in ipairs { { "all-throw", 502 }, { "all-nil", 502 }, { "all-text", 502 }, { "all-loop", 504 } } do
            local items = {}
            for i, key in ipairs { "x" .. case[1], case[1], "y" .. case[1] } do
                items[i] = { n.api_port, { path = "/api?key=" .. key } }
            end
            -- In whatever order they are gathered: who is with it fails, too.
            local failed = 0
            for _, r in ipairs(http.many(items, 10)) do
                failed = failed + (r.status == case[2] and 1 or 0)
            end
            assert.is_true(failed >= 1, case[1])
        end
        assert.equal(200, n:get("/api?key=a").status)
        assert.equal(0, n:stats("test").flights)
    end)

    it("takes one slot for a batch, and at most `max` keys", function()
        local n = node.start { config = CONFIG }
        local items = {}
        for i = 1, 100 do
            items[i] = { n.api_port, { path = "/api?key=k" .. i } }
        end
        for i, r in ipairs(http.many(items, 10)) do
            assert.equal("value of k" .. i, r.body)
        end
        assert.is_true(runs { n } >= 10 and runs { n } <= 20, runs { n } .. " runs")
        for i = 1, 100 do
            assert.equal(1, n:count("search key k" .. i .. "\n"))
        end
        assert.is_nil(n:log():find("11 keys", 1, true))
        assert.equal(0, n:stats("test").guard_refused)
    end)

    it("of a script: values, errors, absent ones, doubled ones", function()
        local n = node.start { config = CONFIG }
        local r = cjson.decode(n:get("/many?keys=a,b,absent,none,bad,a,number").body)
        assert.same({ a = "value of a", b = "value of b", number = "630" }, r.values)
        assert.same({ bad = { message = "not for you", code = "denied" } }, r.errors)
        r = cjson.decode(n:get("/many?keys=a,b").body)
        assert.equal(2, r.count)
        assert.is_nil(r.errors)
        assert.equal(1, n:count("search key a\n"))
        assert.equal(0, cjson.decode(n:get("/many").body).count)
        r = cjson.decode(n:get("/many?keys=late1,late2,a&timeout=0.01").body)
        assert.equal(1, r.count)
        assert.equal("timeout", r.errors.late1.code)
        assert.equal("value of o-1,value of o-2", n:get("/outer?key=o").body)
        for _, bad in ipairs {
            "", "1", "{ '' }", "{ {} }", "{ 'a' }, 5",
            "(function() local t = {} for i = 1, 10001 do t[i] = 'k' end return t end)()",
        } do
            assert.equal(502, http.request(n.api_port, { method = "POST", path = "/misuse", body = bad }).status, bad)
        end
        assert.equal(0, n:stats("test").flights)
        assert.equal(0, n:stop())
    end)

    it("of 1,000 cold keys, over three nodes, too: few runs, each key once", function()
        for _, count in ipairs { 1, 3 } do
            local nodes = count == 1 and { node.start { config = CONFIG } }
                or node.cluster { config = CONFIG, count = count }
            local r = cjson.decode(nodes[1]:get("/many?count=1000", { timeout = 30 }).body)
            assert.equal(1000, r.count)
            assert.is_nil(r.errors)
            assert.equal("value of k777", r.values.k777)
            assert.is_true(runs(nodes) >= 100 and runs(nodes) <= 200, runs(nodes) .. " runs")
            assert.equal(1000, node.sum(nodes, "test", "local_loads"))
            node.finish()
        end
    end)

    it("over SQLite: 1,000 cold keys are about ten IN queries", function()
        local db = node.dir() .. "/scores.db"
        local values = {}
        for i = 1, 1000 do
            values[i] = ("('k%d', %d)"):format(i, i)
        end
        local connection = assert(require("luasql.sqlite3").sqlite3():connect(db))
        assert(connection:execute "CREATE TABLE scores (name TEXT PRIMARY KEY, score)")
        assert(connection:execute("INSERT INTO scores VALUES " .. table.concat(values, ",")))
        connection:close()
        local n = node.start { file = "examples/batch/config.lua", args = { db = db, peer = false } }
        local names = {}
        for i = 1, 1000 do
            names[i] = "k" .. i
        end
        local r = n:get("/board?names=" .. table.concat(names, ","), { timeout = 20 })
        assert.equal(200, r.status, r.body)
        local board = cjson.decode(r.body)
        for i = 1, 1000 do
            assert.equal(tostring(i), board["k" .. i])
        end
        local queries = n:count("asking for ")
        assert.is_true(queries >= 10 and queries <= 13, queries .. " queries")
        assert.equal("630", n:get("/scores/Tom").body)
        assert.same({ Tom = "630", Jack = "589" }, cjson.decode(n:get("/board?names=Tom,Jack,Nobody").body))
        assert.equal(404, n:get("/scores/x%27%29%3B%20DROP%20TABLE%20scores%3B--").status)
        assert.equal("567", n:get("/scores/Sam").body)
    end)
end)
