#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <string.h>
#include "base/alloc.h"
#include "base/err.h"
#include "script/pack.h"

static lua_State *from, *to;

static int setup(void **state)
{
    (void)state;
    from = luaL_newstate();
    to = luaL_newstate();
    luaL_openlibs(from);
    luaL_openlibs(to);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    lua_close(from);
    lua_close(to);
    return 0;
}

/* Runs `text` in one state, carries its results over, and runs `check` with them in the other, which returns true. */
static void carry(const char *text, const char *check)
{
    struct hg_buf buf;
    const char *kind = NULL;
    hg_buf_init(&buf, 1 << 20);
    lua_settop(from, 0);
    lua_settop(to, 0);
    assert_int_equal(luaL_dostring(from, text), 0);
    int count = lua_gettop(from);
    assert_int_equal(hg_pack(from, 1, &buf, &kind), HG_OK);
    assert_int_equal(lua_gettop(from), count);
    assert_int_equal(luaL_loadstring(to, check), 0);
    assert_int_equal(hg_unpack(to, hg_buf_bytes(&buf)), count);
    if (lua_pcall(to, count, 1, 0) != 0 || !lua_toboolean(to, -1))
        fail_msg("%s -> %s: %s", text, check, lua_tostring(to, -1));
    hg_buf_finish(&buf);
}

static void test_values_arrive_as_they_were(void **state)
{
    (void)state;
    carry("", "return select('#', ...) == 0");
    carry("return nil, true, false, nil", "local a, b, c, d = ... return select('#', ...) == 4 and "
                                          "a == nil and b == true and c == false and d == nil");
    carry("return 1, -0.5, 1e300, 2^53, 1/0", "local a, b, c, d, e = ... return a == 1 and b == "
                                              "-0.5 and c == 1e300 and d == 2^53 and e == 1/0");
    carry("return '', 'a\\0b', ('x'):rep(100000)",
          "local a, b, c = ... return a == '' and b == 'a\\0b' and c == ('x'):rep(100000)");
    carry("return {}, { 1, 2, { x = { 'y' } }, [true] = false }",
          "local a, b = ... return next(a) == nil and b[1] == 1 and b[2] == 2 and b[3].x[1] == 'y' "
          "and b[true] == false");
    carry("return '12'", "return type(...) == 'string'");
}

static void test_null_stays_null(void **state)
{
    (void)state;
    struct hg_buf buf;
    const char *kind = NULL;
    hg_buf_init(&buf, 100);
    lua_settop(from, 0);
    lua_pushlightuserdata(from, NULL);
    assert_int_equal(hg_pack(from, 1, &buf, &kind), HG_OK);
    assert_int_equal(hg_unpack(to, hg_buf_bytes(&buf)), 1);
    assert_int_equal(lua_type(to, -1), LUA_TLIGHTUSERDATA);
    assert_null(lua_touserdata(to, -1));
    hg_buf_finish(&buf);
}

static void refuse(const char *text, int err, const char *kind)
{
    struct hg_buf buf;
    const char *found = "";
    hg_buf_init(&buf, 1000);
    lua_settop(from, 0);
    assert_int_equal(luaL_dostring(from, text), 0);
    int count = lua_gettop(from);
    assert_int_equal(hg_pack(from, 1, &buf, &found), err);
    assert_string_equal(found, kind);
    assert_int_equal(lua_gettop(from), count);
    hg_buf_finish(&buf);
}

static void test_what_cannot_leave_its_state_is_named(void **state)
{
    (void)state;
    refuse("return 1, print", HG_EINVAL, "function");
    refuse("return { a = { io.stdout } }", HG_EINVAL, "userdata");
    refuse("return { [coroutine.create(print)] = 1 }", HG_EINVAL, "thread");
    refuse("local t = {} t.t = t return t", HG_EINVAL, "table that deep");
    refuse("return ('x'):rep(1001)", HG_ETOOBIG, "");
}

static void test_every_allocation_may_fail(void **state)
{
    (void)state;
    lua_settop(from, 0);
    assert_int_equal(luaL_dostring(from, "return { a = ('x'):rep(5000), { { 1 } } }, 'y'"), 0);
    for (long n = 0;; n++) {
        struct hg_buf buf;
        const char *kind = NULL;
        size_t live = hg_alloc_live_bytes();
        hg_buf_init(&buf, 1 << 20);
        hg_alloc_fail_at((size_t)n, false);
        int err = hg_pack(from, 1, &buf, &kind);
        hg_alloc_fail_clear();
        hg_buf_finish(&buf);
        assert_int_equal(hg_alloc_live_bytes(), live);
        if (err == HG_OK)
            break;
        assert_int_equal(err, HG_ENOMEM);
        assert_int_equal(lua_gettop(from), 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_values_arrive_as_they_were, setup, teardown),
        cmocka_unit_test_setup_teardown(test_null_stays_null, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_cannot_leave_its_state_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_allocation_may_fail, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
