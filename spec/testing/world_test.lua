-- Fakes of origins, Redis, SQL and peers; routes; what passes between a spec and its node. Run by `hgcache test`.

local testing = require "hgcache.testing"
local configs = require "spec.testing.configs"

local function items(getter, fakes, more)
    return testing.node(configs.file("return { groups = { items = { " .. getter .. " } }, " .. (more or "") .. " }"), {}, fakes)
end

local function fails(fn, ...)
    local ok, message = pcall(fn, ...)
    assert.is_false(ok)
    return message
end

describe("hg.http", function()
    after_each(configs.remove)

    it("meets the fake of its method and URL", function()
        local seen
        local node = items([[getter = function(key)
            local answer = assert(hg.http.request { method = "PUT", url = "https://o/x?k=" .. key, body = "b",
                headers = { A = "1" } })
            return answer.status .. answer.body .. answer.headers["x-one"] .. answer.headers["set-cookie"][2]
        end]], { http = { ["PUT https://o/x?k=7"] = function(request)
            seen = request
            return { status = 201, body = "done", headers = { ["X-One"] = "1", ["Set-Cookie"] = { "a", "b" } } }
        end } })
        assert.equal("201done1b", (node:get("items", "7")))
        assert.same({ method = "PUT", url = "https://o/x?k=7", body = "b",
            headers = { a = "1", ["user-agent"] = "hgcache" } }, seen)
    end)

    it("meets it in pieces, too", function()
        local node = items([[getter = function(key)
            local pieces, list = { "a", "b" }, {}
            local answer = assert(hg.http.request { method = "PUT", url = "https://o/x", stream = true,
                body = function() return table.remove(pieces, 1) end })
            for piece in function() return answer:read(3) end do list[#list + 1] = piece end
            return table.concat(list, "|") .. tostring(answer:close()) .. tostring(answer:close())
        end]], { http = { ["PUT https://o/x"] = function(request) return { body = "got " .. request.body } end } })
        assert.equal("got| ab" .. "truefalse", (node:get("items", "7")))
    end)

    it("without a fake names the URL and how to give one", function()
        local node = items('getter = hg.source_http { url = "https://origin/items/{key}" }', {})
        local message = fails(function() node:get("items", "7") end)
        assert.is_truthy(message:find("GET https://origin/items/7", 1, true))
        assert.is_truthy(message:find('http = { ["GET https://origin/items/7"] = ', 1, true))
    end)

    it("waits for a slow origin, and for no longer than it has", function()
        local node = items('getter = hg.source_http { url = "https://o/{key}", timeout = "2s" }', { http = {
            ["GET https://o/slow"] = { body = "v", delay = "1500ms" },
            ["GET https://o/late"] = { body = "v", delay = "3s" },
            ["GET https://o/gone"] = function() return nil, "connection refused", "unavailable" end,
        } })
        local begun = node:time()
        assert.equal("v", (node:get("items", "slow")))
        assert.equal(1.5, node:time() - begun)
        assert.equal("timeout", (select(3, node:get("items", "late"))))
        assert.equal(3.5, node:time() - begun)
        assert.equal("unavailable", (select(3, node:get("items", "gone"))))
    end)

    it("follows redirects, tries again, and asks allowed origins only", function()
        local tries = 0
        local node = items([[getter = function(key)
            local answer, message, code = hg.http.get("https://o/" .. key, { redirects = 2, retries = 2 })
            return answer and answer.body .. answer.url, message, code
        end]], { http = function(request)
            if request.url == "https://o/from" then
                return { status = 302, headers = { Location = "/to" } }
            elseif request.url == "https://o/again" then
                tries = tries + 1
                return tries == 3 and "third " or nil
            elseif request.url == "https://o/away" then
                return { status = 302, headers = { Location = "https://evil/" } }
            end
            return "at "
        end }, 'node = { http = { origins = { "https://o" } } }')
        assert.equal("at https://o/to", (node:get("items", "from")))
        assert.equal("third https://o/again", (node:get("items", "again")))
        assert.equal("denied", (select(3, node:get("items", "away"))))
    end)
end)

describe("hg.socket", function()
    after_each(configs.remove)

    it("finds the fake Redis", function()
        local data = { ["s:Tom"] = 630, ["s:Jack"] = "589" }
        local node = testing.node(configs.file [[return { groups = {
            one = { ttl = "1s", getter = hg.source_redis { key = "s:{key}", db = 2, password = "p" } },
            many = { get_many = hg.source_redis.many { unix = "/run/redis.sock", key = "s:{key}" } } } }]], { redis = data })
        assert.equal("630", (node:get("one", "Tom")))
        assert.equal("not_found", (select(3, node:get("one", "Sam"))))
        assert.same({ "630", "589" }, (node:get_all("many", { "Tom", "Jack", "Sam" })))
        assert.equal(1, node:calls("many"))
        data["s:Tom"] = 1
        node:advance("1s")
        assert.equal("1", (node:get("one", "Tom")))
    end)

    it("asks a function command by command", function()
        local asked = {}
        local node = items('getter = hg.source_redis {}', { redis = function(command, ...)
            asked[#asked + 1] = { command, ... }
            if (...) == "bad" then
                return { error = "ERR broken" }
            end
            return "value"
        end })
        assert.equal("value", (node:get("items", "k")))
        assert.same({ { "GET", "k" } }, asked)
        assert.equal("internal", (select(3, node:get("items", "bad"))))
    end)

    local has_library = package.searchpath("nginx.redis", package.path)
    local about = has_library and it or pending

    about("finds it through a client library for OpenResty", function()
        local data = { a = "A" }
        local node = items([[getter = function(key)
            require "hgcache.ngx"
            local redis = require("nginx.redis").new()
            assert(redis:connect("127.0.0.1", 6379))
            assert(redis:set("seen", key))
            local value = redis:get(key)
            redis:set_keepalive(1000, 10)
            return value ~= ngx.null and value or nil
        end]], { redis = data })
        assert.equal("A", (node:get("items", "a")))
        assert.same({ a = "A", seen = "a" }, data)
    end)

    it("without one names the address and how to give one", function()
        local node = items('getter = hg.source_redis { port = 7777 }', {})
        local message = fails(function() node:get("items", "k") end)
        assert.is_truthy(message:find("127.0.0.1:7777", 1, true), message)
        assert.is_truthy(message:find("redis = ", 1, true), message)
    end)
end)

describe("SQL", function()
    after_each(configs.remove)

    it("is asked as people write it", function()
        local node = testing.node(configs.file [[
            local sqlite = require "luasql.sqlite3"
            return { groups = { items = { getter = function(key)
                local db = sqlite.sqlite3():connect("/nowhere.db")
                local cursor, message = db:execute("SELECT v FROM t WHERE k = '" .. db:escape(key) .. "'")
                if not cursor then return nil, message, "unavailable" end
                return (cursor:fetch())
            end } } }]], { sql = function(query)
                if query == "SELECT v FROM t WHERE k = 'it''s'" then
                    return { { "yes" } }
                elseif query:find("'bad'", 1, true) then
                    return nil, "no such table"
                end
                return {}
            end })
        assert.equal("yes", (node:get("items", "it's")))
        assert.equal("not_found", (select(3, node:get("items", "none"))))
        assert.equal("unavailable", (select(3, node:get("items", "bad"))))
    end)
end)

describe("PostgreSQL", function()
    after_each(configs.remove)
    local about = require("hgcache.core").module("hgcache.postgres") and it or pending

    about("is asked with its parameters", function()
        local asked
        local node = testing.node(configs.file [[return { groups = { items = { getter =
            hg.source_postgres { url = "postgresql://app@db.example/shop", query = "select v from t where k = $1" } } } }]], {
            sql = function(query, ...)
                asked = { query, ... }
                if (...) == "bad" then
                    return nil, "connection lost", "unavailable"
                end
                return (...) == "a" and { { "A" } } or {}
            end })
        assert.equal("A", (node:get("items", "a")))
        assert.same({ "select v from t where k = $1", "a" }, asked)
        assert.equal("not_found", (select(3, node:get("items", "b"))))
        assert.equal("unavailable", (select(3, node:get("items", "bad"))))
    end)
end)

describe("peers", function()
    it("are the members where a configuration has them found", function()
        for _, found in ipairs { 'hg.file("/nowhere")', 'hg.dns { name = "nowhere.invalid" }', "function() error('asked') end" } do
            local node = testing.node(configs.file([[ return { groups = { g = { getter = function() return "mine" end } },
                cluster = { self = "http://127.0.0.1:8001", peers = ]] .. found .. " } }"),
                { }, { peers = { ["http://127.0.0.1:8002"] = function() return "theirs" end } })
            local seen = {}
            for i = 1, 50 do
                seen[node:get("g", "k" .. i)] = true
            end
            assert.same({ mine = true, theirs = true }, seen)
            node:close()
        end
    end)

    after_each(configs.remove)
    local CLUSTER = [[return { groups = { items = { ttl = "1m", getter = function(key) return "own " .. key end } },
        cluster = { self = "http://127.0.0.1:8001", peers = { "http://127.0.0.1:8001", "http://127.0.0.1:8002" } } }]]

    local function count_theirs(values)
        local count = 0
        for _, value in pairs(values) do
            count = count + (value:find("^their ") and 1 or 0)
        end
        return count
    end

    local function keys()
        local out = {}
        for i = 1, 40 do
            out[i] = "key" .. i
        end
        return out
    end

    it("own keys, and answer for them", function()
        local asked = 0
        local node = testing.node(configs.file(CLUSTER), { peers = { ["http://127.0.0.1:8002"] = function(group, key)
            asked = asked + 1
            if key == "key1" or key == "key2" or key == "key3" then
                return nil
            end
            return group == "items" and "their " .. key, { ttl = 30 }
        end } })
        local theirs = count_theirs((node:get_all("items", keys())))
        assert.is_true(theirs > 5 and theirs < 35, theirs)
        assert.is_true(asked >= theirs)
        assert.is_true(node:calls("items") < 40)
    end)

    it("that are down leave their keys to this node", function()
        local node = testing.node(configs.file(CLUSTER), { peers = { ["http://127.0.0.1:8002"] = function()
            return nil, "no route", "down"
        end } })
        assert.equal(0, count_theirs((node:get_all("items", keys()))))
        assert.equal(40, node:calls("items"))
    end)

    it("are none where no fake is given", function()
        local node = testing.node(configs.file(CLUSTER))
        assert.equal(0, count_theirs((node:get_all("items", keys()))))
    end)
end)

describe("a node", function()
    after_each(configs.remove)

    it("collapses and batches what comes together", function()
        local node = testing.node(configs.file [[return { groups = {
            one = { getter = function(key) hg.sleep(1) return "v" .. key end },
            many = { batch = { window = "5ms" }, get_many = function(keys)
                local out = {}
                for _, key in ipairs(keys) do out[key] = key ~= "none" and #keys .. key or nil end
                return out
            end } } }]])
        assert.same({ "va", "va", "vb" }, (node:get_all("one", { "a", "a", "b" })))
        assert.equal(2, node:calls("one"))
        local values, errors = node:get_all("many", { "x", "none", "z" })
        assert.same({ "3x", nil, "3z" }, values)
        assert.equal("not_found", errors[2].code)
        assert.equal(1, node:calls("many"))
        assert.equal(1, node:calls("many", "x"))
        assert.same({}, (node:get_all("one", {})))
    end)

    it("answers requests of its routes", function()
        local node = testing.node(configs.file [[return {
            groups = { items = { deadline = "2s", getter = function(key) hg.sleep(key == "slow" and 5 or 0) return key end } },
            cors = { origins = { "https://shop.example" } },
            routes = {
                ["GET /items/:key"] = hg.serve("items", { key = "{path.key}", type = "text/plain" }),
                ["POST /echo"] = function(req)
                    hg.sleep(1)
                    return hg.reply { status = 201, body = req.body .. req.headers["x-a"] .. req.query.q .. req.remote,
                        headers = { ["Set-Cookie"] = { "a=1", "b=2" } } }
                end,
            } }]], { colour = "red" })
        local status, body, headers = node:request("GET", "/items/a%20b")
        assert.equal(200, status)
        assert.equal("a b", body)
        assert.equal("text/plain", headers["content-type"])
        assert.equal("Thu, 01 Jan 2026 00:00:00 GMT", headers.date)
        status = node:request("GET", "/items/a%20b", { ["If-None-Match"] = headers.etag })
        assert.equal(304, status)
        assert.equal(504, (node:request("GET", "/items/slow")))
        assert.equal(404, (node:request("GET", "/nothing")))
        local big = ("x"):rep(500000)
        status, body, headers = node:request("POST", "/echo?q=3", { ["X-A"] = "1", Origin = "https://shop.example" }, big)
        assert.equal(201, status)
        assert.equal(big .. "13unix", body)
        assert.same({ "a=1", "b=2" }, headers["set-cookie"])
        assert.equal("https://shop.example", headers["access-control-allow-origin"])
    end)

    it("takes writes, tags and flushes", function()
        local node = items('getter = function(key) return "loaded", { tags = { "t" } } end')
        assert.is_true(node:set("items", "a", "set", { ttl = "5s", tags = { "u" } }))
        assert.equal("set", (node:get("items", "a")))
        assert.equal(0, node:calls("items"))
        node:advance("6s")
        assert.equal("loaded", (node:get("items", "a")))
        assert.equal("loaded", (node:peek("items", "a")))
        assert.is_true(node:remove_tag("items", "t"))
        assert.is_nil((node:peek("items", "a")))
        node:get("items", "a")
        assert.is_true(node:expire("items", "a"))
        node:get("items", "a")
        assert.is_true(node:remove("items", "a"))
        assert.is_false(node:remove("items", "a"))
        node:get("items", "b")
        assert.is_true(node:flush("items"))
        assert.is_nil((node:peek("items", "b")))
    end)

    it("has hg.args, shared tables and metrics, and a state of its own", function()
        local file = configs.file [[
            leak = (leak or 0) + 1
            local sold = hg.counter("sold_total", "Sold.")
            return { groups = { items = { getter = function(key)
                sold:inc()
                return hg.args.colour .. hg.shared("s"):incr(key, 1, 0) .. leak
            end } } }]]
        local node = testing.node(file, { colour = "red" })
        assert.equal("red11", (node:get("items", "a")))
        node:flush("items")
        assert.equal("red21", (node:get("items", "a")))
        assert.is_nil(rawget(_G, "leak"))
        assert.equal("blue11", (testing.node(file, { colour = "blue" }):get("items", "a")))
    end)

    it("evicts by scores", function()
        local node = items([[capacity = "64KiB", policy = hg.policy.sampled { score = function(e) return -e.size end },
            getter = function(key) return ("x"):rep(tonumber(key:match("%d+"))) end]])
        for i = 1, 200 do
            node:get("items", "1000 " .. i)
        end
        assert.is_true(node:calls("items") == 200)
        assert.is_nil((node:peek("items", "1000 1")) and (node:peek("items", "1000 2")) and (node:peek("items", "1000 3")))
    end)

    it("keeps its log, at its level and without limits a second", function()
        local node = testing.node(configs.file [[
            leak = 1
            return { node = { log = { level = "debug" } }, groups = { items = {
                source = { breaker = { failures = 0 } }, getter = function(key)
                hg.log.debug("loading %s", key)
                error("broken")
            end } } }]])
        for i = 1, 50 do
            node:get("items", i)
        end
        local text, count = table.concat(node:log(), "\n"), 0
        for _ in text:gmatch("\nwarn script error") do
            count = count + 1
        end
        assert.is_truthy(text:find("debug loading 50", 1, true))
        assert.equal(50, count)
        assert.same({}, node:log())
        local quiet = testing.node(configs.file [[
            return { node = { log = { level = "error" } }, groups = { items = { getter = function() error("broken") end } } }]])
        quiet:get("items", "a")
        assert.same({}, quiet:log())
        node:get("items", "again")
        assert.is_true(#node:log() > 0)
    end)

    it("goes on with the lines of its log once it was looked at, where there were too many", function()
        local node = items('getter = function(key) for i = 1, 3000 do hg.log.info("%s", ("x"):rep(500)) end return key end')
        node:get("items", "a")
        local lines = node:log()
        assert.is_true(#lines > 1000 and #lines < 3000)
        assert.is_truthy(lines[#lines]:find("^warn the log is full"))
        assert.equal("info " .. ("x"):rep(500), lines[#lines - 1])
        node:get("items", "b")
        assert.is_true(#node:log() > 1000)
    end)

    it("says what is wrong with its configuration", function()
        for text, part in pairs {
            ["return { groups = { a = { ttl = 'soon' } } }"] = "groups.a",
            ["error('oops')"] = "oops",
            ["return {"] = "unexpected",
            ["hg.http.get('https://o/')"] = "loading",
        } do
            local ok, message = pcall(testing.node, configs.file(text))
            assert.is_false(ok)
            assert.is_truthy(message:find(part, 1, true), message)
        end
        assert.has_error(function() testing.node("/nowhere/config.lua") end)
        assert.has_error(function() testing.node(configs.file("return {}"), {}, { htpp = {} }) end)
        assert.has_error(function() testing.node(configs.file("return {}"), {}, { http = "x" }) end)
        assert.has_error(function() testing.node() end)
    end)

    it("cannot be used by its own fakes, but others can", function()
        local node, other
        other = items('getter = function(key) hg.sleep(3) return "other " .. key end')
        node = items('getter = function(key) return hg.http.get("https://o/" .. key).body .. hg.now() end', { http = {
            ["GET https://o/self"] = function() return (node:get("items", "x")) end,
            ["GET https://o/other"] = function() return (other:get("items", "x")) end,
        } })
        local message = fails(function() node:get("items", "self") end)
        assert.is_truthy(message:find("cannot use the node that asks it", 1, true), message)
        assert.equal("other x" .. node:time(), (node:get("items", "other")))
    end)

    it("cannot be closed by its own fakes", function()
        local node
        node = items('getter = function(key) return hg.http.get("https://o/").body end', { http = function()
            if node:time() > 0 then
                node:close()
            end
        end })
        local message = fails(function() node:get("items", "k") end)
        assert.is_truthy(message:find("a fake cannot close the node that asks it", 1, true), message)
        node:close()
    end)

    it("gives the errors of its fakes to the spec, as they are, whatever its scripts make of them", function()
        local what = {}
        local node = testing.node(configs.file [[
            hg.every("10s", function() pcall(hg.http.get, "https://o/job") end)
            return {
                groups = { items = { getter = function(key)
                    return select(2, pcall(hg.http.get, "https://o/" .. key)) and "caught"
                end } },
                routes = { ["GET /x/:key"] = hg.serve("items", { key = "{path.key}" }) } }]], {}, { http = function(request)
            if request.url:find("text") then
                error("spec's own trouble")
            elseif request.url:find("assert") then
                assert.equal("Bearer x", request.headers.authorization)
            end
            error(what)
        end })
        assert.equal(what, fails(function() node:get("items", "a") end))
        assert.equal("caught", (node:get("items", "a"))) -- and once
        assert.is_truthy(fails(function() node:get("items", "text") end):find("^[^\n]+:%d+: spec's own trouble$"))
        assert.is_truthy(tostring(fails(function() node:get("items", "assert") end)):find("Bearer x", 1, true))
        assert.equal(what, fails(function() node:get_all("items", { "b", "c" }) end))
        assert.equal(what, fails(function() node:request("GET", "/x/d") end))
        assert.equal(what, fails(function() node:advance("10s") end))
        local other = items('getter = function(key) return hg.http.get("https://o/").body end', { http = function()
            return (node:get("items", "e"))
        end })
        assert.equal(what, fails(function() other:get("items", "a") end))
        assert.equal(what, fails(function() testing.node(configs.file [[
            hg.at_start(function() hg.http.get("https://o/") end)
            return { groups = { items = { getter = print } } }]], { http = function() error(what) end }) end))
    end)

    it("asks its fakes where it was called, also after they used coroutines", function()
        local node
        node = items('getter = function(key) return hg.http.get("https://o/" .. key).body end', { http = function(request)
            local inner = coroutine.wrap(function() return node:time() end)()
            collectgarbage()
            return request.url .. inner
        end })
        assert.equal("https://o/a1767225600", coroutine.wrap(function() return (node:get("items", "a")) end)())
        collectgarbage()
        assert.equal("https://o/b1767225600", (node:get("items", "b")))
    end)

    it("says at the spec's line what is wrong with a call", function()
        local node = items("getter = function(key) return key end")
        for i, wrong in ipairs {
            function() node:get("items") end,
            function() node:get(nil, "a") end,
            function() node:get("none", "a") end,
            function() node:set("items", {}, "v") end,
            function() node:get_all("items", "a") end,
            function() node:advance("soon") end,
            function() testing.node("/nowhere/config.lua") end,
            function() testing.node(configs.file("return {}"), {}, { htpp = {} }) end,
            function() testing.node(configs.file("return {}"), {}, { time = -1 }) end,
            function() testing.node(configs.file("return {}"), {}, { time = 0 / 0 }) end,
            function() testing.node(configs.file("return {}"), {}, { time = 1e300 }) end,
            function() testing.node(configs.file("return {}"), "red") end,
        } do
            local info = debug.getinfo(wrong, "S")
            local place = ("%s:%d: "):format(info.short_src, info.linedefined)
            local message = fails(wrong)
            assert.equal(place, message:sub(1, #place), i)
        end
        assert.is_truthy(fails(testing.node, "none.lua"):find("paths count from the folder", 1, true))
        assert.equal(7, testing.node(configs.file("return { groups = { a = { getter = print } } }"), {}, { time = 7 }):time())
    end)

    it("passes data and nothing else", function()
        local node = items('getter = function(key) return hg.http.get("https://o/" .. key).body end', { http = {
            ["GET https://o/a"] = function() return { body = "a\0b" } end,
            ["GET https://o/b"] = function() return { body = "b", headers = { x = print } } end,
        } })
        assert.equal("a\0b", (node:get("items", "a")))
        assert.is_truthy(fails(function() node:get("items", "b") end):find("function", 1, true))
        assert.has_error(function() node:set("items", "k", print) end)
        assert.has_error(function() node:get("nothing", "k") end)
        assert.has_error(function() node:get("items", "") end)
    end)

    it("is over when it is closed", function()
        local node = items("getter = function(key) hg.spawn(function() hg.sleep(9) end) return key end")
        node:get("items", "a")
        node:close()
        assert.has_error(function() node:get("items", "a") end)
        node:close()
    end)
end)
