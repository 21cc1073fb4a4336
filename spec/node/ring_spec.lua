-- The ring of real nodes: /ring, hgcache ring with its plans, and nodes whose rings differ.

local node = require "spec.support.node"
local grpc = require "spec.support.grpc"
local http = require "spec.support.http"
local protobuf = require "spec.support.protobuf"
local digest = require "hgcache.digest"
local cjson = require "cjson"

local CONFIG = [[
return {
    node = { listen = listen() },
    cluster = cluster(%s),
    groups = { test = { getter = function(key) return "value of " .. key end } },
}
]]

local function cli(n, ...)
    return node.run { "ring", "--node", "http://127.0.0.1:" .. n.admin_port, ... }
end

local function metric(n, name)
    return tonumber(n:admin("/metrics").body:match("\n" .. name:gsub("[%(%).%%+%-*?%[^$]", "%%%0") .. " (%S+)"))
end

local function load_all(nodes, count)
    for i = 1, count do
        for _, n in ipairs(nodes) do
            assert.equal("value of k" .. i, n:get("/api?key=k" .. i).body)
        end
    end
end

describe("the ring of nodes that agree", function()
    local nodes
    setup(function()
        nodes = node.cluster { count = 3, config = CONFIG:format("") }
        load_all(nodes, 50)
    end)
    teardown(node.finish)

    it("has shares, states, ages and one fingerprint", function()
        local seen = {}
        for i, n in ipairs(nodes) do
            local ring, sum = n:admin_json("/ring"), 0
            seen[ring.fingerprint] = true
            assert.equal("default", ring.ring)
            assert.equal(3, #ring.members)
            assert.same({}, ring.mismatches)
            assert.is_true(ring.changed_seconds >= 0)
            for j, member in ipairs(ring.members) do
                sum = sum + member.share
                assert.equal(i == j, member.self)
                assert.is_true(member.up)
                assert.equal(i == j, member.heard_seconds == nil)
            end
            assert.is_true(math.abs(sum - 1) < 1e-4)
            assert.equal(0, metric(n, "hgcache_peer_ring_mismatches_total"))
        end
        assert.is_nil(next(seen, next(seen)))
    end)

    it("is drawn for people, plainly where there is no terminal", function()
        local r = cli(nodes[1])
        assert.equal(0, r.code, r.err)
        assert.is_truthy(r.out:find("default (xxh64, 2048 points each)", 1, true), r.out)
        assert.is_truthy(r.out:find("this node", 1, true), r.out)
        assert.is_truthy(r.out:find("#####", 1, true), r.out)
        assert.is_nil(r.out:find("[^\n\32-\126]"))
        assert.equal(3, #cjson.decode(cli(nodes[1], "--json").out).members)
    end)

    it("says beforehand what a join and a leave would move", function()
        local names = {}
        for i, member in ipairs(nodes[1]:admin_json("/ring").members) do
            names[i] = member.name
        end
        local r = cli(nodes[1], "--join", "http://127.0.0.1:1", "--json")
        assert.equal(0, r.code, r.err)
        local plan = cjson.decode(r.out)
        assert.equal(3, #plan.moves)
        assert.is_true(plan.moved > 0.8 / 4 and plan.moved <= 1.2 / 4, r.out)
        r = cli(nodes[1], "--leave", names[2], "--json")
        plan = cjson.decode(r.out)
        assert.equal(2, #plan.moves)
        assert.equal(names[2], plan.moves[1].from)
        assert.is_true(math.abs(plan.moved - nodes[1]:admin_json("/ring").members[2].share) < 1e-5)
        r = cli(nodes[1], "--leave", names[2])
        assert.is_truthy(r.out:find(names[2] .. " would leave: 3%d%.%d %% of the keys move"), r.out)
        assert.equal(2, cli(nodes[1], "--leave", "http://127.0.0.1:1").code)
        assert.equal(2, cli(nodes[1], "--join", names[1]).code)
        assert.equal(2, cli(nodes[1], "--join", names[1], "--leave", names[1]).code)
    end)

    it("has a histogram of asks for each peer", function()
        local text, count = nodes[1]:admin("/metrics").body, 0
        for peer, buckets in text:gmatch('\nhgcache_peer_ask_seconds_bucket{peer="([^"]+)",le="%+Inf"} (%d+)') do
            assert.equal(buckets, text:match('\nhgcache_peer_ask_seconds_count{peer="' .. peer .. '"} (%d+)'))
            assert.equal(metric(nodes[1], 'hgcache_peer_asks_total{peer="' .. peer .. '"}'), tonumber(buckets))
            assert.is_true(tonumber(buckets) > 0)
            count = count + 1
        end
        assert.equal(2, count)
    end)
end)

describe("rings that differ", function()
    after_each(node.finish)

    it("are counted and named, and nobody is refused", function()
        -- The second node knows of a third that there is not; so each asks the other with another ring.
        local more = [[hg.args.index == "2" and { timeout = "250ms", peers = (function()
            local list = { "http://127.0.0.1:1" }
            for name in hg.args.peers:gmatch("[^,]+") do list[#list + 1] = name end
            return list
        end)() } or nil]]
        local nodes = node.cluster { count = 2, config = CONFIG:format(more) }
        load_all(nodes, 50)
        local rings = { nodes[1]:admin_json("/ring"), nodes[2]:admin_json("/ring") }
        assert.are_not.equal(rings[1].fingerprint, rings[2].fingerprint)
        for i = 1, 2 do
            assert.equal(1, #rings[i].mismatches)
            local other = rings[i].mismatches[1]
            assert.equal(nodes[3 - i].member, other.name)
            assert.equal(rings[3 - i].fingerprint, other.fingerprint)
            assert.is_true(other.count > 0)
            assert.equal(other.count, metric(nodes[i], "hgcache_peer_ring_mismatches_total"))
            local text = cli(nodes[i]).out
            assert.is_truthy(text:find("has another ring", 1, true), text)
        end
        assert.equal(1, nodes[1]:count("peer has another ring"))
    end)

    -- Fields of a Request: its sender and that one's ring, 16 hex digits or nil.
    local function fields(origin, ring)
        local bytes = ring and "\97" .. ring:gsub("%x%x", function(hex) return string.char(tonumber(hex, 16)) end):reverse()
        return protobuf.bytes(11, origin) .. (bytes or "")
    end

    it("are told apart by HTTP and gRPC: who sends ours again is forgotten, who sends none is as before", function()
        local nodes = node.cluster { count = 2, config = CONFIG:format("") }
        local n, ours = nodes[1], nodes[1]:admin_json("/ring").fingerprint
        local function ask(origin, ring)
            local r = http.get(n.peer_port, "/_hgcache/test/k", { headers = {
                ["Hgcache-Request"] = digest.encode_base64(fields(origin, ring)) } })
            assert.equal(200, r.status)
        end
        local function ask_grpc(origin, ring)
            local message = protobuf.bytes(1, "test") .. protobuf.bytes(2, "k") .. fields(origin, ring)
            local connection = grpc.connect(n.peer_port)
            assert(connection:send(grpc.frame(grpc.HEADERS, 4, 1, grpc.request_head("POST", "/hgcache.cache.GroupCache/Get")
                .. grpc.head { { "content-type", "application/grpc" }, { "te", "trailers" } })
                .. grpc.frame(grpc.DATA, 1, 1, "\0" .. grpc.big_endian(#message, 4) .. message)))
            return connection
        end
        local function mismatches()
            local list = {}
            for _, other in ipairs(n:admin_json("/ring").mismatches) do
                list[#list + 1] = other.name .. "=" .. other.fingerprint .. " " .. other.count
            end
            table.sort(list)
            return list, metric(n, "hgcache_peer_ring_mismatches_total")
        end

        assert.equal(200, http.get(n.peer_port, "/_hgcache/test/k").status) -- as Go nodes ask
        ask("http://a:1")
        ask("http://a:1", ours)
        assert.same({}, (mismatches()))
        ask("http://a:1", "00000000000000ff")
        ask("http://b:1", "0123456789abcdef")
        ask("http://a:1", "00000000000000fe")
        local list, count = mismatches()
        assert.same({ "http://a:1=00000000000000fe 2", "http://b:1=0123456789abcdef 1" }, list)
        assert.equal(3, count)
        ask("http://a:1") -- says nothing
        assert.equal(2, #mismatches())
        ask("http://a:1", ours)
        assert.same({ "http://b:1=0123456789abcdef 1" }, (mismatches()))

        local connection = ask_grpc("http://c:1", "00000000000000ff")
        node.until_true(function()
            return #mismatches() == 2
        end, 10, "the mismatch by gRPC")
        connection:close()
        list, count = mismatches()
        assert.same({ "http://b:1=0123456789abcdef 1", "http://c:1=00000000000000ff 1" }, list)
        assert.equal(4, count)
        assert.equal(0, nodes[1]:stop())
    end)
end)
