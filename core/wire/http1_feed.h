/*
 * http1_feed - for tests: feeds a parser pieces of a stream, each in a block of its own size so
 * that reading past it is caught, and writes down everything that came out as one line of text.
 * Include cmocka.h first.
 */
#ifndef HG_WIRE_HTTP1_FEED_H
#define HG_WIRE_HTTP1_FEED_H

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "wire/http1.h"

struct http1_story {
    char text[8192];
    size_t len;
    int status; /* of the error, 0 without */
    unsigned requests;
};

static inline void story_add(struct http1_story *story, struct hg_bytes bytes)
{
    size_t room = sizeof(story->text) - story->len;
    size_t len = bytes.len < room ? bytes.len : room;
    if (len > 0)
        memcpy(story->text + story->len, bytes.data, len);
    story->len += len;
}

static inline void story_request(struct http1_story *story, const struct hg_http1_request *request)
{
    char text[96];
    snprintf(text, sizeof(text), "[%s 1.%d keep=%d fields=%zu origins=%u body=%zu target=",
             hg_method_name(request->method), !request->is_http10, request->keep_alive,
             request->field_count, request->origin_count, request->body.len);
    story_add(story, hg_bytes_str(text));
    const struct hg_bytes spans[] = {
        request->target,        request->path,   request->query,
        request->host,          request->body,   request->if_none_match,
        request->authorization, request->origin, request->peer_request};
    for (size_t i = 0; i < HG_COUNT(spans); i++) {
        story_add(story, spans[i]);
        story_add(story, spans[i].data == NULL ? HG_BYTES(" - ") : HG_BYTES(" | "));
    }
    for (size_t i = 0; i < request->field_count; i++) {
        story_add(story, request->fields[i].name);
        story_add(story, HG_BYTES("="));
        story_add(story, request->fields[i].value);
        story_add(story, HG_BYTES(";"));
    }
    story_add(story, HG_BYTES("]"));
}

/* Feeds one piece to its end. False once the parser has refused. */
static inline bool story_feed(struct http1_story *story, struct hg_http1 *parser, const char *data,
                              size_t len)
{
    while (len > 0) {
        size_t consumed = SIZE_MAX;
        char *piece = malloc(len);
        if (piece == NULL)
            abort();
        memcpy(piece, data, len);
        enum hg_http1_event event = hg_http1_feed(parser, hg_bytes(piece, len), &consumed);
        if (consumed > len)
            abort();
        if (event == HG_HTTP1_REQUEST) {
            struct hg_http1_request *copy = hg_http1_request_copy(&parser->request);
            if (copy == NULL)
                abort();
            hg_http1_next(parser);
            story_request(story, copy);
            hg_free(copy);
            story->requests++;
        } else if (event == HG_HTTP1_ERROR) {
            char text[160];
            snprintf(text, sizeof(text), "{%d %s}", parser->error_status, parser->error_text);
            story_add(story, hg_bytes_str(text));
            story->status = parser->error_status;
            free(piece);
            return false;
        } else if (consumed != len) {
            abort(); /* MORE means that all was consumed */
        }
        free(piece);
        data += consumed;
        len -= consumed;
    }
    return true;
}

static inline void story_end(struct http1_story *story, struct hg_http1 *parser)
{
    if (story->status == 0)
        story_add(story, parser->has_partial ? HG_BYTES("<partial>") : HG_BYTES("<idle>"));
    hg_http1_finish(parser);
}

#define B(text)                                                                                    \
    {                                                                                              \
        text, sizeof(text) - 1                                                                     \
    }

static struct hg_http1_limits limits;
static struct hg_http1_scratch *shared;

static inline void tell(struct hg_bytes input, const size_t *cuts, size_t cut_count, bool is_shared,
                        struct http1_story *story)
{
    struct hg_http1 parser;
    story->len = story->status = 0;
    story->requests = 0;
    hg_http1_init(&parser, &limits);
    if (is_shared)
        hg_http1_share(&parser, shared);
    size_t at = 0;
    bool goes_on = true;
    for (size_t i = 0; i <= cut_count && goes_on; i++) {
        size_t end = i == cut_count ? input.len : cuts[i];
        goes_on = story_feed(story, &parser, input.data + at, end - at);
        at = end;
    }
    story_end(story, &parser);
}

