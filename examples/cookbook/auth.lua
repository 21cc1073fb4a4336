local hg = require "hgcache"

local db = hg.postgres { url = "postgresql://app:secret@127.0.0.1/shop", timeout = "2s" }

-- Who may read is itself cached, for a short time and never stale: a token that was taken away works for 10 s at most.
local function signed_in(req)
    local token = (req.headers.authorization or ""):match("^Bearer (%w+)$")
    local user, message, code
    if token then
        user, message, code = hg.group("sessions"):get(token)
    end
    if user then
        req.user = user
        return nil -- go on
    elseif not token or code == "not_found" then
        return 401, "sign in first\n", { ["WWW-Authenticate"] = "Bearer" }
    end
    hg.log.warn("sessions: %s", message)
    return 503, "try again\n"
end

return {
    groups = {
        sessions = {
            ttl = "10s", ttl_jitter = 0, negative_ttl = "1s",
            getter = hg.source_postgres { db = db, query = "select owner from sessions where token = $1" },
        },
        reports = {
            ttl = "5m", stale_if_error = "1h",
            getter = hg.source_postgres { db = db, query = "select body from reports where name = $1" },
        },
        letters = {
            ttl = "5m", stale_if_error = "1h",
            getter = hg.source_postgres {
                db = db, query = "select body from letters where owner = $1 and name = $2",
                parameters = function(key) -- "ada/welcome"; no owner has a slash
                    return key:match("^([^/]+)/(.*)$")
                end,
            },
        },
    },
    routes = {
        -- For everybody who is signed in. The hook runs in Lua, the report goes from the store to the socket.
        ["GET /reports/:name"] = hg.serve("reports", {
            key = "{path.name}", type = "text/plain", before = signed_in,
            headers = { ["Cache-Control"] = "private, no-store" },
        }),
        -- For its owner alone: who asks is part of the key.
        ["GET /letters/:name"] = {
            before = signed_in,
            handler = function(req)
                return hg.reply {
                    group = "letters", key = req.user .. "/" .. req.params.name,
                    headers = { ["Cache-Control"] = "private, no-store" },
                }
            end,
        },
    },
}
