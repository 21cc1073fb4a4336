--- Nodes that know HgCache v1's protocol only, written anew from what is on its wire: a ring of CRC-32 points, protobuf over
-- HTTP/1.1, and a front end that asks the owner or, where that fails, the source itself.
--
--   local g = gonode.start { self = "http://127.0.0.1:8001", peers = { ... }, port = 8001, api_port = 9001, base_path = "/_hgcache/" }
--   g:loads()    keys that its source was asked for
--   g:kill()
--
-- Two processes: what peers ask for never waits for what this node asks of others.

local bit = require "bit"
local fake = require "spec.support.fake"
local http = require "spec.support.http"
local posix = require "spec.support.posix"
local protobuf = require "spec.support.protobuf"

local M = {}
local Gonode = {}
Gonode.__index = Gonode

local crc_of = {}
for i = 0, 255 do
    local c = i
    for _ = 1, 8 do
        c = bit.band(c, 1) == 1 and bit.bxor(bit.rshift(c, 1), 0xedb88320) or bit.rshift(c, 1)
    end
    crc_of[i] = c
end

local function crc32(text)
    local c = -1
    for i = 1, #text do
        c = bit.bxor(crc_of[bit.band(bit.bxor(c, text:byte(i)), 255)], bit.rshift(c, 8))
    end
    return bit.bnot(c) % 4294967296
end

-- consistenthash.Map with 100 replicas: hash of strconv.Itoa(i) + name.
local function ring_of(peers)
    local points = {}
    for _, name in ipairs(peers) do
        for i = 0, 99 do
            points[#points + 1] = { crc32(i .. name), name }
        end
    end
    table.sort(points, function(a, b)
        return a[1] < b[1] or a[1] == b[1] and a[2] > b[2]
    end)
    return points
end

local function owner(points, key)
    local hash = crc32(key)
    for _, point in ipairs(points) do
        if point[1] >= hash then
            return point[2]
        end
    end
    return points[1][2]
end

local function reply(status, body, type)
    return ("HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s"):format(status, type, #body, body)
end

function M.start(opts)
    local self = setmetatable({ dir = posix.temp_dir() }, Gonode)
    local notes, points = self.dir .. "/loads", ring_of(opts.peers)
    io.open(notes, "w"):close()
    local function load(key)
        local out = io.open(notes, "a")
        out:write(key, "\n")
        out:close()
        return opts.source(key)
    end
    self.peer_side = fake.http(opts.port, self.dir .. "/peer", function(path)
        local key = path:match("^" .. opts.base_path:gsub("%p", "%%%0") .. "[^/]+/(.*)$")
        if not key then
            return reply("400 Bad Request", "bad request\n", "text/plain; charset=utf-8")
        end
        return reply("200 OK", protobuf.bytes(1, load(key)), "application/octet-stream")
    end)
    self.front = fake.http(opts.api_port, self.dir .. "/front", function(path)
        local key = path:match("key=(.*)$")
        local peer = owner(points, key)
        local value
        if peer ~= opts.self then
            local r = http.get(tonumber(peer:match(":(%d+)$")), opts.base_path .. "test/" .. key, { timeout = 5 })
            value = r.status == 200 and protobuf.decode(r.body)[1] or nil
        end
        return reply("200 OK", value or load(key), "application/octet-stream")
    end)
    return self
end

function Gonode:loads()
    local _, count = io.open(self.dir .. "/loads"):read("*a"):gsub("\n", "")
    return count
end

--- How many requests peers made.
function Gonode:asked()
    local _, count = io.open(self.dir .. "/peer"):read("*a"):gsub("\n", "")
    return count
end

function Gonode:kill()
    self.peer_side:stop()
    self.front:stop()
end

return M
