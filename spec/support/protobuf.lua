--- Just enough protobuf for the specs: fields of a message, and how to write bytes and numbers.

local M = {}

local function varint(data, at)
    local value, scale = 0, 1
    while true do
        local byte = data:byte(at)
        if not byte then
            error("cut off in a number")
        end
        at = at + 1
        value = value + byte % 128 * scale
        scale = scale * 128
        if byte < 128 then
            return value, at
        end
    end
end

--- -> { [field] = bytes or number }, repeated fields: { [field .. "*"] = list } too. Raises when it is no message.
function M.decode(data)
    local out, at = {}, 1
    while at <= #data do
        local tag, value
        tag, at = varint(data, at)
        local field, wire = math.floor(tag / 8), tag % 8
        if wire == 0 then
            value, at = varint(data, at)
        elseif wire == 1 or wire == 5 then
            local size = wire == 1 and 8 or 4
            value, at = data:sub(at, at + size - 1), at + size
        elseif wire == 2 then
            local size
            size, at = varint(data, at)
            value, at = data:sub(at, at + size - 1), at + size
            if #value ~= size then
                error("cut off in a field")
            end
        else
            error("wire type " .. wire)
        end
        out[field] = value
        out[field .. "*"] = out[field .. "*"] or {}
        table.insert(out[field .. "*"], value)
    end
    return out
end

function M.varint(number)
    local out = {}
    repeat
        local low = number % 128
        number = (number - low) / 128
        out[#out + 1] = string.char(low + (number > 0 and 128 or 0))
    until number == 0
    return table.concat(out)
end

function M.bytes(field, value)
    return M.varint(field * 8 + 2) .. M.varint(#value) .. value
end

function M.number(field, value)
    return M.varint(field * 8) .. M.varint(value)
end

return M
