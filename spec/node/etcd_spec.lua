-- Members in a real etcd: they register themselves, all see all, and no trouble of etcd's costs a request.

local node = require "spec.support.node"
local http = require "spec.support.http"
local posix = require "spec.support.posix"
local etcd = require "spec.support.etcd"
local tls = require "spec.support.tls"
local fake = require "spec.support.fake"
local digest = require "hgcache.digest"

local STOPPED_SECONDS = tonumber(os.getenv "HGCACHE_ETCD_STOPPED_SECONDS" or 5)

if not etcd.is_there() then
    print("etcd_spec: no etcd here: scripts/setup.sh test")
    return
end

local CONFIG = [[
local args = hg.args
return {
    node = { listen = listen(), drain_delay = "200ms" },
    cluster = { self = args.self, timeout = "500ms", lease = "400ms", refresh = args.refresh or "2s", peers = hg.etcd {
        endpoints = { args.etcd, args.etcd2 }, lease_ttl = "2s", prefix = args.prefix, user = args.user, password = args.password,
        ca = args.ca, cert = args.cert, key = args.key,
    } },
    groups = { test = { getter = function(key)
        hg.log.info("[Source] asked for %s", key)
        return "value of " .. key
    end } },
}
]]

local function start_one(server, more)
    local port = more and more.port or posix.free_port()
    local args = { self = "http://127.0.0.1:" .. port, peer = "127.0.0.1:" .. port, etcd = server.url }
    for name, value in pairs(more or {}) do
        args[name] = value
    end
    local one = node.start { config = CONFIG, wait = false, peer_port = port, args = args }
    one.member = "127.0.0.1:" .. port
    return one
end

local function start(server, count, more)
    local nodes = {}
    for i = 1, count do
        nodes[i] = start_one(server, more)
    end
    return nodes
end

local function members_of(one)
    local answer = http.get(one.admin_port, "/ring", { timeout = 2 })
    local list = {}
    for i, member in ipairs(answer.status == 200 and node.json.decode(answer.body).members or {}) do
        list[i] = member.name
    end
    table.sort(list)
    return table.concat(list, " ")
end

local function names_of(nodes)
    local names = {}
    for i, one in ipairs(nodes) do
        names[i] = one.member
    end
    table.sort(names)
    return table.concat(names, " ")
end

local function wait_all(nodes, seconds, wanted)
    wanted = wanted or names_of(nodes)
    for _, one in ipairs(nodes) do
        node.until_true(function()
            return members_of(one) == wanted
        end, seconds or 20, "members " .. wanted .. "; its log:\n" .. one:log())
    end
    for _, one in ipairs(nodes) do
        one:wait_ready()
    end
end

local function counter(one, name)
    return tonumber(one:admin("/metrics").body:match("\nhgcache_" .. name .. " ([%d.]+)"))
end

