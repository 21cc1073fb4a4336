#include "wire/http2_meter.h"

#define HEAD_BYTES 9
#define TOKEN      1000u
#define EARNED     2u /* a WINDOW_UPDATE of the stream and one of the connection */

enum frame_type {
    FRAME_DATA = 0,
    FRAME_HEADERS = 1,
    FRAME_RST_STREAM = 3,
    FRAME_CONTINUATION = 9,
};
#define FLAG_END_STREAM 1

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

int hg_http2_preface_check(size_t seen, struct hg_bytes input)
{
    size_t rest = HG_HTTP2_PREFACE_BYTES - seen;
    size_t len = input.len < rest ? input.len : rest;
    if (len > 0 && memcmp(input.data, preface + seen, len) != 0)
        return -1;
    return len == rest;
}

struct hg_bytes hg_http2_preface(size_t len)
{
    return hg_bytes(preface, len);
}

static void bucket_fill(struct hg_http2_bucket *bucket, uint64_t thousandths)
{
    uint64_t full = (uint64_t)bucket->burst * TOKEN;
    bucket->level = thousandths > full - bucket->level ? full : bucket->level + thousandths;
}

static bool bucket_take(struct hg_http2_bucket *bucket, unsigned tokens, uint64_t now_ms)
{
    uint64_t passed_ms = now_ms > bucket->at_ms ? now_ms - bucket->at_ms : 0;
    uint64_t full_ms = (uint64_t)bucket->burst * TOKEN / bucket->rate;

    bucket_fill(bucket, (passed_ms < full_ms ? passed_ms : full_ms) * bucket->rate);
    bucket->at_ms = now_ms;
    if (bucket->level < (uint64_t)tokens * TOKEN) {
        bucket->level = 0;
        return false;
    }
    bucket->level -= (uint64_t)tokens * TOKEN;
    return true;
}

void hg_http2_meter_init(struct hg_http2_meter *meter, uint64_t now_ms)
{
    *meter = (struct hg_http2_meter){
        .control = {.at_ms = now_ms,
                    .burst = HG_HTTP2_CONTROL_BURST,
                    .rate = HG_HTTP2_CONTROL_RATE,
                    .level = HG_HTTP2_CONTROL_BURST * TOKEN},
        .resets = {.at_ms = now_ms,
                   .burst = HG_HTTP2_RESETS_BURST,
                   .rate = HG_HTTP2_RESETS_RATE,
                   .level = HG_HTTP2_RESETS_BURST * TOKEN},
        .left = HG_HTTP2_PREFACE_BYTES,
    };
}

static bool take_frame(struct hg_http2_meter *meter, uint64_t now_ms)
{
    const unsigned char *head = meter->head;
    meter->left = (uint32_t)head[0] << 16 | (uint32_t)head[1] << 8 | head[2];
    meter->head_len = 0;
    switch (head[3]) {
    case FRAME_HEADERS:
    case FRAME_CONTINUATION: /* nghttp2 counts them */
        return true;
    case FRAME_DATA:
        return meter->left > 0 || (head[4] & FLAG_END_STREAM) != 0 ||
               bucket_take(&meter->control, 1, now_ms);
    case FRAME_RST_STREAM:
        return bucket_take(&meter->resets, 1, now_ms);
    default:
        return bucket_take(&meter->control, 1, now_ms);
    }
}

bool hg_http2_meter_feed(struct hg_http2_meter *meter, struct hg_bytes input, uint64_t now_ms)
{
    while (input.len > 0) {
        size_t len = meter->left > 0 ? meter->left : HEAD_BYTES - meter->head_len;
        if (len > input.len)
            len = input.len;
        if (meter->left > 0) {
            meter->left -= (uint32_t)len;
        } else {
            memcpy(meter->head + meter->head_len, input.data, len);
            meter->head_len += (unsigned)len;
            if (meter->head_len == HEAD_BYTES && !take_frame(meter, now_ms))
                return false;
        }
        input = hg_bytes(input.data + len, input.len - len);
    }
    return true;
}

bool hg_http2_meter_misuse(struct hg_http2_meter *meter, uint64_t now_ms)
{
    return bucket_take(&meter->resets, 2, now_ms);
}

void hg_http2_meter_earn(struct hg_http2_meter *meter)
{
    bucket_fill(&meter->control, EARNED * TOKEN);
}
