-- What a second look at the node found, kept from coming back.

local node = require "spec.support.node"
local http = require "spec.support.http"
local posix = require "spec.support.posix"

local CONFIG = [[
return {
    node = {
        listen = listen(), drain_timeout = "10s", drain_delay = hg.args.delay or "500ms",
        limits = { waiters = tonumber(hg.args.waiters or 10000), value = 65536, body = 65536 },
    },
    cluster = cluster(),
    groups = {
        test = {
            deadline = "20s",
            getter = function(key)
                hg.log.info("[SlowDB] search key %s", key)
                local seconds = key:match("^slow%-([%d.]+)")
                if seconds then
                    hg.sleep(tonumber(seconds))
                end
                if key:find("fail", 1, true) then
                    error("the inside of the getter")
                end
                return "value of " .. key
            end,
        },
    },
}
]]

local function pause(seconds)
    posix.poll({}, seconds)
end

--- A key with this beginning that the node owns.
local function key_of(one, prefix)
    for i = 1, 1000 do
        local key = prefix .. i
        if one:admin_json("/explain?group=test&key=" .. key).mine then
            return key
        end
    end
    error("no key")
end

describe("between nodes", function()
    after_each(node.finish)

    it("an owner's refusal without a value is its typed answer, not a broken peer", function()
        local nodes = node.cluster { count = 2, config = CONFIG, args = { waiters = 1 } }
        local key = key_of(nodes[1], "slow-2-")
        local first = assert(http.connect(nodes[1].api_port))
        first:send(http.format { path = "/api?key=" .. key })
        nodes[1]:wait_log("search key " .. key)
        local r = nodes[2]:get("/api?key=" .. key)
        assert.equal(503, r.status)
        assert.is_truthy(r.headers["retry-after"])
        assert.equal(200, first:response("GET").status)
        first:close()
        assert.equal(0, nodes[2]:count("search key " .. key))
        local stats = nodes[2]:stats("test")
        assert.equal(0, stats.fallbacks)
        assert.equal(0, stats.peer_errors)
    end)

    it("the largest value that may be set may be set by way of another node", function()
        local nodes = node.cluster { count = 2, config = CONFIG }
        local key = key_of(nodes[1], "big-")
        local value = ("b"):rep(65536)
        local r = nodes[2]:admin("/keys?group=test&key=" .. key, { method = "PUT", body = value })
        assert.equal(200, r.status, r.body)
        assert.equal(value, nodes[1]:get("/api?key=" .. key).body)
        assert.equal(413, nodes[2]:admin("/keys?group=test&key=" .. key, { method = "PUT", body = value .. "b" }).status)
        assert.equal(413, nodes[2]:get("/api?key=" .. key, { body = value .. "b" }).status)
    end)

    it("it may have the largest key and as much around it as there can be", function()
        local nodes = node.cluster { count = 2, config = [[
return {
    node = { listen = listen(), limits = { key = 65535, value = 65536, body = 1024 } },
    cluster = cluster(),
    groups = { test = { getter = function() return nil end } },
    routes = {
        ["GET /set"] = function()
            local tags = {}
            for i = 1, 64 do
                tags[i] = ("%03d"):format(i) .. ("t"):rep(252)
            end
            local ok, message = hg.group("test"):set(("k"):rep(65535), ("v"):rep(65536), {
                tags = tags, type = "text/" .. ("x"):rep(250), etag = ("e"):rep(255), meta = ("m"):rep(256),
            })
            return ok and "set" or tostring(message)
        end,
    },
}
]] }
        for _, n in ipairs(nodes) do -- one of them owns the key, the other sends it there
            assert.equal("set", n:get("/set").body)
        end
    end)
end)

