--- Every key of the configuration: its type, default and meaning. Tables only; config.lua checks what reaches across keys.
--
-- A field: { name, type, default (as a user writes it), required, help }. docs/configuration.md has each of them.

local T = require "hgcache.checker"

local M = {}

local MAX_THREADS = 1024
local MAX_COUNT = 2 ^ 31 - 1

local function field(name, kind, opts)
    opts = opts or {}
    opts.name, opts.type = name, kind
    return opts
end

local function count(min, max)
    return T.integer { min = min, max = max or MAX_COUNT }
end

-- RFC 9110 token: what a method, a field name and (RFC 8941) a label in Cache-Status is made of.
M.TOKEN = "^[%w!#$%%&'*+.^_`|~-]+$"

local token = T.string("a token such as \"x-request-id\"", { pattern = M.TOKEN, max = 256 })
local secret = {
    kind = "string",
    expected = "a secret of 1 to 1024 visible characters",
    check = function(value, at)
        -- The value is never shown.
        if type(value) ~= "string" or #value < 1 or #value > 1024 or value:find("[^\33-\126]") then
            T.fail(at, "expected a secret of 1 to 1024 visible characters")
        end
        return value
    end,
}
local tokens = T.list(secret, "a list of secrets, newest first", { max = 16, unique = true })

--- "127.0.0.1": four numbers up to 255.
function M.is_ip4(text)
    local found = 0
    for number in text:gmatch("%d+") do
        found = found + (tonumber(number) <= 255 and 1 or 5)
    end
    return found == 4 and text:find("^%d+%.%d+%.%d+%.%d+$") ~= nil
end

-- How many groups of an IPv6 address a part of it has; more than there can be where it is none.
local function group_count(part)
    local found = 0
    for group in (part == "" and "" or part .. ":"):gmatch("(.-):") do
        found = found + (group:find("^%x%x?%x?%x?$") and 1 or 9)
    end
    return found
end

-- RFC 4291, 2.2: eight groups, "::" once in place of some, the last two perhaps as an IPv4 address.
local function is_ip6(text)
    local rest, ip4 = text:match("^(.*:)(%d+%.[%d.]+)$")
    if ip4 then
        if not M.is_ip4(ip4) then
            return false
        end
        text = rest .. "0:0"
    end
    local head, tail = text:match("^(.-)::(.*)$")
    if head then
        return group_count(head) + group_count(tail) <= 7
    end
    return group_count(text) == 8
end

--- "127.0.0.1:8001" -> host, port; "[::1]:80" -> "::1", 80; "unix:/path" -> "unix", path; else nil.
function M.split_address(text)
    local path = text:match("^unix:(/.+)$")
    if path then
        return "unix", path
    end
    local host, port = text:match("^%[([%x:.]+)%]:(%d+)$")
    if host and not is_ip6(host) then
        return nil
    elseif not host then
        host, port = text:match("^([%w._-]+):(%d+)$")
    end
    port = tonumber(port)
    if host and port >= 1 and port <= 65535 then
        return host, port
    end
    return nil
end

local ADDRESS = 'an address such as "127.0.0.1:8001", "[::1]:8001" or "unix:/run/hgcache.sock"'
local address = {
    kind = "address",
    expected = ADDRESS,
    check = function(value, at)
        if type(value) ~= "string" or #value > 150 or not M.split_address(value) then
            T.expect(ADDRESS, value, at)
        end
        return value
    end,
}

--- The address in a member string ("http://localhost:8001" -> "localhost:8001"), or nil.
function M.member_address(member)
    local rest = member:match("^http://([^/]+)/?$") or (not member:find("/", 1, true) and member)
    if rest and rest:sub(1, 5) ~= "unix:" and M.split_address(rest) then
        return rest
    end
    return nil
end

local MEMBER = 'a member such as "http://127.0.0.1:8001" or "127.0.0.1:8001"'

--- What was expected where a value is no member; nil where it is one.
function M.member_expected(value)
    if type(value) ~= "string" or #value > 255 or not M.member_address(value) then
        local is_tls = type(value) == "string" and value:find("^https://")
        return is_tls and MEMBER .. " (there is no TLS between nodes)" or MEMBER
    end
