-- The command line: words, exit codes, and the commands that talk to a node.

local node = require "spec.support.node"
local posix = require "spec.support.posix"
local cjson = require "cjson"

local CONFIG = [[
return {
    node = { listen = listen(), admin = { tokens = { hg.args.token } } },
    groups = {
        test = {
            getter = function(key)
                if key == "none" then
                    return nil
                elseif key == "bad" then
                    return nil, "why"
                end
                return "value of " .. key
            end,
        },
        other = { getter = function(key) return "other" end },
    },
}
]]

describe("words", function()
    after_each(node.finish)

    it("prints its version and help on standard output", function()
        for _, words in ipairs { { "version" }, { "--version" } } do
            local r = node.run(words)
            assert.equal(0, r.code)
            assert.is_truthy(r.out:find("%d+%.%d+"))
            assert.equal("", r.err)
        end
        for _, words in ipairs { { "help" }, { "--help" }, { "-h" } } do
            local r = node.run(words)
            assert.equal(0, r.code)
            assert.equal("", r.err)
            for _, command in ipairs { "run", "check", "get", "peek", "set", "del", "stats", "ring", "hot",
                "explain" } do
                assert.is_truthy(r.out:find(command, 1, true))
            end
            for line in r.out:match("words%]\n\n(.-)\n\n"):gmatch("[^\n]+") do -- two columns
                assert.is_truthy(line:sub(32):find("^ %l"), line)
            end
        end
        local r = node.run { "help", "get" }
        assert.equal(0, r.code)
        assert.is_truthy(r.out:find("--key64", 1, true))
    end)

    it("ends with 2 and one line for bad usage", function()
        for _, words in ipairs {
            {}, { "rnu" }, { "run" }, { "check" }, { "get" }, { "get", "g" }, { "get", "g", "k", "more" }, { "stats",
            "--nope" },
            { "get", "--node" }, { "set", "g", "k", "v", "--ttl", "ten" }, { "help", "nothing" }, { "get", "g", "k",
            "--node", "nonsense://" },
            { "get", "g", "@@", "--key64" },
        } do
            local r = node.run(words)
            assert.equal(2, r.code, table.concat(words, " ") .. ": " .. r.err .. r.out)
            assert.equal("", r.out)
            assert.is_true(#r.err > 0)
        end
        assert.is_truthy(node.run({ "rnu" }).err:find("run", 1, true))
        assert.equal(2, node.run({ "reload", "now" }).code)
    end)

    it("ends with 1 when there is no node", function()
        local port = posix.free_port()
        for _, words in ipairs { { "get", "g", "k" }, { "stats" }, { "set", "g", "k", "v" } } do
            words[#words + 1] = "--node"
            words[#words + 1] = "http://127.0.0.1:" .. port
            local r = node.run(words)
            assert.equal(1, r.code)
            assert.equal("", r.out)
            assert.is_truthy(r.err:find(tostring(port), 1, true), r.err)
        end
    end)
end)

describe("commands to a node", function()
    local n

    setup(function()
        n = node.start { config = CONFIG }
    end)
    teardown(function()
        assert.equal(0, n:stop())
        node.finish()
    end)

    local function cli(...)
        local words = { ... }
        words[#words + 1] = "--node"
        words[#words + 1] = "http://127.0.0.1:" .. n.admin_port
        return node.run(words)
    end

    it("get prints the raw bytes, or ends with 3", function()
        local r = cli("get", "test", "Tom")
        assert.equal(0, r.code)
        assert.equal("value of Tom", r.out)
        r = cli("get", "test", "none")
        assert.equal(3, r.code)
        assert.equal("", r.out)
        r = cli("get", "test", "bad")
        assert.equal(1, r.code)
        assert.equal("", r.out)
        r = cli("get", "nope", "k")
        assert.is_true(r.code ~= 0)
        assert.is_truthy(r.err:find("group", 1, true))
    end)

    it("peek loads nothing", function()
        local r = cli("peek", "test", "peeked")
        assert.equal(3, r.code)
        assert.equal("", r.out)
        cli("get", "test", "peeked")
        r = cli("peek", "test", "peeked")
        assert.equal(0, r.code)
        assert.equal("value of peeked", r.out)
    end)

    it("set and del change the node, and say who knows", function()
        local r = cli("set", "test", "k", "by hand")
        assert.equal(0, r.code)
        local known = cjson.decode(r.out)
        assert.is_table(known.acknowledged)
        assert.is_table(known.lease_waited)
        assert.is_number(known.bound_ms)
        assert.equal("by hand", cli("get", "test", "k").out)
        r = cli("del", "test", "k")
        assert.equal(0, r.code)
        assert.is_table(cjson.decode(r.out).acknowledged)
        assert.equal(3, cli("peek", "test", "k").code)
        assert.equal("value of k", cli("get", "test", "k").out)
    end)

    it("set reads standard input, and knows a lifetime", function()
        local r = cli("set", "test", "empty", "-") -- standard input is empty here
        assert.equal(0, r.code)
        r = cli("get", "test", "empty")
        assert.equal(0, r.code)
        assert.equal("", r.out)
        assert.equal(0, cli("set", "test", "short", "v", "--ttl", "300ms").code)
        node.until_true(function()
            return cli("peek", "test", "short").code == 3
        end, 10, "the value to expire")
    end)

    it("keys may be base64", function()
        local r = cli("get", "test", "AAEK/w==", "--key64")
        assert.equal(0, r.code)
        assert.equal("value of \0\1\n\255", r.out)
        r = cli("get", "test", "a b+c%2F/&key=x")
        assert.equal("value of a b+c%2F/&key=x", r.out)
    end)

    it("stats, ring and explain print what the node knows", function()
        cli("get", "test", "Tom")
        local r = cli("stats", "--json")
        assert.equal(0, r.code)
        assert.is_true(cjson.decode(r.out).groups.test.gets > 0)
        assert.equal(0, cli("stats").code)
        r = cli("ring", "--json")
        assert.equal(0, r.code)
        assert.is_table(cjson.decode(r.out))
        for _ = 1, 500 do
            n:get("/api?group=test&key=Tom")
        end
        r = cli("hot", "--json")
        assert.equal(0, r.code)
        local keys = cjson.decode(r.out).keys
        assert.equal("Tom", keys[1].key)
        assert.equal("test", keys[1].group)
        assert.equal("main", keys[1].tier)
        assert.is_true(keys[1].hot and keys[1].rate >= 600)
        assert.is_truthy(cli("hot").out:find("Tom", 1, true))
        r = cli("explain", "test", "Tom", "--json")
        assert.equal(0, r.code)
        assert.is_table(cjson.decode(r.out))
        assert.is_true(#cli("explain", "test", "Tom").out > 0)
    end)

    it("prints no colour to a pipe", function()
        assert.is_nil(cli("stats").out:find("\27", 1, true))
        assert.is_nil(cli("explain", "test", "Tom").out:find("\27", 1, true))
    end)

    it("json prints an object", function()
        local r = cli("get", "test", "Tom", "--json")
        assert.equal(0, r.code)
        assert.is_truthy(r.out:find("value of Tom", 1, true))
        assert.is_table(cjson.decode(r.out))
    end)
end)

describe("commands with a token", function()
    after_each(node.finish)

    it("take it from a file", function()
        local n = node.start { config = CONFIG, args = { token = "secret-token" } }
        local where = "http://127.0.0.1:" .. n.admin_port
        local r = node.run { "get", "test", "Tom", "--node", where }
        assert.equal(1, r.code)
        assert.is_nil(r.err:find("secret-token", 1, true))
        local file = node.write(node.dir() .. "/token", "secret-token\n")
        r = node.run { "get", "test", "Tom", "--node", where, "--token-file", file }
        assert.equal("", r.err)
        assert.equal("value of Tom", r.out)
        assert.equal(0, r.code)
        assert.is_true(node.run({ "get", "test", "Tom", "--node", where, "--token-file", "/nonexistent" }).code ~= 0)
    end)
end)
