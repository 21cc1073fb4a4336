--- A real MariaDB in a folder of its own, on a free port and a unix socket. Everybody may do everything.
--
--   local db = mariadb.start()    db.port, db.socket, db:sql("create table ..."), db:kill(), db:launch()
--   mariadb.missing()             why there is none, or nil

local posix = require "spec.support.posix"
local server = require "spec.support.server"

local M = {}
local Mariadb = {}
Mariadb.__index = Mariadb

local USER, PROGRAM, CLIENT = "mysql", "/usr/sbin/mariadbd", "/usr/bin/mariadb"

function M.missing()
    if not server.exists(PROGRAM) then
        return "no mariadbd: scripts/setup.sh test"
    end
    return not package.searchpath("luasql.mysql", package.cpath) and "no lua-sql-mysql: scripts/setup.sh test" or nil
end

function M.start()
    local self = setmetatable({ dir = server.dir(USER), port = posix.free_port() }, Mariadb)
    self.socket = self.dir .. "/s"
    assert(server.run(USER, { "/bin/mkdir", self.dir .. "/data" }, self.dir .. "/mkdir.log"))
    self:launch()
    self:sql("create database shop")
    return self
end

function Mariadb:launch()
    -- Without tables of users there is nothing to install.
    server.launch(self, USER, { PROGRAM, "--no-defaults", "--datadir=" .. self.dir .. "/data", "--port=" .. self.port,
        "--socket=" .. self.socket, "--bind-address=127.0.0.1", "--skip-grant-tables", "--innodb-flush-log-at-trx-commit=2",
        "--innodb-buffer-pool-size=16M", "--innodb-log-file-size=8M", "--pid-file=" .. self.dir .. "/pid", "--tmpdir=" .. self.dir,
        "--character-set-server=utf8mb4" }, self.dir .. "/log", function()
        return self:try("select 1") ~= nil
    end)
end

--- -> what the client writes, without headings | nil, message
function Mariadb:try(sql)
    local log = self.dir .. "/client.log"
    os.remove(log)
    return server.run(USER, { CLIENT, "--no-defaults", "-N", "-B", "-S", self.socket, "-e", sql }, log)
end

function Mariadb:sql(sql)
    local text, message = self:try(sql)
    return (assert(text, message):gsub("\n$", ""))
end

function Mariadb:kill()
    server.kill(self)
end

M.finish = server.finish

return M
