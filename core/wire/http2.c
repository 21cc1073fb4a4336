#include "wire/http2.h"

#include <assert.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/list.h"
#include "wire/grpc.h"
#include "wire/http2_impl.h"
#include "wire/reply.h"

#define LIST_SLACK                                                                                 \
    65536 /* bytes of a header list beyond the maximum: then the connection is closed */
#define WINDOW_BYTES      (1 << 18) /* of a stream; what a request may have under way */
#define CONNECTION_WINDOW (1 << 22)

/* --- streams --- */

static struct hg_http2_impl_stream *stream_of(const struct hg_http2 *http2, int32_t id)
{
    return nghttp2_session_get_stream_user_data(http2->session, id);
}

static void body_give_back(struct hg_http2_impl_stream *stream)
{
    stream->common.http2->received -= stream->body.len;
    hg_buf_finish(&stream->body);
}

static void stream_free(struct hg_http2_impl_stream *stream)
{
    struct hg_http2 *http2 = stream->common.http2;
    hg_list_remove(&stream->link);
    http2->stream_count--;
    http2->held -= stream->held;
    body_give_back(stream);
    hg_http2_head_finish(&stream->head);
    hg_buf_finish(&stream->out);
    hg_buf_finish(&stream->trailers);
    hg_value_unref(stream->value);
    hg_free(stream);
}

static void tell(struct hg_http2 *http2, enum hg_http2_event event)
{
    http2->ops.event(http2->ctx, event);
}

static int reset(struct hg_http2_impl_stream *stream, uint32_t code)
{
    stream->is_received = true; /* nothing that still comes is of use */
    body_give_back(stream);
    return nghttp2_submit_rst_stream(stream->common.http2->session, NGHTTP2_FLAG_NONE, stream->id,
                                     code);
}

/* --- requests --- */

/* What is wrong with a request is said in the client's own words. */
static int answer_fault(struct hg_http2_impl_stream *stream, int status, const char *text)
{
    char body[160], trailers[64];
    struct hg_http2_answer answer = {
        .status = status,
        .headers = HG_BYTES("content-type: text/plain; charset=utf-8\r\n"),
        .body = {body, (size_t)snprintf(body, sizeof(body), "%s\n", text)},
    };
    if (stream->head.is_grpc) {
        snprintf(trailers, sizeof(trailers), "grpc-status: %d\r\n", hg_grpc_code_from_http(status));
        answer.status = 200;
        answer.headers = HG_BYTES("content-type: application/grpc\r\n");
        answer.trailers = hg_bytes_str(trailers);
        answer.body = HG_BYTES_NONE;
        answer.no_length = true;
    }
    return hg_http2_answer(&stream->common, &answer);
}

