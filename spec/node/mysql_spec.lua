-- Values out of a real MariaDB: hg.source_mysql, and LuaSQL's driver as it is.

local node = require "spec.support.node"
local http = require "spec.support.http"
local mariadb = require "spec.support.mariadb"
local outage = require "spec.support.outage"

local CONFIG = [[
local at = { host = "127.0.0.1", port = tonumber(hg.args.port), user = "anybody", database = "shop" }
local function with(part, more)
    local out = {}
    for _, list in ipairs { part, more } do
        for name, value in pairs(list) do out[name] = value end
    end
    return out
end
local group = { source = { concurrency = 1000, retries = 0, breaker = { failures = 1000000 } }, negative_ttl = 0, error_ttl = 0,
    ttl = 0, expose_errors = true, pool = "sql" }
local kept
return {
    node = { listen = listen(), scripts = { getters = 1, routes = 1, sql = 4 }, drain_delay = 0 },
    groups = {
        plain = with(group, { getter = hg.source_mysql(with(at, { query = "SELECT v FROM t WHERE k = ?" })) }),
        many = with(group, { get_many = hg.source_mysql.many(with(at, { query = "SELECT k, v FROM t WHERE k IN (?)" })),
            batch = { window = "5ms", max = 100 } }),
        unix = with(group, { getter = hg.source_mysql { unix = hg.args.socket, user = "anybody", database = "shop",
            query = "SELECT v FROM t WHERE k = ? -- ?", setup = { "SET SESSION sql_mode = 'NO_BACKSLASH_ESCAPES'" } } }),
        bytes = with(group, { getter = hg.source_mysql(with(at, { query = "SELECT v FROM b WHERE k = ?", bytes = true })) }),
        wrong = with(group, { getter = hg.source_mysql(with(at, { query = "SELECT v FROM nowhere WHERE k = ?" })),
            source = { retries = 3, backoff = "1ms", breaker = { failures = 1, cooldown = "1h" } } }),
        kept = with(group, { ttl = "20ms", stale_if_error = "1h",
            getter = hg.source_mysql(with(at, { query = "SELECT v FROM t WHERE k = ?" })) }),
        slow = with(group, { getter = hg.source_mysql(with(at, { query = "SELECT SLEEP(30), ?" })) }),
        -- The driver as it is.
        driver = with(group, { getter = function(key)
            if not kept then
                local message
                kept, message = require("luasql.mysql").mysql():connect("shop", "anybody", "", "127.0.0.1", at.port)
                if not kept then return hg.fail { class = "unavailable", message = message } end
            end
            local cursor, message = kept:execute("SELECT v FROM t WHERE k = '" .. kept:escape(key) .. "'")
            if not cursor then
                kept:close()
                kept = nil
                return hg.fail { class = "unavailable", message = message }
            end
            local value = cursor:fetch()
            cursor:close()
            return value
        end }),
    },
}
]]

local TABLES = [[
create table shop.t (k varchar(200) collate utf8mb4_bin primary key, v text);
insert into shop.t values ('it''s', 'quoted'), ('back\\slash"', 'odd'), ('', 'empty'), ('gr\u00fcn', 'x'), ('nothing', null),
    (convert(unhex('6772c3bc6e') using utf8mb4), 'green'), ('a\0b', 'nul');
create table shop.b (k varbinary(200) primary key, v blob);
insert into shop.b values (unhex('00ff27'), unhex('00ff01'));
]]

local missing = mariadb.missing()
if missing then
    print("mysql_spec skipped: " .. missing)
    return
end

local server, n

local function start()
    n = node.start { config = CONFIG, args = { port = server.port, socket = server.socket } }
end

local function get(group, key)
    return n:get(("/api?group=%s&key=%s"):format(group, http.encode(key)))
end

