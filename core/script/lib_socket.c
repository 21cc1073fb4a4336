/*
 * hg.socket: TCP and unix sockets in the shape of OpenResty's cosockets. What waits blocks its own
 * coroutine only. lua/hgcache/socket.lua adds what is easier said in Lua.
 *
 * Results: 1 or data, or nil, message; receive has what arrived as a third one. After any error
 * but a time-out of receive the connection is closed.
 */
#include "script/socket.h"

#include "base/alloc.h"
#include "net/clock.h"

#define TIMEOUT_MS 60000
#define POOL_SIZE  30
#define IDLE_MS    60000

static const char closed[] = "closed";

struct hg_socket_box *hg_lib_check_socket(lua_State *L)
{
    return luaL_checkudata(L, 1, HG_MT_SOCKET);
}

struct hg_socket *hg_lib_usable_socket(struct hg_socket_box *box, bool reads, bool writes,
                                       const char **out_why)
{
    struct hg_socket *socket = box->holder.socket;

    *out_why = NULL;
    if (socket == NULL)
        *out_why = box->holder.is_lost ? "closed: the task that connected it has ended" : closed;
    else if (socket->is_connecting)
        *out_why = "socket busy connecting";
    else if (reads && hg_socket_is_waiting(socket, &socket->read))
        *out_why = "socket busy reading";
    else if (writes && hg_socket_is_waiting(socket, &socket->write))
        *out_why = "socket busy writing";
    return *out_why == NULL ? socket : NULL;
}

/* A number of milliseconds; 0 and nil: fallback. */
static uint64_t check_timeout(lua_State *L, int index, uint64_t fallback)
{
    double value = luaL_optnumber(L, index, 0);
    luaL_argcheck(L, value >= 0 && value <= INT32_MAX, index, "bad timeout value");
    return value > 0 ? (uint64_t)value + (value < 1) : fallback;
}

/* tcp() -> socket   [-0, +1, m] */
static int l_tcp(lua_State *L)
{
    struct hg_socket_box *box = lua_newuserdata(L, sizeof(*box));
    *box = (struct hg_socket_box){
        .connect_ms = TIMEOUT_MS, .send_ms = TIMEOUT_MS, .read_ms = TIMEOUT_MS};
    luaL_getmetatable(L, HG_MT_SOCKET);
    lua_setmetatable(L, -2);
    return 1;
}

static int l_gc(lua_State *L)
{
    struct hg_socket_box *box = hg_lib_check_socket(L);
    struct hg_socket *socket = box->holder.socket;
    box->holder.socket = NULL;
    hg_socket_let_go(socket);
    return 0;
}

static int l_tostring(lua_State *L)
{
    struct hg_socket_box *box = hg_lib_check_socket(L);
    lua_pushfstring(L, "socket (%s)",
                    box->holder.socket != NULL ? box->holder.socket->pool : closed);
    return 1;
}

/* options.pool, options.pool_size; the pool's name stays on the stack.   [-0, +1, v] */
static void check_pool(lua_State *L, int index, struct hg_socket_place *place)
{
    if (!lua_isnoneornil(L, index)) {
        luaL_checktype(L, index, LUA_TTABLE);
        lua_getfield(L, index, "backlog");
        luaL_argcheck(L, lua_isnil(L, -1), index, "backlog is not supported");
        lua_getfield(L, index, "pool_size");
        if (!lua_isnil(L, -1)) {
            double size = lua_tonumber(L, -1);
            luaL_argcheck(L, size >= 1 && size <= HG_SOCKETS_MAX, index,
                          "pool_size is not a number from 1 to 1024");
            place->pool_size = (unsigned)size;
        }
        lua_pop(L, 2);
        lua_getfield(L, index, "pool");
    } else {
        lua_pushnil(L);
    }
    if (lua_isnil(L, -1)) {
        if (place->port == 0)
            lua_pushvalue(L, 2);
        else
            lua_pushfstring(L, "%s:%d", place->host, (int)place->port);
    }
    place->pool.data = luaL_checklstring(L, -1, &place->pool.len);
    luaL_argcheck(L, place->pool.len <= HG_SOCKET_POOL_MAX, index, "the pool's name is too long");
}

int hg_lib_start_connect(struct hg_task *task, struct hg_socket_box *box,
                         const struct hg_socket_place *place, bool may_reuse)
{
    if (may_reuse && hg_socket_reuse(task, place->pool, &box->holder))
        return HG_OK;
    int err = hg_socket_open(task, place, &box->holder);
    if (err < 0)
        return err;
    struct hg_socket *socket = box->holder.socket;
    struct hg_stream *stream = &socket->stream;
    err = place->port == 0 ? hg_stream_connect_path(stream, place->host)
                           : hg_stream_connect(stream, place->host, place->port);
    socket->is_connecting = err == HG_PENDING;
    return err;
}

