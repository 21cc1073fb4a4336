-- Libraries written for OpenResty, not changed in any way, against the real servers. Debian has none of the three, so each is
-- tested where somebody has installed it: on Lua's own path, or below HGCACHE_DRIVERS (a path as package.path has it).

local node = require "spec.support.node"
local outage = require "spec.support.outage"

local PATH = (os.getenv("HGCACHE_DRIVERS") or "") .. ";" .. package.path
local LOADS = 200

local DRIVERS = {
    {
        module = "resty.redis", server = "spec.support.redis",
        fill = function(server)
            for i = 1, LOADS do
                server:command("SET", "key" .. i, "value" .. i)
            end
        end,
        getter = [[function(key)
            local redis = require("resty.redis"):new()
            redis:set_timeouts(2000, 5000, 5000)
            local ok, message = redis:connect("127.0.0.1", port)
            if not ok then return hg.fail { class = "unavailable", message = message } end
            local value
            value, message = redis:get(key)
            if not value then return hg.fail { class = "unavailable", message = message } end
            redis:set_keepalive(10000, 50)
            return value ~= ngx.null and value or nil
        end]],
    },
    {
        module = "resty.mysql", server = "spec.support.mariadb",
        fill = function(server)
            local rows = {}
            for i = 1, LOADS do
                rows[i] = ("('key%d', 'value%d')"):format(i, i)
            end
            server:sql("create or replace table shop.t (k varchar(20) primary key, v text)")
            server:sql("insert into shop.t values " .. table.concat(rows, ","))
        end,
        getter = [[function(key)
            local db = require("resty.mysql"):new()
            db:set_timeout(5000)
            local ok, message = db:connect { host = "127.0.0.1", port = port, user = "anybody", database = "shop" }
            if not ok then return hg.fail { class = "unavailable", message = message } end
            local rows
            rows, message = db:query("select v from t where k = '" .. key:gsub("[^%w]", "") .. "'")
            if not rows then return hg.fail { class = "unavailable", message = message } end
            db:set_keepalive(10000, 50)
            return rows[1] and rows[1].v
        end]],
    },
    {
        module = "pgmoon", server = "spec.support.postgres",
        fill = function(server)
            server:sql("drop table if exists t")
            server:sql(("create table t as select 'key' || i as k, 'value' || i as v from generate_series(1, %d) i"):format(LOADS))
        end,
        getter = [[function(key)
            local db = require("pgmoon").new { host = "127.0.0.1", port = port, user = "postgres", database = "postgres" }
            db:settimeout(5000)
            local ok, message = db:connect()
            if not ok then return hg.fail { class = "unavailable", message = message } end
            local rows
            rows, message = db:query("select v from t where k = " .. db:escape_literal(key))
            if not rows then return hg.fail { class = "unavailable", message = message } end
            db:keepalive(10000, 50)
            return rows[1] and rows[1].v
        end]],
    },
}

local CONFIG = [[
package.path = hg.args.path .. ";" .. package.path
require "hgcache.ngx"
local port = tonumber(hg.args.port)
return {
    node = { listen = listen(), scripts = { getters = 1, routes = 1 } },
    groups = { rows = { ttl = 0, negative_ttl = 0, error_ttl = 0, expose_errors = true,
        source = { concurrency = 50, queue = 1000, retries = 0, breaker = { failures = 1000000 } }, getter = %s } },
    routes = { ["GET /api"] = hg.serve(nil) },
}
]]

describe("libraries written for OpenResty", function()
    after_each(node.finish)

    for _, driver in ipairs(DRIVERS) do
        local support = require(driver.server)
        local missing = not package.searchpath(driver.module, PATH) and "it is not installed"
            or support.missing and support.missing()
        if missing then
            print(("drivers_spec skipped %s: %s"):format(driver.module, missing))
        else
            it(driver.module .. ": 200 loads at once, and again when the server was killed and is back", function()
                local server, keys = support.start(), outage.keys(LOADS)
                driver.fill(server)
                local n = node.start { config = CONFIG:format(driver.getter), args = { port = server.port, path = PATH } }
                outage.check(n, "rows", keys)
                outage.check(n, "rows", keys)
                assert.equal(0, n:stats("rows").local_load_errors, n:log())
                server:kill()
                for _, answer in ipairs(outage.ask(n, "rows", keys)) do
                    assert.equal(503, answer.status, answer.body)
                end
                server:launch()
                driver.fill(server)
                outage.check(n, "rows", keys)
                outage.check_idle(n)
                assert.equal(0, n:stop())
                support.finish()
            end)
        end
    end
end)
