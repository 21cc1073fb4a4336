-- The script library from inside real getters and routes.

local node = require "spec.support.node"
local cjson = require "cjson"

local n

-- Runs Lua in a function route and returns what it answers.
local CONFIG = [[
local evicted, told = {}, {}
return {
    node = { listen = listen(), scripts = { getters = 1, routes = 1, own = 1 } },
    groups = {
        test = {
            ttl = "10m", stale_while_revalidate = "1m",
            getter = function(key, ctx)
                if key == "ctx" then
                    return hg.json.encode({ group = ctx.group, reason = ctx.reason, attempt = ctx.attempt,
                        remaining = ctx.remaining() })
                elseif key == "none" then
                    return nil
                elseif key == "denied" then
                    return hg.fail { class = "denied", message = "no" }
                end
                return "value of " .. key, { meta = "meta of " .. key, type = "text/x" }
            end,
        },
        small = {
            capacity = "64KiB", shards = 1, pool = "own",
            getter = function(key)
                if key == "evicted" then
                    return table.concat(evicted, ",")
                elseif key == "told" then
                    return table.concat(told, ",")
                end
                return ("x"):rep(4000)
            end,
            on_hot = function(key, rate)
                told[#told + 1] = key .. "=" .. rate
            end,
            on_evict = function(key, value, reason)
                evicted[#evicted + 1] = key .. ":" .. #value .. ":" .. reason
            end,
        },
    },
    routes = {
        ["GET /api"] = hg.serve(nil),
        ["POST /run"] = function(req)
            local chunk = assert(loadstring(req.body, "=chunk"))
            setfenv(chunk, setmetatable({ hg = hg, req = req }, { __index = _G }))
            local ok, result = pcall(chunk)
            return hg.reply { body = hg.json.encode { ok = ok, result = result == nil and hg.null or result },
                headers = { ["Content-Type"] = "application/json" } }
        end,
        ["GET /req/:name/*rest"] = function(req)
            return hg.json.encode { method = req.method, path = req.path, query = req.query,
                header = req.headers["x-a"],
                name = req.params.name, rest = req.params.rest, remote = req.remote }
        end,
    },
}
]]

local function run(chunk)
    local r = n:get("/run", { method = "POST", body = chunk })
    assert.equal(200, r.status, r.body)
    local answer = cjson.decode(r.body)
    if not answer.ok then
        error(answer.result, 2)
    end
    return answer.result
end

local function raises(chunk, wanted)
    local r = n:get("/run", { method = "POST", body = chunk })
    local answer = cjson.decode(r.body)
    assert.is_false(answer.ok, chunk)
    assert.is_truthy(tostring(answer.result):find(wanted, 1, true), tostring(answer.result))
end

describe("the library", function()
    setup(function()
        n = node.start { config = CONFIG }
    end)
    teardown(function()
        assert.equal(0, n:stop())
        node.finish()
    end)

    it("group:get answers value and meta, or nil, message and code", function()
        assert.equal("value of a", run 'return (hg.group("test"):get("a"))')
        local meta = run 'local _, meta = hg.group("test"):get("a") return meta'
        assert.equal("hit", meta.how)
        assert.equal("meta of a", meta.meta)
        assert.equal("text/x", meta.type)
        assert.is_false(meta.stale)
        assert.is_true(meta.ttl > 500 and meta.ttl <= 600)
        assert.same({ false, "not found", "not_found" },
            run 'local v, m, c = hg.group("test"):get("none") return { v == nil and false, m, c }')
        assert.equal("denied", run 'local _, _, c = hg.group("test"):get("denied") return c')
        raises('return hg.group("nope"):get("a")', "no such group 'nope'")
        raises('return hg.group("test"):get("")', "the key is empty")
        raises('return hg.group("test"):get()', "bad argument")
        raises('return hg.group("test").get("a", "b")', "bad argument")
        assert.equal("too_large", run 'local _, _, c = hg.group("test"):get(("k"):rep(2000)) return c')
    end)

    it("group:peek, set, remove and expire", function()
        assert.equal("not_found", run 'local _, _, c = hg.group("test"):peek("p") return c')
        assert.is_true(run 'return (hg.group("test"):set("p", "by script", { ttl = "1m", meta = "m" }))')
        assert.equal("by script", run 'return (hg.group("test"):peek("p"))')
        assert.equal("by script", n:get("/api?group=test&key=p").body)
        assert.is_true(run 'return (hg.group("test"):remove("p"))')
        assert.is_false(run 'return (hg.group("test"):remove("p"))')
        assert.equal("value of p", n:get("/api?group=test&key=p").body)
        assert.is_true(run 'return (hg.group("test"):expire("p"))')
        assert.is_true(run 'return (hg.group("test"):set("n", 12))')
        assert.equal("12", n:get("/api?group=test&key=n").body)
        for _, bad in ipairs { "{}", "true", "nil", "0/0", "print" } do
            raises('return hg.group("test"):set("b", ' .. bad .. ")", "bad argument")
        end
        for _, bad in ipairs { "{ ttl = -1 }", "{ ttl = 0/0 }", "{ tll = 1 }", "{ tags = 1 }",
            "{ meta = ('x'):rep(257) }",
            "{ type = 'a\\nb' }", "5" } do
            raises('return hg.group("test"):set("b", "v", ' .. bad .. ")", "bad argument")
        end
    end)

    it("ctx says what a getter may know", function()
        local ctx = cjson.decode(n:get("/api?group=test&key=ctx").body)
        assert.equal("test", ctx.group)
        assert.equal("miss", ctx.reason)
        assert.equal(1, ctx.attempt)
        assert.is_true(ctx.remaining > 0 and ctx.remaining <= 10)
    end)

    it("clocks, sleep and spawn", function()
        assert.is_true(math.abs(run "return hg.now()" - os.time()) < 5)
        local waited = run "local t = hg.monotonic() hg.sleep(0.05) return hg.monotonic() - t"
        assert.is_true(waited >= 0.049 and waited < 5, tostring(waited))
        waited = run 'local t = hg.monotonic() hg.sleep("50ms") return hg.monotonic() - t'
        assert.is_true(waited >= 0.049)
        assert.equal("ab", run [[
            local out = ""
            hg.spawn(function() hg.sleep(0.02) out = out .. "b" end)
            hg.spawn(function() out = out .. "a" end)
            hg.sleep(0.2)
            return out
        ]])
        for _, bad in ipairs { "-1", "0/0", '"ten"', "{}", "" } do
            raises("hg.sleep(" .. bad .. ")", "bad argument")
        end
        raises("hg.spawn(5)", "bad argument")
        run 'hg.spawn(function() error("in a task") end) return 1'
        n:wait_log("in a task")
    end)

    it("waits inside pcall, coroutines and iterators", function()
        assert.equal("abc", run [[
            local function letters()
                return coroutine.wrap(function()
                    for _, c in ipairs { "a", "b", "c" } do
                        hg.sleep(0.01)
                        coroutine.yield(c)
                    end
                end)
            end
            local out = ""
            for c in letters() do
                local ok = pcall(hg.sleep, 0.01)
                out = out .. (ok and c or "?")
            end
            return out
        ]])
        assert.equal("value of in-co", run [[
            local co = coroutine.create(function() return (hg.group("test"):get("in-co")) end)
            local ok, value = coroutine.resume(co)
            return value
        ]])
    end)

    it("json, null and the log", function()
        assert.is_true(run "return hg.null == require('cjson').null")
        assert.equal('{"a":[1,2]}', run "return hg.json.encode { a = { 1, 2 } }")
        run 'hg.log.warn("a warning %d %s", 5, "x\\ny") return 1'
        n:wait_log("a warning 5 x")
        assert.equal(0, n:count("\ny"))
        run 'hg.log.debug("not written") return 1'
        assert.equal(0, n:count("not written"))
        raises('hg.log.info("%d", "x")', "")
        raises("hg.args.x = 1", "read-only")
    end)

    it("misspelled options raise at the caller's line", function()
        for _, call in ipairs { "hg.fail { clas = 1 }", "hg.not_found { tll = 1 }", "hg.keep { x = 1 }",
            'hg.value("v", { tll = 1 })',
            "hg.reply { statsu = 1 }", 'hg.serve("g", { kee = 1 })', "hg.source { x = 1 }" } do
            raises(call, "chunk:1:")
        end
    end)

    it("what could take the node down is closed", function()
        for _, chunk in ipairs {
            "os.exit(0)", 'loadstring("\\27LJ\\2")()', "require('ffi').C.abort()", "debug.sethook()",
            "debug.getregistry()",
            "load(string.dump(function() end))()", "jit.on()",
        } do
            local r = n:get("/run", { method = "POST", body = chunk })
            assert.is_false(cjson.decode(r.body).ok, chunk)
        end
        assert.is_nil(n:ended())
    end)

    it("a request has its parts", function()
        local r = cjson.decode(n:get("/req/a%2Fb/c/d%20e?x=1&y=a+b&x=2", { headers = { ["X-A"] = "v" } }).body)
        assert.equal("GET", r.method)
        assert.equal("a/b", r.name)
        assert.equal("c/d e", r.rest)
        assert.same({ x = "1", y = "a b" }, r.query)
        assert.equal("v", r.header)
        assert.is_truthy(r.remote:find("^127%.0%.0%.1:%d+$"))
    end)

    it("on_hot hears which keys are asked for most", function()
        for i = 1, 30 do
            n:get("/api?group=small&key=cold" .. i)
        end
        for _ = 1, 600 do
            n:get("/api?group=small&key=popular")
        end
        node.until_true(function()
            local text = n:get("/api?group=small&key=told").body
            n:admin("/keys?group=small&key=told", { method = "DELETE" })
            local rate = text:match("popular=(%d+)")
            return rate and tonumber(rate) >= 600 and not text:find("cold", 1, true)
        end, 10, "on_hot")
    end)

    it("on_evict hears of what leaves", function()
        for i = 1, 40 do
            assert.equal(200, n:get("/api?group=small&key=e" .. i).status)
        end
        node.until_true(function()
            local text = n:get("/api?group=small&key=evicted").body
            n:admin("/keys?group=small&key=evicted", { method = "DELETE" })
            return text:find("e1:4000:capacity", 1, true)
        end, 10, "on_evict")
        n:get("/api?group=small&key=last")
        n:admin("/keys?group=small&key=last", { method = "DELETE" })
        node.until_true(function()
            local text = n:get("/api?group=small&key=evicted").body
            n:admin("/keys?group=small&key=evicted", { method = "DELETE" })
            return text:find("last:4000:removed", 1, true)
        end, 10, "removed")
    end)
end)
