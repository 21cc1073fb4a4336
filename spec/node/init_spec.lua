-- `hgcache init`: what it writes passes its own spec and the check, runs, and answers as its README says.

local node = require "spec.support.node"

local function sh(command)
    local pipe = io.popen(command .. " 2>&1; echo $?")
    local out = pipe:read("*a")
    pipe:close()
    return tonumber(out:match("(%d+)\n$")), (out:gsub("%d+\n$", ""))
end

local _, program = sh("realpath " .. assert(node.binary(), "no program: build it or set HGCACHE_BIN"))
program = program:match("[^\n]+")

describe("hgcache init", function()
    local folder

    before_each(function()
        folder = os.tmpname()
        os.remove(folder)
    end)

    after_each(function()
        node.finish()
        os.execute("rm -rf " .. folder)
    end)

    it("writes a project that passes its own spec and the check", function()
        local code, out = sh(program .. " init " .. folder)
        assert.equal(0, code, out)
        code, out = sh("cd " .. folder .. " && " .. program .. " test")
        assert.equal(0, code, out)
        assert.is_truthy(out:find("4 successes / 0 failures / 0 errors", 1, true), out)
        code, out = sh("cd " .. folder .. " && " .. program .. " check config.lua")
        assert.equal(0, code, out)
        assert.is_nil(out:find("warning", 1, true), out)
    end)

    it("runs, and answers what its README says", function()
        assert.equal(0, (sh(program .. " init " .. folder)))
        local n = node.start { file = folder .. "/config.lua" }
        local asked = 0
        local readme = io.open(folder .. "/README.md"):read("*a")
        for url, body in readme:gmatch("curl '?http://127.0.0.1:8791([^%s']+)'?%s+# ([^\n]+)") do
            local r = n:get(url)
            assert.equal(200, r.status)
            asked = asked + 1
            if body:find("^{") then
                assert.same(node.json.decode(body), node.json.decode(r.body))
            else
                assert.equal(body, r.body)
            end
        end
        assert.equal(2, asked)
        assert.equal(0, n:stop())
    end)

    it("tells the editor where the types are", function()
        assert.equal(0, (sh(program .. " init " .. folder)))
        local luarc = node.json.decode(io.open(folder .. "/.luarc.json"):read("*a"))
        local types = io.open(luarc["workspace.library"][1] .. "/hgcache.lua")
        assert.is_truthy(types, luarc["workspace.library"][1])
        types:close()
    end)

    it("says how to go there, whatever the name is", function()
        for name, word in pairs {
            plain = "plain", ["slashes//"] = "slashes", ["two words"] = "'two words'", ["it's"] = [['it'\''s']], ["-x"] = "./-x",
            ["$HOME"] = "'$HOME'",
        } do
            os.execute("mkdir -p " .. folder)
            local code, out = sh(("cd %s && %s init -- '%s'"):format(folder, program, (name:gsub("'", [['\'']]))))
            assert.equal(0, code, out)
            assert.is_truthy(out:find("\n\ncd " .. word .. "\n", 1, true), out)
            assert.is_nil(out:find("//config", 1, true), out)
            code, out = sh(("cd %s && cd %s && %s check config.lua"):format(folder, word, program))
            assert.equal(0, code, out)
        end
        local code, out = sh(program .. " init ''")
        assert.equal(2, code)
        assert.is_truthy(out:find("expected a folder, found an empty name", 1, true), out)
    end)

    it("takes an empty folder, and no other", function()
        os.execute("mkdir " .. folder)
        assert.equal(0, (sh(program .. " init " .. folder)))
        local code, out = sh(program .. " init " .. folder)
        assert.equal(1, code)
        assert.is_truthy(out:find("the folder is not empty", 1, true), out)
        code, out = sh(program .. " init " .. folder .. "/no/such")
        assert.equal(1, code)
        assert.is_truthy(out:find(folder .. "/no: No such file or directory", 1, true), out)
        assert.equal(1, (sh(program .. " init " .. folder .. "/config.lua")))
    end)
end)
