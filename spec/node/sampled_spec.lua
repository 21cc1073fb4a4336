-- hg.policy.sampled: what is evicted is the user's choice.

local node = require "spec.support.node"
local http = require "spec.support.http"

local function config(score)
    return [[
return {
    node = { listen = listen(), workers = 1, scripts = { getters = 1, routes = 1 } },
    groups = { test = {
        capacity = "256KiB", ttl = false, source = { breaker = { failures = 0 } },
        policy = hg.policy.sampled { samples = 10, score = ]] .. score .. [[ },
        getter = function(key)
            hg.log.info("[Source] asked for %s", key)
            return ("x"):rep(400)
        end,
    } },
}
]]
end

local function ask(n, keys)
    local items = {}
    for i, key in ipairs(keys) do
        items[i] = { n.api_port, { path = "/api?key=" .. key } }
    end
    for _, r in ipairs(http.many(items, 30)) do
        assert.equal(200, r.status)
    end
end

local function list(prefix, from, to)
    local keys = {}
    for i = from, to do
        keys[#keys + 1] = prefix .. i
    end
    return keys
end

describe("hg.policy.sampled", function()
    after_each(node.finish)

    it("keeps what is asked for often, where lru would lose it to a scan", function()
        local popular = list("popular-", 1, 40)
        local lost = {}
        for _, policy in ipairs { "score", "lru" } do
            local text = config "function(e) return e.hits / (e.age + 1) end"
            if policy == "lru" then
                text = text:gsub("hg%.policy%.sampled %b{}", '"lru"')
            end
            local n = node.start { config = text }
            for _ = 1, 20 do
                ask(n, popular)
            end
            -- A scan of more than fits, slowly enough that there is time to score.
            for i = 0, 99 do
                ask(n, list("scan-", i * 10, i * 10 + 9))
                node.until_true(function()
                    local stats = n:stats("test")
                    return policy == "lru" or stats.bytes <= stats.capacity * 0.951
                end, 10, "room")
            end
            ask(n, popular)
            lost[policy] = n:count("asked for popular-") - #popular
            local stats = n:stats("test")
            assert.is_true(stats.bytes <= stats.capacity)
            if policy == "score" then
                assert.is_true(stats.scored_evictions > 300, stats.scored_evictions .. " scored")
                assert.is_true(stats.scored_evictions + stats.unscored_evictions == stats.evictions)
            end
            assert.equal(0, n:stop())
        end
        assert.equal(#popular, lost.lru)
        assert.is_true(lost.score <= 2, lost.score .. " popular ones lost")
    end)

    it("goes on by use where the score fails, and says so", function()
        for _, score in ipairs { "function() error('no idea') end", "function() return 'x' end", "function() return 0 / 0 end",
            "function() while true do end end" } do
            local n = node.start { config = config(score) }
            for i = 0, 19 do
                ask(n, list("k", i * 50, i * 50 + 49))
            end
            n:wait_log("score failed group=test")
            local stats = n:stats("test")
            assert.is_true(stats.unscored_evictions > 100)
            assert.equal(0, stats.scored_evictions)
            assert.is_true(stats.bytes <= stats.capacity)
            assert.is_truthy(n:admin("/metrics").body:find("hgcache_script_score_errors_total [1-9]"))
            assert.is_true(n:count("score failed") <= 30)
            assert.equal(0, n:stop())
        end
    end)

    it("is told all that it may choose by", function()
        local n = node.start { config = config [[function(e)
            hg.log.info("entry size=%d age=%s idle=%s hits=%d cost=%s ttl=%s", e.size, type(e.age), type(e.idle), e.hits,
                type(e.cost), tostring(e.ttl))
            return e.idle
        end]] }
        ask(n, list("k", 1, 600))
        n:wait_log("entry size=")
        assert.is_truthy(n:log():find("entry size=[4-9]%d%d age=number idle=number hits=%d+ cost=number ttl=inf"))
    end)

    it("is checked with the configuration", function()
        for given, message in pairs {
            ["hg.policy.sampled {}"] = "groups.test.policy: score is missing, expected a function(entry)",
            ["hg.policy.sampled { score = 1 }"] = "groups.test.policy.score: expected a function(entry), found 1",
            ["hg.policy.sampled { score = print, samples = 0 }"] = "groups.test.policy.samples: expected",
            ["hg.policy.sampled { score = print, sample = 5 }"] = "unknown option 'sample'",
            ['"sampled"'] = 'groups.test.policy: unknown policy "sampled"',
        } do
            local file = node.write(node.dir() .. "/bad.lua", "local hg = require 'hgcache'\nreturn { groups = { test = { policy = "
                .. given .. ", getter = print } } }")
            local r = node.run { "check", file }
            assert.equal(2, r.code, given)
            assert.is_truthy(r.err:find(message, 1, true), r.err)
        end
        local file = node.write(node.dir() .. "/good.lua", "local hg = require 'hgcache'\nreturn { groups = { test = { "
            .. "policy = hg.policy.sampled { score = print }, getter = print } } }")
        local r = node.run { "check", file }
        assert.equal(0, r.code, r.err)
        assert.is_truthy(r.out:find("hg.policy.sampled{ samples = 5", 1, true), r.out)
    end)
end)
