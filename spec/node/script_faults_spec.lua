-- FAULTS, part C: whatever a script does, it fails its own request only. A polite client on a hot key watches.

local node = require "spec.support.node"
local http = require "spec.support.http"
local posix = require "spec.support.posix"

local function start(getter, more)
    more = more or {}
    return node.start {
        args = more.args,
        config = ([[
local runs = {}
local function run_of(key)
    runs[key] = (runs[key] or 0) + 1
    return runs[key]
end
return {
    node = {
        listen = listen(), scripts = { getters = %d, routes = 1 },
        script = { memory = "%s", budget = "%s", jit = %s }, limits = %s,
    },
    groups = {
        polite = { getter = function(key) return "polite " .. key end },
        test = {
            %s
            getter = function(key, ctx)
                local run = run_of(key)
                hg.log.info("run %%d of %%s", run, key)
                %s
            end,
        },
    },
    routes = { ["GET /api"] = hg.serve("test"), ["GET /polite"] = hg.serve("polite") },
}
]]):format(more.threads or 1, more.memory or "32MiB", more.budget or "100ms", tostring(more.jit or false),
            more.limits or "{}", more.group or "", getter),
    }
end

-- Asks without waiting for the answer.
local function ask(n, key)
    local connection = assert(http.connect(n.api_port))
    connection:send(http.format { path = "/api?key=" .. key })
    return connection
end

-- Slowest of some hits, while something else goes on.
local function slowest_hit(n, count)
    local worst = 0
    local connection = assert(http.connect(n.api_port))
    for _ = 1, count or 50 do
        local started = posix.now()
        local r = connection:request { path = "/polite?key=hot" }
        assert.equal(200, r.status)
        worst = math.max(worst, posix.now() - started)
    end
    connection:close()
    return worst
end

local HIT_SECONDS = 0.5 -- a shared machine and a sanitizer build; a blocked hit takes as long as the script

local function still_well(n)
    assert.is_nil(n:ended())
    assert.equal("polite again", n:get("/polite?key=again").body)
    local s = n:stats("test")
    assert.equal(s.gets, s.hits + s.hot_hits + s.stale_hits + s.negative_hits + s.error_hits + s.misses)
    assert.equal(s.misses, s.loads + s.loads_deduped + s.refused)
    assert.equal(0, n:stop())
end

