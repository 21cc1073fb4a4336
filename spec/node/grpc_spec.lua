-- gRPC and HTTP/2 on real nodes: clients in Python and JavaScript with HgCache's own messages, curl, and frames by hand.

local node = require "spec.support.node"
local http = require "spec.support.http"
local posix = require "spec.support.posix"
local protobuf = require "spec.support.protobuf"
local grpc = require "spec.support.grpc"

local CONFIG = [[
local getters = {
    Tom = "630", empty = "", big = ("x"):rep(8 * 1024 * 1024),
}
local function getter(key)
    hg.log.info("[SlowDB] search key %s", key)
    if key:find("^slow") then
        hg.sleep(tonumber(key:match("%d+")) or 1)
        return "late"
    elseif key == "bad" then
        return nil, "why"
    elseif key == "denied" then
        return hg.fail { class = "denied", message = "not yours" }
    elseif key == "full" then
        return hg.fail { class = "unavailable", message = "come back" }
    end
    return getters[key] or key:match("^any") and "value of " .. key or nil
end
local groups = { test = { source = { retries = 0, breaker = { failures = 0 } }, expose_errors = true, getter = getter } }
if hg.args.more then
    groups.other = { getter = function(key) return "other " .. key end }
end
return {
    node = { listen = listen(), scripts = { getters = 2, routes = 1 } },
    cluster = hg.args.self and cluster { default_group = hg.args.default, tokens = { hg.args.token } } or nil,
    groups = groups,
    routes = { ["GET /api"] = hg.serve("test"), ["POST /echo"] = function(req) return req.body end },
}
]]

local function metric(n, name)
    return tonumber(n:admin("/metrics").body:match("\nhgcache_" .. name .. " (%d+)"))
end

local function curl(args)
    local pipe = io.popen("curl -s -m 20 --http2-prior-knowledge " .. args .. " 2>&1")
    local out = pipe:read("*a")
    pipe:close()
    return out
end

