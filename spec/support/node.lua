--- Real nodes for the specs: started on free ports, waited for, asked, stopped.
--
--   local n = node.start { config = text, args = {} }   the text may use listen() and cluster{...} of the prelude below
--   n:get("/api?key=Tom").status, n:stats().groups.test, n:count("SlowDB"), n:stop()
--   local c = node.cluster { count = 3, config = text }  c[1], c[2], c[3]
--
-- The program is $HGCACHE_BIN, else build/dev/hgcache, else build/release/hgcache. Every node that a spec left
-- running is
-- ended by node.finish(), which specs call in after_each.

local posix = require "spec.support.posix"
local http = require "spec.support.http"
local cjson = require "cjson"

local M = {}
local Node = {}
Node.__index = Node

M.until_true = posix.until_true
M.json = cjson

local READY_SECONDS = 30 -- sanitizer builds on a busy machine
local EXIT_SECONDS = 30

local PRELUDE = [[
local hg = require "hgcache"
local function listen()
    return { api = hg.args.api, admin = hg.args.admin, peer = hg.args.peer }
end
local function cluster(more)
    if not hg.args.self then
        return nil
    end
    local c = { self = hg.args.self, peers = {} }
    for name in hg.args.peers:gmatch("[^,]+") do
        c.peers[#c.peers + 1] = name
    end
    for key, value in pairs(more or {}) do
        c[key] = value
    end
    return c
end
]]
PRELUDE = PRELUDE:gsub("\n", " ")

local function readable(path)
    local file = io.open(path, "rb")
    if file then
        file:close()
    end
    return file ~= nil
end

--- Path of the program, or nil.
function M.binary()
    local given = os.getenv("HGCACHE_BIN")
    if given and given ~= "" then
        return given
    end
    for _, path in ipairs { "build/dev/hgcache", "build/release/hgcache" } do
        if readable(path) then
            return path
        end
    end
    return nil
end

--- Whether it is built with sanitizers, which keep what is freed, and are slow.
function M.is_sanitized()
    local program = M.read(M.binary())
    return program:find("__asan_init", 1, true) ~= nil or program:find("__tsan_init", 1, true) ~= nil
end

local here = io.popen("pwd"):read("*l")

local function absolute(path)
    return path:sub(1, 1) == "/" and path or here .. "/" .. path
end

local running = {}

M.dir = posix.temp_dir

function M.write(path, text)
    local file = assert(io.open(path, "wb"))
    file:write(text)
    file:close()
    return path
end

function M.read(path)
    local file = io.open(path, "rb")
    if not file then
        return ""
    end
    local text = file:read("*a")
    file:close()
    return text
end

--- Runs the program to its end. args: list of words. -> { code, signal, out, err }
function M.run(args, opts)
    opts = opts or {}
    local dir = M.dir()
    local argv = { absolute(assert(M.binary(), "no program: build it or set HGCACHE_BIN")) }
    for _, word in ipairs(args) do
        argv[#argv + 1] = tostring(word)
    end
    local pid = posix.spawn {
        argv = argv, stdout = dir .. "/out", stderr = dir .. "/err", env = opts.env, dir = opts.dir, files = opts.files,
    }
    local result
    local ok, message = pcall(posix.until_true, function()
        result = posix.reap(pid)
        return result
    end, opts.timeout or EXIT_SECONDS, "the end of hgcache " .. table.concat(args, " "))
    if not ok then
        posix.kill(pid, posix.SIGKILL)
        posix.reap(pid, true)
        error(message, 2)
    end
    result.out, result.err = M.read(dir .. "/out"), M.read(dir .. "/err")
    return result
end

--- opts: { config = text (prelude in front, on the same line), raw = text without it, file = path, args = {}, env = {},
--          binary = another program, api = false (no front end), api_port, admin_port, peer_port, files = descriptors, wait = false }
function M.start(opts)
    local self = setmetatable({ opts = opts }, Node)
    self.dir = M.dir()
    self.api_port = opts.api_port or posix.free_port()
    self.admin_port = opts.admin_port or posix.free_port()
    self.peer_port = opts.peer_port or posix.free_port()
    self.file = opts.file and absolute(opts.file)
        or M.write(self.dir .. "/config.lua", opts.raw or PRELUDE .. opts.config)
    self.log_path = opts.log_path or self.dir .. "/log"
    local args = { api = "127.0.0.1:" .. self.api_port, admin = "127.0.0.1:" .. self.admin_port, peer = "127.0.0.1:"
        .. self.peer_port }
    for name, value in pairs(opts.args or {}) do
        args[name] = value
    end
    self.argv = { absolute(assert(opts.binary or M.binary(), "no program: build it or set HGCACHE_BIN")),
        "run", self.file }
    for name, value in pairs(args) do
        if value ~= false then
            self.argv[#self.argv + 1] = name .. "=" .. tostring(value)
        end
    end
    self:launch()
    if opts.wait ~= false then
        self:wait_ready()
    end
    return self
end

function Node:launch()
    self.exit = nil
    self.pid = posix.spawn { argv = self.argv, stdout = self.log_path, env = self.opts.env, files = self.opts.files }
    running[self] = true
end

--- The same node once more, after stop or kill.
function Node:restart()
    self:launch()
    self:wait_ready()
end

--- { code =, signal = } once it has ended, else nil.
function Node:ended()
    if not self.exit then
        self.exit = posix.reap(self.pid)
        if self.exit then
            running[self] = nil
        end
    end
    return self.exit
end

function Node:wait_ready(seconds)
    posix.until_true(function()
        if self:ended() then
            error(("the node ended with %s:\n%s"):format(tostring(self.exit.code or "signal "
                .. tostring(self.exit.signal)),
                self:log()), 0)
        end
        return http.get(self.admin_port, "/ready", { timeout = 1 }).status == 200
    end, seconds or READY_SECONDS, "a ready node; its log:\n" .. self:log())
end

--- Everything it wrote; nothing where that went to a device or a pipe.
function Node:log()
    return self.opts.log_path and "" or M.read(self.log_path)
end

-- The log once it has not grown for a moment: a thread of the node's own writes it, a little after the answer.
function Node:settled_log()
    local log, limit = self:log(), posix.now() + 2
    while posix.now() < limit do
        posix.pause(0.015)
        local more = self:log()
        if #more == #log then
            break
        end
        log = more
    end
    return log
end

--- How often a plain text stands in the log.
function Node:count(text)
    local log, n, at = self:settled_log(), 0, 1
    while true do
        local from, to = log:find(text, at, true)
        if not from then
            return n
        end
        n, at = n + 1, to + 1
    end
end

function Node:wait_log(text, seconds)
    posix.until_true(function()
        return self:count(text) > 0
    end, seconds or 10, ("%q in the log:\n%s"):format(text, self:log()))
end

function Node:signal(signal)
    assert(not self:ended(), "the node has ended")
    posix.kill(self.pid, signal)
end

function Node:wait_exit(seconds)
    return posix.until_true(function()
        return self:ended()
    end, seconds or EXIT_SECONDS, "the end of a node; its log:\n" .. self:log())
end

--- TERM, and wait. -> exit code
function Node:stop(seconds)
    if not self:ended() then
        posix.kill(self.pid, posix.SIGTERM)
    end
    return self:wait_exit(seconds).code
end

--- KILL, and wait.
function Node:kill()
    if not self:ended() then
        posix.kill(self.pid, posix.SIGKILL)
        self:wait_exit()
    end
end

--- Another text for its configuration file, as opts.config: read with the next reload.
function Node:configure(text)
    M.write(self.file, PRELUDE .. text)
end

--- POST /reload. -> response; its body decoded where it is JSON
function Node:reload()
    local response = http.request(self.admin_port, { method = "POST", path = "/reload", timeout = READY_SECONDS })
    if response.status == 200 then
        response.body = cjson.decode(response.body)
    end
    return response
end

--- GET on the front end.
function Node:get(path, opts)
    return http.get(self.api_port, path, opts)
end

--- Request on the admin listener.
function Node:admin(path, opts)
    return http.get(self.admin_port, path, opts)
end

function Node:admin_json(path)
    local response = self:admin(path)
    assert(response.status == 200, ("%s: %s %s"):format(path, tostring(response.status or response.error),
        tostring(response.body)))
    return cjson.decode(response.body)
end

function Node:stats(group)
    local stats = self:admin_json("/stats")
    return group and stats.groups[group] or stats
end

--- opts as in start, and count. All share one list; listeners are the nodes' own. -> list of nodes
function M.cluster(opts)
    local count, nodes, ports, members = opts.count or 3, {}, {}, {}
    for i = 1, count do
        ports[i] = posix.free_port()
        members[i] = "http://127.0.0.1:" .. ports[i]
    end
    for i = 1, count do
        local args = { self = members[i], peers = table.concat(members, ","), peer = "127.0.0.1:" .. ports[i],
            index = i }
        for name, value in pairs(opts.args or {}) do
            args[name] = value
        end
        nodes[i] = M.start { config = opts.config, file = opts.file, args = args, peer_port = ports[i], env = opts.env,
            wait = false }
    end
    for i = 1, count do
        nodes[i]:wait_ready()
        nodes[i].member = members[i]
    end
    return nodes
end

--- Sums of a counter over nodes.
function M.sum(nodes, group, counter)
    local total = 0
    for _, one in ipairs(nodes) do
        if not one:ended() then
            total = total + one:stats(group)[counter]
        end
    end
    return total
end

--- Ends what a spec left behind.
function M.finish()
    for one in pairs(running) do
        posix.kill(one.pid, posix.SIGCONT)
        posix.kill(one.pid, posix.SIGKILL)
        posix.reap(one.pid, true)
    end
    running = {}
end

return M