int hg_lib_finish_connect(lua_State *L, struct hg_task *task, struct hg_socket_box *box, int err)
{
    struct hg_socket *socket = box->holder.socket;

    if (err == HG_PENDING)
        return hg_task_wait(L, task, &socket->write,
                            hg_time_add(hg_clock_boot_ms(), box->connect_ms));
    if (err == HG_OK) {
        lua_pushinteger(L, 1);
        return 1;
    }
    if (socket == NULL)
        return hg_socket_push_failure(L, err == HG_ELIMIT ? "too many open sockets"
                                                          : hg_err_text(err));
    hg_socket_push_failure(L, socket->stream.error);
    hg_socket_close(socket);
    return 2;
}

/* socket:connect(host, port, options) or ("unix:/path", options) -> 1 | nil, message   [-?, +1|+2, v] */
static int l_connect(lua_State *L)
{
    struct hg_socket_box *box = hg_lib_check_socket(L);
    size_t len;
    const char *why, *host = luaL_checklstring(L, 2, &len);
    struct hg_socket_place place = {.host = host};
    struct hg_task *task = hg_task_check_wait(L, "socket:connect");

    luaL_argcheck(L, len > 0 && strlen(host) == len, 2, "bad host");
    if (strncmp(host, "unix:", 5) == 0) {
        place.host = host + 5;
        check_pool(L, 3, &place);
    } else {
        double port = luaL_checknumber(L, 3);
        if (!(port >= 1 && port <= 65535)) {
            lua_pushnil(L);
            lua_pushfstring(L, "bad port number: %f", port);
            return 2;
        }
        place.port = (uint16_t)port;
        check_pool(L, 4, &place);
    }
    if (box->holder.socket != NULL) {
        if (hg_lib_usable_socket(box, true, true, &why) == NULL)
            return hg_socket_push_failure(L, why);
        hg_socket_close(box->holder.socket);
    }

    struct hg_thread *thread = task->thread;
    if (!hg_thread_enter_core(thread, task))
        return luaL_error(L, "this load is over");
    int err = hg_lib_start_connect(task, box, &place, true);
    hg_thread_leave_core(thread);
    return hg_lib_finish_connect(L, task, box, err);
}

/* socket:send(data) -> bytes | nil, message   [-1, +1|+2, v] */
static int l_send(lua_State *L)
{
    struct hg_socket_box *box = hg_lib_check_socket(L);
    size_t len;
    const char *why, *data = luaL_checklstring(L, 2, &len);
    struct hg_task *task = hg_task_check_wait(L, "socket:send");
    struct hg_socket *socket = hg_lib_usable_socket(box, false, true, &why);

    if (socket == NULL)
        return hg_socket_push_failure(L, why);
    int rc = hg_stream_write(&socket->stream, hg_bytes(data, len));
    socket->sending = len;
    socket->is_fresh = false;
    if (rc == HG_PENDING)
        return hg_task_wait(L, task, &socket->write, hg_time_add(hg_clock_boot_ms(), box->send_ms));
    if (rc == HG_ELIMIT && hg_thread_enter_core(task->thread, task)) {
        HG_RUNTIME_COUNT(task->runtime, sockets_no_room);
        hg_thread_leave_core(task->thread);
    }
    struct hg_socket_answer answer = {.socket = socket,
                                      .error = rc < 0 ? socket->stream.error : NULL};
    return hg_socket_push_sent(L, task, &answer);
}

/* Reads a piece: from what has arrived, or waits for more.   [-?, +?, v] */
static int start_read(lua_State *L, struct hg_socket_box *box, const struct hg_piece *piece)
{
    const char *why;
    struct hg_task *task = hg_task_check_wait(L, "socket:receive");
    struct hg_socket *socket = hg_lib_usable_socket(box, true, false, &why);

    if (socket == NULL) {
        hg_socket_push_failure(L, why);
        lua_pushliteral(L, "");
        return 3;
    }
    hg_free(socket->pattern);
    socket->pattern = NULL;
    socket->want = *piece;
    socket->is_fresh = false;
    if (piece->kind == HG_PIECE_UNTIL) {
        socket->pattern = hg_strndup(piece->pattern.data, piece->pattern.len);
        if (socket->pattern == NULL)
            return luaL_error(L, "%s", hg_err_text(HG_ENOMEM));
        socket->want.pattern.data = socket->pattern;
    }
    struct hg_socket_answer answer = {.socket = socket};
    if (piece->size > socket->piece_max && piece->kind != HG_PIECE_ANY)
        hg_socket_too_large(&answer);
    else if (!hg_socket_has_piece(socket, false, &answer)) {
        int err = hg_stream_want(&socket->stream);
        if (err == HG_OK)
            return hg_task_wait(L, task, &socket->read,
                                hg_time_add(hg_clock_boot_ms(), box->read_ms));
        if (err != HG_ECLOSED || !hg_socket_has_piece(socket, true, &answer))
            answer.error = socket->stream.error;
    }
    if (answer.is_too_large && hg_thread_enter_core(task->thread, task)) {
        HG_RUNTIME_COUNT(task->runtime, sockets_too_large);
        hg_thread_leave_core(task->thread);
    }
    return hg_socket_push_read(L, task, &answer);
}

