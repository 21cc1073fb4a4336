--- Getters of the group "items". A getter takes a key and returns
--
--   value                   a string or a number, and perhaps { ttl = "10s", tags = { "fruit" } }
--   nil                     there is no such key
--   nil, message, class     it failed: "unavailable", "timeout", "denied" or "internal"

local hg = require "hgcache"

local M = {}

local prices = { apple = "1.20", banana = "0.30", cherry = "4.00" }

--- Out of a table, until you have something better.
function M.from_table()
    return function(key)
        return prices[key]
    end
end

-- A key may have any bytes.
local function escape(key)
    return (key:gsub("[^%w%-._~]", function(c)
        return ("%%%02X"):format(c:byte())
    end))
end

--- From an HTTP origin. hg.source_http does most of this in one line; here you see what there is to do.
function M.from_origin(origin)
    return function(key)
        local answer, message, class = hg.http.get(origin .. "/items/" .. escape(key), { timeout = "1s" })
        if not answer then
            return nil, message, class
        elseif answer.status == 404 then
            return nil
        elseif answer.status ~= 200 then
            return nil, "the origin said " .. answer.status, "unavailable"
        end
        return answer.body
    end
end

return M
