-- Checks the floors of the core: who may include whom, which libraries a floor may know, and how long a C file may be.
--
--   luajit scripts/floors.lua [ROOT]        exit 0 when all is well, 1 with one `file:line: message` for each violation
--   luajit scripts/floors.lua --self-test   plants violations in a temporary tree and checks that each one is found
--
-- The table is the one of docs/internals.md. Only direct includes count: a header may pull in what its floor may know.

local MAX_LINES = 600

-- Floors below, by name. An entry with a slash allows that one header only.
local BELOW = {
    base = {},
    cache = { "base" },
    group = { "base", "cache" },
    wire = { "base" },
    cluster = { "base", "cache", "group", "wire" },
    net = { "base", "wire", "cluster", "group/source.h" },
    script = { "base", "wire", "group", "cluster", "net" },
    node = { "base", "cache", "group", "wire", "cluster", "net", "script" },
    cli = { "base", "cache", "group", "wire", "cluster", "net", "script", "node" },
}

-- Floors 0 to 2 read no clock, no random source and no file, open no socket and log nothing.
local PURE = { base = true, cache = true, group = true, wire = true, cluster = true }

-- Libraries: the patterns of their headers and the floors that may know them.
local LIBRARIES = {
    { name = "xxhash", headers = { "^xxhash%.h$" }, floors = { "base", "cache" } },
    { name = "jemalloc", headers = { "^jemalloc/" }, floors = { "base" } },
    { name = "zlib", headers = { "^zlib%.h$" }, floors = { "cache", "cli" } },
    { name = "llhttp", headers = { "^llhttp%.h$" }, floors = { "wire" } },
    { name = "nghttp2", headers = { "^nghttp2/" }, floors = { "wire", "net" } },
    { name = "protobuf-c", headers = { "^protobuf%-c/", "%.pb%-c%.h$" }, floors = { "wire" } },
    { name = "libuv", headers = { "^uv%.h$", "^uv/" }, floors = { "net", "script", "node" } },
    { name = "libcurl", headers = { "^curl/" }, floors = { "net", "cli" } },
    { name = "OpenSSL", headers = { "^openssl/" }, floors = { "net" } },
    { name = "Lua", headers = { "^lua%.h$", "^lauxlib%.h$", "^lualib%.h$", "^luajit%.h$" },
        floors = { "script", "node", "cli" } },
    { name = "libpq", headers = { "^libpq%-fe%.h$", "^libpq/" }, floors = { "net" } },
    { name = "c-ares", headers = { "^ares" }, floors = { "net" } },
    { name = "jansson", headers = { "^jansson%.h$" }, floors = { "node", "cli" } },
}

-- The C library and the kernel. Impure ones are for floors 3 and up (and for tests). <time.h> has gmtime_r, which is
-- arithmetic; its clocks are among the calls below.
local LIBC = {}
for name in ([[assert ctype errno float inttypes iso646 limits locale math pthread sched setjmp signal stdalign stdarg
    stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string strings tgmath malloc endian byteswap
    alloca time]]):gmatch("%S+") do
    LIBC[name .. ".h"] = "pure"
end
for name in ([[unistd fcntl poll netdb ifaddrs getopt termios pwd grp dirent ucontext execinfo dlfcn spawn syslog
    link glob threads semaphore ftw fnmatch utime wait]]):gmatch("%S+") do
    LIBC[name .. ".h"] = "impure"
end
local IMPURE_FOLDERS = { "^sys/", "^netinet/", "^arpa/", "^linux/", "^net/if", "^asm/", "^sanitizer/" }

-- What one file of a pure floor may include all the same: a lock sleeps by a system call, as the C library's do.
local EXCEPTIONS = { ["base/mutex.c"] = { "linux/futex.h", "sys/syscall.h", "unistd.h" } }

-- Calls that a pure floor never makes itself.
local IMPURE_CALLS = {}
for name in ([[clock_gettime gettimeofday timespec_get time clock localtime_r
    rand srand random getrandom rand_r fopen open openat socket connect
    printf fprintf puts perror syslog sleep usleep nanosleep getenv]]):gmatch("%S+") do
    IMPURE_CALLS[name] = true
end


