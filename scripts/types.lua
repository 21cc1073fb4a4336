-- Writes lua/hgcache/types/config.lua, what an editor knows of the configuration, from the schema. Run from the top folder:
--
--   luajit scripts/types.lua           writes the file
--   luajit scripts/types.lua --check   exit 1 when it is not what would be written

package.path = "./lua/?.lua;" .. package.path

local schema = require "hgcache.schema"

local PATH = "lua/hgcache/types/config.lua"

local classes = {
    [""] = "hgcache.config", ["groups.NAME"] = "hgcache.config.group", ["groups.NAME.source"] = "hgcache.config.source",
    ["groups.NAME.source.breaker"] = "hgcache.config.breaker", ["groups.NAME.batch"] = "hgcache.config.batch",
    ["hg.serve"] = "hgcache.config.serve", ["routes.handler"] = "hgcache.config.handler",
}

local function class_of(section)
    return classes[section] or "hgcache.config." .. section
end

-- The class of a section's table of fields.
local by_fields = {}
for _, section in ipairs(schema.sections) do
    by_fields[section[2]] = class_of(section[1])
end

-- What a kind says too little about.
local by_name = {
    getter = "fun(key: string, ctx: hgcache.ctx): hgcache.result, any?, any?",
    get_many = "fun(keys: string[], ctx: hgcache.ctx): table<string, hgcache.result>?, any?, any?",
    on_evict = 'fun(key: string, value: string, reason: "capacity"|"expired"|"removed"|"replaced")',
    on_hot = "fun(key: string, rate: integer)",
    handler = "hgcache.handler", before = "hgcache.before|hgcache.before[]", after = "hgcache.after|hgcache.after[]",
    errors = "table<integer, string|hgcache.error_page>", origin = "fun(origin: string): boolean",
    groups = "table<string, hgcache.config.group>",
    routes = "table<string, hgcache.serve|hgcache.handler|hgcache.config.handler>",
    peers = "string[]|hgcache.peers|fun(): string[]?, string?",
}

local function words(expected)
    local out = {}
    for word in expected:gmatch('"[^"]*"') do
        out[#out + 1] = word
    end
    return table.concat(out, "|")
end

local by_kind = {
    boolean = function() return "boolean" end,
    string = function() return "string" end,
    address = function() return "string" end,
    member = function() return "string" end,
    number = function() return "number" end,
    integer = function(kind) return kind.expected:find('"auto"', 1, true) and 'integer|"auto"' or "integer" end,
    size = function() return "integer|string" end,
    duration = function(kind) return kind.expected:find("false for ever", 1, true) and "number|string|false" or "number|string" end,
    seconds = function() return "number|string" end,
    word = function(kind)
        return words(kind.expected) .. (kind.expected:find("hg.policy", 1, true) and "|hgcache.policy" or "")
    end,
    ring = function() return '"default"|"hgcache"|"groupcache"|hgcache.config.cluster.ring' end,
    pools = function() return 'integer|"auto"|table<string, integer|"auto">' end,
    list = function() return "string[]" end,
    headers = function() return "table<string, string>" end,
    cors = function() return "hgcache.config.cors|false" end,
    section = function(kind)
        return assert(by_fields[kind.fields]) .. (kind.fields == schema.source and "|hgcache.source" or "")
    end,
}

local function type_of(field)
    local make = by_kind[field.type.kind]
    if field.name == "origins" and field.type.expected:find('"*"', 1, true) then
        return 'string[]|"*"'
    end
    return by_name[field.name] or make and make(field.type) or error("no type for " .. field.name .. ": " .. field.type.kind)
end

local function default_of(field)
    local value = field.default
    if value == nil or type(value) == "table" then
        return ""
    end
    return ", default `" .. (type(value) == "string" and ("%q"):format(value) or tostring(value)) .. "`"
end

local out = {
    "---@meta _",
    "-- The configuration, from lua/hgcache/schema.lua by scripts/types.lua: not to be changed by hand.",
    "",
    "---@alias hgcache.result string|number|nil|hgcache.value|hgcache.not_found|hgcache.fail|hgcache.keep",
}
for _, section in ipairs(schema.sections) do
    out[#out + 1] = ""
    out[#out + 1] = "---@class " .. class_of(section[1])
    for _, field in ipairs(section[2]) do
        if not field.type.later then
            out[#out + 1] = ("---@field %s%s %s # %s%s"):format(field.name, field.required and "" or "?", type_of(field),
                field.help or "a table", default_of(field))
        end
    end
end
local text = table.concat(out, "\n") .. "\n"

if arg[1] == "--check" then
    local file = io.open(PATH, "rb")
    local old = file and file:read("*a")
    if old ~= text then
        io.stderr:write(PATH, " is not what the schema says: run luajit scripts/types.lua\n")
        os.exit(1)
    end
else
    local file = assert(io.open(PATH, "wb"))
    file:write(text)
    file:close()
end
