#include <assert.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/hash.h"
#include "wire/grpc.h"
#include "wire/http2_client_impl.h"
#include "wire/http2_head.h"
#include "wire/http2_impl.h"

#define WINDOW_BYTES      (1 << 20) /* of a stream */
#define CONNECTION_WINDOW (1 << 24)
#define HEAD_SLACK                                                                                 \
    65536 /* bytes of a header list beyond the maximum: then the connection is closed */
#define CONTROL_FRAMES_MAX 1000 /* acknowledgements of ours that the server has not taken */
#define LATE_SHARE         4 /* a check that comes this share of the time-out too late judges nothing */

/* --- calls --- */

static struct hg_http2_call *call_of(struct hg_http2_client *client, int32_t id)
{
    return nghttp2_session_get_stream_user_data(client->session, id);
}

void hg_http2_call_free(struct hg_http2_call *call)
{
    if (call->client != NULL)
        call->client->call_count--;
    hg_list_remove(&call->link);
    hg_list_remove(&call->arrived);
    hg_buf_finish(&call->request_body);
    hg_buf_finish(&call->headers);
    hg_buf_finish(&call->body);
    hg_buf_finish(&call->trailers);
    hg_free(call);
}

static void call_end(struct hg_http2_call *call)
{
    struct hg_http2_client *client = call->client;
    if (call->is_canceled) {
        hg_http2_call_free(call);
        return;
    }
    client->call_count--;
    call->client = NULL;
    hg_list_remove(&call->link);
    hg_list_push_back(&client->ended, &call->link);
}

/* What it is about is decided: the rest of its stream is not wanted. */
static int call_fail(struct hg_http2_call *call, int err, const char *text)
{
    call->err = err;
    call->err_text = text;
    hg_buf_finish(&call->body);
    return nghttp2_submit_rst_stream(call->client->session, NGHTTP2_FLAG_NONE, call->id,
                                     NGHTTP2_CANCEL);
}

/* --- what comes --- */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct hg_http2_call *call = call_of(ctx, frame->hd.stream_id);
    (void)session;
    if (call == NULL)
        return 0;
    call->list_bytes = 0;
    if (!call->has_head) { /* an interim answer came before */
        hg_buf_clear(&call->headers);
        call->status = 0;
    }
    return 0;
}

static int add_line(struct hg_buf *lines, struct hg_bytes name, struct hg_bytes value)
{
    int err = hg_buf_append_bytes(lines, name);
    if (err == HG_OK)
        err = hg_buf_append(lines, ": ", 2);
    if (err == HG_OK)
        err = hg_buf_append_bytes(lines, value);
    return err == HG_OK ? hg_buf_append(lines, "\r\n", 2) : err;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name_data,
                     size_t name_len, const uint8_t *value_data, size_t value_len, uint8_t flags,
                     void *ctx)
{
    struct hg_http2_client *client = ctx;
    struct hg_http2_call *call = call_of(client, frame->hd.stream_id);
    struct hg_bytes name = hg_bytes(name_data, name_len), value = hg_bytes(value_data, value_len);
    unsigned long long status;
    (void)session;
    (void)flags;

    if (call == NULL)
        return 0;
    call->list_bytes += name_len + value_len + HG_HTTP2_FIELD_COST;
    if (call->list_bytes > HG_HTTP2_ANSWER_HEAD_MAX + HEAD_SLACK) {
        client->is_flooded = true;
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    if (call->err != HG_OK || call->is_canceled)
        return 0;
    if (call->list_bytes > HG_HTTP2_ANSWER_HEAD_MAX)
        return call_fail(call, HG_ETOOBIG, "the answer's fields are too large");
    if (hg_bytes_eq(name, HG_BYTES(":status"))) {
        call->status = hg_bytes_to_u64(value, &status) && status <= 999 ? (int)status : 0;
        return 0;
    }
    int err = add_line(call->has_head ? &call->trailers : &call->headers, name, value);
    return err < 0 ? call_fail(call, HG_ENOMEM, hg_err_text(HG_ENOMEM)) : 0;
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct hg_http2_client *client = ctx;
    (void)session;

    switch (frame->hd.type) {
    case NGHTTP2_SETTINGS:
        client->is_ready |= (frame->hd.flags & NGHTTP2_FLAG_ACK) == 0;
        return 0;
    case NGHTTP2_PING:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0)
            client->is_pinging = false;
        return 0;
    case NGHTTP2_HEADERS:
    case NGHTTP2_DATA:
        break;
    default:
        return 0;
    }
    struct hg_http2_call *call = call_of(client, frame->hd.stream_id);
    if (call == NULL)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && call->status >= 200)
        call->has_head = true;
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0)
        call->is_whole = true;
    return 0;
}