describe("mysql", function()
    setup(function()
        server = mariadb.start()
        local values = {}
        for i = 1, 300 do
            values[i] = ("('key%d','value%d')"):format(i, i)
        end
        server:sql(TABLES .. "insert into shop.t values " .. table.concat(values, ","))
    end)
    teardown(mariadb.finish)
    after_each(node.finish)

    it("value, not found, NULL, and keys that are no SQL", function()
        start()
        for _, group in ipairs { "plain", "many", "unix" } do
            assert.equal("value1", get(group, "key1").body)
            assert.equal("quoted", get(group, "it's").body)
            assert.equal("odd", get(group, 'back\\slash"').body, group)
            assert.equal("green", get(group, "gr\195\188n").body, group)
            for _, key in ipairs { "none", "nothing", "x' or '1'='1", "'; drop table t; --", "\\' or 1=1 -- ", "\\", "key1\255",
                "\191' or 1=1 -- ", "key1\0", "?" } do
                assert.equal(404, get(group, key).status, group .. " " .. key)
            end
            assert.equal("value1", get(group, "key1").body)
            assert.equal(0, n:stats(group).local_load_errors, n:log())
        end
        assert.equal("nul", get("plain", "a\0b").body)
        assert.equal("\0\255\1", get("bytes", "\0\255'").body)
        assert.equal(404, get("bytes", "\0\255").status)
        assert.equal(0, n:stop())
    end)

    it("a wrong statement is a failure that is not tried again, and no mark on the breaker", function()
        start()
        for _ = 1, 3 do
            local r = get("wrong", "key1")
            assert.equal(502, r.status)
            assert.is_truthy(r.body:find("shop.nowhere' doesn't exist", 1, true), r.body)
        end
        assert.equal(0, n:stop())
    end)

    for _, group in ipairs { "plain", "many", "driver" } do
        it("200 loads at once: " .. group, function()
            start()
            local keys = outage.keys(200)
            for _ = 1, 2 do
                outage.check(n, group, keys)
            end
            assert.equal(0, n:stats(group).local_load_errors, n:log())
            assert.equal(0, n:stop())
        end)
    end

    it("killed and started again under load: errors only while it is away, stale where asked, nothing stuck or leaked", function()
        start()
        local keys, before = outage.keys(200), outage.sockets(n.pid)
        for _, group in ipairs { "plain", "many", "driver", "kept" } do
            outage.check(n, group, keys)
        end
        for _ = 1, 3 do
            local waiting = {}
            for i = 1, 4 do -- as many as there are threads: they hold them
                waiting[i] = assert(http.connect(n.api_port))
                waiting[i]:send(http.format { path = "/api?group=slow&key=" .. i })
            end
            node.until_true(function()
                return server:sql("select count(*) from information_schema.processlist where info like 'SELECT SLEEP(30)%'") == "4"
            end, 10, "statements under way")
            server:kill()
            for _, connection in ipairs(waiting) do
                assert.equal(503, connection:response("GET", 20).status)
                connection:close()
            end
            for _, group in ipairs { "plain", "many", "driver" } do
                for _, r in ipairs(outage.ask(n, group, keys)) do
                    assert.equal(503, r.status, r.body)
                end
            end
            outage.check(n, "kept", keys) -- stale
            server:launch()
            for _, group in ipairs { "plain", "many", "driver", "kept" } do
                outage.check(n, group, keys)
            end
        end
        outage.check_idle(n)
        -- Five groups, each with one connection of each of the four threads at most.
        node.until_true(function()
            return outage.sockets(n.pid) <= before + 20
        end, 10, "no more sockets than connections")
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
        assert.equal(0, n:stats("plain").local_load_errors)
        assert.equal(0, n:stop())
    end)

    it("misuse is told with the option's name", function()
        for text, wanted in pairs {
            ["{ query = '?' }"] = "database: expected a name", ["{ database = 'x' }"] = "query: expected a statement",
            ["{ database = 'x', query = '?', port = 0 }"] = "port: expected a whole number from 1 to 65535",
            ["{ database = 'x', query = '?', unix = '/s', host = 'x' }"] = "unix, or host and port",
            ["{ database = 'x', query = '?', setup = { 'set  NAMES gbk' } }"] = "setup: the character set is utf8mb4",
            ["{ database = 'x', query = 'select 1' }"] = "query: expected one parameter for the key, found 0",
        } do
            local r = node.run { "check", node.write(node.dir() .. "/config.lua", ([[
                local hg = require "hgcache"
                return { groups = { g = { getter = hg.source_mysql(%s) } } }
            ]]):format(text)) }
            assert.equal(2, r.code)
            assert.is_truthy((r.out .. r.err):find("config.lua:2: hg.source_mysql: " .. wanted, 1, true), r.out .. r.err)
        end
    end)
end)
