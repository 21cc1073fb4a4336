local hg = require "hgcache"

return {
    groups = {
        carts = { -- "chair,lamp", in Redis
            ttl = "2s",
            getter = hg.source_redis { host = "127.0.0.1", port = 6379, key = "cart:{key}" },
        },
        prices = { -- in PostgreSQL
            ttl = "1m", stale_if_error = "1h",
            get_many = hg.source_postgres.many {
                url = "postgresql://app:secret@127.0.0.1/shop", timeout = "2s",
                query = "select name, price from items where name = any($1)",
            },
        },
    },
    routes = {
        ["GET /carts/:user"] = function(req)
            local cart, message, code = hg.group("carts"):get(req.params.user)
            if not cart then
                return code == "not_found" and 404 or 503, message .. "\n"
            end
            local names = {}
            for name in cart:gmatch("[^,]+") do
                names[#names + 1] = name
            end
            -- All at once: what is stored is there, the rest is one statement.
            local prices, errors = hg.group("prices"):get_many(names)
            local total = 0
            for _, price in pairs(prices) do
                total = total + tonumber(price)
            end
            return hg.reply { json = { prices = prices, total = total, complete = errors == nil } }
        end,
    },
}