/* Nothing that may follow could make one message of at most body_max of it. */
static const char *hopeless(const struct hg_http2_call *call, int *out_err)
{
    struct hg_grpc_prefix prefix;
    int rc = hg_grpc_prefix_read(hg_buf_bytes(&call->body), &prefix);
    *out_err = HG_EPROTO;
    if (rc == HG_PENDING)
        return NULL;
    if (rc < 0)
        return "the answer is no gRPC message";
    if (prefix.is_compressed)
        return "the answer is compressed";
    if (prefix.len > call->body_max) {
        *out_err = HG_ETOOBIG;
        return "the answer is too large";
    }
    return call->body.len - HG_GRPC_PREFIX > prefix.len ? "the answer is more than one message"
                                                        : NULL;
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                         size_t len, void *ctx)
{
    struct hg_http2_client *client = ctx;
    struct hg_http2_call *call = call_of(client, id);
    (void)session;
    (void)flags;

    if (call == NULL || call->err != HG_OK || call->is_canceled)
        return 0;
    bool is_message = call->is_grpc && call->status == 200;
    size_t max = call->body_max + (is_message ? HG_GRPC_PREFIX + 1 : 0);
    if (len > max - call->body.len) {
        if (!is_message)
            return call_fail(call, HG_ETOOBIG, "the answer is too large");
        len = max - call->body.len; /* with one byte too many it is hopeless */
    }
    size_t seen = call->body.len < HG_GRPC_PREFIX ? HG_GRPC_PREFIX - call->body.len : 0;
    size_t first =
        is_message && len > seen ? seen : len; /* room for the rest once the prefix is known */
    int err = hg_buf_append(&call->body, data, first);
    const char *why = err == HG_OK && is_message ? hopeless(call, &err) : NULL;
    if (why != NULL)
        return call_fail(call, err, why);
    if (err != HG_ENOMEM)
        err = hg_buf_append(&call->body, data + first, len - first);
    if (err < 0)
        return call_fail(call, HG_ENOMEM, hg_err_text(HG_ENOMEM));
    why = is_message ? hopeless(call, &err) : NULL;
    if (why != NULL)
        return call_fail(call, err, why);
    if (call->is_streamed && call->status == 200 && hg_list_is_empty(&call->arrived))
        hg_list_push_back(&client->arrived, &call->arrived);
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *ctx)
{
    struct hg_http2_call *call = call_of(ctx, id);
    (void)session;

    if (call == NULL)
        return 0;
    nghttp2_session_set_stream_user_data(session, id, NULL);
    if (call->err == HG_OK && !call->is_whole) {
        call->is_unprocessed =
            !call->is_sent || (code == NGHTTP2_REFUSED_STREAM && !call->has_head);
        call->is_reset = call->is_sent;
        call->err = HG_EPROTO;
        call->err_text = nghttp2_http2_strerror(code);
    } else if (call->err == HG_OK && !call->has_head) {
        call->err = HG_EPROTO;
        call->err_text = "an answer without a status";
    }
    call_end(call);
    return 0;
}

/* --- what leaves --- */

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    (void)session;
    if (frame->hd.type == NGHTTP2_HEADERS) {
        struct hg_http2_call *call = call_of(ctx, frame->hd.stream_id);
        if (call != NULL)
            call->is_sent = true;
    }
    return 0;
}

