-- The configuration: a Lua chunk that returns one table.
--
--   hgcache check config.lua             is it right? Nothing is started
--   hgcache test                         runs the specs in spec/
--   hgcache run config.lua               runs the node; Ctrl-C ends it
--   curl http://127.0.0.1:8791/items/apple

local hg = require "hgcache"

-- Modules of your own lie beside this file.
local items = require "getters.items"

-- name=value on the command line: `hgcache run config.lua origin=https://origin.example api=127.0.0.1:9000`
local args = hg.args

---@type hgcache.config
local config = {
    node = {
        listen = {
            api = args.api or "127.0.0.1:8791",     -- clients
            admin = args.admin or "127.0.0.1:8792", -- you: hgcache stats, /metrics
        },
    },

    groups = {
        items = {
            -- Who knows what is not stored. It runs once for a key, however many clients wait for it.
            getter = args.origin and items.from_origin(args.origin) or items.from_table(),

            capacity = "64MiB",             -- what is used least goes first
            ttl = "1m",                     -- a value lives for a minute
            stale_while_revalidate = "10s", -- then it is served for 10 s more, while one load renews it
            stale_if_error = "1h",          -- and for an hour while the source fails
            negative_ttl = "5s",            -- "there is no such key" is remembered for 5 s

            source = {                      -- what stands between the getter and the world
                concurrency = 32,           -- loads at a time
                timeout = "2s",
                retries = 1,
            },
        },
    },

    routes = {
        -- Served without Lua.
        ["GET /items/:key"] = hg.serve("items", { key = "{path.key}", type = "text/plain" }),

        -- A function: several keys in one answer.
        ["GET /basket"] = function(req)
            local keys = {}
            for key in (req.query.keys or ""):gmatch("[^,]+") do
                keys[#keys + 1] = key
            end
            local values = hg.group("items"):get_many(keys)
            return 200, hg.json.encode(values), { ["Content-Type"] = "application/json" }
        end,
    },
}

return config
