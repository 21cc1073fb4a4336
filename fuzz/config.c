/*
 * The configuration: foreign bytes as a chunk, loaded, checked and read as a node does it; and tables made from bytes, which the
 * schema has to refuse in one line or to accept for good.
 *
 * A chunk is a program: what could reach beyond its state (files, processes, the debug library, bytecode) is taken away first. The
 * fuzzer does not see Lua, so the lines that run are told to it as extra counters.
 */
#include "fuzz.h"

#include <lauxlib.h>
#include <lua.h>
#include <sys/mman.h>
#include <unistd.h>

#include "node/config.h"
#include "script/vm.h"

#define MEMORY_BYTES ((size_t)32 << 20)
#define COUNTERS     4096
#define COLLECT_AT   200 /* inputs */

__attribute__((section("__libfuzzer_extra_counters"))) static unsigned char counters[COUNTERS];

/* A state that lives on looks like a leak after each input, and looking for it takes longer than all else. What chunks take is
 * counted (hg_alloc_live_count). */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
    return 1;
}

static const char disarm[] =
    "io, dofile, loadfile, load, loadstring, debug, jit, newproxy = nil\n"
    "os = { time = os.time, clock = os.clock, date = os.date, getenv = os.getenv }\n"
    "package.loadlib, package.path, package.cpath = nil, '', ''\n"
    "package.loaded.io, package.loaded.debug, package.loaded.ffi, package.loaded.jit = nil\n"
    "package.loaded.os, package.preload.ffi = os, nil\n";

static void run(lua_State *L, const char *text, const char *name)
{
    if (luaL_loadbuffer(L, text, strlen(text), name) != 0 || lua_pcall(L, 0, 0, 0) != 0) {
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
        abort();
    }
}

static struct hg_vm *open_vm(const char *file)
{
    struct hg_vm_config config = {
        .file = file, .memory_bytes = MEMORY_BYTES, .is_control = true, .is_check = true};
    struct hg_vm *vm = NULL;
    must(hg_vm_create(&config, &vm) == HG_OK);
    return vm;
}

/* ---- a chunk ---- */

/* What the check says when it raises instead of refusing. */
static const char own_fault[] = "the check itself failed";

static void read_config(struct hg_vm *vm)
{
    struct hg_config *config = NULL;
    char error[256] = "";
    uint64_t fingerprint = hg_vm_fingerprint(vm);
    must(fingerprint == hg_vm_fingerprint(vm));
    must(hg_config_read(vm, &config, error, sizeof(error)) == HG_OK);
    must(config->group_count > 0 || config->groups != NULL);
    hg_config_destroy(config);
}

/* A state of its own for each is slow: most of what the fuzzer makes does not even compile, and of that one in 16 is enough. */
static bool is_worth_it(struct hg_bytes text, unsigned lot)
{
    static lua_State *L;
    if (L == NULL)
        L = luaL_newstate();
    must(L != NULL);
    int rc = luaL_loadbufferx(L, text.len == 0 ? "" : text.data, text.len, "=f", "t");
    lua_settop(L, 0);
    return rc == 0 || lot % 16 == 0;
}

static void chunk(struct hg_bytes text)
{
    char path[64], *error = NULL;
    int fd = memfd_create("config.lua", MFD_CLOEXEC);
    must(fd >= 0 && write(fd, text.len == 0 ? "" : text.data, text.len) == (ssize_t)text.len);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    struct hg_vm *vm = open_vm(path);
    run(hg_vm_state(vm), disarm, "disarm");
    if (hg_vm_load(vm, &error) == HG_OK) {
        read_config(vm);
    } else {
        must(error != NULL && strstr(error, path) != NULL);
        must(strpbrk(error, "\r\n") == NULL);
        must(strstr(error, own_fault) == NULL ||
             memmem(text.data, text.len, own_fault, strlen(own_fault)) != NULL);
        hg_free(error);
    }
    hg_vm_destroy(vm);
    close(fd);
}

/* ---- tables ---- */

