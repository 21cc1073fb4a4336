-- A node as the package, the container, configs/compose.yaml and configs/kubernetes.yaml start it. Replace groups and routes by
-- yours; the rest is told by arguments, each of which may be left out, and secrets by the environment, since whoever lists
-- processes sees arguments:
--
--   HGCACHE_TOKEN=... HGCACHE_ADMIN_TOKEN=... hgcache run node.lua name=n1 api=0.0.0.0:8791 admin=0.0.0.0:8792 \
--       self=10.0.0.1:8001 peer=0.0.0.0:8001 etcd=http://etcd:2379
--
-- Without `self` it is a cluster of one. Who the members are: peers=HOST:PORT,HOST:PORT or etcd=URL,URL or dns=NAME
-- (with SRV records: _SERVICE._tcp.NAME).

local hg = require "hgcache"

local function list_of(text)
    local list = {}
    for item in (text or ""):gmatch("[^,]+") do
        list[#list + 1] = item
    end
    return list
end

local function members()
    if hg.args.etcd then
        return hg.etcd { endpoints = list_of(hg.args.etcd) }
    elseif hg.args.dns then
        return hg.dns { name = hg.args.dns }
    end
    return list_of(hg.args.peers or hg.args.self)
end

local db = { Tom = "630", Jack = "589", Sam = "567" }

return {
    node = {
        name = hg.args.name or "hgcache",
        listen = {
            api = hg.args.api or "127.0.0.1:8791",
            admin = hg.args.admin or "127.0.0.1:8792",
            peer = hg.args.self and hg.args.peer,
        },
        admin = { tokens = { os.getenv "HGCACHE_ADMIN_TOKEN" } },
    },
    cluster = hg.args.self and {
        self = hg.args.self,
        peers = members(),
        tokens = { os.getenv "HGCACHE_TOKEN" },
    } or nil,
    groups = {
        scores = {
            capacity = "64MiB",
            ttl = "10m",
            getter = function(key)
                hg.log.info("[SlowDB] search key %s", key)
                return db[key]
            end,
        },
    },
    routes = { ["GET /api"] = hg.serve("scores") },
}
