-- Lifetimes, stale answers, remembered failures, and the guard before a source.

local node = require "spec.support.node"
local http = require "spec.support.http"
local posix = require "spec.support.posix"

local function start(group, getter, more)
    return node.start { config = ([[
local runs = {}
return {
    node = { listen = listen(), scripts = { getters = 1, routes = 1 } },
    %s
    groups = { test = {
        %s
        getter = function(key, ctx)
            runs[key] = (runs[key] or 0) + 1
            local run = runs[key]
            hg.log.info("run %%d of %%s reason %%s attempt %%d", run, key, ctx.reason, ctx.attempt)
            %s
        end,
    } },
    routes = {
        ["GET /api"] = hg.serve("test"),
        ["GET /expire"] = function(req) return tostring(hg.group("test"):expire(req.query.key)) end,
    },
}
]]):format(more or "", group, getter) }
end

local function status_of(r)
    return r.headers and r.headers["cache-status"] or tostring(r.status or r.error)
end

describe("freshness", function()
    after_each(node.finish)

    it("stale_while_revalidate answers stale at once, and one refresh runs", function()
        local n = start('ttl = "200ms", ttl_jitter = 0, stale_while_revalidate = "60s",', [[
            if run > 1 then hg.sleep(0.3) end
            return "v" .. run
        ]])
        assert.equal("v1", n:get("/api?key=k").body)
        node.until_true(function()
            local started = posix.now()
            local r = n:get("/api?key=k")
            assert.is_true(r.body == "v1" or r.body == "v2", r.body)
            assert.is_true(posix.now() - started < 0.25, "nobody waits for a refresh")
            return status_of(r):find("; hit; ttl=-", 1, true)
        end, 5, "a stale answer")
        n:wait_log("run 2 of k reason refresh")
        node.until_true(function()
            return n:get("/api?key=k").body ~= "v1"
        end, 5, "the refreshed value")
        local s = n:stats("test")
        assert.is_true(s.stale_hits > 0)
        assert.is_true(s.refreshes > 0)
        assert.equal(1, s.loads)
        assert.equal(0, n:stop())
    end)

    it("stale_if_error answers stale when the source fails, and a failed refresh replaces nothing", function()
        local n = start('ttl = "100ms", ttl_jitter = 0, stale_if_error = "60s",', [[
            if run > 1 then return nil, "down" end
            return "good"
        ]])
        assert.equal("good", n:get("/api?key=k").body)
        node.until_true(function()
            return n:count("run 3 of k") > 0 or (n:get("/api?key=k") and false)
        end, 10, "failed loads")
        for _ = 1, 5 do
            local r = n:get("/api?key=k")
            assert.equal(200, r.status)
            assert.equal("good", r.body)
        end
        assert.equal(0, n:stop())
    end)

    it("negative_ttl and error_ttl remember, 0 does not", function()
        local getter = [[ if key == "none" then return nil end return nil, "why" ]]
        local n = start('negative_ttl = "60s", error_ttl = "60s",', getter)
        for _ = 1, 3 do
            assert.equal(404, n:get("/api?key=none").status)
            assert.equal(502, n:get("/api?key=bad").status)
        end
        assert.equal(0, n:count("run 2 of"))
        local s = n:stats("test")
        assert.equal(2, s.negative_hits)
        assert.equal(2, s.error_hits)
        assert.equal(0, n:stop())
        n = start("negative_ttl = 0, error_ttl = 0,", getter)
        for _ = 1, 3 do
            assert.equal(404, n:get("/api?key=none").status)
            assert.equal(502, n:get("/api?key=bad").status)
        end
        assert.equal(1, n:count("run 3 of none"))
        assert.equal(1, n:count("run 3 of bad"))
        assert.equal(0, n:stop())
    end)

    it("error_ttl_max remembers errors in a row for longer", function()
        local n = start('error_ttl = "100ms", error_ttl_max = "1h", source = { breaker = { failures = 0 } },',
            [[ return nil, "why" ]])
        local function remembered()
            assert.equal(502, n:get("/api?key=bad").status)
            return n:admin_json("/explain?group=test&key=bad").ttl_ms or 0
        end
        assert.is_true(remembered() <= 100)
        node.until_true(function()
            return remembered() > 300
        end, 10, "an error that is remembered for longer than three times error_ttl")
        assert.is_true(n:count("of bad") >= 3)
        assert.equal(200, n:admin("/keys?group=test&key=bad", { method = "DELETE" }).status)
        assert.is_true(remembered() <= 100, "a removed key begins anew")
        assert.equal(0, n:stop())
    end)

    it("ttl_jitter spreads lifetimes between (1 - jitter) and 1 of ttl", function()
        local n = start('ttl = "1000s", ttl_jitter = 0.5,', [[ return "v" ]])
        local least, most = math.huge, 0
        for i = 1, 200 do
            local ttl = tonumber(status_of(n:get("/api?key=k" .. i)):match("ttl=(%d+)")
                or status_of(n:get("/api?key=k" .. i)):match("ttl=(%d+)"))
            least, most = math.min(least, ttl), math.max(most, ttl)
        end
        assert.is_true(least >= 498 and least < 600, "least " .. least)
        assert.is_true(most <= 1000 and most > 900, "most " .. most)
        assert.equal(0, n:stop())
    end)

    it("hg.keep lengthens the old value, and is an error without one", function()
        local n = start('ttl = "200ms", ttl_jitter = 0, stale_while_revalidate = "60s",', [[
            if run > 1 then
                assert(ctx.old == "first" and ctx.meta == "mine" and ctx.age > 0)
                return hg.keep { ttl = "60s" }
            elseif key == "new" then
                return hg.keep()
            end
            return "first", { meta = "mine" }
        ]])
        assert.equal("first", n:get("/api?key=k").body)
        node.until_true(function()
            local r = n:get("/api?key=k")
            assert.equal("first", r.body)
            return n:count("run 2 of k") > 0 and tonumber(status_of(r):match("ttl=(%d+)") or 0) > 10
        end, 10, "the kept value")
        assert.equal(502, n:get("/api?key=new").status)
        assert.equal(0, n:stop())
    end)

    it("group:expire keeps serving while it refreshes", function()
        local n = start('ttl = "10m", stale_while_revalidate = "60s",', [[ return "v" .. run ]])
        assert.equal("v1", n:get("/api?key=k").body)
        assert.equal("true", n:get("/expire?key=k").body)
        assert.equal("v1", n:get("/api?key=k").body)
        node.until_true(function()
            return n:get("/api?key=k").body == "v2"
        end, 5, "the refreshed value")
        assert.equal(0, n:stop())
    end)

    it("a value's own options beat the group's", function()
        local n = start('ttl = "10m",', [[
            if key == "short" then return "v" .. run, { ttl = "100ms" } end
            if key == "never" then return "v" .. run, { uncacheable = true } end
            return "v" .. run, { type = "text/x-own", etag = "mine" }
        ]])
        n:get("/api?key=short")
        node.until_true(function()
            return n:get("/api?key=short").body ~= "v1"
        end, 5, "the end of a short life")
        n:get("/api?key=never")
        assert.equal("v2", n:get("/api?key=never").body)
        for _ = 1, 2 do
            local r = n:get("/api?key=own")
            assert.equal("text/x-own", r.headers["content-type"])
            assert.equal('"mine"', r.headers.etag)
        end
        assert.equal(304, n:get("/api?key=own", { headers = { ["If-None-Match"] = '"mine"' } }).status)
        assert.equal(0, n:stop())
    end)

    it("on_timeout = stale answers what there is when the deadline passes", function()
        local n = start('ttl = "100ms", ttl_jitter = 0, stale_if_error = "60s", deadline = "300ms", on_timeout = "stale",', [[
            if run > 1 then hg.sleep(3) end
            return "first"
        ]])
        assert.equal("first", n:get("/api?key=k").body)
        node.until_true(function()
            local r = n:get("/api?key=k")
            assert.equal(200, r.status)
            assert.equal("first", r.body)
            return n:count("run 2 of k") > 0
        end, 10, "a slow load")
        local r = n:get("/api?key=other")
        assert.equal(200, r.status)
        n:stop()
    end)
end)

