-- Names that nodes connect to, looked up with files of their own in /etc and a real DNS server.

local node = require "spec.support.node"
local chunk = require "spec.support.chunk"
local dns = require "spec.support.dns"
local http = require "spec.support.http"
local posix = require "spec.support.posix"
local cjson = require "cjson"

local CONFIG = chunk.config([[
local kept = {}
return {
    node = { listen = listen(), scripts = { getters = 1, routes = 1 } },
    groups = { test = { getter = function(key) return "value of " .. key end } },
    routes = { ["GET /api"] = hg.serve("test"), @RUN@ },
}
]], "kept = kept")

local PEERS = [[
return {
    node = { listen = listen(), drain_delay = 0 },
    cluster = cluster { transport = "grpc", timeout = "1s" },
    groups = { test = { getter = function(key) hg.log.info("search key %s", key) return "value of " .. key end } },
    routes = { ["GET /api"] = hg.serve("test") },
}
]]

local LOOK_UPS_MAX = 256 -- of one thread

describe("names", function()
    if not dns.is_there() then
        pending("no dnsmasq: scripts/setup.sh test")
        return
    end
    if not dns.etc() then
        pending("this needs the right to mount")
        return
    end
    local n, etc, server, listener, port

    -- What connecting to each host comes to: "" or why not.
    local function connect(...)
        return chunk.run(n, ("local out = {} for i, host in ipairs(%s) do local s = hg.socket.tcp() s:settimeouts(8000) "
            .. "local ok, why = s:connect(host, %d) out[i] = ok and '' or why s:close() end return unpack(out)"):format(
            "{ '" .. table.concat({ ... }, "', '") .. "' }", port))
    end

    local function refused()
        return tonumber(n:admin("/metrics").body:match("\nhgcache_look_ups_refused_total (%d+)"))
    end

    local UNKNOWN = "host could not be resolved: Domain name not found"
    local REFUSED = "host could not be resolved: no DNS server could be reached, or none that could be has an answer"

    setup(function()
        port = posix.free_port()
        listener = assert(posix.listen(port, 1000))
    end)
    teardown(function()
        posix.close(listener)
    end)
    before_each(function()
        server = dns.start_at_53(port, { "host-record=cache.svc.test,127.0.0.1", "host-record=full.test,127.0.0.1",
            "host-record=pair.test,127.0.0.2,127.0.0.1" })
        etc = dns.etc()
        etc:write("hosts", "127.0.0.1 localhost\n127.0.0.1 db Db-Alias\n::2 db6\n")
        etc:write("resolv.conf", ("nameserver %s\nsearch ns.svc.test svc.test\noptions ndots:5\n"):format(server.host))
        n = node.start { config = CONFIG, binary = etc.binary }
    end)
    after_each(function()
        node.finish()
        dns.finish()
    end)

    it("are those of /etc/hosts and of DNS with its search domains, also of one label, as pods and containers have them", function()
        assert.same({ "", "", "", "", "", "", "" },
            connect("db", "DB-ALIAS", "cache", "cache.svc.test", "full.test", "full.test.", "localhost"))
        assert.same({ UNKNOWN, UNKNOWN }, connect("nothing.svc.test", "nothing.test."))
        assert.same({ REFUSED }, connect("cache.")) -- of a top-level domain, as it stands: nobody knows those here
        -- Address after address, in whatever order: nobody listens at 127.0.0.2.
        assert.same({ "", "" }, connect("pair.test", "pair.test"))
        assert.same({ "host could not be resolved: Misformatted domain name" }, connect("a..b"))
        assert.equal(0, n:stop())
    end)

    it("are looked up anew each time: what changes in the files counts from then on", function()
        assert.same({ UNKNOWN, "", "" }, connect("later.test", "cache", "db"))
        etc:write("hosts", "127.0.0.1 later.test\n")
        -- Not in the file any more, localhost is still this machine.
        assert.same({ "", REFUSED, "", "" }, connect("later.test", "db", "localhost", "api.localhost"))
        etc:write("resolv.conf", ("nameserver %s\n"):format(server.host)) -- and no search domain
        assert.same({ REFUSED, "", "" }, connect("cache", "cache.svc.test", "full.test"))
        etc:write("resolv.conf", "nameserver 127.0.0.1\n")
        assert.same({ "", REFUSED }, connect("later.test", "full.test"))
        assert.equal(0, n:stop())
    end)

    it("are looked up in the file and then in DNS, whatever /etc/nsswitch.conf says", function()
        for _, line in ipairs { "files", "dns", "dns files", "mymachines resolve [!UNAVAIL=return] files myhostname dns" } do
            etc:write("nsswitch.conf", "hosts: " .. line .. "\n")
            assert.same({ "", "" }, connect("db", "full.test"))
        end
        assert.equal(0, n:stop())
    end)

    it("hang nothing but who waits for them while the DNS server is silent", function()
        local function spawn(count, name)
            chunk.run(n, ([[
                kept.words = {}
                for i = 1, %d do
                    hg.spawn(function()
                        local s = hg.socket.tcp()
                        s:settimeouts(60000)
                        local ok, why = s:connect("%s" .. i .. ".test", 1)
                        kept.words[#kept.words + 1] = why or "connected"
                    end)
                end
                return 1]]):format(count, name))
        end
        local function words()
            return chunk.run(n, "return #kept.words, table.concat(kept.words, ', ')")
        end
        server:signal(posix.SIGSTOP)
        spawn(40, "hung")
        assert.same({ "", "", "" }, connect("db", "localhost", "127.0.0.1"))
        assert.equal("value of Tom", http.get(n.api_port, "/api?key=Tom").body)
        assert.same({ 0, "" }, words())
        local started = posix.now()
        assert.same({ cjson.null, "timeout" },
            chunk.run(n, "local s = hg.socket.tcp() s:settimeouts(200) return s:connect('hung1.test', 1)"))
        assert.is_true(posix.now() - started < 5)
        -- As many as there may be: the next ones are told at once, names of the file are still known.
        assert.equal(0, refused())
        spawn(LOOK_UPS_MAX - 40 + 10, "more")
        node.until_true(function()
            return refused() == 10
        end, 10, "more than there may be")
        assert.is_truthy(words()[2]:find("too many names are being looked up", 1, true))
        server:signal(posix.SIGCONT)
        node.until_true(function()
            return words()[1] == LOOK_UPS_MAX + 10
        end, 30, "all have ended")
        assert.same({ "" }, connect("full.test"))
        assert.equal(0, n:stop())
    end)

    it("of peers are asked for on the way to them, and where they hang there is a load here", function()
        assert.equal(0, n:stop())
        local ports = { posix.free_port(), posix.free_port() }
        local members = { "http://one.test:" .. ports[1], "http://two.test:" .. ports[2] }
        server:now { "host-record=one.test,127.0.0.1", "host-record=two.test,127.0.0.1" }
        server:signal(posix.SIGSTOP)
        local nodes = {}
        for i = 1, 2 do
            nodes[i] = node.start { config = PEERS, binary = etc.binary, peer_port = ports[i],
                args = { self = members[i], peers = table.concat(members, ",") } }
        end
        local function ask(prefix)
            for i = 1, 20 do
                local r = nodes[1]:get("/api?key=" .. prefix .. i)
                assert.same({ 200, "value of " .. prefix .. i }, { r.status, r.body })
            end
        end
        ask("hung")
        assert.equal(0, nodes[2]:count("search key hung"))
        server:signal(posix.SIGCONT)
        node.until_true(function()
            return nodes[1]:admin("/metrics").body:find('hgcache_peer_up{peer="' .. members[2] .. '"} 1', 1, true)
        end, 20, "the peer is up")
        ask("known")
        assert.is_true(nodes[2]:count("search key known") > 0)
        -- Connections that are there need no names.
        server:signal(posix.SIGSTOP)
        ask("kept")
        assert.is_true(nodes[2]:count("search key kept") > 0)
        for i = 1, 2 do
            assert.equal(0, nodes[i]:stop())
        end
    end)

    it("do not keep a node from ending", function()
        server:signal(posix.SIGSTOP)
        chunk.run(n, "for i = 1, 100 do hg.spawn(function() local s = hg.socket.tcp() s:settimeouts(60000) "
            .. "s:connect('hung' .. i .. '.test', 1) end) end return 1")
        local started = posix.now()
        assert.equal(0, n:stop())
        assert.is_true(posix.now() - started < 8)
    end)
end)
