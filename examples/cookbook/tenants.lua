local hg = require "hgcache"

-- What each of them may use.
local tenants = {
    acme = { capacity = "64MiB", concurrency = 16 },
    globex = { capacity = "16MiB", concurrency = 4 },
}

local groups, routes = {}, {}
for name, share in pairs(tenants) do
    groups[name] = {
        capacity = share.capacity,
        ttl = "1m",
        source = { concurrency = share.concurrency, queue = 100, timeout = "2s" },
        getter = hg.source_postgres {
            url = "postgresql://app:secret@127.0.0.1/" .. name, pool = share.concurrency,
            query = "select price from items where name = $1",
        },
    }
    routes["GET /" .. name .. "/prices/*item"] = hg.serve(name, { key = "{path.item}", type = "text/plain" })
end

return { groups = groups, routes = routes }
