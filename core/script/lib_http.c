/*
 * What lua/hgcache/http.lua is made of: one exchange with an origin, on the script thread's own loop.
 *
 *   core.fetch -> hg_fetch_start -> wait ... on_fetched -> the task goes on with { status, headers, body, url }
 *
 * A task that ends first (deadline, quarantine, shutdown) gives its request up, perhaps from the watchdog's thread. Only the
 * thread itself may touch the transfer, so that posts a mail to it. Who comes last, the mail or on_fetched, frees.
 */
#include "script/runtime_impl.h"

#include "base/alloc.h"
#include "net/fetch.h"
#include "net/url.h"

#define COUNT(runtime, name, by)                                                                   \
    atomic_fetch_add_explicit(&(runtime)->fetch.name, by, memory_order_relaxed)

struct exchange {
    struct hg_op op;
    struct hg_thread *thread;
    struct hg_fetch *fetch;
    struct hg_url url;
    size_t body_max;
    bool is_unpacked;    /* compression was asked for */
    struct hg_mail stop; /* once given up */
    bool is_given_up;    /* under the thread's lock */
    bool is_stopped, is_done;
};

static void destroy(struct hg_op *op)
{
    struct exchange *exchange = hg_container_of(op, struct exchange, op);
    hg_url_finish(&exchange->url);
    hg_free(exchange);
}

static void on_stop(struct hg_mail *mail)
{
    struct exchange *exchange = hg_container_of(mail, struct exchange, stop);

    exchange->is_stopped = true;
    if (exchange->is_done)
        destroy(&exchange->op);
    else
        hg_fetch_cancel(exchange->fetch, HG_ECANCELED);
}

static bool give_up(struct hg_op *op)
{
    struct exchange *exchange = hg_container_of(op, struct exchange, op);
    struct hg_runtime *runtime = exchange->thread->runtime;

    exchange->is_given_up = true;
    COUNT(runtime, failures, 1);
    atomic_fetch_sub(&runtime->fetch.running, 1);
    exchange->stop.deliver = on_stop;
    hg_loop_post(&exchange->thread->loop, &exchange->stop);
    return false;
}

/* nil, message, code.   [-0, +3, m] */
static int push_failure(lua_State *L, const char *message, const char *code)
{
    lua_pushnil(L);
    lua_pushstring(L, message);
    lua_pushstring(L, code);
    return 3;
}

static int push_error(lua_State *L, const struct exchange *exchange, int err, const char *text)
{
    if (err == HG_ETIMEDOUT)
        return push_failure(L, "the origin did not answer in time", "timeout");
    if (err == HG_ETOOBIG) {
        lua_pushnil(L);
        lua_pushfstring(L, "the answer is larger than %f bytes", (lua_Number)exchange->body_max);
        lua_pushliteral(L, "too_large");
        return 3;
    }
    if (err == HG_EPROTO)
        return push_failure(L, text, "internal");
    return push_failure(L, err == HG_EPEER ? text : hg_err_text(err), "unavailable");
}

/* The name in lower case.   [-0, +1, m] */
static void push_lower(lua_State *L, struct hg_bytes name)
{
    luaL_Buffer buffer;
    luaL_buffinit(L, &buffer);
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        luaL_addchar(&buffer, c >= 'A' && c <= 'Z' ? (char)(c + 32) : c);
    }
    luaL_pushresult(&buffer);
}

/*
 * One field into the table below the top: a field that comes again is joined by commas; Set-Cookie, where that would change the
 * meaning, is a list.   [-0, +0, m]
 */
static void add_field(lua_State *L, struct hg_bytes name, struct hg_bytes value)
{
    int table = lua_gettop(L);

    push_lower(L, name);
    lua_pushvalue(L, -1);
    lua_rawget(L, table);
    if (hg_bytes_eq_nocase(name, HG_BYTES("set-cookie"))) {
        if (lua_isnil(L, -1)) {
            lua_newtable(L);
            lua_replace(L, -2);
            lua_pushvalue(L, -2);
            lua_pushvalue(L, -2);
            lua_rawset(L, table);
        }
        lua_pushlstring(L, value.data, value.len);
        lua_rawseti(L, -2, (int)lua_objlen(L, -2) + 1);
    } else {
        bool is_again = !lua_isnil(L, -1);
        if (is_again)
            lua_pushliteral(L, ", ");
        lua_pushlstring(L, value.data, value.len);
        if (is_again)
            lua_concat(L, 3);
        else
            lua_replace(L, -2);
        lua_rawset(L, table);
    }
    lua_settop(L, table);
}

