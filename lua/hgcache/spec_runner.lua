--- `hgcache test`: runs busted with these words. -> exit code, busted's own

local HINT = [[
hgcache: test: busted is not installed (%s).
Debian: apt-get install lua-busted. Elsewhere: luarocks --lua-version=5.1 install busted
]]

-- A chunk of this name, since busted shows it as the program's.
local call = assert(loadstring("local run = ... run({ standalone = false }) return true", "@hgcache test"))

return function(words)
    local ok, run = pcall(require, "busted.runner")
    if not ok then
        io.stderr:write(HINT:format(tostring(run):match("^[^\n]*"):gsub(":$", "")))
        return 1
    end
    words[0] = "hgcache test"
    _G.arg = words
    local has_passed, message = pcall(call, run)
    if has_passed then
        return 0
    elseif message ~= nil then -- with nil it has said what there is to say
        io.stderr:write("hgcache: test: ", tostring(message), "\n")
    end
    return 1
end
