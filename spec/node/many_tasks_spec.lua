-- Loads that wait cost a script thread next to nothing.

local node = require "spec.support.node"
local http = require "spec.support.http"

local COUNT = 10000
local BYTES_EACH = 8192

describe("a script thread", function()
    after_each(node.finish)

    it("has 10,000 loads that sleep for a second done in about a second", function()
        local n = node.start { config = [[
            return {
                node = { listen = listen(), scripts = { getters = 1, routes = 1 }, script = { budget = "20s" } },
                groups = { test = {
                    ttl = 0, deadline = "60s", source = { concurrency = 20000, queue = 20000, timeout = "60s" },
                    getter = function(key) hg.sleep(1) return key end,
                } },
                routes = { ["GET /many"] = { timeout = "60s", handler = function(req)
                    local keys = {}
                    for i = 1, tonumber(req.query.count) do keys[i] = "key" .. i end
                    local begun, count = hg.monotonic(), 0
                    local values, errors = hg.group("test"):get_many(keys)
                    for key, value in pairs(values) do count = count + (key == value and 1 or 0) end
                    return hg.json.encode { count = count, errors = errors ~= nil, seconds = hg.monotonic() - begun }
                end } },
            }
        ]] }
        local function gauges()
            local text = n:admin("/metrics").body
            return tonumber(text:match("\nhgcache_script_memory_bytes (%d+)")),
                tonumber(text:match("\nhgcache_script_tasks_total (%d+)"))
        end
        n:get("/many?count=1")
        local before, begun = gauges()
        local memory
        local connection = assert(http.connect(n.api_port))
        connection:send(http.format { path = "/many?count=" .. COUNT })
        node.until_true(function()
            local tasks
            memory, tasks = gauges()
            return tasks - begun > COUNT -- and the route
        end, 30, "all of them begun")
        local answer = node.json.decode(connection:response("GET", 60).body)
        connection:close()
        assert.equal(COUNT, answer.count)
        assert.is_false(answer.errors)
        -- A sanitizer build on a shared machine takes a while for the rest; one after the other they would take hours.
        assert.is_true(answer.seconds >= 1 and answer.seconds < 20, answer.seconds)
        assert.is_true((memory - before) / COUNT < BYTES_EACH, (memory - before) / COUNT)
        assert.equal(0, n:stop())
    end)
end)
