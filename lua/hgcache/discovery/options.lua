--- hg.file, hg.dns and hg.etcd: what a configuration says of who finds the members. Only checked here: nothing is asked before the
-- node runs.

local options = require "hgcache.options"

local M = {}

local NAME = "^[%w_][%w._-]*$"

--- A file of members. path: relative to where the node was started.
function M.file(path)
    if type(path) ~= "string" or path == "" or path:find("%z") then
        error("hg.file: expected the path of a file", 2)
    end
    return { __hgcache = "file", path = path }
end

--- All addresses of a name. opts: { name =, port = that of cluster.self }
function M.dns(opts)
    local o = options.of("hg.dns", opts, { name = "string", port = "number" })
    if not opts.name or #opts.name > 253 or not opts.name:find(NAME) then
        o:wrong('name: expected a name such as "hgcache.default.svc.cluster.local"')
    end
    return { __hgcache = "dns", name = opts.name, port = opts.port and o:whole("port", nil, 1, 65535) or nil }
end

return M
