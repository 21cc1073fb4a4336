-- FAULTS, part D: memory, time, invalidation in flight, a log that cannot be written, too few descriptors.

local node = require "spec.support.node"
local http = require "spec.support.http"
local posix = require "spec.support.posix"

local CONFIG = [[
return {
    node = { listen = listen(), workers = 2 },
    groups = {
        test = {
            capacity = hg.args.capacity or "64MiB", ttl = hg.args.ttl,
            getter = function(key)
                hg.log.info("[SlowDB] search key %s", key)
                local seconds = key:match("^slow%-([%d.]+)")
                if seconds then
                    hg.sleep(tonumber(seconds))
                end
                local size = key:match("^size%-(%d+)")
                return size and ("x"):rep(tonumber(size)) or "value of " .. key
            end,
        },
    },
}
]]

local function rss(pid)
    local kib = node.read("/proc/" .. pid .. "/status"):match("VmRSS:%s+(%d+) kB")
    return tonumber(kib) * 1024
end

local function cpu_ticks(pid)
    local utime, stime = node.read("/proc/" .. pid
        .. "/stat"):match("^.*%) %S+ %S+ %S+ %S+ %S+ %S+ %S+ %S+ %S+ %S+ %S+ (%d+) (%d+)")
    return tonumber(utime) + tonumber(stime)
end

-- Sanitizers keep freed memory and count their own.
local function is_sanitized(n)
    return node.read("/proc/" .. n.pid .. "/maps"):find("libasan", 1, true) ~= nil
end

