-- After an invalidation has been acknowledged nobody serves what was before: keys, tags, groups; nodes that stood still.

local node = require "spec.support.node"
local http = require "spec.support.http"
local posix = require "spec.support.posix"
local cjson = require "cjson"

local LEASE = 1

-- The source is a file: its content is everybody's value. Keys "red-1" have the tag "red".
local CONFIG = [[
local function read()
    local file = assert(io.open(hg.args.source))
    local text = file:read("*a")
    file:close()
    return text
end
return {
    node = { listen = listen() },
    cluster = cluster { lease = "]] .. LEASE .. [[s", timeout = "1s" },
    groups = {
        test = {
            ttl = false, stale_while_revalidate = "1h", stale_if_error = "1h",
            getter = function(key)
                hg.log.info("[SlowDB] search key %s", key)
                return read(), { tags = { key:match("^%a+") } }
            end,
        },
        other = { ttl = false, getter = read },
    },
    routes = {
        ["GET /api"] = hg.serve("test"),
        ["GET /other"] = hg.serve("other"),
        ["POST /do"] = function(req)
            local group = hg.group("test")
            local ok, message = assert(loadstring("return function(group) return " .. req.body .. " end"))()(group)
            return ok and tostring(ok) or "nil " .. tostring(message)
        end,
    },
}
]]

local function start(count)
    local source = node.write(node.dir() .. "/source", "one")
    local nodes = node.cluster { config = CONFIG, args = { source = source }, count = count }
    return nodes, function(text)
        local file = assert(io.open(source, "w"))
        file:write(text)
        file:close()
    end
end

local function owner_of(n, key)
    return n:admin_json("/explain?group=test&key=" .. key).owner
end

-- A key that nodes[index] owns.
local function key_of(nodes, index, prefix)
    for i = 1, 1000 do
        local key = prefix .. i
        if owner_of(nodes[1], key) == nodes[index].member then
            return key
        end
    end
    error("no key of node " .. index)
end

local function fill(nodes, keys, value)
    for _, key in ipairs(keys) do
        for _, n in ipairs(nodes) do
            assert.equal(value, n:get("/api?key=" .. key).body)
        end
    end
end

