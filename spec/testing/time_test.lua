-- Lives, stale windows, guards, jobs: what takes a node hours takes these no time. Run by `hgcache test`.

local testing = require "hgcache.testing"
local configs = require "spec.testing.configs"

-- An origin whose answer is a counter, and that fails while it is told to.
local function origin()
    local self = { count = 0 }
    self.fake = function()
        if self.fails then
            return { status = 503 }
        elseif self.is_gone then
            return { status = 404 }
        end
        self.count = self.count + 1
        return "value " .. self.count
    end
    return self
end

local function node_of(group, fake, more)
    return testing.node(configs.file([[
        return { groups = { items = { getter = hg.source_http { url = "https://origin/{key}" }, ]] .. group .. [[ } },
            ]] .. (more or "") .. [[ }]]), {}, { http = fake })
end

describe("lives", function()
    after_each(configs.remove)

    it("end at their very millisecond", function()
        local node = node_of('ttl = "60s"', origin().fake)
        assert.equal("value 1", node:get("items", "a"))
        node:advance("59999ms")
        assert.equal("value 1", (node:get("items", "a")))
        assert.equal(1, node:calls("items"))
        node:advance("1ms")
        assert.equal("value 2", (node:get("items", "a")))
        assert.equal(2, node:calls("items", "a"))
        assert.equal(0, node:calls("items", "b"))
    end)

    it("are stale for a while, and renewed behind the answer", function()
        local node = node_of('ttl = "10s", stale_while_revalidate = "20s"', origin().fake)
        node:get("items", "a")
        node:advance("15s")
        local value, meta = node:get("items", "a")
        assert.equal("value 1", value)
        assert.is_true(meta.stale)
        value, meta = node:get("items", "a")
        assert.equal("value 2", value)
        assert.equal("hit", meta.how)
        assert.equal(10, meta.ttl)
    end)

    it("bridge a failure with stale_if_error, and no longer", function()
        local source = origin()
        local node = node_of('ttl = "10s", stale_if_error = "5m"', source.fake)
        node:get("items", "a")
        source.fails = true
        node:advance("4m")
        assert.equal("value 1", (node:get("items", "a")))
        node:advance("2m")
        local value, _, code = node:get("items", "a")
        assert.is_nil(value)
        assert.equal("unavailable", code)
    end)

    it("of what is not there are negative_ttl", function()
        local source = origin()
        source.is_gone = true
        local node = node_of('negative_ttl = "5s"', source.fake)
        for _ = 1, 3 do
            local value, _, code = node:get("items", "a")
            assert.is_nil(value)
            assert.equal("not_found", code)
        end
        assert.equal(1, node:calls("items"))
        source.is_gone = false
        node:advance(5)
        assert.equal("value 1", (node:get("items", "a")))
    end)

    it("of errors are error_ttl", function()
        local source = origin()
        source.fails = true
        local node = node_of('error_ttl = "2s"', source.fake)
        node:get("items", "a")
        node:get("items", "a")
        assert.equal(1, node:calls("items"))
        node:advance("2s")
        node:get("items", "a")
        assert.equal(2, node:calls("items"))
    end)

    it("end where somebody is told of it", function()
        local node = testing.node(configs.file [[
            return { groups = { items = { ttl = "1s", getter = function(key) return key end,
                on_evict = function(key, value, reason) hg.log.info("gone %s %s %s", key, value, reason) end } } }
        ]])
        node:get("items", "a")
        node:advance("2s")
        assert.is_truthy(table.concat(node:log(), "\n"):find("gone a a expired", 1, true))
    end)
end)