end

local member = {
    kind = "member",
    expected = MEMBER,
    check = function(value, at)
        local expected = M.member_expected(value)
        if expected then
            T.expect(expected, value, at)
        end
        return value
    end,
}

local member_list = T.list(member, "a list of members", { min = 1, max = 1000, unique = true })
local PEERS = "a list of members, hg.etcd{...}, hg.dns{...}, hg.file(path) or a function() -> list | nil, message"
-- -> list, or of what finds the members: { discovery = its name, options = what hg.<name> made of them, nil for a function }
local peers = {
    kind = "peers",
    expected = PEERS,
    check = function(value, at)
        local kind = type(value) == "table" and rawget(value, "__hgcache")
        if type(value) == "function" then
            return { discovery = "function" }
        elseif M.discoveries[kind] then
            local shown = {}
            for name, option in next, value do
                shown[name] = name ~= "password" and option or nil
            end
            return { discovery = kind, options = shown }
        elseif type(value) ~= "table" or kind then
            T.expect(PEERS, value, at)
        end
        return member_list.check(value, at)
    end,
}

--- What may find the members: how often at most the list is asked for anew where cluster.refresh says nothing.
M.discoveries = { ["function"] = "10s", file = "1s", dns = "10s", etcd = "10s" }

--- Those of core/cache/policy.h, in its order.
M.policies = { "lru", "fifo", "random", "clock", "sampled-lru", "lfu", "sieve", "s3-fifo", "w-tinylfu", "arc" }
local policy_name = T.one_of(M.policies, { noun = "policy" })
M.sampled = {
    field("samples", T.integer { min = 1, max = 64 }, { default = 5, help = "entries that a score chooses from" }),
    field("score", T.func "function(entry)", { required = true, help = "the lowest goes" }),
}
-- -> name, or { name, samples } of hg.policy.sampled; its function stays in the user's table.
local policy = {
    kind = "word",
    expected = policy_name.expected .. ", or hg.policy.sampled{...}",
    check = function(value, at)
        if type(value) == "table" and rawget(value, "__hgcache") == "sampled" then
            local plain = {}
            for key, item in next, value do
                if key ~= "__hgcache" then
                    plain[key] = item
                end
            end
            return { name = "sampled", samples = T.walk(M.sampled, plain, at).samples }
        elseif type(value) == "table" then
            T.expect(policy_name.expected .. ", or hg.policy.sampled{...}", value, at)
        end
        return policy_name.check(value, at)
    end,
}

--- Presets of the ring: what core/cache/ring.h knows by name.
M.rings = {
    default = { name = "default", hash = "xxh64", points = 2048 },
    hgcache = { name = "hgcache", hash = "crc32", points = 100 },
    groupcache = { name = "groupcache", hash = "crc32", points = 50 },
}
M.ring = {
    field("hash", T.one_of { "xxh64", "crc32" }, { required = true, help = "hash of points and keys" }),
    field("points", count(1, 10000), { required = true, help = "points of each member on the ring" }),
}
local RING = '"default", "hgcache", "groupcache" or { hash = "crc32", points = 100 }'
local ring = {
    kind = "ring",
    expected = RING,
    check = function(value, at)
        if type(value) == "string" and M.rings[value] then
            local preset = M.rings[value]
            return { name = preset.name, hash = preset.hash, points = preset.points }
        elseif type(value) ~= "table" then
            T.expect(RING, value, at)
        end
        local out = T.walk(M.ring, value, at)
        out.name = "custom"
        return out
    end,
}

