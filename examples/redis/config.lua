-- Values out of Redis. Misses that come within a few milliseconds are one MGET; a slow or dead Redis delays no hit.
--
--   hgcache run examples/redis/config.lua [redis=127.0.0.1:6379]
--   redis-cli set score:Tom 630; curl 'http://127.0.0.1:8795/scores/Tom'

local hg = require "hgcache"

local host, port = (hg.args.redis or "127.0.0.1:6379"):match("^(.*):(%d+)$")

return {
    node = { listen = { api = hg.args.api or "127.0.0.1:8795", admin = hg.args.admin or "127.0.0.1:8796" } },
    groups = {
        scores = {
            ttl = "1m", negative_ttl = "1s", stale_if_error = "1h",
            get_many = hg.source_redis.many { host = host, port = tonumber(port), key = "score:{key}" },
            batch = { window = "2ms", max = 100 },
            source = { concurrency = 32, timeout = "2s" },
        },
    },
    routes = { ["GET /scores/*name"] = hg.serve("scores", { key = "{path.name}", type = "text/plain" }) },
}
