-- The sources that need no server: SQLite by LuaSQL's driver, and how statements are taken apart.

describe("hgcache.luasql", function()
    local luasql = require "hgcache.luasql"

    it("finds the parameters of a statement", function()
        for statement, pieces in pairs {
            ["a = ? AND b = ?"] = { "a = ", " AND b = ", "" },
            ["'?' \"?\" `?` -- ?\n /* ? */ ?"] = { "'?' \"?\" `?` -- ?\n /* ? */ ", "" },
            ["'it''s ?' ?"] = { "'it''s ?' ", "" },
            ["no"] = { "no" }, [""] = { "" }, ["'?"] = { "'?" }, ["-- ?"] = { "-- ?" }, ["/* ?"] = { "/* ?" }, ['"?'] = { '"?' },
            ["'\\' ?"] = { "'\\' ", "" }, ["# ?"] = { "# ", "" },
        } do
            assert.same(pieces, luasql.split(statement, {}), statement)
        end
        local mysql = { hash = true, backslash = true }
        for statement, pieces in pairs {
            ["'\\' ?' ?"] = { "'\\' ?' ", "" }, ['"\\\\" ?'] = { '"\\\\" ', "" }, ["# ?\n?"] = { "# ?\n", "" },
            ["`\\` ?"] = { "`\\` ", "" }, ["'\\"] = { "'\\" },
        } do
            assert.same(pieces, luasql.split(statement, mysql), statement)
        end
    end)

    -- A driver of which each test says what it does.
    local function dialect(more)
        local d = {
            name = "hg.source_test", known = {}, settings = function() return {} end,
            literal = function(_, bytes) return "<" .. bytes .. ">" end,
            is_alive = function() return true end, is_passing = function(message) return message == "busy" end,
        }
        for name, value in pairs(more) do
            d[name] = value
        end
        return d
    end

    -- A row that is a text is an error in its place.
    local function cursor(rows)
        return {
            fetch = function(_, into)
                local row = table.remove(rows, 1)
                if type(row) ~= "table" then
                    return nil, row
                end
                into[1], into[2] = row[1], row[2]
                return into
            end,
            close = function() end,
        }
    end

    it("one connection for all loads; a lost one is made again, once", function()
        local opened, closed, asked, alive = 0, 0, {}, true
        local answers = {}
        local d = dialect {
            connect = function()
                opened = opened + 1
                return {
                    execute = function(_, text)
                        asked[#asked + 1] = text
                        local answer = table.remove(answers, 1)
                        if type(answer) == "table" then
                            return cursor(answer)
                        end
                        return nil, answer
                    end,
                    close = function() closed = closed + 1 end,
                }
            end,
            is_alive = function() return alive end,
        }
        local getter = luasql.source(d) { query = "q ?" }
        answers = { { { "v" } }, {}, { { nil } } }
        assert.equal("v", getter("a"))
        assert.is_nil(getter("b"))
        assert.is_nil(getter("c"))
        assert.same({ "q <a>", "q <b>", "q <c>" }, asked)
        assert.equal(1, opened)
        answers = { "wrong" }
        assert.same({ __hgcache = "fail", class = "internal", message = "wrong", retry = false }, getter("a"))
        answers = { "LuaSQL: busy" }
        assert.equal("busy", getter("a").message)
        alive = false
        answers = { "gone", { { "v" } } }
        assert.equal("v", getter("a")) -- once more on a new one
        assert.equal(2, opened)
        assert.equal(1, closed)
        answers = { "gone", "gone" }
        assert.same({ __hgcache = "fail", class = "unavailable", message = "gone", retry = true }, getter("a"))
        assert.equal(3, opened)
        assert.equal(3, closed)
        answers = { "gone" } -- a new one is not tried again
        assert.equal("unavailable", getter("a").class)
        assert.equal(4, opened)
    end)

    it("a database that is away, and a setup that fails", function()
        local getter = luasql.source(dialect { connect = function() return nil, "away" end })({ query = "?" })
        assert.same({ __hgcache = "fail", class = "unavailable", message = "away", retry = true }, getter("a"))
        local closed = 0
        getter = luasql.source(dialect { connect = function()
            return { execute = function() return nil, "no" end, close = function() closed = closed + 1 end }
        end })({ query = "?", setup = { "x" } })
        assert.equal("no", getter("a").message)
        assert.equal(1, closed)
    end)

    it("many: one statement for a list; what cannot be said is not found", function()
        local asked = {}
        local d = dialect {
            connect = function()
                return { execute = function(_, text)
                    asked[#asked + 1] = text
                    return cursor { { "a", 1 }, { "b'", 2 } }
                end }
            end,
            literal = function(_, bytes) return bytes ~= "bad" and "<" .. bytes .. ">" or nil end,
        }
        local many = luasql.source(d).many { query = "IN (?) AND '?' = '?'" }
        assert.same({ a = "1", ["b'"] = "2" }, many { "a", "bad", "b'" })
        assert.same({ "IN (<a>,<b'>) AND '?' = '?'" }, asked)
        assert.same({}, many { "bad" })
        assert.equal(1, #asked)
        local getter = luasql.source(d) { query = "?" }
        assert.is_nil(getter("bad"))
    end)

    local function answering(rows)
        return luasql.source(dialect { connect = function()
            return { execute = function() return cursor(rows) end }
        end })
    end

    it("an error in the middle of rows is a failure, and not their end", function()
        for message, class in pairs { busy = "unavailable", ["LuaSQL: malformed"] = "internal" } do
            local wanted = { __hgcache = "fail", class = class, message = message:match("%l+$"), retry = class == "unavailable" }
            assert.same(wanted, answering { message } { query = "?" } "a")
            assert.same(wanted, answering { { "a", "1" }, message }.many { query = "?" } { "a", "b" })
        end
    end)

    it("the first row of a key counts, NULL too; NULL is no end", function()
        local rows = { { "a", nil }, { nil, "x" }, { "b", "1" }, { "a", "2" }, { "b", "3" } }
        assert.same({ b = "1" }, answering(rows).many { query = "?" } { "a", "b" })
        assert.is_nil(answering { { nil }, { "2" } } { query = "?" } "a")
    end)

    it("numbers keep their digits, or fail", function()
        for text, number in pairs {
            ["630"] = 630, ["-1"] = -1, ["9007199254740991"] = 2 ^ 53 - 1, ["-9007199254740991"] = 1 - 2 ^ 53, ["0.1"] = 0.1,
            ["0.30000000000000004"] = 0.1 + 0.2, ["123456789012345.5"] = 123456789012345.5,
        } do
            assert.equal(text, answering { { number } } { query = "?" } "a")
            assert.same({ [text] = text }, answering { { number, number } }.many { query = "?" } { text })
        end
        for _, number in ipairs { 2 ^ 53, -2 ^ 53, 1e300, math.huge } do
            local failure = answering { { number } } { query = "?" } "a"
            assert.equal("internal", failure.class)
            assert.is_false(failure.retry)
            assert.is_truthy(failure.message:find("CAST(... AS TEXT)", 1, true))
            assert.same({ a = failure, b = "1" }, answering { { "a", number }, { "b", 1 } }.many { query = "?" } { "a", "b" })
            assert.same(failure, answering { { number, "1" } }.many { query = "?" } { "a" })
        end
    end)

    it("a wrong list of parameters is a failure that is not tried again", function()
        local given
        local getter = luasql.source(dialect { connect = function() return {} end })(
            { query = "? ?", parameters = function() return given end })
        for _, wrong in ipairs { { "a" }, { "a", 5 }, { "a", "b", "c" }, false, 5 } do
            given = wrong
            local failure = getter("k")
            assert.equal("internal", failure.class)
            assert.is_false(failure.retry)
        end
    end)
end)

describe("hg.source_sqlite", function()
    local sqlite = require "hgcache.source_sqlite"

    local function text(bytes)
        return "CAST(X'" .. require("hgcache.digest").hex(bytes) .. "' AS TEXT)"
    end

    describe("with a database", function()
        local path = os.tmpname()
        local getter
        local every = {}
        for i = 0, 255 do
            every[#every + 1] = string.char(i)
        end
        every = table.concat(every)
        local setup_statements = {
            "CREATE TABLE IF NOT EXISTS t (k TEXT PRIMARY KEY, v)",
            "INSERT OR IGNORE INTO t VALUES ('Tom', 630), ('empty', ''), ('null', NULL), ('it''s', 'quoted')",
            ("INSERT OR IGNORE INTO t VALUES (%s, X'00ff'), (%s, 'nul')"):format(text(every), text("a\0b")),
        }

        setup(function()
            getter = sqlite { path = path, query = "SELECT v FROM t WHERE k = ?", setup = setup_statements }
        end)

        teardown(function()
            os.remove(path)
        end)

        it("answers values, and nil for no row and NULL", function()
            assert.equal("630", getter("Tom"))
            assert.equal("", getter("empty"))
            assert.equal("quoted", getter("it's"))
            assert.is_nil(getter("Nobody"))
            assert.is_nil(getter("null"))
        end)

        it("takes keys of any bytes", function()
            assert.equal("\0\255", getter(every))
            assert.equal("nul", getter("a\0b"))
            assert.is_nil(getter("a"))
            assert.is_nil(getter("a\0c"))
        end)

        it("cannot be made to run a key", function()
            for _, key in ipairs {
                "x' OR '1'='1", "'; DROP TABLE t; --", "' UNION SELECT v FROM t WHERE k = 'Tom", "\0' OR 1=1 --", "?", "')",
                "X'41'",
            } do
                assert.is_nil(getter(key))
            end
            assert.equal("630", getter("Tom"))
        end)

        it("many: one statement for a list", function()
            local many = sqlite.many { path = path, query = "SELECT k, v FROM t WHERE k IN (?)" }
            local values = many { "Tom", "it's", "a\0b", "Nobody", "null", every }
            assert.same({ Tom = "630", ["it's"] = "quoted", ["a\0b"] = "nul", [every] = "\0\255" }, values)
        end)

        it("numbers as keys and values", function()
            local values = sqlite.many { path = path, query = "SELECT column1, column2 FROM (VALUES "
                .. "(123456789012345, 9007199254740991), (7, 9007199254740993)) WHERE CAST(column1 AS TEXT) IN (?)" }
                { "7", "123456789012345" }
            assert.equal("9007199254740991", values["123456789012345"])
            assert.equal("internal", values["7"].class)
        end)

        it("an error in the middle of rows", function()
            local failure = sqlite.many { path = path, query = "SELECT column1, json_extract(column2, '$') "
                .. "FROM (VALUES ('a', '1'), ('b', '{broken')) WHERE column1 IN (?)" } { "a", "b" }
            assert.equal("internal", failure.class)
            assert.is_truthy(failure.message:find("malformed JSON", 1, true), failure.message)
        end)

        it("says what failed", function()
            local failure = sqlite { path = path, query = "SELECT v FROM nowhere WHERE k = ?" }("x")
            assert.equal("internal", failure.class)
            assert.is_false(failure.retry)
            assert.is_truthy(failure.message:find("no such table", 1, true))
            failure = sqlite { path = "/nonexistent/x.db", query = "SELECT ?" }("x")
            assert.equal("unavailable", failure.class)
            assert.is_truthy(failure.message:find("unable to open", 1, true))
            failure = sqlite { path = path, query = "SELECT ?", setup = { "nonsense" } }("x")
            assert.is_truthy(failure.message:find("syntax error", 1, true))
        end)

        it("a file that another writer has locked may be free later", function()
            local driver = require("luasql.sqlite3").sqlite3()
            local other = driver:connect(path)
            assert(other:execute("BEGIN EXCLUSIVE"))
            local failure = sqlite { path = path, query = "SELECT v FROM t WHERE k = ?", busy = "1ms" }("Tom")
            assert.equal("unavailable", failure.class)
            assert.is_true(failure.retry)
            other:execute("ROLLBACK")
            other:close()
            driver:close()
        end)

        it("takes parameters made of the key", function()
            local two = sqlite {
                path = path, query = "SELECT ? || '-' || ?",
                parameters = function(key) return { key:match("^(.*):(.*)$") } end,
            }
            assert.equal("a-b", two("a:b"))
        end)
    end)

    it("checks its options", function()
        for wanted, opts in pairs {
            ["query: expected a statement"] = { path = "x" }, ["path: expected a file"] = { query = "?" },
            ["path: expected a string, found number"] = { path = 1, query = "?" }, ["unknown option 'x'"] = { x = 1 },
            ["busy: expected a number of seconds"] = { path = "x", query = "?", busy = "soon" },
            ["setup[1]: expected a statement"] = { path = "x", query = "?", setup = { 1 } },
            ["expected a table of options, found string"] = "x",
        } do
            for name, source in pairs { ["hg.source_sqlite: "] = sqlite, ["hg.source_sqlite.many: "] = sqlite.many } do
                local ok, message = pcall(function()
                    local made = source(opts)
                    return made
                end)
                assert.is_false(ok)
                assert.is_truthy(message:find("sources_spec.lua:%d+: "), message)
                assert.is_truthy(message:find(name .. wanted, 1, true), message)
            end
        end
        for wanted, query in pairs { ["one parameter for the key, found 0"] = "SELECT 1", ["for the key, found 2"] = "? ?" } do
            local ok, message = pcall(function()
                local made = sqlite { path = "x", query = query }
                return made
            end)
            assert.is_false(ok)
            assert.is_truthy(message:find(wanted, 1, true), message)
        end
        assert.has_error(function() sqlite.many { path = "x", query = "SELECT ? WHERE k IN (?)" } end)
        assert.has_error(function() sqlite.many { path = "x", query = "IN (?)", parameters = function() end } end)
    end)
end)
