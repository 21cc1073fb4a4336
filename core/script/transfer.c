/*
 * An exchange of hg.http in pieces: its answer is read, and its request's body sent, piece by piece.
 *
 *   open -> (room, send ... finish) -> head -> read ... -> its end, or close
 *
 * It belongs to the task that opened it and is closed when that ends, or when the script has no pointer to it any more. It
 * counts as running (node.http.concurrency) until it has ended or is closed; the watchdog gives the place back for
 * a thread that is abandoned. One task at a time waits in it. Closed before its end it is canceled, and freed when the fetch
 * has said so.
 */
#include "script/http_request.h"

#include <stdio.h>
#include "base/alloc.h"

#define MT_TRANSFER "hgcache.transfer"

struct transfer;

struct box {                   /* the userdata */
    struct transfer *transfer; /* NULL: closed */
};

enum wait { WAIT_ROOM_OR_HEAD, WAIT_ROOM_OR_BODY, WAIT_HEAD, WAIT_BODY };

struct transfer {
    struct hg_list link; /* task->transfers; under the thread's lock */
    struct hg_thread *thread;
    struct box *box;        /* NULL: gone */
    struct hg_fetch *fetch; /* NULL: it has ended */
    struct hg_op op;
    enum wait wants;
    size_t piece_max; /* of the read under way */
    struct hg_url url;
    size_t body_max;
    bool is_unpacked, is_closing;
    bool is_counted; /* as running; under the thread's lock */
    /* How it ended. */
    int err, status;
    char error[256];
    struct hg_buf headers, body;
    size_t taken; /* of the body */
};

static bool give_up(struct hg_op *op)
{
    (void)op;
    return true;
}

/* It is a part of its transfer. */
static void destroy_op(struct hg_op *op)
{
    (void)op;
}

static void transfer_free(struct transfer *transfer)
{
    hg_url_finish(&transfer->url);
    hg_buf_finish(&transfer->headers);
    hg_buf_finish(&transfer->body);
    hg_free(transfer);
}

/* Under the thread's lock: its place is free again. */
static void release_locked(struct transfer *transfer, bool is_failure)
{
    struct hg_runtime *runtime = transfer->thread->runtime;

    if (!transfer->is_counted)
        return;
    transfer->is_counted = false;
    atomic_fetch_sub(&runtime->fetch.running, 1);
    if (is_failure)
        HG_FETCH_COUNT(runtime, failures, 1);
}

void hg_transfers_release_locked(struct hg_task *task)
{
    hg_list_for_each(it, &task->transfers)
        release_locked(hg_container_of(it, struct transfer, link), true);
}

/* Where its task is over, or does not want it any more. */
static void transfer_close(struct transfer *transfer)
{
    struct hg_thread *thread = transfer->thread;

    if (transfer->is_closing)
        return;
    transfer->is_closing = true;
    if (transfer->box != NULL)
        transfer->box->transfer = NULL;
    transfer->box = NULL;
    pthread_mutex_lock(&thread->lock);
    hg_list_remove(&transfer->link);
    release_locked(transfer, true);
    pthread_mutex_unlock(&thread->lock);
    if (transfer->fetch != NULL)
        hg_fetch_cancel(transfer->fetch, HG_ECANCELED);
    else
        transfer_free(transfer);
}

void hg_transfers_close_of(struct hg_task *task)
{
    while (!hg_list_is_empty(&task->transfers))
        transfer_close(hg_container_of(task->transfers.next, struct transfer, link));
}

static struct hg_bytes arrived(const struct transfer *transfer)
{
    struct hg_bytes bytes =
        transfer->fetch != NULL ? hg_fetch_bytes(transfer->fetch) : hg_buf_bytes(&transfer->body);
    return hg_bytes(bytes.data + transfer->taken, bytes.len - transfer->taken);
}

static void take(struct transfer *transfer, size_t count)
{
    if (transfer->fetch != NULL)
        hg_fetch_take(transfer->fetch, count);
    else
        transfer->taken += count;
}