static ssize_t on_body_wanted(nghttp2_session *session, int32_t id, uint8_t *room, size_t size,
                              uint32_t *out_flags, nghttp2_data_source *source, void *ctx)
{
    struct hg_http2_call *call = source->ptr;
    size_t left = call->request_body.len - call->request_sent;
    size_t len = left < size ? left : size;
    (void)session, (void)id, (void)ctx;

    memcpy(room, call->request_body.data + call->request_sent, len);
    call->request_sent += len;
    if (len == left)
        *out_flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)len;
}

/* --- the connection --- */

static int session_create(struct hg_http2_client *client)
{
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = NULL;
    int rc = nghttp2_session_callbacks_new(&callbacks);
    if (rc == 0)
        rc = nghttp2_option_new(&option);
    if (rc == 0) {
        nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
        nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
        nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
        nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
        nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
        nghttp2_option_set_max_outbound_ack(option, CONTROL_FRAMES_MAX);
        nghttp2_option_set_peer_max_concurrent_streams(option, HG_HTTP2_CALLS_MAX);
        rc = nghttp2_session_client_new3(&client->session, callbacks, client, option,
                                         &hg_http2_memory);
    }
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    return rc;
}

int hg_http2_client_create(uint64_t timeout_ms, uint64_t now_ms,
                           struct hg_http2_client **out_client)
{
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW_BYTES},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HG_HTTP2_ANSWER_HEAD_MAX},
    };
    struct hg_http2_client *client = hg_calloc(1, sizeof(*client));
    if (client == NULL)
        return HG_ENOMEM;
    hg_list_init(&client->calls);
    hg_list_init(&client->arrived);
    hg_list_init(&client->ended);
    client->timeout_ms = timeout_ms;
    client->heard_ms = client->waits_ms = now_ms;
    client->check_ms = HG_FOREVER;
    if (session_create(client) != 0 ||
        nghttp2_submit_settings(client->session, NGHTTP2_FLAG_NONE, settings, HG_COUNT(settings)) !=
            0 ||
        nghttp2_session_set_local_window_size(client->session, NGHTTP2_FLAG_NONE, 0,
                                              CONNECTION_WINDOW) != 0) {
        hg_http2_client_destroy(client);
        return HG_ENOMEM;
    }
    *out_client = client;
    return HG_OK;
}

static void free_all(struct hg_list *calls)
{
    hg_list_for_each_safe(link, calls)
        hg_http2_call_free(hg_container_of(link, struct hg_http2_call, link));
}

void hg_http2_client_destroy(struct hg_http2_client *client)
{
    if (client == NULL)
        return;
    free_all(&client->calls);
    free_all(&client->ended);
    nghttp2_session_del(client->session);
    hg_free(client);
}

static int err_from_nghttp2(ssize_t rc)
{
    return rc >= 0 ? HG_OK : rc == NGHTTP2_ERR_NOMEM ? HG_ENOMEM : HG_EPROTO;
}

int hg_http2_client_feed(struct hg_http2_client *client, struct hg_bytes input, uint64_t now_ms)
{
    client->heard_ms = now_ms;
    if (!client->is_ready && input.len > 0 && input.data[0] == 'H')
        return HG_EPROTO; /* "HTTP/1.1 400": as a frame it would be 4 MiB long */
    ssize_t rc = nghttp2_session_mem_recv(client->session, (const uint8_t *)input.data, input.len);
    return err_from_nghttp2(rc);
}

int hg_http2_client_pull(struct hg_http2_client *client, struct hg_bytes *out_bytes)
{
    const uint8_t *data;
    ssize_t len = nghttp2_session_mem_send(client->session, &data);
    *out_bytes = len > 0 ? hg_bytes(data, (size_t)len) : HG_BYTES_NONE;
    return err_from_nghttp2(len);
}

bool hg_http2_client_is_ready(const struct hg_http2_client *client)
{
    return client->is_ready;
}