/* Of a body that was unpacked they would tell something else. */
static bool is_of_packing(struct hg_bytes name)
{
    return hg_bytes_eq_nocase(name, HG_BYTES("content-encoding")) ||
           hg_bytes_eq_nocase(name, HG_BYTES("content-length"));
}

/* { [lower-case name] = value }   [-0, +1, m] */
static void push_headers(lua_State *L, const struct exchange *exchange,
                         const struct hg_fetch_response *response)
{
    struct hg_bytes rest = response->headers, name, value;
    bool is_packed = exchange->is_unpacked && hg_fetch_header(response, "content-encoding").len > 0;

    lua_newtable(L);
    while (hg_fetch_next_header(&rest, &name, &value))
        if (!is_packed || !is_of_packing(name))
            add_field(L, name, value);
}

struct answer {
    const struct exchange *exchange;
    const struct hg_fetch_response *response;
};

static int push_answer(lua_State *L, struct hg_task *task, void *ud)
{
    const struct answer *answer = ud;
    const struct hg_fetch_response *response = answer->response;
    (void)task;

    if (response->err < 0)
        return push_error(L, answer->exchange, response->err, response->err_text);
    lua_createtable(L, 0, 4);
    lua_pushinteger(L, response->status);
    lua_setfield(L, -2, "status");
    push_headers(L, answer->exchange, response);
    lua_setfield(L, -2, "headers");
    lua_pushlstring(L, response->body.len > 0 ? response->body.data : "", response->body.len);
    lua_setfield(L, -2, "body");
    lua_pushstring(L, answer->exchange->url.text);
    lua_setfield(L, -2, "url");
    return 1;
}

static bool is_given_up(const struct exchange *exchange)
{
    pthread_mutex_lock(&exchange->thread->lock);
    bool answer = exchange->is_given_up;
    pthread_mutex_unlock(&exchange->thread->lock);
    return answer;
}

static void on_fetched(void *ctx, const struct hg_fetch_response *response)
{
    struct exchange *exchange = ctx;
    struct hg_thread *thread = exchange->thread;

    exchange->is_done = true;
    struct hg_task *task = is_given_up(exchange) ? NULL : hg_task_answered(thread, &exchange->op);
    if (task == NULL) {
        if (exchange->is_stopped)
            destroy(&exchange->op);
        return;
    }
    struct hg_runtime *runtime = thread->runtime;
    atomic_fetch_sub(&runtime->fetch.running, 1);
    COUNT(runtime, received_bytes, response->body.len);
    if (response->err < 0)
        COUNT(runtime, failures, 1);
    if (response->err == HG_ETOOBIG)
        COUNT(runtime, too_large, 1);
    struct answer answer = {exchange, response};
    hg_task_resume(task, push_answer, &answer);
    destroy(&exchange->op);
}

static bool is_allowed(const struct hg_fetch_limits *limits, const char *origin)
{
    for (size_t i = 0; i < limits->origin_count; i++)
        if (strcmp(limits->origins[i], origin) == 0)
            return true;
    return false;
}

struct refusal {
    const char *message, *code;
};

/*
 * Whether it may be asked. A redirect stays with its scheme, and with its origin unless the configuration names the other one.
 */
static bool is_refused(struct hg_runtime *runtime, struct hg_task *task, const struct hg_url *from,
                       const struct hg_url *url, struct refusal *out_refusal)
{
    const struct hg_fetch_limits *limits = &runtime->fetch_limits;

    if (limits->has_origins && !is_allowed(limits, url->origin))
        *out_refusal = (struct refusal){"the origin is not in node.http.origins", "denied"};
    else if (from->text != NULL && !hg_url_is_same_scheme(from, url))
        *out_refusal = (struct refusal){"redirected to another protocol", "denied"};
    else if (from->text != NULL && strcmp(from->origin, url->origin) != 0 && !limits->has_origins)
        *out_refusal = (struct refusal){"redirected to another origin", "denied"};
    else if (task->kind != HG_TASK_SPAWN && task->fetch_count >= limits->per_load)
        *out_refusal = (struct refusal){"more requests than node.http.per_load", "unavailable"};
    else if (atomic_load(&runtime->fetch.running) >= limits->concurrency)
        *out_refusal =
            (struct refusal){"more requests at a time than node.http.concurrency", "unavailable"};
    else
        return false;
    if (strcmp(out_refusal->code, "denied") == 0)
        COUNT(runtime, refused_origin, 1);
    else
        COUNT(runtime, refused_limit, 1);
    return true;
}

