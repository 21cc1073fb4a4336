-- Values out of SQLite (package lua-sql-sqlite3). The driver blocks, so its getter has a pool of threads of its own:
-- a slow query occupies one of them and nothing else.
--
--   hgcache run examples/sqlite/config.lua [db=/path/to/scores.db]
--   curl 'http://127.0.0.1:8791/scores/Tom'

local hg = require "hgcache"

return {
    node = {
        scripts = { getters = 1, routes = 1, sql = 4 },
        listen = { api = hg.args.api or "127.0.0.1:8791", admin = hg.args.admin or "127.0.0.1:8792" },
    },
    groups = {
        scores = {
            ttl = "10m",
            pool = "sql",
            source = { concurrency = 4, timeout = "5s", retries = 1 },
            getter = hg.source_sqlite {
                path = hg.args.db or "/tmp/hgcache-example-scores.db",
                query = "SELECT score FROM scores WHERE name = ?",
                -- Made at the first load of each thread; harmless when it is there already.
                setup = {
                    "CREATE TABLE IF NOT EXISTS scores (name TEXT PRIMARY KEY, score)",
                    "INSERT OR IGNORE INTO scores VALUES ('Tom', 630), ('Jack', 589), ('Sam', 567)",
                },
            },
        },
    },
    routes = { ["GET /scores/*name"] = hg.serve("scores", { key = "{path.name}", type = "text/plain" }) },
}
