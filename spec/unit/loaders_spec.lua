describe("loaders.table", function()
    local from_table = require "loaders.table"

    it("answers what is there and nil for the rest", function()
        local seen = {}
        local getter = from_table({ Tom = "630", empty = "" }, { log = function(key) seen[#seen + 1] = key end })
        assert.equal("630", getter("Tom"))
        assert.equal("", getter("empty"))
        assert.is_nil(getter("Nobody"))
        assert.same({ "Tom", "empty", "Nobody" }, seen)
    end)

    it("asks for a table", function()
        assert.has_error(function() from_table("x") end, "loaders.table: expected a table of values, found string")
    end)
end)

describe("loaders.retry", function()
    local retry = require "loaders.retry"
    local slept

    -- A getter that answers the n-th row at its n-th run.
    local function script(rows)
        local runs = 0
        return function()
            runs = runs + 1
            local row = rows[runs]
            if row.raise ~= nil then
                error(row.raise, 0)
            end
            return row[1], row[2]
        end, function() return runs end
    end

    local function wrap(getter, opts)
        slept = {}
        opts = opts or {}
        opts.sleep = function(s) slept[#slept + 1] = s end
        return retry(getter, opts)
    end

    it("answers the first success", function()
        local getter, runs = script { { nil, "down" }, { raise = "broken" }, { "v", { ttl = 1 } } }
        local value, options = wrap(getter)("k")
        assert.equal("v", value)
        assert.same({ ttl = 1 }, options)
        assert.equal(3, runs())
        assert.same({ 0.05, 0.1 }, slept)
    end)

    it("gives up with the last message", function()
        local getter, runs = script { { nil, "one" }, { raise = "two" } }
        local value, message = wrap(getter, { tries = 2, delay = 0 })("k")
        assert.is_nil(value)
        assert.equal("two", message)
        assert.equal(2, runs())
    end)

    it("does not repeat an answer", function()
        local getter, runs = script { { nil, nil } }
        assert.is_nil(wrap(getter)("k"))
        assert.equal(1, runs())
        assert.same({}, slept)
    end)

    it("checks its options", function()
        for _, opts in ipairs { { tries = 0 }, { tries = 1000 }, { tries = "3" }, { delay = -1 }, { delay = 0 / 0 },
            { delay = 1e300 } } do
            assert.has_error(function() retry(print, opts) end)
        end
        assert.has_error(function() retry("x") end)
    end)
end)

describe("loaders.files", function()
    local from_files = require "loaders.files"
    local root = os.tmpname()

    local function put(name, text)
        local file = assert(io.open(root .. "/" .. name, "wb"))
        file:write(text)
        file:close()
    end

    setup(function()
        os.remove(root)
        assert(os.execute("mkdir -p " .. root .. "/inner/deep " .. root .. "/.hidden") == 0)
        put("page.html", "<p>")
        put("inner/deep/data", "a\0b")
        put("empty.txt", "")
        put(".hidden/secret", "no")
        put("big", ("x"):rep(11))
        put("ten", ("x"):rep(10))
        put("UPPER.JSON", "{}")
    end)

    teardown(function()
        os.execute("rm -rf " .. root)
    end)

    it("reads what is below the folder", function()
        local getter = from_files(root)
        local text, options = getter("page.html")
        assert.equal("<p>", text)
        assert.equal("text/html; charset=utf-8", options.type)
        assert.equal("a\0b", (getter("inner/deep/data")))
        assert.equal("", (getter("empty.txt")))
        assert.equal("application/json", select(2, getter("UPPER.JSON")).type)
        assert.is_nil(select(2, getter("ten")).type)
    end)

    it("takes a folder with slashes at its end", function()
        assert.equal("<p>", (from_files(root .. "//")("page.html")))
    end)

    it("never leaves the folder, and opens nothing for such keys", function()
        local opened = {}
        local getter = from_files(root, { open = function(path) opened[#opened + 1] = path return nil, "opened "
            .. path, 5 end })
        for _, key in ipairs {
            "", ".", "..", "../page.html", "inner/../page.html", "inner/..", "/etc/passwd", "//etc/passwd",
            "inner//deep", "inner/",
            "./page.html", "inner/./deep", ".hidden/secret", "inner/.git", "page.html\0.txt", "\0", "..\\x",
            "inner\\..\\x",
            "a/../../../../etc/passwd", "....//", ("a/"):rep(600) .. "a", "..\0/", "~/../x",
        } do
            local value, message = getter(key)
            assert.is_nil(value)
            assert.is_nil(message, key)
        end
        assert.same({}, opened)
    end)

    it("says no such key for what is not a file", function()
        local getter = from_files(root)
        for _, key in ipairs { "nothing", "inner", "inner/deep", "page.html/x", ("n"):rep(300) } do
            local value, message = getter(key)
            assert.is_nil(value)
            assert.is_nil(message, key)
        end
    end)

    it("refuses a file above the limit and takes one at it", function()
        local getter = from_files(root, { max = 10 })
        assert.equal(10, #(getter("ten")))
        local value, message = getter("big")
        assert.is_nil(value)
        assert.equal("the file is larger than 10 bytes", message)
    end)

    it("passes other trouble on", function()
        local getter = from_files(root, { open = function() return nil, "x: Too many open files", 24 end })
        local value, message = getter("page.html")
        assert.is_nil(value)
        assert.equal("x: Too many open files", message)
    end)
end)

describe("loaders.sqlite", function()
    local sqlite = require "loaders.sqlite"

    it("writes any bytes as text that needs no escaping", function()
        assert.equal("CAST(X'' AS TEXT)", sqlite.literal(""))
        assert.equal("CAST(X'27003b0aff' AS TEXT)", sqlite.literal("'\0;\n\255"))
    end)

    it("finds the parameters of a statement", function()
        assert.equal("a = CAST(X'31' AS TEXT) AND b = CAST(X'32' AS TEXT)", sqlite.prepare("a = ? AND b = ?") { "1",
            "2" })
        assert.equal("'?' \"?\" `?` -- ?\n /* ? */ CAST(X'31' AS TEXT)",
            sqlite.prepare("'?' \"?\" `?` -- ?\n /* ? */ ?") { "1" })
        assert.equal("no", sqlite.prepare("no") {})
        assert.equal("'it''s ?' CAST(X'31' AS TEXT)", sqlite.prepare("'it''s ?' ?") { "1" })
        for _, open in ipairs { "'?", "-- ?", "/* ?", '"?' } do
            assert.equal(open, sqlite.prepare(open) {})
        end
        assert.has_error(function() sqlite.prepare("?") {} end)
        assert.has_error(function() sqlite.prepare("?") { 5 } end)
        assert.has_error(function() sqlite.prepare("") { "x" } end)
    end)

    describe("with a database", function()
        local path = os.tmpname()
        local getter

        setup(function()
            local every = {}
            for i = 0, 255 do
                every[#every + 1] = string.char(i)
            end
            getter = sqlite {
                path = path,
                query = "SELECT v FROM t WHERE k = ?",
                setup = {
                    "CREATE TABLE IF NOT EXISTS t (k TEXT PRIMARY KEY, v)",
                    "INSERT OR IGNORE INTO t VALUES ('Tom', 630), ('empty', ''), ('null', NULL), ('it''s', 'quoted')",
                    ("INSERT OR IGNORE INTO t VALUES (%s, X'00ff'), (%s, 'nul')"):format(
                        sqlite.literal(table.concat(every)), sqlite.literal("a\0b")),
                },
            }
        end)

        teardown(function()
            os.remove(path)
        end)

        it("answers values, and nil for no row and NULL", function()
            assert.equal("630", tostring(getter("Tom")))
            assert.equal("", getter("empty"))
            assert.equal("quoted", getter("it's"))
            for _, key in ipairs { "Nobody", "null" } do
                local value, message = getter(key)
                assert.is_nil(value)
                assert.is_nil(message)
            end
        end)

        it("takes keys of any bytes", function()
            local every = {}
            for i = 0, 255 do
                every[#every + 1] = string.char(i)
            end
            assert.equal("\0\255", getter(table.concat(every)))
            assert.equal("nul", getter("a\0b"))
            assert.is_nil(getter("a"))
            assert.is_nil(getter("a\0c"))
        end)

        it("cannot be made to run a key", function()
            for _, key in ipairs {
                "x' OR '1'='1", "'; DROP TABLE t; --", "' UNION SELECT v FROM t WHERE k = 'Tom", "\0' OR 1=1 --", "?",
                "')", "X'41'",
            } do
                local value, message = getter(key)
                assert.is_nil(value)
                assert.is_nil(message)
            end
            assert.equal("630", tostring(getter("Tom")))
        end)

        it("says what failed", function()
            local value, message = sqlite { path = path, query = "SELECT v FROM nowhere WHERE k = ?" }("x")
            assert.is_nil(value)
            assert.is_truthy(message:find("no such table", 1, true))
            value, message = sqlite { path = "/nonexistent/x.db", query = "SELECT 1" ,
                parameters = function() return {} end }("x")
            assert.is_nil(value)
            assert.is_truthy(message:find("unable to open", 1, true))
            value, message = sqlite { path = path, query = "SELECT 1", setup = { "nonsense" },
                parameters = function() return {} end }("x")
            assert.is_nil(value)
            assert.is_truthy(message:find("syntax error", 1, true))
        end)

        it("takes parameters made of the key", function()
            local two = sqlite {
                path = path, query = "SELECT ? || '-' || ?",
                parameters = function(key) return { key:match("^(.*):(.*)$") } end,
            }
            assert.equal("a-b", two("a:b"))
        end)
    end)

    it("many: one query for a list, whatever bytes the keys have", function()
        local asked = {}
        local rows = { { "a", 1 }, { "b'", 2 } }
        local cursor = {
            fetch = function()
                local row = table.remove(rows, 1)
                if row then
                    return row[1], row[2]
                end
            end,
            close = function() end,
        }
        local many = sqlite.many {
            path = "x", query = "SELECT k, v FROM t WHERE k IN (?) AND '?' = '?'",
            driver = { connect = function() return { execute = function(_, text)
                asked[#asked + 1] = text
                return cursor
            end } end },
        }
        assert.same({ a = 1, ["b'"] = 2 }, many { "a", "b'" })
        assert.same({ "SELECT k, v FROM t WHERE k IN (CAST(X'61' AS TEXT),CAST(X'6227' AS TEXT)) AND '?' = '?'" }, asked)
        for _, query in ipairs { "SELECT 1", "SELECT ? WHERE k IN (?)" } do
            assert.has_error(function() sqlite.many { path = "x", query = query } end)
        end
    end)

    it("checks its options", function()
        for _, opts in ipairs { {}, { path = "x" }, { query = "x" }, { path = 1, query = "x" } } do
            assert.has_error(function() sqlite(opts) end)
            assert.has_error(function() sqlite.many(opts) end)
        end
        assert.has_error(function() sqlite("x") end)
    end)
end)
