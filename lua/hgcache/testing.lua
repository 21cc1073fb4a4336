--- hg.testing: a node of one's own in a spec, for `hgcache test`. Its time stands still until it is told to go on, and it has no
-- world but the fakes that it is given.
--
--   local node = testing.node("config.lua", { name = "value" }, { http = ..., redis = ..., sql = ..., peers = ..., time = ... })
--   node:get("group", "key") -> value, meta | nil, message, code
--
-- An error that a fake raises is the spec's: whoever asked the node gets it, unchanged.
--
-- The node's scripts run in Lua states of their own, as in production: what passes between them and a spec (arguments, results,
-- what fakes are asked and answer) is copied, and can be no function.

local found, core = pcall(require, "hgcache.testing.core")
if not found then
    error("hg.testing is for specs: run them with `hgcache test`", 0)
end
local units = require "hgcache.units"
local null = require("hgcache.core").null

local M = {}

local START = 1767225600 -- 2026-01-01T00:00:00Z
local TIME_MAX = 253402300799 -- the year 9999
local known = { http = true, redis = true, sql = true, peers = true, time = true }

-- Errors -------------------------------------------------------------------------------------------------------------

local HERE = debug.getinfo(1, "S").source

-- The line that called, of who is not this file.
local function caller()
    for level = 3, 100 do
        local info = debug.getinfo(level, "Sl")
        if not info then
            return ""
        elseif info.what ~= "C" and info.source ~= HERE then
            return ("%s:%d: "):format(info.short_src, info.currentline)
        end
    end
end

-- At the spec's line, unless the message has one of its own. To be returned, so that busted finds that line too.
local function raise(message)
    if type(message) == "string" and not message:find("^[^\n:]+:%d+: ") then
        message = caller() .. message
    end
    return error(message, 0)
end

local function results(ok, ...)
    if not ok then
        return raise((...))
    end
    return ...
end

-- How fakes answer ----------------------------------------------------------------------------------------------

local answer = {}

-- The fake itself where it is a function, else what its table has for a name.
local function look_up(fake, name, ...)
    if type(fake) == "function" then
        return true, fake(...)
    elseif fake[name] == nil then
        return false
    elseif type(fake[name]) == "function" then
        return true, fake[name](...)
    end
    return true, fake[name]
end

local function missing(what, name, how)
    error(("no fake for %s %s; give testing.node(file, args, { %s })"):format(what, name, how), 0)
end

-- What a fake origin returned, as hg.http has it.
local function http_answer(response, message, code)
    if response == nil then
        return nil, message or "the fake has no answer", code or "unavailable"
    elseif type(response) ~= "table" then
        response = { body = tostring(response) }
    end
    local headers = {}
    for name, value in pairs(response.headers or {}) do
        headers[name:lower()] = value
    end
    return {
        status = response.status or 200, headers = headers, body = response.body or "",
        delay = response.delay and assert(units.duration(response.delay), "delay: expected a duration"),
    }
end

function answer.http(fakes, request)
    local name = request.method .. " " .. request.url
    local function result(is_known, ...)
        if not is_known then
            missing("hg.http:", name, ('http = { ["%s"] = { status = 200, body = "..." } }'):format(name))
        end
        return http_answer(...)
    end
    return result(look_up(fakes.http or {}, name, request))
end

function answer.connect(fakes, name)
    if fakes.redis == nil then
        missing("hg.socket:", name, "redis = { key = \"value\" } or a function of a command and its words")
    end
    return true
end

local OK = { ok = "OK" }
local redis = {
    ping = function()
        return { ok = "PONG" }
    end,
    auth = function()
        return OK
    end,
    select = function()
        return OK
    end,
    get = function(data, key)
        return data[key] == nil and null or tostring(data[key])
    end,
    mget = function(data, ...)
        local out = { ... }
        for i, key in ipairs(out) do
            out[i] = data[key] == nil and null or tostring(data[key])
        end
        return out
    end,
    set = function(data, key, value)
        data[key] = value
        return OK
    end,
    del = function(data, ...)
        local count = 0
        for _, key in ipairs { ... } do
            count = count + (data[key] ~= nil and 1 or 0)
            data[key] = nil
        end
        return count
    end,
    exists = function(data, key)
        return data[key] ~= nil and 1 or 0
    end,
}

