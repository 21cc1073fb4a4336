--- The engine of the configuration's schema: types, and the walk over tables of fields (schema.lua has the fields).
--
-- A type is { expected = "a size such as ...", kind = "size", check = function(value, at) -> normalised }. A check that
-- refuses calls M.fail, which raises a table { at, text, fn }; config.lua makes a line of it.
-- `at` is the path to the value: a list of keys. Metatables of the configuration are ignored everywhere.

local units = require "hgcache.units"
local suggest = require "hgcache.suggest"

local M = {}

--- Refuse the value at this path. fn: a function whose first line is the best place to point at.
function M.fail(at, text, fn)
    error({ at = at, text = text, fn = fn }, 0)
end

--- The path one step further.
function M.child(at, key)
    local path = { unpack(at) }
    path[#path + 1] = key
    return path
end

local function quote(text)
    return '"' .. text:gsub('[%c"\\]', function(c)
        return (c == '"' or c == "\\") and "\\" .. c or ("\\%d"):format(c:byte())
    end) .. '"'
end

--- A value as an error message shows it: one line, bounded, calling nothing of its own.
function M.show(value)
    local kind = type(value)
    if kind == "string" then
        return #value > 60 and quote(value:sub(1, 60)) .. "..." or quote(value)
    elseif kind == "number" then
        return value == math.floor(value) and math.abs(value) < 1e15 and ("%.0f"):format(value)
            or ("%.14g"):format(value)
    elseif kind == "boolean" or kind == "nil" then
        return tostring(value)
    elseif kind == "table" and type(rawget(value, "__hgcache")) == "string" then
        return "hg." .. rawget(value, "__hgcache") .. "(...)"
    end
    return "a " .. kind
end

--- groups.test.capacity, routes["GET /api"].key, cluster.peers[2].
function M.path(at)
    local out = {}
    for i, key in ipairs(at) do
        if type(key) == "string" and key:find("^[%a_][%w_]*$") then
            out[#out + 1] = (i > 1 and "." or "") .. key
        else
            out[#out + 1] = "[" .. M.show(key) .. "]"
        end
    end
    return table.concat(out)
end

--- Refuse with "expected X, found Y".
function M.expect(expected, value, at)
    M.fail(at, ("expected %s, found %s"):format(expected, M.show(value)), type(value) == "function" and value or nil)
end

local function simple(kind, expected, accept)
    local T = { kind = kind, expected = expected }
    function T.check(value, at)
        local normalised = accept(value)
        if normalised == nil then
            M.expect(T.expected, value, at)
        end
        return normalised
    end
    return T
end

M.boolean = simple("boolean", "true or false", function(value)
    if type(value) == "boolean" then
        return value
    end
end)

function M.func(shape)
    return simple("function", "a " .. shape, function(value)
        return type(value) == "function" and value or nil
    end)
end

--- opts: { min = 0, max, auto = value that "auto" stands for }
function M.integer(opts)
    local min, max = opts.min or 0, opts.max or units.MAX
    local expected = max == units.MAX and ("a whole number from %s"):format(M.show(min))
        or ("a whole number from %s to %s"):format(M.show(min), M.show(max))
    return simple("integer", expected .. (opts.auto and ' or "auto"' or ""), function(value)
        if opts.auto and value == "auto" then
            return opts.auto
        end
        if type(value) == "number" and value == math.floor(value) and value >= min and value <= max then
            return value
        end
    end)
end

function M.number(min, max)
    return simple("number", ("a number from %s to %s"):format(M.show(min), M.show(max)), function(value)
        return type(value) == "number" and value >= min and value <= max and value or nil
    end)
end

--- Bytes. opts: { min = 1, max }
function M.size(opts)
    opts = opts or {}
    local min, max = opts.min or 1, opts.max or units.MAX
    local T = { kind = "size", expected = 'a size such as 67108864 or "64MiB"' }
    function T.check(value, at)
        local bytes = units.size(value)
        if not bytes then
            M.expect(T.expected, value, at)
        elseif bytes < min then
            M.expect("a size of at least " .. units.format_size(min), value, at)
        elseif bytes > max then
            M.expect("a size of at most " .. units.format_size(max), value, at)
        end
        return bytes
    end
    return T
end

--- Milliseconds. opts: { forever = false is allowed and becomes -1, positive = 0 is not allowed }
function M.duration(opts)
    opts = opts or {}
    local expected = 'a duration such as 10, "250ms" or "5m"' .. (opts.forever and ", or false for ever" or "")
    local T = { kind = "duration", expected = expected }
    function T.check(value, at)
        if opts.forever and value == false then
            return -1
        end
        local ms = units.duration(value)
        if not ms then
            M.expect(T.expected, value, at)
        elseif opts.positive and ms == 0 then
            M.expect("a duration above 0", value, at)
        end
        return ms
    end
    return T
end

--- opts: { min = 1, max = 4096, pattern, but = "must not match this" }; bytes, never a NUL.
function M.string(expected, opts)
    opts = opts or {}
    return simple("string", expected, function(value)
        if type(value) ~= "string" or #value < (opts.min or 1) or #value > (opts.max or 4096) or value:find("%z") then
            return nil
        end
        if opts.pattern and not value:find(opts.pattern) or opts.but and value:find(opts.but) then
            return nil
        end
        return value
    end)
end

--- One of the words.
function M.one_of(words, opts)
    opts = opts or {}
    local quoted = {}
    for i, word in ipairs(words) do
        quoted[i] = quote(word)
    end
    local expected = #quoted == 1 and quoted[1]
        or table.concat(quoted, ", ", 1, #quoted - 1) .. " or " .. quoted[#quoted]
    local T = { kind = "word", expected = expected }
    function T.check(value, at)
        for _, word in ipairs(words) do
            if value == word then
                return value
            end
        end
        if opts.noun and type(value) == "string" then
            local near = suggest.nearest(value, words)
            M.fail(at, ("unknown %s %s, %s"):format(opts.noun, M.show(value),
                near and "did you mean " .. quote(near) .. "?" or "expected " .. expected))
        end
        M.expect(expected, value, at)
    end
    return T
end

--- What the contract knows and this version does not.
function M.later(expected)
    return {
        kind = "later",
        later = true,
        check = function(value, at)
            M.fail(at, "not in this version" .. (expected and ", expected " .. expected or ""),
                type(value) == "function" and value or nil)
        end,
    }
end

--- A list without holes. opts: { min = 0, max = 1000, unique = true }
function M.list(item, expected, opts)
    opts = opts or {}
    local T = { kind = "list", expected = expected, item = item }
    function T.check(value, at)
        if type(value) ~= "table" or rawget(value, "__hgcache") ~= nil then
            M.expect(expected, value, at)
        end
        local count, keys = 0, 0
        while rawget(value, count + 1) ~= nil do
            count = count + 1
            if count > (opts.max or 1000) then
                M.fail(at, ("too many: at most %d"):format(opts.max or 1000))
            end
        end
        for key in next, value do
            keys = keys + 1
            if keys > count then
                if type(key) ~= "number" then
                    M.fail(M.child(at, key), "expected a list without names")
                end
                M.fail(at, "expected a list without names and holes")
            end
        end
        if count < (opts.min or 0) then
            M.fail(at, ("expected %s, found an empty list"):format(expected))
        end
        local out, seen = {}, {}
        for i = 1, count do
            local normalised = item.check(rawget(value, i), M.child(at, i))
            if opts.unique and seen[normalised] then
                M.fail(M.child(at, i), M.show(normalised) .. " is listed twice")
            end
            seen[normalised] = true
            out[i] = normalised
        end
        return out
    end
    return T
end

-- The first unknown key, in a fixed order, so that every run names the same one.
local function unknown_key(fields, value)
    local known, found = {}, nil
    for _, field in ipairs(fields) do
        known[field.name] = true
    end
    for key in next, value do
        if type(key) ~= "string" or not known[key] then
            local word = M.show(key)
            if not found or word < found.word then
                found = { key = key, word = word }
            end
        end
    end
    return found
end

--- "unknown key, did you mean ...?" for a key that is none of these.
function M.unknown(key, names, at)
    local near = suggest.nearest(key, names)
    M.fail(M.child(at, key), near and ("unknown key, did you mean %s?"):format(quote(near))
        or "unknown key, known keys are " .. table.concat(names, ", "))
end

function M.names(fields)
    local names = {}
    for _, field in ipairs(fields) do
        names[#names + 1] = field.name
    end
    return names
end

--- Checks a table against its fields and fills in the defaults. A field is
-- { name, type, default = as a user would write it, required = true, help }.
function M.walk(fields, value, at)
    if type(value) ~= "table" then
        M.expect("a table", value, at)
    end
    local found = unknown_key(fields, value)
    if found then
        M.unknown(found.key, M.names(fields), at)
    end
    local out = {}
    for _, field in ipairs(fields) do
        local given = rawget(value, field.name)
        if given == nil then
            given = field.default
        end
        if given ~= nil then
            out[field.name] = field.type.check(given, M.child(at, field.name))
        elseif field.required then
            M.fail(at, ("%s is missing, expected %s"):format(field.name, field.type.expected))
        end
    end
    return out
end

--- A table of fields as a type. Absent means: every default, unless the field is optional.
function M.section(fields)
    return {
        kind = "section",
        expected = "a table",
        fields = fields,
        check = function(value, at)
            return M.walk(fields, value, at)
        end,
    }
end

return M
