-- `hgcache check` warns of what is no error and hardly ever meant, and ends with 0.

local node = require "spec.support.node"

describe("hgcache check", function()
    local folder

    before_each(function()
        folder = os.tmpname()
        os.remove(folder)
        os.execute("mkdir -p " .. folder .. "/lib")
    end)

    after_each(function()
        os.execute("rm -rf " .. folder)
    end)

    -- -> list of warnings, without the folder's name
    local function warnings_of(files, args)
        for name, text in pairs(files) do
            node.write(folder .. "/" .. name, text)
        end
        local words = { "check", folder .. "/config.lua" }
        for _, word in ipairs(args or {}) do
            words[#words + 1] = word
        end
        local r = node.run(words)
        assert.equal(0, r.code, r.err)
        local out = {}
        for line in r.err:gmatch("[^\n]+") do
            local text = line:match("^hgcache: warning: (.*)$")
            assert.is_truthy(text, line)
            if text:sub(1, #folder + 1) == folder .. "/" then
                text = text:sub(#folder + 2)
            end
            out[#out + 1] = text
        end
        return out
    end

    local function config(body)
        return { ["config.lua"] = "local hg = require 'hgcache'\n" .. body }
    end

    it("has nothing to say where all is well", function()
        assert.same({}, warnings_of({
            ["config.lua"] = [[
                local hg = require "hgcache"
                local helper = require "lib.helper"
                local shared = hg.source { concurrency = 3 }
                local function twice(x) return x .. x end
                _G.meant = 1
                return { node = { scripts = { sql = 2 } }, groups = { items = { source = shared, pool = "sql",
                    getter = function(key) return twice(helper.of(key)) .. tostring(os.time()) .. hg.args.suffix .. meant end } } }
            ]],
            ["lib/helper.lua"] = "local M = {} function M.of(key) return key end return M",
        }, { "suffix=x" }))
    end)

    it("names globals that a script sets, also where it has not run", function()
        local global = "is set as a global: without `local` each script thread has one of its own"
        assert.same({
            "config.lua:3: 'count' " .. global,
            "config.lua:6: 'total' " .. global,
            "lib/helper.lua:2: 'helped' " .. global,
        }, warnings_of({
            ["config.lua"] = [[local hg = require "hgcache"
                local helper = require "lib.helper"
                count = 0
                return { groups = { items = { getter = function(key)
                    local function inner()
                        total = (total or 0) + 1
                        return total, helper, hg
                    end
                    count = inner()
                    return count
                end } } }
            ]],
            ["lib/helper.lua"] = "local M = {}\nfunction M.f() helped = true end\nreturn M",
        }))
    end)

    it("names globals that are read and nowhere set", function()
        assert.same({ "config.lua:2: 'vlaue' is read and is nowhere set" }, warnings_of(config(
            "return { groups = { items = { getter = function(value) return vlaue, hg end } } }")))
    end)

    it("says nothing about names that some line asks for", function()
        assert.same({}, warnings_of(config [[
            local bit = bit32 or require "bit"
            local is_nginx, is_other = ngx ~= nil, not other
            if DEBUG then
                print(DEBUG.level)
            end
            if type(lanes) == "table" then
                lanes.start()
            end
            return { groups = { items = { getter = function() return bit, hg, is_nginx, is_other end } } }]]))
    end)

    it("says nothing about files that change their environment", function()
        assert.same({}, warnings_of {
            ["config.lua"] = [[local old, new = require "lib.old", require "lib.new"
                return { groups = { items = { getter = function(key) return old.load1(key), new() end } } }]],
            ["lib/old.lua"] = "module(..., package.seeall) function load1(key) return helper(key) end function helper() end",
            ["lib/new.lua"] = "return setfenv(function() y = 1 return y end, {})",
        })
    end)

    it("says nothing about modules of others", function()
        local other = folder .. "-other"
        os.execute("mkdir -p " .. other)
        node.write(other .. "/careless.lua", "careless = true return {}")
        local warnings = warnings_of(config([[package.path = "]] .. other .. [[/?.lua;" .. package.path
            require "careless"
            return { groups = { items = { getter = function() return hg end } } }]]))
        os.execute("rm -rf " .. other)
        assert.same({}, warnings)
    end)

    for text, body in pairs {
        ["config.lua:2: no group has this hg.source"] =
            'hg.source { concurrency = 3 } return { groups = { items = { getter = print } } }',
        ["node.scripts.sql: no group has this pool"] =
            'return { node = { scripts = { sql = 2 } }, groups = { items = { getter = print } } }, hg',
        ["groups.items.source.timeout: never reached, since the group's deadline is 2s"] =
            'return { groups = { items = { deadline = "2s", source = hg.source { timeout = "3s" }, getter = print } } }',
        ['routes["GET /x"].timeout: never reached, since the group\'s deadline is 10s'] = 'return { groups = { items = '
            .. '{ getter = print } }, routes = { ["GET /x"] = hg.serve("items", { timeout = "11s" }) } }',
        ["groups.items.batch: the group has no get_many"] =
            'return { groups = { items = { batch = { max = 3 }, getter = print } } }, hg',
        ["node.admin.tokens: there is no admin listener (node.listen.admin)"] = 'return { node = { listen = { api = '
            .. '"127.0.0.1:1" }, admin = { tokens = { "secret" } } }, groups = { items = { getter = print } } }, hg',
        ["cluster.tokens: there is no other member that could show one"] = 'return { cluster = { self = "127.0.0.1:1", '
            .. 'peers = { "127.0.0.1:1" }, tokens = { "secret" } }, groups = { items = { getter = print } } }, hg',
        ["cors: each route has its own"] = 'return { groups = { items = { getter = print } }, cors = { origins = "*" }, '
            .. 'routes = { ["GET /x"] = hg.serve("items", { cors = false }) } }',
        ["cors: there is no route"] =
            'return { groups = { items = { getter = print } }, cors = { origins = "*" }, routes = {} }, hg',
    } do
        it("warns: " .. text, function()
            assert.same({ text }, warnings_of(config((body:gsub(", hg$", "")))))
        end)
    end

    it("names arguments that nothing reads", function()
        assert.same({ "hg.args.prot: given on the command line and never read" }, warnings_of(config(
            "local _ = hg.args.port return { groups = { items = { getter = function() return hg.args.later end } } }"),
            { "prot=1", "port=2", "later=3" }))
    end)

    it("does not know which arguments are read by names that are computed", function()
        for _, read in ipairs {
            'local function read(name) return hg.args["max_" .. name] end',
            "local args = hg.args local function read(name) return args[name] end",
        } do
            assert.same({}, warnings_of(config(read .. " return { groups = { items = { getter = read } } }"), { "max_a=1" }))
        end
    end)

    it("takes sources of which one is chosen for one", function()
        assert.same({}, warnings_of(config [[
            local sources = {}
            for i = 1, 3 do
                sources[i] = hg.source { concurrency = i }
            end
            local wrapped = coroutine.wrap(hg.source) { concurrency = 3 }
            return { groups = { items = { source = sources[2], getter = print }, more = { source = wrapped, getter = print } } }]]))
        assert.same({ "config.lua:3: no group has this hg.source, nor " .. folder .. "/config.lua:5" }, warnings_of(config [[
            local sources = {
                small = hg.source { concurrency = 3 },
                middle = hg.source { concurrency = 10 },
                large = hg.source { concurrency = 30 },
            }
            return { groups = { items = { source = sources[hg.args.size or "middle"], getter = print } } }]]))
    end)

    it("does not keep a node from running", function()
        local n = node.start {
            config = "count = 1 return { node = { listen = listen() }, groups = { test = { getter = print } } }",
        }
        assert.equal(0, n:stop())
    end)
end)
