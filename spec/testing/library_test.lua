-- Every public function, as it is in a real Lua state, is in the reference, in the annotations, and in some spec or test.
-- Run by `hgcache test` from the top folder.

local testing = require "hgcache.testing"
local configs = require "spec.testing.configs"

local LIST = [[
    local core = require "hgcache.core"
    local names = {}

    local function add(prefix, members)
        for name, member in pairs(members) do
            if type(name) == "string" and name:sub(1, 2) ~= "__" then
                local meta = type(member) == "table" and debug.getmetatable(member)
                if type(member) == "function" or meta and meta.__call then
                    names[#names + 1] = prefix .. name
                end
                if type(member) == "table" and prefix == "hg." and name ~= "args" and name ~= "json" then
                    add(prefix .. name .. ".", member)
                end
            end
        end
    end

    local function methods(prefix, object)
        add(prefix .. ":", debug.getmetatable(object).__index)
    end

    for name in pairs(debug.getmetatable(hg).lazy) do
        if name ~= "testing" then
            local _ = hg[name]
        end
    end
    add("hg.", hg)
    methods("counter", hg.counter("c_total", "C."))
    methods("gauge", hg.gauge("g", "G."))
    methods("histogram", hg.histogram("h", "H."))
    methods("group", hg.group("x"))
    methods("redis", hg.redis {})
    add("sock:", core.socket.methods)
    return { groups = { names = { getter = function()
        methods("shared", hg.shared("s"))
        table.sort(names)
        return table.concat(names, " ")
    end } } }
]]

local function text_of(command)
    local pipe = assert(io.popen(command))
    local text = pipe:read("*a")
    pipe:close()
    return text
end

describe("every public function", function()
    local names = {}
    local node = testing.node(configs.file(LIST))
    for name in node:get("names", "all"):gmatch("%S+") do
        names[#names + 1] = name
    end
    configs.remove()
    for name in pairs(testing) do
        names[#names + 1] = "testing." .. name
    end
    for name, method in pairs(getmetatable(node)) do
        if type(method) == "function" then
            names[#names + 1] = "node:" .. name
        end
    end

    local reference = text_of("cat docs/lua.md")
    local annotations = text_of("cat lua/hgcache/types/hgcache.lua lua/hgcache/types/hgcache/*.lua")
    local tests = text_of("cat $(find spec -name '*.lua') $(find core -name '*_test.c') examples/*/*.lua examples/*/*/*.lua")

    it("is known to this spec", function()
        assert.is_true(#names > 60, table.concat(names, " "))
        for _, name in ipairs { "hg.http.get", "hg.policy.sampled", "hg.source_redis.many", "hg.log.warn", "group:get_many",
            "redis:command", "shared:incr", "sock:receiveuntil", "counter:inc", "testing.node", "node:advance" } do
            assert.is_truthy((" " .. table.concat(names, " ") .. " "):find(" " .. name .. " ", 1, true), name)
        end
    end)

    for _, name in ipairs(names) do
        local plain = name:gsub("%p", "%%%0")
        local method = name:match(":(.*)$")

        it("is in docs/lua.md: " .. name, function()
            -- `node:peek`, `:set`, ... may share their object's name.
            local is_alone = method and reference:find("`:" .. method .. "%f[^%w_]")
            assert.is_truthy(is_alone or reference:find("`[^`\n]*" .. plain .. "%f[^%w_]"))
        end)

        it("is in the annotations: " .. name, function()
            assert.is_truthy(annotations:find("\nfunction " .. plain .. "%(") or annotations:find("\n" .. plain .. " = {}\n"))
        end)

        it("is in a spec or a test: " .. name, function()
            assert.is_truthy(tests:find(method and ":" .. method .. "%f[^%w_]" or plain .. "%f[^%w_]"))
        end)
    end
end)
