-- A route in Lua: puts two keys of a group together and answers JSON. Each of the two is a cached read.
--
--   hgcache run examples/function/config.lua
--   curl http://127.0.0.1:8791/match/Tom/Jack
--   {"winner":"Tom","scores":{"Tom":630,"Jack":589}}

local hg = require "hgcache"

local db = { Tom = "630", Jack = "589", Sam = "567" }

local function answer(status, body)
    return hg.reply {
        status = status,
        headers = { ["Content-Type"] = "application/json" },
        body = hg.json.encode(body),
    }
end

-- The score of a player, or nil and the answer that says why not.
local function score_of(name)
    local value, message, code = hg.group("scores"):get(name)
    if value then
        return tonumber(value)
    elseif code == "not_found" then
        return nil, answer(404, { error = "no player " .. name })
    end
    hg.log.warn("match: %s: %s", name, message)
    return nil, answer(503, { error = "no scores just now" })
end

local function match(req)
    local a, b = req.params.a, req.params.b
    local a_score, trouble = score_of(a)
    if not a_score then
        return trouble
    end
    local b_score
    b_score, trouble = score_of(b)
    if not b_score then
        return trouble
    end
    return answer(200, { scores = { [a] = a_score, [b] = b_score }, winner = a_score >= b_score and a or b })
end

return {
    node = {
        listen = { api = hg.args.api or "127.0.0.1:8791", admin = hg.args.admin or "127.0.0.1:8792" },
    },
    groups = {
        scores = {
            ttl = "10m",
            getter = function(key)
                hg.log.info("[SlowDB] search key %s", key)
                return db[key]
            end,
        },
    },
    routes = { ["GET /match/:a/:b"] = { handler = match, timeout = "2s" } },
}
