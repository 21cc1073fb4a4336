--- The checked configuration as text: for `hgcache check`, and for comparing the VMs of a node.
--
--   text(normalised)      -> readable, Lua-like, with the table of routes
--   canonical(normalised) -> one string, equal exactly when the data is equal
--   difference(a, b)      -> path of the first key that differs, or nil

local schema = require "hgcache.schema"
local units = require "hgcache.units"

local M = {}

local MAX_DEPTH = 16 -- of a normalised table; it has 5

local function quoted(text)
    return (("%q"):format(text):gsub("\\\n", "\\n"):gsub("\r", "\\r"):gsub("%z", "\\0"))
end

local function sorted_keys(t)
    local keys = {}
    for key in next, t do
        keys[#keys + 1] = key
    end
    table.sort(keys, function(a, b)
        if type(a) == type(b) then
            return a < b
        end
        return type(a) == "number"
    end)
    return keys
end

local function write(value, out, depth)
    assert(depth <= MAX_DEPTH, "the normalised configuration is too deep")
    local kind = type(value)
    if kind == "table" then
        out[#out + 1] = "{"
        for _, key in ipairs(sorted_keys(value)) do
            write(key, out, depth + 1)
            out[#out + 1] = "="
            write(value[key], out, depth + 1)
            out[#out + 1] = ","
        end
        out[#out + 1] = "}"
    elseif kind == "string" then
        out[#out + 1] = ("%d:%s"):format(#value, value)
    elseif kind == "number" then
        out[#out + 1] = ("%.17g"):format(value)
    else
        out[#out + 1] = tostring(value)
    end
end

function M.canonical(config)
    local out = {}
    for _, key in ipairs(sorted_keys(config)) do
        if key ~= "warnings" then
            out[#out + 1] = key .. "="
            write(config[key], out, 1)
            out[#out + 1] = ";"
        end
    end
    return table.concat(out)
end

-- Items of these lists are named by a field of theirs, so that a difference reads as the user wrote it.
local function step(path, container, key, item)
    if type(item) == "table" and (container == "groups" or container == "pools") then
        key = item.name
    elseif type(item) == "table" and container == "routes" then
        return ("%s[%s]"):format(path, quoted(item.route))
    end
    if type(key) == "string" and key:find("^[%a_][%w_]*$") then
        return path == "" and key or path .. "." .. key
    elseif type(key) == "number" then
        return ("%s[%d]"):format(path, key)
    end
    return ("%s[%s]"):format(path, quoted(tostring(key)))
end

local function differ(a, b, path, container, depth)
    if type(a) ~= "table" or type(b) ~= "table" or depth > MAX_DEPTH then
        return a ~= b and path or nil
    end
    local all = {}
    for key in next, a do
        all[key] = true
    end
    for key in next, b do
        all[key] = true
    end
    for _, key in ipairs(sorted_keys(all)) do
        if not (depth == 0 and key == "warnings") then
            local item = a[key]
            if item == nil then
                item = b[key]
            end
            local found = differ(a[key], b[key], step(path, container, key, item), key, depth + 1)
            if found then
                return found
            end
        end
    end
end

function M.difference(a, b)
    return differ(a, b, "", "", 0)
end

local function one(value, kind)
    if value == nil then
        return "nil"
    elseif kind == "size" then
        return quoted(units.format_size(value))
    elseif kind == "duration" then
        return value == -1 and "false" or value == 0 and "0" or quoted(units.format_duration(value))
    elseif kind == "seconds" then
        return quoted(units.format_duration(value * 1000))
    elseif type(value) == "string" then
        return quoted(value)
    elseif type(value) == "number" then
        return ("%.14g"):format(value)
    end
    return tostring(value)
end

local function list(items)
    local out = {}
    for i, item in ipairs(items) do
        out[i] = one(item)
    end
    return #out == 0 and "{}" or "{ " .. table.concat(out, ", ") .. " }"
end

local function printer()
    local lines, indent = {}, ""
    local p = {}
    function p.line(text)
        lines[#lines + 1] = text == "" and "" or indent .. text
    end
    function p.open(text)
        p.line(text)
        indent = indent .. "    "
    end
    function p.close(text)
        indent = indent:sub(5)
        p.line(text or "},")
    end
    function p.text()
        return table.concat(lines, "\n") .. "\n"
    end
    return p
end

local function auto(value)
    return value == 0 and '"auto"' or ("%d"):format(value)
end

-- The fields of a section whose normalised form is a plain value.
local function plain(p, fields, values, skip)
    for _, field in ipairs(fields) do
        local value, kind = values[field.name], field.type.kind
        if value ~= nil and not field.type.later and not (skip and skip[field.name]) then
            if type(value) == "table" then
                p.line(("%s = %s,"):format(field.name, list(value)))
            else
                p.line(("%s = %s,"):format(field.name, one(value, kind)))
            end
        end
    end
end

local function hidden(tokens)
    return #tokens == 0 and "{}" or ("{ --[[ %d, not shown ]] }"):format(#tokens)
end

local function describe_node(p, node)
    p.open("node = {")
    p.line(("name = %s,"):format(one(node.name)))
    p.line(("workers = %s,"):format(auto(node.workers)))
    local pools = {}
    for i, pool in ipairs(node.pools) do
        local name = pool.name:find("^[%a_][%w_]*$") and pool.name or "[" .. quoted(pool.name) .. "]"
        pools[i] = ("%s = %s"):format(name, auto(pool.threads))
    end
    p.line(("scripts = { %s },"):format(table.concat(pools, ", ")))
    for _, name in ipairs { "listen", "log", "limits", "script", "http", "shared" } do
        p.open(name .. " = {")
        plain(p, schema[name], node[name])
        p.close()
    end
    p.line(("admin = { tokens = %s, hosts = %s },"):format(hidden(node.admin.tokens), list(node.admin.hosts)))
    p.line(("drain_timeout = %s,"):format(one(node.drain_timeout, "duration")))
    p.line(("drain_delay = %s,"):format(one(node.drain_delay, "duration")))
    p.line(("insecure = %s,"):format(tostring(node.insecure)))
    if node.reload_guard then
        p.open("reload_guard = {")
        plain(p, schema.reload_guard, node.reload_guard)
        p.close()
    end
    p.close()
end

-- As it would be written, but for a password.
local function found_by(cluster)
    local options = cluster.found_by
    if not options then
        return "function() ... end"
    elseif options.path then
        return ("hg.file(%s)"):format(quoted(options.path))
    end
    local names, parts = {}, {}
    for name in pairs(options) do
        names[#names + 1] = name ~= "__hgcache" and name or nil
    end
    table.sort(names)
    for i, name in ipairs(names) do
        local value = options[name]
        parts[i] = name .. " = " .. (type(value) == "table" and list(value) or one(value))
    end
    return ("hg.%s{ %s }"):format(cluster.discovery, table.concat(parts, ", "))
end

local function describe_cluster(p, cluster)
    p.open("cluster = {")
    plain(p, schema.cluster, cluster, { ring = true, tokens = true, peers = cluster.discovery })
    if cluster.discovery then
        p.line(("peers = %s,"):format(found_by(cluster)))
    end
    local ring = cluster.ring
    p.line(("ring = { hash = %s, points = %d }, -- %s"):format(quoted(ring.hash), ring.points, ring.name))
    p.line(("tokens = %s,"):format(hidden(cluster.tokens)))
    p.close()
end

local function describe_group(p, group, source)
    local name = group.name:find("^[%a_][%w_]*$") and group.name or "[" .. quoted(group.name) .. "]"
    p.open(name .. " = {")
    plain(p, schema.group, group, { source = true, shards = true, getter = true, on_evict = true,
        on_hot = true, get_many = true, batch = true, policy = true })
    p.line(("policy = %s,"):format(group.samples > 0
        and ("hg.policy.sampled{ samples = %d, score = function(e) ... end }"):format(group.samples)
        or quoted(group.policy)))
    p.line(("shards = %s,"):format(auto(group.shards)))
    p.open("source = {" .. (source.shared and " -- shared" or ""))
    plain(p, schema.source, source, { breaker = true })
    p.line(("breaker = { failures = %d, cooldown = %s },"):format(source.breaker_failures,
        one(source.breaker_cooldown, "duration")))
    p.close()
    if group.batch_max > 0 then
        p.line(("batch = { window = %s, max = %d },"):format(one(group.batch_window, "duration"), group.batch_max))
        p.line("get_many = function(keys, ctx) ... end,")
    else
        p.line("getter = function(key, ctx) ... end,")
    end
    if group.has_on_evict then
        p.line("on_evict = function(key, value, reason) ... end,")
    end
    if group.has_on_hot then
        p.line("on_hot = function(key, rate) ... end,")
    end
    p.close()
end

local function describe_cors(p, name, cors)
    p.open(name .. " = {")
    plain(p, schema.cors, cors, { origins = cors.by_function, origin = true })
    if cors.by_function then
        p.line("origin = function(origin) ... end,")
    end
    p.close()
end

local function describe_http(p, http)
    p.open("http = {")
    if http.before > 0 then
        p.line(("before = { ... }, -- %d"):format(http.before))
    end
    if http.after > 0 then
        p.line(("after = { ... }, -- %d"):format(http.after))
    end
    if #http.errors > 0 then
        p.open("errors = {")
        for _, page in ipairs(http.errors) do
            p.line(("[%d] = %s,"):format(page.status, page.text and quoted(page.text)
                or "function(req, status, message) ... end"))
        end
        p.close()
    end
    p.close()
end

local function route_line(route, width, only)
    local name = route.route .. (" "):rep(width - #route.route)
    local function more(parts)
        for _, which in ipairs { "before", "after" } do
            if route[which] > 0 then
                parts[#parts + 1] = ("%d %s"):format(route[which], which)
            end
        end
        if route.timeout > 0 then
            parts[#parts + 1] = "timeout " .. units.format_duration(route.timeout)
        end
        if route.cors ~= nil then
            parts[#parts + 1] = route.cors and "own cors" or "no cors"
        end
        return table.concat(parts, ", ")
    end
    if route.kind == "function" then
        return ("%s  %s"):format(name, more { "function" })
    end
    local parts = {
        route.group and "group " .. route.group or only and "group " .. only or "group {query.group}",
        "key " .. route.key,
        route.as,
    }
    if route.type then
        parts[#parts + 1] = "type " .. route.type
    end
    for _, header in ipairs(route.headers) do
        parts[#parts + 1] = header[1] .. ": " .. header[2]
    end
    return ("%s  serve %s"):format(name, more(parts))
end

function M.text(config)
    local p = printer()
    p.open("{")
    describe_node(p, config.node)
    if config.cluster then
        describe_cluster(p, config.cluster)
    end
    p.open("groups = {")
    local users = {}
    for _, group in ipairs(config.groups) do
        users[group.source] = (users[group.source] or 0) + 1
    end
    for _, group in ipairs(config.groups) do
        local source = {}
        for key, value in next, config.sources[group.source] do
            source[key] = value
        end
        source.shared = users[group.source] > 1
        describe_group(p, group, source)
    end
    p.close()
    if config.cors then
        describe_cors(p, "cors", config.cors)
    end
    if config.http.before + config.http.after + #config.http.errors > 0 then
        describe_http(p, config.http)
    end
    p.close("}")
    if #config.routes > 0 then
        p.line("")
        p.line("routes")
        local width = 0
        for _, route in ipairs(config.routes) do
            width = math.max(width, #route.route)
        end
        local only = #config.groups == 1 and config.groups[1].name or nil
        for _, route in ipairs(config.routes) do
            p.line("  " .. route_line(route, width, only))
        end
    end
    return p.text()
end

return M
