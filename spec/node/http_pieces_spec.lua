-- hg.http in pieces: answers that are read and bodies that are sent piece by piece, against a server that the spec plays itself.

local node = require "spec.support.node"
local chunk = require "spec.support.chunk"
local posix = require "spec.support.posix"
local cjson = require "cjson"

local CONFIG = chunk.config([[
return {
    node = {
        listen = listen(), scripts = { getters = 1, routes = 1 }, limits = { value = "1MiB", body = "16MiB" },
        script = { budget = "5s" }, http = { concurrency = 4, per_load = 100 },
    },
    groups = { test = { getter = function(key) return key end } },
    routes = {
        ["POST /count"] = function(req)
            local framing = req.headers["transfer-encoding"] or req.headers["content-length"]
            return #req.body .. " " .. framing .. " " .. req.body:sub(-4)
        end,
        ["GET /see-other"] = function() return 303, "gone", { Location = "/final" } end,
        ["POST /see-other"] = function() return 303, "gone", { Location = "/final" } end,
        ["POST /again"] = function() return 307, "again", { Location = "/count" } end,
        ["GET /final"] = function() return "final" end,
        @RUN@
    },
}
]])

local n, listener, port
local null = cjson.null

local function begin(text)
    local head = ([[
        local URL, SELF = "http://127.0.0.1:%d/", "http://127.0.0.1:%d"
        local function open(opts)
            local all = { url = URL, stream = true }
            for name, value in pairs(opts or {}) do all[name] = value end
            return hg.http.request(all)
        end
    ]]):format(port, n.api_port):gsub("\n", " ")
    return chunk.begin(n, head .. text)
end

local function run(text)
    return chunk.finish(begin(text))
end

-- Up to the end of a request's head.
local function head_of(fd)
    local got = ""
    while not got:find("\r\n\r\n", 1, true) do
        local bytes = assert(posix.recv(fd))
        assert(bytes ~= "", "closed after " .. got)
        got = got .. bytes
    end
    return got
end

-- Runs it while server(fd) plays the origin of its one connection.
local function talk(text, server)
    local connection = begin(text)
    local fd = assert(posix.accept(listener))
    head_of(fd)
    server(fd)
    local result = chunk.finish(connection)
    posix.close(fd)
    return result
end

local function raises(text, wanted)
    local ok, message = pcall(run, text)
    assert.is_false(ok, text)
    assert.is_truthy(tostring(message):find(wanted, 1, true), tostring(message))
end

local function metric(name)
    return tonumber(n:admin("/metrics").body:match("\nhgcache_fetch_" .. name .. " (%d+)"))
end

local function closed_by_node(fd)
    return node.until_true(function()
        local bytes = posix.poll({ { fd, posix.POLLIN } }, 0) and posix.recv(fd)
        return bytes == ""
    end, 10, "the end of a connection")
end

