-- The HgCache demonstration: three nodes, one slow source, a front end in the third.
--
--   hgcache run examples/scores/config.lua port=8001
--   hgcache run examples/scores/config.lua port=8002
--   hgcache run examples/scores/config.lua port=8003 api=1
--   curl 'http://127.0.0.1:8791/api?key=Tom'
--
-- Keys are placed on the ring as HgCache's Go nodes place them, so those can be members of the same cluster.
-- api=1 is 127.0.0.1:8791; api, admin and peers also take addresses of your own.

local hg = require "hgcache"

local db = { Tom = "630", Jack = "589", Sam = "567" }

local port = tonumber(hg.args.port) or 8001
local api = hg.args.api == "1" and "127.0.0.1:8791" or hg.args.api

local peers = {}
for name in (hg.args.peers or "http://localhost:8001,http://localhost:8002,http://localhost:8003"):gmatch("[^,]+") do
    peers[#peers + 1] = name
end

return {
    node = {
        name = "scores-" .. port,
        listen = {
            peer = "127.0.0.1:" .. port,
            api = api,
            admin = hg.args.admin or (hg.args.api == "1" and "127.0.0.1:8792" or "127.0.0.1:" .. port + 1000),
        },
    },
    cluster = {
        self = "http://localhost:" .. port,
        peers = peers,
        ring = "hgcache",
    },
    groups = {
        test = {
            getter = function(key)
                hg.log.info("[SlowDB] search key %s", key)
                return db[key]
            end,
        },
    },
    routes = api and { ["GET /api"] = hg.serve("test") } or nil,
}
