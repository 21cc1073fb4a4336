-- Peers that know only HgCache v1's or groupcache's protocol: bytes on the wire as they write and read them.

local node = require "spec.support.node"
local http = require "spec.support.http"
local posix = require "spec.support.posix"
local fake = require "spec.support.fake"
local gonode = require "spec.support.gonode"
local protobuf = require "spec.support.protobuf"

local CONFIG = [[
local db = { Tom = "630", ["a b"] = "space", ["a/b"] = "slash", ["a+b"] = "plus" }
return {
    node = { listen = listen() },
    cluster = hg.args.self and cluster { ring = "hgcache", timeout = "1s", transport = hg.args.transport } or nil,
    groups = {
        test = {
            source = { retries = 0 },
            getter = function(key)
                hg.log.info("[SlowDB] search key %s", key)
                if key == "bad" then
                    return nil, "why"
                end
                return db[key] or key:match("^any") and "local " .. key or nil
            end,
        },
        ["scores of/all"] = { getter = function(key) return "all " .. key end },
    },
    routes = { ["GET /api"] = hg.serve("test") },
}
]]

describe("a client that knows only v1's protocol", function()
    local n

    setup(function()
        n = node.start { config = CONFIG }
    end)
    teardown(function()
        assert.equal(0, n:stop())
        node.finish()
    end)

    local function ask(path)
        -- What Go's http.Get sends.
        return http.get(n.peer_port, path, { headers = { ["User-Agent"] = "Go-http-client/1.1",
            ["Accept-Encoding"] = "gzip" } })
    end

    it("gets Response{value} on both paths", function()
        for _, base in ipairs { "/_hgcache/", "/_groupcache/" } do
            local r = ask(base .. "test/Tom")
            assert.equal(200, r.status)
            assert.equal("application/x-protobuf", r.headers["content-type"])
            assert.equal("630", protobuf.decode(r.body)[1])
            assert.is_nil(r.headers["content-encoding"])
        end
    end)

    it("may write a key as QueryEscape does, or with %20", function()
        for path, value in pairs { ["a+b"] = "space", ["a%20b"] = "space", ["a%2Fb"] = "slash", ["a%2fb"] = "slash",
            ["a%2Bb"] = "plus" } do
            assert.equal(value, protobuf.decode(ask("/_hgcache/test/" .. path).body)[1], path)
        end
        assert.equal("all x", protobuf.decode(ask("/_hgcache/scores+of%2Fall/x").body)[1])
    end)

    it("gets a failure for what is not there or failed", function()
        for path, status in pairs { ["test/nobody"] = 404, ["nope/Tom"] = 404, ["test/bad"] = 502 } do
            local r = ask("/_hgcache/" .. path)
            assert.equal(status, r.status, path)
            local message = protobuf.decode(r.body)
            assert.is_nil(message[1])
            assert.is_true((message[10] or 0) > 0)
        end
        for _, path in ipairs { "test", "test/", "test/%", "test/%zz" } do
            assert.is_true(ask("/_hgcache/" .. path).status >= 400, path)
        end
    end)
end)

