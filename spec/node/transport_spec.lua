-- How nodes ask each other: gRPC, HTTP/1.1, and finding out which.

local cjson = require "cjson"
local fake = require "spec.support.fake"
local grpc = require "spec.support.grpc"
local http = require "spec.support.http"
local node = require "spec.support.node"
local posix = require "spec.support.posix"
local protobuf = require "spec.support.protobuf"

local CONFIG = [=[
return {
    node = { listen = listen(), drain_delay = "500ms", drain_timeout = "20s" },
    cluster = cluster { timeout = "1s", transport = hg.args["transport" .. (hg.args.index or 1)] or hg.args.transport,
        tokens = { "s3cret" } },
    groups = {
        test = {
            deadline = "20s", source = { timeout = "15s", concurrency = 1000 }, expose_errors = true,
            getter = function(key)
                hg.log.info("[SlowDB] search key %s", key)
                local seconds = key:match("^slow%-(%d+)")
                if seconds then
                    hg.sleep(tonumber(seconds))
                elseif key:find("^no%-") then
                    return nil
                elseif key:find("^bad%-") then
                    return hg.fail { class = "denied", message = "not for 100% of you: " .. key }
                elseif key:find("^big%-") then
                    return ("x"):rep(3 * 1024 * 1024)
                end
                return "value of " .. key
            end,
        },
    },
    routes = {
        ["GET /api"] = hg.serve("test"),
        ["GET /many"] = function(req)
            local keys = {}
            for i = 1, tonumber(req.query.count) do
                keys[i] = req.query.prefix .. i
            end
            local values, errors = hg.group("test"):get_many(keys)
            local count = 0
            for i = 1, #keys do
                count = count + (values[keys[i]] == "value of " .. keys[i] and 1 or 0)
            end
            return ("%d %s"):format(count, errors and next(errors) and "errors" or "fine")
        end,
    },
}
]=]

local function owner_of(one, key)
    return cjson.decode(one:admin("/explain?group=test&key=" .. key).body).owner
end