describe("time", function()
    after_each(configs.remove)

    it("goes on where a getter waits", function()
        local node = testing.node(configs.file [[
            return { groups = { items = { deadline = "10s", source = { timeout = "20s" }, getter = function(key)
                local before, begun = hg.monotonic(), os.time()
                hg.sleep(key)
                return (hg.monotonic() - before) .. " " .. (os.time() - begun) .. " " .. os.date("!%H:%M:%S")
            end } } }
        ]], { time = 1000000000 })
        local begun = node:time()
        assert.equal(1000000000, begun)
        assert.equal("3 3 01:46:43", (node:get("items", "3s")))
        assert.equal(3, node:time() - begun)
        local value, _, code = node:get("items", "11s")
        assert.is_nil(value)
        assert.equal("timeout", code)
        assert.equal(13, node:time() - begun)
    end)

    -- What a spec sees does not hang on when it runs.
    it("C22: and chance are the same for each node, run by run", function()
        local file = configs.file [[
            return { groups = { items = { ttl = "1s", getter = function()
                local begun = hg.monotonic()
                hg.sleep(math.random())
                return table.concat({ hg.now(), os.time(), os.date("!%c"), hg.monotonic() - begun, math.random() }, " ")
            end } } }
        ]]
        local function run()
            local node, seen = testing.node(file), {}
            for i = 1, 20 do
                seen[i] = assert(node:get("items", "a"))
                node:advance("1500ms")
            end
            node:close()
            return seen
        end
        local seen = run()
        assert.same(seen, run())
        assert.are_not.equal(seen[1], seen[2])
    end)

    it("is what retries and breakers go by", function()
        local source = origin()
        source.fails = true
        local node = node_of('source = { retries = 2, backoff = "1s", breaker = { failures = 2, cooldown = "30s" } }',
            source.fake)
        local begun = node:time()
        node:get("items", "a")
        assert.equal(3, node:calls("items"))
        local waited = node:time() - begun
        assert.is_true(waited >= 1.5 and waited <= 3, waited)
        node:get("items", "b")
        source.fails = false
        local value, _, code = node:get("items", "c") -- the breaker is open
        assert.is_nil(value)
        assert.equal("unavailable", code)
        assert.equal(0, node:calls("items", "c"))
        node:advance("30s")
        assert.equal("value 1", (node:get("items", "c")))
    end)

    it("makes jobs tick", function()
        local node = testing.node(configs.file [[
            local ticks = 0
            hg.at_start(function() hg.group("items"):get("warm") end)
            hg.every("30s", function() ticks = ticks + 1 end)
            return { groups = { items = { getter = function(key) return key .. " " .. ticks end } } }
        ]])
        assert.equal(1, node:calls("items", "warm"))
        node:advance("29s")
        assert.equal("a 0", (node:get("items", "a")))
        node:advance("1s")
        assert.equal("b 1", (node:get("items", "b")))
        node:advance("1h")
        assert.equal("c 121", (node:get("items", "c")))
        assert.equal(1, node:calls("items", "warm"))
    end)

    it("goes on by 1 ms where a script would never let it", function()
        local node = testing.node(configs.file [[
            hg.at_start(function() while true do hg.sleep(0) end end)
            return { groups = { items = { getter = function(key) return key end } } }
        ]])
        assert.equal("a", (node:get("items", "a")))
    end)

    it("does not go on where many things happen at one moment", function()
        local node = testing.node(configs.file [[
            return { groups = { items = { source = { concurrency = 1000 }, getter = function() hg.sleep(1) return hg.now() end } } }
        ]])
        local keys = {}
        for i = 1, 300 do
            keys[i] = i
        end
        local begun = node:time()
        for _, value in ipairs((node:get_all("items", keys))) do
            assert.equal(begun + 1, tonumber(value))
        end
        assert.equal(begun + 1, node:time())
    end)

    it("comes to the deadline of a script that never lets it go on", function()
        local node = testing.node(configs.file [[
            return { groups = { items = { deadline = "1s", getter = function() while true do hg.sleep(0) end end } } }
        ]])
        local begun = node:time()
        assert.equal("timeout", (select(3, node:get("items", "a"))))
        assert.equal(1, node:time() - begun)
    end)

    it("is each node's own, also while others are collected", function()
        local file = configs.file [[return { groups = { items = { getter = function() local begun = hg.now() hg.sleep(1)
            return begun .. " " .. hg.now() end } } }]]
        testing.node(file):advance("1000s")
        local node = testing.node(file)
        local collected = 0
        setmetatable(node.runs, { __newindex = function(runs, group, count)
            collectgarbage()
            collectgarbage()
            collected = collected + 1
            rawset(runs, group, count)
        end })
        assert.equal("1767225600 1767225601", (node:get("items", "a")))
        assert.equal(1, collected)
        assert.equal(1767225601, node:time())
    end)

    it("is each node's own", function()
        local file = configs.file [[return { groups = { items = { ttl = "10s", getter = function() return hg.now() end } } }]]
        local first, second = testing.node(file), testing.node(file)
        assert.equal(first:get("items", "a"), (second:get("items", "a")))
        first:advance("1m")
        assert.equal(60, first:get("items", "a") - second:get("items", "a"))
        assert.equal(60, first:time() - second:time())
    end)

    it("ends a script that loops", function()
        local node = testing.node(configs.file [[
            return { node = { script = { budget = "1ms" } },
                groups = { items = { getter = function() while true do pcall(string.rep, "x") end end } } }
        ]])
        local value, message, code = node:get("items", "a")
        assert.is_nil(value)
        assert.equal("timeout", code)
        assert.is_truthy(message:find("budget", 1, true))
    end)

    it("ends a script that loops where compiling is on", function()
        local node = testing.node(configs.file [[
            return { node = { script = { budget = "1ms", jit = true } },
                groups = { items = { getter = function() local sum = 0 for i = 1, 1e15 do sum = sum + i end return sum end } } }
        ]])
        assert.equal("timeout", (select(3, node:get("items", "a"))))
    end)

    it("does not go on for ever where a call was lost", function()
        for _, more in ipairs { "", 'hg.every("1s", function() end)' } do
            local node = testing.node(configs.file(more .. [[
                return { node = { script = { memory = "8MiB" } }, groups = { items = { getter = function(key)
                    local all = {}
                    while key == "huge" do all[#all + 1] = { #all } end
                    return key
                end } } }
            ]]))
            local ok, message = pcall(node.get, node, "items", "huge")
            assert.is_false(ok)
            assert.is_truthy(message:find("memory limit", 1, true), message)
            assert.equal("small", (node:get("items", "small")))
            assert.has_error(function() node:get_all("items", { "other", "huge" }) end)
        end
    end)

    it("takes durations only", function()
        local node = node_of("", origin().fake)
        assert.has_error(function() node:advance("soon") end)
        assert.has_error(function() node:advance(-1) end)
    end)
end)
