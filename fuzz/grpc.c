/*
 * gRPC's additions to HTTP/2: a body is one whole message within the maximum, or refused; what is read of a timeout can be
 * written, and is never longer then; an encoded text is printable.
 */
#include "fuzz.h"
#include "wire/grpc.h"

#define MESSAGE_MAX 4096

static void try_message(struct hg_bytes body)
{
    struct hg_bytes message;
    int err = hg_grpc_message_read(body, MESSAGE_MAX, &message);
    must(err == HG_OK || err == HG_ETOOBIG || err == HG_EINVAL || err == HG_EPROTO);
    if (err != HG_OK)
        return;
    char prefix[HG_GRPC_PREFIX];
    hg_grpc_prefix_write(message.len, prefix);
    must(message.len <= MESSAGE_MAX && message.len + HG_GRPC_PREFIX == body.len);
    must(memcmp(prefix, body.data, HG_GRPC_PREFIX) == 0);
}

static void try_timeout(struct hg_bytes text)
{
    uint64_t ms, again;
    char written[HG_GRPC_TIMEOUT_SIZE];
    if (hg_grpc_timeout_read(text, &ms) < 0)
        return;
    size_t len = hg_grpc_timeout_write(ms, written);
    must(hg_grpc_timeout_read(hg_bytes(written, len), &again) == HG_OK);
    must(again <= ms);
}

static void try_text(struct hg_bytes text)
{
    struct hg_buf buf;
    hg_buf_init(&buf, 3 * MESSAGE_MAX);
    must(hg_grpc_text_encode(&buf, text, MESSAGE_MAX) == HG_OK);
    for (size_t i = 0; i < buf.len; i++)
        must(buf.data[i] >= ' ' && buf.data[i] <= '~');
    hg_buf_finish(&buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t live = hg_alloc_live_count();
    char *copy = fuzz_copy(hg_bytes(data, size));
    struct hg_bytes input = hg_bytes(copy, size);
    try_message(input);
    try_timeout(input);
    try_text(input);
    hg_grpc_is_content_type(input);
    free(copy);
    must(hg_alloc_live_count() == live);
    return 0;
}