for client, name in pairs { python = "python3-grpcio", js = "grpc-js" } do
    describe("a client with " .. name, function()
        local n

        setup(function()
            n = node.start { config = CONFIG }
        end)
        teardown(function()
            assert.equal(0, n:stop())
            node.finish()
        end)

        local function calls(port, list)
            return grpc.calls(port, list, client)
        end
        local function call(opts)
            return calls(n.peer_port, { opts })[1]
        end

        if not grpc.is_here(client) then
            pending(name .. " is not installed (scripts/setup.sh test): none of its calls")
            return
        end

        it("gets values, with and without a group", function()
            local results = calls(n.peer_port, { { key = "Tom" }, { key = "Tom", group = "test" }, { key = "empty" } })
            assert.same({ "OK", "630", 3 }, { results[1].code, results[1].value, results[1].bytes })
            assert.equal("630", results[2].value)
            assert.same({ "OK", 0 }, { results[3].code, results[3].bytes })
        end)

        it("gets a status and a message for what is no value", function()
            local rows, asked = {
                { { key = "nobody" }, "NOT_FOUND", "no such key", 2 },
                { { key = "Tom", group = "nope" }, "NOT_FOUND", "no such group", 4 },
                { { key = "bad" }, "INTERNAL", "why", 3 },
                { { key = "denied" }, "PERMISSION_DENIED", "not yours", 3 },
                { { key = "full" }, "UNAVAILABLE", "come back", 3 },
                { { key = "" }, "INVALID_ARGUMENT", "the key is empty" },
                { { key = ("k"):rep(1025) }, "INVALID_ARGUMENT", "the key is too long" },
                { { key = "Tom", method = "/hgcache.cache.GroupCache/Put" }, "UNIMPLEMENTED", "no such method here" },
                { { key = "Tom", method = "/other.Service/Get" }, "UNIMPLEMENTED", "no such method here" },
                { { key = ("a"):rep(1000), gzip = true }, "UNIMPLEMENTED", "compressed messages are not taken" },
            }, {}
            for i, row in ipairs(rows) do
                asked[i] = row[1]
            end
            for i, result in ipairs(calls(n.peer_port, asked)) do
                local row = rows[i]
                assert.same({ row[2], row[3] }, { result.code, result.details })
                local response = result.response:gsub("%x%x", function(hex)
                    return string.char(tonumber(hex, 16))
                end)
                assert.equal(row[4], protobuf.decode(response)[10])
            end
        end)

        it("gets DEADLINE_EXCEEDED, and the load goes on", function()
            assert.equal("DEADLINE_EXCEEDED", call({ key = "slow2", timeout = 0.3 }).code)
            assert.equal("late", call({ key = "slow2", timeout = 10 }).value)
            assert.equal(1, n:count("search key slow2"))
        end)

        it("makes 5,000 calls at once on one connection", function()
            local before = metric(n, "http_http2_connections_total")
            assert.same({ OK = 5000 }, call { key = "any %d", times = 5000, timeout = 60 })
            assert.equal(before + 1, metric(n, "http_http2_connections_total"))
            assert.equal(0, metric(n, "http_http2_floods_total"))
        end)

        it("gets a value of 8 MiB", function()
            local result = call { key = "big" }
            assert.same({ "OK", 8 * 1024 * 1024 }, { result.code, result.bytes })
            assert.same({ OK = 20 }, call { key = "big", times = 20, timeout = 60 })
        end)

        it("loses no call when the node drains", function()
            local one = node.start { config = CONFIG }
            local list = { { key = "Tom" } }
            for i = 1, 20 do
                list[#list + 1] = { key = "slow2 " .. i, at_once = true, timeout = 30 }
            end
            list[#list + 1] = { pause = true }
            local running = grpc.start(one.peer_port, list, client)
            running:wait_paused()
            posix.until_true(function()
                return one:stats("test").local_loads >= 2
            end, 10, "loads")
            one:signal(posix.SIGTERM)
            running:go_on()
            for i, result in ipairs(running:results()) do
                if i <= 21 then
                    assert.equal("OK", result.code, result.details)
                end
            end
            assert.equal(0, one:wait_exit().code)
        end)
    end)
end

describe("a gRPC client", function()
    after_each(node.finish)

    if not grpc.is_here() then
        pending("python3-grpcio is not installed (scripts/setup.sh test): no tokens and no default groups over gRPC")
        return
    end

    it("may have been given several addresses", function()
        local n = node.start { config = CONFIG }
        local target = ("ipv4:127.0.0.1:%d,127.0.0.1:%d"):format(n.peer_port, n.peer_port)
        assert.equal("630", grpc.calls(target, { { key = "Tom" } })[1].value)
    end)

    it("is refused a link of the chain that is too long", function()
        local n = node.start { config = CONFIG }
        local result = grpc.calls(n.peer_port, { { key = "Tom", chain = 70000 } })[1]
        assert.same({ "INVALID_ARGUMENT", "a link of the chain is too long" }, { result.code, result.details })
    end)

    it("needs a token where there are some", function()
        local one = node.cluster { count = 1, config = CONFIG, args = { token = "geheim" } }[1]
        local results = grpc.calls(one.peer_port, { { key = "Tom" }, { key = "Tom", token = "wrong" },
            { key = "Tom", token = "geheim" } })
        assert.same({ "PERMISSION_DENIED", "PERMISSION_DENIED", "OK" },
            { results[1].code, results[2].code, results[3].code })
        assert.equal(0, one:stop())
    end)

    it("that names no group gets the default one", function()
        for default, row in pairs { [false] = { "INVALID_ARGUMENT" }, other = { "OK", "other Tom" },
            test = { "OK", "630" } } do
            local one = node.cluster { count = 1, config = CONFIG, args = { more = 1, default = default or nil } }[1]
            local result = grpc.calls(one.peer_port, { { key = "Tom" } })[1]
            assert.same(row, { result.code, result.value })
            assert.equal(0, one:stop())
        end
    end)
end)

describe("HTTP/2", function()
    local n

    setup(function()
        n = node.start { config = CONFIG }
    end)
    teardown(function()
        assert.equal(0, n:stop())
        node.finish()
    end)

    local function url(path, port)
        return ("'http://127.0.0.1:%d%s'"):format(port or n.api_port, path)
    end

    it("is answered like HTTP/1.1 on every listener", function()
        assert.equal("630", curl(url "/api?key=Tom"))
        assert.matches("^HTTP/2 404", curl("-i " .. url "/api?key=nobody"))
        assert.matches("^HTTP/2 304", curl("-i -H 'If-None-Match: *' " .. url "/api?key=Tom"))
        assert.equal("hello", curl("-d hello " .. url "/echo"))
        assert.matches("^HTTP/2 405.-allow: GET", curl("-i -X PUT " .. url "/api"))
        assert.matches("content%-length: 3", curl("-I " .. url "/api?key=Tom"))
        assert.equal("630", protobuf.decode(curl(url("/_hgcache/test/Tom", n.peer_port)))[1])
        assert.equal("live\n", curl(url("/live", n.admin_port)))
    end)

    it("is not switched to from HTTP/1.1", function()
        local pipe = io.popen("curl -s -i -m 20 --http2 " .. url "/api?key=Tom")
        assert.matches("^HTTP/1.1 200 OK\r\n.*630$", pipe:read("*a"))
        pipe:close()
    end)

    local function post(headers, body)
        local file = n.dir .. "/body"
        node.write(file, body or "\0\0\0\0\5" .. protobuf.bytes(2, "Tom"))
        return curl(("-i --data-binary @%s -H 'te: trailers' %s %s"):format(file, headers,
            url("/hgcache.cache.GroupCache/Get", n.peer_port)))
    end

    -- F10
    it("refuses what is no call of gRPC in the client's own words", function()
        local type = "-H 'content-type: application/grpc' "
        assert.matches("^HTTP/2 415", post "-H 'content-type: text/plain'")
        assert.matches("^HTTP/2 415", post "-H 'content-type: application/grpc+json'")
        for _, timeout in ipairs { "1", "99999999999H", "-1S", "1s" } do
            assert.matches("grpc%-status: 3", post(type .. "-H 'grpc-timeout: " .. timeout .. "'"))
        end
        assert.matches("grpc%-status: 4", post(type .. "-H 'grpc-timeout: 0S'"))
        assert.matches("grpc%-status: 0", post(type .. "-H 'grpc-timeout: 20S'"))
        assert.matches("^HTTP/2 200.-grpc%-status: 12", curl("-i -d x " .. type .. url "/api"))
    end)

    for _, row in ipairs {
        { "A5: a message that is none", "\0\0\0\0\1\255", 3 },
        { "A6: a message that declares 4 GiB", "\0\255\255\255\255", 8 },
        { "A8: a compressed message", "\1\0\0\0\1x", 12 },
        { "A8: a message that is cut off", "\0\0\0\0\9x", 13 },
        { "A8: more than one message", "\0\0\0\0\1xx", 13 },
    } do
        it(row[1] .. " in a call of Get is refused and counted", function()
            local before = metric(n, "peer_bad_requests_total")
            assert.matches("grpc%-status: " .. row[3], post("-H 'content-type: application/grpc' ", row[2]))
            assert.equal(before + 1, metric(n, "peer_bad_requests_total"))
        end)
    end
end)

describe("a message that declares 4 GiB", function()
    it("A6: is answered at its prefix, and the rest is not wanted", function()
        local n = node.start { config = CONFIG }
        local connection = grpc.connect(n.peer_port)
        connection:send(grpc.frame(grpc.HEADERS, 4, 1, grpc.request_head("POST", "/hgcache.cache.GroupCache/Get")
            .. grpc.head { { "content-type", "application/grpc" } }))
        connection:send(grpc.frame(grpc.DATA, 0, 1, "\0\255\255\255\255"))
        local seen
        posix.until_true(function()
            connection:pull(0.1)
            seen = {}
            for _, frame in ipairs(grpc.frames(connection:collect())) do
                if frame.stream == 1 then
                    seen[#seen + 1] = frame
                end
            end
            return #seen >= 2
        end, 10, "an answer")
        assert.same({ grpc.HEADERS, 5 }, { seen[1].type, seen[1].flags })
        assert.same({ grpc.RST_STREAM, "\0\0\0\0" }, { seen[2].type, seen[2].payload })
        connection:close()
        assert.equal(1, metric(n, "peer_bad_requests_total"))
        assert.equal(0, n:stop())
        node.finish()
    end)
end)

-- F1 to F4
describe("a flood over HTTP/2", function()
    local n

    setup(function()
        n = node.start { config = CONFIG }
    end)
    teardown(function()
        assert.equal(0, n:stop())
        node.finish()
    end)

    local CALM = 11

    -- Sends until the node has had enough. -> frames sent, GOAWAY's code
    local function flood(make, max)
        local connection = grpc.connect(n.api_port)
        local sent = 0
        while sent < max and not connection.closed do
            local bytes = {}
            for i = 1, 50 do
                bytes[i] = make(sent + i)
            end
            if not connection:send(table.concat(bytes)) then
                break
            end
            sent = sent + 50
            connection:pull(0)
        end
        local bytes = connection:read_until_closed(10)
        connection:close()
        return sent, grpc.goaway(bytes)
    end

    for name, make in pairs {
        PING = function() return grpc.frame(grpc.PING, 0, 0, "12345678") end,
        SETTINGS = function() return grpc.frame(grpc.SETTINGS, 0, 0, "") end,
        PRIORITY = function(i) return grpc.frame(grpc.PRIORITY, 0, 2 * i + 1, "\0\0\0\0\1") end,
        WINDOW_UPDATE = function() return grpc.frame(grpc.WINDOW_UPDATE, 0, 0, "\0\0\0\1") end,
        ["unknown frame"] = function() return grpc.frame(0x70, 0, 0, "x") end,
    } do
        it("of " .. name .. " frames ends that connection", function()
            local before = metric(n, "http_http2_floods_total")
            local sent, code = flood(make, 100000)
            assert.is_true(sent < 100000, name)
            -- Where it still sends when we close, a reset may overtake the GOAWAY.
            assert.is_true(code == CALM or code == nil, tostring(code))
            assert.equal(before + 1, metric(n, "http_http2_floods_total"))
            assert.equal("630", n:get("/api?key=Tom").body)
        end)
    end

    it("of empty DATA frames ends that connection", function()
        local sent = flood(function(i)
            return i == 1 and grpc.frame(grpc.HEADERS, 4, 1, grpc.request_head("POST", "/echo"))
                or grpc.frame(grpc.DATA, 0, 1, "")
        end, 100000)
        assert.is_true(sent < 100000)
    end)

    it("of requests taken back starts a burst of loads at most", function()
        local sent = flood(function(i)
            local stream = 2 * i - 1
            return grpc.frame(grpc.HEADERS, 5, stream, grpc.request_head("GET", "/api?key=any" .. i))
                .. grpc.frame(grpc.RST_STREAM, 0, stream, "\0\0\0\8")
        end, 20000)
        assert.is_true(sent < 20000)
        assert.is_true(n:stats("test").gets <= 250, n:stats("test").gets)
    end)

    it("of CONTINUATION frames ends that connection", function()
        local block = grpc.head { { "x-a", ("v"):rep(100) } }:rep(100)
        local sent = flood(function(i)
            return i == 1 and grpc.frame(grpc.HEADERS, 0, 1, grpc.request_head("GET", "/"))
                or grpc.frame(grpc.CONTINUATION, 0, 1, block)
        end, 20000)
        assert.is_true(sent < 20000)
        assert.equal("630", n:get("/api?key=Tom").body)
    end)

    it("leaves nothing behind", function()
        posix.until_true(function()
            return metric(n, "http_open") <= 1 and metric(n, "http_bad_requests_total") ~= nil
        end, 10, "all connections closed")
        assert.equal("630", curl(("'http://127.0.0.1:%d/api?key=Tom'"):format(n.api_port)))
    end)

    it("of stalled readers is bounded", function()
        local connection = grpc.connect(n.api_port)
        connection:send(grpc.frame(grpc.SETTINGS, 0, 0, "\0\4\0\0\0\0"))
        for i = 1, 100 do
            connection:send(grpc.frame(grpc.HEADERS, 5, 2 * i - 1, grpc.request_head("GET", "/api?key=big")))
        end
        -- A hundred answers of 8 MiB are one value; the slowest reader is closed when it pins more than 64 MiB for 2 s.
        connection:read_until_closed(30)
        assert.is_true(connection.closed)
        assert.equal(1, metric(n, "http_pinned_closed_total"))
        connection:close()
        assert.equal("630", n:get("/api?key=Tom").body)
    end)
end)

-- Nothing of the HTTP/1.1 front has changed for those who speak it byte by byte.
describe("a connection that begins like HTTP/2's preface", function()
    it("is HTTP/1.1 when it goes on otherwise", function()
        local n = node.start { config = CONFIG }
        local connection = assert(http.connect(n.api_port))
        for c in ("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\nhi"):gmatch(".") do
            assert(connection:send(c))
        end
        assert.equal("hi", connection:response("POST").body)
        connection:close()
        assert.equal(0, n:stop())
        node.finish()
    end)
end)
