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
