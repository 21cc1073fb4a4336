--- hg.redis{ host = "127.0.0.1", port = 6379 }: commands to Redis, over hg.socket.
--
--   local redis = hg.redis { unix = "/run/redis/redis.sock" }
--   local reply, message, code = redis:command("SETEX", "score:Tom", 60, "630")
--
-- A connection is taken from a pool of the script thread and goes back to it after each command. One that turns out to be dead
-- when it is used again costs a second try on a new one, and no error.

local core = require "hgcache.core"
local digest = require "hgcache.digest"
local check_options = require("hgcache.options").of

local M = {}
local Redis = {}
Redis.__index = Redis

--- The options of a connection, with their types; those of a source have more.
M.known = {
    host = "string", port = "number", unix = "string", user = "string", password = "string", db = "number",
    timeout = true, pool_size = "number", pool_idle = true, tls = "boolean", server_name = "string",
}

local function check(o)
    local opts = o.opts
    if opts.unix and (opts.host or opts.port) then
        o:wrong("unix, or host and port", 1)
    elseif opts.user and not opts.password then
        o:wrong("user without password", 1)
    elseif opts.server_name and not opts.tls then
        o:wrong("server_name without tls", 1)
    elseif opts.tls and opts.unix and not opts.server_name then
        o:wrong("tls with unix needs a server_name", 1)
    end
end

-- RESP --------------------------------------------------------------------------------------------------------------

