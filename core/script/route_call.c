/*
 * A function route's run: handler(req) -> string | status, body, headers | hg.reply{...}; a page for an error: the same;
 * who may ask across origins: handler(origin) -> whether.
 */
#include "script/runtime_impl.h"

#include <stdio.h>
#include "base/alloc.h"
#include "net/clock.h"
#include "net/log.h"
#include "script/http_request.h"
#include "wire/query.h"
#include "wire/reply.h"

/* Bytes of header lines a route may answer with. */
#define HEADERS_MAX (16u << 10)
/* Text up to so long is decoded on the C stack. */
#define SMALL_BYTES 256

static void on_answer(struct hg_mail *mail)
{
    struct hg_route_call *call = hg_container_of(mail, struct hg_route_call, mail);
    hg_turn_end_hurry(&call->wake);
    call->done(call);
}

void hg_route_report(struct hg_route_call *call, int status, const char *text)
{
    call->is_failed = text != NULL;
    if (text != NULL) {
        hg_buf_clear(&call->headers);
        hg_buf_clear(&call->body);
        call->has_type = call->has_cache_control = false;
        call->status = status;
        if (hg_buf_append_str(&call->body, text) == HG_OK)
            hg_buf_append_char(&call->body, '\n');
    }
    call->mail.deliver = on_answer;
    hg_loop_post(call->home, &call->mail);
}

int hg_runtime_call(struct hg_runtime *runtime, struct hg_route_call *call)
{
    struct hg_pool *pool = NULL;

    for (size_t i = 0; i < runtime->pool_count; i++)
        if (strcmp(runtime->pools[i].name, "routes") == 0)
            pool = &runtime->pools[i];
    if (pool == NULL || atomic_load(&runtime->is_draining) || atomic_load(&pool->is_refusing))
        return HG_EDRAINING;

    struct hg_task *task = hg_task_create(runtime, HG_TASK_ROUTE);
    if (task == NULL)
        return HG_ELIMIT;
    hg_buf_init(&call->headers, HEADERS_MAX);
    hg_buf_init(&call->body, runtime->reply_max);
    hg_buf_init(&call->stored_key, UINT16_MAX);
    call->stored_group = NULL;
    call->status = 502;
    call->has_type = call->has_cache_control = false;
    call->is_native = call->is_allowed = false;
    call->wake.run = NULL;
    task->call = call;
    task->deadline_ms =
        hg_time_add(hg_clock_boot_ms(), call->timeout_ms > 0 ? call->timeout_ms : HG_FOREVER);
    atomic_fetch_add(&runtime->task_count, 1);
    int err = hg_pool_post(pool, task);
    if (err < 0) {
        atomic_fetch_sub(&runtime->task_count, 1);
        hg_task_free(task);
    }
    return err;
}

void hg_route_call_finish(struct hg_route_call *call)
{
    hg_buf_finish(&call->headers);
    hg_buf_finish(&call->body);
    hg_buf_finish(&call->stored_key);
    hg_free(call->stored_group);
    call->stored_group = NULL;
}

/* Pushes text percent-decoded; as it is where it is badly encoded.   [-0, +1, m] */
static void push_decoded(lua_State *L, struct hg_bytes text, bool plus_is_space)
{
    char small[SMALL_BYTES];
    bool is_small = text.len <= sizeof small;
    char *room = is_small ? small : lua_newuserdata(L, text.len);
    size_t len;
    if (hg_percent_decode(text, plus_is_space, room, &len) < 0)
        lua_pushlstring(L, text.len > 0 ? text.data : "", text.len);
    else
        lua_pushlstring(L, room, len);
    if (!is_small)
        lua_remove(L, -2);
}

/*
 * req.query: the first value of each name; req.query_all: lists of all.   req is on top. [-0, +0,
 * m]
 */