static inline void assert_same_story(const struct http1_story *whole,
                                     const struct http1_story *other, const char *how)
{
    if (whole->len != other->len || memcmp(whole->text, other->text, whole->len) != 0)
        fail_msg("fed %s: %.*s\ninstead of %.*s", how, (int)other->len, other->text,
                 (int)whole->len, whole->text);
}

/* Whole, byte by byte, and cut once at every byte (long inputs: at 500 places and near both ends).
 */
static inline void tell_all_ways(struct hg_bytes input, struct http1_story *whole)
{
    static struct http1_story other;
    char how[64];
    size_t live = hg_alloc_live_count();
    tell(input, NULL, 0, true, whole);
    tell(input, NULL, 0, false, &other);
    assert_same_story(whole, &other, "whole without sharing");

    size_t *cuts = malloc((input.len + 1) * sizeof(*cuts));
    assert_non_null(cuts);
    for (size_t i = 1; i < input.len; i++)
        cuts[i - 1] = i;
    if (input.len > 0) {
        tell(input, cuts, input.len - 1, true, &other);
        assert_same_story(whole, &other, "byte by byte");
    }
    free(cuts);
    size_t stride = input.len > 4096 ? input.len / 500 : 1;
    for (size_t cut = 0; cut <= input.len; cut += cut < 64 || cut + 64 > input.len ? 1 : stride) {
        tell(input, &cut, 1, cut % 2 == 0, &other);
        snprintf(how, sizeof(how), "cut at %zu", cut);
        assert_same_story(whole, &other, how);
    }
    assert_int_equal(hg_alloc_live_count(), live);
}

struct refusal {
    const char *what;
    struct hg_bytes input;
    int status; /* 0: accepted as exactly one request */
};

static inline void check_refusals(const struct refusal *rows, size_t count)
{
    static struct http1_story story;
    for (size_t i = 0; i < count; i++) {
        tell_all_ways(rows[i].input, &story);
        if (story.status != rows[i].status || (rows[i].status == 0 && story.requests != 1))
            fail_msg("%s: expected %d, got %.*s", rows[i].what, rows[i].status, (int)story.len,
                     story.text);
    }
}

#define GET(fields)   B("GET /a HTTP/1.1\r\nHost: h\r\n" fields "\r\n")
#define POST(rest)    B("POST /a HTTP/1.1\r\nHost: h\r\n" rest)
#define CHUNKED(body) POST("Transfer-Encoding: chunked\r\n\r\n" body)

/* prefix, `count` times middle, suffix; free it. */
static inline struct hg_bytes repeat(const char *prefix, const char *middle, size_t count,
                                     const char *suffix)
{
    size_t a = strlen(prefix), b = strlen(middle), c = strlen(suffix);
    char *text = malloc(a + b * count + c + 1);
    assert_non_null(text);
    memcpy(text, prefix, a);
    for (size_t i = 0; i < count; i++)
        memcpy(text + a + i * b, middle, b);
    memcpy(text + a + b * count, suffix, c + 1);
    return hg_bytes(text, a + b * count + c);
}

static inline void check_repeated(const char *what, const char *prefix, const char *middle,
                                  size_t count, const char *suffix, int status)
{
    struct refusal row = {what, repeat(prefix, middle, count, suffix), status};
    check_refusals(&row, 1);
    free((void *)(uintptr_t)row.input.data);
}

#define HEAD_GET  "GET / HTTP/1.1\r\nHost: h\r\n"
#define HEAD_POST "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"

static inline int set_up(void **state)
{
    (void)state;
    hg_http1_limits_default(&limits);
    shared = hg_http1_scratch_create();
    return shared == NULL;
}

static inline int tear_down(void **state)
{
    (void)state;
    hg_http1_scratch_destroy(shared);
    return hg_alloc_live_count() != 0;
}

#endif
