--- A TCP proxy that spoils what goes through it, in a child process.
--
--   local p = proxy.start(port, target)   127.0.0.1:port -> 127.0.0.1:target
--   p:set("cut 100")                      from the next 20 ms on, for connections that are open, too
--   p:accepted()                          how many connections it was asked for since the last set
--   p:stop()
--
--   pass          as it is
--   drop          nothing goes through, and nothing is closed
--   cut N         of what the target answers the first N bytes of each connection, and then a reset
--   slow N        N bytes a second of what the target answers
--   loss P        each piece is lost with P percent and sent again as TCP would: 200 ms later, then 400, ...
--   garbage       what the target answers is other bytes
--   reset         whoever connects is reset

local node = require "spec.support.node"
local posix = require "spec.support.posix"

local M = {}
local Proxy = {}
Proxy.__index = Proxy

local STEP = 0.02 -- seconds between two looks at the mode
local PIECE = 16384

local read = node.read

-- In one piece, for who reads it at the time.
local function write(path, text)
    assert(os.rename(node.write(path .. ".new", text), path))
end

-- When a piece arrives whose first sending is at `now`.
local function due(mode, number, now)
    local wait = 0.2
    while mode == "loss" and math.random(100) <= number and wait < 3 do
        now, wait = now + wait, wait * 2
    end
    return now
end

-- One way of a connection: { from =, to =, pieces = { { bytes, due } }, sent = bytes, is_answer = bool }
local function take(way, mode, number)
    local bytes, message = posix.recv(way.from, PIECE)
    if bytes == "" or message then
        way.is_over = true
    elseif bytes then
        if way.is_answer and mode == "garbage" then
            bytes = ("\238"):rep(#bytes)
        end
        local last = way.pieces[#way.pieces]
        local at = due(mode, number, posix.now())
        way.pieces[#way.pieces + 1] = { bytes, last and math.max(at, last[2]) or at } -- in order
    end
end

-- -> false: it is broken | "reset"
local function give(way, mode, number)
    local piece = way.pieces[1]
    while piece and piece[2] <= posix.now() do
        local most = #piece[1]
        if way.is_answer and mode == "slow" then
            way.from_s = way.from_s or posix.now()
            most = math.min(most, math.floor((posix.now() - way.from_s) * number) - (way.slow or 0))
        elseif way.is_answer and mode == "cut" then
            most = math.min(most, number - way.sent)
            if most <= 0 then
                return "reset"
            end
        end
        if most <= 0 then
            return
        end
        local n = posix.send(way.to, piece[1]:sub(1, most))
        if not n then
            return false
        elseif n == 0 then
            return
        end
        way.sent, way.slow = way.sent + n, (way.slow or 0) + n
        piece[1] = piece[1]:sub(n + 1)
        if piece[1] == "" then
            table.remove(way.pieces, 1)
        end
        piece = way.pieces[1]
    end
    if way.is_over and not piece then
        if not way.is_shut then
            posix.shutdown_write(way.to)
        end
        way.is_shut = true
    end
end

local function loop(listener, target, control, notes)
    local links, mode, number, looked = {}, "pass", 0, 0
    math.randomseed(target)
    while true do
        local now = posix.now()
        if now - looked >= STEP then
            looked = now
            local word, n = read(control):match("^(%a+) ?(%d*)")
            mode, number = word or mode, tonumber(n) or 0
        end
        local fds, of = { { listener, posix.POLLIN } }, {}
        for _, link in ipairs(links) do
            for _, way in ipairs(link) do
                if mode ~= "drop" and not way.is_over and #way.pieces < 64 then
                    fds[#fds + 1] = { way.from, posix.POLLIN }
                    of[#fds] = way
                end
            end
        end
        local ready = posix.poll(fds, STEP) or {}
        if (ready[1] or 0) ~= 0 then
            local client = posix.accept(listener)
            local server = client and mode ~= "reset" and posix.connect_start(target)
            if client then
                local out = assert(io.open(notes, "ab"))
                out:write(".")
                out:close()
            end
            if server then
                posix.set_nonblocking(client)
                links[#links + 1] = {
                    { from = client, to = server, pieces = {}, sent = 0 },
                    { from = server, to = client, pieces = {}, sent = 0, is_answer = true },
                }
            elseif client then
                posix.reset(client)
            end
        end
        for i, way in pairs(of) do
            if (ready[i] or 0) ~= 0 then
                take(way, mode, number)
            end
        end
        for i = #links, 1, -1 do
            local link, ending = links[i], nil
            if mode ~= "drop" then
                for _, way in ipairs(link) do
                    local result = give(way, mode, number)
                    if result ~= nil then
                        ending = result or "close"
                    end
                end
            end
            if ending or (link[1].is_shut and link[2].is_shut) then
                local finish = ending == "reset" and posix.reset or posix.close
                finish(link[1].from)
                finish(link[2].from)
                table.remove(links, i)
            end
        end
    end
end

function M.start(port, target)
    local dir = posix.temp_dir()
    local listener = assert(posix.listen(port, 256))
    local control, notes = dir .. "/mode", dir .. "/accepted"
    write(control, "pass")
    write(notes, "")
    local pid = posix.fork(function()
        loop(listener, target, control, notes)
    end)
    posix.close(listener)
    return setmetatable({ pid = pid, control = control, notes = notes }, Proxy)
end

function Proxy:set(mode)
    write(self.control, mode)
    posix.pause(3 * STEP)
    self.seen = #read(self.notes)
end

function Proxy:accepted()
    return #read(self.notes) - (self.seen or 0)
end

function Proxy:stop()
    posix.kill(self.pid, posix.SIGKILL)
    posix.reap(self.pid, true)
end

return M