static void set_query(lua_State *L, struct hg_bytes query)
{
    struct hg_query_pair pair;

    int room = query.len > 0 ? 4 : 0;
    lua_createtable(L, 0, room);
    lua_createtable(L, 0, room);
    while (hg_query_next(&query, &pair)) {
        push_decoded(L, pair.name, true);
        push_decoded(L, pair.value, true);
        lua_pushvalue(L, -2);
        lua_rawget(L, -4);
        if (!lua_istable(L, -1)) {
            lua_pop(L, 1);
            lua_pushvalue(L, -2);
            lua_pushvalue(L, -2);
            lua_rawset(L, -6); /* query[name] = value */
            lua_createtable(L, 1, 0);
            lua_pushvalue(L, -3);
            lua_pushvalue(L, -2);
            lua_rawset(L, -6); /* query_all[name] = {} */
        }
        lua_insert(L, -2); /* ... name, list, value */
        lua_rawseti(L, -2, (int)lua_objlen(L, -2) + 1);
        lua_pop(L, 2);
    }
    lua_setfield(L, -3, "query_all");
    lua_setfield(L, -2, "query");
}

/*
 * req.headers: lower-case names; several fields of one name are joined as HTTP says.   [-0, +0, m]
 */
static void set_headers(lua_State *L, const struct hg_http1_request *request)
{
    lua_createtable(L, 0, (int)request->field_count);
    for (size_t i = 0; i < request->field_count; i++) {
        const struct hg_field *field = &request->fields[i];
        hg_http_push_lower(L, field->name);
        lua_pushvalue(L, -1);
        lua_rawget(L, -3);
        bool is_more = !lua_isnil(L, -1);
        if (is_more)
            lua_pushstring(L, hg_bytes_eq_nocase(field->name, HG_BYTES("cookie")) ? "; " : ", ");
        else
            lua_pop(L, 1);
        lua_pushlstring(L, field->value.len > 0 ? field->value.data : "", field->value.len);
        if (is_more)
            lua_concat(L, 3);
        lua_rawset(L, -3);
    }
    lua_setfield(L, -2, "headers");
}

static int push_handler(lua_State *L, struct hg_task *task, void *ud)
{
    const struct hg_route_call *call = task->call;
    const struct hg_http1_request *request = call->request;
    (void)ud;

    hg_vm_push_handler(task->thread->vm, call->route);
    if (!lua_isfunction(L, -1))
        return luaL_error(L, "the route has no function in this script state");
    if (call->kind == HG_CALL_ORIGIN) {
        lua_pushlstring(L, call->origin.data, call->origin.len);
        return 1;
    }
    lua_createtable(L, 0, 8);
    lua_pushstring(L, hg_method_name(request->method));
    lua_setfield(L, -2, "method");
    push_decoded(L, request->path, false);
    lua_setfield(L, -2, "path");
    set_query(L, request->query);
    set_headers(L, request);
    lua_pushlstring(L, request->body.len > 0 ? request->body.data : "", request->body.len);
    lua_setfield(L, -2, "body");
    lua_createtable(L, 0, (int)call->params.count);
    for (size_t i = 0; i < call->params.count; i++) {
        lua_pushlstring(L, call->params.names[i].data, call->params.names[i].len);
        push_decoded(L, call->params.values[i], false);
        lua_rawset(L, -3);
    }
    lua_setfield(L, -2, "params");
    lua_pushstring(L, call->remote != NULL ? call->remote : "");
    lua_setfield(L, -2, "remote");
    if (call->kind != HG_CALL_ERROR)
        return 1;
    lua_pushinteger(L, call->error_status);
    lua_pushstring(L, call->error_message);
    return 3;
}

void hg_route_begin(struct hg_task *task)
{
    struct hg_thread *thread = task->thread;

    if (!hg_thread_enter_core(thread, task)) {
        hg_task_claim(task);
        return;
    }
    task->run_deadline_ms = task->deadline_ms;
    bool is_late = hg_clock_boot_ms() >= task->deadline_ms;
    if (!is_late && thread->vm != NULL) {
        hg_task_run(task, push_handler, NULL);
        return;
    }
    hg_thread_leave_core(thread);
    struct hg_ending ending = {
        .is_error = true,
        .is_timeout = is_late,
        .message = "the script state could not be made again",
    };
    hg_route_ended(task, &ending);
}

