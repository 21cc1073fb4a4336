/*
 * http2_impl - inside of http2: what http2.c (frames to requests) and http2_answer.c (answers to frames) share,
 * and what http2_client.c has of them.
 */
#ifndef HG_WIRE_HTTP2_IMPL_H
#define HG_WIRE_HTTP2_IMPL_H

#include <nghttp2/nghttp2.h>

#include "base/list.h"
#include "wire/http2.h"
#include "wire/http2_head.h"
#include "wire/http2_meter.h"

extern nghttp2_mem hg_http2_memory; /* of a session, of either side: counted */

struct hg_http2 {
    nghttp2_session *session;
    struct hg_http2_limits limits;
    struct hg_http2_ops ops;
    void *ctx;
    struct hg_http2_meter meter;
    struct hg_list streams;
    size_t stream_count;
    size_t received;   /* bytes of requests' bodies that are not whole yet */
    size_t held;       /* bytes of answers' bodies that are not wholly sent */
    size_t list_bytes; /* of the header list that is being received */
    uint64_t now_ms;   /* of the call that is under way */
    bool is_flooded, is_calmed, is_leaving;
};

struct hg_http2_impl_stream {
    struct hg_http2_stream common;
    struct hg_list link; /* http2->streams */
    int32_t id;
    struct hg_http2_head head;
    struct hg_buf body;     /* of the request */
    struct hg_buf out;      /* the answer's body, or what has come of it */
    struct hg_value *value; /* or this is its body */
    struct hg_buf trailers; /* their lines */
    size_t sent;            /* bytes of the answer's body */
    size_t held;            /* what it has added to http2->held */
    uint64_t begun_ms, progress_ms;
    bool is_received; /* its request was handed over, or will not be */
    bool has_ended;   /* the client has sent all it will */
    bool is_answered, is_streamed, is_over;
    bool is_sent; /* the answer's end was framed */
};

/* The connection ends: ENHANCE_YOUR_CALM. */
void hg_http2_flooded(struct hg_http2 *http2);

#endif
