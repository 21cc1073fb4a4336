-- FAULTS, part H: draining under load, forced ends, signals, addresses.

local node = require "spec.support.node"
local http = require "spec.support.http"
local posix = require "spec.support.posix"

local CONFIG = [[
return {
    node = { listen = listen(), drain_timeout = hg.args.drain or "10s", drain_delay = hg.args.delay or "500ms" },
    cluster = cluster(),
    groups = {
        test = {
            deadline = "60s", source = { timeout = "60s" },
            getter = function(key)
                hg.log.info("[SlowDB] search key %s", key)
                local seconds = key:match("^slow%-([%d.]+)")
                if seconds then
                    hg.sleep(tonumber(seconds))
                end
                return "value of " .. key
            end,
        },
    },
}
]]

describe("draining", function()
    after_each(node.finish)

    it("H3: TERM under load: not ready first, nothing accepted is lost, exit 0", function()
        local n = node.start { config = CONFIG }
        local clients, failed, refused, done, serial = {}, {}, 0, 0, 0
        local slow = assert(http.connect(n.api_port))
        slow:send(http.format { path = "/api?key=slow-1" })
        n:wait_log("search key slow-1")
        local signalled, saw_not_ready, saw_close = false, false, false
        -- What the system still queues when the listener closes it resets: nobody has accepted it, and who comes next is refused.
        local function is_queued_last()
            local client, why = http.connect(n.api_port)
            if client then
                client:close()
            end
            return why == "refused"
        end
        local limit = posix.now() + 30
        while not n:ended() and posix.now() < limit do
            for i = 1, 8 do
                local client = clients[i]
                if not client then
                    local message
                    client, message = http.connect(n.api_port)
                    if not client then
                        refused = refused + 1
                        if message ~= "refused" then
                            failed[#failed + 1] = "connect: " .. tostring(message)
                        end
                    end
                end
                if client then
                    serial = serial + 1
                    local r = client:request { path = "/api?key=k" .. serial % 50 }
                    done = done + 1
                    -- An idle connection may be closed under a request that has not been read: that is a retry, not a
                    -- loss.
                    local reused = clients[i] ~= nil
                    local is_lost = r.status ~= 200 and (r.status or r.rest ~= "" or not reused and not is_queued_last())
                    if is_lost then
                        failed[#failed + 1] = ("%s %s"):format(tostring(r.status or r.error), tostring(r.body
                            or r.rest))
                    end
                    clients[i] = client
                    if r.status ~= 200 or (r.headers.connection or ""):lower() == "close" then
                        saw_close = saw_close or r.status == 200
                        client:close()
                        clients[i] = nil
                    end
                end
            end
            if not signalled and done > 200 then
                n:signal(posix.SIGTERM)
                signalled = true
            elseif signalled and not saw_not_ready then
                saw_not_ready = http.get(n.admin_port, "/ready", { timeout = 1 }).status == 503
            end
        end
        assert.same({}, failed)
        assert.equal("value of slow-1", slow:response().body)
        assert.is_true(saw_not_ready, "/ready said 503 while still serving")
        assert.is_true(saw_close)
        assert.equal(0, n:wait_exit().code)
        assert.is_true(refused > 0 or n:ended() ~= nil)
    end)

    it("H4: a stuck load is cut off at the drain limit, and the exit code says so", function()
        local n = node.start { config = CONFIG, args = { drain = "500ms", delay = "100ms" } }
        local stuck = assert(http.connect(n.api_port))
        stuck:send(http.format { path = "/api?key=slow-50" })
        n:wait_log("search key slow-50")
        local started = posix.now()
        n:signal(posix.SIGTERM)
        assert.equal(1, n:wait_exit().code)
        assert.is_true(posix.now() - started < 10)
        stuck:close()
    end)

    it("H4: a stuck client is cut off at the drain limit", function()
        local n = node.start { config = CONFIG, args = { drain = "500ms", delay = "100ms" } }
        local stuck = assert(http.connect(n.api_port))
        stuck:send("GET /api?key=a HTTP/1.1\r\nHost: ")
        assert.equal(200, n:get("/api?key=b").status)
        local started = posix.now()
        n:signal(posix.SIGTERM)
        local code = n:wait_exit().code
        assert.is_true(code == 0 or code == 1)
        assert.is_true(posix.now() - started < 10)
        stuck:close()
    end)

    it("H5: a second TERM ends at once with 1", function()
        local n = node.start { config = CONFIG, args = { drain = "60s", delay = "30s" } }
        local stuck = assert(http.connect(n.api_port))
        stuck:send(http.format { path = "/api?key=slow-50" })
        n:wait_log("search key slow-50")
        n:signal(posix.SIGTERM)
        node.until_true(function()
            return n:admin("/ready").status == 503
        end, 10, "the drain")
        local started = posix.now()
        n:signal(posix.SIGTERM)
        assert.equal(1, n:wait_exit().code)
        assert.is_true(posix.now() - started < 5)
        stuck:close()
    end)

    it("INT is like TERM", function()
        local n = node.start { config = CONFIG }
        n:signal(posix.SIGINT)
        assert.equal(0, n:wait_exit().code)
    end)

    it("H5: storms of HUP, PIPE and CHLD change nothing", function()
        local n = node.start { config = CONFIG }
        for i = 1, 1000 do
            n:signal(posix.SIGHUP)
            n:signal(posix.SIGPIPE)
            n:signal(posix.SIGCHLD)
            if i % 100 == 0 then
                assert.equal(200, n:get("/api?key=k" .. i).status)
            end
        end
        assert.equal(200, n:get("/api?key=after").status)
        assert.is_nil(n:ended())
        assert.equal(0, n:stop())
    end)

    it("A20: a rolling restart of three nodes fails no request", function()
        local nodes = node.cluster { config = CONFIG }
        local failed, serial = {}, 0
        local function load(skip, rounds)
            for _ = 1, rounds do
                local items = {}
                for i = 1, 3 do
                    if i ~= skip then
                        for _ = 1, 4 do
                            serial = serial + 1
                            items[#items + 1] = { nodes[i].api_port, { path = "/api?key=roll-" .. serial } }
                        end
                    end
                end
                for _, r in ipairs(http.many(items)) do
                    if r.status ~= 200 then
                        failed[#failed + 1] = ("%s %s"):format(tostring(r.status or r.error), tostring(r.body))
                    end
                end
            end
        end
        load(nil, 5)
        for i = 1, 3 do
            nodes[i]:signal(posix.SIGTERM)
            local limit = posix.now() + 30
            while not nodes[i]:ended() and posix.now() < limit do
                load(i, 1)
            end
            assert.equal(0, nodes[i]:wait_exit().code)
            load(i, 3)
            nodes[i]:restart()
            load(nil, 3)
        end
        assert.same({}, failed)
    end)
end)

describe("addresses", function()
    after_each(node.finish)

    it("may be unix sockets, and a stale one is replaced", function()
        local path = node.dir() .. "/api.sock"
        local n = node.start { config = CONFIG, args = { api = "unix:" .. path } }
        assert.equal("value of k", http.get(path, "/api?key=k").body)
        n:kill()
        n:restart()
        assert.equal("value of k", http.get(path, "/api?key=k").body)
        assert.equal(0, n:stop())
    end)

    it("may be shared by roles", function()
        local port = posix.free_port()
        local n = node.start { config = CONFIG, admin_port = port, api_port = port, peer_port = port }
        assert.equal("value of k", n:get("/api?key=k").body)
        assert.equal(200, n:admin("/ready").status)
        assert.equal(200, http.get(port, "/_hgcache/test/k").status)
        assert.equal(0, n:stop())
    end)

    it("H11: /live answers quickly under load", function()
        local n = node.start { config = CONFIG }
        local items = {}
        for i = 1, 300 do
            items[i] = { n.api_port, { path = "/api?key=slow-0.5-" .. i } }
        end
        local connection = assert(http.connect(n.admin_port))
        local pending_clients = {}
        for i, item in ipairs(items) do
            pending_clients[i] = assert(http.connect(item[1]))
            pending_clients[i]:send(http.format(item[2]))
        end
        for _ = 1, 20 do
            local started = posix.now()
            assert.equal(200, connection:request({ path = "/live" }).status)
            assert.is_true(posix.now() - started < 0.5)
        end
        for _, client in ipairs(pending_clients) do
            assert.equal(200, client:response().status)
            client:close()
        end
        assert.equal(0, n:stop())
    end)

    it("H12: /metrics is a valid exposition, monotone, and adds up", function()
        local n = node.start { config = CONFIG }
        local before = {}
        for round = 1, 5 do
            for i = 1, 20 do
                n:get("/api?key=m" .. i * round % 30)
            end
            local r = n:admin("/metrics")
            assert.equal(200, r.status)
            local values = {}
            for line in r.body:gmatch("[^\n]+") do
                if line:sub(1, 1) ~= "#" then
                    local name, value = line:match("^([%a_:][%w_:]*%b{}) (%S+)$")
                    if not name then
                        name, value = line:match("^([%a_:][%w_:]*) (%S+)$")
                    end
                    assert.is_truthy(name, line)
                    assert.is_number(tonumber(value), line)
                    assert.is_nil(values[name], "twice: " .. line)
                    values[name] = tonumber(value)
                    if name:find("_total") then
                        assert.is_true(values[name] >= (before[name] or 0), line)
                    end
                end
            end
            local function v(counter)
                return values[('hgcache_%s_total{group="test"}'):format(counter)]
            end
            assert.equal(v "gets",
                v "hits" + v "hot_hits" + v "stale_hits" + v "negative_hits" + v "error_hits" + v "misses")
            assert.equal(v "misses", v "loads" + v "loads_deduped" + v "refused")
            before = values
        end
        assert.equal(0, n:stop())
    end)
end)
