/*
 * What lua/hgcache/postgres.lua is made of: core.postgres = { new, check, acquire, ask, bytes }. A pool belongs to the Lua state that made it.
 */
#include "script/postgres.h"

#define CONNECTIONS_MAX 1000

struct box { /* the userdata */
    struct hg_pg_config *config;
    struct hg_postgres *pool; /* NULL before the first statement */
    unsigned connection_max;
    uint64_t timeout_ms, idle_ms;
    size_t max_bytes; /* 0: the node's limit of a value */
};

static struct box *check_box(lua_State *L)
{
    return luaL_checkudata(L, 1, HG_MT_POSTGRES);
}

static int l_gc(lua_State *L)
{
    struct box *box = check_box(L);
    struct hg_postgres *pool = box->pool;
    struct hg_pg_config *config = box->config;

    box->pool = NULL;
    box->config = NULL;
    if (pool != NULL)
        hg_postgres_release(pool);
    hg_pg_config_unref(config);
    return 0;
}

static double check_range(lua_State *L, int index, double from, double to)
{
    double value = luaL_checknumber(L, index);
    luaL_argcheck(L, value >= from && value <= to, index, "out of range");
    return value;
}

/* The table at index as options of libpq; its strings stay in the table.   [-0, +0, v] */
static size_t check_options(lua_State *L, int index, struct hg_pg_option *out_options)
{
    size_t count = 0;

    luaL_checktype(L, index, LUA_TTABLE);
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        luaL_argcheck(L, count < HG_PG_OPTIONS_MAX, index, "too many options");
        luaL_argcheck(L, lua_type(L, -1) == LUA_TSTRING && lua_type(L, -2) == LUA_TSTRING, index,
                      "expected texts");
        out_options[count++] = (struct hg_pg_option){lua_tostring(L, -2), lua_tostring(L, -1)};
        lua_pop(L, 1);
    }
    return count;
}

/*
 * new(conninfo | nil, { [libpq's keyword] = text }, connections, timeout_ms, idle_ms, max_bytes or 0) -> handle | nil, what is wrong
 * [-6, +1|+2, v]
 */
static int l_new(lua_State *L)
{
    struct hg_pg_option options[HG_PG_OPTIONS_MAX];
    const char *conninfo = luaL_optstring(L, 1, NULL);
    size_t count = check_options(L, 2, options);
    char error[256];
    struct box settings = {
        .connection_max = (unsigned)check_range(L, 3, 1, CONNECTIONS_MAX),
        .timeout_ms = (uint64_t)check_range(L, 4, 1, 9e15),
        .idle_ms = (uint64_t)check_range(L, 5, 1, 9e15),
        .max_bytes = (size_t)check_range(L, 6, 0, 9e15),
    };

    struct box *box = lua_newuserdata(L, sizeof(*box));
    *box = settings;
    luaL_getmetatable(L, HG_MT_POSTGRES);
    lua_setmetatable(L, -2);
    if (hg_pg_config_create(conninfo, options, count, &box->config, error, sizeof(error)) == HG_OK)
        return 1;
    lua_pushnil(L);
    lua_pushstring(L, error);
    return 2;
}

/* nil, message, code, sqlstate or nil   [-0, +4, m] */
static int push_failure(lua_State *L, const struct hg_postgres_answer *answer)
{
    lua_pushnil(L);
    lua_pushstring(L, answer->error);
    lua_pushstring(L, answer->code);
    if (answer->sqlstate[0] != '\0')
        lua_pushstring(L, answer->sqlstate);
    else
        lua_pushnil(L);
    return 4;
}

int hg_postgres_push_acquired(lua_State *L, struct hg_task *task, void *ud)
{
    const struct hg_postgres_answer *answer = ud;
    (void)task;

    if (answer->error != NULL)
        return push_failure(L, answer);
    lua_pushboolean(L, true);
    return 1;
}

/* A cell as a script sees it.   [-0, +1, m] */
static void push_cell(lua_State *L, struct hg_bytes cell, unsigned type)
{
    if (type == HG_PG_BOOL)
        lua_pushboolean(L, cell.len == 1 && cell.data[0] == 't');
    else
        lua_pushlstring(L, cell.data, cell.len);
}

