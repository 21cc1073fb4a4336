-- A cluster of equal nodes, one file for all of them:
--
--   HGCACHE_TOKEN=... hgcache run configs/cluster.lua hosts=10.0.0.1:8001,10.0.0.2:8001 self=10.0.0.1:8001
--
-- Without arguments it is three nodes on this machine, of which this is the first.

local hg = require "hgcache"

local hosts = { "127.0.0.1:8001", "127.0.0.1:8002", "127.0.0.1:8003" }
if hg.args.hosts then
    hosts = {}
    for host in hg.args.hosts:gmatch("[^,]+") do
        hosts[#hosts + 1] = host
    end
end

local members = {}
for i, host in ipairs(hosts) do
    members[i] = "http://" .. host
end

return {
    node = {
        name = hg.args.name or "n1",
        listen = { api = hg.args.api or "127.0.0.1:8791", admin = hg.args.admin or "127.0.0.1:8792" },
    },
    cluster = {
        self = "http://" .. (hg.args.self or hosts[1]),
        peers = members,
        tokens = { os.getenv "HGCACHE_TOKEN" }, -- needed as soon as a peer listener is not on loopback
    },
    groups = {
        pages = {
            capacity = "1GiB",
            ttl = "5m",
            stale_while_revalidate = "1m",
            stale_if_error = "1h",
            getter = function(key)
                return "page " .. key
            end,
        },
    },
    routes = { ["GET /pages/*path"] = hg.serve("pages", { key = "{path.path}", type = "text/plain" }) },
}
