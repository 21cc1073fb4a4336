-- C15, C16 and keys of any bytes: HTTP, the peer protocol and Lua agree on every byte.

local node = require "spec.support.node"
local http = require "spec.support.http"
local protobuf = require "spec.support.protobuf"

local CONFIG = [[
return {
    node = { listen = listen(), workers = tonumber(hg.args.workers) },
    cluster = cluster(),
    groups = {
        test = {
            capacity = "64MiB",
            getter = function(key)
                if key == "zero" then
                    return ""
                elseif key == "big" then
                    return ("0123456789abcdef"):rep(524288)
                elseif key == "too big" then
                    return ("0123456789abcdef"):rep(524288) .. "x"
                elseif key == "nul" then
                    return "a\0b\0"
                elseif key == "nil" then
                    return nil
                elseif key == "null" then
                    return hg.null
                elseif key == "number" then
                    return 9007199254740991
                elseif key == "half" then
                    return 0.5
                elseif key == "bool" then
                    return true
                elseif key == "table" then
                    return {}
                elseif key == "nan" then
                    return 0 / 0
                end
                return key
            end,
        },
    },
    routes = {
        ["GET /api"] = hg.serve("test"),
        ["GET /path/:key"] = hg.serve("test", { key = "{path.key}" }),
        ["GET /lua"] = function(req)
            local bytes = {}
            for i = 0, 255 do
                bytes[#bytes + 1] = string.char(i)
            end
            return (assert(hg.group("test"):get(table.concat(bytes))))
        end,
    },
}
]]

local every = {}
for i = 0, 255 do
    every[#every + 1] = string.char(i)
end
every = table.concat(every)

for _, workers in ipairs { 1, 4 } do
    describe("bytes with " .. workers .. " workers", function()
        local n

        setup(function()
            n = node.start { config = CONFIG, args = { workers = workers } }
        end)
        teardown(node.finish)

        it("C15: values of 0 bytes, 8 MiB and with NUL are exact, 8 MiB + 1 is too large", function()
            for _ = 1, 2 do
                local r = n:get("/api?key=zero")
                assert.equal(200, r.status)
                assert.equal("", r.body)
                assert.equal("0", r.headers["content-length"])
                r = n:get("/api?key=big")
                assert.equal(200, r.status)
                assert.is_true(r.body == ("0123456789abcdef"):rep(524288))
                assert.equal("a\0b\0", n:get("/api?key=nul").body)
                assert.equal(502, n:get("/api?key=too+big").status)
            end
        end)

        it("C16: not found, empty and nil are three things", function()
            assert.equal(404, n:get("/api?key=nil").status)
            assert.equal(404, n:get("/api?key=null").status)
            assert.equal(200, n:get("/api?key=zero").status)
            for _, key in ipairs { "bool", "table", "nan" } do
                assert.equal(502, n:get("/api?key=" .. key).status)
            end
            assert.equal("9007199254740991", n:get("/api?key=number").body)
            assert.equal("0.5", n:get("/api?key=half").body)
        end)

        it("a key of every byte value is the same by HTTP, by a peer and in Lua", function()
            assert.is_true(n:get("/api?key=" .. http.encode(every)).body == every)
            assert.is_true(n:get("/path/" .. http.encode(every)).body == every)
            assert.is_true(n:get("/lua").body == every)
            local r = http.get(n.peer_port, "/_hgcache/test/" .. http.encode(every))
            assert.equal(200, r.status)
            assert.is_true(protobuf.decode(r.body)[1] == every)
        end)

        it("each single byte is a key of its own", function()
            for i = 0, 255 do
                local r = n:get(("/api?key=%%%02x"):format(i))
                assert.equal(200, r.status)
                assert.equal(string.char(i), r.body)
            end
        end)

        it("big values come whole to many clients at once", function()
            local items = {}
            for i = 1, 8 do
                items[i] = { n.api_port, { path = "/api?key=big" } }
            end
            for _, r in ipairs(http.many(items, 60)) do
                assert.equal(200, r.status)
                assert.equal(8388608, #r.body)
            end
        end)
    end)
end

describe("bytes between nodes", function()
    after_each(node.finish)

    it("are the same from any node", function()
        local nodes = node.cluster { config = CONFIG, count = 2 }
        for i = 1, 2 do
            assert.is_true(nodes[i]:get("/api?key=" .. http.encode(every)).body == every)
            assert.equal("", nodes[i]:get("/api?key=zero").body)
            assert.equal(200, nodes[i]:get("/api?key=zero").status)
            assert.equal(404, nodes[i]:get("/api?key=nil").status)
            assert.equal("a\0b\0", nodes[i]:get("/api?key=nul").body)
            assert.equal(8388608, #(nodes[i]:get("/api?key=big").body or ""))
            assert.equal(502, nodes[i]:get("/api?key=too+big").status)
            assert.equal(502, nodes[i]:get("/api?key=bool").status)
            for _, key in ipairs { "a/b", "a%2Fb", "a b", "a+b", "%", "?", "#", "..", "../x", "\195\169",
                "e\204\129" } do
                assert.equal(key, nodes[i]:get("/api?key=" .. http.encode(key)).body)
            end
        end
        assert.equal(0, node.sum(nodes, "test", "fallbacks"))
        -- too_large is typed: the asker does not load a second time.
        assert.equal(node.sum(nodes, "test", "peer_errors"), 0)
    end)
end)