local function assert_known_by_all(nodes, response)
    assert.equal(200, response.status, response.body)
    local told = cjson.decode(response.body)
    assert.equal(#nodes, #told.acknowledged)
    assert.same({}, told.lease_waited)
    assert.equal(LEASE * 1000, told.bound_ms)
end

-- Until it says so: nodes find each other in step within a few quarters of a lease.
local function wait_for_exchange(nodes)
    for _, n in ipairs(nodes) do
        node.until_true(function()
            return n:admin("/metrics").body:find("hgcache_contact_age_seconds 0%.") ~= nil
        end, 10, "contact between the nodes")
    end
end

describe("an invalidation", function()
    after_each(node.finish)

    it("of a key, a tag or a group is seen at every node at once, copies included", function()
        local nodes, write = start()
        local keys = { key_of(nodes, 1, "red-"), key_of(nodes, 2, "red-"), key_of(nodes, 3, "red-") }
        local blue = key_of(nodes, 2, "blue-")
        fill(nodes, keys, "one")
        fill(nodes, { blue }, "one")

        write "two"
        assert_known_by_all(nodes, nodes[3]:admin("/keys?group=test&key=" .. keys[1], { method = "DELETE" }))
        fill(nodes, { keys[1] }, "two")
        fill(nodes, { keys[2], keys[3], blue }, "one")

        write "three"
        assert_known_by_all(nodes, nodes[1]:admin("/tags?group=test&tag=red", { method = "DELETE" }))
        fill(nodes, keys, "three")
        assert.equal("one", nodes[2]:get("/api?key=" .. blue).body)

        for _, n in ipairs(nodes) do
            assert.equal("three", n:get("/other?key=a").body)
        end
        write "four"
        assert_known_by_all(nodes, nodes[2]:admin("/flush?group=test", { method = "POST" }))
        fill(nodes, keys, "four")
        fill(nodes, { blue }, "four")
        assert.equal("three", nodes[1]:get("/other?key=a").body) -- another group
    end)

    it("that is soft goes on serving, and loads once", function()
        local nodes, write = start()
        local key = key_of(nodes, 2, "red-")
        assert.equal("one", nodes[2]:get("/api?key=" .. key).body)
        write "two"
        assert_known_by_all(nodes, nodes[1]:admin("/tags?group=test&tag=red&soft=1", { method = "DELETE" }))
        local r = nodes[2]:get("/api?key=" .. key)
        assert.equal("one", r.body)
        assert.is_truthy(r.headers["cache-status"]:find("; hit; ttl=[-0]"), r.headers["cache-status"])
        node.until_true(function()
            return nodes[2]:get("/api?key=" .. key).body == "two"
        end, 5, "the new value")
        assert.equal(2, nodes[2]:count("search key " .. key .. "\n"))
    end)

    it("from a script and from the command line", function()
        local nodes, write = start(2)
        local keys = { key_of(nodes, 1, "red-"), key_of(nodes, 2, "red-") }
        local function script(body)
            return http.request(nodes[1].api_port, { method = "POST", path = "/do", body = body }).body
        end
        fill(nodes, keys, "one")
        write "two"
        assert.equal("true", script "group:remove_tag('red')")
        fill(nodes, keys, "two")
        write "three"
        assert.equal("true", script "group:flush()")
        fill(nodes, keys, "three")
        write "four"
        assert.equal("true", script "group:remove_tag('red', { soft = true })")
        node.until_true(function()
            return nodes[1]:get("/api?key=" .. keys[1]).body == "four"
        end, 5, "the new value")
        for _, bad in ipairs {
            "group:remove_tag('')", "group:remove_tag(('t'):rep(256))", "group:remove_tag('a', { soft = 1 })" } do
            assert.equal(502, http.request(nodes[1].api_port, { method = "POST", path = "/do", body = bad }).status, bad)
        end

        local function command(...)
            return node.run { "--node", "http://127.0.0.1:" .. nodes[1].admin_port, ... }
        end
        write "five"
        local r = command("untag", "test", "red")
        assert.equal(0, r.code, r.err)
        assert.equal(2, #cjson.decode(r.out).acknowledged)
        fill(nodes, keys, "five")
        write "six"
        assert.equal(0, command("flush", "test").code)
        fill(nodes, keys, "six")
        write "seven"
        assert.equal(0, command("untag", "test", "red", "--soft").code)
        node.until_true(function()
            return nodes[2]:get("/api?key=" .. keys[2]).body == "seven"
        end, 5, "the new value")
        r = command("flush", "nobody")
        assert.equal(1, r.code)
        assert.is_truthy(r.err:find("no such group", 1, true), r.err)
        assert.equal(2, command("untag", "test", "").code)
        assert.equal(2, command("flush", "test", "--soft").code)
    end)

    it("asked wrongly is refused, and nothing happens", function()
        local nodes = start(1)
        local n = nodes[1]
        assert.equal("one", n:get("/api?key=red-1").body)
        for path, status in pairs {
            ["/tags?group=test"] = 400, ["/tags?group=test&tag="] = 400, ["/tags?tag=red"] = 400,
            ["/tags?group=nobody&tag=red"] = 404, ["/tags?group=test&tag=red&soft=yes"] = 400,
            ["/tags?group=test&tag=" .. ("t"):rep(256)] = 414, ["/tags?group=test&tag=a&tag=b"] = 400,
        } do
            assert.equal(status, n:admin(path, { method = "DELETE" }).status, path)
        end
        assert.equal(400, n:admin("/flush", { method = "POST" }).status)
        assert.equal(404, n:admin("/flush?group=nobody", { method = "POST" }).status)
        -- A page that some browser shows may send this without asking.
        assert.equal(403, n:admin("/flush?group=test", { method = "POST",
            headers = { Origin = "https://evil.example" } }).status)
        for _, body in ipairs { "", "nonsense", "\24\9" } do
            assert.equal(400, http.request(n.peer_port, { method = "POST", path = "/_hgcache/?changes", body = body }).status)
        end
        for _, place in ipairs { "", "=", "=1", "=0000000000000001.x" } do
            assert.equal(400, http.get(n.peer_port, "/_hgcache/?changes" .. place).status, place)
        end
        assert.equal(1, n:count("search key red-1\n"))
        assert.equal("one", n:get("/api?key=red-1").body)
    end)
end)

describe("a node that stood still", function()
    after_each(node.finish)

    -- Stops nodes[stopped], changes the source and deletes the key through nodes[1], and lets it go on.
    local function pause_while_deleting(stopped, owner)
        local nodes, write = start()
        local key = key_of(nodes, owner, "red-")
        local still = key_of(nodes, stopped, "blue-")
        fill(nodes, { key, still }, "one")
        wait_for_exchange(nodes)

        nodes[stopped]:signal(posix.SIGSTOP)
        write "two"
        local started = posix.now()
        local r = nodes[1]:admin("/keys?group=test&key=" .. key, { method = "DELETE", timeout = 10 })
        local took = posix.now() - started
        assert.equal(200, r.status, r.body)
        local told = cjson.decode(r.body)
        assert.same({ nodes[stopped].member }, told.lease_waited)
        assert.equal(2, #told.acknowledged)
        assert.is_true(took >= LEASE * 0.9, "it took " .. took)
        assert.is_true(took <= LEASE + 0.5, "it took " .. took)
        for i, n in ipairs(nodes) do
            if i ~= stopped then
                assert.equal("two", n:get("/api?key=" .. key, { timeout = 10 }).body)
            end
        end

        -- The request waits in its socket: it is the first thing that the node sees.
        local client = http.connect(nodes[stopped].api_port)
        client:send(http.format { path = "/api?key=" .. key })
        nodes[stopped]:signal(posix.SIGCONT)
        local first = client:response("GET")
        assert.equal("two", first.body)
        for _ = 1, 100 do
            assert.equal("two", nodes[stopped]:get("/api?key=" .. key).body)
        end
        client:close()
        -- What nobody changed is served from the store again once it has caught up.
        node.until_true(function()
            return nodes[stopped]:admin("/metrics").body:find("hgcache_behind 0", 1, true) ~= nil
        end, 10, "a node that has caught up")
        assert.equal("one", nodes[stopped]:get("/api?key=" .. still).body)
        assert.is_truthy(nodes[stopped]:admin("/metrics").body:find("hgcache_standstills_total 1", 1, true))
    end

    it("serves nothing old of another's key that was deleted meanwhile", function()
        pause_while_deleting(3, 2)
    end)

    it("serves nothing old of its own key that was deleted meanwhile", function()
        pause_while_deleting(3, 3)
    end)

    it("learns of a tag and a flush, too", function()
        local nodes, write = start()
        local key = key_of(nodes, 3, "red-")
        fill(nodes, { key }, "one")
        assert.equal("one", nodes[3]:get("/other?key=a").body)
        wait_for_exchange(nodes)
        nodes[3]:signal(posix.SIGSTOP)
        write "two"
        for _, path in ipairs { "/tags?group=test&tag=red", "/flush?group=other" } do
            local r = nodes[1]:admin(path, { method = path:find("tags") and "DELETE" or "POST", timeout = 10 })
            assert.same({ nodes[3].member }, cjson.decode(r.body).lease_waited)
        end
        nodes[3]:signal(posix.SIGCONT)
        assert.equal("two", nodes[3]:get("/api?key=" .. key).body)
        assert.equal("two", nodes[3]:get("/other?key=a").body)
    end)

    it("and one that is gone are waited for no longer than the lease", function()
        local nodes, write = start()
        local key = key_of(nodes, 3, "red-")
        fill(nodes, { key }, "one")
        nodes[3]:kill()
        write "two"
        local started = posix.now()
        local r = nodes[1]:admin("/keys?group=test&key=" .. key, { method = "DELETE", timeout = 10 })
        assert.same({ nodes[3].member }, cjson.decode(r.body).lease_waited)
        assert.is_true(posix.now() - started <= LEASE + 0.5)
        for i = 1, 2 do
            assert.equal("two", nodes[i]:get("/api?key=" .. key).body)
        end
        -- Nobody can put a value there, and that is said.
        r = nodes[1]:admin("/keys?group=test&key=" .. key, { method = "PUT", body = "x", timeout = 10 })
        assert.equal(503, r.status)
    end)
end)
