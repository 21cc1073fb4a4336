/*
 * http2_pool - HTTP/2 requests of our own: what fetch is for HTTP/1.1. Few connections of one loop to one server, many streams on each.
 *
 *   start -> waits -> a connection with room -> wire/http2_client -> done
 *               '---> none: one is opened, up to connections_max; one at a time
 *
 * A connection is of use once the server's SETTINGS have come. What was not looked at by a server that leaves (GOAWAY,
 * REFUSED_STREAM) is sent once more, on another connection; if that fails too, or if the server turns out to speak no HTTP/2, `done`
 * is told is_unprocessed: nothing has been done with the request.
 *
 * Time       connecting has 250 ms as in fetch; the SETTINGS have timeout_ms, and so has silence under calls (wire/http2_client.h).
 * Limits     streams by the server, none being no HTTP/2; connections_max that take requests, and with those that finish what
 *            a leaving server has begun twice as many; HG_HTTP2_WAITING_MAX requests that wait for a stream (HG_ELIMIT).
 * Threads    all on the pool's loop.
 * Start contract: as in fetch.
 */
#ifndef HG_NET_HTTP2_POOL_H
#define HG_NET_HTTP2_POOL_H

#include "net/fetch.h"
#include "net/stream.h"

#define HG_HTTP2_WAITING_MAX 4096

struct hg_http2_pool;
struct hg_http2_fetch;

struct hg_http2_pool_ops {
    void (*heard)(void *ctx);               /* bytes have come */
    void (*found)(void *ctx, bool is_http2); /* what a new connection's server speaks */
};

struct hg_http2_pool_config {
    const char *url; /* "http://host:port", borrowed; port 80 where there is none */
    uint64_t timeout_ms;
    unsigned connections_max;
    struct hg_stream_budget *budget; /* borrowed */
    const struct hg_http2_pool_ops *ops;
    void *ctx;
};

int hg_http2_pool_create(struct hg_loop *loop, const struct hg_http2_pool_config *config,
                         struct hg_http2_pool **out_pool);
void hg_http2_pool_close(struct hg_http2_pool *pool, void (*closed)(void *ctx), void *ctx); /* cancels what runs */
/*
 * options: url (that of the pool with a path), method, headers, body, timeout_ms, body_max, data. is_grpc: body and answer are
 * one message, of at most body_max bytes.
 */
int hg_http2_fetch_start(struct hg_http2_pool *pool, const struct hg_fetch_options *options, bool is_grpc,
                         hg_fetch_fn done, void *ctx, struct hg_http2_fetch **out_fetch);
void hg_http2_fetch_cancel(struct hg_http2_fetch *fetch, int err); /* done is called, later, with err */
/* It has a stream. */
bool hg_http2_fetch_is_sent(const struct hg_http2_fetch *fetch);

/* Some connection is of use. */
bool hg_http2_pool_is_ready(const struct hg_http2_pool *pool);
/* Asks the server, on each connection, for a sign of life: `heard`. */
void hg_http2_pool_ping(struct hg_http2_pool *pool);
/* The server was silent: its connections are of no use any more. What was sent on them ends with HG_ETIMEDOUT. */
void hg_http2_pool_drop(struct hg_http2_pool *pool, const char *why);
/* True: a connection is of use, so the server speaks HTTP/2. Else one is opened, if none is, to find out. */
bool hg_http2_pool_try(struct hg_http2_pool *pool);

struct hg_http2_pool_stats {
    size_t connections, streams, waiting;
};
struct hg_http2_pool_stats hg_http2_pool_stats(const struct hg_http2_pool *pool);

#endif
