-- P6 and P7 of bench/run.lua: a key that another node owns, and hits over gRPC.

local ffi = require "ffi"

local M = {}

local GET = "/hgcache.cache.GroupCache/Get"
local POINTS, KEYS = 2048, 100000

-- The default ring (core/cache/ring.h), on the library's own hash.
local function owners(members)
    ffi.cdef "unsigned long long XXH64(const void *input, size_t length, unsigned long long seed);"
    local xxhash = ffi.load "libxxhash.so.0"
    local function hash(text)
        return xxhash.XXH64(text, #text, 0)
    end
    local points = {}
    for _, name in ipairs(members) do
        for i = 0, POINTS - 1 do
            points[#points + 1] = { hash(i .. "\0" .. name), name }
        end
    end
    table.sort(points, function(a, b)
        return a[1] < b[1]
    end)
    return function(key)
        local wanted, low, high = hash(key), 1, #points + 1
        while low < high do
            local middle = math.floor((low + high) / 2)
            if points[middle][1] < wanted then
                low = middle + 1
            else
                high = middle
            end
        end
        return (points[low] or points[1])[2]
    end
end

-- Files of keys by owner.
local function write_keys(tools, members)
    local owner, lists, files = owners(members), {}, {}
    for i, name in ipairs(members) do
        lists[name], files[i] = {}, ("%s/bench-keys-%d"):format(tools.out, i)
    end
    for i = 1, KEYS do
        local key = ("k%06d"):format(i)
        table.insert(lists[owner(key)], key)
    end
    for i, name in ipairs(members) do
        tools.write(files[i], table.concat(lists[name], "\n") .. "\n")
    end
    return files
end

-- CPU of both nodes, microseconds a request, of Zipf's keys that are our own (1) and the other node's (2).
local function measure_shares(tools, ports, hot)
    local members, pids = {}, {}
    for i, port in ipairs(ports) do
        members[i] = "http://127.0.0.1:" .. port + 200
    end
    local files = write_keys(tools, members)
    for i, port in ipairs(ports) do
        pids[i] = tools.start("hgcache-" .. i, tools.command(port, port + 100, ("self=%s peers=%s %s"):format(members[i],
            table.concat(members, ","), hot and "" or "hot=0")), port, tools.core)
    end
    local us = { {}, {} }
    for _, file in ipairs(files) do
        tools.wrk(ports[1], 64, 4, "zipf", file)
    end
    for round = 1, tools.options.rounds do
        for i, file in ipairs(files) do
            local cpu = tools.cpu_seconds(pids[1]) + tools.cpu_seconds(pids[2])
            local run = tools.wrk(ports[1], 64, tools.options.seconds, "zipf", file)
            if run.failed > 0 then
                error(("P6: %d of %d requests failed"):format(run.failed, run.requests), 0)
            end
            us[i][round] = (tools.cpu_seconds(pids[1]) + tools.cpu_seconds(pids[2]) - cpu) * 1e6 / run.requests
        end
    end
    tools.stop_all()
    local ratios = {}
    for round, own in ipairs(us[1]) do
        ratios[round] = us[2][round] / own
    end
    return { own_us = tools.median(us[1]), other_us = tools.median(us[2]), ratio = tools.median(ratios) }
end

function M.measure_asks(tools, ports)
    return { plain = measure_shares(tools, ports, false), mirrored = measure_shares(tools, ports, true) }
end

-- One connection, 100 streams; microseconds a request.
function M.measure_grpc(tools, port)
    local count, body = 200000, tools.out .. "/bench-grpc"
    local message = "\10\5bench\18\3hot"
    tools.write(body, "\0\0\0\0" .. string.char(#message) .. message)
    local pid = tools.start("hgcache", tools.command(port, port + 100, "peer=127.0.0.1:" .. port + 200), port, tools.core)
    local us = {}
    for round = 0, tools.options.rounds do
        local cpu = tools.cpu_seconds(pid)
        local text = tools.shell(("taskset -c %d h2load -c1 -m100 -t1 -n %d -d %s "
            .. "-H 'content-type: application/grpc' -H 'te: trailers' http://127.0.0.1:%d%s"):format(tools.load_core, count, body,
            port + 200, GET))
        local done = tonumber(text:match("(%d+) succeeded"))
        if done ~= count then
            error("h2load: " .. text, 0)
        end
        us[round] = (tools.cpu_seconds(pid) - cpu) * 1e6 / count -- round 0 warms up
    end
    tools.stop_all()
    return { us = tools.median(us) }
end

return M
