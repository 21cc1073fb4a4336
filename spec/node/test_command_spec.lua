-- `hgcache test`: busted within the program. What hg.testing does is in spec/testing, which runs there.

local node = require "spec.support.node"

local pipe_of_program = io.popen("realpath " .. assert(node.binary(), "no program: build it or set HGCACHE_BIN"))
local PROGRAM = pipe_of_program:read("*l")
pipe_of_program:close()

-- Runs a command in a folder with these files. -> exit code, everything it printed
local function run(files, words, environment)
    local folder = os.tmpname()
    os.remove(folder)
    assert(os.execute("mkdir -p " .. folder .. "/spec") == 0)
    for name, text in pairs(files) do
        local file = assert(io.open(folder .. "/" .. name, "w"))
        file:write(text)
        file:close()
    end
    local pipe = io.popen(("cd %s && %s %s test %s 2>&1; echo $?"):format(folder, environment or "", PROGRAM, words))
    local out = pipe:read("*a")
    pipe:close()
    os.execute("rm -rf " .. folder)
    return tonumber(out:match("(%d+)\n$")), (out:gsub("%d+\n$", ""))
end

local CONFIG = [[
local hg = require "hgcache"
return { groups = { items = { ttl = "60s", getter = hg.source_http { url = "https://origin/{key}" } } } }
]]
local SPEC = [[
local testing = require "hgcache.testing"
describe("items", function()
    it("are loaded again after a minute", function()
        local node = testing.node("config.lua", { http = { ["GET https://origin/7"] = { body = "seven" } } })
        assert.equal("seven", (node:get("items", "7")))
        node:advance("61s")
        node:get("items", "7")
        assert.equal(%d, node:calls("items", "7"))
    end)
end)
]]

describe("hgcache test", function()
    it("passes its own specs of hg.testing", function()
        local pipe = io.popen(PROGRAM .. " test -p _test spec/testing 2>&1; echo $?")
        local out = pipe:read("*a")
        pipe:close()
        assert.equal("0", out:match("(%d+)\n$"), out)
        assert.is_truthy(out:find(" 0 failures / 0 errors", 1, true), out)
    end)

    it("runs spec/ and ends with 0 where all is well", function()
        local code, out = run({ ["config.lua"] = CONFIG, ["spec/a_spec.lua"] = SPEC:format(2) }, "")
        assert.equal(0, code, out)
        assert.is_truthy(out:find("1 success / 0 failures / 0 errors", 1, true), out)
    end)

    it("ends with 1 where a spec fails, and shows it as busted does", function()
        local files = { ["config.lua"] = CONFIG, ["spec/a_spec.lua"] = SPEC:format(3) }
        local code, out = run(files, "-o TAP spec/a_spec.lua")
        assert.equal(1, code, out)
        assert.is_truthy(out:find("not ok 1 - items are loaded again after a minute", 1, true), out)
    end)

    it("takes busted's options, and ends with 1 where busted does", function()
        local files = { ["spec/a_spec.lua"] = "it('a', function() end) it('b', function() error('no') end)" }
        assert.equal(0, (run(files, "--filter=a")))
        assert.equal(1, (run(files, "--filter=b")))
        assert.equal(1, (run(files, "--nonsense")))
        assert.equal(1, (run({ ["spec/a_spec.lua"] = "it(" }, "")))
        local code, out = run(files, "--version")
        assert.equal(0, code)
        assert.is_truthy(out:find("^%d+%.%d+"), out)
    end)

    it("has help of its own and busted's", function()
        for _, word in ipairs { "--help", "-h", "--filter=a --help" } do
            local code, out = run({}, word .. " 2>/dev/null")
            assert.equal(0, code)
            assert.is_truthy(out:find("^usage: hgcache test %[option ...%] %[SPEC ...%]\n"), out)
            assert.is_truthy(out:find("testing.node", 1, true), out)
            assert.is_truthy(out:find("--filter-out=PATTERN", 1, true), out)
        end
        assert.equal(1, (run({ ["spec/a_spec.lua"] = "it('a', function() end)" }, "-- --help")))
    end)

    it("runs specs here, whatever .busted says", function()
        local files = { ["spec/a_spec.lua"] = "it('a', function() assert(require('hgcache.testing').node) end)",
            [".busted"] = "return { default = { lua = 'no-such-lua', verbose = true } }" }
        local code, out = run(files, "")
        assert.equal(0, code, out)
        code, out = run(files, "--lua=no-such-lua")
        assert.equal(0, code, out)
    end)

    it("says what to install where there is no busted", function()
        local code, out = run({}, "", "LUA_PATH='/nowhere/?.lua'")
        assert.equal(1, code)
        assert.is_truthy(out:find("busted is not installed", 1, true), out)
        assert.is_truthy(out:find("apt-get install lua-busted", 1, true), out)
    end)

    it("ends where a fake ends it", function()
        local code, out = run({ ["config.lua"] = CONFIG, ["spec/a_spec.lua"] = [[
            local testing = require "hgcache.testing"
            it("ends", function()
                local node = testing.node("config.lua", { http = function() os.exit(3, true) end })
                node:get("items", "7")
            end)]] }, "")
        assert.equal(3, code, out)
        assert.is_nil(out:find("Sanitizer", 1, true), out)
    end)

    it("collects nodes that nobody refers to when files run out, and says so when that does not help", function()
        local files = { ["config.lua"] = CONFIG, ["spec/a_spec.lua"] = [[
            local testing = require "hgcache.testing"
            local kept = {}
            it("forgets", function()
                for _ = 1, 30 do
                    testing.node("config.lua")
                end
            end)
            it("keeps", function()
                for i = 1, 30 do
                    kept[i] = testing.node("config.lua")
                end
            end)]] }
        local code, out = run(files, "", "ulimit -n 128;")
        assert.equal(1, code, out)
        assert.is_truthy(out:find("1 success / 0 failures / 1 error", 1, true), out)
        assert.is_truthy(out:find("spec/a_spec.lua:10: no more files can be opened (ulimit -n)", 1, true), out)
        code, out = run(files, "", "ulimit -Sn 128;")
        assert.equal(0, code, out)
    end)

    it("leaves to specs what is closed to scripts", function()
        local code, out = run({ ["spec/a_spec.lua"] = [[
            it("has ffi and its modules", function()
                assert.equal(8, require("ffi").sizeof("double"))
                assert.equal("[1]", require("hgcache").json.encode({ 1 }))
                assert.is_function(require("hgcache").testing.node)
                assert.is_function(debug.sethook)
            end)]] }, "")
        assert.equal(0, code, out)
    end)

    it("is where hg.testing is, and nowhere else", function()
        local file = os.tmpname()
        local handle = assert(io.open(file, "w"))
        handle:write("require('hgcache').testing.node('x')")
        handle:close()
        local r = node.run { "check", file }
        os.remove(file)
        assert.equal(2, r.code)
        assert.is_truthy(r.err:find("hgcache test", 1, true), r.err)
    end)
end)
