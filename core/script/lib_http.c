/*
 * What lua/hgcache/http.lua is made of: one exchange with an origin, on the script thread's own loop.
 *
 *   core.fetch -> hg_fetch_start -> wait ... on_fetched -> the task goes on with { status, headers, body, url }
 *
 * A task that ends first (deadline, quarantine, shutdown) gives its request up, perhaps from the watchdog's thread. Only the
 * thread itself may touch the transfer, so that posts a mail to it. Who comes last, the mail or on_fetched, frees.
 */
#include "script/http_request.h"

#include "base/alloc.h"

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
    HG_FETCH_COUNT(runtime, failures, 1);
    atomic_fetch_sub(&runtime->fetch.running, 1);
    exchange->stop.deliver = on_stop;
    hg_loop_post(&exchange->thread->loop, &exchange->stop);
    return false;
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
        return hg_http_push_error(L, response->err, response->err_text, answer->exchange->body_max);
    lua_createtable(L, 0, 4);
    lua_pushinteger(L, response->status);
    lua_setfield(L, -2, "status");
    hg_http_push_headers(L, response, answer->exchange->is_unpacked);
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
    HG_FETCH_COUNT(runtime, received_bytes, response->body.len);
    if (response->err < 0)
        HG_FETCH_COUNT(runtime, failures, 1);
    if (response->err == HG_ETOOBIG)
        HG_FETCH_COUNT(runtime, too_large, 1);
    struct answer answer = {exchange, response};
    hg_task_resume(task, push_answer, &answer);
    destroy(&exchange->op);
}

/*
 * fetch(method, url, redirected_from | nil, lines, body | nil, timeout_ms, connect_ms, body_max | nil, compression,
 * tls | nil)
 * -> { status =, headers =, body =, url = } | nil, message, code      [-?, +1|+3, v]
 */
static int l_fetch(lua_State *L)
{
    struct hg_http_request request;
    struct hg_http_refusal refusal;

    hg_http_check_request(L, &request);
    hg_http_check_tls(L, 10, &request);
    struct hg_task *task = hg_task_check_wait(L, "hg.http");
    /* Nothing raises from here to the end of what is owned. */
    struct exchange *exchange = hg_calloc(1, sizeof(*exchange));
    if (exchange == NULL)
        return hg_http_push_failure(L, hg_err_text(HG_ENOMEM), "unavailable");
    exchange->op.give_up = give_up;
    exchange->op.destroy = destroy;
    exchange->thread = task->thread;
    exchange->is_unpacked = request.fetch.accept_compressed;
    int err = hg_http_begin(task, &request, on_fetched, exchange, &exchange->url, &exchange->fetch,
                            &refusal);
    exchange->body_max = request.fetch.body_max;
    if (err == HG_OK)
        return hg_task_wait(L, task, &exchange->op, HG_FOREVER); /* libcurl has the time-out */
    destroy(&exchange->op);
    if (err == HG_ECANCELED)
        return luaL_error(L, "this load is over");
    return hg_http_push_failure(L, refusal.message, refusal.code);
}

/*
 * fetch_refusal(redirected_from | nil, url) -> nil, or message, code: what fetch would refuse at once. For who asks in its place;
 * it counts as a request of the task.   [-0, +1|+2, v]
 */
static int l_fetch_refusal(lua_State *L)
{
    struct hg_http_request request = {.base = luaL_optstring(L, 1, NULL),
                                      .text = luaL_checkstring(L, 2)};
    struct hg_task *task = hg_task_check_wait(L, "hg.http");
    struct hg_http_refusal refusal;

    if (!hg_http_refuse(task, &request, &refusal)) {
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
