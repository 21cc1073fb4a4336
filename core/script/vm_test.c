#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/alloc.h"
#include "script/vm_impl.h"

static char folder[64], file[128];

static void write_file(const char *name, const char *text, size_t len)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(text, 1, len, out), len);
    fclose(out);
}

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/hgcache-vm-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(file, sizeof(file), "%s/config.lua", folder);
    return 0;
}

static int remove_folder(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command) == 0 ? 0 : -1;
}

static const char *const arg_names[] = {"port"}, *const arg_values[] = {"8001"};

static struct hg_vm *make_vm(size_t memory)
{
    struct hg_vm_config config = {.file = file,
                                  .memory_bytes = memory,
                                  .is_control = true,
                                  .args = {arg_names, arg_values, 1}};
    struct hg_vm *vm;
    assert_int_equal(hg_vm_create(&config, &vm), HG_OK);
    return vm;
}

#define GROUP "groups = { test = { getter = function(key) return key end } }"

static struct hg_vm *load_ok(const char *text)
{
    char *error = NULL;
    write_file("config.lua", text, strlen(text));
    struct hg_vm *vm = make_vm(64 << 20);
    int err = hg_vm_load(vm, &error);
    if (err != HG_OK)
        fail_msg("%s", error);
    return vm;
}

/* The chunk is refused with a line that has `part`. */
static void expect_refused_bytes(const char *text, size_t len, const char *part)
{
    char *error = NULL;
    write_file("config.lua", text, len);
    struct hg_vm *vm = make_vm(64 << 20);
    assert_int_equal(hg_vm_load(vm, &error), HG_EINVAL);
    assert_non_null(error);
    if (strstr(error, part) == NULL || strchr(error, '\n') != NULL)
        fail_msg("expected '%s' in: %s", part, error);
    if (strstr(error, "config.lua") == NULL)
        fail_msg("no file in: %s", error);
    hg_free(error);
    hg_vm_destroy(vm);
}

static void expect_refused(const char *text, const char *part)
{
    expect_refused_bytes(text, strlen(text), part);
}

static void test_chunk_becomes_a_normalised_table(void **state)
{
    (void)state;
    struct hg_vm *vm = load_ok(
        "local hg = require 'hgcache'\nassert(hg.args.port == '8001')\nreturn { " GROUP " }");
    hg_vm_push_config(vm);
    assert_true(lua_istable(vm->L, -1));
    lua_getfield(vm->L, -1, "groups");
    lua_rawgeti(vm->L, -1, 1);
    lua_getfield(vm->L, -1, "name");
    assert_string_equal(lua_tostring(vm->L, -1), "test");
    lua_settop(vm->L, 0);
    assert_true(hg_vm_memory(vm) > 10000);
    hg_vm_destroy(vm);
}

static void test_chunk_errors_are_one_line_with_file_and_line(void **state)
{
    (void)state;
    expect_refused("return {\n = 1 }", "config.lua:2:");
    expect_refused("error('oh\\nno')", "config.lua:1: oh no");
    expect_refused("error()", "error object is a nil value");
    expect_refused("error({})", "error object is a table value");
    expect_refused("error(setmetatable({}, { __tostring = function() error('x') end }))",
                   "config.lua");
    expect_refused("return 1", "expected the chunk to return one table, found number");
    expect_refused("return nil", "found nil");
    expect_refused("", "found nil");
    expect_refused("return { grops = {} }", "grops");
}

static void expect_unreadable(const char *path, const char *part)
{
    struct hg_vm_config config = {.file = path, .memory_bytes = 64 << 20};
    struct hg_vm *vm;
    char *error = NULL;
    assert_int_equal(hg_vm_create(&config, &vm), HG_OK);
    assert_int_equal(hg_vm_load(vm, &error), HG_EINVAL);
    assert_non_null(strstr(error, part));
    hg_free(error);
    hg_vm_destroy(vm);
}

static void test_missing_file_and_folder_are_errors(void **state)
{
    (void)state;
    expect_unreadable("/nowhere/config.lua", "cannot be read: No such file");
    expect_unreadable(folder, "it is a folder");
}

static int to_buf(lua_State *L, const void *data, size_t len, void *ud)
{
    (void)L;
    return hg_buf_append(ud, data, len);
}

