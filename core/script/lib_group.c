/*
 * hg.group(name): the cache from inside a script. get waits for the flight, set, remove and expire
 * for the whole cluster.
 *
 * Results: value, meta, or nil, message, code. Codes: "not_found", an error's class, "timeout",
 * "recursive", "too_large", "unavailable".
 */
#include "script/runtime_impl.h"

#include <stdio.h>
#include "base/alloc.h"
#include "net/clock.h"
#include "wire/reply.h"

struct box {                /* the userdata */
    struct hg_group *group; /* NULL until first used: there are none while the chunk loads */
    size_t name_len;
    char name[];
};

static struct box *check_box(lua_State *L)
{
    return luaL_checkudata(L, 1, HG_MT_GROUP);
}

/* Of this configuration, which holds it: another one's may go while the handle stays. */
static struct hg_group *find_group(struct hg_thread *thread, const struct box *box)
{
    const struct hg_runtime *runtime = thread->runtime;
    struct hg_bytes name = hg_bytes(box->name, box->name_len);
    struct hg_group *found = NULL;

    if (!hg_thread_enter_core(thread, NULL))
        return NULL;
    for (size_t i = 0; i < runtime->group_count; i++)
        if (runtime->group_list[i] != NULL &&
            hg_bytes_eq(hg_bytes_str(runtime->group_names[i]), name))
            found = runtime->group_list[i];
    hg_thread_leave_core(thread);
    return found;
}

/* The group and its thread, or raises. */
struct hg_group *hg_lib_check_group(lua_State *L, const char *method, struct hg_thread **out_thread)
{
    struct box *box = check_box(L);
    struct hg_vm *vm = hg_vm_of(L);

    if (vm->is_loading || vm->thread == NULL || vm->thread->resuming == NULL)
        luaL_error(L, "%s cannot be used while the configuration is loading", method);
    if (box->group == NULL)
        box->group = find_group(vm->thread, box);
    if (box->group == NULL)
        luaL_error(L, "no such group '%s'", box->name);
    *out_thread = vm->thread;
    return box->group;
}

static struct hg_bytes check_key(lua_State *L)
{
    size_t len;
    const char *key = luaL_checklstring(L, 2, &len);
    luaL_argcheck(L, len > 0, 2, "the key is empty");
    return hg_bytes(key, len);
}

/* nil, message, code for an error number.   [-0, +3, m] */
static int push_failure(lua_State *L, int err)
{
    const char *code = "unavailable";
    if (err == HG_ETIMEDOUT)
        code = "timeout";
    else if (err == HG_ERECURSIVE)
        code = "recursive";
    else if (err == HG_ETOOBIG)
        code = "too_large";
    else if (err == HG_EINVAL)
        code = "invalid";
    lua_pushnil(L);
    lua_pushstring(L, err == HG_ETOOBIG ? "the key is too long" : hg_err_text(err));
    lua_pushstring(L, code);
    return 3;
}

static void set_text(lua_State *L, const char *field, struct hg_bytes text)
{
    if (text.len == 0)
        return;
    lua_pushlstring(L, text.data, text.len);
    lua_setfield(L, -2, field);
}

/* meta: { how=, stale=, age=, ttl=, type=, etag=, meta= }   [-0, +1, m] */
static void push_meta(lua_State *L, const struct hg_result *result, uint64_t now_ms)
{
    static const char *const how[] = {"hit",   "hot",  "stale",    "negative",
                                      "error", "miss", "collapsed"};
    const struct hg_value *value = result->value;
    char etag[HG_ETAG_SPACE];

    lua_createtable(L, 0, 7);
    lua_pushstring(L, (size_t)result->how < HG_COUNT(how) ? how[result->how] : "hit");
    lua_setfield(L, -2, "how");
    lua_pushboolean(L, result->how == HG_HOW_STALE);
    lua_setfield(L, -2, "stale");
    lua_pushnumber(L,
                   now_ms > result->created_ms ? (double)(now_ms - result->created_ms) / 1000 : 0);
    lua_setfield(L, -2, "age");
    if (result->expires_ms != 0 && result->expires_ms != HG_FOREVER) {
        lua_pushnumber(L, ((double)result->expires_ms - (double)now_ms) / 1000);
        lua_setfield(L, -2, "ttl");
    }
    set_text(L, "type", hg_value_type(value));
    set_text(L, "meta", hg_value_meta(value));
    struct hg_bytes own = hg_value_etag(value);
    if (own.len == 0) /* without the quotes of a header */
        own = hg_bytes(etag + 1, hg_etag_format(value, etag) - 2);
    set_text(L, "etag", own);
}

