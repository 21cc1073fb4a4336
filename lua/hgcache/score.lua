--- The loop behind hg.policy.sampled: as long as there is something to choose from, the lowest score goes.
--
-- score: the user's function(entry) -> number; entry is { size (bytes), age, idle, cost, ttl (seconds), hits }
-- take:  function() -> list of entries, or nil when there is room again
-- evict: function(index in the last list)

return function(score, take, evict)
    local entries = take()
    while entries do
        local lowest, at
        for i = 1, #entries do
            local number = score(entries[i])
            if type(number) ~= "number" or number ~= number then
                error("hg.policy.sampled: score: expected a number, found " .. (number ~= number and "NaN"
                    or type(number)), 0)
            end
            if not lowest or number < lowest then
                lowest, at = number, i
            end
        end
        evict(at)
        entries = take()
    end
end
