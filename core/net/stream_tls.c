/*
 * A stream with TLS between its buffers and the socket.
 *
 *   socket -> room of the thread -> hg_tls_feed -> hg_tls_read -> `in`
 *   write -> pieces -> hg_tls_write -> hg_tls_output -> socket; what the kernel does not take waits: plain the rest, sealed one piece
 */
#include "net/stream_impl.h"

#include <assert.h>
#include <errno.h>
#include <sys/socket.h>
#include "base/alloc.h"

/* Bytes of one read from the socket: a whole record. */
#define ROOM_BYTES 17408
/* What one read may add to `in` beyond its maximum: it, and a record that was not whole before. */
#define BEYOND_BYTES ((size_t)3 * ROOM_BYTES)
/* Plain bytes that are sealed at a time. */
#define PIECE_BYTES 65536
/* Reads that a quiet one may take. */
#define DRAINS_MAX 4

uv_buf_t hg_stream_tls_room(void)
{
    static _Thread_local char room[ROOM_BYTES];
    return uv_buf_init(room, sizeof(room));
}

static int fail_tls(struct hg_stream *stream, int err)
{
    stream->error = hg_tls_error(stream->tls);
    return err;
}

static void drop_rest(struct hg_stream *stream)
{
    stream->budget->used_bytes -= stream->rest_len;
    hg_free(stream->rest);
    stream->rest = NULL;
    stream->rest_len = stream->rest_at = 0;
}

/* From *at on, which moves. */
static int pump(struct hg_stream *stream, const char *data, size_t len, size_t *at)
{
    for (;;) {
        if (stream->cannot_send)
            return hg_stream_fail(stream, UV_EPIPE);
        if (stream->writing != NULL)
            return HG_PENDING;
        struct hg_bytes output = hg_tls_output(stream->tls);
        if (output.len > 0) {
            int rc = hg_stream_send(stream, output);
            stream->cannot_send = rc < 0;
            if (rc < 0)
                return rc;
            hg_tls_output_take(stream->tls, output.len);
            continue;
        }
        size_t piece = len - *at < PIECE_BYTES ? len - *at : PIECE_BYTES;
        if (piece == 0)
            return HG_OK;
        int err = hg_tls_write(stream->tls, hg_bytes(data + *at, piece));
        if (err < 0)
            return fail_tls(stream, err);
        *at += piece;
    }
}

int hg_stream_tls_pump(struct hg_stream *stream)
{
    int rc = pump(stream, stream->rest, stream->rest_len, &stream->rest_at);
    if (rc != HG_PENDING)
        drop_rest(stream);
    return rc;
}

int hg_stream_tls_write(struct hg_stream *stream, struct hg_bytes data)
{
    size_t at = 0;
    int rc = pump(stream, data.data, data.len, &at);

    if (rc != HG_PENDING || at == data.len)
        return rc;
    if (!hg_stream_has_budget(stream))
        return hg_stream_fail_budget(stream);
    stream->rest = hg_strndup(data.data + at, data.len - at);
    if (stream->rest == NULL)
        return hg_stream_fail(stream, UV_ENOMEM);
    stream->rest_len = data.len - at;
    stream->budget->used_bytes += stream->rest_len;
    return HG_PENDING;
}

/* What TLS itself has to say. HG_OK, HG_PENDING, or why it could not; who only reads may go on. */
static int flush(struct hg_stream *stream)
{
    size_t at = 0;
    return pump(stream, NULL, 0, &at);
}

/* What was fed, behind what is in `in`. */
static int read_in(struct hg_stream *stream)
{
    int err = hg_tls_read(stream->tls, &stream->in);
    hg_stream_account(stream);
    flush(stream);
    return err < 0 ? fail_tls(stream, err) : HG_OK;
}

static void shake(struct hg_stream *stream)
{
    int rc = hg_tls_handshake(stream->tls);
    int sent = flush(stream);
    if (rc < 0)
        fail_tls(stream, rc);
    else if (sent < 0)
        rc = sent;
    else if (rc == HG_PENDING)
        return;
    else
        read_in(stream); /* what came along; how it ended is told to who wants to read */
    hg_stream_tls_end(stream, rc);
}

void hg_stream_tls_arrived(struct hg_stream *stream, struct hg_bytes bytes)
{
    size_t before = stream->in.len;
    int err = hg_tls_feed(stream->tls, bytes);

    if (err < 0)
        hg_stream_fail(stream, UV_ENOMEM);
    if (stream->is_securing && err == HG_OK) {
        shake(stream);
        return;
    }
    if (stream->is_securing) {
        hg_stream_tls_end(stream, err);
        return;
    }
    if (err == HG_OK)
        err = read_in(stream);
    if (stream->in.len > before)
        stream->calls->arrived(stream, HG_OK);
    if (err == HG_OK || stream->is_closing || !stream->is_wanted)
        return;
    hg_stream_pause(stream);
    stream->calls->arrived(stream, err);
}

int hg_stream_secure(struct hg_stream *stream, struct hg_tls *tls)
{
    assert(stream->tls == NULL && stream->writing == NULL);
    if (hg_stream_bytes(stream).len > 0) {
        hg_tls_destroy(tls);
        stream->error = "unread data in buffer";
        return HG_EINVAL;
    }
    stream->tls = tls;
    stream->in.max_bytes = stream->in_max + BEYOND_BYTES;
    stream->is_securing = true;
    int rc = hg_tls_handshake(tls);
    if (rc < 0)
        fail_tls(stream, rc);
    else
        rc = flush(stream);
    if (rc >= 0)
        rc = hg_stream_want(stream);
    if (rc >= 0)
        return HG_PENDING;
    stream->is_securing = false;
    return rc;
}

void hg_stream_tls_end(struct hg_stream *stream, int err)
{
    stream->is_securing = false;
    hg_stream_pause(stream);
    stream->calls->secured(stream, err);
}

int hg_stream_tls_state(struct hg_stream *stream)
{
    int err = hg_tls_state(stream->tls);
    return err < 0 ? fail_tls(stream, err) : HG_OK;
}

/* Tickets may have come that the loop has not been told of. */
bool hg_stream_tls_is_quiet(struct hg_stream *stream, int fd)
{
    uv_buf_t room = hg_stream_tls_room();

    for (unsigned i = 0; i < DRAINS_MAX; i++) {
        ssize_t count = recv(fd, room.base, room.len, MSG_DONTWAIT);
        if (count < 0)
            return errno == EAGAIN || errno == EINTR;
        if (count == 0 || hg_tls_feed(stream->tls, hg_bytes(room.base, (size_t)count)) < 0 ||
            read_in(stream) < 0 || hg_stream_bytes(stream).len > 0)
            return false;
    }
    return false;
}

void hg_stream_tls_shutdown(struct hg_stream *stream)
{
    if (stream->is_securing || stream->writing != NULL || hg_tls_state(stream->tls) == HG_EPROTO)
        return;
    hg_tls_shutdown(stream->tls);
    struct hg_bytes output = hg_tls_output(stream->tls);
    uv_buf_t piece = uv_buf_init((char *)output.data, (unsigned)output.len);
    if (output.len > 0)
        uv_try_write(&stream->uv.stream, &piece, 1); /* if it can be said at once */
}

void hg_stream_tls_finish(struct hg_stream *stream)
{
    drop_rest(stream);
    hg_tls_destroy(stream->tls);
    stream->tls = NULL;
}
