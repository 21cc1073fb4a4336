/*
 * socket:sslhandshake. lua/hgcache/socket.lua checks its arguments and takes another connection where the pool's is of
 * another kind.
 */
#include "script/socket.h"

#include "net/clock.h"

static int l_session_gc(lua_State *L)
{
    struct hg_tls_session **box = luaL_checkudata(L, 1, HG_MT_TLS_SESSION);
    struct hg_tls_session *session = *box;
    *box = NULL;
    hg_tls_session_unref(session);
    return 0;
}

/* The name that is told and checked: the one given, or the host that was connected to. */
static void check_options(lua_State *L, const struct hg_socket *socket,
                          struct hg_tls_options *out_options)
{
    size_t len = 0;
    const char *name = luaL_optlstring(L, 3, NULL, &len);

    luaL_argcheck(L, name == NULL || (len >= 1 && len <= HG_TLS_NAME_MAX && strlen(name) == len), 2,
                  "expected a name of 1 to 255 bytes");
    if (name == NULL && socket->port != 0)
        name = socket->host;
    out_options->server_name = name;
    out_options->verify = lua_isnoneornil(L, 4) || lua_toboolean(L, 4);
    out_options->wants_status = lua_toboolean(L, 5);
    luaL_argcheck(L, name != NULL || !out_options->verify, 2, "expected the name to be verified");
    if (lua_isuserdata(L, 2)) {
        struct hg_tls_session **box = luaL_checkudata(L, 2, HG_MT_TLS_SESSION);
        out_options->session = *box;
    }
}

/* In the core. HG_PENDING, or what *out_why says. */
static int start(struct hg_socket *socket, const struct hg_tls_options *options,
                 const char **out_why)
{
    struct hg_thread *thread = socket->thread;
    struct hg_tls *tls;
    int err = HG_OK;

    HG_RUNTIME_COUNT(thread->runtime, tls_handshakes);
    if (thread->tls == NULL)
        err = hg_tls_context_create(thread->runtime->fetch_limits.ca_file, &thread->tls);
    *out_why = err == HG_EINVAL ? "the certificates to trust cannot be read" : hg_err_text(err);
    if (err == HG_OK) {
        err = hg_tls_create(thread->tls, options, &tls);
        *out_why = err == HG_EINVAL ? "bad server name" : hg_err_text(err);
    }
    if (err == HG_OK) {
        err = hg_stream_secure(&socket->stream, tls);
        *out_why = socket->stream.error;
    }
    if (err < 0)
        HG_RUNTIME_COUNT(thread->runtime, tls_failures);
    return err;
}

/*
 * handshake(socket, session | nil | false, name | nil, verify | nil, asks_status) -> session, or true where false was given
 * | nil, message | false: it came out of a pool and is of another kind   [-?, +1|+2, v]
 */
static int l_handshake(lua_State *L)
{
    struct hg_socket_box *box = hg_lib_check_socket(L);
    struct hg_task *task = hg_task_check_wait(L, "socket:sslhandshake");
    struct hg_tls_options options = {0};
    const char *why;
    struct hg_socket *socket = hg_lib_usable_socket(box, true, true, &why);

    if (socket == NULL)
        return hg_socket_push_failure(L, why);
    check_options(L, socket, &options);
    socket->wants_session = !lua_isboolean(L, 2);
    const struct hg_tls *tls = socket->stream.tls;
    if (tls != NULL && hg_tls_is_alike(tls, &options)) {
        struct hg_socket_answer answer = {.socket = socket};
        return hg_socket_push_secured(L, task, &answer);
    }
    if (socket->is_fresh) {
        lua_pushboolean(L, 0);
        return 1;
    }
    if (tls != NULL) {
        hg_socket_close(socket);
        return hg_socket_push_failure(L, "TLS was begun for another name, or not verified");
    }

    if (!hg_thread_enter_core(task->thread, task))
        return luaL_error(L, "this load is over");
    int err = start(socket, &options, &why);
    hg_thread_leave_core(task->thread);
    if (err == HG_PENDING) {
        socket->is_connecting = true;
        return hg_task_wait(L, task, &socket->write,
                            hg_time_add(hg_clock_boot_ms(), box->connect_ms));
    }
    hg_socket_push_failure(L, why);
    hg_socket_close(socket);
    return 2;
}

/* connect_anew(socket): a new connection to where it is connected to -> 1 | nil, message   [-?, +1|+2, v] */
static int l_connect_anew(lua_State *L)
{
    struct hg_socket_box *box = hg_lib_check_socket(L);
    struct hg_task *task = hg_task_check_wait(L, "socket:sslhandshake");
    struct hg_socket *old = box->holder.socket;

    if (!hg_thread_enter_core(task->thread, task))
        return luaL_error(L, "this load is over");
    /* Its memory stays until the loop turns. */
    struct hg_socket_place place = {.host = old->host,
                                    .port = old->port,
                                    .pool = hg_bytes_str(old->pool),
                                    .pool_size = old->pool_size};
    hg_socket_close(old);
    int err = hg_lib_start_connect(task, box, &place, false);
    hg_thread_leave_core(task->thread);
    return hg_lib_finish_connect(L, task, box, err);
}

static const luaL_Reg functions[] = {
    {"handshake", l_handshake},
    {"connect_anew", l_connect_anew},
    {NULL, NULL},
};

void hg_lib_tls_open(lua_State *L)
{
    luaL_setfuncs(L, functions, 0);
    luaL_newmetatable(L, HG_MT_TLS_SESSION);
    lua_pushcfunction(L, l_session_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushliteral(L, "hgcache.tls_session");
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}
