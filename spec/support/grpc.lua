--- gRPC clients of the specs: Python's grpcio, grpc-js, and frames of HTTP/2 written by hand.
--
--   grpc.is_here(client)                   -> whether that client is installed (scripts/setup.sh test)
--   grpc.calls(to, { call, ... }, client)  -> list of results (spec/support/grpc_client.py has what calls and results are)
--   grpc.serve(port, notes)                -> pid of a server
--   grpc.start(to, calls, client)          -> running: wait_paused, go_on, results
--   to: a port, or a target as grpcio has them; client: "python" (default) | "js"
--   grpc.connect(port)               -> connection of spec/support/http.lua, preface and settings sent
--   grpc.frame(type, flags, stream, payload), grpc.head{ { name, value }, ... }, grpc.frames(bytes)
--   grpc.begin(stream), grpc.data(stream, bytes), grpc.trailers(stream, code), grpc.reply(stream, message)   of an answer

local posix = require "spec.support.posix"
local http = require "spec.support.http"
local cjson = require "cjson"

local M = {}

local PYTHON = "/usr/bin/python3" -- Debian's: the first one on PATH may be another
local PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

local CLIENTS = {
    python = {
        run = PYTHON .. " spec/support/grpc_client.py",
        probe = PYTHON .. " -c 'import grpc, google.protobuf'",
    },
    js = {
        run = "env NODE_PATH=build/grpc_js/node_modules node spec/support/grpc_js/client.js",
        probe = "cmp spec/support/grpc_js/package-lock.json build/grpc_js/installed && node --version",
    },
}

function M.is_here(client)
    local one = CLIENTS[client or "python"]
    if one.is_here == nil then
        one.is_here = os.execute("(" .. one.probe .. ") >/dev/null 2>&1") == 0
    end
    return one.is_here
end

--- A node of HgCache v2 in Python (spec/support/grpc_server.py), serving; ended by posix.kill of its pid.
function M.serve(port, notes)
    local out = posix.temp_dir() .. "/out"
    local pid = posix.spawn { argv = { PYTHON, "spec/support/grpc_server.py", tostring(port), notes }, stdout = out }
    posix.until_true(function()
        local file = io.open(out)
        local text = file and file:read("*a") or ""
        if file then
            file:close()
        end
        return text:find("serving", 1, true)
    end, 30, "the server in Python")
    return pid
end

local Running = {}
Running.__index = Running

--- Starts the client; it ends after its last call.
function M.start(to, calls, client)
    local target = type(to) == "number" and "127.0.0.1:" .. to or to
    local dir = posix.temp_dir()
    local self = setmetatable({ dir = dir, fifo = dir .. "/in" }, Running)
    posix.mkfifo(self.fifo)
    self.pid = posix.spawn {
        argv = { "/bin/sh", "-c", ('exec %s %s <"%s"'):format(CLIENTS[client or "python"].run, target, self.fifo) },
        stdout = dir .. "/out", stderr = dir .. "/err",
    }
    self.input = assert(io.open(self.fifo, "w"))
    self:say(cjson.encode(calls))
    return self
end

function Running:say(line)
    self.input:write(line, "\n")
    self.input:flush()
end

function Running:output()
    local file = io.open(self.dir .. "/out")
    local text = file and file:read("*a") or ""
    if file then
        file:close()
    end
    return text
end

function Running:wait_paused()
    posix.until_true(function()
        return self:output():find("paused", 1, true)
    end, 60, "the client's pause")
end

function Running:go_on()
    self:say("")
end

function Running:results()
    local ended
    posix.until_true(function()
        ended = posix.reap(self.pid)
        return ended
    end, 120, "the end of the client")
    self.input:close()
    local results = self:output():match("%b[]%s*$")
    local errors = io.open(self.dir .. "/err"):read("*a")
    return cjson.decode((assert(results, errors)))
end

function M.calls(to, calls, client)
    return M.start(to, calls, client):results()
end

-- --- frames by hand ---

local function big_endian(number, size)
    local out = {}
    for i = size, 1, -1 do
        out[i] = string.char(number % 256)
        number = math.floor(number / 256)
    end
    return table.concat(out)
end
M.big_endian = big_endian

M.DATA, M.HEADERS, M.PRIORITY, M.RST_STREAM, M.SETTINGS, M.PING, M.GOAWAY, M.WINDOW_UPDATE, M.CONTINUATION =
    0, 1, 2, 3, 4, 6, 7, 8, 9

function M.frame(kind, flags, stream, payload)
    return big_endian(#payload, 3) .. string.char(kind, flags) .. big_endian(stream, 4) .. payload
end

--- Fields as a header block: literal, not indexed; names and values of at most 126 bytes.
function M.head(fields)
    local out = {}
    for i, field in ipairs(fields) do
        out[i] = "\0" .. string.char(#field[1]) .. field[1] .. string.char(#field[2]) .. field[2]
    end
    return table.concat(out)
end

function M.request_head(method, path)
    return M.head { { ":method", method }, { ":scheme", "http" }, { ":path", path }, { ":authority", "t" } }
end

function M.connect(port)
    local connection = assert(http.connect(port))
    assert(connection:send(PREFACE .. M.frame(M.SETTINGS, 0, 0, "")))
    return connection
end

local function number_at(bytes, at, size)
    local number = 0
    for i = at, at + size - 1 do
        number = number * 256 + bytes:byte(i)
    end
    return number
end

-- The parts of an answer.
function M.begin(stream)
    return M.frame(M.HEADERS, 4, stream, M.head { { ":status", "200" }, { "content-type", "application/grpc" } })
end

function M.message(bytes)
    return "\0" .. big_endian(#bytes, 4) .. bytes
end

--- At most 16 KiB a frame.
function M.data(stream, bytes)
    local out = {}
    for from = 1, #bytes, 16384 do
        out[#out + 1] = M.frame(M.DATA, 0, stream, bytes:sub(from, from + 16383))
    end
    return table.concat(out)
end

function M.trailers(stream, code)
    return M.frame(M.HEADERS, 5, stream, M.head { { "grpc-status", tostring(code) } })
end

function M.reply(stream, message)
    return M.begin(stream) .. M.data(stream, M.message(message)) .. M.trailers(stream, 0)
end

--- All whole frames in it: list of { type, flags, stream, payload }, and how many bytes they are.
function M.frames(bytes)
    local list, at = {}, 1
    while at + 8 <= #bytes do
        local len = number_at(bytes, at, 3)
        if at + 8 + len > #bytes then
            break
        end
        list[#list + 1] = { type = bytes:byte(at + 3), flags = bytes:byte(at + 4), stream = number_at(bytes, at + 5, 4),
            payload = bytes:sub(at + 9, at + 8 + len) }
        at = at + 9 + len
    end
    return list, at - 1
end

--- The error code of the GOAWAY in it, or nil.
function M.goaway(bytes)
    for _, frame in ipairs(M.frames(bytes)) do
        if frame.type == M.GOAWAY then
            return number_at(frame.payload, 5, 4)
        end
    end
    return nil
end

return M
