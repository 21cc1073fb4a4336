/*
 * The HTTP/2 server: whatever the split of a stream, the same requests come out; what comes out is what HTTP/1.1 would have
 * let through, and no memory stays. The first byte says how the stream is cut; the preface is put in front.
 */
#include "fuzz.h"
#include "wire/http2.h"
#include "wire/http2_meter.h"

struct story {
    uint64_t hash;
    unsigned requests, open;
    int err;
};

static void add(struct story *story, struct hg_bytes bytes)
{
    story->hash = (story->hash ^ bytes.len) * 0x100000001b3u;
    for (size_t i = 0; i < bytes.len; i++)
        story->hash = (story->hash ^ (unsigned char)bytes.data[i]) * 0x100000001b3u;
}

static void on_request(void *ctx, struct hg_http2_stream *stream,
                       const struct hg_http1_request *request)
{
    struct story *story = ctx;
    struct hg_http2_answer answer = {
        .status = 200, .trailers = HG_BYTES("grpc-status: 0\r\n"), .body = request->body};
    must(request->method < HG_METHOD_COUNT);
    must(request->path.len > 0 && (request->path.data[0] == '/' || request->path.data[0] == '*'));
    must(request->field_count <= HG_FIELDS_MAX && request->body.len <= 4096 + 5);
    add(story, request->target);
    add(story, request->host);
    add(story, request->body);
    for (size_t i = 0; i < request->field_count; i++) {
        must(request->fields[i].name.len > 0 && request->fields[i].name.data[0] != ':');
        add(story, request->fields[i].name);
        add(story, request->fields[i].value);
    }
    story->requests++;
    if (story->requests % 3 == 0) { /* left open */
        stream->user = story;
        story->open++;
        return;
    }
    must(hg_http2_answer(stream, &answer) == HG_OK);
}

static void on_closed(void *ctx, struct hg_http2_stream *stream)
{
    struct story *story = ctx;
    must(stream->user == story && story->open > 0);
    story->open--;
}

static void on_event(void *ctx, enum hg_http2_event event)
{
    (void)ctx;
    (void)event;
}

/* cut 0: at one go. What is pulled between two pieces depends on the cut, and what a client may still send on that. */
static struct story tell(struct hg_bytes stream, unsigned cut, bool pulls)
{
    static struct hg_http1_limits http1;
    static const struct hg_http2_ops ops = {on_request, on_closed, on_event};
    struct story story = {.hash = 1};
    struct hg_http2 *http2;
    struct hg_bytes out;
    uint64_t state = cut;

    hg_http1_limits_default(&http1);
    http1.body = 4096;
    struct hg_http2_limits limits = {&http1, 8, 4096, 10000, 1000, 1000};
    must(hg_http2_create(&limits, &ops, &story, 0, &http2) == HG_OK);
    story.err = hg_http2_feed(http2, hg_http2_preface(HG_HTTP2_PREFACE_BYTES), 0);
    while (stream.len > 0 && story.err == HG_OK) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        size_t len = cut == 0 ? stream.len : cut == 1 ? 1 : 1 + (size_t)(state >> 33) % 40;
        if (len > stream.len)
            len = stream.len;
        char *copy = fuzz_copy(hg_bytes(stream.data, len));
        story.err = hg_http2_feed(http2, hg_bytes(copy, len), 0);
        free(copy);
        stream = hg_bytes(stream.data + len, stream.len - len);
        while (pulls && story.err == HG_OK && hg_http2_pull(http2, 0, &out) == HG_OK && out.len > 0)
            continue;
    }
    hg_http2_check(http2, 5000);
    while (story.err == HG_OK && hg_http2_pull(http2, 5000, &out) == HG_OK && out.len > 0)
        continue;
    hg_http2_destroy(http2);
    return story;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    size_t live = hg_alloc_live_count();
    struct hg_bytes stream = hg_bytes(data + 1, size - 1);
    struct story whole = tell(stream, 0, false), cut = tell(stream, 2u + data[0], false);
    if (whole.err == HG_OK && cut.err == HG_OK)
        must(whole.requests == cut.requests && whole.hash == cut.hash);
    tell(stream, 2u + data[0], true);
    must(hg_alloc_live_count() == live);
    return 0;
}