describe("a getter", function()
    after_each(node.finish)

    it("C1: returns an error: all waiters get it once, and it is remembered for error_ttl", function()
        local n = start([[ hg.sleep(0.2) return nil, "why " .. key ]], { group = 'error_ttl = "20s",' })
        local items = {}
        for i = 1, 50 do
            items[i] = { n.api_port, { path = "/api?key=k" } }
        end
        for _, r in ipairs(http.many(items)) do
            assert.equal(502, r.status)
            assert.is_nil(r.body:find("why", 1, true), "the message is not for clients: " .. r.body)
            assert.equal(1, select(2, r.body:gsub("\n", "")))
        end
        assert.equal(1, n:count("run 1 of k"))
        assert.equal(502, n:get("/api?key=k").status)
        assert.equal(0, n:count("run 2 of k"))
        assert.is_true(n:stats("test").error_hits >= 1)
        still_well(n)
    end)

    it("C1: returns an error without error_ttl: the next request tries again", function()
        local n = start [[ if run == 1 then return nil, "why" end return "v" ]]
        assert.equal(502, n:get("/api?key=k").status)
        assert.equal("v", n:get("/api?key=k").body)
        still_well(n)
    end)

    it("C1: says its class", function()
        local n = start([[
            return hg.fail { class = key ~= "plain" and key or nil, message = "why",
                retry_after = key == "unavailable" and 7 or nil }
        ]], { group = "expose_errors = true," })
        for class, status in pairs { internal = 502, unavailable = 503, timeout = 504, denied = 403, too_large = 502,
            plain = 502 } do
            local r = n:get("/api?key=" .. class)
            assert.equal(status, r.status)
            assert.is_truthy(r.body:find("why", 1, true), r.body)
        end
        assert.equal("7", n:get("/api?key=unavailable").headers["retry-after"])
        still_well(n)
    end)

    it("C2: throws anything: 502 with a safe message, and the next request tries again", function()
        local n = start [[
            if run > 1 then
                return "well"
            elseif key == "nil" then
                error(nil)
            elseif key == "table" then
                error({ secret = 1 })
            elseif key == "userdata" then
                error(newproxy())
            elseif key == "tostring" then
                error(setmetatable({}, { __tostring = function() error("again") end }))
            elseif key == "tostring-number" then
                error(setmetatable({}, { __tostring = function() return 5 end }))
            elseif key == "string" then
                error("secret path /etc/x")
            elseif key == "function" then
                error(function() end)
            elseif key == "index" then
                return key.a.b.c
            elseif key == "long" then
                error(("x"):rep(1e6))
            elseif key == "control" then
                error("a\r\nb: c\0d")
            end
        ]]
        local keys = { "nil", "table", "userdata", "tostring", "tostring-number", "string", "function", "index",
            "long", "control" }
        for _, key in ipairs(keys) do
            local r = n:get("/api?key=" .. key)
            assert.equal(502, r.status)
            assert.is_nil(r.body:find("secret", 1, true))
            assert.is_true(#r.body < 1000)
            assert.equal("well", n:get("/api?key=" .. key).body)
        end
        assert.is_nil(n:log():find("\nb: c", 1, true), "one event is one line")
        still_well(n)
    end)

    it("C3, C4: goes on when its callers leave, and the value is kept", function()
        local n = start [[ hg.sleep(0.5) return "v" ]]
        local first, second = ask(n, "k"), ask(n, "k")
        n:wait_log("run 1 of k")
        first:reset()
        second:close()
        node.until_true(function()
            return n:get("/api?key=k").headers["cache-status"]:find("hit", 1, true)
        end, 10, "the value in the store")
        assert.equal(0, n:count("run 2 of k"))
        still_well(n)
    end)

    it("C5: loops: 504 within twice the budget, and hits never notice", function()
        local n = start([[
            if key == "loop" then while true do end
            elseif key == "pcall" then while true do pcall(function() while true do end end) end
            elseif key == "recursion" then local function f() return f() end f()
            end
            return "v"
        ]], { budget = "200ms" })
        n:get("/polite?key=hot")
        for _, key in ipairs { "loop", "pcall", "recursion" } do
            local started = posix.now()
            local connection = ask(n, key)
            local worst = slowest_hit(n)
            local r = connection:response()
            assert.equal(504, r.status)
            assert.is_true(posix.now() - started < 2, "took " .. posix.now() - started)
            assert.is_true(worst < HIT_SECONDS, "slowest hit " .. worst)
            connection:close()
        end
        assert.equal("v", n:get("/api?key=other").body)
        still_well(n)
    end)

    it("C5: loops again and again: no mark on the breaker, other keys of the group go on", function()
        local n = start([[
            if key:find("loop", 1, true) then while true do end end
            return "v"
        ]], { budget = "50ms" })
        for i = 1, 8 do
            assert.equal(504, n:get("/api?key=loop" .. i).status)
        end
        assert.equal("v", n:get("/api?key=other").body)
        still_well(n)
    end)

    it("C6: loops in compiled code: the thread is replaced", function()
        local n = start([[
            if key == "loop" then local x = 0 while true do x = x + 1 end end
            return "v"
        ]], { jit = true })
        n:get("/polite?key=hot")
        local started = posix.now()
        local connection = ask(n, "loop")
        local worst = slowest_hit(n)
        assert.equal(504, connection:response().status)
        assert.is_true(posix.now() - started < 4.5)
        assert.is_true(worst < HIT_SECONDS)
        assert.equal("v", n:get("/api?key=other").body)
        assert.is_nil(n:ended())
        assert.is_true(n:stop() ~= nil)
    end)

    it("C7: is stuck in C: the thread is replaced, the key quarantined, other keys go on", function()
        local n = start [[
            if key == "bomb" then
                return (("a"):rep(30):find(("a?"):rep(30) .. ("a"):rep(30)))
            end
            return "v"
        ]]
        n:get("/polite?key=hot")
        local started = posix.now()
        local connection = ask(n, "bomb")
        local worst = slowest_hit(n)
        assert.equal(504, connection:response().status)
        assert.is_true(posix.now() - started < 4.5, "took " .. posix.now() - started)
        assert.is_true(worst < HIT_SECONDS)
        assert.equal("v", n:get("/api?key=other").body)
        started = posix.now()
        local r = n:get("/api?key=bomb")
        assert.is_true(r.status == 503 or r.status == 504, tostring(r.status))
        assert.is_true(posix.now() - started < 1, "a quarantined key is refused at once")
        assert.equal(0, n:count("run 2 of bomb"))
        assert.is_nil(n:ended())
        assert.is_true(n:stop() ~= nil)
    end)

    it("C8: wants all memory: 502, and the node lives", function()
        local n = start([[
            if key == "rep" then
                return ("x"):rep(1e9)
            elseif key == "table" then
                local t = {}
                while true do t[#t + 1] = { #t } end
            elseif key == "concat" then
                local s = "x"
                while true do s = s .. s end
            elseif key == "catch" then
                local t = {}
                while true do pcall(function() while true do t[#t + 1] = ("x"):rep(1000) .. #t end end) end
            end
            return "v"
        ]], { memory = "16MiB", budget = "2s" })
        for _, key in ipairs { "rep", "table", "concat", "catch", "rep" } do
            local r = n:get("/api?key=" .. key)
            assert.is_true(r.status == 502 or key == "catch" and r.status == 504, key .. " " .. tostring(r.status
                or r.error))
            assert.equal("v", n:get("/api?key=after-" .. key).body)
        end
        still_well(n)
    end)

    it("C9: never answers: 504 at the source's timeout, and a late answer is dropped", function()
        local n = start([[
            if key == "yield" and run == 1 then
                coroutine.yield()
            elseif key == "sleep" and run == 1 then
                hg.sleep(1)
                return "late"
            end
            return "v" .. run
        ]], { group = 'source = { timeout = "300ms" },' })
        for _, key in ipairs { "yield", "sleep" } do
            local started = posix.now()
            local r = n:get("/api?key=" .. key)
            assert.is_true(r.status == 504 or key == "yield" and r.status == 502, tostring(r.status))
            assert.is_true(posix.now() - started < 3)
        end
        assert.equal("v2", n:get("/api?key=sleep").body)
        -- The late answer of run 1 has come and gone.
        node.until_true(function()
            local s = n:admin_json "/stats"
            return s.node and n:get("/api?key=poll-" .. math.random(1e9)).status == 200
        end)
        assert.equal("v2", n:get("/api?key=sleep").body)
        still_well(n)
    end)

    it("C10: is resumed by others: it still answers once", function()
        local n = start [[
            local me = coroutine.running()
            local tricks = 0
            hg.spawn(function()
                pcall(coroutine.resume, me, "fake")
                tricks = tricks + 1
            end)
            hg.sleep(0.1)
            local inner = coroutine.wrap(function()
                hg.sleep(0.05)
                coroutine.yield("a")
                hg.sleep(0.05)
                return "b"
            end)
            return inner() .. inner() .. run
        ]]
        assert.equal("ab1", n:get("/api?key=k").body)
        assert.equal("ab1", n:get("/api?key=k2").body)
        still_well(n)
    end)

    it("C11: overflows every stack: an error, not a crash", function()
        local n = start([[
            if key == "deep" then
                local function f() return 1 + f() end
                return f()
            elseif key == "pcall" then
                local function f() return pcall(f) end
                return tostring(f()) == "x" and "x" or nil, "done"
            elseif key == "gsub" then
                local function f() return (("x"):gsub(".", f)) end
                return f()
            elseif key == "sort" then
                local t = {}
                for i = 1, 1000 do t[i] = i % 7 end
                table.sort(t, function() return true end)
                return "sorted"
            elseif key == "meta" then
                local t = setmetatable({}, {})
                getmetatable(t).__index = function(_, k) return t[k .. "x"] end
                return t.a
            elseif key == "unpack" then
                return (select("#", unpack({}, 1, 1e7)))
            elseif key == "concat" then
                return (("x"):rep(100, ("y"):rep(1e8)))
            elseif key == "sleep-in-sort" then
                table.sort({ 3, 2, 1 }, function(a, b) hg.sleep(0.01) return a < b end)
                return "sorted"
            elseif key == "sleep-in-gsub" then
                return (("abc"):gsub(".", function() hg.sleep(0.01) return "x" end))
            end
            return "v"
        ]], { budget = "2s" })
        for _, key in ipairs { "deep", "pcall", "gsub", "sort", "meta", "unpack", "concat", "sleep-in-sort",
            "sleep-in-gsub" } do
            local r = n:get("/api?key=" .. key)
            assert.is_true(r.status == 502 or r.status == 504 or key == "sort" and r.status == 200, key .. " "
                .. tostring(r.status or r.error))
            assert.equal("v", n:get("/api?key=after-" .. key).body)
        end
        still_well(n)
    end)

    it("C12: asks for its own key, or round a corner: a recursive load is an error", function()
        local n = start([[
            local group = hg.group("test")
            if key == "self" then
                return assert(group:get("self"))
            elseif key == "a" then
                return assert(group:get("b"))
            elseif key == "b" then
                return assert(group:get("c"))
            elseif key == "c" then
                return assert(group:get("a"))
            elseif key == "sum" then
                return assert(group:get("one")) .. assert(group:get("two"))
            end
            return "v"
        ]], { threads = 2, group = "expose_errors = true," })
        for _, key in ipairs { "self", "a" } do
            local started = posix.now()
            local r = n:get("/api?key=" .. key)
            assert.equal(502, r.status)
            assert.is_truthy(r.body:find("recursive", 1, true), r.body)
            assert.is_true(posix.now() - started < 3)
        end
        assert.equal("vv", n:get("/api?key=sum").body)
        still_well(n)
    end)

    it("C17: returns a lifetime of 0: served and not kept; one that is none: an error", function()
        local n = start([[
            local bad = { negative = -1, nan = 0 / 0, inf = math.huge, huge = 1e300, text = "ten", bool = true }
            if key == "zero" then
                return "v" .. run, { ttl = 0 }
            elseif key == "good" then
                return "v" .. run, { ttl = "10m" }
            end
            return "v", { ttl = bad[key] }
        ]], { group = "source = { breaker = { failures = 0 } }," })
        assert.equal("v1", n:get("/api?key=zero").body)
        assert.equal("v2", n:get("/api?key=zero").body)
        assert.equal("v1", n:get("/api?key=good").body)
        assert.equal("v1", n:get("/api?key=good").body)
        for _, key in ipairs { "negative", "nan", "inf", "huge", "text", "bool" } do
            assert.equal(502, n:get("/api?key=" .. key).status, key)
        end
        still_well(n)
    end)

    it("C18: many cold keys at once: the excess is refused at once with 503 and Retry-After", function()
        local n = start([[ hg.sleep(1) return "v" ]], {
            limits = "{ flights = 200 }", group = "source = { concurrency = 8, queue = 100 },",
        })
        n:get("/polite?key=hot")
        local items = {}
        for i = 1, 1000 do
            items[i] = { n.api_port, { path = "/api?key=cold-" .. i } }
        end
        local refused, other = 0, {}
        for _, r in ipairs(http.many(items, 60)) do
            if r.status == 503 then
                refused = refused + 1
                assert.is_truthy(r.headers["retry-after"])
            elseif r.status ~= 200 and r.status ~= 504 then
                other[#other + 1] = tostring(r.status or r.error)
            end
        end
        assert.same({}, other)
        assert.is_true(refused >= 800, "refused " .. refused)
        assert.is_true(slowest_hit(n) < HIT_SECONDS)
        still_well(n)
    end)

    it("C19: blocks in C: it occupies its thread only, and that is told", function()
        local n = start([[
            if key == "block" then
                local pipe = io.popen("sleep 2; echo done")
                local line = pipe:read("*l")
                pipe:close()
                return line
            end
            return "v"
        ]], { threads = 2 })
        n:get("/polite?key=hot")
        local connection = ask(n, "block")
        n:wait_log("run 1 of block")
        local worst = slowest_hit(n)
        assert.is_true(worst < HIT_SECONDS, "slowest hit " .. worst)
        assert.equal("v", n:get("/api?key=other").body)
        local r = connection:response()
        assert.equal(200, r.status)
        assert.equal("done", r.body)
        n:wait_log("blocked")
        still_well(n)
    end)
end)

describe("a getter beside a million live objects", function()
    after_each(node.finish)

    local P99_SECONDS = 0.02

    -- So many loads, each with a hit beside it. -> the p99 of either, in seconds
    local function p99(n, count)
        local connection, polite = assert(http.connect(n.api_port)), assert(http.connect(n.api_port))
        local loads, hits = {}, {}
        for i = 1, count do
            local started = posix.now()
            connection:send(http.format { path = "/api?key=load" .. i })
            assert.equal("polite hot", polite:request { path = "/polite?key=hot" }.body)
            hits[i] = posix.now() - started
            assert.equal("v", connection:response().body)
            loads[i] = posix.now() - started
        end
        connection:close()
        polite:close()
        table.sort(loads)
        table.sort(hits)
        return loads[math.ceil(count * 0.99)], hits[math.ceil(count * 0.99)]
    end

    it("C20: is not held up by the collector, and neither is a hit", function()
        -- What the loads leave behind is more than what lives, so the collector goes round meanwhile.
        local n = start([[
            if key == "fill" then
                local function count_rounds()
                    getmetatable(newproxy(true)).__gc = function()
                        rounds = rounds + 1
                        count_rounds()
                    end
                end
                rounds, kept = 0, {}
                for i = 1, 1e6 do
                    kept[i] = { i }
                end
                count_rounds()
                return "full"
            elseif key:find("^rounds") then
                return rounds .. " " .. #kept
            end
            local left = {}
            for i = 1, 2000 do
                left[i] = { key }
            end
            return "v", { ttl = 0 }
        ]], { memory = "1GiB", budget = "20s", group = 'source = { timeout = "30s" }, deadline = "30s",' })
        n:get("/polite?key=hot")
        assert.equal("full", n:get("/api?key=fill", { timeout = 30 }).body)
        local before = tonumber(n:get("/api?key=rounds1").body:match("^%d+"))
        local load, hit = p99(n, 2000)
        local after, kept = n:get("/api?key=rounds2").body:match("^(%d+) (%d+)$")
        assert.is_true(tonumber(after) > before, "the collector went round")
        assert.equal("1000000", kept)
        assert.is_true(load < P99_SECONDS, "p99 of loads " .. load)
        assert.is_true(hit < P99_SECONDS, "p99 of hits " .. hit)
        still_well(n)
    end)
end)

describe("a getter of clocks, chance and the order of pairs", function()
    after_each(node.finish)

    it("C22: runs once, and all get what it returned, to the byte", function()
        local n = start([[
            if key:find("^first") then
                hg.sleep(0.01)
                drawn = drawn or math.random(2 ^ 30)
                return drawn
            end
            hg.sleep(0.2)
            local parts, names = { hg.now(), hg.monotonic(), os.time(), os.clock(), math.random() }, {}
            for i = 1, 50 do
                names["name" .. i] = true
            end
            for name in pairs(names) do
                parts[#parts + 1] = name
            end
            return table.concat(parts, " ")
        ]], { threads = 4 })
        -- Chance begins alike in each state.
        local first, of_states = n:get("/api?key=first").body, {}
        for i = 1, 40 do
            of_states[i] = { n.api_port, { path = "/api?key=first" .. i } }
        end
        for _, answer in ipairs(http.many(of_states, 20)) do
            assert.equal(first, answer.body)
        end
        local last, loads = nil, n:stats("test").local_loads
        for round = 1, 2 do
            local items = {}
            for i = 1, 100 do
                items[i] = { n.api_port, { path = "/api?key=odd" } }
            end
            local answers = http.many(items, 20)
            for i = 1, 100 do
                assert.equal(200, answers[i].status)
                assert.equal(answers[1].body, answers[i].body)
                assert.equal(answers[1].headers.etag, answers[i].headers.etag)
            end
            assert.equal(answers[1].body, n:get("/api?key=odd").body)
            assert.equal(loads + round, n:stats("test").local_loads)
            assert.equal(200, n:admin("/keys?group=test&key=odd", { method = "DELETE" }).status)
            -- A second load may say something else.
            assert.are_not.equal(last, answers[1].body)
            last = answers[1].body
        end
        still_well(n)
    end)
end)

describe("a function route", function()
    after_each(node.finish)

    it("fails alone, whatever it does", function()
        local n = node.start { config = [[
return {
    node = { listen = listen(), scripts = { getters = 1, routes = 1 }, script = { memory = "16MiB",
        budget = "200ms" } },
    groups = { test = { getter = function(key) return "v" end } },
    routes = {
        ["GET /api"] = hg.serve("test"),
        ["GET /throw"] = function() error("secret") end,
        ["GET /loop"] = function() while true do end end,
        ["GET /nothing"] = function() end,
        ["GET /table"] = function() return {} end,
        ["GET /status"] = function() return 99999, "x" end,
        ["GET /split"] = function() return 200, "x", { ["X-A"] = "b\r\nX-Evil: 1" } end,
        ["GET /name"] = function() return 200, "x", { ["X\r\nEvil: 1"] = "b" } end,
        ["GET /length"] = function() return 200, "x", { ["Content-Length"] = "100" } end,
        ["GET /slow"] = { handler = function() hg.sleep(5) return "late" end, timeout = "200ms" },
        ["GET /well"] = function(req) return 201, "made", { ["X-A"] = "b", ["Content-Type"] = "text/plain" } end,
        ["POST /echo"] = function(req) return req.body end,
    },
}
]] }
        for _, path in ipairs { "throw", "table", "status", "split", "name" } do
            local r = n:get("/" .. path)
            assert.equal(502, r.status, path)
            assert.is_nil(r.raw:find("secret", 1, true))
            assert.is_nil(r.raw:find("Evil", 1, true))
        end
        assert.equal(504, n:get("/loop").status)
        local started = posix.now()
        assert.equal(504, n:get("/slow").status)
        assert.is_true(posix.now() - started < 3)
        local r = n:get("/well")
        assert.equal(201, r.status)
        assert.equal("made", r.body)
        assert.equal("b", r.headers["x-a"])
        r = n:get("/length")
        assert.is_true(r.status == 502 or r.status == 200 and r.body == "x", tostring(r.status))
        r = n:get("/echo", { method = "POST", body = "a\0b" })
        assert.equal("a\0b", r.body)
        assert.equal("v", n:get("/api?key=k").body)
        assert.equal(0, n:stop())
    end)
end)
