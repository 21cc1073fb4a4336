-- Nodes that find each other in a real etcd are started anew, one after the other, under load over HTTP and gRPC: nothing fails, and
-- next to nothing is loaded again.
--
-- HGCACHE_ROLLING_ROUNDS (1) rounds of three nodes, and at least HGCACHE_ROLLING_REQUESTS (6000) requests.

local node = require "spec.support.node"
local http = require "spec.support.http"
local posix = require "spec.support.posix"
local etcd = require "spec.support.etcd"
local grpc = require "spec.support.grpc"
local cjson = require "cjson"

if not etcd.is_there() or not grpc.is_here() then
    print("rolling_spec skipped: no etcd or no python3-grpcio here: scripts/setup.sh test")
    return
end

local ROUNDS = tonumber(os.getenv "HGCACHE_ROLLING_ROUNDS" or 1)
local REQUESTS = tonumber(os.getenv "HGCACHE_ROLLING_REQUESTS" or 6000)
local KEYS = 2000

local CONFIG = [[
return {
    node = { listen = listen(), drain_delay = "1s" },
    cluster = { self = "http://" .. hg.args.peer, timeout = "1s",
        peers = hg.etcd { endpoints = { hg.args.etcd }, lease_ttl = "5s" } },
    groups = { test = { ttl = "1h", capacity = "64MiB", getter = function(key)
        local out = io.open(hg.args.source, "a")
        out:write(key, "\n")
        out:close()
        return "value of " .. key
    end } },
}
]]

local function loads(path)
    local _, count = node.read(path):gsub("\n", "\n")
    return count
end

-- As a balancer does it that looks at /ready: in a child process, until the file `stop` is there.
local function http_load(nodes, dir)
    return posix.fork(function()
        local done, failed, at, turn = 0, {}, 0, 0
        while not io.open(dir .. "/stop") do
            local items, keys = {}, {}
            turn = turn + 1
            local ready = {}
            for i, one in ipairs(nodes) do
                local r = http.get(one.admin_port, "/ready", { timeout = 1 })
                if r.status == 200 then
                    ready[#ready + 1] = nodes[i]
                end
            end
            for i = 1, 100 do
                at = at % KEYS + 1
                keys[i] = "key-" .. at
                items[i] = { ready[i % #ready + 1].api_port, { path = "/api?key=" .. keys[i] } }
            end
            for i, r in ipairs(http.many(items, 30)) do
                done = done + 1
                if r.status ~= 200 or r.body ~= "value of " .. keys[i] then
                    failed[#failed + 1] = keys[i] .. ": " .. tostring(r.status or r.error) .. " " .. tostring(r.body)
                end
            end
            node.write(dir .. "/http.new", cjson.encode { done = done, failed = failed })
            os.rename(dir .. "/http.new", dir .. "/http")
        end
    end)
end

local function grpc_load(nodes, dir)
    local argv = { "/usr/bin/python3", "spec/support/grpc_load.py", "test", tostring(KEYS), dir .. "/stop" }
    for _, one in ipairs(nodes) do
        argv[#argv + 1] = tostring(one.peer_port)
    end
    return posix.spawn { argv = argv, stdout = dir .. "/grpc", stderr = dir .. "/grpc.err" }
end

local function wait_members(nodes)
    for _, one in ipairs(nodes) do
        node.until_true(function()
            local r = http.get(one.admin_port, "/ring", { timeout = 2 })
            return r.status == 200 and #cjson.decode(r.body).members == #nodes
        end, 30, #nodes .. " members; its log:\n" .. one:log())
        one:wait_ready()
    end
end

describe("a rolling restart", function()
    after_each(function()
        node.finish()
        etcd.finish()
    end)

    it("under load over HTTP and gRPC fails nothing and loads next to nothing", function()
        local server, dir = etcd.start(), node.dir()
        local source, nodes = dir .. "/source", {}
        node.write(source, "")
        for i = 1, 3 do
            local port = posix.free_port()
            nodes[i] = node.start { config = CONFIG, wait = false, peer_port = port,
                args = { etcd = server.url, source = source } }
        end
        wait_members(nodes)
        local items = {}
        for i = 1, KEYS do
            items[i] = { nodes[i % 3 + 1].api_port, { path = "/api?key=key-" .. i } }
        end
        for _, r in ipairs(http.many(items, 60)) do
            assert.equal(200, r.status)
        end
        local cold = loads(source)
        assert.equal(KEYS, cold)

        local loaders = { http_load(nodes, dir), grpc_load(nodes, dir) }
        local function done()
            local text = node.read(dir .. "/http")
            return text and text ~= "" and cjson.decode(text).done or 0
        end
        node.until_true(function()
            return done() > 200
        end, 30, "load")
        for _ = 1, ROUNDS do
            for _, one in ipairs(nodes) do
                one:signal(posix.SIGTERM)
                assert.equal(0, one:wait_exit(60).code)
                local before = done()
                node.until_true(function()
                    return done() > before + 200
                end, 60, "requests at two nodes")
                one:restart()
                wait_members(nodes)
                before = done()
                node.until_true(function()
                    return done() > before + 200
                end, 60, "requests at three nodes")
            end
        end
        node.until_true(function()
            return done() >= REQUESTS / 2
        end, 600, "enough requests")
        node.write(dir .. "/stop", "")
        for _, pid in ipairs(loaders) do
            assert.equal(0, posix.reap(pid, true).code)
        end
        local over_http = cjson.decode(node.read(dir .. "/http"))
        local text = node.read(dir .. "/grpc")
        local ok, over_grpc = pcall(cjson.decode, text)
        assert(ok, text .. (node.read(dir .. "/grpc.err") or ""))
        assert.same({}, over_http.failed)
        assert.same({}, over_grpc.failed)
        assert.equal(0, over_grpc.wrong)
        local again = loads(source) - cold
        print(("\n%d restarts, %d requests over HTTP and %d over gRPC: 0 failed, %d of %d keys loaded again"):format(3 * ROUNDS,
            over_http.done, over_grpc.done, again, KEYS))
        assert(over_http.done + over_grpc.done >= REQUESTS)
        assert(again <= cold / 10, again .. " loads")
    end)
end)
