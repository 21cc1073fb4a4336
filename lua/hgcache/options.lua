--- Tables of options, checked in one way: misuse raises at the line of whoever called the library.
--
--   local o = options.of("hg.source_file", opts, { root = "string", max = true })
--   o:whole("port", 6379, 1, 65535)   o:milliseconds("timeout", "1s")   o:bytes("max", "8MiB")   o:wrong("why")
--
local units = require "hgcache.units"

local M = {}
local Options = {}
Options.__index = Options

-- Milliseconds, of time-outs and of life in a pool.
local DURATION_MAX = 2147483647

--- name: of the function. known: { [option] = its type, or true for any }. depth: how many functions of the library there are
-- between the caller's line and this one.
function M.of(name, opts, known, depth)
    local self = setmetatable({ name = name, opts = opts, depth = (depth or 1) + 2 }, Options)
    if type(opts) ~= "table" then
        self:wrong("expected a table of options, found " .. type(opts), 1)
    end
    for option, value in pairs(opts) do
        local wanted = known[option]
        if not wanted then
            self:wrong("unknown option '" .. tostring(option) .. "'", 1)
        elseif wanted ~= true and type(value) ~= wanted then
            self:wrong(("%s: expected a %s, found %s"):format(option, wanted, type(value)), 1)
        end
    end
    return self
end

--- From here on wrong() and the others are called by a function that is so deep, as `depth` of M.of.
function Options:at(depth)
    self.depth = depth + 2
    return self
end

--- more: frames between the function that called of() and the one that calls this.
function Options:wrong(text, more)
    error(self.name .. ": " .. text, self.depth + (more or 0))
end

function Options:whole(option, default, from, to)
    local value = self.opts[option]
    if value == nil then
        value = default
    end
    if type(value) ~= "number" or not (value >= from and value <= to and value % 1 == 0) then
        self:wrong(("%s: expected a whole number from %d to %d"):format(option, from, to), 1)
    end
    return value
end

function Options:milliseconds(option, default)
    local value = units.duration(self.opts[option] or default)
    if not value then
        self:wrong(option .. ": expected a number of seconds, or a duration such as \"250ms\"", 1)
    end
    return math.max(1, math.min(value, DURATION_MAX))
end

function Options:bytes(option, default)
    local value = units.size(self.opts[option] or default)
    if not value then
        self:wrong(option .. ": expected a number of bytes, or a size such as \"8MiB\"", 1)
    end
    return value
end

return M