static const char builder[] =
    "local config, schema = require 'hgcache.config', require 'hgcache.schema'\n"
    "local names, seen, known = {}, {}, {}\n"
    "local function gather(t)\n"
    "    if type(t) ~= 'table' or seen[t] then return end\n"
    "    seen[t] = true\n"
    "    if type(t.name) == 'string' and not known[t.name] then\n"
    "        known[t.name] = true\n"
    "        names[#names + 1] = t.name\n"
    "    end\n"
    "    for _, value in pairs(t) do gather(value) end\n"
    "end\n"
    "gather(schema)\n"
    "for name in ('key as type headers timeout cors handler failures cooldown api admin peer getters routes test hash points group GET'):gmatch '%S+' do\n"
    "    names[#names + 1] = name\n"
    "end\n"
    "table.sort(names)\n"
    "local words = {}\n"
    "for word in ([[64MiB 10s 250ms 1h lru sieve w-tinylfu auto error stale grpc http default groupcache crc32 raw envelope *\n"
    "    127.0.0.1:8001 [::1]:1 unix:/s http://127.0.0.1:8001 http://127.0.0.1:8002 https://example.com /_hgcache/ test getters\n"
    "    {query.key} {path.id}:{query.l|en} {header.x-a} {bad GET POST x-a text/plain info json -1 0 1e400 9999999999h]]):gmatch '%S+' do\n"
    "    words[#words + 1] = word\n"
    "end\n"
    "words[#words + 1] = 'GET /api'\n"
    "words[#words + 1] = 'GET /users/:id/*rest'\n"
    "words[#words + 1] = ''\n"
    "local numbers = { 0/0, 1/0, -1/0, -1, 0.5, 2^53, 2^31, 1e308, 8001, 65536, 1 }\n"
    "local function getter() end\n"
    "local bytes, at, budget, shared\n"
    "local function byte()\n"
    "    at = at + 1\n"
    "    return bytes:byte(at) or 0\n"
    "end\n"
    "local value\n"
    "local function key()\n"
    "    local b = byte()\n"
    "    if b < 200 then return names[b * 7 % #names + 1] end\n"
    "    if b < 220 then return words[byte() % #words + 1] end\n"
    "    if b < 240 then return b - 219 end\n"
    "    local k = value(9)\n"
    "    return k ~= nil and k == k and k or 'k'\n"
    "end\n"
    "local function fill(t, depth)\n"
    "    for _ = 1, byte() % 6 do t[key()] = value(depth + 1) end\n"
    "    return t\n"
    "end\n"
    "function value(depth)\n"
    "    budget = budget - 1\n"
    "    local op = byte() % 18\n"
    "    if budget < 0 or (depth > 8 and op > 7) then op = op % 8 end\n"
    "    if op == 0 then return nil end\n"
    "    if op == 1 then return true end\n"
    "    if op == 2 then return false end\n"
    "    if op == 3 then return byte() end\n"
    "    if op == 4 then return numbers[byte() % #numbers + 1] end\n"
    "    if op == 5 or op == 6 then return words[byte() % #words + 1] end\n"
    "    if op == 7 then\n"
    "        local len = byte() % 40\n"
    "        at = at + len\n"
    "        return bytes:sub(at - len + 1, at)\n"
    "    end\n"
    "    if op == 8 or op == 9 then return fill({}, depth) end\n"
    "    if op == 10 or op == 11 then\n"
    "        local t = {}\n"
    "        for i = 1, byte() % 8 do t[i] = value(depth + 1) end\n"
    "        return t\n"
    "    end\n"
    "    if op == 12 then return getter end\n"
    "    if op == 13 then return fill({ __hgcache = 'serve', group = 'test' }, depth) end\n"
    "    if op == 14 then return fill({ __hgcache = 'source' }, depth) end\n"
    "    if op == 15 then return setmetatable({}, { __index = error, __newindex = error, __len = error, __call = error,\n"
    "        __tostring = error, __pairs = error, __eq = error, __lt = error, __concat = error }) end\n"
    "    if op == 16 then return coroutine.create(getter) end\n"
    "    return shared[byte() % #shared + 1]\n"
    "end\n"
    /* The places to edit, each with the keys that it may have. */
    "local function base()\n"
    "    local source = { __hgcache = 'source', breaker = {} }\n"
    "    local group = { getter = getter, source = source }\n"
    "    local cors = { origins = { 'https://example.com' } }\n"
    "    local serve = { __hgcache = 'serve', group = 'test' }\n"
    "    local handler = { handler = getter }\n"
    "    local node = { limits = {}, script = {}, admin = {}, log = {}, listen = { api = '127.0.0.1:1', admin = '127.0.0.1:2' } }\n"
    "    local cluster = { self = 'http://127.0.0.1:8001', peers = { 'http://127.0.0.1:8001' } }\n"
    "    local root = { node = node, cluster = cluster, groups = { test = group }, cors = cors,\n"
    "        routes = { ['GET /api'] = serve, ['GET /f'] = handler } }\n"
    "    local s = schema\n"
    "    return root, { { root, s.root }, { node, s.node }, { cluster, s.cluster }, { group, s.group }, { group, s.group },\n"
    "        { source, s.source }, { source.breaker, s.breaker }, { cors, s.cors }, { serve, s.serve }, { handler, s.handler },\n"
    "        { node.limits, s.limits }, { node.script, s.script }, { node.admin, s.admin }, { node.log, s.log }, { node.listen, s.listen },\n"
    "        { cluster.peers, {} }, { root.groups, {} }, { root.routes, {} } }\n"
    "end\n"
    "local function made(text)\n"
    "    local root, places\n"
    "    bytes, at, budget = text, 0, 300\n"
    "    root, places = base()\n"
    "    shared = {}\n"
    "    for i, place in ipairs(places) do shared[i] = place[1] end\n"
    "    if byte() % 16 == 0 then return value(0) end\n"
    "    while at < #bytes do\n"
    "        local place, b = places[byte() % #places + 1], byte()\n"
    "        local field = b % 16 ~= 0 and place[2][b % (#place[2] + 1)]\n"
    "        local k\n"
    "        if field then k = field.name else k = key() end\n"
    "        place[1][k] = value(1)\n"
    "    end\n"
    "    return root\n"
    "end\n"
    "function fuzz_one(text)\n"
    "    local opts = { file = 'f.lua', role = 'check' }\n"
    "    local first, message = config.check(made(text), opts)\n"
    "    if not first then\n"
    "        assert(type(message) == 'string' and #message > 0, 'no message')\n"
    "        assert(not message:find('[\\r\\n]'), message)\n"
    "        assert(not message:find('^f%.lua: the check itself failed'), message)\n"
    "        return\n"
    "    end\n"
    "    local again = assert(config.check(made(text), opts))\n"
    "    assert(config.canonical(first) == config.canonical(again), 'canonical')\n"
    "    assert(config.difference(first, again) == nil, 'difference')\n"
    "    assert(type(config.describe(first)) == 'string')\n"
    "end\n";

