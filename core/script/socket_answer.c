/*
 * What happens to a connection of a script, and the answer to the task that waits for it.
 */
#include "script/socket.h"

int hg_socket_push_failure(lua_State *L, const char *message)
{
    lua_pushnil(L);
    lua_pushstring(L, message);
    return 2;
}

/* 1, or nil, message   [-0, +1|+2, m] */
static int push_connected(lua_State *L, struct hg_task *task, void *ud)
{
    const struct hg_socket_answer *answer = ud;
    (void)task;
    if (answer->error == NULL) {
        lua_pushinteger(L, 1);
        return 1;
    }
    bool is_unknown = answer->socket != NULL && answer->socket->stream.is_unknown;
    hg_socket_close(answer->socket); /* first: what is pushed may collect the script's side of it */
    if (!is_unknown)
        return hg_socket_push_failure(L, answer->error);
    lua_pushnil(L);
    lua_pushfstring(L, "host could not be resolved: %s", answer->error);
    return 2;
}

int hg_socket_push_secured(lua_State *L, struct hg_task *task, void *ud)
{
    const struct hg_socket_answer *answer = ud;
    struct hg_socket *socket = answer->socket;
    (void)task;

    if (answer->error != NULL) {
        hg_socket_push_failure(L, answer->error);
        hg_socket_close(socket);
        return 2;
    }
    if (!socket->wants_session) {
        lua_pushboolean(L, 1);
        return 1;
    }
    struct hg_tls_session **box = lua_newuserdata(L, sizeof(struct hg_tls_session *));
    *box = NULL;
    luaL_getmetatable(L, HG_MT_TLS_SESSION);
    lua_setmetatable(L, -2);
    *box = hg_tls_session(socket->stream.tls);
    return 1;
}

/* Bytes sent, or nil, message   [-0, +1|+2, m] */
int hg_socket_push_sent(lua_State *L, struct hg_task *task, void *ud)
{
    const struct hg_socket_answer *answer = ud;
    (void)task;
    if (answer->error == NULL) {
        lua_pushnumber(L, (double)answer->socket->sending);
        return 1;
    }
    hg_socket_push_failure(L, answer->error);
    hg_socket_close(answer->socket);
    return 2;
}

/* A string of the first bytes that arrived; a line without its CRs.   [-0, +1, m] */
static void push_bytes(lua_State *L, struct hg_socket *socket, size_t len)
{
    const char *at = hg_stream_bytes(&socket->stream).data;
    const char *cr = NULL;

    if (socket->want.kind == HG_PIECE_LINE && len > 0)
        cr = memchr(at, '\r', len);
    if (cr == NULL || cr == at + len - 1) {
        lua_pushlstring(L, len > 0 ? at : "", cr == NULL ? len : len - 1);
        return;
    }
    luaL_Buffer line;
    luaL_buffinit(L, &line);
    while (cr != NULL) {
        luaL_addlstring(&line, at, (size_t)(cr - at));
        len -= (size_t)(cr - at) + 1;
        at = cr + 1;
        cr = memchr(at, '\r', len);
    }
    luaL_addlstring(&line, at, len);
    luaL_pushresult(&line);
}

/*
 * data, or nil, message, what arrived. Up to a pattern: data, nil, nil, whether the pattern was
 * met.   [-0, +1|+3|+4, m]
 */
int hg_socket_push_read(lua_State *L, struct hg_task *task, void *ud)
{
    const struct hg_socket_answer *answer = ud;
    struct hg_socket *socket = answer->socket;
    (void)task;

    if (socket == NULL) {
        hg_socket_push_failure(L, answer->error);
        lua_pushliteral(L, "");
        return 3;
    }
    if (answer->error == NULL) {
        bool is_until = socket->want.kind == HG_PIECE_UNTIL;
        push_bytes(L, socket, answer->found.len);
        hg_stream_take(&socket->stream, answer->found.skip);
        if (socket->want.kind == HG_PIECE_ALL)
            hg_socket_close(socket);
        if (!is_until)
            return 1;
        lua_pushnil(L);
        lua_pushnil(L);
        lua_pushboolean(L, answer->found.is_end);
        return 4;
    }
    struct hg_bytes in = hg_stream_bytes(&socket->stream);
    size_t len = answer->is_timeout ? hg_piece_partial(&socket->want, in) : in.len;
    if (len > socket->piece_max)
        len = socket->piece_max;
    hg_socket_push_failure(L, answer->error);
    push_bytes(L, socket, len);
    if (answer->is_timeout)
        hg_stream_take(&socket->stream, len);
    else
        hg_socket_close(socket);
    return 3;
}

static void answer_op(struct hg_socket *socket, struct hg_op *op, hg_task_push_fn push,
                      struct hg_socket_answer *answer)
{
    struct hg_task *task = hg_task_answered(socket->thread, op);
    if (task != NULL)
        hg_task_resume(task, push, answer);
}

