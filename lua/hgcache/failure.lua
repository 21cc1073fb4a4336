--- What a getter returns when its source failed, for the sources that know a code for it.

--- prefix: what the message begins with; "" where it says enough. code: the class. Only what the source's state is to blame for is
-- tried again.
return function(prefix, message, code)
    local may_retry = code == "unavailable" or code == "timeout"
    return { __hgcache = "fail", class = code, message = prefix .. message, retry = may_retry }
end
