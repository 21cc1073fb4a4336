--- Servers that pretend to be something, in a child process: many connections, raw bytes out.
--
--   local f = fake.http(port, notes, function(path, data) return bytes end)   notes: a file that gets each path, a
-- line each
--   f:stop()
--
-- After bytes without a Content-Length the connection is closed. nil: the request is never answered. A second result
-- "reset" ends the connection behind the bytes with a reset.

local posix = require "spec.support.posix"

local M = {}
local Fake = {}
Fake.__index = Fake

local function note(file, path)
    local out = io.open(file, "ab")
    out:write(path, "\n")
    out:close()
end

-- One request out of a connection's data, answered. -> whether the connection stays, whether it is reset
local function serve(fd, one, notes, answer)
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
        local from = 1
        while reply and from <= #reply do
            local n = posix.send(fd, reply, from)
            if not n then
                return false
            end
            from = from + n
        end
        if ending == "reset" then
            return false, true
        elseif reply and not reply:find("Content%-Length") then
            return false
        end
    end
end

local function loop(listener, notes, answer)
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

function M.http(port, notes, answer)
    local listener = assert(posix.listen(port, 256))
    local pid = posix.fork(function()
        loop(listener, notes, answer)
    end)
    posix.close(listener)
    return setmetatable({ pid = pid }, Fake)
end

function Fake:signal(signal)
    posix.kill(self.pid, signal)
end

function Fake:stop()
    posix.kill(self.pid, posix.SIGKILL)
    posix.reap(self.pid, true)
end

return M
