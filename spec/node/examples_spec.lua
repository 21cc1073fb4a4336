-- Every example is run, so that it cannot rot.

local node = require "spec.support.node"
local posix = require "spec.support.posix"
local fake = require "spec.support.fake"
local redis = require "spec.support.redis"
local postgres = require "spec.support.postgres"
local cjson = require "cjson"

describe("examples", function()
    after_each(node.finish)

    it("scores: three nodes, one slow source, asked once for a key", function()
        local nodes, members, ports = {}, {}, {}
        for i = 1, 3 do
            ports[i] = posix.free_port()
            members[i] = "http://localhost:" .. ports[i]
        end
        for i = 1, 3 do
            nodes[i] = node.start {
                file = "examples/scores/config.lua", wait = false,
                args = { port = ports[i], peers = table.concat(members, ","), peer = false, api = i < 3 and false
                    or nil },
            }
        end
        for i = 1, 3 do
            nodes[i]:wait_ready()
        end
        local front = nodes[3]
        for _ = 1, 3 do
            local r = front:get("/api?key=Tom")
            assert.equal(200, r.status)
            assert.equal("630", r.body)
        end
        assert.equal("589", front:get("/api?key=Jack").body)
        assert.equal("567", front:get("/api?key=Sam").body)
        assert.equal(404, front:get("/api?key=Nobody").status)
        local searches = 0
        for i = 1, 3 do
            searches = searches + nodes[i]:count("[SlowDB] search key Tom")
        end
        assert.equal(1, searches)
        -- Some key belongs to another node, and the hop is told.
        node.until_true(function()
            front:get("/api?key=k" .. math.random(1000))
            return front:count("Pick peer http://localhost:") > 0
        end, 10, "a hop in the log:\n" .. front:log())
        for i = 1, 3 do
            assert.equal(0, nodes[i]:stop())
        end
    end)

    it("envelope: HgCache v2's JSON, with CORS", function()
        local n = node.start { file = "examples/envelope/config.lua" }
        for _, path in ipairs { "/cache/api?key=Tom", "/cache/api?group=scores&key=Tom" } do
            local r = n:get(path, { headers = { Origin = "http://localhost:3000" } })
            assert.equal(200, r.status)
            assert.equal('{"data":"630"}', r.body)
            assert.equal("application/json; charset=utf-8", r.headers["content-type"])
            assert.equal("http://localhost:3000", r.headers["access-control-allow-origin"])
        end
        local r = n:get("/cache/api?key=Nobody")
        assert.equal(404, r.status)
        assert.same({ code = 100004, message = "Page not found" }, cjson.decode(r.body))
        r = n:get("/cache/api?group=nope&key=Tom")
        assert.equal(404, r.status)
        assert.equal(100004, cjson.decode(r.body).code)
        r = n:get("/cache/api")
        assert.equal(400, r.status)
        assert.same({ code = 100003, message = "Validation failed" }, cjson.decode(r.body))
        assert.equal(0, n:stop())
    end)

    it("sqlite: values out of a database, keys that cannot be run", function()
        local n = node.start { file = "examples/sqlite/config.lua", args = { db = node.dir() .. "/scores.db" } }
        assert.equal("630", n:get("/scores/Tom").body)
        assert.equal("589", n:get("/scores/Jack").body)
        assert.equal("text/plain", n:get("/scores/Tom").headers["content-type"])
        for _, key in ipairs { "Nobody", "x%27%20OR%20%271%27=%271", "%27;DROP%20TABLE%20scores;--", "Tom%00" } do
            assert.equal(404, n:get("/scores/" .. key).status)
        end
        assert.equal("567", n:get("/scores/Sam").body)
        assert.equal(0, n:stop())
    end)

    it("redis: scores, many in one MGET", function()
        local server = redis.start()
        server:command("SET", "score:Tom", "630")
        local n = node.start { file = "examples/redis/config.lua", args = { redis = "127.0.0.1:" .. server.port } }
        assert.equal("630", n:get("/scores/Tom").body)
        assert.equal("text/plain", n:get("/scores/Tom").headers["content-type"])
        assert.equal(404, n:get("/scores/Nobody").status)
        assert.equal(0, n:stop())
        redis.finish()
    end)

    local no_postgres = postgres.missing()
    if no_postgres then
        print("the example of PostgreSQL skipped: " .. no_postgres)
    end
    it("postgres: prices in one statement, a stock that is sold", function()
        if no_postgres then
            return
        end
        local server = postgres.start()
        server:sql(node.read("examples/postgres/schema.sql"))
        local n = node.start { file = "examples/postgres/config.lua",
            args = { db = ("postgresql://postgres@127.0.0.1:%d/postgres"):format(server.port) } }
        assert.equal("19.90", n:get("/items/lamp").body)
        assert.equal(404, n:get("/items/none").status)
        for left = 3, 1, -1 do
            assert.same({ item = "lamp", left = left }, cjson.decode(n:get("/stock/lamp").body))
            local r = n:get("/stock/lamp/sell", { method = "POST" })
            assert.equal(200, r.status, r.body)
            assert.same({ item = "lamp", left = left - 1 }, cjson.decode(r.body))
        end
        assert.equal(404, n:get("/stock/lamp/sell", { method = "POST" }).status)
        assert.equal(404, n:get("/stock/none").status)
        assert.equal(0, n:stop())
        postgres.finish()
    end)

    it("files: pages below a folder, and nothing outside it", function()
        local n = node.start { file = "examples/files/config.lua" }
        local r = n:get("/files/hello.txt")
        assert.equal(200, r.status)
        assert.equal("Hello from a file.\n", r.body)
        assert.equal("text/plain; charset=utf-8", r.headers["content-type"])
        for _, path in ipairs { "nothing", "../config.lua", "%2e%2e/config.lua", "..%2fconfig.lua", "%2fetc%2fpasswd",
            "hello.txt%00" } do
            local status = n:get("/files/" .. path).status
            assert.is_true(status == 404 or status == 400, path .. " " .. tostring(status))
        end
        assert.equal(0, n:stop())
    end)

    it("function: two keys put together", function()
        local n = node.start { file = "examples/function/config.lua" }
        local r = n:get("/match/Tom/Jack")
        assert.equal(200, r.status)
        assert.same({ winner = "Tom", scores = { Tom = 630, Jack = 589 } }, cjson.decode(r.body))
        assert.equal("application/json", r.headers["content-type"])
        assert.equal(404, n:get("/match/Tom/Nobody").status)
        assert.equal(2, n:stats("scores").local_loads - 1)
        assert.equal(0, n:stop())
    end)

    it("origin: an HTTP origin behind the cache", function()
        local port, dir = posix.free_port(), node.dir()
        local origin = fake.http(port, dir .. "/notes", function(path, request)
            local body = path == "/items/42" and '{"name":"lamp"}' or path == "/stock/42" and '{"left":3}' or nil
            local status = body and "200 OK" or "404 Not Found"
            assert(request:find("^GET "))
            return ("HTTP/1.1 %s\r\nContent-Type: application/json\r\nCache-Control: max-age=60\r\nContent-Length: %d\r\n\r\n%s")
                :format(status, body and #body or 0, body or "")
        end)
        local n = node.start { file = "examples/origin/config.lua", args = { origin = "http://127.0.0.1:" .. port } }
        for _ = 1, 2 do
            local r = n:get("/items/42")
            assert.equal(200, r.status)
            assert.equal('{"name":"lamp"}', r.body)
            assert.equal("application/json", r.headers["content-type"])
            assert.equal(404, n:get("/items/43").status)
        end
        assert.same({ item = { name = "lamp" }, stock = { left = 3 } }, cjson.decode(n:get("/summary/42").body))
        assert.equal(404, n:get("/summary/43").status)
        local _, asked = node.read(dir .. "/notes"):gsub("\n", "")
        assert.equal(5, asked)
        assert.equal(0, n:stop())
        origin:stop()
    end)

    it("ratelimit: so many requests for each client and window, then 429", function()
        local n = node.start { file = "examples/ratelimit/config.lua", args = { requests = 3, window = "1h" } }
        for _ = 1, 3 do
            assert.equal("630", n:get("/scores/Tom").body)
        end
        for _ = 1, 2 do
            local r = n:get("/scores/Tom")
            assert.equal(429, r.status)
            local wait = tonumber(r.headers["retry-after"])
            assert.is_true(wait > 3500 and wait <= 3600)
        end
        -- Another client has a window of its own.
        local other = { headers = { ["X-Api-Key"] = "other" } }
        assert.equal(200, n:get("/scores/Jack", other).status)
        assert.equal(404, n:get("/scores/Nobody", other).status)
        assert.equal(0, n:stop())
    end)

    it("ratelimit: a window ends", function()
        local n = node.start { file = "examples/ratelimit/config.lua", args = { requests = 1, window = "50ms" } }
        assert.equal(200, n:get("/scores/Tom").status)
        node.until_true(function()
            return n:get("/scores/Tom").status == 200
        end, 10, "a new window")
        assert.equal(0, n:stop())
    end)

    it("configs/minimal.lua is a node in five minutes", function()
        -- It listens where the defaults say, so it is only checked here.
        local result = node.run { "check", "configs/minimal.lua" }
        assert.equal(0, result.code)
        assert.is_truthy(result.out:find("GET /api", 1, true))
    end)

    it("configs/cluster.lua passes the check", function()
        local result = node.run { "check", "configs/cluster.lua" }
        assert.equal("", result.err)
        assert.equal(0, result.code)
    end)

    it("configs/full.lua passes the check", function()
        local result = node.run { "check", "configs/full.lua" }
        assert.equal("", result.err)
        assert.equal(0, result.code)
    end)
end)