-- Keys of this owner that nobody has asked for.
local function keys_of(nodes, index, prefix, count)
    local keys, i = {}, 0
    while #keys < count do
        i = i + 1
        assert.is_true(i < 100 * count + 100, "node " .. index .. " owns too few keys")
        if owner_of(nodes[1], prefix .. i) == nodes[index].member then
            keys[#keys + 1] = prefix .. i
        end
    end
    return keys
end

local function metric(one, name)
    local total = 0
    for value in one:admin("/metrics").body:gmatch("\nhgcache_" .. name .. "{[^\n]*} (%d+)") do
        total = total + tonumber(value)
    end
    return total
end

local function transports(one)
    local seen = {}
    for _, member in ipairs(cjson.decode(one:admin("/ring").body).members) do
        seen[#seen + 1] = not member.self and member.transport or nil
    end
    table.sort(seen)
    return table.concat(seen, " ")
end

local function get_all(one, keys, seconds)
    local items = {}
    for i, key in ipairs(keys) do
        items[i] = { one.api_port, { path = "/api?key=" .. key } }
    end
    for i, r in ipairs(http.many(items, seconds or 20)) do
        assert.equal("value of " .. keys[i], r.body, keys[i])
    end
end

local function loads_of(nodes, key)
    local total = 0
    for _, one in ipairs(nodes) do
        total = total + one:count("search key " .. key .. "\n")
    end
    return total
end

for _, transport in ipairs { "grpc", "http", "auto" } do
    describe("nodes that ask over " .. transport, function()
        local nodes

        before_each(function()
            nodes = node.cluster { config = CONFIG, args = { transport = transport } }
        end)
        after_each(node.finish)

        it("have each other's values, what is not found, and errors with their text", function()
            for i = 1, 3 do
                for k = 1, 6 do
                    local r = nodes[i]:get("/api?key=k%00%25" .. k)
                    assert.same({ 200, "value of k\0%" .. k }, { r.status, r.body })
                    assert.equal(404, nodes[i]:get("/api?key=no-" .. k).status)
                    r = nodes[i]:get("/api?key=bad-" .. k)
                    assert.same({ 403, "denied: not for 100% of you: bad-" .. k .. "\n" }, { r.status, r.body })
                end
                assert.equal(3 * 1024 * 1024, #nodes[i]:get("/api?key=big-1").body)
                assert.equal("500 fine", nodes[i]:get("/many?count=500&prefix=m").body)
            end
            for k = 1, 6 do
                assert.equal(1, loads_of(nodes, "no-" .. k))
            end
            assert.equal(0, node.sum(nodes, "test", "fallbacks"))
            assert.equal(0, node.sum(nodes, "test", "peer_errors"))
            for i = 1, 3 do
                local name = transport == "http" and "http" or "grpc"
                assert.equal(name .. " " .. name, transports(nodes[i]))
                -- Two peers, at most two workers, two lanes: few connections.
                local connections = metric(nodes[i], "peer_http2_connections_total")
                if transport == "http" then
                    assert.equal(0, connections)
                else
                    assert.is_true(connections >= 2 and connections <= 16, connections .. " connections")
                end
                local calls = tonumber(nodes[i]:admin("/metrics").body:match("\nhgcache_peer_grpc_requests_total (%d+)"))
                assert.equal(transport ~= "http", calls > 0)
                assert.equal(0, nodes[i]:stop())
            end
        end)

        it("leave a silent owner within the time-out, and wait for a slow one", function()
            get_all(nodes[1], keys_of(nodes, 2, "warm-", 2))
            local slow, stuck = keys_of(nodes, 2, "slow-4-", 1)[1], keys_of(nodes, 2, "stuck-", 1)[1]
            local started = posix.now()
            get_all(nodes[1], { slow })
            assert.is_true(posix.now() - started > 3.9)
            assert.equal(1, loads_of(nodes, slow))
            assert.equal(0, node.sum(nodes, "test", "fallbacks"))
            assert.equal(0, nodes[1]:count("peer down"))

            nodes[2]:signal(posix.SIGSTOP)
            started = posix.now()
            get_all(nodes[1], { stuck })
            local took = posix.now() - started
            nodes[2]:signal(posix.SIGCONT)
            assert.is_true(took > 0.9 and took < 1.25, "took " .. took)
            assert.equal(1, nodes[1]:count("peer down"))
            node.until_true(function()
                return nodes[1]:count("peer up") > 0
            end, 20, "the peer to come back")
            get_all(nodes[1], keys_of(nodes, 2, "again-", 1))
        end)

        it("F13: lose nothing when one drains with many requests under way", function()
            local keys = keys_of(nodes, 2, "slow-2-", 120)
            local items = {}
            for i, key in ipairs(keys) do
                items[i] = { nodes[1].api_port, { path = "/api?key=" .. key } }
            end
            posix.spawn { argv = { "/bin/sh", "-c", ("sleep 0.7; kill -TERM %d"):format(nodes[2].pid) } }
            for i, r in ipairs(http.many(items, 20)) do
                assert.equal("value of " .. keys[i], r.body, keys[i])
            end
            -- They were all with the node that drained, and finished there.
            local there = 0
            for _, key in ipairs(keys) do
                there = there + nodes[2]:count("search key " .. key .. "\n")
            end
            assert.is_true(there >= (transport == "http" and 1 or 120), there .. " loads there")
            if transport ~= "http" then -- a connection of HTTP/1.1 may end under a request that was not looked at
                assert.equal(120, node.sum({ nodes[1], nodes[3] }, "test", "peer_loads"))
                assert.equal(0, nodes[1]:stats("test").local_loads)
            end
            assert.equal(0, nodes[2]:wait_exit().code)
            get_all(nodes[1], { "after-1", "after-2", "after-3", "after-4" })
        end)
    end)
end

describe("nodes of several transports", function()
    after_each(node.finish)

    it("share a ring: no key is loaded twice", function()
        local nodes = node.cluster { config = CONFIG, args = { transport1 = "grpc", transport2 = "http",
            transport3 = "auto" } }
        for i = 1, 3 do
            local keys = {}
            for k = 1, 100 do
                keys[k] = "k" .. k
            end
            get_all(nodes[i], keys)
        end
        assert.equal(100, node.sum(nodes, "test", "local_loads"))
        assert.equal("grpc grpc", transports(nodes[1]))
        assert.equal("http http", transports(nodes[2]))
        assert.equal("grpc grpc", transports(nodes[3]))
    end)

    it("a token that a peer does not take is no value", function()
        local nodes = node.cluster { count = 2, config = CONFIG:gsub('tokens = { "s3cret" }',
            "tokens = { hg.args.index }"), args = { transport = "grpc" } }
        for i = 1, 20 do
            assert.equal("value of k" .. i, nodes[1]:get("/api?key=k" .. i).body)
        end
        assert.is_true(metric(nodes[2], "unauthorized_total") > 0 or nodes[2]:admin("/metrics").body
            :match("\nhgcache_unauthorized_total (%d+)") ~= "0")
        assert.equal(0, nodes[2]:stats("test").peer_requests)
    end)

    it("find out that a peer speaks HTTP/1.1 only, and lose no request by it", function()
        local own, other = posix.free_port(), posix.free_port()
        local members = { "http://127.0.0.1:" .. own, "http://127.0.0.1:" .. other }
        local peer = fake.http(other, node.dir() .. "/notes", function(path)
            local key = path:match("^/_hgcache/test/(.*)$")
            local body = key and protobuf.bytes(1, "value of " .. key) or "no such thing\n"
            return ("HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s"):format(key and "200 OK" or "400 Bad Request", #body,
                body)
        end)
        local one = node.start { config = CONFIG, peer_port = own, args = { self = members[1], transport = "auto",
            peers = table.concat(members, ","), peer = "127.0.0.1:" .. own } }
        local keys = {}
        for i = 1, 100 do
            keys[i] = "k" .. i
        end
        get_all(one, keys)
        local stats = one:stats("test")
        peer:stop()
        assert.equal("http", transports(one))
        assert.equal(0, stats.peer_errors)
        assert.equal(0, stats.fallbacks)
        assert.is_true(stats.local_loads < 100)
        assert.equal(0, one:stop())
    end)

    it("are asked over HTTP/1.1 before they know their members, and soon over gRPC", function()
        local ports, names, nodes = { posix.free_port(), posix.free_port() }, {}, {}
        local path = node.dir() .. "/members"
        for i = 1, 2 do
            names[i] = "http://127.0.0.1:" .. ports[i]
        end
        for i = 1, 2 do
            local config = CONFIG:gsub("cluster { ", i == 2 and "%0refresh = '50ms', peers = hg.file(hg.args.members), " or "%0")
            nodes[i] = node.start { config = config, wait = false, peer_port = ports[i], args = { self = names[i],
                peers = table.concat(names, ","), members = path, transport = "auto" } }
        end
        nodes[1]:wait_ready()
        posix.until_true(function()
            return http.get(nodes[2].admin_port, "/live", { timeout = 1 }).status == 200
        end, 30, "a live node")
        local round = 0
        local function ask()
            local keys = {}
            round = round + 1
            for i = 1, 50 do
                keys[i] = "k" .. round .. "-" .. i
            end
            get_all(nodes[1], keys)
        end
        ask()
        assert.equal("http", transports(nodes[1]))
        node.write(path, table.concat(names, "\n"))
        nodes[2]:wait_ready()
        posix.until_true(function()
            ask()
            return transports(nodes[1]) == "grpc"
        end, 20, "gRPC to a node that knows its members")
        assert.equal(0, nodes[1]:stop())
        assert.equal(0, nodes[2]:stop())
    end)

    it("share a ring with nodes of HgCache v2, which know no more than Get", function()
        if not grpc.is_here() then
            pending("python3-grpcio is not installed")
            return
        end
        for _, transport in ipairs { "auto", "grpc" } do
            local own, other = posix.free_port(), posix.free_port()
            local members = { "http://127.0.0.1:" .. own, "http://127.0.0.1:" .. other }
            local notes = node.dir() .. "/notes"
            local pid = grpc.serve(other, notes)
            local one = node.start { config = CONFIG, peer_port = own, args = { self = members[1],
                transport = transport, peers = table.concat(members, ","), peer = "127.0.0.1:" .. own } }
            local asked = 0
            local function theirs(key, there, here)
                local r = one:get("/api?key=" .. key)
                local is_theirs = node.read(notes):find(key .. "\n", 1, true)
                asked = asked + (is_theirs and 1 or 0)
                assert.same(is_theirs and there or here, { r.status, r.body })
            end
            one:get("/many?count=60&prefix=m")
            for i = 1, 30 do
                theirs("k" .. i, { 200, "go k" .. i }, { 200, "value of k" .. i })
                -- Errors without a body of ours: one load here.
                theirs("boom-" .. i, { 200, "value of boom-" .. i }, { 200, "value of boom-" .. i })
                theirs("none-" .. i, { 200, "value of none-" .. i }, { 200, "value of none-" .. i })
            end
            local _, many = node.read(notes):gsub("m%d+\n", "")
            posix.kill(pid, posix.SIGKILL)
            assert.is_true(asked > 20 and many > 5, asked .. " " .. many)
            assert.equal("grpc", transports(one))
            assert.equal(0, one:count("peer down"))
            assert.equal(1, one:count("peer asked key by key"))
            assert.equal(0, one:stop())
        end
    end)
end)
