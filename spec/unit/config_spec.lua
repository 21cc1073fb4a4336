local config = require "hgcache.config"

local function getter() end

-- A configuration that is right, with changes: change(c) may alter or replace it.
local function base(change)
    local c = { groups = { test = { getter = getter } } }
    return change and (change(c) or c) or c
end

local function clustered(change)
    return base(function(c)
        c.cluster = {
            self = "http://127.0.0.1:8001",
            peers = { "http://127.0.0.1:8001", "http://127.0.0.1:8002" },
        }
        return change and change(c)
    end)
end

local function serve(group, options)
    local t = { __hgcache = "serve", group = group }
    for key, value in pairs(options or {}) do
        t[key] = value
    end
    return t
end

local function good(c, opts)
    local normalised, message = config.check(c, opts)
    assert.is_nil(message)
    assert.is_table(normalised)
    return normalised
end

local function bad(c, wanted, opts)
    local normalised, message = config.check(c, opts or { file = "config.lua" })
    assert.is_nil(normalised)
    assert.is_string(message)
    assert.is_nil(message:find("\n", 1, true), "one line: " .. message)
    assert.is_truthy(message:find(wanted, 1, true), ("wanted %q in %q"):format(wanted, message))
end

-- Sets c[a][b][c] = value by a path of keys.
local function set(c, path, value)
    for i = 1, #path - 1 do
        c[path[i]] = c[path[i]] or {}
        c = c[path[i]]
    end
    c[path[#path]] = value
end

describe("defaults", function()
    it("fills in everything of the smallest configuration", function()
        local n = good(base())
        assert.same({
            name = "hgcache", workers = 0, pools = { { name = "getters", threads = 0 }, { name = "routes",
                threads = 0 } },
            listen = { api = "127.0.0.1:8791", admin = "127.0.0.1:8792" }, drain_timeout = 10000, drain_delay = 1000,
            log = { level = "info", format = "text", access = false },
            limits = {
                key = 1024, value = 8388608, headers = 16384, fields = 100, body = 8388608, connections = 65536,
                    pipeline = 16,
                streams = 128, flights = 65536, waiters = 10000, peer_message = 16777216, header_timeout = 10000,
                idle_timeout = 60000, write_timeout = 30000,
            },
            script = { memory = 134217728, budget = 100, jit = false },
            http = { concurrency = 256, per_load = 1000 }, shared = { capacity = 1048576, entries = 65536 },
            admin = { tokens = {}, hosts = {} },
                insecure = false,
        }, n.node)
        assert.is_nil(n.cluster)
        assert.same({ {
            name = "test", capacity = 67108864, shards = 0, policy = "lru", ttl = -1, ttl_jitter = 0.1,
                negative_ttl = 5000,
            error_ttl = 0, error_ttl_max = 0,
            stale_while_revalidate = 0, stale_if_error = 0, early_refresh = 0, hot = 0, deadline = 10000,
            source = 1, pool = "getters", on_timeout = "error", expose_errors = false, has_on_evict = false,
            has_on_hot = false, batch_window = 1, batch_max = 0, samples = 0,
        } }, n.groups)
        assert.same({ {
            concurrency = 64, queue = 1024, timeout = 5000, retries = 0, backoff = 50, breaker_failures = 5,
            breaker_cooldown = 5000,
        } }, n.sources)
        assert.same({ {
            route = "GET /api", kind = "serve", key = "{query.key}", as = "raw", headers = {}, cache_control = true,
                timeout = 0, before = 0, after = 0,
        } }, n.routes)
        assert.same({ before = 0, after = 0, errors = {} }, n.http)
        assert.is_nil(n.cors)
        assert.same({}, n.warnings)
    end)

    it("fills in a cluster, and listens for peers where self says", function()
        local n = good(clustered())
        assert.same({
            self = "http://127.0.0.1:8001", peers = { "http://127.0.0.1:8001", "http://127.0.0.1:8002" },
                transport = "auto",
            base_path = "/_hgcache/", ring = { name = "default", hash = "xxh64", points = 2048 }, timeout = 1000,
                lease = 2000,
            tokens = {}, min_peers = 1, every = 0,
        }, n.cluster)
        assert.equal("127.0.0.1:8001", n.node.listen.peer)
        assert.equal("127.0.0.1:8791", n.node.listen.api)
        assert.equal(0.125, n.groups[1].hot)
    end)

    it("takes listen as given, except peer", function()
        local n = good(clustered(function(c) c.node = { listen = {} } end))
        assert.same({ peer = "127.0.0.1:8001" }, n.node.listen)
        assert.same({}, n.routes)
        n = good(clustered(function(c) c.node = { listen = { peer = "127.0.0.1:9", admin = "unix:/tmp/a" } } end))
        assert.same({ peer = "127.0.0.1:9", admin = "unix:/tmp/a" }, n.node.listen)
        n = good(base(function(c) c.node = { listen = { admin = "127.0.0.1:8792" } } end))
        assert.same({ admin = "127.0.0.1:8792" }, n.node.listen)
    end)

    it("reads a host name in self and a member without scheme", function()
        local n = good(clustered(function(c)
            c.cluster = { self = "localhost:8003", peers = { "localhost:8003" } }
        end))
        assert.equal("localhost:8003", n.node.listen.peer)
        n = good(clustered(function(c)
            c.cluster = { self = "http://localhost:8003", peers = { "http://localhost:8003" } }
        end))
        assert.equal("localhost:8003", n.node.listen.peer)
        assert.equal("http://localhost:8003", n.cluster.self)
    end)
end)

describe("values", function()
    local rows = {
        { { "groups", "test", "capacity" }, "1GB", 1e9, "groups" },
        { { "groups", "test", "capacity" }, 4096, 4096, "groups" },
        { { "groups", "test", "shards" }, 1, 1, "groups" },
        { { "groups", "test", "ttl" }, 0, 0, "groups" },
        { { "groups", "test", "ttl" }, false, -1, "groups" },
        { { "groups", "test", "ttl" }, "10m", 600000, "groups" },
        { { "groups", "test", "ttl_jitter" }, 0, 0, "groups" },
        { { "groups", "test", "negative_ttl" }, false, -1, "groups" },
        { { "groups", "test", "on_timeout" }, "stale", "stale", "groups" },
        { { "node", "workers" }, 4, 4 },
        { { "node", "workers" }, "auto", 0 },
        { { "node", "name" }, "n1", "n1" },
        { { "node", "drain_delay" }, 0, 0 },
        { { "node", "log", "level" }, "debug", "debug" },
        { { "node", "limits", "key" }, "2KiB", 2048 },
        { { "node", "script", "budget" }, 0.05, 50 },
        { { "node", "http", "origins" }, { "HTTPS://Example.com:443", "http://[::1]:80", "http://a:443" },
            { "https://example.com", "http://[::1]", "http://a:443" } },
        { { "node", "http", "origins" }, {}, {} },
        { { "node", "admin", "hosts" }, { "cache.example:8792" }, { "cache.example:8792" } },
    }
    for _, row in ipairs(rows) do
        local path, value, wanted, where = row[1], row[2], row[3], row[4]
        it(table.concat(path, ".") .. " = " .. tostring(value), function()
            local c = base()
            set(c, path, value)
            local at = good(c)
            if where == "groups" then
                assert.same(wanted, at.groups[1][path[#path]])
            else
                for _, key in ipairs(path) do
                    at = at[key]
                end
                assert.same(wanted, at)
            end
        end)
    end

    it("reads pools of scripts", function()
        local n = good(base(function(c)
            c.node = { scripts = { sql = 8, getters = 2, another = "auto" } }
            c.groups.test.pool = "sql"
        end))
        assert.same({
            { name = "getters", threads = 2 }, { name = "routes", threads = 0 }, { name = "another", threads = 0 },
            { name = "sql", threads = 8 },
        }, n.node.pools)
        assert.equal("sql", n.groups[1].pool)
        n = good(base(function(c) c.node = { scripts = 3 } end))
        assert.same({ { name = "getters", threads = 3 }, { name = "routes", threads = 3 } }, n.node.pools)
    end)

    it("reads rings", function()
        local function ring(value)
            return good(clustered(function(c) c.cluster.ring = value end)).cluster
        end
        assert.same({ name = "hgcache", hash = "crc32", points = 100 }, ring("hgcache").ring)
        assert.equal("/_hgcache/", ring("hgcache").base_path)
        assert.same({ name = "groupcache", hash = "crc32", points = 50 }, ring("groupcache").ring)
        assert.equal("/_groupcache/", ring("groupcache").base_path)
        assert.same({ name = "custom", hash = "crc32", points = 7 }, ring({ hash = "crc32", points = 7 }).ring)
    end)

    it("shares one source between groups that name the same one", function()
        local shared = { __hgcache = "source", concurrency = 2, breaker = { failures = 0 } }
        local n = good(base(function(c)
            c.groups = {
                a = { getter = getter, source = shared }, b = { getter = getter, source = { concurrency = 3 } },
                c = { getter = getter, source = shared },
            }
        end))
        assert.equal(2, #n.sources)
        assert.equal(n.groups[1].source, n.groups[3].source)
        assert.equal(2, n.sources[n.groups[1].source].concurrency)
        assert.equal(0, n.sources[n.groups[1].source].breaker_failures)
        assert.equal(3, n.sources[n.groups[2].source].concurrency)
    end)

    it("gives two groups with one plain table a guard each", function()
        local plain = { concurrency = 2 }
        local n = good(base(function(c)
            c.groups = { a = { getter = getter, source = plain }, b = { getter = getter, source = plain } }
        end))
        assert.equal(2, #n.sources)
    end)

    it("keeps group names as bytes and sorts them", function()
        local long = ("x"):rep(255)
        local n = good(base(function(c)
            c.groups = { [long] = { getter = getter }, ["\255 /"] = { getter = getter }, a = { getter = getter } }
        end))
        assert.same({ "a", long, "\255 /" }, { n.groups[1].name, n.groups[2].name, n.groups[3].name })
    end)
end)

describe("routes", function()
    it("send a Cache-Control of their own instead of the node's", function()
        local n = good(base(function(c)
            c.routes = { ["GET /a"] = serve("test", { headers = { ["cache-Control"] = "private" } }) }
        end))
        assert.is_false(n.routes[1].cache_control)
    end)

    it("normalises hg.serve, functions and handlers, sorted", function()
        local n = good(base(function(c)
            c.routes = {
                ["GET /users/:id"] = serve("test", {
                    key = "{path.id}:{query.lang|en}", as = "envelope", type = "text/plain", timeout = "2s",
                        cache_control = false,
                    headers = { ["X-B"] = "2", ["X-A"] = "1" }, cors = false, before = { getter, getter },
                }),
                ["GET /fn"] = getter,
                ["POST /fn"] = { handler = getter, timeout = 3, cors = { origins = "*" }, after = getter },
                ["GET /files/*rest"] = serve(nil),
            }
        end))
        assert.same({
            { route = "GET /files/*rest", kind = "serve", key = "{query.key}", as = "raw", headers = {},
            cache_control = true, timeout = 0, before = 0, after = 0 },
            { route = "GET /fn", kind = "function", timeout = 0, before = 0, after = 0 },
            {
                route = "GET /users/:id", kind = "serve", group = "test", key = "{path.id}:{query.lang|en}",
                    as = "envelope",
                type = "text/plain", timeout = 2000, cache_control = false, headers = { { "X-A", "1" }, { "X-B",
                    "2" } }, cors = false, before = 2, after = 0,
            },
            {
                route = "POST /fn", kind = "function", timeout = 3000, before = 0, after = 1,
                cors = {
                    origins = { "*" }, methods = { "GET" }, headers = {}, expose = {}, credentials = false,
                        max_age = 43200, by_function = false,
                },
            },
        }, n.routes)
    end)

    local function route(name, target)
        return base(function(c) c.routes = { [name] = target or serve("test") } end)
    end

    for _, name in ipairs {
        "/api", "GET", "GET/api", "get /api", "GET  /api", "GET /api ", "GET /a b", "GET /a?b", "GET /a#b",
        "BREW /api", "GET /:",
        "GET /*", "GET /:1a", "GET /*rest/x", "GET /:a/:a", "GET /\0", "GET /a\n", "GET /" .. ("a"):rep(3000), "",
        "GET " .. ("/a"):rep(65), "GET /:a/:b/:c/:d/:e/:f/:g/:h/:i/:j/:k/:l/:m/:n/:o/:p/:q", "CONNECT /x", "GET /:a-b",
    } do
        it("refuses the route " .. name:sub(1, 24), function()
            bad(route(name, getter), "config.lua: routes")
        end)
    end

    it("takes what is allowed in a path", function()
        for _, name in ipairs { "GET /", "GET /a//b", "GET /a/", "GET /a%20b", "GET /~a.b_c-d", "DELETE /*all",
            "GET /:a/b/:c/*d" } do
            good(route(name, getter))
        end
    end)

    it("refuses two routes for the same requests", function()
        bad(base(function(c) c.routes = { ["GET /:a"] = serve("test"), ["GET /:b"] = serve("test") } end),
            'routes["GET /:b"]: matches the same requests as routes["GET /:a"]')
    end)

    for template, wanted in pairs {
        ["{query.key"] = '"{" without "}"', ["query.key}"] = '"}" without "{"', ["{key}"] = "expected {query.x}",
            ["{query.}"] = "expected {query.x}",
        ["{cookie.a}"] = "expected {query.x}", ["{path.id}"] = "the route has no :id",
            ["{header.a b}"] = "expected a header's name",
        ["{}"] = "expected {query.x}", ["{{query.a}"] = '"}" without "{"', [""] = "expected a key template",
            ["{query.{a}}"] = '"{" without "}"',
    } do
        it("refuses the key template " .. template, function()
            bad(route("GET /x", serve("test", { key = template })), wanted)
        end)
    end

    it("takes key templates", function()
        for _, template in ipairs {
            "{query.key}", "{query.a}:{query.b|}", "{header.x-id|none}", "fixed", "{{{query.a}}}", "{path.id}",
            "a{query.a-b.c}",
        } do
            good(route("GET /:id", serve("test", { key = template })))
        end
    end)

    it("refuses what is not a target", function()
        bad(route("GET /x", "test"),
            'routes["GET /x"]: expected hg.serve(...), a function or { handler = function }, found "test"')
        bad(route("GET /x", {}), "handler is missing")
        bad(route("GET /x", { handler = getter, time = 1 }), 'unknown key, did you mean "timeout"?')
        bad(route("GET /x", { __hgcache = "source" }), "expected hg.serve")
        bad(route("GET /x", serve("tset")), 'hg.serve: no group "tset", known groups are test')
        bad(route("GET /x", serve(5)), "hg.serve: no group 5")
        bad(route("POST /x", serve("test")), "hg.serve answers GET")
        bad(route("GET /x", serve("test", { kee = 1 })), 'routes["GET /x"].kee: unknown key, did you mean "key"?')
        bad(route("GET /x", serve("test", { as = "json" })), 'expected "raw" or "envelope", found "json"')
        bad(route("GET /x", serve("test", { timeout = 0 })), "expected a duration above 0")
        bad(route("GET /x", serve("test", { type = "text/plain\r\nX: y" })), "expected a content type")
    end)

    it("refuses headers that would split a response or are the server's", function()
        local function header(name, value)
            return route("GET /x", serve("test", { headers = { [name] = value } }))
        end
        good(header("X-A", "b \255"))
        for _, value in ipairs { "a\r\nb", "a\nb", "a\rb", "a\0b", 5, true } do
            bad(header("X-A", value), "expected a header value")
        end
        for _, name in ipairs { "X A", "X:A", "", "X\r\nA", "X\0", 1 } do
            bad(header(name, "v"), "expected a header name")
        end
        for _, name in ipairs { "Content-Length", "transfer-encoding", "Connection", "DATE" } do
            bad(header(name, "v"), "this header is the server's own")
        end
    end)

    it("refuses routes without an api listener", function()
        bad(base(function(c)
            c.node = { listen = { admin = "127.0.0.1:8792" } }
            c.routes = { ["GET /x"] = serve("test") }
        end), "routes: there is no api listener")
    end)

    it("keeps the paths of listeners that share an address", function()
        local function shared(role, name)
            return clustered(function(c)
                c.node = { listen = { api = "127.0.0.1:8001", [role] = "127.0.0.1:8001" } }
                c.routes = { [name] = serve("test") }
            end)
        end
        bad(shared("peer", "GET /_hgcache/x"), "belongs to the peer listener")
        bad(shared("peer", "GET /_hgcache"), "belongs to the peer listener")
        bad(shared("peer", "GET /_groupcache/:g/:k"), "belongs to the peer listener")
        good(shared("peer", "GET /_hg"))
        bad(shared("admin", "GET /stats"), "belongs to the admin listener")
        good(shared("admin", "GET /statistics"))
    end)

    it("takes at most 4096 routes", function()
        local function many(n)
            return base(function(c)
                c.routes = {}
                for i = 1, n do
                    c.routes["GET /r" .. i] = getter
                end
            end)
        end
        good(many(4096))
        bad(many(4097), "too many routes: at most 4096")
    end)
end)

describe("cors", function()
    local function cors(t)
        return base(function(c) c.cors = t end)
    end

    it("is normalised", function()
        assert.same({
            origins = { "https://example.com" }, methods = { "GET", "PUT" }, headers = { "x-a" }, expose = { "etag" },
                credentials = true,
            max_age = 60, by_function = false,
        }, good(cors { origins = { "https://example.com" }, methods = { "GET", "PUT" }, headers = { "x-a" },
            expose = { "etag" },
            credentials = true, max_age = "1m" }).cors)
        assert.same({ "*" }, good(cors { origins = "*" }).cors.origins)
        assert.same({ "*" }, good(cors { origins = { "*" } }).cors.origins)
        assert.equal(43200, good(cors { origins = "*" }).cors.max_age)
        local asking = good(cors { origin = getter, credentials = true }).cors
        assert.same({ {}, true }, { asking.origins, asking.by_function })
    end)

    it("warns of the null origin", function()
        assert.equal(1, #good(cors { origins = { "null" } }).warnings)
    end)

    for _, origin in ipairs {
        "example.com", "https://Example.com", "https://example.com/", "https://example.com/x", "https://example.com.",
        "https://*.example.com",
        "https://a.example, https://b.example", "https://example.com\r\n", "https://", "HTTPS://example.com", "",
        "https://a@b",
    } do
        it("refuses the origin " .. origin, function()
            bad(cors { origins = { origin } }, "cors.origins[1]: expected an origin")
        end)
    end

    it("refuses what is not safe or not there", function()
        bad(cors { origins = "*", credentials = true }, "cors.credentials: true together with origins")
        bad(cors { origins = { "*", "https://a.example" } }, "alone")
        bad(cors { origins = {} }, "found an empty list")
        bad(cors {}, "cors: expected origins or origin, found neither")
        bad(cors { origins = "*", methods = "GET" }, "expected a list of methods")
        bad(cors { origins = "*", methods = { "GE T" } }, "cors.methods[1]")
        bad(cors { origins = "*", max_age = false }, "expected a duration")
        bad(cors { origins = "*", origin = getter }, "cors: expected origins or origin, found both")
        bad(cors { origin = "https://a.example" }, "cors.origin: expected a function(origin)")
        bad(base(function(c)
            c.routes = { ["GET /x"] = serve("test", { cors = { origins = "*", credentials = true } }) }
        end), 'routes["GET /x"].cors.credentials')
        bad(base(function(c) c.routes = { ["GET /x"] = serve("test", { cors = true }) } end),
            'routes["GET /x"].cors: expected a table')
    end)
end)

describe("http", function()
    local function http(t)
        return base(function(c) c.http = t end)
    end

    it("is how many hooks and which pages", function()
        assert.same({ before = 1, after = 2, errors = { { status = 404 }, { status = 503, text = "x" } } },
            good(http { before = getter, after = { getter, getter }, errors = { [503] = "x", [404] = getter } }).http)
        bad(http { before = { [2] = getter } }, "http.before: expected a list without names and holes")
        bad(http { after = "x" }, "http.after: expected a function(req, reply), or a list of them")
        bad(http { errors = { [399] = "x" } }, "http.errors[399]: expected a status from 400 to 599")
        bad(http { errors = { [404.5] = "x" } }, "expected a status from 400 to 599")
        bad(http { errors = { [404] = ("x"):rep(65537) } }, "expected a text of at most 65536 bytes")
        bad(http { errors = "x" }, "http.errors: expected a table such as")
    end)
end)

describe("what is wrong", function()
    local rows = {
        { { "groups", "test", "capacity" }, "64MiBB",
        'groups.test.capacity: expected a size such as 67108864 or "64MiB", found "64MiBB"' },
        { { "groups", "test", "capacity" }, -1, "expected a size such as" },
        { { "groups", "test", "capacity" }, 0, "expected a size of at least 1" },
        { { "groups", "test", "capacity" }, 0 / 0, "expected a size such as" },
        { { "groups", "test", "capacity" }, {}, "found a table" },
        { { "groups", "test", "capacity" }, false, "found false" },
        { { "groups", "test", "capcity" }, 1, 'groups.test.capcity: unknown key, did you mean "capacity"?' },
        { { "groups", "test", "zzz" }, 1, "groups.test.zzz: unknown key, known keys are capacity, shards," },
        { { "groups", "test", "shards" }, 0, 'expected a whole number from 1 to 1024 or "auto", found 0' },
        { { "groups", "test", "shards" }, 1.5, "expected a whole number" },
        { { "groups", "test", "policy" }, "lruu", 'unknown policy "lruu", did you mean "lru"?' },
        { { "groups", "test", "policy" }, "zzzzzz", 'unknown policy "zzzzzz", expected "lru", "fifo",' },
        { { "groups", "test", "policy" }, "s3fifo", 'unknown policy "s3fifo", did you mean "s3-fifo"?' },
        { { "groups", "test", "policy" }, "LRU", 'unknown policy "LRU"' },
        { { "groups", "test", "policy" }, { __hgcache = "sampled" }, "groups.test.policy: score is missing" },
        { { "groups", "test", "policy" }, { __hgcache = "serve" }, "or hg.policy.sampled{...}" },
        { { "groups", "test", "policy" }, 5, '"w-tinylfu" or "arc", found 5' },
        { { "groups", "test", "ttl" }, "10x",
        'expected a duration such as 10, "250ms" or "5m", or false for ever, found "10x"' },
        { { "groups", "test", "ttl" }, -1, "expected a duration" },
        { { "groups", "test", "ttl" }, 0 / 0, "expected a duration" },
        { { "groups", "test", "ttl" }, 1 / 0, "expected a duration" },
        { { "groups", "test", "ttl" }, 1e300, "expected a duration" },
        { { "groups", "test", "ttl" }, true, "expected a duration" },
        { { "groups", "test", "ttl_jitter" }, 1.1, "expected a number from 0 to 1, found 1.1" },
        { { "groups", "test", "ttl_jitter" }, 0 / 0, "expected a number from 0 to 1" },
        { { "groups", "test", "hot" }, -0.1, "expected a number from 0 to 1" },
        { { "groups", "test", "deadline" }, false, "groups.test.deadline: expected a duration" },
        { { "groups", "test", "deadline" }, 0, "expected a duration above 0" },
        { { "groups", "test", "getter" }, "x", 'groups.test.getter: expected a function(key, ctx), found "x"' },
        { { "groups", "test", "get_many" }, getter, "groups.test: expected getter or get_many, found both" },
        { { "groups", "test", "get_many" }, "x", 'groups.test.get_many: expected a function(keys, ctx), found "x"' },
        { { "groups", "test", "batch" }, 1, "groups.test.batch: expected a table, found 1" },
        { { "groups", "test", "batch" }, { max = 0 }, "groups.test.batch.max: expected" },
        { { "groups", "test", "batch" }, { size = 5 }, "groups.test.batch.size: unknown key" },
        { { "groups", "test", "pool" }, "sql", 'groups.test.pool: no pool "sql" in node.scripts' },
        { { "groups", "test", "pool" }, "s\n", [[groups.test.pool: no pool "s\10" in node.scripts]] },
        { { "groups", "test", "pool" }, "routes", "routes never share a pool with getters" },
        { { "groups", "test", "on_evict" }, 1, "expected a function(key, value, reason)" },
        { { "groups", "test", "on_hot" }, "k", "expected a function(key, rate)" },
        { { "groups", "test", "error_ttl_max" }, "5s",
        "groups.test.error_ttl_max: expected an error_ttl above 0 with it, found 0" },
        { { "groups", "test" }, { getter = getter, error_ttl = "10s", error_ttl_max = "5s" },
        "groups.test.error_ttl_max: expected at least error_ttl, 10s, found 5s" },
        { { "groups", "test" }, { getter = getter, error_ttl = false, error_ttl_max = "5s" },
        "groups.test.error_ttl_max: expected at least error_ttl, false, found 5s" },
        { { "groups", "test", "on_timeout" }, "fail", 'expected "error" or "stale", found "fail"' },
        { { "groups", "test", "expose_errors" }, 1, "expected true or false, found 1" },
        { { "groups", "test", "source" }, { breaker = { failures = -1 } },
        "groups.test.source.breaker.failures: expected a whole number" },
        { { "groups", "test", "source" }, { concurency = 1 }, 'did you mean "concurrency"?' },
        { { "groups", "test", "source" }, { __hgcache = "serve" },
        "expected a table or hg.source{...}, found hg.serve(...)" },
        { { "groups", "test", "source" }, { __hgcache = "source", x = 1 }, "groups.test.source.x: unknown key" },
        { { "groups", "test" }, "x", 'groups.test: expected a table, found "x"' },
        { { "groups", "test" }, {}, "groups.test: getter is missing, expected a function(key, ctx)" },
        { { "groups", 1 }, { getter = getter }, "groups[1]: expected a group's name" },
        { { "groups", "" }, { getter = getter }, 'groups[""]: expected a group\'s name' },
        { { "groups", ("x"):rep(256) }, { getter = getter }, "expected a group's name of 1 to 255 bytes" },
        { { "groups", "a\0b" }, { getter = getter }, 'groups["a\\0b"]: expected a group\'s name' },
        { { "groups" }, {}, "groups: expected at least one group, found none" },
        { { "groups" }, 1, "groups: expected a table of groups, found 1" },
        { { "group" }, {}, 'group: unknown key, did you mean "groups"?' },
        { { "nodes" }, {}, 'nodes: unknown key, did you mean "node"?' },
        { { 1 }, {}, "[1]: unknown key, known keys are node, cluster, groups, routes, cors" },
        { { "node", "name" }, "1a", "node.name: expected a label" },
        { { "node", "name" }, 'a"b', "node.name: expected a label" },
        { { "node", "workers" }, 0, "node.workers: expected a whole number from 1 to 1024" },
        { { "node", "workers" }, "many", 'or "auto", found "many"' },
        { { "node", "scripts" }, "many", 'node.scripts: expected "auto"' },
        { { "node", "scripts" }, { getters = 0 }, "node.scripts.getters: expected a whole number" },
        { { "node", "scripts" }, { ["a b"] = 1 }, "expected a pool's name" },
        { { "node", "scripts" }, { 4 }, "node.scripts[1]: expected a pool's name" },
        { { "node", "listen" }, "127.0.0.1:1", "node.listen: expected a table" },
        { { "node", "listen" }, { web = "127.0.0.1:1" },
        "node.listen.web: unknown key, known keys are peer, api, admin" },
        { { "node", "listen" }, { api = "8791" }, "node.listen.api: expected an address such as" },
        { { "node", "listen" }, { api = "127.0.0.1:0" }, "expected an address" },
        { { "node", "listen" }, { api = "127.0.0.1:65536" }, "expected an address" },
        { { "node", "listen" }, { api = ":8791" }, "expected an address" },
        { { "node", "listen" }, { api = "unix:relative" }, "expected an address" },
        { { "node", "listen" }, { api = "127.0.0.1:80 " }, "expected an address" },
        { { "node", "listen" }, { admin = "0.0.0.0:8792" },
        "node.listen.admin: 0.0.0.0:8792 is not on loopback and node.admin.tokens is empty" },
        { { "node", "listen" }, { admin = "[::]:8792" }, "is not on loopback" },
        { { "node", "listen" }, { admin = "127.0.0.1.evil.example:8792" }, "is not on loopback" },
        { { "node", "listen" }, { peer = "0.0.0.0:8001" }, "is not on loopback and cluster.tokens is empty" },
        { { "node", "limits" }, { key = "64KiB" }, "node.limits.key: expected a size of at most" },
        { { "node", "limits" }, { value = "1TiB" }, "node.limits.value: expected a size of at most" },
        { { "node", "limits" }, { keys = 1 }, 'did you mean "key"?' },
        { { "node", "limits" }, { pipeline = 0 }, "expected a whole number" },
        { { "node", "script" }, { memory = 1 }, "expected a size of at least 1MiB, found 1" },
        { { "node", "script" }, { budget = 0 }, "expected a duration above 0" },
        { { "node", "http" }, { origin = {} }, 'did you mean "origins"?' },
        { { "node", "http" }, { concurrency = 0 }, "node.http.concurrency: expected a whole number from 1" },
        { { "node", "http" }, { per_load = 0.5 }, "node.http.per_load: expected a whole number from 1" },
        { { "node", "http" }, { ca = 1 }, "node.http.ca: expected a file of certificates in PEM, found 1" },
        { { "node", "http" }, { origins = "https://a" }, "node.http.origins: expected a list of origins" },
        { { "node", "http" }, { origins = { "example.com" } }, "node.http.origins[1]: expected an origin such as" },
        { { "node", "http" }, { origins = { "https://a/path" } }, "expected an origin such as" },
        { { "node", "http" }, { origins = { "ftp://a" } }, "expected an origin such as" },
        { { "node", "http" }, { origins = { "http://u:p@a" } }, "expected an origin such as" },
        { { "node", "http" }, { origins = { "http://a:0" } }, "expected an origin such as" },
        { { "node", "http" }, { origins = { "http://a:65536" } }, "expected an origin such as" },
        { { "node", "http" }, { origins = { "http://a", "HTTP://A:80" } }, '"http://a" is listed twice' },
        { { "node", "log" }, { level = "verbose" }, 'expected "debug", "info", "warn" or "error", found "verbose"' },
        { { "node", "admin" }, { tokens = { "" } }, "node.admin.tokens[1]: expected a secret" },
        { { "node", "admin" }, { tokens = { "a b" } }, "expected a secret" },
        { { "node", "admin" }, { tokens = { "a", "a" } }, "listed twice" },
        { { "node", "admin" }, { tokens = "a" }, "expected a list of secrets" },
        { { "node", "admin" }, { hosts = { "a/b" } }, "expected a host" },
        { { "node", "reload_guard" }, { errors = 2 }, "node.reload_guard.errors: expected a number from 0 to 1" },
        { { "node", "reload_guard" }, { window = 0 }, "node.reload_guard.window: expected a duration above 0" },
        { { "node", "insecure" }, "yes", "expected true or false" },
        { { "node" }, { drain_timeout = "long" }, "node.drain_timeout: expected a duration" },
        { { "routes" }, 5, "routes: expected a table of routes, found 5" },
        { { "routes" }, { getter }, "routes[1]: expected a route" },
    }
    for _, row in ipairs(rows) do
        it(row[3], function()
            local c = base()
            set(c, row[1], row[2])
            bad(c, row[3])
        end)
    end

    it("is not a table at all", function()
        bad(nil, "config.lua: expected the file to return a table, found nil")
        bad("x", 'config.lua: expected the file to return a table, found "x"')
        bad(getter, ": expected the file to return a table, found a function")
    end)

    it("never shows a secret", function()
        local c = base()
        set(c, { "node", "admin", "tokens" }, { "se cret" })
        local _, message = config.check(c)
        assert.is_nil(message:find("cret\"", 1, true))
        assert.is_nil(message:find("se cret", 1, true))
        set(c, { "node", "admin", "tokens" }, { "visible" })
        assert.is_nil(config.describe(good(c)):find("visible", 1, true))
    end)

    it("takes at most 1024 groups", function()
        local function many(n)
            local groups = {}
            for i = 1, n do
                groups["g" .. i] = { getter = getter }
            end
            return { groups = groups }
        end
        assert.equal(1024, #good(many(1024)).groups)
        bad(many(1025), "groups: too many groups: at most 1024")
    end)
end)

describe("a cluster", function()
    local rows = {
        { "self", nil, "cluster: self is missing" },
        { "self", "http://localhost:8001",
        'cluster.self: "http://localhost:8001" is not in cluster.peers; it must stand there exactly' },
        { "self", "http://127.0.0.1:8001/", "is not in cluster.peers" },
        { "self", "https://127.0.0.1:8001", 'expected a member such as "http://127.0.0.1:8001" or "127.0.0.1:8001" '
            .. '(there is no TLS between nodes), found "https://127.0.0.1:8001"' },
        { "self", "http://127.0.0.1", "expected a member" },
        { "self", "http://127.0.0.1:8001/x", "expected a member" },
        { "peers", nil, "cluster: peers is missing" },
        { "peers", {}, "found an empty list" },
        { "peers", { "http://127.0.0.1:8001", "http://127.0.0.1:8001" },
        'cluster.peers[2]: "http://127.0.0.1:8001" is listed twice' },
        { "peers", { "http://127.0.0.1:8001", 5 }, "cluster.peers[2]: expected a member" },
        { "peers", { "http://127.0.0.1:8001", "https://a.example:443" }, "there is no TLS between nodes" },
        { "peers", { "http://127.0.0.1:8001", x = 1 }, "cluster.peers.x: expected a list without names" },
        { "peers", "http://127.0.0.1:8001", "expected a list of members" },
        { "peers", { __hgcache = "serve" }, "cluster.peers: expected a list of members, hg.etcd" },
        { "refresh", "10s", "cluster.refresh: cluster.peers is a list, which is never asked for anew" },
        { "refresh", 0, "cluster.refresh: expected a duration above 0" },
        { "transport", "tcp", 'expected "auto", "grpc" or "http", found "tcp"' },
        { "base_path", "_hgcache/", "expected a path" },
        { "base_path", "/_hgcache", "expected a path" },
        { "base_path", "/", "expected a path" },
        { "base_path", "/a b/", "expected a path" },
        { "base_path", "/a//", "expected a path" },
        { "ring", "maglev", 'expected "default", "hgcache", "groupcache" or' },
        { "ring", { hash = "md5", points = 1 }, 'cluster.ring.hash: expected "xxh64" or "crc32", found "md5"' },
        { "ring", { hash = "crc32" }, "points is missing" },
        { "ring", { hash = "crc32", points = 0 }, "expected a whole number from 1 to 10000" },
        { "timeout", 0, "expected a duration above 0" },
        { "lease", "-1s", "expected a duration" },
        { "tokens", { 5 }, "cluster.tokens[1]: expected a secret" },
        { "default_group", "nope", 'cluster.default_group: no group "nope"' },
        { "default_group", "A\n", [[cluster.default_group: no group "A\10"]] },
        { "min_peers", 3, "expected at most the number of peers (2), found 3" },
        { "min_peers", 0, "expected a whole number from 1 to 1000" },
        { "peer", {}, 'cluster.peer: unknown key, did you mean "peers"?' },
    }
    for _, row in ipairs(rows) do
        it(row[3], function()
            bad(clustered(function(c) c.cluster[row[1]] = row[2] end), row[3])
        end)
    end

    it("may have its members found", function()
        local function found(by, refresh, self)
            return clustered(function(c)
                c.cluster.peers, c.cluster.refresh, c.cluster.self = by, refresh, self or c.cluster.self
            end)
        end
        local result = good(found(getter))
        assert.same({ {}, "function", 10000, 10000 }, { result.cluster.peers, result.cluster.discovery, result.cluster.refresh,
            result.cluster.every })
        assert.is_nil(result.cluster.found_by)
        result = good(found({ __hgcache = "file", path = "/x" }, "5s"))
        assert.same({ "file", 5000, "/x" }, { result.cluster.discovery, result.cluster.refresh, result.cluster.found_by.path })
        assert.is_truthy(config.describe(result):find('peers = hg.file("/x")', 1, true))
        local dns = { __hgcache = "dns", name = "hgcache.local", port = 8001 }
        assert.is_truthy(config.describe(good(found(dns))):find('peers = hg.dns{ name = "hgcache.local", port = 8001 }', 1, true))
        good(found(dns, nil, "http://[::1]:8001"))
        bad(found(dns, nil, "localhost:8001"), "with hg.dns members are IP addresses")
        good(clustered(function(c) c.cluster.peers, c.cluster.min_peers = getter, 3 end))
        -- etcd has addresses, and a password is nobody else's business.
        result = good(found({ __hgcache = "etcd", endpoints = { "http://e:2379" }, user = "u", password = "hush" }))
        assert.same({ "etcd", "127.0.0.1:8001", 10000, 1000 }, { result.cluster.discovery, result.cluster.self,
            result.cluster.refresh, result.cluster.every })
        local text = config.describe(result)
        assert.is_truthy(text:find('peers = hg.etcd{ endpoints = { "http://e:2379" }, user = "u" }', 1, true), text)
        assert.is_nil((text .. config.canonical(result)):find("hush"))
        bad(clustered(function(c) c.node = { scripts = { discovery = 1 } } end), "the node has this pool of its own")
    end)

    it("off loopback needs a token", function()
        local function open(change)
            return clustered(function(c)
                c.cluster.self = "http://10.0.0.1:8001"
                c.cluster.peers = { "http://10.0.0.1:8001" }
                change(c)
            end)
        end
        bad(open(function() end), "node.listen.peer: 10.0.0.1:8001 is not on loopback")
        good(open(function(c) c.cluster.tokens = { "secret" } end))
        good(open(function(c) c.node = { insecure = true } end))
        good(open(function(c) c.node = { listen = { peer = "127.0.0.1:1" } } end))
    end)
end)

describe("hostile tables", function()
    it("may be cyclic", function()
        local c = base()
        c.routes = c
        bad(c, "routes")
        local loop = {}
        loop.groups = { test = loop }
        bad(loop, "groups.test.groups: unknown key")
        local group = { getter = getter }
        group.source = group
        bad({ groups = { test = group } }, "groups.test.source")
    end)

    it("may be very deep", function()
        local deep = {}
        local at = deep
        for _ = 1, 100000 do
            at.x = {}
            at = at.x
        end
        bad({ groups = { test = { getter = getter, ttl = deep } } }, "found a table")
        bad({ groups = { test = { getter = getter, source = deep } } }, "groups.test.source.x: unknown key")
    end)

    it("have metatables that are ignored", function()
        local called = false
        local function trap() called = true return "x" end
        local meta = {
            __index = trap, __len = trap, __pairs = trap, __ipairs = trap, __tostring = trap, __eq = trap,
                __call = trap,
            __concat = trap, __newindex = trap, __metatable = "no",
        }
        local function wrap(t) return setmetatable(t, meta) end
        good(wrap { groups = wrap { test = wrap { getter = getter } },
            node = wrap { admin = wrap { tokens = wrap { "a" } } } })
        bad(wrap { groups = { test = { getter = getter, ttl = wrap {} } } }, "found a table")
        bad({ groups = wrap {} }, "expected at least one group")
        assert.is_false(called)
    end)

    it("name the same unknown key every time", function()
        local c = base()
        for i = 1, 100 do
            c["k" .. i] = i
        end
        bad(c, "k1: unknown key")
    end)

    it("have strange keys", function()
        bad({ groups = { test = { getter = getter } }, [print] = 1 }, "[a function]: unknown key")
        bad({ groups = { test = { getter = getter } }, [true] = 1 }, "[true]: unknown key")
        bad({ groups = { test = { getter = getter } }, ["a\r\nb"] = 1 }, '["a\\13\\10b"]: unknown key')
        bad({ groups = { test = { getter = getter } }, [("y"):rep(1e6)] = 1 }, "unknown key")
    end)
end)

describe("line numbers", function()
    local function line(text, wanted)
        local c = assert(loadstring(text, "@config.lua"))()
        bad(c, wanted, { file = "config.lua", source_text = text })
    end

    it("come from the text for data", function()
        line("return {\n  groups = {\n    test = {\n      getter = print,\n      capacity = 'x',\n    },\n  },\n}",
            "config.lua:5: groups.test.capacity:")
        line("return {\n groups = {\n  a = { ttl = 1, getter = print },\n  b = { getter = print,\n ttl = 'x' } } }",
            "config.lua:5: groups.b.ttl:")
        line("local hg = nil\nreturn { groups = { test = { getter = print } },\n routes = {\n ['GET /x'] = 'y' } }",
            'config.lua:4: routes["GET /x"]:')
        line("-- capacity = 1\nlocal s = [[ capacity = 2 ]]\n"
            .. "return { groups = { test = { getter = print,\n capacity = 'x' } } }",
            "config.lua:4: groups.test.capacity:")
        line("local c = { groups = {} }\nc.groups.test = { getter = print }\nc.groups.test.capacity = 'x'\nreturn c",
            "config.lua:3: groups.test.capacity:")
        line("return { groups = { test = {\n hot = 1 } } }", "config.lua:1: groups.test: getter is missing")
        line("return {\n groups = { test = { getter = print } },\n"
            .. " cluster = { self = 'a:1',\n  peers = {\n   'a:1', 5 } } }",
            "config.lua:4: cluster.peers[2]:")
    end)

    it("come from the function where one is wrong", function()
        line("return { groups = { test = { getter = print,\n\n get_many = 1 } } }",
            "config.lua:3: groups.test.get_many:")
    end)

    it("are left out where the text does not say", function()
        line("local g = { getter = print }\ng['cap' .. 'acity'] = 'x'\nreturn { groups = { test = g } }",
            "config.lua: groups.test.capacity:")
        line("local a = { capacity = 'x', getter = print }\n"
            .. "local b = { capacity = 'y', getter = print }\nreturn { groups = { test = a } }",
            "config.lua: groups.test.capacity:")
    end)

    it("survive any text", function()
        for _, text in ipairs { "", "{", "}", "{{{{", "}}}}", "'", '"\\', "[[", "[==[", "--[[", "a = ", "[", "]=",
            ("{"):rep(50000), "\0\255" } do
            bad({}, "groups is missing", { file = "config.lua", source_text = text })
        end
    end)
end)

describe("describe, canonical and difference", function()
    local function full()
        return clustered(function(c)
            c.groups.other = { getter = getter, on_evict = getter, on_hot = getter, ttl = "10m", source = { retries = 1 } }
            c.routes = { ["GET /a"] = serve("test"), ["GET /b"] = getter }
            c.cors = { origins = { "https://a.example" } }
        end)
    end

    it("describes every part", function()
        local text = config.describe(good(full()))
        for _, wanted in ipairs {
            'capacity = "64MiB"', 'ttl = "10m"', "ttl = false", "on_evict = function", "on_hot = function(key, rate)",
            "GET /a  serve group test, key {query.key}, raw",
            "GET /b  function", '"https://a.example"', 'self = "http://127.0.0.1:8001"', "retries = 1",
            'max_age = "12h"',
            'peer = "127.0.0.1:8001"',
        } do
            assert.is_truthy(text:find(wanted, 1, true), wanted .. " in\n" .. text)
        end
    end)

    it("is the same for the same data, whatever the order it was written in", function()
        assert.equal(config.canonical(good(full())), config.canonical(good(full())))
        local a, b = {}, {}
        for i = 1, 50 do
            a["g" .. i] = { getter = getter }
            b["g" .. 51 - i] = { getter = function() end }
        end
        assert.equal(config.canonical(good { groups = a }), config.canonical(good { groups = b }))
    end)

    it("does not run values together", function()
        local one = good(base(function(c) c.node = { admin = { tokens = { "ab", "c" } } } end))
        local two = good(base(function(c) c.node = { admin = { tokens = { "a", "bc" } } } end))
        assert.not_equal(config.canonical(one), config.canonical(two))
    end)

    for wanted, change in pairs {
        ["groups.test.ttl"] = function(c) c.groups.test.ttl = 5 end,
        ["groups.more"] = function(c) c.groups.more = { getter = getter, source = c.groups.test.source } end,
        ['routes["GET /a"].key'] = function(c) c.routes["GET /a"] = serve("test", { key = "{query.other}" }) end,
        ["cors.max_age"] = function(c) c.cors.max_age = 1 end,
        ["node.workers"] = function(c) c.node = { workers = 7 } end,
        ["cluster.peers[2]"] = function(c) c.cluster.peers[2] = "http://127.0.0.1:8009" end,
        ["groups.test.has_on_evict"] = function(c) c.groups.test.on_evict = getter end,
        ["groups.test.batch_max"] = function(c) c.groups.test.getter, c.groups.test.get_many = nil, getter end,
        ["groups.test.batch_window"] = function(c) c.groups.test.batch = { window = "2ms" } end,
        ["groups.test.policy"] = function(c) c.groups.test.policy = { __hgcache = "sampled", score = getter } end,
        ["groups.test.has_on_hot"] = function(c) c.groups.test.on_hot = getter end,
    } do
        it("names the difference " .. wanted, function()
            local a, b = good(full()), full()
            change(b)
            b = good(b)
            assert.is_nil(config.difference(a, good(full())))
            assert.not_equal(config.canonical(a), config.canonical(b))
            local found = config.difference(a, b)
            assert.is_string(found)
            if wanted ~= "groups.more" then
                assert.equal(wanted, found)
            end
        end)
    end
end)
