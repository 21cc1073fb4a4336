-- The plot of docs/operations.md: hit ratio against size for each policy, on a trace that this script makes up.
--
--   luajit scripts/eviction_plot.lua trace > /tmp/made-up.trace
--   hgcache replay /tmp/made-up.trace --objects 500,1000,2000,4000,8000,16000 --json > /tmp/made-up.json
--   luajit scripts/eviction_plot.lua plot < /tmp/made-up.json > docs/eviction.svg
--
-- `plot` takes any page of `hgcache replay --json`, so it draws one's own access log just as well.
--
-- The trace: 300,000 requests. Half are Zipf (0.9) over 30,000 keys, a quarter are for what is popular for a while (a window of
-- 2,000 keys that moves), and a quarter ask for what nobody asks for again: crawlers, scans. No randomness but a
-- generator of its own, so the trace is the same everywhere.

local cjson = require "cjson"

local REQUESTS, KEYS, EXPONENT, WINDOW = 300000, 30000, 0.9, 2000

-- Park and Miller's minimal standard generator: exact in doubles.
local state = 20261123
local function random()
    state = state * 16807 % 2147483647
    return state / 2147483647
end

local function write_trace()
    local sums, sum = {}, 0
    for i = 1, KEYS do
        sum = sum + i ^ -EXPONENT
        sums[i] = sum
    end
    local function zipf()
        local wanted, low, high = random() * sum, 1, KEYS
        while low < high do
            local middle = math.floor((low + high) / 2)
            if sums[middle] < wanted then
                low = middle + 1
            else
                high = middle
            end
        end
        return low
    end
    for i = 1, REQUESTS do
        local choice = random()
        if choice < 0.5 then
            io.write("page/", zipf(), "\n")
        elseif choice < 0.75 then
            local from = math.floor(i / 20)
            io.write("news/", from + math.floor(random() ^ 3 * WINDOW), "\n")
        else
            io.write("once/", i, "\n")
        end
    end
end

-- ---- the plot ----

local WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 420, 60, 130, 40, 50
local COLOURS = {
    "#1f77b4", "#7f7f7f", "#bcbd22", "#17becf", "#9467bd", "#8c564b", "#d62728", "#2ca02c", "#ff7f0e", "#e377c2",
}

local function escape(text)
    return (tostring(text):gsub("[&<>\"]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }))
end

-- "64Mi" for bytes, "16k" for objects.
local function short(number, in_bytes)
    local step, units = in_bytes and 1024 or 1000, in_bytes and { "", "Ki", "Mi", "Gi", "Ti" } or { "", "k", "M", "G", "T" }
    local unit = 1
    while number >= step and unit < #units do
        number, unit = number / step, unit + 1
    end
    return ("%.4g"):format(number) .. units[unit]
end

-- The results by policy, in the order they came; { name, points = { { size, hit ratio } } }, and the sizes.
local function read_lines(page)
    local lines, sizes = {}, {}
    for _, row in ipairs(page.results) do
        local size = row.objects or row.capacity
        if not lines[row.policy] then
            lines[row.policy] = { name = row.policy, points = {} }
            lines[#lines + 1] = lines[row.policy]
        end
        table.insert(lines[row.policy].points, { size, 1 - row.miss_ratio })
        if not sizes[size] then
            sizes[size] = true
            sizes[#sizes + 1] = size
        end
    end
    table.sort(sizes)
    for _, line in ipairs(lines) do
        table.sort(line.points, function(a, b)
            return a[1] < b[1]
        end)
    end
    return lines, sizes
end

-- Names at the right of the lines' ends, pushed apart so that each can be read.
local function place_names(lines, y_of)
    local placed = {}
    for i, line in ipairs(lines) do
        placed[i] = { line = line, index = i, y = y_of(line.points[#line.points][2]) }
    end
    table.sort(placed, function(a, b)
        return a.y < b.y
    end)
    for i = 2, #placed do
        placed[i].y = math.max(placed[i].y, placed[i - 1].y + 14)
    end
    return placed
end

local function write_plot()
    local page = cjson.decode(io.read("*a"))
    local lines, sizes = read_lines(page)
    assert(#sizes > 1, "expected at least two sizes")
    local in_bytes = page.results[1].capacity ~= nil
    local low, high = 1, 0
    for _, line in ipairs(lines) do
        for _, point in ipairs(line.points) do
            low, high = math.min(low, point[2]), math.max(high, point[2])
        end
    end
    low, high = math.floor(low * 20) / 20, math.ceil(high * 20) / 20
    local first, last = math.log(sizes[1]), math.log(sizes[#sizes])
    local function x_of(size)
        return LEFT + (math.log(size) - first) / (last - first) * (WIDTH - LEFT - RIGHT)
    end
    local function y_of(ratio)
        return HEIGHT - BOTTOM - (ratio - low) / (high - low) * (HEIGHT - TOP - BOTTOM)
    end
    local function put(...)
        io.write(string.format(...), "\n")
    end
    put('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">', WIDTH, HEIGHT)
    put('<rect width="%d" height="%d" fill="white"/>', WIDTH, HEIGHT)
    put('<text x="%d" y="22" font-size="14">hit ratio of %s requests against the size of the cache (%s)</text>', LEFT,
        escape(short(page.requests)), in_bytes and "bytes" or "entries")
    for step = 0, math.floor((high - low) / 0.05 + 0.5) do
        local ratio = low + step * 0.05
        put('<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#ddd"/>', LEFT, y_of(ratio), WIDTH - RIGHT, y_of(ratio))
        put('<text x="%d" y="%.1f" text-anchor="end">%.2f</text>', LEFT - 8, y_of(ratio) + 4, ratio)
    end
    for _, size in ipairs(sizes) do
        put('<text x="%.1f" y="%d" text-anchor="middle">%s</text>', x_of(size), HEIGHT - BOTTOM + 20, short(size, in_bytes))
    end
    for i, line in ipairs(lines) do
        local points = {}
        for k, point in ipairs(line.points) do
            points[k] = ("%.1f,%.1f"):format(x_of(point[1]), y_of(point[2]))
        end
        put('<polyline fill="none" stroke="%s" stroke-width="2" points="%s"/>', COLOURS[(i - 1) % #COLOURS + 1],
            table.concat(points, " "))
    end
    for _, name in ipairs(place_names(lines, y_of)) do
        put('<text x="%d" y="%.1f" fill="%s">%s</text>', WIDTH - RIGHT + 8, name.y + 4,
            COLOURS[(name.index - 1) % #COLOURS + 1], escape(name.line.name))
    end
    put("</svg>")
end

local what = ...
if what == "trace" then
    write_trace()
elseif what == "plot" then
    write_plot()
else
    io.stderr:write("usage: luajit scripts/eviction_plot.lua trace|plot\n")
    os.exit(2)
end
