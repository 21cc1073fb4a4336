-- Nodes that come and go: what was loaded moves with its keys.

local node = require "spec.support.node"
local http = require "spec.support.http"
local posix = require "spec.support.posix"

local CONFIG = [[
return {
    node = { listen = listen(), drain_delay = "200ms", workers = tonumber(hg.args.workers or "2") },
    cluster = { self = "http://127.0.0.1:" .. hg.args.peer_port, peers = hg.file(hg.args.members),
        timeout = hg.args.timeout or "500ms", transport = hg.args.transport, lease = hg.args.lease or "2s" },
    groups = { test = { ttl = "10m", capacity = "64MiB", policy = hg.args.policy, getter = function(key)
        return key .. (" value"):rep(10), { tags = { "t" .. #key } }
    end } },
}
]]

local function loads(nodes)
    return node.sum(nodes, "test", "local_loads")
end

local function peeks(nodes)
    return node.sum(nodes, "test", "peeks")
end

local function write_members(path, nodes)
    local out = assert(io.open(path .. ".new", "w"))
    for _, one in ipairs(nodes) do
        out:write("http://127.0.0.1:", one.peer_port, "\n")
    end
    out:close()
    assert(os.rename(path .. ".new", path))
end

local function wait_members(nodes, count)
    for _, one in ipairs(nodes) do
        node.until_true(function()
            local r = http.get(one.admin_port, "/ring", { timeout = 2 })
            return r.status == 200 and #node.json.decode(r.body).members == count
        end, 20, count .. " members; its log:\n" .. one:log())
        one:wait_ready()
    end
end

local function ask_all(nodes, from, to)
    for first = from, to, 100 do
        local items = {}
        for i = first, math.min(first + 99, to) do
            items[#items + 1] = { nodes[i % #nodes + 1].api_port, { path = "/api?key=key-" .. i } }
        end
        for i, r in ipairs(http.many(items)) do
            local key = "key-" .. (first + i - 1)
            assert(r.status == 200 and r.body == key .. (" value"):rep(10), ("%s: %s"):format(key, tostring(r.status or r.error)))
        end
    end
end

for _, policy in ipairs { "lru", "s3-fifo" } do
    describe("values of a cluster, " .. policy .. ",", function()
        local members, nodes
        local function start(port)
            local one = node.start { config = CONFIG, wait = false, peer_port = port,
                args = { peer_port = port, members = members, policy = policy, workers = policy == "lru" and 1 or 2 } }
            one.peer_port = port
            return one
        end
        before_each(function()
            members = node.dir() .. "/members-" .. policy
            local ports = {}
            for i = 1, 3 do
                ports[i] = { peer_port = posix.free_port() }
            end
            write_members(members, ports)
            nodes = {}
            for i, one in ipairs(ports) do
                nodes[i] = start(one.peer_port)
            end
            wait_members(nodes, 3)
        end)
        after_each(node.finish)

        it("stay when each node is started anew, one after the other", function()
            local count = 3000
            ask_all(nodes, 1, count)
            assert.equal(count, loads(nodes))
            local later = 0
            for i = 1, 3 do
                local one = nodes[i]
                local left = {}
                for j = 1, 3 do
                    if j ~= i then
                        left[#left + 1] = nodes[j]
                    end
                end
                local before = loads(left)
                one:signal(posix.SIGTERM)
                assert.equal(0, one:wait_exit().code)
                local handed = tonumber(one:settled_log():match("keys handed over name=%S+ keys=(%d+)"))
                assert(handed and handed > count / 5, "handed over " .. tostring(handed))
                write_members(members, left)
                wait_members(left, 2)
                ask_all(left, 1, count)
                later = later + loads(left) - before

                nodes[i] = start(one.peer_port)
                write_members(members, nodes)
                wait_members(nodes, 3)
                before = loads(left)
                ask_all(nodes, 1, count)
                later = later + loads(left) - before + loads { nodes[i] }
                assert(nodes[i]:stats("test").peek_hits > 0)
            end
            assert(later <= count / 10, later .. " loads")
        end)
    end)
end

describe("a newcomer", function()
    after_each(node.finish)

    it("believes no store for two leases after an invalidation", function()
        local members = node.dir() .. "/members-invalidation"
        local ports = { { peer_port = posix.free_port() }, { peer_port = posix.free_port() } }
        write_members(members, ports)
        local nodes = {}
        for i, one in ipairs(ports) do
            nodes[i] = node.start { config = CONFIG, wait = false, peer_port = one.peer_port,
                args = { peer_port = one.peer_port, members = members, lease = "300ms" } }
        end
        wait_members(nodes, 2)
        ask_all(nodes, 1, 100)
        local before = peeks(nodes)
        assert(before > 0)
        nodes[1]:admin("/tags?group=test&tag=t5", { method = "DELETE" })
        local from = posix.now()
        ask_all(nodes, 1000, 1010)
        local now = peeks(nodes)
        assert(now == before or posix.now() - from > 0.6, now .. " peeks")
        local asked = 2000
        node.until_true(function() -- and then it asks again
            asked = asked + 10
            ask_all(nodes, asked, asked + 9)
            return peeks(nodes) > now
        end, 20, "peeks")
    end)
end)

describe("a node that leaves", function()
    after_each(node.finish)

    it("tells its keys to a member that it takes for down but is there again", function()
        local members = node.dir() .. "/members-down"
        local ports, nodes = { { peer_port = posix.free_port() }, { peer_port = posix.free_port() } }, {}
        write_members(members, ports)
        local function start(i) -- after a failure it is not probed before the test is over
            nodes[i] = node.start { config = CONFIG, wait = false, peer_port = ports[i].peer_port,
                args = { peer_port = ports[i].peer_port, members = members, timeout = "60s", transport = "http" } }
            nodes[i].peer_port = ports[i].peer_port
        end
        start(1)
        start(2)
        wait_members(nodes, 2)
        ask_all({ nodes[1] }, 1, 200)
        nodes[2]:signal(posix.SIGKILL)
        nodes[2]:wait_exit()
        ask_all({ nodes[1] }, 201, 400)
        node.until_true(function()
            return nodes[1]:log():find("peer down", 1, true)
        end, 20, "a peer that is down")
        nodes[1]:signal(posix.SIGSTOP) -- it hears nothing of the other's return
        start(2)
        wait_members({ nodes[2] }, 2)
        nodes[1]:signal(posix.SIGTERM)
        nodes[1]:signal(posix.SIGCONT)
        assert.equal(0, nodes[1]:wait_exit().code)
        local handed = tonumber(nodes[1]:settled_log():match("keys handed over name=%S+ keys=(%d+)"))
        assert(handed > 100, "handed over " .. tostring(handed)) -- about half of what there is is its own
    end)
end)
