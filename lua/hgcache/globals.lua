--- For `hgcache check`: globals that a script sets or reads by accident, from its bytecode, so that what has not run yet is seen too.
--
-- find(chunks, folder) -> list of { where = "config.lua:12", text = "..." }, set of all strings that stand in the chunks,
-- whether hg.args is read by names that are computed
--
-- chunks: functions of whole files; those that do not lie in the folder are somebody else's. Each script thread has globals of its
-- own, so one that is set is hardly ever what was meant. `_G.name` is not looked at: who writes that means it. Nor are files that
-- change their environment (module, setfenv), or names that some line asks for: `bit32 or require "bit"`, `if DEBUG then`.

local util = require "jit.util"

local M = {}

local function byte(code, shift)
    return bit.band(bit.rshift(code, shift), 0xff)
end

local function op_of(text, pc)
    return byte(util.funcbc(assert(loadstring(text)), pc), 0)
end

local GET, SET = op_of("return x", 1), op_of("x = 1", 2)
local GET_UPVALUE = byte(util.funcbc(assert(loadstring("local x = ... return function() return x end"))(), 1), 0)
local GET_FIELD, GET_INDEX = op_of("return x.y", 2), op_of("local t, i = ... return t[i]", 2)
local CALL, NOT = op_of("f()", 2), op_of("return not x", 2)
-- Comparisons for equality, and the tests behind them: in this order in LuaJIT's list.
local TEST_FIRST, TEST_LAST = op_of("local a, b = ... if a ~= b then f() end", 2), op_of("if x then f() end", 2)

local function constant(fn, index)
    return util.funck(fn, -index - 1)
end

-- Whether what the instruction at pc has read is only looked at by the next one; type(x) looks too.
local function is_asked(fn, pc)
    local op = byte(util.funcbc(fn, pc + 1), 0)
    local before = op == CALL and util.funcbc(fn, pc - 1)
    return op >= TEST_FIRST and op <= TEST_LAST or op == NOT
        or before and byte(before, 0) == GET and constant(fn, bit.rshift(before, 16)) == "type"
end

-- visitor: global(op, name, fn, pc), string(text), computed(): of hg.args
local function walk(fn, visitor)
    local is_args = {} -- registers
    for pc = 1, 1e9 do
        local code = util.funcbc(fn, pc)
        if not code then
            break
        end
        local op, to = byte(code, 0), byte(code, 8)
        if op == GET or op == SET then
            visitor.global(op, constant(fn, bit.rshift(code, 16)), fn, pc)
            is_args[to] = nil
        elseif op == GET_FIELD then
            is_args[to] = constant(fn, byte(code, 16)) == "args"
        elseif op == GET_UPVALUE then
            is_args[to] = util.funcuvname(fn, bit.rshift(code, 16)) == "args"
        elseif op == GET_INDEX and is_args[byte(code, 24)] then
            visitor.computed()
        end
    end
    for i = -1, -1e9, -1 do
        local value = util.funck(fn, i)
        if value == nil then
            break
        elseif type(value) == "proto" then
            walk(value, visitor)
        elseif type(value) == "string" then
            visitor.string(value)
        end
    end
end

local function where_of(fn, pc)
    local info = util.funcinfo(fn, pc)
    local file = info.source:sub(2):gsub("^%./", "")
    return ("%s:%d"):format(file, info.currentline)
end

function M.find(chunks, folder)
    local found, strings, known, seen = {}, {}, {}, {}
    local own, has_environment, is_computed = {}, {}, false
    for _, chunk in ipairs(chunks) do
        local is_first = #own == 0 -- the configuration
        if is_first or util.funcinfo(chunk).source:sub(1, #folder + 2) == "@" .. folder .. "/" then
            own[#own + 1] = chunk
        end
    end
    for _, chunk in ipairs(own) do
        walk(chunk, {
            global = function(op, name, fn, pc)
                known[name] = known[name] or op == SET or is_asked(fn, pc)
                has_environment[chunk] = has_environment[chunk] or name == "module" or name == "setfenv"
            end,
            string = function(text)
                strings[text] = true
            end,
            computed = function()
                is_computed = true
            end,
        })
    end
    local function warn(op, name, fn, pc)
        local text
        if op == SET then
            text = "'%s' is set as a global: without `local` each script thread has one of its own"
        elseif rawget(_G, name) == nil and not known[name] then
            text = "'%s' is read and is nowhere set"
        end
        if text and not seen[name] then
            seen[name] = true
            found[#found + 1] = { where = where_of(fn, pc), text = text:format(name) }
        end
    end
    local function ignore()
    end
    for _, chunk in ipairs(own) do
        if not has_environment[chunk] then
            walk(chunk, { global = warn, string = ignore, computed = ignore })
        end
    end
    return found, strings, is_computed
end

return M
