/*
 * bench_uv_responder PORT FILE: answers every request with the bytes of FILE. One thread, one
 * libuv loop.
 */
#include "canned.h"

#include <uv.h>

struct conn {
    uv_tcp_t tcp;
    struct canned_count count;
    char in[64 * 1024];
};

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void on_written(uv_write_t *write, int status)
{
    (void)status;
    free(write);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct conn *conn = handle->data;
    (void)suggested;
    *buf = uv_buf_init(conn->in, sizeof(conn->in));
}

static void answer(struct conn *conn, size_t bytes)
{
    while (bytes > 0) {
        size_t most = canned_len * CANNED_BATCH;
        uv_buf_t buf = uv_buf_init(canned_data, (unsigned)(bytes < most ? bytes : most));
        bytes -= buf.len;
        int sent = uv_try_write((uv_stream_t *)&conn->tcp, &buf, 1);
        if (sent == (int)buf.len)
            continue;
        if (sent > 0) {
            buf.base += sent;
            buf.len -= (size_t)sent;
        } else if (sent != UV_EAGAIN) {
            return; /* the reader closes it */
        }
        uv_write_t *write = malloc(sizeof(*write));
        if (write == NULL || uv_write(write, (uv_stream_t *)&conn->tcp, &buf, 1, on_written) < 0)
            exit(1);
    }
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buf)
{
    struct conn *conn = stream->data;
    if (got < 0)
        uv_close((uv_handle_t *)stream, on_closed);
    else if (got > 0)
        answer(conn, canned_requests(&conn->count, buf->base, (size_t)got) * canned_len);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct conn *conn = calloc(1, sizeof(*conn));
    if (status < 0 || conn == NULL)
        exit(1);
    uv_tcp_init(listener->loop, &conn->tcp);
    conn->tcp.data = conn;
    if (uv_accept(listener, (uv_stream_t *)&conn->tcp) < 0) {
        uv_close((uv_handle_t *)&conn->tcp, on_closed);
        return;
    }
    uv_tcp_nodelay(&conn->tcp, 1);
    uv_read_start((uv_stream_t *)&conn->tcp, on_alloc, on_read);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: bench_uv_responder PORT FILE\n");
        return 2;
    }
    canned_load(argv[2]);
    uv_loop_t *loop = uv_default_loop();
    uv_tcp_t listener;
    struct sockaddr_in address;
    uv_tcp_init(loop, &listener);
    uv_ip4_addr("127.0.0.1", atoi(argv[1]), &address);
    int rc = uv_tcp_bind(&listener, (const struct sockaddr *)&address, 0);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&listener, 4096, on_connection);
    if (rc < 0) {
        fprintf(stderr, "listen: %s\n", uv_strerror(rc));
        return 1;
    }
    return uv_run(loop, UV_RUN_DEFAULT);
}
