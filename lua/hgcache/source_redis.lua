--- hg.source_redis: values out of Redis, by hg.redis.
--
--   getter = hg.source_redis { host = "127.0.0.1", key = "score:{key}" }            GET
--   get_many = hg.source_redis.many { unix = "/run/redis/redis.sock" }              MGET

local core = require "hgcache.core"
local fail = require "hgcache.failure"
local redis = require "hgcache.redis"

local M = {}

local known = { key = "string" }
for option, wanted in pairs(redis.known) do
    known[option] = wanted
end

-- -> client, what stands before and behind a key
local function new(name, opts)
    local client, o = redis.connect(name, opts, known, 2)
    local before, after = (opts.key or "{key}"):match("^(.-){key}(.*)$")
    if not before then
        o:at(2):wrong('key: expected a text with "{key}" in it')
    end
    return client, before, after
end

local function getter(_, opts)
    local client, before, after = new("hg.source_redis", opts)
    return function(key)
        local reply, message, code = redis.ask(client, { "GET", before .. key .. after })
        if reply == nil then
            return fail("", message, code)
        elseif reply == core.null then
            return nil
        end
        return reply
    end
end

--- The same for get_many: one MGET for all keys.
function M.many(opts)
    local client, before, after = new("hg.source_redis.many", opts)
    return function(keys)
        local words = { "MGET" }
        for i, key in ipairs(keys) do
            words[i + 1] = before .. key .. after
        end
        local reply, message, code = redis.ask(client, words)
        if reply == nil then
            return fail("", message, code)
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