/* value, meta, or nil, message, code.   [-0, +2|+3, m] */
int hg_lib_push_result(lua_State *L, const struct hg_result *result, uint64_t now_ms)
{
    const struct hg_value *value = result->value;

    if (value == NULL)
        return push_failure(L, result->err < 0 ? result->err : HG_EIO);
    struct hg_bytes data = hg_value_data(value);
    switch (hg_value_status(value)) {
    case HG_STATUS_VALUE:
        lua_pushlstring(L, data.len > 0 ? data.data : "", data.len);
        push_meta(L, result, now_ms);
        return 2;
    case HG_STATUS_NOT_FOUND:
        lua_pushnil(L);
        lua_pushliteral(L, "not found");
        lua_pushliteral(L, "not_found");
        return 3;
    case HG_STATUS_ERROR:
        if (result->err == HG_ERECURSIVE || result->err == HG_ETIMEDOUT)
            return push_failure(L, result->err);
        lua_pushnil(L);
        lua_pushlstring(L, data.len > 0 ? data.data : "", data.len);
        lua_pushstring(L, hg_class_name(hg_value_class(value)));
        return 3;
    default:
        lua_pushnil(L);
        lua_pushliteral(L, "no such group");
        lua_pushliteral(L, "no_such_group");
        return 3;
    }
}

/* A get that waits. */
struct get_op {
    struct hg_op op;
    struct hg_waiter waiter;
    struct hg_thread *thread;
    struct hg_hold stale; /* what on_timeout = "stale" found */
};

/* Most gets need none after all: then it is kept for the next one. */
static struct get_op *take_op(struct hg_thread *thread)
{
    struct get_op *op = thread->spare_get;
    thread->spare_get = NULL;
    if (op == NULL)
        op = hg_malloc(sizeof(*op));
    if (op != NULL)
        *op = (struct get_op){.thread = thread};
    return op;
}

static void give_op_back(struct get_op *op)
{
    struct hg_thread *thread = op->thread;
    hg_free(thread->spare_get);
    thread->spare_get = op;
}

static bool get_give_up(struct hg_op *op)
{
    struct get_op *get = hg_container_of(op, struct get_op, op);
    hg_hold_release(&get->stale);
    return hg_waiter_cancel(&get->waiter, hg_clock_boot_ms(), &get->stale);
}

static void get_destroy(struct hg_op *op)
{
    struct get_op *get = hg_container_of(op, struct get_op, op);
    hg_hold_release(&get->stale);
    hg_free(get);
}

static int push_answer(lua_State *L, struct hg_task *task, void *ud)
{
    (void)task;
    return hg_lib_push_result(L, ud, hg_clock_boot_ms());
}

static void get_expired(struct hg_op *op, struct hg_task *task)
{
    struct get_op *get = hg_container_of(op, struct get_op, op);
    struct hg_result result = {.err = HG_ETIMEDOUT};

    if (get->stale.value != NULL) {
        result = (struct hg_result){.how = HG_HOW_STALE,
                                    .value = get->stale.value,
                                    .created_ms = hg_value_created_ms(get->stale.value)};
    }
    hg_task_resume(task, push_answer, &result);
    get_destroy(op);
}

static void on_answer(struct hg_waiter *waiter, const struct hg_result *result)
{
    struct get_op *get = hg_container_of(waiter, struct get_op, waiter);
    struct hg_task *task = hg_task_answered(get->thread, &get->op);

    if (task != NULL)
        hg_task_resume(task, push_answer, (void *)result);
    get_destroy(&get->op);
}

/* opts.timeout of a call, or HG_FOREVER. */
uint64_t hg_lib_check_timeout(lua_State *L, int index)
{
    uint64_t timeout_ms = HG_FOREVER;
    if (lua_isnoneornil(L, index))
        return timeout_ms;
    luaL_checktype(L, index, LUA_TTABLE);
    lua_getfield(L, index, "timeout");
    const char *wrong = lua_isnil(L, -1) ? NULL : hg_convert_duration(L, -1, &timeout_ms);
    if (wrong != NULL)
        luaL_error(L, "timeout: %s", wrong);
    lua_pop(L, 1);
    return timeout_ms;
}