static bool has_head(const struct transfer *transfer, struct hg_fetch_response *out_head)
{
    if (transfer->fetch != NULL)
        return hg_fetch_has_head(transfer->fetch, out_head);
    *out_head = (struct hg_fetch_response){.status = transfer->status,
                                           .headers = hg_buf_bytes(&transfer->headers)};
    return transfer->status != 0;
}

static int push_end(lua_State *L, const struct transfer *transfer)
{
    if (transfer->err < 0)
        return hg_http_push_error(L, transfer->err, transfer->error, transfer->body_max);
    lua_pushnil(L);
    return 1;
}

/* { status =, headers =, url = } | nil, message, code   [-0, +1|+3, m] */
static int push_head(lua_State *L, struct transfer *transfer)
{
    struct hg_fetch_response head;

    if (!has_head(transfer, &head))
        return push_end(L, transfer);
    lua_createtable(L, 0, 4);
    lua_pushinteger(L, head.status);
    lua_setfield(L, -2, "status");
    hg_http_push_headers(L, &head, transfer->is_unpacked);
    lua_setfield(L, -2, "headers");
    lua_pushstring(L, transfer->url.text);
    lua_setfield(L, -2, "url");
    return 1;
}

static size_t piece_len(const struct transfer *transfer)
{
    struct hg_bytes bytes = arrived(transfer);
    return bytes.len < transfer->piece_max ? bytes.len : transfer->piece_max;
}

/* A piece | nil at the end | nil, message, code   [-0, +1|+3, m] */
static int push_piece(lua_State *L, struct transfer *transfer)
{
    size_t len = piece_len(transfer);

    if (len == 0)
        return push_end(L, transfer);
    lua_pushlstring(L, arrived(transfer).data, len);
    take(transfer, len);
    return 1;
}

/* Its bytes count when they are handed over. In the core. */
static void count(const struct transfer *transfer)
{
    if (transfer->wants == WAIT_BODY)
        HG_FETCH_COUNT(transfer->thread->runtime, received_bytes, piece_len(transfer));
}

static bool has_part(const struct transfer *transfer, bool is_head)
{
    struct hg_fetch_response head;
    return is_head ? has_head(transfer, &head) : arrived(transfer).len > 0;
}

/* What came first: the part of the answer, or room for more of the request's body.   [-0, +1, m] */
static int push_room(lua_State *L, const struct transfer *transfer)
{
    bool is_head = transfer->wants == WAIT_ROOM_OR_HEAD;

    if (transfer->fetch == NULL)
        lua_pushboolean(L, 0);
    else if (has_part(transfer, is_head))
        lua_pushstring(L, is_head ? "head" : "body");
    else
        lua_pushliteral(L, "room");
    return 1;
}

/* What it waited for.   [-0, +?, m] */
static int push_wanted(lua_State *L, struct transfer *transfer)
{
    if (transfer->is_closing)
        return hg_http_push_failure(L, "closed", "internal");
    if (transfer->wants == WAIT_HEAD)
        return push_head(L, transfer);
    if (transfer->wants == WAIT_BODY)
        return push_piece(L, transfer);
    return push_room(L, transfer);
}

static int push_answer(lua_State *L, struct hg_task *task, void *ud)
{
    (void)task;
    count(ud);
    return push_wanted(L, ud);
}

static bool is_answered(const struct transfer *transfer)
{
    bool is_head = transfer->wants == WAIT_HEAD || transfer->wants == WAIT_ROOM_OR_HEAD;

    if (transfer->fetch == NULL || has_part(transfer, is_head))
        return true;
    return (transfer->wants == WAIT_ROOM_OR_HEAD || transfer->wants == WAIT_ROOM_OR_BODY) &&
           hg_fetch_has_room(transfer->fetch);
}

static bool is_waiting(struct transfer *transfer)
{
    pthread_mutex_lock(&transfer->thread->lock);
    bool is = transfer->op.task != NULL;
    pthread_mutex_unlock(&transfer->thread->lock);
    return is;
}

/* Who waits goes on, and may close it. */
static void wake(struct transfer *transfer)
{
    struct hg_task *task =
        is_waiting(transfer) ? hg_task_answered(transfer->thread, &transfer->op) : NULL;
    if (task != NULL)
        hg_task_resume(task, push_answer, transfer);
}

