--- hg.source_redis: values out of Redis, over hg.socket.
--
--   getter = hg.source_redis { host = "127.0.0.1", key = "score:{key}" }            GET
--   get_many = hg.source_redis.many { unix = "/run/redis/redis.sock" }              MGET
--
-- A connection is taken from a pool of the script thread and goes back to it after each load. One that turns out to be dead
-- when it is used again costs a second try on a new one, and no error.

local core = require "hgcache.core"
local check_options = require("hgcache.options").of

local M = {}

local known = {
    host = "string", port = "number", unix = "string", user = "string", password = "string", db = "number", key = "string",
    timeout = true, pool_size = "number", pool_idle = true, tls = "boolean", server_name = "string",
}

local function check(name, opts)
    local o = check_options(name, opts, known, 3)
    if opts.unix and (opts.host or opts.port) then
        o:wrong("unix, or host and port")
    elseif opts.user and not opts.password then
        o:wrong("user without password")
    end
    if opts.server_name and not opts.tls then
        o:wrong("server_name without tls")
    elseif opts.tls and opts.unix and not opts.server_name then
        o:wrong("tls with unix needs a server_name")
    end
    local key = opts.key or "{key}"
    local before, after = key:match("^(.-){key}(.*)$")
    if not before then
        o:wrong('key: expected a text with "{key}" in it')
    end
    return {
        host = opts.host or "127.0.0.1", port = o:whole("port", 6379, 1, 65535), unix = opts.unix,
        user = opts.user, password = opts.password, db = o:whole("db", 0, 0, 1000000),
        before = before, after = after, tls = opts.tls or false, server_name = opts.server_name,
        timeout = o:milliseconds("timeout", "1s"),
        pool_size = o:whole("pool_size", 64, 1, 1024), pool_idle = o:milliseconds("pool_idle", "60s"),
    }
end

-- RESP --------------------------------------------------------------------------------------------------------------

-- A command's words to the end of a list of pieces.
local function add(out, words)
    out[#out + 1] = "*" .. #words .. "\r\n"
    for i = 1, #words do
        local word = tostring(words[i])
        out[#out + 1] = "$" .. #word .. "\r\n"
        out[#out + 1] = word
        out[#out + 1] = "\r\n"
    end
end

local ARRAY_MAX = 100000

-- -> string, number, list or core.null | false, Redis's own message | nil, message: the connection is of no more use
local function read_reply(sock, is_nested)
    local line, message = sock:receive()
    if not line then
        return nil, message
    end
    local kind, rest = line:sub(1, 1), line:sub(2)
    if kind == "+" then
        return rest
    elseif kind == "-" then
        return false, rest
    end
    local number = tonumber(rest)
    if kind == "$" and number == -1 or kind == "*" and number == -1 then
        return core.null
    elseif kind == ":" and number then
        return number
    elseif kind == "$" and number and number >= 0 then
        local data
        data, message = sock:receive(number)
        if not data then
            return nil, message
        end
        local ending
        ending, message = sock:receive(2)
        if ending ~= "\r\n" then
            return nil, message or "no reply of Redis"
        end
        return data
    elseif kind == "*" and number and number >= 0 and number <= ARRAY_MAX and not is_nested then
        local list = {}
        for i = 1, number do
            list[i], message = read_reply(sock, true)
            if list[i] == nil then
                return nil, message
            end
        end
        return list
    end
    return nil, "no reply of Redis"
end

-- Connections -------------------------------------------------------------------------------------------------------

local function connect(source)
    local sock = require("hgcache.socket").tcp()
    sock:settimeout(source.timeout)
    local options = { pool = source.pool, pool_size = source.pool_size }
    local ok, message
    if source.unix then
        ok, message = sock:connect("unix:" .. source.unix, options)
    else
        ok, message = sock:connect(source.host, source.port, options)
    end
    if ok and source.tls then
        ok, message = sock:sslhandshake(false, source.server_name)
    end
    if not ok then
        return nil, message
    end
    return sock
end

-- One command on one connection. -> reply | false, message of Redis | nil, message, whether the connection had been kept
local function try(source, words)
    local sock, message = connect(source)
    if not sock then
        return nil, message, false
    end
    local was_kept = sock:getreusedtimes() > 0
    local out, greetings = {}, 0
    if not was_kept and source.password then
        greetings = greetings + 1
        add(out, source.user and { "AUTH", source.user, source.password } or { "AUTH", source.password })
    end
    if not was_kept and source.db > 0 then
        greetings = greetings + 1
        add(out, { "SELECT", source.db })
    end
    add(out, words)
    local ok, reply
    ok, message = sock:send(out)
    if not ok then
        return nil, message, was_kept
    end
    for _ = 1, greetings do
        reply, message = read_reply(sock)
        if not reply then
            sock:close()
            return nil, message, was_kept
        end
    end
    reply, message = read_reply(sock)
    if reply == nil then
        sock:close()
        return nil, message, was_kept
    end
    sock:setkeepalive(source.pool_idle, source.pool_size)
    return reply, message
end

local gone = { closed = true, ["connection reset by peer"] = true, ["broken pipe"] = true }

local function ask(source, words)
    local reply, message, was_kept = try(source, words)
    if reply == nil and was_kept and gone[message] then
        reply, message = try(source, words)
    end
    if reply == nil or reply == false then
        return nil, ("redis %s: %s"):format(source.unix or source.host .. ":" .. source.port, message)
    end
    return reply
end

local function new(name, opts)
    local source = check(name, opts)
    -- By what a connection is made for: idle ones outlive the Lua state.
    source.pool = ("source_redis %s %s %d %s"):format(source.unix or source.host .. ":" .. source.port, source.user or "",
        source.db, source.tls and source.server_name or tostring(source.tls))
    return source
end

local function fail(message)
    return { __hgcache = "fail", class = "unavailable", message = message }
end

local function getter(_, opts)
    local source = new("hg.source_redis", opts)
    return function(key)
        local reply, message = ask(source, { "GET", source.before .. key .. source.after })
        if reply == nil then
            return fail(message)
        elseif reply == core.null then
            return nil
        end
        return reply
    end
end

--- The same for get_many: one MGET for all keys.
function M.many(opts)
    local source = new("hg.source_redis.many", opts)
    return function(keys)
        local words = { "MGET" }
        for i, key in ipairs(keys) do
            words[i + 1] = source.before .. key .. source.after
        end
        local reply, message = ask(source, words)
        if reply == nil then
            return fail(message)
        end
        local values = {}
        for i, key in ipairs(keys) do
            if reply[i] ~= core.null then
                values[key] = reply[i]
            end
        end
        return values
    end
end

return setmetatable(M, { __call = getter })
