-- Many keys, one query: misses that come together are loaded together. A page that shows a hundred scores costs one `IN` query,
-- and each key is cached, refreshed and removed on its own.
--
--   hgcache run examples/batch/config.lua [db=/path/to/scores.db]
--   curl 'http://127.0.0.1:8791/scores/Tom'
--   curl 'http://127.0.0.1:8791/board?names=Tom,Jack,Nobody'      # {"Jack":"589","Tom":"630"}

local hg = require "hgcache"

local load_many = hg.source_sqlite.many {
    path = hg.args.db or "/tmp/hgcache-example-scores.db",
    query = "SELECT name, score FROM scores WHERE name IN (?)",
    setup = {
        "CREATE TABLE IF NOT EXISTS scores (name TEXT PRIMARY KEY, score)",
        "INSERT OR IGNORE INTO scores VALUES ('Tom', 630), ('Jack', 589), ('Sam', 567)",
    },
}

return {
    node = {
        scripts = { getters = 1, routes = 1, sql = 2 },
        listen = { api = hg.args.api or "127.0.0.1:8791", admin = hg.args.admin or "127.0.0.1:8792" },
    },
    groups = {
        scores = {
            ttl = "10m",
            pool = "sql",
            source = { concurrency = 2, timeout = "5s" },
            get_many = function(keys)
                hg.log.info("asking for %d scores", #keys)
                return load_many(keys)
            end,
            batch = { window = "2ms", max = 100 },
        },
    },
    routes = {
        ["GET /scores/*name"] = hg.serve("scores", { key = "{path.name}", type = "text/plain" }),
        ["GET /board"] = function(req)
            local names = {}
            for name in (req.query.names or ""):gmatch("[^,]+") do
                names[#names + 1] = name
            end
            local values, errors = hg.group("scores"):get_many(names)
            if errors then
                return 502, "some scores cannot be had now\n"
            end
            return 200, hg.json.encode(values), { ["Content-Type"] = "application/json" }
        end,
    },
}
