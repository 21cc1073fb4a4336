/*
 * test_http2_pair - for the tests of http2: a server in memory that does what the path says, and its client. Include cmocka.h first.
 */
#ifndef HG_WIRE_TEST_HTTP2_PAIR_H
#define HG_WIRE_TEST_HTTP2_PAIR_H

#include "wire/http2.h"
#include "wire/test_http2.h"

#define START_MS  1000
#define BIG_BYTES ((size_t)3 << 20)

struct pair {
    struct hg_http2 *http2;
    struct h2_client client;
    struct hg_http2_stream *late[256]; /* NULL once closed */
    size_t late_count, asked, gone, events[8];
    struct hg_value *big;
    char seen[256]; /* of the last request */
    uint64_t now_ms;
    int err;
};

static inline void answer_text(struct hg_http2_stream *stream, int status, struct hg_bytes text)
{
    struct hg_http2_answer answer = {.status = status,
                                     .headers = HG_BYTES("X-Test: yes\r\nConnection: close\r\n"),
                                     .body = text};
    hg_http2_answer(stream, &answer);
}

static inline void on_request(void *ctx, struct hg_http2_stream *stream,
                       const struct hg_http1_request *request)
{
    struct pair *pair = ctx;
    struct hg_bytes cookie = hg_http1_field(request, "cookie");
    pair->asked++;
    snprintf(pair->seen, sizeof(pair->seen), "%s %.*s|%.*s|%.*s|%zu|%.*s",
             hg_method_name(request->method), (int)request->path.len, request->path.data,
             (int)request->query.len, request->query.len == 0 ? "" : request->query.data,
             (int)request->host.len, request->host.data, request->body.len, (int)cookie.len,
             cookie.len == 0 ? "" : cookie.data);
    if (hg_bytes_eq(request->path, HG_BYTES("/late"))) {
        stream->user = &pair->late[pair->late_count];
        pair->late[pair->late_count++] = stream;
    } else if (hg_bytes_eq(request->path, HG_BYTES("/big"))) {
        struct hg_http2_answer answer = {
            .status = 200, .value = hg_value_ref(pair->big), .is_head = request->method == HG_HEAD};
        assert_int_equal(hg_http2_answer(stream, &answer), HG_OK);
    } else if (hg_bytes_eq(request->path, HG_BYTES("/trailers"))) {
        struct hg_http2_answer answer = {.status = 200,
                                         .headers = HG_BYTES("content-type: application/grpc\r\n"),
                                         .trailers = HG_BYTES("grpc-status: 0\r\n"),
                                         .body = request->body};
        hg_http2_answer(stream, &answer);
    } else if (hg_bytes_eq(request->path, HG_BYTES("/streamed"))) {
        struct hg_http2_answer answer = {.status = 200, .is_streamed = true};
        if (hg_http2_answer(stream, &answer) == HG_OK) {
            stream->user = &pair->late[pair->late_count];
            pair->late[pair->late_count++] = stream;
        }
    } else {
        answer_text(stream, 200, request->body.len > 0 ? request->body : request->query);
    }
}

static inline void on_closed(void *ctx, struct hg_http2_stream *stream)
{
    struct pair *pair = ctx;
    struct hg_http2_stream **slot = stream->user;
    assert_ptr_equal(*slot, stream);
    *slot = NULL;
    pair->gone++;
}

static inline void on_event(void *ctx, enum hg_http2_event event)
{
    ((struct pair *)ctx)->events[event]++;
}

static struct hg_http1_limits http1_limits;
static const struct hg_http2_ops ops = {on_request, on_closed, on_event};

static inline struct hg_http2_limits usual_limits(void)
{
    hg_http1_limits_default(&http1_limits);
    http1_limits.body = 100000;
    return (struct hg_http2_limits){.http1 = &http1_limits,
                                    .streams = 128,
                                    .message = 50000,
                                    .received = 300000,
                                    .receive_timeout_ms = 10000,
                                    .send_timeout_ms = 30000};
}

static struct hg_value *big_value;

static inline int make_big_value(void **state)
{
    static char data[BIG_BYTES];
    (void)state;
    for (size_t i = 0; i < BIG_BYTES; i++)
        data[i] = (char)('a' + i % 23);
    struct hg_value_spec spec = {
        .status = HG_STATUS_VALUE, .key = HG_BYTES("big"), .data = hg_bytes(data, BIG_BYTES)};
    big_value = hg_value_create(&spec);
    return big_value == NULL;
}

static inline int free_big_value(void **state)
{
    (void)state;
    hg_value_unref(big_value);
    return hg_alloc_live_count() != 0;
}

static inline struct pair *pair_open(uint32_t window)
{
    struct pair *pair = calloc(1, sizeof(*pair));
    struct hg_http2_limits limits = usual_limits();
    pair->big = big_value;
    pair->now_ms = START_MS;
    assert_int_equal(hg_http2_create(&limits, &ops, pair, START_MS, &pair->http2), HG_OK);
    h2_client_init(&pair->client, window);
    return pair;
}

static inline void pair_close(struct pair *pair)
{
    hg_http2_destroy(pair->http2);
    h2_client_finish(&pair->client);
    free(pair);
}

/* What the server has to say, up to max bytes. Returns how many. */
static inline size_t pull_server(struct pair *pair, size_t max)
{
    size_t total = 0;
    struct hg_bytes bytes;
    while (total < max) {
        pair->err = hg_http2_pull(pair->http2, pair->now_ms, &bytes);
        if (pair->err < 0 || bytes.len == 0)
            break;
        h2_client_feed(&pair->client, bytes);
        total += bytes.len;
    }
    return total;
}

static inline size_t pull_client(struct pair *pair)
{
    size_t total = 0;
    struct hg_bytes bytes;
    while (pair->err == HG_OK && (bytes = h2_client_pull(&pair->client)).len > 0) {
        pair->err = hg_http2_feed(pair->http2, bytes, pair->now_ms);
        total += bytes.len;
    }
    return total;
}

static inline void run(struct pair *pair)
{
    while (pull_client(pair) + pull_server(pair, SIZE_MAX) > 0 && pair->err == HG_OK)
        continue;
}

#endif
