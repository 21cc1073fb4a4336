-- Members that a function or a file names: all nodes follow, and nothing that is no good list takes the last good one away.

local node = require "spec.support.node"
local dns = require "spec.support.dns"
local http = require "spec.support.http"
local posix = require "spec.support.posix"

local GROUPS = [[
    groups = { test = { getter = function(key)
        hg.log.info("[Source] asked for %s", key)
        return "value of " .. key
    end } },
]]

local FILE = [[
return {
    node = { listen = listen() },
    cluster = { self = hg.args.self, peers = hg.file(hg.args.members), refresh = "50ms", timeout = "500ms", lease = "400ms" },
]] .. GROUPS .. "}"

-- Reads a file too, but as a chunk of Lua, which may return or throw anything.
local FUNCTION = [[
return {
    node = { listen = listen() },
    cluster = { self = hg.args.self, refresh = "50ms", timeout = "500ms", lease = "400ms", peers = function()
        local chunk = loadfile(hg.args.members)
        return chunk(hg.args.self)
    end },
]] .. GROUPS .. "}"

local function start(config, members, count, more)
    local nodes, ports, names = {}, {}, {}
    for i = 1, count do
        ports[i] = posix.free_port()
        names[i] = "http://127.0.0.1:" .. ports[i]
    end
    for i = 1, count do
        local args = { self = names[i], members = members }
        for name, value in pairs(more or {}) do
            args[name] = value
        end
        nodes[i] = node.start { config = config, wait = false, peer_port = ports[i], args = args }
    end
    for i = 1, count do -- alive; ready is another question
        node.until_true(function()
            return http.get(nodes[i].admin_port, "/live", { timeout = 1 }).status == 200
        end, 30, "a live node; its log:\n" .. nodes[i]:log())
    end
    return nodes, names
end

local function members_of(one)
    local ring, list = one:admin_json("/ring"), {}
    for i, member in ipairs(ring.members) do
        list[i] = member.name
    end
    table.sort(list)
    return table.concat(list, " "), ring
end

local function wait_members(nodes, names)
    local wanted = { unpack(names) }
    table.sort(wanted)
    wanted = table.concat(wanted, " ")
    for _, one in ipairs(nodes) do
        node.until_true(function()
            return members_of(one) == wanted
        end, 20, "all members; its log:\n" .. one:log())
    end
end

-- Beside it and renamed, as it should be done.
local function replace(path, text)
    node.write(path .. ".new", text)
    assert(os.rename(path .. ".new", path))
end

local function counter(one, name)
    return tonumber(one:admin("/metrics").body:match("\nhgcache_" .. name .. " ([%d.]+)"))
end

local function ask_all(nodes, from, to)
    local items = {}
    for i = from, to do
        items[#items + 1] = { nodes[i % #nodes + 1].api_port, { path = "/api?key=k" .. i } }
    end
    for i, r in ipairs(http.many(items)) do
        assert(r.status == 200 and r.body == "value of k" .. (from + i - 1), tostring(r.status or r.error))
    end
end

describe("members of a file", function()
    local path
    before_each(function()
        path = node.dir() .. "/members"
    end)
    after_each(node.finish)

    it("are followed by all nodes, keys move, and no request fails meanwhile", function()
        node.write(path, "")
        local nodes, names = start(FILE, path, 3)
        -- Not ready without a list.
        nodes[1]:wait_log("members refused source=file")
        local ready = nodes[1]:admin("/ready")
        assert.equal(503, ready.status)
        assert.equal("the members of the cluster are not known yet\n", ready.body)

        replace(path, "# all of them\n" .. table.concat(names, "\n") .. " # the last\n\n")
        wait_members(nodes, names)
        for i = 1, 3 do
            nodes[i]:wait_ready()
        end
        local _, ring = members_of(nodes[1])
        assert.equal("file", ring.source)
        assert.is_true(ring.known)
        ask_all(nodes, 1, 100)
        assert.equal(100, node.sum(nodes, "test", "local_loads"))
        assert.is_true(node.sum(nodes, "test", "peer_loads") > 20)

        local refused = counter(nodes[3], "membership_refused_total")
        -- To and fro: the third goes and comes, while all are asked.
        for round = 1, 4 do
            local list = round % 2 == 1 and { names[1], names[2] } or names
            replace(path, table.concat(list, "\n") .. "\n")
            local at = 100 + round * 1000
            node.until_true(function()
                ask_all(nodes, at, at + 29)
                at = at + 30
                return #nodes[1]:admin_json("/ring").members == #list and #nodes[2]:admin_json("/ring").members == #list
            end, 20, "the members of round " .. round)
        end
        -- What was replaced is freed, while all goes on.
        assert.is_true(counter(nodes[1], "membership_views") > 1)
        local at = 10000
        node.until_true(function()
            ask_all(nodes, at, at + 29)
            at = at + 30
            return counter(nodes[1], "membership_views") == 1
        end, 40, "old views to be freed")
        ask_all(nodes, 1, 100)
        -- The third was not in two of them: it kept the last list that it was in, and counts that.
        assert.is_true(counter(nodes[3], "membership_refused_total") > refused)
        wait_members(nodes, names)
        assert.equal(4, counter(nodes[1], "membership_changes_total") - 1)
        for i = 1, 3 do
            assert.equal(0, nodes[i]:stop())
        end
    end)

    it("are not believed at the first look, when the file may be half written", function()
        local port = posix.free_port()
        local name = "http://127.0.0.1:" .. port
        local other = "http://127.0.0.1:" .. posix.free_port()
        node.write(path, name .. "\n")
        local slow = FILE:gsub('refresh = "50ms"', 'refresh = "3s"')
        local one = node.start { config = slow, wait = false, peer_port = port, args = { self = name, members = path } }
        one:wait_log("node ready", 30)
        node.write(path, name .. "\n" .. other .. "\n")
        wait_members({ one }, { name, other })
        assert.equal(0, one:count("members known source=file count=1"))
        assert.equal(1, counter(one, "membership_changes_total"))
    end)

    it("stay when the file is emptied, broken, too long, or gone", function()
        local nodes, names = start(FILE, path, 2)
        replace(path, table.concat(names, "\n"))
        wait_members(nodes, names)
        local one = nodes[1]
        one:wait_ready()
        -- The first three within a second, mostly, where the log has room for two.
        local bad = {
            { "", "the list of members is empty" },
            { names[1] .. "\n" .. names[1] .. "\n", "a member is listed twice" },
            { names[2] .. "\n", "does not hold this node" },
            { names[1] .. "\nhttp://elsewhere/path\n", "[2]: expected a member" },
            { names[1] .. "\nhttps://elsewhere:443\n", "there is no TLS between nodes" },
            { ("#"):rep(1024 * 1024 + 1), "more than 1048576 bytes" },
        }
        for _, case in ipairs(bad) do
            replace(path, case[1])
            one:wait_log(case[2])
        end
        -- Looked at twenty times a second, and said once.
        replace(path, names[2] .. "\n")
        local before = counter(one, "membership_refused_total")
        node.until_true(function()
            return counter(one, "membership_refused_total") >= before + 5
        end, 10, "five looks at it")
        assert.equal(1, one:count("does not hold this node"))
        os.remove(path)
        one:wait_log("No such file")
        assert.is_true(counter(one, "membership_failures_total") > 0)
        assert.is_true(counter(one, "membership_refused_total") > 0)
        wait_members({ one }, names)
        assert.equal(200, one:admin("/ready").status)
        node.until_true(function()
            return counter(one, "membership_stale_seconds") > 0.3
        end, 10, "a list that grows old")
        ask_all(nodes, 1, 20)
        replace(path, names[1] .. "\n")
        wait_members({ one }, { names[1] })
        assert.is_true(counter(one, "membership_stale_seconds") < 5)
    end)
end)

describe("members of a function", function()
    local path
    before_each(function()
        path = node.dir() .. "/members.lua"
    end)
    after_each(node.finish)

    it("are asked for again and again, and what is no list changes nothing", function()
        node.write(path, "return { ... }")
        local nodes, names = start(FUNCTION, path, 2)
        local one = nodes[1]
        one:wait_ready()
        wait_members({ one }, { names[1] })
        local all = ("return { %q, %q }"):format(names[1], names[2])
        replace(path, all)
        wait_members(nodes, names)
        for _, case in ipairs { { "error('no registry', 0)", 'err="no registry"' }, { "return nil, 'away'", 'err="away"' },
            { "return 7", "found a number" }, { "while true do end", "script budget exceeded" } } do
            replace(path, case[1])
            one:wait_log(case[2])
        end
        wait_members({ one }, names)
        ask_all(nodes, 1, 20)
        assert.equal("function", one:admin_json("/ring").source)
        replace(path, "return { ... }")
        wait_members({ one }, { names[1] })
    end)

    it("may change faster than what they replace is freed: then later, and the last is taken", function()
        node.write(path, "return { ..., 'http://127.0.0.1:' .. math.random(1, 60000) }")
        local nodes, names = start(FUNCTION, path, 1)
        local one = nodes[1]
        node.until_true(function()
            return counter(one, "membership_deferred_total") > 3
        end, 20, "a list that has to wait; its log:\n" .. one:log())
        assert.equal(9, counter(one, "membership_views"))
        assert.equal(0, counter(one, "membership_refused_total"))
        one:wait_log("members deferred source=function")
        ask_all(nodes, 1, 5)
        replace(path, "return { ..., 'http://127.0.0.1:60001', 'http://127.0.0.1:60002' }")
        wait_members(nodes, { names[1], "http://127.0.0.1:60001", "http://127.0.0.1:60002" })
        assert.is_true(counter(one, "membership_views") <= 9)
    end)

    it("may hang its thread: another takes over, and hits go on", function()
        node.write(path, "return { ... }")
        local nodes, names = start(FUNCTION, path, 1)
        local one = nodes[1]
        one:wait_ready()
        ask_all(nodes, 1, 1)
        -- A match that takes for ever, inside of C: no budget ends it.
        replace(path, '(("a"):rep(30)):find(("a?"):rep(30) .. ("a"):rep(30))')
        one:wait_log("hung its thread and is begun anew", 30)
        ask_all(nodes, 1, 1)
        replace(path, ("return { ..., 'http://127.0.0.1:%d' }"):format(posix.free_port()))
        node.until_true(function()
            return #one:admin_json("/ring").members == 2
        end, 30, "the list after that; its log:\n" .. one:log())
        assert.equal(names[1], one:admin_json("/ring").members[1].self and names[1] or one:admin_json("/ring").members[2].name)
    end)
end)

describe("members of a name", function()
    after_each(node.finish)

    local CONFIG = [[
return {
    node = { listen = listen() },
    cluster = { self = hg.args.self, peers = hg.dns { name = hg.args.name, port = tonumber(hg.args.port) }, refresh = "50ms" },
]] .. GROUPS .. "}"

    it("are its addresses, with the port and the form of cluster.self", function()
        local port = posix.free_port()
        for _, form in ipairs { "127.0.0.1:%d", "http://127.0.0.1:%d" } do
            local own = form:format(port)
            local one = node.start { config = CONFIG, peer_port = port, args = { self = own, name = "localhost" } }
            assert.equal(own, (members_of(one)))
            assert.equal("dns", one:admin_json("/ring").source)
            ask_all({ one }, 1, 5)
            assert.equal(0, one:stop())
        end
    end)

    it("need this node among them, and a name that there is", function()
        local port = posix.free_port()
        local one = node.start { config = CONFIG, peer_port = port, wait = false, args = { self = "127.0.0.1:" .. port,
            name = "localhost", port = posix.free_port() } }
        one:wait_log("does not hold this node", 30)
        assert.equal(503, one:admin("/ready").status)
        one:kill()
        one = node.start { config = CONFIG, peer_port = port, wait = false, args = { self = "127.0.0.1:" .. port,
            name = "no-such-name.invalid" } }
        one:wait_log("no-such-name.invalid: ", 60)
        assert.equal(503, one:admin("/ready").status)
        assert.equal(0, one:stop())
    end)
end)

describe("members of SRV records", function()
    if not dns.is_there() then
        pending("no dnsmasq: scripts/setup.sh test")
        return
    end
    local NAME = "_peer._tcp.hgcache.test"
    local CONFIG = [[
return {
    node = { listen = listen() },
    cluster = { self = hg.args.self, refresh = "50ms", timeout = "500ms", lease = "400ms",
        peers = hg.dns { name = hg.args.members, server = hg.args.server, tcp = hg.args.tcp == "yes" or nil } },
]] .. GROUPS .. "}"
    local server

    -- As a headless service has them: each pod a name of its own, and its port.
    local function records_of(names)
        local records = {}
        for i, name in ipairs(names) do
            records[#records + 1] = ("srv-host=%s,n%d.test,%s"):format(NAME, i, name:match("%d+$"))
            records[#records + 1] = ("host-record=n%d.test,127.0.0.1,::1"):format(i)
        end
        return records
    end

    before_each(function()
        server = dns.start {}
    end)
    after_each(function()
        node.finish()
        dns.finish()
    end)

    it("are their targets, all nodes follow what changes, and no request fails meanwhile", function()
        local nodes, names = start(CONFIG, NAME, 3, { server = server.address })
        nodes[1]:wait_log(NAME .. ": Domain name not found")
        assert.equal(503, nodes[1]:admin("/ready").status)
        server:now(records_of(names))
        wait_members(nodes, names)
        for i = 1, 3 do
            nodes[i]:wait_ready()
        end
        ask_all(nodes, 1, 100)
        assert.equal(100, node.sum(nodes, "test", "local_loads"))
        assert.is_true(node.sum(nodes, "test", "peer_loads") > 20)
        for round = 1, 4 do
            local list = round % 2 == 1 and { names[1], names[2] } or names
            server:now(records_of(list))
            local at = 100 + round * 1000
            node.until_true(function()
                ask_all(nodes, at, at + 29)
                at = at + 30
                return #nodes[1]:admin_json("/ring").members == #list and #nodes[2]:admin_json("/ring").members == #list
            end, 20, "the members of round " .. round)
        end
        wait_members(nodes, names)
        assert.equal("dns", nodes[1]:admin_json("/ring").source)
        for i = 1, 3 do
            assert.equal(0, nodes[i]:stop())
        end
    end)

    it("stay while the server is silent, away, or without them", function()
        local nodes, names = start(CONFIG, NAME, 2, { server = server.address })
        server:now(records_of(names))
        wait_members(nodes, names)
        local one = nodes[1]
        one:wait_ready()
        server:signal(posix.SIGSTOP)
        one:wait_log(NAME .. ": no DNS server answered in time", 30)
        ask_all(nodes, 1, 20)
        server:kill()
        one:wait_log(NAME .. ": no DNS server could be reached")
        server:launch { "srv-host=" .. NAME }
        one:wait_log("the SRV record says that there is no such service")
        server:now { "srv-host=" .. NAME .. ",gone.test,8001", "srv-host=" .. NAME .. ",gone.test,8002" }
        one:wait_log("2 SRV records, and none leads to an IPv4 address")
        server:now { "srv-host=" .. NAME .. ",elsewhere.example,8001" }
        one:wait_log("elsewhere.example: DNS server refused query")
        server:now { "txt-record=" .. NAME .. ",x" }
        one:wait_log(NAME .. ": DNS server returned answer with no data")
        wait_members(nodes, names)
        ask_all(nodes, 21, 40)
        assert.is_true(counter(one, "membership_failures_total") >= 6)
        -- What leads nowhere beside what does: it has gone, and is counted.
        local records = records_of { names[1] }
        records[#records + 1] = "srv-host=" .. NAME .. ",gone.test,8001"
        server:now(records)
        wait_members({ one }, { names[1] })
        assert.equal(1, counter(one, "membership_ignored"))
    end)

    it("come whole where there are more than one datagram takes, over TCP too", function()
        for _, tcp in ipairs { "no", "yes" } do
            local port = posix.free_port()
            local names = { "http://127.0.0.1:" .. port }
            for i = 2, 100 do
                names[i] = "http://127.0.0.1:" .. i
            end
            server:now(records_of(names))
            local one = node.start { config = CONFIG, wait = false, peer_port = port,
                args = { self = names[1], members = NAME, server = server.address, tcp = tcp } }
            one:wait_ready()
            wait_members({ one }, names)
            assert.equal(0, one:stop())
        end
    end)

    it("are found with the servers and the search domains of the system", function()
        local etc = dns.etc()
        if not etc then
            pending("this needs the right to mount")
            return
        end
        local port = posix.free_port()
        local name = "http://127.0.0.1:" .. port
        local other = dns.start_at_53(port, records_of { name })
        etc:write("resolv.conf", ("nameserver %s\nsearch ns.svc.test svc.test test\noptions ndots:5\n"):format(other.host))
        local one = node.start { config = CONFIG, binary = etc.binary, wait = false, peer_port = port,
            args = { self = name, members = "_peer._tcp.hgcache" } }
        one:wait_ready()
        assert.equal(name, (members_of(one)))
        -- The file is read anew.
        etc:write("resolv.conf", "nameserver " .. server.host .. "\n")
        one:wait_log("_peer._tcp.hgcache: no DNS server could be reached")
        assert.equal(0, one:stop())
    end)

    -- The C library's own resolver waits for ever for a server that has taken a connection and is silent.
    it("and the addresses of a name stay while the servers of the system are silent, and are asked for again", function()
        local etc = dns.etc()
        if not etc then
            pending("this needs the right to mount")
            return
        end
        local port = posix.free_port()
        local name, other = "http://127.0.0.1:" .. port, "http://127.0.0.2:" .. port
        local system = dns.start_at_53(port, { "host-record=hgcache.test,127.0.0.1" })
        -- use-vc makes that resolver ask over TCP, where the kernel takes the connection of a server that has stopped.
        etc:write("resolv.conf", ("nameserver %s\nsearch svc.test test\noptions use-vc\n"):format(system.host))
        local one = node.start { config = CONFIG, binary = etc.binary, wait = false, peer_port = port,
            args = { self = name, members = "hgcache" } }
        one:wait_ready()
        assert.equal(name, (members_of(one)))
        system:signal(posix.SIGSTOP)
        one:wait_log("hgcache: no DNS server answered in time", 30)
        assert.equal(name, (members_of(one)))
        ask_all({ one }, 1, 5)
        system:now { "host-record=hgcache.test,127.0.0.1", "host-record=hgcache.test,127.0.0.2" }
        wait_members({ one }, { name, other })
        assert.equal(0, one:stop())
    end)

    it("are IPv6 where this node is, and a name's addresses are asked of the server, too", function()
        local port = posix.free_port()
        for _, case in ipairs { { NAME, "http://[::1]:" .. port }, { "n1.test", "http://[::1]:" .. port },
            { "n1.test", "127.0.0.1:" .. port } } do
            server:now(records_of { case[2] })
            local one = node.start { config = CONFIG, wait = false, peer_port = port,
                args = { self = case[2], members = case[1], server = server.address } }
            one:wait_ready()
            assert.equal(case[2], (members_of(one)))
            assert.equal(0, one:stop())
        end
    end)
end)
