-- A JSON front end with the answers of HgCache v2, for browsers of one site.
--
--   hgcache run examples/envelope/config.lua
--   curl 'http://127.0.0.1:8791/cache/api?key=Tom'               {"data":"630"}
--   curl 'http://127.0.0.1:8791/cache/api?group=scores&key=Tom'  {"data":"630"}
--   curl 'http://127.0.0.1:8791/cache/api?key=Nobody'            404 {"code":100004,"message":"Page not found"}

local hg = require "hgcache"
local from_table = require "loaders.table"

return {
    node = {
        listen = { api = hg.args.api or "127.0.0.1:8791", admin = hg.args.admin or "127.0.0.1:8792" },
    },
    groups = {
        scores = {
            ttl = "10m",
            getter = from_table({ Tom = "630", Jack = "589", Sam = "567" }, {
                log = function(key)
                    hg.log.info("[SlowDB] search key %s", key)
                end,
            }),
        },
    },
    -- Without a group's name: ?group= says which, and with only one group it may be left out.
    routes = { ["GET /cache/api"] = hg.serve(nil, { as = "envelope" }) },
    cors = { origins = { "http://localhost:3000" }, methods = { "GET" }, max_age = "12h" },
}
