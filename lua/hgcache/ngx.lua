--- What client libraries written for OpenResty touch of `ngx`, so that they run as they are.
--
--   require "hgcache.ngx"                    makes the global `ngx`; before the library is required
--   local redis = require "resty.redis"
--
-- It is no nginx: there are no requests, no phases, no ngx.re, ngx.var, ngx.shared and ngx.req. hg.http and hg.group are better.

local core = require "hgcache.core"
local digest = require "hgcache.digest"
local socket = require "hgcache.socket"

local M = {
    null = core.null,
    OK = 0, ERROR = -1, AGAIN = -2, DONE = -4, DECLINED = -5,
    STDERR = 0, EMERG = 1, ALERT = 2, CRIT = 3, ERR = 4, WARN = 5, NOTICE = 6, INFO = 7, DEBUG = 8,
    socket = { tcp = socket.tcp, stream = socket.tcp, connect = socket.connect },
    config = {
        subsystem = "http", debug = false, ngx_lua_version = 10026, nginx_version = 1022001,
        prefix = function() return "" end, nginx_configure = function() return "" end,
    },
    worker = {
        id = function() return 0 end, count = function() return 1 end, exiting = function() return false end,
    },
    now = core.now,
    sleep = core.sleep,
    update_time = function() end,
    md5_bin = digest.md5, sha1_bin = digest.sha1, hmac_sha1 = digest.hmac_sha1,
    crc32_short = digest.crc32, crc32_long = digest.crc32,
}

function M.time()
    return math.floor(core.now())
end

--- "init" while the configuration is loading, else "content".
function M.get_phase()
    return core.is_loading() and "init" or "content"
end

local writers = { [M.NOTICE] = core.log.info, [M.INFO] = core.log.info, [M.DEBUG] = core.log.debug,
    [M.WARN] = core.log.warn }

--- ngx.log(level, ...): what is no string is made one.
function M.log(level, ...)
    local parts = {}
    for i = 1, select("#", ...) do
        parts[i] = tostring((select(i, ...)))
    end
    local write = writers[level] or core.log.error
    write("%s", table.concat(parts))
end

function M.md5(text)
    return digest.hex(digest.md5(text))
end

function M.encode_base64(text, no_padding)
    return digest.encode_base64(tostring(text), no_padding)
end

M.decode_base64 = digest.decode_base64

--- As a part of a URL: all but letters, digits and -._~ is escaped.
function M.escape_uri(text)
    return (tostring(text):gsub("[^%w%-._~]", function(c)
        return ("%%%02X"):format(c:byte())
    end))
end

--- "+" is a space; a percent sign without two digits stays.
function M.unescape_uri(text)
    return (tostring(text):gsub("+", " "):gsub("%%(%x%x)", function(digits)
        return string.char(tonumber(digits, 16))
    end))
end

M.timer = {}

--- Runs fn(false, ...) after `delay` seconds in a task of its own. -> 1
function M.timer.at(delay, fn, ...)
    local count, args = select("#", ...), { ... }
    core.spawn(function()
        core.sleep(delay)
        fn(false, unpack(args, 1, count))
    end)
    return 1
end

-- resty.sha256 calls into OpenSSL by ffi, which scripts do not have; resty.mysql wants it for passwords.
local Sha256 = {}
Sha256.__index = Sha256

function Sha256.new()
    return setmetatable({ text = "" }, Sha256)
end

function Sha256:update(text)
    self.text = self.text .. text
    return true
end

function Sha256:final()
    return digest.sha256(self.text)
end

function Sha256:reset()
    self.text = ""
    return true
end

package.preload["resty.sha256"] = package.preload["resty.sha256"] or function()
    return Sha256
end

rawset(_G, "ngx", M)

return M
