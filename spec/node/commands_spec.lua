-- The man page and the completion of the shell have what `hgcache help` has: every command, and of each its options.

local node = require "spec.support.node"

-- The commands of `hgcache help`, in its order, and of each the options of its usage line.
local function commands()
    local list = {}
    for name in node.run({ "help" }).out:match("words%]\n\n(.-)\n\n"):gmatch("  (%l+)[^\n]*") do
        local usage, options = node.run({ "help", name }).out:match("^[^\n]+"), {}
        for option in usage:gmatch("%-%-[%l%d-]+") do
            options[#options + 1] = option
        end
        table.sort(options)
        list[#list + 1] = { name = name, options = options }
    end
    return list
end

-- What bash offers for a line whose last word is being written; a list in order.
local function complete(...)
    local words = {}
    for i, word in ipairs { "hgcache", ... } do
        words[i] = "'" .. word .. "'"
    end
    local script = ([[source scripts/completion.bash; compopt() { :; }
        COMP_WORDS=(%s); COMP_CWORD=%d; _hgcache; printf '%%s\n' "${COMPREPLY[@]}"]])
        :format(table.concat(words, " "), #words - 1)
    local pipe, list = io.popen("bash -c " .. "'" .. script:gsub("'", "'\\''") .. "' 2>&1"), {}
    for line in pipe:lines() do
        list[#list + 1] = line ~= "" and line or nil
    end
    pipe:close()
    table.sort(list)
    return list
end

describe("the commands", function()
    local list = commands()
    after_each(node.finish)

    it("are all in the man page, with their options", function()
        local page = node.read("docs/hgcache.1"):gsub("\\%-", "-"):gsub("\\f%u", "")
        local there, count = {}, 0
        for name, rest in page:gmatch("\n%.B hgcache (%l+)([^\n]*)") do
            local options = {}
            for option in rest:gmatch("%-%-[%l%d-]+") do
                options[#options + 1] = option
            end
            table.sort(options)
            there[name], count = options, count + 1
        end
        assert.is_true(#list > 10)
        assert.equal(#list, count)
        for _, command in ipairs(list) do
            assert.same(command.options, there[command.name], command.name)
        end
    end)

    it("are all completed, with their options", function()
        local names = {}
        for i, command in ipairs(list) do
            names[i] = command.name
        end
        table.sort(names)
        local offered = {}
        for _, word in ipairs(complete("")) do
            offered[#offered + 1] = not word:find("^%-") and word or nil
        end
        assert.same(names, offered)
        assert.same(names, complete("help", ""))
        for _, command in ipairs(list) do
            if command.name ~= "help" then
                local wanted = { "--help", unpack(command.options) }
                table.sort(wanted)
                assert.same(wanted, complete(command.name, "-"), command.name)
                assert.same(wanted, complete("--node", "http://h:1", command.name, "word", "--"), command.name)
            end
        end
    end)

    it("have values of options completed, where there are such", function()
        assert.same({ "s3-fifo", "sampled-lru", "sieve" }, complete("replay", "--policy", "s"))
        assert.same({}, complete("set", "--ttl", ""))
        assert.same({ "stats" }, complete("st"))
    end)
end)
