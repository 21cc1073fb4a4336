#include "net/conn.h"

#include <assert.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "wire/http2_meter.h"

#define PIECES_MAX     64
#define LINGER_MS      1000
#define SWALLOW_EXTRA  65536 /* bytes behind the last request, above what a body may have */
#define DRAIN_IDLE_MS  250  /* a client that asks more often than this is told by its next answer */
#define DEAD_LOOK_MS   1000 /* how often one that is not read from is looked at */
#define PROGRESS_BYTES ((size_t)1 << 20) /* taken in the time in which a slow reader is closed */
#define HTTP2_LOOK_MS  250               /* how often the streams of one are looked at */

static void on_written(uv_write_t *write, int status);

static uv_os_fd_t conn_fd(const struct hg_conn *conn)
{
    uv_os_fd_t fd = -1;
    uv_fileno(&conn->uv.handle, &fd);
    return fd;
}

/*
 * Both directions are over: a reset, or for unix sockets a plain close. A client that only shut its
 * sending side is not dead and waits for its answers. Reading tells neither reliably apart nor
 * anything while it is paused.
 */
static bool conn_is_dead(const struct hg_conn *conn)
{
    struct pollfd state = {.fd = conn_fd(conn)};
    return poll(&state, 1, 0) > 0 && (state.revents & (POLLHUP | POLLERR)) != 0;
}

static void conn_pin(struct hg_conn *conn, size_t pinned)
{
    conn->server->pinned += pinned - conn->pinned_counted; /* wraps and back */
    conn->pinned_counted = pinned;
}

static size_t conn_pinned(const struct hg_conn *conn)
{
    return conn->out.pinned + (conn->http2 == NULL ? 0 : hg_http2_held(conn->http2));
}

static void conn_note_blocked(struct hg_conn *conn, uint64_t now_ms)
{
    if (hg_list_is_empty(&conn->blocked)) {
        hg_list_push_back(&conn->server->blocked, &conn->blocked);
        conn->blocked_ms = now_ms;
        conn->blocked_sent = 0;
    }
    conn_pin(conn, conn_pinned(conn));
    hg_server_check_pinned(conn->server, now_ms);
}

/* Many answers at once may hold much of one connection for long: as long as its client takes them, it is not slow. */
static void conn_note_progress(struct hg_conn *conn, size_t bytes)
{
    if (conn->http2 == NULL || hg_list_is_empty(&conn->blocked))
        return;
    conn->blocked_sent += bytes;
    if (conn->blocked_sent < PROGRESS_BYTES)
        return;
    conn->blocked_sent = 0;
    conn->blocked_ms = hg_loop_now(conn->server->loop);
    hg_list_remove(&conn->blocked);
    hg_list_push_back(&conn->server->blocked, &conn->blocked);
}

static void conn_note_unblocked(struct hg_conn *conn)
{
    hg_list_remove(&conn->blocked);
    conn_pin(conn, 0);
}

/* Hands the rest to libuv, which waits for the socket. */
static void conn_write_rest(struct hg_conn *conn)
{
    uv_buf_t bufs[PIECES_MAX];
    uint64_t now_ms = hg_loop_now(conn->server->loop);
    unsigned count = hg_out_pieces(&conn->out, bufs, PIECES_MAX, &conn->writing_bytes);

    int rc = uv_write(&conn->out.head->write, &conn->uv.stream, bufs, count, on_written);
    if (rc < 0) {
        hg_conn_close(conn);
        return;
    }
    conn->is_writing = true;
    conn->progress_ms = now_ms;
    conn->unsent_seen = conn->writing_bytes;
    conn_note_blocked(conn, now_ms);
}

/* Something is there to be sent, and nothing else is being. */
static bool conn_wants_write(struct hg_conn *conn)
{
    if (conn->http2 != NULL && conn->state != HG_CONN_CLOSING)
        hg_conn_http2_fill(conn);
    return !conn->is_writing && conn->out.bytes > 0 && conn->state != HG_CONN_CLOSING;
}

