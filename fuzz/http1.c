/*
 * The HTTP/1 front: whatever the split of a stream, the outcome is the same, and every span lies within what it was
 * given. The first byte says how the stream is cut.
 */
#include "fuzz.h"
#include "wire/cors.h"
#include "wire/http1.h"
#include "wire/query.h"

struct story {
    uint64_t hash;
    unsigned requests;
    int status;
    bool has_partial;
};

static void add(struct story *story, struct hg_bytes bytes)
{
    story->hash = (story->hash ^ bytes.len) * 0x100000001b3u;
    story->hash = (story->hash ^ (bytes.data == NULL)) * 0x100000001b3u;
    for (size_t i = 0; i < bytes.len; i++)
        story->hash = (story->hash ^ (unsigned char)bytes.data[i]) * 0x100000001b3u;
}

static void add_request(struct story *story, const struct hg_http1_request *request)
{
    const struct hg_bytes spans[] = {
        request->target, request->path,          request->query,
        request->host,   request->body,          request->if_none_match,
        request->origin, request->authorization, request->peer_request};
    must(request->method < HG_METHOD_COUNT);
    must(request->path.len > 0 && (request->path.data[0] == '/' || request->path.data[0] == '*'));
    must(request->field_count <= HG_FIELDS_MAX);
    for (size_t i = 0; i < HG_COUNT(spans); i++)
        add(story, spans[i]);
    for (size_t i = 0; i < request->field_count; i++) {
        must(request->fields[i].name.len > 0);
        for (size_t c = 0; c < request->fields[i].value.len; c++)
            must(strchr("\r\n", request->fields[i].value.data[c]) == NULL ||
                 request->fields[i].value.data[c] == '\t');
        add(story, request->fields[i].name);
        add(story, request->fields[i].value);
    }
    story->hash = story->hash * 31 + (uint64_t)request->method * 4 + request->is_http10 * 2u +
                  request->keep_alive;
    story->requests++;
    hg_cors_is_preflight(request);
}

static void feed(struct story *story, struct hg_http1 *parser, struct hg_bytes piece)
{
    while (piece.len > 0 && story->status == 0) {
        size_t consumed = SIZE_MAX;
        char *copy = fuzz_copy(piece);
        enum hg_http1_event event = hg_http1_feed(parser, hg_bytes(copy, piece.len), &consumed);
        must(consumed <= piece.len);
        if (event == HG_HTTP1_REQUEST) {
            struct hg_http1_request *kept = hg_http1_request_copy(&parser->request);
            must(kept != NULL);
            hg_http1_next(parser);
            add_request(story, kept);
            hg_free(kept);
        } else if (event == HG_HTTP1_ERROR) {
            must(parser->error_status >= 400 && parser->error_status < 600 &&
                 parser->error_text != NULL);
            story->status = parser->error_status;
        } else {
            must(consumed == piece.len);
        }
        free(copy);
        piece = hg_bytes(piece.data + consumed, piece.len - consumed);
    }
}

static struct story tell(struct hg_bytes stream, unsigned cut, struct hg_http1_scratch *scratch)
{
    static struct hg_http1_limits limits;
    struct story story = {.hash = 1};
    struct hg_http1 parser;
    uint64_t state = cut;

    hg_http1_limits_default(&limits);
    limits.body = 4096;
    hg_http1_init(&parser, &limits);
    if (scratch != NULL)
        hg_http1_share(&parser, scratch);
    while (stream.len > 0 && story.status == 0) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        size_t len = cut == 0 ? stream.len : cut == 1 ? 1 : 1 + (size_t)(state >> 33) % 40;
        if (len > stream.len)
            len = stream.len;
        feed(&story, &parser, hg_bytes(stream.data, len));
        stream = hg_bytes(stream.data + len, stream.len - len);
    }
    story.has_partial = story.status == 0 && parser.has_partial;
    hg_http1_finish(&parser);
    return story;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    size_t live = hg_alloc_live_count();
    struct hg_bytes stream = hg_bytes(data + 1, size - 1);
    struct hg_http1_scratch *scratch = hg_http1_scratch_create();
    must(scratch != NULL);
    struct story whole = tell(stream, 0, NULL), shared = tell(stream, 0, scratch);
    struct story cut = tell(stream, 2u + data[0], scratch), bytes = tell(stream, 1, NULL);
    const struct story *const others[] = {&shared, &cut, &bytes};
    for (size_t i = 0; i < HG_COUNT(others); i++) {
        must(others[i]->requests == whole.requests && others[i]->hash == whole.hash);
        must(others[i]->status == whole.status && others[i]->has_partial == whole.has_partial);
    }
    hg_http1_scratch_destroy(scratch);
    must(hg_alloc_live_count() == live);
    return 0;
}
