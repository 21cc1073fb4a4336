-- hg.at_start and hg.every in a real node.

local node = require "spec.support.node"
local posix = require "spec.support.posix"

local CONFIG = [[
local s = hg.shared("s")
hg.at_start(function()
    assert(hg.group("test"):get("warm"))
    s:set("warmed", true)
    hg.log.info("warmed")
end)
hg.at_start(function()
    hg.sleep(3600)
end)
hg.every("5ms", function()
    local n = s:incr("ticks")
    if n == 1 then
        error("the first tick")
    end
end)
return {
    node = { listen = listen(), scripts = { getters = 3, routes = 2 } },
    groups = {
        test = {
            getter = function(key)
                hg.log.info("load of %s", key)
                return key
            end,
        },
    },
    routes = {
        ["GET /api"] = hg.serve("test"),
        ["GET /ticks"] = function()
            return tostring(s:get("ticks") or 0)
        end,
    },
}
]]

local function metric(n, name)
    return tonumber((assert(n:admin("/metrics").body:match("\nhgcache_script_" .. name .. " (%d+)"), name)))
end

describe("jobs", function()
    after_each(node.finish)

    it("warm the cache, tick on after an error, and do not hold up the end", function()
        local n = node.start { config = CONFIG }
        n:wait_log("warmed", 10)
        assert.equal("warm", n:get("/api?key=warm").body)
        assert.equal(1, n:count("load of warm"))
        node.until_true(function()
            return tonumber(n:get("/ticks").body) >= 10
        end, 10, "ten ticks")
        assert.equal(1, n:count("hg.every failed"))
        assert.is_truthy(n:log():find("script error pool=getters err=[^\n]*the first tick trace=stack traceback"))
        assert.equal(1, metric(n, "job_errors_total"))
        assert.is_true(metric(n, "job_runs_total") >= 12)
        local started = posix.now()
        assert.equal(0, n:stop())
        assert.is_true(posix.now() - started < 5, "a job that sleeps held the node")
    end)

    it("may ask the node itself, each run within node.http.per_load", function()
        local n = node.start {
            config = [[
local s = hg.shared("s")
local function ask()
    for _ = 1, 2 do
        local r = assert(hg.http.get("http://" .. hg.args.api .. "/api?key=k"))
        assert(r.status == 200 and r.body == "k")
    end
end
hg.at_start(ask)
hg.every("5ms", function()
    ask()
    if s:incr("asked") == 5 then
        hg.log.info("asked 5 times")
    end
end)
return {
    node = { listen = listen(), http = { per_load = 2 } },
    groups = { test = { getter = function(key) return key end } },
}]],
        }
        n:wait_log("asked 5 times", 20)
        assert.equal(0, metric(n, "job_errors_total"))
        assert.equal(0, n:stop())
    end)

    it("run in each node of a cluster, and may ask the others", function()
        local nodes = node.cluster {
            count = 2,
            config = [[
hg.at_start(function()
    for i = 1, 20 do
        assert(hg.group("test"):get("k" .. i) == "k" .. i)
    end
    hg.log.info("warmed")
end)
return {
    node = { listen = listen() }, cluster = cluster(),
    groups = { test = { getter = function(key) return key end } },
}]],
        }
        for _, one in ipairs(nodes) do
            one:wait_log("warmed", 20)
        end
        assert.equal(0, node.sum(nodes, "test", "local_load_errors"))
        for _, one in ipairs(nodes) do
            assert.equal(0, metric(one, "job_errors_total"))
            assert.equal(0, one:stop())
        end
    end)
end)