static void test_bytecode_is_refused_everywhere(void **state)
{
    struct hg_buf code;
    (void)state;
    lua_State *L = luaL_newstate();
    hg_buf_init(&code, 1 << 20);
    assert_int_equal(luaL_loadstring(L, "return {}"), 0);
    assert_int_equal(lua_dump(L, to_buf, &code), 0);
    lua_close(L);
    expect_refused_bytes(code.data, code.len, "config.lua");
    write_file("compiled.lua", code.data, code.len);
    hg_buf_finish(&code);
    expect_refused("require 'compiled'", "compiled");
    expect_refused("assert(loadfile((debug.getinfo(1).source:sub(2):gsub('config', 'compiled'))))",
                   "load chunk with wrong mode");
    expect_refused("dofile((debug.getinfo(1).source:sub(2):gsub('config', 'compiled')))",
                   "load chunk with wrong mode");
    expect_refused("assert(load(string.dump(function() end)))", "load chunk with wrong mode");
    expect_refused("assert(loadstring(string.dump(function() end)))", "load chunk with wrong mode");
    expect_refused("load('return 1', 'x', 'b')", "never bytecode");
}

static void test_byte_order_mark_shebang_and_crlf_are_fine(void **state)
{
    (void)state;
    hg_vm_destroy(load_ok("\xef\xbb\xbfreturn { " GROUP " }"));
    hg_vm_destroy(load_ok("#!/usr/bin/env hgcache\nreturn { " GROUP " }"));
    hg_vm_destroy(load_ok("\xef\xbb\xbf#!x\r\nreturn {\r\n " GROUP " }\r\n"));
}

static void test_modules_beside_the_file_are_found(void **state)
{
    static const char module[] = "return { key = 'beside' }";
    char sub[128];
    (void)state;
    write_file("mine.lua", module, sizeof(module) - 1);
    snprintf(sub, sizeof(sub), "mkdir -p %s/lua/deep", folder);
    assert_int_equal(system(sub), 0);
    write_file("lua/deep/init.lua", "return { key = 'deep' }", 23);
    hg_vm_destroy(
        load_ok("assert(require('mine').key == 'beside')\nassert(require('deep').key == 'deep')\n"
                "assert(package.path:sub(1, 1) == '/')\nreturn { " GROUP " }"));
}

static void test_dangerous_functions_are_closed(void **state)
{
    (void)state;
    expect_refused("require 'ffi'", "ffi is not available to scripts");
    expect_refused("os.exit(1)", "os.exit is not available");
    expect_refused("os.setlocale('C')", "os.setlocale is not available");
    expect_refused("debug.sethook()", "debug.sethook is not available");
    expect_refused("debug.getregistry()", "debug.getregistry is not available");
    expect_refused("jit.on()", "jit.on is not available");
    expect_refused("require('hgcache').args.x = 1", "config.lua:1: hg.args is read-only");
}

static void test_waiting_while_loading_is_an_error(void **state)
{
    (void)state;
    expect_refused("require('hgcache').sleep(1)",
                   "hg.sleep cannot be used while the configuration is loading");
    expect_refused("require('hgcache').spawn(function() end)",
                   "hg.spawn cannot be used while the configuration is loading");
    expect_refused("require('hgcache').group('test'):get('x')",
                   "group:get cannot be used while the configuration is loading");
    expect_refused("coroutine.wrap(function() require('hgcache').sleep(1) end)()",
                   "hg.sleep cannot be used");
}

static void test_endless_chunk_is_ended(void **state)
{
    (void)state;
    expect_refused("while true do end", "loading took more than");
    expect_refused("while true do pcall(function() while true do end end) end",
                   "loading took more than");
}

static void test_memory_cap_is_an_error_and_the_state_survives(void **state)
{
    char *error = NULL;
    (void)state;
    static const char bomb[] = "local t = {}\nfor i = 1, 1e9 do t[i] = {} end\nreturn t";
    write_file("config.lua", bomb, sizeof(bomb) - 1);
    struct hg_vm *vm = make_vm(8 << 20);
    assert_int_equal(hg_vm_load(vm, &error), HG_EINVAL);
    assert_non_null(strstr(error, "script memory limit"));
    hg_free(error);
    assert_true(hg_vm_memory(vm) <= 8 << 20);
    lua_gc(vm->L, LUA_GCCOLLECT, 0);
    assert_true(hg_vm_memory(vm) < 2 << 20);
    hg_vm_destroy(vm);
}

static void test_fingerprint_is_of_the_data_and_the_difference_is_named(void **state)
{
    static const char first[] =
        "return { groups = { test = { ttl = 5, getter = function() end } } }";
    static const char same[] =
        "local x = function() return 1 end\nreturn { groups = { test = { getter = x, ttl = 5 } } }";
    static const char other[] =
        "return { groups = { test = { ttl = 6, getter = function() end } } }";
    (void)state;
    struct hg_vm *a = load_ok(first), *b = load_ok(same), *c = load_ok(other);
    assert_true(hg_vm_fingerprint(a) != 0);
    assert_true(hg_vm_fingerprint(a) == hg_vm_fingerprint(b));
    assert_true(hg_vm_fingerprint(a) != hg_vm_fingerprint(c));
    char *line = hg_vm_difference(a, c);
    assert_non_null(strstr(line, "groups[test].ttl = 5000"));
    assert_non_null(strstr(line, "groups[test].ttl = 6000"));
    hg_free(line);
    hg_vm_destroy(a);
    hg_vm_destroy(b);
    hg_vm_destroy(c);
}

