--- What answers a request in Lua: a route's function with what comes before and after it, pages of errors, and who may ask
-- across origins. core/script/route_call.c asks for each once in each state:
--
--   find(config, "GET /x")          -> function(req) -> what a route returns, or `native`: hg.serve goes on
--   find(config, "error 404")       -> function(req, status, message) -> what a route returns
--   find(config, "origin GET /x")   -> function(origin) -> whether it may; "origin" is the top's
--   find(config, "discovery")       -> function(): cluster.peers, once; "leave": takes this node's name back
--
-- config is what the chunk returned, checked already.

local M = {}

local Request = {}
Request.__index = Request

--- The body as JSON. -> value | nil, message
function Request:json()
    if self.body == "" then
        return nil, "the body is empty, expected JSON"
    end
    local ok, value = pcall(require("cjson").decode, self.body)
    if not ok then
        return nil, "the body is no JSON: " .. tostring(value)
    end
    return value
end

local native = { __hgcache = "native" }

local function list(hooks)
    return type(hooks) == "function" and { hooks } or hooks or {}
end

local function concat(a, b)
    local out = {}
    for _, hooks in ipairs { list(a), list(b) } do
        for _, fn in ipairs(hooks) do
            out[#out + 1] = fn
        end
    end
    return out
end

-- What a route returns, as one table that may be changed; nil for what is no answer.
local function as_reply(first, second, third)
    local reply
    if type(first) == "table" and rawget(first, "__hgcache") == "reply" then
        reply = {}
        for key, value in pairs(first) do
            reply[key] = value
        end
        reply.status = reply.status or not reply.group and 200 or nil
    elseif type(first) == "string" then
        reply = { status = 200, body = first }
    elseif type(first) == "number" then
        reply = { status = first, body = second, headers = third }
    else
        return nil
    end
    reply.__hgcache = "reply"
    local headers = {}
    for name, value in pairs(type(reply.headers) == "table" and reply.headers or {}) do
        headers[name] = value
    end
    reply.headers = headers
    return reply
end

local function conclude(req, after, ...)
    if #after == 0 or rawequal((...), native) then
        return ...
    end
    local reply = as_reply(...)
    if not reply then
        return ... -- which is refused
    end
    for i = 1, #after do
        local first, second, third = after[i](req, reply)
        if first ~= nil then
            reply = as_reply(first, second, third)
                or error("after: expected nothing, or an answer as a route returns it, found a " .. type(first), 0)
        end
    end
    return reply
end

-- The first of `before` that returns something answers.
local function compose(before, handler, after)
    if #before == 0 and #after == 0 then
        return function(req)
            return handler(setmetatable(req, Request))
        end
    end
    return function(req)
        setmetatable(req, Request)
        for i = 1, #before do
            local first, second, third = before[i](req)
            if first ~= nil then
                return conclude(req, after, first, second, third)
            end
        end
        return conclude(req, after, handler(req))
    end
end

local function route(config, name)
    local target = config.routes and config.routes[name]
    local http = config.http or {}
    if target == nil then
        return nil
    elseif type(target) == "function" then
        return compose(concat(http.before), target, concat(nil, http.after))
    elseif target.__hgcache == "serve" then
        return compose(concat(http.before, target.before), function()
            return native
        end, {})
    end
    return compose(concat(http.before, target.before), target.handler, concat(target.after, http.after))
end

function M.find(config, name)
    local status, rest = name:match("^error (%d+)$"), name:match("^origin ?(.*)$")
    if name == "discovery" or name == "leave" then
        return require("hgcache.discovery").job(config.cluster, name)
    elseif status then
        local page = config.http.errors[tonumber(status)]
        return function(req, ...)
            return page(setmetatable(req, Request), ...)
        end
    elseif rest then
        return (rest == "" and config or config.routes[rest]).cors.origin
    end
    return route(config, name)
end

return M
