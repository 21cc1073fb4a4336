-- A source that dies, and a flood of keys that do not exist: what is cached is served, and the source is spared.

local node = require "spec.support.node"
local http = require "spec.support.http"
local posix = require "spec.support.posix"

-- HGCACHE_OUTAGE_SECONDS=30 and HGCACHE_FLOOD_KEYS=100000 are the whole exercise; a test run does with less.
local OUTAGE_SECONDS = tonumber(os.getenv "HGCACHE_OUTAGE_SECONDS") or 4
local FLOOD_KEYS = tonumber(os.getenv "HGCACHE_FLOOD_KEYS") or 5000
local KEYS = 50

-- The source is away while the file is there. What is asked of it stands in the log, and how many ask at a time in the answer.
local CONFIG = [[
local running, most = 0, 0
return {
    node = { listen = listen(), workers = 2, scripts = { getters = 1, routes = 1 } },
    groups = {
        test = {
            capacity = "1MiB", ttl = "500ms", ttl_jitter = 0.5, negative_ttl = "1m",
            stale_while_revalidate = "1s", stale_if_error = "5m",
            source = { concurrency = 4, queue = 1000, breaker = { failures = 5, cooldown = "500ms" } },
            getter = function(key, ctx)
                hg.log.info("[Source] asked for %s", key)
                assert(ctx.source.running >= 1 and ctx.source.queued >= 0 and ctx.source.breaker ~= "open")
                running = running + 1
                most = math.max(most, running)
                hg.sleep(0.002)
                running = running - 1
                local away = io.open(hg.args.away)
                if away then
                    away:close()
                    return nil, "the source is away"
                end
                if key == "most" then
                    return most, { ttl = 0 }
                end
                return key:find("^known") and "value of " .. key or nil
            end,
        },
    },
}
]]

local function ask(n, keys)
    local items = {}
    for i, key in ipairs(keys) do
        items[i] = { n.api_port, { path = "/api?key=" .. key } }
    end
    return http.many(items, 30)
end

local function known()
    local keys = {}
    for i = 1, KEYS do
        keys[i] = "known-" .. i
    end
    return keys
end

describe("a source", function()
    after_each(node.finish)

    it("C21: that dies is asked little, nobody who asks for what was cached notices, and it comes back without a storm", function()
        local away = node.dir() .. "/away"
        local n = node.start { config = CONFIG, args = { away = away } }
        local keys = known()
        for _, r in ipairs(ask(n, keys)) do
            assert.equal(200, r.status)
        end

        node.write(away, "")
        local before, started = n:stats("test"), posix.now()
        local asked = 0
        while posix.now() - started < OUTAGE_SECONDS do
            for i, r in ipairs(ask(n, keys)) do
                assert.equal(200, r.status, tostring(r.body))
                assert.equal("value of " .. keys[i], r.body)
            end
            asked = asked + #keys
            posix.pause(0.02)
        end
        local during = n:stats("test")
        local loads = during.local_loads - before.local_loads
        -- Until the breaker opens: five failures and what runs with them; then one trial each cooldown.
        assert.is_true(loads <= 5 + 4 + 2 * (OUTAGE_SECONDS / 0.5 + 1), loads .. " loads of " .. asked .. " gets")
        assert.is_true(loads >= 5)
        assert.is_true(during.stale_hits > before.stale_hits)

        local metrics = n:admin("/metrics").body
        assert.is_truthy(metrics:find('hgcache_source_breaker_open{group="test"} 1', 1, true))
        assert.is_truthy(metrics:find('hgcache_source_opened_total{group="test"} [1-9]'))

        os.remove(away)
        local back = posix.now()
        node.until_true(function()
            ask(n, keys)
            local r = n:get("/api?key=known-1")
            return r.headers["cache-status"]:find("hit; ttl=%d") ~= nil
        end, 10, "fresh values")
        local after = n:stats("test")
        local rounds = (posix.now() - back) / 0.25 + 2 -- a life is at least 250 ms
        assert.is_true(after.local_loads - during.local_loads <= KEYS * rounds, "a storm of "
            .. after.local_loads - during.local_loads)
        local most = tonumber(n:get("/api?key=most").body)
        assert.is_true(most <= 4, most .. " at a time")
        assert.equal(0, n:stop())
    end)

    it("a flood of keys that do not exist pushes out nothing that does, and keeps to the source's concurrency", function()
        local n = node.start { config = CONFIG:gsub('ttl = "500ms"', 'ttl = "1h"', 1), args = { away = node.dir() .. "/away" } }
        local keys = known()
        ask(n, keys)
        local before = n:stats("test")
        local number = 0
        while number < FLOOD_KEYS do
            local flood = {}
            for i = 1, 500 do
                number = number + 1
                flood[i] = "unknown-" .. number
            end
            for _, r in ipairs(ask(n, flood)) do
                assert.equal(404, r.status, tostring(r.body))
            end
            for i, r in ipairs(ask(n, { keys[1], keys[KEYS] })) do
                assert.equal("value of " .. (i == 1 and keys[1] or keys[KEYS]), r.body)
            end
        end
        for i, r in ipairs(ask(n, keys)) do
            assert.equal("value of " .. keys[i], r.body)
        end
        local after = n:stats("test")
        assert.equal(before.local_loads + number, after.local_loads) -- no known key was loaded again
        assert.is_true(after.bytes <= after.capacity)
        local negative_limit = after.capacity / 16
        assert.is_true(after.bytes - before.bytes <= negative_limit + before.bytes, after.bytes .. " bytes")
        local most = tonumber(n:get("/api?key=most").body)
        assert.is_true(most <= 4, most .. " at a time")
        assert.equal(0, n:stop())
    end)
end)