static void on_line(lua_State *L, lua_Debug *debug)
{
    uint32_t hash = 2166136261u;
    lua_getinfo(L, "S", debug);
    for (const char *c = debug->short_src; *c != '\0'; c++)
        hash = (hash ^ (unsigned char)*c) * 16777619u;
    hash = (hash ^ (uint32_t)debug->currentline) * 16777619u;
    counters[(hash ^ hash >> 16) % COUNTERS] = 1;
}

static int on_error(lua_State *L)
{
    luaL_traceback(L, L, lua_tostring(L, 1), 1);
    return 1;
}

static void tables(struct hg_bytes text)
{
    static struct hg_vm *vm;
    static unsigned inputs;
    if (vm == NULL) {
        vm = open_vm("f.lua");
        run(hg_vm_state(vm), builder, "builder");
    }
    lua_State *L = hg_vm_state(vm);
    lua_settop(L, 0);
    lua_pushcfunction(L, on_error);
    lua_getglobal(L, "fuzz_one");
    lua_pushlstring(L, text.len == 0 ? "" : text.data, text.len);
    lua_sethook(L, on_line, LUA_MASKLINE, 0);
    int rc = lua_pcall(L, 1, 0, 1);
    lua_sethook(L, NULL, 0, 0);
    if (rc != 0) {
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
        abort();
    }
    if (++inputs % COLLECT_AT == 0)
        lua_gc(L, LUA_GCCOLLECT, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    char *copy = fuzz_copy(hg_bytes(data + 1, size - 1));
    if (data[0] % 2 == 0 && is_worth_it(hg_bytes(copy, size - 1), data[0] / 2)) {
        size_t live = hg_alloc_live_count();
        chunk(hg_bytes(copy, size - 1));
        must(hg_alloc_live_count() == live);
    } else if (data[0] % 2 == 1) {
        tables(hg_bytes(copy, size - 1));
    }
    free(copy);
    return 0;
}