static void test_errors_in_protected_calls_keep_their_kind(void **state)
{
    (void)state;
    hg_vm_destroy(load_ok(
        "local ok, e = pcall(error, nil)\nassert(not ok and e == nil)\n"
        "local ok2, e2 = coroutine.resume(coroutine.create(function() error({ 1 }) end))\n"
        "assert(not ok2 and e2[1] == 1)\n"
        "local f = coroutine.wrap(function(a) local b = coroutine.yield(a + 1) return b * 2 end)\n"
        "assert(f(1) == 2 and f(21) == 42)\n"
        "assert(not pcall(f))\n"
        "local t = {}\nfor v in coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i) end "
        "end) do t[#t + 1] = v end\n"
        "assert(#t == 3)\nreturn { " GROUP " }"));
}

static void test_json_null_is_hg_null(void **state)
{
    (void)state;
    hg_vm_destroy(load_ok("local hg = require 'hgcache'\nassert(hg.json.null == hg.null)\n"
                          "assert(hg.json.decode('[null]')[1] == hg.null)\nassert(hg.now() > 1e9)\n"
                          "assert(hg.monotonic() <= hg.monotonic())\nhg.log.debug('x %d', 1)\n"
                          "assert(not pcall(hg.log.error, '%d', 'x'))\nreturn { " GROUP " }"));
}

static void test_example_of_the_contract_loads(void **state)
{
    static const char text[] =
        "local hg = require 'hgcache'\n"
        "local db = { Tom = '630', Jack = '589', Sam = '567' }\n"
        "local shared = hg.source{ concurrency = 8, timeout = '2s', breaker = { failures = 3, "
        "cooldown = '1s' } }\n"
        "return {\n"
        "  node = { name = 'n1', workers = 'auto', scripts = { getters = 2, routes = 1, sql = 8 "
        "},\n"
        "    listen = { peer = '127.0.0.1:8001', api = '127.0.0.1:8791', admin = '127.0.0.1:8792' "
        "},\n"
        "    drain_timeout = '10s', drain_delay = '1s', log = { level = 'info', format = 'text', "
        "access = false },\n"
        "    limits = { key = 1024, value = '8MiB' }, script = { memory = '128MiB', budget = "
        "'100ms', jit = false } },\n"
        "  cluster = { self = 'http://127.0.0.1:8001', peers = { 'http://127.0.0.1:8001', "
        "'http://127.0.0.1:8002' },\n"
        "    transport = 'auto', base_path = '/_hgcache/', ring = 'default', timeout = '1s', lease "
        "= '2s' },\n"
        "  groups = { test = { capacity = '64MiB', policy = 'lru', ttl = '10m', source = shared,\n"
        "      getter = function(key, ctx) hg.log.info('[SlowDB] search key %s', key) return "
        "db[key] end },\n"
        "    rows = { pool = 'sql', source = shared, getter = print, on_evict = print, on_hot = "
        "print } },\n"
        "  routes = { ['GET /api'] = hg.serve('test'), ['GET /users/:id'] = hg.serve('test', { key "
        "= '{path.id}:{query.lang|en}' }),\n"
        "    ['GET /any'] = hg.serve{ as = 'envelope' }, ['POST /f'] = function() end, ['GET /h'] "
        "= { handler = print, timeout = '1s' } },\n"
        "  cors = { origins = { 'https://example.com' }, methods = { 'GET' }, max_age = '12h' },\n"
        "}";
    (void)state;
    struct hg_vm *vm = load_ok(text);
    static const char *const names[] = {"rows", "test", "nowhere"};
    assert_int_equal(hg_vm_bind_functions(vm, names, 3), HG_OK);
    for (size_t i = 0; i < 3; i++) {
        hg_vm_push_getter(vm, i);
        assert_int_equal(lua_isfunction(vm->L, -1), i < 2);
        hg_vm_push_on_evict(vm, i);
        assert_int_equal(lua_isfunction(vm->L, -1), i == 0);
        hg_vm_push_on_hot(vm, i);
        assert_int_equal(lua_isfunction(vm->L, -1), i == 0);
    }
    hg_vm_push_handler(vm, "POST /f");
    assert_true(lua_isfunction(vm->L, -1));
    hg_vm_push_handler(vm, "GET /h");
    assert_true(lua_isfunction(vm->L, -1));
    hg_vm_push_handler(vm, "GET /nope");
    assert_true(lua_isnil(vm->L, -1));
    lua_settop(vm->L, 0);
    hg_vm_destroy(vm);
}

