/*
 * server - one loop's client connections: HTTP/1.1 in, answers out in order; or HTTP/2 with prior knowledge, told apart by
 * its preface, answers out as they come.
 *
 *   read (shared buffer of the loop) -> http1 or http2 -> handler -> out queue -> one write for all answers of the batch
 *
 * The handler answers an exchange during the call, or keeps it and answers later on the same loop. At most limits.pipeline
 * exchanges of a connection are in work (of HTTP/2: limits.streams); beyond that, or with more than limits.out_bytes unsent, reading pauses.
 *
 * Time-outs: header_timeout (total, from the first byte of a request to its end of head), the same again for the body plus 1 s for
 * each 64 KiB, idle_timeout between requests, write_timeout without progress of a write. HTTP/2 has the same for each stream, and an
 * idle connection ends with GOAWAY. One sweep timer a server.
 * Limits with counters: connections (given by the caller), pipeline, everything in http1.
 *
 * Threads    all on the server's loop, except hg_server_stats (atomics).
 */
#ifndef HG_NET_SERVER_H
#define HG_NET_SERVER_H

#include "net/address.h"
#include "net/loop.h"
#include "wire/http1.h"
#include "base/value.h"

struct hg_server;
struct hg_conn;
struct hg_http2_stream;

struct hg_server_limits {
    struct hg_http1_limits http1;
    unsigned pipeline;      /* default 16 */
    unsigned streams;       /* of an HTTP/2 connection; default 128 */
    size_t message;         /* of gRPC; default http1.body */
    size_t out_bytes;       /* unsent bytes from which reading pauses; default 1 MiB */
    uint64_t header_timeout_ms, idle_timeout_ms, write_timeout_ms; /* 0 = none */
    size_t pinned_max;      /* bytes of stored values unsent for 2 s and more before the slowest reader is closed; default 64 MiB */
};

struct hg_exchange {
    const struct hg_http1_request *request; /* valid during the handler; after hg_exchange_keep, the copy */
    struct hg_conn *conn;  /* borrowed; NULL once the client has gone */
    struct hg_server *server;
    unsigned roles;        /* of the listener it came through */
    struct hg_list link;   /* the connection's queue; order of answers */
    void *user;            /* the handler's */
    unsigned marks;        /* the handler's, too */
    struct hg_http2_stream *stream; /* borrowed; NULL once the client has gone, and with HTTP/1.1 */
    bool is_kept, is_answered, is_http2;
};

struct hg_reply {
    int status;
    struct hg_bytes headers; /* whole lines, each with CRLF; copied. Date, Content-Length and Connection are the server's */
    struct hg_bytes trailers; /* HTTP/2 only: as headers, behind the body, or beside the headers when there is none */
    struct hg_bytes body;    /* copied unless value is set */
    struct hg_value *value;  /* body is this value's data, written from place; the reference is taken over. NULL: none */
    bool is_head;            /* Content-Length of the body, but no body */
    bool no_length;          /* 304, 204: neither body nor Content-Length */
    bool close;              /* close the connection once it is out; not with HTTP/2 */
};

struct hg_server_ops {
    /* A whole request. Exactly one hg_exchange_answer, now or after hg_exchange_keep. */
    void (*request)(void *ctx, struct hg_exchange *exchange);
    /* The client of a kept, unanswered exchange has gone: conn is NULL; still answer it (it is then just freed), or call hg_exchange_drop. */
    void (*gone)(void *ctx, struct hg_exchange *exchange);
    /*
     * NULL, or what is answered to what is no request, instead of a line of text: NULL, or the text, with the line of its
     * Content-Type.
     */
    const char *(*page)(void *ctx, unsigned roles, int status, const char **out_type);
    /* NULL: always. False: a connection that begins with the preface of HTTP/2 is closed; clients of gRPC go elsewhere. */
    bool (*takes_http2)(void *ctx);
    /* A connection is over; the connection cap counts on it. */
    void (*closed)(void *ctx, unsigned roles);
};

int hg_server_create(struct hg_loop *loop, const struct hg_server_limits *limits, const struct hg_server_ops *ops, void *ctx,
                     struct hg_server **out_server);
/* Takes over the accepted socket. On failure (HG_ENOMEM; HG_ECLOSED after hg_server_close) it is closed and ops->closed is called. */
int hg_server_adopt(struct hg_server *server, int fd, unsigned roles);
/*
 * From now on answers carry "Connection: close" (of pipelined ones the last, so that none is thrown away), and connections
 * without a request for 250 ms are closed, unless one has just arrived.
 */
void hg_server_drain(struct hg_server *server);
size_t hg_server_conn_count(const struct hg_server *server);
size_t hg_server_busy_count(const struct hg_server *server); /* exchanges not yet answered, or answers not yet sent */
/* Closes every connection at once; `closed` when all are gone and the server is freed. Kept exchanges may come back later still. */
void hg_server_close(struct hg_server *server, void (*closed)(void *ctx), void *closed_ctx);

/*
 * Makes the exchange outlive the handler call: it and the request are copied to the heap; a kept one is given back as it is. NULL: out
 * of memory (answer 503 with the old one).
 */
struct hg_exchange *hg_exchange_keep(struct hg_exchange *exchange);
/* Answers; the exchange is dead afterwards. Never fails towards the caller: a client that cannot be answered is closed. */
void hg_exchange_answer(struct hg_exchange *exchange, const struct hg_reply *reply);
/*
 * Or, of a kept one, not of HTTP/1.0, the answer in pieces: status and headers of `reply`, pieces (none empty) that leave at
 * the end of their turn, and the end, after which the exchange is dead. When memory is out the client is closed, and
 * ops->gone called, inside these.
 */
void hg_exchange_begin(struct hg_exchange *exchange, const struct hg_reply *reply);
void hg_exchange_piece(struct hg_exchange *exchange, struct hg_bytes piece);
void hg_exchange_end(struct hg_exchange *exchange);
/* What its client has not taken yet. */
size_t hg_exchange_unsent(const struct hg_exchange *exchange);
/* Only after gone: frees it without an answer. */
void hg_exchange_drop(struct hg_exchange *exchange);
/* "127.0.0.1:54321"; "unix" for unix sockets; "gone". */
void hg_exchange_remote(const struct hg_exchange *exchange, char buf[static HG_PEER_TEXT_MAX]);

#define HG_SERVER_COUNTERS(X)                                                                      \
    X(connections) X(requests) X(bad_requests) X(header_timeouts) X(idle_timeouts) X(write_timeouts) \
    X(pauses) X(pinned_closed) X(aborted) X(bytes_in) X(bytes_out) X(http2_connections) X(http2_floods) X(http2_refused) X(http2_stalled) X(http2_unready)
struct hg_server_stats {
#define X(name) uint64_t name;
    HG_SERVER_COUNTERS(X)
#undef X
    uint64_t open; /* gauge */
};
void hg_server_stats(const struct hg_server *server, struct hg_server_stats *out_stats);

#endif
