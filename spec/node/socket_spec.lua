-- hg.socket: sockets of scripts against a server that the spec plays itself, byte by byte.

local node = require "spec.support.node"
local chunk = require "spec.support.chunk"
local posix = require "spec.support.posix"
local cjson = require "cjson"

local CONFIG = chunk.config([[
local kept = {}
return {
    node = { listen = listen(), scripts = { getters = 1, routes = 1 }, limits = { value = "64KiB" } },
    groups = { test = { getter = function(key) return key end } },
    routes = {
        @RUN@
    },
}
]], "kept = kept")

local n, listener, port
local null = cjson.null

-- Begins to run a chunk in a route; chunk.finish() waits for its results.
local function begin(text)
    local head = ("local PORT = %d local function connected(...) local s = hg.socket.tcp() "
        .. "assert(s:connect('127.0.0.1', PORT, ...)) return s end "):format(port)
    return chunk.begin(n, head .. text)
end

-- Runs it while `server(fd)` plays the other side of its one connection.
local function talk(text, server)
    local connection = begin(text)
    local fd = assert(posix.accept(listener))
    local kept = server(fd)
    local result = chunk.finish(connection)
    if kept ~= "closed" then
        posix.close(fd)
    end
    return result
end

local function run(text)
    return chunk.finish(begin(text))
end

local function raises(text, wanted)
    local ok, message = pcall(run, text)
    assert.is_false(ok, text)
    assert.is_truthy(tostring(message):find(wanted, 1, true), tostring(message))
end

