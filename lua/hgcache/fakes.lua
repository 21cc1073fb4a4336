--- In each Lua state of a node under test (core.fake): puts the spec's fakes where the world would be, and does what the spec asks
-- for. Required by boot.lua, before the library.
--
--   core.fake(what, ...) -> what the spec's dispatcher (testing.lua) returns, or its error

local core = require "hgcache.core"

-- Time ------------------------------------------------------------------------------------------------------------

local raw_time, raw_date = os.time, os.date

function os.time(fields)
    return fields and raw_time(fields) or math.floor(core.now())
end

function os.date(format, time)
    return raw_date(format or "%c", time or math.floor(core.now()))
end

-- hg.http: one exchange; options, redirects and retries are http.lua's own -------------------------------------------

local function headers_of(lines)
    local headers = {}
    for _, line in ipairs(lines) do
        local name, value = line:match("^([^:;]+)[:;]%s*(.*)$")
        name = name:lower()
        headers[name] = headers[name] and headers[name] .. ", " .. value or value
    end
    return headers
end

function core.fetch(method, url, from, lines, body, timeout, _, max_body)
    local message, code = core.fetch_refusal(from, url)
    if message then
        return nil, message, code
    end
    local whole = core.url(from, url)
    local answer
    answer, message, code = core.fake("http", { method = method, url = whole, headers = headers_of(lines), body = body })
    if not answer then
        return nil, message, code
    end
    local delay = answer.delay or 0
    core.sleep(math.min(delay, timeout) / 1000)
    if delay >= timeout then
        return nil, "the origin did not answer in time", "timeout"
    elseif max_body and #answer.body > max_body then
        return nil, ("the body is larger than %d bytes"):format(max_body), "too_large"
    end
    return { status = answer.status, headers = answer.headers, body = method == "HEAD" and "" or answer.body, url = whole }
end

-- In pieces: the whole of what was sent is asked for at once, and the whole answer is there to be read.
local Transfer = {}
Transfer.__index = Transfer

function core.transfer(method, url, from, lines, body, timeout, connect, max_body)
    return setmetatable({ ask = { method, url, from, lines }, sent = { body }, rest = { timeout, connect, max_body },
        is_open = true }, Transfer)
end

