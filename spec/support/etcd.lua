--- A real etcd in a folder of its own, on free ports.
--
--   local e = etcd.start { args = { "--auth-token", "simple" }, tls = nil|{ cert =, key =, ca = } }
--   e.url, e:ctl("get", "--prefix", "cache-") -> text, e:kill(), e:launch(), e:signal(posix.SIGSTOP), e:call("/v3/kv/range", {}) -> table
--   etcd.finish()      ends those that a spec left running
--   etcd.is_there()    false: not installed (scripts/setup.sh test)

local posix = require "spec.support.posix"
local http = require "spec.support.http"
local cjson = require "cjson"

local M = {}
local Etcd = {}
Etcd.__index = Etcd

local PROGRAM, CTL = "/usr/bin/etcd", "/usr/bin/etcdctl"
local running, dirs = {}, {}

function M.is_there()
    for _, path in ipairs { PROGRAM, CTL } do
        local file = io.open(path, "rb")
        if not file then
            return false
        end
        file:close()
    end
    return true
end

function M.start(opts)
    local self = setmetatable({ opts = opts or {}, dir = posix.temp_dir() }, Etcd)
    self.port, self.peer_port = posix.free_port(), posix.free_port()
    dirs[#dirs + 1] = self.dir
    self.url = (self.opts.tls and "https" or "http") .. "://127.0.0.1:" .. self.port
    self:launch()
    return self
end

function Etcd:launch()
    local peer = "http://127.0.0.1:" .. self.peer_port
    local argv = { PROGRAM, "--data-dir", self.dir .. "/data", "--listen-client-urls", self.url,
        "--advertise-client-urls", self.url,
        "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default=" .. peer,
        "--unsafe-no-fsync" }
    local tls = self.opts.tls
    for _, word in ipairs(tls and { "--cert-file", tls.cert, "--key-file", tls.key, "--client-cert-auth", "--trusted-ca-file",
        tls.ca } or {}) do
        argv[#argv + 1] = word
    end
    for _, word in ipairs(self.opts.args or {}) do
        argv[#argv + 1] = word
    end
    self.pid = posix.spawn { argv = argv, stdout = self.dir .. "/log", env = { ETCD_UNSUPPORTED_ARCH = "arm64" } }
    running[self] = true
    posix.until_true(function()
        return self:try_ctl("endpoint", "health")
    end, 30, "etcd")
end

-- -> whether it did, text
function Etcd:try_ctl(...)
    local words = { "ETCDCTL_API=3", CTL, "--endpoints", self.url, "--command-timeout=5s" }
    local tls = self.opts.tls
    for _, word in ipairs(tls and { "--cacert", tls.ca, "--cert", tls.client_cert, "--key", tls.client_key } or {}) do
        words[#words + 1] = word
    end
    if self.ctl_user then
        words[#words + 1] = "--user=" .. self.ctl_user
    end
    for _, word in ipairs { ... } do
        words[#words + 1] = "'" .. word .. "'"
    end
    local pipe = io.popen(table.concat(words, " ") .. " 2>&1; echo \"code=$?\"")
    local text = pipe:read("*a")
    pipe:close()
    return text:match("code=(%d+)\n$") == "0", (text:gsub("code=%d+\n$", ""))
end

function Etcd:ctl(...)
    local ok, text = self:try_ctl(...)
    assert(ok, text)
    return text
end

--- Of its JSON gateway, without TLS.
function Etcd:call(path, body)
    local answer = http.request(self.port, { method = "POST", path = path, body = cjson.encode(body) })
    assert(answer.status == 200, answer.body or answer.error)
    return cjson.decode(answer.body)
end

--- { [key] = { value =, lease = } } of everything that begins so.
function Etcd:keys(prefix)
    local out, mime = {}, require "hgcache.digest"
    local found = self:call("/v3/kv/range", { key = mime.encode_base64(prefix), range_end = mime.encode_base64(prefix:sub(1, -2)
        .. string.char(prefix:byte(-1) + 1)) })
    for _, kv in ipairs(found.kvs or {}) do
        out[mime.decode_base64(kv.key)] = { value = mime.decode_base64(kv.value or ""), lease = kv.lease }
    end
    return out
end

function Etcd:signal(signal)
    posix.kill(self.pid, signal)
end

--- KILL, and wait.
function Etcd:kill()
    posix.kill(self.pid, posix.SIGCONT)
    posix.kill(self.pid, posix.SIGKILL)
    posix.reap(self.pid, true)
    running[self] = nil
end

function M.finish()
    for one in pairs(running) do
        one:kill()
    end
    for _, dir in ipairs(dirs) do
        os.execute("rm -rf '" .. dir .. "'")
    end
    dirs = {}
end

return M