-- Exactly this has to arrive.
local function expect(fd, text)
    local got = ""
    while #got < #text do
        local bytes = assert(posix.recv(fd, #text - #got))
        assert.is_true(#bytes > 0, "closed after " .. got)
        got = got .. bytes
    end
    assert.equal(text, got)
end

local function say(fd, ...)
    for _, text in ipairs { ... } do
        assert.equal(#text, posix.send(fd, text))
    end
end

local function metric(name)
    local text = n:admin("/metrics").body
    return tonumber(text:match("\nhgcache_script_" .. name .. " (%d+)"))
end

local function close_after(seconds)
    return function()
        posix.pause(seconds)
    end
end

describe("hg.socket", function()
    setup(function()
        n = node.start { config = CONFIG }
        port = posix.free_port()
        listener = assert(posix.listen(port, 256))
    end)
    teardown(function()
        posix.close(listener)
        assert.equal(0, n:stop())
        node.finish()
    end)
    before_each(function()
        assert.is_nil(n:ended())
    end)
    -- Whatever a script did: its connections are gone with it.
    after_each(function()
        run "local s = hg.socket.tcp() s:connect('127.0.0.1', 1) return 1"
        node.until_true(function()
            return metric("sockets") == 0
        end, 10, "no open socket of a script")
    end)

    it("sends strings, numbers and nested lists", function()
        assert.same({ 5, 1, 8, 0 }, talk([[
            local s = connected()
            return s:send("hello"), s:send(7), s:send { "a", { "bc", { 1, 2.5 } }, "-" }, s:send {}
        ]], function(fd)
            expect(fd, "hello7abc12.5-")
        end))
        raises("connected():send(nil)", "bad argument")
        posix.close(posix.accept(listener))
        raises("connected():send { {}, {{ true }} }", "bad data type boolean found")
        posix.close(posix.accept(listener))
        raises("connected():send(nil, {})", "bad argument")
        posix.close(posix.accept(listener))
    end)

    it("receives bytes, lines and all, in whatever parts they come", function()
        assert.same({ "abc", "line", "", "with in it", "1234", "", "rest\r\nof it\n", null, "closed", "" }, talk([[
            local s = connected()
            s:send("x")
            local a, b, c, d = s:receive(3), s:receive(), s:receive("*l"), s:receive("*l")
            local e, f, g = s:receive("4"), s:receive(0), s:receive("*a")
            return a, b, c, d, e, f, g, s:receive("*a")
        ]], function(fd)
            expect(fd, "x")
            for piece in ("abcline\r\n\nwith\r in it\r\n1234rest\r\nof it\n"):gmatch("..?") do
                say(fd, piece)
                posix.pause(0.001)
            end
            posix.close(fd)
            return "closed"
        end))
        for _, bad in ipairs { "'*x'", "-1", "{}", "true" } do
            raises("connected():receive(" .. bad .. ")", "bad argument")
            posix.close(posix.accept(listener))
        end
    end)

    it("gives what arrived as third result where the rest does not come", function()
        assert.same({ null, "closed", "half" }, talk("return connected():receive(10)", function(fd)
            say(fd, "half")
            posix.close(fd)
            return "closed"
        end))
        assert.same({ null, "closed", "half a line" }, talk("return connected():receive()", function(fd)
            say(fd, "half a\r line")
            posix.close(fd)
            return "closed"
        end))
        assert.same({ "timeout", "ab", "cdef", "closed" }, talk([[
            local s = connected()
            s:settimeout(50)
            local _, message, partial = s:receive(6)
            s:send("now") -- a time-out of receive leaves the connection as it is
            s:settimeout(10000)
            local rest = s:receive(4)
            return message, partial, rest, (select(2, s:receive(1)))
        ]], function(fd)
            say(fd, "ab")
            expect(fd, "now")
            say(fd, "cdef")
            posix.close(fd)
            return "closed"
        end))
    end)

    it("says when the other side resets", function()
        assert.same({ null, "connection reset by peer", "ab", "closed" }, talk([[
            local s = connected()
            assert(s:receive(1) == "-")
            s:send("go")
            local a, b, c = s:receive(10)
            return a, b, c, select(2, s:send("x"))
        ]], function(fd)
            say(fd, "-ab")
            expect(fd, "go")
            posix.reset(fd)
            return "closed"
        end))
    end)

    it("reads up to a pattern", function()
        assert.same({ "one", "two--", "", null, "closed", "rest-" }, talk([[
            local s = connected()
            local plain, inclusive = s:receiveuntil("--"), s:receiveuntil("--", { inclusive = true })
            local a, b, c = plain(), inclusive(), plain()
            return a, b, c, plain()
        ]], function(fd)
            for byte in ("one--two----rest-"):gmatch(".") do
                say(fd, byte)
            end
            posix.close(fd)
            return "closed"
        end))
        assert.same({ "hell,o, w,orld,! -a,gent,zh,nil", "next" }, talk([[
            local s = connected()
            local reader, out = s:receiveuntil("\r\n--abcedhb"), {}
            repeat
                local data, message = reader(4)
                assert(not message, message)
                out[#out + 1] = tostring(data)
            until not data
            return table.concat(out, ","), (reader())
        ]], function(fd)
            say(fd, "hello, world! -agentzh\r\n--abcedhbnext\r\n--abcedhb")
        end))
        assert.same({ "timeout", "ab", "" }, talk([[
            local s = connected()
            s:settimeout(50)
            local reader = s:receiveuntil("--")
            local _, message, partial = reader()
            s:send("x")
            s:settimeout(5000)
            return message, partial, (reader())
        ]], function(fd)
            say(fd, "ab-") -- the beginning of the pattern stays for the next time
            expect(fd, "x")
            say(fd, "-")
        end))
        raises("hg.socket.tcp():receiveuntil('')", "bad argument #1 to 'receiveuntil'")
        raises("hg.socket.tcp():receiveuntil('x', 1)", "bad argument #2")
        assert.same({ null, "closed", "" }, run "return hg.socket.tcp():receiveuntil('x')()")
    end)

    it("takes what there is", function()
        assert.same({ "abcd", "ef", null, "closed", "" }, talk([[
            local s = connected()
            assert(s:receive(1))
            local a, b = s:receiveany(4), s:receiveany(100)
            s:send("x")
            return a, b, s:receiveany(100)
        ]], function(fd)
            say(fd, "-abcdef")
            expect(fd, "x")
            posix.close(fd)
            return "closed"
        end))
        raises("connected():receiveany(0)", "bad max argument")
        posix.close(posix.accept(listener))
    end)

    it("connecting fails in words", function()
        assert.same({ null, "connection refused" }, run "return hg.socket.tcp():connect('127.0.0.1', 1)")
        assert.same({ null, "no such file or directory" }, run "return hg.socket.tcp():connect('unix:/nowhere')")
        local r = run "return hg.socket.tcp():connect('no such name', 80)"
        assert.is_truthy(r[2]:find("^host could not be resolved: "), r[2])
        assert.is_truthy(run("return hg.socket.tcp():connect('127.0.0.1', 0)")[2]:find("bad port number"))
        raises("hg.socket.tcp():connect('', 80)", "bad host")
        raises("hg.socket.tcp():connect('a\\0b', 80)", "bad host")
        raises("hg.socket.tcp():connect('127.0.0.1')", "bad argument")
        raises("hg.socket.tcp():connect('127.0.0.1', 80, { backlog = 1 })", "backlog is not supported")
        assert.same({ null, "closed", "" }, run "return hg.socket.tcp():receive()")
        for _, call in ipairs { "send('x')", "close()", "setkeepalive()", "getreusedtimes()",
            "setoption('keepalive', true)" } do
            assert.same({ null, "closed" }, run("return hg.socket.tcp():" .. call))
        end
    end)

    it("cannot be used while the configuration is loading", function()
        local r = node.run { "check", node.write(node.dir() .. "/config.lua", [[
            local hg = require "hgcache"
            hg.socket.tcp():connect("127.0.0.1", 1)
            return { groups = { g = { getter = function(key) return key end } } }
        ]]) }
        assert.equal(2, r.code)
        assert.is_truthy((r.out .. r.err):find("cannot be used while the configuration is loading", 1, true),
            r.out .. r.err)
    end)

    it("a connection that nobody answers times out", function()
        -- A full backlog: the kernel drops what more comes.
        local full_port = posix.free_port()
        local full = assert(posix.listen(full_port, 0))
        local fillers = {}
        for i = 1, 8 do
            fillers[i] = posix.connect_start(full_port)
        end
        local r = run(([[local s = hg.socket.tcp() s:settimeouts(100, 10000, 10000)
            local t = hg.monotonic()
            local ok, message = s:connect("127.0.0.1", %d)
            return ok == nil, message, hg.monotonic() - t]]):format(full_port))
        for _, fd in ipairs(fillers) do
            posix.close(fd)
        end
        posix.close(full)
        assert.is_true(r[1])
        assert.equal("timeout", r[2])
        assert.is_true(r[3] >= 0.09 and r[3] < 8, r[3])
    end)

    it("a send that is not taken times out, and the connection is closed", function()
        assert.same({ null, "timeout", "closed" }, talk([[
            local s = connected()
            s:settimeouts(nil, 100, nil)
            local ok, message = s:send(("x"):rep(16 * 1024 * 1024))
            return ok, message, select(2, s:send("y"))
        ]], close_after(0)))
    end)

    it("a huge line and a pattern that does not come are ended", function()
        local before = metric("sockets_too_large_total")
        for _, call in ipairs { "s:receive()", "s:receive('*a')", "s:receiveuntil('--')()", "s:receive(65537)" } do
            assert.same({ null, "too large", true, "closed" }, talk([[
                local s = connected()
                local data, message, partial = ]] .. call .. [[
                return data, message, #partial <= 65536, select(2, s:send("x"))
            ]], function(fd)
                local sent = 0
                while sent < 200000 and posix.send(fd, ("x"):rep(1000)) do -- until it is closed
                    sent = sent + 1000
                end
            end))
        end
        assert.equal(before + 4, metric("sockets_too_large_total"))
        assert.same({ 65536 }, talk("return #connected():receive('*a')", function(fd)
            say(fd, ("x"):rep(65536))
            posix.close(fd)
            return "closed"
        end))
    end)

    it("keeps connections for the next", function()
        local opened, reused = metric("sockets_opened_total"), metric("sockets_reused_total")
        assert.same({ 0, 1, 1, 2, "closed" }, talk([[
            local s = connected()
            local a = s:getreusedtimes()
            local kept = s:setkeepalive(10000, 5)
            s = connected()
            local b = s:getreusedtimes()
            s:setkeepalive()
            s = hg.socket.connect("127.0.0.1", PORT)
            local c = s:getreusedtimes()
            s:close()
            return a, kept, b, c, (select(2, s:receive(1)))
        ]], close_after(0)))
        assert.equal(opened + 1, metric("sockets_opened_total"))
        assert.equal(reused + 2, metric("sockets_reused_total"))
        -- Other pools have other connections.
        local connection = begin [[
            local s = connected { pool = "a" } s:setkeepalive()
            local t = connected { pool = "b" }
            local times = t:getreusedtimes()
            t:close()
            s = connected { pool = "a" }
            local same = s:getreusedtimes()
            s:close()
            return times, same
        ]]
        local first, second = posix.accept(listener), posix.accept(listener)
        assert.same({ 0, 1 }, chunk.finish(connection))
        posix.close(first)
        posix.close(second)
    end)

    it("an idle connection goes: closed by the other side, unread bytes, its time, a full pool", function()
        assert.same({ "unread data in buffer" }, talk([[
            local s = connected()
            s:receive(1)
            return select(2, s:setkeepalive())
        ]], function(fd)
            say(fd, "ab")
        end))
        -- Closed while idle: the next use opens one more.
        local fd
        talk("connected():setkeepalive() return 1", function(one)
            fd = one
            return "closed"
        end)
        assert.equal(1, metric("sockets"))
        posix.close(fd)
        assert.same({ 0 }, talk("local s = connected() local t = s:getreusedtimes() s:close() return t",
            close_after(0)))
        -- One that speaks while nobody asked.
        talk("connected():setkeepalive() return 1", function(one)
            fd = one
            return "closed"
        end)
        say(fd, "surprise")
        node.until_true(function()
            return metric("sockets") == 0
        end, 10, "the end of an idle connection")
        posix.close(fd)
        talk("connected():setkeepalive(30) return 1", function(one)
            assert.equal("", posix.recv(one)) -- its time has passed
        end)
        local full = metric("sockets_pool_full_total")
        local connection = begin [[
            local list = {}
            for i = 1, 3 do list[i] = connected { pool_size = 2 } end
            for i = 1, 3 do assert(list[i]:setkeepalive(20)) end
            return 1
        ]]
        local fds = { posix.accept(listener), posix.accept(listener), posix.accept(listener) }
        chunk.finish(connection)
        assert.equal("", posix.recv(fds[1])) -- the longest idle one
        for _, one in ipairs(fds) do
            posix.close(one)
        end
        assert.equal(full + 1, metric("sockets_pool_full_total"))
    end)

    it("one coroutine at a time in each direction, and two at once in both", function()
        assert.same({ "socket busy reading", "socket busy reading", "socket busy reading", "got x" }, talk([[
            local s, got = connected(), nil
            hg.spawn(function() got = "got " .. s:receive(1) end)
            hg.sleep(0.05)
            local a, b, c = select(2, s:receive(1)), select(2, s:close()), select(2, s:setkeepalive())
            s:send("go")
            while not got do hg.sleep(0.005) end
            return a, b, c, got
        ]], function(fd)
            expect(fd, "go")
            say(fd, "x")
        end))
    end)

    it("ends with the task that connected it", function()
        local _ = talk([[
            kept.socket = connected()
            return 1
        ]], function(fd)
            assert.equal("", posix.recv(fd))
        end)
        assert.same({ null, "closed: the task that connected it has ended", "" }, run "return kept.socket:receive(1)")
        assert.same({ "closed" }, talk([[
            local result
            hg.spawn(function()
                local s = connected()
                hg.spawn(function() result = select(2, s:receive(1)) end)
                hg.sleep(0.02)
            end)
            while not result do hg.sleep(0.005) end
            return result
        ]], close_after(0)))
        -- Forgotten, it ends with its task, or sooner when it is collected.
        talk([[
            do local s = connected() end
            collectgarbage() collectgarbage()
            while hg.sleep(0.2) do end
            return 1
        ]], function(fd)
            assert.equal("", posix.recv(fd))
        end)
    end)

    it("a request that is over takes its connection with it", function()
        local connection = begin "hg.spawn(function() local s = connected() s:receive(1) end) return 1"
        local fd = posix.accept(listener)
        chunk.finish(connection)
        assert.is_true(metric("sockets") >= 1)
        say(fd, "x")
        assert.equal("", posix.recv(fd))
        posix.close(fd)
    end)

    it("has a maximum for each script thread", function()
        local refused = metric("sockets_refused_total")
        local connection = begin [[
            local list, message = {}, nil
            for i = 1, 1100 do
                local s = hg.socket.tcp()
                local ok, why = s:connect("127.0.0.1", PORT)
                if not ok then message = why break end
                list[i] = s
            end
            local last = list[#list]
            last:setkeepalive()
            local s = hg.socket.tcp()
            local other = s:connect("127.0.0.1", PORT, { pool = "other" }) -- the idle one makes room
            return #list, message, other
        ]]
        local fds = {}
        for i = 1, 1025 do
            fds[i] = posix.accept(listener)
        end
        assert.same({ 1024, "too many open sockets", 1 }, chunk.finish(connection))
        for _, fd in ipairs(fds) do
            posix.close(fd)
        end
        assert.equal(refused + 1, metric("sockets_refused_total"))
    end)

    it("holds no more than a script may have", function()
        local before = metric("sockets_no_room_total")
        local connection = begin [[
            local data, why = ("x"):rep(16 * 1024 * 1024), nil
            for i = 1, 12 do
                hg.spawn(function()
                    local ok, message = connected():send(data)
                    why = why or message
                end)
            end
            while not why do hg.sleep(0.005) end
            return why
        ]]
        local fds = {}
        for i = 1, 12 do
            fds[i] = posix.accept(listener)
        end
        assert.same({ "too much data in sockets" }, chunk.finish(connection))
        for _, fd in ipairs(fds) do
            posix.close(fd)
        end
        assert.is_true(metric("sockets_no_room_total") > before)
    end)

    it("options", function()
        assert.same({ 1, 1, 1, 1 }, talk([[
            local s = connected()
            return s:setoption("keepalive", true), s:setoption("tcp-nodelay", false), s:setoption("rcvbuf", 65536),
                s:setoption("sndbuf", 65536)
        ]], close_after(0)))
        raises("hg.socket.tcp():setoption('x', 1)", "invalid option")
        raises("hg.socket.tcp():settimeout(-1)", "bad timeout value")
    end)

    it("ends with waiting, idle, sending and resolving ones open", function()
        chunk.finish(begin [[
            hg.spawn(function() local s = connected() s:receive(1) end)
            hg.spawn(function() local s = connected() s:setkeepalive() end)
            hg.spawn(function() local s = connected() s:send(("x"):rep(16 * 1024 * 1024)) end)
            hg.spawn(function() hg.socket.tcp():connect("no.such.name.invalid", 80) end)
            return 1
        ]])
        local fds = { posix.accept(listener), posix.accept(listener), posix.accept(listener) }
        node.until_true(function()
            return metric("sockets") >= 3
        end, 10, "three open sockets")
        assert.equal(0, n:stop())
        for _, fd in ipairs(fds) do
            posix.close(fd)
        end
        n:restart()
    end)
end)