local asked = 0
-- New keys and old ones; every answer has to be right.
local function ask(nodes)
    local items, wanted = {}, {}
    for i = 1, 30 do
        asked = asked + 1
        local key = "k" .. (i % 3 == 0 and i or asked)
        items[i], wanted[i] = { nodes[i % #nodes + 1].api_port, { path = "/api?key=" .. key } }, "value of " .. key
    end
    for i, r in ipairs(http.many(items)) do
        assert(r.status == 200 and r.body == wanted[i], ("%s %s"):format(tostring(r.status or r.error), tostring(r.body)))
    end
end

-- Under load until it is true.
local function until_true(nodes, seconds, what, condition)
    node.until_true(function()
        ask(nodes)
        return condition()
    end, seconds, what)
end

local function with_guard(text)
    return (text:gsub('drain_delay = "200ms"', '%0, reload_guard = { window = "1h" }'))
end

describe("members in etcd", function()
    local server
    before_each(function()
        server = etcd.start()
    end)
    after_each(function()
        node.finish()
        etcd.finish()
        tls.finish()
    end)

    it("stay registered over a reload, and one that is rolled back", function()
        local nodes = start(server, 2)
        wait_all(nodes)
        local both = names_of(nodes)
        local function registrations()
            return nodes[1]:count("registered in etcd key")
        end
        local function stays(before)
            until_true(nodes, 30, "another registration", function()
                assert.equal(both, members_of(nodes[2]))
                return registrations() > before
            end)
            local until_s = posix.now() + 3 -- the lease of the configuration before ends meanwhile
            until_true(nodes, 30, "the end of a lease", function()
                assert.equal(both, members_of(nodes[2]))
                assert.equal(both, members_of(nodes[1]))
                return posix.now() > until_s
            end)
        end
        local before = registrations()
        assert.equal(200, nodes[1]:reload().status)
        stays(before)
        before = registrations()
        nodes[1]:configure(with_guard(CONFIG:gsub('return "value of "', 'error("bad release") return "value of "')))
        assert.equal(200, nodes[1]:reload().status)
        for i = 1, 200 do
            nodes[1]:get("/api?key=bad" .. i)
        end
        nodes[1]:wait_log("reload rolled back")
        stays(before)
        for _, one in ipairs(nodes) do
            assert.equal(0, one:stop())
        end
    end)

    it("A1: find each other, and one that is killed is gone with its lease, without a failed request", function()
        local nodes = start(server, 3, { refresh = "1h" }) -- what changes is watched
        for _, one in ipairs(nodes) do
            one:wait_log("registered in etcd", 30)
        end
        local from = posix.now()
        wait_all(nodes)
        assert.is_true(posix.now() - from < 2)
        local keys, count = server:keys("cache-"), 0
        for key, entry in pairs(keys) do
            count = count + 1
            assert.is_truthy(key:find("^cache%-%x+%-%x+%-5%x+%-[89ab]%x+%-%x+$"), key)
            assert.is_truthy(names_of(nodes):find(entry.value, 1, true), entry.value)
            assert.is_not_nil(entry.lease)
        end
        assert.equal(3, count)
        assert.equal("etcd", nodes[1]:admin_json("/ring").source)
        assert.equal(0, nodes[1]:count("script error"))
        ask(nodes)

        nodes[3]:kill()
        local left = { nodes[1], nodes[2] }
        until_true(left, 20, "two members", function()
            return members_of(nodes[1]) == names_of(left) and members_of(nodes[2]) == names_of(left)
        end)
        -- A drain takes its name back at once.
        local leaving = posix.now()
        nodes[2]:signal(posix.SIGTERM)
        until_true({ nodes[1] }, 10, "one member", function()
            return members_of(nodes[1]) == nodes[1].member
        end)
        assert.is_true(posix.now() - leaving < 2)
        assert.equal(0, nodes[2]:wait_exit().code)
        assert.equal(1, nodes[2]:count("left etcd"))
        assert.equal(1, nodes[2]:count("registered in etcd")) -- and not again
    end)

    it("stay where leases of one age end one by one, since they are gone all the same", function()
        local one = start(server, 1, { refresh = "1h" })[1]
        wait_all { one }
        local members = { one }
        for i = 1, 9 do
            local lease = server:call("/v3/lease/grant", { TTL = "2" }).ID
            members[i + 1] = { member = "127.0.0.1:" .. i }
            server:call("/v3/kv/put", { lease = lease, value = digest.encode_base64(members[i + 1].member),
                key = digest.encode_base64(("cache-00000000-0000-4000-8000-%012d"):format(i)) })
        end
        wait_all({ one }, 20, names_of(members))
        local changes = counter(one, "membership_changes_total")
        one:wait_log("of 10 are gone from etcd at once", 20)
        node.until_true(function()
            local key = next(server:keys("cache-"))
            return next(server:keys("cache-"), key) == nil
        end, 20, "all leases but one to end")
        assert.equal(names_of(members), members_of(one))
        -- All are back, and another one: that is the one change.
        for i = 1, 10 do
            members[i + 1] = { member = "127.0.0.1:" .. i }
            server:ctl("put", ("cache-00000000-0000-4000-8000-%012d"):format(i), members[i + 1].member)
        end
        wait_all({ one }, 20, names_of(members))
        assert.equal(changes + 1, counter(one, "membership_changes_total"))
        assert.equal(1, one:count("members kept"))
    end)

    it("B2: stay while etcd is away", function()
        local nodes = start(server, 3)
        wait_all(nodes)
        server:kill()
        until_true(nodes, 20, "a list that grows old", function()
            return counter(nodes[1], "membership_stale_seconds") > 3
        end)
        assert.is_true(counter(nodes[1], "membership_failures_total") > 0)
        server:launch()
        until_true(nodes, 20, "a list that is fresh", function()
            return counter(nodes[1], "membership_stale_seconds") < 2
        end)
        assert.equal(names_of(nodes), members_of(nodes[1]))
    end)

    it("B3: register anew within 5 s of an etcd that stood still for longer than their leases", function()
        local nodes = start(server, 3)
        wait_all(nodes)
        server:signal(posix.SIGSTOP)
        local stopped = posix.now()
        until_true(nodes, STOPPED_SECONDS + 30, "longer than a lease", function()
            return posix.now() - stopped > STOPPED_SECONDS
        end)
        assert.equal(names_of(nodes), members_of(nodes[1]))
        server:signal(posix.SIGCONT)
        until_true(nodes, 5, "three registered nodes", function()
            local count = 0
            for _ in pairs(server:keys("cache-")) do
                count = count + 1
            end
            return count == 3 and counter(nodes[1], "membership_stale_seconds") < 2
        end)
        for _, one in ipairs(nodes) do
            assert.equal(names_of(nodes), members_of(one))
            assert.equal(200, one:admin("/ready").status)
        end
    end)

    it("B4: come back after a lease was revoked, and serve meanwhile", function()
        local nodes = start(server, 3)
        wait_all(nodes)
        local _, entry = next(server:keys("cache-"))
        server:call("/v3/lease/revoke", { ID = entry.lease })
        until_true(nodes, 20, "another lease", function()
            for _, now in pairs(server:keys("cache-")) do
                if now.value == entry.value then
                    return now.lease ~= entry.lease
                end
            end
        end)
        wait_all(nodes)
    end)

    it("B8: come back after the prefix was wiped, and lose no ring meanwhile", function()
        local nodes = start(server, 3)
        wait_all(nodes)
        local changes = counter(nodes[1], "membership_changes_total")
        server:ctl("del", "--prefix", "cache-")
        until_true(nodes, 20, "three keys again", function()
            local count = 0
            for _ in pairs(server:keys("cache-")) do
                count = count + 1
            end
            return count == 3
        end)
        wait_all(nodes)
        assert.equal(changes, counter(nodes[1], "membership_changes_total"))
    end)

    it("B9, B10: are those with a name of this prefix and an address, and nothing else", function()
        local nodes = start(server, 2)
        wait_all(nodes)
        local uuid = "-00000000-0000-4000-8000-00000000000"
        for _, junk in ipairs { { "cache-junk", "127.0.0.1:1" }, { "cache" .. uuid .. "1", "no address" },
            { "cache" .. uuid .. "2", "http://127.0.0.1:1" }, { "cache" .. uuid .. "3", ("x"):rep(10000) },
            { "cache-other" .. uuid .. "4", "127.0.0.1:1" }, { "cache2" .. uuid .. "5", "127.0.0.1:1" },
            { "cachf" .. uuid .. "6", "127.0.0.1:1" }, { "cache" .. uuid .. "7x", "127.0.0.1:1" } } do
            server:ctl("put", junk[1], junk[2])
        end
        node.until_true(function()
            return counter(nodes[1], "membership_ignored") == 6
        end, 20, "what is ignored")
        assert.equal(names_of(nodes), members_of(nodes[1]))
        -- One of HgCache v2: a random UUID.
        server:ctl("put", "cache" .. uuid .. "8", "127.0.0.1:1")
        wait_all(nodes, 20, names_of { { member = "127.0.0.1:1" }, nodes[1], nodes[2] })
        server:ctl("del", "cache" .. uuid .. "8")
        wait_all(nodes)
    end)

    it("B5: see what changed while history was compacted", function()
        local nodes = start(server, 2)
        wait_all(nodes)
        -- All history goes while this node cannot look.
        nodes[1]:signal(posix.SIGSTOP)
        for i = 1, 20 do
            server:ctl("put", "elsewhere", tostring(i))
        end
        local revision = server:call("/v3/kv/range", { key = "eA==" }).header.revision
        server:ctl("compact", revision)
        nodes[1]:signal(posix.SIGCONT)
        server:ctl("put", "cache-00000000-0000-4000-8000-000000000009", "127.0.0.1:2")
        wait_all(nodes, 20, names_of { { member = "127.0.0.1:2" }, nodes[1], nodes[2] })
    end)

    it("B9: are another list under another prefix", function()
        local a = start(server, 1, { prefix = "a" })
        local b = start(server, 1, { prefix = "a-b" })
        wait_all(a)
        wait_all(b)
    end)

    it("B1: need no etcd to start, and are not ready without one", function()
        server:kill()
        local one = start_one(server)
        one:wait_log("members not known", 30)
        assert.equal(503, one:admin("/ready").status)
        assert.equal(200, one:admin("/live").status)
        assert.equal(200, one:get("/api?key=alone").status)
        server:launch()
        wait_all { one }
        assert.equal(0, one:stop())
    end)

    it("B11: use another endpoint where one is gone", function()
        local nodes = start(server, 1, { etcd = "http://127.0.0.1:" .. posix.free_port(), etcd2 = server.url })
        wait_all(nodes)
    end)

    it("A17: may not be two of one address; who was killed comes back at once", function()
        local one = start_one(server)
        wait_all { one }
        local port = one.peer_port
        local other = node.start { config = CONFIG, wait = false, args = { self = "127.0.0.1:" .. port, etcd = server.url } }
        assert.equal(1, other:wait_exit().code)
        assert.equal(1, other:count("another node answers at 127.0.0.1:" .. port))
        assert.equal(one.member, members_of(one))
        one:kill()
        one:launch()
        wait_all({ one }, 10)
        assert.equal(0, one:count("waiting for its lease"))
        local _, entry = next(server:keys("cache-"))
        assert.equal(2, one:count("registered in etcd"))
        assert.equal(1, one:count("lease=" .. entry.lease))
    end)

    it("log in with user and password, and again when the token is no good any more", function()
        server:kill()
        etcd.finish()
        server = etcd.start { args = { "--auth-token-ttl", "2" } }
        server:ctl("user", "add", "root:secret")
        server:ctl("user", "grant-role", "root", "root")
        server:ctl("role", "add", "cache")
        server:ctl("role", "grant-permission", "--prefix=true", "cache", "readwrite", "cache-")
        server:ctl("user", "add", "node:word")
        server:ctl("user", "grant-role", "node", "cache")
        server:ctl("auth", "enable")
        server.ctl_user = "root:secret"
        local nodes = start(server, 2, { user = "node", password = "word" })
        wait_all(nodes)
        local bad = start_one(server, { user = "node", password = "wrong" })
        bad:wait_log("no token for node", 30)
        assert.equal(503, bad:admin("/ready").status)
        bad:kill()
        assert.equal(0, nodes[1]:count("wrong"))
        -- Tokens live for two seconds there.
        server:kill()
        server:launch()
        node.until_true(function()
            return counter(nodes[1], "membership_stale_seconds") < 1
        end, 20, "a list with a new token")
        wait_all(nodes)
    end)

    it("B12: speak TLS with an authority and a certificate of their own, and never without", function()
        local pki = tls.pki()
        local name = { names = "DNS:localhost,IP:127.0.0.1" }
        local there, ours, strange = pki:issue("there", name), pki:issue("ours", name), tls.pki()
        server:kill()
        etcd.finish()
        server = etcd.start { tls = { cert = there.cert, key = there.key, ca = pki.ca,
            client_cert = ours.cert, client_key = ours.key } }
        local nodes = start(server, 2, { ca = pki.ca, cert = ours.cert, key = ours.key })
        wait_all(nodes)
        local without = start_one(server, { ca = pki.ca })
        local distrusting = start_one(server, { ca = strange.ca, cert = ours.cert, key = ours.key })
        without:wait_log("members not known", 30)
        distrusting:wait_log("members not known", 30)
        assert.is_truthy(distrusting:log():find("certificate", 1, true), distrusting:log())
        assert.equal(503, without:admin("/ready").status)
        assert.equal(503, distrusting:admin("/ready").status)
        assert.equal(names_of(nodes), members_of(nodes[1]))
    end)
end)

-- What a real one does only now and then: each step is a list and what its watch says then.
local function pretend(own)
    local a, b, c = "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"
    local lists, watches, step = {
        { 100, { own, a } },
        { 200, { own, a, b } },
        { 50, { own } }, -- of a member that lags
        { 201, { own, a, b, c } }, -- and then a watch, as the log has two failures a second at most
        "<html>no JSON</html>",
        { 202, { own, a, b, c } },
        { 203, { own } }, -- who wiped them?
        { 204, { own, a, b } }, -- some are back
        { 3, { own, a, b, c, "127.0.0.1:4" }, "2" }, -- another cluster
    }, {
        '{"result":{"header":{"revision":"100"},"canceled":true,"compact_revision":"150"}}\n',
        (" "):rep(2 ^ 20) .. '{"result":{"header":{"revision":"201"},"events":[{"kv":{"key":"%s","value":"%s","lease":"9"}}]}}\n'
            .. '{"error":{"message":"etcdserver: server stopped"}}\n',
    }, 0
    local encode = digest.encode_base64
    local function key(i)
        return encode(("cache-00000000-0000-4000-8000-%012d"):format(i))
    end
    local function reply(text)
        return ("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"):format(#text, text)
    end
    return function(path)
        if path == "/v3/kv/range" then
            step = math.min(step + 1, #lists)
            local list = lists[step]
            if type(list) == "string" then
                return reply(list)
            end
            local kvs = {}
            for i, member in ipairs(list[2]) do
                kvs[i] = ('{"key":"%s","value":"%s","lease":"9"}'):format(key(i), encode(member))
            end
            return reply(('{"header":{"cluster_id":"%s","revision":"%d"},"kvs":[%s]}'):format(list[3] or "1", list[1],
                table.concat(kvs, ",")))
        elseif path == "/v3/watch" then
            return watches[step] and reply((watches[step]:format(key(9), encode(c)))) -- or never
        elseif path == "/v3/lease/grant" then
            return reply('{"ID":"9","TTL":"5"}')
        elseif path == "/v3/kv/txn" then
            return reply('{"succeeded":true}')
        elseif path == "/v3/lease/keepalive" then
            return reply('{"result":{"ID":"9","TTL":"5"}}')
        end
        return reply("{}")
    end
end

describe("an etcd that compacts, lags, stops and forgets", function()
    after_each(node.finish)

    it("B5, B6, B7, B8: is followed as far as it makes sense", function()
        local port, own = posix.free_port(), posix.free_port()
        local server = fake.http(port, node.dir() .. "/notes", pretend("127.0.0.1:" .. own))
        finally(function()
            server:stop()
        end)
        local one = start_one({ url = "http://127.0.0.1:" .. port }, { port = own, refresh = "1500ms" })
        node.until_true(function()
            return one:log():match("count=4.*count=5 ")
        end, 30, "the last of its lists:\n" .. one:log())
        local counts = {}
        for count in one:settled_log():gmatch("members changed source=etcd count=(%d+)") do
            counts[#counts + 1] = count
        end
        -- Compacted: listed again. Stopped: after the change it still told of. Behind, no JSON, and three of four gone: kept.
        -- Within a second of the one before: together with what comes after.
        assert.equal("2 4 5", (table.concat(counts, " "):gsub("2 3 ", "2 ")))
        assert.equal(1, one:count("etcdserver: server stopped"))
        assert.equal(1, one:count("is behind: revision 50, and 201 was seen"))
        assert.equal(1, one:count("an answer that is no JSON"))
        assert.equal(1, one:count("members kept: 3 of 4 are gone from etcd at once"))
        assert.equal(0, one:count("script error"))
        assert.equal(0, one:stop())
    end)

    it("B7: is not taken for one that forgot us where its list is older than our registration", function()
        local port, own = posix.free_port(), posix.free_port()
        local lists, key = 0, nil
        local function reply(text)
            return ("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"):format(#text, text)
        end
        local notes = node.dir() .. "/notes-older"
        local server = fake.http(port, notes, function(path, request)
            if path == "/v3/kv/range" then
                lists = lists + 1
                local kv = ('{"key":"%s","value":"%s","lease":"9"}'):format(key, digest.encode_base64("127.0.0.1:" .. own))
                return reply(('{"header":{"cluster_id":"1","revision":"%d"},"kvs":[%s]}'):format(lists < 6 and 9 or 10,
                    lists < 6 and "" or kv))
            elseif path == "/v3/watch" then
                return nil
            elseif path == "/v3/kv/txn" then
                key = request:match('"key":"(.-)"')
                return reply('{"header":{"revision":"10"},"succeeded":true}')
            elseif path == "/v3/lease/grant" then
                return reply('{"ID":"9","TTL":"5"}')
            end
            return reply('{"result":{"ID":"9","TTL":"5"}}')
        end)
        finally(function()
            server:stop()
        end)
        local one = start_one({ url = "http://127.0.0.1:" .. port }, { port = own, refresh = "200ms" })
        one:wait_ready()
        assert.equal(1, one:count("registered in etcd"))
        local _, puts = io.open(notes):read("*a"):gsub("/v3/kv/txn", "")
        assert.equal(1, puts)
        assert.equal(0, one:stop())
    end)
end)