local function reply(status, body, type)
    return ("HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s"):format(status, type
        or "application/x-protobuf", #body, body)
end

describe("a Go peer in the ring", function()
    local peer

    after_each(function()
        if peer then
            peer:stop()
            peer = nil
        end
        node.finish()
    end)

    -- One real node, one fake; asks keys until the fake has been asked `wanted` times. -> node, list of those keys
    local function with_peer(answer, wanted)
        local own, other = posix.free_port(), posix.free_port()
        local notes = node.dir() .. "/notes"
        peer = fake.http(other, notes, answer)
        local members = { "http://127.0.0.1:" .. own, "http://127.0.0.1:" .. other }
        local n = node.start { config = CONFIG, peer_port = own, args = {
            self = members[1], peers = table.concat(members, ","), peer = "127.0.0.1:" .. own,
        } }
        local results, i = {}, 0
        while #results < wanted do
            i = i + 1
            assert.is_true(i < 200, "the fake peer owns no key: " .. n:log())
            local key = "any" .. i
            local r = n:get("/api?key=" .. key)
            if node.read(notes):find("/_hgcache/test/" .. key .. "\n", 1, true) then
                results[#results + 1] = { key = key, response = r }
            end
        end
        return n, results, notes
    end

    it("is believed: Response{value} with nothing else", function()
        local n, results = with_peer(function(path)
            return reply("200 OK", protobuf.bytes(1, "go " .. path:match("[^/]+$")))
        end, 3)
        for _, one in ipairs(results) do
            assert.equal(200, one.response.status)
            assert.equal("go " .. one.key, one.response.body)
            assert.equal(0, n:count("search key " .. one.key .. "\n"))
        end
        assert.equal(0, n:stop())
    end)

    it("that answers bare 500s costs one local load, and no client sees an error", function()
        local n, results = with_peer(function()
            return reply("500 Internal Server Error", "boom\n", "text/plain; charset=utf-8")
        end, 3)
        for _, one in ipairs(results) do
            assert.equal(200, one.response.status)
            assert.equal("local " .. one.key, one.response.body)
            assert.equal(1, n:count("search key " .. one.key .. "\n"))
            assert.equal("local " .. one.key, n:get("/api?key=" .. one.key).body)
            assert.equal(1, n:count("search key " .. one.key .. "\n"), "kept for a while")
        end
        assert.is_true(n:stats("test").fallbacks >= 3)
        assert.equal(0, n:stop())
    end)

    local garbage = {
        ["an empty answer without a body"] = "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
        ["a page of HTML"] = reply("200 OK", "<html>not found</html>", "text/html"),
    }
    for name, bytes in pairs(garbage) do
        it("that answers " .. name .. " is a peer error: served by a local load", function()
            local n, results = with_peer(function() return bytes end, 1)
            for _, one in ipairs(results) do
                assert.equal(200, one.response.status)
                assert.equal("local " .. one.key, one.response.body)
            end
            assert.is_nil(n:ended())
            assert.equal(0, n:stop())
        end)
    end
end)

describe("a cluster of nodes of v1", function()
    local nodes, fronts
    after_each(function()
        for _, one in ipairs(nodes) do
            if one.front then
                one:kill()
            end
        end
        node.finish()
    end)

    it("is replaced node by node under load, without a failed request", function()
        local ports, members = {}, {}
        nodes, fronts = {}, {}
        for i = 1, 3 do
            ports[i], fronts[i] = posix.free_port(), posix.free_port()
            members[i] = "http://127.0.0.1:" .. ports[i]
        end
        for i = 1, 3 do
            nodes[i] = gonode.start { self = members[i], peers = members, port = ports[i], api_port = fronts[i],
                base_path = "/_hgcache/", source = function(key) return "local " .. key end }
        end
        local serial = 0
        -- New keys, at all front ends but one's.
        local function load(rounds, without)
            for _ = 1, rounds do
                local items, keys = {}, {}
                for i = 1, 3 do
                    for _ = 1, i == without and 0 or 10 do
                        serial = serial + 1
                        keys[#keys + 1] = "any" .. serial
                        items[#items + 1] = { fronts[i], { path = "/api?key=any" .. serial } }
                    end
                end
                for n, r in ipairs(http.many(items, 30)) do
                    assert(r.status == 200 and r.body == "local " .. keys[n],
                        ("%s: %s %s"):format(keys[n], tostring(r.status or r.error), tostring(r.body)))
                end
            end
        end
        load(5)
        for i = 1, 3 do
            nodes[i]:kill()
            load(3, i)
            nodes[i] = node.start { config = CONFIG, peer_port = ports[i], api_port = fronts[i], args = {
                self = members[i], peers = table.concat(members, ","), peer = "127.0.0.1:" .. ports[i],
                transport = "http",
            } }
            local before = i < 3 and nodes[3]:asked()
            load(5)
            if i < 3 then -- both ways: it asks one of v1, and is asked by it
                assert(nodes[3]:asked() > before)
                assert(nodes[i]:stats("test").peer_requests > 0)
            end
        end
        load(5)
        local total = node.sum(nodes, "test", "peer_loads")
        assert(total > 0)
        for i = 1, 3 do
            assert.equal(0, nodes[i]:stop())
        end
    end)
end)
