--- hg.http: requests to the world, by the C of core/script/lib_http.c; here are the options and what leads from one exchange to
-- the next: redirects and retries.
--
--   get(url, opts), post(url, body, opts), request{ method =, url =, body =, ... } -> answer | nil, message, code
--
-- answer: { status =, headers = { [lower-case name] = value }, body =, url = where it came from }; with stream = true instead of a
-- body answer:read(n) -> piece | nil at the end | nil, message, code, and answer:close(). A header that comes again is
-- joined by ", "; set-cookie is always a list. Any status is an answer; only where there is none, nil and why.
-- code: "timeout", "too_large", "denied" (origin, redirect), "unavailable" (connection, limits), "internal" (no HTTP).

local core = require "hgcache.core"
local units = require "hgcache.units"

local M = {}

local MAX_HEADERS = 100
local MAX_BODY = 2 ^ 31 - 1 -- of one that is a string
local DEFAULT_TIMEOUT, DEFAULT_CONNECT = 10000, 3000
local FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1 -- seconds before a retry; doubling

-- Who may be asked twice without harm, and who sends a body even where there is none.
local is_idempotent = { GET = true, HEAD = true, PUT = true, DELETE = true, OPTIONS = true }
local has_body = { POST = true, PUT = true, PATCH = true }
local methods = { GET = true, HEAD = true, POST = true, PUT = true, DELETE = true, PATCH = true, OPTIONS = true }
-- Of the exchange itself.
local reserved = {
    ["content-length"] = true, ["transfer-encoding"] = true, connection = true, ["keep-alive"] = true, upgrade = true,
    te = true, trailer = true, host = true, expect = true, ["proxy-connection"] = true,
}
-- Not for another origin.
local secret = { authorization = true, cookie = true, ["proxy-authorization"] = true }
local redirects = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }

local options = {
    method = true, url = true, headers = true, body = true, timeout = true, connect_timeout = true, max_body = true,
    compression = true, redirects = true, retries = true, stream = true, body_length = true,
}

local PIECE_MAX = 65536

