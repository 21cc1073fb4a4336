--- hg.source_http{ url = "https://origin/items/{key}", ... }: a getter that asks an HTTP origin.
--
--   200                  a value: its Content-Type is `type`, a strong ETag is `etag`
--   304                  hg.keep: an ETag or Last-Modified of the stored value is sent along, and kept in `meta` for that
--   404, 410             not found
--   401, 403             failed, class denied
--   429, 5xx             failed, class unavailable, with Retry-After; 408 and 504: class timeout
--   anything else        failed, class internal
--
-- The origin's Cache-Control decides the life of value and not-found, unless cache_control = false.

local hg = require "hgcache"
local core = require "hgcache.core"
local http = require "hgcache.http"

local MAX_META, MAX_ETAG, MAX_TYPE = 256, 255, 255
local MAX_SECONDS = 2 ^ 31 -- RFC 9111: longer ones are as good as this

-- Every byte but RFC 3986's unreserved.
local function encode(key)
    return (key:gsub("[^%w._~-]", function(c)
        return ("%%%02X"):format(c:byte())
    end))
end

-- Whether a segment of the path would lead elsewhere.
local function has_dots(url)
    local path = url:match("^%a+://[^/?#]*([^?#]*)") .. "/"
    return path:find("/%.%.?/") ~= nil
end

--- "max-age=60, no-store" -> { ["max-age"] = "60", ["no-store"] = true }
local function directives(text)
    local out = {}
    for part in ((text or ""):gsub('"[^"]*"', function(quoted)
        return (quoted:gsub('[",]', ""))
    end) .. ","):gmatch("([^,]*),") do
        local name, value = part:match("^%s*([%w-]+)%s*=%s*(.-)%s*$")
        if not name then
            name, value = part:match("^%s*([%w-]+)%s*$"), true
        end
        if name then
            out[name:lower()] = value
        end
    end
    return out
end

-- Whole seconds, or nil.
local function seconds(value)
    if type(value) ~= "string" or not value:find("^%d+$") then
        return nil
    end
    return math.min(tonumber(value), MAX_SECONDS)
end

-- What the origin says about the life of its answer -> ttl or nil, stale_while_revalidate, stale_if_error, uncacheable
local function life(headers)
    local said = directives(headers["cache-control"])
    if said["no-store"] or said["no-cache"] or said.private or headers.vary == "*" then
        return nil, nil, nil, true
    end
    local ttl = seconds(said["s-maxage"]) or seconds(said["max-age"])
    if ttl then
        ttl = math.max(0, ttl - (seconds(headers.age) or 0))
    end
    local while_revalidate, if_error = seconds(said["stale-while-revalidate"]), seconds(said["stale-if-error"])
    if said["must-revalidate"] or said["proxy-revalidate"] then
        while_revalidate, if_error = 0, 0
    end
    return ttl, while_revalidate, if_error, nil
end

local function no_control(text, max)
    return text and #text <= max and not text:find("%c") and text or nil
end

-- What to send with the next request, as one line that fits into meta.
local function validator(headers)
    local etag = headers.etag
    if etag and etag:find('^W?/?"[^"]*"$') then
        return no_control("If-None-Match: " .. etag, MAX_META)
    elseif headers["last-modified"] then
        return no_control("If-Modified-Since: " .. headers["last-modified"], MAX_META)
    end
end

local function value_of(answer, opts)
    local headers, options = answer.headers, {}
    if headers["content-encoding"] and headers["content-encoding"]:lower() ~= "identity" then
        return hg.fail { message = "the origin sent Content-Encoding without being asked; set compression = true" }
    end
    options.type = no_control(headers["content-type"], MAX_TYPE)
    options.etag = no_control((headers.etag or ""):match('^"([^"]+)"$'), MAX_ETAG)
    options.meta = validator(headers)
    if opts.cache_control then
        options.ttl, options.stale_while_revalidate, options.stale_if_error, options.uncacheable = life(headers)
    end
    return answer.body, options
end

