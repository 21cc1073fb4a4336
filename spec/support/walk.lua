--- Documents that are run: what a page says to type is typed, and what it says is printed must be printed.
--
--   for _, section in ipairs(walk.sections("docs/cookbook.md")) do ... section.title, section.blocks ...
--   local w = walk.start { replace = { { "@127.0.0.1/", "@127.0.0.1:5433/" } }, actions = { ["sudo reboot"] = fn } }
--   w:blocks(section.blocks)     w:finish()
--
-- A block of `sh` is commands. What stands behind one (` # 630`) or in comment lines below it is what it prints: each is a whole
-- line, and other lines may be between them. JSON is compared as JSON, white space as one space; `ttl=`, `Age:` and `max-age=` may have
-- any number. A command ends with 0, or with what a last line `exit 1` says. A block of `lua` below a line that ends with a file's name
-- in backquotes and a colon is written to that file. Blocks of other languages are read and not run; one that nobody knows is an error.
--
-- Some commands are done in another way: `hgcache run FILE` starts a node on free ports, in the place of 8791 and 8792, and ends the
-- one before. `sleep` does not sleep: the command below it is repeated until it prints what it should.

local node = require "spec.support.node"
local posix = require "spec.support.posix"
local cjson = require "cjson"

local M = {}
local Walk = {}
Walk.__index = Walk

local COMMAND_SECONDS, WAIT_SECONDS = 60, 20
local top = io.popen("pwd"):read("*l")

-- Reading -----------------------------------------------------------------------------------------------------------

local function lines_of(text)
    return (text:gsub("\n?$", "\n")):gmatch("(.-)\n")
end

-- Fences of other kinds would hide what is to be typed.
local languages = { sh = true, lua = true, json = true, ini = true, [""] = true }