local function show(value)
    local kind = type(value)
    if kind == "string" then
        return ("%q"):format(#value > 60 and value:sub(1, 60) .. "..." or value)
    end
    return (kind == "number" or kind == "boolean") and tostring(value) or "a " .. kind
end

-- Level 1 is the check itself, 2 what called it, and so on up to the script.
local function wrong(name, level, option, expected, value)
    error(("%s: %s: expected %s, found %s"):format(name, option, expected, show(value)), level + 1)
end

local function whole(name, level, option, value, default, max)
    if value == nil then
        return default
    elseif type(value) ~= "number" or value < 0 or value > max or value ~= math.floor(value) then
        wrong(name, level + 1, option, ("a whole number from 0 to %d"):format(max), value)
    end
    return value
end

local function duration(name, level, option, value, default)
    if value == nil then
        return default
    end
    local ms = units.duration(value)
    if not ms or ms < 1 then
        wrong(name, level + 1, option, 'a duration above 0 such as 10, "250ms" or "5m"', value)
    end
    return ms
end

-- { name = value or list of values } -> list of { lower-case name, line }
local function header_lines(name, level, headers)
    if headers ~= nil and type(headers) ~= "table" then
        wrong(name, level + 1, "headers", "a table of header names and values", headers)
    end
    local out, has_agent = {}, false
    local function add(field, value)
        if type(value) == "number" then
            value = ("%.14g"):format(value)
        end
        if type(value) ~= "string" or value:find("[%z\1-\8\10-\31\127]") then
            wrong(name, level + 2, "headers." .. field, "a text without control characters", value)
        end
        -- libcurl leaves a field out that has nothing behind its colon.
        out[#out + 1] = { field:lower(), value:find("%S") and field .. ": " .. value or field .. ";" }
    end
    for field, value in pairs(headers or {}) do
        if type(field) ~= "string" or not field:find("^[%w!#$%%&'*+.^_`|~-]+$") then
            wrong(name, level + 1, "headers", "header names", field)
        elseif reserved[field:lower()] then
            error(("%s: headers.%s: this header is the request's own"):format(name, field), level + 1)
        end
        has_agent = has_agent or field:lower() == "user-agent"
        if type(value) == "table" then
            for _, one in ipairs(value) do
                add(field, one)
            end
        else
            add(field, value)
        end
    end
    if #out > MAX_HEADERS then
        error(("%s: headers: more than %d"):format(name, MAX_HEADERS), level + 1)
    end
    if not has_agent then
        out[#out + 1] = { "user-agent", "User-Agent: hgcache" }
    end
    return out
end

local function check_body(name, level, method, body)
    if body == nil then
        return has_body[method] and "" or nil
    elseif type(body) ~= "string" and type(body) ~= "function" then
        wrong(name, level + 1, "body", "a string, or a function that gives one piece after the other", body)
    elseif method == "GET" or method == "HEAD" then
        error(("%s: body: %s has none"):format(name, method), level + 1)
    end
    return body
end

--- Checks everything a request says, for callers that keep it: level is that of the script above the caller, as error() counts
-- from here. -> request for M.run, which may be given tls = { ca =, cert =, key = }, files instead of node.http.ca
function M.check(name, opts, level)
    level = level + 1
    if type(opts) ~= "table" then
        error(("%s: expected a table of options, found %s"):format(name, show(opts)), level)
    end
    for key in pairs(opts) do
        if not options[key] then
            error(("%s: unknown option '%s'"):format(name, tostring(key)), level)
        end
    end
    local method = opts.method or "GET"
    if not methods[method] then
        wrong(name, level, "method", "GET, HEAD, POST, PUT, DELETE, PATCH or OPTIONS", method)
    end
    if opts.compression ~= nil and type(opts.compression) ~= "boolean" then
        wrong(name, level, "compression", "true or false", opts.compression)
    end
    if opts.stream ~= nil and type(opts.stream) ~= "boolean" then
        wrong(name, level, "stream", "true or false", opts.stream)
    end
    local length = whole(name, level, "body_length", opts.body_length, nil, 2 ^ 53)
    if length and type(opts.body) ~= "function" then
        error(name .. ": body_length: only where body is a function", level)
    end
    local max_body = opts.max_body and units.size(opts.max_body)
    if opts.max_body ~= nil and not (max_body and max_body >= 1 and max_body <= (opts.stream and 2 ^ 53 or MAX_BODY)) then
        wrong(name, level, "max_body", 'a size such as 67108864 or "64MiB"', opts.max_body)
    end
    return {
        method = method,
        headers = header_lines(name, level, opts.headers),
        body = check_body(name, level, method, opts.body),
        timeout = duration(name, level, "timeout", opts.timeout, DEFAULT_TIMEOUT),
        connect = duration(name, level, "connect_timeout", opts.connect_timeout, DEFAULT_CONNECT),
        max_body = max_body,
        compression = opts.compression == true,
        redirects = whole(name, level, "redirects", opts.redirects, 0, 10),
        retries = whole(name, level, "retries", opts.retries, 0, 10),
        stream = opts.stream == true, length = length,
    }
end

local function check_url(name, url, level)
    if type(url) ~= "string" then
        error(("%s: url: expected a text, found %s"):format(name, show(url)), level + 1)
    end
    local whole_url, why = core.url(nil, url)
    if not whole_url then
        error(("%s: url: %s, found %s"):format(name, why, show(url)), level + 1)
    end
end

local function check_wait(name, level)
    local why = core.why_no_wait()
    if why then
        error(name .. " cannot " .. why, level + 1)
    end
end

local function lines_of(headers, is_elsewhere, has_lost_body)
    local lines = {}
    for _, header in ipairs(headers) do
        if not (is_elsewhere and secret[header[1]]) and not (has_lost_body and header[1] == "content-type") then
            lines[#lines + 1] = header[2]
        end
    end
    return lines
end

-- Bodies that a function gives ----------------------------------------------------------------------------------------
--
-- A sender: { transfer =, body = the function, length =, total =, piece = nil once all is sent, at = where it goes on }. What comes
-- meanwhile is taken: an origin that answers while it reads would else wait for us, as we for it.

-- The function's next piece. -> true | nil, message, code
local function ask(sender)
    local transfer, length = sender.transfer, sender.length
    local function stop(message)
        transfer:close()
        error(message, 0)
    end
    sender.is_asking = true
    local ok, piece, message = pcall(sender.body)
    sender.is_asking = false
    if not ok then
        stop(piece)
    elseif piece == nil and message ~= nil then
        transfer:close()
        return nil, tostring(message), "internal"
    elseif piece ~= nil and type(piece) ~= "string" then
        stop("body: expected a string or nil from the function, found a " .. type(piece))
    end
    sender.total = sender.total + #(piece or "")
    if length and sender.total > length then
        stop(("body: more than body_length, %d bytes"):format(length))
    elseif length and not piece and sender.total ~= length then
        stop(("body: %d bytes, and body_length is %d"):format(sender.total, length))
    end
    sender.piece, sender.at = piece, 1
    return true
end

-- Sends until all is sent, or the exchange has ended, or there is something of the answer: its "head" or its "body".
-- -> true | nil, message, code
local function feed(sender, wanted)
    local transfer = sender.transfer
    while sender.piece do
        local what = transfer:room(wanted)
        if what == wanted then
            return true
        elseif not what then
            sender.piece = nil -- with an answer, or with what went wrong
        elseif sender.at <= #sender.piece then
            sender.at = transfer:send(sender.piece, sender.at) or sender.at
        else
            local ok, message, code = ask(sender)
            if not ok then
                return nil, message, code
            elseif not sender.piece then
                transfer:finish()
            end
        end
    end
    return true
end

-- Answers in pieces ---------------------------------------------------------------------------------------------------

local STATE = {} -- in the metatable of an answer, its own: { transfer =, sender = while there is something to send }
local Answer = {}

local function state_of(answer, name)
    local meta = getmetatable(answer)
    local state = type(meta) == "table" and meta[STATE]
    return state or error(("bad self to '%s' (an answer of hg.http with stream = true expected)"):format(name), 3)
end

--- The next piece: 1 to n bytes, as soon as there are any. -> string | nil at the end | nil, message, code
function Answer:read(n)
    local state = state_of(self, "read")
    local sender = state.sender
    if n ~= nil and (type(n) ~= "number" or n < 1 or n ~= math.floor(n)) then
        error("bad argument #1 to 'read' (expected a whole number of bytes, at least 1)", 2)
    end
    if sender and sender.is_asking then
        error("this answer is being read", 2)
    elseif sender then
        local ok, message, code = feed(sender, "body")
        if not ok then
            return nil, message, code
        elseif not sender.piece then
            state.sender = nil
        end
    end
    return state.transfer:read(n or PIECE_MAX)
end

--- What is left is not wanted. -> whether it was open
function Answer:close()
    local state = state_of(self, "close")
    state.sender = nil
    return state.transfer:close()
end

-- The whole answer to a body that a function gives.
local function read_all(sender)
    local transfer, pieces = sender.transfer, {}
    local answer, piece
    repeat
        local ok, message, code = feed(sender, "body")
        if ok and not answer then
            answer, message, code = transfer:head()
            ok = answer
        end
        if ok then
            piece, message, code = transfer:read(PIECE_MAX)
            ok = not message
        end
        if not ok then
            return nil, message, code
        end
        pieces[#pieces + 1] = piece
    until not piece
    answer.body = table.concat(pieces)
    return answer
end

-- One exchange. body: nil, string or function. -> answer | nil, message, code
local function exchange(request, method, url, from, lines, body, timeout)
    local is_fed = type(body) == "function"
    if not is_fed and not request.stream then
        return core.fetch(method, url, from, lines, body, timeout, request.connect, request.max_body, request.compression,
            request.tls)
    end
    local transfer, message, code = core.transfer(method, url, from, lines, not is_fed and body or nil, timeout, request.connect,
        request.max_body, request.compression, is_fed and (request.length or true) or nil, request.tls)
    if not transfer then
        return nil, message, code
    end
    local sender = is_fed and { transfer = transfer, body = body, length = request.length, total = 0, piece = "", at = 1 } or nil
    if not request.stream then
        return read_all(sender)
    elseif sender then
        local ok
        ok, message, code = feed(sender, "head")
        if not ok then
            return nil, message, code
        end
    end
    local answer
    answer, message, code = transfer:head()
    if not answer then
        return nil, message, code
    end
    return setmetatable(answer, { __index = Answer, [STATE] = { transfer = transfer, sender = sender } })
end

-- Exchanges until one is no redirect to be followed.
local function follow(request, url, until_ms)
    local method, body, from, left = request.method, request.body, nil, request.redirects
    local _, first_origin = core.url(nil, url)
    local is_elsewhere = false
    while true do
        local timeout = until_ms - core.monotonic() * 1000
        if timeout < 1 then
            return nil, "the origin did not answer in time", "timeout"
        end
        local has_lost_body = request.body and not body
        local answer, message, code = exchange(request, method, url, from,
            lines_of(request.headers, is_elsewhere, has_lost_body), body, timeout)
        local location = answer and redirects[answer.status] and answer.headers.location
        if not location or left == 0 then
            return answer, message, code
        end
        if answer.status == 303 and method ~= "HEAD" or method == "POST" and answer.status < 303 then
            method, body = "GET", nil
        elseif type(body) == "function" then
            return answer -- what it gave is gone
        end
        if request.stream then
            answer:close()
        end
        url, from, left = location, answer.url, left - 1
        local _, origin = core.url(from, url)
        is_elsewhere = is_elsewhere or origin ~= first_origin -- and it stays so
    end
end

--- Does what M.check made of the options. -> answer | nil, message, code
function M.run(request, url)
    local until_ms = core.monotonic() * 1000 + request.timeout
    local may_retry = is_idempotent[request.method] and type(request.body) ~= "function"
    local tries, pause = may_retry and request.retries or 0, FIRST_PAUSE
    while true do
        local answer, message, code = follow(request, url, until_ms)
        if answer or code ~= "unavailable" or tries == 0 or until_ms - core.monotonic() * 1000 <= pause * 1000 then
            return answer, message, code
        end
        core.sleep(pause)
        tries, pause = tries - 1, math.min(pause * 2, LONGEST_PAUSE)
    end
end

local function begin(name, opts, level)
    local request = M.check(name, opts, level + 1)
    check_url(name, opts.url, level + 1)
    check_wait(name, level + 1)
    return request
end

local function with(name, opts, more, level)
    if opts ~= nil and type(opts) ~= "table" then
        error(("%s: expected a table of options, found %s"):format(name, show(opts)), level + 1)
    end
    local out = {}
    for key, value in pairs(opts or {}) do
        if more[key] ~= nil or key == "method" or key == "url" or key == "body" then
            error(("%s: unknown option '%s'"):format(name, key), level + 1)
        end
        out[key] = value
    end
    for key, value in pairs(more) do
        out[key] = value
    end
    return out
end

M.hg = {}

function M.hg.get(url, opts)
    local all = with("hg.http.get", opts, { url = url }, 2)
    local request = begin("hg.http.get", all, 2)
    return M.run(request, url)
end

function M.hg.post(url, body, opts)
    local all = with("hg.http.post", opts, { url = url, body = body, method = "POST" }, 2)
    local request = begin("hg.http.post", all, 2)
    return M.run(request, url)
end

function M.hg.request(opts)
    local request = begin("hg.http.request", opts, 2)
    return M.run(request, opts.url)
end

return M
