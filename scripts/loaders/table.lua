--- Loader over a Lua table: for examples, tests and small fixed sets.
--
--   local from_table = require "loaders.table"
--   getter = from_table { Tom = "630", Jack = "589" }

--- values: { [key] = string or number }
-- opts:   { log = function(key), called for each load (default none) }
-- Returns a getter: the value, or nil (no such key). Raises when values is no table.
return function(values, opts)
    if type(values) ~= "table" then
        error("loaders.table: expected a table of values, found " .. type(values), 2)
    end
    local log = opts and opts.log
    return function(key)
        if log then
            log(key)
        end
        return rawget(values, key)
    end
end
