--- A database that is killed and started again under load, and what the node that asks it may show of that.

local node = require "spec.support.node"
local http = require "spec.support.http"

local M = {}

--- How many sockets the process has.
function M.sockets(pid)
    local pipe = io.popen(("ls -l /proc/%d/fd | grep -c socket:"):format(pid))
    local count = tonumber(pipe:read("*a"))
    pipe:close()
    return count
end

--- Requests of many keys at once. -> list of answers
function M.ask(n, group, keys)
    local items = {}
    for i, key in ipairs(keys) do
        items[i] = { n.api_port, { path = ("/api?group=%s&key=%s"):format(group, http.encode(key)) } }
    end
    return http.many(items)
end

function M.keys(count)
    local keys = {}
    for i = 1, count do
        keys[i] = "key" .. i
    end
    return keys
end

--- key1, key2, ... with value1, value2, ...
function M.check(n, group, keys)
    for i, r in ipairs(M.ask(n, group, keys)) do
        assert(r.status == 200 and r.body == "value" .. i,
            ("%s: %s %s"):format(keys[i], tostring(r.status or r.error), tostring(r.body)))
    end
end

--- Nothing of the node waits any more.
function M.check_idle(n)
    node.until_true(function()
        local page = n:admin("/metrics").body
        return tonumber(page:match("\nhgcache_script_running (%d+)")) == 0
    end, 20, "no load under way")
end

return M
