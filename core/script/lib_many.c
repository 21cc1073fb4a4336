/*
 * group:get_many(keys): many keys at once, one wait. Each key is a get of its own, so flights, owners, copies, stale windows and
 * counters are as for group:get; what there is to load here goes to the getter together where the group has get_many.
 */
#include "script/runtime_impl.h"

#include "base/alloc.h"
#include "net/clock.h"

/* Keys of one call. */
#define KEYS_MAX 10000

struct many;

struct one {
    struct hg_waiter waiter;
    struct many *many;
    struct hg_result result; /* value: a reference of ours */
    size_t key_at, key_len;  /* in many->keys */
};

struct many {
    struct hg_op op;
    struct hg_thread *thread;
    uint64_t deadline_ms;
    size_t count, pending;
    bool is_given_up; /* frees itself when the last answer has come */
    char *keys;
    struct one ones[];
};

static void destroy(struct hg_op *op)
{
    struct many *many = hg_container_of(op, struct many, op);
    for (size_t i = 0; i < many->count; i++)
        hg_value_unref(many->ones[i].result.value);
    hg_free(many->keys);
    hg_free(many);
}

/* Who still waits is taken back; an answer under way to the last of them finds nobody. */
static bool give_up(struct hg_op *op)
{
    struct many *many = hg_container_of(op, struct many, op);
    uint64_t now_ms = hg_clock_boot_ms();

    for (size_t i = 0; i < many->count; i++) {
        struct one *one = &many->ones[i];
        struct hg_hold stale;
        hg_hold_init(&stale);
        if (one->result.err != HG_PENDING || !hg_waiter_cancel(&one->waiter, now_ms, &stale))
            continue;
        one->result = (struct hg_result){.err = HG_ETIMEDOUT};
        if (stale.value != NULL) {
            struct hg_value_spec spec;
            struct hg_bytes tags[HG_TAGS_MAX];
            hg_value_spec_from(stale.value, &spec, tags);
            one->result = (struct hg_result){.how = HG_HOW_STALE,
                                             .created_ms = hg_value_created_ms(stale.value),
                                             .value = hg_value_create(&spec)};
            hg_hold_release(&stale);
        }
        many->pending--;
    }
    many->is_given_up = many->pending > 0;
    return !many->is_given_up;
}

/* values = { [key] = value }, errors = { [key] = { message =, code = } } or nil   [-0, +2, m] */
static int push_all(lua_State *L, struct hg_task *task, void *ud)
{
    struct many *many = ud;
    (void)task;

    lua_createtable(L, 0, (int)many->count);
    lua_pushnil(L);
    int values = lua_gettop(L) - 1, errors = values + 1;
    for (size_t i = 0; i < many->count; i++) {
        struct one *one = &many->ones[i];
        int pushed = hg_lib_push_result(L, &one->result, hg_clock_boot_ms());
        bool is_found = pushed == 2;
        bool is_absent = !is_found && one->result.value != NULL &&
                         hg_value_status(one->result.value) == HG_STATUS_NOT_FOUND;
        if (!is_found && !is_absent && lua_isnil(L, errors)) {
            lua_newtable(L);
            lua_replace(L, errors);
        }
        lua_pushlstring(L, many->keys + one->key_at, one->key_len);
        if (is_found) {
            lua_pushvalue(L, -3);
            lua_rawset(L, values);
        } else if (!is_absent) {
            lua_createtable(L, 0, 2);
            lua_pushvalue(L, -4);
            lua_setfield(L, -2, "message");
            lua_pushvalue(L, -3);
            lua_setfield(L, -2, "code");
            lua_rawset(L, errors);
        }
        lua_settop(L, errors);
    }
    return 2;
}

static void expired(struct hg_op *op, struct hg_task *task)
{
    struct many *many = hg_container_of(op, struct many, op);
    hg_task_resume(task, push_all, many);
    destroy(op);
}

static void on_answer(struct hg_waiter *waiter, const struct hg_result *result)
{
    struct one *one = hg_container_of(waiter, struct one, waiter);
    struct many *many = one->many;

    one->result = *result;
    hg_value_ref(one->result.value);
    if (--many->pending > 0)
        return;
    struct hg_task *task = hg_task_answered(many->thread, &many->op);
    if (task != NULL)
        hg_task_resume(task, push_all, many);
    destroy(&many->op);
}

