--- A real PostgreSQL in a folder of its own, on a free port and a unix socket.
--
--   local pg = postgres.start()    pg.port, pg.dir (of the socket), pg:sql("create table ..."), pg:kill(), pg:launch()
--   postgres.missing()             why there is none, or nil

local posix = require "spec.support.posix"
local server = require "spec.support.server"

local M = {}
local Postgres = {}
Postgres.__index = Postgres

local USER = "postgres"

local function program(name)
    for _, version in ipairs { 18, 17, 16, 15, 14, 13 } do
        local path = ("/usr/lib/postgresql/%d/bin/%s"):format(version, name)
        if server.exists(path) then
            return path
        end
    end
    return nil
end

function M.missing()
    return not program("postgres") and "no postgres: scripts/setup.sh test" or nil
end

function M.start()
    local self = setmetatable({ dir = server.dir(USER), port = posix.free_port() }, Postgres)
    self.data = self.dir .. "/data"
    assert(server.run(USER, { program("initdb"), "-D", self.data, "-U", USER, "--auth=trust", "--no-sync", "--no-instructions",
        "--encoding=UTF8", "--locale=C" }, self.dir .. "/initdb.log"))
    self:launch()
    return self
end

function Postgres:launch()
    local settings = { port = self.port, listen_addresses = "127.0.0.1", unix_socket_directories = self.dir, fsync = "off",
        max_connections = 100, shared_buffers = "16MB" }
    local argv = { program("postgres"), "-D", self.data }
    for name, value in pairs(settings) do
        argv[#argv + 1] = "-c"
        argv[#argv + 1] = name .. "=" .. value
    end
    server.launch(self, USER, argv, self.dir .. "/log", function()
        return self:try("select 1") ~= nil
    end)
end

--- -> what psql writes, unaligned and without headings | nil, message
function Postgres:try(sql)
    local log = self.dir .. "/psql.log"
    os.remove(log)
    return server.run(USER, { program("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", self.dir, "-p",
        tostring(self.port), "-d", "postgres", "-c", sql }, log)
end

function Postgres:sql(sql)
    local text, message = self:try(sql)
    return (assert(text, message):gsub("\n$", ""))
end

--- From now on it speaks TLS, and wants a password of whoever is named `app`: "secret". -> the certificate's file
function Postgres:secure()
    local certificate, key, rules = self.data .. "/server.crt", self.data .. "/server.key", self.data .. "/pg_hba.conf"
    assert(server.run(USER, { "/usr/bin/openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key,
        "-out", certificate, "-days", "30",
        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost" }, self.dir .. "/openssl.log"))
    self:sql("create role app login password 'secret'; grant select on all tables in schema public to app")
    local file = assert(io.open(rules, "r+b"))
    local text = file:read("*a")
    file:seek("set")
    file:write("hostssl all app all scram-sha-256\nhost all app all reject\n", text)
    file:close()
    self:sql("alter system set ssl = on")
    self:sql("select pg_reload_conf()")
    return certificate
end

--- STOP or CONT of everything that answers.
function Postgres:freeze(signal)
    local children = io.open(("/proc/%d/task/%d/children"):format(self.pid, self.pid)):read("*a")
    posix.kill(self.pid, signal)
    for child in children:gmatch("%d+") do
        posix.kill(tonumber(child), signal)
    end
end

function Postgres:kill()
    server.kill(self)
end

M.finish = server.finish

return M