-- A command's words to the end of a list of pieces.
local function add(out, words)
    out[#out + 1] = "*" .. #words .. "\r\n"
    for i = 1, #words do
        local word = words[i]
        out[#out + 1] = "$" .. #word .. "\r\n"
        out[#out + 1] = word
        out[#out + 1] = "\r\n"
    end
end

local ARRAY_MAX, DEPTH_MAX = 100000, 8
local EXACT_MAX = 2 ^ 53 -- below it a number of Lua has every digit of a whole one

-- -> string, number, list or core.null | false, Redis's own message | nil, message: the connection is of no more use
local function read_reply(sock, depth)
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
        return math.abs(number) < EXACT_MAX and number or rest
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
    elseif kind == "*" and number and number >= 0 and number <= ARRAY_MAX and depth < DEPTH_MAX then
        local list = {}
        for i = 1, number do
            list[i], message = read_reply(sock, depth + 1)
            if list[i] == nil then
                return nil, message
            end
        end
        return list
    end
    return nil, "no reply of Redis"
end

-- Connections -------------------------------------------------------------------------------------------------------

local function connect(server)
    local sock = require("hgcache.socket").tcp()
    sock:settimeout(server.timeout)
    local options = { pool = server.pool, pool_size = server.pool_size }
    local ok, message
    if server.unix then
        ok, message = sock:connect("unix:" .. server.unix, options)
    else
        ok, message = sock:connect(server.host, server.port, options)
    end
    if ok and server.tls then
        ok, message = sock:sslhandshake(false, server.server_name)
    end
    if not ok then
        return nil, message
    end
    return sock
end

-- Whether Redis does not know who this connection is, so the next one would fare no better on it.
local function is_stranger(message)
    return message:find("^NOAUTH") ~= nil or message:find("^WRONGPASS") ~= nil
end

-- One command on one connection. -> reply | false, message of Redis | nil, message, whether the connection had been kept
local function try(server, words)
    local sock, message = connect(server)
    if not sock then
        return nil, message, false
    end
    local was_kept = sock:getreusedtimes() > 0
    local out, greetings = {}, 0
    if not was_kept and server.password then
        greetings = greetings + 1
        add(out, server.user and { "AUTH", server.user, server.password } or { "AUTH", server.password })
    end
    if not was_kept and server.db > 0 then
        greetings = greetings + 1
        add(out, { "SELECT", tostring(server.db) })
    end
    add(out, words)
    local ok, reply
    ok, message = sock:send(out)
    if not ok then
        return nil, message, was_kept
    end
    for _ = 1, greetings do
        reply, message = read_reply(sock, 0)
        if not reply then
            sock:close()
            return reply, message, was_kept
        end
    end
    reply, message = read_reply(sock, 0)
    if reply == nil then
        sock:close()
        return nil, message, was_kept
    end
    if reply == false and is_stranger(message) then
        sock:close()
    else
        sock:setkeepalive(server.pool_idle, server.pool_size)
    end
    return reply, message
end

local gone = { closed = true, ["connection reset by peer"] = true, ["broken pipe"] = true }

--- name: of the function that was called with opts; known, depth: as options.of has them. -> client, the options
function M.connect(name, opts, known, depth)
    local o = check_options(name, opts, known, depth + 1)
    check(o)
    local server = {
        host = opts.host or "127.0.0.1", port = o:whole("port", 6379, 1, 65535), unix = opts.unix,
        user = opts.user, password = opts.password, db = o:whole("db", 0, 0, 1000000),
        tls = opts.tls or false, server_name = opts.server_name, timeout = o:milliseconds("timeout", "1s"),
        pool_size = o:whole("pool_size", 64, 1, 1024), pool_idle = o:milliseconds("pool_idle", "60s"),
    }
    server.at = server.unix or server.host .. ":" .. server.port
    -- By what a connection is made for, and by whom: idle ones outlive the Lua state.
    local who = server.password and digest.hex(digest.sha256((server.user or "default") .. "\0" .. server.password)) or "none"
    server.pool = ("redis %s %s %d %s"):format(server.at, who, server.db, server.tls and server.server_name or tostring(server.tls))
    return setmetatable({ server = server }, Redis), o
end

-- What would leave a connection in another state than the next command expects.
local refused = {}
for name in ([[AUTH HELLO SELECT RESET QUIT CLIENT MULTI EXEC DISCARD WATCH UNWATCH MONITOR SYNC PSYNC SUBSCRIBE PSUBSCRIBE
    SSUBSCRIBE UNSUBSCRIBE PUNSUBSCRIBE SUNSUBSCRIBE]]):gmatch("%S+") do
    refused[name] = true
end

-- The first word of what Redis says.
local codes = {
    NOPERM = "denied", NOAUTH = "denied", WRONGPASS = "denied", LOADING = "unavailable", BUSY = "unavailable",
    READONLY = "unavailable", MASTERDOWN = "unavailable", CLUSTERDOWN = "unavailable", TRYAGAIN = "unavailable",
    OOM = "unavailable", NOREPLICAS = "unavailable",
}

local function text_of(word, index)
    if type(word) == "string" then
        return word
    elseif type(word) == "number" then
        return (word % 1 == 0 and math.abs(word) <= 2 ^ 53) and ("%d"):format(word) or ("%.17g"):format(word)
    end
    error(("bad argument #%d to 'command' (a string or a number expected, got %s)"):format(index, type(word)), 3)
end

--- One command, a list of strings. -> as redis:command
function M.ask(client, words)
    local server = client.server
    local reply, message, was_kept = try(server, words)
    if reply == nil and was_kept and gone[message] then
        reply, message = try(server, words)
    end
    if reply then
        return reply
    end
    local code = reply == false and (codes[message:match("^%u+")] or "internal")
        or message == "timeout" and "timeout" or "unavailable"
    return nil, ("redis %s: %s"):format(server.at, message), code
end

--- -> string, number (as text from 2^53 on), list of such, or hg.null | nil, message, code
function Redis:command(name, ...)
    local words = { text_of(name, 1) }
    if refused[words[1]:upper()] then
        error(("redis:command: %s changes its connection, which others use too"):format(words[1]), 2)
    end
    for i = 1, select("#", ...) do
        words[i + 1] = text_of(select(i, ...), i + 1)
    end
    return M.ask(self, words)
end

--- opts: { host = "127.0.0.1", port = 6379 (or unix = path), user =, password =, db = 0, timeout = "1s", pool_size = 64,
--          pool_idle = "60s", tls = false, server_name = }
function M.new(opts)
    return (M.connect("hg.redis", opts, M.known, 1))
end

return M
