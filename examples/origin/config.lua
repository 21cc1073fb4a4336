-- In front of an HTTP origin: what it answers is kept as long as its Cache-Control says, and asked for again with If-None-Match.
--
--   hgcache run examples/origin/config.lua [origin=http://127.0.0.1:9000]
--   curl 'http://127.0.0.1:8791/items/42'       # GET http://127.0.0.1:9000/items/42, once in the whole cluster
--   curl 'http://127.0.0.1:8791/summary/42'     # two answers of the origin in one value

local hg = require "hgcache"

local origin = hg.args.origin or "http://127.0.0.1:9000"

-- What a getter returns where the origin did not answer as it should.
local function failed(answer, message, code)
    if answer and answer.status == 404 then
        return hg.not_found()
    elseif answer then
        message, code = "the origin answered " .. answer.status, "unavailable"
    end
    return hg.fail { message = message, class = code }
end

return {
    node = {
        listen = { api = hg.args.api or "127.0.0.1:8791", admin = hg.args.admin or "127.0.0.1:8792" },
        http = { origins = { origin } }, -- scripts ask nobody else
    },
    groups = {
        items = {
            ttl = "1m", -- where the origin says nothing
            stale_if_error = "1h",
            getter = hg.source_http { url = origin .. "/items/{key}", timeout = "2s", headers = { Accept = "application/json" } },
        },
        summaries = {
            ttl = "1m",
            getter = function(key)
                local item, message, code = hg.http.get(origin .. "/items/" .. key, { timeout = "2s" })
                if not item or item.status ~= 200 then
                    return failed(item, message, code)
                end
                local stock
                stock, message, code = hg.http.get(origin .. "/stock/" .. key, { timeout = "2s" })
                if not stock or stock.status ~= 200 then
                    return failed(stock, message, code)
                end
                local summary = { item = hg.json.decode(item.body), stock = hg.json.decode(stock.body) }
                return hg.json.encode(summary), { type = "application/json" }
            end,
        },
    },
    routes = {
        ["GET /items/:id"] = hg.serve("items", { key = "{path.id}" }),
        ["GET /summary/:id"] = hg.serve("summaries", { key = "{path.id}" }),
    },
}
