---@meta hgcache.testing
-- What an editor knows of specs that `hgcache test` runs; docs/lua.md, "Testing", says more.

---@class hgcache.testing
local testing = {}

---@class hgcache.fake_request
---@field method string
---@field url string
---@field headers table<string, string>
---@field body string?

---@class hgcache.fake_response
---@field status? integer # default 200
---@field body? string
---@field headers? table<string, string|string[]>
---@field delay? hgcache.duration # of the node's time

---@alias hgcache.fake_origin string|hgcache.fake_response|fun(request: hgcache.fake_request): string|hgcache.fake_response|nil, string?, string?

---@class hgcache.fakes
---@field http? table<string, hgcache.fake_origin>|fun(request: hgcache.fake_request): string|hgcache.fake_response|nil, string?, string?
---@field redis? table<string, string|number>|fun(command: string, ...: string): any
---@field sql? table<string, table>|fun(query: string, ...: any): table|integer|nil, string?
---@field peers? table<string, table|fun(group: string, key: string): string?, any, string?>
---@field time? number # seconds since 1970

---@class hgcache.testing.node
local node = {}

---A node of this configuration, without a world and in time that stands still.
---@param file string
---@param args table<string, string>?
---@param fakes hgcache.fakes?
---@return hgcache.testing.node
function testing.node(file, args, fakes) end

---@param group string
---@param key string
---@param options { timeout: hgcache.duration? }?
---@return string? value
---@return hgcache.meta|string meta # or the message
---@return string? code
function node:get(group, key, options) end

---All at the same time.
---@param group string
---@param keys string[]
---@return string[] values # by the positions of the keys
---@return { message: string, code: string }[] errors
function node:get_all(group, keys) end

---@param group string
---@param key string
---@return string? value
---@return hgcache.meta|string meta
---@return string? code
function node:peek(group, key) end

---@param group string
---@param key string
---@param value string|number
---@param options hgcache.value_options?
---@return true? ok
---@return string? message
---@return string? code
function node:set(group, key, value, options) end

---@param group string
---@param key string
---@return boolean? was_there
---@return string? message
---@return string? code
function node:remove(group, key) end

---@param group string
---@param key string
---@return true? ok
---@return string? message
---@return string? code
function node:expire(group, key) end

---@param group string
---@param tag string
---@param options { soft: boolean? }?
---@return true? ok
---@return string? message
---@return string? code
function node:remove_tag(group, tag, options) end

---@param group string
---@return true? ok
---@return string? message
---@return string? code
function node:flush(group) end

---How often the getter ran; with a key, for that key.
---@param group string
---@param key string?
---@return integer
function node:calls(group, key) end

---@param duration hgcache.duration
function node:advance(duration) end

---@return number # seconds since 1970
function node:time() end

---@return string[] # lines since the last look
function node:log() end

---@param method string
---@param target string # "/items/7?x=1"
---@param headers table<string, string|string[]>?
---@param body string?
---@return integer status
---@return string body
---@return table<string, string> headers # lower-case names; set-cookie is a list
function node:request(method, target, headers, body) end

function node:close() end

return testing
