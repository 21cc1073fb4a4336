local hg = require "hgcache"

local db = hg.postgres { url = "postgresql://app:secret@127.0.0.1/shop", timeout = "2s" }

return {
    groups = {
        items = {
            ttl = "1m", stale_if_error = "1h",
            -- Rows that are asked for within 2 ms are one statement.
            get_many = hg.source_postgres.many { db = db, query = "select id, to_jsonb(items) from items where id = any($1)" },
            batch = { window = "2ms" },
        },
        lists = {
            ttl = "10s", stale_if_error = "1h",
            getter = hg.source_postgres {
                db = db,
                query = "select coalesce(jsonb_agg(items order by price), '[]') from items where price <= $1::numeric",
            },
        },
    },
    routes = {
        ["GET /items/:id"] = hg.serve("items", { key = "{path.id}", type = "application/json" }),
        ["GET /items"] = hg.serve("lists", { key = "{query.max|1000000}", type = "application/json" }),
    },
}
