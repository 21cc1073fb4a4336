-- The documentation has every key and every function.

local schema = require "hgcache.schema"
local walk = require "spec.support.walk"

local function text_of(path)
    local file = assert(io.open(path, "rb"))
    local text = file:read("*a")
    file:close()
    return text
end

-- A default as docs/configuration.md writes it.
local function default_of(field)
    if field.type.later then
        return "later"
    elseif field.required then
        return "required"
    elseif field.default == nil then
        return "none"
    elseif type(field.default) == "table" then
        return nil
    elseif type(field.default) == "string" then
        return ('`"%s"`'):format(field.default)
    end
    return "`" .. tostring(field.default) .. "`"
end

describe("docs/configuration.md", function()
    local text = text_of("docs/configuration.md")

    for _, section in ipairs(schema.sections) do
        it("has " .. (section[1] == "" and "the top" or section[1]), function()
            local heading = section[1] == "" and "\n## The returned table\n" or "\n## `" .. section[1] .. "`\n"
            local _, from = text:find(heading, 1, true)
            assert.is_truthy(from, heading)
            local part = text:sub(from, (text:find("\n## ", from, true) or #text + 1) - 1)
            for _, field in ipairs(section[2]) do
                local row = part:match("\n(| `" .. field.name .. "` |[^\n]*)")
                assert.is_truthy(row, section[1] .. "." .. field.name)
                local default = default_of(field)
                if default then
                    assert.is_truthy(row:find("| " .. default .. " |", 1, true), row .. " wants " .. default)
                end
            end
            for name in part:gmatch("\n| `([%w_]+)` |") do
                local known = false
                for _, field in ipairs(section[2]) do
                    known = known or field.name == name
                end
                assert.is_true(known, name .. " is documented and does not exist")
            end
        end)
    end
end)

describe("docs/lua.md", function()
    it("says of every function what it costs", function()
        local heading, costs, count = nil, false, 0
        for line in (text_of("docs/lua.md") .. "\n## "):gmatch("[^\n]+") do
            local next_heading = line:match("^###? (.*)")
            if next_heading then
                assert.is_true(heading == nil or costs, heading)
                heading = next_heading:match("`hg%.") or next_heading:match("`testing%.") or next_heading:match("`require")
                heading, costs, count = heading and next_heading, false, count + (heading and 1 or 0)
            end
            costs = costs or line:lower():find("cost", 1, true) ~= nil
        end
        assert.is_true(count > 20)
    end)
end)

describe("lua/hgcache/types/config.lua", function()
    it("is what scripts/types.lua makes of the schema", function()
        assert.equal(0, os.execute("luajit scripts/types.lua --check"))
    end)
end)

describe("docs/lua.md", function()
    local text = text_of("docs/lua.md")

    it("has every function of the library", function()
        local source = text_of("lua/hgcache/init.lua")
        for name in source:gmatch("\nfunction (hg%.[%w_.]+)") do
            assert.is_truthy(text:find(name, 1, true), name)
        end
        for name in source:match("local hg = (%b{})"):gmatch("\n%s+([%w_]+) = core") do
            assert.is_truthy(text:find("hg." .. name, 1, true), "hg." .. name)
        end
    end)

    it("has every function of hg.http, and every option", function()
        local source = text_of("lua/hgcache/http.lua")
        local part = text:sub(text:find("### `hg.http`", 1, true), text:find("\n## Time", 1, true))
        for name in source:gmatch("\nfunction M%.hg%.([%w_]+)") do
            assert.is_truthy(part:find("hg.http." .. name, 1, true), name)
        end
        for name in source:match("\nlocal options = (%b{})"):gmatch("([%w_]+) =") do
            assert.is_truthy(part:find("`" .. name .. "`", 1, true), name)
        end
        for name in text_of("lua/hgcache/source_http.lua"):match("\nlocal own = (%b{})"):gmatch("([%w_]+) =") do
            assert.is_truthy(part:find("`" .. name .. "`", 1, true), name)
        end
    end)

    it("has every option of every source", function()
        for _, source in ipairs {
            { "postgres_pool", "### `hg.postgres(", "M.known = " },
            { "source_postgres", "### `hg.source_postgres(", "local known = " },
            { "luasql", "### `hg.source_mysql(", "local known = " }, { "source_mysql", "### `hg.source_mysql(", "known = " },
            { "source_sqlite", "### `hg.source_sqlite(", "known = " },
            { "source_file", "### `hg.source_file(", '"hg.source_file", opts, ' },
            { "redis", "### `hg.redis(", "M.known = " }, { "source_redis", "### `hg.source_redis(", "local known = " },
        } do
            local name, heading, before = source[1], source[2], source[3]
            local from = text:find(heading, 1, true)
            assert.is_truthy(from, heading)
            local part = text:sub(from, text:find("\n##", from + 1, true))
            local code = text_of("lua/hgcache/" .. name .. ".lua")
            local options = code:match("^%b{}", select(2, code:find(before, 1, true)) + 1)
            assert.is_truthy(options, name)
            for option in options:gmatch("([%w_]+) =") do
                assert.is_truthy(part:find("`" .. option .. "`", 1, true), name .. ": " .. option)
            end
        end
    end)

    it("has every loader", function()
        for path in io.popen("ls scripts/loaders/*.lua"):lines() do
            local name = path:match("([%w_]+)%.lua$")
            assert.is_truthy(text:find("loaders." .. name, 1, true), name)
        end
    end)
end)

describe("docs/cookbook.md", function()
    local sections = walk.sections("docs/cookbook.md")

    it("shows each recipe as its file has it, and every file", function()
        local shown = {}
        for _, section in ipairs(sections) do
            for _, block in ipairs(section.blocks) do
                if block.language == "lua" then
                    local path = section.text:match("%]%(%.%./(examples/[%w_/]+%.lua)%):\n")
                    assert.is_truthy(path, section.title)
                    assert.equal(text_of(path), block.text)
                    shown[path] = true
                end
            end
        end
        for path in io.popen("ls examples/cookbook/*"):lines() do
            assert.is_true(shown[path], path)
        end
    end)

    it("has each recipe in its table", function()
        for _, section in ipairs(sections) do
            local anchor = section.title:lower():gsub(" ", "-"):gsub("[^%w-]", "")
            assert.is_true(section.title == "" or section.title == "Before you begin"
                or sections[1].text:find(("[%s](#%s)"):format(section.title, anchor), 1, true) ~= nil, section.title)
        end
    end)
end)

describe("links in the documents", function()
    for path in io.popen("ls README.md docs/*.md"):lines() do
        it("lead to something: " .. path, function()
            local folder = path:match("^(.*/)") or ""
            local anchors = {}
            for title in ("\n" .. text_of(path)):gmatch("\n##+ ([^\n]+)") do
                anchors[title:lower():gsub("[^%w%s_-]", ""):gsub(" ", "-")] = true
            end
            for link in text_of(path):gsub("\n```.-\n```", ""):gmatch("%]%(([^)%s]+)%)") do
                local file, anchor = link:match("^([^#]*)#?(.*)$")
                if file == "" then
                    assert.is_true(anchors[anchor], link)
                elseif not file:find("^https?:") then
                    assert.equal(0, os.execute(("test -e '%s%s'"):format(folder, file)), link)
                end
            end
        end)
    end
end)
