--- Loader over SQLite by luasql.sqlite3 (package lua-sql-sqlite3).
--
--   local from_sqlite = require "loaders.sqlite"
--   getter = from_sqlite { path = "/var/lib/scores.db", query = "SELECT score FROM scores WHERE name = ?" }
--   get_many = from_sqlite.many { path = ..., query = "SELECT name, score FROM scores WHERE name IN (?)" }
--
-- The driver blocks: give such groups a pool of their own (node.scripts = { getters = "auto", sql = 4 }, pool = "sql").
-- Each script thread opens its own connection, at its first load.
--
-- LuaSQL cannot bind parameters, and its conn:escape stops at a NUL. So a parameter is written as a hexadecimal blob
-- cast to text, which has nothing to escape: CAST(X'4142' AS TEXT). SQLite folds it to a constant, so indexes are used.

local M = {}

local MAX_PARAMETERS = 32

--- Bytes as an SQL expression that cannot be anything else.
function M.literal(bytes)
    return "CAST(X'" .. bytes:gsub(".", function(c)
        return ("%02x"):format(c:byte())
    end) .. "' AS TEXT)"
end

-- The statement in pieces around its "?"; one inside quotes or a comment is part of the text.
local function split(statement)
    local pieces, from, at = {}, 1, 1
    while at <= #statement do
        local c = statement:sub(at, at)
        if c == "'" or c == '"' or c == "`" then
            at = (statement:find(c, at + 1, true) or #statement) + 1
        elseif statement:sub(at, at + 1) == "--" then
            at = (statement:find("\n", at, true) or #statement) + 1
        elseif statement:sub(at, at + 1) == "/*" then
            local _, stop = statement:find("*/", at + 2, true)
            at = (stop or #statement) + 1
        elseif c == "?" then
            pieces[#pieces + 1] = statement:sub(from, at - 1)
            at, from = at + 1, at + 1
        else
            at = at + 1
        end
    end
    pieces[#pieces + 1] = statement:sub(from)
    return pieces
end

--- statement with "?" -> function(list of strings) -> SQL text. Raises when the numbers differ.
function M.prepare(statement)
    local pieces = split(statement)
    if #pieces - 1 > MAX_PARAMETERS then
        error("loaders.sqlite: too many parameters", 2)
    end
    return function(parameters)
        if #parameters ~= #pieces - 1 then
            error(("loaders.sqlite: the statement has %d parameters, %d given"):format(#pieces - 1, #parameters), 2)
        end
        local out = { pieces[1] }
        for i, parameter in ipairs(parameters) do
            if type(parameter) ~= "string" then
                error("loaders.sqlite: parameters are strings", 2)
            end
            out[#out + 1] = M.literal(parameter)
            out[#out + 1] = pieces[i + 1]
        end
        return table.concat(out)
    end
end

-- One connection for each script thread, opened with the first load. -> connection | nil, message
local function connector(opts)
    local connection
    return function()
        if connection then
            return connection
        end
        local driver = opts.driver or require("luasql.sqlite3").sqlite3()
        local opened, message = driver:connect(opts.path, (opts.busy or 5) * 1000)
        if not opened then
            return nil, message
        end
        for _, statement in ipairs(opts.setup or {}) do
            local ok
            ok, message = opened:execute(statement)
            if not ok then
                opened:close()
                return nil, message
            end
        end
        connection = opened
        return connection
    end
end

-- -> cursor | nil, message
local function select(open, text)
    local db, message = open()
    if not db then
        return nil, message
    end
    local cursor
    cursor, message = db:execute(text)
    if type(cursor) == "number" then
        return nil, "the query answers no rows"
    end
    return cursor, message
end

local function check(opts)
    if type(opts) ~= "table" or type(opts.path) ~= "string" or type(opts.query) ~= "string" then
        error("loaders.sqlite: expected { path = file, query = statement }", 3)
    end
end

--- opts: { path = file,
--          query = "SELECT value FROM t WHERE k = ?" (first column of the first row is the value; NULL or no row: no such key),
--          parameters = function(key) -> list of strings (default: the key itself),
--          setup = { statements, run once by each connection },
--          busy = 5 (seconds to wait for another writer), driver = luasql's environment }
-- Returns a getter: value | nil (no such key) | nil, message.
function M.loader(opts)
    check(opts)
    local query, open = M.prepare(opts.query), connector(opts)
    local parameters = opts.parameters or function(key)
        return { key }
    end

    return function(key)
        local cursor, message = select(open, query(parameters(key)))
        if not cursor then
            return nil, message
        end
        local value = cursor:fetch()
        cursor:close()
        return value
    end
end

--- For get_many: one query for all keys of a batch.
-- opts as for loader, but query = "SELECT k, value FROM t WHERE k IN (?)": the one "?" becomes the list of keys, the first
-- column is the key, the second its value (NULL or no row: no such key). No parameters.
-- Returns get_many(keys): { [key] = value } | nil, message.
function M.many(opts)
    check(opts)
    local pieces, open = split(opts.query), connector(opts)
    if #pieces ~= 2 then
        error(("loaders.sqlite: expected one parameter for the list of keys, found %d"):format(#pieces - 1), 2)
    end

    return function(keys)
        local literals = {}
        for i, key in ipairs(keys) do
            literals[i] = M.literal(key)
        end
        local cursor, message = select(open, pieces[1] .. table.concat(literals, ",") .. pieces[2])
        if not cursor then
            return nil, message
        end
        local found = {}
        local key, value = cursor:fetch()
        while key do
            found[tostring(key)] = value
            key, value = cursor:fetch()
        end
        cursor:close()
        return found
    end
end

return setmetatable(M, {
    __call = function(_, opts)
        return M.loader(opts)
    end,
})