/* Everything that is queued, with one system call if the socket takes it. */
static void conn_flush(struct hg_conn *conn)
{
    while (conn_wants_write(conn)) {
        uv_buf_t bufs[PIECES_MAX];
        size_t bytes;
        unsigned count = hg_out_pieces(&conn->out, bufs, PIECES_MAX, &bytes);
        int rc = uv_try_write(&conn->uv.stream, bufs, count);
        if (rc < 0 && rc != UV_EAGAIN) {
            hg_conn_close(conn);
            return;
        }
        if (rc > 0) {
            hg_counter_add(&conn->server->counters.bytes_out, (uint64_t)rc);
            hg_out_consume(&conn->out, &conn->server->pool, (size_t)rc);
            conn_note_progress(conn, (size_t)rc);
        }
        if (rc < 0 || (size_t)rc < bytes)
            conn_write_rest(conn);
    }
    if (conn->state == HG_CONN_CLOSING)
        return;
    bool is_all_out = conn->out.bytes == 0 && conn_pinned(conn) == 0;
    if (is_all_out && !hg_list_is_empty(&conn->blocked))
        conn_note_unblocked(conn);
    else if (!is_all_out && conn->http2 != NULL) /* closed windows, while the socket is free */
        conn_note_blocked(conn, hg_loop_now(conn->server->loop));
}

static void on_written(uv_write_t *write, int status)
{
    struct hg_conn *conn = write->handle->data;

    conn->is_writing = false;
    if (conn->state == HG_CONN_CLOSING)
        return;
    if (status < 0) {
        hg_conn_close(conn);
        return;
    }
    hg_counter_add(&conn->server->counters.bytes_out, conn->writing_bytes);
    hg_out_consume(&conn->out, &conn->server->pool, conn->writing_bytes);
    conn_note_progress(conn, conn->writing_bytes);
    hg_conn_pump(conn);
}

static bool conn_may_parse(const struct hg_conn *conn)
{
    const struct hg_server_limits *limits = &conn->server->limits;
    return conn->state == HG_CONN_OPEN && !conn->is_last_request &&
           (conn->http2 != NULL || conn->work_count < limits->pipeline) &&
           conn->out.bytes <= limits->out_bytes;
}

static void conn_request(struct hg_conn *conn, bool has_more_input)
{
    struct hg_server *server = conn->server;
    struct hg_exchange exchange = {
        .request = &conn->parser.request,
        .conn = conn,
        .server = server,
        .roles = conn->roles,
    };

    hg_list_init(&exchange.link);
    hg_counter_add(&server->counters.requests, 1);
    conn->head_ms = conn->body_ms = 0;
    conn->owes_continue = false;
    conn->has_more_input = has_more_input;
    if (!exchange.request->keep_alive)
        conn->is_last_request = true;
    server->ops.request(server->ctx, &exchange);
    assert(exchange.is_answered || exchange.is_kept);
    hg_http1_next(&conn->parser);
}

static void conn_note_partial(struct hg_conn *conn, size_t consumed)
{
    uint64_t now_ms = hg_loop_now(conn->server->loop);
    if (!conn->parser.has_partial)
        return;
    if (conn->head_ms == 0)
        conn->head_ms = now_ms;
    if (!conn->parser.in_body)
        return;
    if (conn->body_ms == 0) {
        conn->body_ms = now_ms;
        conn->body_bytes = 0;
    }
    conn->body_bytes += consumed;
}

/* Handles requests until the input ends or enough is in work; returns what is left. */
static struct hg_bytes conn_parse(struct hg_conn *conn, struct hg_bytes input)
{
    if (conn->http2 != NULL && conn_may_parse(conn) && input.len > 0) {
        hg_conn_http2_input(conn, input);
        return HG_BYTES_NONE;
    }
    while (input.len > 0 && conn_may_parse(conn)) {
        size_t consumed;
        enum hg_http1_event event = hg_http1_feed(&conn->parser, input, &consumed);
        input = hg_bytes(input.data + consumed, input.len - consumed);

        switch (event) {
        case HG_HTTP1_REQUEST:
            conn_request(conn, input.len > 0);
            break;
        case HG_HTTP1_CONTINUE:
            conn->owes_continue = true;
            hg_conn_queue_advance(conn);
            conn_note_partial(conn, consumed);
            break;
        case HG_HTTP1_MORE:
            conn_note_partial(conn, consumed);
            break;
        case HG_HTTP1_ERROR:
            hg_counter_add(&conn->server->counters.bad_requests, 1);
            conn->head_ms = conn->body_ms = 0;
            conn->is_last_request = true;
            hg_conn_answer_error(conn, conn->parser.error_status, conn->parser.error_text);
            break;
        }
    }
    return conn->is_last_request || conn->state != HG_CONN_OPEN ? HG_BYTES_NONE : input;
}

