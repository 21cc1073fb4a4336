/*
 * http2 - the server's side of one HTTP/2 connection over nghttp2: bytes in, whole requests out; answers in, bytes out.
 *
 *   feed -> meter -> nghttp2 -> stream (head, body) -> ops->request        answer -> stream -> nghttp2 -> pull
 *
 * Bodies are sent as the client takes them, and only what pull hands out is framed: a client that does not read costs what
 * its answers hold, and nothing more. A request's body is collected whole up to a maximum; that of a gRPC message is looked at
 * when its prefix is there, so that a declared length over the maximum is refused before there is room for it.
 *
 * Limits     streams at one time, head, fields and body (http1), a gRPC message, bodies being received together, frames
 *            (http2_meter). Each has an event.
 * Ownership  a stream lives until `closed` was called for it; whoever set its `user` forgets it then.
 * Threads    none of its own.  Time  an argument.
 * Errors     HG_ENOMEM, HG_EPROTO: the connection is to be closed. What a client may be told is told by frames.
 */
#ifndef HG_WIRE_HTTP2_H
#define HG_WIRE_HTTP2_H

#include "base/value.h"
#include "wire/http1.h"

struct hg_http2;

struct hg_http2_limits {
    const struct hg_http1_limits *http1; /* borrowed */
    unsigned streams;
    size_t message;  /* of a gRPC message */
    size_t received; /* bytes of bodies that are not whole yet; beyond it the stream that wants more is refused */
    uint64_t receive_timeout_ms, send_timeout_ms; /* of one stream; HG_FOREVER = none */
};

enum hg_http2_event {
    HG_HTTP2_BAD_REQUEST,
    HG_HTTP2_FLOODED,         /* the connection ends with ENHANCE_YOUR_CALM */
    HG_HTTP2_REFUSED,         /* a stream, because bodies being received hold too much */
    HG_HTTP2_RECEIVE_TIMEOUT, /* a stream, whose request did not become whole */
    HG_HTTP2_SEND_TIMEOUT,    /* a stream, whose answer was not taken */
};

struct hg_http2_stream {
    struct hg_http2 *http2;
    void *user; /* whoever was handed its request */
};

struct hg_http2_ops {
    /* A whole request, valid during the call. Answered at once or later. */
    void (*request)(void *ctx, struct hg_http2_stream *stream, const struct hg_http1_request *request);
    /* The stream is over, answered or not, and `user` was set: it is gone after the call. */
    void (*closed)(void *ctx, struct hg_http2_stream *stream);
    void (*event)(void *ctx, enum hg_http2_event event);
};

struct hg_http2_answer {
    int status;
    struct hg_bytes headers; /* whole lines, each with CRLF; copied. Fields of a connection are left out */
    struct hg_bytes trailers; /* likewise; sent behind the body, or with the headers when there is no body */
    struct hg_bytes date;
    struct hg_bytes body;    /* copied unless value is set */
    struct hg_value *value;  /* the body is this value's data; the reference is taken over on success. NULL: none */
    bool is_head;            /* Content-Length of the body, but no body */
    bool no_length;          /* neither body nor Content-Length */
    bool is_streamed;        /* the body comes by hg_http2_piece until hg_http2_end */
};

int hg_http2_create(const struct hg_http2_limits *limits, const struct hg_http2_ops *ops, void *ctx, uint64_t now_ms,
                    struct hg_http2 **out_http2);
/* Calls nothing. */
void hg_http2_destroy(struct hg_http2 *http2);
/* From the preface's first byte on. */
int hg_http2_feed(struct hg_http2 *http2, struct hg_bytes input, uint64_t now_ms);
/* The next bytes to send, valid until the next call; none: nothing to send now. Never from inside ops. */
int hg_http2_pull(struct hg_http2 *http2, uint64_t now_ms, struct hg_bytes *out_bytes);
/* Nothing more will be read or sent. */
bool hg_http2_is_over(const struct hg_http2 *http2);

/* Once for a stream. HG_ENOMEM. */
int hg_http2_answer(struct hg_http2_stream *stream, const struct hg_http2_answer *answer);
int hg_http2_piece(struct hg_http2_stream *stream, struct hg_bytes piece);
int hg_http2_end(struct hg_http2_stream *stream);
/* Of a streamed answer, what the client has not taken yet. */
size_t hg_http2_unsent(const struct hg_http2_stream *stream);

/* The first time it tells the client to open no more streams, later also refuses those that it opens. HG_ENOMEM. */
int hg_http2_leave(struct hg_http2 *http2);
/* Ends it at once, with GOAWAY, once that is pulled. */
int hg_http2_stop(struct hg_http2 *http2);

/* Resets streams whose time is over; returns when to look again, HG_FOREVER if there is no need. */
uint64_t hg_http2_check(struct hg_http2 *http2, uint64_t now_ms);
size_t hg_http2_stream_count(const struct hg_http2 *http2);
/* Bytes of answers that are not wholly sent. */
size_t hg_http2_held(const struct hg_http2 *http2);

#endif