-- A reply: a text, a whole number, null or nil, a list of them, { ok = "OK" } or { error = "ERR ..." }.
function answer.redis(fakes, command, ...)
    if type(fakes.redis) == "function" then
        return (fakes.redis(command:upper(), ...))
    end
    local run = redis[command:lower()]
    if not run then
        return { error = ("ERR the fake knows no %s; give redis = function(command, ...)"):format(command) }
    end
    return run(fakes.redis, ...)
end

-- rows: a list of rows, each a list of columns or { [column] = value }; a number of changed rows; nil, message.
function answer.sql(fakes, query, ...)
    local function result(is_known, ...)
        if not is_known then
            missing("SQL:", query, "sql = function(query, ...) or { [query] = rows }")
        end
        return ...
    end
    return result(look_up(fakes.sql or {}, query, query, ...))
end

function answer.has(fakes, name)
    return fakes[name] ~= nil
end

-- value [, { ttl = }] | nil: no such key | nil, message, class ("down": it cannot be reached)
function answer.peer(fakes, member, group, key)
    local fake = fakes.peers[member]
    if fake == nil then
        return nil, "no fake for the peer " .. member, "down"
    elseif type(fake) == "function" then
        return fake(group, key)
    end
    return (fake[group] or {})[key]
end

-- A node ------------------------------------------------------------------------------------------------------

local Node = {}
Node.__index = Node

local function check_fakes(fakes)
    for name, fake in pairs(fakes) do
        if not known[name] then
            return raise(("testing.node: unknown fake '%s'"):format(tostring(name)))
        elseif name == "time" and type(fake) ~= "number" or name == "peers" and type(fake) ~= "table"
            or name ~= "time" and type(fake) ~= "table" and type(fake) ~= "function" then
            return raise(("testing.node: %s: found a %s"):format(name, type(fake)))
        elseif name == "time" and not (fake >= 0 and fake <= TIME_MAX) then
            return raise(("testing.node: time: expected seconds since 1970, at most %.0f"):format(TIME_MAX))
        end
    end
end

local function is_fakes(args)
    for name, value in pairs(args) do
        if type(value) == "table" or type(value) == "function" or name == "time" and type(value) == "number" then
            return true
        end
    end
    return false
end

