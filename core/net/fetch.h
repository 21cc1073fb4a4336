/*
 * fetch - HTTP/1.1 requests of our own: libcurl multi driven by a loop. http and https only, no redirects unless asked.
 *
 * libcurl is loaded and started with the first fetch. Threads: all on the fetcher's loop.
 * Start contract: hg_fetch_start fails, or `done` is called exactly once, later (HG_ECANCELED on cancel and close).
 */
#ifndef HG_NET_FETCH_H
#define HG_NET_FETCH_H

#include <sys/types.h>
#include "net/loop.h"
#include "base/buf.h"

struct hg_fetcher;
struct hg_fetch;

/*
 * Bytes of the body of an answer with status 200, as they come; returns how many it is done with. The rest is given
 * again with more behind it, and what is left in the end is the response's body. May start, cancel and close.
 */
typedef size_t (*hg_fetch_data_fn)(void *ctx, struct hg_bytes bytes);

/*
 * It has a connection, and the request is about to go. is_new: one that was made for it. Again, if libcurl finds that one dead and
 * takes another. May start, cancel and close.
 */
typedef void (*hg_fetch_connected_fn)(void *ctx, bool is_new);

/* Of a fetch in pieces (fetch_pieces.c): there is something new: the head, more of the body, room for more of the request's. */
typedef void (*hg_fetch_moved_fn)(void *ctx);
#define HG_FETCH_LENGTH_UNKNOWN UINT64_MAX

struct hg_fetch_options {
    const char *method;           /* "GET" */
    const char *url;
    const char *const *headers;   /* "Name: value", NULL-terminated; NULL = none */
    struct hg_bytes body;         /* copied; data NULL = none */
    uint64_t timeout_ms;          /* whole exchange; 0 = none */
    uint64_t connect_timeout_ms;  /* default 250 */
    size_t body_max;              /* HG_ETOOBIG beyond it; with data, of what it has not used */
    hg_fetch_data_fn data;        /* with done's ctx; NULL: the body comes as a whole */
    hg_fetch_connected_fn connected; /* with done's ctx; NULL: nobody asks */
    hg_fetch_moved_fn moved;      /* with done's ctx: in pieces. body_max counts what has come, taken or not */
    bool is_fed;                  /* in pieces: the request's body comes by hg_fetch_feed */
    uint64_t fed_bytes;           /* all of it, or HG_FETCH_LENGTH_UNKNOWN: chunked */
    bool fresh_connection;        /* not from the pool (probes) */
    bool accept_compressed;       /* asks for gzip and deflate; body is what they unpack to, and body_max counts that */
    const char *ca_file;          /* instead of the system's certificates. NULL = those */
    const char *cert_file, *key_file; /* our own certificate, where the other side wants one. NULL: none */
};

struct hg_fetch_response {
    int err;              /* HG_OK, HG_ETIMEDOUT, HG_EPEER (connect, reset, silence), HG_EPROTO, HG_ETOOBIG, HG_ECANCELED, HG_ENOMEM */
    const char *err_text; /* for logs */
    bool is_connect_error;
    int status;           /* 0 without an answer */
    struct hg_bytes headers; /* raw lines */
    struct hg_bytes body;
    /* Over HTTP/2 (net/http2_pool.h): */
    struct hg_bytes trailers; /* raw lines */
    bool is_http2;
    bool is_unprocessed; /* with an err: the server has not looked at it, it may be sent again */
    bool is_reset;       /* with HG_EPROTO: the server has reset its stream only */
};
typedef void (*hg_fetch_fn)(void *ctx, const struct hg_fetch_response *response); /* spans are lent for the call */

int hg_fetcher_create(struct hg_loop *loop, struct hg_fetcher **out_fetcher);
void hg_fetcher_close(struct hg_fetcher *fetcher, void (*closed)(void *ctx), void *ctx); /* cancels what runs */
int hg_fetch_start(struct hg_fetcher *fetcher, const struct hg_fetch_options *options, hg_fetch_fn done, void *ctx,
                   struct hg_fetch **out_fetch);
void hg_fetch_cancel(struct hg_fetch *fetch, int err); /* done is called, later, with err */

/*
 * fetch_pieces.c. The answer's status and headers, once they are there; its body so far, of which what is taken is gone.
 * While HG_FETCH_HELD_BYTES wait to be taken, nothing more is read from the connection.
 */
#define HG_FETCH_HELD_BYTES 65536
bool hg_fetch_has_head(const struct hg_fetch *fetch, struct hg_fetch_response *out_head);
struct hg_bytes hg_fetch_bytes(const struct hg_fetch *fetch);
void hg_fetch_take(struct hg_fetch *fetch, size_t count);
/* How many bytes it takes now, 0 when it is full (moved follows); HG_ENOMEM. */
ssize_t hg_fetch_feed(struct hg_fetch *fetch, struct hg_bytes bytes);
bool hg_fetch_has_room(const struct hg_fetch *fetch); /* to feed */
void hg_fetch_feed_end(struct hg_fetch *fetch);

/* fetch_headers.c. The next field of response->headers, or of what the last call left of them. False: no more. */
bool hg_fetch_next_header(struct hg_bytes *rest, struct hg_bytes *out_name, struct hg_bytes *out_value);
struct hg_bytes hg_fetch_header(const struct hg_fetch_response *response, const char *name); /* the first; else empty */

#endif