/* Parses and sends in turns for as long as the socket takes what comes out. */
static struct hg_bytes conn_work(struct hg_conn *conn, struct hg_bytes input)
{
    do {
        input = conn_parse(conn, input);
        conn_flush(conn);
    } while (input.len > 0 && conn_may_parse(conn));
    return conn->is_last_request || conn->state != HG_CONN_OPEN ? HG_BYTES_NONE : input;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct hg_conn *conn = handle->data;
    struct hg_server *server = conn->server;
    (void)suggested;
    /*
     * libuv reads on while buffers come back full; one full buffer a turn, so that others get
     * theirs.
     */
    size_t len = conn->turn_read == server->turn ? 0 : sizeof(server->read_buffer);
    *buf = uv_buf_init(server->read_buffer, (unsigned)len);
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buf);

static void conn_set_reading(struct hg_conn *conn, bool on)
{
    if (conn->is_reading == on)
        return;
    conn->is_reading = on;
    if (!on) {
        uv_read_stop(&conn->uv.stream);
        return;
    }
    /* The time in which we did not read is not the client's. */
    uint64_t now_ms = hg_loop_now(conn->server->loop);
    if (conn->head_ms != 0)
        conn->head_ms = now_ms;
    if (conn->body_ms != 0) {
        conn->body_ms = now_ms;
        conn->body_bytes = 0;
    }
    uv_read_start(&conn->uv.stream, on_alloc, on_read);
}

static void conn_linger(struct hg_conn *conn)
{
    conn->state = HG_CONN_LINGER;
    conn->progress_ms = hg_time_add(hg_loop_now(conn->server->loop), LINGER_MS);
    conn->body_bytes = 0;
    shutdown(conn_fd(conn), SHUT_WR);
}

static size_t swallow_max(const struct hg_conn *conn)
{
    return conn->server->limits.http1.body + SWALLOW_EXTRA;
}

static uint64_t conn_due(struct hg_conn *conn)
{
    const struct hg_server_limits *limits = &conn->server->limits;

    if (conn->state == HG_CONN_LINGER)
        return conn->progress_ms;
    if (conn->is_writing)
        return hg_time_add(conn->progress_ms, limits->write_timeout_ms);
    if (conn->http2 != NULL && hg_http2_stream_count(conn->http2) > 0)
        return hg_loop_now(conn->server->loop) + HTTP2_LOOK_MS;
    if (conn->work_count > 0 ||
        conn->kept != NULL) /* nothing to wait for but us, unless it dies unseen */
        return conn->is_reading ? HG_FOREVER : hg_loop_now(conn->server->loop) + DEAD_LOOK_MS;
    if (conn->body_ms != 0)
        return hg_time_add(conn->body_ms, hg_time_add(limits->header_timeout_ms,
                                                      hg_http1_body_ms(conn->body_bytes)));
    if (conn->head_ms != 0)
        return hg_time_add(conn->head_ms, limits->header_timeout_ms);
    if (conn->server->is_draining)
        return hg_time_add(conn->active_ms, DRAIN_IDLE_MS);
    return hg_time_add(conn->active_ms, limits->idle_timeout_ms);
}

/* What follows from the state it is in now. */
static void conn_settle(struct hg_conn *conn)
{
    struct hg_server *server = conn->server;
    if (conn->state == HG_CONN_CLOSING)
        return;

    if (conn->http2 != NULL && conn->state == HG_CONN_OPEN && hg_http2_is_over(conn->http2)) {
        conn->state = HG_CONN_LAST;
        conn->is_last_request = true;
        hg_conn_queue_drop(conn);
    }
    bool is_done = conn->out.bytes == 0 && hg_list_is_empty(&conn->queue);
    if (is_done && conn->has_eof && conn->kept == NULL) {
        hg_conn_close(conn);
        return;
    }
    if (is_done && conn->state == HG_CONN_LAST)
        conn_linger(conn);

    bool wants_more = conn_may_parse(conn) && conn->kept == NULL;
    bool swallows = conn->is_last_request && conn->body_bytes < swallow_max(conn);
    if (conn->is_reading && !wants_more && !conn->is_last_request)
        hg_counter_add(&server->counters.pauses, 1);
    conn_set_reading(conn, !conn->has_eof && (wants_more || swallows));
    conn->active_ms = hg_loop_now(server->loop);
    hg_server_schedule(conn, conn_due(conn));
}

static void kept_input_free(struct hg_conn *conn)
{
    hg_free(conn->kept);
    conn->kept = NULL;
    conn->kept_start = conn->kept_end = 0;
}

