-- Scaled to a laptop: many clients, one cold key, one load in the whole cluster.

local node = require "spec.support.node"
local http = require "spec.support.http"

local CONFIG = [[
return {
    node = { listen = listen() },
    cluster = cluster(),
    groups = {
        test = {
            getter = function(key)
                hg.log.info("[SlowDB] search key %s", key)
                hg.sleep(0.2)
                return "value of " .. key
            end,
        },
    },
}
]]

describe("a stampede", function()
    after_each(node.finish)

    it("A19: of 1,000 clients on one cold key over three nodes is one load and 1,000 answers", function()
        local nodes = node.cluster { config = CONFIG }
        local items = {}
        for i = 1, 1000 do
            items[i] = { nodes[1 + i % 3].api_port, { path = "/api?key=hot" } }
        end
        local answers = {}
        for _, r in ipairs(http.many(items, 60)) do
            local what = r.status == 200 and r.body or tostring(r.status or r.error)
            answers[what] = (answers[what] or 0) + 1
        end
        assert.same({ ["value of hot"] = 1000 }, answers)
        local searches = 0
        for i = 1, 3 do
            searches = searches + nodes[i]:count("search key hot\n")
        end
        assert.equal(1, searches)
        assert.equal(1, node.sum(nodes, "test", "local_loads"))
        for i = 1, 3 do
            assert.equal(0, nodes[i]:stats("test").flights or 0)
            assert.equal(0, nodes[i]:stop())
        end
    end)

    it("on one node shows one miss and the rest collapsed or hits", function()
        local n = node.start { config = CONFIG }
        local items = {}
        for i = 1, 200 do
            items[i] = { n.api_port, { path = "/api?key=hot" } }
        end
        local kinds = {}
        for _, r in ipairs(http.many(items, 60)) do
            assert.equal(200, r.status)
            local kind = r.headers["cache-status"]:gsub("ttl=%d+", "ttl")
            kinds[kind] = (kinds[kind] or 0) + 1
        end
        assert.equal(1, kinds["hgcache; fwd=miss"])
        assert.is_true((kinds["hgcache; fwd=miss; collapsed"] or 0) > 0)
        assert.equal(1, n:stats("test").local_loads)
    end)
end)