/* The list at index 2 into one block. Raises; owns nothing while it does. */
static size_t check_keys(lua_State *L, size_t *out_bytes)
{
    luaL_checktype(L, 2, LUA_TTABLE);
    size_t count = lua_objlen(L, 2), bytes = 0;
    luaL_argcheck(L, count <= KEYS_MAX, 2, "more than 10000 keys in one call");
    for (size_t i = 1; i <= count; i++) {
        size_t len;
        lua_rawgeti(L, 2, (int)i);
        /* A number becomes a string in the list itself, so that its bytes stay. */
        if (lua_type(L, -1) == LUA_TNUMBER) {
            lua_tolstring(L, -1, &len);
            lua_pushvalue(L, -1);
            lua_rawseti(L, 2, (int)i);
        }
        if (lua_type(L, -1) != LUA_TSTRING)
            luaL_error(L, "group:get_many: key %d: expected a string, found %s", (int)i,
                       luaL_typename(L, -1));
        lua_tolstring(L, -1, &len);
        if (len == 0)
            luaL_error(L, "group:get_many: key %d is empty", (int)i);
        bytes += len;
        lua_pop(L, 1);
    }
    *out_bytes = bytes;
    return count;
}

static struct many *create(lua_State *L, struct hg_thread *thread, size_t count, size_t bytes)
{
    struct many *many = hg_calloc(1, sizeof(*many) + count * sizeof(struct one));
    size_t at = 0;

    if (many == NULL)
        return NULL;
    many->keys = hg_malloc(bytes);
    if (many->keys == NULL) {
        hg_free(many);
        return NULL;
    }
    many->op.give_up = give_up;
    many->op.expired = expired;
    many->op.destroy = destroy;
    many->thread = thread;
    many->count = count;
    for (size_t i = 0; i < count; i++) {
        struct one *one = &many->ones[i];
        lua_rawgeti(L, 2, (int)i + 1);
        const char *key = lua_tolstring(L, -1, &one->key_len);
        memcpy(many->keys + at, key, one->key_len);
        one->key_at = at;
        at += one->key_len;
        lua_pop(L, 1);
        one->many = many;
        one->waiter.loop = &thread->loop;
        one->waiter.answer = on_answer;
    }
    return many;
}

static void begin_one(struct one *one, struct hg_group *group, struct hg_load *parent,
                      uint64_t now_ms)
{
    struct many *many = one->many;
    struct hg_thread *thread = many->thread;
    struct hg_get get = {
        .key = hg_bytes(many->keys + one->key_at, one->key_len),
        .now_ms = now_ms,
        .deadline_ms = many->deadline_ms,
        .parent = parent,
        .loop = &thread->loop,
    };

    hg_hold_release(&thread->hold);
    one->result.err = HG_PENDING;
    struct hg_result result = {0};
    int rc = hg_group_get(group, &get, &one->waiter, &result, &thread->hold);
    if (rc == HG_PENDING) {
        many->pending++;
        return;
    }
    one->result = result;
    one->result.err = rc;
    if (result.value == NULL)
        return;
    if (!hg_value_is_private(result.value)) {
        hg_value_ref(result.value);
        return;
    }
    struct hg_value_spec spec;
    struct hg_bytes tags[HG_TAGS_MAX];
    hg_value_spec_from(result.value, &spec, tags);
    one->result.value = hg_value_create(&spec);
    if (one->result.value == NULL)
        one->result.err = HG_ENOMEM;
}

static int drop(lua_State *L)
{
    struct many **box = lua_touserdata(L, 1);
    if (*box != NULL)
        destroy(&(*box)->op);
    *box = NULL;
    return 0;
}

/* group:get_many(keys, { timeout= }) -> values, errors | nil, message, code   [-?, +2|+3, v] */
int hg_lib_get_many(lua_State *L)
{
    struct hg_thread *thread;
    size_t bytes;
    struct hg_group *group = hg_lib_check_group(L, "group:get_many", &thread);
    size_t count = check_keys(L, &bytes);
    uint64_t timeout_ms = hg_lib_check_timeout(L, 3);
    struct hg_task *task = hg_task_check_wait(L, "group:get_many");

    /* Owned by a box, since pushing the answers may raise. */
    struct many **box = lua_newuserdata(L, sizeof(*box));
    *box = NULL;
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, drop);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    struct many *many = create(L, thread, count, bytes);
    if (many == NULL || !hg_thread_enter_core(thread, task)) {
        if (many != NULL)
            destroy(&many->op);
        return luaL_error(L, many == NULL ? "out of memory" : "this load is over");
    }
    uint64_t now_ms = hg_clock_boot_ms();
    many->deadline_ms = hg_time_add(now_ms, hg_group_config(group)->deadline_ms);
    if (hg_time_add(now_ms, timeout_ms) < many->deadline_ms)
        many->deadline_ms = hg_time_add(now_ms, timeout_ms);
    struct hg_load *parent = task->kind == HG_TASK_LOAD ? task->load : NULL;
    hg_loop_hold(&thread->loop); /* what other nodes are asked for travels together */
    for (size_t i = 0; i < count; i++)
        begin_one(&many->ones[i], group, parent, now_ms);
    hg_loop_release(&thread->loop);
    hg_thread_leave_core(thread);
    if (many->pending > 0)
        return hg_task_wait(L, task, &many->op, many->deadline_ms);
    *box = many;
    return push_all(L, task, many);
}