describe("hg.http in pieces", function()
    setup(function()
        n = node.start { config = CONFIG }
        port = posix.free_port()
        listener = assert(posix.listen(port, 64))
    end)
    teardown(function()
        posix.close(listener)
        assert.equal(0, n:stop())
        node.finish()
    end)
    after_each(function()
        assert.is_nil(n:ended())
        node.until_true(function()
            return metric("running") == 0
        end, 10, "no request under way")
    end)

    it("reads an answer as it comes", function()
        local result = talk([[
            local a = assert(open())
            local out = { a.status, a.headers["x-a"], a.body or "none", a:read(3), a:read() }
            hg.shared("spec"):set("read", 1)
            repeat local piece = assert(a:read()) out[#out + 1] = piece until piece:find("!")
            return unpack({ unpack(out, 1, 5), #out > 5, (a:read()), select("#", a:read()), a:close(), a:close() }, 1, 10)
        ]], function(fd)
            posix.send(fd, "HTTP/1.1 206 Part\r\nX-A: b\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
            node.until_true(function()
                return run("return hg.shared('spec'):get('read') or 0")[1] == 1
            end, 10, "the first piece read")
            posix.send(fd, "6\r\n world\r\n1\r\n!\r\n0\r\n\r\n")
        end)
        assert.equal(206, result[1])
        assert.same({ true, null, 1, true, false }, { result[2], result[3], result[4], result[5], result[6] })
    end)

    it("stops reading while nobody takes", function()
        local sent = 0
        local result = talk([[
            local a = assert(open { max_body = "64MiB" })
            while not hg.shared("spec"):get("go") do hg.sleep(0.01) end
            local count, longest, piece = 0, 0, nil
            repeat
                piece = a:read(10000)
                count, longest = count + #(piece or ""), math.max(longest, #(piece or ""))
            until not piece
            return count, longest
        ]], function(fd)
            local total, block = 32 * 1024 * 1024, ("x"):rep(65536)
            posix.send(fd, ("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"):format(total))
            local function fill(limit)
                while sent < total and posix.poll({ { fd, posix.POLLOUT } }, limit) do
                    sent = sent + assert(posix.send(fd, block:sub(1, math.min(#block, total - sent))))
                end
            end
            fill(0.3)
            assert.is_true(sent < total / 2, "it took " .. sent .. " bytes that nobody read")
            run "hg.shared('spec'):set('go', true)"
            fill(10)
        end)
        assert.same({ 32 * 1024 * 1024, 10000 }, result)
    end)

    it("keeps its limits", function()
        -- The size, of what is announced and of what is not, after unpacking.
        local too_large = metric("too_large_total")
        assert.same({ null, "the answer is larger than 1048576 bytes", "too_large" }, talk("return open()", function(fd)
            posix.send(fd, "HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\n\r\n")
        end))
        assert.same({ 100, null, "the answer is larger than 150 bytes", "too_large" }, talk([[
            local a = assert(open { max_body = 150 })
            local first = a:read()
            return #first, a:read()
        ]], function(fd)
            posix.send(fd, "HTTP/1.1 200 OK\r\n\r\n" .. ("x"):rep(100))
            posix.pause(0.1)
            posix.send(fd, ("x"):rep(100))
        end))
        local packed = io.popen("head -c 30000000 /dev/zero | gzip -9")
        local bomb = packed:read("*a")
        packed:close()
        local result = talk([[
            local a = assert(open { compression = true, max_body = "2MiB" })
            local count, piece, message, code = 0
            repeat piece, message, code = a:read() count = count + #(piece or "") until not piece
            return count <= 2 * 1024 * 1024, code
        ]], function(fd)
            posix.send(fd, ("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s"):format(#bomb, bomb))
        end)
        assert.same({ true, "too_large" }, result)
        assert.equal(too_large + 3, metric("too_large_total"))
        -- The time, reading too.
        assert.same({ "x", null, "the origin did not answer in time", "timeout" }, talk([[
            local a = assert(open { timeout = 0.2 })
            return a:read(), a:read()
        ]], function(fd)
            posix.send(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx")
        end))
        -- Cut short.
        local cut = talk("local a = assert(open()) return a:read(), a:read()", function(fd)
            posix.send(fd, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nx")
            posix.pause(0.1)
            posix.shutdown_write(fd)
        end)
        assert.equal("x", cut[1])
        assert.equal("unavailable", cut[4])
    end)

    it("counts open answers as requests under way", function()
        local connection = begin [[
            local list, message, code = {}
            for i = 1, 5 do list[i], message, code = open() end
            local found = #list
            list[1]:close()
            local again = open()
            return found, message, code, again and again.status
        ]]
        local fds = {}
        for i = 1, 5 do
            fds[i] = assert(posix.accept(listener))
            head_of(fds[i])
            posix.send(fds[i], "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx")
        end
        assert.same({ 4, "more requests at a time than node.http.concurrency", "unavailable", 200 }, chunk.finish(connection))
        for i = 1, 5 do -- with the task they end, all of them
            closed_by_node(fds[i])
            posix.close(fds[i])
        end
        assert.equal(0, metric("running"))
    end)

    it("closes answers that nobody has any more", function()
        local connection = begin [[
            do local a = assert(open()) end
            for _ = 1, 3 do collectgarbage() end
            hg.shared("spec"):set("dropped", 1)
            while not hg.shared("spec"):get("seen") do hg.sleep(0.01) end
            return 1
        ]]
        local fd = assert(posix.accept(listener))
        head_of(fd)
        posix.send(fd, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx")
        closed_by_node(fd)
        posix.close(fd)
        run "hg.shared('spec'):set('seen', true)"
        assert.same({ 1 }, chunk.finish(connection))
    end)

    it("answers who reads with the end when another one closes", function()
        assert.same({ null, "closed", "internal", true }, talk([[
            local a = assert(open())
            local raised
            hg.spawn(function()
                hg.sleep(0.05)
                raised = not pcall(a.read, a)
                a:close()
            end)
            local piece, message, code = a:read()
            return piece, message, code, raised
        ]], function(fd)
            posix.send(fd, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
        end))
    end)

    it("sends a body that a function gives", function()
        for _, size in ipairs { 1, 1000, 65536, 300000 } do
            local count = math.ceil(3000000 / size) + 1
            assert.same({ 200, ("%d chunked last"):format(size * count + 4) }, run(([[
                local left = %d
                local a = assert(hg.http.request { method = "POST", url = SELF .. "/count", body = function()
                    left = left - 1
                    if left == 100 then hg.sleep(0.01) end
                    return left >= 0 and ("x"):rep(%d) or left == -1 and "last" or left == -2 and "" or nil
                end })
                return a.status, a.body
            ]]):format(count, size)))
        end
        assert.same({ "5 5 ello" }, run [[
            local pieces = { "h", "", "ello" }
            return assert(hg.http.request { method = "POST", url = SELF .. "/count", body_length = 5, body = function()
                return table.remove(pieces, 1)
            end }).body
        ]])
        assert.same({ "0 chunked " }, run
            [[return assert(hg.http.post(SELF .. "/count", function() end)).body]])
    end)

    it("passes an answer on as a body, through itself", function()
        assert.same({ "900000 chunked abcd" }, talk([[
            local from = assert(open())
            return assert(hg.http.post(SELF .. "/count", function() return from:read() end)).body
        ]], function(fd)
            posix.send(fd, "HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n")
            local body, at = ("abcd"):rep(225000), 1
            while at <= #body do
                posix.poll({ { fd, posix.POLLOUT } }, 10)
                at = at + posix.send(fd, body, at)
            end
        end))
    end)

    it("gives a body up that cannot be given", function()
        assert.same({ null, "the source is gone", "internal" }, run
            [[return hg.http.post(SELF .. "/count", function() return nil, "the source is gone" end)]])
        raises([[return hg.http.post(SELF .. "/count", function() error("on purpose") end)]], "on purpose")
        raises([[return hg.http.post(SELF .. "/count", function() return 7 end)]], "expected a string or nil from the function")
        raises([[return hg.http.post(SELF .. "/count", function() return "abc" end, { body_length = 4 })]], "more than body_length")
        raises([[local once = true return hg.http.post(SELF .. "/count", function()
            if once then once = false return "abc" end end, { body_length = 4 })]], "3 bytes, and body_length is 4")
        -- Who answers before the end is heard.
        assert.same({ 413, "no" }, talk([[
            local a = assert(hg.http.post(URL, function() hg.sleep(0.001) return ("x"):rep(1000) end))
            return a.status, a.body
        ]], function(fd)
            posix.send(fd, "HTTP/1.1 413 Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        end))
        -- A receiver that does not take: the function is not asked for more than fits.
        local result = talk([[
            local asked = 0
            local _, _, code = hg.http.post(URL, function() asked = asked + 1 return ("x"):rep(65536) end, { timeout = 0.3 })
            return asked, code
        ]], function() end)
        assert.equal("timeout", result[2])
        assert.is_true(result[1] < 200, "asked " .. result[1] .. " times")
    end)

    it("takes the answer of an origin that answers while it reads", function()
        -- An echo: it reads a piece only once the one before is taken.
        local function echo(fd)
            local total, at = 4 * 1024 * 1024, 0
            posix.send(fd, ("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"):format(total))
            while at < total do
                local bytes = posix.poll({ { fd, posix.POLLIN } }, 10) and posix.recv(fd, 65536) or ""
                local from, count = 1, math.min(#bytes, total - at)
                assert(count > 0, "nothing more after " .. at)
                while from <= count do
                    assert(posix.poll({ { fd, posix.POLLOUT } }, 10), "nobody reads")
                    from = from + (posix.send(fd, bytes:sub(from, count)) or 0)
                end
                at = at + count
            end
        end
        local body = [[
            local left = 65
            local function body() left = left - 1 return left >= 0 and ("x"):rep(65536) or nil end
        ]]
        assert.same({ 200, 4 * 1024 * 1024 }, talk(body .. [[
            local a = assert(hg.http.post(URL, body, { max_body = "16MiB", body_length = 65 * 65536, timeout = 20 }))
            return a.status, #a.body
        ]], echo))
        assert.same({ 200, true, 4 * 1024 * 1024, false }, talk(body .. [[
            local a = assert(hg.http.request { method = "POST", url = URL, body = body, body_length = 65 * 65536,
                stream = true, max_body = "16MiB", timeout = 20 })
            local before, count = left, 0
            repeat
                local piece, message = a:read(50000)
                if message then error(message) end
                count = count + #(piece or "")
            until not piece
            return a.status, before > 0, count, a:read() ~= nil
        ]], echo))
        assert.same({ null, "the answer is larger than 100000 bytes", "too_large" }, talk(body .. [[
            return hg.http.post(URL, body, { max_body = 100000, timeout = 20 })
        ]], function(fd)
            posix.send(fd, "HTTP/1.1 200 OK\r\n\r\n" .. ("x"):rep(100001))
        end))
    end)

    it("takes a whole answer for the result, whatever is left to send", function()
        for _, answer in ipairs { "Content-Length: 2\r\n\r\nok", "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" } do
            for _, status in ipairs { 200, 413 } do
                for _, stream in ipairs { "false", "true" } do
                    assert.same({ status, "ok", null }, talk(([[
                        local a = assert(hg.http.request { method = "POST", url = URL, stream = %s, timeout = 20,
                            body = function() hg.sleep(0.001) return ("x"):rep(60000) end })
                        return a.status, a.body or a:read(), a.read and a:read() or nil
                    ]]):format(stream), function(fd) -- it stays, and reads no more
                        posix.send(fd, ("HTTP/1.1 %d Here\r\n%s"):format(status, answer))
                    end))
                end
            end
        end
        -- Before its end it is none.
        local result = talk([[
            return hg.http.post(URL, function() hg.sleep(0.001) return ("x"):rep(60000) end, { timeout = 0.3 })
        ]], function(fd)
            posix.send(fd, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok")
        end)
        assert.same({ null, "timeout" }, { result[1], result[3] })
    end)

    it("goes on sending beside an answer that is read", function()
        assert.same({ 200, "a", "b", null, 2 }, talk([[
            local asked = 0
            local a = assert(hg.http.request { method = "POST", url = URL, stream = true, timeout = 20, body = function()
                asked = asked + 1
                if asked > 1 then return nil end
                return ("x"):rep(8 * 1024 * 1024)
            end })
            return a.status, a:read(), a:read(), a:read(), asked
        ]], function(fd)
            posix.send(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
            local got = ""
            while not got:find("\r\n0\r\n\r\n", 1, true) do
                local bytes = assert(posix.poll({ { fd, posix.POLLIN } }, 10) and posix.recv(fd, 65536))
                got = got:sub(-20) .. bytes
            end
            posix.send(fd, "1\r\nb\r\n0\r\n\r\n")
        end))
        -- What goes wrong with the body is told who reads.
        for body, wanted in pairs {
            ["return nil, 'gone'"] = { true, null, "gone", "internal" },
            ["error('on purpose', 0)"] = { false, "on purpose" },
            ["return pcall(a.read, a)"] = { false, "body: expected a string or nil from the function, found a boolean" },
        } do
            assert.same(wanted, talk(([[
                local a
                local first = true
                a = assert(hg.http.request { method = "POST", url = URL, stream = true, timeout = 20, body = function()
                    if first then first = false return ("x"):rep(8 * 1024 * 1024) end
                    %s
                end })
                return pcall(a.read, a)
            ]]):format(body), function(fd)
                posix.send(fd, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n")
                while posix.poll({ { fd, posix.POLLIN } }, 10) do
                    local bytes = posix.recv(fd, 65536)
                    if not bytes or bytes == "" then
                        break
                    end
                end
            end))
        end
    end)

    it("looks at the time between the pieces of a body", function()
        local began = posix.now()
        for _, piece in ipairs { "''", "'x'" } do
            local result = talk(([[
                local asked = 0
                local _, _, code = hg.http.post(URL, function()
                    asked = asked + 1
                    hg.sleep(0.02)
                    return asked < 1000 and %s or nil
                end, { timeout = 0.2 })
                return code, asked < 500
            ]]):format(piece), function() end)
            assert.same({ "timeout", true }, result)
        end
        assert.is_true(posix.now() - began < 10)
    end)

    it("unpacks one coding, and no more than it may", function()
        local function gzip(command)
            local packed = io.popen(command)
            local bytes = packed:read("*a")
            packed:close()
            return bytes
        end
        local twice = gzip("head -c 150000000 /dev/zero | gzip -9 | gzip -9")
        for fields, wanted in pairs {
            ["Content-Encoding: gzip, gzip"] = "more than one content coding",
            ["Content-Encoding: gzip\r\nContent-Encoding: gzip"] = "more than one content coding",
            ["Transfer-Encoding: gzip, chunked"] = "a transfer coding that was not asked for",
            ["Transfer-Encoding: gzip"] = "a transfer coding that was not asked for",
        } do
            assert.same({ null, wanted, "internal" }, talk([[
                local a, message, code = open { compression = true }
                return a, message, code
            ]], function(fd)
                posix.send(fd, ("HTTP/1.1 200 OK\r\n%s\r\nConnection: close\r\n\r\n%s"):format(fields, twice))
            end), fields)
        end
        -- One that nobody reads does not grow past its maximum: it ends.
        local bomb = gzip("head -c 30000000 /dev/zero | gzip -9")
        local failures = metric("too_large_total")
        assert.same({ "too_large" }, talk([[
            local a = assert(open { compression = true, max_body = "1MiB" })
            while not hg.shared("spec"):get("ended") do hg.sleep(0.01) end
            return select(3, a:read())
        ]], function(fd)
            posix.send(fd, ("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s"):format(#bomb, bomb))
            node.until_true(function()
                return metric("too_large_total") == failures + 1
            end, 10, "an answer that was too large")
            run "hg.shared('spec'):set('ended', true)"
        end))
        assert.same({ 200000, "identity, gzip" }, talk([[
            local a = assert(open { compression = true, max_body = "1MiB" })
            local count, piece = 0
            repeat piece = a:read() count = count + #(piece or "") until not piece
            return count, a.headers["content-encoding"] or "identity, gzip"
        ]], function(fd)
            local packed = gzip("head -c 200000 /dev/zero | gzip -9")
            posix.send(fd, ("HTTP/1.1 200 OK\r\nContent-Encoding: identity, gzip\r\nContent-Length: %d\r\n\r\n%s")
                :format(#packed, packed))
        end))
    end)

    it("follows redirects where the body is not needed again", function()
        assert.same({ 200, "final" }, run [[
            local a = assert(hg.http.request { url = SELF .. "/see-other", redirects = 1, stream = true })
            return a.status, a:read()
        ]])
        assert.same({ 200, "final" }, run [[
            local a = assert(hg.http.post(SELF .. "/see-other", function() end, { redirects = 1 }))
            return a.status, a.body
        ]])
        assert.same({ 307, "again" }, run [[
            local a = assert(hg.http.post(SELF .. "/again", function() end, { redirects = 1 }))
            return a.status, a.body
        ]])
    end)

    it("checks its options", function()
        raises("return open { stream = 1 }", "stream: expected true or false")
        raises("return hg.http.post(URL, {})", "body: expected a string, or a function that gives one piece after the other")
        raises("return hg.http.post(URL, 'x', { body_length = 1 })", "body_length: only where body is a function")
        raises("return hg.http.request { url = URL, body = function() end }", "body: GET has none")
        raises("return hg.source_http { url = URL .. '{key}', stream = true }", "unknown option 'stream'")
        assert.same({ false, false, false }, talk([[
            local a = assert(open())
            return pcall(a.read, a, 0), pcall(a.read, a, "x"), (pcall(a.read, {}))
        ]], function(fd)
            posix.send(fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        end))
    end)
end)
