-- One node: hgcache run configs/minimal.lua
--           curl 'http://127.0.0.1:8791/api?key=Tom'

local hg = require "hgcache"

local db = { Tom = "630", Jack = "589", Sam = "567" }

return {
    groups = {
        test = {
            ttl = "10m",
            getter = function(key)
                hg.log.info("[SlowDB] search key %s", key)
                return db[key]
            end,
        },
    },
}