/* In the core. Takes over exchange when HG_OK. */
static int start(struct exchange *exchange, struct hg_task *task, struct hg_fetch_options *options)
{
    struct hg_thread *thread = exchange->thread;
    struct hg_runtime *runtime = thread->runtime;

    if (thread->fetcher == NULL && hg_fetcher_create(&thread->loop, &thread->fetcher) < 0)
        return HG_ENOMEM;
    options->url = exchange->url.text;
    options->ca_file = runtime->fetch_limits.ca_file;
    if (options->body_max == 0)
        options->body_max = runtime->fetch_limits.body_max;
    exchange->body_max = options->body_max;
    exchange->is_unpacked = options->accept_compressed;
    int err = hg_fetch_start(thread->fetcher, options, on_fetched, exchange, &exchange->fetch);
    if (err < 0)
        return err;
    task->fetch_count++;
    atomic_fetch_add(&runtime->fetch.running, 1);
    COUNT(runtime, requests, 1);
    return HG_OK;
}

/* The list of lines at index for libcurl, NULL at its end; its strings stay in the list.   [-0, +1, v] */
static const char *const *check_lines(lua_State *L, int index)
{
    luaL_checktype(L, index, LUA_TTABLE);
    size_t count = lua_objlen(L, index);
    const char **lines = lua_newuserdata(L, (count + 1) * sizeof(*lines));

    for (size_t i = 0; i < count; i++) {
        size_t len;
        lua_rawgeti(L, index, (int)i + 1);
        luaL_argcheck(L, lua_type(L, -1) == LUA_TSTRING, index, "expected a list of strings");
        lines[i] = lua_tolstring(L, -1, &len);
        luaL_argcheck(L, strlen(lines[i]) == len && strpbrk(lines[i], "\r\n") == NULL, index,
                      "control characters in a header");
        lua_pop(L, 1);
    }
    lines[count] = NULL;
    return lines;
}

/* Milliseconds, at least one. */
static uint64_t check_ms(lua_State *L, int index)
{
    double ms = luaL_checknumber(L, index);
    luaL_argcheck(L, ms >= 1 && ms <= 9e15, index, "expected milliseconds");
    return (uint64_t)ms;
}

/* Of url, and of base when there is one; both are filled in or neither. */
static int parse(const char *base, const char *text, struct hg_url *out_base,
                 struct hg_url *out_url, const char **out_error)
{
    int err = base == NULL ? HG_OK : hg_url_parse(NULL, base, out_base, out_error);
    if (err == HG_OK)
        err = hg_url_parse(base, text, out_url, out_error);
    if (err < 0)
        hg_url_finish(out_base);
    return err;
}

/*
 * fetch(method, url, redirected_from | nil, lines, body | nil, timeout_ms, connect_ms, body_max | nil, compression)
 * -> { status =, headers =, body =, url = } | nil, message, code      [-?, +1|+3, v]
 */
