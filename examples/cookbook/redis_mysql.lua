local hg = require "hgcache"

local redis = hg.redis { host = "127.0.0.1", port = 6379, timeout = "200ms" }
local from_mysql = hg.source_mysql {
    host = "127.0.0.1", port = 3306, user = "app", password = "secret", database = "shop",
    query = "SELECT price FROM items WHERE name = ?",
}

return {
    -- The driver of MySQL blocks its thread: 8 threads of their own, so 8 statements at a time.
    node = { scripts = { getters = 1, routes = 1, sql = 8 } },
    groups = {
        prices = {
            ttl = "10s", stale_if_error = "1h",
            pool = "sql",
            source = { concurrency = 8 },
            getter = function(name)
                local price = redis:command("GET", "price:" .. name)
                if price and price ~= hg.null then
                    return price
                end
                -- Redis does not know, or is away.
                local why
                price, why = from_mysql(name)
                if type(price) == "string" then
                    redis:command("SETEX", "price:" .. name, 600, price)
                end
                return price, why
            end,
        },
    },
    routes = { ["GET /prices/*name"] = hg.serve("prices", { key = "{path.name}", type = "text/plain" }) },
}
