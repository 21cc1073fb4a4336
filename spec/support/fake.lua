--- Servers that pretend to be something, in a child process: many connections, raw bytes out.
--
--   local f = fake.http(port, notes, function(path, data) return bytes end)   notes: a file that gets each path, a
-- line each
--   local f = fake.grpc(port, notes, function(key, stream, connection) return bytes end)   notes: one that gets each key
--   f:stop()
--
-- fake.grpc answers Get; whatever else is asked of it over HTTP/2 is 404. bytes: frames (spec/support/grpc.lua). connection: a
-- table that is this connection's, for what the function wants to remember.
--
-- http: after bytes without a Content-Length the connection is closed. nil: the request is never answered. A second result
-- "reset" ends the connection behind the bytes with a reset, "close" closes it.

local grpc = require "spec.support.grpc"
local posix = require "spec.support.posix"
local protobuf = require "spec.support.protobuf"

local M = {}
local Fake = {}
Fake.__index = Fake

local function note(file, path)
    local out = io.open(file, "ab")
    out:write(path, "\n")
    out:close()
end

-- -> whether all was sent
local function send(fd, bytes)
    local from = 1
    while from <= #bytes do
        local n = posix.send(fd, bytes, from)
        if not n then
            return false
        end
        from = from + n
    end
    return true
end

-- What there is of a connection's data, answered. -> whether the connection stays, whether it is reset
local function serve_http(fd, one, notes, answer)
    while true do
        local _, stop = one.data:find("\r\n\r\n", 1, true)
        if not stop then
            return true
        end
        local head = one.data:sub(1, stop)
        local length = tonumber(head:lower():match("content%-length: *(%d+)")) or 0
        if #one.data < stop + length then
            return true
        end
        if head:find("^PRI %* HTTP/2") then -- it speaks HTTP/1.1 only
            posix.send(fd, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 1)
            return false
        end
        local path = head:match("^%u+ (%S+)")
        local request = one.data:sub(1, stop + length)
        one.data = one.data:sub(stop + length + 1)
        note(notes, path or "?")
        local reply, ending = answer(path, request)
        if reply and not send(fd, reply) then
            return false
        elseif ending == "reset" then
            return false, true
        elseif reply and not reply:find("Content%-Length") then
            return false
        end
    end
end

local PREFACE_BYTES, ACK, END_STREAM, END_HEADERS = 24, 1, 1, 4

-- The same over HTTP/2: each stream is looked at when it is whole. Nothing of the requests' heads is read: a call of Get is told
-- by its body, which has a prefix.
local function serve_http2(fd, one, notes, answer)
    if not one.streams then
        if #one.data < PREFACE_BYTES then
            return true
        end
        one.streams, one.own, one.data = {}, {}, one.data:sub(PREFACE_BYTES + 1)
        send(fd, grpc.frame(grpc.SETTINGS, 0, 0, ""))
    end
    local frames, used = grpc.frames(one.data)
    one.data = one.data:sub(used + 1)
    for _, frame in ipairs(frames) do
        local kind, is_ack = frame.type, frame.flags % 2 == ACK
        if (kind == grpc.SETTINGS or kind == grpc.PING) and not is_ack then
            send(fd, grpc.frame(kind, ACK, 0, kind == grpc.PING and frame.payload or ""))
        elseif kind == grpc.HEADERS or kind == grpc.DATA then
            local body = (one.streams[frame.stream] or "") .. (kind == grpc.DATA and frame.payload or "")
            one.streams[frame.stream] = body
            if frame.flags % 2 == END_STREAM then
                one.streams[frame.stream] = nil
                local reply, ending
                if body:byte() == 0 then
                    local key = protobuf.decode(body:sub(6))[2]
                    note(notes, key)
                    reply, ending = answer(key, frame.stream, one.own)
                else
                    reply = grpc.frame(grpc.HEADERS, END_HEADERS + END_STREAM, frame.stream, grpc.head { { ":status", "404" } })
                end
                if reply and not send(fd, reply) or ending then
                    return false, ending == "reset"
                end
            end
        end
    end
    return true
end

local function loop(listener, serve, notes, answer)
    local open = {}
    while true do
        local fds = { { listener, posix.POLLIN } }
        for fd in pairs(open) do
            fds[#fds + 1] = { fd, posix.POLLIN }
        end
        local ready = posix.poll(fds, 3600) or {}
        for i, item in ipairs(fds) do
            local fd = item[1]
            if (ready[i] or 0) ~= 0 and fd == listener then
                local client = posix.accept(listener)
                if client then
                    open[client] = { data = "" }
                end
            elseif (ready[i] or 0) ~= 0 then
                local bytes, message = posix.recv(fd)
                local stays, is_reset = bytes ~= "" and not message, false
                if stays and bytes then
                    open[fd].data = open[fd].data .. bytes
                    stays, is_reset = serve(fd, open[fd], notes, answer)
                end
                if not stays then
                    (is_reset and posix.reset or posix.close)(fd)
                    open[fd] = nil
                end
            end
        end
    end
end

local function start(port, serve, notes, answer)
    local listener = assert(posix.listen(port, 256))
    local pid = posix.fork(function()
        loop(listener, serve, notes, answer)
    end)
    posix.close(listener)
    return setmetatable({ pid = pid }, Fake)
end

function M.http(port, notes, answer)
    return start(port, serve_http, notes, answer)
end

function M.grpc(port, notes, answer)
    return start(port, serve_http2, notes, answer)
end

function Fake:signal(signal)
    posix.kill(self.pid, signal)
end

function Fake:stop()
    posix.kill(self.pid, posix.SIGKILL)
    posix.reap(self.pid, true)
end

return M
