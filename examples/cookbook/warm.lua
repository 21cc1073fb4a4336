local hg = require "hgcache"

local db = hg.postgres { url = "postgresql://app:secret@127.0.0.1/shop", timeout = "2s" }

-- Runs when the node answers already, and nobody waits for it.
hg.at_start(function()
    local rows, message
    repeat
        rows, message = db:query("select name from items order by sold desc limit 1000")
        if not rows then
            hg.log.warn("not warm yet: %s", message)
            hg.sleep("1s")
        end
    until rows
    local names = {}
    for i, row in ipairs(rows) do
        names[i] = row.name
    end
    local _, errors = hg.group("prices"):get_many(names)
    hg.log.info("warm: %d keys%s", #names, errors and ", some failed" or "")
end)

return {
    groups = {
        prices = {
            ttl = "10m",
            stale_while_revalidate = "1m",
            get_many = hg.source_postgres.many { db = db, query = "select name, price from items where name = any($1)" },
            batch = { max = 500 },
        },
    },
    routes = { ["GET /prices/*name"] = hg.serve("prices", { key = "{path.name}", type = "text/plain" }) },
}
