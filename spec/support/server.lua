--- What the real database servers of the specs have in common: a folder of their own, a free port, an account that is not root,
-- KILL and start again.

local posix = require "spec.support.posix"

local M = {}

local running, dirs = {}, {}

function M.exists(path)
    local file = io.open(path, "rb")
    if file then
        file:close()
    end
    return file ~= nil
end

local function output(command)
    local pipe = io.popen(command)
    local text = pipe:read("*a")
    pipe:close()
    return (text:gsub("%s+$", ""))
end

local is_root = output("id -u") == "0"

--- Words to begin a command with, so that it runs as `user` where we are root.
function M.as(user)
    return is_root and { "/usr/bin/setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--pdeathsig", "KILL", "--" } or {}
end

--- A new folder that belongs to the user.
function M.dir(user)
    local dir = posix.temp_dir()
    dirs[#dirs + 1] = dir
    if is_root then
        assert(os.execute(("chown %s '%s'"):format(user, dir)) == 0)
    end
    return dir
end

--- Runs a command as the user, to its end. -> what it wrote | nil, what it wrote
-- In /, for the user may not be let into the folder of the specs, and some say so.
function M.run(user, argv, log)
    local words = M.as(user)
    for _, word in ipairs { "/usr/bin/env", "-C", "/" } do
        words[#words + 1] = word
    end
    for _, word in ipairs(argv) do
        words[#words + 1] = word
    end
    local pid = posix.spawn { argv = words, stdout = log }
    local result = posix.reap(pid, true)
    local file = io.open(log, "rb")
    local text = file and file:read("*a") or ""
    if file then
        file:close()
    end
    if result.code ~= 0 then
        return nil, text
    end
    return text
end

--- Starts argv as the user and waits until is_up(). One server is { pid = }.
function M.launch(server, user, argv, log, is_up)
    local words = M.as(user)
    for _, word in ipairs(argv) do
        words[#words + 1] = word
    end
    server.pid = posix.spawn { argv = words, stdout = log }
    running[server] = true
    posix.until_true(function()
        local ended = posix.reap(server.pid)
        if ended then
            running[server] = nil
            local file = io.open(log, "rb")
            error("the server ended:\n" .. (file and file:read("*a") or ""), 0)
        end
        return is_up()
    end, 60, "a server that answers: " .. argv[1])
end

--- KILL, its children too, and wait.
function M.kill(server)
    local children = output(("cat /proc/%d/task/*/children 2>/dev/null"):format(server.pid))
    posix.kill(server.pid, posix.SIGKILL)
    for child in children:gmatch("%d+") do
        posix.kill(tonumber(child), posix.SIGKILL)
    end
    posix.reap(server.pid, true)
    running[server] = nil
    for child in children:gmatch("%d+") do
        posix.until_true(function()
            return not M.exists("/proc/" .. child .. "/cmdline") or output("cat /proc/" .. child .. "/cmdline | tr -d '\\0'") == ""
        end, 20, "the end of a server's child")
    end
end

--- Ends what a spec left running, and removes the folders.
function M.finish()
    for server in pairs(running) do
        posix.kill(server.pid, posix.SIGCONT)
        M.kill(server)
    end
    for _, dir in ipairs(dirs) do
        os.execute("rm -rf '" .. dir .. "'")
    end
    dirs = {}
end

return M
