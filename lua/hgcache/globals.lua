--- For `hgcache check`: globals that a script sets or reads by accident, from its bytecode, so that what has not run yet is seen too.
--
-- find(chunks, folder) -> list of { where = "config.lua:12", text = "..." }, set of all strings that stand in the chunks
--
-- chunks: functions of whole files; those that do not lie in the folder are somebody else's. Each script thread has globals of its
-- own, so one that is set is hardly ever what was meant. `_G.name` is not looked at: who writes that means it.

local util = require "jit.util"

local M = {}

local function op_of(text, pc)
    return bit.band(util.funcbc(assert(loadstring(text)), pc), 0xff)
end

local GET, SET = op_of("return x", 1), op_of("x = 1", 2)

local function walk(fn, visit)
    for pc = 1, 1e9 do
        local code = util.funcbc(fn, pc)
        if not code then
            break
        end
        local op = bit.band(code, 0xff)
        if op == GET or op == SET then
            visit(op, util.funck(fn, -bit.rshift(code, 16) - 1), fn, pc)
        end
    end
    for i = -1, -1e9, -1 do
        local constant = util.funck(fn, i)
        if constant == nil then
            break
        elseif type(constant) == "proto" then
            walk(constant, visit)
        elseif type(constant) == "string" then
            visit(nil, constant)
        end
    end
end

local function where_of(fn, pc)
    local info = util.funcinfo(fn, pc)
    local file = info.source:sub(2):gsub("^%./", "")
    return ("%s:%d"):format(file, info.currentline)
end

function M.find(chunks, folder)
    local found, strings, set, seen = {}, {}, {}, {}
    local own = {}
    for _, chunk in ipairs(chunks) do
        local is_first = #own == 0 -- the configuration
        if is_first or util.funcinfo(chunk).source:sub(1, #folder + 2) == "@" .. folder .. "/" then
            own[#own + 1] = chunk
        end
    end
    for _, chunk in ipairs(own) do
        walk(chunk, function(op, name)
            strings[name] = true
            set[name] = set[name] or op == SET
        end)
    end
    for _, chunk in ipairs(own) do
        walk(chunk, function(op, name, fn, pc)
            if not op or seen[name] then
                return
            elseif op == SET then
                seen[name] = true
                found[#found + 1] = { where = where_of(fn, pc),
                    text = ("'%s' is set as a global: without `local` each script thread has one of its own"):format(name) }
            elseif rawget(_G, name) == nil and not set[name] then
                seen[name] = true
                found[#found + 1] = { where = where_of(fn, pc), text = ("'%s' is read and is nowhere set"):format(name) }
            end
        end)
    end
    return found, strings
end

return M