static void on_moved(void *ctx)
{
    struct transfer *transfer = ctx;
    if (is_answered(transfer))
        wake(transfer);
}

/* What is left outlives the fetch. */
static void keep_end(struct transfer *transfer, const struct hg_fetch_response *response)
{
    int err = response->err;

    transfer->fetch = NULL;
    transfer->status = response->status;
    if (err == HG_OK)
        err = hg_buf_append_bytes(&transfer->headers, response->headers);
    if (err == HG_OK)
        err = hg_buf_append_bytes(&transfer->body, response->body);
    transfer->err = err;
    snprintf(transfer->error, sizeof(transfer->error), "%s",
             err == response->err ? response->err_text : hg_err_text(err));
}

static void on_done(void *ctx, const struct hg_fetch_response *response)
{
    struct transfer *transfer = ctx;
    struct hg_thread *thread = transfer->thread;

    keep_end(transfer, response);
    pthread_mutex_lock(&thread->lock);
    if (transfer->is_counted && transfer->err == HG_ETOOBIG)
        HG_FETCH_COUNT(thread->runtime, too_large, 1);
    release_locked(transfer, transfer->err < 0);
    pthread_mutex_unlock(&thread->lock);
    bool is_closing = transfer->is_closing;
    wake(transfer);
    if (is_closing)
        transfer_free(transfer);
}

static struct box *check_box(lua_State *L)
{
    return luaL_checkudata(L, 1, MT_TRANSFER);
}

/*
 * open(method, url, redirected_from | nil, lines, nil, timeout_ms, connect_ms, body_max | nil, compression, length | true | nil,
 * tls | nil)
 * -> transfer | nil, message, code. length: of a body that is sent, true where it is not known   [-?, +1|+3, v]
 */
static int l_open(lua_State *L)
{
    struct hg_http_request request;
    struct hg_http_refusal refusal;

    hg_http_check_request(L, &request);
    hg_http_check_tls(L, 11, &request);
    request.fetch.moved = on_moved;
    request.fetch.is_fed = lua_toboolean(L, 10);
    request.fetch.fed_bytes =
        lua_isnumber(L, 10) ? (uint64_t)lua_tonumber(L, 10) : HG_FETCH_LENGTH_UNKNOWN;
    struct hg_task *task = hg_task_check_wait(L, "hg.http");
    struct box *box = lua_newuserdata(L, sizeof(*box));
    box->transfer = NULL;
    luaL_getmetatable(L, MT_TRANSFER);
    lua_setmetatable(L, -2);
    struct transfer *transfer = hg_calloc(1, sizeof(*transfer));
    if (transfer == NULL)
        return hg_http_push_failure(L, hg_err_text(HG_ENOMEM), "unavailable");
    transfer->thread = task->thread;
    transfer->op.give_up = give_up;
    transfer->op.destroy = destroy_op;
    transfer->is_unpacked = request.fetch.accept_compressed;
    hg_list_init(&transfer->link);
    hg_buf_init(&transfer->headers, SIZE_MAX / 2); /* both bounded by the fetch */
    hg_buf_init(&transfer->body, SIZE_MAX / 2);
    request.is_counted = &transfer->is_counted;
    request.link = &transfer->link;
    int err = hg_http_begin(task, &request, on_done, transfer, &transfer->url, &transfer->fetch,
                            &refusal);
    if (err < 0) {
        transfer_free(transfer);
        if (err == HG_ECANCELED)
            return luaL_error(L, "this load is over");
        return hg_http_push_failure(L, refusal.message, refusal.code);
    }
    transfer->body_max = request.fetch.body_max;
    transfer->box = box;
    box->transfer = transfer;
    return 1;
}

/* To wait in it, or NULL where there is nothing to wait in any more; raises where somebody does. */
static struct transfer *check_usable(lua_State *L, struct hg_task **out_task)
{
    struct box *box = check_box(L);

    *out_task = hg_task_check_wait(L, "hg.http");
    if (box->transfer != NULL && is_waiting(box->transfer))
        luaL_error(L, "this answer is being read");
    return box->transfer;
}

