--- Spelling of routes and key templates: the same rules as core/wire/route.h and core/wire/template.h.
--
--   route("GET /users/:id")              -> { method, pattern, params = { id = true }, shape = "GET /users/:" } | nil, expected
--   template("{path.id}:{query.lang|en}") -> { { source = "path", name = "id" }, ... } | nil, message

local M = {}

local METHODS = { GET = true, HEAD = true, POST = true, PUT = true, DELETE = true, PATCH = true, OPTIONS = true }
local EXPECTED = 'a route such as "GET /users/:id"'
local MAX_PARAMS = 16
local MAX_ROUTE = 2048
local MAX_SEGMENTS = 64

function M.route(text)
    if type(text) ~= "string" or #text > MAX_ROUTE then
        return nil, "expected " .. EXPECTED
    end
    local method, pattern = text:match("^(%u+) (/[\33-\126]*)$")
    if not method or pattern:find("[?#]") then
        return nil, "expected " .. EXPECTED
    elseif not METHODS[method] then
        return nil, ("expected a method out of GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS, found %s"):format(method)
    end
    local params, shape, count, segments, rest = {}, {}, 0, 0, false
    for segment in pattern:gmatch("/([^/]*)") do
        segments = segments + 1
        if segments > MAX_SEGMENTS then
            return nil, ("too many segments: at most %d"):format(MAX_SEGMENTS)
        elseif rest then
            return nil, "a *rest must be the last segment"
        end
        local mark, name = segment:match("^([:*])(.*)$")
        if mark then
            if not name:find("^[%a_][%w_]*$") then
                return nil, ('expected a name of letters, digits and _ after "%s"'):format(mark)
            elseif params[name] then
                return nil, ('the name "%s" stands twice'):format(name)
            end
            count = count + 1
            if count > MAX_PARAMS then
                return nil, ("too many names: at most %d"):format(MAX_PARAMS)
            end
            params[name] = true
            rest = mark == "*"
        end
        shape[#shape + 1] = mark or segment
    end
    return { method = method, pattern = pattern, params = params, shape = method .. " /" .. table.concat(shape, "/") }
end

--- params: names that {path.x} may use. A template that can only be empty is refused.
function M.template(text, params)
    local parts, at, has_literal = {}, 1, false
    while at <= #text do
        local two = text:sub(at, at + 1)
        if two == "{{" or two == "}}" then
            has_literal, at = true, at + 2
        elseif two:sub(1, 1) == "}" then
            return nil, 'a "}" without "{"; a brace itself is written "}}"'
        elseif two:sub(1, 1) == "{" then
            local body, stop = text:match("^{([^{}]*)}()", at)
            if not body then
                return nil, 'a "{" without "}"; a brace itself is written "{{"'
            end
            local source, name = body:match("^(%a+)%.([^|]+)")
            local known = source == "query" or source == "path" or source == "header"
            if not known then
                return nil, ("expected {query.x}, {path.x} or {header.x}, found {%s}"):format(body)
            elseif source == "path" and not params[name] then
                return nil, ("{path.%s}: the route has no :%s"):format(name, name)
            elseif source == "header" and not name:find("^[%w!#$%%&'*+.^_`~-]+$") then
                return nil, ("{header.%s}: expected a header's name"):format(name)
            end
            parts[#parts + 1] = { source = source, name = name }
            at = stop
        else
            has_literal, at = true, at + 1
        end
    end
    if #parts == 0 and not has_literal then
        return nil, "an empty template"
    end
    return parts
end

return M