static int hand_over(struct hg_http2_impl_stream *stream)
{
    struct hg_http2 *http2 = stream->common.http2;
    struct hg_field fields[HG_FIELDS_MAX];
    struct hg_http1_request request;
    const char *text = NULL;
    int status = 0, rc = 0;

    stream->is_received = true;
    if (hg_http2_head_request(&stream->head, hg_buf_bytes(&stream->body), fields, &request, &status,
                              &text)) {
        http2->ops.request(http2->ctx, &stream->common, &request);
    } else {
        tell(http2, HG_HTTP2_BAD_REQUEST);
        rc = answer_fault(stream, status, text);
    }
    body_give_back(stream);
    hg_http2_head_finish(&stream->head);
    return rc < 0 ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct hg_http2 *http2 = ctx;

    http2->list_bytes = 0;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    struct hg_http2_impl_stream *stream = hg_calloc(1, sizeof(*stream));
    if (stream == NULL)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    stream->common.http2 = http2;
    stream->id = frame->hd.stream_id;
    stream->begun_ms = stream->progress_ms = http2->now_ms;
    hg_http2_head_init(&stream->head, http2->limits.http1);
    hg_buf_init(&stream->body, SIZE_MAX);
    hg_buf_init(&stream->out, SIZE_MAX);
    hg_buf_init(&stream->trailers, SIZE_MAX);
    hg_list_push_back(&http2->streams, &stream->link);
    http2->stream_count++;
    return nghttp2_session_set_stream_user_data(session, stream->id, stream);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *ctx)
{
    struct hg_http2 *http2 = ctx;
    struct hg_http2_impl_stream *stream = stream_of(http2, frame->hd.stream_id);
    (void)session;
    (void)flags;

    http2->list_bytes += name_len + value_len + HG_HTTP2_FIELD_COST;
    if (http2->list_bytes > http2->limits.http1->head + LIST_SLACK) {
        hg_http2_flooded(http2);
        return NGHTTP2_ERR_PAUSE;
    }
    if (stream == NULL || stream->is_received || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0; /* trailers are dropped */
    int err =
        hg_http2_head_add(&stream->head, hg_bytes(name, name_len), hg_bytes(value, value_len));
    return err < 0 ? NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE : 0;
}

/* By itself nghttp2 would pass over such a field. */
static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame,
                             const uint8_t *name, size_t name_len, const uint8_t *value,
                             size_t value_len, uint8_t flags, void *ctx)
{
    (void)session, (void)frame, (void)name, (void)name_len, (void)value, (void)value_len;
    (void)flags;
    tell(ctx, HG_HTTP2_BAD_REQUEST);
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

/* The head is whole and a body follows. */
static int on_head(struct hg_http2_impl_stream *stream)
{
    struct hg_http2 *http2 = stream->common.http2;

    if (!stream->head.is_grpc && stream->head.content_length > http2->limits.http1->body)
        stream->head.status = 413; /* a gRPC message says its length itself */
    if (stream->head.status != 0)
        return hand_over(stream);
    if (!stream->head.is_expecting)
        return 0;
    const nghttp2_nv status = {(uint8_t *)(uintptr_t) ":status", (uint8_t *)(uintptr_t) "100", 7, 3,
                               NGHTTP2_NV_FLAG_NONE};
    return nghttp2_submit_headers(http2->session, NGHTTP2_FLAG_NONE, stream->id, NULL, &status, 1,
                                  NULL);
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct hg_http2 *http2 = ctx;
    bool is_last = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    (void)session;

    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    struct hg_http2_impl_stream *stream = stream_of(http2, frame->hd.stream_id);
    if (stream == NULL)
        return 0;
    stream->has_ended |= is_last;
    if (stream->is_received)
        return 0;
    if (is_last)
        return hand_over(stream);
    return frame->hd.type == NGHTTP2_HEADERS ? on_head(stream) : 0;
}

/*
 * Where nothing that may follow could make one message of it: how much of it says so, so that it does not depend on how it came.
 * 0: there is hope.
 */
static size_t hopeless_bytes(const struct hg_http2_impl_stream *stream)
{
    struct hg_grpc_prefix prefix;
    int rc = hg_grpc_prefix_read(hg_buf_bytes(&stream->body), &prefix);
    if (rc != HG_OK)
        return rc < 0 ? 1 : 0;
    if (prefix.is_compressed || prefix.len > stream->common.http2->limits.message)
        return HG_GRPC_PREFIX;
    return stream->body.len - HG_GRPC_PREFIX > prefix.len ? HG_GRPC_PREFIX + prefix.len + 1 : 0;
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                         size_t len, void *ctx)
{
    struct hg_http2 *http2 = ctx;
    struct hg_http2_impl_stream *stream = stream_of(http2, id);
    (void)session;
    (void)flags;

    if (stream == NULL || stream->is_received)
        return 0;
    size_t max = http2->limits.http1->body;
    if (stream->head.is_grpc) { /* with one byte too many it is hopeless */
        max = http2->limits.message + HG_GRPC_PREFIX + 1;
        if (len > max - stream->body.len)
            len = max - stream->body.len;
    } else if (len > max - stream->body.len) {
        stream->head.status = 413;
        return hand_over(stream);
    }
    if (len > http2->limits.received - http2->received) {
        tell(http2, HG_HTTP2_REFUSED);
        return reset(stream, NGHTTP2_REFUSED_STREAM);
    }
    if (hg_buf_append(&stream->body, data, len) < 0)
        return reset(stream, NGHTTP2_INTERNAL_ERROR);
    http2->received += len;
    stream->progress_ms = http2->now_ms;
    size_t hopeless = stream->head.is_grpc ? hopeless_bytes(stream) : 0;
    if (hopeless == 0)
        return 0;
    http2->received -= stream->body.len - hopeless;
    stream->body.len = hopeless;
    return hand_over(stream);
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *ctx)
{
    struct hg_http2 *http2 = ctx;
    struct hg_http2_impl_stream *stream = stream_of(http2, id);
    (void)session;
    (void)code;
    if (stream == NULL)
        return 0;
    if (stream->common.user != NULL)
        http2->ops.closed(http2->ctx, &stream->common);
    stream_free(stream);
    return 0;
}

/* --- what leaves --- */

/* What a client did to its stream, so that we had to end it. */
static bool is_misuse(uint32_t code)
{
    return code == NGHTTP2_PROTOCOL_ERROR || code == NGHTTP2_FLOW_CONTROL_ERROR ||
           code == NGHTTP2_STREAM_CLOSED || code == NGHTTP2_FRAME_SIZE_ERROR ||
           code == NGHTTP2_COMPRESSION_ERROR || code == NGHTTP2_REFUSED_STREAM;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct hg_http2 *http2 = ctx;

    if (frame->hd.type == NGHTTP2_RST_STREAM && is_misuse(frame->rst_stream.error_code)) {
        if (!hg_http2_meter_misuse(&http2->meter, http2->now_ms))
            hg_http2_flooded(http2);
        return 0;
    }
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    hg_http2_meter_earn(&http2->meter);
    struct hg_http2_impl_stream *stream = stream_of(http2, frame->hd.stream_id);
    if (stream == NULL || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0)
        return 0;
    stream->is_sent = true;
    /* Answered before the request was whole: the client need not send the rest. */
    if (stream->has_ended)
        return 0;
    return nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream->id, NGHTTP2_NO_ERROR);
}

