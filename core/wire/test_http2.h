/*
 * test_http2 - for tests: a client of HTTP/2 over nghttp2, bytes in and bytes out. Include cmocka.h first.
 */
#ifndef HG_WIRE_TEST_HTTP2_H
#define HG_WIRE_TEST_HTTP2_H

#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"

#define H2_REPLIES_MAX 8192

struct h2_reply {
    int32_t id;
    int status;
    struct hg_buf fields, body; /* fields: "name: value\n", trailers behind them */
    struct hg_bytes request;    /* what is still to be sent */
    bool is_closed;
    bool never_ends; /* its request */
    uint32_t code;
};

struct h2_client {
    nghttp2_session *session;
    struct h2_reply *replies;
    size_t count, closed;
    unsigned goaways, pings;
    int32_t goaway_last;
    uint32_t goaway_code;
};

static inline struct h2_reply *h2_reply_of(struct h2_client *client, int32_t id)
{
    size_t index = (size_t)(id - 1) / 2;
    assert_true(index < client->count);
    return &client->replies[index];
}

static inline int h2_on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                               size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags, void *ctx)
{
    struct h2_reply *reply = h2_reply_of(ctx, frame->hd.stream_id);
    (void)session, (void)flags;
    if (name_len == 7 && memcmp(name, ":status", 7) == 0)
        reply->status = atoi((const char *)value);
    else
        hg_buf_printf(&reply->fields, "%.*s: %.*s\n", (int)name_len, (const char *)name, (int)value_len,
                      (const char *)value);
    return 0;
}

static inline int h2_on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t len,
                             void *ctx)
{
    (void)session, (void)flags;
    assert_int_equal(hg_buf_append(&h2_reply_of(ctx, id)->body, data, len), 0);
    return 0;
}

static inline int h2_on_close(nghttp2_session *session, int32_t id, uint32_t code, void *ctx)
{
    struct h2_client *client = ctx;
    struct h2_reply *reply = h2_reply_of(client, id);
    (void)session;
    reply->is_closed = true;
    reply->code = code;
    client->closed++;
    return 0;
}

static inline int h2_on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct h2_client *client = ctx;
    (void)session;
    if (frame->hd.type == NGHTTP2_GOAWAY) {
        client->goaways++;
        client->goaway_last = frame->goaway.last_stream_id;
        client->goaway_code = frame->goaway.error_code;
    }
    client->pings += frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0;
    return 0;
}

static inline ssize_t h2_read(nghttp2_session *session, int32_t id, uint8_t *out, size_t max, uint32_t *flags,
                              nghttp2_data_source *source, void *ctx)
{
    struct h2_reply *reply = h2_reply_of(ctx, id);
    size_t len = reply->request.len < max ? reply->request.len : max;
    (void)session, (void)source;
    if (len == 0 && reply->never_ends)
        return NGHTTP2_ERR_DEFERRED;
    if (len > 0)
        memcpy(out, reply->request.data, len);
    reply->request = hg_bytes(reply->request.data + len, reply->request.len - len);
    if (reply->request.len == 0 && !reply->never_ends)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)len;
}

/* window: of each stream, 0 for the default. */
static inline void h2_client_init(struct h2_client *client, uint32_t window)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    nghttp2_settings_entry entry = {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window};
    *client = (struct h2_client){.replies = calloc(H2_REPLIES_MAX, sizeof(struct h2_reply))};
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_option_new(&option);
    nghttp2_option_set_max_send_header_block_length(option, 1 << 20);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, h2_on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, h2_on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, h2_on_close);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, h2_on_frame);
    assert_int_equal(nghttp2_session_client_new2(&client->session, callbacks, client, option), 0);
    nghttp2_submit_settings(client->session, 0, &entry, window == 0 ? 0 : 1);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
}

static inline void h2_client_finish(struct h2_client *client)
{
    nghttp2_session_del(client->session);
    for (size_t i = 0; i < client->count; i++) {
        hg_buf_finish(&client->replies[i].fields);
        hg_buf_finish(&client->replies[i].body);
    }
    free(client->replies);
}

#define H2_NV(name, value)                                                                         \
    {                                                                                              \
        (uint8_t *)(uintptr_t)(name), (uint8_t *)(uintptr_t)(value), strlen(name), strlen(value), 0 \
    }

/* The body is borrowed until it was sent. */
static inline struct h2_reply *h2_ask_fields(struct h2_client *client, const nghttp2_nv *fields, size_t count,
                                             struct hg_bytes body)
{
    nghttp2_data_provider provider = {.read_callback = h2_read};
    assert_true(client->count < H2_REPLIES_MAX);
    struct h2_reply *reply = &client->replies[client->count++];
    hg_buf_init(&reply->fields, 1 << 20);
    hg_buf_init(&reply->body, (size_t)1 << 30);
    reply->request = body;
    reply->id = nghttp2_submit_request(client->session, NULL, fields, count, body.data == NULL ? NULL : &provider, NULL);
    assert_int_equal(reply->id, (int32_t)(2 * client->count - 1));
    return reply;
}

/* extra: NULL, or one more field. */
static inline struct h2_reply *h2_ask(struct h2_client *client, const char *method, const char *path,
                                      const char *extra_name, const char *extra_value, struct hg_bytes body)
{
    const nghttp2_nv fields[] = {H2_NV(":method", method), H2_NV(":scheme", "http"), H2_NV(":path", path),
                                 H2_NV(":authority", "test"),
                                 H2_NV(extra_name == NULL ? "" : extra_name, extra_name == NULL ? "" : extra_value)};
    return h2_ask_fields(client, fields, extra_name == NULL ? 4 : 5, body);
}

static inline void h2_client_feed(struct h2_client *client, struct hg_bytes bytes)
{
    assert_int_equal(nghttp2_session_mem_recv(client->session, (const uint8_t *)bytes.data, bytes.len), bytes.len);
}

static inline struct hg_bytes h2_client_pull(struct h2_client *client)
{
    const uint8_t *data;
    ssize_t len = nghttp2_session_mem_send(client->session, &data);
    assert_true(len >= 0);
    return hg_bytes(data, (size_t)len);
}

static inline bool h2_has_field(const struct h2_reply *reply, const char *line)
{
    return reply->fields.len > 0 && memmem(reply->fields.data, reply->fields.len, line, strlen(line)) != NULL;
}

#endif
