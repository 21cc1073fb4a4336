#include "script/http_request.h"

int hg_http_push_failure(lua_State *L, const char *message, const char *code)
{
    lua_pushnil(L);
    lua_pushstring(L, message);
    lua_pushstring(L, code);
    return 3;
}

int hg_http_push_error(lua_State *L, int err, const char *text, size_t body_max)
{
    if (err == HG_ETIMEDOUT)
        return hg_http_push_failure(L, "the origin did not answer in time", "timeout");
    if (err == HG_ETOOBIG) {
        lua_pushnil(L);
        lua_pushfstring(L, "the answer is larger than %f bytes", (lua_Number)body_max);
        lua_pushliteral(L, "too_large");
        return 3;
    }
    if (err == HG_EPROTO)
        return hg_http_push_failure(L, text, "internal");
    return hg_http_push_failure(L, err == HG_EPEER ? text : hg_err_text(err), "unavailable");
}

void hg_http_push_lower(lua_State *L, struct hg_bytes name)
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

    hg_http_push_lower(L, name);
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

void hg_http_push_headers(lua_State *L, const struct hg_fetch_response *response, bool is_unpacked)
{
    struct hg_bytes rest = response->headers, name, value;
    bool is_packed = is_unpacked && hg_fetch_header(response, "content-encoding").len > 0;

    lua_newtable(L);
    while (hg_fetch_next_header(&rest, &name, &value))
        if (!is_packed || !is_of_packing(name))
            add_field(L, name, value);
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

void hg_http_check_request(lua_State *L, struct hg_http_request *out_request)
{
    size_t body_len = 0;
    const char *method = luaL_checkstring(L, 1);
    const char *text = luaL_checkstring(L, 2), *base = luaL_optstring(L, 3, NULL);
    const char *body = luaL_optlstring(L, 5, NULL, &body_len);
    double body_max = luaL_optnumber(L, 8, 0);

    luaL_argcheck(L, body_max >= 0 && body_max <= 9e15, 8, "expected bytes");
    *out_request = (struct hg_http_request){.base = base,
                                            .text = text,
                                            .fetch = {.method = method,
                                                      .body = hg_bytes(body, body_len),
                                                      .timeout_ms = check_ms(L, 6),
                                                      .connect_timeout_ms = check_ms(L, 7),
                                                      .body_max = (size_t)body_max,
                                                      .accept_compressed = lua_toboolean(L, 9)}};
    out_request->fetch.headers = check_lines(L, 4);
}

static const char *file_or_null(lua_State *L, int index, const char *name)
{
    lua_getfield(L, index, name);
    const char *path = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    luaL_argcheck(L, path != NULL || lua_isnil(L, -1), index, "expected paths of files");
    lua_pop(L, 1);
    return path;
}

void hg_http_check_tls(lua_State *L, int index, struct hg_http_request *request)
{
    if (lua_isnoneornil(L, index))
        return;
    luaL_checktype(L, index, LUA_TTABLE);
    request->fetch.ca_file = file_or_null(L, index, "ca");
    request->fetch.cert_file = file_or_null(L, index, "cert");
    request->fetch.key_file = file_or_null(L, index, "key");
}

static bool is_allowed(const struct hg_fetch_limits *limits, const char *origin)
{
    for (size_t i = 0; i < limits->origin_count; i++)
        if (strcmp(limits->origins[i], origin) == 0)
            return true;
    return false;
}

/* Looking and taking are one step: threads begin at the same time. */
static bool take_place(struct hg_runtime *runtime)
{
    if (atomic_fetch_add(&runtime->fetch.running, 1) < runtime->fetch_limits.concurrency)
        return true;
    atomic_fetch_sub(&runtime->fetch.running, 1);
    return false;
}

/*
 * Whether it may not be asked; else it counts as running. A redirect stays with its scheme, and with its origin unless the
 * configuration names the other one.
 */
static bool is_refused(struct hg_runtime *runtime, struct hg_task *task, const struct hg_url *from,
                       const struct hg_url *url, struct hg_http_refusal *out_refusal)
{
    const struct hg_fetch_limits *limits = &runtime->fetch_limits;
    bool is_discovery = task->thread->is_discovery; /* not held up by what getters may ask */

    if (!is_discovery && limits->has_origins && !is_allowed(limits, url->origin))
        *out_refusal = (struct hg_http_refusal){"the origin is not in node.http.origins", "denied"};
    else if (from->text != NULL && !hg_url_is_same_scheme(from, url))
        *out_refusal = (struct hg_http_refusal){"redirected to another protocol", "denied"};
    else if (from->text != NULL && strcmp(from->origin, url->origin) != 0 && !limits->has_origins)
        *out_refusal = (struct hg_http_refusal){"redirected to another origin", "denied"};
    else if (is_discovery)
        return false;
    else if (task->kind != HG_TASK_SPAWN && task->fetch_count >= limits->per_load)
        *out_refusal =
            (struct hg_http_refusal){"more requests than node.http.per_load", "unavailable"};
    else if (!take_place(runtime))
        *out_refusal = (struct hg_http_refusal){
            "more requests at a time than node.http.concurrency", "unavailable"};
    else
        return false;
    if (strcmp(out_refusal->code, "denied") == 0)
        HG_FETCH_COUNT(runtime, refused_origin, 1);
    else
        HG_FETCH_COUNT(runtime, refused_limit, 1);
    return true;
}

/* In the core. */
static int start(struct hg_task *task, struct hg_fetch_options *options, hg_fetch_fn done,
                 void *ctx, struct hg_fetch **out_fetch)
{
    struct hg_thread *thread = task->thread;
    struct hg_runtime *runtime = thread->runtime;

    if (thread->fetcher == NULL && hg_fetcher_create(&thread->loop, &thread->fetcher) < 0)
        return HG_ENOMEM;
    if (options->ca_file == NULL)
        options->ca_file = runtime->fetch_limits.ca_file;
    if (options->body_max == 0)
        options->body_max = runtime->fetch_limits.body_max;
    int err = hg_fetch_start(thread->fetcher, options, done, ctx, out_fetch);
    if (err < 0)
        return err;
    task->fetch_count++;
    HG_FETCH_COUNT(runtime, requests, 1);
    return HG_OK;
}

static void note(struct hg_http_request *request, struct hg_task *task)
{
    pthread_mutex_lock(&task->thread->lock);
    *request->is_counted = true;
    hg_list_push_back(&task->transfers, request->link);
    pthread_mutex_unlock(&task->thread->lock);
}

/* Of the URL, and of base when there is one; both are filled in or neither. */
static int parse(const struct hg_http_request *request, struct hg_url *out_base,
                 struct hg_url *out_url, const char **out_error)
{
    const char *base = request->base;
    int err = base == NULL ? HG_OK : hg_url_parse(NULL, base, out_base, out_error);
    if (err == HG_OK)
        err = hg_url_parse(base, request->text, out_url, out_error);
    if (err < 0)
        hg_url_finish(out_base);
    return err;
}

int hg_http_begin(struct hg_task *task, struct hg_http_request *request, hg_fetch_fn done,
                  void *ctx, struct hg_url *out_url, struct hg_fetch **out_fetch,
                  struct hg_http_refusal *out_refusal)
{
    struct hg_thread *thread = task->thread;
    struct hg_url from = {0}, url = {0};

    *out_refusal = (struct hg_http_refusal){hg_err_text(HG_ENOMEM), "unavailable"};
    int err = parse(request, &from, &url, &out_refusal->message);
    if (err == HG_EINVAL)
        out_refusal->code = "denied";
    if (!hg_thread_enter_core(thread, task)) {
        err = HG_ECANCELED;
    } else {
        if (err == HG_EINVAL)
            HG_FETCH_COUNT(thread->runtime, refused_origin, 1);
        if (err == HG_OK && is_refused(thread->runtime, task, &from, &url, out_refusal)) {
            err = HG_EACCES;
        } else if (err == HG_OK) {
            request->fetch.url = url.text;
            err = start(task, &request->fetch, done, ctx, out_fetch);
            if (err < 0)
                atomic_fetch_sub(&thread->runtime->fetch.running, 1);
            else if (request->link != NULL)
                note(request, task);
            out_refusal->message = hg_err_text(err);
        }
        hg_thread_leave_core(thread);
    }
    hg_url_finish(&from);
    if (err == HG_OK)
        *out_url = url;
    else
        hg_url_finish(&url);
    return err == HG_OK || err == HG_ECANCELED ? err : HG_EACCES;
}

bool hg_http_refuse(struct hg_task *task, const struct hg_http_request *request,
                    struct hg_http_refusal *out_refusal)
{
    struct hg_url from = {0}, url = {0};

    *out_refusal = (struct hg_http_refusal){hg_err_text(HG_ENOMEM), "unavailable"};
    int err = parse(request, &from, &url, &out_refusal->message);
    bool is_bad = err < 0 || is_refused(task->runtime, task, &from, &url, out_refusal);
    if (!is_bad) /* nothing is begun */
        atomic_fetch_sub(&task->runtime->fetch.running, 1);
    if (err == HG_EINVAL)
        out_refusal->code = "denied";
    hg_url_finish(&from);
    hg_url_finish(&url);
    task->fetch_count++;
    return is_bad;
}