/* Rows into the table at index rows; names is the list of column names.   [-0, +0, m] */
static void push_rows(lua_State *L, const struct hg_pg_answer *answer, int rows, int names)
{
    struct hg_bytes rest = hg_buf_bytes(&answer->cells), cell;
    size_t count = answer->column_count;

    for (size_t row = 0; row < answer->row_count; row++) {
        lua_createtable(L, (int)count, (int)count);
        for (size_t i = 0; i < count && hg_pg_next_cell(&rest, &cell); i++) {
            if (cell.data == NULL)
                continue;
            push_cell(L, cell, answer->columns[i].type);
            lua_rawgeti(L, names, (int)i + 1);
            lua_pushvalue(L, -2);
            lua_rawset(L, -4);
            lua_rawseti(L, -2, (int)i + 1);
        }
        lua_rawseti(L, rows, (int)row + 1);
    }
}

int hg_postgres_push_answer(lua_State *L, struct hg_task *task, void *ud)
{
    const struct hg_postgres_answer *answer = ud;
    const struct hg_pg_answer *rows = answer->rows;
    (void)task;

    if (answer->error != NULL)
        return push_failure(L, answer);
    int index = lua_gettop(L) + 1;
    lua_createtable(L, (int)rows->row_count, 2);
    lua_createtable(L, (int)rows->column_count, 0);
    for (size_t i = 0; i < rows->column_count; i++) {
        lua_pushstring(L, rows->columns[i].name);
        lua_rawseti(L, index + 1, (int)i + 1);
    }
    push_rows(L, rows, index, index + 1);
    lua_setfield(L, index, "columns");
    lua_pushnumber(L, (double)rows->changed_count);
    lua_setfield(L, index, "changed");
    return 1;
}

/* The pool of this state, made when it is first used.   [-0, +0, v] */
static struct hg_postgres *check_pool(lua_State *L, struct box *box, struct hg_task *task)
{
    luaL_argcheck(L, box->config != NULL, 1, "it is closed");
    if (box->pool != NULL)
        return box->pool;
    struct hg_postgres *pool = hg_postgres_create(task->thread, box->config);
    if (pool == NULL)
        luaL_error(L, "%s", hg_err_text(HG_ENOMEM));
    pool->connection_max = box->connection_max;
    pool->timeout_ms = box->timeout_ms;
    pool->idle_ms = box->idle_ms;
    pool->max_bytes = box->max_bytes;
    box->pool = pool;
    return pool;
}

/* acquire(handle) -> true | nil, message, code: the running task has a connection   [-1, +1|+4, v] */
static int l_acquire(lua_State *L)
{
    struct box *box = check_box(L);
    struct hg_task *task = hg_task_check_wait(L, "postgres:query");
    struct hg_postgres *pool = check_pool(L, box, task);
    struct hg_postgres_answer answer = {0};

    if (!hg_thread_enter_core(task->thread, task))
        return luaL_error(L, "this load is over");
    if (pool->max_bytes == 0)
        pool->max_bytes = task->runtime->reply_max;
    int err = hg_postgres_acquire(task, pool, &answer);
    hg_thread_leave_core(task->thread);
    if (err == HG_PENDING)
        return hg_task_wait(L, task, &task->postgres_turn->op, task->postgres_turn->deadline_ms);
    if (err < 0)
        return push_failure(L, &answer);
    lua_pushboolean(L, true);
    return 1;
}

/* bytes(text) -> they as a parameter   [-1, +1, v] */
static int l_bytes(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TSTRING);
    lua_settop(L, 1);
    lua_createtable(L, 1, 0);
    lua_insert(L, 1);
    lua_rawseti(L, 1, 1);
    luaL_getmetatable(L, HG_MT_POSTGRES_BYTES);
    lua_setmetatable(L, 1);
    return 1;
}

/* Whether l_bytes made the table at index.   [-0, +0, -] */
static bool is_bytes(lua_State *L, int index)
{
    if (!lua_getmetatable(L, index))
        return false;
    luaL_getmetatable(L, HG_MT_POSTGRES_BYTES);
    bool is_same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return is_same;
}