static struct hg_socket *socket_of(struct hg_stream *stream)
{
    return hg_container_of(stream, struct hg_socket, stream);
}

static void on_connected(struct hg_stream *stream, int err)
{
    struct hg_socket *socket = socket_of(stream);
    struct hg_socket_answer answer = {.socket = socket, .error = err < 0 ? stream->error : NULL};

    socket->is_connecting = false;
    answer_op(socket, &socket->write, push_connected, &answer);
}

static void on_secured(struct hg_stream *stream, int err)
{
    struct hg_socket *socket = socket_of(stream);
    struct hg_socket_answer answer = {.socket = socket, .error = err < 0 ? stream->error : NULL};
    struct hg_runtime *runtime = socket->thread->runtime;

    socket->is_connecting = false;
    if (!atomic_load(&socket->thread->is_dead)) {
        if (err < 0)
            HG_RUNTIME_COUNT(runtime, tls_failures);
        else if (hg_tls_is_resumed(stream->tls))
            HG_RUNTIME_COUNT(runtime, tls_resumed);
    }
    answer_op(socket, &socket->write, hg_socket_push_secured, &answer);
}

static void on_written(struct hg_stream *stream, int err)
{
    struct hg_socket *socket = socket_of(stream);
    struct hg_socket_answer answer = {.socket = socket, .error = err < 0 ? stream->error : NULL};

    answer_op(socket, &socket->write, hg_socket_push_sent, &answer);
}

void hg_socket_too_large(struct hg_socket_answer *answer)
{
    answer->error = "too large";
    answer->is_too_large = true;
}

/* Whether what it waits for is there, or has become longer than it may.  */
bool hg_socket_has_piece(struct hg_socket *socket, bool has_ended, struct hg_socket_answer *answer)
{
    struct hg_bytes in = hg_stream_bytes(&socket->stream);

    if (hg_piece_find(&socket->want, in, has_ended, &answer->found)) {
        if (answer->found.len > socket->piece_max)
            hg_socket_too_large(answer);
        return true;
    }
    if (in.len <= socket->piece_max + socket->want.pattern.len)
        return false;
    hg_socket_too_large(answer);
    return true;
}

static void on_arrived(struct hg_stream *stream, int err)
{
    struct hg_socket *socket = socket_of(stream);
    struct hg_socket_answer answer = {.socket = socket};

    if (socket->owner == NULL) { /* nobody asked an idle one for anything */
        hg_socket_close(socket);
        return;
    }
    bool is_done =
        (err == HG_OK || err == HG_ECLOSED) && hg_socket_has_piece(socket, err < 0, &answer);
    if (!is_done && err == HG_OK)
        return;
    hg_stream_pause(stream);
    if (!is_done)
        answer.error = stream->error;
    if (answer.is_too_large && !atomic_load(&socket->thread->is_dead))
        HG_RUNTIME_COUNT(socket->thread->runtime, sockets_too_large);
    if (err == HG_ELIMIT && !atomic_load(&socket->thread->is_dead))
        HG_RUNTIME_COUNT(socket->thread->runtime, sockets_no_room);
    answer_op(socket, &socket->read, hg_socket_push_read, &answer);
}

static void on_closed(struct hg_stream *stream)
{
    struct hg_socket *socket = socket_of(stream);
    struct hg_socket_answer answer = {.error = "closed"};

    if (hg_socket_is_waiting(socket, &socket->read))
        answer_op(socket, &socket->read, hg_socket_push_read, &answer);
    if (hg_socket_is_waiting(socket, &socket->write))
        answer_op(socket, &socket->write, hg_socket_push_sent, &answer);
    hg_socket_free(socket);
}

const struct hg_stream_calls hg_socket_calls = {
    .connected = on_connected,
    .secured = on_secured,
    .arrived = on_arrived,
    .written = on_written,
    .closed = on_closed,
};

void hg_socket_read_expired(struct hg_op *op, struct hg_task *task)
{
    struct hg_socket *socket = hg_container_of(op, struct hg_socket, read);
    struct hg_socket_answer answer = {.socket = socket, .error = "timeout", .is_timeout = true};

    if (socket->is_closing)
        answer.socket = NULL;
    else
        hg_stream_pause(&socket->stream);
    hg_task_resume(task, hg_socket_push_read, &answer);
}

void hg_socket_write_expired(struct hg_op *op, struct hg_task *task)
{
    struct hg_socket *socket = hg_container_of(op, struct hg_socket, write);
    struct hg_socket_answer answer = {.error = "timeout"};

    hg_socket_close(socket); /* of a connection that was not made, or a message that is half sent */
    hg_task_resume(task, hg_socket_push_sent, &answer);
}
