/*
 * hg.shared(name): a table that all script threads of the node share (base/shared.h). Nothing here waits.
 *
 * The table is the node's, so whoever looks at it is in the core: an abandoned thread that comes back later finds it
 * closed.
 */
#include "script/runtime_impl.h"

#include <math.h>
#include "base/shared.h"
#include "net/clock.h"

#define MT_SHARED "hgcache.shared"
/* Bytes of a string that are copied out by way of the C stack. */
#define SMALL_MAX 1024

struct box {                       /* the userdata */
    struct hg_shared_table *table; /* NULL: in a state whose scripts do not run */
    char name[HG_SHARED_NAME_MAX + 1];
};

/* A call of a method: where it is, and what it is about. */
struct call {
    struct box *box;
    struct hg_thread *thread;
    struct hg_bytes key;
    uint64_t now_ms;
};

/* Checks self and the key, and raises while loading.   [-0, +0, v] */
static struct call check_call(lua_State *L, const char *method)
{
    struct call call = {.box = luaL_checkudata(L, 1, MT_SHARED)};
    struct hg_vm *vm = hg_vm_of(L);

    if (vm->is_loading || vm->thread == NULL || call.box->table == NULL)
        luaL_error(L, "%s cannot be used while the configuration is loading", method);
    luaL_checktype(L, 2, LUA_TSTRING);
    call.key.data = lua_tolstring(L, 2, &call.key.len);
    luaL_argcheck(L, call.key.len > 0, 2, "the key is empty");
    call.thread = vm->thread;
    call.now_ms = hg_clock_boot_ms();
    return call;
}

static struct hg_shared_value check_value(lua_State *L, int index)
{
    struct hg_shared_value value = {0};

    switch (lua_type(L, index)) {
    case LUA_TSTRING:
        value.kind = HG_SHARED_STRING;
        value.bytes.data = lua_tolstring(L, index, &value.bytes.len);
        break;
    case LUA_TNUMBER:
        value.kind = HG_SHARED_NUMBER;
        value.number = lua_tonumber(L, index);
        luaL_argcheck(L, !isnan(value.number), index, "NaN is no value");
        break;
    case LUA_TBOOLEAN:
        value.kind = HG_SHARED_BOOLEAN;
        value.number = lua_toboolean(L, index);
        break;
    default:
        luaL_argerror(L, index, "expected a string, a number or a boolean");
    }
    return value;
}

static double check_finite(lua_State *L, int index, double absent)
{
    if (lua_isnoneornil(L, index))
        return absent;
    luaL_checktype(L, index, LUA_TNUMBER);
    double number = lua_tonumber(L, index);
    luaL_argcheck(L, isfinite(number), index, "expected a finite number");
    return number;
}

/* When an entry of the ttl at index ends. */
static uint64_t check_end(lua_State *L, int index, uint64_t now_ms)
{
    uint64_t ttl_ms = HG_FOREVER;

    if (lua_isnoneornil(L, index))
        return HG_FOREVER;
    const char *wrong = hg_convert_duration(L, index, &ttl_ms);
    if (wrong == NULL && ttl_ms == 0)
        wrong = "expected a duration above 0, or false for ever";
    if (wrong != NULL)
        luaL_argerror(L, index, wrong);
    return hg_time_add(now_ms, ttl_ms);
}

static void enter(lua_State *L, const struct call *call)
{
    if (!hg_thread_enter_core(call->thread, hg_task_running(L)))
        luaL_error(L, "this task is over");
}

/* first, message, code   [-0, +3, m] */
static int push_failure(lua_State *L, const struct call *call, int err)
{
    lua_pushnil(L);
    if (err == HG_ELIMIT)
        lua_pushfstring(L, "hg.shared(\"%s\") is full: no memory within node.shared",
                        call->box->name);
    else if (err == HG_ETOOBIG)
        lua_pushliteral(L, "the key or the value is too big");
    else if (err == HG_EINVAL)
        lua_pushliteral(L, "the value is not a number");
    else
        lua_pushstring(L, hg_err_text(err));
    lua_pushstring(L, err == HG_ELIMIT    ? "full"
                      : err == HG_ETOOBIG ? "too_large"
                      : err == HG_EINVAL  ? "invalid"
                                          : "unavailable");
    return 3;
}

/* Seconds until then; nil for ever.   [-0, +1, -] */
static void push_left(lua_State *L, uint64_t ends_ms, uint64_t now_ms)
{
    if (ends_ms == HG_FOREVER)
        lua_pushnil(L);
    else
        lua_pushnumber(L, ends_ms > now_ms ? (double)(ends_ms - now_ms) / 1000 : 0);
}

