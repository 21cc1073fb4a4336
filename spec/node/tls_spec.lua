-- sock:sslhandshake against real TLS servers, and against servers that are none.

local node = require "spec.support.node"
local chunk = require "spec.support.chunk"
local http = require "spec.support.http"
local posix = require "spec.support.posix"
local redis = require "spec.support.redis"
local tls = require "spec.support.tls"
local cjson = require "cjson"

local CONFIG = chunk.config([[
local kept = {}
return {
    node = { listen = listen(), scripts = { getters = 1, routes = 1 }, http = { ca = hg.args.ca } },
    groups = {
        test = { getter = function(key) return key end },
        redis = { ttl = 0, negative_ttl = 0, getter = hg.source_redis { port = tonumber(hg.args.redis or 1), tls = true,
            server_name = "localhost" } },
        wrong = { ttl = 0, negative_ttl = 0, getter = hg.source_redis { port = tonumber(hg.args.redis or 1), tls = true,
            server_name = "other.example" } },
    },
    routes = {
        ["GET /api"] = hg.serve(nil),
        @RUN@
    },
}
]], "kept = kept")

local null = cjson.null
local n, pki

local function begin(port, text)
    local head = ("local PORT = %d local function connected(...) local s = hg.socket.tcp() "
        .. "assert(s:connect('127.0.0.1', PORT, ...)) return s end "):format(port)
    return chunk.begin(n, head .. text)
end

local function run(port, text)
    return chunk.finish(begin(port, text))
end

local function raises(text, wanted)
    local ok, message = pcall(run, 1, text)
    assert.is_false(ok, text)
    assert.is_truthy(tostring(message):find(wanted, 1, true), tostring(message))
end

local function metric(name)
    return tonumber(n:admin("/metrics").body:match("\nhgcache_script_" .. name .. " (%d+)"))
end

-- A server of a kind, for as long as fn(port) runs.
local function against(identity, more, fn)
    local server = tls.server(identity, more)
    local ok, message = pcall(fn, server.port, server)
    if server.pid and posix.kill(server.pid, 0) then
        server:kill()
    end
    assert(ok, message)
end

-- A listener that the spec answers by itself.
local function quietly(text, play)
    local port = posix.free_port()
    local listener = assert(posix.listen(port, 8))
    local connection = begin(port, text)
    local fd = assert(posix.accept(listener))
    play(fd)
    local result = chunk.finish(connection)
    posix.close(fd)
    posix.close(listener)
    return result
end

