/* Answers of http2: fields, bodies as their client takes them, trailers. */
#include <assert.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/err.h"
#include "wire/http2_impl.h"

#define DATA_MAX   15360 /* of one frame: with its head it fits a block of the connection's output */
#define OUT_SLACK  65536 /* sent bytes at the front of a streamed body before the rest moves up */
#define OWN_FIELDS 3     /* :status, date, content-length */

static struct hg_http2_impl_stream *impl_of(const struct hg_http2_stream *stream)
{
    return hg_container_of((struct hg_http2_stream *)(uintptr_t)stream, struct hg_http2_impl_stream,
                           common);
}

static struct hg_bytes answer_body(const struct hg_http2_impl_stream *stream)
{
    return stream->value != NULL ? hg_value_data(stream->value) : hg_buf_bytes(&stream->out);
}

size_t hg_http2_unsent(const struct hg_http2_stream *stream)
{
    const struct hg_http2_impl_stream *impl = impl_of(stream);
    return answer_body(impl).len - impl->sent;
}

/* --- fields --- */

static nghttp2_nv field(struct hg_bytes name, struct hg_bytes value)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name.data, (uint8_t *)(uintptr_t)value.data, name.len,
                        value.len, NGHTTP2_NV_FLAG_NONE};
}

/* HTTP/2 has no place for them (RFC 9113 8.2.2). */
static bool is_of_connection(struct hg_bytes name)
{
    static const char *const names[] = {"connection", "keep-alive", "proxy-connection",
                                        "transfer-encoding", "upgrade"};
    for (size_t i = 0; i < HG_COUNT(names); i++) {
        if (hg_bytes_eq_nocase(name, hg_bytes_str(names[i])))
            return true;
    }
    return false;
}

static size_t count_lines(struct hg_bytes lines)
{
    size_t count = 0;
    for (size_t i = 0; i < lines.len; i++)
        count += lines.data[i] == '\n';
    return count;
}

/* "Name: value\r\n" and so on; nghttp2 makes the names lower case. Returns how many. */
static size_t read_lines(struct hg_bytes lines, nghttp2_nv *fields)
{
    size_t count = 0;
    while (lines.len > 0) {
        const char *end = memchr(lines.data, '\n', lines.len);
        const char *colon = memchr(lines.data, ':', lines.len);
        assert(end != NULL);
        assert(colon != NULL && colon < end);
        struct hg_bytes name = hg_bytes(lines.data, (size_t)(colon - lines.data));
        struct hg_bytes value = hg_bytes(colon + 1, (size_t)(end - colon) - 2);
        if (!is_of_connection(name))
            fields[count++] = field(name, hg_bytes_trim(value));
        size_t taken = (size_t)(end + 1 - lines.data);
        lines = hg_bytes(lines.data + taken, lines.len - taken);
    }
    return count;
}

/* --- bodies --- */

static int submit_trailers(struct hg_http2_impl_stream *stream)
{
    struct hg_bytes lines = hg_buf_bytes(&stream->trailers);
    nghttp2_nv *fields = hg_calloc(count_lines(lines), sizeof(*fields));
    if (fields == NULL)
        return NGHTTP2_ERR_NOMEM;
    int rc = nghttp2_submit_trailer(stream->common.http2->session, stream->id, fields,
                                    read_lines(lines, fields));
    hg_free(fields);
    return rc;
}

/* Of a streamed body, what its client has. */
static void drop_sent(struct hg_http2_impl_stream *stream)
{
    hg_buf_consume(&stream->out, stream->sent);
    stream->held -= stream->sent;
    stream->common.http2->held -= stream->sent;
    stream->sent = 0;
}

