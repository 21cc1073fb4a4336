-- A key that everybody asks for at one node costs its owner about one request a lease, and is never too old.

local node = require "spec.support.node"
local http = require "spec.support.http"
local posix = require "spec.support.posix"

local TTL, LEASE = 1, 0.4

-- A value says when it was made; BOOTTIME and MONOTONIC differ by a constant that the spec finds out.
local CONFIG = [[
return {
    node = { listen = listen() },
    cluster = cluster { lease = "400ms" },
    groups = {
        test = {
            ttl = "1s", ttl_jitter = 0,
            getter = function(key)
                return ("%.4f"):format(hg.monotonic())
            end,
        },
    },
}
]]

-- A key that nodes[index] does not own.
local function key_of_another(nodes, index)
    for i = 1, 200 do
        local key = "key" .. i
        nodes[index]:get("/api?key=" .. key)
        if not nodes[index]:admin_json("/explain?key=" .. key).mine then
            return key
        end
    end
    error("no key of another node")
end

local PIPELINE = 16

-- Asks over and over, pipelined, until the time is over; calls each(body, when it was asked, when it came).
local function storm(port, key, connections, seconds, each)
    local request = http.format { path = "/api?key=" .. key }
    local batch, lines = request:rep(PIPELINE), {}
    for i = 1, connections do
        lines[i] = assert(http.connect(port))
    end
    local limit, count = posix.now() + seconds, 0
    while posix.now() < limit do
        for _, line in ipairs(lines) do
            line.asked = posix.now()
            assert(line:send(batch))
        end
        for _, line in ipairs(lines) do
            for _ = 1, PIPELINE do
                local answer = line:response("GET", 10)
                assert.equal(200, answer.status)
                each(answer.body, line.asked, posix.now())
            end
            count = count + PIPELINE
            line.data, line.at = line.data:sub(line.at), 1
        end
    end
    for _, line in ipairs(lines) do
        line:close()
    end
    return count
end

describe("a hot key", function()
    after_each(node.finish)

    it("costs its owner about one request a lease, and is never older than its life and the lease", function()
        local nodes = node.cluster { count = 2, config = CONFIG }
        local key = key_of_another(nodes, 1)
        local skew -- of the nodes' clock to ours, at most
        storm(nodes[1].api_port, key, 1, 0.2, function(body, _, came)
            local now = came - tonumber(body)
            skew = math.min(skew or now, now)
        end)
        local before, hits_before = nodes[2]:stats("test").peer_requests, nodes[1]:stats("test").hot_hits
        local oldest, seconds, from = 0, 4, posix.now()
        local count = storm(nodes[1].api_port, key, 4, seconds, function(body, asked)
            oldest = math.max(oldest, asked - tonumber(body) - skew)
        end)
        local took = posix.now() - from
        local stats = nodes[1]:stats("test")
        local asked = nodes[2]:stats("test").peer_requests - before
        assert.is_true(count > 2000, "only " .. count .. " requests")
        -- one each three quarters of a lease, and some where the owner's value ends
        assert.is_true(asked <= took / (LEASE / 2) + 4 * took / TTL, asked .. " requests at the owner")
        assert.is_true(asked >= took / TTL - 2, "only " .. asked .. " requests at the owner")
        assert.is_true(oldest <= TTL + LEASE, oldest .. " s old")
        assert.is_true(stats.hot_hits - hits_before > 0.99 * count - 100, "hits: " .. stats.hot_hits - hits_before)
        assert.is_true(stats.hot_refreshes > 0)
        assert.is_true(stats.hot_refreshes <= stats.refreshes)
        assert.equal(stats.gets, stats.hits + stats.hot_hits + stats.stale_hits + stats.negative_hits + stats.error_hits
            + stats.misses)
        assert.equal(1, stats.hot_keys)
    end)
end)
