--- hg.socket: what of OpenResty's cosockets is easier said in Lua; the rest is core/script/lib_socket.c.

local core = require("hgcache.core").socket

local M = { tcp = core.tcp }

local methods, read_until = core.methods, core.read_until
local handshake, connect_anew = core.handshake, core.connect_anew
local raw_send = methods.send

-- Nested lists of strings and numbers, deeper than anybody needs.
local DEPTH_MAX = 16

local function flatten(list, out, depth)
    if depth > DEPTH_MAX then
        error("bad argument #1 to 'send' (lists in lists in lists, more than " .. DEPTH_MAX .. ")", 3 + depth)
    end
    for i = 1, #list do
        local item = list[i]
        if type(item) == "table" then
            flatten(item, out, depth + 1)
        elseif type(item) == "string" or type(item) == "number" then
            out[#out + 1] = item
        else
            error("bad argument #1 to 'send' (bad data type " .. type(item) .. " found)", 3 + depth)
        end
    end
    return out
end

--- data: a string, a number, or a list of them, which may be nested. -> bytes | nil, message
function methods:send(data)
    if type(data) == "table" then
        data = table.concat(flatten(data, {}, 0))
    end
    return raw_send(self, data)
end

--- A reader of what comes before each pattern. options: { inclusive = false }
-- reader() -> data | nil, message, partial; reader(size) -> at most so much of it at a time, and nil once after the pattern
function methods:receiveuntil(pattern, options)
    if type(pattern) ~= "string" or pattern == "" then
        error("bad argument #1 to 'receiveuntil' (expected a pattern)", 2)
    end
    if options ~= nil and type(options) ~= "table" then
        error("bad argument #2 to 'receiveuntil' (expected a table of options)", 2)
    end
    local inclusive = options and options.inclusive or false
    if type(inclusive) ~= "boolean" then
        error("bad argument #2 to 'receiveuntil' (inclusive is true or false)", 2)
    end
    local is_between = false

    local function finish(size, data, message, partial, is_end)
        is_between = size > 0 and is_end == true
        return data, message, partial
    end
    return function(size)
        if is_between then
            is_between = false
            return nil, nil, nil
        end
        size = size or 0
        return finish(size, read_until(self, pattern, inclusive, size))
    end
end

--- Begins TLS. session: of an earlier handshake, to be resumed; nil: none; false: none, and none is wanted back.
-- server_name: told to the server and checked, the host of connect unless given; verify: true unless it is false
-- -> session, or true where false was given | nil, message
function methods:sslhandshake(session, server_name, verify, send_status_req)
    if session and type(session) ~= "userdata" then
        error("bad argument #1 to 'sslhandshake' (expected a session of an earlier handshake, nil or false)", 2)
    elseif server_name ~= nil and type(server_name) ~= "string" then
        error("bad argument #2 to 'sslhandshake' (expected a name, found " .. type(server_name) .. ")", 2)
    elseif verify ~= nil and type(verify) ~= "boolean" then
        error("bad argument #3 to 'sslhandshake' (expected true or false, found " .. type(verify) .. ")", 2)
    end
    local result, message = handshake(self, session, server_name, verify, send_status_req == true)
    if result == false then -- out of the pool came one that is not what was asked for
        local ok
        ok, message = connect_anew(self)
        if not ok then
            return nil, message
        end
        result, message = handshake(self, session, server_name, verify, send_status_req == true)
    end
    return result, message
end

--- tcp() and connect in one. -> socket | nil, message
function M.connect(...)
    local socket = M.tcp()
    local ok, message = socket:connect(...)
    if not ok then
        return nil, message
    end
    return socket
end

return M