static void test_script_that_everybody_may_write_is_warned_of(void **state)
{
    (void)state;
    struct hg_vm *vm = load_ok("return { " GROUP " }");
    for (size_t i = 0; hg_vm_warning(vm, i) != NULL; i++)
        assert_null(strstr(hg_vm_warning(vm, i), "writable"));
    hg_vm_destroy(vm);
    assert_int_equal(chmod(file, 0666), 0);
    vm = load_ok("return { " GROUP " }");
    assert_non_null(hg_vm_warning(vm, 0));
    assert_non_null(
        strstr(hg_vm_warning(vm, 0), "config.lua: the script is writable by everybody"));
    assert_int_equal(chmod(file, 0644), 0);
    hg_vm_destroy(vm);
}

static int do_nothing(lua_State *L)
{
    assert_ptr_equal(lua_touserdata(L, 1), &file);
    return 0;
}

static int fail_within(lua_State *L)
{
    struct hg_vm *vm = lua_touserdata(L, 1);
    assert_int_equal(hg_vm_enter(vm, do_nothing, &file), 0);
    return luaL_error(L, "outer");
}

static void test_entering_allocates_nothing(void **state)
{
    (void)state;
    struct hg_vm *vm = load_ok("return { " GROUP " }");
    assert_int_equal(hg_vm_enter(vm, do_nothing, &file), 0);
    lua_gc(hg_vm_state(vm), LUA_GCCOLLECT, 0);
    size_t before = hg_vm_memory(vm);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(hg_vm_enter(vm, do_nothing, &file), 0);
    assert_int_equal(hg_vm_memory(vm), before);
    assert_int_equal(hg_vm_enter(vm, fail_within, vm), LUA_ERRRUN);
    assert_string_equal(vm->error, "outer");
    assert_int_equal(lua_gettop(hg_vm_state(vm)), 0);
    hg_vm_destroy(vm);
}

static void test_nothing_is_left_allocated(void **state)
{
    size_t before = hg_alloc_live_bytes();
    (void)state;
    hg_vm_destroy(load_ok("return { " GROUP " }"));
    expect_refused("return 1", "expected");
    hg_vm_destroy(NULL);
    assert_int_equal(hg_alloc_live_bytes(), before);
}

static bool is_mapped(const char *name)
{
    char line[512];
    bool is_there = false;
    FILE *maps = fopen("/proc/self/maps", "r");
    assert_non_null(maps);
    while (fgets(line, sizeof(line), maps) != NULL)
        is_there |= strstr(line, name) != NULL;
    fclose(maps);
    return is_there;
}

static void test_libraries_of_a_closed_state_stay(void **state)
{
    (void)state;
    struct hg_vm *vm =
        load_ok("require 'cjson' return { groups = { test = { getter = function() end } } }");
    assert_true(is_mapped("cjson.so"));
    hg_vm_destroy(vm);
    assert_true(is_mapped("cjson.so"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chunk_becomes_a_normalised_table),
        cmocka_unit_test(test_chunk_errors_are_one_line_with_file_and_line),
        cmocka_unit_test(test_missing_file_and_folder_are_errors),
        cmocka_unit_test(test_bytecode_is_refused_everywhere),
        cmocka_unit_test(test_byte_order_mark_shebang_and_crlf_are_fine),
        cmocka_unit_test(test_modules_beside_the_file_are_found),
        cmocka_unit_test(test_dangerous_functions_are_closed),
        cmocka_unit_test(test_waiting_while_loading_is_an_error),
        cmocka_unit_test(test_endless_chunk_is_ended),
        cmocka_unit_test(test_memory_cap_is_an_error_and_the_state_survives),
        cmocka_unit_test(test_fingerprint_is_of_the_data_and_the_difference_is_named),
        cmocka_unit_test(test_errors_in_protected_calls_keep_their_kind),
        cmocka_unit_test(test_json_null_is_hg_null),
        cmocka_unit_test(test_example_of_the_contract_loads),
        cmocka_unit_test(test_script_that_everybody_may_write_is_warned_of),
        cmocka_unit_test(test_entering_allocates_nothing),
        cmocka_unit_test(test_nothing_is_left_allocated),
        cmocka_unit_test(test_libraries_of_a_closed_state_stay),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
