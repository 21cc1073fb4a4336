-- The node that bench/run.lua measures. Arguments: port, admin, size (bytes of a value), slow (seconds a getter takes),
-- workers, peer (an address), hot (the share of copies), and for more than one node self and peers (separated by commas).
local hg = require "hgcache"
local args = hg.args

local value = ("x"):rep(tonumber(args.size or "16"))
local slow = tonumber(args.slow or "0")

local cluster
if args.self then
    cluster = { self = args.self, peers = {} }
    for peer in args.peers:gmatch("[^,]+") do
        cluster.peers[#cluster.peers + 1] = peer
    end
end

-- Reads the cache and answers JSON.
local function page(request)
    local key = request.query.key
    local found, message = hg.group("bench"):get(key)
    if not found then
        return hg.reply { status = 502, body = message }
    end
    return hg.reply {
        headers = { ["Content-Type"] = "application/json" },
        body = hg.json.encode { key = key, value = found, bytes = #found },
    }
end

return {
    node = {
        name = "bench",
        workers = tonumber(args.workers or "1"),
        scripts = { getters = 1, routes = 1 },
        listen = { api = "127.0.0.1:" .. args.port, admin = "127.0.0.1:" .. args.admin, peer = args.peer },
        drain_delay = 0,
        limits = { connections = 4096 },
        log = { level = "warn" },
    },
    cluster = cluster,
    groups = {
        bench = {
            capacity = "128MiB",
            hot = tonumber(args.hot),
            getter = function()
                if slow > 0 then
                    hg.sleep(slow)
                end
                return value
            end,
        },
    },
    routes = { ["GET /api"] = hg.serve("bench"), ["GET /page"] = page },
}