describe("what another node sends", function()
    after_each(node.finish)

    it("E16: never becomes header lines", function()
        local n = node.start { config = CONFIG }
        local function field(number, bytes)
            return string.char(number * 8 % 128 + 2 + (number > 15 and 128 or 0)) .. (number > 15
                and string.char(math.floor(number * 8 / 128)) or "") .. string.char(#bytes) .. bytes
        end
        local evil = "text/x\r\nX-Evil: 1"
        local body = field(1, "the value") .. "\80\1" .. field(18, evil) .. field(19, "e" .. evil)
        local change = "\9" .. ("x"):rep(8) .. "\16\1\24\1" .. field(4, "test") .. field(5, "forged") .. field(6, body)
        local r = http.request(n.peer_port, { method = "POST", path = "/_hgcache/?changes", body = change })
        assert.is_true(r.status == 204 or r.status == 400)
        if r.status == 204 then
            for _, from in ipairs { n:get("/api?key=forged"), n:admin("/keys?key=forged") } do
                assert.equal("the value", from.body)
                assert.is_nil(from.headers["x-evil"])
            end
            assert.equal("application/octet-stream", n:get("/api?key=forged").headers["content-type"])
        end
    end)
end)

describe("the admin listener", function()
    after_each(node.finish)

    it("is not fooled by a name that begins like a loopback address", function()
        local n = node.start { config = CONFIG }
        local function status(host)
            return n:admin("/stats", { headers = { Host = host } }).status
        end
        for _, host in ipairs { "127.0.0.1:1", "127.1.2.3", "localhost:99", "[::1]:5" } do
            assert.equal(200, status(host), host)
        end
        for _, host in ipairs { "127.evil.example", "127.0.0.1.evil.example:80", "127.", "localhost.evil.example" } do
            assert.equal(403, status(host), host)
        end
    end)

    it("names what is allowed with each 405", function()
        local n = node.start { config = CONFIG }
        local r = n:admin("/stats", { method = "POST", body = "" })
        assert.equal(405, r.status)
        assert.equal("GET, HEAD", r.headers.allow)
        assert.equal("GET, HEAD, PUT, DELETE", n:admin("/keys?key=a", { method = "POST", body = "" }).headers.allow)
        r = http.request(n.peer_port, { method = "POST", path = "/_hgcache/test/a", body = "" })
        assert.equal(405, r.status)
        assert.equal("GET, HEAD", r.headers.allow)
        r = http.request(n.peer_port, { method = "PUT", path = "/_hgcache/?changes", body = "" })
        assert.equal(405, r.status)
        assert.equal("GET, POST", r.headers.allow)
        assert.equal("POST", n:admin("/flush").headers.allow)
        assert.equal("DELETE", n:admin("/tags?tag=a").headers.allow)
    end)

    it("tells a bad group from an unknown one", function()
        local n = node.start { config = CONFIG }
        assert.equal(400, n:admin("/keys?group=%zz&key=a").status)
        assert.equal(400, n:admin("/keys?group=a&group=b&key=a").status)
        assert.equal(404, n:admin("/keys?group=other&key=a").status)
    end)
end)

describe("the scratch of big answers", function()
    after_each(node.finish)

    it("is given back", function()
        local n = node.start { raw = [[
            local hg = require "hgcache"
            return {
                node = { workers = 1, listen = { api = hg.args.api, admin = hg.args.admin } },
                groups = { test = { ttl = 0, getter = function() return ("\1"):rep(4 * 2 ^ 20) end } },
                routes = { ["GET /api"] = hg.serve("test", { as = "envelope" }) },
            }]] }
        assert.is_true(#n:get("/api?key=a").body > 20e6)
        posix.until_true(function()
            return tonumber(n:admin("/metrics").body:match("hgcache_memory_live_bytes (%d+)")) < 10e6
        end, 10, "memory given back")
    end)
end)

describe("errors of getters", function()
    after_each(node.finish)

    it("do not show their class or message unless the group says so", function()
        local n = node.start { config = CONFIG }
        local r = n:get("/api?key=fail")
        assert.equal(502, r.status)
        assert.equal("Bad Gateway\n", r.body)
    end)
end)

describe("unix sockets", function()
    after_each(node.finish)

    it("are removed by a node that leaves, and replaced after one that was killed", function()
        local dir = node.dir()
        local n = node.start { config = CONFIG, args = { api = "unix:" .. dir .. "/api", peer = false } }
        local function answer()
            return http.request(dir .. "/api", { path = "/api?key=a" }).body
        end
        assert.equal("value of a", answer())
        n:kill()
        n:restart()
        assert.equal("value of a", answer())
        assert.equal(0, n:stop())
        assert.is_nil(io.open(dir .. "/api"))
        assert.equal("", io.popen("ls " .. dir):read("*a"))
    end)
end)

describe("draining", function()
    after_each(node.finish)

    it("waits for the request of a connection that was accepted", function()
        local n = node.start { config = CONFIG, args = { delay = "0" } }
        local client = assert(http.connect(n.api_port))
        n:signal(posix.SIGTERM)
        n:wait_log("node draining")
        pause(0.1)
        local r = client:request { path = "/api?key=never-asked-before" }
        assert.equal(200, r.status, r.error)
        assert.equal("close", r.headers.connection)
        assert.equal(0, n:wait_exit().code)
    end)

    it("does not wait for a script that asks on its own for ever", function()
        local nodes = node.cluster { count = 2, config = [[
            return {
                node = { listen = listen(), drain_timeout = "4s", drain_delay = 0 },
                cluster = cluster(),
                groups = { test = { getter = function(key) return key end } },
                routes = { ["GET /go"] = function()
                    for j = 1, 20 do
                        hg.spawn(function()
                            local group, i = hg.group("test"), 0
                            while true do
                                i = i + 1
                                group:get(j .. "-" .. i)
                                if i % 50 == 0 then
                                    hg.sleep(0.001)
                                end
                            end
                        end)
                    end
                    return "gone"
                end },
            }]] }
        for _, n in ipairs(nodes) do
            assert.equal("gone", n:get("/go").body)
        end
        for _, n in ipairs(nodes) do
            posix.until_true(function()
                return n:stats("test").gets > 1000
            end, 10, "gets")
            assert.equal(0, n:stop())
        end
    end)

    it("waits for a change that waits for the cluster", function()
        local nodes = node.cluster { count = 2, config = CONFIG, args = { delay = "0" } }
        local key = key_of(nodes[1], "k")
        nodes[2]:kill()
        local client = assert(http.connect(nodes[1].admin_port))
        client:send(http.format { method = "DELETE", path = "/keys?group=test&key=" .. key })
        pause(0.3)
        nodes[1]:signal(posix.SIGTERM)
        local r = client:response("DELETE")
        assert.equal(200, r.status, r.error)
        assert.is_truthy(r.body:find('"lease_waited":["' .. nodes[2].member, 1, true), r.body)
        assert.equal(0, nodes[1]:wait_exit().code)
    end)
end)
