-- configs/grafana.json: whatever it draws is a metric of a running node, with the labels that it asks for.

local node = require "spec.support.node"
local cjson = require "cjson"

-- Prometheus gives each of them to all that it scrapes.
local OF_PROMETHEUS = { job = true, instance = true, le = true }

-- Name -> set of labels, as /metrics has them.
local function metrics_of(text)
    local metrics = {}
    for name, labels in text:gmatch("\n(hgcache_[%w_]+)({?[^\n]-}?) %S+") do
        metrics[name] = metrics[name] or {}
        for label in labels:gmatch('([%w_]+)="') do
            metrics[name][label] = true
        end
    end
    return metrics
end

local function each_expression(dashboard, fn)
    for _, panel in ipairs(dashboard.panels) do
        for _, target in ipairs(panel.targets or {}) do
            fn(panel, target.expr, target.legendFormat)
        end
    end
    for _, variable in ipairs(dashboard.templating.list) do
        if variable.type == "query" then
            fn({ title = "variable " .. variable.name }, variable.query.query, "")
        end
    end
end

describe("configs/grafana.json", function()
    after_each(node.finish)
    local dashboard = cjson.decode(node.read("configs/grafana.json"))

    it("draws metrics that there are, by labels that they have", function()
        local nodes = node.cluster { count = 2, config = [[
return {
    node = { listen = listen() },
    cluster = cluster(),
    groups = { test = { getter = function(key) return "value of " .. key end } },
}
]] }
        local metrics, count = metrics_of("\n" .. nodes[1]:admin("/metrics").body), 0
        each_expression(dashboard, function(panel, expression, legend)
            local known = {}
            for name, labels in expression:gmatch("(hgcache_[%w_]+)({?[^}]*}?)") do
                assert.is_table(metrics[name], panel.title .. ": there is no " .. name)
                for label in labels:gmatch("([%w_]+)=") do
                    assert.is_true(OF_PROMETHEUS[label] or metrics[name][label] or false, panel.title .. ": " .. name
                        .. " has no label " .. label)
                end
                for label in pairs(metrics[name]) do
                    known[label] = true
                end
                count = count + 1
            end
            for labels in expression:gmatch("by %(([^)]*)%)") do
                for label in labels:gmatch("[%w_]+") do
                    assert.is_true(OF_PROMETHEUS[label] or known[label] or false, panel.title .. ": by " .. label)
                end
            end
            for label in legend:gmatch("{{([%w_]+)}}") do
                assert.is_true(OF_PROMETHEUS[label] or known[label] or false, panel.title .. ": legend " .. label)
            end
        end)
        assert.is_true(count > 40, count .. " metrics")
    end)

    it("has panels that do not lie on each other, each with a name of its own", function()
        local ids, taken = {}, {}
        for _, panel in ipairs(dashboard.panels) do
            assert.is_nil(ids[panel.id])
            ids[panel.id] = true
            assert.is_true(#panel.title > 0)
            local at = panel.gridPos
            assert.is_true(at.x + at.w <= 24, panel.title)
            for x = at.x, at.x + at.w - 1 do
                for y = at.y, at.y + at.h - 1 do
                    assert.is_nil(taken[x .. "," .. y], panel.title)
                    taken[x .. "," .. y] = true
                end
            end
        end
    end)
end)
