--- Configurations of one's own for the specs of hg.testing: text -> path of a file that goes with the process.

local paths = {}

local M = {}

function M.file(text)
    local path = os.tmpname() .. ".lua"
    local file = assert(io.open(path, "w"))
    file:write("local hg = require 'hgcache'\n", text)
    file:close()
    paths[#paths + 1] = path
    return path
end

--- After each test.
function M.remove()
    for _, path in ipairs(paths) do
        os.remove(path)
        os.remove((path:gsub("%.lua$", "")))
    end
    paths = {}
end

return M
