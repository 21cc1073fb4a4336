-- Values out of a real PostgreSQL: hg.postgres, hg.source_postgres.

local node = require "spec.support.node"
local http = require "spec.support.http"
local posix = require "spec.support.posix"
local postgres = require "spec.support.postgres"
local outage = require "spec.support.outage"

local CONFIG = [[
local at = { host = hg.args.host or "127.0.0.1", port = tonumber(hg.args.port), user = "postgres", database = "postgres", pool = 8,
    timeout = hg.args.timeout or "5s" }
local function with(part, more)
    local out = {}
    for _, list in ipairs { part, more } do
        for name, value in pairs(list) do out[name] = value end
    end
    return out
end
local db = hg.postgres(at)
local group = { source = { concurrency = 1000, retries = 0, breaker = { failures = 1000000 } }, negative_ttl = 0, error_ttl = 0,
    ttl = 0, expose_errors = true }
local function source(more) return hg.source_postgres(with({ db = db }, more)) end
local function many(more) return hg.source_postgres.many(with({ db = db }, more)) end
local batch = { window = "5ms", max = 100 }
return {
    node = { listen = listen(), scripts = { getters = 1, routes = 1 }, drain_delay = 0 },
    groups = {
        plain = with(group, { getter = hg.source_postgres(with(at, { query = "select v from t where k = $1" })) }),
        slow = with(group, { getter = source { query = "select v from t where k = $1 and pg_sleep(0.05) is not null" } }),
        many = with(group, { get_many = many { query = "select k, v from t where k = any($1)" }, batch = batch }),
        made = with(group, { get_many = many { query = "select v from t where k = $1" }, batch = batch }),
        number = with(group, { getter = source { query = "select name from numbers where id = $1" } }),
        numbers = with(group, { get_many = many { query = "select name from numbers where id = $1" }, batch = batch }),
        bytes = with(group, { getter = source { query = "select v from blobs where k = $1", bytes = true } }),
        blobs = with(group, { get_many = many { query = "select v from blobs where k = $1", bytes = true }, batch = batch }),
        binary = with(group, { getter = source { query = "select name from numbers where id = $1", bytes = true },
            source = { retries = 3, backoff = "1ms", breaker = { failures = 1, cooldown = "1h" } } }),
        twice = with(group, { getter = source { query = "select v from twice where k = $1 order by n" } }),
        twices = with(group, { get_many = many { query = "select k, v from twice where k = any($1) order by n" }, batch = batch }),
        parts = with(group, { getter = source { query = "select $1 || '/' || $2", parameters = function(key)
            return key:match("^(.*):(.*)$") end } }),
        wrong = with(group, { getter = source { query = "select nothing from t where k = $1" },
            source = { retries = 3, backoff = "1ms", breaker = { failures = 1, cooldown = "1h" } } }),
        asleep = with(group, { getter = source { query = "select pg_sleep(30), $1" } }),
        kept = with(group, { ttl = "20ms", stale_if_error = "1h", getter = source { query = "select v from t where k = $1" } }),
    },
    routes = {
        ["GET /api"] = hg.serve(nil),
        ["POST /run"] = function(req)
            local chunk = assert(loadstring(req.body, "=chunk"))
            setfenv(chunk, setmetatable({ db = db, hg = hg, at = at, with = with }, { __index = _G }))
            local results = { pcall(chunk) }
            for i = 1, 5 do
                if results[i] == nil then results[i] = hg.null end
            end
            return hg.json.encode(results)
        end,
    },
}
]]

local TABLES = [[
create table t (k text primary key, v text);
insert into t select 'key' || i, 'value' || i from generate_series(1, 300) i;
insert into t values ('nothing', null), ('it''s', 'quoted'), ('back\slash"{},', 'odd'), ('', 'empty'), ('NULL', 'word');
create table numbers (id int primary key, name text);
insert into numbers values (1, 'one'), (2, 'two');
create table twice (n int, k text, v text);
insert into twice values (1, 'a', 'first'), (2, 'a', 'second'), (3, 'b', null), (4, 'b', 'second');
create table blobs (k bytea primary key, v bytea);
insert into blobs values ('\x00ff27', '\x00ff01'), ('\x61', '');
]]

local missing = postgres.missing()
if missing then
    print("postgres_spec skipped: " .. missing)
    return
end

local server, n

local function start(args)
    args = args or {}
    args.port = server.port
    n = node.start { config = CONFIG, args = args }
end

