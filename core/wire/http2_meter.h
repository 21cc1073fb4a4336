/*
 * http2_meter - counts the frames of an HTTP/2 connection before nghttp2 sees them. nghttp2 stops rapid resets and CONTINUATION
 * floods; SETTINGS, PING, PRIORITY, WINDOW_UPDATE, empty DATA and frames of unknown types cost their sender
 * next to nothing and us some work, so they are paid from a bucket of tokens, resets from another.
 *
 *   control   1,000 at once, 100 a second. What we send earns it back: a client that takes much has to say much
 *   resets    200 at once, 50 a second
 *
 * Threads    none of its own.  Time  an argument.
 */
#ifndef HG_WIRE_HTTP2_METER_H
#define HG_WIRE_HTTP2_METER_H

#include "base/bytes.h"

#define HG_HTTP2_PREFACE_BYTES 24
#define HG_HTTP2_CONTROL_BURST 1000
#define HG_HTTP2_CONTROL_RATE  100
#define HG_HTTP2_RESETS_BURST  200
#define HG_HTTP2_RESETS_RATE   50

struct hg_http2_bucket {
    uint64_t level, at_ms; /* level: thousandths of a token */
    unsigned burst, rate;
};

struct hg_http2_meter {
    struct hg_http2_bucket control, resets;
    unsigned char head[9];
    unsigned head_len;
    uint32_t left; /* bytes of the payload, or at first of the preface */
};

void hg_http2_meter_init(struct hg_http2_meter *meter, uint64_t now_ms);
/* False: more than it may send. */
bool hg_http2_meter_feed(struct hg_http2_meter *meter, struct hg_bytes input, uint64_t now_ms);
/* We had to reset a stream because of what the client sent; twice as dear as its own reset. */
bool hg_http2_meter_misuse(struct hg_http2_meter *meter, uint64_t now_ms);
/* A frame of data or an answer has left. */
void hg_http2_meter_earn(struct hg_http2_meter *meter);

/* Whether `input`, which follows `seen` bytes of one, goes on as a client's preface does: 1 it is whole, 0 so far, -1 no. */
int hg_http2_preface_check(size_t seen, struct hg_bytes input);
/* Its first bytes. */
struct hg_bytes hg_http2_preface(size_t len);

#endif
