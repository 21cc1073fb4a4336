--- Loader over plain files: the key is a path below a folder, and never leaves it.
--
--   local from_files = require "loaders.files"
--   getter = from_files("/srv/pages", { types = { html = "text/html" } })
--
-- A key is one or more names with single slashes between. A name that is empty, begins with a dot (so "." and ".." and
-- hidden files too) or holds NUL or a backslash is no such key. What is not a regular file that can be read is no
-- such key
-- either. Symbolic links inside the folder are followed: they are the operator's. Reading blocks its script thread.

local MAX_KEY = 1024

local errno = { ENOENT = 2, EACCES = 13, ENOTDIR = 20, EISDIR = 21, ENAMETOOLONG = 36, ELOOP = 40 }

local default_types = {
    css = "text/css", html = "text/html; charset=utf-8", js = "text/javascript", json = "application/json",
        png = "image/png",
    svg = "image/svg+xml", txt = "text/plain; charset=utf-8",
}

-- The key when it is a path that stays inside, else nil.
local function inside(key)
    if type(key) ~= "string" or #key == 0 or #key > MAX_KEY or key:find("[%z\\]") then
        return nil
    end
    for name in (key .. "/"):gmatch("([^/]*)/") do
        if name == "" or name:sub(1, 1) == "." then
            return nil
        end
    end
    return key
end

local function is_missing(code)
    for _, known in pairs(errno) do
        if code == known then
            return true
        end
    end
    return false
end

--- root: the folder
-- opts: { max = 8388608 (bytes of a file), types = { [extension] = content type }, open = io.open }
-- Returns a getter: content, { type = ... } | nil (no such key) | nil, message.
return function(root, opts)
    opts = opts or {}
    if type(root) ~= "string" or root == "" then
        error("loaders.files: expected a folder, found " .. type(root), 2)
    end
    local max, types, open = opts.max or 8388608, opts.types or default_types, opts.open or io.open
    root = root:gsub("/+$", "") .. "/"

    return function(key)
        local path = inside(key)
        if not path then
            return nil
        end
        local file, message, code = open(root .. path, "rb")
        if not file then
            if is_missing(code) then
                return nil
            end
            return nil, message
        end
        local text
        text, message, code = file:read(max + 1)
        file:close()
        if text == nil and message == nil then
            text = "" -- an empty file is a value
        elseif text == nil then
            if is_missing(code) then
                return nil
            end
            return nil, message
        elseif #text > max then
            return nil, ("the file is larger than %d bytes"):format(max)
        end
        local extension = path:match("%.([%w]+)$")
        return text, { type = extension and types[extension:lower()] }
    end
end
