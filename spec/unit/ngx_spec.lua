-- What client libraries for OpenResty touch of `ngx`, over a stand-in for the program's C functions.

local MODULES = { "hgcache.core", "hgcache.socket", "hgcache.ngx" }

describe("hgcache.ngx", function()
    local ngx, lines, is_loading, spawned

    setup(function()
        lines, spawned = {}, {}
        local core = {
            null = {}, log = {}, now = function() return 12.75 end, sleep = function() end,
            spawn = function(fn) spawned[#spawned + 1] = fn end,
            is_loading = function() return is_loading end,
            socket = { tcp = function() return "a socket" end, methods = {} },
        }
        for _, level in ipairs { "debug", "info", "warn", "error" } do
            core.log[level] = function(format, ...)
                lines[#lines + 1] = level .. " " .. format:format(...)
            end
        end
        for _, name in ipairs(MODULES) do
            package.loaded[name] = nil
        end
        package.loaded["hgcache.core"] = core
        ngx = require "hgcache.ngx"
    end)
    teardown(function()
        for _, name in ipairs(MODULES) do
            package.loaded[name] = nil
        end
        rawset(_G, "ngx", nil)
    end)

    it("is the global", function()
        assert.equal(ngx, rawget(_G, "ngx"))
        assert.equal("a socket", ngx.socket.tcp())
        assert.equal(12, ngx.time())
        assert.equal(12.75, ngx.now())
    end)

    it("escapes and unescapes", function()
        assert.equal("a%20b%2F%3F%26%2B%00%FF-._~", ngx.escape_uri("a b/?&+\0\255-._~"))
        assert.equal("5", ngx.escape_uri(5))
        assert.equal("a b/+\0 %zz%", ngx.unescape_uri("a+b%2f%2B%00%20%zz%"))
    end)

    it("digests", function()
        assert.equal("900150983cd24fb0d6963f7d28e17f72", ngx.md5("abc"))
        assert.equal(16, #ngx.md5_bin("abc"))
        assert.equal(20, #ngx.sha1_bin("abc"))
        assert.equal(0xcbf43926, ngx.crc32_short("123456789"))
        assert.equal("NQ==", ngx.encode_base64(5))
        assert.equal("5", ngx.decode_base64("NQ=="))
    end)

    it("logs with its levels", function()
        ngx.log(ngx.ERR, "a", 1, nil, true)
        ngx.log(ngx.WARN, "50%")
        ngx.log(ngx.NOTICE, "n")
        ngx.log(ngx.DEBUG, "d")
        assert.same({ "error a1niltrue", "warn 50%", "info n", "debug d" }, lines)
    end)

    it("knows whether the configuration is loading", function()
        is_loading = true
        assert.equal("init", ngx.get_phase())
        is_loading = false
        assert.equal("content", ngx.get_phase())
    end)

    it("timers run later, with their arguments", function()
        local got
        assert.equal(1, ngx.timer.at(0, function(...)
            got = { n = select("#", ...), ... }
        end, "a", nil))
        assert.is_nil(got)
        spawned[1]()
        assert.same({ n = 3, false, "a" }, got)
    end)
end)