void hg_conn_pump(struct hg_conn *conn)
{
    if (conn->is_pumping || conn->state == HG_CONN_CLOSING)
        return;
    conn->is_pumping = true;
    conn_flush(conn);
    if (conn->kept != NULL) {
        struct hg_bytes rest = conn_work(
            conn, hg_bytes(conn->kept + conn->kept_start, conn->kept_end - conn->kept_start));
        conn->kept_start = conn->kept_end - (uint32_t)rest.len;
        if (rest.len == 0 && conn->state != HG_CONN_CLOSING)
            kept_input_free(conn);
    }
    conn->is_pumping = false;
    conn_settle(conn);
}

void hg_conn_mark_dirty(struct hg_conn *conn)
{
    if (!conn->is_pumping && conn->state != HG_CONN_CLOSING && hg_list_is_empty(&conn->dirty))
        hg_list_push_back(&conn->server->dirty, &conn->dirty);
}

/* Which protocol the first bytes are of. What has come of a preface that is none belongs to HTTP/1.1. */
static void conn_tell_protocol(struct hg_conn *conn, struct hg_bytes input)
{
    int is_http2 = hg_http2_preface_check(conn->preface_len, input);
    if (is_http2 == 0) {
        conn->preface_len += (uint8_t)input.len;
        if (conn->head_ms == 0)
            conn->head_ms = hg_loop_now(conn->server->loop);
        return;
    }
    conn->is_fresh = false;
    if (is_http2 < 0) {
        conn_work(conn, hg_http2_preface(conn->preface_len));
        return;
    }
    conn->head_ms = 0;
    const struct hg_server *server = conn->server;
    if (server->ops.takes_http2 != NULL && !server->ops.takes_http2(server->ctx)) {
        hg_counter_add(&conn->server->counters.http2_unready, 1);
        hg_conn_close(conn);
        return;
    }
    hg_counter_add(&conn->server->counters.http2_connections, 1);
    if (hg_conn_http2_begin(conn) < 0)
        hg_conn_close(conn);
    else
        hg_conn_http2_input(conn, hg_http2_preface(conn->preface_len));
}

static void conn_input(struct hg_conn *conn, struct hg_bytes input)
{
    conn->is_pumping = true;
    if (conn->is_fresh)
        conn_tell_protocol(conn, input);
    struct hg_bytes rest =
        conn->is_fresh || conn->state == HG_CONN_CLOSING ? HG_BYTES_NONE : conn_work(conn, input);
    conn->is_pumping = false;
    if (rest.len > 0) {
        conn->kept = hg_malloc(rest.len);
        if (conn->kept == NULL) {
            hg_conn_close(conn);
            return;
        }
        memcpy(conn->kept, rest.data, rest.len);
        conn->kept_start = 0;
        conn->kept_end = (uint32_t)rest.len;
    }
    conn_settle(conn);
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buf)
{
    struct hg_conn *conn = stream->data;

    if (got == 0 || got == UV_ENOBUFS || conn->state == HG_CONN_CLOSING)
        return;
    if (got == UV_EOF) {
        conn->has_eof = true;
        conn_set_reading(conn, false);
        if (conn->state == HG_CONN_LINGER || conn_is_dead(conn))
            hg_conn_close(conn);
        else
            conn_settle(conn);
        return;
    }
    if (got < 0) {
        hg_conn_close(conn);
        return;
    }
    hg_counter_add(&conn->server->counters.bytes_in, (uint64_t)got);
    if ((size_t)got == buf->len)
        conn->turn_read = conn->server->turn;
    if (!conn->is_last_request) {
        conn_input(conn, hg_bytes(buf->base, (size_t)got));
        return;
    }
    conn->body_bytes += (size_t)got;
    if (conn->body_bytes < swallow_max(conn))
        return;
    if (conn->state == HG_CONN_LINGER)
        hg_conn_close(conn);
    else
        conn_set_reading(conn, false);
}

/* True: it has streams, or has just said good-bye; whatever comes of that comes by itself. */
static bool conn_check_http2(struct hg_conn *conn, uint64_t now_ms)
{
    if (conn->state != HG_CONN_OPEN || conn->is_writing)
        return false;
    bool has_streams = hg_http2_stream_count(conn->http2) > 0;
    if (conn->server->is_draining && !conn->is_leaving) {
        hg_conn_http2_leave(conn);
        conn->is_leaving = true;
    } else if (has_streams) {
        hg_http2_check(conn->http2, now_ms);
    } else if (!conn->is_leaving && now_ms >= conn_due(conn)) {
        hg_counter_add(&conn->server->counters.idle_timeouts, 1);
        hg_conn_http2_stop(conn);
        conn->is_leaving = true;
    } else {
        return false;
    }
    hg_conn_mark_dirty(conn);
    return true;
}