static int l_fetch(lua_State *L)
{
    size_t body_len = 0;
    struct hg_fetch_options options = {.method = luaL_checkstring(L, 1)};
    const char *text = luaL_checkstring(L, 2), *base = luaL_optstring(L, 3, NULL);
    const char *body = luaL_optlstring(L, 5, NULL, &body_len);
    options.body = hg_bytes(body, body_len);
    options.timeout_ms = check_ms(L, 6);
    options.connect_timeout_ms = check_ms(L, 7);
    double body_max = luaL_optnumber(L, 8, 0);
    luaL_argcheck(L, body_max >= 0 && body_max <= 9e15, 8, "expected bytes");
    options.body_max = (size_t)body_max;
    options.accept_compressed = lua_toboolean(L, 9);
    options.headers = check_lines(L, 4);
    struct hg_task *task = hg_task_check_wait(L, "hg.http");
    struct hg_thread *thread = task->thread;
    struct hg_url from = {0}, url = {0};
    struct refusal refusal = {"out of memory", "unavailable"};

    /* Nothing raises from here to the end of what is owned. */
    struct exchange *exchange = hg_calloc(1, sizeof(*exchange));
    int err = exchange == NULL ? HG_ENOMEM : parse(base, text, &from, &url, &refusal.message);
    if (err < 0) {
        hg_free(exchange);
        if (err == HG_EINVAL && hg_thread_enter_core(thread, task)) {
            COUNT(thread->runtime, refused_origin, 1);
            hg_thread_leave_core(thread);
        }
        return push_failure(L, refusal.message, err == HG_EINVAL ? "denied" : "unavailable");
    }
    exchange->op.give_up = give_up;
    exchange->op.destroy = destroy;
    exchange->thread = thread;
    exchange->url = url;
    bool is_over = !hg_thread_enter_core(thread, task);
    if (!is_over && is_refused(thread->runtime, task, &from, &url, &refusal))
        err = HG_EACCES;
    else if (!is_over)
        err = start(exchange, task, &options);
    if (!is_over)
        hg_thread_leave_core(thread);
    hg_url_finish(&from);
    if (!is_over && err == HG_OK)
        return hg_task_wait(L, task, &exchange->op, HG_FOREVER); /* libcurl has the time-out */
    destroy(&exchange->op);
    if (is_over)
        return luaL_error(L, "this load is over");
    if (err == HG_EACCES)
        return push_failure(L, refusal.message, refusal.code);
    return push_failure(L, hg_err_text(err), "unavailable");
}

/*
 * fetch_refusal(redirected_from | nil, url) -> nil, or message, code: what fetch would refuse at once. For who asks in its place;
 * it counts as a request of the task.   [-0, +1|+2, v]
 */
static int l_fetch_refusal(lua_State *L)
{
    const char *base = luaL_optstring(L, 1, NULL), *text = luaL_checkstring(L, 2);
    struct hg_task *task = hg_task_check_wait(L, "hg.http");
    struct hg_url from = {0}, url = {0};
    struct refusal refusal = {"out of memory", "unavailable"};
    int err = parse(base, text, &from, &url, &refusal.message);
    bool is_bad = err < 0 || is_refused(task->runtime, task, &from, &url, &refusal);

    if (err == HG_EINVAL)
        refusal.code = "denied";
    hg_url_finish(&from);
    hg_url_finish(&url);
    task->fetch_count++;
    if (!is_bad) {
        lua_pushnil(L);
        return 1;
    }
    lua_pushstring(L, refusal.message);
    lua_pushstring(L, refusal.code);
    return 2;
}

static int push_url(lua_State *L)
{
    const struct hg_url *url = lua_touserdata(L, 1);
    lua_pushstring(L, url->text);
    lua_pushstring(L, url->origin);
    return 2;
}

/* url(base | nil, text) -> absolute URL, origin | nil, what is wrong with it   [-0, +2, v] */
static int l_url(lua_State *L)
{
    struct hg_url url = {0};
    const char *error = "expected a URL without NUL";
    size_t len;
    const char *base = luaL_optstring(L, 1, NULL), *text = luaL_checklstring(L, 2, &len);

    lua_settop(L, 2);
    lua_pushcfunction(L, push_url);
    lua_pushlightuserdata(L, &url);
    if (strlen(text) == len && hg_url_parse(base, text, &url, &error) == HG_OK) {
        int status = hg_vm_pcall(L, 1, 2);
        hg_url_finish(&url);
        return status == 0 ? 2 : lua_error(L);
    }
    lua_pushnil(L);
    lua_pushstring(L, error);
    return 2;
}

/* why_no_wait() -> nil, or why what runs may not wait, to follow "cannot"   [-0, +1, m] */
static int l_why_no_wait(lua_State *L)
{
    lua_pushstring(L, hg_task_why_no_wait(L));
    return 1;
}

static const luaL_Reg functions[] = {
    {"fetch", l_fetch}, {"fetch_refusal", l_fetch_refusal},
    {"url", l_url},     {"why_no_wait", l_why_no_wait},
    {NULL, NULL},
};

void hg_lib_http_open(lua_State *L)
{
    luaL_setfuncs(L, functions, 0);
}
