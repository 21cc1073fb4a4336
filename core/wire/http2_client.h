/*
 * http2_client - the client's side of one HTTP/2 connection over nghttp2: requests in, bytes out; bytes in, answers out.
 *
 *   start -> call -> nghttp2 -> pull        feed -> nghttp2 -> call (head, body, trailers) -> pop_arrived, pop_ended
 *
 * Nothing is called back: what has come of the bytes is popped behind feed, lost and check, so whoever handles an answer
 * may start, cancel and destroy.
 *
 * A call that ends as `is_unprocessed` was not looked at by the server (it never left, or the server said so: REFUSED_STREAM, a
 * GOAWAY with a lower stream): it is safe to send again elsewhere. After a GOAWAY there is no room for more; what was
 * begun finishes.
 *
 * Limits     streams: the server's SETTINGS, at most HG_HTTP2_CALLS_MAX; the head and the trailers of an answer; its body; a gRPC
 *            message by its prefix, before there is room for it. A server's control frames: nghttp2's own.
 * Silence    while calls are under way and no byte came for half of timeout_ms, a PING is sent; without any byte for
 *            timeout_ms the connection is dead.
 * Ownership  a call is the client's until popped as ended or canceled.
 * Threads    none of its own.  Time  an argument.
 */
#ifndef HG_WIRE_HTTP2_CLIENT_H
#define HG_WIRE_HTTP2_CLIENT_H

#include "base/buf.h"
#include "base/list.h"

#define HG_HTTP2_CALLS_MAX       1000
#define HG_HTTP2_ANSWER_HEAD_MAX 65536 /* bytes, likewise of trailers */
#define HG_HTTP2_REQUEST_FIELDS  16

struct hg_http2_client;

struct hg_http2_request {
    struct hg_bytes method, authority, path;
    const char *const *headers; /* "Name: value", NULL-terminated, at most HG_HTTP2_REQUEST_FIELDS; NULL entries end it. NULL = none */
    struct hg_bytes body;       /* copied */
    size_t body_max;            /* of the answer's body that is not taken yet */
    bool is_grpc;               /* the answer's body is one message of at most body_max */
    bool is_streamed;           /* pop_arrived tells of its body */
};

struct hg_http2_call {
    struct hg_http2_client *client; /* NULL: it has ended */
    void *user;
    struct hg_list link, arrived;
    int32_t id;
    struct hg_buf request_body, headers, body, trailers; /* headers, trailers: lines, each with CRLF */
    size_t request_sent, body_max, list_bytes;
    int status;
    int err; /* once ended: HG_OK, HG_EPROTO, HG_ETOOBIG, HG_ENOMEM, or what `lost` was told */
    const char *err_text;
    bool is_grpc, is_streamed;
    bool is_sent;        /* its head has left */
    bool has_head;       /* the answer's */
    bool is_whole;       /* all of the answer is there */
    bool is_unprocessed; /* once ended: safe to send again */
    bool is_reset;       /* once ended: the server has reset it */
    bool is_canceled;
};

int hg_http2_client_create(uint64_t timeout_ms, uint64_t now_ms, struct hg_http2_client **out_client);
/* With all its calls. NULL is fine. */
void hg_http2_client_destroy(struct hg_http2_client *client);

/* HG_EPROTO: the server does not speak HTTP/2 (as it should). HG_ENOMEM. Then the connection is to be given up. */
int hg_http2_client_feed(struct hg_http2_client *client, struct hg_bytes input, uint64_t now_ms);
/* The next bytes to send, valid until the next call; none: nothing to send now. */
int hg_http2_client_pull(struct hg_http2_client *client, struct hg_bytes *out_bytes);
/* The server's SETTINGS have come: it speaks HTTP/2. Before that there is no room. */
bool hg_http2_client_is_ready(const struct hg_http2_client *client);
/* How many calls the server takes at a time, at most HG_HTTP2_CALLS_MAX. */
size_t hg_http2_client_calls_max(const struct hg_http2_client *client);
/* It takes no more calls: a GOAWAY has come, there are no more stream ids, or the server takes none now. */
bool hg_http2_client_is_spent(const struct hg_http2_client *client);
/* Nothing more will be read or sent, or it is spent and has no calls. */
bool hg_http2_client_is_over(const struct hg_http2_client *client);

/* How many calls it takes now. */
size_t hg_http2_client_room(const struct hg_http2_client *client);
size_t hg_http2_client_call_count(const struct hg_http2_client *client);
/* HG_ELIMIT: no room. HG_ENOMEM; HG_EINVAL: too many headers, or one without a colon. */
int hg_http2_client_start(struct hg_http2_client *client, const struct hg_http2_request *request, void *user,
                          uint64_t now_ms, struct hg_http2_call **out_call);
/* RST_STREAM with CANCEL; the call is gone for the caller. HG_ENOMEM: the connection is to be given up. */
int hg_http2_call_cancel(struct hg_http2_call *call);
/* The connection is gone: every call ends, with this if it has been seen by the server perhaps. Then only pop and destroy. */
void hg_http2_client_lost(struct hg_http2_client *client, int err, const char *text);

/* A streamed call with more of its body, taken by hg_buf_consume; NULL: none. */
struct hg_http2_call *hg_http2_client_pop_arrived(struct hg_http2_client *client);
/* The next that has ended, to be freed; NULL: none. */
struct hg_http2_call *hg_http2_client_pop_ended(struct hg_http2_client *client);
void hg_http2_call_free(struct hg_http2_call *call);

/* Sends a PING, unless one is under way. HG_ENOMEM. */
int hg_http2_client_ping(struct hg_http2_client *client, uint64_t now_ms);
/* HG_ETIMEDOUT: silence. Else HG_OK and when to look again, HG_FOREVER while nothing is under way. */
int hg_http2_client_check(struct hg_http2_client *client, uint64_t now_ms, uint64_t *out_next_ms);

#endif
