-- explain: in one answer, from any node, what each node has of a key and what became of it.

local node = require "spec.support.node"
local http = require "spec.support.http"
local posix = require "spec.support.posix"
local cjson = require "cjson"

local CONFIG = [[
return {
    node = { listen = listen() },
    cluster = cluster { timeout = "500ms", lease = "20s" },
    groups = {
        test = {
            capacity = "64KiB", shards = 1, ttl = "10m", ttl_jitter = 0, stale_if_error = "5m",
            getter = function(key)
                if key:find("^slow") then
                    hg.sleep(1.5)
                elseif key:find("^bad") then
                    error("the db is away")
                elseif key:find("^big") then
                    return ("x"):rep(8000)
                end
                return "value of " .. key, { tags = { "t1", "t2" } }
            end,
        },
    },
}
]]

local function explain(one, key)
    return one:admin_json("/explain?group=test&key=" .. http.encode(key))
end

-- A key with this prefix that nodes[index] owns.
local function key_of(nodes, index, prefix)
    for i = 1, 200 do
        local key = prefix .. i
        if explain(nodes[index], key).mine then
            return key
        end
    end
    error("no key of node " .. index)
end

local function parts(page)
    local by_member = {}
    for _, part in ipairs(page.nodes) do
        by_member[part.member] = part
    end
    return by_member
end

describe("explain", function()
    local nodes

    before_each(function()
        nodes = node.cluster { config = CONFIG }
    end)
    after_each(node.finish)

    it("tells from any node who holds a key, as what, how old and for how long", function()
        local key = key_of(nodes, 2, "k")
        assert.equal(200, nodes[1]:get("/api?key=" .. key).status)
        for i = 1, 3 do
            local page = explain(nodes[i], key)
            assert.equal("test", page.group)
            assert.equal(key, page.key)
            assert.equal(nodes[2].member, page.owner)
            assert.equal(i == 2, page.mine)
            assert.equal(i < 3, page.stored)
            assert.equal(3, #page.nodes)
            local by = parts(page)
            local copy, value, none = by[nodes[1].member], by[nodes[2].member], by[nodes[3].member]
            assert.equal("hot", copy.tier)
            assert.is_true(copy.ttl_ms > 0 and copy.ttl_ms <= 20000)
            assert.equal(0, copy.stale_if_error_ms)
            assert.equal("main", value.tier)
            assert.is_true(value.mine)
            assert.is_true(value.ttl_ms > 500000 and value.ttl_ms <= 600000)
            assert.equal(300000, value.stale_if_error_ms)
            assert.same({ "t1", "t2" }, value.tags)
            assert.equal(#("value of " .. key), value.size_bytes)
            assert.equal(copy.version, value.version)
            assert.equal("remote", copy.load.kind)
            assert.equal("local", value.load.kind)
            assert.equal("value", value.load.status)
            assert.is_false(none.stored)
            assert.is_nil(none.load)
        end
    end)

    it("tells of a load under way, of the last error, and why a key left", function()
        local slow, bad, big = key_of(nodes, 2, "slow"), key_of(nodes, 2, "bad"), key_of(nodes, 2, "big")
        local line = assert(http.connect(nodes[1].api_port))
        assert(line:send(http.format { path = "/api?key=" .. slow }))
        local by
        node.until_true(function()
            by = parts(explain(nodes[3], slow))
            return by[nodes[1].member].flight and by[nodes[2].member].flight
        end, 10, "two flights")
        assert.equal("remote", by[nodes[1].member].flight.kind)
        assert.equal("local", by[nodes[2].member].flight.kind)
        assert.equal("miss", by[nodes[2].member].flight.reason)
        assert.equal(1, by[nodes[2].member].flight.waiters)
        assert.equal(200, line:response("GET", 10).status)
        line:close()
        by = parts(explain(nodes[3], slow))
        assert.is_nil(by[nodes[2].member].flight)
        assert.is_true(by[nodes[2].member].load.took_ms >= 1400)

        assert.equal(502, nodes[2]:get("/api?key=" .. bad).status)
        local failed = parts(explain(nodes[3], bad))[nodes[2].member].error
        assert.equal("internal", failed.class)
        assert.is_truthy(failed.message:find("the db is away", 1, true))

        assert.equal(200, nodes[2]:get("/api?key=" .. big).status)
        nodes[2]:admin("/keys?group=test&key=" .. big, { method = "DELETE" })
        assert.equal("removed", parts(explain(nodes[1], big))[nodes[2].member].eviction.reason)
        assert.equal(200, nodes[2]:get("/api?key=" .. big).status)
        for i = 1, 200 do
            nodes[2]:get("/api?key=bigger" .. i)
            local part = parts(explain(nodes[2], big))[nodes[2].member]
            if not part.stored then
                assert.equal("capacity", part.eviction.reason)
                return
            end
        end
        error("nothing was evicted")
    end)

    it("names a node that does not answer, and one that is gone, and comes soon all the same", function()
        local key = key_of(nodes, 1, "k")
        assert.equal(200, nodes[1]:get("/api?key=" .. key).status)
        nodes[2]:signal(posix.SIGSTOP)
        nodes[3]:kill()
        local line = assert(http.connect(nodes[1].admin_port)) -- leaves before the answer
        assert(line:send(http.format { path = "/explain?group=test&key=" .. key }))
        line:reset()
        local from = posix.now()
        local by = parts(explain(nodes[1], key))
        assert.is_true(posix.now() - from < 5)
        assert.is_true(by[nodes[1].member].stored)
        assert.is_string(by[nodes[2].member].unreachable)
        assert.is_string(by[nodes[3].member].unreachable)
        local r = node.run { "explain", "test", key, "--node", "http://127.0.0.1:" .. nodes[1].admin_port }
        assert.equal(0, r.code)
        assert.is_truthy(r.out:find("owner  " .. nodes[1].member, 1, true))
        assert.is_truthy(r.out:find("the value", 1, true))
        assert.is_truthy(r.out:find("unreachable", 1, true))
        r = node.run { "explain", "test", key, "--json", "--node", "http://127.0.0.1:" .. nodes[1].admin_port }
        assert.equal(key, cjson.decode(r.out).key)
        nodes[2]:signal(posix.SIGCONT)
    end)

    it("answers bytes that are no text, and a peer only for itself", function()
        local page = explain(nodes[1], "\255\1")
        assert.is_nil(page.key)
        assert.equal("/wE=", page.key64)
        local key = key_of(nodes, 2, "k")
        local answer = http.get(nodes[1].peer_port, "/_hgcache/test/" .. key .. "?explain")
        assert.equal(200, answer.status)
        local part = cjson.decode(answer.body)
        assert.equal(nodes[1].member, part.member)
        assert.is_false(part.stored)
        assert.is_nil(part.nodes)
        assert.equal(0, nodes[2]:stats("test").peer_requests)
        assert.equal(404, http.get(nodes[1].peer_port, "/_hgcache/none/k?explain").status)
    end)
end)

describe("explain with tokens", function()
    after_each(node.finish)

    it("sends its own and refuses who has none", function()
        local nodes = node.cluster { count = 2, config = CONFIG:gsub('timeout = "500ms",',
            'timeout = "2s", tokens = { "a-token-of-the-cluster" },') }
        for _, part in ipairs(explain(nodes[1], "k").nodes) do
            assert.is_nil(part.unreachable)
        end
        assert.equal(401, http.get(nodes[1].peer_port, "/_hgcache/test/k?explain").status)
    end)
end)
