local hg = require "hgcache"

local secret = hg.args.secret or error("secret=... is missing", 0)
local db = hg.postgres { url = "postgresql://app:secret@127.0.0.1/shop", timeout = "2s" }

return {
    groups = {
        items = {
            ttl = "1d", stale_if_error = "1d",
            getter = function(name)
                local rows, message, code = db:query("select price, category from items where name = $1", name)
                if not rows then
                    return nil, message, code
                elseif not rows[1] then
                    return nil
                end
                return rows[1].price, { type = "text/plain", tags = { "category:" .. rows[1].category } }
            end,
        },
    },
    routes = {
        ["GET /items/:name"] = hg.serve("items", { key = "{path.name}" }),
        ["POST /hooks/prices"] = function(req)
            if req.headers["x-hook-secret"] ~= secret then
                return 403, "no\n"
            end
            local change = req:json()
            if type(change) ~= "table" or type(change.category) ~= "string" or #change.category > 200 then
                return 400, 'expected {"category": "..."}\n'
            end
            -- soft: stale from now on, so that there is something to serve should the database be away.
            local ok, message = hg.group("items"):remove_tag("category:" .. change.category, { soft = true })
            if not ok then
                hg.log.error("hook: %s", message)
                return 503, "try again\n"
            end
            return 200, "done\n"
        end,
    },
}
