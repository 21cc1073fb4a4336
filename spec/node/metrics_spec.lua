-- hg.counter, hg.gauge and hg.histogram: metrics of the scripts in /metrics.

local node = require "spec.support.node"
local http = require "spec.support.http"
local cjson = require "cjson"

local CONFIG = [[
local c = hg.counter("shop_sold_total", "Things sold.", { "kind", "how" })
local g = hg.gauge("shop_open", "Open \\ or\nnot.")
local h = hg.histogram("shop_seconds", "Time.", { "of" }, { 0.1, 1 })
local plain = hg.counter("shop_total", "All.")
return {
    node = { listen = listen(), scripts = { getters = 2, routes = 4 } },
    groups = {
        test = {
            getter = function(key)
                plain:inc()
                return key
            end,
        },
    },
    routes = {
        ["GET /api"] = hg.serve("test"),
        ["GET /count"] = function()
            for _ = 1, 100 do
                plain:inc()
            end
            return "counted"
        end,
        ["POST /run"] = function(req)
            local chunk = assert(loadstring(req.body, "=chunk"))
            setfenv(chunk, setmetatable({ hg = hg, c = c, g = g, h = h, plain = plain }, { __index = _G }))
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
end

local function raises(chunk, wanted)
    local a = answer(chunk)
    assert.is_false(a.ok, chunk)
    assert.is_truthy(tostring(a.result):find("^chunk:1: "), tostring(a.result))
    assert.is_truthy(tostring(a.result):find(wanted, 1, true), tostring(a.result))
end

local function page()
    return n:admin("/metrics").body
end

local function has(row)
    assert.is_truthy(page():find("\n" .. row .. "\n", 1, true), row .. "\n" .. page():match("\n# HELP shop.*"))
end

describe("metrics of scripts", function()
    setup(function()
        n = node.start { config = CONFIG }
    end)
    teardown(function()
        assert.equal(0, n:stop())
        node.finish()
    end)

    it("are there from the start, those without labels as 0", function()
        has "# HELP shop_open Open \\\\ or\\nnot."
        has "# TYPE shop_open gauge"
        has "shop_open 0"
        has "# TYPE shop_sold_total counter"
        has "# TYPE shop_seconds histogram"
        has "shop_total 0"
    end)

    it("count exactly over all script threads", function()
        local items = {}
        for i = 1, 100 do
            items[#items + 1] = { n.api_port, { path = "/count" } }
            items[#items + 1] = { n.api_port, { path = "/api?key=k" .. i } }
        end
        for _, r in ipairs(http.many(items, 60)) do
            assert.equal(200, r.status, r.body)
        end
        has "shop_total 10100"
    end)

    it("have labels, values and buckets", function()
        run [[
            c:inc(1, { kind = "book", how = 1 }) c:inc(2.5, { how = "1", kind = "book" })
            c:inc(nil, { kind = true, how = "a\"\\\n" })
            g:set(7) g:inc() g:inc(-2.5)
            h:observe(0.1, { of = "x" }) h:observe(5, { of = "x" })
        ]]
        has 'shop_sold_total{kind="book",how="1"} 3.5'
        has 'shop_sold_total{kind="true",how="a\\"\\\\\\n"} 1'
        has "shop_open 5.5"
        has 'shop_seconds_bucket{of="x",le="0.1"} 1'
        has 'shop_seconds_bucket{of="x",le="1"} 1'
        has 'shop_seconds_bucket{of="x",le="+Inf"} 2'
        has 'shop_seconds_count{of="x"} 2'
        has 'shop_seconds_sum{of="x"} 5.1'
        run 'c:inc(1, { kind = "\255", how = "" })'
        has 'shop_sold_total{kind="\239\191\189",how=""} 1'
    end)

    it("drop and count what is beyond 1,000 sets of labels, or too long", function()
        run 'for i = 1, 1100 do h:observe(1, { of = i }) end'
        has "hgcache_metric_dropped_total 101" -- "x" is one of them
        has 'shop_seconds_count{of="999"} 1'
        assert.is_nil(page():find('of="1000"', 1, true))
        run 'c:inc(1, { kind = ("k"):rep(129), how = "" })'
        has "hgcache_metric_dropped_total 102"
        assert.is_truthy(page():find "\nhgcache_metric_series 100%d\n")
    end)

    it("raise at the caller's line when they are misused", function()
        raises('c:inc(-1, { kind = "a", how = "b" })', "a counter goes up only")
        raises('c:inc(0/0, { kind = "a", how = "b" })', "NaN")
        raises('c:inc("1", { kind = "a", how = "b" })', "bad argument")
        raises("c:inc()", "table expected")
        raises('c:inc(1, { kind = "a" })', "label 'how': expected a string, a number or a boolean, found nil")
        raises('c:inc(1, { kind = "a", how = {} })', "label 'how'")
        raises('c:inc(1, { kind = "a", how = "b", more = "c" })', "was not declared")
        raises('plain:inc(1, { kind = "a" })', "was not declared")
        raises("plain:set(1)", "attempt to call")
        raises("g:set()", "bad argument")
        raises('h:observe(1/0, { of = "x" })', "expected a finite number")
        raises("c.inc(g)", "hgcache.counter expected")
        raises('hg.counter("late", "")', "only while the configuration is loading")
    end)
end)

describe("metrics of scripts in a configuration", function()
    after_each(node.finish)

    for declaration, wanted in pairs {
        ['hg.counter("hgcache_x", "")'] = "names that begin with hgcache_ are the node's own",
        ['hg.counter("a b", "")'] = "expected a metric's name",
        ['hg.counter("a")'] = "string expected",
        ['hg.counter(1, "")'] = "string expected",
        ['hg.counter("a", "", "kind")'] = "table expected",
        ['hg.counter("a", "", { kind = true })'] = "expected a list",
        ['hg.counter("a", "", { "a-b" })'] = "expected a label's name",
        ['hg.counter("a", "", { "a", "a" })'] = "a label stands there twice",
        ['hg.histogram("a", "", { "le" })'] = 'the label "le"',
        ['hg.histogram("a", "", nil, { 1, 1 })'] = "ascending order",
        ['hg.histogram("a", "", nil, {})'] = "at least one bucket",
        ['hg.counter("a", "") hg.gauge("a", "")'] = "there is a metric with this name",
        ['hg.histogram("a", "") hg.gauge("a_sum", "")'] = "there is a metric with this name",
        ['hg.counter("a", ""):inc()'] = "cannot be changed while the configuration is loading",
        ['for i = 1, 257 do hg.counter("a" .. i, "") end'] = "more than 256 metrics",
    } do
        it("are checked: " .. declaration, function()
            local path = node.write(node.dir() .. "/config.lua", 'local hg = require "hgcache"\n' .. declaration
                .. "\nreturn { groups = { test = { getter = function() end } } }")
            local result = node.run { "check", path }
            assert.equal(2, result.code)
            assert.is_truthy(result.err:find("config.lua:2: ", 1, true), result.err)
            assert.is_truthy(result.err:find(wanted, 1, true), result.err)
        end)
    end

    it("may be declared again in the same way", function()
        local path = node.write(node.dir() .. "/config.lua", [[
local hg = require "hgcache"
hg.histogram("a", "help", { "x" }, { 1 })
hg.histogram("a", "help", { "x" }, { 1 })
return { groups = { test = { getter = function() end } } }]])
        assert.equal(0, node.run({ "check", path }).code)
    end)
end)
