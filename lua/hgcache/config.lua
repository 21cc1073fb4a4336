--- Schema of the configuration: checks what a chunk returned and makes the one shape that C reads.
--
-- check(config, opts) -> normalised | nil, message
--   opts: { file = "x.lua" (for messages), source_text = its text (for line numbers), role = "run"|"check",
--           is_writable_by_all = true (a warning then), chunks = the script's files as functions: warns of accidents in them }
-- describe(normalised)   -> text: the effective configuration and the table of routes, for `hgcache check`
-- canonical(normalised)  -> string, equal exactly when the data is equal: for the fingerprint
-- difference(a, b)       -> path of the first key that differs, or nil
--
-- The normalised table (sizes are bytes, durations whole milliseconds, -1 is "for ever"; every default filled in):
--
--   node = { name, workers (0 = auto), pools = { { name, threads (0 = auto) }, ... } ("getters" and "routes" first),
--            listen = { peer, api, admin } (absent = not served), drain_timeout, drain_delay,
--            log = { level, format, access },
--            limits = { key, value, headers, fields, body, connections, pipeline, streams, flights, waiters, peer_message,
--                       header_timeout, idle_timeout, write_timeout },
--            script = { memory, budget, jit }, http = { origins = nil (any)|{}, concurrency, per_load, ca = nil|string },
--            shared = { capacity, entries }, admin = { tokens = {}, hosts = {} }, insecure,
--            reload_guard = nil | { errors, window } }
--   cluster = nil | { self, peers = {} (empty with discovery), discovery = nil|"function"|"file"|..., found_by = its options,
--                     refresh = nil|ms, every (0: a list), transport, base_path,
--                     ring = { name, hash = "xxh64"|"crc32", points }, timeout, lease,
--                     tokens = {}, default_group = nil|string, min_peers }
--   groups = { { name, capacity, shards (0 = auto), policy, ttl, ttl_jitter, negative_ttl, error_ttl,
--                error_ttl_max (error_ttl where it was not given), stale_while_revalidate, stale_if_error, early_refresh,
--                hot, deadline, source (number: index into sources), pool, on_timeout, expose_errors,
--                samples (0: no score), batch_window, batch_max (0: it has a getter, else get_many), has_on_evict,
--                has_on_hot }, ... }                                                    -- sorted by name
--   sources = { { concurrency, queue, timeout, retries, backoff, breaker_failures, breaker_cooldown }, ... }
--   routes = { { route = "GET /api", kind = "serve"|"function", group = name|nil (nil: {query.group}, or the only one), key = template,
--                as, type = nil|string, headers = { { name, value }, ... }, cache_control, timeout (0 = the group's),
--                cors = nil (the top's) | false | table as below, before, after (how many of its own) }, ... }   -- sorted by route
--   cors = nil | { origins = {}, methods = {}, headers = {}, expose = {}, credentials, max_age (seconds), by_function }
--   http = { before, after (how many), errors = { { status, text = nil (a function) | string }, ... } }
--   warnings = { "...", ... }
--
-- The fields with their types and defaults are in schema.lua; here is what reaches across them. The functions of a
-- configuration stay in the user's table: groups[name].getter or .get_many, .on_evict, .on_hot, routes[route] (or its .handler),
-- and what handlers.lua looks up.

local T = require "hgcache.checker"
local schema = require "hgcache.schema"
local locate = require "hgcache.locate"
local route_syntax = require "hgcache.route_syntax"
local describe = require "hgcache.describe"
local units = require "hgcache.units"

local M = {}

local MAX_GROUPS = 1024
local MAX_ROUTES = 4096
local MAX_GROUP_NAME = 255
local MAX_SOURCE_TEXT = 4 * 1024 * 1024 -- a longer file has no line numbers

local DEFAULT_API = "127.0.0.1:8791"
local DEFAULT_ADMIN = "127.0.0.1:8792"
local ADMIN_PATHS = { "/live", "/ready", "/metrics", "/stats", "/ring", "/hot", "/explain", "/keys", "/flush",
    "/tags", "/reload", "/drain" }

local function is_loopback(address)
    local host = schema.split_address(address)
    return host == "unix" or host == "localhost" or host == "::1" or host:find("^127%.%d+%.%d+%.%d+$") ~= nil
end

-- What is remembered longer when errors come in a row; -1 is for ever.
local function check_error_ttl(group, at)
    local least, most = group.error_ttl, group.error_ttl_max
    if most == nil then
        group.error_ttl_max = least
    elseif least == 0 and most ~= 0 then
        T.fail(T.child(at, "error_ttl_max"), "expected an error_ttl above 0 with it, found 0")
    elseif most ~= -1 and (least == -1 or most < least) then
        T.fail(T.child(at, "error_ttl_max"), ("expected at least error_ttl, %s, found %s"):format(
            least == -1 and "false" or units.format_duration(least), units.format_duration(most)))
    end
end

local function check_groups(given, has_cluster, pools)
    local at = { "groups" }
    local names = {}
    for name in next, given do
        if type(name) ~= "string" or #name < 1 or #name > MAX_GROUP_NAME or name:find("%z") then
            T.fail(T.child(at, name), ("expected a group's name of 1 to %d bytes without NUL"):format(MAX_GROUP_NAME))
        end
        names[#names + 1] = name
    end
    if #names == 0 then
        T.fail(at, "expected at least one group, found none")
    elseif #names > MAX_GROUPS then
        T.fail(at, ("too many groups: at most %d"):format(MAX_GROUPS))
    end
    table.sort(names)

    local groups, sources, by_identity = {}, {}, {}
    for _, name in ipairs(names) do
        local here = T.child(at, name)
        local group = T.walk(schema.group, rawget(given, name), here)
        group.name = name
        if not group.getter and not group.get_many then
            T.fail(here, "getter is missing, expected a function(key, ctx), or get_many, a function(keys, ctx)")
        elseif group.getter and group.get_many then
            T.fail(here, "expected getter or get_many, found both")
        end
        check_error_ttl(group, here)
        group.samples = type(group.policy) == "table" and group.policy.samples or 0
        group.policy = group.samples > 0 and group.policy.name or group.policy
        group.batch_window, group.batch_max = group.batch.window, group.get_many and group.batch.max or 0
        group.get_many, group.batch = nil, nil
        group.has_on_evict = group.on_evict ~= nil
        group.has_on_hot = group.on_hot ~= nil
        group.getter, group.on_evict, group.on_hot = nil, nil, nil
        if not has_cluster then
            group.hot = 0
        end
        if not pools[group.pool] then
            T.fail(T.child(here, "pool"), "no pool " .. T.show(group.pool) .. " in node.scripts")
        elseif group.pool == "routes" then
            T.fail(T.child(here, "pool"), "routes never share a pool with getters, expected another pool")
        end

        local source = group.source
        local index = source.identity and by_identity[source.identity]
        if not index then
            local out = source.out
            out.breaker_failures, out.breaker_cooldown, out.breaker = out.breaker.failures, out.breaker.cooldown, nil
            sources[#sources + 1] = out
            index = #sources
            if source.identity then
                by_identity[source.identity] = index
            end
        end
        group.source = index
        groups[#groups + 1] = group
    end
    return groups, sources
end

local function check_cors(cors, at, warnings)
    if not cors then
        return cors
    end
    if (cors.origins == nil) == (cors.origin == nil) then
        T.fail(at, "expected origins or origin, found " .. (cors.origin and "both" or "neither"))
    end
    cors.by_function, cors.origin, cors.origins = cors.origin ~= nil, nil, cors.origins or {}
    for _, origin in ipairs(cors.origins) do
        if origin == "*" and #cors.origins > 1 then
            T.fail(T.child(at, "origins"), 'expected "*" alone or a list of origins, found both')
        elseif origin == "*" and cors.credentials then
            T.fail(T.child(at,
                "credentials"), 'true together with origins = "*" would let every site act for your users, '
                .. "expected exact origins")
        elseif origin == "null" then
            warnings[#warnings + 1] = T.path(at) .. '.origins: "null" is sent by sandboxed pages of any site'
        end
    end
    return cors
end

local function check_serve(target, parsed, at, groups)
    local options = {}
    for key, value in next, target do
        if key ~= "__hgcache" and key ~= "group" then
            options[key] = value
        end
    end
    local out = T.walk(schema.serve, options, at)
    out.kind = "serve"
    for _, header in ipairs(out.headers) do
        out.cache_control = out.cache_control and header[1]:lower() ~= "cache-control"
    end
    out.group = rawget(target, "group")
    if out.group ~= nil and (type(out.group) ~= "string" or not groups[out.group]) then
        local names = {}
        for name in next, groups do
            names[#names + 1] = name
        end
        table.sort(names)
        if #names > 8 then
            names = { unpack(names, 1, 8) }
            names[#names + 1] = "..."
        end
        T.fail(at, ("hg.serve: no group %s, known groups are %s"):format(T.show(out.group), table.concat(names, ", ")))
    end
    if parsed.method ~= "GET" then
        T.fail(at,
            ('hg.serve answers GET (and HEAD with it), found %s; other methods take a function'):format(parsed.method))
    end
    local _, message = route_syntax.template(out.key, parsed.params)
    if message then
        T.fail(T.child(at, "key"), message)
    end
    return out
end

local function check_target(target, parsed, at, groups)
    if type(target) == "function" then
        return { kind = "function" }
    elseif type(target) ~= "table" then
        T.expect("hg.serve(...), a function or { handler = function }", target, at)
    end
    local kind = rawget(target, "__hgcache")
    if kind == "serve" then
        return check_serve(target, parsed, at, groups)
    elseif kind ~= nil then
        T.expect("hg.serve(...), a function or { handler = function }", target, at)
    end
    local out = T.walk(schema.handler, target, at)
    out.handler = nil
    out.kind = "function"
    return out
end

local function check_routes(given, groups, has_api, warnings)
    if given == nil then
        if not has_api then
            return {}
        end
        return { { route = "GET /api", kind = "serve", key = "{query.key}", as = "raw", headers = {},
            cache_control = true, timeout = 0, before = 0, after = 0 } }
    end
    local at = { "routes" }
    local routes, shapes, names = {}, {}, {}
    for name in next, given do
        if type(name) ~= "string" then
            T.fail(T.child(at, name), 'expected a route such as "GET /users/:id"')
        end
        names[#names + 1] = name
    end
    if #names > MAX_ROUTES then
        T.fail(at, ("too many routes: at most %d"):format(MAX_ROUTES))
    end
    table.sort(names)
    for _, name in ipairs(names) do
        local here = T.child(at, name)
        local parsed, message = route_syntax.route(name)
        if not parsed then
            T.fail(here, message)
        elseif shapes[parsed.shape] then
            T.fail(here, ("matches the same requests as %s"):format(T.path(T.child(at, shapes[parsed.shape]))))
        end
        shapes[parsed.shape] = name
        local route = check_target(rawget(given, name), parsed, here, groups)
        route.route = name
        route.timeout = route.timeout or 0
        route.before, route.after = route.before or 0, route.after or 0
        route.cors = check_cors(route.cors, T.child(here, "cors"), warnings)
        routes[#routes + 1] = route
    end
    if #routes > 0 and not has_api then
        T.fail(at, "there is no api listener to serve them, expected node.listen.api")
    end
    return routes
end

-- Paths that a listener serves itself cannot be routes of the same address.
local function check_reserved(routes, listen, cluster)
    for _, route in ipairs(routes) do
        local at = { "routes", route.route }
        local pattern = route.route:match("^%u+ (.*)$")
        if listen.peer and listen.peer == listen.api then
            for _, base in ipairs { cluster and cluster.base_path or "/_hgcache/", "/_groupcache/" } do
                if (pattern .. "/"):sub(1, #base) == base then
                    T.fail(at,
                        ("%s belongs to the peer listener, which shares the address %s"):format(base, listen.api))
                end
            end
        end
        if listen.admin and listen.admin == listen.api then
            for _, path in ipairs(ADMIN_PATHS) do
                if pattern == path then
                    T.fail(at,
                        ("%s belongs to the admin listener, which shares the address %s"):format(path, listen.api))
                end
            end
        end
    end
end

local function check_listen(node, cluster)
    local listen = node.listen
    if not listen then
        listen = { api = DEFAULT_API, admin = DEFAULT_ADMIN }
        node.listen = listen
    end
    if cluster and not listen.peer then
        listen.peer = schema.member_address(cluster.self)
    end
    if node.insecure then
        return
    end
    if listen.peer and not is_loopback(listen.peer) and not (cluster and #cluster.tokens > 0) then
        T.fail({ "node", "listen", "peer" },
            ("%s is not on loopback and cluster.tokens is empty, expected a token or node.insecure = true")
            :format(listen.peer))
    end
    if listen.admin and not is_loopback(listen.admin) and #node.admin.tokens == 0 then
        T.fail({ "node", "listen", "admin" },
            ("%s is not on loopback and node.admin.tokens is empty, expected a token or node.insecure = true")
            :format(listen.admin))
    end
end

-- A list stays one; what finds it goes to cluster.discovery and its options to cluster.found_by.
local function check_peers(cluster)
    local found_by = cluster.peers
    if found_by.discovery then
        cluster.discovery, cluster.found_by, cluster.peers = found_by.discovery, found_by.options, {}
        cluster.refresh = cluster.refresh or units.duration(schema.discoveries[cluster.discovery])
        -- That of etcd goes on by itself; if it ends it begins anew.
        cluster.every = cluster.discovery == "etcd" and 1000 or cluster.refresh
        if cluster.discovery == "etcd" then
            cluster.self = schema.member_address(cluster.self) -- as it is written there
        end
        local host = schema.split_address(schema.member_address(cluster.self))
        if cluster.discovery == "dns" and not host:find("^[%d.]+$") and not host:find(":", 1, true) then
            T.fail({ "cluster", "self" },
                ("%s: with hg.dns members are IP addresses, expected this node's"):format(T.show(cluster.self)))
        end
        return
    elseif cluster.refresh then
        T.fail({ "cluster", "refresh" }, "cluster.peers is a list, which is never asked for anew")
    end
    cluster.refresh, cluster.every = nil, 0
    local found = false
    for _, peer in ipairs(cluster.peers) do
        found = found or peer == cluster.self
    end
    if not found then
        T.fail({ "cluster", "self" },
            ("%s is not in cluster.peers; it must stand there exactly"):format(T.show(cluster.self)))
    end
    if cluster.min_peers > #cluster.peers then
        T.fail({ "cluster", "min_peers" },
            ("expected at most the number of peers (%d), found %d"):format(#cluster.peers, cluster.min_peers))
    end
end

local function check_cluster(cluster, groups)
    if not cluster.base_path then
        cluster.base_path = cluster.ring.name == "groupcache" and "/_groupcache/" or "/_hgcache/"
    end
    check_peers(cluster)
    if cluster.default_group and not groups[cluster.default_group] then
        T.fail({ "cluster", "default_group" }, "no group " .. T.show(cluster.default_group))
    end
end

local function check_all(given)
    if type(given) ~= "table" then
        T.expect("the file to return a table", given, {})
    end
    local root = T.walk(schema.root, given, {})
    local warnings = {}
    local node, cluster = root.node, root.cluster
    node.pools, node.scripts = node.scripts, nil
    local pools = {}
    for _, pool in ipairs(node.pools) do
        pools[pool.name] = true
    end

    local groups, sources = check_groups(root.groups, cluster ~= nil, pools)
    local by_name = {}
    for _, group in ipairs(groups) do
        by_name[group.name] = group
    end
    if cluster then
        check_cluster(cluster, by_name)
    end
    check_listen(node, cluster)
    local routes = check_routes(root.routes, by_name, node.listen.api ~= nil, warnings)
    check_reserved(routes, node.listen, cluster)
    check_cors(root.cors, { "cors" }, warnings)
    if cluster and node.limits.value > node.limits.peer_message then
        warnings[#warnings + 1] = "node.limits.value is above node.limits.peer_message: "
            .. "such values do not travel between nodes"
    end
    return {
        node = node, cluster = cluster, groups = groups, sources = sources, routes = routes, cors = root.cors,
        http = { before = root.http.before or 0, after = root.http.after or 0, errors = root.http.errors }, warnings = warnings,
    }
end

-- "config.lua:12: groups.test.capacity: expected ..."
local function message_of(trouble, opts)
    local line
    if trouble.fn then
        local info = debug.getinfo(trouble.fn, "S")
        line = info and info.linedefined > 0 and info.linedefined or nil
    end
    if not line and type(opts.source_text) == "string" and #opts.source_text <= MAX_SOURCE_TEXT then
        line = locate.index(opts.source_text):find(trouble.at)
    end
    local where = (opts.file or "configuration") .. (line and (":%d"):format(line) or "")
    local path = T.path(trouble.at)
    return where .. ": " .. (path ~= "" and path .. ": " or "") .. trouble.text
end

-- What is no error and hardly ever meant.
local function add_accidents(config, result, opts)
    local folder = (opts.file or ""):match("^(.*)/") or "."
    local globals, strings, has_computed_args = require("hgcache.globals").find(opts.chunks, folder)
    for _, global in ipairs(globals) do
        table.insert(result.warnings, global.where .. ": " .. global.text)
    end
    for _, text in ipairs(require("hgcache.unused").find(config, result, not has_computed_args and strings)) do
        table.insert(result.warnings, text)
    end
end

function M.check(config, opts)
    local ok, result = pcall(check_all, config)
    if ok then
        local warnings = result.warnings
        if opts and opts.is_writable_by_all then
            warnings[#warnings + 1] = (opts.file or "the configuration") .. " is writable by everybody"
        end
        if opts and opts.chunks then
            add_accidents(config, result, opts)
        end
        return result
    elseif type(result) == "table" and result.at then
        return nil, message_of(result, opts or {})
    end
    return nil, ("%s: the check itself failed: %s"):format(opts and opts.file or "configuration", tostring(result))
end

M.describe = describe.text
M.canonical = describe.canonical
M.difference = describe.difference

return M
