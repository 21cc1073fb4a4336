-- hg.shared: one table for all script threads of a node.

local node = require "spec.support.node"
local http = require "spec.support.http"
local cjson = require "cjson"

local CONFIG = [[
local counts = hg.shared("counts")
local function count(key, times)
    for _ = 1, times do
        assert(counts:incr(key))
    end
end
return {
    node = {
        listen = listen(), scripts = { getters = 3, routes = 4 }, script = { budget = "20s" },
        shared = { capacity = "16KiB", entries = 100 },
    },
    groups = {
        test = {
            getter = function(key)
                count("n", 1000)
                return key
            end,
        },
    },
    routes = {
        ["GET /api"] = hg.serve("test"),
        ["GET /count"] = function()
            count("n", 1000)
            return "counted"
        end,
        ["POST /run"] = function(req)
            local chunk = assert(loadstring(req.body, "=chunk"))
            setfenv(chunk, setmetatable({ hg = hg, s = hg.shared("s") }, { __index = _G }))
            local ok, result = pcall(chunk)
            return hg.json.encode { ok = ok, result = result == nil and hg.null or result }
        end,
    },
}
]]

local n

local function answer(chunk)
    local r = n:get("/run", { method = "POST", body = chunk })
    assert.equal(200, r.status, r.body)
    return cjson.decode(r.body)
end

local function run(chunk)
    local a = answer(chunk)
    if not a.ok then
        error(a.result, 2)
    end
    return a.result
end

local function raises(chunk, wanted)
    local a = answer(chunk)
    assert.is_false(a.ok, chunk)
    -- At the caller's line: that of the chunk.
    assert.is_truthy(tostring(a.result):find("^chunk:1: "), tostring(a.result))
    assert.is_truthy(tostring(a.result):find(wanted, 1, true), tostring(a.result))
end

local function metric(name, labels)
    local text = n:admin("/metrics").body
    local value = text:match("\n" .. name .. (labels or ""):gsub("[{}=\"]", "%%%0") .. " (%S+)")
    return tonumber((assert(value, name)))
end

describe("hg.shared", function()
    setup(function()
        n = node.start { config = CONFIG }
    end)
    teardown(function()
        assert.equal(0, n:stop())
        node.finish()
    end)

    it("counts exactly under 200,000 increments from all threads", function()
        local items = {}
        for i = 1, 100 do
            items[#items + 1] = { n.api_port, { path = "/count" } }
            items[#items + 1] = { n.api_port, { path = "/api?key=k" .. i } }
        end
        for _, r in ipairs(http.many(items, 60)) do
            assert.equal(200, r.status, r.body)
        end
        assert.equal(200000, run 'return (hg.shared("counts"):get("n"))')
    end)

    it("keeps strings, numbers and booleans", function()
        assert.same({ "a\0b", -1.5, false, true }, run [[
            s:set("text", "a\0b") s:set("number", -1.5) s:set("no", false) s:set("yes", true)
            return { (s:get("text")), (s:get("number")), (s:get("no")), (s:get("yes")) }
        ]])
        assert.equal(3000, run 's:set("long", ("x"):rep(3000)) return #s:get("long")')
        assert.same({ true, 0 }, run 'return { s:delete("long"), select("#", s:get("long")) - 1 }')
        assert.is_false(run 'return s:delete("long")')
        assert.equal('hg.shared("s")', run "return tostring(s)")
    end)

    it("ends an entry after its ttl, and says how long it has", function()
        local left = run 's:set("t", 1, "1h") local _, left = s:get("t") return left'
        assert.is_true(left > 3590 and left <= 3600)
        assert.is_true(run 's:set("t", 1) local _, left = s:get("t") return left == nil')
        assert.is_true(run 's:set("t", 1, 0.01) while s:get("t") do hg.sleep(0.002) end return s:get("t") == nil')
    end)

    it("adds only where there is none", function()
        assert.same({ true, false, "exists", "first" }, run [[
            local first = s:add("lock", "first", "1m")
            local second, why = s:add("lock", "second", "1m")
            return { first, second, why, (s:get("lock")) }
        ]])
    end)

    it("increments from init, keeps the first end, and refuses what is no number", function()
        assert.same({ 11, 9.5, 1 }, run [[
            return { (s:incr("i", 1, 10, "1m")), (s:incr("i", -1.5)), (s:incr("fresh")) }
        ]])
        assert.is_true(run 'local _, left = s:incr("i", 0, 0, "1h") return left > 0 and left <= 60')
        assert.same({ "the value is not a number", "invalid" }, run [[
            s:set("text", "1")
            local v, message, code = s:incr("text")
            return { message, code, v }
        ]])
    end)

    it("refuses when it is full, evicts nothing, and counts it", function()
        local result = run [[
            local full = hg.shared("full")
            for i = 1, 1000 do
                local ok, message, code = full:set("k" .. i, ("v"):rep(50))
                if not ok then
                    local kept = 0
                    for j = 1, i - 1 do
                        kept = kept + (full:get("k" .. j) and 1 or 0)
                    end
                    return { kept == i - 1, i > 50 and i <= 101, message, code }
                end
            end
        ]]
        assert.is_true(result[1])
        assert.is_true(result[2])
        assert.is_truthy(result[3]:find("no memory", 1, true))
        assert.equal("full", result[4])
        assert.equal(1, metric("hgcache_shared_full_total", '{table="full"}'))
        assert.is_true(metric("hgcache_shared_entries", '{table="full"}') > 50)
        assert.is_true(metric("hgcache_shared_bytes", '{table="full"}') <= 16384)
        assert.equal("too_large", run 'local _, _, code = s:set("k", ("v"):rep(20000)) return code')
        assert.equal("too_large", run 'local _, _, code = s:add(("k"):rep(2000), 1) return code')
        assert.equal(2, metric("hgcache_shared_too_big_total", '{table="s"}'))
    end)

    it("raises at the caller's line when it is misused", function()
        raises('s:set("k")', "expected a string, a number or a boolean")
        raises('s:set("k", {})', "expected a string, a number or a boolean")
        raises('s:set("k", 0/0)', "NaN is no value")
        raises('s:set("", 1)', "the key is empty")
        raises("s:get()", "bad argument")
        raises("s:get(1)", "bad argument")
        raises('s.get("a", "b")', "bad argument")
        raises('s:set("k", 1, 0)', "expected a duration above 0")
        raises('s:set("k", 1, "soon")', "expected a number of seconds")
        raises('s:incr("k", "1")', "bad argument")
        raises('s:incr("k", 1/0)', "expected a finite number")
        raises('hg.shared("a b")', "expected a name")
        raises('hg.shared("")', "expected a name")
        raises('for i = 1, 100 do hg.shared("more" .. i) end', "more than 64 tables")
    end)
end)

describe("hg.shared in a configuration", function()
    it("cannot be used while it is loading", function()
        local path = node.write(node.dir() .. "/config.lua",
            'local hg = require "hgcache"\nhg.shared("s"):set("k", 1)\nreturn {}')
        local result = node.run { "check", path }
        assert.equal(2, result.code)
        assert.is_truthy(result.err:find("config.lua:2: ", 1, true), result.err)
        assert.is_truthy(result.err:find("cannot be used while the configuration is loading", 1, true), result.err)
        node.finish()
    end)
end)
