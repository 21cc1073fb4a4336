-- Three nodes: any answers any key, each key is loaded once, and a node may die.

local node = require "spec.support.node"
local http = require "spec.support.http"
local posix = require "spec.support.posix"

local CONFIG = [[
return {
    node = { listen = listen() },
    cluster = cluster { timeout = "1s", transport = hg.args.transport or "auto" },
    groups = {
        test = {
            source = { timeout = "8s" },
            getter = function(key)
                hg.log.info("[SlowDB] search key %s", key)
                local seconds = key:match("^slow%-(%d+)")
                if seconds then
                    hg.sleep(tonumber(seconds))
                end
                if key:find("^no%-") then
                    return nil
                end
                return "value of " .. key
            end,
        },
    },
}
]]

local function loads_of(nodes, key)
    local total, owner = 0, nil
    for i, one in ipairs(nodes) do
        local n = one:count("search key " .. key .. "\n")
        total = total + n
        owner = n > 0 and i or owner
    end
    return total, owner
end

-- A key that this node owns, found by asking.
local function key_of(nodes, index, prefix)
    for i = 1, 200 do
        local key = (prefix or "owned-") .. i
        assert.equal(200, nodes[index]:get("/api?key=" .. key).status)
        local _, owner = loads_of(nodes, key)
        if owner == index then
            return key
        end
    end
    error("no key of node " .. index)
end

