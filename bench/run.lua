-- The driver of bench/run.sh: starts the contestants, runs the works in interleaved rounds, prints and writes medians.
--
-- The figure is server CPU microseconds a request: run time of all threads of the server process (schedstat, in
-- nanoseconds) divided by the requests that wrk counted. Ratios are taken within a round, then their median.

local json = require "cjson"
local peers = require "bench.peers"

local BUILD = os.getenv("HG_BENCH_BUILD") or "build/release"
local OUT = os.getenv("HG_BENCH_OUT") or "build"
local PORTS = { epoll = 28701, uv = 28702, nginx = 28703, hgcache = 28704 }
local NODE_PORTS = { 28711, 28712, 28713 }
local OTHERS_MAX = 0.25 -- cores that others may use during a measurement
local TRIES = 3

local options = { rounds = 5, seconds = 3, works = {} }

local function say(...)
    io.stderr:write(string.format(...), "\n")
end

local function shell(command)
    local pipe = io.popen(command)
    local text = pipe:read("*a")
    pipe:close()
    return text
end

local function read(path)
    local file = io.open(path, "rb")
    local text = file and file:read("*a")
    if file then
        file:close()
    end
    return text
end

local function write(path, text)
    local file = assert(io.open(path, "wb"))
    file:write(text)
    file:close()
end

local function median(list)
    local sorted = {}
    for i, number in ipairs(list) do
        sorted[i] = number
    end
    table.sort(sorted)
    local middle = #sorted / 2
    if #sorted == 0 then
        return nil
    end
    return #sorted % 2 == 1 and sorted[math.ceil(middle)] or (sorted[middle] + sorted[middle + 1]) / 2
end

-- Processes -----------------------------------------------------------------------------------------------------------

local cores = tonumber(shell("nproc"))
local SERVER_CORE, LOAD_CORE = 0, cores > 1 and 1 or 0
local running = {}

local function is_open(port)
    return os.execute(("bash -c 'exec 3<>/dev/tcp/127.0.0.1/%d' 2>/dev/null"):format(port)) == 0
end

