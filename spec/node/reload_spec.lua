-- Reload: another configuration while the node runs, by HUP, POST /reload and `hgcache reload`; and `hgcache drain`.
-- FAULTS H1 (broken configurations) and H2 (many reloads under load).

local node = require "spec.support.node"
local http = require "spec.support.http"
local posix = require "spec.support.posix"

-- %MARK% is what the getter says, %MORE% stands among the groups, %NODE% in node.
local CONFIG = [[
hg.every("50ms", function()
    hg.shared("ticks"):incr("%MARK%")
end)
return {
    node = { listen = listen(), workers = 2, drain_timeout = "5s", drain_delay = "200ms", %NODE% },
    cluster = cluster(),
    groups = {
        test = { ttl = "10m", deadline = "30s", source = { timeout = "30s" }, getter = function(key)
            if key:find("^slow") then
                hg.log.info("began %s", key)
                hg.sleep(1.5)
            end
            return "%MARK%:" .. key
        end },
        %MORE%
    },
    routes = {
        ["GET /api"] = hg.serve(),
        ["GET /mark"] = function()
            return "%MARK%"
        end,
        ["GET /slow"] = function()
            hg.log.info("route began")
            hg.sleep(1)
            return "%MARK%"
        end,
        ["GET /ticks"] = function(req)
            return tostring(hg.shared("ticks"):get(req.query.mark) or 0)
        end,
        ["GET /count"] = function()
            return tostring(hg.shared("kept"):incr("n"))
        end,
    },
}]]

local function config(mark, more, of_node)
    return (CONFIG:gsub("%%(%u+)%%", { MARK = mark, MORE = more or "", NODE = of_node or "" }))
end

local function start(more, of_node)
    return node.start { config = config("one", more, of_node) }
end

local function reloaded(n)
    local answer = n:reload()
    assert.equal(200, answer.status, tostring(answer.body))
    return answer.body
end

local function has(list, text)
    for _, line in ipairs(list) do
        if line == text then
            return true
        end
    end
    return false, table.concat(list, "\n")
end

local function metric(n, name)
    local value = n:admin("/metrics").body:match("\n" .. name:gsub("[%p]", "%%%0") .. " (%S+)")
    return tonumber(value)
end

local function value(n, key, group)
    local answer = n:get("/api?key=" .. key .. "&group=" .. (group or "test"))
    return answer.status == 200 and answer.body or answer.status
end

local function rss(n)
    return tonumber(node.read("/proc/" .. n.pid .. "/status"):match("VmRSS:%s+(%d+) kB"))
end

