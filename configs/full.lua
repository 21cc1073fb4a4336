-- Every key with its default. Leave out what you do not change: an empty table means the same.
-- Where there is no default, or it depends on another key, the line is an example and says so.

local hg = require "hgcache"

return {
    node = {
        name = "hgcache", -- a label, in logs and in Cache-Status
        workers = "auto", -- threads that serve; auto = one per CPU
        scripts = { getters = "auto", routes = "auto", slow = 2 }, -- default "auto"; `slow` is an example of an own pool
        -- Absent: api 127.0.0.1:8791 and admin 127.0.0.1:8792. Given: exactly these, and peer from cluster.self.
        listen = { peer = "127.0.0.1:8001", api = "127.0.0.1:8791", admin = "127.0.0.1:8792" }, -- also "unix:/path"
        drain_timeout = "10s", -- most time to finish what is in flight when leaving
        drain_delay = "1s",    -- time to go on accepting after leaving the ring
        log = {
            level = "info",  -- debug | info | warn | error
            format = "text", -- text | json
            access = false,  -- a line for each request
        },
        limits = { -- inclusive
            key = 1024,
            value = "8MiB",
            headers = "16KiB",
            fields = 100,
            body = "8MiB",
            connections = 65536,
            pipeline = 16,  -- requests of a connection in work
            streams = 128,  -- HTTP/2
            flights = 65536, -- loads under way
            waiters = 10000, -- callers of one load
            peer_message = "16MiB",
            header_timeout = "10s",
            idle_timeout = "60s",
            write_timeout = "30s",
        },
        script = {
            memory = "128MiB", -- of each script thread
            budget = "100ms",  -- CPU a script may use between two waits
            jit = false,
        },
        http = { -- what scripts may ask by hg.http
            origins = nil,     -- { "https://example.com" }: nobody else; default: anybody
            concurrency = 256, -- requests under way in the node
            per_load = 1000,   -- requests of one load
            ca = nil,          -- "/etc/ssl/own.pem"; default: the system's certificates
        },
        shared = { -- of each table of hg.shared
            capacity = "1MiB",
            entries = 65536,
        },
        admin = {
            tokens = {}, -- newest first; needed when the admin listener is not on loopback
            hosts = {},  -- further names that the Host header may have
        },
        insecure = false, -- true: listeners off loopback without a token
        reload_guard = { errors = 0.1, window = "1m" }, -- absent: no reload is rolled back
    },

    cluster = { -- example; absent: a cluster of one
        self = "http://127.0.0.1:8001", -- must stand in the list exactly
        peers = { "http://127.0.0.1:8001", "http://127.0.0.1:8002", "http://127.0.0.1:8003" },
        -- Or what finds them: hg.etcd{...}, hg.dns{...}, hg.file(path) or a function() -> list | nil, message, asked so often.
        -- refresh = "10s",
        transport = "auto", -- auto | grpc | http
        base_path = "/_hgcache/",
        ring = "default",   -- default | hgcache | groupcache | { hash = "crc32", points = 100 }
        timeout = "1s",     -- silence after which a peer has failed
        lease = "2s",       -- bound on the life of copies
        tokens = {},        -- shared secrets, newest first; needed for writes between nodes that are not on loopback
        default_group = nil, -- the group of a request that names none; default: the only one
        min_peers = 1,
    },

    groups = {
        test = {
            capacity = "64MiB",
            shards = "auto", -- 1 = one exact order
            policy = "lru",
            ttl = false,      -- for ever; 0 = do not store
            ttl_jitter = 0.1, -- a life is between 0.9 and 1.0 of ttl
            negative_ttl = "5s",
            error_ttl = 0,
            error_ttl_max = 0, -- error_ttl
            stale_while_revalidate = 0,
            stale_if_error = 0,
            early_refresh = 0, -- XFetch beta
            hot = 0.125,       -- share of capacity for copies of other nodes' keys
            deadline = "10s",
            source = {
                concurrency = 64,
                queue = 1024,
                timeout = "5s",
                retries = 0,
                backoff = "50ms",
                breaker = { failures = 5, cooldown = "5s" },
            },
            pool = "getters",
            on_timeout = "error", -- error | stale
            expose_errors = false,
            on_evict = nil, -- function(key, value, reason)
            on_hot = nil, -- function(key, rate): asked for rate times a minute
            getter = function(key) -- example
                return "value of " .. key
            end,
        },
        users = { -- example: misses that come together are one call, on threads of their own
            pool = "slow",
            batch = { window = "1ms", max = 100 },
            get_many = function(keys) -- instead of getter
                local values = {}
                for _, key in ipairs(keys) do
                    values[key] = "user " .. key
                end
                return values
            end,
        },
    },

    routes = { -- example; absent: GET /api?key=K[&group=G]
        ["GET /api"] = hg.serve("test", {
            key = "{query.key}",
            as = "raw", -- raw | envelope
            type = nil, -- default: the value's own
            headers = {},
            cache_control = true,
            timeout = nil, -- shortens the group's deadline
            cors = nil,    -- instead of the one below; false = none
            before = nil,  -- function(req), or a list of them, called first: answers by what it returns
        }),
        ["GET /hello/:name"] = {
            handler = function(req)
                return "hello " .. req.params.name .. "\n"
            end,
            before = nil,    -- function(req), or a list of them
            after = nil,     -- function(req, reply), or a list of them
            timeout = "10s", -- example
        },
    },

    cors = { -- example; absent: none
        origins = { "https://example.com" }, -- or "*"
        origin = nil, -- instead: function(origin) that decides
        methods = { "GET" },
        headers = {},
        expose = {},
        credentials = false,
        max_age = "12h",
    },

    http = {
        before = nil, -- function(req), or a list of them, before all function routes
        after = nil,  -- function(req, reply), or a list of them, behind them
        errors = {},  -- { [404] = function(req, status, message) ... end, [503] = "back soon" }
    },
}