uint64_t hg_conn_check(struct hg_conn *conn, uint64_t now_ms)
{
    struct hg_server *server = conn->server;
    uint64_t look_again_ms = HG_FOREVER;

    if (conn->state == HG_CONN_CLOSING)
        return HG_FOREVER;
    if (!conn->is_reading && conn_is_dead(conn)) {
        hg_conn_close(conn);
        return HG_FOREVER;
    }
    if (conn->is_writing && conn->state != HG_CONN_LINGER) {
        size_t unsent = uv_stream_get_write_queue_size(&conn->uv.stream);
        if (unsent < conn->unsent_seen) {
            conn->unsent_seen = unsent;
            conn->progress_ms = now_ms;
        }
        look_again_ms = hg_time_add(now_ms, server->limits.write_timeout_ms / 4);
    }
    if (conn->http2 != NULL && conn_check_http2(conn, now_ms))
        return now_ms + HTTP2_LOOK_MS;
    uint64_t due_ms = conn_due(conn);
    if (now_ms < due_ms)
        return due_ms < look_again_ms ? due_ms : look_again_ms;

    if (conn->state == HG_CONN_LINGER) {
        hg_conn_close(conn);
        return HG_FOREVER;
    }
    if (conn->is_writing) {
        hg_counter_add(&server->counters.write_timeouts, 1);
    } else if (conn->head_ms != 0) {
        hg_counter_add(&server->counters.header_timeouts, 1);
    } else {
        /* What has arrived but was not read yet makes it busy. */
        char byte;
        if (recv(conn_fd(conn), &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0)
            return now_ms;
        if (!server->is_draining)
            hg_counter_add(&server->counters.idle_timeouts, 1);
    }
    hg_conn_close(conn);
    return HG_FOREVER;
}

static void on_closed(uv_handle_t *handle)
{
    struct hg_conn *conn = handle->data;

    hg_http1_finish(&conn->parser);
    hg_http2_destroy(conn->http2);
    hg_out_clear(&conn->out, &conn->server->pool);
    kept_input_free(conn);
    assert(hg_list_is_empty(&conn->queue));
    hg_server_conn_gone(conn);
}

void hg_conn_close(struct hg_conn *conn)
{
    if (conn->state == HG_CONN_CLOSING)
        return;
    bool is_cut = conn->work_count > 0 || conn->out.bytes > 0 ||
                  (conn->http2 != NULL && hg_http2_held(conn->http2) > 0);
    if (is_cut)
        hg_counter_add(&conn->server->counters.aborted, 1);
    conn->state = HG_CONN_CLOSING;
    hg_list_remove(&conn->timer);
    hg_list_remove(&conn->dirty);
    conn_note_unblocked(conn);
    uv_close(&conn->uv.handle, on_closed);
    hg_conn_queue_drop(conn);
}

int hg_conn_open(struct hg_server *server, int fd, unsigned roles)
{
    struct sockaddr_storage name;
    socklen_t name_len = sizeof(name);
    int yes = 1;
    struct hg_conn *conn = hg_calloc(1, sizeof(*conn));
    if (conn == NULL)
        goto refuse;

    conn->server = server;
    conn->roles = roles;
    conn->is_fresh = true;
    conn->is_unix =
        getsockname(fd, (struct sockaddr *)&name, &name_len) == 0 && name.ss_family == AF_UNIX;
    hg_list_init(&conn->queue);
    hg_list_init(&conn->timer);
    hg_list_init(&conn->dirty);
    hg_list_init(&conn->blocked);
    hg_http1_init(&conn->parser, &server->limits.http1);
    hg_http1_share(&conn->parser, server->scratch);
    if (conn->is_unix) {
        uv_pipe_init(&server->loop->uv, &conn->uv.pipe, 0);
    } else {
        uv_tcp_init(&server->loop->uv, &conn->uv.tcp);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    }
    conn->uv.handle.data = conn;
    hg_list_push_back(&server->conns, &conn->link);
    server->conn_count++;

    int rc = conn->is_unix ? uv_pipe_open(&conn->uv.pipe, fd) : uv_tcp_open(&conn->uv.tcp, fd);
    if (rc < 0) {
        close(fd);
        hg_conn_close(conn);
        return hg_err_from_uv(rc);
    }
    conn_settle(conn);
    return HG_OK;

refuse:
    close(fd);
    if (server->ops.closed != NULL)
        server->ops.closed(server->ctx, roles);
    return HG_ENOMEM;
}
