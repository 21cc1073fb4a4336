-- get_many: misses that come together are loaded together, each key lands by itself.

local node = require "spec.support.node"
local http = require "spec.support.http"
local cjson = require "cjson"
local posix = require "spec.support.posix"
local fake = require "spec.support.fake"
local protobuf = require "spec.support.protobuf"

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

-- A table of k1 to k1000 in a new SQLite database. -> its path
local function scores()
    local db = node.dir() .. "/scores.db"
    local values = {}
    for i = 1, 1000 do
        values[i] = ("('k%d', %d)"):format(i, i)
    end
    local connection = assert(require("luasql.sqlite3").sqlite3():connect(db))
    assert(connection:execute "CREATE TABLE scores (name TEXT PRIMARY KEY, score)")
    assert(connection:execute("INSERT INTO scores VALUES " .. table.concat(values, ",")))
    connection:close()
    return db
end

local SQLITE = [[
local load_many = hg.source_sqlite.many {
    path = hg.args.db, query = "SELECT name, score FROM scores WHERE name IN (?)",
}
return {
    node = { listen = listen(), scripts = { getters = 1, routes = 1, sql = 2 } },
    cluster = cluster {},
    groups = {
        scores = {
            pool = "sql", source = { concurrency = 2 },
            get_many = function(keys)
                hg.log.info("asking for %d scores", #keys)
                return load_many(keys)
            end,
            batch = { window = "2ms", max = 100 },
        },
    },
    routes = {
        ["GET /all"] = function()
            local keys = {}
            for i = 1, 1000 do
                keys[i] = "k" .. i
            end
            local values, errors = hg.group("scores"):get_many(keys)
            return hg.json.encode { values = values, errors = errors }
        end,
    },
}
]]

-- A counter of the whole node, or the sum of one over its peers.
local function metric(n, name)
    local total
    for value in n:admin("/metrics").body:gmatch("\nhgcache_" .. name .. "[^%w_\n]-{?[^\n]-}? (%d+)") do
        total = (total or 0) + tonumber(value)
    end
    return assert(total, name)
end

-- What it has asked of its peers so far; the counters add up.
local function asked(n)
    local of = {}
    for _, name in ipairs { "asks", "asks_again", "messages", "many_messages", "many_asks" } do
        of[name] = metric(n, "peer_" .. name .. "_total")
    end
    assert.equal(of.asks + of.asks_again, of.many_asks + of.messages - of.many_messages)
    return of
end

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
        local db = scores()
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

    it("over SQLite and three nodes: a few queries for each owner, a message for each peer", function()
        local nodes = node.cluster { config = SQLITE, args = { db = scores() } }
        local r = cjson.decode(nodes[1]:get("/all", { timeout = 30 }).body)
        assert.is_nil(r.errors)
        for i = 1, 1000 do
            assert.equal(tostring(i), r.values["k" .. i])
        end
        assert.equal(1000, node.sum(nodes, "scores", "local_loads"))
        for i, n in ipairs(nodes) do
            local queries = n:count("asking for ")
            assert.is_true(queries >= 3 and queries <= 12, queries .. " queries on node " .. i)
        end
        local of, all = asked(nodes[1]), { asks = 0, many_asks = 0, many_messages = 0, requests = 0, keys = 0 }
        local stats = nodes[1]:stats("scores")
        assert.equal(1000 - stats.local_loads + stats.peeks, of.asks)
        assert.equal(of.asks, of.many_asks)
        assert.equal(2, of.messages)
        for _, n in ipairs(nodes) do
            local its = asked(n)
            for _, name in ipairs { "asks", "many_asks", "many_messages" } do
                all[name] = all[name] + its[name]
            end
            all.requests = all.requests + metric(n, "peer_many_requests_total")
            all.keys = all.keys + metric(n, "peer_many_keys_total")
        end
        assert.equal(all.many_messages, all.requests)
        assert.equal(all.many_asks, all.keys)
        assert.equal(all.asks, node.sum(nodes, "scores", "peer_requests") + node.sum(nodes, "scores", "peeks"))
        assert.equal(0, node.sum(nodes, "scores", "peer_errors"))
        assert.equal(0, node.sum(nodes, "scores", "flights"))

        -- Once more, from another node: each key is asked for, none is loaded.
        local before = asked(nodes[2]).messages
        r = cjson.decode(nodes[2]:get("/all", { timeout = 30 }).body)
        assert.equal("777", r.values.k777)
        assert.equal(1000, node.sum(nodes, "scores", "local_loads"))
        assert.equal(before + 2, asked(nodes[2]).messages)
        for _, n in ipairs(nodes) do
            assert.equal(0, n:stop())
        end
    end)

    it("asked of a peer that stops in the middle costs only its keys, and they fall back", function()
        local nodes = node.cluster { config = CONFIG }
        local client = http.connect(nodes[1].api_port)
        client:send("GET /many?count=1000 HTTP/1.1\r\nHost: t\r\n\r\n")
        node.until_true(function()
            return nodes[2]:stats("test").local_loads >= 10
        end, 10, "a batch on the second node")
        nodes[2]:signal(posix.SIGSTOP)
        local r = cjson.decode(client:response("GET", 30).body)
        nodes[2]:signal(posix.SIGCONT)
        client:close()
        assert.equal(1000, r.count)
        assert.is_nil(r.errors)
        assert.equal("value of k777", r.values.k777)
        local stats = nodes[1]:stats("test")
        assert.is_true(stats.peer_errors >= 1 and stats.peer_errors < 1000)
        assert.equal(0, stats.flights)
        assert.equal(1, metric(nodes[1], "peer_downs_total"))
        asked(nodes[1])
        -- Nobody else's keys were loaded twice.
        node.until_true(function()
            return node.sum(nodes, "test", "flights") == 0
        end, 10, "no flight is left")
        assert.is_true(node.sum(nodes, "test", "local_loads") < 1500)
    end)

    it("asked of a peer that does not know the message goes key by key", function()
        local own, other = posix.free_port(), posix.free_port()
        local notes = node.dir() .. "/notes"
        local peer = fake.http(other, notes, function(path)
            local key = path:match("^/_hgcache/test/(%w+)$")
            local body = key and protobuf.bytes(1, "go " .. key) or "bad request\n"
            return ("HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s"):format(key and "200 OK" or "400 Bad Request",
                #body, body)
        end)
        local members = { "http://127.0.0.1:" .. own, "http://127.0.0.1:" .. other }
        local n = node.start { config = CONFIG, peer_port = own, args = {
            self = members[1], peers = table.concat(members, ","), peer = "127.0.0.1:" .. own,
        } }
        for round = 1, 2 do
            local r = cjson.decode(n:get("/many?count=100&prefix=r" .. round, { timeout = 30 }).body)
            assert.equal(100, r.count)
            assert.is_nil(r.errors)
        end
        local _, many = node.read(notes):gsub("%?many\n", "")
        assert.is_true(many >= 1 and many <= 4, many .. " messages that it does not know")
        local stats, of = n:stats("test"), asked(n)
        peer:stop()
        assert.equal(200, stats.local_loads + of.asks)
        assert.equal(of.many_asks, of.asks_again)
        assert.equal(0, stats.peer_errors)
        assert.equal(0, metric(n, "peer_downs_total"))
        assert.equal(0, n:stop())
    end)

    it("in a message of its own: each key is answered by itself, and limits have answers", function()
        local n = node.start { config = CONFIG }
        local function ask(body, headers, method)
            return http.request(n.peer_port, { method = method or "POST", path = "/_hgcache/?many", body = body,
                headers = headers })
        end
        local function part(group, key, deadline)
            return protobuf.bytes(1, protobuf.bytes(1, group) .. protobuf.bytes(2, key)
                .. (deadline and protobuf.number(10, deadline) or ""))
        end
        local r = ask(part("test", "a") .. part("test", "bad") .. part("test", "none") .. part("nowhere", "a")
            .. part("test", "") .. part("test", ("x"):rep(2000)) .. part("test", "late", 10) .. part("test", "a"))
        assert.equal(200, r.status)
        assert.equal("application/x-protobuf", r.headers["content-type"])
        assert.equal("chunked", r.headers["transfer-encoding"])
        local answers = {}
        for _, bytes in ipairs(protobuf.decode(r.body)["1*"]) do
            local answer = protobuf.decode(bytes)
            assert.is_nil(answers[answer[22]])
            answers[answer[22]] = answer
        end
        assert.equal("value of a", answers[1][1])
        assert.equal(1, answers[1][10])
        assert.equal(3, answers[2][10])
        assert.equal("denied", answers[2][14])
        assert.equal(2, answers[3][10])
        assert.equal(4, answers[4][10])
        assert.is_nil(answers[5])
        assert.is_nil(answers[6])
        assert.equal("timeout", answers[7][14])
        assert.equal("value of a", answers[8][1])
        assert.equal(1, metric(n, "peer_many_requests_total"))
        assert.equal(8, metric(n, "peer_many_keys_total"))
        assert.equal(2, metric(n, "peer_many_left_out_total"))
        assert.equal(5, n:stats("test").peer_requests)

        local refused = {
            { "", 400 }, { "garbage", 400 }, { part("test", "a") .. "\10", 400 }, { protobuf.bytes(1, "\255\255"), 400 },
            { part("test", "a"):rep(513), 413 }, { part("test", ("x"):rep(1000)):rep(300), 413 },
        }
        for i, case in ipairs(refused) do
            assert.equal(case[2], ask(case[1]).status, "case " .. i)
        end
        assert.equal(405, ask(nil, nil, "GET").status)
        assert.equal(400, ask(part("test", "a"), { ["Hgcache-Request"] = "!" }).status)
        assert.equal(#refused + 1, metric(n, "peer_many_refused_total"))
        assert.equal(#refused + 2, metric(n, "peer_bad_requests_total"))
        assert.equal(200, ask(part("test", "a"):rep(512)).status)

        -- Who leaves in the middle leaves nothing behind.
        local client = http.connect(n.peer_port)
        local body = part("test", "gone1") .. part("test", "gone2")
        client:send(("POST /_hgcache/?many HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n%s"):format(#body, body))
        node.until_true(function()
            return n:stats("test").waiters == 2
        end, 10, "two that wait")
        client:reset()
        node.until_true(function()
            local stats = n:stats("test")
            return stats.waiters == 0 and stats.flights == 0
        end, 10, "nobody who waits")
        assert.equal(0, n:stop())
    end)
end)
