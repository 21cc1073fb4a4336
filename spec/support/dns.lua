--- A real DNS server, dnsmasq, on a free port of 127.0.0.1: it knows the names of "test" that it was told, and no others.
--
--   local d = dns.start({ "srv-host=_peer._tcp.test,a.test,8001", "host-record=a.test,127.0.0.1" }, nil|{ host =, port = })
--   d.address          "127.0.0.1:PORT"
--   d:now { ... }      other records from here on (it is started anew)
--   d:signal(posix.SIGSTOP), d:kill(), d:launch { ... }
--   dns.finish()       ends those that a spec left running
--   dns.is_there()     false: not installed (scripts/setup.sh test)
--   dns.start_at_53(port, records)    at an address of its own for each port of a spec, where /etc/resolv.conf can name it
--
-- As a pod has it, a node finds files of its own in /etc, which takes a mount namespace:
--   local etc = dns.etc()      nil: we may not mount. As node.start{ binary = etc.binary } it runs so
--   etc:write("resolv.conf" | "hosts" | "nsswitch.conf", text)    at first: no server, localhost, "hosts: files dns"

local node = require "spec.support.node"
local posix = require "spec.support.posix"
local server = require "spec.support.server"

local M = {}
local Dns = {}
Dns.__index = Dns

local PROGRAM, USER = "/usr/sbin/dnsmasq", "root" -- for a port of the system's; where we are somebody else, as we are

function M.is_there()
    return server.exists(PROGRAM)
end

function M.start(records, opts)
    local self = setmetatable({ dir = server.dir(USER), host = "127.0.0.1" }, Dns)
    for name, value in pairs(opts or {}) do
        self[name] = value
    end
    self.port = self.port or posix.free_port()
    self.address = self.host .. ":" .. self.port
    self:launch(records)
    return self
end

function M.start_at_53(port, records)
    return M.start(records, { host = ("127.%d.%d.53"):format(1 + port / 256, port % 256), port = 53 })
end

local Etc = {}
Etc.__index = Etc

function Etc:write(name, text)
    node.write(self.dir .. "/" .. name, text)
end

function M.etc()
    local self = setmetatable({ dir = node.dir() }, Etc)
    local mounts = {}
    for name, text in pairs { ["resolv.conf"] = "", hosts = "127.0.0.1 localhost\n", ["nsswitch.conf"] = "hosts: files dns\n" } do
        self:write(name, text)
        mounts[#mounts + 1] = ("mount --bind '%s/%s' /etc/%s"):format(self.dir, name, name)
    end
    self.binary = node.write(self.dir .. "/wrapper", ([[#!/bin/sh
exec unshare --mount sh -c "%s && exec \"\$0\" \"\$@\"" '%s' "$@"
]]):format(table.concat(mounts, " && "), node.binary()))
    return os.execute(("chmod +x '%s' && '%s' version >/dev/null 2>&1"):format(self.binary, self.binary)) == 0 and self or nil
end

function Dns:launch(records)
    local log = self.dir .. "/log"
    local argv = { PROGRAM, "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--log-facility=-", "--user=",
        "--no-resolv", "--no-hosts", "--listen-address=" .. self.host, "--bind-interfaces", "--port=" .. self.port,
        "--local=/test/" }
    for _, record in ipairs(records) do
        argv[#argv + 1] = "--" .. record
    end
    os.remove(log)
    server.launch(self, USER, argv, log, function()
        local file = io.open(log, "rb")
        local text = file and file:read("*a") or ""
        if file then
            file:close()
        end
        return text:find("started, version", 1, true)
    end)
end

function Dns:now(records)
    self:kill()
    self:launch(records)
end

function Dns:signal(signal)
    posix.kill(self.pid, signal)
end

function Dns:kill()
    server.kill(self)
end

M.finish = server.finish

return M
