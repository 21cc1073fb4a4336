-- What is wrong with a configuration is said in one line, with exit code 2; trouble while starting is exit code 1.

local node = require "spec.support.node"
local posix = require "spec.support.posix"

local HEAD = 'local hg = require "hgcache"\n'

local function check(text, args)
    local path = node.write(node.dir() .. "/config.lua", text)
    local words = { "check", path }
    for _, word in ipairs(args or {}) do
        words[#words + 1] = word
    end
    return node.run(words), path
end

local function group(fields)
    return HEAD .. "return { groups = { test = {\n getter = function(key) return key end,\n " .. (fields or "")
        .. "\n} } }\n"
end

describe("hgcache check", function()
    after_each(node.finish)

    it("prints the effective configuration and the routes", function()
        local result = check(group 'ttl = "10m"')
        assert.equal("", result.err)
        assert.equal(0, result.code)
        for _, wanted in ipairs { 'ttl = "10m"', 'capacity = "64MiB"', "GET /api", '"127.0.0.1:8791"' } do
            assert.is_truthy(result.out:find(wanted, 1, true), result.out)
        end
    end)

    it("hands the pairs to hg.args, and touches no network", function()
        -- An address nobody can listen on is only tried by run.
        local result = check(HEAD .. 'return { node = { name = hg.args.name, listen = { api = "192.0.2.1:1" } },'
            .. " groups = { g = { getter = print } } }", { "name=from-args" })
        assert.equal(0, result.code)
        assert.is_truthy(result.out:find('name = "from-args"', 1, true))
    end)

    local rows = {
        { "a syntax error", "return {\n  groups = = {} }", ":2:" },
        { "an unfinished file", "return {", "config.lua:1:" },
        { "nothing returned", "local x = 1", "found nil" },
        { "a string returned", 'return "x"', "found string" },
        { "an error while loading", HEAD .. "\nerror('boom')", "config.lua:3: boom" },
        { "an error that is a table", "error({})", "config.lua" },
        { "an error that is nil", "error(nil)", "config.lua" },
        { "a module that is not there", 'require "no.such.module"\nreturn {}', "no.such.module" },
        { "an unknown key", group "capcity = 1",
        'config.lua:4: groups.test.capcity: unknown key, did you mean "capacity"?' },
        { "an unknown key at the top", "return { groops = {} }", 'groops: unknown key, did you mean "groups"?' },
        { "a wrong type", group "shards = {}", "config.lua:4: groups.test.shards: expected a whole number" },
        { "a bad size", group 'capacity = "64MiBB"',
            'config.lua:4: groups.test.capacity: expected a size such as 67108864 or "64MiB", found "64MiBB"' },
        { "a bad duration", group 'ttl = "ten"', "config.lua:4: groups.test.ttl: expected a duration such as" },
        { "C17: a negative ttl", group "ttl = -1", "groups.test.ttl: expected a duration" },
        { "C17: a ttl that is NaN", group "ttl = 0/0", "groups.test.ttl: expected a duration" },
        { "C17: an infinite ttl", group "ttl = math.huge", "groups.test.ttl: expected a duration" },
        { "C17: a ttl of 1e300", group "ttl = 1e300", "groups.test.ttl: expected a duration" },
        { "an unknown policy", group 'policy = "lruu"', 'unknown policy "lruu", did you mean "lru"?' },
        { "a policy nearly right", group 'policy = "seive"', 'unknown policy "seive", did you mean "sieve"?' },
        { "a transport of none", HEAD .. 'return { cluster = { self = "a:1", peers = { "a:1" }, transport = "grcp" },'
            .. " groups = { g = { getter = print } } }", 'expected "auto", "grpc" or "http", found "grcp"' },
        { "a missing getter", HEAD .. "return { groups = { test = { ttl = 1 } } }", "groups.test: getter is missing" },
        { "no groups", "return { groups = {} }", "expected at least one group" },
        { "routes without a listener", HEAD .. 'return { node = { listen = { admin = "127.0.0.1:1" } },'
            .. ' groups = { g = { getter = print } }, routes = { ["GET /x"] = hg.serve("g") } }',
                "there is no api listener" },
        { "a route to no group", HEAD .. 'return { groups = { g = { getter = print } },\n'
            .. ' routes = { ["GET /x"] = hg.serve("h") } }', 'config.lua:3: routes["GET /x"]: hg.serve: no group "h"' },
        { "self not among the peers", 'return { cluster = { self = "127.0.0.1:1", peers = { "127.0.0.1:2" } },'
            .. " groups = { g = { getter = print } } }", "is not in cluster.peers" },
        { "G4: an open peer listener", 'return { cluster = { self = "10.1.2.3:1", peers = { "10.1.2.3:1" } },'
            .. " groups = { g = { getter = print } } }", "is not on loopback and cluster.tokens is empty" },
        { "G4: an open admin listener", 'return { node = { listen = { admin = "0.0.0.0:1" } },'
            .. " groups = { g = { getter = print } } }", "is not on loopback and node.admin.tokens is empty" },
        { "G8: every origin with credentials", 'return { groups = { g = { getter = print } },'
            .. ' cors = { origins = "*", credentials = true } }', "cors.credentials" },
        { "data that differs between the states", HEAD
            .. 'return { node = { name = "n" .. tostring({}):match("%x+$") },'
            .. " groups = { g = { getter = print } } }", "node.name" },
        { "a duration that differs between the states", HEAD
            .. 'local n = tonumber(tostring({}):match("0x(%x+)"), 16)\n'
            .. "return { groups = { g = { ttl = n % 1e9 + 1, getter = print } } }",
            "ttl" },
        { "C22: data by a clock", HEAD
            .. 'return { node = { name = "n" .. os.clock() }, groups = { g = { getter = print } } }', "node.name" },
        { "C22: data by chance", HEAD .. "math.randomseed(os.clock() * 1e6)\n"
            .. 'return { node = { name = "n" .. math.random(2 ^ 30) }, groups = { g = { getter = print } } }', "node.name" },
        { "C22: data in the order of pairs", HEAD
            .. 'local all, text = {}, "n"\nfor i = 1, 50 do all["k" .. i] = true end\n'
            .. "for name in pairs(all) do text = text .. name end\n"
            .. "return { node = { name = text }, groups = { g = { getter = print } } }", "node.name" },
        { "waiting while loading", HEAD .. "hg.sleep(0.01)\nreturn {}", "config.lua:2:" },
        { "asking a group while loading", HEAD .. 'hg.group("g"):get("k")\nreturn {}', "config.lua" },
        { "H9: very deep nesting", "return " .. ("{"):rep(5000) .. ("}"):rep(5000), "config.lua:1:" },
        { "H9: a table too deep for the check", "local t = {}\nfor i = 1, 1e5 do t = { t } end\nreturn t",
        "config.lua: [1]: unknown key" },
        { "a table that holds itself", "local t = {}\nt.groups = t\nreturn t", "config.lua" },
    }
    for _, row in ipairs(rows) do
        it("refuses " .. row[1], function()
            local result = check(row[2])
            assert.equal(2, result.code)
            assert.equal("", result.out)
            assert.is_truthy(result.err:find(row[3], 1, true), ("wanted %q in %q"):format(row[3], result.err))
            assert.equal(1, select(2, result.err:gsub("\n", "")), "one line: " .. result.err)
        end)
    end

    it("H9: takes a byte order mark and CRLF", function()
        local result = check("\239\187\191" .. (group 'ttl = "10m"'):gsub("\n", "\r\n"))
        assert.equal("", result.err)
        assert.equal(0, result.code)
        result = check("\239\187\191" .. (group 'ttl = "x"'):gsub("\n", "\r\n"))
        assert.equal(2, result.code)
        assert.is_truthy(result.err:find("config.lua:4:", 1, true), result.err)
    end)

    it("H9: takes a file of a mebibyte", function()
        local result = check(group() .. "-- " .. ("x"):rep(1024 * 1024) .. "\n")
        assert.equal("", result.err)
        assert.equal(0, result.code)
    end)

    it("refuses bytecode", function()
        local result = check(string.dump(assert(loadstring(group()))))
        assert.equal(2, result.code)
        assert.is_truthy(result.err:find("config.lua", 1, true))
    end)

    it("says that a file is not there", function()
        local result = node.run { "check", "/nonexistent/config.lua" }
        assert.equal(2, result.code)
        assert.is_truthy(result.err:find("/nonexistent/config.lua", 1, true))
        assert.equal(2, node.run({ "check", "/tmp" }).code)
    end)

    it("G11: warns of a file that everybody may write", function()
        local path = node.write(node.dir() .. "/config.lua", group())
        os.execute("chmod 666 " .. path)
        local result = node.run { "check", path }
        assert.equal(0, result.code)
        assert.is_truthy(result.err:find(path, 1, true), result.err)
        assert.is_truthy(result.err:find("warning", 1, true), result.err)
    end)

    it("keeps the last of two equal names", function()
        local result = check(HEAD .. "return { node = { name = hg.args.a }, groups = { g = { getter = print } } }",
            { "a=x", "a=y" })
        assert.is_true(result.code == 2 or result.out:find('"y"', 1, true) ~= nil)
        assert.equal(2, check(group(), { "novalue" }).code)
    end)
end)

describe("hgcache run", function()
    after_each(node.finish)

    it("refuses what check refuses, with the same line", function()
        local path = node.write(node.dir() .. "/config.lua", group 'capacity = "x"')
        local result = node.run { "run", path }
        assert.equal(2, result.code)
        assert.is_truthy(result.err:find("config.lua:4: groups.test.capacity: expected a size", 1, true), result.err)
    end)

    it("H8: ends with 1 and a clear line when a port is in use, without half a start", function()
        local port, admin = posix.free_port(), posix.free_port()
        local fd = assert(posix.listen(port))
        local path = node.write(node.dir() .. "/config.lua", HEAD
            .. ('return { node = { listen = { admin = "127.0.0.1:%d",'
            .. ' api = "127.0.0.1:%d" } }, groups = { g = { getter = print } } }'):format(admin, port))
        local result = node.run { "run", path }
        posix.close(fd)
        assert.equal(1, result.code)
        assert.is_truthy(result.err:find("127.0.0.1:" .. port, 1, true), result.err)
        assert.is_truthy(result.err:lower():find("in use", 1, true), result.err)
        assert.is_nil(result.err:find("node ready", 1, true))
    end)

    it("H8: ends with 1 when an address is not this machine's or has no such host", function()
        for _, address in ipairs { "192.0.2.1:18791", "no-such-host.invalid:18791", "unix:/nonexistent/dir/socket" } do
            local path = node.write(node.dir() .. "/config.lua", ('return { node = { listen = { api = "%s" } },'
                .. " groups = { g = { getter = print } } }"):format(address))
            local result = node.run { "run", path }
            assert.equal(1, result.code)
            assert.is_truthy(result.err:find(address, 1, true), result.err)
        end
    end)
end)
