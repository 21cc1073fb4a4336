--- What a reload would change: the settings of a checked configuration as a list of paths and values, and two such lists compared.
--
-- settings(normalised)          -> string, for `compare` in another Lua state
-- compare(before, normalised)   -> refused, changes: lists of lines. before: what `settings` made of the one that is there
--
-- A line of refused says which key cannot change while the node runs, what was expected (the value there is) and what was found;
-- one of changes is "groups.users.ttl: "10m" -> "5m"", "groups.users: added" or "routes["GET /x"]: dropped". Of functions nothing can
-- be said: scripts are loaded anew in any case.

local schema = require "hgcache.schema"
local units = require "hgcache.units"

local M = {}

local MAX_REFUSED = 3 -- lines; how many more there are is said in one

-- These and what is below them stay; * is one step. Longest first.
local FIXED = {
    "node.name", "node.workers", "node.listen", "node.limits", "node.shared", "node.log.format",
    "cluster", "groups.*.policy", "groups.*.samples", "groups.*.shards",
}
local FREE = { "cluster.peers", "cluster.found_by", "cluster.refresh", "cluster.every" }
local SECRET = { "node.admin.tokens", "cluster.tokens", "cluster.found_by" }
-- Named by a field of theirs; they come and go as a whole.
local NAMED = { ["node.pools"] = "name", groups = "name", routes = "route", ["http.errors"] = "status" }

local AUTO = { workers = true, shards = true, threads = true } -- as 0

local kinds = {} -- of the last step of a path
for _, section in ipairs { "node", "log", "limits", "script", "http", "shared", "cluster", "group", "source", "batch", "serve",
    "cors", "breaker" } do
    for _, field in ipairs(schema[section] or {}) do
        kinds[field.name] = kinds[field.name] or field.type.kind
    end
end
kinds.batch_window, kinds.breaker_cooldown, kinds.every = "duration", "duration", "duration"
kinds.max_age = nil -- whole seconds

local function show(name, value)
    if type(value) == "string" then
        return (("%q"):format(value):gsub("\\\n", "\\n"):gsub("\r", "\\r"):gsub("%z", "\\0"))
    elseif type(value) ~= "number" then
        return tostring(value)
    elseif value == 0 and AUTO[name] then
        return '"auto"'
    elseif kinds[name] == "size" then
        return '"' .. units.format_size(value) .. '"'
    elseif kinds[name] == "duration" then
        return value == -1 and "false" or value == 0 and "0" or '"' .. units.format_duration(value) .. '"'
    end
    return ("%.14g"):format(value)
end

local function is_below(path, prefix)
    return path:sub(1, #prefix) == prefix and (#path == #prefix or path:sub(#prefix + 1, #prefix + 1):find("[.%[]") ~= nil)
end

local function is_any(shape, prefixes)
    for _, prefix in ipairs(prefixes) do
        if is_below(shape, prefix) then
            return true
        end
    end
    return false
end

local function step(path, key)
    if type(key) == "string" and key:find("^[%a_][%w_]*$") then
        return path == "" and key or path .. "." .. key
    end
    return ("%s[%s]"):format(path, show("", key))
end

-- add(path, shape, whole, value, name): shape has * for what is named; whole: the path of what comes and goes as a whole, or "".
local function walk(value, path, shape, whole, name, add)
    if type(value) ~= "table" then
        add(path, shape, whole, value, name)
        return
    end
    local by = NAMED[path]
    for key, item in pairs(value) do
        if by then
            local there = step(path, item[by])
            walk(item, there, shape .. ".*", there, "", add)
        elseif type(key) == "number" then
            walk(item, step(path, key), shape .. "[]", whole, name, add)
        else
            walk(item, step(path, key), shape == "" and key or shape .. "." .. key, whole, key, add)
        end
    end
end

local function flatten(config)
    local found = {}
    local function add(path, shape, whole, value, name)
        found[path] = { path = path, shape = shape, whole = whole, raw = type(value) .. tostring(value),
            shown = is_any(shape, SECRET) and "(not shown)" or show(name, value) }
    end
    for _, key in ipairs { "node", "cluster", "groups", "routes", "cors", "http" } do
        if config[key] ~= nil then
            walk(config[key], key, key, "", key, add)
        end
    end
    -- A source has no name: it is shown at each group that it is of.
    for _, group in ipairs(config.groups) do
        local path = step("groups", group.name)
        found[step(path, "source")] = nil
        walk(config.sources[group.source], step(path, "source"), "groups.*.source", path, "source", add)
    end
    return found
end

local PARTS = { "path", "shape", "whole", "raw", "shown" }

function M.settings(config)
    local out = {}
    for _, entry in pairs(flatten(config)) do
        for _, part in ipairs(PARTS) do
            out[#out + 1] = ("%d:%s"):format(#entry[part], entry[part])
        end
    end
    return table.concat(out)
end

local function parse(text)
    local found, at = {}, 1
    while at <= #text do
        local entry = {}
        for _, part in ipairs(PARTS) do
            local digits, colon = text:match("^(%d+)()", at)
            local length = tonumber(digits)
            entry[part] = text:sub(colon + 1, colon + length)
            at = colon + length + 1
        end
        found[entry.path] = entry
    end
    return found
end

local function wholes(found)
    local there = {}
    for _, entry in pairs(found) do
        there[entry.whole] = true
    end
    return there
end

local function is_fixed(entry)
    return is_any(entry.shape, FIXED) and not is_any(entry.shape, FREE)
end

function M.compare(before_text, config)
    local before, after = parse(before_text), flatten(config)
    local was, is = wholes(before), wholes(after)
    local refused, changes, all, said = {}, {}, {}, {}
    for path in pairs(before) do
        all[#all + 1] = path
    end
    for path in pairs(after) do
        all[#all + 1] = before[path] == nil and path or nil
    end
    table.sort(all)
    local function whole(name, what)
        if not said[name] then
            said[name] = true
            changes[#changes + 1] = name .. ": " .. what
        end
    end
    for _, path in ipairs(all) do
        local old, new = before[path], after[path]
        local entry = new or old
        if not was[entry.whole] then
            whole(entry.whole, "added")
        elseif not is[entry.whole] then
            whole(entry.whole, "dropped")
        elseif not old or not new or old.raw ~= new.raw then
            local from, to = old and old.shown or "nothing", new and new.shown or "nothing"
            if is_fixed(entry) then
                refused[#refused + 1] = ("%s cannot change while the node runs, expected %s as before, found %s"):format(path,
                    from, to)
            else
                changes[#changes + 1] = from == to and path .. ": changed" or ("%s: %s -> %s"):format(path, from, to)
            end
        end
    end
    if #refused > MAX_REFUSED then
        local more = #refused - MAX_REFUSED
        refused = { unpack(refused, 1, MAX_REFUSED) }
        refused[#refused + 1] = ("%d more of that kind"):format(more)
    end
    return refused, changes
end

return M
