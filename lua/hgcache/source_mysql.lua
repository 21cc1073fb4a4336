--- hg.source_mysql: values out of MariaDB or MySQL, by LuaSQL (package lua-sql-mysql).
--
--   getter = hg.source_mysql { host = "db", user = "app", database = "shop", query = "SELECT v FROM t WHERE k = ?" }
--   get_many = hg.source_mysql.many { host = ..., query = "SELECT k, v FROM t WHERE k IN (?)" }
--
-- The driver blocks, and has no time-outs: give such groups a pool of their own (node.scripts = { getters = "auto", sql = 8 },
-- pool = "sql"). Each script thread has one connection, so as many statements run at a time.
--
-- LuaSQL cannot bind parameters: each is a text in quotes that the driver has escaped (conn:escape), in UTF-8, which is what the
-- connection is set to; or, with bytes = true, a hexadecimal literal, which has nothing to escape.

local core = require "hgcache.core"
local digest = require "hgcache.digest"
local luasql = require "hgcache.luasql"

local dialect = {
    name = "hg.source_mysql", hash = true, backslash = true,
    known = {
        host = "string", port = "number", unix = "string", user = "string", password = "string", database = "string",
        bytes = "boolean",
    },
}

function dialect.settings(o)
    local opts = o.opts
    if not opts.database or opts.database == "" then
        o:wrong("database: expected a name")
    elseif opts.unix and (opts.host or opts.port) then
        o:wrong("unix, or host and port")
    end
    for _, statement in ipairs(opts.setup or {}) do
        local words = statement:lower():gsub("%s+", " ")
        if words:find("set names", 1, true) or words:find("character", 1, true) or words:find("charset", 1, true) then
            o:wrong("setup: the character set is utf8mb4, which escaping relies on")
        end
    end
    return {
        -- "localhost" is how the driver's library calls a unix socket.
        host = opts.unix and "localhost" or opts.host or "127.0.0.1", port = o:whole("port", 3306, 1, 65535), unix = opts.unix,
        user = opts.user, password = opts.password, database = opts.database, bytes = opts.bytes,
    }
end

-- The driver's connection, with what literal() has to know of it.
local Connection = {}
Connection.__index = Connection

function Connection:execute(text)
    return self.raw:execute(text)
end

function Connection:close()
    return self.raw:close()
end

function dialect.connect(settings)
    local raw, message = require("luasql.mysql").mysql():connect(settings.database, settings.user, settings.password,
        settings.host, settings.port, settings.unix)
    if not raw then
        return nil, message
    end
    local ok
    ok, message = raw:execute("SET NAMES utf8mb4")
    if not ok then
        raw:close()
        return nil, message
    end
    return setmetatable({ raw = raw, bytes = settings.bytes }, Connection)
end

-- What is no UTF-8 is in no text.
function dialect.literal(connection, bytes)
    if connection.bytes then
        return "X'" .. digest.hex(bytes) .. "'"
    end
    local escaped = core.is_utf8(bytes) and connection.raw:escape(bytes)
    return escaped and "'" .. escaped .. "'" or nil
end

function dialect.is_alive(connection)
    return connection.raw:ping() == true
end

-- Of the server's state, in its English words.
local passing = { "deadlock", "lock wait", "too many", "shutdown", "read-only", "interrupted", "max_statement_time" }

function dialect.is_passing(message)
    message = tostring(message):lower()
    for _, words in ipairs(passing) do
        if message:find(words, 1, true) then
            return true
        end
    end
    return false
end

--- opts: { host = "127.0.0.1", port = 3306 (or unix = path), user =, password =, database =, query = statement with one "?",
--          parameters = function(key) -> list of strings, one for each "?", bytes = false: keys are bytes, not text,
--          setup = { statements that each connection runs once } }
return luasql.source(dialect)