describe("TLS of hg.socket", function()
    setup(function()
        pki = tls.pki()
        pki:issue("good", { names = "DNS:localhost,DNS:*.spec.example,IP:127.0.0.1" })
        pki:issue("other", { names = "DNS:other.example" })
        pki:issue("bare", { names = "IP:127.0.0.1" }) -- its subject is "bare", which is no name
        pki:issue("expired", { names = "DNS:localhost,IP:127.0.0.1", days = -1 })
        pki:issue("own", { names = "DNS:localhost,IP:127.0.0.1", self_signed = true })
        n = node.start { config = CONFIG, args = { ca = pki.ca } }
    end)
    teardown(function()
        assert.equal(0, n:stop())
        node.finish()
        tls.finish()
        redis.finish()
    end)
    after_each(function()
        assert.is_nil(n:ended())
        node.until_true(function()
            return metric("sockets") == 0
        end, 10, "no open socket of a script")
    end)

    it("talks to a server whose certificate is good", function()
        against(pki.good, nil, function(port)
            assert.same({ true, "olleh" }, run(port, [[
                local s = connected()
                local ok = assert(s:sslhandshake(false, "localhost", true))
                s:send { "hel", "lo\n" }
                return ok, (s:receive())
            ]]))
            -- The host of connect is the name unless one is given; verified unless told not to.
            assert.same({ "userdata", "ba" }, run(port, [[
                local s = connected()
                local session = assert(s:sslhandshake())
                s:send("ab\n")
                return type(session), (s:receive())
            ]]))
            assert.same({ true }, run(port, "return (connected():sslhandshake(false, 'a.spec.example', true, true))"))
        end)
        assert.is_true(metric("tls_handshakes_total") >= 3)
    end)

    for version, option in pairs { ["1.2"] = "-tls1_2", ["1.3"] = "-tls1_3" } do
        it("moves megabytes both ways and resumes sessions with TLS " .. version, function()
            against(pki.good, { "-rev", option }, function(port)
                local resumed = metric("tls_resumed_total")
                assert.same({ 3000000, true, "ba", "dc" }, run(port, [[
                    local s = connected()
                    local session = assert(s:sslhandshake(nil, "localhost"))
                    s:send("ab\n")
                    local first = s:receive()
                    s:close()
                    s = connected()
                    assert(s:sslhandshake(session, "localhost"))
                    s:send("cd\n")
                    local second = s:receive()
                    -- Lines, since the server turns each buffer of its own around.
                    local count, same = 0, true
                    hg.spawn(function() for i = 1, 300 do assert(s:send(("%04d"):format(i):rep(2499) .. "---\n")) end end)
                    while count < 3000000 do
                        local line = assert(s:receive())
                        count, same = count + #line + 1, same and line:find("^[%d-]+$") ~= nil
                    end
                    return count, same, first, second
                ]]))
                assert.equal(resumed + 1, metric("tls_resumed_total"))
            end)
        end)
    end

    it("has a session resumed only where it proves as much", function()
        against(pki.own, nil, function(port)
            local resumed = metric("tls_resumed_total")
            assert.same({ true, "18: self-signed certificate" }, run(port, [[
                local s = connected()
                local session = assert(s:sslhandshake(nil, "localhost", false))
                s:send("ab\n") s:receive() s:close()
                s = connected()
                return type(session) == "userdata", select(2, s:sslhandshake(session, "localhost", true))
            ]]))
            assert.equal(resumed, metric("tls_resumed_total"))
        end)
    end)

    it("refuses certificates of nobody, of others and of yesterday", function()
        local failures = metric("tls_failures_total")
        for name, wanted in pairs {
            own = "18: self-signed certificate", other = "62: hostname mismatch", expired = "10: certificate has expired",
        } do
            against(pki[name], nil, function(port)
                assert.same({ null, wanted, null, "closed" }, run(port, [[
                    local s = connected()
                    local ok, message = s:sslhandshake(nil, "localhost")
                    return ok, message, s:send("secret\n")
                ]]))
                assert.same({ true, "ba" }, run(port, [[
                    local s = connected()
                    local ok = assert(s:sslhandshake(false, "localhost", false))
                    s:send("ab\n")
                    return ok, (s:receive())
                ]]))
            end)
        end
        against(pki.other, nil, function(port)
            assert.same({ null, "64: IP address mismatch" }, run(port, "return connected():sslhandshake()"))
            assert.same({ true }, run(port, "return (connected():sslhandshake(false, 'other.example'))"))
        end)
        against(pki.good, nil, function(port)
            assert.same({ true }, run(port, "return (connected():sslhandshake(false, 'a.spec.example'))"))
            for _, name in ipairs { "a.b.spec.example", "spec.example" } do
                assert.same({ null, "62: hostname mismatch" }, run(port, ("return connected():sslhandshake(nil, %q)"):format(name)))
            end
            for _, name in ipairs { ".spec.example", "*.spec.example", "*", "." } do
                assert.same({ null, "bad server name", null, "closed" }, run(port, ([[
                    local s = connected()
                    local ok, message = s:sslhandshake(nil, %q)
                    return ok, message, s:send("secret\n")
                ]]):format(name)))
            end
        end)
        against(pki.bare, nil, function(port)
            assert.same({ null, "62: hostname mismatch" }, run(port, "return connected():sslhandshake(nil, 'bare')"))
        end)
        assert.equal(failures + 11, metric("tls_failures_total"))
        -- What fits no connection that has TLS already.
        against(pki.good, nil, function(port)
            assert.same({ null, "TLS was begun for another name, or not verified", null, "closed" }, run(port, [[
                local s = connected()
                assert(s:sslhandshake(nil, "localhost", false))
                local ok, message = s:sslhandshake(nil, "localhost")
                return ok, message, s:send("secret\n")
            ]]))
        end)
    end)

    it("trusts the system's certificates where none are configured", function()
        local other = node.start { config = CONFIG }
        n, other = other, n
        against(pki.good, nil, function(port)
            assert.same({ null, "20: unable to get local issuer certificate" }, run(port,
                "return connected():sslhandshake(nil, 'localhost')"))
        end)
        assert.equal(0, n:stop())
        n = other
        local broken = node.start { config = CONFIG, args = { ca = "/dev/null" } }
        n, broken = broken, n
        against(pki.good, nil, function(port)
            assert.same({ null, "the certificates to trust cannot be read" }, run(port,
                "return connected():sslhandshake(nil, 'localhost')"))
        end)
        assert.equal(0, n:stop())
        n = broken
    end)

    it("refuses what is older than TLS 1.2", function()
        against(pki.good, { "-rev", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0" }, function(port)
            local result = run(port, "return connected():sslhandshake(nil, 'localhost', false)")
            assert.equal(null, result[1])
            assert.is_truthy(result[2]:find("^handshake failed"), result[2])
        end)
    end)

    it("refuses a server without TLS, one that says nothing and one that leaves", function()
        local result = quietly("local s = connected() s:settimeout(5000) return s:sslhandshake(nil, 'localhost')", function(fd)
            posix.send(fd, "220 plain at your service\r\n")
        end)
        assert.same({ null, "handshake failed: wrong version number" }, result)
        assert.same({ null, "timeout", null, "closed", "" }, quietly([[
            local s = connected()
            s:settimeouts(100, 5000, 5000)
            local ok, message = s:sslhandshake(nil, "localhost")
            return ok, message, s:receive()
        ]], function(fd)
            assert.is_true(#posix.recv(fd, 65536) > 100)
        end))
        assert.same({ null, "closed" }, quietly("return connected():sslhandshake(nil, 'localhost')", function(fd)
            assert.is_true(#posix.recv(fd, 65536) > 100)
            posix.shutdown_write(fd)
        end))
        -- A load that is over closes it, too.
        local failures = metric("tls_failures_total")
        assert.same({ 1 }, quietly("hg.spawn(function() connected():sslhandshake() end) hg.sleep(0.05) return 1", function(fd)
            assert.is_true(#posix.recv(fd, 65536) > 100)
            posix.close(fd)
        end))
        assert.same({ 1 }, quietly("hg.spawn(function() hg.spawn(function() connected():sslhandshake() end) "
            .. "hg.sleep(0.05) end) return 1", function(fd)
            assert.is_true(#posix.recv(fd, 65536) > 100)
        end))
        node.until_true(function()
            return metric("tls_failures_total") == failures + 2
        end, 10, "two failures more")
    end)

    it("refuses bytes that came before TLS and would pass for protected", function()
        assert.same({ "+OK", null, "unread data in buffer" }, quietly([[
            local s = connected()
            local line = s:receive()
            return line, s:sslhandshake(nil, "localhost", false)
        ]], function(fd)
            posix.send(fd, "+OK\r\n+injected\r\n")
        end))
    end)

    it("begins TLS in the middle of a conversation", function()
        against(pki.good, nil, function(port)
            assert.same({ "+OK", true, "ba" }, quietly([[
                local s = connected()
                s:send("STARTTLS\r\n")
                local line = assert(s:receive())
                local ok = assert(s:sslhandshake(false, "localhost"))
                s:send("ab\n")
                return line, ok, (s:receive())
            ]], function(fd)
                assert.equal("STARTTLS\r\n", posix.recv(fd, 100))
                posix.send(fd, "+OK\r\n")
                local server = assert(http.connect(port)) -- from here it only passes on
                local pairs_of = { [fd] = server.fd, [server.fd] = fd }
                local open = true
                while open do
                    posix.poll({ { fd, posix.POLLIN }, { server.fd, posix.POLLIN } }, 10)
                    for from, to in pairs(pairs_of) do
                        local bytes = posix.poll({ { from, posix.POLLIN } }, 0) and posix.recv(from, 65536)
                        open = open and bytes ~= ""
                        if bytes and bytes ~= "" then
                            posix.send(to, bytes)
                        end
                    end
                end
                server:close()
            end))
        end)
    end)

    it("tells an end that TLS announced from one that was cut", function()
        against(pki.good, { "-www" }, function(port)
            local result = run(port, [[
                local s = connected()
                assert(s:sslhandshake(nil, "localhost"))
                s:send("GET / HTTP/1.0\r\n\r\n")
                local all, message = s:receive("*a")
                return all and all:find("^HTTP/1.0 200") ~= nil, message
            ]])
            assert.same({ true, null }, result)
        end)
        against(pki.good, nil, function(port, server)
            local connection = begin(port, [[
                local s = connected()
                assert(s:sslhandshake(nil, "localhost"))
                s:send("ab\n")
                local first = s:receive()
                hg.shared("spec"):set("said", true)
                return first, s:receive("*a")
            ]])
            node.until_true(function()
                return run(1, "return hg.shared('spec'):get('said') == true")[1]
            end, 10, "a first line")
            server:kill()
            assert.same({ "ba", null, "closed", "" }, chunk.finish(connection))
        end)
    end)

    it("checks its arguments", function()
        raises("return hg.socket.tcp():sslhandshake('x')", "bad argument #1 to 'sslhandshake'")
        raises("return hg.socket.tcp():sslhandshake(nil, 1)", "bad argument #2 to 'sslhandshake'")
        raises("return hg.socket.tcp():sslhandshake(nil, 'a', 1)", "bad argument #3 to 'sslhandshake'")
        assert.same({ null, "closed" }, run(1, "return hg.socket.tcp():sslhandshake()"))
        for _, name in ipairs { "''", "('x'):rep(256)", "'a\\0b'" } do
            quietly(([[
                local ok, message = pcall(connected().sslhandshake, connected(), nil, %s)
                assert(not ok and message:find("1 to 255 bytes", 1, true), message)
            ]]):format(name), function() end)
        end
    end)
end)

describe("TLS of pools", function()
    local server

    setup(function()
        pki = tls.pki()
        pki:issue("good", { names = "DNS:localhost,IP:127.0.0.1" })
        local port = posix.free_port()
        server = redis.start { args = { "--tls-port", tostring(port), "--tls-cert-file", pki.good.cert, "--tls-key-file",
            pki.good.key, "--tls-ca-cert-file", pki.ca, "--tls-auth-clients", "no" } }
        server.tls_port = port
        n = node.start { config = CONFIG, args = { ca = pki.ca, redis = port } }
    end)
    teardown(function()
        assert.equal(0, n:stop())
        node.finish()
        redis.finish()
        tls.finish()
    end)

    it("keep connections with their TLS", function()
        local handshakes = metric("tls_handshakes_total")
        assert.same({ 0, "+PONG", 1, "+PONG", 2 }, run(server.tls_port, [[
            local out = {}
            for i = 1, 3 do
                local s = connected()
                assert(s:sslhandshake(false, "localhost"))
                out[#out + 1] = s:getreusedtimes()
                s:send("PING\r\n")
                out[#out + 1] = s:receive()
                assert(s:setkeepalive())
            end
            out[#out] = nil
            return unpack(out)
        ]]))
        assert.equal(handshakes + 1, metric("tls_handshakes_total"))
        assert.equal(1, metric("sockets"))
    end)

    it("never lend one that was not verified to who verifies", function()
        local handshakes = metric("tls_handshakes_total")
        assert.same({ 0, 0, 1, 2, "+PONG" }, run(server.tls_port, [[
            local function open(verify, name)
                local s = connected { pool = "a" }
                assert(s:sslhandshake(false, name or "localhost", verify))
                return s, s:getreusedtimes()
            end
            local s, a = open(false)
            s:setkeepalive()
            local t, b = open(true)      -- not that one
            t:setkeepalive()             -- and now it is gone
            local u, c = open(false)     -- verified is good enough
            u:setkeepalive()
            local v, d = open(true)
            v:send("PING\r\n")
            return a, b, c, d, (v:receive())
        ]]))
        assert.equal(handshakes + 2, metric("tls_handshakes_total"))
    end)

    it("never mix TLS and plain", function()
        local mixed = metric("sockets_pool_mixed_total")
        assert.same({ true, "+PONG", 1 }, run(server.tls_port, [[
            local s, t = connected { pool = "c" }, connected { pool = "c" }
            assert(s:sslhandshake(false, "localhost"))
            assert(t:setkeepalive())             -- plain, idle
            s:send("PING\r\n")
            local line = s:receive()
            assert(s:setkeepalive())             -- the plain one goes
            local u = connected { pool = "c" }
            return u:sslhandshake(false, "localhost"), line, u:getreusedtimes()
        ]]))
        assert.equal(mixed + 1, metric("sockets_pool_mixed_total"))
        -- Out of the pool comes a plain one, TLS is asked for: another connection.
        assert.same({ 1, true, 0, "+PONG" }, run(server.tls_port, [[
            assert(connected { pool = "d" }:setkeepalive())
            local s = connected { pool = "d" }
            local before = s:getreusedtimes()
            local ok = assert(s:sslhandshake(false, "localhost"))
            s:send("PING\r\n")
            return before, ok, s:getreusedtimes(), (s:receive())
        ]]))
    end)

    it("are what hg.source_redis uses", function()
        server:command("SET", "Tom", "630")
        local handshakes = metric("tls_handshakes_total")
        for _ = 1, 3 do
            assert.equal("630", n:get("/api?group=redis&key=Tom").body)
        end
        assert.equal(404, n:get("/api?group=redis&key=none").status)
        assert.equal(handshakes + 1, metric("tls_handshakes_total"))
        assert.equal(503, n:get("/api?group=wrong&key=Tom").status)
    end)
end)