local function contains(list, wanted)
    for _, item in ipairs(list) do
        if item == wanted then
            return true
        end
    end
    return false
end

local function matches(text, patterns)
    for _, pattern in ipairs(patterns) do
        if text:find(pattern) then
            return true
        end
    end
    return false
end

--- Why `file` of `floor` may not include `header`, or nil when it may. file and helpers, the headers of tests: by path from core/.
local function refusal(floor, file, header, is_system, is_test, helpers)
    for _, library in ipairs(LIBRARIES) do
        if matches(header, library.headers) then
            if contains(library.floors, floor) then
                return nil
            end
            return ("floor %s must not know %s (<%s>)"):format(floor, library.name, header)
        end
    end
    if is_system then
        if EXCEPTIONS[file] and contains(EXCEPTIONS[file], header) then
            return nil
        end
        if header == "cmocka.h" then
            return not is_test and "only tests include <cmocka.h>" or nil
        end
        local kind = LIBC[header] or (matches(header, IMPURE_FOLDERS) and "impure")
        if not kind then
            return ("<%s> is on no list of scripts/floors.lua"):format(header)
        end
        if kind == "impure" and PURE[floor] and not is_test then
            return ("floor %s is pure: no clock, file, socket or process (<%s>)"):format(floor, header)
        end
        return nil
    end
    local target = header:match("^([%w_]+)/[%w_%-%.]+$")
    if not target then
        return ('write the path from core/: "%s"'):format(header)
    end
    if not BELOW[target] then
        return ('"%s" is in no floor'):format(header)
    end
    if helpers[header] and not is_test then
        return ('only tests include "%s"'):format(header)
    end
    if target == floor or contains(BELOW[floor], target) or contains(BELOW[floor], header) then
        return nil
    end
    return ('floor %s must not include "%s"'):format(floor, header)
end