/* group:get(key, { timeout= }) -> value, meta | nil, message, code   [-?, +2|+3, v] */
static int l_get(lua_State *L)
{
    struct hg_thread *thread;
    struct hg_group *group = hg_lib_check_group(L, "group:get", &thread);
    struct hg_bytes key = check_key(L);
    uint64_t timeout_ms = hg_lib_check_timeout(L, 3);
    struct hg_task *task = hg_task_check_wait(L, "group:get");
    struct hg_result result = {0};

    struct get_op *op = take_op(thread);
    if (op == NULL)
        return push_failure(L, HG_ENOMEM);
    op->op.give_up = get_give_up;
    op->op.expired = get_expired;
    op->op.destroy = get_destroy;
    op->waiter.loop = &thread->loop;
    op->waiter.answer = on_answer;
    hg_hold_init(&op->stale);
    if (!hg_thread_enter_core(thread, task)) {
        give_op_back(op);
        return luaL_error(L, "this load is over");
    }
    uint64_t now_ms = hg_clock_boot_ms();
    uint64_t deadline_ms = hg_time_add(now_ms, hg_group_config(group)->deadline_ms);
    if (hg_time_add(now_ms, timeout_ms) < deadline_ms)
        deadline_ms = hg_time_add(now_ms, timeout_ms);
    struct hg_get get = {
        .key = key,
        .now_ms = now_ms,
        .deadline_ms = deadline_ms,
        .parent = task->kind == HG_TASK_LOAD ? task->load : NULL,
        .loop = &thread->loop,
    };
    hg_hold_release(&thread->hold);
    int rc = hg_group_get(group, &get, &op->waiter, &result, &thread->hold);
    hg_thread_leave_core(thread);
    if (rc == HG_PENDING)
        return hg_task_wait(L, task, &op->op, deadline_ms);
    give_op_back(op);
    if (rc < 0 && result.value == NULL)
        return push_failure(L, rc);
    return hg_lib_push_result(L, &result, now_ms);
}

/*
 * group:peek(key) -> value, meta | nil, message, code: what is stored here, without a load   [-?,
 * +2|+3, v]
 */
static int l_peek(lua_State *L)
{
    struct hg_thread *thread;
    struct hg_group *group = hg_lib_check_group(L, "group:peek", &thread);
    struct hg_bytes key = check_key(L);
    struct hg_result result = {0};

    if (!hg_thread_enter_core(thread, NULL))
        return luaL_error(L, "this script thread is over");
    struct hg_get get = {
        .key = key, .now_ms = hg_clock_boot_ms(), .is_peek = true, .loop = &thread->loop};
    hg_hold_release(&thread->hold);
    int rc = hg_group_get(group, &get, NULL, &result, &thread->hold);
    hg_thread_leave_core(thread);
    if (rc == HG_ENOENT) {
        lua_pushnil(L);
        lua_pushliteral(L, "not found");
        lua_pushliteral(L, "not_found");
        return 3;
    }
    return rc < 0 && result.value == NULL ? push_failure(L, rc) : hg_lib_push_result(L, &result, get.now_ms);
}

/* A write that waits for the cluster. */
struct change_op {
    struct hg_op op;
    struct hg_change change;
    struct hg_thread *thread;
    char key[];
};

static bool change_give_up(struct hg_op *op)
{
    (void)op;
    return false; /* it is carried out in any case */
}

static void change_destroy(struct hg_op *op)
{
    struct change_op *change = hg_container_of(op, struct change_op, op);
    hg_change_finish(&change->change);
    hg_value_unref(change->change.value);
    hg_free(change);
}

/* true, or for remove whether it was there; nil, message, code. */
static int push_change(lua_State *L, struct hg_task *task, void *ud)
{
    const struct hg_change *change = ud;
    (void)task;
    if (change->err < 0)
        return push_failure(L, change->err);
    lua_pushboolean(L, change->op != HG_CHANGE_REMOVE || change->was_there);
    return 1;
}