--- A node of this configuration. args: hg.args, texts. fakes: http, redis, sql, peers, and time: seconds since 1970 at its start.
-- Raises what is wrong with the configuration. args may be left out.
function M.node(file, args, fakes)
    if type(file) ~= "string" then
        return raise("testing.node: expected a file, found " .. type(file))
    elseif args ~= nil and type(args) ~= "table" or fakes ~= nil and type(fakes) ~= "table" then
        return raise("testing.node: expected tables of arguments and of fakes")
    end
    local handle, message = io.open(file)
    if not handle then
        return raise(("testing.node: %s (paths count from the folder that hgcache test runs in)"):format(message))
    end
    handle:close()
    if fakes == nil and type(args) == "table" and is_fakes(args) then
        args, fakes = nil, args
    end
    fakes = fakes or {}
    check_fakes(fakes)
    local runs, key_runs = {}, {}
    local function dispatch(what, ...)
        if what == "runs" then
            local _, group, key, is_next = ...
            runs[group] = (runs[group] or 0) + (is_next and 0 or 1)
            key_runs[group] = key_runs[group] or {}
            key_runs[group][key] = (key_runs[group][key] or 0) + 1
        elseif what == "peer" then
            return answer.peer(fakes, ...)
        else
            return answer[what](fakes, ...)
        end
    end
    local texts = {}
    for name, value in pairs(args or {}) do
        texts[name] = tostring(value)
    end
    local peers = fakes.peers and {}
    for name in pairs(peers and fakes.peers or {}) do
        peers[#peers + 1] = name
    end
    local raw = results(pcall(core.node, file, texts, (fakes.time or START) * 1000, dispatch, peers))
    return setmetatable({ raw = raw, runs = runs, key_runs = key_runs }, Node)
end

local function raw_call(self, method, ...)
    return results(pcall(self.raw[method], self.raw, ...))
end

local function check_group(method, group)
    if type(group) ~= "string" then
        return raise(("%s: expected a group's name, found a %s"):format(method, type(group)))
    end
end

-- hg.group(group):method(...) in a task of the node.
local function in_group(self, method, group, ...)
    check_group(method, group)
    return results(raw_call(self, "call", method, group, ...))
end

local function with_key(self, method, group, key, ...)
    if type(key) ~= "string" and type(key) ~= "number" then
        return raise(("%s: expected a key, found a %s"):format(method, type(key)))
    end
    return in_group(self, method, group, key, ...)
end

--- As hg.group(group):get(key, options) in the node: value, meta | nil, message, code. Time goes on where a getter waits.
function Node:get(group, key, options)
    return with_key(self, "get", group, key, options)
end

--- All at the same time, doubled keys too: a list of values, and a list of { message =, code = } where there is none.
function Node:get_all(group, keys)
    check_group("get_all", group)
    if type(keys) ~= "table" then
        return raise("get_all: expected a list of keys, found a " .. type(keys))
    end
    local answers = raw_call(self, "call", "get_all", group, keys)
    local values, errors = {}, {}
    for i = 1, #keys do
        local result = answers[i]
        values[i] = result.value
        errors[i] = result.value == nil and { message = result.message, code = result.code } or nil
    end
    return values, errors
end

--- As the methods of hg.group(group).
function Node:peek(group, key)
    return with_key(self, "peek", group, key)
end

function Node:set(group, key, value, options)
    return with_key(self, "set", group, key, value, options)
end

function Node:remove(group, key)
    return with_key(self, "remove", group, key)
end

function Node:expire(group, key)
    return with_key(self, "expire", group, key)
end

function Node:remove_tag(group, tag, options)
    return in_group(self, "remove_tag", group, tag, options)
end

function Node:flush(group)
    return in_group(self, "flush", group)
end

--- How often the group's getter ran, retries too; with a key: how often for that key. Of get_many: its runs, and the keys in them.
function Node:calls(group, key)
    if key == nil then
        return self.runs[group] or 0
    end
    return (self.key_runs[group] or {})[key] or 0
end

--- The node's time goes on by a duration, and what is due meanwhile happens.
function Node:advance(duration)
    local ms = units.duration(duration)
    if not ms then
        return raise("advance: expected a number of seconds or a duration such as \"61s\"")
    end
    return raw_call(self, "advance", ms)
end

--- Seconds since 1970, as the node has them.
function Node:time()
    return raw_call(self, "now")
end

--- What the node logged since the last look: a list of lines, "warn ...".
function Node:log()
    local lines = {}
    for line in raw_call(self, "take_log"):gmatch("[^\n]+") do
        lines[#lines + 1] = line
    end
    return lines
end

local function parse_response(text)
    local head, body = text:match("^(.-\r\n)\r\n(.*)$")
    local status = head and tonumber(head:match("^HTTP/1%.1 (%d%d%d)"))
    if not status then
        return raise("request: the node closed the connection without an answer")
    end
    local headers = {}
    for name, value in head:gmatch("\n([^:\r\n]+):[ \t]*([^\r\n]*)") do
        name = name:lower()
        if name == "set-cookie" then
            headers[name] = headers[name] or {}
            table.insert(headers[name], value)
        else
            headers[name] = headers[name] and headers[name] .. ", " .. value or value
        end
    end
    return status, body, headers
end

--- A client's request of a route. headers: { [name] = value or list }. -> status, body, headers (lower-case names)
function Node:request(method, target, headers, body)
    local lines = { ("%s %s HTTP/1.1"):format(method, target), "Connection: close" }
    local has_host = false
    for name, value in pairs(headers or {}) do
        has_host = has_host or name:lower() == "host"
        for _, one in ipairs(type(value) == "table" and value or { value }) do
            lines[#lines + 1] = name .. ": " .. tostring(one)
        end
    end
    if not has_host then
        lines[#lines + 1] = "Host: node.test"
    end
    if body then
        lines[#lines + 1] = "Content-Length: " .. #body
    end
    return parse_response(raw_call(self, "request", table.concat(lines, "\r\n") .. "\r\n\r\n" .. (body or "")))
end

--- Ends it now; else it ends when nothing refers to it any more.
function Node:close()
    return raw_call(self, "close")
end

return M
