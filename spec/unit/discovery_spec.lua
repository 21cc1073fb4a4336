-- hg.file, hg.dns and hg.etcd: what they refuse while the configuration is loading, at the line that calls them.

local M = require "hgcache.discovery.options"

local function refused(fn, options)
    local ok, message = pcall(function()
        local made = fn(options) -- no tail call, which has no line
        return made
    end)
    assert.is_false(ok)
    assert.is_truthy(message:find("^spec/unit/discovery_spec%.lua:%d+: "), message)
    return message
end

describe("what finds the members", function()
    it("is described and asks nobody yet", function()
        assert.same({ __hgcache = "file", path = "/x" }, M.file("/x"))
        assert.same({ __hgcache = "dns", name = "a.b" }, M.dns { name = "a.b" })
        assert.same({ __hgcache = "dns", name = "a.b", port = 1 }, M.dns { name = "a.b", port = 1 })
        assert.same({ __hgcache = "dns", name = "a.b", server = "127.0.0.1:53" }, M.dns { name = "a.b", server = "127.0.0.1" })
        assert.equal("[::1]:53", M.dns { name = "a.b", server = "[::1]" }.server)
        assert.equal("[::1]:8600", M.dns { name = "a.b", server = "[::1]:8600" }.server)
        assert.same({ __hgcache = "dns", name = "a.b", srv = true, server = "10.0.0.1:8600", tcp = true },
            M.dns { name = "a.b", srv = true, server = "10.0.0.1:8600", tcp = true })
        assert.same({ __hgcache = "etcd", endpoints = { "http://127.0.0.1:2379" }, prefix = "cache", lease_ttl = 10 }, M.etcd {})
        assert.same({ "https://a:1", "http://b" }, M.etcd { endpoints = { "https://a:1/", "http://b" } }.endpoints)
        assert.same({ "http://b" }, M.etcd { endpoints = "http://b" }.endpoints)
        assert.equal(5, M.etcd { lease_ttl = "5s" }.lease_ttl)
    end)

    it("is SRV where the name is of a service, unless it is said", function()
        assert.is_true(M.dns { name = "_peer._tcp.hgcache.ns.svc" }.srv)
        assert.is_true(M.dns { name = "hgcache.service.consul", srv = true }.srv)
        for _, name in ipairs { "hgcache.ns.svc", "_peer.hgcache", "a._peer._tcp.x", "_peer._tcp", "my_peer._tcp.x" } do
            assert.is_nil(M.dns { name = name }.srv)
        end
        assert.is_nil(M.dns { name = "_peer._tcp.hgcache", srv = false }.srv)
    end)

    for _, case in ipairs {
        { "file", nil, "hg.file: expected the path" }, { "file", "", "hg.file: expected the path" },
        { "file", {}, "hg.file: expected the path" }, { "file", "a\0b", "hg.file: expected the path" },
        { "dns", nil, "hg.dns: expected a table" }, { "dns", {}, "hg.dns: name: expected a name" },
        { "dns", { name = "a b" }, "hg.dns: name: expected a name" }, { "dns", { name = 5 }, "hg.dns: name: expected a string" },
        { "dns", { name = "a", port = 0 }, "hg.dns: port: expected a whole number" },
        { "dns", { name = "a", srv = "yes" }, "hg.dns: srv: expected a boolean" },
        { "dns", { name = "a", srv = true, port = 1 }, "hg.dns: port: SRV records have the port" },
        { "dns", { name = "_peer._tcp.a", port = 1 }, "hg.dns: port: SRV records have the port" },
        { "dns", { name = "a", tcp = true }, "hg.dns: tcp: expected with SRV records or a server" },
        { "dns", { name = "a", server = "dns.example:53" }, "hg.dns: server: expected an IP address" },
        { "dns", { name = "a", server = "10.0.0.256:53" }, "hg.dns: server: expected an IP address" },
        { "dns", { name = "a", server = "10.0.0.1:0" }, "hg.dns: server: expected an IP address" },
        { "dns", { name = "a", server = "unix:/x" }, "hg.dns: server: expected an IP address" },
        { "dns", { name = "a", server = "" }, "hg.dns: server: expected an IP address" },
        { "dns", { name = "a", server = "[:::]:53" }, "hg.dns: server: expected an IP address" },
        { "dns", { name = "a", server = "[1:2:3:4:5:6:7:8:9]" }, "hg.dns: server: expected an IP address" },
        { "dns", { name = "a", servers = "10.0.0.1" }, "hg.dns: unknown option 'servers'" },
        { "etcd", { endpoints = {} }, "hg.etcd: endpoints: expected at least one" },
        { "etcd", { endpoints = "e:2379" }, "hg.etcd: endpoints: expected one URL" },
        { "etcd", { endpoints = { "http://a", 5 } }, "hg.etcd: endpoints: expected one URL" },
        { "etcd", { endpoints = "http://a/path" }, "hg.etcd: endpoints: expected one URL" },
        { "etcd", { prefix = "a b" }, "hg.etcd: prefix: expected letters" },
        { "etcd", { prefix = "" }, "hg.etcd: prefix: expected" },
        { "etcd", { lease_ttl = "1500ms" }, "hg.etcd: lease_ttl: expected whole seconds" },
        { "etcd", { lease_ttl = 0 }, "hg.etcd: lease_ttl: expected whole seconds" },
        { "etcd", { lease_ttl = "soon" }, "hg.etcd: lease_ttl: expected a number of seconds" },
        { "etcd", { user = "u" }, "hg.etcd: user and password: expected both" },
        { "etcd", { password = "p" }, "hg.etcd: user and password: expected both" },
        { "etcd", { cert = "c" }, "hg.etcd: cert and key: expected both" },
        { "etcd", { ca = "c" }, "hg.etcd: endpoints: expected https://" },
        { "etcd", { token = "t" }, "hg.etcd: unknown option 'token'" },
    } do
        it("is refused: " .. case[3], function()
            local message = refused(M[case[1]], case[2])
            assert.is_truthy(message:find(case[3], 1, true), message)
        end)
    end
end)
