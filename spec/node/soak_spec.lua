-- FAULTS H10, and H12 beside it: three nodes under a load that they carry easily, and one fault after the other of the parts A to
-- H, at random. What was held at a quiet moment after the first third is held at the end, and not much more; no answer is
-- ever wrong; counters add up in each scrape, and grow.
--
-- HGCACHE_SOAK_SECONDS (180), and HGCACHE_SOAK_SEED (of the time), which is printed.

local node = require "spec.support.node"
local http = require "spec.support.http"
local posix = require "spec.support.posix"
local proxy = require "spec.support.proxy"
local cjson = require "cjson"

local SECONDS = tonumber(os.getenv "HGCACHE_SOAK_SECONDS" or 180)
local SEED = tonumber(os.getenv "HGCACHE_SOAK_SEED" or os.time())
local KEYS = 3000
local MIB = 1024 * 1024

-- Lives are short and there is no room for all keys, so that everything goes on all the time.
local CONFIG = [[
-- %MARK%
return {
    node = { listen = listen(), workers = 2, drain_timeout = "5s", drain_delay = "200ms", log = { level = "warn" } },
    cluster = cluster { timeout = "500ms", lease = "1s" },
    groups = { test = { deadline = "3s", ttl = "3s", stale_while_revalidate = "1s", stale_if_error = "10s", negative_ttl = "1s",
        capacity = "1MiB", policy = "s3-fifo", hot = 0.2, getter = function(key, ctx)
            local n = tonumber(key:match("%d+$"))
            if key:find("^none") then
                return nil
            elseif n % 97 == 0 and hg.now() % 10 < 2 then
                error("the source has a bad moment")
            elseif n % 53 == 0 then
                hg.sleep(0.1)
            end
            return "value of " .. key .. (" 0123456789abcdef"):rep(n % 100), { tags = { "t" .. n % 10 } }
        end }, other = { ttl = "10s", getter = function() end } },
    routes = { ["GET /api"] = hg.serve(), ["GET /lua"] = function(req)
        local value, err = hg.group("test"):get(req.query.key)
        return value or hg.reply { status = err and 503 or 404, body = tostring(err) }
    end },
}]]

local function config(mark)
    return (CONFIG:gsub("%%MARK%%", mark))
end

local function value_of(key)
    local n = tonumber(key:match "%d+$")
    return not key:find "^none" and "value of " .. key .. (" 0123456789abcdef"):rep(n % 100) or nil
end

local nodes, proxies, last = {}, {}, {}

local function start()
    local ports, behind, members = {}, {}, {}
    for i = 1, 3 do
        ports[i], behind[i] = posix.free_port(), posix.free_port()
        members[i] = "http://127.0.0.1:" .. ports[i]
        proxies[i] = proxy.start(ports[i], behind[i])
    end
    for i = 1, 3 do
        nodes[i] = node.start { config = config "one", wait = false, peer_port = behind[i],
            args = { self = members[i], peers = table.concat(members, ",") } }
    end
    for _, one in ipairs(nodes) do
        one:wait_ready()
    end
    -- A group's table of tags is made for the first that goes, and stays.
    assert.equal(200, http.request(nodes[1].admin_port, { method = "DELETE", path = "/tags?group=test&tag=t0" }).status)
end

-- Requests that no client of sound mind makes (E1 to E11, G1, G2). Each is answered or closed, and nothing else comes of it.
local BAD = {
    "GET /api?group=test&key=%zz HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /api?group=test&key=" .. ("k"):rep(7000) .. " HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /api?group=test&key=a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "GET /api HTTP/1.1\r\nHost: a\r\nX: " .. ("x"):rep(100000) .. "\r\n\r\n",
    "POST /api HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551617\r\n\r\n",
    "GET /../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n",
    "\22\3\1\2\0\1\0\1\252\3\3" .. ("\0"):rep(100),
    ("\255"):rep(5000),
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" .. ("\0\0\0\4\1\0\0\0\0"):rep(2000), -- a flood of SETTINGS acknowledged
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\255\255\255\0\0\0\0\0\1",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" .. ("\0\0\4\3\0\0\0\0\1\0\0\0\8"):rep(2000), -- resets of what never was
    "GET /hgcache/test/a?group=%00 HTTP/1.1\r\nHost: a\r\n\r\n",
}