describe("the guard", function()
    after_each(node.finish)

    it("retries with a backoff, as often as it says", function()
        local n = start('source = { retries = 2, backoff = "20ms" },', [[
            if key == "third" and ctx.attempt == 3 then return "well" end
            return nil, "down"
        ]])
        assert.equal("well", n:get("/api?key=third").body)
        assert.equal(1, n:count("of third reason miss attempt 3"))
        assert.equal(502, n:get("/api?key=never").status)
        assert.equal(1, n:count("run 3 of never"))
        assert.equal(0, n:count("run 4 of never"))
        assert.equal(0, n:stop())
    end)

    it("lets so many loads run, so many wait, and refuses the rest with Retry-After", function()
        local n = start("source = { concurrency = 2, queue = 3 },", [[ hg.sleep(0.5) return "v" ]])
        local items = {}
        for i = 1, 20 do
            items[i] = { n.api_port, { path = "/api?key=k" .. i } }
        end
        local good, refused = 0, 0
        for _, r in ipairs(http.many(items)) do
            if r.status == 200 then
                good = good + 1
            else
                assert.equal(503, r.status)
                assert.is_truthy(r.headers["retry-after"])
                refused = refused + 1
            end
        end
        assert.equal(5, good)
        assert.equal(15, refused)
        assert.equal(15, n:stats("test").guard_refused)
        assert.equal(0, n:stop())
    end)

    it("C21: the breaker opens on a source that only fails, and tries again after its cooldown", function()
        local n = start('source = { breaker = { failures = 3, cooldown = "1s" } },', [[
            if key:find("^bad") then return nil, "down" end
            return "v"
        ]])
        assert.equal("v", n:get("/api?key=stored").body)
        for i = 1, 3 do
            assert.equal(502, n:get("/api?key=bad" .. i).status)
        end
        local r = n:get("/api?key=bad-more")
        assert.equal(503, r.status)
        assert.is_truthy(r.headers["retry-after"])
        assert.equal(0, n:count("of bad-more"))
        assert.equal("v", n:get("/api?key=stored").body)
        node.until_true(function()
            return n:get("/api?key=good").status == 200
        end, 10, "the breaker to close")
        assert.equal("v", n:get("/api?key=another").body)
        assert.equal(0, n:stop())
    end)

    it("says in /stats and in hgcache stats how it stands", function()
        local gate = node.dir() .. "/gate"
        local n = node.start { args = { gate = gate }, config = [[
local shared = hg.source {
    concurrency = 1, queue = 7, timeout = "60s", breaker = { failures = 2, cooldown = "1h" },
}
local function getter(key)
    while key:find("^slow") and not io.open(hg.args.gate) do
        hg.sleep(0.02)
    end
    if key:find("^bad") then
        return nil, "down"
    end
    return "v"
end
return {
    node = { listen = listen() },
    groups = {
        a = { getter = getter, source = shared, deadline = "60s" }, b = { getter = getter, source = shared },
        own = { getter = getter },
    },
}
]] }
        local function sources()
            local of = {}
            for _, source in ipairs(n:stats().sources) do
                of[table.concat(source.groups, " ")] = source
                source.groups = nil
            end
            return of
        end
        local idle = { running = 0, concurrency = 64, queued = 0, queue = 1024, breaker = "closed", failures = 0,
            refused = 0, opened = 0 }
        assert.same(idle, sources().own)
        local clients = {}
        for i = 1, 3 do
            clients[i] = assert(http.connect(n.api_port))
            clients[i]:send(http.format { path = "/api?group=a&key=slow" .. i })
        end
        node.until_true(function()
            return sources()["a b"].queued == 2
        end, 10, "two that queue")
        assert.same({ running = 1, concurrency = 1, queued = 2, queue = 7, breaker = "closed", failures = 0,
            refused = 0, opened = 0 }, sources()["a b"])
        node.write(gate, "")
        for i = 1, 3 do
            assert.equal(200, clients[i]:response("GET").status)
            clients[i]:close()
        end
        assert.equal(502, n:get("/api?group=a&key=bad1").status)
        assert.equal(1, sources()["a b"].failures)
        assert.equal(502, n:get("/api?group=b&key=bad2").status)
        assert.equal(503, n:get("/api?group=b&key=bad3").status)
        assert.same({ running = 0, concurrency = 1, queued = 0, queue = 7, breaker = "open", failures = 2,
            refused = 1, opened = 1 }, sources()["a b"])
        assert.same(idle, sources().own)
        local r = node.run { "stats", "--node", "http://127.0.0.1:" .. n.admin_port }
        assert.equal(0, r.code, r.err)
        assert.is_truthy(r.out:find("\nsources\ngroups +running +concurrency +queued +queue +breaker"), r.out)
        assert.is_truthy(r.out:find("\na, b +0 +1 +0 +7 +open +2 +1 +1 *\n"), r.out)
        assert.equal(0, n:stop())
    end)

    it("one hg.source is one guard for all its groups", function()
        local n = node.start { config = [[
local slow = hg.source { concurrency = 1, queue = 0 }
local function getter(key) hg.sleep(0.5) return "v" end
return {
    node = { listen = listen() },
    groups = { a = { getter = getter, source = slow }, b = { getter = getter, source = slow } },
}
]] }
        local results = http.many {
            { n.api_port, { path = "/api?group=a&key=k" } }, { n.api_port, { path = "/api?group=b&key=k" } },
        }
        local statuses = { results[1].status, results[2].status }
        table.sort(statuses)
        assert.same({ 200, 503 }, statuses)
        assert.equal(0, n:stop())
    end)
end)
