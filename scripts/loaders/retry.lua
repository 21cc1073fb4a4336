--- Wraps a getter so that a failed load is tried again in the same run.
--
-- A group's own `source = { retries = ... }` does this too, with the guard's queue in between; this one is for a getter
-- that asks several sources and wants to retry one of them.

--- getter: function(key, ctx) -> value, options | nil, message
-- opts:   { tries = 3, delay = 0.05 (seconds before the second try, doubling), sleep = hg.sleep }
-- Not found (nil without a message) is an answer, not a failure. Raised errors count as failures; the last one is
-- passed on as nil, message.
return function(getter, opts)
    opts = opts or {}
    local tries, delay = opts.tries or 3, opts.delay or 0.05
    if type(getter) ~= "function" then
        error("loaders.retry: expected a getter, found " .. type(getter), 2)
    elseif type(tries) ~= "number" or tries < 1 or tries > 100 then
        error("loaders.retry: expected tries from 1 to 100", 2)
    elseif type(delay) ~= "number" or not (delay >= 0 and delay <= 60) then
        error("loaders.retry: expected a delay from 0 to 60 seconds", 2)
    end
    local sleep = opts.sleep or require("hgcache").sleep

    return function(key, ctx)
        local pause, trouble = delay, nil
        for try = 1, tries do
            local ok, value, more = pcall(getter, key, ctx)
            if not ok then
                trouble = tostring(value)
            elseif value ~= nil or more == nil then
                return value, more
            else
                trouble = more
            end
            if try < tries then
                sleep(pause)
                pause = pause * 2
            end
        end
        return nil, trouble
    end
end
