local units = require "hgcache.units"

describe("sizes", function()
    local good = {
        { 0, 0 }, { 1, 1 }, { 1024, 1024 }, { "0", 0 }, { "512", 512 }, { "512B", 512 }, { "1kB", 1000 }, { "1KB",
        1000 },
        { "1KiB", 1024 }, { "3MB", 3e6 }, { "64MiB", 67108864 }, { "1GB", 1e9 }, { "2GiB", 2 ^ 31 }, { "1TB", 1e12 },
        { "1TiB", 2 ^ 40 }, { "0064MiB", 67108864 }, { 2 ^ 53, 2 ^ 53 }, { "9007199254740992", 2 ^ 53 }, { "8192TiB",
        2 ^ 53 },
    }
    for _, row in ipairs(good) do
        it("reads " .. tostring(row[1]), function()
            assert.equal(row[2], units.size(row[1]))
        end)
    end

    local bad = {
        "", " ", "MiB", "64MiBB", "64 MiB", " 64MiB", "64MiB ", "64mib", "64M", "64K", "1.5MiB", "-1", "+1", "1e3",
        "0x10",
        "nan", "inf", "64MiB\0", "9007199254740993", "8193TiB", ("9"):rep(400), "1PiB",
        -1, 1.5, 0 / 0, 1 / 0, -1 / 0, 1e300, 2 ^ 53 + 2, true, false, {}, print,
    }
    for _, value in ipairs(bad) do
        it("refuses " .. tostring(value):sub(1, 30), function()
            assert.is_nil(units.size(value))
        end)
    end

    it("refuses nil", function()
        assert.is_nil(units.size(nil))
    end)
end)

describe("durations", function()
    local good = {
        { 0, 0 }, { 1, 1000 }, { 0.25, 250 }, { 0.07, 70 }, { 0.0001, 1 }, { 1e-300, 1 }, { 12.3456, 12346 }, { "0",
        0 }, { "0ms", 0 },
        { "0.0s", 0 }, { "250ms", 250 }, { "10s", 10000 }, { "10", 10000 }, { "1.5s", 1500 }, { "5m", 300000 }, { "1h",
        3600000 },
        { "2d", 172800000 }, { "0.5h", 1800000 }, { "0.1ms", 1 }, { "1.0001s", 1001 }, { "0.07s", 70 }, { "0.070", 70 },
        { "0.0000000000000000000001s", 1 }, { "0.999999999999999999999s", 1000 }, { "1." .. ("0"):rep(200) .. "s",
        1000 },
        { "1.3333m", 79998 },
    }
    for _, row in ipairs(good) do
        it("reads " .. tostring(row[1]):sub(1, 30), function()
            assert.equal(row[2], units.duration(row[1]))
        end)
    end

    local bad = {
        "", "s", "ms", "10 s", "10S", "10sec", "1m30s", "-1s", "+1s", ".5s", "1.s", "1..5s", "1e3", "0x1s", "nan",
        "inf", "forever",
        "10s\0", ("9"):rep(30) .. "s", "9007199254741s", "104249991375d",
        -1, -0.001, 0 / 0, 1 / 0, -1 / 0, 1e300, true, false, {}, print,
    }
    for _, value in ipairs(bad) do
        it("refuses " .. tostring(value):sub(1, 30), function()
            assert.is_nil(units.duration(value))
        end)
    end

    it("never rounds anything above 0 down to 0", function()
        for i = 1, 300 do
            assert.is_true(units.duration(2 ^ -i) >= 1)
            assert.is_true(units.duration("0." .. ("0"):rep(i) .. "1ms") == 1)
        end
    end)

    it("agrees between a number of seconds and the same in text", function()
        for ms = 0, 5000 do
            assert.equal(ms, units.duration(ms / 1000))
            assert.equal(ms, units.duration(("%d.%03d"):format(math.floor(ms / 1000), ms % 1000)))
        end
    end)
end)

describe("formatting", function()
    it("writes text that reads back the same", function()
        for _, bytes in ipairs { 0, 1, 999, 1000, 1024, 1e6, 67108864, 1e9, 2 ^ 31 - 1, 2 ^ 40, 2 ^ 53 } do
            assert.equal(bytes, units.size(units.format_size(bytes)))
        end
        for _, ms in ipairs { 0, 1, 250, 1000, 1001, 60000, 90000, 43200000, 2 ^ 53 } do
            assert.equal(ms, units.duration(units.format_duration(ms)))
        end
        assert.equal("64MiB", units.format_size(67108864))
        assert.equal("12h", units.format_duration(43200000))
        assert.equal("90s", units.format_duration(90000))
    end)
end)