size_t hg_http2_client_calls_max(const struct hg_http2_client *client)
{
    size_t max = nghttp2_session_get_remote_settings(client->session,
                                                     NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    return max < HG_HTTP2_CALLS_MAX ? max : HG_HTTP2_CALLS_MAX;
}

bool hg_http2_client_is_spent(const struct hg_http2_client *client)
{
    return !nghttp2_session_check_request_allowed(client->session) ||
           hg_http2_client_calls_max(client) == 0;
}

bool hg_http2_client_is_over(const struct hg_http2_client *client)
{
    return !nghttp2_session_want_write(client->session) &&
           (!nghttp2_session_want_read(client->session) ||
            (hg_http2_client_is_spent(client) && client->call_count == 0));
}

size_t hg_http2_client_room(const struct hg_http2_client *client)
{
    if (!client->is_ready || hg_http2_client_is_spent(client))
        return 0;
    size_t max = hg_http2_client_calls_max(client);
    return max > client->call_count ? max - client->call_count : 0;
}

size_t hg_http2_client_call_count(const struct hg_http2_client *client)
{
    return client->call_count;
}

/* --- requests --- */

#define NV(name_text, value_bytes)                                                                 \
    (nghttp2_nv)                                                                                   \
    {                                                                                              \
        (uint8_t *)(uintptr_t)(name_text), (uint8_t *)(uintptr_t)(value_bytes).data,               \
            strlen(name_text), (value_bytes).len, NGHTTP2_NV_FLAG_NONE                             \
    }

/* Names in lower case, as HTTP/2 wants them, in `names`. Returns how many, or an error. */
static int read_headers(const char *const *headers, struct hg_buf *names, nghttp2_nv *nvs)
{
    int count = 0;
    size_t at = 0;

    for (; headers != NULL && headers[count] != NULL; count++) {
        const char *colon = strchr(headers[count], ':');
        if (colon == NULL || count == HG_HTTP2_REQUEST_FIELDS)
            return HG_EINVAL;
        if (hg_buf_append(names, headers[count], (size_t)(colon - headers[count])) < 0)
            return HG_ENOMEM;
    }
    for (size_t i = 0; i < names->len; i++) {
        if (names->data[i] >= 'A' && names->data[i] <= 'Z')
            names->data[i] = (char)(names->data[i] - 'A' + 'a');
    }
    for (int i = 0; i < count; i++) {
        const char *colon = strchr(headers[i], ':');
        struct hg_bytes value = hg_bytes_trim(hg_bytes_str(colon + 1));
        size_t name_len = (size_t)(colon - headers[i]);
        nvs[i] = (nghttp2_nv){(uint8_t *)names->data + at, (uint8_t *)(uintptr_t)value.data,
                              name_len, value.len, NGHTTP2_NV_FLAG_NONE};
        at += name_len;
    }
    return count;
}

static int submit(struct hg_http2_call *call, const struct hg_http2_request *request)
{
    nghttp2_nv nvs[4 + HG_HTTP2_REQUEST_FIELDS] = {
        NV(":method", request->method),
        NV(":scheme", HG_BYTES("http")),
        NV(":authority", request->authority),
        NV(":path", request->path),
    };
    nghttp2_data_provider provider = {.source = {.ptr = call}, .read_callback = on_body_wanted};
    struct hg_buf names;
    hg_buf_init(&names, SIZE_MAX);

    int count = read_headers(request->headers, &names, nvs + 4);
    int32_t id = 0;
    if (count >= 0)
        id = nghttp2_submit_request(call->client->session, NULL, nvs, 4 + (size_t)count,
                                    request->body.len > 0 ? &provider : NULL, call);
    hg_buf_finish(&names);
    if (count < 0)
        return count;
    call->id = id;
    return id == NGHTTP2_ERR_STREAM_ID_NOT_AVAILABLE ? HG_ELIMIT : err_from_nghttp2(id);
}

int hg_http2_client_start(struct hg_http2_client *client, const struct hg_http2_request *request,
                          void *user, uint64_t now_ms, struct hg_http2_call **out_call)
{
    if (hg_http2_client_room(client) == 0)
        return HG_ELIMIT;
    struct hg_http2_call *call = hg_calloc(1, sizeof(*call));
    if (call == NULL)
        return HG_ENOMEM;
    call->client = client;
    call->user = user;
    call->body_max = request->body_max;
    call->is_grpc = request->is_grpc;
    call->is_streamed = request->is_streamed;
    hg_list_init(&call->link);
    hg_list_init(&call->arrived);
    hg_buf_init(&call->request_body, SIZE_MAX);
    hg_buf_init(&call->headers, SIZE_MAX);
    hg_buf_init(&call->body, SIZE_MAX);
    hg_buf_init(&call->trailers, SIZE_MAX);
    client->call_count++;
    int err = hg_buf_append_bytes(&call->request_body, request->body);
    if (err == HG_OK)
        err = submit(call, request);
    if (err < 0) {
        hg_http2_call_free(call);
        return err;
    }
    if (client->call_count == 1)
        client->waits_ms = now_ms;
    hg_list_push_back(&client->calls, &call->link);
    *out_call = call;
    return HG_OK;
}

int hg_http2_call_cancel(struct hg_http2_call *call)
{
    if (call->client == NULL) { /* it has ended meanwhile */
        hg_http2_call_free(call);
        return HG_OK;
    }
    call->is_canceled = true;
    hg_list_remove(&call->arrived);
    hg_buf_finish(&call->body);
    return err_from_nghttp2(nghttp2_submit_rst_stream(call->client->session, NGHTTP2_FLAG_NONE,
                                                      call->id, NGHTTP2_CANCEL));
}

void hg_http2_client_lost(struct hg_http2_client *client, int err, const char *text)
{
    hg_list_for_each_safe(link, &client->calls)
    {
        struct hg_http2_call *call = hg_container_of(link, struct hg_http2_call, link);
        if (call->err == HG_OK && !(call->is_whole && call->has_head)) {
            call->err = err;
            call->err_text = text;
            call->is_unprocessed = !call->is_sent;
        }
        nghttp2_session_set_stream_user_data(client->session, call->id, NULL);
        hg_list_remove(&call->arrived); /* it outlives this client */
        call_end(call);
    }
}

struct hg_http2_call *hg_http2_client_pop_arrived(struct hg_http2_client *client)
{
    struct hg_list *link = hg_list_pop_front(&client->arrived);
    return link == NULL ? NULL : hg_container_of(link, struct hg_http2_call, arrived);
}

struct hg_http2_call *hg_http2_client_pop_ended(struct hg_http2_client *client)
{
    struct hg_list *link = hg_list_pop_front(&client->ended);
    return link == NULL ? NULL : hg_container_of(link, struct hg_http2_call, link);
}

/* --- silence --- */

int hg_http2_client_ping(struct hg_http2_client *client, uint64_t now_ms)
{
    if (client->is_pinging)
        return HG_OK;
    client->is_pinging = true;
    client->pinged_ms = now_ms;
    return err_from_nghttp2(nghttp2_submit_ping(client->session, NGHTTP2_FLAG_NONE, NULL));
}

int hg_http2_client_check(struct hg_http2_client *client, uint64_t now_ms, uint64_t *out_next_ms)
{
    uint64_t half_ms = client->timeout_ms / 2, due_ms = client->check_ms;
    /* After a stall of our own, answers may lie unread in the socket: they come first. */
    bool is_late =
        due_ms != HG_FOREVER && now_ms > hg_time_add(due_ms, client->timeout_ms / LATE_SHARE);

    client->check_ms = HG_FOREVER;
    if (client->call_count > 0) {
        uint64_t since_ms =
            client->heard_ms > client->waits_ms ? client->heard_ms : client->waits_ms;
        uint64_t silent_ms = now_ms > since_ms ? now_ms - since_ms : 0;
        bool is_asked = client->is_pinging && client->pinged_ms >= since_ms;
        if (is_asked && !is_late && silent_ms >= client->timeout_ms &&
            now_ms >= client->pinged_ms + half_ms)
            return HG_ETIMEDOUT;
        if (silent_ms >= half_ms) {
            client->is_pinging &= is_asked; /* an older one has had its time */
            int err = hg_http2_client_ping(client, now_ms);
            if (err < 0)
                return err;
            client->check_ms = client->pinged_ms + half_ms;
            if (client->check_ms < since_ms + client->timeout_ms)
                client->check_ms = since_ms + client->timeout_ms;
            if (client->check_ms <= now_ms) /* late */
                client->check_ms = now_ms + client->timeout_ms / 8 + 1;
        } else {
            client->check_ms = since_ms + half_ms;
        }
    }
    *out_next_ms = client->check_ms;
    return HG_OK;
}
