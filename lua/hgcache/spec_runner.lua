--- `hgcache test`: runs busted with these words. -> exit code, busted's own

local HINT = [[
hgcache: test: busted is not installed (%s).
Debian: apt-get install lua-busted. Elsewhere: luarocks --lua-version=5.1 install busted
]]

-- A chunk of this name, since busted shows it as the program's.
local call = assert(loadstring("local run = ... run({ standalone = false }) return true", "@hgcache test"))

local function asks_for_help(words)
    for _, word in ipairs(words) do
        if word == "--help" or word == "-h" then
            return true
        elseif word == "--" then
            return false
        end
    end
end

return function(words)
    local is_help = asks_for_help(words)
    local ok, run = pcall(require, "busted.runner")
    if not ok then
        io.stderr:write(HINT:format(tostring(run):match("^[^\n]*"):gsub(":$", "")))
        return is_help and 0 or 1
    end
    -- It runs here and nowhere else, whatever .busted says.
    table.insert(words, 1, "--ignore-lua")
    words[0] = "hgcache test"
    _G.arg = words
    if is_help then
        rawset(io, "stderr", io.stdout) -- where busted writes its help
    end
    local has_passed, message = pcall(call, run)
    if has_passed or is_help then
        return 0
    elseif message ~= nil then -- with nil it has said what there is to say
        io.stderr:write("hgcache: test: ", tostring(message), "\n")
    end
    return 1
end
