-- Routes in Lua: what comes before and after them, JSON, stored values as bodies, pages of errors, CORS by a function.

local node = require "spec.support.node"
local http = require "spec.support.http"
local posix = require "spec.support.posix"
local cjson = require "cjson"

local CONFIG = [[
local origins_asked = hg.counter("spec_origins_total", "Asked.")
local function order(word)
    return function(req) req.order = (req.order or "") .. word end
end
local function fail() error("on purpose") end
return {
    node = { listen = listen(), scripts = { getters = 1, routes = 1 }, limits = { value = "8MiB", body = 1000 },
        script = { memory = "8MiB" } },
    groups = {
        pages = { ttl = "1h", getter = function(key)
            if key == "none" then return nil end
            if key == "bad" then return nil, "why", "unavailable" end
            if key == "slow" then hg.sleep(0.2) end
            return key == "big" and ("x"):rep(3 * 1024 * 1024) or "value of " .. key, { type = "text/x-page" }
        end },
        strict = { ttl = "1h", deadline = "100ms", getter = function() hg.sleep(1) return "late" end },
    },
    http = {
        before = { order "a", function(req) if req.headers["x-block"] then return 403, "blocked" end end },
        after = function(req, reply) reply.headers["X-Order"] = (req.order or "") .. "z" end,
        errors = {
            [404] = function(req, status, message)
                local how = req.query.page
                if how == "fail" then hg.sleep(0.02) fail() end
                if how == "stored" then return hg.reply { group = "pages", key = "a" } end
                if how == "native" then return { __hgcache = "native" } end
                if how == "headers" then
                    return hg.reply { body = "own", headers = { ["cache-STATUS"] = "mine", Vary = "X-A",
                        ["Cache-Control"] = "max-age=9", ["X-B"] = { "1", "2" } } }
                end
                return hg.reply { json = { status = status, message = message, path = req.path }, headers = { ["X-Page"] = "yes" } }
            end,
            [405] = "<h1>Not so</h1>",
            [400] = "<p>What?", [413] = "too much", [431] = "too many words",
            [414] = function() return "a long line" end,
            [502] = function(req) if req.query.twice then fail() end return "sorry" end,
            [504] = function() return 200, "in time after all" end,
            [503] = "back soon",
        },
    },
    cors = { origin = function(origin)
        origins_asked:inc()
        if origin:find("boom") then fail() end
        if origin:find("slow") then hg.sleep(0.3) end
        return origin:find("^https://[%w-]+%.good%.example$") ~= nil
    end, credentials = true, headers = { "x-a" }, methods = { "GET", "POST" }, max_age = "10m" },
    routes = {
        ["GET /native"] = hg.serve("pages"),
        ["GET /envelope"] = hg.serve("pages", { as = "envelope" }),
        ["GET /guarded/:id"] = hg.serve("pages", { key = "{path.id}", before = function(req)
            if req.query.token ~= "good" then return 401, "who are you?", { ["WWW-Authenticate"] = "Bearer" } end
        end }),
        ["GET /order"] = { before = { order "b", order "c" }, handler = function(req) return "[" .. req.order .. "]" end,
            after = function(req, reply) reply.status, reply.body, req.order = 201, reply.body .. "!", req.order .. "y" end },
        ["GET /other"] = { handler = function() return "one" end, after = function() return 202, "two" end },
        ["GET /after-bad"] = { handler = function() return "one" end, after = function() return true end },
        ["GET /table"] = function() return {} end,
        ["GET /fail"] = fail,
        ["GET /late"] = { timeout = "50ms", handler = function() hg.sleep(1) end },
        ["GET /kept"] = function() return 200, "kept", { ["cache-control"] = "max-age=60" } end,
        ["GET /forged"] = function() return { __hgcache = "native" } end,
        ["GET /header"] = function(req) return 200, "x", { ["X-V"] = req.query.v } end,
        ["GET /denied"] = function(req)
            if req.query.group == "pages" then return 403, "no" end
            return hg.reply { group = req.query.group, key = "a" }
        end,
        ["GET /own-404"] = function() return 404, "my own" end,
        ["POST /json"] = function(req)
            local value, message = req:json()
            if not value then return 400, message end
            return hg.reply { status = 201, json = { got = value, query = req.query_all } }
        end,
        ["GET /json-type"] = function() return hg.reply { json = { 1 }, headers = { ["content-type"] = "application/x-own" } } end,
        ["GET /misuse"] = function(req)
            local ok, message = pcall(hg.reply, loadstring("return " .. req.query.opts)())
            return ok and "fine" or message
        end,
        ["GET /stored/*key"] = { timeout = "5s", handler = function(req)
            return hg.reply { group = req.query.group or "pages", key = req.params.key,
                headers = { ["X-Own"] = { "1", "2" }, ["Content-Type"] = req.query.type, ["cache-control"] = req.query.life } }
        end },
        ["GET /strict"] = { cors = { origins = { "https://fixed.example" } }, handler = function()
            return hg.reply { group = "strict", key = "a" } end },
        ["GET /cors-own"] = { cors = { origin = function(origin) return origin == "https://own.example" end },
            handler = function(req) return "own" end },
        ["GET /cors-none"] = { cors = false, handler = function() return "none" end },
        ["GET /memory"] = function() return tostring(collectgarbage("count")) end,
    },
}
]]

