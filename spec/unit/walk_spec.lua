-- Documents that are run: what is read out of them, and what counts as printed.

local walk = require "spec.support.walk"

describe("a document that is run", function()
    it("has blocks, and files to be written", function()
        local blocks = walk.blocks("Text.\n\nWrite `a/b.lua`:\n\n```lua\nreturn 1\n```\n\n```sh\nls\n```\n")
        assert.same({ "lua", "return 1\n", "a/b.lua" }, { blocks[1].language, blocks[1].text, blocks[1].file })
        assert.same({ "sh", "ls\n" }, { blocks[2].language, blocks[2].text })
        assert.is_nil(blocks[2].file)
    end)

    it("has no blocks that would be passed over", function()
        for _, text in ipairs {
            "```bash\nls\n```\n", "```sh title=x\nls\n```\n", "~~~sh\nls\n~~~\n", "```\nls # a\n```\n", "```sh\nls\n",
            "```sh\n```sh\n", "````sh\nls\n```\n",
        } do
            assert.is_false(pcall(walk.blocks, text), text)
        end
    end)

    it("has commands, with what each prints", function()
        assert.same({
            { command = "one", wanted = {} },
            { command = "two 'a # b'", wanted = { "2" } },
            { command = "three \\\n  more", wanted = { "a", "b" } },
            { command = "four <<'END'\n# not said\nEND", wanted = { "c" } },
            { command = "five 'x\ny'", wanted = {} },
            { command = "six '#a'", wanted = { "d" }, code = 1 },
        }, walk.steps("one\ntwo 'a # b'   # 2\n\nthree \\\n  more\n# a\n# b\nfour <<'END'\n# not said\nEND\n# c\nfive 'x\ny'\n"
            .. "six '#a' # d\n# exit 1\n"))
        assert.has_error(function()
            walk.steps("# what is this?\n")
        end)
        assert.has_error(function()
            walk.steps("one 'two\n")
        end)
        assert.has_error(function()
            walk.steps("one #two\n")
        end)
    end)

    it("says whole lines, in their order", function()
        assert.is_nil(walk.missing("a\r\nb\nc", { "a", "c" }))
        assert.equal("a", walk.missing("b\na b\n", { "a" }))
        assert.equal("a", walk.missing("a\nb\n", { "b", "a" }))
        assert.equal("a", walk.missing("a\nb\n", { "a", "a" }))
        assert.equal("a", walk.missing("", { "a" }))
    end)

    it("says JSON in any form, and times of any length", function()
        assert.is_nil(walk.missing('{"b":[1,{"c":2.50}],"a":"x"}\n', { '{"a": "x", "b": [1, {"c": 2.5}]}' }))
        for _, other in ipairs { '{"a":1}', '{"a":1,"b":2,"c":3}', '{"a":1,"b":"2"}', "[1, 2]", "text" } do
            assert.is_truthy(walk.missing(other, { '{"a": 1, "b": 2}' }))
        end
        assert.is_nil(walk.missing('{"b":{},"a":[ ],"c":"[]"}', { '{"a":[],"b":{},"c":"[]"}' }))
        for text, other in pairs { ["[]"] = "{}", ['{"a":[]}'] = '{"a":{}}', ['{"a":"\\"[]","b":{}}'] = '{"a":"\\"[]","b":[]}' } do
            assert.is_truthy(walk.missing(text, { other }))
            assert.is_truthy(walk.missing(other, { text }))
        end
        assert.is_nil(walk.missing("Cache-Status: n; hit; ttl=3\nAge: 7\n", { "Cache-Status: n; hit; ttl=58", "Age: 0" }))
        assert.is_truthy(walk.missing("Cache-Status: n; hit; ttl=-3\n", { "Cache-Status: n; hit; ttl=3" }))
    end)
end)
