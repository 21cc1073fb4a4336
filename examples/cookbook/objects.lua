local hg = require "hgcache"

local store = "http://127.0.0.1:9000"

return {
    node = {
        limits = { value = "64MiB" },    -- the largest object that is served
        http = { origins = { store } },  -- scripts ask nobody else
    },
    groups = {
        objects = {
            capacity = "1GiB",
            ttl = hg.args.ttl or "1m",   -- where the store sends no Cache-Control
            stale_if_error = "1d",
            getter = hg.source_http { url = store .. "/shop/{key}", timeout = "4s" },
        },
    },
    routes = { ["GET /files/*key"] = hg.serve("objects", { key = "{path.key}" }) },
}
