--- Sizes and durations as people write them: the Lua twin of core/base/units.h.
--
-- size(value)     -> whole bytes | nil      value: a number of bytes, or "512", "64MiB", "1GB"
-- duration(value) -> whole ms | nil         value: a number of seconds, or "250ms", "1.5s", "5m", "1h", "2d"
--
-- Sizes know B, kB, KB, MB, GB, TB (10^3n) and KiB, MiB, GiB, TiB (2^10n) and take no fraction. Durations are rounded up
-- to whole milliseconds, and to 0 only when they are 0. Negative, NaN, infinite, without a number, followed by anything
-- else, or above 2^53 (the last number that Lua holds exactly): nil.

local M = {}

M.MAX = 2 ^ 53

local size_units = {
    [""] = 1, B = 1, kB = 1e3, KB = 1e3, MB = 1e6, GB = 1e9, TB = 1e12,
    KiB = 2 ^ 10, MiB = 2 ^ 20, GiB = 2 ^ 30, TiB = 2 ^ 40,
}
local duration_units = { [""] = 1000, ms = 1, s = 1000, m = 60000, h = 3600000, d = 86400000 }

local function within(number)
    if number >= 0 and number <= M.MAX then
        return number
    end
    return nil
end

-- Digits as a number, exactly, or nil when it would pass the maximum.
local function whole_of(digits)
    local number = 0
    for i = 1, #digits do
        local digit = digits:byte(i) - 48
        if number > (M.MAX - digit) / 10 then
            return nil
        end
        number = number * 10 + digit
    end
    return number
end

-- 0.<digits> * factor, rounded up: schoolbook multiplication, so that no digit is lost.
local function part_of(digits, factor)
    local carry, has_rest = 0, false
    for i = #digits, 1, -1 do
        local product = (digits:byte(i) - 48) * factor + carry
        has_rest = has_rest or product % 10 ~= 0
        carry = math.floor(product / 10)
    end
    return has_rest and carry + 1 or carry
end

function M.size(value)
    if type(value) == "number" then
        return value == math.floor(value) and within(value) or nil
    elseif type(value) ~= "string" then
        return nil
    end
    local digits, unit = value:match("^(%d+)([A-Za-z]*)$")
    local factor, whole = digits and size_units[unit], digits and whole_of(digits)
    if not factor or not whole then
        return nil
    end
    return within(whole * factor)
end

function M.duration_from_seconds(seconds)
    local exact = seconds * 1000
    if seconds ~= seconds or seconds < 0 or exact > M.MAX then
        return nil
    end
    local ms = math.floor(exact)
    -- 0.07 * 1000 is 70.00000000000001: that much is the multiplication, not the user's wish.
    if exact - ms > exact * 1e-12 then
        ms = ms + 1
    end
    if ms == 0 and seconds > 0 then
        ms = 1
    end
    return ms
end

function M.duration(value)
    if type(value) == "number" then
        return M.duration_from_seconds(value)
    elseif type(value) ~= "string" then
        return nil
    end
    local digits, rest = value:match("^(%d+)(.*)$")
    if not digits then
        return nil
    end
    local fraction, unit = rest:match("^%.(%d+)([a-z]*)$")
    if not fraction then
        fraction, unit = "", rest
    end
    local factor, whole = duration_units[unit], whole_of(digits)
    if not factor or not whole then
        return nil
    end
    return within(whole * factor + part_of(fraction, factor))
end

local function largest(number, names, factors)
    for _, name in ipairs(names) do
        if number > 0 and number % factors[name] == 0 then
            return ("%.0f%s"):format(number / factors[name], name)
        end
    end
end

--- Text that size() reads back: 67108864 -> "64MiB", 1000000 -> "1MB", 1234 -> "1234".
function M.format_size(bytes)
    return largest(bytes, { "TiB", "GiB", "MiB", "KiB", "TB", "GB", "MB" }, size_units) or ("%.0f"):format(bytes)
end

--- Text that duration() reads back: 90000 -> "90s", 43200000 -> "12h", 0 -> "0".
function M.format_duration(ms)
    return largest(ms, { "h", "m", "s", "ms" }, duration_units) or "0"
end

return M
