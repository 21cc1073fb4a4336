local hg = require "hgcache"

return {
    groups = {
        rates = {
            ttl = hg.args.ttl or "30s",
            stale_while_revalidate = "5s", -- served for 5 s more, while one load renews it: nobody waits
            stale_if_error = "1d",         -- and for a day while the source fails
            on_timeout = "stale",          -- also for those who would wait too long
            deadline = "500ms",
            source = {
                timeout = "400ms",
                breaker = { failures = 5, cooldown = "2s" }, -- after 5 failures nobody is asked for 2 s
            },
            getter = hg.source_redis { host = "127.0.0.1", port = 6379, key = "rate:{key}" },
        },
    },
    routes = { ["GET /rates/:currency"] = hg.serve("rates", { key = "{path.currency}", type = "text/plain" }) },
}