function Transfer:send(piece, from)
    self.sent[#self.sent + 1] = piece:sub(from)
    return #piece + 1
end

function Transfer.room()
    return "room"
end

function Transfer.finish()
end

function Transfer:head()
    local ask, rest = self.ask, self.rest
    local body = #self.sent > 0 and table.concat(self.sent) or nil
    local answer, message, code = core.fetch(ask[1], ask[2], ask[3], ask[4], body, rest[1], rest[2], rest[3])
    if not answer then
        return nil, message, code
    end
    self.body, answer.body = answer.body, nil
    return answer
end

function Transfer:read(most)
    if not self.is_open then
        return nil, "closed", "internal"
    elseif self.body == "" then
        return nil
    end
    local piece = self.body:sub(1, most)
    self.body = self.body:sub(most + 1)
    return piece
end

function Transfer:close()
    local was_open = self.is_open
    self.is_open = false
    return was_open
end

-- hg.socket: whoever connects finds a Redis there --------------------------------------------------------------------

-- The first whole command in the bytes: its words, and where it ends.
local function read_command(bytes)
    local count, at = bytes:match("^%*(%d+)\r\n()")
    local words = {}
    for i = 1, tonumber(count) or 0 do
        local len, from = bytes:match("^%$(%d+)\r\n()", at)
        if not len or #bytes < from + len + 1 then
            return nil
        end
        words[i], at = bytes:sub(from, from + len - 1), from + len + 2
    end
    if not count and bytes:find("\n", 1, true) then
        error("hg.socket: the fake speaks Redis, found " .. ("%q"):format(bytes:sub(1, 40)), 0)
    end
    return count and words, at
end

local function encode(reply)
    if reply == nil or reply == core.null then
        return "$-1\r\n"
    elseif type(reply) == "number" then
        return (":%d\r\n"):format(reply)
    elseif type(reply) == "string" then
        return ("$%d\r\n%s\r\n"):format(#reply, reply)
    elseif type(reply) ~= "table" then
        error("a fake Redis replied a " .. type(reply), 0)
    elseif reply.ok or reply.error then
        return reply.ok and "+" .. reply.ok .. "\r\n" or "-" .. reply.error .. "\r\n"
    end
    local out = { ("*%d\r\n"):format(#reply) }
    for i = 1, #reply do
        out[i + 1] = encode(reply[i])
    end
    return table.concat(out)
end

local Socket = {}
Socket.__index = Socket

function core.socket.tcp()
    return setmetatable({ sent = "", received = "", is_open = false }, Socket)
end

function Socket:connect(host, port)
    core.fake("connect", type(port) == "number" and ("%s:%d"):format(host, port) or tostring(host))
    self.sent, self.received, self.is_open = "", "", true
    return 1
end

local function flatten(data, out)
    if type(data) ~= "table" then
        out[#out + 1] = tostring(data)
        return out
    end
    for _, item in ipairs(data) do
        flatten(item, out)
    end
    return out
end

function Socket:send(data)
    if not self.is_open then
        return nil, "closed"
    end
    local bytes = table.concat(flatten(data, {}))
    self.sent = self.sent .. bytes
    while true do
        local words, at = read_command(self.sent)
        if not words then
            return #bytes
        end
        self.sent = self.sent:sub(at)
        self.received = self.received .. encode(core.fake("redis", unpack(words)))
    end
end

local function take(self, count)
    local data = self.received:sub(1, count)
    self.received = self.received:sub(count + 1)
    return data
end

function Socket:receive(what)
    if not self.is_open then
        return nil, "closed"
    elseif what == "*a" then
        return take(self, #self.received)
    elseif type(what) == "number" then
        if #self.received >= what then
            return take(self, what)
        end
    else
        local line = self.received:match("^([^\n]*)\n")
        if line then
            take(self, #line + 1)
            return (line:gsub("\r", ""))
        end
    end
    return nil, "timeout", take(self, #self.received)
end

function Socket:receiveany(max)
    if self.received == "" then
        return nil, self.is_open and "timeout" or "closed"
    end
    return take(self, max)
end

function Socket:close()
    local was_open = self.is_open
    self.is_open = false
    if was_open then
        return 1
    end
    return nil, "closed"
end

--- Whoever it is, it is the right one.
function Socket:sslhandshake()
    if not self.is_open then
        return nil, "closed"
    end
    return true
end

function Socket:setkeepalive()
    self.is_open = false
    return 1
end

function Socket.getreusedtimes()
    return 0
end

local function done()
    return 1
end
Socket.settimeout, Socket.settimeouts, Socket.setoption, Socket.sslhandshake = done, done, done, done

-- SQL: drivers with the shape of LuaSQL ------------------------------------------------------------------------------

-- A parameter that hg.source_sqlite wrote as CAST(X'4142' AS TEXT), as people write it.
local function readable(query)
    return (query:gsub("CAST%(X'(%x*)' AS TEXT%)", function(hex)
        local text = hex:gsub("%x%x", function(digits)
            return string.char(tonumber(digits, 16))
        end)
        return "'" .. text:gsub("'", "''") .. "'"
    end))
end

local function cursor(rows)
    local at = 0
    return {
        fetch = function(_, into, mode)
            at = at + 1
            local row = rows[at]
            if not row then
                return nil
            elseif not into then
                return unpack(row)
            end
            for i, value in pairs(row) do
                if type(i) == "number" or mode == "a" then
                    into[i] = value
                end
            end
            return into
        end,
        numrows = function()
            return #rows
        end,
        close = function()
            return true
        end,
    }
end

local function yes()
    return true
end

local connection = {
    execute = function(_, query)
        if query == "SET NAMES utf8mb4" then -- hg.source_mysql's own
            return 0
        end
        local rows, message = core.fake("sql", readable(query))
        if type(rows) == "table" then
            return cursor(rows)
        end
        return rows, message
    end,
    escape = function(_, text)
        return (text:gsub("'", "''"))
    end,
    ping = yes, setautocommit = yes, commit = yes, rollback = yes, close = yes,
}

local function driver()
    return {
        connect = function()
            return connection
        end,
        close = yes,
    }
end

if core.fake("has", "sql") then
    for _, name in ipairs { "sqlite3", "mysql", "postgres" } do
        package.preload["luasql." .. name] = function()
            return { [name] = driver }
        end
    end
end

-- hg.postgres checks its statement; connections and answers are the fake's.
if core.postgres then
    function core.postgres.acquire()
        return true
    end

    function core.postgres.ask(_, query, ...)
        local rows, message, code, sqlstate = core.fake("sql", query, ...)
        if type(rows) == "number" then
            rows = { changed = rows }
        elseif rows == nil then
            return nil, message, code or "internal", sqlstate
        end
        rows.columns, rows.changed = rows.columns or {}, rows.changed or #rows
        return rows
    end
end

-- What the spec asks for -----------------------------------------------------------------------------------------------

local current -- number of the call that is under way
local tasks = {} -- the coroutines of its tasks that have begun and not ended

local function spawn(fn)
    core.spawn(function()
        local co = coroutine.running()
        tasks[co] = true
        fn()
        tasks[co] = nil
    end)
end

local function finish(number, ok, first, ...)
    if not ok and type(first) ~= "string" then
        first = tostring(first)
    end
    core.fake("done", number, ok, first, ...)
end

local function get_all(number, group, keys)
    local handle, results, left = core.group(group), {}, #keys
    for i, key in ipairs(keys) do
        spawn(function()
            local ok, value, message, code = pcall(handle.get, handle, key)
            if not ok then
                value, message, code = nil, tostring(value), "internal"
            end
            results[i] = { value = value, message = value == nil and message or nil, code = code }
            left = left - 1
            if left == 0 then
                core.fake("done", number, results)
            end
        end)
    end
    if left == 0 then
        core.fake("done", number, results)
    end
end

local M = {}

--- Begins what is wanted; its results go to the spec as "done".
function M.begin(number, what, group, ...)
    local args, count = { ... }, select("#", ...)
    current, tasks = number, {}
    if what == "get_all" then
        return get_all(number, group, ...)
    end
    spawn(function()
        local handle = core.group(group)
        finish(number, pcall(handle[what], handle, unpack(args, 1, count)))
    end)
end

--- False where that call will never be done: one of its tasks has died, or all of them with the state that they were in.
function M.is_alive(number)
    for co in pairs(tasks) do
        if not core.is_task(co) then
            return false
        end
    end
    return current == number
end

return M
