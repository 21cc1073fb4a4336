-- Values out of a real redis-server: hg.source_redis, and a client library of OpenResty as it is.

local node = require "spec.support.node"
local http = require "spec.support.http"
local posix = require "spec.support.posix"
local redis = require "spec.support.redis"
local outage = require "spec.support.outage"

local CONFIG = [[
require "hgcache.ngx"
local redis = require "nginx.redis" -- package lua-nginx-redis, not changed in any way
local at = { host = "127.0.0.1", port = tonumber(hg.args.redis), timeout = hg.args.timeout or "5s" }
local function source(more)
    local opts = {}
    for _, part in ipairs { at, more or {} } do
        for name, value in pairs(part) do opts[name] = value end
    end
    return opts
end
local guard = { concurrency = 1000, retries = 0, breaker = { failures = 1000000 } }
local group = { source = guard, negative_ttl = 0, error_ttl = 0, ttl = 0 }
local function with(more)
    local out = {}
    for name, value in pairs(group) do out[name] = value end
    for name, value in pairs(more) do out[name] = value end
    return out
end
return {
    node = { listen = listen(), scripts = { getters = 1, routes = 1 } },
    groups = {
        plain = with { getter = hg.source_redis(source()) },
        tried = with { getter = hg.source_redis(source()), source = { retries = 3, backoff = "1ms" } },
        kept = with { getter = hg.source_redis(source()), ttl = "20ms", stale_if_error = "1h" },
        prefixed = with { getter = hg.source_redis(source { key = "score:{key}:v1", db = 3 }) },
        many = with { get_many = hg.source_redis.many(source { key = "k:{key}" }), batch = { window = "20ms", max = 100 } },
        library = with { getter = function(key)
            local r = redis:new()
            r:set_timeout(5000)
            assert(r:connect("127.0.0.1", at.port))
            local value, message = r:get(key)
            assert(r:set_keepalive(10000, 100))
            if value == ngx.null then return nil end
            return value, message
        end },
        user = with { getter = hg.source_redis { unix = hg.args.unix, user = "reader", password = "secret", pool_size = 2 } },
        wrong = with { getter = hg.source_redis { unix = hg.args.unix, user = "reader", password = "wrong" } },
    },
    routes = {
        ["GET /api"] = hg.serve(nil),
        ["GET /commands"] = function()
            local client = hg.redis { unix = hg.args.unix, db = 5 }
            local out = {}
            local function note(...)
                local reply, message, code = client:command(...)
                out[#out + 1] = reply == hg.null and "null" or reply or code .. " " .. message:match("[^:]*: (%S+)")
            end
            note("SETEX", "score:Tom", 60, "630\r\n")
            note("GET", "score:Tom")
            note("TTL", "score:Tom")
            note("GET", "none")
            note("SET", "big", 2 ^ 53)
            note("GET", "big")
            note("INCRBY", "big", 1) -- which no number of Lua is
            note("SET", "big", 2 ^ 53 - 2)
            out[#out + 1] = client:command("INCR", "big") == 2 ^ 53 - 1
            note("INCRBYFLOAT", "half", 0.5)
            note("SCAN", 0, "COUNT", 100, "MATCH", "score:*")
            note("LPUSH", "score:Tom", "x")
            note("NOSUCH")
            client = hg.redis { unix = hg.args.unix, password = "wrong", user = "nobody" }
            note("GET", "x")
            client = hg.redis { unix = hg.args.unix, user = "reader", password = "secret" }
            note("SET", "x", "1")
            client = hg.redis { unix = "/nowhere" }
            note("GET", "x")
            for _, words in ipairs { { "select", 1 }, { "MULTI" }, { "GET", true }, { "GET", {} } } do
                out[#out + 1] = select(2, pcall(client.command, client, unpack(words)))
            end
            return hg.reply { json = out }
        end,
        ["GET /credentials"] = function()
            local out = {}
            for _, who in ipairs { { password = "secret" }, {}, { password = "wrong" }, { user = "default", password = "secret" },
                { user = "reader", password = "secret" } } do
                who.unix = hg.args.unix
                local reply, _, code = hg.redis(who):command("GET", "x")
                out[#out + 1] = reply == hg.null and "null" or code
            end
            return hg.reply { json = out }
        end,
        ["GET /library"] = function()
            local r = redis:new()
            assert(r:connect("unix:" .. hg.args.unix))
            local out = {}
            local function note(value, message)
                out[#out + 1] = value == ngx.null and "null" or tostring(value) .. (message and ":" .. message or "")
            end
            note(r:set("a", "1"))
            note(r:get("a"))
            note(r:get("none"))
            note(r:incr("a"))
            note(r:lpush("a", "x"))
            r:init_pipeline()
            r:hmset("h", { name = "Tom\r\n" })
            r:hget("h", "name")
            local replies = assert(r:commit_pipeline())
            note(replies[1])
            note(replies[2])
            note(#r:mget("a", "h", "none"))
            note(r:eval("return redis.call('GET', KEYS[1])", 1, "a"))
            note(r:get_reused_times())
            note(r:subscribe("news")[1])
            assert(r:close())
            return hg.json.encode(out)
        end,
    },
}
]]

local server, n

local function start(args)
    args = args or {}
    args.redis, args.unix = server.port, server.path
    n = node.start { config = CONFIG, args = args }
end

local function get(group, key)
    return n:get(("/api?group=%s&key=%s"):format(group, http.encode(key)))
end

-- How often the server has run a command.
local function calls(redis_server, name)
    return tonumber(redis_server:command("INFO", "commandstats"):match("cmdstat_" .. name .. ":calls=(%d+)"))
end

local function metric(name)
    return tonumber(n:admin("/metrics").body:match("\nhgcache_script_" .. name .. " (%d+)"))
end

local function descriptors()
    local pipe = io.popen(("ls /proc/%d/fd | wc -l"):format(n.pid))
    local count = tonumber(pipe:read("*a"))
    pipe:close()
    return count
end

describe("redis", function()
    before_each(function()
        server = redis.start()
    end)
    after_each(function()
        node.finish()
        redis.finish()
    end)

    it("hg.source_redis: value, not found, prefix, database, user, errors", function()
        start()
        server:command("SET", "Tom", "630")
        server:command("SET", "empty", '""')
        server:command("LPUSH", "list", "x")
        server:raw("SELECT 3\r\nSET score:Tom:v1 631\r\n")
        server:command("ACL", "SETUSER", "reader", "on", ">secret", "~*", "+get", "+select")
        assert.equal("630", get("plain", "Tom").body)
        assert.equal("", get("plain", "empty").body)
        assert.equal(404, get("plain", "Nobody").status)
        assert.equal(502, get("plain", "list").status) -- which is no trouble of the server
        assert.equal(502, get("tried", "list").status)
        assert.equal(5, calls(server, "get")) -- so it is not tried again
        assert.equal("631", get("prefixed", "Tom").body)
        assert.equal(404, get("prefixed", "Jack").status)
        for _ = 1, 3 do
            assert.equal("630", get("user", "Tom").body)
        end
        assert.equal(403, get("wrong", "Tom").status)
        -- Any bytes may be in a key.
        assert.equal(404, get("plain", "a b\r\nFLUSHALL\r\n\0").status)
        assert.equal("630", get("plain", "Tom").body)
        assert.equal(0, n:stop())
    end)

    it("hg.redis: replies of all kinds, errors, and what would change a connection", function()
        start()
        server:command("ACL", "SETUSER", "reader", "on", ">secret", "~*", "+get", "+select")
        local r = n:get("/commands")
        assert.equal(200, r.status, r.body .. n:log())
        assert.same({ "OK", "630\r\n", 60, "null", "OK", "9007199254740992", "9007199254740993", "OK", true, "0.5",
            { "0", { "score:Tom" } }, "internal WRONGTYPE", "internal ERR", "denied WRONGPASS", "denied NOPERM", "unavailable no",
            "redis:command: select changes its connection, which others use too",
            "redis:command: MULTI changes its connection, which others use too",
            "bad argument #2 to 'command' (a string or a number expected, got boolean)",
            "bad argument #2 to 'command' (a string or a number expected, got table)" }, node.json.decode(r.body))
        assert.equal(0, n:stop())
    end)

    it("hg.redis: a connection is kept for those with its credentials only", function()
        redis.finish()
        server = redis.start { args = { "--requirepass", "secret", "--user", "reader", "on", ">secret", "~*", "+get" } }
        start()
        for _ = 1, 3 do
            assert.same({ "null", "denied", "denied", "null", "null" }, node.json.decode(n:get("/credentials").body))
        end
        -- The default user by name or not, and the reader.
        assert.equal(2, metric("sockets"))
        assert.equal(0, n:stop())
    end)

    it("hg.source_redis.many: one MGET for what comes together", function()
        start()
        local items = {}
        for i = 1, 60 do
            if i % 3 > 0 then
                server:command("SET", "k:" .. i, "value" .. i)
            end
            items[i] = { n.api_port, { path = "/api?group=many&key=" .. i } }
        end
        for i, r in ipairs(http.many(items)) do
            assert.equal(i % 3 > 0 and 200 or 404, r.status)
            if i % 3 > 0 then
                assert.equal("value" .. i, r.body)
            end
        end
        assert.is_true(calls(server, "mget") < 30)
        assert.equal(0, n:stop())
    end)

    it("OpenResty's client runs as it is", function()
        start()
        local r = n:get("/library")
        assert.equal(200, r.status, r.body .. n:log())
        assert.same({ "OK", "1", "null", "2", "false:WRONGTYPE Operation against a key holding the wrong kind of value", "OK",
            "Tom\r\n", "3", "2", "0", "subscribe" }, node.json.decode(r.body))
        assert.equal("2", get("library", "a").body)
        assert.equal(404, get("library", "none").status)
        assert.equal(0, n:stop())
    end)

    for _, group in ipairs { "plain", "library" } do
        it("200 loads at once: " .. group, function()
            start()
            local items = {}
            for i = 1, 200 do
                server:command("SET", "key" .. i, "value" .. i)
                items[i] = { n.api_port, { path = "/api?group=" .. group .. "&key=key" .. i } }
            end
            for _ = 1, 3 do
                for i, r in ipairs(http.many(items)) do
                    assert.equal("value" .. i, r.body)
                end
            end
            assert.is_true(metric("sockets_reused_total") > 0)
            assert.is_true(metric("sockets") <= 100)
            assert.equal(0, n:stop())
        end)
    end

    it("a server that dies costs errors only while it is away, and no descriptor", function()
        start()
        server:command("SET", "Tom", "630")
        local function many()
            local items = {}
            for i = 1, 50 do
                items[i] = { n.api_port, { path = ("/api?group=%s&key=Tom&n=%d"):format(i % 2 == 0 and "plain" or "library", i) } }
            end
            return http.many(items)
        end
        for _ = 1, 3 do
            for _, r in ipairs(many()) do
                assert.equal("630", r.body)
            end
            server:kill()
            for _, r in ipairs(many()) do
                assert.is_true(r.status == 503 or r.status == 502, tostring(r.status))
            end
            assert.equal(0, n:stats("plain").entries)
            node.until_true(function()
                return metric("sockets") == 0
            end, 10, "the end of all connections")
            server:launch()
            server:command("SET", "Tom", "630")
            assert.equal("630", get("plain", "Tom").body) -- at once
        end
        -- It dies in the middle of loads.
        server:signal(posix.SIGSTOP)
        local connections = {}
        for i = 1, 20 do
            connections[i] = assert(http.connect(n.api_port))
            connections[i]:send(http.format { path = "/api?group=plain&key=wait" .. i })
        end
        node.until_true(function()
            return metric("sockets") >= 20
        end, 10, "20 loads that wait")
        server:kill()
        for _, connection in ipairs(connections) do
            assert.equal(503, connection:response("GET", 20).status)
            connection:close()
        end
        node.until_true(function()
            return metric("sockets") == 0 and metric("running") == 0
        end, 10, "nothing that waits")
        server:launch()
        assert.equal(404, get("plain", "Tom").status)
        local before = descriptors()
        for _ = 1, 3 do
            server:kill()
            many()
            server:launch()
            get("plain", "Tom")
        end
        node.until_true(function()
            return descriptors() <= before
        end, 10, "no more descriptors than before")
        assert.equal(0, n:stop())
    end)

    it("what was known is served while the server is away, where asked", function()
        start()
        local keys = outage.keys(200)
        for _ = 1, 2 do
            for i, key in ipairs(keys) do
                server:command("SET", key, "value" .. i)
            end
            outage.check(n, "kept", keys)
            server:kill()
            outage.check(n, "kept", keys)
            server:launch()
        end
        outage.check_idle(n)
        assert.equal(0, n:stop())
    end)

    it("a slow server: the load fails after `timeout`, and the late reply goes to nobody", function()
        start { timeout = "300ms" }
        server:command("SET", "a", "1")
        server:command("SET", "b", "2")
        assert.equal("1", get("plain", "a").body)
        server:signal(posix.SIGSTOP)
        local started = posix.now()
        local r = get("plain", "a")
        assert.equal(504, r.status)
        assert.is_true(posix.now() - started < 5)
        server:signal(posix.SIGCONT)
        for _ = 1, 5 do
            assert.equal("2", get("plain", "b").body)
        end
        assert.equal(0, n:stop())
    end)

    it("misuse is told with the option's name", function()
        for text, wanted in pairs {
            ["{ hosts = 'x' }"] = "unknown option 'hosts'", ["{ port = 0 }"] = "port: expected a whole number from 1 to 65535",
            ["{ key = 'x' }"] = 'key: expected a text with "{key}" in it', ["1"] = "expected a table of options, found number",
            ["{ unix = '/x', port = 1 }"] = "unix, or host and port", ["{ user = 'x' }"] = "user without password",
            ["{ timeout = 'soon' }"] = "timeout: ", ["{ db = 1.5 }"] = "db: ", ["{ host = 5 }"] = "host: expected a string",
        } do
            local r = node.run { "check", node.write(node.dir() .. "/config.lua", ([[
                local hg = require "hgcache"
                return { groups = { g = { getter = hg.source_redis(%s) } } }
            ]]):format(text)) }
            assert.equal(2, r.code)
            assert.is_truthy((r.out .. r.err):find("config.lua:2: hg.source_redis: " .. wanted, 1, true), r.out .. r.err)
        end
    end)
end)
