--- hg.source_sqlite: values out of SQLite, by LuaSQL (package lua-sql-sqlite3).
--
--   getter = hg.source_sqlite { path = "/var/lib/scores.db", query = "SELECT score FROM scores WHERE name = ?" }
--   get_many = hg.source_sqlite.many { path = ..., query = "SELECT name, score FROM scores WHERE name IN (?)" }
--
-- The driver blocks: give such groups a pool of their own (node.scripts = { getters = "auto", sql = 4 }, pool = "sql").
--
-- LuaSQL cannot bind parameters, and its conn:escape stops at a NUL. So a parameter is written as a hexadecimal blob cast to
-- text, which has nothing to escape: CAST(X'4142' AS TEXT). SQLite folds it to a constant, so indexes are used.

local digest = require "hgcache.digest"
local luasql = require "hgcache.luasql"

local dialect = {
    name = "hg.source_sqlite",
    known = { path = "string", busy = true },
}

function dialect.settings(o)
    if not o.opts.path or o.opts.path == "" then
        o:wrong("path: expected a file")
    end
    return { path = o.opts.path, busy_ms = o:milliseconds("busy", "5s") }
end

function dialect.connect(settings)
    return require("luasql.sqlite3").sqlite3():connect(settings.path, settings.busy_ms)
end

function dialect.literal(_, bytes)
    return "CAST(X'" .. digest.hex(bytes) .. "' AS TEXT)"
end

function dialect.is_alive()
    return true
end

function dialect.is_passing(message)
    message = tostring(message):lower()
    return message:find("lock", 1, true) ~= nil or message:find("i/o", 1, true) ~= nil or message:find("full", 1, true) ~= nil
end

--- opts: { path = file, query = statement with one "?", parameters = function(key) -> list of strings, one for each "?",
--          setup = { statements that each connection runs once }, busy = "5s" (to wait for another writer) }
return luasql.source(dialect)