describe("the store", function()
    after_each(node.finish)

    it("D1: accounted bytes never pass the capacity, replacing included", function()
        local n = node.start { config = CONFIG, args = { capacity = "2MiB" } }
        local before, capacity = rss(n.pid), 2 * 1024 * 1024
        for batch = 1, 30 do
            local items = {}
            for i = 1, 40 do
                items[i] = { n.api_port, { path = ("/api?key=size-%d-%d-%d"):format(1000 + i * 400, batch, i) } }
            end
            for i = 41, 60 do
                items[i] = { n.admin_port, {
                    method = "PUT", path = "/keys?key=same-" .. i % 3, body = ("y"):rep(math.random(100000)),
                } }
            end
            for _, r in ipairs(http.many(items)) do
                assert.is_true(r.status == 200 or r.status == 204, tostring(r.status or r.error))
            end
            local s = n:stats("test")
            assert.is_true(s.bytes <= capacity, s.bytes .. " bytes")
            assert.equal(capacity, s.capacity)
        end
        assert.is_true(n:stats("test").evictions > 100)
        if not is_sanitized(n) then
            assert.is_true(rss(n.pid) - before < capacity * 1.25 + 32 * 1024 * 1024)
        end
        assert.equal(0, n:stop())
    end)

    it("D2: a value larger than the capacity is answered, not kept, and evicts nothing", function()
        local n = node.start { config = CONFIG, args = { capacity = "1MiB" } }
        for i = 1, 20 do
            n:get("/api?key=small-" .. i)
        end
        local before = n:stats("test")
        for _ = 1, 2 do
            local r = n:get("/api?key=size-2000000")
            assert.equal(200, r.status)
            assert.equal(2000000, #r.body)
        end
        local after = n:stats("test")
        assert.equal(2, n:count("search key size-2000000"))
        assert.equal(before.entries, after.entries)
        assert.equal(before.evictions, after.evictions)
        assert.equal(before.bytes, after.bytes)
        for i = 1, 20 do
            assert.is_truthy(n:get("/api?key=small-" .. i).headers["cache-status"]:find("hit", 1, true))
        end
        assert.equal(0, n:stop())
    end)

    it("D6: a wall clock that jumps moves no lifetime", function()
        local dir = node.dir()
        local library, file = dir .. "/wallclock.so", node.write(dir .. "/seconds", "0")
        if os.execute("cc -shared -fPIC -o " .. library .. " spec/support/wallclock.c") ~= 0 then
            return pending "no C compiler"
        end
        local n = node.start { config = CONFIG, args = { ttl = "10m" }, env = {
            LD_PRELOAD = library, WALLCLOCK_FILE = file,
            ASAN_OPTIONS = "verify_asan_link_order=0:" .. (os.getenv("ASAN_OPTIONS") or ""),
        } }
        local function year()
            return tonumber(n:get("/api?key=k").headers.date:match("%d%d%d%d"))
        end
        assert.equal(200, n:get("/api?key=k").status)
        local now = year()
        for _, days in ipairs { 400, -10, 4000 } do
            node.write(file, tostring(days * 86400))
            if days > 365 then
                node.until_true(function()
                    return year() > now
                end, 5, "the Date of answers to follow the wall clock")
            end
            local r = n:get("/api?key=k")
            assert.is_truthy(r.headers["cache-status"]:find("hit", 1, true))
            local ttl = tonumber(r.headers["cache-status"]:match("ttl=(%d+)"))
            assert.is_true(ttl > 500 and ttl <= 600, "ttl " .. ttl)
            assert.is_true(tonumber(r.headers.age) < 60)
        end
        assert.equal(1, n:count("search key k\n"))
        assert.equal(0, n:stop())
    end)

    it("a lifetime ends", function()
        local n = node.start { config = CONFIG, args = { ttl = "300ms" } }
        assert.equal(200, n:get("/api?key=k").status)
        node.until_true(function()
            n:get("/api?key=k")
            return n:count("search key k\n") >= 2
        end, 10, "the value to expire")
        assert.equal(0, n:stop())
    end)

    for _, change in ipairs { "DELETE", "PUT" } do
        it("D13: a load under way when its key changes is not kept: " .. change, function()
            local n = node.start { config = CONFIG }
            local connection = assert(http.connect(n.api_port))
            connection:send(http.format { path = "/api?key=slow-1" })
            n:wait_log("search key slow-1")
            local r = n:admin("/keys?key=slow-1", { method = change, body = change == "PUT" and "by hand" or nil })
            assert.is_true(r.status == 200 or r.status == 204, tostring(r.status))
            r = connection:response()
            assert.equal(200, r.status)
            assert.equal("value of slow-1", r.body, "who came before may have the old value")
            connection:close()
            r = n:get("/api?key=slow-1")
            assert.equal(change == "PUT" and "by hand" or "value of slow-1", r.body)
            assert.equal(change == "PUT" and 1 or 2, n:count("search key slow-1\n"))
            assert.equal(0, n:stop())
        end)
    end
end)

describe("the log", function()
    after_each(node.finish)

    local function serves(n)
        for i = 1, 200 do
            assert.equal(200, n:get("/api?key=key-of-some-length-" .. ("x"):rep(200) .. i).status)
        end
    end

    it("D15: may be a full disk", function()
        local n = node.start { config = CONFIG, log_path = "/dev/full" }
        serves(n)
        assert.equal(0, n:stop())
    end)

    it("D15: may be a pipe that nobody reads, and then one that is closed", function()
        local path = node.dir() .. "/fifo"
        posix.mkfifo(path)
        local ffi = require "ffi"
        local reader = ffi.C.open(path, 2 + 2048, 0) -- both ways, so that opening does not wait
        local n = node.start { config = CONFIG, log_path = path }
        -- More lines than the pipe and the node's own buffer hold.
        local connection = assert(http.connect(n.api_port))
        for i = 1, 2000 do
            assert.equal(200, connection:request({ path = "/api?key=" .. ("y"):rep(1000) .. i }).status)
        end
        connection:close()
        local dropped = n:admin("/metrics").body:match("\nhgcache_log_dropped_total (%d+)")
        assert.is_true(tonumber(dropped) > 0)
        posix.close(reader)
        for i = 1, 50 do
            assert.equal(200, n:get("/api?key=closed-" .. i).status)
        end
        assert.is_nil(n:ended())
        posix.kill(n.pid, posix.SIGTERM)
        assert.equal(0, posix.until_true(function() return n:ended() end, 30, "the end").code)
    end)
end)

describe("descriptors", function()
    after_each(node.finish)

    it("D16: run out: accepting pauses, nothing spins, and it recovers", function()
        local n = node.start { config = CONFIG, files = 128 }
        assert.equal(200, n:get("/api?key=before").status)
        local connections = {}
        for i = 1, 200 do
            connections[i] = http.connect(n.api_port)
        end
        local ticks, started = cpu_ticks(n.pid), posix.now()
        posix.pause(1)
        local share = (cpu_ticks(n.pid) - ticks) / 100 / (posix.now() - started)
        assert.is_true(share < 0.5, "CPU " .. share)
        assert.is_nil(n:ended())
        for i = 1, 200 do
            if connections[i] then
                connections[i]:close()
            end
        end
        node.until_true(function()
            return n:get("/api?key=after", { timeout = 1 }).status == 200
        end, 10, "an answer after the flood")
        assert.equal(0, n:stop())
    end)
end)
