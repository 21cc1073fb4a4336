--- hg.file("members.txt"): a member a line; empty lines and what follows a # do not count.
--
-- Read each cluster.refresh (1 s). A list is taken once it was read the same twice, the first one too, so that a file in the middle
-- of being written is none. Reading blocks only the thread of discovery.

local discovery = require "hgcache.discovery"

local MAX_BYTES = 1024 * 1024

local function read(path)
    local file, message = io.open(path, "rb")
    if not file then
        return nil, message
    end
    local text
    text, message = file:read(MAX_BYTES + 1)
    file:close()
    if message then -- a folder, a broken disk
        return nil, path .. ": " .. message
    end
    text = text or ""
    if #text > MAX_BYTES then
        return nil, ("%s: more than %d bytes"):format(path, MAX_BYTES)
    end
    return text
end

local function parse(text)
    local list = {}
    for line in text:gmatch("[^\n]+") do
        local member = line:gsub("#.*$", ""):match("^%s*(.-)%s*$")
        if member ~= "" then
            list[#list + 1] = member
        end
    end
    return list
end

return function(options)
    local path, before = options.path, nil
    return {
        run = function()
            local text, message = read(path)
            if not text then
                discovery.failed(message)
                before = nil
                return
            end
            local is_settled = text == before
            before = text
            if not is_settled then
                return
            end
            local list = parse(text)
            local wrong = discovery.wrong(list)
            if wrong then
                discovery.failed(("%s: %s"):format(path, wrong))
                return
            end
            discovery.propose(list)
        end,
    }
end