/* shared:get(key) -> value, seconds left (nil: no end) | nil   [-0, +1|+2, v] */
static int l_get(lua_State *L)
{
    struct call call = check_call(L, "shared:get");
    struct hg_shared_value value;
    uint64_t ends_ms;
    char small[SMALL_MAX], *buf = small;
    size_t size = sizeof(small);

    for (;;) {
        enter(L, &call);
        int err =
            hg_shared_get(call.box->table, call.key, call.now_ms, buf, size, &value, &ends_ms);
        hg_thread_leave_core(call.thread);
        if (err < 0) {
            lua_pushnil(L);
            return 1;
        }
        if (value.bytes.len <= size)
            break;
        size = value.bytes.len;
        buf = lua_newuserdata(L, size);
    }
    if (value.kind == HG_SHARED_STRING)
        lua_pushlstring(L, buf, value.bytes.len);
    else if (value.kind == HG_SHARED_NUMBER)
        lua_pushnumber(L, value.number);
    else
        lua_pushboolean(L, value.number != 0);
    push_left(L, ends_ms, call.now_ms);
    return 2;
}

/* shared:set(key, value, ttl) -> true | nil, message, code   [-0, +1|+3, v] */
static int l_set(lua_State *L)
{
    struct call call = check_call(L, "shared:set");
    struct hg_shared_value value = check_value(L, 3);
    uint64_t ends_ms = check_end(L, 4, call.now_ms);

    enter(L, &call);
    int err = hg_shared_set(call.box->table, call.key, &value, ends_ms, call.now_ms);
    hg_thread_leave_core(call.thread);
    if (err < 0)
        return push_failure(L, &call, err);
    lua_pushboolean(L, 1);
    return 1;
}

/* shared:add(key, value, ttl) -> true | false, "exists" | nil, message, code   [-0, +1|+2|+3, v] */
static int l_add(lua_State *L)
{
    struct call call = check_call(L, "shared:add");
    struct hg_shared_value value = check_value(L, 3);
    uint64_t ends_ms = check_end(L, 4, call.now_ms);

    enter(L, &call);
    int err = hg_shared_add(call.box->table, call.key, &value, ends_ms, call.now_ms);
    hg_thread_leave_core(call.thread);
    if (err < 0)
        return push_failure(L, &call, err);
    lua_pushboolean(L, err == HG_OK);
    if (err == HG_OK)
        return 1;
    lua_pushliteral(L, "exists");
    return 2;
}

/*
 * shared:incr(key, by = 1, init = 0, ttl) -> number, seconds left (nil: no end) | nil, message, code
 * [-0, +2|+3, v]
 */
static int l_incr(lua_State *L)
{
    struct call call = check_call(L, "shared:incr");
    double by = check_finite(L, 3, 1), init = check_finite(L, 4, 0), number = 0;
    uint64_t ends_ms = check_end(L, 5, call.now_ms);

    enter(L, &call);
    int err = hg_shared_incr(call.box->table, call.key, by, init, ends_ms, call.now_ms, &number,
                             &ends_ms);
    hg_thread_leave_core(call.thread);
    if (err < 0)
        return push_failure(L, &call, err);
    lua_pushnumber(L, number);
    push_left(L, ends_ms, call.now_ms);
    return 2;
}

/* shared:delete(key) -> whether it was there   [-0, +1, v] */
static int l_delete(lua_State *L)
{
    struct call call = check_call(L, "shared:delete");

    enter(L, &call);
    bool was_there = hg_shared_delete(call.box->table, call.key, call.now_ms);
    hg_thread_leave_core(call.thread);
    lua_pushboolean(L, was_there);
    return 1;
}

static int l_tostring(lua_State *L)
{
    struct box *box = luaL_checkudata(L, 1, MT_SHARED);
    lua_pushfstring(L, "hg.shared(\"%s\")", box->name);
    return 1;
}

/* shared(name) -> table   [-0, +1, v] */
static int l_shared(lua_State *L)
{
    struct hg_vm *vm = hg_vm_of(L);
    struct hg_shared_table *table = NULL;
    size_t len;
    const char *name = luaL_checklstring(L, 1, &len);
    int err = HG_OK;

    luaL_argcheck(L, hg_shared_is_name(hg_bytes(name, len)), 1,
                  "expected a name of 1 to 64 letters, digits, - and _");
    struct box *box = lua_newuserdata(L, sizeof(*box));
    if (vm->shared != NULL) {
        /* While the chunk loads no thread can be given up; later it is the core. */
        if (vm->thread != NULL && !hg_thread_enter_core(vm->thread, hg_task_running(L)))
            return luaL_error(L, "this task is over");
        err = hg_shared_open(vm->shared, name, &table);
        if (vm->thread != NULL)
            hg_thread_leave_core(vm->thread);
    }
    if (err == HG_ELIMIT)
        return luaL_error(L, "hg.shared: more than %d tables", HG_SHARED_TABLES_MAX);
    if (err < 0)
        return luaL_error(L, "hg.shared: %s", hg_err_text(err));
    box->table = table;
    memcpy(box->name, name, len + 1);
    luaL_getmetatable(L, MT_SHARED);
    lua_setmetatable(L, -2);
    return 1;
}

static const luaL_Reg methods[] = {
    {"get", l_get},   {"set", l_set},       {"add", l_add},
    {"incr", l_incr}, {"delete", l_delete}, {NULL, NULL},
};

void hg_lib_shared_open(lua_State *L)
{
    luaL_newmetatable(L, MT_SHARED);
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, l_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushliteral(L, MT_SHARED);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
    lua_pushcfunction(L, l_shared);
    lua_setfield(L, -2, "shared");
}