static void on_changed(struct hg_change *done)
{
    struct change_op *change = hg_container_of(done, struct change_op, change);
    struct hg_thread *thread = change->thread;
    struct hg_task *task = hg_task_answered(thread, &change->op);

    if (task != NULL)
        hg_task_resume(task, push_change, &change->change);
    change_destroy(&change->op);
    atomic_fetch_sub(&thread->change_count, 1);
    hg_thread_stop_if_done(thread);
}

/* Without a node to carry it out: here and now. */
static void change_locally(struct hg_change *change)
{
    uint64_t now_ms = hg_clock_boot_ms();
    if (change->op == HG_CHANGE_SET)
        change->err = hg_group_set(change->group, change->value, now_ms);
    else if (change->op == HG_CHANGE_REMOVE)
        change->was_there = hg_group_remove(change->group, change->key, now_ms);
    else if (change->op == HG_CHANGE_EXPIRE)
        change->was_there = hg_group_expire(change->group, change->key, now_ms);
    else if (change->op == HG_CHANGE_FLUSH)
        hg_group_flush(change->group, now_ms);
    else
        change->err = hg_group_remove_tag(change->group, change->key,
                                          change->op == HG_CHANGE_EXPIRE_TAG, now_ms);
}

/* Takes over value (may be NULL).   [-0, +1|+3, v] */
static int start_change(lua_State *L, struct hg_thread *thread, struct hg_task *task,
                        struct hg_group *group, enum hg_change_op what, struct hg_bytes key,
                        struct hg_value *value)
{
    struct change_op *op = hg_calloc(1, sizeof(*op) + key.len);
    if (op == NULL) {
        hg_value_unref(value);
        return push_failure(L, HG_ENOMEM);
    }
    if (key.len > 0)
        memcpy(op->key, key.data, key.len);
    op->op.give_up = change_give_up;
    op->op.destroy = change_destroy;
    op->thread = thread;
    op->change.op = what;
    op->change.group = group;
    op->change.value = value;
    op->change.key = hg_bytes(op->key, key.len);
    op->change.home = &thread->loop;
    op->change.done = on_changed;
    if (!hg_thread_enter_core(thread, task)) {
        change_destroy(&op->op);
        return luaL_error(L, "this load is over");
    }
    struct hg_runtime *runtime = thread->runtime;
    if (runtime->change == NULL) {
        change_locally(&op->change);
        hg_thread_leave_core(thread);
        struct hg_change result = op->change;
        change_destroy(&op->op);
        return push_change(L, task, &result);
    }
    atomic_fetch_add(&thread->change_count, 1);
    runtime->change(runtime->change_ctx, &op->change);
    hg_thread_leave_core(thread);
    return hg_task_wait(L, task, &op->op, HG_FOREVER);
}

/* group:set(key, value, opts) -> true | nil, message, code   [-?, +1|+3, v] */
static int l_set(lua_State *L)
{
    struct hg_thread *thread;
    struct hg_bytes tags[HG_TAGS_MAX];
    char scratch[40], error[256];
    struct hg_group *group = hg_lib_check_group(L, "group:set", &thread);
    struct hg_value_spec spec = {.status = HG_STATUS_VALUE, .key = check_key(L)};

    if (spec.key.len > UINT16_MAX)
        return push_failure(L, HG_ETOOBIG);
    if (!hg_convert_data(L, 3, scratch, &spec.data, error, sizeof(error)))
        return luaL_argerror(L, 3, error);
    const char *wrong = hg_convert_options(L, 4, &spec, tags, error, sizeof(error));
    if (wrong != NULL)
        return luaL_argerror(L, 4, wrong);
    struct hg_task *task = hg_task_check_wait(L, "group:set");
    struct hg_value *value = hg_value_create(&spec);
    if (value == NULL)
        return push_failure(L, HG_ENOMEM);
    return start_change(L, thread, task, group, HG_CHANGE_SET, spec.key, value);
}

/* group:remove(key) -> whether it was there | nil, message, code */
static int l_remove(lua_State *L)
{
    struct hg_thread *thread;
    struct hg_group *group = hg_lib_check_group(L, "group:remove", &thread);
    struct hg_bytes key = check_key(L);
    struct hg_task *task = hg_task_check_wait(L, "group:remove");
    return start_change(L, thread, task, group, HG_CHANGE_REMOVE, key, NULL);
}

