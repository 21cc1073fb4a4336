-- hg.http and hg.source_http against origins that behave, and that do not (FAULTS C13, C14).

local node = require "spec.support.node"
local posix = require "spec.support.posix"
local fake = require "spec.support.fake"
local http = require "spec.support.http"
local cjson = require "cjson"

local MIB = 1024 * 1024

local n, origins

local function answer(status, headers, body)
    return ("HTTP/1.1 %d X\r\n%sContent-Length: %d\r\n\r\n%s"):format(status, headers or "", #(body or ""), body or "")
end

local function output_of(command)
    local pipe = assert(io.popen(command, "r"))
    local text = pipe:read("*a")
    pipe:close()
    return text
end

-- An origin of ours -> { port, url, seen() }
local function origin(fn)
    local one = { port = posix.free_port(), notes = node.dir() .. "/notes" }
    one.url = "http://127.0.0.1:" .. one.port
    one.server = fake.http(one.port, one.notes, fn)
    function one.seen()
        local out = {}
        for line in node.read(one.notes):gmatch("[^\n]+") do
            out[#out + 1] = line
        end
        return out
    end
    origins[#origins + 1] = one
    return one
end

-- A node whose /run does a chunk in a route and whose group `items` asks the origin.
local CONFIG = [[
return {
    node = {
        listen = listen(), drain_delay = 0, limits = { value = "1MiB" }, script = { budget = "5s" },
        http = {
            origins = hg.args.origins and hg.json.decode(hg.args.origins) or nil,
            concurrency = tonumber(hg.args.concurrency), per_load = tonumber(hg.args.per_load), ca = hg.args.ca,
        },
    },
    groups = {
        items = {
            ttl = "1h", ttl_jitter = 0, deadline = "3s", source = { timeout = "2s", breaker = { failures = 0 } },
            getter = hg.source_http {
                url = hg.args.origin .. "/{key}", timeout = hg.args.timeout, compression = hg.args.compression == "yes",
            },
        },
        calm = { ttl = 0, getter = function(key) return key end },
    },
    routes = {
        ["GET /api"] = hg.serve("items"),
        ["GET /calm"] = hg.serve("calm"),
        ["POST /run"] = { timeout = "30s", handler = function(req)
            local chunk = assert(loadstring(req.body, "=chunk"))
            setfenv(chunk, setmetatable({ hg = hg, origin = hg.args.origin }, { __index = _G }))
            local a, message, code = chunk()
            if type(a) == "table" and a.body and #a.body > 100 then
                a.body = #a.body
            end
            return hg.json.encode { a = a or hg.null, message = message or hg.null, code = code or hg.null }
        end },
    },
}
]]

local function start(args)
    n = node.start { config = CONFIG, args = args }
    return n
end

-- -> answer or cjson.null, message, code
local function run(chunk)
    local r = n:get("/run", { method = "POST", body = chunk, timeout = 40 })
    assert.equal(200, r.status, r.body or r.error)
    local result = cjson.decode(r.body)
    return result.a, result.message, result.code
end

local function fetch_stats()
    return n:stats().fetch
end

-- What holds after each fault: nothing is under way, and others were served meanwhile.
local function calm()
    assert.equal("x", n:get("/calm?key=x").body)
    node.until_true(function()
        return fetch_stats().running == 0
    end, 10, "no request under way")
    assert.equal(0, n:stats("items").flights or 0)
    assert.equal(0, n:stop())
end

describe("hg.http", function()
    before_each(function()
        origins = {}
    end)

    after_each(function()
        for _, one in ipairs(origins) do
            one.server:stop()
        end
        node.finish()
    end)

    it("asks with method, headers and body, and tells all of an answer", function()
        local o = origin(function(_, request)
            return answer(201, "X-Two: a\r\nX-Two: b\r\nSet-Cookie: c=1, d\r\n", request)
        end)
        start { origin = o.url }
        local a = run [[return hg.http.request { method = "PUT", url = origin .. "/x?y=z", body = "b",
            headers = { ["X-A"] = { "1", 2 }, ["X-Empty"] = "" } }]]
        assert.equal(201, a.status)
        assert.equal("a, b", a.headers["x-two"])
        assert.same({ "c=1, d" }, a.headers["set-cookie"])
        assert.equal(o.url .. "/x?y=z", a.url)
        a = run [[return { body = hg.http.post(origin .. "/p", "b").body:sub(1, 100) }]]
        assert.is_truthy(a.body:find("^POST /p HTTP/1.1\r\n"))
        a = run [[local r = hg.http.request { method = "PUT", url = origin .. "/x", body = "b",
            headers = { ["X-A"] = { "1", 2 }, ["X-Empty"] = "" } }.body
            for _, line in ipairs { "X-A: 1", "X-A: 2", "X-Empty:", "User-Agent: hgcache", "Content-Length: 1", "\r\nb" } do
                assert(r:find("\r\n" .. line, 1, true), line)
            end
            return { status = r:find("Accept-Encoding", 1, true) and 0 or 1 }]]
        assert.equal(1, a.status)
        a = run [[return { status = hg.http.get(origin .. "/x", { headers = { ["Content-Type"] = "text/x" } }).body
            :find("\r\nContent-Type: text/x\r\n", 1, true) or 0 }]]
        assert.is_true(a.status > 0)
        -- libcurl takes the first word of these for the host.
        for _, url in ipairs { "http:///{key}/item", "http:/{key}/item" } do
            a = run(("local ok, why = pcall(hg.source_http, { url = %q }) return { body = tostring(why), status = ok and 1 or 0 }")
                :format(url))
            assert.equal(0, a.status)
            assert.is_truthy(a.body:find("expected a URL with {key}", 1, true))
        end
        calm()
    end)

    it("C14: a slow origin ends at the timeout", function()
        local o = origin(function(path)
            if path == "/body" then
                return "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"
            end
            return nil
        end)
        start { origin = o.url, timeout = "200ms" }
        for _, path in ipairs { "/head", "/body" } do
            local a, _, code = run(("return hg.http.get(origin .. %q, { timeout = 0.2 })"):format(path))
            assert.equal(cjson.null, a)
            assert.equal("timeout", code)
            assert.equal(504, n:get("/api?key=" .. path:sub(2)).status)
        end
        assert.equal(4, fetch_stats().failures)
        calm()
    end)

    it("C14: a load's own deadline ends a request that would last longer", function()
        local o = origin(function() end)
        start { origin = o.url, timeout = "1m" }
        local begun = posix.now()
        assert.equal(504, n:get("/api?key=hang").status)
        assert.is_true(posix.now() - begun < 10)
        assert.equal(1, fetch_stats().failures)
        calm()
    end)

    it("C14: resets and answers cut short are unavailable, and retried only when told", function()
        local o = origin(function(path)
            if path:find("^/short") then
                return "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "reset"
            end
            return "", "reset"
        end)
        start { origin = o.url }
        local a, _, code = run [[return hg.http.get(origin .. "/short")]]
        assert.equal(cjson.null, a)
        assert.equal("unavailable", code)
        _, _, code = run [[return hg.http.get(origin .. "/reset")]]
        assert.equal("unavailable", code)
        assert.equal(2, #o.seen())
        _, _, code = run [[return hg.http.get(origin .. "/again", { retries = 2 })]]
        assert.equal("unavailable", code)
        assert.equal(5, #o.seen())
        _, _, code = run [[return hg.http.post(origin .. "/once", "", { retries = 2 })]]
        assert.equal("unavailable", code)
        assert.equal(6, #o.seen())
        assert.equal(503, n:get("/api?key=reset").status)
        calm()
    end)

    it("C14: a huge body is refused at its limit", function()
        local o = origin(function(path)
            if path == "/said" then
                return "HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\nabc"
            elseif path == "/fits" then
                return answer(200, nil, ("x"):rep(MIB))
            elseif path == "/over" then
                return answer(200, nil, ("x"):rep(MIB + 1))
            elseif path == "/headers" then
                return answer(200, ("X-A: " .. ("x"):rep(1000) .. "\r\n"):rep(70))
            end
            return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" .. ("10000\r\n" .. ("x"):rep(65536) .. "\r\n"):rep(32)
        end)
        start { origin = o.url }
        for _, path in ipairs { "/said", "/over", "/chunked", "/headers" } do
            local a, _, code = run(("return hg.http.get(origin .. %q)"):format(path))
            assert.equal(cjson.null, a, path)
            assert.equal("too_large", code, path)
            assert.equal(502, n:get("/api?key=" .. path:sub(2)).status)
        end
        assert.equal(MIB, run([[return hg.http.get(origin .. "/fits")]]).body)
        assert.equal(MIB + 1, run([[return hg.http.get(origin .. "/over", { max_body = "2MiB" })]]).body)
        assert.equal(8, fetch_stats().too_large)
        assert.is_truthy(n:admin("/metrics").body:find("\nhgcache_fetch_too_large_total 8\n", 1, true))
        calm()
    end)

    it("C14: a gzip bomb is counted unpacked, and nothing is unpacked unasked", function()
        local bomb = output_of("head -c 104857600 /dev/zero | gzip -9c")
        local small = output_of("printf 'hello' | gzip -c")
        local o = origin(function(path, request)
            if path == "/bomb" then
                return answer(200, "Content-Encoding: gzip\r\n", bomb)
            elseif path == "/twice" then
                return answer(200, "Content-Encoding: gzip, gzip, gzip, gzip, gzip, gzip, gzip\r\n", bomb)
            elseif path == "/odd" then
                return answer(200, "Content-Encoding: snappy\r\n", small)
            elseif path == "/broken" then
                return answer(200, "Content-Encoding: gzip\r\n", small:sub(1, -9) .. "garbage!!")
            end
            return request:lower():find("\naccept%-encoding: gzip, deflate\r\n")
                and answer(200, "Content-Encoding: gzip\r\n", small) or answer(200, nil, "plain")
        end)
        start { origin = o.url, compression = "yes" }
        assert.equal("plain", run([[return hg.http.get(origin .. "/x")]]).body)
        local a = run [[return hg.http.get(origin .. "/x", { compression = true })]]
        assert.equal("hello", a.body)
        assert.is_nil(a.headers["content-encoding"])
        assert.is_nil(a.headers["content-length"])
        a = run [[return hg.http.get(origin .. "/bomb")]]
        assert.equal(#bomb, a.body)
        assert.equal("gzip", a.headers["content-encoding"])
        local before = fetch_stats().received_bytes
        local _, _, code = run [[return hg.http.get(origin .. "/bomb", { compression = true })]]
        assert.equal("too_large", code)
        for _, path in ipairs { "twice", "odd", "broken" } do
            _, _, code = run(("return hg.http.get(origin .. '/%s', { compression = true })"):format(path))
            assert.equal("internal", code, path)
        end
        assert.equal(before, fetch_stats().received_bytes)
        assert.equal("hello", n:get("/api?key=x").body)
        assert.equal(502, n:get("/api?key=bomb").status)
        calm()
    end)

    it("C14: a redirect leads nowhere else", function()
        local other = origin(function()
            return answer(200, nil, "secret")
        end)
        local to = {
            ["/file"] = "file:///etc/passwd", ["/gopher"] = "gopher://127.0.0.1/", ["/other"] = other.url .. "/x",
            ["/metadata"] = "http://169.254.169.254/latest/meta-data/", ["/slashes"] = "//127.0.0.1:" .. other.port .. "/x",
            ["/user"] = "http://127.0.0.1:80@127.0.0.1:" .. other.port .. "/", ["/loop"] = "/loop", ["/here"] = "there?a=b",
        }
        local o = origin(function(path)
            if path == "/tls" then
                return answer(302, "Location: https://127.0.0.1:" .. other.port .. "/\r\n")
            elseif to[path] then
                return answer(302, "Location: " .. to[path] .. "\r\n", "moved")
            end
            return answer(200, nil, path)
        end)
        start { origin = o.url }
        local paths = { "/file", "/gopher", "/other", "/metadata", "/slashes", "/user", "/tls" }
        for _, path in ipairs(paths) do
            assert.equal(302, run(("return hg.http.get(origin .. %q)"):format(path)).status) -- an answer like others
            assert.equal(502, n:get("/api?key=" .. path:sub(2)).status)
            local begun = posix.now()
            local a, _, code = run(("return hg.http.get(origin .. %q, { redirects = 5 })"):format(path))
            assert.equal(cjson.null, a, path)
            assert.equal("denied", code, path)
            assert.is_true(posix.now() - begun < 5)
        end
        assert.equal(0, #other.seen())
        assert.equal(#paths, fetch_stats().refused_origin)
        assert.equal("/there?a=b", run([[return hg.http.get(origin .. "/here", { redirects = 1 })]]).body)
        local before = #o.seen()
        assert.equal(302, run([[return hg.http.get(origin .. "/loop", { redirects = 10 })]]).status)
        assert.equal(before + 11, #o.seen())
        calm()
    end)

    it("asks listed origins only, and follows redirects to them without secrets", function()
        local friend = origin(function(path, request)
            if path == "/back" then
                return answer(200, nil, (request:find("Authorization") or request:find("Cookie")) and "told" or "kept")
            end
            return answer(200, nil, request:match("^%u+"))
        end)
        local stranger = origin(function()
            return answer(200)
        end)
        local o = origin(function(path, request)
            if path == "/friend" then
                return answer(302, "Location: " .. friend.url .. "/back\r\n")
            elseif path == "/near" then
                return answer(302, "Location: /near2\r\n")
            elseif path == "/near2" then
                return answer(200, nil, request:find("Authorization: x") and "told" or "kept")
            elseif path == "/see" then
                return answer(303, "Location: " .. friend.url .. "/method\r\n")
            elseif path == "/tls" then
                return answer(302, "Location: " .. friend.url:gsub("^http", "https") .. "/\r\n")
            elseif path == "/again" then
                return answer(307, "Location: " .. friend.url .. "/method\r\n")
            end
            return answer(302, "Location: " .. stranger.url .. "/\r\n")
        end)
        start { origin = o.url, origins = cjson.encode { o.url, friend.url, (friend.url:gsub("^http", "https")) } }
        local headers = "headers = { Authorization = 'x', Cookie = 'y' }"
        assert.equal("kept", run("return hg.http.get(origin .. '/friend', { redirects = 1, " .. headers .. " })").body)
        assert.equal("told", run("return hg.http.get(origin .. '/near', { redirects = 1, " .. headers .. " })").body)
        assert.equal("GET", run("return hg.http.post(origin .. '/see', 'b', { redirects = 1 })").body)
        assert.equal("POST", run("return hg.http.post(origin .. '/again', 'b', { redirects = 1 })").body)
        local _, message, code = run [[return hg.http.get(origin .. "/stranger", { redirects = 1 })]]
        assert.equal("denied", code)
        assert.equal("the origin is not in node.http.origins", message)
        _, _, code = run(("return hg.http.get(%q)"):format(stranger.url))
        assert.equal("denied", code)
        assert.equal(0, #stranger.seen())
        assert.equal(502, n:get("/api?key=" .. http.encode("x")).status) -- a redirect is no value
        _, message, code = run [[return hg.http.get(origin .. "/tls", { redirects = 1 })]]
        assert.equal("denied", code)
        assert.equal("redirected to another protocol", message)
        assert.equal(3, fetch_stats().refused_origin)
        calm()
    end)

    it("C13: ten thousand requests of one load, and too many at a time, are refused", function()
        local o = origin(function(path)
            return path == "/x" and answer(200, nil, "x") or nil
        end)
        start { origin = o.url, per_load = 20, concurrency = 5 }
        local a = run [[local good, last = 0
            for _ = 1, 10000 do
                local a, m, c = hg.http.get(origin .. "/x")
                good, last = good + (a and 1 or 0), c
            end
            return { status = good, body = last }]]
        assert.same({ status = 20, body = "unavailable" }, a)
        a = run [[local done, refused = 0, 0
            for _ = 1, 500 do
                hg.spawn(function()
                    local a, m, c = hg.http.get(origin .. "/hang", { timeout = 1 })
                    done, refused = done + 1, refused + (c == "unavailable" and 1 or 0)
                end)
            end
            while done < 500 do
                hg.sleep(0.01)
            end
            return { status = refused }]]
        assert.equal(495, a.status)
        local stats = fetch_stats()
        assert.equal(9980 + 495, stats.refused_limit)
        assert.equal(25, stats.requests)
        assert.equal(5, stats.failures)
        calm()
    end)

    it("checks certificates", function()
        local dir, port = node.dir(), posix.free_port()
        output_of(("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1 "
            .. "-addext subjectAltName=IP:127.0.0.1 -keyout %s/key.pem -out %s/cert.pem 2>&1"):format(dir, dir))
        local pid = posix.spawn {
            argv = { "/usr/bin/openssl", "s_server", "-accept", "127.0.0.1:" .. port, "-cert", dir .. "/cert.pem", "-key",
                dir .. "/key.pem", "-www", "-quiet" },
            stdout = dir .. "/out",
        }
        node.until_true(function()
            local connection = http.connect(port)
            return connection and (connection:close() or true)
        end, 20, "openssl s_server")
        local ok, trouble = pcall(function()
            local url = "https://127.0.0.1:" .. port
            start { origin = url }
            local a, message, code = run [[return hg.http.get(origin .. "/")]]
            assert.equal(cjson.null, a)
            assert.equal("unavailable", code)
            assert.is_truthy(message:lower():find("certificate"), message)
            assert.equal(0, n:stop())
            start { origin = url, ca = dir .. "/cert.pem" }
            assert.equal(200, run([[return hg.http.get(origin .. "/")]]).status)
            local _, _, elsewhere = run(("return hg.http.get('https://localhost:%d/')"):format(port))
            assert.equal("unavailable", elsewhere) -- the name is not in the certificate
            calm()
        end)
        posix.kill(pid, posix.SIGKILL)
        posix.reap(pid, true)
        if not ok then
            error(trouble, 0)
        end
    end)

    it("cannot be used while the configuration loads", function()
        local file = node.write(node.dir() .. "/c.lua", [[local hg = require "hgcache"
            hg.http.get("http://127.0.0.1/")
            return { groups = { t = { getter = function() end } } }]])
        local r = node.run { "check", file }
        assert.equal(2, r.code)
        assert.is_truthy(r.err:find("c.lua:2: hg.http.get cannot be used while the configuration is loading", 1, true), r.err)
    end)
end)

describe("hg.source_http", function()
    before_each(function()
        origins = {}
    end)

    after_each(function()
        for _, one in ipairs(origins) do
            one.server:stop()
        end
        node.finish()
    end)

    it("makes values, not-found and failures of an origin's answers", function()
        local status = { denied = 403, away = 503, late = 504, odd = 418, moved = 302, gone = 410, none = 404 }
        local o = origin(function(path)
            local name = path:sub(2)
            if name == "packed" then
                return answer(200, "Content-Encoding: gzip\r\n", "x")
            elseif name == "no304" then
                return answer(304)
            elseif status[name] then
                return answer(status[name], name == "away" and "Retry-After: 7\r\n" or nil)
            end
            return answer(200, 'Content-Type: text/x\r\nETag: "tag"\r\n', path)
        end)
        start { origin = o.url }
        local r = n:get("/api?key=" .. http.encode("a b/../c?d\0%\255~"))
        assert.equal("/a%20b%2F..%2Fc%3Fd%00%25%FF~", r.body)
        assert.equal("text/x", r.headers["content-type"])
        assert.equal('"tag"', r.headers.etag)
        local wanted = { denied = 403, away = 503, late = 504, odd = 502, moved = 502, gone = 404, none = 404, packed = 502,
            no304 = 502 }
        for key, code in pairs(wanted) do
            assert.equal(code, n:get("/api?key=" .. key).status, key)
        end
        assert.equal("7", n:get("/api?key=away").headers["retry-after"])
        local before = #o.seen()
        assert.equal(404, n:get("/api?key=..").status)
        assert.equal(404, n:get("/api?key=.").status)
        assert.equal(before, #o.seen())
        calm()
    end)

    it("fails where the origin is not allowed, and tells no client that it is denied", function()
        local o = origin(function()
            return answer(200)
        end)
        start { origin = o.url, origins = "[]" }
        assert.equal(502, n:get("/api?key=x").status)
        assert.equal(0, #o.seen())
        assert.equal(1, fetch_stats().refused_origin)
        calm()
    end)

    it("asks again with the ETag, and keeps what has not changed", function()
        local o = origin(function(path, request)
            local weak = path == "/weak" and "W/" or ""
            if request:find("\r\nIf-None-Match: " .. weak .. '"v1"\r\n', 1, true) then
                return answer(304, 'Cache-Control: max-age=1\r\nETag: ' .. weak .. '"v1"\r\n')
            elseif request:find("If-None-Match", 1, true) or request:find("\r\nIf-Modified-Since: then\r\n", 1, true) then
                return answer(500)
            end
            return answer(200, 'Cache-Control: max-age=1, stale-if-error=60\r\n' .. (path == "/dated" and "Last-Modified: then\r\n"
                or "ETag: " .. weak .. '"v1"\r\n'), path)
        end)
        start { origin = o.url }
        for _, key in ipairs { "strong", "weak" } do
            assert.equal("/" .. key, n:get("/api?key=" .. key).body)
            node.until_true(function()
                return n:get("/api?key=" .. key).body == "/" .. key and #o.seen() >= 2
            end, 20, "a second ask")
            node.write(o.notes, "")
        end
        assert.equal("/dated", n:get("/api?key=dated").body) -- and stale where the origin fails later
        node.until_true(function()
            return #o.seen() >= 2
                or n:get("/api?key=dated").body ~= "/dated"
        end, 20, "a second ask")
        assert.equal("/dated", n:get("/api?key=dated").body)
        calm()
    end)

    it("lives as Cache-Control says", function()
        local said = {
            plain = "", none = "no-store", private = "private, max-age=60", zero = "max-age=0", shared = "max-age=0, s-maxage=60",
            odd = "max-age=abc, =, ,;,\"", quoted = 'x="no-store, max-age=0", max-age=60', long = "max-age=99999999999999999999",
            aged = "max-age=60",
        }
        local o = origin(function(path)
            local name = path:sub(2)
            return answer(200, (said[name] ~= "" and "Cache-Control: " .. said[name] .. "\r\n" or "")
                .. (name == "aged" and "Age: 50\r\n" or ""), name)
        end)
        start { origin = o.url }
        local asked = { plain = 1, none = 2, private = 2, zero = 2, shared = 1, odd = 1, quoted = 1, long = 1, aged = 1 }
        for key, times in pairs(asked) do
            node.write(o.notes, "")
            for _ = 1, 2 do
                assert.equal(key, n:get("/api?key=" .. key).body)
            end
            assert.equal(times, #o.seen(), key)
        end
        local function ttl(key)
            local said_so = n:get("/api?key=" .. key).headers["cache-status"]
            return assert(tonumber(said_so:match("ttl=(%d+)")), key .. ": " .. said_so)
        end
        assert.is_true(ttl("plain") > 3000)
        assert.is_true(ttl("shared") > 50 and ttl("shared") <= 60)
        assert.is_true(ttl("quoted") > 50 and ttl("quoted") <= 60)
        assert.is_true(ttl("aged") <= 10)
        calm()
    end)
end)