--- Text of Markdown -> list of { language, text, file = that it is to be written to }
function M.blocks(text)
    local blocks, block, before = {}, nil, ""
    for line in lines_of(text) do
        local fence, language = line:match("^%s*(```+)%s*(.-)%s*$")
        assert(block or not line:find("^%s*~~~"), "a fence of ~~~")
        if fence and block then
            assert(fence == block.fence and language == "", "a block without an end, before " .. line)
            block.text = table.concat(block, "\n") .. "\n"
            blocks[#blocks + 1], block, before = block, nil, ""
        elseif fence then
            assert(languages[language], "a block of an unknown language: " .. language)
            block = { language = language, fence = fence, file = before:match("`([%w_./]+)`:$") }
        elseif block then
            assert(block.language ~= "" or not line:find("%s# "), "a block without a language: " .. line)
            block[#block + 1] = line
        elseif line:find("%S") then
            before = line
        end
    end
    assert(not block, "a block without an end")
    return blocks
end

--- A document's parts below headings `## title`, in order: list of { title, text, blocks }. What is above the first has title "".
function M.sections(path)
    local sections = { { title = "" } }
    local is_code = false
    for line in lines_of(node.read(path)) do
        is_code = is_code ~= (line:find("^%s*```") ~= nil)
        local title = not is_code and line:match("^## (.*)$")
        if title then
            sections[#sections + 1] = { title = title }
        else
            table.insert(sections[#sections], line)
        end
    end
    for _, section in ipairs(sections) do
        section.text = table.concat(section, "\n") .. "\n"
        section.blocks = M.blocks(section.text)
    end
    return sections
end

local function is_open(command)
    local heredoc = command:match("<<'(%w+)'")
    if heredoc then
        return not command:find("\n" .. heredoc .. "$")
    end
    local _, quotes = command:gsub("'", "")
    return quotes % 2 == 1 or command:find("\\$") ~= nil
end

--- Text of a block of `sh` -> list of { command, wanted = lines that it prints, code = with which it ends }
function M.steps(text)
    local steps, open = {}, nil
    for line in lines_of(text) do
        local said = not open and line:match("^# ?(.*)$")
        if said then
            assert(#steps > 0, "a comment before any command: " .. line)
            table.insert(steps[#steps].wanted, said)
        elseif open or line:find("%S") then
            open = open and open .. "\n" .. line or line
            if not is_open(open) then
                local command, printed = open:match("^(.*%S)%s+# ([^\n]*)$")
                steps[#steps + 1] = { command = command or open, wanted = { printed } }
                open = nil
            end
        end
    end
    assert(not open, "a command without an end: " .. tostring(open))
    for _, step in ipairs(steps) do
        assert(not step.command:find("%s#[^%s'\"][^'\"\n]*$"), "no space behind #: " .. step.command)
        local code = (step.wanted[#step.wanted] or ""):match("^exit (%d+)$")
        if code then
            step.code = tonumber(code)
            table.remove(step.wanted)
        end
    end
    return steps
end

-- Comparing ---------------------------------------------------------------------------------------------------------

local function plain(line)
    line = line:gsub("%s+", " "):gsub(" $", "")
    return (line:gsub("(ttl=%-?)%d+", "%1N"):gsub("(Age: )%d+", "%1N"):gsub("(max%-age=)%d+", "%1N"))
end

local function same(a, b)
    if type(a) ~= "table" or type(b) ~= "table" then
        return a == b
    end
    for key, value in pairs(a) do
        if not same(value, b[key]) then
            return false
        end
    end
    for key in pairs(b) do
        if a[key] == nil then
            return false
        end
    end
    return true
end

local function json(line)
    local ok, value = pcall(cjson.decode, line)
    return ok and type(value) == "table" and value or nil
end

-- How many empty lists there are, which are decoded as empty objects are.
local function empty_lists(line)
    return select(2, line:gsub('\\.', ""):gsub('"[^"]*"', '""'):gsub("%[%s*%]", ""))
end

local function is_said(line, wanted)
    local value = json(wanted)
    return value and same(value, json(line)) and empty_lists(line) == empty_lists(wanted)
        or not value and plain(line) == plain(wanted)
end

--- The first of `wanted` that is not in what was printed, in its place; or nil.
function M.missing(printed, wanted)
    local index = 1
    for line in lines_of(printed) do
        if index <= #wanted and is_said(line, wanted[index]) then
            index = index + 1
        end
    end
    return wanted[index]
end

-- Doing -------------------------------------------------------------------------------------------------------------

-- The file that a configuration's own runs in: other addresses, and no time to wait at the end.
local WRAPPER = [[
local hg = require "hgcache"
local config = dofile(%q)
config.node = config.node or {}
config.node.listen = { api = hg.args.api, admin = hg.args.admin }
config.node.drain_delay = 0
return config
]]

-- Talks to the node that runs, as if its admin listener were where the default says.
local SHIM = [[
#!/bin/sh
case "$1" in
get|peek|set|del|flush|untag|stats|ring|hot|explain) exec %q "$@" --node "http://127.0.0.1:$(cat %q)" ;;
*) exec %q "$@" ;;
esac
]]

--- opts: { replace = list of { text, text in its place }, actions = { [command] = function(walk) in its place } }
function M.start(opts)
    local self = setmetatable({ opts = opts, dir = node.dir(), log = {} }, Walk)
    local binary = assert(node.binary(), "no program: build it or set HGCACHE_BIN")
    binary = binary:sub(1, 1) == "/" and binary or top .. "/" .. binary
    assert(os.execute("mkdir " .. self.dir .. "/bin") == 0)
    node.write(self.dir .. "/.curlrc", "no-progress-meter\n")
    node.write(self.dir .. "/bin/hgcache", SHIM:format(binary, self.dir .. "/admin", binary))
    assert(os.execute("chmod +x " .. self.dir .. "/bin/hgcache") == 0)
    return self
end

function Walk:adapt(text)
    local function replace(from, to)
        text = text:gsub(from:gsub("%p", "%%%0"), (to:gsub("%%", "%%%%")))
    end
    for _, pair in ipairs(self.opts.replace or {}) do
        replace(pair[1], pair[2])
    end
    if self.node then
        replace("127.0.0.1:8791", "127.0.0.1:" .. self.node.api_port)
        replace("127.0.0.1:8792", "127.0.0.1:" .. self.node.admin_port)
    end
    return text
end

function Walk:run_node(file, words)
    self:stop_node()
    local path = self.dir .. "/" .. file
    local text = node.read(path)
    text = text ~= "" and text or node.read(top .. "/" .. file)
    assert(text ~= "", "no file " .. file)
    local copy = node.write(self.dir .. "/copy.lua", self:adapt(text))
    local args = { peer = false }
    for name, value in words:gmatch("(%w+)=(%S+)") do
        args[name] = value
    end
    self.node = node.start { raw = WRAPPER:format(copy), args = args }
    node.write(self.dir .. "/admin", tostring(self.node.admin_port))
end

function Walk:stop_node()
    if self.node then
        assert(self.node:stop() == 0, "the node did not end as it should:\n" .. self.node:log())
        self.node = nil
    end
end

-- -> what it printed, exit code
function Walk:sh(command)
    local out = self.dir .. "/out"
    os.remove(out)
    local path = self.dir .. "/bin:" .. os.getenv("PATH")
    local pid = posix.spawn { argv = { "/bin/bash", "-c", self:adapt(command) }, stdout = out, dir = self.dir,
        env = { PATH = path, CURL_HOME = self.dir, no_proxy = "*", NO_COLOR = "1" } }
    local result
    posix.until_true(function()
        result = posix.reap(pid)
        return result
    end, COMMAND_SECONDS, "the end of " .. command)
    return node.read(out), result.code
end

local function complaint(step, printed, missing)
    return ("%s\nshould print: %s\nbut printed:\n%s"):format(step.command, missing, printed)
end

function Walk:step(step, may_wait)
    local printed, code
    local function try()
        printed, code = self:sh(step.command)
        return not M.missing(printed, step.wanted) and code == (step.code or 0)
    end
    if not try() and may_wait then
        pcall(posix.until_true, try, WAIT_SECONDS, step.command)
    end
    local missing = M.missing(printed, step.wanted)
    if missing then
        error(complaint(step, printed, missing) .. (self.node and "\n" .. self.node:log() or ""), 0)
    elseif code ~= (step.code or 0) then
        error(("%s\nended with %s:\n%s"):format(step.command, tostring(code), printed), 0)
    end
end

function Walk:commands(text)
    local may_wait = false
    for _, step in ipairs(M.steps(text)) do
        local file, words = step.command:match("^hgcache run (%S+)(.*)$")
        local action = self.opts.actions and self.opts.actions[step.command]
        local is_sleep = step.command:find("^sleep %d+$")
        assert(#step.wanted == 0 and not step.code or not (action or file or is_sleep),
            step.command .. ": what it prints is not known")
        if action then
            action(self)
        elseif file then
            self:run_node(file, words)
        elseif is_sleep then
            may_wait = true
        else
            self:step(step, may_wait)
            may_wait = false
        end
    end
end

--- All of a section, in order.
function Walk:blocks(blocks)
    for _, block in ipairs(blocks) do
        if block.language == "sh" then
            self:commands(block.text)
        elseif block.file then
            node.write(self.dir .. "/" .. block.file, block.text)
        end
    end
end

function Walk:finish()
    self:stop_node()
end

return M
