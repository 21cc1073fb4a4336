-- FAULTS, part E: HTTP/1.1 that is wrong, hostile or merely odd, against a real node.

local node = require "spec.support.node"
local http = require "spec.support.http"
local posix = require "spec.support.posix"

local CONFIG = [[
return {
    node = { listen = listen(), limits = { header_timeout = hg.args.slow and "300ms" or "10s",
        idle_timeout = hg.args.slow and "300ms" or "60s" } },
    groups = { test = { getter = function(key) if key == "big" then return ("x"):rep(4194304) end return "<" .. key
        .. ">" end } },
    routes = {
        ["GET /api"] = hg.serve("test"),
        ["GET /p/:key"] = hg.serve("test", { key = "{path.key}" }),
        ["GET /rest/*key"] = hg.serve("test", { key = "{path.key}" }),
        ["POST /echo"] = function(req) return "[" .. req.body .. "]" end,
    },
}
]]

local n

-- Statuses of everything that came back, and whether the connection was closed.
local function exchange(bytes, timeout)
    local data, closed = http.raw(n.api_port, bytes, { timeout = timeout or 1 })
    local statuses, at, method = {}, 1, bytes:match("^%u+")
    while at <= #data do
        local response, stop = http.parse(data, at, method, closed)
        if not response or response.error then
            break
        end
        statuses[#statuses + 1] = response.status
        at = stop
    end
    return statuses, closed, data
end

-- One answer of this status, then the connection is closed. What follows is never taken for a request.
local function refused(bytes, status)
    local statuses, closed, data = exchange(bytes, 5)
    assert.same({ status }, statuses, ("%q -> %q"):format(bytes:sub(1, 80), data:sub(1, 200)))
    assert.is_true(closed, ("%q leaves the connection open"):format(bytes:sub(1, 80)))
    assert.is_nil(data:find("<smuggled>", 1, true))
end

local GET = "GET /api?key=a HTTP/1.1\r\n"
local HOST = "Host: x\r\n"
local AFTER = "GET /api?key=smuggled HTTP/1.1\r\nHost: x\r\n\r\n"

local function post(headers, body)
    return "POST /echo HTTP/1.1\r\nHost: x\r\n" .. headers .. "\r\n" .. (body or "")
end

describe("HTTP/1.1", function()
    setup(function()
        n = node.start { config = CONFIG }
    end)
    teardown(function()
        assert.is_nil(n:ended(), n:log())
        assert.equal(0, n:stop())
        node.finish()
    end)

    it("E2: closes on too much header with 431", function()
        refused(GET .. HOST .. "X: " .. ("x"):rep(100 * 1024) .. "\r\n\r\n", 431)
        refused(GET .. HOST .. ("X-A: b\r\n"):rep(10000) .. "\r\n", 431)
        refused(GET .. HOST .. ("x"):rep(1024 * 1024), 431)
        refused(GET .. HOST .. ("X: " .. ("y"):rep(1000) .. "\r\n"):rep(1024), 431)
        refused(GET .. HOST .. ("A: b\r\n"):rep(100) .. "\r\n", 431)
        assert.same({ 200 }, (exchange(GET .. HOST .. ("A: b\r\n"):rep(99) .. "\r\n")))
    end)

    it("E3: answers a flood of pipelined requests in order", function()
        local connection = assert(http.connect(n.api_port))
        local out = {}
        for i = 1, 5000 do
            out[i] = ("GET /api?key=%d HTTP/1.1\r\nHost: x\r\n\r\n"):format(i)
        end
        assert(connection:send(table.concat(out), 60))
        for i = 1, 5000 do
            local r = connection:response("GET", 60)
            if r.body ~= "<" .. i .. ">" then
                assert.equal("<" .. i .. ">", r.body or r.error)
            end
        end
        connection:close()
    end)

    for _, headers in ipairs {
        "Content-Length: 1\r\nContent-Length: 1\r\n", "Content-Length: 1\r\nContent-Length: 2\r\n",
        "Content-Length: 1, 1\r\n",
        "Content-Length: +3\r\n", "Content-Length: 0x3\r\n", "Content-Length: -1\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Content-Length: \r\n", "Content-Length: 1 1\r\n", "Content-Length: a\r\n",
    } do
        it("E4: refuses " .. headers:gsub("\r\n", "|"), function()
            refused(post(headers, "abc" .. AFTER), 400)
        end)
    end

    for _, headers in ipairs {
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n", "Transfer-Encoding: ,chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: identity\r\n", "Transfer-Encoding: \r\n", "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding:\11chunked\r\n", "Transfer-Encoding : chunked\r\n",
    } do
        it("E5: refuses " .. headers:gsub("\r\n", "|"), function()
            local statuses, closed, data = exchange(post(headers, "0\r\n\r\n" .. AFTER), 5)
            assert.equal(1, #statuses, data)
            assert.is_true(statuses[1] == 400 or statuses[1] == 501, data)
            assert.is_true(closed)
            assert.is_nil(data:find("<smuggled>", 1, true))
        end)
    end

    it("E5: refuses Transfer-Encoding with HTTP/1.0", function()
        refused("POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" .. AFTER, 400)
    end)

    for _, headers in ipairs {
        "A: b\r\n c\r\n", "A: b\r\n\tc\r\n", "A : b\r\n", " A: b\r\n", "A: b\rc\r\n", "A: b\nC: d\r\n", "A: b\0c\r\n",
        ": b\r\n",
        "\195\169: b\r\n", "A\0: b\r\n", "A b: c\r\n", "A\r\n", "A(: b\r\n",
    } do
        it(("E6: refuses %q"):format(headers), function()
            refused(GET .. HOST .. headers .. "\r\n" .. AFTER, 400)
        end)
    end

    it("E6: takes bytes above 127 in a field's value", function()
        assert.same({ 200 }, (exchange(GET .. HOST .. "A: \128\133\160\255\r\n\r\n")))
    end)

    it("E7: takes good chunks, with extensions and trailers dropped", function()
        local statuses, _, data = exchange(post("Transfer-Encoding: chunked\r\n",
            "3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: y\r\n\r\n") .. AFTER)
        assert.same({ 200, 200 }, statuses)
        assert.is_truthy(data:find("[abcde]", 1, true))
    end)

    for _, body in ipairs {
        "0x1\r\na\r\n0\r\n\r\n", "+1\r\na\r\n0\r\n\r\n", "1 ;a\r\na\r\n0\r\n\r\n",
        "10000000000000001\r\na\r\n0\r\n\r\n", "1\na\r\n0\r\n\r\n",
        "1\r\naX0\r\n\r\n", "1\r\na\n0\r\n\r\n", "-1\r\na\r\n0\r\n\r\n", "\r\n", "g\r\n", "1;" .. ("e"):rep(1048576)
        .. "\r\na\r\n0\r\n\r\n",
        "0\r\nContent-Length : 5\r\n\r\n", "1\r\na\r\n0\r\n: x\r\n\r\n",
    } do
        it(("E7: refuses the chunks %q"):format(body:sub(1, 24)), function()
            local statuses, closed, data = exchange(post("Transfer-Encoding: chunked\r\n", body .. AFTER), 5)
            assert.equal(1, #statuses, data:sub(1, 200))
            assert.is_true(statuses[1] == 400 or statuses[1] == 413 or statuses[1] == 431, tostring(statuses[1]))
            assert.is_true(closed)
            assert.is_nil(data:find("<smuggled>", 1, true))
        end)
    end

    it("E8: wants exactly one good Host", function()
        refused(GET .. "\r\n" .. AFTER, 400)
        refused(GET .. HOST .. HOST .. "\r\n" .. AFTER, 400)
        for _, host in ipairs { "a/b", "user@x", "a\0b", "a,b", "a b", "a:b:c" } do
            refused(GET .. "Host: " .. host .. "\r\n\r\n" .. AFTER, 400)
        end
        assert.same({ 200 }, (exchange(GET .. "Host: [::1]:80\r\n\r\n")))
        assert.same({ 200 }, (exchange("GET /api?key=a HTTP/1.0\r\n\r\n")))
    end)

    it("E9: knows the forms of a target", function()
        local function target(text)
            return (exchange("GET " .. text .. " HTTP/1.1\r\nHost: x\r\n\r\n"))
        end
        assert.same({ 200 }, target("http://x/api?key=a"))
        for _, text in ipairs { "x:80", "/api?key=a#f", "http://u@x/api?key=a", "api?key=a" } do
            local statuses = target(text)
            assert.equal(1, #statuses)
            assert.equal(400, statuses[1], text)
        end
        refused("GET /api?key=a\1 HTTP/1.1\r\nHost: x\r\n\r\n", 400)
        refused("GET /" .. ("x"):rep(9 * 1024) .. " HTTP/1.1\r\nHost: x\r\n\r\n", 414)
        assert.same({ 400 }, target("*"))
        local statuses = exchange("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
        assert.equal(1, #statuses)
        assert.is_true(statuses[1] < 400, tostring(statuses[1]))
    end)

    it("E10: decodes percent escapes once, after splitting", function()
        local rows = {
            { "/api?key=%2e%2e%2f", "<../>" }, { "/p/a%2Fb", "<a/b>" }, { "/p/a%2fb", "<a/b>" }, { "/api?key=a%2Fb",
            "<a/b>" },
            { "/api?key=a/b", "<a/b>" }, { "/api?key=%00", "<\0>" }, { "/api?key=%c0%ae", "<\192\174>" },
            { "/api?key=%252e", "<%2e>" },
            { "/api?key=a+b", "<a b>" }, { "/p/a+b", "<a+b>" }, { "/api?key=a%2Bb", "<a+b>" }, { "/api?key=a;b",
            "<a;b>" },
            { "/api?key=a%26key=b", "<a&key=b>" }, { "/api?key=a&other=b", "<a>" }, { "/rest/a/b%2Fc//d",
            "<a/b/c//d>" },
            { "/%61pi?key=a", "<a>" }, { "/api?%6bey=a", "<a>" }, { "/api?key=a=b", "<a=b>" },
        }
        for _, row in ipairs(rows) do
            local r = n:get(row[1])
            assert.equal(200, r.status, row[1])
            assert.equal(row[2], r.body, row[1])
        end
        for _, path in ipairs { "/api?key=%", "/api?key=%zz", "/api?key=%2", "/p/%zz", "/p/%", "/api", "/api?key=",
            "/api?key=a&key=b",
            "/api?key=a&key=a", "/api?key" } do
            assert.equal(400, n:get(path).status, path)
        end
        for _, path in ipairs { "/nothing", "/api/", "//api?key=a", "/p/a/b", "/p/" } do
            assert.equal(404, n:get(path).status, path)
        end
    end)

    it("E12: never takes a body for a request", function()
        for _, method in ipairs { "GET", "HEAD" } do
            local statuses, closed,
                data = exchange(("%s /api?key=a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"):format(
                method, #AFTER, AFTER))
            assert.is_true(statuses[1] == 200 or closed)
            assert.is_nil(data:find("<smuggled>", 1, true))
        end
        local _, _, data = exchange("GET /api?key=a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" .. AFTER)
        assert.is_nil(data:find("<smuggled>", 1, true))
        local statuses
        statuses, _,
            data = exchange("GET /api?key=a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
            .. "HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n" .. AFTER)
        assert.equal(200, statuses[1], data)
        local connection = assert(http.connect(n.api_port))
        connection:send(post("Content-Length: 3\r\nExpect: 100-continue\r\n"))
        connection:send("abc")
        assert.equal("[abc]", connection:response().body)
        connection:close()
        for _, method in ipairs { "CONNECT x:80", "TRACE /api?key=a" } do
            local closed
            statuses, closed, data = exchange(method .. " HTTP/1.1\r\nHost: x\r\n\r\n" .. AFTER)
            assert.is_true(statuses[1] >= 400, data)
            assert.is_true(closed or #statuses == 2)
        end
    end)

    it("E13: knows methods and versions", function()
        local r = n:get("/api?key=a", { method = "POST", body = "" })
        assert.equal(405, r.status)
        assert.is_truthy(r.headers.allow:find("GET", 1, true))
        assert.equal(405, n:get("/echo").status)
        local statuses = exchange("BREW /api?key=a HTTP/1.1\r\nHost: x\r\n\r\n")
        assert.is_true(statuses[1] == 501 or statuses[1] == 405 or statuses[1] == 400, tostring(statuses[1]))
        statuses = exchange("get /api?key=a HTTP/1.1\r\nHost: x\r\n\r\n")
        assert.is_true(statuses[1] == 501 or statuses[1] == 400, tostring(statuses[1]))
        for _, version in ipairs { "HTTP/1.10", "HTTP/2.0", "HTTP/3.0", "HTTPS/1.1", "HTTP/1.2", "http/1.1" } do
            local closed
            statuses, closed = exchange("GET /api?key=a " .. version .. "\r\nHost: x\r\n\r\n", 5)
            assert.is_true(#statuses == 0 or statuses[1] == 505 or statuses[1] == 400, version)
            assert.is_true(closed)
        end
        local _, closed, data = exchange("GET /api?key=a\r\n\r\n", 5)
        assert.is_true(closed)
        assert.is_nil(data:find("<a>", 1, true))
        assert.same({ 200 }, (exchange("\r\n" .. GET .. HOST .. "\r\n")))
        refused(("\r\n"):rep(100000) .. AFTER, 400)
    end)

    it("E14: survives resets and half-closed connections in each state", function()
        local whole = GET .. HOST .. "\r\n"
        for cut = 0, #whole do
            local connection = assert(http.connect(n.api_port))
            connection:send(whole:sub(1, cut))
            connection:reset()
        end
        for _ = 1, 300 do
            assert(http.connect(n.api_port)):close()
        end
        local connection = assert(http.connect(n.api_port))
        connection:send(whole)
        connection:half_close()
        assert.equal("<a>", connection:response().body)
        connection:close()
        connection = assert(http.connect(n.api_port, { receive_buffer = 4096 }))
        connection:send("GET /api?key=big HTTP/1.1\r\nHost: x\r\n\r\n")
        connection:pull(5)
        connection:reset()
        assert.equal(200, n:get("/api?key=a").status)
    end)

    it("E15: takes a request one byte at a time, and cut at every byte", function()
        local requests = {
            GET .. HOST .. "\r\n", post("Content-Length: 3\r\n", "abc"), post("Transfer-Encoding: chunked\r\n",
                "3\r\nabc\r\n0\r\n\r\n"),
            "HEAD /api?key=a HTTP/1.1\r\nHost: x\r\nIf-None-Match: \"x\"\r\n\r\n",
        }
        local methods = { "GET", "POST", "POST", "HEAD" }
        for i, request in ipairs(requests) do
            local whole = assert(http.connect(n.api_port))
            whole:send(request)
            local wanted = whole:response(methods[i])
            whole:close()
            assert.equal(200, wanted.status)
            local connection = assert(http.connect(n.api_port))
            for at = 1, #request do
                connection:send(request:sub(at, at))
            end
            assert.equal(wanted.body, connection:response(methods[i]).body)
            for cut = 1, #request - 1 do
                connection:send(request:sub(1, cut))
                connection:send(request:sub(cut + 1))
                local r = connection:response(methods[i])
                assert.equal(wanted.status, r.status or r.error)
                assert.equal(wanted.body, r.body)
            end
            connection:close()
        end
    end)

    it("E17: keeps each answer with its own request", function()
        local a, b = assert(http.connect(n.api_port)), assert(http.connect(n.api_port))
        for i = 1, 200 do
            a:send(("GET /api?key=a%d HTTP/1.1\r\nHost: x\r\n\r\n"):format(i))
            b:send(("GET /api?key=b%d HTTP/1.1\r\nHost: x\r\n\r\n"):format(i))
            b:send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n" .. (i % 10) .. "b")
            local r = a:response()
            assert.equal("<a" .. i .. ">", r.body or r.error)
            assert.equal("<b" .. i .. ">", b:response().body)
            assert.equal("[" .. i % 10 .. "b]", b:response().body)
        end
        a:close()
        b:close()
    end)

    it("answers HEAD, ETag and conditional requests", function()
        local r = n:get("/api?key=etag")
        assert.is_truthy(r.headers.etag:find('^"%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x"$'))
        assert.equal("application/octet-stream", r.headers["content-type"])
        assert.is_truthy(r.headers.age)
        assert.equal("hgcache; fwd=miss", (r.headers["cache-status"]:gsub("; ttl=%d+", "")))
        local head = n:get("/api?key=etag", { method = "HEAD" })
        assert.equal(200, head.status)
        assert.equal("6", head.headers["content-length"])
        assert.equal(r.headers.etag, head.headers.etag)
        local not_modified = n:get("/api?key=etag", { headers = { ["If-None-Match"] = r.headers.etag } })
        assert.equal(304, not_modified.status)
        assert.equal("", not_modified.body)
        assert.equal(304, n:get("/api?key=etag", { headers = { ["If-None-Match"] = "*" } }).status)
        assert.equal(200, n:get("/api?key=etag", { headers = { ["If-None-Match"] = '"0000000000000000"' } }).status)
        assert.is_truthy(n:get("/api?key=etag").headers["cache-status"]:find("^hgcache; hit"))
    end)
end)

describe("HTTP/1.1 time-outs", function()
    after_each(node.finish)

    it("E1: a slow header and a slow body are closed, whatever trickles in", function()
        n = node.start { config = CONFIG, args = { slow = 1 } }
        for _, start in ipairs { "GET /api?key=a HTTP/1.1\r\nX: ", post("Content-Length: 100\r\n") } do
            local connection = assert(http.connect(n.api_port))
            connection:send(start)
            local limit = posix.now() + 10
            while not connection.closed and posix.now() < limit do
                connection:send("x")
                connection:pull(0.05)
            end
            assert.is_true(connection.closed)
            connection:close()
        end
        local idle = assert(http.connect(n.api_port))
        local _, closed = idle:read_until_closed(10)
        assert.is_true(closed, "an idle connection is closed")
        idle:close()
        assert.equal(200, n:get("/api?key=a").status)
        assert.equal(0, n:stop())
    end)
end)