/*
 * group:expire(key) -> true | nil, message, code: stale from now, still served while it is
 * refreshed
 */
static int l_expire(lua_State *L)
{
    struct hg_thread *thread;
    struct hg_group *group = hg_lib_check_group(L, "group:expire", &thread);
    struct hg_bytes key = check_key(L);
    struct hg_task *task = hg_task_check_wait(L, "group:expire");
    return start_change(L, thread, task, group, HG_CHANGE_EXPIRE, key, NULL);
}

/* opts.soft, or false. */
static bool check_soft(lua_State *L, int index)
{
    if (lua_isnoneornil(L, index))
        return false;
    luaL_checktype(L, index, LUA_TTABLE);
    lua_getfield(L, index, "soft");
    if (!lua_isnil(L, -1) && !lua_isboolean(L, -1))
        luaL_error(L, "soft: expected true or false, found a %s", luaL_typename(L, -1));
    bool is_soft = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return is_soft;
}

/*
 * group:remove_tag(tag, { soft= }) -> true | nil, message, code: out of every node, or stale from
 * now
 */
static int l_remove_tag(lua_State *L)
{
    struct hg_thread *thread;
    size_t len;
    struct hg_group *group = hg_lib_check_group(L, "group:remove_tag", &thread);
    const char *tag = luaL_checklstring(L, 2, &len);
    luaL_argcheck(L, len > 0, 2, "the tag is empty");
    luaL_argcheck(L, len <= HG_TAG_MAX, 2, "the tag is longer than 255 bytes");
    enum hg_change_op op = check_soft(L, 3) ? HG_CHANGE_EXPIRE_TAG : HG_CHANGE_REMOVE_TAG;
    struct hg_task *task = hg_task_check_wait(L, "group:remove_tag");
    return start_change(L, thread, task, group, op, hg_bytes(tag, len), NULL);
}

/* group:flush() -> true | nil, message, code: everything, on every node */
static int l_flush(lua_State *L)
{
    struct hg_thread *thread;
    struct hg_group *group = hg_lib_check_group(L, "group:flush", &thread);
    struct hg_task *task = hg_task_check_wait(L, "group:flush");
    return start_change(L, thread, task, group, HG_CHANGE_FLUSH, HG_BYTES_NONE, NULL);
}

/*
 * hg.group(name) -> group, the same for the same name. Whether there is such a group is looked at when it is used.
 * Upvalue: the handles of groups that there are, by name.
 */
static int l_group(lua_State *L)
{
    size_t len;
    const char *name = luaL_checklstring(L, 1, &len);
    lua_pushvalue(L, 1);
    lua_rawget(L, lua_upvalueindex(1));
    if (!lua_isnil(L, -1))
        return 1;
    struct box *box = lua_newuserdata(L, sizeof(*box) + len + 1);
    struct hg_vm *vm = hg_vm_of(L);

    box->group = NULL;
    box->name_len = len;
    memcpy(box->name, name, len + 1);
    luaL_getmetatable(L, HG_MT_GROUP);
    lua_setmetatable(L, -2);
    if (!vm->is_loading && vm->thread != NULL)
        box->group = find_group(vm->thread, box);
    if (box->group != NULL) {
        lua_pushvalue(L, 1);
        lua_pushvalue(L, -2);
        lua_rawset(L, lua_upvalueindex(1));
    }
    return 1;
}

static int l_tostring(lua_State *L)
{
    lua_pushfstring(L, "hg.group(\"%s\")", check_box(L)->name);
    return 1;
}

static const luaL_Reg methods[] = {
    {"get", l_get},       {"peek", l_peek},
    {"set", l_set},       {"remove", l_remove},
    {"expire", l_expire}, {"remove_tag", l_remove_tag},
    {"flush", l_flush},   {"get_many", hg_lib_get_many},
    {NULL, NULL},
};

void hg_lib_group_open(lua_State *L)
{
    luaL_newmetatable(L, HG_MT_GROUP);
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, l_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushliteral(L, "hgcache.group");
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushcclosure(L, l_group, 1);
    lua_setfield(L, -2, "group");
}