/* One header line from the value at the top. Raises what is wrong. */
static void add_header(lua_State *L, struct hg_route_call *call, const char *name, size_t name_len)
{
    static const char *const own[] = {"content-length", "transfer-encoding", "connection", "date",
                                      NULL};
    size_t len;

    if (!lua_isstring(L, -1))
        luaL_error(L, "header '%s': expected a string, found %s", name, luaL_typename(L, -1));
    const char *value = lua_tolstring(L, -1, &len);
    struct hg_bytes field = hg_bytes(name, name_len);
    for (size_t i = 0; own[i] != NULL; i++)
        if (hg_bytes_eq_nocase(field, hg_bytes_str(own[i])))
            luaL_error(L, "header '%s' is set by the node", name);
    if (!hg_field_value_is_valid(hg_bytes(value, len)))
        luaL_error(L, "header '%s': control characters are not allowed in a value", name);
    if (hg_bytes_eq_nocase(field, HG_BYTES("content-type")))
        call->has_type = true;
    else if (hg_bytes_eq_nocase(field, HG_BYTES("cache-control")))
        call->has_cache_control = true;
    int err = hg_field_append(&call->headers, field, hg_bytes(value, len));
    if (err < 0)
        luaL_error(L, "the headers: %s", err == HG_ETOOBIG ? "more than 16 KiB" : hg_err_text(err));
}

static void add_headers(lua_State *L, struct hg_route_call *call, int index)
{
    if (lua_isnoneornil(L, index))
        return;
    if (!lua_istable(L, index))
        luaL_error(L, "the headers: expected a table, found %s", luaL_typename(L, index));
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        size_t len;
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tolstring(L, -2, &len) : NULL;
        if (name == NULL || !hg_field_name_is_valid(hg_bytes(name, len)))
            luaL_error(L, "the headers: expected names that are tokens");
        if (!lua_istable(L, -1)) {
            add_header(L, call, name, len);
            continue;
        }
        int count = (int)lua_objlen(L, -1);
        for (int i = 1; i <= count; i++) {
            lua_rawgeti(L, -1, i);
            add_header(L, call, name, len);
            lua_pop(L, 1);
        }
    }
}

static void add_body(lua_State *L, struct hg_route_call *call, int index)
{
    char scratch[40], error[256];
    struct hg_bytes body = HG_BYTES_NONE;

    if (lua_isnoneornil(L, index))
        return;
    if (!hg_convert_data(L, index, scratch, &body, error, sizeof(error)))
        luaL_error(L, "the body: %s", error);
    int err = hg_buf_append_bytes(&call->body, body);
    if (err < 0)
        luaL_error(L, "the body: %s",
                   err == HG_ETOOBIG ? "larger than limits.value" : hg_err_text(err));
}

static int check_status(lua_State *L, int index)
{
    double status = lua_type(L, index) == LUA_TNUMBER ? lua_tonumber(L, index) : 0;
    if (status < 200 || status > 599 || status != (int)status)
        luaL_error(L, "the status: expected a whole number from 200 to 599, found %s",
                   lua_type(L, index) == LUA_TNUMBER ? lua_tostring(L, index)
                                                     : luaL_typename(L, index));
    return (int)status;
}

/* hg.reply{ status=, body=, headers= } becomes status, body, headers.   [-0, +3, m] */
static void spread_reply(lua_State *L, const struct hg_route_call *call, int table)
{
    static const char *const names[] = {"status", "body", "headers"};
    for (size_t i = 0; i < HG_COUNT(names); i++) {
        lua_pushstring(L, names[i]);
        lua_rawget(L, table);
    }
    if (lua_isnil(L, -3)) {
        lua_pushinteger(L, call->kind == HG_CALL_ERROR ? call->error_status : 200);
        lua_replace(L, -4);
    }
}

/* hg.reply{ group =, key = } at index.   [-0, +0, m] */
static void take_stored(lua_State *L, struct hg_route_call *call, int index)
{
    size_t group_len, key_len;

    lua_pushliteral(L, "group");
    lua_rawget(L, index);
    if (lua_type(L, -1) != LUA_TSTRING) {
        lua_pop(L, 1);
        return;
    }
    lua_pushliteral(L, "key");
    lua_rawget(L, index);
    const char *group = lua_tolstring(L, -2, &group_len);
    const char *key = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &key_len) : NULL;
    if (key == NULL)
        luaL_error(L, "hg.reply: group without a key");
    if (call->kind == HG_CALL_ERROR)
        luaL_error(L, "a page of an error cannot be a stored value");
    if (strlen(group) != group_len)
        luaL_error(L, "hg.reply: no such group");
    int err = hg_buf_append(&call->stored_key, key, key_len);
    call->stored_group = err == HG_OK ? hg_strndup(group, group_len) : NULL;
    if (call->stored_group == NULL)
        luaL_error(L, "the key: %s", hg_err_text(err == HG_OK ? HG_ENOMEM : err));
    lua_pop(L, 2);
}

