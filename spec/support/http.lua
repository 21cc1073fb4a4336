--- HTTP/1.1 client of the specs: raw bytes where needed, and many connections at once.
--
--   request(where, { method, path, headers, body, timeout }) -> response
--   raw(where, bytes, { timeout, half_close })                -> everything that came back, was it closed
--   many({ { where, bytes or request }, ... }, timeout)       -> list of responses, in order
--   connect(where)                                            -> connection: send, response, read_until_closed,
-- close, reset
--
-- where: a port of 127.0.0.1 or the path of a unix socket. A response is { status, headers (lower case names), body,
-- raw },
-- or { error = why } when no complete one came.

local posix = require "spec.support.posix"

local M = {}

local DEFAULT_TIMEOUT = 20

--- Percent-encodes every byte but letters and digits.
function M.encode(bytes)
    return (bytes:gsub("[^%w]", function(c)
        return ("%%%02X"):format(c:byte())
    end))
end

--- Bytes of a request. Host is sent unless the headers are a string, which is sent as it is.
function M.format(opts)
    local out = { ("%s %s HTTP/1.1\r\n"):format(opts.method or "GET", opts.path or "/") }
    local has_host = false
    for name, value in pairs(opts.headers or {}) do
        out[#out + 1] = ("%s: %s\r\n"):format(name, value)
        has_host = has_host or name:lower() == "host"
    end
    if not has_host then
        out[#out + 1] = "Host: 127.0.0.1\r\n"
    end
    if opts.body then
        out[#out + 1] = ("Content-Length: %d\r\n"):format(#opts.body)
    end
    if opts.close then
        out[#out + 1] = "Connection: close\r\n"
    end
    out[#out + 1] = "\r\n" .. (opts.body or "")
    return table.concat(out)
end

local function parse_head(head)
    local status, rest = head:match("^HTTP/1%.[01] (%d%d%d)[^\r\n]*\r\n(.*)$")
    if not status then
        return nil
    end
    local headers, all = {}, {}
    for name, value in rest:gmatch("([^:\r\n]+):[ \t]*([^\r\n]*)\r\n") do
        name = name:lower()
        headers[name] = headers[name] and headers[name] .. ", " .. value or value
        all[#all + 1] = { name, value }
    end
    return { status = tonumber(status), headers = headers, fields = all }
end

local function parse_chunks(data, at)
    local out = {}
    while true do
        local size, next_at = data:match("^(%x+)[^\r\n]*\r\n()", at)
        if not size then
            return nil
        end
        size = tonumber(size, 16)
        if size == 0 then
            local stop = data:match("^\r\n()", next_at)
            return stop and table.concat(out), stop
        elseif #data < next_at + size + 1 then
            return nil
        end
        out[#out + 1] = data:sub(next_at, next_at + size - 1)
        at = next_at + size + 2
    end
end

--- One response out of data from `at`. -> response, position behind it | nil (not yet whole)
function M.parse(data, at, method, closed)
    at = at or 1
    local _, head_end = data:find("\r\n\r\n", at, true)
    if not head_end then
        return nil
    end
    local head = data:sub(at, head_end)
    local response = parse_head(head)
    if not response then
        return { error = "not a response: " .. head:sub(1, 60) }, #data + 1
    end
    local from = head_end + 1
    if response.status < 200 then
        return M.parse(data, from, method, closed) -- 100 Continue
    end
    local length = tonumber(response.headers["content-length"])
    local stop
    if method == "HEAD" or response.status == 204 or response.status == 304 then
        response.body, stop = "", from
    elseif (response.headers["transfer-encoding"] or ""):find("chunked", 1, true) then
        response.body, stop = parse_chunks(data, from)
    elseif length then
        if #data >= from + length - 1 then
            response.body, stop = data:sub(from, from + length - 1), from + length
        end
    elseif closed then
        response.body, stop = data:sub(from), #data + 1
    end
    if not stop then
        return nil
    end
    response.raw = data:sub(at, stop - 1)
    return response, stop
end

local Connection = {}
Connection.__index = Connection

--- -> connection | nil, message
function M.connect(where, opts)
    local fd, message = posix.connect_start(where, opts)
    if not fd then
        return nil, message
    end
    local ready = posix.poll({ { fd, posix.POLLOUT } }, opts and opts.timeout or 5)
    message = ready and posix.connect_error(fd) or not ready and "timeout" or nil
    if message then
        posix.close(fd)
        return nil, message
    end
    return setmetatable({ fd = fd, parts = {}, data = "", at = 1, closed = false }, Connection)
end

--- Sends everything. -> true | nil, message
function Connection:send(bytes, timeout)
    local limit, from = posix.now() + (timeout or DEFAULT_TIMEOUT), 1
    while from <= #bytes do
        local n, message = posix.send(self.fd, bytes, from)
        if not n then
            return nil, message
        elseif n == 0 then
            local left = limit - posix.now()
            if left <= 0 then
                return nil, "timeout"
            end
            -- Also read meanwhile, so that two full buffers cannot wait for each other.
            local got = posix.poll({ { self.fd, posix.POLLOUT + posix.POLLIN } }, left)
            if got and got[1] % 2 == 1 then
                self:pull(0)
            end
        end
        from = from + n
    end
    return true
end

-- Reads what is there, waiting at most so long. -> true when something came or it closed
function Connection:pull(seconds)
    if self.closed then
        return false
    end
    local ready = posix.poll({ { self.fd, posix.POLLIN } }, seconds)
    if not ready then
        return false
    end
    local bytes, message = posix.recv(self.fd)
    if bytes == "" or message then
        self.closed, self.message = true, message
        return true
    elseif bytes then
        self.parts[#self.parts + 1] = bytes
    end
    return true
end

function Connection:collect()
    if #self.parts > 0 then
        self.data = self.data .. table.concat(self.parts)
        self.parts = {}
    end
    return self.data
end

--- The next response. -> response (with .error when none came)
function Connection:response(method, timeout)
    local limit = posix.now() + (timeout or DEFAULT_TIMEOUT)
    local wanted = 0 -- bytes known to be needed: big bodies are not parsed again for each piece
    local have = #self.data
    for _, part in ipairs(self.parts) do
        have = have + #part
    end
    while true do
        if have >= wanted or self.closed then
            local data = self:collect()
            local response, stop = M.parse(data, self.at, method, self.closed)
            if response then
                self.at = stop
                return response
            elseif self.closed then
                return { error = self.message or "closed", rest = data:sub(self.at) }
            end
            local _, head_end = data:find("\r\n\r\n", self.at, true)
            local length = head_end and data:sub(self.at, head_end):lower():match("\ncontent%-length: *(%d+)")
            wanted = length and head_end + tonumber(length) or 0
        end
        local left = limit - posix.now()
        if left <= 0 then
            return { error = "timeout", rest = self:collect():sub(self.at) }
        end
        local before = #self.parts
        self:pull(left)
        if #self.parts > before then
            have = have + #self.parts[#self.parts]
        end
    end
end

function Connection:request(opts)
    local ok, message = self:send(M.format(opts), opts.timeout)
    if not ok then
        return { error = message }
    end
    return self:response(opts.method, opts.timeout)
end

--- -> everything not yet taken, closed
function Connection:read_until_closed(timeout)
    local limit = posix.now() + (timeout or DEFAULT_TIMEOUT)
    while not self.closed do
        local left = limit - posix.now()
        if left <= 0 then
            break
        end
        self:pull(left)
    end
    local rest = self:collect():sub(self.at)
    self.at = #self.data + 1
    return rest, self.closed
end

function Connection:half_close()
    posix.shutdown_write(self.fd)
end

function Connection:close()
    if self.fd then
        posix.close(self.fd)
        self.fd = nil
    end
end

function Connection:reset()
    posix.reset(self.fd)
    self.fd = nil
end

function M.request(where, opts)
    opts = opts or {}
    local connection, message = M.connect(where, opts)
    if not connection then
        return { error = message }
    end
    local response = connection:request(opts)
    connection:close()
    return response
end

--- GET in one word.
function M.get(where, path, opts)
    opts = opts or {}
    opts.path = path
    return M.request(where, opts)
end

function M.raw(where, bytes, opts)
    opts = opts or {}
    local connection = assert(M.connect(where, opts))
    connection:send(bytes, opts.timeout)
    if opts.half_close then
        connection:half_close()
    end
    local rest, closed = connection:read_until_closed(opts.timeout or 2)
    connection:close()
    return rest, closed
end

--- Each item on a connection of its own, all at once; `took` is how many seconds it took. items: list of { where, bytes | request table }.
function M.many(items, timeout)
    posix.raise_file_limit()
    local from = posix.now()
    local limit = from + (timeout or 60)
    local results, open, left = {}, {}, 0
    for i, item in ipairs(items) do
        local fd, message = posix.connect_start(item[1])
        if fd then
            local request = item[2]
            open[i] = {
                fd = fd, from = 1, parts = {}, data = "",
                bytes = type(request) == "table" and M.format(request) or request,
                method = type(request) == "table" and request.method or nil,
            }
            left = left + 1
        else
            results[i] = { error = message }
        end
    end
    local function finish(i, result)
        posix.close(open[i].fd)
        result.took = posix.now() - from
        results[i], open[i] = result, nil
        left = left - 1
    end
    local function on_readable(i, one)
        local bytes, message = posix.recv(one.fd)
        if bytes == nil and not message then
            return
        end
        local closed = bytes == "" or message ~= nil
        if bytes then
            one.data = one.data .. bytes
        end
        local response = M.parse(one.data, 1, one.method, closed)
        if response then
            finish(i, response)
        elseif closed then
            finish(i, { error = message or "closed", rest = one.data })
        end
    end
    while left > 0 do
        local fds, ids = {}, {}
        for i, one in pairs(open) do
            fds[#fds + 1] = { one.fd, one.from <= #one.bytes and posix.POLLOUT or posix.POLLIN }
            ids[#ids + 1] = i
        end
        local remaining = limit - posix.now()
        local ready = remaining > 0 and posix.poll(fds, remaining)
        if not ready then
            for _, i in ipairs(ids) do
                finish(i, { error = "timeout", rest = open[i].data })
            end
            break
        end
        for k, i in ipairs(ids) do
            local one = open[i]
            if ready[k] ~= 0 then
                if one.from <= #one.bytes then
                    local message = one.from == 1 and posix.connect_error(one.fd)
                    local n
                    if not message then
                        n, message = posix.send(one.fd, one.bytes, one.from)
                    end
                    if message then
                        finish(i, { error = message })
                    else
                        one.from = one.from + n
                    end
                else
                    on_readable(i, one)
                end
            end
        end
    end
    return results
end

return M
