local hg = require "hgcache"

local db = hg.postgres { url = "postgresql://app:secret@127.0.0.1/shop", timeout = "2s" }
local from_table = hg.source_postgres { db = db, query = "select email from users where name = $1" }

local function may_exist(name)
    return #name <= 20 and name:find("^%l[%l%d]*$") ~= nil
end

return {
    groups = {
        users = {
            ttl = "5m",
            negative_ttl = "1m", -- how long "there is no such user" is remembered
            getter = function(name)
                if not may_exist(name) then
                    return hg.not_found { ttl = "1h" } -- and costs no query
                end
                return from_table(name)
            end,
        },
    },
    routes = {
        ["GET /users/:name"] = hg.serve("users", { key = "{path.name}", type = "text/plain" }),
        ["POST /users/:name"] = function(req)
            local name = req.params.name
            if not may_exist(name) then
                return 400, "no name\n"
            end
            local rows, message = db:query("insert into users values ($1, $2) on conflict do nothing", name, req.body)
            if not rows then
                hg.log.warn("users: %s", message)
                return 503, "try again\n"
            elseif rows.changed == 0 then
                return 409, "there is one\n"
            end
            hg.group("users"):remove(name) -- on all nodes: nobody is told any more that there is none
            return 201, "created\n"
        end,
    },
}
