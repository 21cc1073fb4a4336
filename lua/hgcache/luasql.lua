--- What the sources over LuaSQL's drivers have in common. The drivers block, and cannot bind parameters: each "?" of a statement
-- becomes a literal that a dialect writes.
--
--   dialect: { name = of the function, known = more options,
--              settings = function(o): checks them -> what connect needs,
--              connect = function(settings) -> connection | nil, message,
--              literal = function(connection, bytes) -> text | nil: there is no such text
--              is_alive = function(connection): after an error; false: it is of no more use,
--              is_passing = function(message): whether an error may go away by itself,
--              hash = whether # begins a comment, backslash = whether \' is no end }
--
-- A script thread has one connection of each source, opened at its first load.

local fail = require "hgcache.failure"
local options = require "hgcache.options"

local M = {}

local MAX_PARAMETERS = 32
local EXACT_MAX = 2 ^ 53 -- below it a number of Lua has every digit of a whole one

local known = { query = "string", parameters = "function", setup = "table" }

-- Where a text in quotes ends; the quotes doubled, and after a backslash where that counts, are part of it.
local function skip_quoted(statement, at, quote, backslash)
    at = at + 1
    while at <= #statement do
        local c = statement:sub(at, at)
        if c == quote then
            return at + 1
        end
        at = at + (backslash and c == "\\" and 2 or 1)
    end
    return at
end

--- A statement in pieces around its "?"; one inside quotes or a comment is part of the text.
function M.split(statement, dialect)
    local pieces, from, at = {}, 1, 1
    while at <= #statement do
        local c = statement:sub(at, at)
        if c == "'" or c == '"' or c == "`" then
            at = skip_quoted(statement, at, c, dialect.backslash and c ~= "`")
        elseif statement:sub(at, at + 1) == "--" or dialect.hash and c == "#" then
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

-- The statement with literals for its parameters | nil: one of them cannot be said | false, what is wrong
local function fill(dialect, pieces, connection, parameters)
    if type(parameters) ~= "table" then
        return false, "parameters: expected a list of strings"
    elseif #parameters ~= #pieces - 1 then
        return false, ("the statement has %d parameters, %d given"):format(#pieces - 1, #parameters)
    end
    local out = { pieces[1] }
    for i, parameter in ipairs(parameters) do
        if type(parameter) ~= "string" then
            return false, "parameters are strings, found " .. type(parameter)
        end
        local literal = dialect.literal(connection, parameter)
        if not literal then
            return nil
        end
        out[#out + 1] = literal
        out[#out + 1] = pieces[i + 1]
    end
    return table.concat(out)
end

local function check(dialect, suffix, opts)
    local all = {}
    for _, list in ipairs { known, dialect.known } do
        for option, wanted in pairs(list) do
            all[option] = wanted
        end
    end
    local o = options.of(dialect.name .. suffix, opts, all, 3)
    if not opts.query then
        o:wrong("query: expected a statement")
    end
    for i, statement in ipairs(opts.setup or {}) do
        if type(statement) ~= "string" then
            o:wrong(("setup[%d]: expected a statement"):format(i))
        end
    end
    local settings = dialect.settings(o:at(4))
    return o:at(2), settings
end

local function failed(message, is_passing)
    message = tostring(message):gsub("^LuaSQL: ", "")
    return fail("", message, is_passing and "unavailable" or "internal")
end

-- One connection for each script thread. open() -> connection, whether it was there already | nil, message
local function connector(dialect, opts, settings)
    local kept
    local self = {}
    function self.open()
        if kept then
            return kept, true
        end
        local connection, message = dialect.connect(settings)
        if not connection then
            return nil, message
        end
        for _, statement in ipairs(opts.setup or {}) do
            local ok
            ok, message = connection:execute(statement)
            if not ok then
                connection:close()
                return nil, message
            end
        end
        kept = connection
        return kept, false
    end
    function self.drop()
        if kept then
            kept:close()
        end
        kept = nil
    end
    return self
end

-- make(connection) -> text of a statement | nil: not found | false, what is wrong. -> cursor | nil: not found | nil, fail
local function select(dialect, connections, make)
    local cursor, message
    for _ = 1, 2 do
        local connection, was_kept = connections.open()
        if not connection then
            return nil, failed(was_kept, true)
        end
        local text, why = make(connection)
        if not text then
            return nil, text == false and failed(why, false) or nil
        end
        cursor, message = connection:execute(text)
        if type(cursor) == "number" then
            return nil, failed("the query answers no rows", false)
        elseif cursor then
            return cursor
        end
        if dialect.is_alive(connection) then
            return nil, failed(message, dialect.is_passing(message))
        end
        connections.drop()
        if not was_kept then
            break
        end
        -- It was lost while it was idle: once more on a new one.
    end
    return nil, failed(message, true)
end

-- The next row, in `row` | nil: there is none | nil, fail. As a table, where NULL in the first column is not the end.
local function fetch(dialect, cursor, row)
    row[1], row[2] = nil, nil
    local found, message = cursor:fetch(row, "n")
    if not found and message then
        return nil, failed(message, dialect.is_passing(message))
    end
    return found
end

-- A cell as text; NULL is nil. -> text | nil, fail
local function text_of(cell)
    if type(cell) ~= "number" then
        return cell
    elseif math.abs(cell) >= EXACT_MAX then
        -- Which whole number it was is lost.
        return nil, failed("a number of 2^53 or more loses digits on its way: CAST(... AS TEXT)", false)
    elseif cell % 1 == 0 then
        return ("%d"):format(cell)
    end
    local text = ("%.15g"):format(cell)
    return tonumber(text) == cell and text or ("%.17g"):format(cell)
end

-- The first column of the first row is the value; NULL or no row: no such key.
local function getter(dialect, opts)
    local o, settings = check(dialect, "", opts)
    local pieces, connections = M.split(opts.query, dialect), connector(dialect, opts, settings)
    local parameters = opts.parameters or function(key)
        return { key }
    end
    if #pieces - 1 > MAX_PARAMETERS then
        o:wrong("query: too many parameters")
    elseif not opts.parameters and #pieces ~= 2 then
        o:wrong(("query: expected one parameter for the key, found %d"):format(#pieces - 1))
    end

    return function(key)
        local wanted = parameters(key)
        local cursor, failure = select(dialect, connections, function(connection)
            return fill(dialect, pieces, connection, wanted)
        end)
        if not cursor then
            return failure
        end
        local row, value
        row, failure = fetch(dialect, cursor, {})
        cursor:close()
        if row then
            value, failure = text_of(row[1])
        end
        if failure then
            return failure
        end
        return value
    end
end

-- What the rows of a cursor say of their keys: the first row of a key counts, as for a getter. -> { [key] = value } | nil, fail
local function read_rows(dialect, cursor)
    local found, seen = {}, {}
    local row, failure = fetch(dialect, cursor, {})
    while row do
        local key
        key, failure = text_of(row[1])
        if failure then
            return nil, failure -- whose it is cannot be said
        elseif key and not seen[key] then
            local value, lost = text_of(row[2])
            seen[key], found[key] = true, lost or value
        end
        row, failure = fetch(dialect, cursor, row)
    end
    if failure then
        return nil, failure
    end
    return found
end

-- For get_many: the one "?" becomes the list of keys, the first column is the key, the second its value.
local function many(dialect, opts)
    local o, settings = check(dialect, ".many", opts)
    local pieces, connections = M.split(opts.query, dialect), connector(dialect, opts, settings)
    if #pieces ~= 2 then
        o:wrong(("query: expected one parameter for the list of keys, found %d"):format(#pieces - 1))
    elseif opts.parameters then
        o:wrong("parameters: there is one, the list of keys")
    end

    return function(keys)
        local cursor, failure = select(dialect, connections, function(connection)
            local literals = {}
            for _, key in ipairs(keys) do
                literals[#literals + 1] = dialect.literal(connection, key)
            end
            return #literals > 0 and pieces[1] .. table.concat(literals, ",") .. pieces[2] or nil
        end)
        if not cursor then
            return failure or {}
        end
        local found
        found, failure = read_rows(dialect, cursor)
        cursor:close()
        return found or failure
    end
end

--- What a dialect is to scripts: a call makes a getter, `many` makes a get_many.
function M.source(dialect)
    return setmetatable({
        many = function(opts)
            return (many(dialect, opts))
        end,
    }, {
        __call = function(_, opts)
            return (getter(dialect, opts))
        end,
    })
end

return M
