-- Getters that get other keys, across nodes: slots held there count here, so full guards never wait for each other.

local node = require "spec.support.node"
local http = require "spec.support.http"

local CONFIG = [[
return {
    node = { listen = listen() },
    cluster = cluster(),
    groups = {
        test = {
            deadline = "8s",
            source = { concurrency = 4, timeout = "8s" },
            getter = function(key)
                local depth, rest = key:match("^(%d)x(.+)$")
                if depth == "0" then
                    return "0"
                end
                local value, why, code = hg.group("test"):get((tonumber(depth) - 1) .. "x" .. rest)
                if not value then
                    return nil, why, code
                end
                return value .. "+" .. depth
            end,
        },
        other = {
            getter = function(key)
                return hg.group("test"):get(key)
            end,
        },
        strict = {
            getter = function(key)
                return hg.group("empty"):get(key)
            end,
        },
        empty = { getter = function() return nil end },
    },
}
]]

describe("nested getters", function()
    after_each(node.finish)

    it("over three nodes with four slots each do not wait for each other's queues", function()
        local nodes = node.cluster { config = CONFIG }
        local items = {}
        for i = 1, 150 do
            items[i] = { nodes[1 + i % 3].api_port, { path = "/api?group=test&key=5x" .. i } }
        end
        local answers = {}
        for _, r in ipairs(http.many(items, 60)) do
            local what = r.status == 200 and r.body or tostring(r.status or r.error)
            answers[what] = (answers[what] or 0) + 1
        end
        assert.same({ ["0+1+2+3+4+5"] = 150 }, answers)
        for i = 1, 3 do
            assert.equal(0, nodes[i]:stop())
        end
    end)

    it("pass on what another group answered, not found included", function()
        local one = node.start { config = CONFIG }
        assert.equal("0+1", one:get("/api?group=other&key=1xa").body)
        assert.equal(404, one:get("/api?group=strict&key=a").status)
        assert.equal(0, one:stop())
    end)
end)
