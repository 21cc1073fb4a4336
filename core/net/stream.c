#include "net/stream_impl.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "base/alloc.h"
#include "net/address.h"

/* Room that is offered to the kernel for one read. */
#define READ_BYTES_MIN 4096
#define READ_BYTES_MAX 65536
/* An empty buffer larger than this is given back. */
#define KEPT_BYTES_MAX 16384

struct hg_stream_write {
    uv_write_t request;
    struct hg_stream *stream;
    size_t len;
    char data[];
};

static void try_next(struct hg_stream *stream);

void hg_stream_init(struct hg_stream *stream, struct hg_loop *loop, size_t in_max,
                    struct hg_stream_budget *budget, const struct hg_stream_calls *calls)
{
    *stream = (struct hg_stream){.loop = loop, .budget = budget, .calls = calls, .in_max = in_max};
    hg_buf_init(&stream->in, in_max);
}

int hg_stream_fail(struct hg_stream *stream, int uv_error)
{
    stream->error = uv_error == UV_EOF ? "closed" : uv_strerror(uv_error);
    return hg_err_from_uv(uv_error);
}

int hg_stream_fail_budget(struct hg_stream *stream)
{
    stream->error = "too much data in sockets";
    return HG_ELIMIT;
}

bool hg_stream_has_budget(const struct hg_stream *stream)
{
    return stream->budget->used_bytes < stream->budget->max_bytes;
}

void hg_stream_account(struct hg_stream *stream)
{
    stream->budget->used_bytes += stream->in.capacity - stream->held_bytes;
    stream->held_bytes = stream->in.capacity;
}

static void finish_if_done(struct hg_stream *stream)
{
    if (stream->has_handle)
        return;
    hg_free(stream->addresses);
    hg_stream_tls_finish(stream);
    hg_buf_finish(&stream->in);
    hg_stream_account(stream);
    stream->calls->closed(stream);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct hg_stream *stream = handle->data;

    stream->has_handle = false;
    if (stream->is_closing)
        finish_if_done(stream);
    else
        try_next(stream);
}

static bool has_next(const struct hg_stream *stream)
{
    return stream->next_address < stream->addresses_len;
}

static void on_connect(uv_connect_t *request, int status)
{
    struct hg_stream *stream = hg_container_of(request, struct hg_stream, connect);

    if (stream->is_closing)
        return;
    if (status == 0) {
        if (!stream->is_pipe)
            uv_tcp_nodelay(&stream->uv.tcp, 1);
        hg_free(stream->addresses);
        stream->addresses = NULL;
        stream->calls->connected(stream, HG_OK);
        return;
    }
    int err = hg_stream_fail(stream, status);
    if (has_next(stream))
        uv_close(&stream->uv.handle, on_handle_closed);
    else
        stream->calls->connected(stream, err);
}

static int connect_tcp(struct hg_stream *stream, const struct sockaddr *address)
{
    int rc = uv_tcp_init(&stream->loop->uv, &stream->uv.tcp);
    if (rc < 0)
        return rc;
    stream->has_handle = true;
    stream->uv.handle.data = stream;
    return uv_tcp_connect(&stream->connect, &stream->uv.tcp, address, on_connect);
}

static void try_next(struct hg_stream *stream)
{
    const char *text = stream->addresses + stream->next_address;
    struct sockaddr_storage address;

    stream->next_address += strlen(text) + 1;
    int rc = hg_address_numeric(text, stream->port, &address)
                 ? connect_tcp(stream, (struct sockaddr *)&address)
                 : UV_EINVAL;
    if (rc == 0)
        return;
    int err = hg_stream_fail(stream, rc);
    if (!has_next(stream))
        stream->calls->connected(stream, err);
    else if (stream->has_handle)
        uv_close(&stream->uv.handle, on_handle_closed);
    else
        try_next(stream);
}