-- For bench/run.sh, which ends them when this program is ended.
local function note_running()
    local list = {}
    for pid in pairs(running) do
        list[#list + 1] = pid
    end
    write(OUT .. "/bench.pids", table.concat(list, " ") .. "\n")
end

local function stop(pid)
    os.execute(("kill -TERM %d 2>/dev/null"):format(pid))
    for _ = 1, 100 do
        if not read(("/proc/%d/stat"):format(pid)) then
            break
        end
        os.execute("sleep 0.05")
    end
    os.execute(("kill -KILL %d 2>/dev/null"):format(pid))
    running[pid] = nil
    note_running()
end

local function stop_all()
    for pid in pairs(running) do
        stop(pid)
    end
end

local function start(name, command, port, core)
    if is_open(port) then
        error(("port %d is in use"):format(port), 0)
    end
    local log = ("%s/bench-%s.log"):format(OUT, name)
    local pinned = core and ("taskset -c %d "):format(core) or ""
    local pid = tonumber(shell(("setsid %s%s >%s 2>&1 </dev/null & echo $!"):format(pinned, command, log)))
    running[pid] = true
    note_running()
    for _ = 1, 200 do
        if is_open(port) then
            return pid
        end
        os.execute("sleep 0.05")
    end
    error(("%s does not listen on port %d: %s"):format(name, port, read(log) or ""), 0)
end

-- Seconds that all threads of a process have run.
local function cpu_seconds(pid)
    local sum = 0
    for nanoseconds in shell(("cat /proc/%d/task/*/schedstat 2>/dev/null"):format(pid)):gmatch("(%d+) %d+ %d+\n") do
        sum = sum + tonumber(nanoseconds)
    end
    return sum / 1e9
end

-- Seconds that all cores were busy, with anything.
local function busy_seconds()
    local user, nice, system, _, _, irq, softirq = read("/proc/stat"):match(
        "cpu%s+(%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+)")
    return (user + nice + system + irq + softirq) / 100
end

-- One run of wrk: requests, seconds, errors, its own CPU seconds.
local function wrk(port, connections, seconds, script, arguments, path)
    local command = ("taskset -c %d wrk -t1 -c%d -d%gs --timeout 10s %s http://127.0.0.1:%d%s?key=hot %s"):format(
        LOAD_CORE, connections, seconds, script and "-s bench/" .. script .. ".lua" or "", port, path or "/api",
        arguments and "-- " .. arguments or "")
    local text = shell(("bash -c 'TIMEFORMAT=\"cpu %%U %%S\"; time %s' 2>&1"):format(command))
    local requests, took = text:match("(%d+) requests in ([%d%.]+)s")
    local user, system = text:match("cpu ([%d%.]+) ([%d%.]+)")
    if not requests or not user then
        error("wrk: " .. text, 0)
    end
    return {
        requests = tonumber(requests), seconds = tonumber(took), cpu = user + system,
        failed = tonumber(text:match("Non%-2xx or 3xx responses: (%d+)") or "0")
            + tonumber(text:match("Socket errors: connect (%d+)") or "0"),
    }
end

-- Contestants ---------------------------------------------------------------------------------------------------------

local nginx_module = "/usr/lib/nginx/modules/ngx_http_lua_module.so"
local has_nginx = read(nginx_module) ~= nil and os.execute("command -v nginx >/dev/null 2>&1") == 0

local function hgcache_command(port, admin, extra)
    return ("%s/hgcache run bench/bench.lua port=%d admin=%d %s"):format(BUILD, port, admin, extra or "")
end

local function nginx_command(size)
    os.execute(("mkdir -p %s/bench-nginx/logs"):format(OUT))
    local folder = shell(("realpath %s/bench-nginx"):format(OUT)):gsub("\n", "")
    write(folder .. "/nginx.conf", ([[
load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module %s;
daemon off; master_process off; worker_processes 1; pid %s/nginx.pid; error_log %s/error.log error;
worker_rlimit_nofile 20000;
events { worker_connections 10000; }
http {
  access_log off; keepalive_requests 1000000000; server_tokens on; default_type application/octet-stream;
  client_body_temp_path %s/body; proxy_temp_path %s/proxy; fastcgi_temp_path %s/fastcgi;
  uwsgi_temp_path %s/uwsgi; scgi_temp_path %s/scgi;
  lua_shared_dict cache 128m;
  init_by_lua_block { value = ("x"):rep(%d); json = require "cjson" }
  server {
    listen 127.0.0.1:%d backlog=4096;
    location = /api {
      content_by_lua_block {
        local cache, key = ngx.shared.cache, ngx.var.arg_key
        local found = cache:get(key)
        if not found then
          found = value
          cache:set(key, found, 600)
        end
        ngx.header.content_length = #found
        ngx.print(found)
      }
    }
    location = /page {
      content_by_lua_block {
        local cache, key = ngx.shared.cache, ngx.var.arg_key
        local found = cache:get(key)
        if not found then
          found = value
          cache:set(key, found, 600)
        end
        local body = json.encode { key = key, value = found, bytes = #found }
        ngx.header.content_type = "application/json"
        ngx.header.content_length = #body
        ngx.print(body)
      }
    }
  }
}
]]):format(nginx_module, folder, folder, folder, folder, folder, folder, folder, size, PORTS.nginx))
    return ("nginx -p %s -c %s/nginx.conf"):format(folder, folder)
end

-- Starts those of a work; the responders answer exactly what hgcache answered for the same request.
local function start_contestants(work)
    local size = work.size or 16
    local pids = { hgcache = start("hgcache", hgcache_command(PORTS.hgcache, PORTS.hgcache + 100,
        "size=" .. size), PORTS.hgcache, SERVER_CORE) }
    os.execute(("curl -s --noproxy '*' 'http://127.0.0.1:%d/api?key=hot' >/dev/null"):format(PORTS.hgcache))
    local answer = ("%s/bench-answer"):format(OUT)
    os.execute(("curl -s --noproxy '*' -i 'http://127.0.0.1:%d/api?key=hot' >%s"):format(PORTS.hgcache, answer))
    if not (read(answer) or ""):find("^HTTP/1.1 200") then
        error("hgcache does not answer /api?key=hot: " .. (read(answer) or ""), 0)
    end
    for _, name in ipairs(work.against) do
        if name == "nginx" then
            pids.nginx = has_nginx and start(name, nginx_command(size), PORTS.nginx, SERVER_CORE) or nil
        else
            pids[name] = start(name, ("%s/bench/bench_%s_responder %d %s"):format(BUILD, name, PORTS[name], answer),
                PORTS[name], SERVER_CORE)
        end
    end
    if work.warm then
        for _, name in ipairs({ "hgcache", "nginx" }) do
            if pids[name] then
                wrk(PORTS[name], 64, 4, "sequence", "k 100000")
            end
        end
    end
    return pids
end

-- One measurement: microseconds a request and thousand requests a second. Runs that others disturbed are repeated.
local function measure(work, name, pid)
    local result
    for _ = 1, TRIES do
        local arguments = work.arguments and work.arguments()
        local cpu, busy = cpu_seconds(pid), busy_seconds()
        local run = wrk(PORTS[name], work.connections, options.seconds, work.script, arguments, work.path)
        cpu, busy = cpu_seconds(pid) - cpu, busy_seconds() - busy
        if cpu <= 0 then
            error(("%s ended during the measurement (its log: %s/bench-%s.log)"):format(name, OUT, name), 0)
        end
        if run.failed > 0 then
            error(("%s: %d of %d requests failed"):format(name, run.failed, run.requests), 0)
        end
        local others = math.max(0, busy - cpu - run.cpu) / run.seconds
        local now = { us = cpu * 1e6 / run.requests, krps = run.requests / run.seconds / 1000, others = others }
        if not result or now.others < result.others then
            result = now
        end
        if result.others <= OTHERS_MAX then
            break
        end
    end
    return result
end

-- Works -----------------------------------------------------------------------------------------------------------------

local distinct_count = 0
local function distinct()
    distinct_count = distinct_count + 1
    return ("m%d-%d-"):format(os.time(), distinct_count)
end

local HTTP = {
    { id = "P1", title = "hot key, 64 connections", connections = 64, against = { "epoll", "uv", "nginx" } },
    { id = "P2", title = "hot key, 1,024 connections", connections = 1024, against = { "epoll", "uv", "nginx" } },
    { id = "P3", title = "100k keys Zipf 0.99, 100 B", connections = 64, against = { "epoll", "uv", "nginx" },
        size = 100, script = "zipf", warm = true },
    { id = "P4", title = "10 KiB values", connections = 64, against = { "epoll", "uv", "nginx" }, size = 10240 },
    { id = "P5", title = "hot key, pipelined 16 deep", connections = 64, against = { "epoll", "uv", "nginx" },
        script = "pipeline" },
    { id = "P8", title = "route in Lua, JSON", connections = 64, against = { "nginx" }, path = "/page" },
    { id = "P14", title = "misses, distinct keys", connections = 64, against = {}, script = "sequence",
        arguments = distinct },
}

local function measure_http(work)
    local pids = start_contestants(work)
    local names = { "hgcache" }
    for _, name in ipairs(work.against) do
        if pids[name] then
            table.insert(names, #names, name)
        end
    end
    local rounds = {}
    for round = 1, options.rounds do
        rounds[round] = {}
        for _, name in ipairs(names) do
            rounds[round][name] = measure(work, name, pids[name])
        end
        say("  %s round %d of %d: hgcache %.2f us", work.id, round, options.rounds, rounds[round].hgcache.us)
    end
    stop_all()
    local result = { title = work.title, contestants = {}, ratios = {}, speeds = {}, noisy = 0 }
    for _, name in ipairs(names) do
        local us, krps, ratio, speed = {}, {}, {}, {}
        for round, row in ipairs(rounds) do
            us[round], krps[round], ratio[round] = row[name].us, row[name].krps, row.hgcache.us / row[name].us
            speed[round] = row.hgcache.krps / row[name].krps
            result.noisy = result.noisy + (row[name].others > OTHERS_MAX and 1 or 0)
        end
        result.contestants[name] = { us = median(us), krps = median(krps) }
        if name ~= "hgcache" then
            result.ratios[name], result.speeds[name] = median(ratio), median(speed)
        end
    end
    return result
end

local function stats(port)
    return json.decode(shell(("%s/hgcache stats --json --node http://127.0.0.1:%d"):format(BUILD, port + 100)))
end

-- Loads of all nodes together.
local function loads(ports)
    local sum = 0
    for _, port in ipairs(ports) do
        sum = sum + stats(port).groups.bench.local_loads
    end
    return sum
end

local function measure_stampede(ports)
    local members = {}
    for i, port in ipairs(ports) do
        members[i] = ("http://127.0.0.1:%d"):format(port + 200)
    end
    for i, port in ipairs(ports) do
        local cluster = #ports > 1 and ("self=%s peers=%s"):format(members[i], table.concat(members, ",")) or ""
        start("hgcache-" .. i, hgcache_command(port, port + 100, "workers=2 slow=0.2 " .. cluster), port)
    end
    local last, most_loads, wrong = {}, 0, 0
    for round = 1, math.max(options.rounds, 3) do
        local before = loads(ports)
        local line = shell(("%s/bench/bench_stampede 1000 '/api?key=cold%d' %s"):format(BUILD, round,
            table.concat(ports, " ")))
        local wrong_now, ms = line:match("wrong=(%d+) first_ms=[%d%.]+ last_ms=([%d%.]+)")
        if not ms then
            error("bench_stampede printed: " .. line, 0)
        end
        last[round] = tonumber(ms)
        wrong = wrong + wrong_now
        most_loads = math.max(most_loads, loads(ports) - before)
    end
    stop_all()
    return { last_ms = median(last), loads = most_loads, wrong = wrong }
end

local function measure_start()
    local start_ms, rss, wrong = {}, {}, 0
    for round = 1, math.max(options.rounds, 3) * 2 do
        local line = shell(("%s/bench/bench_start %d '/api?key=hot' %s 2>%s/bench-start.log"):format(BUILD,
            PORTS.hgcache, hgcache_command(PORTS.hgcache, PORTS.hgcache + 100, "workers=2"), OUT))
        local ms, kib, code = line:match("start_ms=([%d%.]+) rss_kib=(%d+) exit=(-?%d+)")
        if not ms then
            error("bench_start printed: " .. line, 0)
        end
        start_ms[round], rss[round] = tonumber(ms), tonumber(kib) / 1024
        wrong = wrong + (code == "0" and 0 or 1)
    end
    return { start_ms = median(start_ms), rss_mib = median(rss), bad_exits = wrong }
end

-- The store alone -----------------------------------------------------------------------------------------------------

-- Bytes an entry above key and value, of a million.
local function measure_memory()
    local result = {}
    for _, policy in ipairs({ "lru", "sieve", "s3-fifo" }) do
        local line = shell(("%s/bench/bench_store memory %s"):format(BUILD, policy))
        result[policy] = tonumber(line:match(": ([%d.]+) bytes an entry"))
            or error("bench_store printed: " .. line, 0)
    end
    return result
end

-- Operations a second as multiples of GLib's, of two sizes; and of two threads as a multiple of one.
local function measure_store()
    local result, size = { threads = nil }, nil
    for line in shell(("taskset -c %d %s/bench/bench_store %d"):format(SERVER_CORE, BUILD, options.rounds)):gmatch("[^\n]+") do
        local name, ratio = line:match("^  (.-) +[%d.]+ M operations a second, +([%d.]+) x glib$")
        if name then
            result[size][name] = tonumber(ratio)
        elseif not line:find("^  ") then
            size = line
            result[size] = {}
        end
    end
    result.threads = tonumber(shell(BUILD .. "/bench/bench_store threads"):match("([%d.]+) x"))
    return result
end

local function print_store(result)
    print("\nP12  the store alone, one thread: operations a second, x GLib's hash table with a queue")
    for _, size in ipairs({ "all resident", "100,000 entries" }) do
        for _, name in ipairs({ "lru", "lru x16", "sieve", "s3-fifo" }) do
            if result[size][name] then
                print(("  %-16s %-8s %6.2f"):format(size, name, result[size][name]))
            end
        end
    end
    print(("  two threads in the shards of a group: %.2f times one"):format(result.threads))
end

-- What must be reached: { work, what, found, limit }.
local function targets(results)
    local list = {}
    local function at_least(id, what, found, limit)
        if found then
            list[#list + 1] = { work = id, what = what, found = found, limit = limit, reached = found >= limit, least = true }
        end
    end
    local function at_most(id, what, found, limit)
        if found then
            list[#list + 1] = { work = id, what = what, found = found, limit = limit, reached = found <= limit }
        end
    end
    local function ratio(id, name)
        return results[id] and results[id].ratios and results[id].ratios[name]
    end
    at_most("P1", "CPU, x the libuv limit", ratio("P1", "uv"), 1.25)
    at_most("P1", "CPU, x nginx + Lua shared dict", ratio("P1", "nginx"), 1)
    at_least("P8", "requests a second, x nginx + Lua shared dict", results.P8 and results.P8.speeds.nginx, 0.8)
    at_most("P6", "both nodes' CPU, other's key x own", results.P6 and results.P6.plain.ratio, 2.5)
    at_most("P6", "the same with copies", results.P6 and results.P6.mirrored.ratio, 1.3)
    at_most("P7", "CPU us a gRPC request", results.P7 and results.P7.us, 4.5)
    at_most("P5", "CPU us a request", results.P5 and results.P5.contestants.hgcache.us, 3)
    for _, nodes in ipairs({ "one", "three" }) do
        local stampede = results.P9 and results.P9[nodes]
        if stampede then
            at_most("P9", "loads too many or few, nodes: " .. nodes, math.abs(stampede.loads - 1), 0)
            at_most("P9", "last answer ms, nodes: " .. nodes, stampede.last_ms, 225)
            at_most("P9", "wrong answers, nodes: " .. nodes, stampede.wrong, 0)
        end
    end
    for _, policy in ipairs({ "lru", "sieve", "s3-fifo" }) do
        at_most("P10", "bytes an entry above key + value, " .. policy, results.P10 and results.P10[policy], 48)
    end
    for _, size in ipairs({ "all resident", "100,000 entries" }) do
        local row = results.P12 and results.P12[size] or {}
        at_least("P12", size .. ": lru", row.lru, 1.8)
        at_least("P12", size .. ": lru, 16 at a time", row["lru x16"], 3)
        at_least("P12", size .. ": sieve", row.sieve, 2)
        at_least("P12", size .. ": s3-fifo", row["s3-fifo"], 2)
    end
    at_least("P12", "two threads, x one", results.P12 and results.P12.threads, 1.8)
    at_most("P11", "start to first answer ms", results.P11 and results.P11.start_ms, 20)
    at_most("P11", "idle RSS MiB", results.P11 and results.P11.rss_mib, 16)
    return list
end

local function print_http(id, result)
    print(("\n%s  %s%s"):format(id, result.title, result.noisy > 0
        and (" (%d measurements disturbed by others, kept)"):format(result.noisy) or ""))
    print(("  %-10s %10s %12s %18s"):format("", "CPU us", "1,000 req/s", "hgcache is x this"))
    for _, name in ipairs({ "epoll", "uv", "nginx", "hgcache" }) do
        local row = result.contestants[name]
        if row then
            print(("  %-10s %10.2f %12.1f %18s"):format(name, row.us, row.krps,
                result.ratios[name] and ("%.2f"):format(result.ratios[name]) or ""))
        end
    end
end

local function parse(arguments)
    local i = 1
    while arguments[i] do
        local word = arguments[i]
        if word == "--quick" then
            options.rounds = 1
        elseif word == "--gate" then
            options.gate = true
        elseif (word == "--rounds" or word == "--seconds") and tonumber(arguments[i + 1]) then
            options[word:sub(3)] = tonumber(arguments[i + 1])
            i = i + 1
        elseif word:find("^P%d+$") then
            options.works[word] = true
        else
            say("usage: bench/run.sh [--quick] [--gate] [--rounds N] [--seconds N] [P1 P2 P3 P4 P5 P6 P7 P8 P9 P10 P11 P12 P14]")
            os.exit(2)
        end
        i = i + 1
    end
end

local function is_wanted(id)
    return next(options.works) == nil or options.works[id]
end

local function main()
    local results = {}
    for _, work in ipairs(HTTP) do
        if is_wanted(work.id) then
            results[work.id] = measure_http(work)
            print_http(work.id, results[work.id])
            if work.id == "P14" and results.P1 then
                results.P14.times_a_hit = results.P14.contestants.hgcache.us / results.P1.contestants.hgcache.us
                print(("  a miss costs %.1f times a hit"):format(results.P14.times_a_hit))
            end
        end
    end
    local tools = { start = start, stop_all = stop_all, wrk = wrk, shell = shell, write = write, median = median, options = options,
        cpu_seconds = cpu_seconds, command = hgcache_command, out = OUT, core = SERVER_CORE, load_core = LOAD_CORE }
    if is_wanted("P6") then
        results.P6 = peers.measure_asks(tools, { NODE_PORTS[1], NODE_PORTS[2] })
        print("\nP6  keys of two nodes by Zipf's law, CPU us of both a request")
        for _, name in ipairs({ "plain", "mirrored" }) do
            local row = results.P6[name]
            print(("  %-10s own %.2f, the other's %.2f: %.2f times"):format(name, row.own_us, row.other_us, row.ratio))
        end
    end
    if is_wanted("P7") then
        results.P7 = peers.measure_grpc(tools, PORTS.hgcache)
        print(("\nP7  gRPC hits, one connection, 100 streams: CPU %.2f us"):format(results.P7.us))
    end
    if is_wanted("P9") then
        results.P9 = { one = measure_stampede({ NODE_PORTS[1] }), three = measure_stampede(NODE_PORTS) }
        print("\nP9  stampede: 1,000 connections, one cold key, getter of 200 ms")
        for _, nodes in ipairs({ "one", "three" }) do
            local row = results.P9[nodes]
            print(("  nodes: %-6s last answer %.1f ms, loads %d, wrong answers %d"):format(nodes, row.last_ms,
                row.loads, row.wrong))
        end
    end
    if is_wanted("P10") then
        results.P10 = measure_memory()
        print(("\nP10  bytes an entry above key and value: lru %.1f, sieve %.1f, s3-fifo %.1f"):format(
            results.P10.lru, results.P10.sieve, results.P10["s3-fifo"]))
    end
    if is_wanted("P12") then
        results.P12 = measure_store()
        print_store(results.P12)
    end
    if is_wanted("P11") then
        results.P11 = measure_start()
        print(("\nP11  start to first answer %.1f ms, idle RSS %.1f MiB (2 workers, 1 getter, 1 route thread)"):format(
            results.P11.start_ms, results.P11.rss_mib))
    end

    local list, missed = targets(results), 0
    print(("\n%-5s %-44s %10s %12s"):format("", "target", "found", "limit"))
    for _, target in ipairs(list) do
        missed = missed + (target.reached and 0 or 1)
        print(("%-5s %-44s %10.2f  %s %8g  %s"):format(target.work, target.what, target.found,
            target.least and ">=" or "<=", target.limit, target.reached and "" or "MISSED"))
    end
    if not has_nginx then
        print("\nnginx with Lua is not installed: left out")
    end
    write(OUT .. "/bench.json", json.encode({ rounds = options.rounds, seconds = options.seconds, cores = cores,
        works = results, targets = list }) .. "\n")
    return missed
end

parse(arg)
local ok, missed = pcall(main)
stop_all()
if not ok then
    say("bench/run.sh: %s", tostring(missed))
    os.exit(1)
end
os.exit(options.gate and missed > 0 and 1 or 0)