local n

local function get(path, headers)
    return n:get(path, { headers = headers })
end

local function headers_of(response, name)
    return response.headers[name]
end

local function allowed(response)
    return response.headers["access-control-allow-origin"]
end

describe("routes in Lua", function()
    setup(function()
        n = node.start { config = CONFIG }
    end)
    teardown(function()
        assert.equal(0, n:stop())
        node.finish()
    end)
    after_each(function()
        assert.is_nil(n:ended())
    end)

    it("run what is before and after them, in order", function()
        local r = get "/order"
        assert.same({ 201, "[abc]!", "abcyz" }, { r.status, r.body, headers_of(r, "x-order") })
        r = get("/order", { ["X-Block"] = "1" })
        assert.same({ 201, "blocked!" }, { r.status, r.body }) -- after is behind that, too
        r = get "/other"
        assert.same({ 202, "two", "az" }, { r.status, r.body, headers_of(r, "x-order") })
        assert.equal("sorry", get("/after-bad").body)
        n:wait_log("after: expected nothing, or an answer as a route returns it, found a boolean")
        -- hg.serve is native: no Lua, unless it says so.
        r = get("/native?key=a", { ["X-Block"] = "1" })
        assert.same({ 200, "value of a" }, { r.status, r.body })
        assert.is_nil(headers_of(r, "x-order"))
        r = get "/guarded/a?token=bad"
        assert.same({ 401, "who are you?", "Bearer" }, { r.status, r.body, headers_of(r, "www-authenticate") })
        r = get "/guarded/a%20b?token=good"
        assert.same({ 200, "value of a b", "text/x-page" }, { r.status, r.body, headers_of(r, "content-type") })
        assert.equal(304, get("/guarded/a%20b?token=good", { ["If-None-Match"] = headers_of(r, "etag") }).status)
        assert.equal(403, get("/guarded/a?token=good", { ["X-Block"] = "1" }).status)
    end)

    it("take and give JSON, and every value of a name", function()
        local function post(body, query)
            return http.request(n.api_port, { method = "POST", path = "/json" .. (query or ""), body = body })
        end
        local r = post('{"a":[1,2]}', "?b=1&b=2&c=%2B+")
        assert.equal(201, r.status)
        assert.equal("application/json; charset=utf-8", headers_of(r, "content-type"))
        assert.same({ got = { a = { 1, 2 } }, query = { b = { "1", "2" }, c = { "+ " } } }, cjson.decode(r.body))
        assert.same({ 400, "the body is empty, expected JSON" }, { post("").status, post("").body })
        assert.is_truthy(post("{").body:find("^the body is no JSON: "))
        assert.equal(413, post(("x"):rep(1001)).status)
        r = get "/json-type"
        assert.same({ "application/x-own", "[1]" }, { headers_of(r, "content-type"), r.body })
        for opts, wanted in pairs {
            ["{ json = 1, body = 'x' }"] = "body or json, found both",
            ["{ json = print }"] = "hg.reply: json: ",
            ["{ group = 'pages' }"] = "group and key: expected two texts",
            ["{ group = 'pages', key = 'a', body = 'x' }"] = "found a status or a body too",
            ["{ tiype = 1 }"] = "unknown option 'tiype'",
        } do
            r = get("/misuse?opts=" .. http.encode(opts))
            assert.is_truthy(r.body:find(wanted, 1, true), r.body)
        end
    end)

    it("answer with a stored value that Lua never sees", function()
        local r = get "/stored/Tom"
        assert.same({ 200, "value of Tom", "text/x-page", "1, 2" },
            { r.status, r.body, headers_of(r, "content-type"), headers_of(r, "x-own") })
        assert.is_truthy(headers_of(r, "cache-status"):find("fwd=miss", 1, true))
        assert.is_truthy(headers_of(r, "etag"))
        r = get "/stored/Tom?type=text/plain"
        assert.is_truthy(headers_of(r, "cache-status"):find("; hit", 1, true))
        assert.equal("text/plain", headers_of(r, "content-type"))
        assert.is_truthy(headers_of(r, "cache-control"):find("^max%-age="))
        r = get "/stored/Tom?life=private"
        assert.equal("private", headers_of(r, "cache-control"))
        r = get("/stored/Tom", { ["If-None-Match"] = headers_of(r, "etag") })
        assert.same({ 304, "" }, { r.status, r.body })
        for _ = 1, 5 do
            r = get "/stored/big"
            assert.same({ 200, 3 * 1024 * 1024 }, { r.status, #r.body })
        end
        assert.is_true(tonumber(get("/memory").body) < 3072)
        r = get "/stored/none"
        assert.same({ 404, "not found" }, { r.status, cjson.decode(r.body).message })
        assert.is_truthy(headers_of(r, "cache-status"))
        r = get "/stored/bad"
        assert.same({ 503, "back soon" }, { r.status, r.body })
        assert.equal("sorry", get("/stored/a?group=nobody").body)
        assert.equal(414, get("/stored/" .. ("k"):rep(1025)).status)
        assert.equal("in time after all", get("/strict").body)
        -- Who leaves while it loads takes nothing with him.
        for _ = 1, 3 do
            local connection = assert(http.connect(n.api_port))
            connection:send(http.format { path = "/stored/slow" })
            posix.pause(0.02)
            connection:close()
        end
        node.until_true(function()
            return get("/stored/slow").body == "value of slow"
        end, 10, "a value that somebody asked for and left")
    end)

    it("have pages for errors of the node's own", function()
        local r = get "/nowhere%21"
        assert.same({ 404, "yes", "application/json; charset=utf-8" },
            { r.status, headers_of(r, "x-page"), headers_of(r, "content-type") })
        assert.same({ status = 404, message = "no such route", path = "/nowhere!" }, cjson.decode(r.body))
        r = get "/native?key=none"
        assert.same({ 404, "not found" }, { r.status, cjson.decode(r.body).message })
        assert.is_truthy(headers_of(r, "cache-status"))
        assert.same({ 404, "my own" }, { get("/own-404").status, get("/own-404").body })
        assert.equal('{"code":100004,"message":"Page not found"}', get("/envelope?key=none").body)
        r = http.request(n.api_port, { method = "PUT", path = "/order", body = "x" })
        assert.same({ 405, "<h1>Not so</h1>", "text/html; charset=utf-8" }, { r.status, r.body, headers_of(r, "content-type") })
        assert.is_truthy(headers_of(r, "allow"):find("GET", 1, true))
        for _, path in ipairs { "/fail", "/table" } do
            assert.same({ 502, "sorry" }, { get(path).status, get(path).body })
        end
        assert.same({ 502, "the script failed\n" }, { get("/fail?twice=1").status, get("/fail?twice=1").body })
        assert.same({ 200, "in time after all" }, { get("/late").status, get("/late").body })
        r = http.request(n.api_port, { method = "HEAD", path = "/nowhere" })
        assert.same({ 404, "" }, { r.status, r.body })
        -- What a page says itself takes the place of what the error had; Vary is a list.
        r = get "/native?key=none&page=headers"
        assert.same({ 404, "own", "mine", "1, 2" },
            { r.status, r.body, headers_of(r, "cache-status"), headers_of(r, "x-b") })
        assert.is_truthy(headers_of(r, "vary"):find("Origin", 1, true))
        assert.is_truthy(headers_of(r, "vary"):find("X-A", 1, true))
        -- What is no request has those that are texts.
        local head = " HTTP/1.1\r\nHost: x\r\n"
        for bytes, wanted in pairs {
            ["GET /\1" .. head .. "\r\n"] = { "HTTP/1.1 400 ", "text/html", "<p>What?" },
            ["BREW /" .. head .. "\r\n"] = { "HTTP/1.1 501 ", "text/plain", "unknown method\n" },
            ["POST /json" .. head .. "Content-Length: 100000000\r\n\r\n"] = { "HTTP/1.1 413 ", "text/plain", "too much" },
            ["GET /" .. head .. "X: " .. ("a"):rep(200000) .. "\r\n\r\n"] = { "HTTP/1.1 431 ", "text/plain", "too many words" },
            ["GET /" .. ("a"):rep(20000) .. head .. "\r\n"] = { "HTTP/1.1 414 ", "text/plain", "too long\n" },
        } do
            local raw = http.raw(n.api_port, bytes)
            for i, part in ipairs(wanted) do
                assert.is_truthy(i < 3 and raw:find(part, 1, true) or raw:sub(-#part) == part, raw:sub(1, 500))
            end
        end
        assert.is_nil(http.raw(n.admin_port, "GET /\1" .. head .. "\r\n"):find("What?", 1, true))
        -- Not of the admin's and of other nodes.
        assert.is_nil(headers_of(n:admin("/nowhere"), "x-page"))
    end)

    it("ask a function who may ask across origins", function()
        local function asked()
            return tonumber(n:admin("/metrics").body:match("\nspec_origins_total (%d+)"))
        end
        local function from(origin, path, method)
            return http.request(n.api_port, { method = method or "GET", path = path or "/native?key=a", headers = {
                Origin = origin, ["Access-Control-Request-Method"] = method and "GET" or nil } })
        end
        assert.equal(0, asked())
        get "/native?key=a"
        assert.equal(0, asked())
        for _ = 1, 3 do
            local r = from "https://a.good.example"
            assert.same({ 200, "value of a", "https://a.good.example", "Origin", "true" }, { r.status, r.body, allowed(r),
                headers_of(r, "vary"), headers_of(r, "access-control-allow-credentials") })
            r = from "https://evil.example"
            assert.same({ 200, "Origin" }, { r.status, headers_of(r, "vary") })
            assert.is_nil(allowed(r))
        end
        local workers = asked() -- each worker asks for itself
        assert.is_true(workers >= 2 and workers <= 6, workers)
        local r = from("https://b.good.example", "/native?key=a", "OPTIONS")
        assert.same({ 204, "https://b.good.example", "600" }, { r.status, allowed(r),
            headers_of(r, "access-control-max-age") })
        r = from("https://evil.example", "/native?key=a", "OPTIONS")
        assert.equal(204, r.status)
        assert.is_nil(allowed(r))
        -- In front of functions, stored values and errors.
        for _, path in ipairs { "/order", "/stored/Tom", "/nowhere", "/fail", "/guarded/a?token=good", "/guarded/a" } do
            assert.equal("https://c.good.example", allowed(from("https://c.good.example", path)), path)
        end
        assert.equal("https://own.example", allowed(from("https://own.example", "/cors-own")))
        assert.is_nil(allowed(from("https://a.good.example", "/cors-own")))
        assert.is_nil(headers_of(from("https://a.good.example", "/cors-none"), "vary"))
        -- What is no origin is not asked about; what fails is a no.
        local before = asked()
        for _, bad in ipairs { "https://a.good.example/", "nonsense", "https://A.good.example",
            "https://a.good.example, https://b" } do
            assert.is_nil(allowed(from(bad)), bad)
        end
        assert.equal(before, asked())
        for _ = 1, 2 do -- nobody keeps such an answer for an origin that may
            r = from "https://boom.good.example"
            assert.same({ 200, "value of a", "no-store", "Origin" },
                { r.status, r.body, headers_of(r, "cache-control"), headers_of(r, "vary") })
            assert.is_nil(allowed(r))
        end
        for _, path in ipairs { "/nowhere", "/nowhere?page=headers", "/stored/Tom", "/kept", "/native?key=none" } do
            assert.equal("no-store", headers_of(from("https://boom.good.example", path), "cache-control"), path)
        end
        assert.is_truthy(headers_of(from "https://evil.example", "cache-control"):find("^max%-age="))
    end)

    it("ask about an origin once for all who wait, and not about too many at a time", function()
        local function asked(name)
            return tonumber(n:admin("/metrics").body:match("\n" .. name .. " (%d+)"))
        end
        local function flood(count, origin_of)
            local connections, answers = {}, {}
            for i = 1, count do
                connections[i] = assert(http.connect(n.api_port))
                connections[i]:send(http.format { path = "/native?key=a", headers = { Origin = origin_of(i) } })
            end
            for i, connection in ipairs(connections) do
                answers[i] = connection:response("GET", 20)
                connection:close()
                assert.same({ 200, "value of a" }, { answers[i].status, answers[i].body })
            end
            return answers
        end
        local before, unasked = asked "spec_origins_total", asked "hgcache_origins_unasked_total"
        for _, r in ipairs(flood(30, function() return "https://slow.good.example" end)) do
            assert.equal("https://slow.good.example", allowed(r))
        end
        assert.is_true(asked "spec_origins_total" - before <= 2) -- one for each worker
        assert.equal(unasked, asked "hgcache_origins_unasked_total")
        before = asked "spec_origins_total"
        local without = 0
        for i, r in ipairs(flood(100, function(i) return ("https://slow%d.good.example"):format(i) end)) do
            if allowed(r) then
                assert.equal(("https://slow%d.good.example"):format(i), allowed(r))
            else
                without = without + 1
                assert.same({ "no-store", "Origin" }, { headers_of(r, "cache-control"), headers_of(r, "vary") })
            end
        end
        assert.is_true(without >= 100 - 2 * 16, without)
        assert.equal(unasked + without, asked "hgcache_origins_unasked_total")
        assert.equal(before + 100 - without, asked "spec_origins_total")
        -- Who leaves takes nothing with him.
        local connection = assert(http.connect(n.api_port))
        connection:send(http.format { path = "/native?key=a", headers = { Origin = "https://slow-gone.good.example" } })
        posix.pause(0.02)
        connection:close()
        assert.equal("https://slow-gone.good.example", allowed(get("/native?key=a", { Origin = "https://slow-gone.good.example" })))
    end)

    it("have the node's own line where a page cannot be had", function()
        for _, row in ipairs {
            { "/stored/none?x=1", "not found\n" }, { "/nowhere?x=1", "no such route\n" },
            { "/native?key=none", "not found\n" }, { "/guarded/none?token=good", "not found\n" },
        } do
            for _, how in ipairs { "fail", "stored", "native" } do
                local r = get(row[1] .. "&page=" .. how, { Origin = "https://a.good.example" })
                assert.same({ 404, row[2], "https://a.good.example" }, { r.status, r.body, allowed(r) }, row[1] .. how)
            end
        end
        n:wait_log("a page of an error cannot be a stored value")
        assert.equal("sorry", get("/forged").body)
    end)

    it("take neither names nor values that are cut short or hide something", function()
        assert.equal("no", get("/denied?group=pages").body)
        assert.equal("sorry", get("/denied?group=pages%00").body)
        n:wait_log("hg.reply: no such group")
        for _, bad in ipairs { "%00", "%0d", "%0a", "a%01", "%1b[31m", "%7f" } do
            assert.equal("sorry", get("/header?v=" .. bad).body, bad)
        end
        assert.same({ 200, "a\tb" }, { get("/header?v=a%09b").status, headers_of(get("/header?v=a%09b"), "x-v") })
        assert.equal("\195\169", headers_of(get("/header?v=%C3%A9"), "x-v"))
    end)

    it("are printed by check", function()
        local result = node.run { "check", n.file, "api=127.0.0.1:1", "admin=127.0.0.1:2" }
        assert.equal(0, result.code, result.err)
        for _, line in ipairs {
            "GET /native       serve group pages, key {query.key}, raw",
            "GET /guarded/:id  serve group pages, key {path.id}, raw, 1 before",
            "GET /order        function, 2 before, 1 after",
            "GET /late         function, timeout 50ms",
            "GET /cors-none    function, no cors",
            "GET /cors-own     function, own cors",
            "POST /json        function",
            "[404] = function(req, status, message) ... end,",
            '[503] = "back soon",',
            "origin = function(origin) ... end,",
            "before = { ... }, -- 2",
        } do
            assert.is_truthy(result.out:find(line, 1, true), line .. "\n" .. result.out)
        end
    end)

    it("are checked when the configuration loads", function()
        for text, wanted in pairs {
            ["http = { before = 1 }"] = "http.before: expected a function(req), or a list of them, found 1",
            ["http = { after = { print, 2 } }"] = "http.after[2]: expected a function(req, reply), found 2",
            ["http = { errors = { [200] = 'x' } }"] = "http.errors[200]: expected a status from 400 to 599",
            ["http = { errors = { [404] = 7 } }"] = "http.errors[404]: expected a text or a function",
            ["http = { eror = {} }"] = "http.eror: unknown key",
            ["cors = { origins = '*', origin = print }"] = "cors: expected origins or origin, found both",
            ["cors = {}"] = "cors: expected origins or origin, found neither",
            ["routes = { ['GET /a'] = hg.serve('g', { before = 'x' }) }"] = "before: expected a function(req), or a list of them",
            ["routes = { ['GET /a'] = { handler = print, after = {} , befor = print } }"] = "unknown key, did you mean",
        } do
            local file = node.write(node.dir() .. "/c.lua", ([[local hg = require "hgcache"
                return { groups = { g = { getter = function() end } }, %s }]]):format(text))
            local result = node.run { "check", file }
            assert.equal(2, result.code, text)
            assert.is_truthy(result.err:find(wanted, 1, true), result.err)
        end
    end)
end)