static void on_resolved(struct hg_dns_waiter *waiter, int err, struct hg_bytes found,
                        const char *error)
{
    struct hg_stream *stream = hg_container_of(waiter, struct hg_stream, resolving);

    if (err < 0) {
        stream->is_unknown = true;
        stream->error = error;
        stream->calls->connected(stream, err);
        return;
    }
    stream->addresses = hg_strndup(found.data, found.len);
    stream->addresses_len = found.len;
    if (stream->addresses == NULL)
        stream->calls->connected(stream, hg_stream_fail(stream, UV_ENOMEM));
    else
        try_next(stream);
}

int hg_stream_connect(struct hg_stream *stream, const char *host, uint16_t port)
{
    struct sockaddr_storage address;

    if (hg_address_numeric(host, port, &address)) {
        int rc = connect_tcp(stream, (struct sockaddr *)&address);
        return rc < 0 ? hg_stream_fail(stream, rc) : HG_PENDING;
    }
    stream->port = port;
    return hg_dns_resolve_host(stream->loop, host, &stream->resolving, on_resolved, &stream->error);
}

int hg_stream_connect_path(struct hg_stream *stream, const char *path)
{
    if (strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
        return hg_stream_fail(stream, UV_ENAMETOOLONG);
    int rc = uv_pipe_init(&stream->loop->uv, &stream->uv.pipe, 0);
    if (rc < 0)
        return hg_stream_fail(stream, rc);
    stream->has_handle = stream->is_pipe = true;
    stream->uv.handle.data = stream;
    uv_pipe_connect(&stream->connect, &stream->uv.pipe, path, on_connect);
    return HG_PENDING;
}

static void on_write(uv_write_t *request, int status)
{
    struct hg_stream_write *write = hg_container_of(request, struct hg_stream_write, request);
    struct hg_stream *stream = write->stream;

    stream->budget->used_bytes -= write->len;
    hg_free(write);
    stream->writing = NULL;
    if (stream->is_closing)
        return;
    int err = status < 0 ? hg_stream_fail(stream, status) : HG_OK;
    if (err == HG_OK && stream->tls != NULL)
        err = hg_stream_tls_pump(stream);
    if (err == HG_PENDING || !stream->is_sending) /* of a handshake: reading will tell */
        return;
    stream->is_sending = false;
    stream->calls->written(stream, err);
}

int hg_stream_send(struct hg_stream *stream, struct hg_bytes data)
{
    uv_buf_t piece = uv_buf_init((char *)data.data, (unsigned)data.len);
    int sent = uv_try_write(&stream->uv.stream, &piece, 1);
    if (sent < 0 && sent != UV_EAGAIN)
        return hg_stream_fail(stream, sent);
    if (sent < 0)
        sent = 0;
    size_t left = data.len - (size_t)sent;
    if (left == 0)
        return HG_OK;
    if (!hg_stream_has_budget(stream))
        return hg_stream_fail_budget(stream);
    struct hg_stream_write *write = hg_malloc(sizeof(*write) + left);
    if (write == NULL)
        return hg_stream_fail(stream, UV_ENOMEM);
    write->stream = stream;
    write->len = left;
    memcpy(write->data, data.data + sent, left);
    piece = uv_buf_init(write->data, (unsigned)left);
    int rc = uv_write(&write->request, &stream->uv.stream, &piece, 1, on_write);
    if (rc < 0) {
        hg_free(write);
        return hg_stream_fail(stream, rc);
    }
    stream->writing = write;
    stream->budget->used_bytes += left;
    return HG_PENDING;
}

int hg_stream_write(struct hg_stream *stream, struct hg_bytes data)
{
    if (data.len == 0)
        return HG_OK;
    if (data.len > UINT32_MAX / 2)
        return hg_stream_fail(stream, UV_E2BIG);
    int rc = stream->tls != NULL ? hg_stream_tls_write(stream, data) : hg_stream_send(stream, data);
    stream->is_sending = rc == HG_PENDING;
    return rc;
}

/* The front that was taken goes, then there is room as far as the maximum allows. */
static void on_room(uv_handle_t *handle, size_t suggested, uv_buf_t *out_room)
{
    struct hg_stream *stream = handle->data;
    struct hg_buf *in = &stream->in;
    (void)suggested;

    *out_room = uv_buf_init(NULL, 0);
    hg_buf_consume(in, stream->taken);
    stream->taken = 0;
    size_t room = in->len < READ_BYTES_MIN   ? READ_BYTES_MIN
                  : in->len > READ_BYTES_MAX ? READ_BYTES_MAX
                                             : in->len;
    if (in->len >= stream->in_max)
        room = 0;
    else if (room > stream->in_max - in->len)
        room = stream->in_max - in->len;
    bool grows = room > in->capacity - in->len;
    if (room == 0 || (grows && !hg_stream_has_budget(stream)) || hg_buf_reserve(in, room) < 0)
        return;
    *out_room = stream->tls != NULL ? hg_stream_tls_room()
                                    : uv_buf_init(in->data + in->len, (unsigned)room);
    hg_stream_account(stream);
}

static void on_read(uv_stream_t *handle, ssize_t count, const uv_buf_t *room)
{
    struct hg_stream *stream = handle->data;

    if (count > 0 && stream->tls != NULL) {
        hg_stream_tls_arrived(stream, hg_bytes(room->base, (size_t)count));
    } else if (count > 0) {
        stream->in.len += (size_t)count;
        stream->calls->arrived(stream, HG_OK);
    } else if (count < 0) {
        uv_read_stop(handle);
        int err = hg_stream_fail(stream, (int)count);
        if (count == UV_EOF)
            err = stream->tls == NULL ? HG_ECLOSED : HG_EPEER; /* TLS would have said so */
        if (count == UV_ENOBUFS) {
            err = hg_stream_fail(stream, UV_ENOMEM);
            if (stream->in.len >= stream->in_max) {
                stream->error = "too large";
                err = HG_ETOOBIG;
            } else if (!hg_stream_has_budget(stream)) {
                err = hg_stream_fail_budget(stream);
            }
        }
        if (stream->is_securing)
            hg_stream_tls_end(stream, err);
        else
            stream->calls->arrived(stream, err);
    }
}

int hg_stream_want(struct hg_stream *stream)
{
    if (stream->tls != NULL && !stream->is_securing) {
        int err = hg_stream_tls_state(stream);
        if (err < 0)
            return err;
    }
    int rc = uv_read_start(&stream->uv.stream, on_room, on_read);
    stream->is_wanted = true;
    return rc < 0 && rc != UV_EALREADY ? hg_stream_fail(stream, rc) : HG_OK;
}

void hg_stream_pause(struct hg_stream *stream)
{
    stream->is_wanted = false;
    uv_read_stop(&stream->uv.stream);
}

bool hg_stream_is_quiet(struct hg_stream *stream)
{
    uv_os_fd_t fd;
    char byte;

    if (uv_fileno(&stream->uv.handle, &fd) < 0)
        return false;
    if (stream->tls != NULL)
        return hg_stream_tls_is_quiet(stream, fd);
    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && (errno == EAGAIN || errno == EINTR);
}

struct hg_bytes hg_stream_bytes(const struct hg_stream *stream)
{
    if (stream->in.len == stream->taken)
        return HG_BYTES_NONE;
    return hg_bytes(stream->in.data + stream->taken, stream->in.len - stream->taken);
}

void hg_stream_take(struct hg_stream *stream, size_t count)
{
    stream->taken += count;
    if (stream->taken < stream->in.len)
        return;
    stream->taken = 0;
    if (stream->in.capacity > KEPT_BYTES_MAX)
        hg_buf_finish(&stream->in);
    else
        hg_buf_clear(&stream->in);
    hg_stream_account(stream);
}

void hg_stream_close(struct hg_stream *stream)
{
    if (stream->is_closing)
        return;
    stream->is_closing = true;
    if (stream->tls != NULL)
        hg_stream_tls_shutdown(stream);
    hg_dns_cancel(&stream->resolving);
    if (stream->has_handle && !uv_is_closing(&stream->uv.handle))
        uv_close(&stream->uv.handle, on_handle_closed);
    finish_if_done(stream);
}