/* Says at once what it can, else waits.   [-?, +?, v] */
static int answer(lua_State *L, struct hg_task *task, struct transfer *transfer, enum wait wants)
{
    transfer->wants = wants;
    if (!is_answered(transfer))
        return hg_task_wait(L, task, &transfer->op, HG_FOREVER); /* libcurl has the time-out */
    if (!hg_thread_enter_core(task->thread, task))
        return luaL_error(L, "this load is over");
    count(transfer);
    hg_thread_leave_core(task->thread);
    return push_wanted(L, transfer);
}

/*
 * transfer:send(piece, from) -> the place that is next | nil: it has ended, see head   [-?, +1, v]
 * transfer:room("head" | "body") -> "room" once there is some, or the part of the answer that has come before; false: it has
 * ended   [-?, +1, v]
 */
static int l_send(lua_State *L)
{
    struct box *box = check_box(L);
    size_t len;
    const char *piece = luaL_checklstring(L, 2, &len);
    double from = luaL_checknumber(L, 3);
    struct transfer *transfer = box->transfer;

    luaL_argcheck(L, from >= 1 && from <= (double)len + 1, 3, "expected a place in the piece");
    size_t at = (size_t)from - 1;
    if (transfer == NULL || transfer->fetch == NULL)
        return 0;
    ssize_t count = hg_fetch_feed(transfer->fetch, hg_bytes(piece + at, len - at));
    if (count < 0)
        return luaL_error(L, "%s", hg_err_text((int)count));
    lua_pushnumber(L, from + (double)count);
    return 1;
}

static int l_room(lua_State *L)
{
    struct hg_task *task;
    struct transfer *transfer = check_usable(L, &task);
    bool is_head = strcmp(luaL_checkstring(L, 2), "head") == 0;

    if (transfer == NULL) {
        lua_pushboolean(L, 0);
        return 1;
    }
    return answer(L, task, transfer, is_head ? WAIT_ROOM_OR_HEAD : WAIT_ROOM_OR_BODY);
}

/* transfer:finish(): the body that was sent is whole. */
static int l_finish(lua_State *L)
{
    struct box *box = check_box(L);
    if (box->transfer != NULL && box->transfer->fetch != NULL)
        hg_fetch_feed_end(box->transfer->fetch);
    return 0;
}

/* transfer:head() -> { status =, headers =, url = } | nil, message, code   [-?, +1|+3, v] */
static int l_head(lua_State *L)
{
    struct hg_task *task;
    struct transfer *transfer = check_usable(L, &task);

    if (transfer == NULL)
        return hg_http_push_failure(L, "closed", "internal");
    return answer(L, task, transfer, WAIT_HEAD);
}

/* transfer:read(most) -> a piece | nil at the end | nil, message, code   [-?, +1|+3, v] */
static int l_read(lua_State *L)
{
    double most = luaL_checknumber(L, 2);
    struct hg_task *task;
    struct transfer *transfer = check_usable(L, &task);

    luaL_argcheck(L, most >= 1, 2, "expected a number of bytes");
    if (transfer == NULL)
        return hg_http_push_failure(L, "closed", "internal");
    transfer->piece_max = most < HG_FETCH_HELD_BYTES ? (size_t)most : HG_FETCH_HELD_BYTES;
    return answer(L, task, transfer, WAIT_BODY);
}

/* transfer:close() -> whether it was open; also its __gc */
static int l_close(lua_State *L)
{
    struct box *box = check_box(L);
    struct transfer *transfer = box->transfer;

    box->transfer = NULL;
    if (transfer != NULL)
        transfer_close(transfer);
    lua_pushboolean(L, transfer != NULL);
    return 1;
}

static const luaL_Reg methods[] = {
    {"send", l_send}, {"room", l_room},   {"finish", l_finish}, {"head", l_head},
    {"read", l_read}, {"close", l_close}, {NULL, NULL},
};

/* core.transfer = open */
void hg_lib_transfer_open(lua_State *L)
{
    luaL_newmetatable(L, MT_TRANSFER);
    lua_pushcfunction(L, l_close);
    lua_setfield(L, -2, "__gc");
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -2, "__index");
    lua_pushliteral(L, MT_TRANSFER);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
    lua_pushcfunction(L, l_open);
    lua_setfield(L, -2, "transfer");
}
