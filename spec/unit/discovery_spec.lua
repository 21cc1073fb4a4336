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
        assert.same({ __hgcache = "etcd", endpoints = { "http://127.0.0.1:2379" }, prefix = "cache", lease_ttl = 10 }, M.etcd {})
        assert.same({ "https://a:1", "http://b" }, M.etcd { endpoints = { "https://a:1/", "http://b" } }.endpoints)
        assert.same({ "http://b" }, M.etcd { endpoints = "http://b" }.endpoints)
        assert.equal(5, M.etcd { lease_ttl = "5s" }.lease_ttl)
    end)

    for _, case in ipairs {
        { "file", nil, "hg.file: expected the path" }, { "file", "", "hg.file: expected the path" },
        { "file", {}, "hg.file: expected the path" }, { "file", "a\0b", "hg.file: expected the path" },
        { "dns", nil, "hg.dns: expected a table" }, { "dns", {}, "hg.dns: name: expected a name" },
        { "dns", { name = "a b" }, "hg.dns: name: expected a name" }, { "dns", { name = 5 }, "hg.dns: name: expected a string" },
        { "dns", { name = "a", port = 0 }, "hg.dns: port: expected a whole number" },
        { "dns", { name = "a", srv = true }, "hg.dns: unknown option 'srv'" },
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