/* socket:receive(bytes | "*l" | "*a") -> data | nil, message, what arrived   [-1, +1|+3, v] */
static int l_receive(lua_State *L)
{
    struct hg_socket_box *box = hg_lib_check_socket(L);
    struct hg_piece piece = {.kind = HG_PIECE_LINE};

    if (lua_isnumber(L, 2)) {
        double size = lua_tonumber(L, 2);
        luaL_argcheck(L, size >= 0 && size <= INT32_MAX, 2, "bad number of bytes");
        piece.kind = HG_PIECE_BYTES;
        piece.size = (size_t)size;
    } else if (!lua_isnoneornil(L, 2)) {
        const char *what = luaL_checkstring(L, 2);
        if (strcmp(what, "*a") == 0)
            piece.kind = HG_PIECE_ALL;
        else if (strcmp(what, "*l") != 0)
            return luaL_argerror(L, 2, "bad pattern: expected a number, \"*l\" or \"*a\"");
    }
    return start_read(L, box, &piece);
}

/* socket:receiveany(max) -> data | nil, message, ""   [-1, +1|+3, v] */
static int l_receiveany(lua_State *L)
{
    struct hg_socket_box *box = hg_lib_check_socket(L);
    double max = luaL_checknumber(L, 2);

    luaL_argcheck(L, max >= 1 && max <= INT32_MAX, 2, "bad max argument");
    struct hg_piece piece = {.kind = HG_PIECE_ANY, .size = (size_t)max};
    if (box->holder.socket != NULL && piece.size > box->holder.socket->piece_max)
        piece.size = box->holder.socket->piece_max;
    return start_read(L, box, &piece);
}

/*
 * read_until(socket, pattern, inclusive, size or 0) -> data, nil, nil, whether the pattern was met
 * | nil, message, what arrived   [-4, +3|+4, v]
 */
static int l_read_until(lua_State *L)
{
    struct hg_socket_box *box = hg_lib_check_socket(L);
    struct hg_piece piece = {.kind = HG_PIECE_UNTIL, .is_inclusive = lua_toboolean(L, 3)};
    double size = luaL_checknumber(L, 4);

    piece.pattern.data = luaL_checklstring(L, 2, &piece.pattern.len);
    luaL_argcheck(L, piece.pattern.len >= 1, 2, "pattern is empty");
    luaL_argcheck(L, piece.pattern.len <= HG_SOCKET_PATTERN_MAX, 2, "pattern is too long");
    luaL_argcheck(L, size >= 0 && size <= INT32_MAX, 4, "bad number of bytes");
    piece.size = (size_t)size;
    return start_read(L, box, &piece);
}

/* socket:settimeout(ms): of connect, send and receive each. */
static int l_settimeout(lua_State *L)
{
    struct hg_socket_box *box = hg_lib_check_socket(L);
    box->connect_ms = box->send_ms = box->read_ms = check_timeout(L, 2, TIMEOUT_MS);
    return 0;
}

/* socket:settimeouts(connect_ms, send_ms, read_ms); nil: as it was. */
static int l_settimeouts(lua_State *L)
{
    struct hg_socket_box *box = hg_lib_check_socket(L);
    uint64_t connect_ms = check_timeout(L, 2, box->connect_ms);
    uint64_t send_ms = check_timeout(L, 3, box->send_ms);
    box->read_ms = check_timeout(L, 4, box->read_ms);
    box->connect_ms = connect_ms;
    box->send_ms = send_ms;
    return 0;
}