/* What a description from the library is of, at index; "" for anything else. The text is the library's own. */
static const char *kind_of(lua_State *L, int index)
{
    if (!lua_istable(L, index))
        return "";
    lua_pushliteral(L, "__hgcache");
    lua_rawget(L, index);
    const char *kind = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
    lua_pop(L, 1); /* the table has it still */
    return kind;
}

struct conversion {
    struct hg_task *task;
    int count;
};

static int convert(lua_State *L)
{
    struct conversion *conversion = lua_touserdata(L, 1);
    struct hg_task *task = conversion->task;
    struct hg_route_call *call = task->call;
    int count = conversion->count < 3 ? conversion->count : 3;

    if (conversion->count > 3)
        lua_settop(task->co, 3);
    lua_settop(L, 0);
    lua_xmove(task->co, L, count);
    lua_settop(L, 3);
    if (call->kind == HG_CALL_ORIGIN) {
        if (!lua_isnil(L, 1) && !lua_isboolean(L, 1))
            luaL_error(L, "cors.origin: expected true or false, found %s", luaL_typename(L, 1));
        call->is_allowed = lua_toboolean(L, 1);
        return 0;
    }
    const char *kind = kind_of(L, 1);
    if (call->may_serve && strcmp(kind, "native") == 0) {
        call->is_native = true;
        return 0;
    }
    if (strcmp(kind, "reply") == 0) {
        take_stored(L, call, 1);
        spread_reply(L, call, 1);
        lua_remove(L, 1);
        lua_remove(L, 1);
        lua_remove(L, 1);
    } else if (lua_type(L, 1) == LUA_TSTRING) {
        lua_settop(L, 1);
        lua_pushinteger(L, call->kind == HG_CALL_ERROR ? call->error_status : 200);
        lua_insert(L, 1);
        lua_settop(L, 3);
    } else if (lua_type(L, 1) != LUA_TNUMBER) {
        return luaL_error(
            L, "a route returns a string, or status, body, headers, or hg.reply{...}; found %s%s",
            luaL_typename(L, 1),
            lua_istable(L, 1) ? " (encode it, for example with hg.json.encode)" : "");
    }
    call->status = check_status(L, 1);
    add_headers(L, call, 3);
    add_body(L, call, 2);
    return 0;
}

static void log_failure(const struct hg_route_call *call, const char *why)
{
    static struct hg_log_limit limit;
    hg_log_limited(&limit, 20, HG_LOG_WARN, "route failed route=\"%s\" err=%s", call->route, why);
}

void hg_route_ended(struct hg_task *task, const struct hg_ending *ending)
{
    struct hg_thread *thread = task->thread;
    struct hg_runtime *runtime = task->runtime;
    const char *text = NULL;
    char why[HG_VM_ERROR_MAX];
    int status = 502;

    if (!hg_thread_enter_core(thread, task)) {
        hg_task_claim(task);
        return;
    }
    if (ending->is_timeout || ending->is_budget) {
        status = 504;
        text = ending->is_timeout ? "the script timed out" : "script budget exceeded";
        snprintf(why, sizeof(why), "%s", text);
    } else if (ending->is_error) {
        text = ending->is_memory ? "script memory limit reached" : "the script failed";
        snprintf(why, sizeof(why), "%s", ending->is_memory ? text : ending->message);
    } else {
        struct conversion conversion = {.task = task, .count = ending->result_count};
        int rc = hg_vm_enter(thread->vm, convert, &conversion);
        if (rc != 0) {
            text = "the script failed";
            snprintf(why, sizeof(why), "%s", thread->vm->error);
        }
    }
    if (text != NULL)
        log_failure(task->call, why);
    hg_thread_leave_core(thread);
    if (!hg_task_claim(task))
        return;
    struct hg_route_call *call = task->call;
    task->call = NULL;
    hg_task_end(task);
    atomic_fetch_sub(&runtime->task_count, 1);
    hg_route_report(call, status, text);
}
