--- hg.source_file{ root = "/srv/pages" }: values out of files; the key is a path below a folder, and never leaves it.
--
-- A key is one or more names with single slashes between. A name that is empty, begins with a dot (so "." and ".." and hidden
-- files too) or holds NUL or a backslash is no such key. So is what is not a regular file that can be read, and what a symbolic
-- link leads out of the folder to. Links that stay inside are followed. A file that has not changed is not read again
-- (hg.keep): when it was changed, its size and which file it is are kept in the value's meta. Reading blocks the script thread.

local core = require "hgcache.core"
local options = require "hgcache.options"

local default_types = {
    css = "text/css", html = "text/html; charset=utf-8", js = "text/javascript", json = "application/json", png = "image/png",
    svg = "image/svg+xml", txt = "text/plain; charset=utf-8",
}

-- Whether the key is a path that names nothing outside.
local function is_inside(key)
    if #key == 0 or key:find("[%z\\]") then
        return false
    end
    for name in (key .. "/"):gmatch("([^/]*)/") do
        if name == "" or name:sub(1, 1) == "." then
            return false
        end
    end
    return true
end

--- opts: { root = folder, max = "8MiB", types = { [extension] = content type } }
return function(opts)
    local o = options.of("hg.source_file", opts, { root = "string", max = true, types = "table" })
    local root, max, types = opts.root, o:bytes("max", "8MiB"), opts.types or default_types
    if not root or root == "" or root:find("%z") then
        o:wrong("root: expected a folder")
    end

    return function(key, ctx)
        if not is_inside(key) then
            return nil
        end
        local text, more, code = core.read_file(root, key, max, ctx and ctx.meta or nil)
        if text == true then
            return { __hgcache = "keep" }
        elseif text == false then
            return nil
        elseif text == nil then
            return { __hgcache = "fail", class = code, message = more, retry = code == "unavailable" }
        end
        local extension = key:match("%.([%w]+)$")
        return text, { type = extension and types[extension:lower()], meta = more }
    end
end
