--- hg.source_postgres: values out of PostgreSQL.
--
--   getter = hg.source_postgres { url = "postgresql://app@db/shop", query = "select v from t where k = $1" }
--   get_many = hg.source_postgres.many { url = ..., query = "select k, v from t where k = any($1)" }
--
-- No row, and NULL, is not found; so is a key that the parameter's type cannot hold. What the server's state is to blame for fails
-- with class unavailable or timeout, a wrong statement with class internal, and is not tried again.

local digest = require "hgcache.digest"
local fail = require "hgcache.failure"
local options = require "hgcache.options"
local pool = require "hgcache.postgres_pool"

local M = {}

local known = { db = "table", query = "string", parameters = "function", bytes = "boolean" }
for option, wanted in pairs(pool.known) do
    known[option] = wanted
end

-- SQLSTATEs of a text that cannot become a value of the type that the statement wants.
local cannot_hold = {
    ["22P02"] = true, -- no number, no uuid, ...
    ["22P03"] = true, -- binary
    ["22003"] = true, -- a number out of range
    ["22007"] = true, ["22008"] = true, -- no date
    ["22021"] = true, -- no UTF-8
}
-- Bytes that are too few, or too many, for their type.
local WRONG_LENGTH = "08P01"

-- -> what hg.postgres returns, the options
local function check(name, opts)
    local o = options.of(name, opts, known, 2)
    local db = opts.db
    if not db then
        db = pool.connect(o, 2)
    elseif type(db.query) ~= "function" then
        o:wrong("db: expected what hg.postgres returns")
    end
    o:at(2)
    for option in pairs(opts.db and pool.known or {}) do
        if opts[option] ~= nil then
            o:wrong("db, or " .. option)
        end
    end
    if not opts.query then
        o:wrong("query: expected a statement")
    end
    return db, o:at(1)
end

-- A cell as a value; NULL is nil.
local function value_of(cell)
    if type(cell) == "boolean" then
        return tostring(cell)
    end
    return cell
end

local function has_nul(text)
    return text:find("%z") ~= nil
end

local function getter(_, opts)
    local db = check("hg.source_postgres", opts)
    local query, parameters, is_bytes = opts.query, opts.parameters, opts.bytes

    local function ask(key)
        if parameters then
            return db:query(query, parameters(key))
        end
        return db:query(query, is_bytes and pool.bytes(key) or key)
    end

    return function(key)
        if not parameters and not is_bytes and has_nul(key) then
            return nil
        end
        local rows, message, code, sqlstate = ask(key)
        if rows then
            return rows[1] and value_of(rows[1][1])
        elseif cannot_hold[sqlstate] or is_bytes and code == "internal" and sqlstate == WRONG_LENGTH then
            return nil
        end
        return fail("postgres: ", message, code)
    end
end

-- "select V from T where K = $1" as one for many keys; nil where it is not just that.
local function for_many(query)
    local values, from, column = query:match("^%s*[sS][eE][lL][eE][cC][tT]%s+(.-)%s+([fF][rR][oO][mM]%s.-%s[wW][hH][eE][rR][eE])%s+"
        .. '([%w_."]+)%s*=%s*%$1%s*;?%s*$')
    if not values or from:find("$", 1, true) or values:find("$", 1, true) or values:lower():find("^distinct%s")
        or from:lower():find("%swhere%s.*%swhere$") then
        return nil
    end
    return ("select %s, %s %s %s = any($1)"):format(column, values, from, column)
end

-- The keys from .. to as one parameter, an array.
local function array(keys, from, to, is_bytes)
    local items = {}
    for i = from, to do
        items[#items + 1] = '"' .. (is_bytes and "\\x" .. digest.hex(keys[i]) or keys[i]):gsub('[\\"]', "\\%0") .. '"'
    end
    return "{" .. table.concat(items, ",") .. "}"
end

--- The same for get_many: one statement for all keys. It returns key and value; or it is "select V from T where K = $1", which
-- becomes one that does.
function M.many(opts)
    local db, o = check("hg.source_postgres.many", opts)
    local query, is_bytes = opts.query, opts.bytes
    if opts.parameters then
        o:wrong("parameters: there is one, the list of keys")
    elseif not query:lower():find("any%s*%(%s*%$1") then
        query = for_many(query)
        if not query then
            o:wrong('query: expected "select KEY, VALUE from ... where KEY = any($1)", or "select VALUE from ... where KEY = $1"')
        end
    end

    -- Adds what there is of keys from .. to; the first row of a key counts, as for a getter. -> nil | message, code
    local function load(keys, from, to, values)
        local rows, message, code, sqlstate = db:query(query, array(keys, from, to, is_bytes))
        if rows then
            local seen = {}
            for _, row in ipairs(rows) do
                local key = value_of(row[1])
                if key ~= nil and not seen[key] then
                    seen[key], values[key] = true, value_of(row[2])
                end
            end
            return nil
        elseif not cannot_hold[sqlstate] then
            return message, code
        elseif from == to then
            return nil
        end
        -- One of them cannot be asked for, which is not the others' fault.
        local middle = math.floor((from + to) / 2)
        message, code = load(keys, from, middle, values)
        if message then
            return message, code
        end
        return load(keys, middle + 1, to, values)
    end

    return function(keys)
        local values, asked = {}, {}
        for _, key in ipairs(keys) do
            if is_bytes or not has_nul(key) then
                asked[#asked + 1] = key
            end
        end
        if #asked > 0 then
            local message, code = load(asked, 1, #asked, values)
            if message then
                return fail("postgres: ", message, code)
            end
        end
        return values
    end
end

return setmetatable(M, { __call = getter })