/* The value at index as a parameter; a number becomes its digits in place.   [-0, +0, v] */
static void check_parameter(lua_State *L, int index, struct hg_pg_parameter *out)
{
    char scratch[40], error[128];
    struct hg_bytes data;

    *out = (struct hg_pg_parameter){0};
    switch (lua_type(L, index)) {
    case LUA_TNIL:
    case LUA_TLIGHTUSERDATA: /* hg.null */
        return;
    case LUA_TBOOLEAN:
        out->data = lua_toboolean(L, index) ? "true" : "false";
        out->len = strlen(out->data);
        return;
    case LUA_TNUMBER:
        if (!hg_convert_data(L, index, scratch, &data, error, sizeof(error)))
            luaL_argerror(L, index, error);
        lua_pushlstring(L, data.data, data.len);
        lua_pushvalue(L, -1);
        lua_replace(L, index);
        break;
    case LUA_TTABLE: /* hg.postgres.bytes, which keeps them */
        out->is_binary = is_bytes(L, index);
        if (out->is_binary)
            lua_rawgeti(L, index, 1);
        else
            lua_pushnil(L);
        break;
    default:
        lua_pushvalue(L, index);
        break;
    }
    luaL_argcheck(L, lua_type(L, -1) == LUA_TSTRING, index,
                  "expected a string, a number, a boolean, nil or hg.postgres.bytes");
    out->data = lua_tolstring(L, -1, &out->len);
    lua_pop(L, 1);
}

/* Of ask and check: the parameters after index 2; how many.   [-0, +0, v] */
static size_t check_parameters(lua_State *L, struct hg_pg_parameter *out_parameters)
{
    int count = lua_gettop(L) - 2;

    luaL_argcheck(L, count <= HG_PG_PARAMETERS_MAX, 2, "too many parameters");
    for (int i = 0; i < count; i++)
        check_parameter(L, i + 3, &out_parameters[i]);
    return (size_t)(count > 0 ? count : 0);
}

/* check(handle, sql, parameters...) -> nil, or why they cannot be sent; before a connection is taken for them   [-?, +1, v] */
static int l_check(lua_State *L)
{
    struct hg_pg_parameter parameters[HG_PG_PARAMETERS_MAX];
    size_t len;

    check_box(L);
    const char *sql = luaL_checklstring(L, 2, &len);
    luaL_argcheck(L, strlen(sql) == len, 2, "a NUL in the statement");
    size_t count = check_parameters(L, parameters);
    for (size_t i = 0; i < count; i++) {
        if (parameters[i].is_binary || parameters[i].data == NULL ||
            memchr(parameters[i].data, '\0', parameters[i].len) == NULL)
            continue;
        lua_pushliteral(L, "a text has no NUL; bytes are hg.postgres.bytes");
        return 1;
    }
    return 0;
}

/*
 * ask(handle, sql, parameters...) -> rows | nil, message, code, sqlstate. The running task has acquired a connection, which goes back
 * to its pool.   [-?, +1|+4, v]
 */
static int l_ask(lua_State *L)
{
    struct hg_pg_parameter parameters[HG_PG_PARAMETERS_MAX];
    struct hg_postgres_answer answer = {0};

    check_box(L);
    const char *sql = luaL_checkstring(L, 2);
    size_t count = check_parameters(L, parameters);
    struct hg_task *task = hg_task_check_wait(L, "postgres:query");
    if (task->postgres_turn == NULL || task->postgres_turn->connection == NULL)
        return luaL_error(L, "no connection was acquired");
    if (!hg_thread_enter_core(task->thread, task))
        return luaL_error(L, "this load is over");
    int err = hg_postgres_ask(task, sql, parameters, count, &answer);
    hg_thread_leave_core(task->thread);
    if (err == HG_PENDING)
        return hg_task_wait(L, task, &task->postgres_turn->op, task->postgres_turn->deadline_ms);
    return push_failure(L, &answer);
}

static const luaL_Reg functions[] = {
    {"new", l_new}, {"check", l_check}, {"acquire", l_acquire},
    {"ask", l_ask}, {"bytes", l_bytes}, {NULL, NULL},
};

void hg_lib_postgres_open(lua_State *L)
{
    lua_newtable(L);
    luaL_setfuncs(L, functions, 0);
    lua_setfield(L, -2, "postgres");
    luaL_newmetatable(L, HG_MT_POSTGRES);
    lua_pushcfunction(L, l_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushliteral(L, "hgcache.postgres");
    lua_setfield(L, -2, "__metatable");
    luaL_newmetatable(L, HG_MT_POSTGRES_BYTES);
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 2);
}