local function ttl_of(answer, opts)
    if not opts.cache_control then
        return nil
    end
    local ttl, _, _, uncacheable = life(answer.headers)
    return uncacheable and 0 or ttl
end

local function failure(answer)
    local status = answer.status
    local class = "internal"
    if status == 401 or status == 403 then
        class = "denied"
    elseif status == 408 or status == 504 then
        class = "timeout"
    elseif status == 429 or status >= 500 then
        class = "unavailable"
    end
    return hg.fail { class = class, message = ("the origin answered %d"):format(status),
        retry_after = class == "unavailable" and seconds(answer.headers["retry-after"]) or nil }
end

-- The line that the stored value's meta holds, or nil.
local function condition(ctx)
    local meta = ctx and ctx.meta
    return meta and (meta:find("^If%-None%-Match: ") or meta:find("^If%-Modified%-Since: ")) and meta or nil
end

local function with_condition(request, line)
    local copy = {}
    for key, value in pairs(request) do
        copy[key] = value
    end
    copy.headers = { { line:match("^[^:]+"):lower(), line }, unpack(request.headers) }
    return copy
end

local own = { cache_control = true, conditional = true }
local never = { method = true, body = true, body_length = true, stream = true }

local function flag(opts, option)
    local value = opts[option]
    if value == nil then
        return true
    elseif type(value) ~= "boolean" then
        error(("hg.source_http: %s: expected true or false, found %s"):format(option, type(value)), 4)
    end
    return value
end

local function check(opts)
    if type(opts) ~= "table" then
        error("hg.source_http: expected a table of options, found " .. type(opts), 3)
    end
    local url = opts.url
    if type(url) ~= "string" or not url:find("{key}", 1, true) then
        error('hg.source_http: url: expected a URL with {key}, such as "https://origin/items/{key}"', 3)
    elseif not url:find("^%a+://[^/?#]+") then
        error('hg.source_http: url: expected a URL with {key}, such as "https://origin/items/{key}"', 3)
    elseif url:match("^%a+://[^/?#]+"):find("[{}]") then
        error("hg.source_http: url: {key} cannot be in the origin", 3)
    end
    local plain = {}
    for name, value in pairs(opts) do
        if never[name] then
            error(("hg.source_http: unknown option '%s'"):format(name), 3)
        elseif not own[name] and name ~= "url" then
            plain[name] = value
        end
    end
    local before, after = url:match("^(.-){key}(.*)$")
    local parts = { before }
    while after:find("{key}", 1, true) do
        local between, rest = after:match("^(.-){key}(.*)$")
        parts[#parts + 1], after = between, rest
    end
    parts[#parts + 1] = after
    local whole_url, why = core.url(nil, table.concat(parts, "x"))
    if not whole_url then
        error("hg.source_http: url: " .. why, 3)
    end
    return plain, parts, { cache_control = flag(opts, "cache_control"), conditional = flag(opts, "conditional") }
end

--- opts: { url = with {key}, percent-encoded; headers = {}, timeout = "10s", connect_timeout = "3s", max_body = limits.value,
--          compression = false, redirects = 0, retries = 0, cache_control = true, conditional = true }
-- -> getter
return function(opts)
    local plain, parts, how = check(opts)
    local request = http.check("hg.source_http", plain, 2)

    return function(key, ctx)
        local url = table.concat(parts, (encode(key)))
        if has_dots(url) then
            return hg.not_found()
        end
        local line = how.conditional and condition(ctx) or nil
        local answer, message, code = http.run(line and with_condition(request, line) or request, url)
        if not answer then
            -- Whom we may ask is no concern of the client's.
            return hg.fail { class = code == "denied" and "internal" or code, message = message }
        elseif answer.status == 200 then
            return value_of(answer, how)
        elseif answer.status == 304 and line then
            return hg.keep { ttl = ttl_of(answer, how) }
        elseif answer.status == 404 or answer.status == 410 then
            return hg.not_found { ttl = ttl_of(answer, how) }
        end
        return failure(answer)
    end
end