for _, transport in ipairs { "auto", "http" } do
    describe("a cluster of three over " .. transport, function()
        local nodes

        before_each(function()
            nodes = node.cluster { config = CONFIG, args = { transport = transport } }
        end)
        after_each(node.finish)

        it("answers any key from any node, and 404 for nobody", function()
            for i = 1, 3 do
                for _, key in ipairs { "Tom", "Jack", "Sam" } do
                    local r = nodes[i]:get("/api?key=" .. key)
                    assert.equal(200, r.status)
                    assert.equal("value of " .. key, r.body)
                end
                assert.equal(404, nodes[i]:get("/api?key=no-body").status)
            end
            for _, key in ipairs { "Tom", "Jack", "Sam", "no-body" } do
                assert.equal(1, (loads_of(nodes, key)))
            end
        end)

        it("loads each of 1,000 keys exactly once, whichever nodes are asked", function()
            local random, failed = math.random, {}
            for batch = 0, 19 do
                local items = {}
                for i = 1, 50 do
                    items[i] = { nodes[random(3)].api_port, { path = "/api?key=k" .. batch * 50 + i } }
                end
                for _ = 1, 2 do
                    for i, r in ipairs(http.many(items)) do
                        if r.status ~= 200 or r.body ~= "value of k" .. batch * 50 + i then
                            failed[#failed + 1] = tostring(r.status or r.error)
                        end
                    end
                    for i = 1, 50 do
                        items[i][1] = nodes[random(3)].api_port
                    end
                end
            end
            assert.same({}, failed)
            assert.equal(1000, node.sum(nodes, "test", "local_loads"))
            assert.equal(0, node.sum(nodes, "test", "fallbacks"))
            for i = 1, 3 do
                local s = nodes[i]:stats("test")
                assert.equal(s.gets, s.hits + s.hot_hits + s.stale_hits + s.negative_hits + s.error_hits + s.misses)
                assert.equal(s.misses, s.loads + s.loads_deduped + s.refused)
            end
        end)

        it("A1: survives the death of an owner under load without one failed request", function()
            local key = key_of(nodes, 3)
            local failed, done, killed = {}, 0, false
            local stop = posix.now() + 4
            local serial = 0
            while posix.now() < stop do
                local items = {}
                for i = 1, 20 do
                    serial = serial + 1
                    items[i] = { nodes[1 + serial % 2].api_port, { path = "/api?key=fresh-" .. serial } }
                end
                items[21] = { nodes[1].api_port, { path = "/api?key=" .. key } }
                for _, r in ipairs(http.many(items)) do
                    done = done + 1
                    if r.status ~= 200 then
                        failed[#failed + 1] = ("%s %s"):format(tostring(r.status or r.error), tostring(r.body))
                    end
                end
                if not killed and done > 100 then
                    killed = true
                    nodes[3]:kill()
                end
            end
            assert.is_true(killed)
            assert.is_true(done > 200)
            assert.same({}, failed)
            assert.is_true(nodes[1]:count("peer down") + nodes[2]:count("peer down") > 0)
        end)

        it("A3: waits for an owner that is only slow: one load, no fallback, no peer down", function()
            -- Learn who owns the slow key by a key that is not awaited: every node is asked.
            local started = posix.now()
            local items = {}
            for i = 1, 3 do
                items[i] = { nodes[i].api_port, { path = "/api?key=slow-4" } }
            end
            for _, r in ipairs(http.many(items, 20)) do
                assert.equal(200, r.status)
                assert.equal("value of slow-4", r.body)
            end
            assert.is_true(posix.now() - started > 3.9)
            assert.equal(1, (loads_of(nodes, "slow-4")))
            assert.equal(0, node.sum(nodes, "test", "fallbacks"))
            for i = 1, 3 do
                assert.equal(0, nodes[i]:count("peer down"))
            end
        end)

        it("A3: notices an owner that hangs, and serves meanwhile", function()
            local key = key_of(nodes, 3, "hang-")
            assert.is_string(key)
            nodes[3]:signal(posix.SIGSTOP)
            local items = {}
            for i = 1, 30 do
                items[i] = { nodes[1 + i % 2].api_port, { path = "/api?key=after-" .. i } }
            end
            local started = posix.now()
            for _, r in ipairs(http.many(items, 30)) do
                assert.equal(200, r.status)
            end
            local slowest = posix.now() - started
            assert.is_true(slowest < 6, "took " .. slowest)
            started = posix.now()
            for i = 31, 60 do
                assert.equal(200, nodes[1 + i % 2]:get("/api?key=after-" .. i).status)
            end
            assert.is_true(posix.now() - started < 10)
            nodes[3]:signal(posix.SIGCONT)
            node.until_true(function()
                return nodes[1]:count("peer up") > 0
            end, 20, "the peer to come back: " .. nodes[1]:log())
        end)

        it("takes a node back that was killed and started again", function()
            nodes[2]:kill()
            for i = 1, 30 do
                assert.equal(200, nodes[1]:get("/api?key=gone-" .. i).status)
            end
            nodes[2]:restart()
            node.until_true(function()
                nodes[1]:get("/api?key=back-" .. math.random(1e9))
                return nodes[2]:stats("test").peer_requests > 0
            end, 20, "a request at the node that came back")
        end)

        it("writes and removes reach every node", function()
            local key = key_of(nodes, 2, "write-")
            for i = 1, 3 do
                assert.equal("value of " .. key, nodes[i]:get("/api?key=" .. key).body)
            end
            local r = nodes[1]:admin("/keys?key=" .. key, { method = "PUT", body = "set by hand" })
            assert.is_true(r.status == 200 or r.status == 204, tostring(r.status) .. tostring(r.body))
            for i = 1, 3 do
                assert.equal("set by hand", nodes[i]:get("/api?key=" .. key).body)
            end
            r = nodes[3]:admin("/keys?key=" .. key, { method = "DELETE" })
            assert.equal(200, r.status)
            for i = 1, 3 do
                assert.equal("value of " .. key, nodes[i]:get("/api?key=" .. key).body)
            end
            assert.equal(2, (loads_of(nodes, key)))
        end)
    end)
end

describe("a cluster with tokens", function()
    after_each(node.finish)

    it("G4: tokens: peers that do not know one are refused, and two are known while they change", function()
        local config = [[
return {
    node = { listen = listen() },
    cluster = cluster { tokens = hg.args.index == "1" and { "new-token", "old-token" } or { "old-token" } },
    groups = { test = { getter = function(key)
        hg.log.info("[SlowDB] search key %s", key)
        return "value of " .. key
    end } },
}
]]
        local nodes = node.cluster { count = 2, config = config }
        for i = 1, 40 do
            assert.equal("value of k" .. i, nodes[1 + i % 2]:get("/api?key=k" .. i).body)
        end
        local r = http.get(nodes[1].peer_port, "/_hgcache/test/k1")
        assert.equal(401, r.status)
        r = http.get(nodes[1].peer_port, "/_hgcache/test/k1", { headers = { Authorization = "Bearer wrong" } })
        assert.equal(401, r.status)
        for _, token in ipairs { "new-token", "old-token" } do
            r = http.get(nodes[1].peer_port, "/_hgcache/test/k1", { headers = { Authorization = "Bearer " .. token } })
            assert.equal(200, r.status)
        end
        for i = 1, 2 do
            assert.is_nil(nodes[i]:log():find("-token", 1, true))
        end
    end)
end)
