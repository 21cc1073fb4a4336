--- The nearest known word to a mistyped one.

local M = {}

local MAX_LENGTH = 64 -- longer words are not compared: the work is the product of the lengths

--- Edits from a to b: insert, delete, replace, or swap two neighbours (optimal string alignment).
function M.distance(a, b)
    local before, last = nil, {}
    for j = 0, #b do
        last[j] = j
    end
    for i = 1, #a do
        local row = { [0] = i }
        for j = 1, #b do
            local cost = a:byte(i) == b:byte(j) and 0 or 1
            local best = math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + cost)
            if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
                best = math.min(best, before[j - 2] + 1)
            end
            row[j] = best
        end
        before, last = last, row
    end
    return last[#b]
end

--- The word of the list that `word` was probably meant to be, or nil when none is near: at most a third of the
-- letters wrong, and three at most; or a beginning of it. Of equals the first.
function M.nearest(word, known)
    if type(word) ~= "string" or #word > MAX_LENGTH then
        return nil
    end
    local best, best_distance
    for _, candidate in ipairs(known) do
        local distance = M.distance(word:lower(), candidate:lower())
        local limit = math.min(3, math.max(1, math.floor(math.max(#word, #candidate) / 3)))
        if #word >= 3 and candidate:sub(1, #word) == word then
            distance = math.min(distance, limit)
        end
        if distance <= limit and (not best or distance < best_distance) then
            best, best_distance = candidate, distance
        end
    end
    return best
end

return M
