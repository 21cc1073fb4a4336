-- Documents that are run: what is typed must end and print as it says.

local walk = require "spec.support.walk"
local node = require "spec.support.node"

local function run(text, opts)
    local w = walk.start(opts or {})
    local ok, message = pcall(w.blocks, w, walk.blocks("```sh\n" .. text .. "```\n"))
    w:finish()
    return ok, tostring(message)
end

describe("a document that is run", function()
    after_each(node.finish)

    it("types commands, and compares", function()
        local done = 0
        local actions = { act = function() done = done + 1 end }
        assert.is_true(run("echo hi  # hi\nact\nsleep 1\nprintf 'x\\nhi\\ny\\n'\n# hi\n# y\n", { actions = actions }))
        assert.equal(1, done)
        assert.is_false(run("echo hi  # ho\n"))
    end)

    it("wants 0 as exit code, or what is said", function()
        assert.is_true(run("false  # exit 1\necho hi; exit 3\n# hi\n# exit 3\n"))
        for _, text in ipairs { "false\n", "echo hi; false  # hi\n", "true  # exit 1\n", "echo hi; exit 3\n# hi\n# exit 2\n" } do
            local ok, message = run(text)
            assert.is_false(ok, text)
            assert.is_truthy(message:find("ended with %d"), message)
        end
    end)

    it("has no words below what is done in another way", function()
        local actions = { act = function() end }
        for _, text in ipairs { "act\n# bar\n", "sleep 1\n# bar\n", "hgcache run none.lua\n# bar\n", "act  # exit 1\n" } do
            local ok, message = run(text, { actions = actions })
            assert.is_false(ok, text)
            assert.is_truthy(message:find("what it prints is not known", 1, true), message)
        end
    end)
end)
