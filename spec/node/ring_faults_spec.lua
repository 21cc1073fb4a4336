-- FAULTS A10 to A12: nodes that do not agree on who is in the ring, or on where its points are.

local node = require "spec.support.node"
local http = require "spec.support.http"
local posix = require "spec.support.posix"

local function config(cluster, sleep)
    return ([[
return {
    node = { listen = listen() },
    cluster = %s,
    groups = { test = { getter = function(key)
        hg.log.info("[Source] asked for %%s", key)
        hg.sleep(%s)
        return "value of " .. key
    end } },
}
]]):format(cluster, sleep or 0)
end

-- How often each of so many keys was loaded.
local function loads_of(nodes, count)
    return node.until_true(function()
        local loads, seen = {}, 0
        for _, one in ipairs(nodes) do
            for key in one:settled_log():gmatch("asked for (%S+)") do
                seen = seen + (loads[key] and 0 or 1)
                loads[key] = (loads[key] or 0) + 1
            end
        end
        return seen == count and loads
    end, 10, "a load of each key in the logs")
end

local function owner_of(one, key)
    return node.json.decode(one:admin("/explain?group=test&key=" .. http.encode(key)).body).owner
end

-- All at once, of every node. No answer may be wrong.
local function ask(nodes, from, to)
    local items, keys = {}, {}
    for i = from, to do
        for _, one in ipairs(nodes) do
            keys[#keys + 1] = "k" .. i
            items[#items + 1] = { one.api_port, { path = "/api?key=k" .. i } }
        end
    end
    for i, r in ipairs(http.many(items, 20)) do
        assert.same({ 200, "value of " .. keys[i] }, { r.status, r.body })
    end
end

for _, transport in ipairs { "http", "grpc" } do
    describe("over " .. transport .. ",", function()
        after_each(node.finish)

        it("A10: two ring views: no hang, no forwarding, at most two loads of a key", function()
            local nodes = node.cluster { count = 2, args = { transport = transport }, config = config([[
                cluster { ring = hg.args.index == "1" and "default" or "hgcache", transport = hg.args.transport }]], 0.05) }
            ask(nodes, 1, 100)
            local loads, twice = loads_of(nodes, 100), 0
            for i = 1, 100 do
                local count = loads["k" .. i]
                assert.is_true(count == 1 or count == 2, tostring(count) .. " loads")
                twice = twice + count - 1
            end
            assert.is_true(twice > 0) -- there are keys that each thinks its own, and some that each thinks the other's
            assert.equal(0, node.sum(nodes, "test", "fallbacks"))
            for i = 1, 2 do -- what it was asked for it never asked the other for: it loaded it, or had it
                local s, other = nodes[i]:stats("test"), nodes[3 - i]:stats("test")
                assert.equal(s.peer_requests, other.peer_loads)
                assert.is_true(s.peer_loads <= 100, s.peer_loads .. " asks for 100 keys")
            end
            for i = 1, 2 do
                assert.equal(0, nodes[i]:stop())
            end
        end)
    end)
end

describe("a node that its own list lacks", function()
    after_each(node.finish)

    -- Whoever does not know the members takes no HTTP/2 (core/node/request.c: clients of gRPC do not look at /ready). A peer that
    -- may go over to HTTP/1.1 does, one that may not loads by itself.
    for _, transport in ipairs { "http", "auto", "grpc" } do
        it("A11: is not ready, and what peers ask for over " .. transport .. " has an answer", function()
            local dir, ports, members = node.dir(), {}, {}
            for i = 1, 2 do
                ports[i] = posix.free_port()
                members[i] = "http://127.0.0.1:" .. ports[i]
            end
            node.write(dir .. "/1", members[2] .. "\n")
            node.write(dir .. "/2", members[1] .. "\n" .. members[2] .. "\n")
            local nodes = {}
            for i = 1, 2 do
                nodes[i] = node.start { wait = false, peer_port = ports[i], args = { self = members[i], list = dir .. "/" .. i,
                    transport = transport }, config = config [[{ self = hg.args.self, peers = hg.file(hg.args.list),
                    refresh = "50ms", timeout = "1s", transport = hg.args.transport }]] }
            end
            nodes[1]:wait_log("does not hold this node")
            nodes[2]:wait_ready()
            ask({ nodes[2] }, 1, 50)
            local stats, fallbacks = nodes[1]:stats("test"), nodes[2]:stats("test").fallbacks
            local asked = transport == "grpc" and fallbacks or stats.peer_requests
            assert.is_true(asked > 5, asked .. " asks")
            assert.same({ stats.peer_requests, 0 }, { stats.local_loads, stats.peer_loads })
            assert.equal(transport == "grpc" and asked or 0, fallbacks)
            -- Its list was read many times, and the reason told once.
            local function refused()
                return tonumber(nodes[1]:admin("/metrics").body:match("\nhgcache_membership_refused_total (%d+)"))
            end
            local before = refused()
            node.until_true(function()
                return refused() >= before + 3
            end, 20, "three more looks at the list")
            assert.equal(503, nodes[1]:admin("/ready").status)
            assert.equal(1, nodes[1]:count("does not hold this node"))
            node.write(dir .. "/1.new", members[1] .. "\n" .. members[2] .. "\n")
            assert(os.rename(dir .. "/1.new", dir .. "/1"))
            nodes[1]:wait_ready()
            assert.equal(nodes[1]:admin_json("/ring").fingerprint, nodes[2]:admin_json("/ring").fingerprint)
        end)
    end
end)

describe("a ring", function()
    after_each(node.finish)

    -- CRC-32 of "67127.66.0.5" and "29127.132.0.30" is one number, and stays one whatever follows both.
    it("A12: with two points in one place is the same on all nodes, in whichever order they are listed", function()
        for ring, hosts in pairs { hgcache = { "127.132.0.30", "127.66.0.5" }, default = { "127.0.0.1", "127.0.0.2" } } do
            local port, names, nodes = posix.free_port(), {}, {}
            for i, host in ipairs(hosts) do
                names[i] = host .. ":" .. port
            end
            for i = 1, 2 do
                nodes[i] = node.start { wait = false, peer_port = port, args = { self = names[i], peer = names[i], ring = ring,
                    peers = names[i] .. "," .. names[3 - i] }, config = config "cluster { ring = hg.args.ring }" }
            end
            for i = 1, 2 do
                nodes[i]:wait_ready()
            end
            assert.equal(nodes[1]:admin_json("/ring").fingerprint, nodes[2]:admin_json("/ring").fingerprint)
            if ring == "hgcache" then -- a key in that place: the greatest name has it, as in Go
                for _, key in ipairs { "67" .. names[2], "29" .. names[1] } do
                    assert.same({ names[2], names[2] }, { owner_of(nodes[1], key), owner_of(nodes[2], key) })
                end
            end
            ask(nodes, 1, 50)
            assert.equal(50, node.sum(nodes, "test", "local_loads"))
            for i = 1, 2 do
                assert.is_true(nodes[i]:stats("test").local_loads > 0)
                assert.equal(0, nodes[i]:count("mismatch"))
                assert.equal(0, nodes[i]:stop())
            end
        end
    end)
end)