local function one_of(list)
    return list[math.random(#list)]
end

-- Only these two end; what the first one holds is looked at.
local function mortal()
    return nodes[math.random(2, 3)]
end

local function throw(port)
    local connection = http.connect(port, { timeout = 1 })
    if not connection then
        return
    end
    pcall(connection.send, connection, one_of(BAD), 1)
    if math.random(2) == 1 then
        connection:reset()
    else
        connection:close()
    end
end

-- Those that a balancer would ask.
local function present()
    local list = {}
    for _, one in ipairs(nodes) do
        if one.is_new and http.get(one.admin_port, "/ready", { timeout = 1 }).status == 200 then
            one.is_away, one.is_new = nil, nil
        end
        list[#list + 1] = not one.is_away and one or nil
    end
    return list
end

-- name -> what it does; returns what ends it
local FAULTS = {
    kill = function() -- A1, A20
        local one = mortal()
        one.is_away = true
        one:kill()
        return function()
            one:launch()
            one.is_new = true
        end
    end,
    stop = function() -- H3
        local one = mortal()
        one.is_away = true
        posix.kill(one.pid, posix.SIGTERM)
        return function()
            assert.equal(0, one:wait_exit().code, one:log())
            one:launch()
            one.is_new = true
        end
    end,
    freeze = function() -- A3
        local one = one_of(nodes)
        one:signal(posix.SIGSTOP)
        return function()
            one:signal(posix.SIGCONT)
        end
    end,
    network = function() -- A2, A4, A13 to A16
        local one = one_of(proxies)
        one:set(one_of { "drop", "cut 100", "slow 20", "loss 40", "garbage", "reset" })
        return function()
            one:set "pass"
        end
    end,
    reload = function() -- H1, H2
        local one = one_of(present())
        one:configure(one_of { config(tostring(math.random(1000))), "return {", "return { groups = { test = {} } }",
            "error('no')" })
        one:signal(posix.SIGHUP)
        return function()
            one:configure(config "one")
            if not one:ended() then
                one:signal(posix.SIGHUP)
            end
        end
    end,
    invalidate = function() -- D13
        for _ = 1, 20 do
            local method, path = unpack(one_of {
                { "DELETE", "/keys?group=test&key=key" .. math.random(KEYS) },
                { "PUT", "/keys?group=other&key=key" .. math.random(KEYS) },
                { "DELETE", "/tags?group=test&soft=1&tag=t" .. math.random(0, 9) },
                { "DELETE", "/tags?group=test&tag=t" .. math.random(0, 9) },
                { "POST", "/flush?group=" .. one_of { "test", "other" } },
            })
            local body = method == "PUT" and "put" or nil
            http.request(one_of(nodes).admin_port, { method = method, path = path, body = body, timeout = 1 })
        end
    end,
    bad = function() -- E, F, A6
        for _ = 1, 20 do
            local one = one_of(nodes)
            throw(one_of { one.api_port, one.peer_port, one.admin_port })
        end
    end,
    slow = function() -- E1, E3: clients that stay, and say half of it
        local open, one = {}, one_of(nodes)
        for i = 1, 100 do
            open[i] = http.connect(one.api_port, { timeout = 1 })
            if open[i] then
                pcall(open[i].send, open[i], "GET /api?group=test&key=key1 HTTP/1.1\r\nHo", 1)
            end
        end
        return function()
            for _, connection in pairs(open) do
                connection:close()
            end
        end
    end,
    flood = function() -- C18, G1: keys that nobody knows
        local items, one = {}, one_of(nodes)
        for i = 1, 500 do
            items[i] = { one.api_port, { path = ("/api?group=test&key=none%d"):format(math.random(1e9)) } }
        end
        http.many(items, 10)
    end,
}

local NAMES = {}
for name in pairs(FAULTS) do
    NAMES[#NAMES + 1] = name
end
table.sort(NAMES)

local SUMS = {
    { "gets", "hits", "hot_hits", "stale_hits", "negative_hits", "error_hits", "misses" },
    { "misses", "loads", "loads_deduped", "refused" },
}

local GAUGES = { entries = true, bytes = true, capacity = true, flights = true, waiters = true, hot_keys = true }

-- A scrape of each that answers: counters add up, and none has become less.
local function look(all)
    for i, one in ipairs(nodes) do
        local r = http.get(one.admin_port, "/stats", { timeout = 1 })
        assert(r.status == 200 or not all, "no stats: " .. tostring(r.status or r.error))
        local stats = r.status == 200 and cjson.decode(r.body).groups.test
        for _, sum in ipairs(stats and SUMS or {}) do
            local total = 0
            for n = 2, #sum do
                total = total + stats[sum[n]]
            end
            assert.equal(stats[sum[1]], total, sum[1] .. " of node " .. i .. ": " .. r.body)
        end
        local before = last[i]
        if stats and before and before.pid == one.pid then
            for name, count in pairs(before.stats) do
                assert(GAUGES[name] or type(count) ~= "number" or stats[name] >= count,
                    ("%s of node %d: %s, then %s"):format(name, i, tostring(count), tostring(stats[name])))
            end
        end
        last[i] = stats and { pid = one.pid, stats = stats } or before
    end
end

local asked, failed, refusals = 0, 0, {}

-- A turn of the load: what comes is right, or an error that says so.
local function load(names)
    local items, keys, there = {}, {}, present()
    for i = 1, 60 do
        local one = one_of(there)
        -- Half of it is for a few keys.
        keys[i] = (math.random(20) == 1 and "none" or "key") .. math.random(math.random(2) == 1 and 20 or KEYS)
        items[i] = { one.api_port, { path = (math.random(4) == 1 and "/lua?key=" or "/api?group=test&key=") .. keys[i] } }
    end
    for i, r in ipairs(http.many(items, 10)) do
        asked = asked + 1
        if r.status == 200 then
            assert(r.body == value_of(keys[i]), keys[i] .. " has another value: " .. r.body:sub(1, 100))
        elseif r.status == 404 then
            assert(value_of(keys[i]) == nil, keys[i] .. " is not there")
        else
            local why = tostring(r.status or r.error)
            assert(not r.status or r.status >= 500, why .. " " .. tostring(r.body))
            refusals[why] = (refusals[why] or 0) + 1
            failed = failed + 1
        end
    end
    for _, one in ipairs(nodes) do
        local exit = one:ended()
        assert(not exit or names.kill or names.stop, "a node has ended: " .. one:log())
    end
end

local function descriptors(one)
    local pipe = io.popen("ls /proc/" .. one.pid .. "/fd | wc -l")
    local count = tonumber(pipe:read "*a")
    pipe:close()
    return count
end

-- Of the first node, which lives through all of it, when nothing goes on and nobody's connection is open.
local function holdings()
    local one, found = nodes[1], {}
    for _, group in ipairs { "test", "other" } do
        assert.equal(200, http.request(one.admin_port, { method = "POST", path = "/flush?group=" .. group, timeout = 5 }).status)
    end
    -- What the peers keep open, and what goes by and by.
    node.until_true(function()
        local text, entries = one:admin("/metrics").body, one:stats("test").entries
        local live = tonumber(text:match "\nhgcache_memory_live_bytes (%d+)")
        local rest = descriptors(one)
        local is_still = entries == 0 and found.live and math.abs(found.live - live) < 65536 and found.descriptors == rest
        found = { live = live, descriptors = rest,
            rss = tonumber(node.read("/proc/" .. one.pid .. "/status"):match "VmRSS:%s+(%d+)") * 1024 }
        posix.pause(0.2)
        return is_still
    end, 30, "a quiet node")
    return found
end

-- Faults until then, one or two at a time.
local function soak(seconds)
    local limit, under_way = posix.now() + seconds, {}
    while posix.now() < limit do
        local now = posix.now()
        if math.random(8) == 1 then
            local name = one_of(NAMES)
            if not under_way[name] and not (name == "stop" and under_way.kill) and not (name == "kill" and under_way.stop)
                and not (under_way.freeze or (name == "freeze" and next(under_way))) then
                under_way[name] = { ends = now + math.random() * 2, undo = FAULTS[name]() or function() end }
            end
        end
        for name, fault in pairs(under_way) do
            if now > fault.ends then
                under_way[name] = nil
                fault.undo()
            end
        end
        load(under_way)
        look(false)
        posix.pause(0.05)
    end
    for _, fault in pairs(under_way) do
        fault.undo()
    end
    for i, one in ipairs(nodes) do
        one:wait_ready()
        node.until_true(function()
            return one:admin_json("/ring").members[i].state ~= "down"
        end, 10, "peers that are up")
    end
end

describe("H10: a soak", function()
    after_each(function()
        node.finish()
        for _, one in ipairs(proxies) do
            one:stop()
        end
    end)

    it("with faults at random: nothing is wrong, nothing grows, counters add up", function()
        print(("soak: %d s, seed %d"):format(SECONDS, SEED))
        math.randomseed(SEED)
        start()
        soak(SECONDS / 3)
        local before = holdings()
        soak(SECONDS * 2 / 3)
        local after = holdings()
        look(true)
        local lines = {}
        for why, count in pairs(refusals) do
            lines[#lines + 1] = why .. ": " .. count
        end
        table.sort(lines)
        print(("soak: %d asked, %d refused (%s); live bytes %d -> %d, resident %d -> %d, descriptors %d -> %d"):format(
            asked, failed, table.concat(lines, ", "), before.live, after.live, before.rss, after.rss, before.descriptors,
            after.descriptors))
        assert(asked > 20 * SECONDS, asked .. " asked")
        assert(failed < asked / 10, failed .. " of " .. asked)
        assert(after.live < before.live * 1.1 + MIB, "live bytes")
        assert(node.is_sanitized() or after.rss < before.rss * 1.1 + 8 * MIB, "resident bytes")
        -- How many connections the peers have kept differs; what leaks goes on doing so.
        assert(after.descriptors <= before.descriptors + 24, "descriptors")
    end)
end)