local POOL_NAME = "^[%a_][%w_-]*$"
local SCRIPTS = '"auto", a number of threads, or a table such as { getters = 2, routes = 1, sql = 8 }'
-- -> list of { name, threads }, getters and routes first, then by name. 0 = auto.
local scripts = {
    kind = "pools",
    expected = SCRIPTS,
    check = function(value, at)
        local threads = T.integer { min = 1, max = MAX_THREADS, auto = 0 }
        if type(value) ~= "table" then
            local ok = value == "auto" or type(value) == "number"
            if not ok then
                T.expect(SCRIPTS, value, at)
            end
            local n = threads.check(value, at)
            return { { name = "getters", threads = n }, { name = "routes", threads = n } }
        end
        local names, given = {}, { getters = 0, routes = 0 }
        for name, n in next, value do
            if type(name) ~= "string" or #name > 64 or not name:find(POOL_NAME) then
                T.fail(T.child(at, name), "expected a pool's name of letters, digits, _ and -")
            end
            given[name] = threads.check(n, T.child(at, name))
        end
        if given.discovery then
            T.fail(T.child(at, "discovery"), "the node has this pool of its own, expected another name")
        end
        for name in next, given do
            if name ~= "getters" and name ~= "routes" then
                names[#names + 1] = name
            end
        end
        if #names > 62 then
            T.fail(at, "too many pools: at most 64")
        end
        table.sort(names)
        local pools = { { name = "getters", threads = given.getters }, { name = "routes", threads = given.routes } }
        for _, name in ipairs(names) do
            pools[#pools + 1] = { name = name, threads = given[name] }
        end
        return pools
    end,
}

M.listen = {
    field("peer", address, { help = "other nodes; default: the address in cluster.self" }),
    field("api", address, { help = "the HTTP front end" }),
    field("admin", address, { help = "health, metrics, changes" }),
}
M.log = {
    field("level", T.one_of { "debug", "info", "warn", "error" }, { default = "info", help = "least level written" }),
    field("format", T.one_of { "text", "json" }, { default = "text", help = "form of a line" }),
    field("access", T.boolean, { default = false, help = "a line for each request" }),
}
M.limits = {
    field("key", T.size { max = 65535 }, { default = 1024, help = "bytes of a key, at most 65535" }),
    field("value", T.size { max = 2 ^ 31 - 1 }, { default = "8MiB", help = "bytes of a value" }),
    field("headers", T.size { min = 256, max = 2 ^ 24 },
        { default = "16KiB", help = "bytes of a request's header block" }),
    field("fields", count(1, 256), { default = 100, help = "header fields of a request" }),
    field("body", T.size { min = 0, max = 2 ^ 31 - 1 }, { default = "8MiB", help = "bytes of a request's body" }),
    field("connections", count(1), { default = 65536, help = "client connections" }),
    field("pipeline", count(1, 65536), { default = 16, help = "requests of a connection in work" }),
    field("streams", count(1, 65536), { default = 128, help = "HTTP/2 streams of a connection" }),
    field("flights", count(1), { default = 65536, help = "loads under way in the node" }),
    field("waiters", count(1), { default = 10000, help = "callers that wait for one load" }),
    field("peer_message", T.size { min = 1024, max = 2 ^ 31 - 1 },
        { default = "16MiB", help = "bytes of an answer from another node" }),
    field("header_timeout", T.duration(),
        { default = "10s", help = "from a request's first byte to the end of its header" }),
    field("idle_timeout", T.duration(),
        { default = "60s", help = "between two requests of a connection" }),
    field("write_timeout", T.duration(), { default = "30s", help = "without progress of a write" }),
}
M.script = {
    field("memory", T.size { min = 2 ^ 20 }, { default = "128MiB", help = "Lua memory of each script thread" }),
    field("budget", T.duration { positive = true },
        { default = "100ms", help = "CPU a script may use between two waits" }),
    field("jit", T.boolean, { default = false, help = "compile scripts" }),
}
local HTTP_ORIGIN = 'an origin such as "https://example.com" or "http://127.0.0.1:8080", without a path'
-- -> as core/net/url.h has it: lower case, without the port that is the scheme's own.
local http_origin = {
    kind = "string",
    expected = HTTP_ORIGIN,
    check = function(value, at)
        local scheme, rest = (type(value) == "string" and #value <= 255 and value:lower() or ""):match("^(https?)://(.+)$")
        if not scheme then
            T.expect(HTTP_ORIGIN, value, at)
        end
        local host = rest:match("^([%w._-]+)$") or rest:match("^(%[[%x:.]+%])$")
        local port = scheme == "https" and 443 or 80
        if not host then
            host, port = rest:match("^([%w._-]+):(%d+)$")
            if not host then
                host, port = rest:match("^(%[[%x:.]+%]):(%d+)$")
            end
            port = tonumber(port)
        end
        if not host or port < 1 or port > 65535 then
            T.expect(HTTP_ORIGIN, value, at)
        end
        return port == (scheme == "https" and 443 or 80) and ("%s://%s"):format(scheme, host)
            or ("%s://%s:%d"):format(scheme, host, port)
    end,
}
M.http = {
    field("origins", T.list(http_origin, "a list of origins", { max = 1000, unique = true }),
        { help = "whom hg.http may ask, redirects too; absent: anybody" }),
    field("concurrency", count(1, 100000), { default = 256, help = "requests under way in the node" }),
    field("per_load", count(1), { default = 1000, help = "requests of one load, call of a function route or run of a job" }),
    field("ca", T.string("a file of certificates in PEM"),
        { help = "certificates that hg.http and hg.socket trust; absent: the system's" }),
}
M.shared = {
    field("capacity", T.size { min = 1024 }, { default = "1MiB", help = "bytes of each table, headers included" }),
    field("entries", count(1), { default = 65536, help = "entries of each table" }),
}
M.admin = {
    field("tokens", tokens, { default = {}, help = "shared secrets of the admin listener, newest first" }),
    field("hosts", T.list(T.string('a host such as "cache.example:8792"', { pattern = "^[%w.:%[%]_-]+$", max = 255 }),
        "a list of hosts", { max = 64, unique = true }), { default = {},
            help = "further names the Host header may have" }),
}
M.reload_guard = {
    field("errors", T.number(0, 1),
        { default = 0.1, help = "share of a group's loads above which the reload is rolled back" }),
    field("window", T.duration { positive = true }, { default = "1m", help = "how long after a reload" }),
}
M.node = {
    field("name", T.string('a label such as "n1": a letter, then letters, digits, . _ -',
        { pattern = "^%a[%w._-]*$", max = 255 }), { default = "hgcache", help = "a label, in logs and Cache-Status" }),
    field("workers", T.integer { min = 1, max = MAX_THREADS, auto = 0 },
        { default = "auto", help = "worker threads; auto = one per CPU" }),
    field("scripts", scripts,
        { default = "auto", help = "threads for getters and as many for routes, or a table of pools" }),
    field("listen", T.section(M.listen), { help = "addresses; absent: api 127.0.0.1:8791, admin 127.0.0.1:8792" }),
    field("drain_timeout", T.duration(), { default = "10s", help = "most time to finish what is in flight" }),
    field("drain_delay", T.duration(), { default = "1s", help = "time to go on accepting after leaving" }),
    field("log", T.section(M.log), { default = {} }),
    field("limits", T.section(M.limits), { default = {} }),
    field("script", T.section(M.script), { default = {} }),
    field("http", T.section(M.http), { default = {} }),
    field("shared", T.section(M.shared), { default = {} }),
    field("admin", T.section(M.admin), { default = {} }),
    field("insecure", T.boolean,
        { default = false, help = "allow peer and admin listeners off loopback without a token" }),
    field("reload_guard", T.section(M.reload_guard), { help = "rolls a reload back whose getters fail; absent: none is" }),
}
M.cluster = {
    field("self", member, { required = true, help = "this node's member string; must stand in the list exactly" }),
    field("peers", peers, { required = true, help = "all members, this node among them, or what finds them" }),
    field("refresh", T.duration { positive = true },
        { help = 'how often what finds the members is asked; default "10s", hg.file "1s"' }),
    field("transport", T.one_of { "auto", "grpc", "http" },
        { default = "auto", help = "how nodes are asked" }),
    field("base_path", T.string('a path such as "/_hgcache/" that begins and ends with a slash',
        { min = 3, max = 255, pattern = "^/[%w._~/-]+/$", but = "//" }),
            { help = 'default "/_hgcache/"; "/_groupcache/" with ring = "groupcache"' }),
    field("ring", ring, { default = "default", help = "how keys are placed" }),
    field("timeout", T.duration { positive = true },
        { default = "1s", help = "silence after which a peer has failed" }),
    field("lease", T.duration { positive = true }, { default = "2s", help = "bound on the life of copies" }),
    field("tokens", tokens, { default = {}, help = "secrets shared by the nodes, newest first" }),
    field("default_group", T.string("a group's name", { max = 255 }),
        { help = "the group of a request that names none" }),
    field("min_peers", count(1, 1000), { default = 1, help = "members that must be known before the node is ready" }),
}
M.breaker = {
    field("failures", count(0), { default = 5, help = "failures in a row that open it; 0 = no breaker" }),
    field("cooldown", T.duration(), { default = "5s", help = "time until one load is tried again" }),
}
M.source = {
    field("concurrency", count(1), { default = 64, help = "loads at a time" }),
    field("queue", count(0), { default = 1024, help = "loads that wait for their turn" }),
    field("timeout", T.duration { positive = true }, { default = "5s", help = "of one run of the getter" }),
    field("retries", count(0, 100), { default = 0, help = "further runs after an error" }),
    field("backoff", T.duration(), { default = "50ms", help = "before the first retry; doubles" }),
    field("breaker", T.section(M.breaker), { default = {}, help = "stops asking a source that fails" }),
}
M.batch = {
    field("window", T.duration(), { default = "1ms", help = "how long the first key waits for others" }),
    field("max", count(1, 10000), { default = 100, help = "keys at most" }),
}
local source_section = T.section(M.source)
-- Keeps the user's table beside the result: groups that name one hg.source share one guard.
local source = {
    kind = "section",
    expected = "a table or hg.source{...}",
    fields = M.source,
    check = function(value, at)
        local shared = type(value) == "table" and rawget(value, "__hgcache") == "source"
        if type(value) ~= "table" or rawget(value, "__hgcache") ~= nil and not shared then
            T.expect("a table or hg.source{...}", value, at)
        end
        local plain = value
        if shared then
            plain = {}
            for key, item in next, value do
                if key ~= "__hgcache" then
                    plain[key] = item
                end
            end
        end
        local out = source_section.check(plain, at)
        return { out = out, identity = shared and value or nil }
    end,
}
M.group = {
    field("capacity", T.size(), { default = "64MiB", help = "bytes an entry really costs, main and hot together" }),
    field("shards", T.integer { min = 1, max = 1024, auto = 0 },
        { default = "auto",
            help = "lock shards; 1 = one exact order; auto: 1 for one worker, else 512 for each, up to 1024, of at least 1 MiB" }),
    field("policy", policy, { default = "lru", help = "what is evicted first" }),
    field("ttl", T.duration { forever = true }, { default = false, help = "lifetime; 0 = do not store" }),
    field("ttl_jitter", T.number(0, 1),
        { default = 0.1, help = "share of the lifetime by which it is shortened at random" }),
    field("negative_ttl", T.duration { forever = true }, { default = "5s", help = "remember not-found" }),
    field("error_ttl", T.duration { forever = true }, { default = 0, help = "remember an error" }),
    field("error_ttl_max", T.duration { forever = true },
        { help = "remember errors in a row for longer and longer, up to this; default error_ttl: no longer" }),
    field("stale_while_revalidate", T.duration { forever = true },
        { default = 0, help = "serve stale while refreshing" }),
    field("stale_if_error", T.duration { forever = true }, { default = 0, help = "serve stale when the source fails" }),
    field("early_refresh", T.number(0, 1000), { default = 0, help = "XFetch beta; 0 = off" }),
    field("hot", T.number(0, 1), { default = 0.125, help = "share of capacity for copies of other owners' keys" }),
    field("deadline", T.duration { positive = true },
        { default = "10s", help = "how long a caller waits, queueing and retries included" }),
    field("source", source, { default = {}, help = "guard of the getter; hg.source{...} shares one" }),
    field("getter", T.func "function(key, ctx)", { help = "loads a key" }),
    field("get_many", T.func "function(keys, ctx)", { help = "loads several keys; instead of getter" }),
    field("batch", T.section(M.batch), { default = {}, help = "which keys get_many is called with together" }),
    field("pool", T.string("a pool of node.scripts", { max = 64 }),
        { default = "getters", help = "script pool that runs the getter" }),
    field("on_evict", T.func "function(key, value, reason)", { help = "told of what leaves the store" }),
    field("on_hot", T.func "function(key, rate)",
        { help = "told which keys are asked for 600 times a minute or more, with the rate" }),
    field("on_timeout", T.one_of { "error", "stale" },
        { default = "error", help = "what a caller gets whose deadline passes" }),
    field("expose_errors", T.boolean,
        { default = false, help = "show class and message of a getter's error to clients" }),
}

local MAX_HOOKS = 64
-- -> how many
local function hooks(shape)
    local expected = ("a %s, or a list of them"):format(shape)
    local functions = T.list(T.func(shape), expected, { max = MAX_HOOKS })
    return {
        kind = "functions",
        expected = expected,
        check = function(value, at)
            if type(value) ~= "table" and type(value) ~= "function" then
                T.expect(expected, value, at)
            end
            return type(value) == "function" and 1 or #functions.check(value, at)
        end,
    }
end

local ERRORS = "a table such as { [404] = function(req, status, message) ... end, [503] = \"back soon\" }"
-- -> list of { status, text }, sorted; without a text it is a function.
local error_pages = {
    kind = "pages",
    expected = ERRORS,
    check = function(value, at)
        if type(value) ~= "table" or rawget(value, "__hgcache") ~= nil then
            T.expect(ERRORS, value, at)
        end
        local out = {}
        for status, page in next, value do
            local here = T.child(at, status)
            if type(status) ~= "number" or status < 400 or status > 599 or status % 1 ~= 0 then
                T.fail(here, "expected a status from 400 to 599")
            elseif type(page) == "string" and #page > 65536 then
                T.fail(here, "expected a text of at most 65536 bytes")
            elseif type(page) ~= "string" and type(page) ~= "function" then
                T.expect("a text or a function(req, status, message)", page, here)
            end
            out[#out + 1] = { status = status, text = type(page) == "string" and page or nil }
        end
        table.sort(out, function(a, b)
            return a.status < b.status
        end)
        return out
    end,
}
--- What happens around routes.
M.http_hooks = {
    field("before", hooks "function(req)", { help = "called before function routes; what it returns is the answer" }),
    field("after", hooks "function(req, reply)", { help = "called behind them, and may change the answer" }),
    field("errors", error_pages, { default = {}, help = "pages instead of the node's own words for an error" }),
}

local origin = {
    kind = "string",
    expected = 'an origin such as "https://example.com", lower case and without a path, or "*"',
    check = function(value, at)
        local fits = type(value) == "string" and #value <= 255
            and (value == "*" or value == "null" or value:find("^[a-z][a-z0-9+.-]*://[a-z0-9._%[%]:-]+$"))
        if not fits or value:find("[.:]$") then
            T.expect('an origin such as "https://example.com", lower case and without a path, or "*"', value, at)
        end
        return value
    end,
}
local origin_list = T.list(origin, 'a list of origins or "*"', { min = 1, max = 1000, unique = true })
local origins = {
    kind = "list",
    expected = origin_list.expected,
    check = function(value, at)
        return origin_list.check(value == "*" and { "*" } or value, at)
    end,
}
local max_age = T.duration()
M.cors = {
    field("origins", origins, { help = 'exact origins, or "*"' }),
    field("methods", T.list(token, "a list of methods", { max = 64, unique = true }),
        { default = { "GET" }, help = "allowed methods" }),
    field("headers", T.list(token, "a list of header names", { max = 256, unique = true }),
        { default = {}, help = "allowed request headers" }),
    field("expose", T.list(token, "a list of header names", { max = 256, unique = true }),
        { default = {}, help = "readable response headers" }),
    field("credentials", T.boolean, { default = false, help = "cookies and Authorization are allowed" }),
    field("max_age", {
        kind = "seconds",
        expected = max_age.expected,
        check = function(value, at)
            return math.floor(max_age.check(value, at) / 1000)
        end,
    }, { default = "12h", help = "how long a browser may remember a preflight" }),
    field("origin", T.func "function(origin)", { help = "decides instead of origins; remembered for a minute" }),
}

local SERVER_FIELDS = {
    ["content-length"] = true, ["transfer-encoding"] = true, connection = true, ["keep-alive"] = true, upgrade = true,
    date = true, te = true, trailer = true,
}
-- -> list of { name, value }, sorted.
local response_headers = {
    kind = "headers",
    expected = "a table of header names and values",
    check = function(value, at)
        if type(value) ~= "table" then
            T.expect("a table of header names and values", value, at)
        end
        local out = {}
        for name, text in next, value do
            local here = T.child(at, name)
            if type(name) ~= "string" or #name > 256 or not name:find(M.TOKEN) then
                T.fail(here, "expected a header name")
            elseif SERVER_FIELDS[name:lower()] then
                T.fail(here, "this header is the server's own")
            elseif type(text) ~= "string" or #text > 4096 or text:find("[%z\1-\8\10-\31\127]") then
                T.expect("a header value without control characters", text, here)
            end
            out[#out + 1] = { name, text }
            if #out > 64 then
                T.fail(at, "too many headers: at most 64")
            end
        end
        table.sort(out, function(a, b)
            return a[1] < b[1]
        end)
        return out
    end,
}

local cors_section = T.section(M.cors)
local route_cors = {
    kind = "cors",
    expected = "a table or false",
    fields = M.cors,
    check = function(value, at)
        if value == false then
            return false
        end
        return cors_section.check(value, at)
    end,
}
--- Options of hg.serve(group, options).
M.serve = {
    field("key", T.string('a key template such as "{query.key}"', { max = 1024 }),
        { default = "{query.key}", help = "key template" }),
    field("as", T.one_of { "raw", "envelope" }, { default = "raw", help = "the bytes, or HgCache v2's JSON" }),

           field("type", T.string('a content type such as "text/plain"', { pattern = "^[%w!#$&^_.+-]+/[\32-\126]+$",
               max = 256 }),
        { help = "instead of the value's own content type" }),
    field("headers", response_headers, { default = {}, help = "further response headers; Cache-Control is then yours" }),
    field("cache_control", T.boolean, { default = true, help = "send Cache-Control with the remaining life" }),
    field("timeout", T.duration { positive = true }, { help = "shortens the group's deadline" }),
    field("cors", route_cors, { help = "instead of the top's; false = none" }),
    field("before", hooks "function(req)", { help = "called first, in Lua; what it returns is the answer" }),
}
--- A table as a route's target.
M.handler = {
    field("handler", T.func "function(req)", { required = true, help = "answers the request" }),
    field("before", hooks "function(req)", { help = "called first; what it returns is the answer" }),
    field("after", hooks "function(req, reply)", { help = "called behind it, and may change the answer" }),
    field("timeout", T.duration { positive = true }, { help = "how long the handler may take" }),
    field("cors", route_cors, { help = "instead of the top's; false = none" }),
}

local function any_table(expected)
    return {
        kind = "map",
        expected = expected,
        check = function(value, at)
            if type(value) ~= "table" then
                T.expect(expected, value, at)
            end
            return value
        end,
    }
end

M.root = {
    field("node", T.section(M.node), { default = {} }),
    field("cluster", T.section(M.cluster), { help = "absent: a cluster of one" }),
    field("groups", any_table "a table of groups", { required = true, help = "name -> group" }),
    field("routes", any_table "a table of routes", { help = '"METHOD /pattern" -> target' }),
    field("cors", cors_section, { help = "cross-origin answers of all routes" }),
    field("http", T.section(M.http_hooks), { default = {}, help = "hooks around routes, pages of errors" }),
}

--- Sections by the path of their keys, in reading order: what the documentation and its spec walk over.
M.sections = {
    { "", M.root }, { "node", M.node }, { "node.listen", M.listen }, { "node.log", M.log }, { "node.limits", M.limits },
    { "node.script", M.script }, { "node.http", M.http }, { "node.shared", M.shared },
    { "node.admin", M.admin }, { "node.reload_guard", M.reload_guard }, { "cluster", M.cluster }, { "cluster.ring", M.ring },
    { "groups.NAME", M.group }, { "groups.NAME.source", M.source }, { "groups.NAME.source.breaker", M.breaker },
    { "groups.NAME.batch", M.batch },
    { "hg.serve", M.serve }, { "routes.handler", M.handler }, { "http", M.http_hooks }, { "cors", M.cors },
}

return M
