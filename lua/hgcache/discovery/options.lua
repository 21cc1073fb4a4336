--- hg.file, hg.dns and hg.etcd: what a configuration says of who finds the members. Only checked here: nothing is asked before the
-- node runs.

local options = require "hgcache.options"
local schema = require "hgcache.schema"

local M = {}

local NAME = "^[%w_][%w._-]*$"

--- A file of members. path: relative to where the node was started.
function M.file(path)
    if type(path) ~= "string" or path == "" or path:find("%z") then
        error("hg.file: expected the path of a file", 2)
    end
    return { __hgcache = "file", path = path }
end

-- A DNS server. -> "host:port", host in brackets with IPv6
local function server_of(o, text)
    local host, port = schema.split_address(text)
    if not host then
        host, port = schema.split_address(text .. ":53")
    end
    if host and host:find(":", 1, true) then
        return ("[%s]:%d"):format(host, port)
    end
    if not host or not schema.is_ip4(host) then
        o:wrong('server: expected an IP address such as "127.0.0.1:8600" or "[::1]:53"', 1)
    end
    return ("%s:%d"):format(host, port)
end

--- All addresses of a name, or all targets of its SRV records. opts: { name =, port = that of cluster.self, srv = whether the name is
-- such as "_peer._tcp.x", server = those of the system, tcp = false }
function M.dns(opts)
    local o = options.of("hg.dns", opts, { name = "string", port = "number", srv = "boolean", server = "string", tcp = "boolean" })
    if not opts.name or #opts.name > 253 or not opts.name:find(NAME) then
        o:wrong('name: expected a name such as "hgcache.default.svc.cluster.local"')
    end
    local srv = opts.srv
    if srv == nil then
        srv = opts.name:find("^_[^.]+%._[^.]+%.") ~= nil
    end
    if srv and opts.port then
        o:wrong("port: SRV records have the port of each member; expected none")
    elseif opts.tcp and not srv and not opts.server then
        o:wrong("tcp: expected with SRV records or a server; the system looks up addresses in its own way")
    end
    return { __hgcache = "dns", name = opts.name, port = opts.port and o:whole("port", nil, 1, 65535) or nil, srv = srv or nil,
        server = opts.server and server_of(o, opts.server) or nil, tcp = opts.tcp or nil }
end

local ENDPOINT = "^https?://[^/?#%s]+$"

-- -> list without a slash at the end
local function endpoints_of(o, given)
    if given == nil then
        given = "http://127.0.0.1:2379"
    end
    local out = {}
    for i, endpoint in ipairs(type(given) == "table" and given or { given }) do
        out[i] = type(endpoint) == "string" and endpoint:gsub("/$", "") or ""
        if not out[i]:find(ENDPOINT) or i > 100 then
            o:wrong('endpoints: expected one URL such as "http://127.0.0.1:2379", or a list of up to 100', 1)
        end
    end
    if #out == 0 then
        o:wrong("endpoints: expected at least one", 1)
    end
    return out
end

local known = {
    endpoints = true, prefix = "string", lease_ttl = true, user = "string", password = "string", ca = "string", cert = "string",
    key = "string",
}

--- Members register themselves in etcd. opts: { endpoints = "http://127.0.0.1:2379" or a list, prefix = "cache", lease_ttl = "10s",
-- user =, password =, ca =, cert =, key = } (the last three: files)
function M.etcd(opts)
    local o = options.of("hg.etcd", opts, known)
    local made = { __hgcache = "etcd", endpoints = endpoints_of(o, opts.endpoints), prefix = opts.prefix or "cache",
        user = opts.user, password = opts.password, ca = opts.ca, cert = opts.cert, key = opts.key }
    local ttl_ms = o:milliseconds("lease_ttl", "10s")
    made.lease_ttl = ttl_ms / 1000
    if ttl_ms % 1000 ~= 0 or ttl_ms < 1000 or ttl_ms > 3600000 then
        o:wrong("lease_ttl: expected whole seconds from 1 to 3600")
    elseif not made.prefix:find("^[%w/._-]+$") or #made.prefix > 255 then
        o:wrong("prefix: expected letters, digits, / . _ -, at most 255")
    elseif (opts.user == nil) ~= (opts.password == nil) then
        o:wrong("user and password: expected both or neither")
    elseif (opts.cert == nil) ~= (opts.key == nil) then
        o:wrong("cert and key: expected both or neither")
    end
    for _, endpoint in ipairs(made.endpoints) do
        if (opts.ca or opts.cert) and not endpoint:find("^https:") then
            o:wrong("endpoints: expected https:// with ca or cert, found " .. endpoint)
        end
    end
    return made
end

return M