/* socket:setkeepalive(idle_ms, pool_size) -> 1 | nil, message   [-?, +1|+2, v] */
static int l_setkeepalive(lua_State *L)
{
    struct hg_socket_box *box = hg_lib_check_socket(L);
    double idle_ms = luaL_optnumber(L, 2, IDLE_MS);
    const char *why;
    struct hg_socket *socket = hg_lib_usable_socket(box, true, true, &why);
    unsigned fallback = socket != NULL && socket->pool_size > 0 ? socket->pool_size : POOL_SIZE;
    double pool_size = luaL_optnumber(L, 3, fallback);

    luaL_argcheck(L, idle_ms >= 0 && idle_ms <= INT32_MAX, 2, "bad timeout value");
    luaL_argcheck(L, pool_size >= 1 && pool_size <= INT32_MAX, 3, "bad pool size");
    if (socket == NULL)
        return hg_socket_push_failure(L, why);
    if (hg_stream_bytes(&socket->stream).len > 0)
        return hg_socket_push_failure(L, "unread data in buffer");
    struct hg_thread *thread = socket->thread;
    if (!hg_thread_enter_core(thread, NULL))
        return luaL_error(L, "this script thread is over");
    int err =
        hg_socket_keep(socket, idle_ms >= 1 ? (uint64_t)idle_ms : HG_FOREVER, (unsigned)pool_size);
    hg_thread_leave_core(thread);
    if (err < 0)
        return hg_socket_push_failure(L, socket->stream.error);
    lua_pushinteger(L, 1);
    return 1;
}

/* socket:getreusedtimes() -> count | nil, message */
static int l_getreusedtimes(lua_State *L)
{
    const char *why;
    struct hg_socket *socket = hg_lib_usable_socket(hg_lib_check_socket(L), false, false, &why);

    if (socket == NULL)
        return hg_socket_push_failure(L, why);
    lua_pushnumber(L, (double)socket->reused_count);
    return 1;
}

/* socket:close() -> 1 | nil, message */
static int l_close(lua_State *L)
{
    const char *why;
    struct hg_socket *socket = hg_lib_usable_socket(hg_lib_check_socket(L), true, true, &why);

    if (socket == NULL)
        return hg_socket_push_failure(L, why);
    hg_socket_close(socket);
    lua_pushinteger(L, 1);
    return 1;
}

/* socket:setoption(name, value) -> 1 | nil, message   [-2, +1|+2, v] */
static int l_setoption(lua_State *L)
{
    static const char *const names[] = {"keepalive", "tcp-nodelay", "rcvbuf", "sndbuf", NULL};
    struct hg_socket_box *box = hg_lib_check_socket(L);
    int which = luaL_checkoption(L, 2, NULL, names);
    const char *why;
    struct hg_socket *socket = hg_lib_usable_socket(box, false, false, &why);
    bool is_on = lua_isnumber(L, 3) ? lua_tonumber(L, 3) != 0 : lua_toboolean(L, 3);
    int rc = 0, size = 0;

    if (which >= 2) {
        double value = luaL_checknumber(L, 3);
        luaL_argcheck(L, value >= 1 && value <= INT32_MAX, 3, "bad size");
        size = (int)value;
    }
    if (socket == NULL)
        return hg_socket_push_failure(L, why);
    struct hg_stream *stream = &socket->stream;
    if (which == 2)
        rc = uv_recv_buffer_size(&stream->uv.handle, &size);
    else if (which == 3)
        rc = uv_send_buffer_size(&stream->uv.handle, &size);
    else if (!stream->is_pipe)
        rc = which == 0 ? uv_tcp_keepalive(&stream->uv.tcp, is_on, 60)
                        : uv_tcp_nodelay(&stream->uv.tcp, is_on);
    if (rc < 0)
        return hg_socket_push_failure(L, uv_strerror(rc));
    lua_pushinteger(L, 1);
    return 1;
}

static const luaL_Reg methods[] = {
    {"connect", l_connect},
    {"send", l_send},
    {"receive", l_receive},
    {"receiveany", l_receiveany},
    {"settimeout", l_settimeout},
    {"settimeouts", l_settimeouts},
    {"setkeepalive", l_setkeepalive},
    {"getreusedtimes", l_getreusedtimes},
    {"close", l_close},
    {"setoption", l_setoption},
    {NULL, NULL},
};

static const luaL_Reg functions[] = {{"tcp", l_tcp}, {"read_until", l_read_until}, {NULL, NULL}};

/* core.socket = { tcp, read_until, handshake, connect_anew, methods } */
void hg_lib_socket_open(lua_State *L)
{
    lua_newtable(L);
    luaL_setfuncs(L, functions, 0);
    hg_lib_tls_open(L);
    luaL_newmetatable(L, HG_MT_SOCKET);
    lua_pushcfunction(L, l_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, l_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushliteral(L, "hgcache.socket");
    lua_setfield(L, -2, "__metatable");
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "__index");
    lua_setfield(L, -3, "methods");
    lua_pop(L, 1);
    lua_setfield(L, -2, "socket");
}
