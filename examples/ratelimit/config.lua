-- A route that each client may ask so many times in a window; more is 429 with Retry-After. The counts lie in
-- hg.shared, so they are exact whichever script thread answers. A window begins with a client's first request.
--
--   hgcache run examples/ratelimit/config.lua requests=3 window=10s
--   for i in 1 2 3 4; do curl -i http://127.0.0.1:8791/scores/Tom; done

local hg = require "hgcache"

local limits = hg.shared("limits")
local db = { Tom = "630", Jack = "589", Sam = "567" }

-- Who asks: the X-Api-Key, or the address without its port. Check keys before you count by them: who may invent one
-- has as many windows as he likes.
local function client_of(req)
    return req.headers["x-api-key"] or (req.remote:gsub(":%d+$", ""))
end

--- handler with a limit before it. requests: in each window; window: a duration
local function limited(handler, requests, window)
    return function(req)
        local count, left = limits:incr(client_of(req):sub(1, 200), 1, 0, window)
        if not count then
            -- The table is full of clients. Here everybody passes then; a limit that protects would refuse.
            hg.log.warn("ratelimit: %s", left)
        elseif count > requests then
            return hg.reply {
                status = 429,
                headers = { ["Retry-After"] = tostring(math.max(1, math.ceil(left))) },
                body = "too many requests\n",
            }
        end
        return handler(req)
    end
end

local function score(req)
    local value, message, code = hg.group("scores"):get(req.params.name)
    if value then
        return value
    end
    return code == "not_found" and 404 or 503, message .. "\n"
end

return {
    node = {
        listen = { api = hg.args.api or "127.0.0.1:8791", admin = hg.args.admin or "127.0.0.1:8792" },
        shared = { capacity = "4MiB" },
    },
    groups = {
        scores = {
            ttl = "10m",
            getter = function(key)
                return db[key]
            end,
        },
    },
    routes = {
        ["GET /scores/:name"] = limited(score, tonumber(hg.args.requests) or 100, hg.args.window or "1m"),
    },
}
