-- FAULTS A5 to A9: what a peer may answer that is no good answer. Each costs one load here and nothing else.

local digest = require "hgcache.digest"
local fake = require "spec.support.fake"
local grpc = require "spec.support.grpc"
local http = require "spec.support.http"
local node = require "spec.support.node"
local posix = require "spec.support.posix"
local protobuf = require "spec.support.protobuf"

local CONFIG = [[
return {
    node = { listen = listen(), workers = tonumber(hg.args.workers) },
    cluster = cluster { timeout = "2s", transport = hg.args.transport },
    groups = { test = { getter = function(key)
        hg.log.info("[Source] asked for %s", key)
        return "local " .. key
    end } },
}
]]

local MIB = 1024 * 1024

local function http_reply(body)
    return ("HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: %d\r\n\r\n%s"):format(#body, body)
end

-- A field that a group (wire types 3 and 4) begins or ends.
local function group_tag(field, wire)
    return string.char(field * 8 + wire)
end

-- The answer of a whole Response, spoiled.
local function message(bytes)
    return {
        http = function() return http_reply(bytes) end,
        grpc = function(_, stream) return grpc.reply(stream, bytes) end,
    }
end

local OK = protobuf.bytes(1, "of another") .. protobuf.number(10, 1)
local WRONG_HASH = "\137\1" .. ("\1"):rep(8) -- fixed64 key_hash = 17

local ROWS = {
    { "A5: a message that is cut off", message(OK:sub(1, -2)) },
    { "A5: a value that is cut off", message(protobuf.number(10, 1) .. "\10\100abc") },
    { "A5: a number without an end", message(("\255"):rep(20)) },
    { "A5: a wrong wire type", message(protobuf.number(1, 5) .. protobuf.number(10, 1)) },
    { "A5: field 0", message("\2\1a" .. OK) },
    { "A5: the tags of a group", message(group_tag(3, 3) .. group_tag(3, 4) .. group_tag(5, 4) .. OK) },
    { "A5: a length of 2^31", message("\10\128\128\128\128\8abc") },
    { "A6: a length of 100 MiB", {
        http = function()
            return "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 104857600\r\n\r\n"
                .. ("x"):rep(MIB)
        end,
        grpc = function(_, stream)
            return grpc.begin(stream) .. grpc.data(stream, "\0" .. grpc.big_endian(100 * MIB, 4) .. ("x"):rep(32768))
        end,
    }, 8 * MIB },
    { "A6: a length of 4 GiB", {
        http = function()
            return "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 4294967295\r\n\r\nx"
        end,
        grpc = function(_, stream) return grpc.begin(stream) .. grpc.data(stream, "\0\255\255\255\255x") end,
    }, 8 * MIB },
    { "A6: 100 MiB without a word before", {
        http = function()
            return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                .. ("100000\r\n" .. ("x"):rep(MIB) .. "\r\n"):rep(100) .. "0\r\n\r\n"
        end,
    }, 64 * MIB }, -- limits.peer_message is 16 MiB
    { "A7: the value of another key", message(OK .. WRONG_HASH) },
    { "A8: a compressed message", {
        grpc = function(_, stream)
            return grpc.begin(stream) .. grpc.data(stream, "\1" .. grpc.message(OK):sub(2)) .. grpc.trailers(stream, 0)
        end,
    } },
    { "A8: a status and no message", {
        grpc = function(_, stream) return grpc.begin(stream) .. grpc.trailers(stream, 0) end,
    } },
    { "A8: a message and no status", {
        grpc = function(_, stream)
            return grpc.begin(stream) .. grpc.frame(grpc.DATA, 1, stream, grpc.message(OK))
        end,
    } },
    { "A8: two messages", {
        grpc = function(_, stream)
            return grpc.begin(stream) .. grpc.data(stream, grpc.message(OK):rep(2)) .. grpc.trailers(stream, 0)
        end,
    } },
}

-- What is odd and good all the same: its value.
local GOOD = {
    { "A5: fields that nobody knows", function(key)
        return protobuf.bytes(99, "new") .. protobuf.bytes(1, "of " .. key) .. protobuf.number(98, 7) .. "\213\4abcd"
            .. "\209\4abcdefgh" .. protobuf.number(10, 1)
    end },
    { "A5: a field twice: the last", function(key)
        return protobuf.bytes(1, "first") .. protobuf.number(10, 1) .. protobuf.bytes(1, "of " .. key)
    end },
    { "A5: a key of any bytes", function(key)
        return protobuf.bytes(1, "of " .. key) .. protobuf.number(10, 1)
    end, "\0\1\n\r /%+\127\128\254\255" },
}

-- Keys say by their first letters which row answers them.
local function word_of(i)
    return ("row%02d"):format(i)
end

local function unescape(text)
    return (text:gsub("%%(%x%x)", function(hex)
        return string.char(tonumber(hex, 16))
    end))
end

local function answers(transport)
    local by_word = {}
    for i, row in ipairs(ROWS) do
        by_word[word_of(i)] = row[2][transport]
    end
    for i, row in ipairs(GOOD) do
        by_word[word_of(50 + i)] = function(key, stream)
            return transport == "http" and http_reply(row[2](key)) or grpc.reply(stream, row[2](key))
        end
    end
    return by_word
end

-- A peer of that transport at this port; answer(key, stream, connection).
local function start_peer(transport, port, notes, answer)
    if transport == "grpc" then
        return fake.grpc(port, notes, answer)
    end
    return fake.http(port, notes, function(path)
        local key = path:match("^/_hgcache/test/(.*)$")
        return key and not path:find("?", 1, true) and answer(unescape(key))
            or "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    end)
end

-- A node and the address of its only peer, which is to be served by start_peer.
local function start_node(transport, workers)
    local own, other = posix.free_port(), posix.free_port()
    local members = { "http://127.0.0.1:" .. own, "http://127.0.0.1:" .. other }
    local notes = node.dir() .. "/notes"
    node.write(notes, "")
    return node.start { config = CONFIG, peer_port = own, wait = false, args = { self = members[1],
        peers = table.concat(members, ","), transport = transport, workers = workers } }, other, members[2], notes
end

-- A key that the peer owns.
local function key_of(one, owner, prefix)
    for i = 1, 200 do
        local key = prefix .. i
        if node.json.decode(one:admin("/explain?group=test&key=" .. http.encode(key)).body).owner == owner then
            return key
        end
    end
    error("the peer owns no key")
end

local function peak_bytes(one)
    return tonumber(node.read("/proc/" .. one.pid .. "/status"):match("VmHWM:%s+(%d+)")) * 1024
end

for _, transport in ipairs { "http", "grpc" } do
    describe("a peer that answers over " .. transport, function()
        local n, peer, member, notes

        setup(function()
            local by_word = answers(transport)
            local port
            n, port, member, notes = start_node(transport)
            peer = start_peer(transport, port, notes, function(key, stream, connection)
                return by_word[key:sub(1, 5)](key, stream, connection)
            end)
            n:wait_ready()
        end)
        teardown(function()
            assert.equal(0, n:stop())
            peer:stop()
            node.finish()
        end)

        local function get(key)
            local r = n:get("/api?key=" .. http.encode(key), { timeout = 20 })
            return r.status, r.body
        end

        for i, row in ipairs(ROWS) do
            if row[2][transport] then
                it(row[1] .. " is a failed ask: one load here, kept for a while", function()
                    local key, before, peak = key_of(n, member, word_of(i)), n:stats("test"), peak_bytes(n)
                    for _ = 1, 2 do
                        assert.same({ 200, "local " .. key }, { get(key) })
                    end
                    local after = n:stats("test")
                    for _, counter in ipairs { "peer_loads", "peer_errors", "fallbacks", "local_loads" } do
                        assert.equal(before[counter] + 1, after[counter], counter)
                    end
                    n:wait_log("asked for " .. key .. "\n")
                    assert.equal(1, n:count("asked for " .. key .. "\n"))
                    assert.is_truthy(node.read(notes):find(key, 1, true))
                    assert.equal(0, n:count("peer down"))
                    if row[3] then
                        assert.is_true(peak_bytes(n) - peak < row[3], peak_bytes(n) - peak .. " bytes more")
                    end
                end)
            end
        end

        for i, row in ipairs(GOOD) do
            it(row[1] .. " is good", function()
                local key = key_of(n, member, word_of(50 + i) .. (row[3] or ""))
                assert.same({ 200, "of " .. key }, { get(key) })
            end)
        end
    end)
end

local function metric(one, name)
    return tonumber(one:admin("/metrics").body:match("\n" .. name .. " (%S+)"))
end

-- A Request's field 14. Field 99 is of nobody.
local WIRE_VERSION, NEW = 14, protobuf.bytes(99, "new")

for _, transport in ipairs { "http", "grpc" } do
    describe("a peer of another wire version over " .. transport, function()
        after_each(node.finish)

        -- Asks for a key as a node of that version would. -> 200 | 400, over HTTP the body
        local function ask(one, key, fields)
            fields = protobuf.bytes(11, "http://newer:1") .. NEW .. fields
            if transport == "http" then
                local r = http.get(one.peer_port, "/_hgcache/test/" .. key, { headers = {
                    ["Hgcache-Request"] = digest.encode_base64(fields) } })
                return r.status, r.body
            end
            local bytes = protobuf.bytes(1, "test") .. protobuf.bytes(2, key) .. fields
            local connection = grpc.connect(one.peer_port)
            assert(connection:send(grpc.frame(grpc.HEADERS, 4, 1, grpc.request_head("POST", "/hgcache.cache.GroupCache/Get")
                .. grpc.head { { "content-type", "application/grpc" }, { "te", "trailers" } })
                .. grpc.frame(grpc.DATA, 1, 1, grpc.message(bytes))))
            local has_message, is_over
            node.until_true(function()
                connection:pull(0.1)
                for _, frame in ipairs(grpc.frames(connection:collect())) do
                    has_message = has_message or frame.type == grpc.DATA
                    is_over = frame.stream == 1 and frame.flags % 2 == 1
                end
                return is_over
            end, 10, "the answer")
            connection:close()
            return has_message and 200 or 400
        end

        local function refused(one)
            return metric(one, "hgcache_peer_other_versions_total")
        end

        it("A18: is refused, and nobody else", function()
            local n = start_node(transport)
            n:wait_ready()
            for i, version in ipairs { "", protobuf.number(WIRE_VERSION, 0), protobuf.number(WIRE_VERSION, 1) } do
                assert.equal(200, (ask(n, "good" .. i, version)))
                n:wait_log("asked for good" .. i .. "\n")
            end
            assert.equal(0, refused(n))
            for i, version in ipairs { 2, 7, 2 ^ 32 - 1 } do
                local status, body = ask(n, "bad" .. i, protobuf.number(WIRE_VERSION, version))
                assert.equal(400, status)
                if body then
                    assert.equal("the request is of another wire version than this node's\n", body)
                end
                assert.equal(i, refused(n))
            end
            n:wait_log("peer has another wire version name=http://newer:1 theirs=2 ours=1\n")
            assert.equal(0, n:count("asked for bad"))
            assert.equal(0, n:stop())
        end)

        it("A18: refuses us: one load here, kept for a while, and it stays in the ring", function()
            local n, port, member, notes = start_node(transport)
            local peer = start_peer(transport, port, notes, function(_, stream)
                return transport == "grpc" and grpc.begin(stream) .. grpc.trailers(stream, 3)
                    or "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nno\n"
            end)
            n:wait_ready()
            for i = 1, 20 do
                local key = key_of(n, member, "key" .. i .. "-")
                for _ = 1, 2 do
                    local r = n:get("/api?key=" .. key)
                    assert.same({ 200, "local " .. key }, { r.status, r.body })
                end
                assert.equal(1, n:count("asked for " .. key .. "\n"))
            end
            assert.is_truthy(node.read(notes):find("key20-", 1, true))
            assert.equal(0, n:count("peer down"))
            assert.equal(0, n:stop())
            peer:stop()
        end)
    end)
end

describe("a peer that leaves", function()
    after_each(node.finish)

    -- FAULTS has this of HTTP/2 only. The first connection takes 40 calls, says that it looked at 20 of them, and answers those.
    it("A9: finishes what it has looked at, and the others are asked once more on another connection", function()
        local COUNT, LOOKED_AT = 40, 20
        local n, port, member, notes = start_node("grpc", 1) -- each worker has connections of its own
        local left = false
        local function value(key, stream)
            return grpc.reply(stream, protobuf.bytes(1, "of " .. key) .. protobuf.number(10, 1))
        end
        local peer = start_peer("grpc", port, notes, function(key, stream, connection)
            if left or not key:find("^away") then
                return value(key, stream)
            end
            connection[#connection + 1] = { stream, key }
            if #connection < COUNT then
                return nil
            end
            left = true
            table.sort(connection, function(a, b) return a[1] < b[1] end)
            local out = { grpc.frame(grpc.GOAWAY, 0, 0, grpc.big_endian(connection[LOOKED_AT][1], 4) .. "\0\0\0\0") }
            for i = 1, LOOKED_AT do
                out[#out + 1] = value(connection[i][2], connection[i][1])
            end
            return table.concat(out)
        end)
        n:wait_ready()
        local items, keys = {}, {}
        for i = 1, COUNT do
            keys[i] = key_of(n, member, "away" .. i .. "-")
            items[i] = { n.api_port, { path = "/api?key=" .. keys[i] } }
        end
        for i, r in ipairs(http.many(items, 20)) do
            assert.same({ 200, "of " .. keys[i] }, { r.status, r.body })
        end
        local _, asked = node.read(notes):gsub("away", "")
        assert.equal(COUNT + COUNT - LOOKED_AT, asked)
        local stats = n:stats("test")
        assert.same({ COUNT, 0, 0, 0 }, { stats.peer_loads, stats.peer_errors, stats.fallbacks, stats.local_loads })
        assert.equal(0, n:count("peer down"))
        assert.equal(0, n:stop())
        peer:stop()
    end)
end)
