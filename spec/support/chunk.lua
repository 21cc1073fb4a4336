--- Chunks of Lua that specs run inside a node, in a route.
--
--   chunk.config(text, "kept = kept")   puts the route where the text has @RUN@; the names are what chunks see besides hg
--   chunk.run(n, "return hg.now()")     -> list of results (a nil is cjson.null); what it raises is raised
--   chunk.begin(n, text), chunk.finish(connection)   the same in two steps

local http = require "spec.support.http"
local cjson = require "cjson"

local M = {}

local ROUTE = [[
["POST /run"] = { timeout = "60s", handler = function(req)
    local chunk = assert(loadstring(req.body, "=chunk"))
    setfenv(chunk, setmetatable({ hg = hg, @NAMES@ }, { __index = _G }))
    local function encode(ok, ...)
        local list = { ... }
        for i = 1, select("#", ...) do
            list[i] = list[i] == nil and hg.null or list[i]
        end
        return hg.json.encode { ok = ok, list = #list > 0 and list or hg.null }
    end
    return encode(pcall(chunk))
end },
]]

function M.config(text, names)
    local route = ROUTE:gsub("@NAMES@", names or "")
    return (text:gsub("@RUN@", function() return route end))
end

function M.begin(n, text)
    local connection = assert(http.connect(n.api_port))
    connection:send(http.format { method = "POST", path = "/run", body = text })
    return connection
end

function M.finish(connection)
    local r = connection:response("POST", 60)
    connection:close()
    assert(r.status == 200, r.error or r.body)
    local answer = cjson.decode(r.body)
    if not answer.ok then
        error(answer.list[1], 2)
    end
    return answer.list == cjson.null and {} or answer.list
end

function M.run(n, text)
    return M.finish(M.begin(n, text))
end

return M
