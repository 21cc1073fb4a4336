-- Plain files below a folder, kept in memory. A key is a path that never leaves the folder; a file that has not changed when its time is
-- up is not read again.
--
--   hgcache run examples/files/config.lua [root=/srv/pages]
--   curl http://127.0.0.1:8791/files/hello.txt

local hg = require "hgcache"

local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."

return {
    node = {
        scripts = { getters = 1, routes = 1, disk = 2 },
        listen = { api = hg.args.api or "127.0.0.1:8791", admin = hg.args.admin or "127.0.0.1:8792" },
    },
    groups = {
        files = {
            capacity = "256MiB",
            ttl = "1m",
            stale_while_revalidate = "10m",
            pool = "disk",
            getter = hg.source_file { root = hg.args.root or here .. "/public" },
        },
    },
    routes = { ["GET /files/*path"] = hg.serve("files", { key = "{path.path}" }) },
}
