-- wrk: keys of 100,000, or of a file that has one a line, by Zipf's law, exponent 0.99. The same draw in every run, made before the clock
-- starts.
local KEYS, DRAWS, EXPONENT = 100000, 262144, 0.99
local requests, at = {}, 0

function init(args)
    local names = {}
    for name in args[1] and io.lines(args[1]) or function() end do
        names[#names + 1] = name
    end
    KEYS = #names > 0 and #names or KEYS
    local cumulated, sum = {}, 0
    for rank = 1, KEYS do
        sum = sum + 1 / rank ^ EXPONENT
        cumulated[rank] = sum
    end
    local made = {}
    math.randomseed(1)
    for draw = 1, DRAWS do
        local wanted, low, high = math.random() * sum, 1, KEYS
        while low < high do
            local middle = math.floor((low + high) / 2)
            if cumulated[middle] < wanted then
                low = middle + 1
            else
                high = middle
            end
        end
        -- Neighbours in rank are strangers as keys.
        local key = (low * 7919) % KEYS
        made[key] = made[key] or wrk.format("GET", "/api?key=" .. (names[key + 1] or ("k%06d"):format(key)))
        requests[draw] = made[key]
    end
end

function request()
    at = at % DRAWS + 1
    return requests[at]
end
