--- A real redis-server in a folder of its own, on a free port and a unix socket.
--
--   local r = redis.start { args = { "--requirepass", "x" } }   r.port, r.path, r:command("SET", "a", "1"), r:kill(), r:launch()
--   redis.missing()    why there is none, or nil
--   redis.finish()     ends those that a spec left running

local posix = require "spec.support.posix"
local http = require "spec.support.http"
local server = require "spec.support.server"

local M = {}
local Redis = {}
Redis.__index = Redis

local running, dirs = {}, {}

local MISSING = "no redis-server: scripts/setup.sh test"

local function program()
    for _, path in ipairs { "/usr/bin/redis-server", "/usr/local/bin/redis-server" } do
        if server.exists(path) then
            return path
        end
    end
    return nil
end

function M.missing()
    return not program() and MISSING or nil
end

--- opts: { args = more words of the command line }
function M.start(opts)
    local self = setmetatable({ opts = opts or {}, dir = posix.temp_dir(), port = posix.free_port() }, Redis)
    dirs[#dirs + 1] = self.dir
    self.path = self.dir .. "/redis.sock"
    self:launch()
    return self
end

function Redis:launch()
    local argv = { assert(program(), MISSING), "--port", tostring(self.port), "--bind", "127.0.0.1", "--unixsocket", self.path,
        "--save", "", "--appendonly", "no", "--dir", self.dir, "--daemonize", "no" }
    for _, word in ipairs(self.opts.args or {}) do
        argv[#argv + 1] = word
    end
    self.pid = posix.spawn { argv = argv, stdout = self.dir .. "/log" }
    running[self] = true
    posix.until_true(function()
        local reply = self:raw("PING\r\n")
        return reply and (reply:find("PONG", 1, true) or reply:find("NOAUTH", 1, true))
    end, 20, "redis-server")
end

--- One line of an answer to bytes, or nil.
function Redis:raw(bytes)
    local connection = http.connect(self.port)
    if not connection then
        return nil
    end
    local fd = connection.fd
    local reply
    if connection:send(bytes) and posix.poll({ { fd, posix.POLLIN } }, 10) then
        reply = posix.recv(fd)
    end
    connection:close()
    return reply
end

--- One command; nobody's word may have spaces or line ends.
function Redis:command(...)
    return assert(self:raw(table.concat({ ... }, " ") .. "\r\n"))
end

function Redis:signal(signal)
    posix.kill(self.pid, signal)
end

--- KILL, and wait.
function Redis:kill()
    posix.kill(self.pid, posix.SIGKILL)
    posix.reap(self.pid, true)
    running[self] = nil
end

function M.finish()
    for one in pairs(running) do
        one:kill()
    end
    for _, dir in ipairs(dirs) do
        os.execute("rm -rf '" .. dir .. "'")
    end
    dirs = {}
end

return M