-- Clients in processes of their own, keys k1..k200 of group test, until `stop`; `stop` -> requests, failures.
local function load(n, count)
    local dir, pids = node.dir(), {}
    for i = 1, count do
        pids[i] = posix.fork(function()
            local failures, requests, connection = {}, 0, nil
            while not io.open(dir .. "/stop") do
                connection = connection or assert(http.connect(n.api_port))
                for _ = 1, 50 do
                    requests = requests + 1
                    local path = requests % 10 == 0 and "/mark" or "/api?group=test&key=k" .. (requests * i) % 200
                    local answer = connection:request { path = path }
                    if answer.status ~= 200 then
                        failures[#failures + 1] = path .. ": " .. tostring(answer.status or answer.error) .. " "
                            .. tostring(answer.body)
                        break
                    end
                end
                connection:close()
                connection = nil
            end
            node.write(dir .. "/" .. i, requests .. " " .. #failures .. " " .. table.concat(failures, "; ", 1,
                math.min(#failures, 5)))
        end)
    end
    return function()
        node.write(dir .. "/stop", "")
        local requests, failures, texts = 0, 0, {}
        for i, pid in ipairs(pids) do
            posix.reap(pid, true)
            local r, f, text = node.read(dir .. "/" .. i):match("^(%d+) (%d+) (.*)$")
            assert(r, "a client came to no end")
            requests, failures = requests + tonumber(r), failures + tonumber(f)
            texts[#texts + 1] = text
        end
        return requests, failures, table.concat(texts, " ")
    end
end

describe("reload", function()
    after_each(node.finish)

    it("takes a changed getter, keeps the store, and says what changed", function()
        local n = start()
        assert.equal("one:a", value(n, "a"))
        assert.equal("one", n:get("/mark").body)
        assert.equal("1", n:get("/count").body)
        n:configure(config("two", [[extra = { getter = function() return "extra" end },]], [[log = { access = true },]])
            :gsub('ttl = "10m"', 'ttl = "5m"'))
        local answer = reloaded(n)
        assert.equal(2, answer.generation)
        assert(has(answer.changes, 'groups.test.ttl: "10m" -> "5m"'))
        assert(has(answer.changes, "groups.extra: added"))
        assert(has(answer.changes, "node.log.access: false -> true"))
        assert.equal("one:a", value(n, "a"), "the store stays")
        assert.equal("two:b", value(n, "b"))
        assert.equal("two", n:get("/mark").body)
        assert.equal("extra", value(n, "x", "extra"))
        assert.equal("2", n:get("/count").body, "hg.shared stays")
        n:wait_log("reload change groups.extra: added")
        local stats = n:stats()
        assert.equal(2, stats.reload.generation)
        assert.equal(1, stats.reload.done)
        assert.is_true(stats.reload.age_seconds < 60)
        assert.equal(1, metric(n, 'hgcache_reloads_total{result="done"}'))
        assert.equal(2, metric(n, "hgcache_generation"))
        assert.equal(0, n:stop())
    end)

    it("drops a group: 404, and its memory is free", function()
        local n = start([[big = { capacity = "64MiB", getter = function(key) return key .. ("x"):rep(100000) end },]])
        for i = 1, 100 do
            assert.equal(200, n:get("/api?group=big&key=k" .. i).status)
        end
        local before = metric(n, "hgcache_memory_live_bytes")
        assert.is_true(n:stats("big").bytes > 10000000)
        n:configure(config("two"))
        assert(has(reloaded(n).changes, "groups.big: dropped"))
        posix.until_true(function()
            return n:get("/api?group=big&key=k1").status == 404
        end, 10, "no such group")
        posix.until_true(function()
            return before - metric(n, "hgcache_memory_live_bytes") > 9000000
        end, 20, "the group's memory")
        assert.is_nil(n:stats().groups.big)
        assert.equal("two:a", value(n, "a"))
        -- One of that name begins anew, whether the one before is gone already or not.
        n:configure(config("three", [[big = { getter = function(key) return "small" end },]]))
        reloaded(n)
        assert.equal("small", value(n, "k1", "big"))
        assert.equal(0, n:stop())
    end)

    it("changes a capacity up and down", function()
        local function with(capacity)
            return config("one", ([[sized = { shards = 1, capacity = "%s", getter = function(key)
                return key .. ("x"):rep(1000)
            end },]]):format(capacity))
        end
        local n = node.start { config = with("256KiB") }
        local function fill()
            for i = 1, 1000 do
                n:get("/api?group=sized&key=k" .. i)
            end
            return n:stats("sized")
        end
        assert.is_true(fill().bytes <= 256 * 1024)
        n:configure(with("2MiB"))
        assert(has(reloaded(n).changes, 'groups.sized.capacity: "256KiB" -> "2MiB"'))
        local grown = fill()
        assert.equal(2 * 1024 * 1024, grown.capacity)
        assert.is_true(grown.bytes > 1000 * 1000)
        n:configure(with("128KiB"))
        reloaded(n)
        posix.until_true(function()
            return n:stats("sized").bytes <= 128 * 1024
        end, 10, "a trimmed store")
        assert.is_true(n:stats("sized").entries > 50)
        assert.equal(0, n:stop())
    end)

    it("finishes what began before with the script before", function()
        local n = start()
        local load_client, route_client = assert(http.connect(n.api_port)), assert(http.connect(n.api_port))
        load_client:send(http.format { path = "/api?group=test&key=slow1" })
        route_client:send(http.format { path = "/slow" })
        n:wait_log("began slow1")
        n:wait_log("route began")
        n:configure(config("two"))
        reloaded(n)
        assert.equal("two:fast", value(n, "fast"), "nobody waits for what is slow")
        assert.equal("one:slow1", load_client:response().body)
        assert.equal("one", route_client:response().body)
        assert.equal("one:slow1", value(n, "slow1"))
        posix.until_true(function()
            return metric(n, "hgcache_generations") == 1
        end, 15, "the end of the generation before")
        assert.equal(0, n:stop())
    end)

    it("ends the jobs before and begins those of the new script", function()
        local n = start()
        local function ticks(mark)
            return tonumber(n:get("/ticks?mark=" .. mark).body)
        end
        posix.until_true(function()
            return ticks("one") >= 2
        end, 10, "jobs")
        n:configure(config("two"))
        reloaded(n)
        posix.until_true(function()
            return ticks("two") >= 2
        end, 10, "jobs of the new script")
        local last = ticks("one")
        posix.until_true(function()
            return ticks("two") >= 8
        end, 10, "more of them")
        assert.is_true(ticks("one") <= last + 1)
        assert.equal(0, n:stop())
    end)

    it("is done once more by a second HUP, and waits for none", function()
        local n = start()
        n:configure(config("two"))
        n:signal(posix.SIGHUP)
        n:signal(posix.SIGHUP)
        posix.until_true(function()
            return n:get("/mark").body == "two"
        end, 10, "the new script")
        n:configure(config("three"))
        n:signal(posix.SIGHUP)
        posix.until_true(function()
            return n:get("/mark").body == "three"
        end, 10, "the newest script")
        assert.equal(0, n:stop())
    end)

    it("answers 409 while another one is under way, which is done", function()
        local n = start()
        n:configure("local t = os.clock() while os.clock() - t < 0.5 do end\n" .. config("two"))
        local asked = {}
        for i = 1, 2 do
            asked[i] = assert(http.connect(n.admin_port))
            asked[i]:send(http.format { method = "POST", path = "/reload" })
        end
        for i = 1, 20 do
            assert.equal("one:" .. i, value(n, tostring(i)), "the workers go on meanwhile")
        end
        local statuses = {}
        for i = 1, 2 do
            local answer = asked[i]:response(nil, 30)
            statuses[i] = answer.status
            assert.is_true(answer.status == 200 or answer.body == "a reload is under way\n", answer.body)
        end
        table.sort(statuses)
        assert.equal("200 409", table.concat(statuses, " "))
        assert.equal("two", n:get("/mark").body)
        assert.equal(0, n:stop())
    end)

    it("is done though who asked for it has left", function()
        local n = start()
        n:configure("local t = os.clock() while os.clock() - t < 0.5 do end\n" .. config("two"))
        local asked = assert(http.connect(n.admin_port))
        asked:send(http.format { method = "POST", path = "/reload" })
        asked:close()
        n:wait_log("reload done generation=2")
        assert.equal("two", n:get("/mark").body)
        assert.equal(3, reloaded(n).generation)
        assert.equal(0, n:stop())
    end)

    it("is refused while the node drains", function()
        local n = start()
        local slow = assert(http.connect(n.api_port))
        slow:send(http.format { path = "/api?group=test&key=slow1" })
        n:wait_log("began slow1")
        n:signal(posix.SIGTERM)
        n:wait_log("node draining")
        n:configure(config("two"))
        local answer = n:reload()
        assert.equal(503, answer.status)
        assert.equal("the node is draining\n", answer.body)
        assert.equal("one:slow1", slow:response().body)
        assert.equal(0, n:wait_exit().code)
    end)

    it("that is under way when the node drains changes nothing and ends it in order", function()
        local n = start()
        n:configure("local t = os.clock() while os.clock() - t < 0.2 do end\n" .. config("two"))
        n:signal(posix.SIGHUP)
        n:signal(posix.SIGTERM)
        assert.equal(0, n:wait_exit().code)
    end)

    it("H1: a broken configuration changes nothing and says why, under load", function()
        local n = start(nil, [[log = { level = "info" },]])
        local broken = {
            { "return {", "unexpected symbol near" },
            { config("two"):gsub("drain_delay", "drain_dealy"), "drain_dealy" },
            { config("two"):gsub('"10m"', "{}"), "groups.test.ttl: expected" },
            { false, "cannot be read" },
            { "error('no such thing')\n" .. config("two"), "no such thing" },
            { "while true do end\n" .. config("two"), "loading took more than" },
            { config("two"):gsub("workers = 2", "workers = 3"), "node.workers cannot change while the node runs, expected 2" },
            { config("two"):gsub("listen = listen%(%)", 'listen = { api = "127.0.0.1:1", admin = hg.args.admin }'),
                "node.listen.api cannot change while the node runs" },
            { config("two"):gsub("ttl = ", 'policy = "sieve", ttl = '),
                'groups.test.policy cannot change while the node runs, expected "lru" as before, found "sieve"' },
            { config("two"):gsub('"10m"', "1 + os.clock()"), "the same data each time it runs" },
        }
        local stop = load(n, 3)
        for i, row in ipairs(broken) do
            if row[1] then
                n:configure(row[1])
            else
                os.remove(n.file)
            end
            local answer = n:reload()
            assert.equal(422, answer.status, row[2] .. ": " .. tostring(answer.body))
            assert.is_truthy(answer.body:find(row[2], 1, true), row[2] .. " in " .. answer.body)
            assert.is_nil(answer.body:find("\n.", 1))
            n:wait_log("reload refused")
            assert.equal("one", n:get("/mark").body)
            assert.equal(i, metric(n, 'hgcache_reloads_total{result="refused"}'))
        end
        local requests, failures, texts = stop()
        assert.equal(0, failures, texts)
        assert.is_true(requests > 100)
        assert.equal(#broken, n:count("reload refused"))
        assert.equal(1, n:stats().reload.generation)
        n:configure(config("two"))
        assert.equal(2, reloaded(n).generation)
        assert.equal("two", n:get("/mark").body)
        assert.equal(0, n:stop())
    end)

    it("H2: 50 reloads, ten of them broken, under load: nothing fails, memory stays", function()
        -- A store that stays, so that 5 % are more than what an allocator keeps for later.
        local kept = [[kept = { ttl = false, capacity = "128MiB", getter = function(key) return ("x"):rep(100000) end },]]
        local n = start(kept)
        for i = 1, 600 do
            assert.equal(200, n:get("/api?group=kept&key=k" .. i).status)
        end
        local function reload(i)
            if i % 5 == 0 then
                n:configure("return { groups = ")
                assert.equal(422, n:reload().status)
                return
            end
            local more = kept .. (i % 2 == 0 and [[odd = { getter = function() return 1 end, ttl = "1s" },]] or "")
            n:configure(config("r" .. i, more):gsub('"10m"', ('"%dm"'):format(10 + i)))
            local answer = n:reload()
            assert.equal(200, answer.status, tostring(answer.body))
            assert.equal("r" .. i, n:get("/mark").body)
        end
        local stop = load(n, 4)
        for i = 1, 12 do
            reload(i)
        end
        local function settled()
            posix.until_true(function()
                return metric(n, "hgcache_generations") == 1 and metric(n, "hgcache_retired") == 0
            end, 60, "the end of all that was replaced")
            return rss(n), metric(n, "hgcache_memory_live_bytes")
        end
        local before, live_before = settled()
        for i = 1, 50 do
            reload(i)
        end
        local after, live_after = settled()
        local requests, failures, texts = stop()
        assert.equal(0, failures, texts)
        assert.is_true(requests > 500)
        assert.equal(0, n:stats("test").local_load_errors)
        assert.equal(600, n:stats("kept").entries)
        if node.is_sanitized() then
            print("reload_spec: memory is not compared: sanitizers keep what is freed")
        else
            assert.is_true(after < before * 1.05, ("%d KiB before, %d after"):format(before, after))
            assert.is_true(live_after < live_before * 1.01, ("%d bytes before, %d after"):format(live_before, live_after))
        end
        assert.equal(0, n:stop())
    end)

    it("makes a script state anew of the configuration that serves, whatever the file says by then", function()
        local n = node.start { config = [[
local kept = {}
return { node = { listen = listen(), scripts = { getters = 1, routes = 1 }, script = { memory = "8MiB" } },
    groups = { test = { ttl = 0, getter = function(key)
        if key == "fill" then
            for i = 1, 1e7 do kept[i] = ("x"):rep(1000) .. i end
        end
        return "one"
    end } } }]] }
        assert.equal("one", n:get("/api?key=a").body)
        n:configure("return {")
        assert.equal(422, n:reload().status)
        assert.equal(502, n:get("/api?key=fill").status)
        n:wait_log("script state discarded")
        assert.equal("one", n:get("/api?key=b").body)
        assert.equal(0, n:stop())
    end)

    it("drops what a script does of its own accord after node.drain_timeout", function()
        local n = node.start { config = [[
hg.at_start(function()
    hg.spawn(function()
        while true do
            hg.sleep(0.05)
        end
    end)
end)
return { node = { listen = listen(), drain_timeout = "1s" }, groups = { test = { getter = function(key) return key end } } }]] }
        assert.equal(200, n:get("/api?key=a").status)
        reloaded(n)
        posix.until_true(function()
            return metric(n, "hgcache_generations") == 1
        end, 20, "the end of the generation before")
        assert.equal(0, n:stop())
    end)

    it("keeps counters of scripts and of what came before", function()
        local function counting(mark)
            return ([[
local calls = hg.counter("calls_total", "Calls of the getter.")
return { node = { listen = listen() }, groups = { test = { getter = function(key)
    calls:inc()
    return "%s"
end } } }]]):format(mark)
        end
        local n = node.start { config = counting("one") }
        assert.equal("one", n:get("/api?key=a").body)
        local tasks = metric(n, "hgcache_script_tasks_total")
        n:configure(counting("two"))
        reloaded(n)
        assert.equal("two", n:get("/api?key=b").body)
        posix.until_true(function()
            return metric(n, "hgcache_generations") == 1
        end, 20, "the end of the generation before")
        assert.equal(2, n:stats("test").local_loads)
        assert.is_true(metric(n, "hgcache_script_tasks_total") > tasks)
        assert.is_truthy(n:admin("/metrics").body:find("\ncalls_total 2\n", 1, true))
        assert.equal(0, n:stop())
    end)
end)

describe("node.reload_guard", function()
    after_each(node.finish)

    local GUARD = [[reload_guard = { errors = 0.1, window = "60s" },]]
    -- Half of the keys fail.
    local function failing(mark)
        return config(mark, [[gone = { getter = function() return 1 end },]], GUARD)
            :gsub('if key:find%("%^slow"%) then', 'if tonumber(key) %% 2 == 1 then error("bad release") end if false then')
    end

    it("rolls back to the configuration before where getters fail more than that", function()
        local n = start([[old = { getter = function() return "old" end },]], GUARD)
        assert.equal("one:1", value(n, "1"))
        assert.equal("old", value(n, "1", "old"))
        n:configure(failing("two"))
        reloaded(n)
        posix.until_true(function()
            return n:stats().groups.old == nil
        end, 10, "the end of the dropped group")
        local i = 100
        posix.until_true(function()
            i = i + 1
            value(n, tostring(i))
            return metric(n, 'hgcache_reloads_total{result="rolled_back"}') == 1
        end, 20, "a roll-back")
        assert.is_true(i >= 109, "5 failures say something: " .. i)
        n:wait_log("reload rolled back generation=2 group=test")
        posix.until_true(function()
            return n:get("/mark").body == "one"
        end, 10, "the script before")
        assert.equal("one:9001", value(n, "9001"))
        assert.equal("one:1", value(n, "1"), "the store stayed")
        posix.until_true(function()
            return n:get("/api?group=gone&key=1").status == 404
        end, 10, "the end of the added group")
        assert.equal(0, n:stats("old").entries) -- nobody told it what changed meanwhile
        assert.equal("old", value(n, "1", "old"))
        assert.equal(3, n:stats().reload.generation)
        -- And it may be reloaded again.
        n:configure(config("three", nil, GUARD))
        assert.equal(4, reloaded(n).generation)
        assert.equal("three", n:get("/mark").body)
        assert.equal(0, n:stop())
    end)

    it("rolls back where all fail, and the breaker lets few through", function()
        local n = start(nil, GUARD)
        assert.equal("one:1", value(n, "1"))
        n:configure(config("two", nil, GUARD):gsub('if key:find', 'error("bad release") %0'))
        reloaded(n)
        for i = 100, 104 do
            assert.equal(502, value(n, tostring(i)))
        end
        n:wait_log("reload rolled back generation=2 group=test errors=1.000")
        assert.equal(0, n:stop())
    end)

    it("rolls back to the last that was good, though a bad one was loaded twice meanwhile", function()
        local n = start(nil, GUARD)
        assert.equal("one:1", value(n, "1"))
        for generation = 2, 3 do
            n:configure(config("two", nil, GUARD):gsub('if key:find', 'error("bad release") %0'))
            assert.equal(generation, reloaded(n).generation)
            assert.equal("two", n:get("/mark").body)
        end
        for i = 100, 104 do
            assert.equal(502, value(n, tostring(i)))
        end
        n:wait_log("reload rolled back generation=3 group=test errors=1.000")
        posix.until_true(function()
            return n:get("/mark").body == "one"
        end, 10, "the script that was good")
        assert.equal(0, n:stop())
    end)

    it("leaves a good one, and ends the generation before with the window", function()
        local n = start(nil, GUARD)
        n:configure(config("two", nil, [[reload_guard = { errors = 0.5, window = "1s" },]]))
        reloaded(n)
        for i = 1, 30 do
            assert.equal("two:" .. i, value(n, tostring(i)))
        end
        posix.until_true(function()
            return metric(n, "hgcache_generations") == 1
        end, 20, "the end of the window")
        assert.equal("two", n:get("/mark").body)
        assert.equal(0, metric(n, 'hgcache_reloads_total{result="rolled_back"}'))
        assert.equal(0, n:stop())
    end)
end)

describe("the command line", function()
    after_each(node.finish)

    local function run(n, word, ...)
        return node.run { word, "--node", "http://127.0.0.1:" .. n.admin_port, ... }
    end

    it("reloads: the changes, or why not and 2", function()
        local n = start()
        n:configure(config("two", [[extra = { getter = function() return 1 end },]]))
        local r = run(n, "reload")
        assert.equal(0, r.code, r.err)
        assert.equal("groups.extra: added\ngeneration 2 serves, 1 changes\n", r.out)
        r = run(n, "reload", "--json")
        assert.equal(3, node.json.decode(r.out).generation)
        n:configure("return 5")
        r = run(n, "reload")
        assert.equal(2, r.code)
        assert.equal("", r.out)
        assert.is_truthy(r.err:find("^hgcache: .*expected the chunk to return one table, found number\n$"), r.err)
        assert.equal("two", n:get("/mark").body)
        assert.equal(0, n:stop())
        assert.equal(1, run(n, "reload").code)
    end)

    it("drains, as TERM does", function()
        local n = start()
        local slow = assert(http.connect(n.api_port))
        slow:send(http.format { path = "/api?group=test&key=slow1" })
        n:wait_log("began slow1")
        local r = run(n, "drain")
        assert.equal(0, r.code, r.err)
        assert.equal('{"draining":true}\n', r.out)
        n:wait_log("node draining")
        assert.equal(503, n:admin("/ready").status)
        assert.equal(0, run(n, "drain").code, "once more is no second TERM")
        assert.equal("one:slow1", slow:response().body)
        assert.equal(0, n:wait_exit().code)
    end)

    it("neither is taken from a web page or by GET", function()
        local n = start()
        for _, path in ipairs { "/reload", "/drain" } do
            assert.equal(405, n:admin(path).status)
            assert.equal(403, http.request(n.admin_port, { method = "POST", path = path,
                headers = { Origin = "https://evil.example" } }).status)
        end
        assert.equal(0, n:stop())
    end)
end)

describe("reload in a cluster", function()
    after_each(node.finish)

    it("takes another list of members, and refuses another self", function()
        local nodes = node.cluster { count = 2, config = config("one") }
        assert.equal(2, #nodes[1]:admin_json("/ring").members)
        nodes[1]:configure(config("two"):gsub("cluster = cluster%(%)", "cluster = cluster { peers = { hg.args.self } }"))
        assert.is_truthy(table.concat(reloaded(nodes[1]).changes, " "):find("cluster.peers", 1, true))
        posix.until_true(function()
            return #nodes[1]:admin_json("/ring").members == 1
        end, 10, "a ring of one")
        nodes[2]:configure(config("two"):gsub("cluster = cluster%(%)", 'cluster = cluster { lease = "3s" }'))
        local answer = nodes[2]:reload()
        assert.equal(422, answer.status)
        assert.is_truthy(answer.body:find('cluster.lease cannot change while the node runs, expected "2s" as before, found "3s"',
            1, true), answer.body)
        for _, one in ipairs(nodes) do
            assert.equal(0, one:stop())
        end
    end)

    it("asks the new function for the members, and keeps them meanwhile", function()
        local function found(more)
            return config("one"):gsub("cluster = cluster%(%)", [[cluster = { self = hg.args.self, refresh = "100ms",
                peers = function() return { hg.args.self, "http://127.0.0.1:1"]] .. more .. [[ } end }]])
        end
        local port = posix.free_port()
        local n = node.start { config = found(""), peer_port = port, args = { self = "http://127.0.0.1:" .. port } }
        posix.until_true(function()
            return #n:admin_json("/ring").members == 2
        end, 10, "the members")
        n:configure(found(', "http://127.0.0.1:2"'))
        reloaded(n)
        assert.is_true(#n:admin_json("/ring").members >= 2)
        posix.until_true(function()
            return #n:admin_json("/ring").members == 3
        end, 10, "those of the new function")
        assert.equal(0, n:stop())
    end)
end)
