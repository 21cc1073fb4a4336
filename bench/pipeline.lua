-- wrk: sixteen requests for one key in one write.
function init()
    local one = wrk.format("GET", "/api?key=hot")
    wrk.requests = one:rep(16)
end

function request()
    return wrk.requests
end