static ssize_t on_read(nghttp2_session *session, int32_t id, uint8_t *out, size_t max,
                       uint32_t *flags, nghttp2_data_source *source, void *ctx)
{
    struct hg_http2 *http2 = ctx;
    struct hg_http2_impl_stream *stream = source->ptr;
    struct hg_bytes body = answer_body(stream);
    size_t len = body.len - stream->sent;
    (void)session;
    (void)id;

    if (len == 0 && stream->is_streamed)
        return NGHTTP2_ERR_DEFERRED;
    if (len > max)
        len = max;
    if (len > DATA_MAX)
        len = DATA_MAX;
    if (len > 0)
        memcpy(out, body.data + stream->sent, len);
    stream->sent += len;
    stream->progress_ms = http2->now_ms;
    if (stream->is_streamed && stream->sent == body.len)
        drop_sent(stream);
    if (stream->is_streamed || stream->sent < body.len)
        return (ssize_t)len;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (stream->trailers.len == 0)
        return (ssize_t)len;
    *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    return submit_trailers(stream) == 0 ? (ssize_t)len : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static void hold(struct hg_http2_impl_stream *stream, size_t bytes)
{
    stream->held += bytes;
    stream->common.http2->held += bytes;
}

static int submit(struct hg_http2_impl_stream *stream, const struct hg_http2_answer *answer,
                  bool has_body)
{
    struct hg_bytes trailers = has_body ? HG_BYTES_NONE : answer->trailers;
    size_t max = OWN_FIELDS + count_lines(answer->headers) + count_lines(trailers), count = 0;
    char status[12], length[24];
    nghttp2_data_provider provider = {.source.ptr = stream, .read_callback = on_read};
    nghttp2_nv *fields = hg_calloc(max, sizeof(*fields));
    if (fields == NULL)
        return HG_ENOMEM;

    int len = snprintf(status, sizeof(status), "%d", answer->status);
    fields[count++] = field(HG_BYTES(":status"), hg_bytes(status, (size_t)len));
    if (answer->date.len > 0)
        fields[count++] = field(HG_BYTES("date"), answer->date);
    count += read_lines(answer->headers, fields + count);
    if (!answer->no_length && !answer->is_streamed && answer->trailers.len == 0) {
        size_t size = answer->value != NULL ? hg_value_data_len(answer->value) : answer->body.len;
        len = snprintf(length, sizeof(length), "%zu", size);
        fields[count++] = field(HG_BYTES("content-length"), hg_bytes(length, (size_t)len));
    }
    count += read_lines(trailers, fields + count);
    int rc = nghttp2_submit_response(stream->common.http2->session, stream->id, fields, count,
                                     has_body ? &provider : NULL);
    hg_free(fields);
    return rc == 0 ? HG_OK : HG_ENOMEM;
}

int hg_http2_answer(struct hg_http2_stream *common, const struct hg_http2_answer *answer)
{
    struct hg_http2_impl_stream *stream = impl_of(common);
    bool sends_body = !answer->is_head && !answer->no_length && !answer->is_streamed;
    struct hg_bytes body = answer->value != NULL ? hg_value_data(answer->value) : answer->body;
    bool has_body = answer->is_streamed || (sends_body && body.len > 0);

    assert(!stream->is_answered);
    int err = HG_OK;
    if (sends_body && answer->value == NULL)
        err = hg_buf_append_bytes(&stream->out, body);
    if (err == HG_OK && has_body)
        err = hg_buf_append_bytes(&stream->trailers, answer->trailers);
    if (err == HG_OK)
        err = submit(stream, answer, has_body);
    if (err < 0)
        return err;
    stream->is_answered = true;
    stream->is_streamed = answer->is_streamed;
    stream->progress_ms = common->http2->now_ms;
    if (sends_body && answer->value != NULL)
        stream->value = answer->value;
    else if (answer->value != NULL)
        hg_value_unref(answer->value);
    hold(stream, answer_body(stream).len);
    return HG_OK;
}

static int resume(struct hg_http2_impl_stream *stream)
{
    int rc = nghttp2_session_resume_data(stream->common.http2->session, stream->id);
    return rc == NGHTTP2_ERR_NOMEM ? HG_ENOMEM : HG_OK; /* or it was not waiting */
}

int hg_http2_piece(struct hg_http2_stream *common, struct hg_bytes piece)
{
    struct hg_http2_impl_stream *stream = impl_of(common);
    assert(stream->is_streamed);
    if (stream->sent > OUT_SLACK && stream->sent > stream->out.len / 2)
        drop_sent(stream);
    if (stream->sent == stream->out.len) /* nothing was waiting for the client */
        stream->progress_ms = common->http2->now_ms;
    int err = hg_buf_append_bytes(&stream->out, piece);
    if (err < 0)
        return err;
    hold(stream, piece.len);
    return resume(stream);
}

int hg_http2_end(struct hg_http2_stream *common)
{
    struct hg_http2_impl_stream *stream = impl_of(common);
    assert(stream->is_streamed);
    stream->is_streamed = false;
    if (stream->sent == stream->out.len) /* the end is all that waits */
        stream->progress_ms = common->http2->now_ms;
    return resume(stream);
}
