#include "wire/peer_many.h"

#include <assert.h>

#include "base/err.h"
#include "wire/protobuf.h"

#define PART_TAG     0x0a /* field 1, with a length */
#define VARINT_MAX   5    /* bytes of 32 bits */
#define NUMBER_TAG_0 0xb0 /* field 22, a varint: two bytes */
#define NUMBER_TAG_1 0x01
#define NUMBER_MAX   (2 + VARINT_MAX)

static size_t varint_write(uint64_t number, unsigned char *at)
{
    size_t len = 0;
    while (number >= 0x80) {
        at[len++] = (unsigned char)(number | 0x80);
        number >>= 7;
    }
    at[len++] = (unsigned char)number;
    return len;
}

static size_t head_write(size_t part_len, unsigned char *at)
{
    at[0] = PART_TAG;
    return 1 + varint_write(part_len, at + 1);
}

int hg_peer_asks_append(const struct hg_peer_request *request, struct hg_buf *buf)
{
    unsigned char head[HG_MANY_HEAD_MAX];
    size_t before = buf->len;

    /* Behind room for the longest head; then the part moves up to the head it has. */
    int err = hg_buf_append(buf, "\0\0\0\0\0\0", HG_MANY_HEAD_MAX);
    if (err == HG_OK)
        err = hg_peer_request_encode(request, buf);
    if (err < 0) {
        buf->len = before;
        return err;
    }
    size_t part_len = buf->len - before - HG_MANY_HEAD_MAX;
    if (part_len > HG_PROTOBUF_MAX) {
        buf->len = before;
        return HG_ETOOBIG;
    }
    size_t head_len = head_write(part_len, head);
    memcpy(buf->data + before, head, head_len);
    memmove(buf->data + before + head_len, buf->data + before + HG_MANY_HEAD_MAX, part_len);
    buf->len = before + head_len + part_len;
    return HG_OK;
}

int hg_peer_answers_append(struct hg_bytes response, uint32_t number, struct hg_buf *buf)
{
    unsigned char head[HG_MANY_HEAD_MAX], tail[NUMBER_MAX] = {NUMBER_TAG_0, NUMBER_TAG_1};

    assert(number > 0);
    if (response.len > HG_PROTOBUF_MAX - NUMBER_MAX)
        return HG_ETOOBIG;
    /* A message may be put together by appending its fields. */
    size_t tail_len = 2 + varint_write(number, tail + 2);
    size_t head_len = head_write(response.len + tail_len, head);
    int err = hg_buf_reserve(buf, head_len + response.len + tail_len);
    if (err < 0)
        return err;
    memcpy(buf->data + buf->len, head, head_len);
    if (response.len > 0)
        memcpy(buf->data + buf->len + head_len, response.data, response.len);
    memcpy(buf->data + buf->len + head_len + response.len, tail, tail_len);
    buf->len += head_len + response.len + tail_len;
    return HG_OK;
}

int hg_peer_many_head(struct hg_bytes input, size_t *out_head_len, size_t *out_part_len)
{
    const unsigned char *at = (const unsigned char *)input.data;
    uint64_t len = 0;

    if (input.len == 0)
        return HG_PENDING;
    if (at[0] != PART_TAG)
        return HG_EPROTO;
    for (size_t i = 0; i < VARINT_MAX; i++) {
        if (1 + i == input.len)
            return HG_PENDING;
        len |= (uint64_t)(at[1 + i] & 0x7f) << 7 * i;
        if (at[1 + i] >= 0x80)
            continue;
        if (len > HG_PROTOBUF_MAX)
            return HG_EPROTO;
        *out_head_len = 2 + i;
        *out_part_len = (size_t)len;
        return HG_OK;
    }
    return HG_EPROTO;
}

int hg_peer_many_next(struct hg_bytes *input, struct hg_bytes *out_part)
{
    size_t head_len, part_len;

    if (input->len == 0)
        return HG_ENOENT;
    int err = hg_peer_many_head(*input, &head_len, &part_len);
    if (err != HG_OK || part_len > input->len - head_len)
        return HG_EPROTO;
    *out_part = hg_bytes(input->data + head_len, part_len);
    *input = hg_bytes(input->data + head_len + part_len, input->len - head_len - part_len);
    return HG_OK;
}

int hg_peer_many_count(struct hg_bytes message, size_t max, size_t *out_count)
{
    struct hg_bytes part;
    size_t count = 0;
    int err;

    while ((err = hg_peer_many_next(&message, &part)) == HG_OK) {
        if (count == max)
            return HG_ELIMIT;
        count++;
    }
    if (err != HG_ENOENT)
        return err;
    *out_count = count;
    return HG_OK;
}
