--- Runs first in every Lua state of the program: closes what could take the node down or escape the limits, and
-- makes waiting work from coroutines that scripts create themselves. Called once with the table of C functions.
--
-- Closed, but to specs: bytecode everywhere, FFI, os.exit, os.setlocale, debug.sethook and the registry, and switching the JIT on
-- where it is off.

local core = ...

local error, rawequal, setmetatable, type = error, rawequal, setmetatable, type

local function closed(name, why)
    return function()
        error(name .. " is not available to scripts: " .. why, 2)
    end
end

-- Text only -----------------------------------------------------------------------------------------------------

-- What `hgcache check` looks at afterwards: files, calls of hg.source, arguments that were read.
core.check = core.is_check and { chunks = {}, sources = {}, args = {} } or nil

local raw_load, raw_loadfile = load, loadfile

local function text_mode(mode, name)
    if mode ~= nil and mode ~= "t" and mode ~= "bt" then
        error(name .. ": chunks are text, never bytecode", 3)
    end
    return "t"
end

-- An environment given as nil is an environment, so the number of arguments counts.
function _G.load(chunk, name, mode, ...)
    return raw_load(chunk, name, text_mode(mode, "load"), ...)
end

function _G.loadstring(chunk, name, mode, ...)
    if type(chunk) ~= "string" then
        error("bad argument #1 to 'loadstring' (string expected, got " .. type(chunk) .. ")", 2)
    end
    return raw_load(chunk, name or chunk, text_mode(mode, "loadstring"), ...)
end

function _G.loadfile(path, mode, ...)
    return raw_loadfile(path, text_mode(mode, "loadfile"), ...)
end

function _G.dofile(path)
    local chunk, message = raw_loadfile(path, "t")
    if not chunk then
        error(message, 0)
    end
    return chunk()
end

local function search_embedded(name)
    return core.module(name) or ("\n\tno module '" .. name .. "' in the program")
end

local function search_text(name)
    local path, tried = package.searchpath(name, package.path)
    if not path then
        return tried
    end
    local chunk, message = raw_loadfile(path, "t")
    if chunk and core.check then
        table.insert(core.check.chunks, chunk)
    elseif not chunk then
        error("error loading module '" .. name .. "' from file '" .. path .. "':\n\t" .. message, 0)
    end
    return chunk
end

package.path = core.path .. package.path:gsub("^%./%?%.lua;", "")
package.loaders[2] = search_text
table.insert(package.loaders, 2, search_embedded)

-- What is closed ------------------------------------------------------------------------------------------------

if not core.is_spec then
    package.preload.ffi = function()
        error("ffi is not available to scripts: it can break memory safety for the whole node", 0)
    end
    package.loaded.ffi = nil
    os.exit = closed("os.exit", "the node ends by a signal or by `drain`")
    os.setlocale = closed("os.setlocale", "the locale belongs to the whole node")
    debug.sethook = closed("debug.sethook", "the script budget needs the hook")
    debug.getregistry = closed("debug.getregistry", "the runtime's own objects are there")
    if not core.jit then
        jit.on = closed("jit.on", "set node.script.jit")
        package.loaded["jit.opt"] = nil
    end
end

-- Coroutines ----------------------------------------------------------------------------------------------------
--
--   task's coroutine  ->  resume(user coroutine)  ->  hg.sleep() yields `token`
--                     <-  sees the token, yields it on upward; when it is resumed, resumes the user coroutine
--
-- Only the runtime resumes a task's coroutine, and only with what it waited for.

local token = core.token
local raw_resume, raw_yield, raw_create = coroutine.resume, coroutine.yield, coroutine.create
local isyieldable = core.isyieldable
local waiting = setmetatable({}, { __mode = "k" })

local function pass(co, ok, first, ...)
    if ok and rawequal(first, token) then
        waiting[co] = true
        return pass(co, raw_resume(co, raw_yield(token)))
    end
    waiting[co] = nil
    return ok, first, ...
end

local function unyieldable_pass(...)
    core.unyieldable(-1)
    return ...
end

function coroutine.resume(co, ...)
    if waiting[co] or core.is_task(co) then
        return false, "cannot resume a coroutine that waits for the node"
    end
    if not isyieldable() then
        core.unyieldable(1)
        return unyieldable_pass(raw_resume(co, ...))
    end
    return pass(co, raw_resume(co, ...))
end
local resume = coroutine.resume

local function unwrap(ok, ...)
    if not ok then
        error((...), 0)
    end
    return ...
end

function coroutine.wrap(fn)
    local co = raw_create(fn)
    return function(...)
        return unwrap(resume(co, ...))
    end
end

coroutine.isyieldable = coroutine.isyieldable or isyieldable

package.loaded["hgcache.core"] = core
if core.fake then
    require("hgcache.fakes")
end
