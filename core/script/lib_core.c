/*
 * What every script may call: log, clocks, sleep, spawn. The table becomes hgcache.core;
 * lua/hgcache/init.lua makes hg of it.
 */
#include "script/runtime_impl.h"

#include "net/clock.h"
#include "net/log.h"
#include "wire/utf8.h"

/* write(fmt, ...), string.format's rules. Upvalues: level, string.format.   [-?, +0, v] */
static int l_log(lua_State *L)
{
    enum hg_log_level level = (enum hg_log_level)lua_tointeger(L, lua_upvalueindex(1));
    size_t len;

    luaL_checkstring(L, 1);
    if (!hg_log_is_on(level))
        return 0;
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_insert(L, 1);
    if (hg_vm_pcall(L, lua_gettop(L) - 1, 1) != 0)
        return luaL_error(L, "%s", lua_tostring(L, -1)); /* at the caller's line */
    const char *text = lua_tolstring(L, -1, &len);
    hg_log_bytes(level, hg_bytes(text, len));
    return 0;
}

/* now() -> seconds since 1970, of the wall clock */
static int l_now(lua_State *L)
{
    lua_pushnumber(L, hg_clock_wall_s());
    return 1;
}

/* monotonic() -> seconds of a clock that never jumps */
static int l_monotonic(lua_State *L)
{
    lua_pushnumber(L, hg_clock_monotonic_s());
    return 1;
}

/* sleep(seconds or "250ms")   [-1, +0, v] */
static int l_sleep(lua_State *L)
{
    uint64_t wait_ms = 0;
    int type = lua_type(L, 1);

    if ((type != LUA_TNUMBER && type != LUA_TSTRING) || hg_convert_duration(L, 1, &wait_ms) != NULL)
        return luaL_argerror(
            L, 1, "expected a number of seconds, not negative, or a duration such as \"250ms\"");
    struct hg_task *task = hg_task_check_wait(L, "hg.sleep");
    return hg_task_wait(L, task, NULL, hg_time_add(hg_clock_boot_ms(), wait_ms));
}

/* spawn(fn): runs fn in a task of its own, soon.   [-1, +0, v] */
static int l_spawn(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    struct hg_vm *vm = hg_vm_of(L);
    if (vm->is_loading || vm->thread == NULL)
        return luaL_error(L, "hg.spawn cannot be used while the configuration is loading");
    int err = hg_task_spawn(L, vm->thread);
    if (err == HG_ELIMIT)
        return luaL_error(L, "hg.spawn: more than %d tasks", HG_SPAWNED_MAX);
    if (err < 0)
        return luaL_error(L, "hg.spawn: %s", hg_err_text(err));
    return 0;
}

/* is_loading(): whether the configuration is being run, so that nothing may wait */
static int l_is_loading(lua_State *L)
{
    lua_pushboolean(L, hg_vm_of(L)->is_loading);
    return 1;
}

/* is_utf8(bytes): whether they are text */
static int l_is_utf8(lua_State *L)
{
    size_t len;
    const char *bytes = luaL_checklstring(L, 1, &len);
    struct hg_bytes rest = hg_bytes(bytes, len);
    size_t step = 1;

    for (; rest.len > 0 && step > 0; rest = hg_bytes(rest.data + step, rest.len - step))
        step = hg_utf8_char(rest);
    lua_pushboolean(L, step > 0);
    return 1;
}

static const luaL_Reg functions[] = {
    {"now", l_now},
    {"monotonic", l_monotonic},
    {"sleep", l_sleep},
    {"spawn", l_spawn},
    {"is_loading", l_is_loading},
    {"is_utf8", l_is_utf8},
    {NULL, NULL},
};

void hg_lib_core_open(lua_State *L)
{
    static const char *const levels[] = {"debug", "info", "warn", "error"};

    luaL_setfuncs(L, functions, 0);
    lua_pushlightuserdata(L, (void *)&hg_task_token);
    lua_setfield(L, -2, "token");
    lua_pushlightuserdata(L, NULL); /* equal to cjson.null */
    lua_setfield(L, -2, "null");
    lua_createtable(L, 0, HG_COUNT(levels));
    for (size_t i = 0; i < HG_COUNT(levels); i++) {
        lua_pushinteger(L, (lua_Integer)i);
        lua_getglobal(L, "string");
        lua_getfield(L, -1, "format");
        lua_remove(L, -2);
        lua_pushcclosure(L, l_log, 2);
        lua_setfield(L, -2, levels[i]);
    }
    lua_setfield(L, -2, "log");
}
