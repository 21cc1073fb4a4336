-- wrk: one key after the other. `-- PREFIX [COUNT]`: names begin with PREFIX; after COUNT it begins anew (default: never).
local prefix, count, at = "k", 2 ^ 40, 0

function init(args)
    prefix = args[1] or prefix
    count = tonumber(args[2]) or count
end

function request()
    local path = ("/api?key=%s%06d"):format(prefix, at)
    at = (at + 1) % count
    return wrk.format("GET", path)
end