void hg_http2_flooded(struct hg_http2 *http2)
{
    if (http2->is_flooded)
        return;
    http2->is_flooded = true;
    tell(http2, HG_HTTP2_FLOODED);
}

/* --- the connection --- */

static void *mem_malloc(size_t size, void *ctx)
{
    (void)ctx;
    return hg_malloc(size);
}

static void mem_free(void *block, void *ctx)
{
    (void)ctx;
    hg_free(block);
}

static void *mem_calloc(size_t count, size_t size, void *ctx)
{
    (void)ctx;
    return hg_calloc(count, size);
}

static void *mem_realloc(void *block, size_t size, void *ctx)
{
    (void)ctx;
    return hg_realloc(block, size);
}

nghttp2_mem hg_http2_memory = {NULL, mem_malloc, mem_free, mem_calloc, mem_realloc};

static int session_create(struct hg_http2 *http2)
{
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = NULL;
    int rc = nghttp2_session_callbacks_new(&callbacks);
    if (rc == 0)
        rc = nghttp2_option_new(&option);
    if (rc == 0) {
        nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
        nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
        nghttp2_session_callbacks_set_on_invalid_header_callback(callbacks, on_invalid_header);
        nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
        nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
        nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
        nghttp2_option_set_no_closed_streams(option, 1);
        nghttp2_option_set_stream_reset_rate_limit(option, HG_HTTP2_RESETS_BURST,
                                                   HG_HTTP2_RESETS_RATE);
        rc =
            nghttp2_session_server_new3(&http2->session, callbacks, http2, option, &hg_http2_memory);
    }
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    return rc;
}

int hg_http2_create(const struct hg_http2_limits *limits, const struct hg_http2_ops *ops, void *ctx,
                    uint64_t now_ms, struct hg_http2 **out_http2)
{
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits->streams},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW_BYTES},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)limits->http1->head},
    };
    struct hg_http2 *http2 = hg_calloc(1, sizeof(*http2));
    if (http2 == NULL)
        return HG_ENOMEM;
    http2->limits = *limits;
    http2->ops = *ops;
    http2->ctx = ctx;
    http2->now_ms = now_ms;
    hg_list_init(&http2->streams);
    hg_http2_meter_init(&http2->meter, now_ms);
    if (session_create(http2) != 0 ||
        nghttp2_submit_settings(http2->session, NGHTTP2_FLAG_NONE, settings, HG_COUNT(settings)) !=
            0 ||
        nghttp2_session_set_local_window_size(http2->session, NGHTTP2_FLAG_NONE, 0,
                                              CONNECTION_WINDOW) != 0) {
        hg_http2_destroy(http2);
        return HG_ENOMEM;
    }
    *out_http2 = http2;
    return HG_OK;
}

void hg_http2_destroy(struct hg_http2 *http2)
{
    if (http2 == NULL)
        return;
    hg_list_for_each_safe(link, &http2->streams)
        stream_free(hg_container_of(link, struct hg_http2_impl_stream, link));
    nghttp2_session_del(http2->session);
    hg_free(http2);
}

