--- The script library: `local hg = require "hgcache"`.
--
-- Tables that only describe something carry `__hgcache`: "serve" and "source" for the configuration; "not_found",
-- "fail", "keep" and "value" for what a getter returns; "reply" for what a route returns. Everything that waits blocks its own
-- coroutine only. Misuse raises at the caller's line; trouble in the world is returned: nil, message, code.

local core = require "hgcache.core"

local hg = {
    null = core.null,
    log = core.log,
    now = core.now,
    monotonic = core.monotonic,
    sleep = core.sleep,
    spawn = core.spawn,
    group = core.group,
    shared = core.shared,
    every = core.every,
    at_start = core.at_start,
    counter = core.counter,
    gauge = core.gauge,
    histogram = core.histogram,
}

local function describe(kind, fields)
    fields.__hgcache = kind
    return fields
end

local function check_fields(what, fields, known)
    if fields == nil then
        return {}
    end
    if type(fields) ~= "table" then
        error(what .. ": expected a table of options, found " .. type(fields), 3)
    end
    local copy = {}
    for key, value in pairs(fields) do
        if not known[key] then
            error(what .. ": unknown option '" .. tostring(key) .. "'", 3)
        end
        copy[key] = value
    end
    return copy
end

local function set(list)
    local out = {}
    for name in list:gmatch("%S+") do
        out[name] = true
    end
    return out
end

-- Configuration -------------------------------------------------------------------------------------------------

local serve_options = set "key as type headers cache_control timeout cors before"
local source_options = set "concurrency queue timeout retries backoff breaker"

--- Serve a group natively. group: its name, or nil to take it from {query.group} or the only one.
-- opts: { key = "{query.key}", as = "raw"|"envelope", type=, headers = {}, cache_control = true, timeout=, cors=,
-- before = function(req) that may answer instead }
function hg.serve(group, opts)
    if type(group) == "table" and opts == nil then
        group, opts = nil, group
    end
    if group ~= nil and type(group) ~= "string" then
        error("hg.serve: expected a group's name, found " .. type(group), 2)
    end
    local target = check_fields("hg.serve", opts, serve_options)
    target.group = group
    return describe("serve", target)
end

--- A source that several groups share: one guard before all of them.
function hg.source(opts)
    local source = describe("source", check_fields("hg.source", opts, source_options))
    if core.check then
        local info = debug.getinfo(2, "Sl") -- none where a coroutine begins with it
        local where = info and info.source:gsub("^@", "") .. ":" .. info.currentline or "hg.source"
        table.insert(core.check.sources, { made = source, where = where })
    end
    return source
end

hg.policy = {}

--- Evict by a score of your own: when the group is over 95 % full, the lowest of a few samples goes, again and again.
-- opts: { samples = 5, score = function(e) -> number }; e.size (bytes) e.age e.idle e.cost e.ttl (seconds) e.hits
function hg.policy.sampled(opts)
    return describe("sampled", check_fields("hg.policy.sampled", opts, set "samples score"))
end

-- What getters and routes return ----------------------------------------------------------------------------------

local value_options = set "ttl stale_while_revalidate stale_if_error tags type etag meta uncacheable"
local not_found_options, keep_options = set "ttl", set "ttl"
local fail_options = set "class message retry_after retry"
local reply_options = set "status body headers json group key"

--- There is no such key. opts: { ttl = negative_ttl of the group }
function hg.not_found(opts)
    return describe("not_found", check_fields("hg.not_found", opts, not_found_options))
end

--- It failed. opts: { class = "internal"|"unavailable"|"timeout"|"denied"|"too_large", message=, retry_after=, retry = true }, or the
-- message. retry = false: the same again would fail again, and it says nothing about the source.
function hg.fail(opts)
    if type(opts) == "string" then
        opts = { message = opts }
    end
    return describe("fail", check_fields("hg.fail", opts, fail_options))
end

--- The old value still holds. opts: { ttl = the group's }
function hg.keep(opts)
    return describe("keep", check_fields("hg.keep", opts, keep_options))
end

--- A value with its options in one: the same as `return value, opts`.
function hg.value(value, opts)
    return describe("value", { value = value, options = check_fields("hg.value", opts, value_options) })
end

local function has_type(headers)
    for name in pairs(type(headers) == "table" and headers or {}) do
        if type(name) == "string" and name:lower() == "content-type" then
            return true
        end
    end
    return false
end

--- A route's whole answer. opts: { status = 200, body = "", headers = { [name] = value or list of values } }; json = a value
-- instead of the body; or { group =, key =, headers = }: what the group has, or loads, for that key, which Lua never sees.
function hg.reply(opts)
    local reply = check_fields("hg.reply", opts, reply_options)
    if reply.json ~= nil then
        if reply.body ~= nil then
            error("hg.reply: body or json, found both", 2)
        end
        local ok, text = pcall(hg.json.encode, reply.json)
        if not ok then
            error("hg.reply: json: " .. tostring(text), 2)
        end
        reply.body, reply.json = text, nil
        if not has_type(reply.headers) then
            local headers = { ["Content-Type"] = "application/json; charset=utf-8" }
            for name, value in pairs(reply.headers or {}) do
                headers[name] = value
            end
            reply.headers = headers
        end
    end
    if reply.group ~= nil or reply.key ~= nil then
        if type(reply.group) ~= "string" or type(reply.key) ~= "string" then
            error("hg.reply: group and key: expected two texts", 2)
        elseif reply.status ~= nil or reply.body ~= nil then
            error("hg.reply: group and key say it all, found a status or a body too", 2)
        end
    end
    return describe("reply", reply)
end

-- hg.args cannot be changed: every state of the node must see the same. ---------------------------------------------

local args = core.args
hg.args = setmetatable({}, {
    __index = core.check and function(_, name)
        core.check.args[name] = true
        return args[name]
    end or args,
    __newindex = function()
        error("hg.args is read-only", 2)
    end,
    __pairs = function()
        return next, args, nil
    end,
    __metatable = "read-only",
})

-- Loaded when they are first used.
local lazy = {
    json = function()
        return require "cjson"
    end,
    http = function()
        return require("hgcache.http").hg
    end,
    socket = function()
        return require "hgcache.socket"
    end,
    source_http = function()
        return require "hgcache.source_http"
    end,
    testing = function()
        return require "hgcache.testing"
    end,
    redis = function()
        return require("hgcache.redis").new
    end,
    source_redis = function()
        return require "hgcache.source_redis"
    end,
    source_postgres = function()
        return require "hgcache.source_postgres"
    end,
    source_sqlite = function()
        return require "hgcache.source_sqlite"
    end,
    source_mysql = function()
        return require "hgcache.source_mysql"
    end,
    source_file = function()
        return require "hgcache.source_file"
    end,
    postgres = function()
        return require "hgcache.postgres"
    end,
    etcd = function()
        return require("hgcache.discovery.options").etcd
    end,
    dns = function()
        return require("hgcache.discovery.options").dns
    end,
    file = function()
        return require("hgcache.discovery.options").file
    end,
}

setmetatable(hg, {
    lazy = lazy,
    __index = function(self, name)
        local load = lazy[name]
        if load then
            rawset(self, name, load())
        end
        return rawget(self, name)
    end,
})

return hg