--- The text with comments and string contents blanked, newlines kept.
local function blank(text)
    local out, at = {}, 1
    while true do
        local start = text:find("[/\"']", at)
        if not start then
            out[#out + 1] = text:sub(at)
            return table.concat(out)
        end
        out[#out + 1] = text:sub(at, start - 1)
        local two = text:sub(start, start + 1)
        local stop
        if two == "/*" then
            stop = select(2, text:find("*/", start + 2, true)) or #text
        elseif two == "//" then
            stop = (text:find("\n", start, true) or #text + 1) - 1
        elseif two:sub(1, 1) == "/" then
            out[#out + 1] = "/"
            stop = start
        else
            local quote, i = two:sub(1, 1), start + 1
            while i <= #text and text:sub(i, i) ~= quote and text:sub(i, i) ~= "\n" do
                i = i + (text:sub(i, i) == "\\" and 2 or 1)
            end
            stop = math.min(i, #text)
        end
        out[#out + 1] = (text:sub(start, stop):gsub("[^\n]+", " "))
        at = stop + 1
    end
end

local function read(path)
    local file = assert(io.open(path, "rb"))
    local text = file:read("*a")
    file:close()
    return text
end

local function quoted(text)
    return "'" .. text:gsub("'", "'\\''") .. "'"
end

local function c_files(root, folder)
    local command = ("cd %s && find %s -type f \\( -name '*.c' -o -name '*.h' \\) 2>/dev/null | LC_ALL=C sort")
    local pipe, list = io.popen(command:format(quoted(root), folder)), {}
    for path in pipe:lines() do
        list[#list + 1] = path
    end
    pipe:close()
    return list
end

--- All violations below root, as "file:line: message".
local function check(root)
    local found, counted = {}, 0
    local function report(path, line, message)
        found[#found + 1] = ("%s:%d: %s"):format(path, line, message)
    end
    local function check_length(path, text)
        local _, count = text:gsub("\n", "")
        if count > MAX_LINES then
            report(path, count, ("%d lines, at most %d: which second idea moved in?"):format(count, MAX_LINES))
        end
    end
    -- A header that includes cmocka.h or is named fake_x.h or test_x.h is a test's: it may print and read clocks, but like the
    -- tests themselves it sees no other floors than its own may.
    local texts, helpers = {}, {}
    local paths = c_files(root, "core")
    for _, path in ipairs(paths) do
        texts[path] = read(root .. "/" .. path)
        local is_named_so = path:find("/fake_[%w_]+%.h$") or path:find("/test_[%w_]+%.h$")
        if path:find("%.h$") and (is_named_so or texts[path]:find("#%s*include%s*<cmocka%.h>")) then
            helpers[path:match("^core/(.*)$")] = true
        end
    end
    for _, path in ipairs(paths) do
        local text = texts[path]
        local floor = path:match("^core/([^/]+)/[^/]+$") or (path == "core/main.c" and "cli")
        local is_test = path:find("_test%.c$") ~= nil or helpers[path:match("^core/(.*)$")] ~= nil
        counted = counted + 1
        check_length(path, text)
        if not BELOW[floor] then
            report(path, 1, "in no floor that scripts/floors.lua knows")
        else
            local number = 0
            local bare = blank(text)
            local bare_lines = {}
            for line in (bare .. "\n"):gmatch("(.-)\n") do
                bare_lines[#bare_lines + 1] = line
            end
            for line in (text .. "\n"):gmatch("(.-)\n") do
                number = number + 1
                -- The blanked line still has the directive where it is code and not a comment.
                if bare_lines[number]:find("^%s*#%s*include") then
                    local open, header = line:match('^%s*#%s*include%s*(["<])([^">]+)[">]')
                    local why = not open and "an include must name its file"
                        or refusal(floor, path:match("^core/(.*)$"), header, open == "<", is_test, helpers)
                    if why then
                        report(path, number, why)
                    end
                elseif PURE[floor] and not is_test then
                    local code = " " .. bare_lines[number]
                    for before, name in code:gmatch("([^%w_])([%a_][%w_]*)%s*%f[(]%(") do
                        if IMPURE_CALLS[name] and before ~= "." and before ~= ">" then
                            report(path, number, ("floor %s is pure: it must not call %s()"):format(floor, name))
                        end
                    end
                end
            end
        end
    end
    for _, folder in ipairs({ "bench", "sim", "fuzz" }) do
        for _, path in ipairs(c_files(root, folder)) do
            counted = counted + 1
            check_length(path, read(root .. "/" .. path))
        end
    end
    return found, counted
end

-- Each case: a file, its text, and what must be said about it (false: nothing).
local PLANTED = {
    { "core/base/up.c", '#include "cache/store.h"\n', ":1: floor base must not include" },
    { "core/cache/up.h", '\n#include "group/group.h"\n', ":2: floor cache must not include" },
    { "core/group/side.c", '#include "wire/route.h"\n', ":1: floor group must not include" },
    { "core/wire/side.c", '#include "group/group.h"\n', ":1: floor wire must not include" },
    { "core/cluster/up.c", '#include "net/log.h"\n', ":1: floor cluster must not include" },
    { "core/net/inner.c", '#include "group/group.h"\n', ":1: floor net must not include" },
    { "core/net/cache.c", '#include "cache/store.h"\n', ":1: floor net must not include" },
    { "core/script/cache.c", '#include "cache/store.h"\n', ":1: floor script must not include" },
    { "core/script/up.c", '#include "node/node.h"\n', ":1: floor script must not include" },
    { "core/node/up.c", '#include "cli/cli.h"\n', ":1: floor node must not include" },
    { "core/group/uv.c", "#include <uv.h>\n", ":1: floor group must not know libuv" },
    { "core/wire/curl.c", "#  include <curl/curl.h>\n", ":1: floor wire must not know libcurl" },
    { "core/cluster/lua.c", "#include <lua.h>\n", ":1: floor cluster must not know Lua" },
    { "core/cache/ssl.c", "#include <openssl/ssl.h>\n", ":1: floor cache must not know OpenSSL" },
    { "core/base/json.c", "#include <jansson.h>\n", ":1: floor base must not know jansson" },
    { "core/group/proto.c", '#include "hgcache.pb-c.h"\n', ":1: floor group must not know protobuf-c" },
    { "core/group/uv_test.c", "#include <uv.h>\n", ":1: floor group must not know libuv" },
    { "core/base/clock.c", "#include <unistd.h>\n", ":1: floor base is pure" },
    { "core/wire/socket.c", "#include <sys/socket.h>\n", ":1: floor wire is pure" },
    { "core/cache/call.c", "int f(void)\n{\n    return clock_gettime(0, 0);\n}\n",
        ":3: floor cache is pure: it must not call" },
    { "core/net/odd.c", "#include <sqlite3.h>\n", ":1: <sqlite3.h> is on no list" },
    { "core/net/cmocka.c", "#include <cmocka.h>\n", ":1: only tests include" },
    { "core/node/path.c", '#include "node.h"\n', ":1: write the path from core/" },
    { "core/node/dots.c", '#include "../base/buf.h"\n', ":1: write the path from core/" },
    { "core/node/macro.c", "#include HEADER\n", ":1: an include must name its file" },
    { "core/attic/x.c", "int x;\n", ":1: in no floor" },
    { "core/net/long.c", ("int x;\n"):rep(601), ":601: 601 lines, at most 600" },
    { "bench/long.c", ("int x;\n"):rep(601), ":601: 601 lines, at most 600" },
    { "core/net/source.c", '#include "group/source.h"\n#include <uv.h>\n#include <time.h>\n', false },
    { "core/base/fine.c",
        '/*\n#include <uv.h>\n*/\n#include "base/buf.h"\n#include <xxhash.h>\nchar *s = "time(0)"; // open(\n', false },
    { "core/base/member.c",
        "int f(struct s *s)\n{\n    return s->open(s) + s->x.time(1) + uptime(2);\n}\n", false },
    { "core/base/borrow.c", '#include "base/testing.h"\n', ":1: only tests include" },
    { "core/base/testing.h", "#include <cmocka.h>\n", false },
    { "core/group/fake_source.h", "#include <cmocka.h>\n#include <unistd.h>\n", false },
    { "core/group/fake_up.h", '#include "net/log.h"\n', ":1: floor group must not include" },
    { "core/group/fine_test.c",
        "#include <cmocka.h>\n#include <time.h>\nint f(void)\n{\n    return printf(\"x\");\n}\n", false },
    { "core/wire/fine.c", '#include <llhttp.h>\n#include "hgcache.pb-c.h"\n', false },
    { "core/node/fine.c", '#include "script/vm.h"\n#include "cache/store.h"\n#include <jansson.h>\n', false },
    { "core/main.c", '#include "cli/cli.h"\n', false },
    { "core/net/edge.c", ("int x;\n"):rep(600), false },
}

local function self_test()
    local pipe = io.popen("mktemp -d")
    local root = pipe:read("*l")
    pipe:close()
    for _, case in ipairs(PLANTED) do
        os.execute(("mkdir -p %s"):format(quoted(root .. "/" .. case[1]:match("^(.*)/"))))
        local file = assert(io.open(root .. "/" .. case[1], "wb"))
        file:write(case[2])
        file:close()
    end
    local found = check(root)
    os.execute(("rm -rf %s"):format(quoted(root)))
    local failed, expected = 0, 0
    for _, case in ipairs(PLANTED) do
        local count, right = 0, false
        for _, line in ipairs(found) do
            if line:sub(1, #case[1] + 1) == case[1] .. ":" then
                count = count + 1
                right = right or (case[3] and line:sub(#case[1] + 1, #case[1] + #case[3]) == case[3])
            end
        end
        expected = expected + (case[3] and 1 or 0)
        if case[3] and not (right and count == 1) or not case[3] and count > 0 then
            failed = failed + 1
            io.stderr:write(("self-test: %s: expected %s, %d found\n"):format(case[1], case[3] or "nothing", count))
        end
    end
    if #found ~= expected then
        failed = failed + 1
        io.stderr:write(("self-test: %d violations planted, %d found\n"):format(expected, #found))
    end
    print(("floors self-test: %d passed, %d failed"):format(#PLANTED - math.min(failed, #PLANTED), failed))
    return failed == 0
end

if arg[1] == "--self-test" then
    os.exit(self_test() and 0 or 1)
end
local root = arg[1] or (arg[0]:match("^(.*)/scripts/[^/]*$") or ".")
local found, counted = check(root)
for _, line in ipairs(found) do
    io.stderr:write(line, "\n")
end
print(("floors: %d files, %d violations"):format(counted, #found))
os.exit(#found == 0 and counted > 0 and 0 or 1)
