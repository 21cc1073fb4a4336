--- The data of a configuration as text, one `path = value` a line in one order, so that two states can be compared.
-- Functions, threads and userdata are named by their type only: they belong to their state.

local M = {}

local rank = { number = 1, string = 2, boolean = 3 }

local function before(a, b)
    local ta, tb = type(a), type(b)
    if ta ~= tb then
        return (rank[ta] or 9) < (rank[tb] or 9)
    end
    if ta == "number" or ta == "string" then
        return a < b
    end
    return tostring(a) < tostring(b)
end

local function leaf(value)
    local kind = type(value)
    if kind == "number" then
        return string.format("%.17g", value)
    elseif kind == "string" then
        return (string.format("%q", value):gsub("\\?\n", "\\n"))
    elseif kind == "boolean" or kind == "nil" then
        return tostring(value)
    end
    return kind
end

-- An element of a list is best called by its name.
local function label(path, key, value)
    local name = type(value) == "table" and (rawget(value, "name") or rawget(value, "route"))
    if type(key) == "number" and type(name) == "string" then
        return path .. "[" .. name .. "]"
    elseif type(key) == "string" then
        return path == "" and key or path .. "." .. key
    end
    return path .. "[" .. tostring(key) .. "]"
end

local function walk(lines, path, value, on_path)
    if type(value) ~= "table" then
        lines[#lines + 1] = path .. " = " .. leaf(value)
        return
    end
    if on_path[value] then
        lines[#lines + 1] = path .. " = cycle"
        return
    end
    on_path[value] = true
    local keys = {}
    for key in next, value do
        keys[#keys + 1] = key
    end
    table.sort(keys, before)
    if #keys == 0 then
        lines[#lines + 1] = path .. " = {}"
    end
    for i = 1, #keys do
        local key = keys[i]
        local item = rawget(value, key)
        walk(lines, label(path, key, item), item, on_path)
    end
    on_path[value] = nil
end

--- config: the normalised table -> string
function M.text(config)
    local lines = {}
    walk(lines, "", config, {})
    return table.concat(lines, "\n")
end

return M
