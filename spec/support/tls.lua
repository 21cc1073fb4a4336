--- Certificates of a small authority of the spec's own, and real TLS servers that use them (openssl s_server).
--
--   local pki = tls.pki()                     pki.ca (a file), pki:issue("good", { names = "DNS:localhost,IP:127.0.0.1" })
--   local s = tls.server(pki.good, { ... })   s.port, s:kill(); answers each line with its letters in reverse order
--   tls.finish()                              ends those that a spec left running

local posix = require "spec.support.posix"
local http = require "spec.support.http"

local M = {}
local Pki, Server = {}, {}
Pki.__index, Server.__index = Pki, Server

local OPENSSL = "/usr/bin/openssl"
local running = {}

local function run(dir, ...)
    local words = { "cd", dir, "&&", OPENSSL }
    for _, word in ipairs { ... } do
        words[#words + 1] = "'" .. word .. "'"
    end
    local code = os.execute(table.concat(words, " ") .. " >>log 2>&1")
    if code ~= 0 and code ~= true then
        local file = io.open(dir .. "/log")
        error("openssl: " .. (file and file:read("*a") or "?"))
    end
end

local KEY = { "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj" }

local function with_key(dir, name, subject, ...)
    local words = { "req" }
    for _, word in ipairs(KEY) do
        words[#words + 1] = word
    end
    words[#words + 1] = subject
    for _, word in ipairs { "-keyout", name .. ".key", ... } do
        words[#words + 1] = word
    end
    run(dir, unpack(words))
end

--- An authority, in a folder of its own.
function M.pki()
    local self = setmetatable({ dir = posix.temp_dir() }, Pki)
    with_key(self.dir, "ca", "/CN=Authority of the spec", "-x509", "-days", "10", "-out", "ca.crt")
    self.ca = self.dir .. "/ca.crt"
    return self
end

--- opts: { names = subjectAltName, days = 10 (negative: it has expired), self_signed = true } -> { cert =, key = }, also as pki[name]
function Pki:issue(name, opts)
    local days = tostring(opts.days or 10)
    if opts.self_signed then
        with_key(self.dir, name, "/CN=" .. name, "-x509", "-days", days, "-addext", "subjectAltName=" .. opts.names, "-out",
            name .. ".crt")
    else
        with_key(self.dir, name, "/CN=" .. name, "-out", name .. ".csr")
        local file = assert(io.open(self.dir .. "/" .. name .. ".ext", "w"))
        file:write("subjectAltName=" .. opts.names .. "\n")
        file:close()
        run(self.dir, "x509", "-req", "-in", name .. ".csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", days,
            "-extfile", name .. ".ext", "-out", name .. ".crt")
    end
    self[name] = { cert = ("%s/%s.crt"):format(self.dir, name), key = ("%s/%s.key"):format(self.dir, name) }
    return self[name]
end

--- more: further words of openssl s_server. One connection at a time.
function M.server(identity, more)
    local self = setmetatable({ port = posix.free_port() }, Server)
    local argv = { OPENSSL, "s_server", "-accept", "127.0.0.1:" .. self.port, "-cert", identity.cert, "-key", identity.key,
        "-quiet" }
    for _, word in ipairs(more or { "-rev" }) do
        argv[#argv + 1] = word
    end
    self.log = identity.cert .. ".log"
    self.pid = posix.spawn { argv = argv, stdout = self.log }
    running[self] = true
    posix.until_true(function()
        local connection = http.connect(self.port)
        if connection then
            connection:close()
        end
        return connection
    end, 20, "openssl s_server")
    return self
end

--- KILL, and wait: its connections end without a word of TLS.
function Server:kill()
    posix.kill(self.pid, posix.SIGKILL)
    posix.reap(self.pid, true)
    running[self] = nil
end

function M.finish()
    for one in pairs(running) do
        one:kill()
    end
end

return M
