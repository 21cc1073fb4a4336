-- `hgcache replay`: what it prints, what it refuses, and the reference miss counts of each policy; and the policies in a node.
--
-- The reference traces are no part of the project. They are looked for in $HG_SHARED_DIR/eviction and ../shared/eviction
-- (reference.tsv: trace, requests, capacity, policy, misses, exact or mean).

local node = require "spec.support.node"
local cjson = require "cjson"

local POLICIES = { "lru", "fifo", "random", "clock", "sampled-lru", "lfu", "sieve", "s3-fifo", "w-tinylfu", "arc" }

-- How far a policy that draws lots may be from the mean, in miss ratio.
local function tolerance(policy, trace)
    if policy == "w-tinylfu" then
        return trace == "cloudphysics_io" and 0.06 or 0.035
    end
    return 0.005
end

-- Sanitizers make it ten times slower: then the larger traces are left out.
local REQUESTS_MAX = node.is_sanitized() and 140000 or math.huge

local function write_trace(text)
    return node.write(node.dir() .. "/trace", text)
end

describe("hgcache replay", function()
    after_each(node.finish)

    it("counts hits and misses of each policy and size", function()
        local r = node.run { "replay", write_trace("a\nb\na\nc\na 7\nb\n"), "--policy", "lru,fifo", "--objects", "2,100",
            "--json" }
        assert.equal("", r.err)
        assert.equal(0, r.code)
        local page = cjson.decode(r.out)
        assert.equal(6, page.requests)
        assert.equal(4, #page.results)
        local rows = {}
        for i, row in ipairs(page.results) do
            assert.equal(6, row.hits + row.misses)
            assert.is_true(math.abs(row.miss_ratio - row.misses / 6) < 1e-4)
            rows[i] = ("%s %d %d"):format(row.policy, row.objects, row.misses)
        end
        assert.same({ "lru 2 4", "fifo 2 5", "lru 100 3", "fifo 100 3" }, rows)
    end)

    it("counts in bytes what an entry would cost in a node", function()
        local r = node.run { "replay", write_trace("a 600000\nb 600000\na 600000\nb\nhuge 99000000000000\nhuge 99000000000000\n"),
            "--policy", "lru", "--capacity", "1MiB,1GiB", "--json" }
        assert.equal(0, r.code)
        local page = cjson.decode(r.out)
        assert.equal(1048576, page.results[1].capacity)
        assert.equal(6, page.results[1].misses) -- both do not fit at once
        assert.equal(4, page.results[2].misses)
        assert.is_nil(page.results[1].objects)
    end)

    it("has a table for people, with every policy where none is named", function()
        local r = node.run { "replay", write_trace("a\nb\na\n"), "--objects", "5" }
        assert.equal(0, r.code)
        assert.equal("", r.err) -- progress is for terminals
        for _, policy in ipairs(POLICIES) do
            assert.is_truthy(r.out:find("\n" .. policy .. " ", 1, true), policy)
        end
        assert.is_truthy(r.out:find("0.6667", 1, true))
        assert.is_nil(r.out:find("\27", 1, true))
    end)

    it("reads an access log", function()
        local line = '192.0.2.7 - - [23/Nov/2026:08:00:00 +0000] "%s" 200 612 "-" "-"\n'
        local r = node.run { "replay", write_trace(line:format("GET /a HTTP/1.1") .. line:format("GET /a HTTP/1.1")
            .. line:format("\\x16\\x03") .. line:format("GET /b HTTP/1.1")), "--policy", "lru", "--objects", "5" }
        assert.equal(0, r.code)
        assert.is_truthy(r.out:find("3 requests, 1 lines of the log passed over", 1, true), r.out)
    end)

    it("refuses what it cannot read in one line", function()
        local trace = write_trace("a\n\n")
        for _, case in ipairs {
            { { trace }, 2, "expected either --objects N[,N] or --capacity SIZE[,SIZE]" },
            { { trace, "--objects", "1", "--capacity", "1" }, 2, "expected either" },
            { { trace, "--objects", "0" }, 2, '--objects: expected numbers such as 1000,10000, found "0"' },
            { { trace, "--objects", "5,,6" }, 2, 'found ""' },
            { { trace, "--capacity", "64MiBB" }, 2, '--capacity: expected sizes such as 64MiB,1GiB, found "64MiBB"' },
            { { trace, "--objects", "5", "--policy", "seive" }, 2, 'unknown policy "seive", did you mean "sieve"?' },
            { { trace, "--objects", "5", "--policy", "nothing-like-it" }, 2, "expected lru, fifo," },
            { { trace, "--objects", ("5,"):rep(300) .. "5" }, 2, "more than 256 pairs" },
            { { trace, "--objects", "5" }, 1, ":2: the line has no key" },
            { { "/nowhere/at-all", "--objects", "5" }, 1, "No such file" },
            { {}, 2, "usage: hgcache replay TRACE" },
        } do
            local r = node.run { "replay", unpack(case[1]) }
            assert.equal(case[2], r.code, r.err)
            assert.equal("", r.out)
            assert.is_truthy(r.err:find(case[3], 1, true), r.err)
            assert.is_truthy(r.err:match("^hgcache: [^\n]+\n$"), r.err)
        end
    end)
end)

describe("the reference traces", function()
    local dir = (os.getenv("HG_SHARED_DIR") or "../shared") .. "/eviction"
    local file = io.open(dir .. "/reference.tsv")
    after_each(node.finish)
    if not file then
        pending("skipped: no reference traces in " .. dir)
        return
    end

    local traces, expected = {}, {}
    for line in file:lines() do
        local trace, requests, capacity, policy, misses, kind = line:match("^(%S+)\t(%d+)\t(%d+)\t(%S+)\t(%d+)\t(%S+)")
        if trace and policy ~= "opt" then
            local t = expected[trace]
            if not t then
                t = { requests = tonumber(requests), rows = {}, capacities = {}, count = 0 }
                expected[trace] = t
                traces[#traces + 1] = trace
            end
            if not t.capacities[capacity] then
                t.capacities[capacity] = true
                t.capacities[#t.capacities + 1] = capacity
            end
            t.rows[capacity .. " " .. policy] = { misses = tonumber(misses), is_exact = kind == "exact" }
            t.count = t.count + 1
        end
    end
    file:close()

    for _, trace in ipairs(traces) do
        local t = expected[trace]
        if t.requests > REQUESTS_MAX then
            pending("skipped: " .. trace .. " is for builds without sanitizers")
        else
            it("gives the misses of " .. trace, function()
                local r = node.run({ "replay", ("%s/%s.trace.gz"):format(dir, trace), "--objects",
                    table.concat(t.capacities, ","), "--json" }, { timeout = 120 })
                assert.equal("", r.err)
                local page = cjson.decode(r.out)
                assert.equal(t.requests, page.requests)
                local seen = 0
                for _, row in ipairs(page.results) do
                    local name = ("%d %s"):format(row.objects, row.policy)
                    local want = t.rows[name]
                    if want and want.is_exact then
                        assert.equal(want.misses, row.misses, name)
                    elseif want then
                        local distance = math.abs(row.misses - want.misses) / t.requests
                        assert.is_true(distance <= tolerance(row.policy, trace), ("%s: %f"):format(name, distance))
                    end
                    seen = seen + (want and 1 or 0)
                end
                assert.equal(t.count, seen)
            end)
        end
    end
end)

describe("a group's policy", function()
    after_each(node.finish)

    it("keeps a node within its capacity, whichever it is", function()
        local config = { "local groups, routes = {}, {}\nfor _, policy in ipairs { " }
        for _, policy in ipairs(POLICIES) do
            config[#config + 1] = ("%q, "):format(policy)
        end
        config[#config + 1] = [[ } do
            groups[policy] = { capacity = "32KiB", shards = 4, policy = policy, getter = function(key)
                return ("x"):rep(#key % 7 * 100)
            end }
            routes["GET /" .. policy .. "/:key"] = hg.serve(policy, { key = "{path.key}" })
        end
        return { node = { listen = listen() }, groups = groups, routes = routes }]]
        local n = node.start { config = table.concat(config) }
        for i = 1, 300 do
            for _, policy in ipairs(POLICIES) do
                local key = ("k"):rep(i % 9) .. i * i % 211
                assert.equal(200, n:get("/" .. policy .. "/" .. key).status)
            end
        end
        local groups = n:stats().groups
        for _, policy in ipairs(POLICIES) do
            local g = groups[policy]
            assert.is_true(g.bytes <= g.capacity and g.bytes > g.capacity / 2, policy)
            assert.is_true(g.evictions > 0 and g.hits > 0, policy)
            assert.equal(300, g.gets)
        end
    end)
end)
