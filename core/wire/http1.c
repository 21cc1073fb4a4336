/* Feeding: cuts the input into requests, in place where it can, else by way of a bounded buffer. */
#include "wire/http1.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/err.h"
#include "wire/http1_internal.h"

/* What a request that came in part has left behind. */
struct hg_http1_impl {
    enum { IN_HEAD, IN_BODY } state;
    struct hg_http1_scan scan;
    struct hg_buf head, body;
    struct hg_http1_framing framing;
    struct hg_http1_chunks chunks;
};

void hg_http1_limits_default(struct hg_http1_limits *limits)
{
    *limits = (struct hg_http1_limits){
        .line = 8 << 10,
        .head = 16 << 10,
        .fields = 100,
        .body = 8 << 20,
        .chunk_extension = 1 << 10,
    };
}

struct hg_http1_scratch *hg_http1_scratch_create(void)
{
    return hg_calloc(1, sizeof(struct hg_http1_scratch));
}

void hg_http1_scratch_destroy(struct hg_http1_scratch *scratch)
{
    hg_free(scratch);
}

void hg_http1_init(struct hg_http1 *parser, const struct hg_http1_limits *limits)
{
    *parser = (struct hg_http1){.limits = limits};
}

void hg_http1_share(struct hg_http1 *parser, struct hg_http1_scratch *scratch)
{
    assert(parser->scratch == NULL);
    parser->scratch = scratch;
}

static void drop_impl(struct hg_http1 *parser)
{
    if (parser->impl != NULL) {
        hg_buf_finish(&parser->impl->head);
        hg_buf_finish(&parser->impl->body);
        hg_free(parser->impl);
    }
    parser->impl = NULL;
}

static void drop_scratch(struct hg_http1 *parser)
{
    if (parser->owns_scratch) {
        hg_http1_scratch_destroy(parser->scratch);
        parser->scratch = NULL;
        parser->owns_scratch = false;
    }
}

void hg_http1_finish(struct hg_http1 *parser)
{
    if (parser == NULL)
        return;
    drop_impl(parser);
    drop_scratch(parser);
    parser->has_partial = parser->in_body = false;
}

void hg_http1_next(struct hg_http1 *parser)
{
    drop_impl(parser);
    drop_scratch(parser);
    parser->request = (struct hg_http1_request){0};
    parser->has_partial = parser->in_body = parser->has_blank_line = false;
}

static enum hg_http1_event refuse(struct hg_http1 *parser, const struct hg_http1_fault *fault)
{
    assert(fault->status != 0);
    drop_impl(parser);
    drop_scratch(parser);
    parser->request = (struct hg_http1_request){0};
    parser->has_partial = parser->in_body = false;
    parser->error_status = fault->status;
    parser->error_text = fault->text;
    return HG_HTTP1_ERROR;
}

static enum hg_http1_event refuse_memory(struct hg_http1 *parser)
{
    return refuse(parser, &(struct hg_http1_fault){503, "out of memory"});
}

static bool need_scratch(struct hg_http1 *parser)
{
    if (parser->scratch != NULL)
        return true;
    parser->scratch = hg_http1_scratch_create();
    parser->owns_scratch = parser->scratch != NULL;
    return parser->owns_scratch;
}

static bool need_impl(struct hg_http1 *parser)
{
    if (parser->impl != NULL)
        return true;
    struct hg_http1_impl *impl = hg_calloc(1, sizeof(*impl));
    if (impl == NULL)
        return false;
    hg_buf_init(&impl->head, parser->limits->head + 4); /* and a blank line before it */
    hg_buf_init(&impl->body, parser->limits->body);
    parser->impl = impl;
    return true;
}

static enum hg_http1_event deliver(struct hg_http1 *parser, struct hg_bytes body)
{
    parser->request.body = body;
    parser->has_partial = parser->in_body = false;
    return HG_HTTP1_REQUEST;
}

/* The head lies in the impl by now; parsed once more, because the scratch may have served others
 * meanwhile. */
static enum hg_http1_event deliver_buffered(struct hg_http1 *parser)
{
    struct hg_http1_impl *impl = parser->impl;
    struct hg_http1_framing framing;
    struct hg_http1_fault fault;
    if (!need_scratch(parser))
        return refuse_memory(parser);
    if (!hg_http1_parse_head(parser->limits, parser->scratch, hg_buf_bytes(&impl->head),
                             &parser->request, &framing, &fault))
        return refuse(parser, &fault);
    return deliver(parser, hg_buf_bytes(&impl->body));
}

static enum hg_http1_event feed_body(struct hg_http1 *parser, struct hg_bytes input,
                                     size_t *out_consumed)
{
    struct hg_http1_impl *impl = parser->impl;
    struct hg_http1_fault fault = {0};
    if (impl->framing.is_chunked) {
        switch (hg_http1_chunks_feed(&impl->chunks, parser->limits, input, out_consumed,
                                     &impl->body, &fault)) {
        case HG_STEP_MORE:
            return HG_HTTP1_MORE;
        case HG_STEP_DONE:
            return deliver_buffered(parser);
        case HG_STEP_FAULT:
            *out_consumed = input.len;
            return refuse(parser, &fault);
        }
    }
    size_t left = (size_t)impl->framing.content_length - impl->body.len;
    size_t len = input.len < left ? input.len : left;
    *out_consumed = len;
    if (!hg_http1_body_append(&impl->body, hg_bytes(input.data, len), &fault))
        return refuse(parser, &fault);
    return len == left ? deliver_buffered(parser) : HG_HTTP1_MORE;
}

