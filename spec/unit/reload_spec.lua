-- lua/hgcache/reload.lua: what a reload would change.

local config = require "hgcache.config"
local reload = require "hgcache.reload"

local function getter() end

local function base()
    return {
        node = { workers = 2, admin = { tokens = { "old-secret" } } },
        cluster = { self = "http://127.0.0.1:8001", peers = { "http://127.0.0.1:8001" } },
        groups = { a = { getter = getter }, b = { getter = getter, ttl = "10m" } },
    }
end

-- change(configuration) -> refused, changes against base().
local function compare(change)
    local before = reload.settings(assert(config.check(base())))
    local after = base()
    change(after)
    return reload.compare(before, assert(config.check(after)))
end

describe("hgcache.reload", function()
    it("says nothing of what is the same", function()
        local refused, changes = compare(function() end)
        assert.same({}, refused)
        assert.same({}, changes)
    end)

    it("names groups and routes that come and go in one line each", function()
        local refused, changes = compare(function(c)
            c.groups.b = nil
            c.groups["a new one"] = { getter = getter, ttl = 5 }
            c.node.listen = { api = "127.0.0.1:8791", admin = "127.0.0.1:8792" }
            c.routes = { ["GET /x/:y"] = function() end }
        end)
        assert.same({}, refused)
        assert.same({ "groups.b: dropped", 'groups["a new one"]: added', 'routes["GET /api"]: dropped',
            'routes["GET /x/:y"]: added' }, changes)
    end)

    it("shows values as they would be written", function()
        local _, changes = compare(function(c)
            c.groups.b.ttl = false
            c.groups.b.capacity = "1MiB"
            c.groups.b.source = { concurrency = 5, breaker = { cooldown = "1s" } }
            c.node.reload_guard = {}
            c.node.drain_timeout = 0
            c.groups.b.get_many, c.groups.b.getter = getter, nil
        end)
        assert.same({
            "groups.b.batch_max: 0 -> 100",
            'groups.b.capacity: "64MiB" -> "1MiB"',
            'groups.b.source.breaker_cooldown: "5s" -> "1s"',
            "groups.b.source.concurrency: 64 -> 5",
            'groups.b.ttl: "10m" -> false',
            'node.drain_timeout: "10s" -> 0',
            "node.reload_guard.errors: nothing -> 0.1",
            'node.reload_guard.window: nothing -> "1m"',
        }, changes)
    end)

    it("never shows a secret", function()
        local _, changes = compare(function(c)
            c.node.admin.tokens = { "new-secret" }
        end)
        assert.same({ "node.admin.tokens[1]: changed" }, changes)
    end)

    it("tells values of different types apart", function()
        local _, changes = compare(function(c)
            c.groups.a.ttl = 1
        end)
        assert.same({ 'groups.a.ttl: false -> "1s"' }, changes)
    end)

    it("refuses what cannot change, with what was expected and found", function()
        local rows = {
            { function(c) c.node.workers = 3 end, "node.workers", "2", "3" },
            { function(c) c.node.name = "other" end, "node.name", '"hgcache"', '"other"' },
            { function(c) c.node.limits = { value = "1MiB" } end, "node.limits.value", '"8MiB"', '"1MiB"' },
            { function(c) c.node.shared = { entries = 5 } end, "node.shared.entries", "65536", "5" },
            { function(c) c.node.log = { format = "json" } end, "node.log.format", '"text"', '"json"' },
            { function(c) c.groups.a.policy = "sieve" end, "groups.a.policy", '"lru"', '"sieve"' },
            { function(c) c.groups.a.shards = 4 end, "groups.a.shards", '"auto"', "4" },
            { function(c) c.cluster.lease = "3s" end, "cluster.lease", '"2s"', '"3s"' },
            { function(c) c.cluster.tokens = { "hidden-token" } end, "cluster.tokens[1]", "nothing", "(not shown)" },
            { function(c) c.cluster.peers = getter end, "cluster.discovery", "nothing", '"function"' },
        }
        for _, row in ipairs(rows) do
            local refused = compare(row[1])
            assert.same({ ("%s cannot change while the node runs, expected %s as before, found %s"):format(row[2], row[3],
                row[4]) }, refused)
        end
    end)

    it("refuses a cluster that goes, and counts what is too much to list", function()
        local refused = compare(function(c)
            c.cluster = nil
        end)
        assert.equal(4, #refused)
        assert.is_truthy(refused[4]:find("^%d+ more of that kind$"))
    end)

    it("takes other members of the same kind of list", function()
        local refused, changes = compare(function(c)
            c.cluster.peers[2] = "http://127.0.0.1:8002"
        end)
        assert.same({}, refused)
        assert.same({ 'cluster.peers[2]: nothing -> "http://127.0.0.1:8002"' }, changes)
    end)

    it("carries any bytes", function()
        local c = base()
        c.groups["a\nb:1:\255"] = { getter = getter }
        local checked = assert(config.check(c))
        local refused, changes = reload.compare(reload.settings(checked), checked)
        assert.same({}, refused)
        assert.same({}, changes)
    end)
end)
