-- Values out of PostgreSQL. Misses that come within a few milliseconds are one statement; no load blocks a thread; while the
-- database is away, what was known is served.
--
--   psql postgresql://app:secret@127.0.0.1/shop -f examples/postgres/schema.sql
--   hgcache run examples/postgres/config.lua [db=postgresql://app:secret@127.0.0.1/shop]
--   curl 'http://127.0.0.1:8791/items/lamp'              # 19.90
--   curl 'http://127.0.0.1:8791/stock/lamp'              # {"item":"lamp","left":3}
--   curl -X POST 'http://127.0.0.1:8791/stock/lamp/sell' # {"item":"lamp","left":2}

local hg = require "hgcache"

-- One pool of connections for each script thread: 2 threads here, so at most 16 connections.
local db = hg.postgres { url = hg.args.db or "postgresql://app:secret@127.0.0.1/shop", pool = 8, timeout = "2s" }

local function stock_of(item, left)
    return hg.json.encode { item = item, left = tonumber(left) }
end

return {
    node = {
        scripts = { getters = 1, routes = 1 },
        listen = { api = hg.args.api or "127.0.0.1:8791", admin = hg.args.admin or "127.0.0.1:8792" },
    },
    groups = {
        prices = {
            ttl = "1m", negative_ttl = "5s", stale_if_error = "1h",
            get_many = hg.source_postgres.many { db = db, query = "select name, price from items where name = any($1)" },
            batch = { window = "2ms", max = 100 },
            source = { concurrency = 8, timeout = "2s", retries = 1 },
        },
        stock = {
            ttl = "10s",
            getter = function(key)
                local rows, message, code = db:query("select name, count from items where name = $1", key)
                if not rows then
                    return nil, message, code
                elseif not rows[1] then
                    return nil
                end
                return stock_of(rows[1].name, rows[1].count), { type = "application/json" }
            end,
        },
    },
    routes = {
        ["GET /items/*name"] = hg.serve("prices", { key = "{path.name}", type = "text/plain" }),
        ["GET /stock/:name"] = hg.serve("stock", { key = "{path.name}" }),
        ["POST /stock/:name/sell"] = function(req)
            local name = req.params.name
            local rows, message = db:query(
                "update items set count = count - 1 where name = $1 and count > 0 returning count", name)
            if not rows then
                hg.log.warn("selling failed: %s", message)
                return 503, "try again\n"
            elseif not rows[1] then
                return 404, "sold out\n"
            end
            hg.group("stock"):remove(name)
            return 200, stock_of(name, rows[1].count), { ["Content-Type"] = "application/json" }
        end,
    },
}