static int err_from_nghttp2(ssize_t rc)
{
    return rc >= 0 ? HG_OK : rc == NGHTTP2_ERR_NOMEM ? HG_ENOMEM : HG_EPROTO;
}

/* Says why it ends, once. */
static int calm(struct hg_http2 *http2)
{
    if (!http2->is_flooded || http2->is_calmed)
        return HG_OK;
    http2->is_calmed = true;
    return err_from_nghttp2(
        nghttp2_session_terminate_session(http2->session, NGHTTP2_ENHANCE_YOUR_CALM));
}

int hg_http2_feed(struct hg_http2 *http2, struct hg_bytes input, uint64_t now_ms)
{
    http2->now_ms = now_ms;
    if (http2->is_flooded)
        return HG_OK;
    if (!hg_http2_meter_feed(&http2->meter, input, now_ms)) {
        hg_http2_flooded(http2);
        return calm(http2);
    }
    ssize_t rc = nghttp2_session_mem_recv(http2->session, (const uint8_t *)input.data, input.len);
    if (rc < 0)
        return err_from_nghttp2(rc);
    return calm(http2);
}

int hg_http2_pull(struct hg_http2 *http2, uint64_t now_ms, struct hg_bytes *out_bytes)
{
    const uint8_t *data;
    http2->now_ms = now_ms;
    ssize_t len = nghttp2_session_mem_send(http2->session, &data);
    *out_bytes = len > 0 ? hg_bytes(data, (size_t)len) : HG_BYTES_NONE;
    if (len < 0)
        return err_from_nghttp2(len);
    bool was_calmed = http2->is_calmed;
    int err = calm(http2);
    if (err == HG_OK && len == 0 && http2->is_calmed != was_calmed)
        return hg_http2_pull(http2, now_ms, out_bytes);
    return err;
}

bool hg_http2_is_over(const struct hg_http2 *http2)
{
    return !nghttp2_session_want_read(http2->session) &&
           !nghttp2_session_want_write(http2->session);
}

int hg_http2_leave(struct hg_http2 *http2)
{
    int rc = http2->is_leaving
                 ? nghttp2_submit_goaway(http2->session, NGHTTP2_FLAG_NONE,
                                         nghttp2_session_get_last_proc_stream_id(http2->session),
                                         NGHTTP2_NO_ERROR, NULL, 0)
                 : nghttp2_submit_shutdown_notice(http2->session);
    http2->is_leaving = true;
    return err_from_nghttp2(rc);
}

int hg_http2_stop(struct hg_http2 *http2)
{
    return err_from_nghttp2(nghttp2_session_terminate_session(http2->session, NGHTTP2_NO_ERROR));
}

/* --- time --- */

/* When its time is over; HG_FOREVER: it waits for nothing but us. */
static uint64_t stream_due(const struct hg_http2_impl_stream *stream)
{
    const struct hg_http2_limits *limits = &stream->common.http2->limits;
    if (!stream->is_received)
        return hg_time_add(stream->begun_ms, hg_time_add(limits->receive_timeout_ms,
                                                         hg_http1_body_ms(stream->body.len)));
    /* Its end waits for the client too, though it has no bytes. */
    if (stream->is_answered && !stream->is_sent &&
        (!stream->is_streamed || hg_http2_unsent(&stream->common) > 0))
        return hg_time_add(stream->progress_ms, limits->send_timeout_ms);
    return HG_FOREVER;
}

uint64_t hg_http2_check(struct hg_http2 *http2, uint64_t now_ms)
{
    uint64_t next_ms = HG_FOREVER;
    http2->now_ms = now_ms;
    hg_list_for_each(link, &http2->streams)
    {
        struct hg_http2_impl_stream *stream =
            hg_container_of(link, struct hg_http2_impl_stream, link);
        uint64_t due_ms = stream->is_over ? HG_FOREVER : stream_due(stream);
        if (now_ms >= due_ms) {
            stream->is_over = true; /* the reset is on its way */
            tell(http2, stream->is_received ? HG_HTTP2_SEND_TIMEOUT : HG_HTTP2_RECEIVE_TIMEOUT);
            reset(stream, NGHTTP2_CANCEL);
        } else if (due_ms < next_ms) {
            next_ms = due_ms;
        }
    }
    return next_ms;
}

size_t hg_http2_stream_count(const struct hg_http2 *http2)
{
    return http2->stream_count;
}

size_t hg_http2_held(const struct hg_http2 *http2)
{
    return http2->held;
}
