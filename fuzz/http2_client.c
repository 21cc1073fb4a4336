/*
 * The HTTP/2 client: whatever a server sends and however it is cut, each call ends once or is left, and no memory stays. The first byte
 * says how the stream is cut.
 */
#include "fuzz.h"
#include "wire/http2_client.h"

#define BODY_MAX 4096

struct story {
    unsigned ended, whole;
    int err;
};

static void begin(struct hg_http2_client *client, bool is_grpc)
{
    static const char *const headers[] = {"TE: trailers", NULL};
    struct hg_http2_call *call;
    struct hg_http2_request request = {
        .method = HG_BYTES("POST"),
        .authority = HG_BYTES("a:1"),
        .path = HG_BYTES("/x"),
        .headers = headers,
        .body = HG_BYTES("body"),
        .body_max = BODY_MAX,
        .is_grpc = is_grpc,
        .is_streamed = !is_grpc,
    };
    if (hg_http2_client_room(client) > 0)
        must(hg_http2_client_start(client, &request, NULL, 0, &call) == HG_OK);
}

static void look(struct hg_http2_client *client, struct story *story)
{
    struct hg_http2_call *call;
    while ((call = hg_http2_client_pop_arrived(client)) != NULL) {
        must(call->body.len <= BODY_MAX);
        hg_buf_consume(&call->body, call->body.len / 2);
    }
    while ((call = hg_http2_client_pop_ended(client)) != NULL) {
        must(call->err != HG_OK || (call->status >= 200 && call->has_head && call->is_whole));
        must(call->err == HG_OK || call->err_text != NULL);
        must(call->body.len <= BODY_MAX + 6 && call->headers.len <= 2 * HG_HTTP2_ANSWER_HEAD_MAX);
        must(!call->is_unprocessed || call->err != HG_OK);
        story->ended++;
        story->whole += call->err == HG_OK;
        hg_http2_call_free(call);
    }
}

static void pull(struct hg_http2_client *client, struct story *story)
{
    struct hg_bytes out;
    while (story->err == HG_OK && (story->err = hg_http2_client_pull(client, &out)) == HG_OK &&
           out.len > 0)
        continue;
}

static struct story tell(struct hg_bytes stream, unsigned cut)
{
    static const char settings[] = "\0\0\0\4\0\0\0\0\0";
    struct story story = {0};
    struct hg_http2_client *client;
    uint64_t state = cut, next_ms;

    must(hg_http2_client_create(1000, 0, &client) == HG_OK);
    story.err = hg_http2_client_feed(client, hg_bytes(settings, 9), 0);
    for (int i = 0; i < 4; i++)
        begin(client, i % 2 == 0);
    pull(client, &story);
    while (stream.len > 0 && story.err == HG_OK) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        size_t len = cut == 0 ? stream.len : 1 + (size_t)(state >> 33) % 40;
        if (len > stream.len)
            len = stream.len;
        char *copy = fuzz_copy(hg_bytes(stream.data, len));
        story.err = hg_http2_client_feed(client, hg_bytes(copy, len), 0);
        free(copy);
        stream = hg_bytes(stream.data + len, stream.len - len);
        if (cut != 0)
            look(client, &story);
        if (story.err == HG_OK && cut != 0)
            pull(client, &story);
    }
    hg_http2_client_check(client, 5000, &next_ms);
    if (cut == 0)
        look(client, &story);
    hg_http2_client_lost(client, HG_EPEER, "over");
    look(client, &story);
    must(hg_http2_client_call_count(client) == 0 && story.ended == 4);
    hg_http2_client_destroy(client);
    return story;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    size_t live = hg_alloc_live_count();
    struct hg_bytes stream = hg_bytes(data + 1, size - 1);
    tell(stream, 0);
    tell(stream, 1u + data[0]);
    must(hg_alloc_live_count() == live);
    return 0;
}
