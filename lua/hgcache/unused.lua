--- For `hgcache check`: what a configuration says and nothing looks at. Warnings, since it may be meant for later.
--
-- find(given, checked, strings) -> list of texts. given: what the chunk returned; checked: what config.lua made of it; strings: all
-- that stand in its files (globals.lua), false where those do not tell which arguments are read

local core = require "hgcache.core"
local units = require "hgcache.units"
local T = require "hgcache.checker"

local M = {}

local function get(value, ...)
    for _, key in ipairs { ... } do
        value = type(value) == "table" and rawget(value, key) or nil
    end
    return value
end

local function find_pools(checked, add)
    local used = { getters = true, routes = true }
    for _, group in ipairs(checked.groups) do
        used[group.pool] = true
    end
    for _, pool in ipairs(checked.node.pools) do
        if not used[pool.name] then
            add(T.path { "node", "scripts", pool.name }, "no group has this pool")
        end
    end
end

local function find_sources(given, add)
    local used = {}
    for _, group in next, given.groups do
        used[rawget(group, "source") or false] = true
    end
    -- A line that makes several has a use when one of them has; of many that have none, one line is enough.
    local used_lines, unused = {}, {}
    for _, source in ipairs(core.check.sources) do
        used_lines[source.where] = used_lines[source.where] or used[source.made]
    end
    for _, source in ipairs(core.check.sources) do
        if not used_lines[source.where] then
            used_lines[source.where] = true
            unused[#unused + 1] = source.where
        end
    end
    if #unused > 0 then
        local first = table.remove(unused, 1)
        add(first, "no group has this hg.source" .. (#unused > 0 and ", nor " .. table.concat(unused, ", ") or ""))
    end
end

-- A time-out that something shorter always comes before.
local function find_timeouts(given, checked, add)
    local deadlines = {}
    for _, group in ipairs(checked.groups) do
        deadlines[group.name] = group.deadline
        local timeout = get(given.groups, group.name, "source", "timeout")
        local ms = timeout and units.duration(timeout)
        if ms and ms > group.deadline then
            add(T.path { "groups", group.name, "source", "timeout" }, ("never reached, since the group's deadline is %s")
                :format(units.format_duration(group.deadline)))
        end
    end
    for _, route in ipairs(checked.routes) do
        local deadline = deadlines[route.group]
        if deadline and route.timeout > deadline then
            add(T.path { "routes", route.route, "timeout" }, ("never reached, since the group's deadline is %s")
                :format(units.format_duration(deadline)))
        end
    end
end

local function find_tokens(given, checked, add)
    local node = checked.node
    for _, key in ipairs { "tokens", "hosts" } do
        if not node.listen.admin and get(given, "node", "admin", key) then
            add("node.admin." .. key, "there is no admin listener (node.listen.admin)")
        end
    end
    if checked.cluster and #checked.cluster.tokens > 0 and #checked.cluster.peers == 1 then
        add("cluster.tokens", "there is no other member that could show one")
    end
end

local function find_cors(given, checked, add)
    if not get(given, "cors") then
        return
    end
    for _, route in ipairs(checked.routes) do
        if route.cors == nil then
            return
        end
    end
    add("cors", #checked.routes == 0 and "there is no route" or "each route has its own")
end

local function find_batches(given, add)
    local names = {}
    for name, group in next, given.groups do
        if rawget(group, "batch") ~= nil and rawget(group, "get_many") == nil then
            names[#names + 1] = name
        end
    end
    table.sort(names)
    for _, name in ipairs(names) do
        add(T.path { "groups", name, "batch" }, "the group has no get_many")
    end
end

local function find_args(strings, add)
    local names = {}
    if not strings then
        return
    end
    for name in next, core.args do
        if not core.check.args[name] and not strings[name] then
            names[#names + 1] = name
        end
    end
    table.sort(names)
    for _, name in ipairs(names) do
        add("hg.args." .. name, "given on the command line and never read")
    end
end

function M.find(given, checked, strings)
    local out = {}
    local function add(where, text)
        out[#out + 1] = where .. ": " .. text
    end
    find_sources(given, add)
    find_pools(checked, add)
    find_timeouts(given, checked, add)
    find_batches(given, add)
    find_tokens(given, checked, add)
    find_cors(given, checked, add)
    find_args(strings, add)
    return out
end

return M