/*
 * The head is whole: `head` lies in the caller's input or in impl->head, `rest` is the input behind
 * it. *out_consumed counts bytes of `rest`.
 */
static enum hg_http1_event on_head(struct hg_http1 *parser, struct hg_bytes head,
                                   struct hg_bytes rest, size_t *out_consumed)
{
    struct hg_http1_framing framing;
    struct hg_http1_fault fault;
    *out_consumed = 0;
    if (!need_scratch(parser))
        return refuse_memory(parser);
    if (!hg_http1_parse_head(parser->limits, parser->scratch, head, &parser->request, &framing,
                             &fault))
        return refuse(parser, &fault);

    if (!framing.is_chunked && framing.content_length <= rest.len) {
        *out_consumed = (size_t)framing.content_length;
        return deliver(parser, hg_bytes(rest.data, (size_t)framing.content_length));
    }

    bool is_buffered = parser->impl != NULL;
    if (!need_impl(parser))
        return refuse_memory(parser);
    struct hg_http1_impl *impl = parser->impl;
    if (!is_buffered && hg_buf_append_bytes(&impl->head, head) < 0)
        return refuse_memory(parser);
    impl->state = IN_BODY;
    impl->framing = framing;
    parser->request = (struct hg_http1_request){0};
    parser->has_partial = parser->in_body = true;
    drop_scratch(parser);
    if (rest.len == 0)
        return framing.expects_continue ? HG_HTTP1_CONTINUE : HG_HTTP1_MORE;
    return feed_body(parser, rest, out_consumed);
}

/* Nothing of the request has been buffered: it may be whole in the input. */
static enum hg_http1_event feed_fresh(struct hg_http1 *parser, struct hg_bytes input,
                                      size_t *out_consumed)
{
    struct hg_http1_scan scan = {.has_blank_line = parser->has_blank_line};
    struct hg_http1_fault fault;
    size_t end, more;
    *out_consumed = input.len;
    switch (hg_http1_scan_head(parser->limits, input, &scan, &end, &fault)) {
    case HG_STEP_FAULT:
        return refuse(parser, &fault);
    case HG_STEP_DONE: {
        struct hg_bytes head = hg_bytes(input.data + scan.start, end - scan.start);
        enum hg_http1_event event =
            on_head(parser, head, hg_bytes(input.data + end, input.len - end), &more);
        *out_consumed = end + more;
        return event;
    }
    case HG_STEP_MORE:
        break;
    }

    parser->has_blank_line = scan.has_blank_line;
    struct hg_bytes part = hg_bytes(input.data + scan.start, input.len - scan.start);
    if (part.len == 0)
        return HG_HTTP1_MORE;
    if (!need_impl(parser) || hg_buf_append_bytes(&parser->impl->head, part) < 0)
        return refuse_memory(parser);
    scan.line -= scan.start;
    scan.seen -= scan.start;
    scan.start = 0;
    parser->impl->scan = scan;
    parser->has_partial = true;
    return HG_HTTP1_MORE;
}

static enum hg_http1_event feed_head(struct hg_http1 *parser, struct hg_bytes input,
                                     size_t *out_consumed)
{
    struct hg_http1_impl *impl = parser->impl;
    struct hg_buf *head = &impl->head;
    struct hg_http1_fault fault;
    size_t before = head->len, end, more;

    /* One byte past the limit is enough for the scan to refuse. */
    size_t room = head->max_bytes - head->len;
    if (hg_buf_append(head, input.data, input.len < room ? input.len : room) < 0) {
        *out_consumed = input.len;
        return refuse_memory(parser);
    }
    switch (hg_http1_scan_head(parser->limits, hg_buf_bytes(head), &impl->scan, &end, &fault)) {
    case HG_STEP_FAULT:
        *out_consumed = input.len;
        return refuse(parser, &fault);
    case HG_STEP_MORE:
        *out_consumed = head->len - before;
        assert(*out_consumed == input.len);
        if (impl->scan.start == head->len) { /* it was only the blank line */
            drop_impl(parser);
            parser->has_blank_line = true;
            parser->has_partial = false;
        }
        return HG_HTTP1_MORE;
    case HG_STEP_DONE:
        break;
    }
    head->len = end;
    hg_buf_consume(head, impl->scan.start);
    size_t taken = end - before;
    enum hg_http1_event event =
        on_head(parser, hg_buf_bytes(head), hg_bytes(input.data + taken, input.len - taken), &more);
    *out_consumed = taken + more;
    return event;
}

enum hg_http1_event hg_http1_feed(struct hg_http1 *parser, struct hg_bytes input,
                                  size_t *out_consumed)
{
    assert(parser->request.target.data == NULL);
    if (parser->error_status != 0) {
        *out_consumed = input.len;
        return HG_HTTP1_ERROR;
    }
    if (input.len == 0) {
        *out_consumed = 0;
        return HG_HTTP1_MORE;
    }
    if (parser->impl == NULL)
        return feed_fresh(parser, input, out_consumed);
    if (parser->impl->state == IN_HEAD)
        return feed_head(parser, input, out_consumed);
    return feed_body(parser, input, out_consumed);
}
