-- Every example and configuration that ships passes the check, without a node.

local config = require "hgcache.config"

package.path = "./lua/?/init.lua;" .. package.path

local shipped = {
    "configs/minimal.lua", "configs/cluster.lua", "configs/full.lua", "examples/scores/config.lua",
    "examples/envelope/config.lua",
    "examples/sqlite/config.lua", "examples/batch/config.lua", "examples/files/config.lua", "examples/function/config.lua",
    "examples/origin/config.lua", "examples/redis/config.lua",
    "examples/ratelimit/config.lua", "examples/postgres/config.lua",
    "examples/cookbook/json.lua", "examples/cookbook/redis_mysql.lua", "examples/cookbook/objects.lua",
    "examples/cookbook/tenants.lua", "examples/cookbook/negative.lua", "examples/cookbook/stale.lua",
    "examples/cookbook/tags.lua", "examples/cookbook/auth.lua", "examples/cookbook/compose.lua", "examples/cookbook/warm.lua",
}

-- The library over a stand-in for the program's C functions.
local function library(args)
    local core = {
        null = {}, args = args or {}, log = {}, now = os.time, monotonic = os.clock, sleep = function() end,
            spawn = function() end,
        group = function() end, shared = function() end, every = function() end,
        at_start = function() end, counter = function() end, gauge = function() end, histogram = function() end,
        module = function() end,
        url = function(_, text)
            return text, text
        end,
        postgres = {
            new = function()
                return {}
            end,
        },
    }
    for _, level in ipairs { "debug", "info", "warn", "error" } do
        core.log[level] = function() end
    end
    package.loaded["hgcache.core"] = core
    package.loaded["hgcache"] = nil
end

local function text_of(path)
    local file = assert(io.open(path, "rb"))
    local text = file:read("*a")
    file:close()
    return text
end

local function load_config(path, args)
    library(args)
    local text = text_of(path)
    return assert(config.check(assert(loadstring(text, "@" .. path))(), { file = path, source_text = text }))
end

describe("shipped configurations", function()
    teardown(function()
        package.loaded["hgcache"], package.loaded["hgcache.core"] = nil, nil
    end)

    for _, path in ipairs(shipped) do
        it("pass the check: " .. path, function()
            local n = load_config(path, { secret = "x" })
            assert.is_true(#config.describe(n) > 0)
            assert.equal(0, #n.warnings)
        end)
    end

    it("scores is three nodes, the third with the front end", function()
        local n = load_config("examples/scores/config.lua", { port = "8001" })
        assert.same({ peer = "127.0.0.1:8001", admin = "127.0.0.1:9001" }, n.node.listen)
        assert.same({}, n.routes)
        n = load_config("examples/scores/config.lua", { port = "8003", api = "1" })
        assert.same({ peer = "127.0.0.1:8003", api = "127.0.0.1:8791", admin = "127.0.0.1:8792" }, n.node.listen)
        assert.equal("http://localhost:8003", n.cluster.self)
        assert.equal("hgcache", n.cluster.ring.name)
        assert.equal("test", n.routes[1].group)
    end)

    it("full.lua has every key, and each at its default unless it is an example", function()
        local schema = require "hgcache.schema"
        local text = text_of("configs/full.lua")
        for _, section in ipairs(schema.sections) do
            for _, field in ipairs(section[2]) do
                if not field.type.later and section[1] ~= "cluster.ring" then
                    local key = field.name
                    assert.is_truthy(text:find("%f[%w_]" .. key .. " = ") or key == "handler", section[1] .. "." .. key)
                end
            end
        end
        local full = load_config("configs/full.lua")
        library()
        local small = assert(config.check {
            node = { scripts = { slow = 2 }, reload_guard = {} },
            groups = { test = { getter = function() end }, users = { pool = "slow", get_many = function() end } },
            cluster = { self = "http://127.0.0.1:8001", peers = { "http://127.0.0.1:8001" } },
            cors = { origins = { "https://example.com" } },
        })
        small.routes, full.routes = nil, nil
        small.node.pools, full.node.pools = nil, nil
        small.cluster.peers, full.cluster.peers = nil, nil
        assert.is_nil(config.difference(small, full))
    end)
end)