local function get(group, key)
    return n:get(("/api?group=%s&key=%s"):format(group, http.encode(key)))
end

local function run(chunk)
    local r = n:get("/run", { method = "POST", body = chunk, timeout = 30 })
    assert.equal(200, r.status, r.body)
    local results = node.json.decode(r.body)
    for i = 1, 5 do
        if results[i] == node.json.null then results[i] = nil end
    end
    return results
end

local function metric(name)
    return tonumber(n:admin("/metrics").body:match("\nhgcache_script_postgres_" .. name .. " (%d+)"))
end

describe("postgres", function()
    setup(function()
        server = postgres.start()
        server:sql(TABLES)
    end)
    teardown(postgres.finish)
    after_each(node.finish)

    it("a getter: value, not found, NULL, and keys that are no SQL", function()
        start()
        assert.equal("value1", get("plain", "key1").body)
        assert.equal("quoted", get("plain", "it's").body)
        assert.equal("odd", get("plain", 'back\\slash"{},').body)
        for _, key in ipairs { "none", "nothing", "x' or '1'='1", "'; drop table t; --", "$1", "key1\0", "\255\254", "\192\128" } do
            assert.equal(404, get("plain", key).status, key)
        end
        assert.equal("value1", get("plain", "key1").body)
        -- A key that the column's type cannot hold is no key of it, and no failure.
        assert.equal("one", get("number", "1").body)
        for _, key in ipairs { "3", "one", "99999999999999999999", "1; select 1" } do
            assert.equal(404, get("number", key).status, key)
        end
        assert.equal("\0\255\1", get("bytes", "\0\255'").body)
        assert.equal("", get("bytes", "a").body)
        assert.equal(404, get("bytes", "\\x61").status)
        assert.equal("a/b", get("parts", "a:b").body)
        assert.equal("two", get("binary", "\0\0\0\2").body)
        local before = metric("queries_total")
        assert.equal(404, get("binary", "abc").status)
        assert.equal(404, get("binary", "abcde").status)
        assert.equal(2, metric("queries_total") - before)
        assert.equal("two", get("binary", "\0\0\0\2").body)
        assert.equal(0, n:stats("plain").local_load_errors)
        assert.equal(0, n:stop())
    end)

    it("get_many: one statement for what comes together, and one bad key spoils nobody's", function()
        start()
        for _, group in ipairs { "many", "made" } do
            local before = metric("queries_total")
            local keys = outage.keys(60)
            outage.check(n, group, keys)
            assert.is_true(metric("queries_total") - before < 30, "statements")
            local odd = { "it's", 'back\\slash"{},', "none", "nothing", "a,b", "{}", "NULL", "k\0", "\255" }
            local wanted = { "quoted", "odd", nil, nil, nil, nil, "word" }
            for i, r in ipairs(outage.ask(n, group, odd)) do
                assert.equal(wanted[i] and 200 or 404, r.status, odd[i])
                assert.equal(wanted[i] or r.body, r.body)
            end
        end
        local answers = outage.ask(n, "numbers", { "1", "x", "2", "3", "1e", "" .. 2 ^ 40 })
        local status = {}
        for i, r in ipairs(answers) do
            status[i] = r.status
        end
        assert.same({ 200, 404, 200, 404, 404, 404 }, status)
        assert.equal("two", answers[3].body)
        answers = outage.ask(n, "blobs", { "a", "\0\255'", "b" })
        assert.equal("", answers[1].body)
        assert.equal("\0\255\1", answers[2].body)
        assert.equal(404, answers[3].status)
        assert.equal(0, n:stop())
    end)

    it("of several rows of a key the first counts, NULL too, for a getter and in a batch", function()
        start()
        for _, group in ipairs { "twice", "twices" } do
            local answers = outage.ask(n, group, { "a", "b" })
            assert.equal("first", answers[1].body)
            assert.equal(404, answers[2].status)
        end
        assert.equal(0, n:stop())
    end)

    it("get_many: as many keys as a batch may have", function()
        start()
        assert.same({ true, 300, "value300" }, run [[
            local keys = {}
            for i = 1, 10000 do keys[i] = "key" .. i end
            local values = hg.source_postgres.many { db = db, query = "select v from t where k = $1" }(keys)
            local count = 0
            for _ in pairs(values) do count = count + 1 end
            return count, values.key300 ]])
        assert.equal(0, n:stop())
    end)

    it("a wrong statement is a failure that is not tried again, and no mark on the breaker", function()
        start()
        for _ = 1, 3 do
            local r = get("wrong", "key1")
            assert.equal(502, r.status)
            assert.is_truthy(r.body:find("postgres: column \"nothing\" does not exist", 1, true), r.body)
        end
        assert.equal(3, metric("queries_total"))
        assert.equal(0, n:stop())
    end)

    it("hg.postgres: rows, types, parameters, errors", function()
        start { host = server.dir }
        local r = run [[return db:query("select 1 as a, 'x' as b, null as c, true as d, '\\x00ff'::bytea as e, 1.50 as f")]]
        assert.same({ ["1"] = "1", ["2"] = "x", ["4"] = true, ["5"] = "\0\255", ["6"] = "1.50", a = "1", b = "x", d = true,
            e = "\0\255", f = "1.50" }, r[2]["1"])
        assert.same({ "a", "b", "c", "d", "e", "f" }, r[2].columns)
        r = run [[local rows = db:query("select $1::text, $2::int8, $3::bool, $4::text, $5::float8",
            "a", 2 ^ 53, false, hg.null, 0.1)
            return rows[1][1], rows[1][2], rows[1][3] == false and rows[1][4] == nil, rows[1][5] ]]
        assert.same({ true, "a", "9007199254740992", true, "0.1" }, r)
        r = run [[return #db:query("select 1 where false"), db:query("create temporary table w (a int)").changed]]
        assert.same({ true, 0, 0 }, r)
        r = run [[return db:query("update t set v = v where k in ('key1', 'key2')").changed]]
        assert.same({ true, 2 }, r)
        assert.same({ true, nil, 'syntax error at or near "selec"', "internal", "42601" }, run [[return db:query("selec")]])
        assert.same({ true, nil, "cannot insert multiple commands into a prepared statement", "internal", "42601" },
            run [[return db:query("select 1; select 2")]])
        assert.same({ true, nil, "COPY is not supported", "internal" }, run [[return db:query("copy t to stdout")]])
        assert.same({ true, nil, "canceling statement due to statement timeout", "timeout", "57014" }, run [[
            local d = hg.postgres(with(at, { url = "options='-c statement_timeout=20'" })) return d:query("select pg_sleep(10)")]])
        assert.same({ true, nil, "a text has no NUL; bytes are hg.postgres.bytes", "internal" },
            run [[return db:query("select $1", "\0")]])
        assert.same({ true, nil, "the answer is larger than 1000 bytes", "too_large" }, run [[
            local d = hg.postgres(with(at, { max_bytes = 1000 })) return d:query("select generate_series(1, 10000)")]])
        assert.same({ true, nil, "the answer is larger than 1000 bytes", "too_large" }, run [[
            local d = hg.postgres(with(at, { max_bytes = 1000 })) return d:query("select repeat('x', 50000000)")]])
        assert.equal(2, metric("too_large_total"))
        -- A transaction stays with nobody: its connection is not used again.
        assert.same({ true, nil, "SAVEPOINT can only be used in transaction blocks", "internal", "25P01" },
            run [[db:query("begin") return db:query("savepoint a")]])
        for _, wrong in ipairs { "{}", "{ 'x' }", "setmetatable({ 'x' }, {})", "print" } do
            r = run("return db:query('select $1::bytea', " .. wrong .. ")")
            assert.is_false(r[1])
            assert.is_truthy(r[2]:find("expected a string, a number", 1, true), r[2])
        end
        assert.same({ true, "\0'", false }, run [[local bytes = hg.postgres.bytes("\0'")
            return db:query("select $1::bytea", bytes)[1][1], getmetatable(bytes)]])
        r = run [[return hg.postgres.bytes(5)]]
        assert.is_truthy(r[2]:find("hg.postgres.bytes: expected a string, found number", 1, true), r[2])
        r = run [[return db:query("select $1::int4", hg.postgres.bytes("abc"))]]
        assert.equal("internal", r[4])
        assert.equal("08P01", r[5])
        r = run [[local d = hg.postgres(with(at, { max_bytes = 1000 })) return d:query("select from generate_series(1, 100000)")]]
        assert.equal("too_large", r[4])
        assert.equal(2, #run [[return #db:query("select from generate_series(1, 3)")]])
        assert.equal(0, n:stop())
    end)

    it("names are resolved elsewhere, one after the other; what cannot be reached is told", function()
        start()
        assert.same({ true, "1" }, run [[
            local url = ("postgresql://postgres@nowhere.invalid:%d,localhost:%d/postgres"):format(at.port, at.port)
            return hg.postgres { url = url }:query("select 1")[1][1] ]])
        local r = run [[return hg.postgres { host = "nowhere.invalid" }:query("select 1")]]
        assert.is_truthy(r[3]:find('host "nowhere.invalid" could not be resolved: ', 1, true), r[3])
        assert.equal("unavailable", r[4])
        r = run [[return hg.postgres { host = "127.0.0.1", port = 1 }:query("select 1")]]
        assert.is_truthy(r[3]:find("Connection refused", 1, true))
        assert.equal("unavailable", r[4])
        r = run [[return hg.postgres(with(at, { database = "none" })):query("select 1")]]
        assert.is_truthy(r[3]:find('database "none" does not exist', 1, true))
        assert.equal(0, n:stop())
    end)

    it("TLS, passwords and certificates", function()
        local certificate = server:secure()
        start()
        local chunk = [[local d = hg.postgres { host = "localhost", port = at.port, user = "app", database = "postgres",
            password = %q, sslmode = %q, sslrootcert = %q, max_bytes = "20MB" }
            local rows, message, code = d:query("select ssl, version, repeat('x', 5000000) from pg_stat_ssl "
                .. "where pid = pg_backend_pid()")
            return rows and #rows[1][3], message or rows[1].ssl, code or rows[1][2] ]]
        posix.until_true(function()
            return run(chunk:format("secret", "verify-full", certificate))[2] ~= nil
        end, 10, "a server that speaks TLS")
        assert.same({ true, 5000000, true, "TLSv1.3" }, run(chunk:format("secret", "verify-full", certificate)))
        local r = run(chunk:format("wrong", "require", certificate))
        assert.is_truthy(r[3]:find("password authentication failed", 1, true), r[3])
        assert.equal("unavailable", r[4])
        r = run(chunk:format("secret", "disable", certificate))
        assert.is_truthy(r[3]:find("pg_hba.conf rejects connection", 1, true), r[3])
        r = run(chunk:format("secret", "verify-full", server.data .. "/server.key"))
        assert.is_nil(r[2])
        assert.equal(0, n:stop())
    end)

    for _, group in ipairs { "plain", "slow", "many" } do
        it("200 loads at once: " .. group, function()
            start()
            local keys = outage.keys(200)
            for _ = 1, 2 do
                outage.check(n, group, keys)
            end
            assert.is_true(metric("connections") <= 8)
            assert.is_true(metric("opened_total") <= 8)
            outage.check_idle(n)
            assert.equal(0, n:stop())
        end)
    end

    it("a load that is over takes its statement with it", function()
        start { timeout = "300ms" }
        -- With connections that are there already, so that there are statements.
        posix.until_true(function()
            outage.ask(n, "slow", outage.keys(20))
            return metric("connections") >= 8
        end, 20, "connections")
        for i, r in ipairs(outage.ask(n, "asleep", outage.keys(20))) do
            assert.equal(504, r.status, i .. (r.body or ""))
        end
        assert.is_true(metric("cancelled_total") >= 1)
        posix.until_true(function()
            return server:sql("select count(*) from pg_stat_activity where query like 'select pg_sleep(30)%' and state = 'active'")
                == "0"
        end, 20, "the end of the statements")
        assert.equal("value1", get("plain", "key1").body)
        assert.equal(0, n:stop())
    end)

    it("a statement that comes after what cancels it is cancelled again", function()
        start { timeout = "300ms" }
        local function again()
            return tonumber(n:admin("/metrics").body:match("\nhgcache_postgres_cancels_again_total (%d+)"))
        end
        local function is_asleep()
            return server:sql("select count(*) from pg_stat_activity where query like 'select pg_sleep(30)%' and state = 'active'")
                ~= "0"
        end
        local pid = tonumber(run([[return db:query("select pg_backend_pid()")[1][1] ]])[2])
        posix.kill(pid, posix.SIGSTOP)
        assert.equal("timeout", run([[return db:query("select pg_sleep(30)")]])[4])
        -- Two were sent to it before it has read the statement. The third one finds it at work.
        posix.until_true(function()
            return again() >= 1
        end, 20, "a second cancel")
        posix.kill(pid, posix.SIGCONT)
        posix.until_true(function()
            return again() >= 2 and not is_asleep()
        end, 20, "the end of the statement")
        assert.equal("value1", get("plain", "key1").body)
        assert.equal(0, n:stop())
    end)

    it("killed and started again under load: errors only while it is away, stale where asked, nothing stuck or leaked", function()
        start { timeout = "2s" }
        local keys = outage.keys(200)
        outage.check(n, "plain", keys)
        outage.check(n, "many", keys)
        outage.check(n, "kept", keys)
        outage.check_idle(n)
        local before = outage.sockets(n.pid)
        for _ = 1, 3 do
            -- In the middle of loads.
            local waiting = {}
            for i = 1, 20 do
                waiting[i] = assert(http.connect(n.api_port))
                waiting[i]:send(http.format { path = "/api?group=asleep&key=" .. i })
            end
            posix.until_true(function()
                return metric("connections") >= 8
            end, 10, "statements under way")
            server:kill()
            for _, connection in ipairs(waiting) do
                local status = connection:response("GET", 20).status
                assert.is_true(status == 503 or status == 504, tostring(status))
                connection:close()
            end
            for _, group in ipairs { "plain", "many" } do
                for _, r in ipairs(outage.ask(n, group, keys)) do
                    assert.equal(503, r.status, r.body)
                end
            end
            outage.check(n, "kept", keys) -- stale
            assert.equal(0, metric("connections"))
            server:launch()
            outage.check(n, "plain", keys)
            outage.check(n, "many", keys)
            outage.check(n, "kept", keys)
        end
        outage.check_idle(n)
        posix.until_true(function()
            return outage.sockets(n.pid) <= before
        end, 10, "no more sockets than before")
        assert.equal(0, n:stop())
    end)

    it("a server that restarts while connections are idle costs no error", function()
        start()
        local keys = outage.keys(50)
        for _ = 1, 3 do
            outage.check(n, "plain", keys)
            server:kill()
            server:launch()
        end
        outage.check(n, "plain", keys)
        assert.is_true(metric("lost_total") >= 3)
        assert.equal(0, n:stats("plain").local_load_errors)
        assert.equal(0, n:stop())
    end)

    it("one that stands still: loads fail in time, those that wait for a connection too", function()
        start { timeout = "300ms" }
        outage.check(n, "plain", outage.keys(20))
        server:freeze(posix.SIGSTOP)
        local started = posix.now()
        for _, r in ipairs(outage.ask(n, "plain", outage.keys(50))) do
            assert.equal(504, r.status, r.body)
        end
        assert.is_true(posix.now() - started < 5)
        server:freeze(posix.SIGCONT)
        posix.until_true(function()
            return get("plain", "key1").body == "value1"
        end, 20, "a server that goes on")
        outage.check_idle(n)
        assert.equal(0, n:stop())
    end)

    it("misuse is told with the option's name", function()
        for text, wanted in pairs {
            ["hg.postgres { hosts = 'x' }"] = "hg.postgres: unknown option 'hosts'",
            ["hg.postgres { pool = 0 }"] = "hg.postgres: pool: expected a whole number from 1 to 1000",
            ["hg.postgres { timeout = 'soon' }"] = "hg.postgres: timeout: ",
            ["hg.postgres { url = 'color=blue' }"] = "hg.postgres: invalid connection option \"color\"",
            ["hg.postgres { url = 'service=x' }"] = "hg.postgres: service is not supported",
            ["hg.source_postgres { query = 1 }"] = "hg.source_postgres: query: expected a string",
            ["hg.source_postgres { db = hg.postgres {}, host = 'x', query = 'x' }"] = "hg.source_postgres: db, or host",
            ["hg.source_postgres { db = {}, query = 'x' }"] = "hg.source_postgres: db: expected what hg.postgres returns",
            ["hg.source_postgres { db = hg.postgres {}, hosts = 'x' }"] = "hg.source_postgres: unknown option 'hosts'",
            ["hg.source_postgres { url = 'color=blue', query = 'x' }"] = "hg.source_postgres: invalid connection option",
            ["hg.source_postgres { pool = 0, query = 'x' }"] = "hg.source_postgres: pool: expected a whole number",
            ["hg.source_postgres {}"] = "hg.source_postgres: query: expected a statement",
            ["hg.source_postgres.many { query = 'select 1' }"] = "hg.source_postgres.many: query: expected \"select KEY",
        } do
            local r = node.run { "check", node.write(node.dir() .. "/config.lua", ([[
                local hg = require "hgcache"
                local one = %s
                return { groups = { g = { getter = one } } }
            ]]):format(text)) }
            assert.equal(2, r.code)
            assert.is_truthy((r.out .. r.err):find("config.lua:2: " .. wanted, 1, true), r.out .. r.err)
        end
    end)
end)
