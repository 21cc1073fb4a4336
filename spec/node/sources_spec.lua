-- Values out of files and SQLite, in real nodes.

local node = require "spec.support.node"
local http = require "spec.support.http"
local outage = require "spec.support.outage"

local CONFIG = [[
local group = { negative_ttl = 0, error_ttl = 0, ttl = 0, pool = "blocking", source = { breaker = { failures = 1000000 },
    concurrency = 1000 }, expose_errors = true }
local function with(more)
    local out = {}
    for _, list in ipairs { group, more } do
        for name, value in pairs(list) do out[name] = value end
    end
    return out
end
local setup = { "PRAGMA journal_mode = WAL" }
return {
    node = { listen = listen(), scripts = { getters = 1, routes = 1, blocking = 2 }, drain_delay = 0 },
    groups = {
        files = with { getter = hg.source_file { root = hg.args.dir .. "/root", max = 100, types = { txt = "text/plain" } } },
        kept = with { ttl = "20ms", negative_ttl = "20ms", stale_while_revalidate = "1h",
            getter = hg.source_file { root = hg.args.dir .. "/root" } },
        sqlite = with { getter = hg.source_sqlite { path = hg.args.dir .. "/db", busy = 10,
            query = "SELECT v FROM t WHERE k = ?" } },
        many = with { get_many = hg.source_sqlite.many { path = hg.args.dir .. "/db", query = "SELECT k, v FROM t WHERE k IN (?)",
            setup = setup, busy = 10 }, batch = { window = "5ms", max = 100 } },
    },
}
]]

local n, dir

local function start()
    dir = node.dir()
    os.execute(("mkdir -p %s/root/inner %s/beside"):format(dir, dir))
    node.write(dir .. "/secret", "secret")
    node.write(dir .. "/root/page.txt", "page")
    node.write(dir .. "/root/inner/data", "a\0b")
    os.execute(("cd %s/root; ln -s ../secret up; ln -s %s/secret absolute; ln -s inner link"):format(dir, dir))
    local driver = require("luasql.sqlite3").sqlite3()
    local db = driver:connect(dir .. "/db")
    assert(db:execute("CREATE TABLE t (k TEXT PRIMARY KEY, v)"))
    for i = 1, 200 do
        assert(db:execute(("INSERT INTO t VALUES ('key%d', 'value%d')"):format(i, i)))
    end
    db:close()
    driver:close()
    n = node.start { config = CONFIG, args = { dir = dir } }
end

local function get(group, key)
    return n:get(("/api?group=%s&key=%s"):format(group, http.encode(key)))
end

describe("sources", function()
    before_each(start)
    after_each(node.finish)

    it("hg.source_file: what is below the folder, and nothing else", function()
        local r = get("files", "page.txt")
        assert.equal("page", r.body)
        assert.equal("text/plain", r.headers["content-type"])
        assert.equal("a\0b", get("files", "inner/data").body)
        assert.equal("a\0b", get("files", "link/data").body)
        for _, key in ipairs { "..", "../secret", "inner/../../secret", "/etc/passwd", dir .. "/secret", "up", "absolute", "inner",
            "inner/", "page.txt\0", "page.txt/x", ".", "./page.txt", "inner//data", "none", "..\\secret", "page.txt\0/../../secret",
            ("x/"):rep(400) .. "x", ("x"):rep(300) } do
            r = get("files", key)
            assert.equal(404, r.status, key .. " " .. r.body)
        end
        node.write(dir .. "/root/big", ("x"):rep(101))
        r = get("files", "big")
        assert.equal(502, r.status)
        assert.is_truthy(r.body:find("larger than 100 bytes", 1, true), r.body)
        -- A folder that is away is trouble, not an answer.
        os.rename(dir .. "/root", dir .. "/away")
        assert.equal(503, get("files", "page.txt").status)
        assert.equal(0, n:stop())
    end)

    it("hg.source_file: a file that has not changed is kept, one that has is read", function()
        local first = get("kept", "page.txt")
        assert.equal("page", first.body)
        node.until_true(function()
            get("kept", "page.txt")
            return n:stats("kept").refreshes >= 3
        end, 10, "refreshes")
        assert.equal("page", get("kept", "page.txt").body)
        assert.equal(0, n:stats("kept").local_load_errors)
        node.write(dir .. "/root/page.txt", "other")
        node.until_true(function()
            return get("kept", "page.txt").body == "other"
        end, 10, "the new text")
        os.remove(dir .. "/root/page.txt")
        node.until_true(function()
            return get("kept", "page.txt").status == 404
        end, 10, "that it is gone")
        assert.equal(0, n:stop())
    end)

    for _, group in ipairs { "sqlite", "many" } do
        it("200 loads at once: " .. group, function()
            local keys = outage.keys(200)
            for _ = 1, 2 do
                outage.check(n, group, keys)
            end
            for _, key in ipairs { "none", "x' OR '1'='1", "'; DROP TABLE t; --", "key1\0" } do
                assert.equal(404, get(group, key).status)
            end
            assert.equal("value1", get(group, "key1").body)
            assert.equal(0, n:stats(group).local_load_errors)
            assert.equal(0, n:stop())
        end)
    end
end)
