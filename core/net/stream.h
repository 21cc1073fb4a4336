/*
 * stream - a connection of our own to somewhere else, as a stream of bytes.
 *
 *   connect: numeric address or path | name -> its addresses (net/dns.h) -> one after the other, the first that answers
 *   write:   as much as the socket takes at once, the rest from a copy; one at a time
 *   read:    on want only, into a buffer with a maximum; the owner takes from its front
 *   secure:  from then on both are plain bytes on this side and TLS on the other (stream_tls.c)
 *
 * Callbacks  connected, secured and written once for each HG_PENDING, arrived while wanted. None of them after hg_stream_close but
 *            `closed`, the last. They may close the stream.
 * Errors     hg_err; stream->error has the words: "closed", "connection refused", ...
 * Memory     what streams hold together counts in a budget that they share; one that has used it up refuses to hold more.
 * Threads    its loop's.
 */
#ifndef HG_NET_STREAM_H
#define HG_NET_STREAM_H

#include <uv.h>
#include "base/buf.h"
#include "net/dns.h"
#include "net/tls.h"

struct hg_stream;

struct hg_stream_calls {
    void (*connected)(struct hg_stream *stream, int err);
    void (*secured)(struct hg_stream *stream, int err);
    /* HG_OK: there are more bytes. HG_ECLOSED: the other side has ended; HG_EPEER: TLS without saying so. HG_ETOOBIG: the buffer is full. HG_ELIMIT: the budget. */
    void (*arrived)(struct hg_stream *stream, int err);
    void (*written)(struct hg_stream *stream, int err);
    void (*closed)(struct hg_stream *stream); /* its memory may be freed */
};

struct hg_stream_write;

/* Of streams of one thread. */
struct hg_stream_budget {
    size_t used_bytes, max_bytes; /* the last one to grow may pass the maximum, by what it grew */
};

struct hg_stream {
    struct hg_loop *loop;
    const struct hg_stream_calls *calls;
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } uv;
    uv_connect_t connect;
    struct hg_dns_waiter resolving;
    char *addresses; /* of the name, one after the other, each with a NUL behind it; until it is connected */
    size_t addresses_len, next_address;
    uint16_t port;
    struct hg_stream_write *writing;
    struct hg_tls *tls; /* NULL: plain */
    char *rest;         /* what TLS has still to write; from rest_at on */
    size_t rest_len, rest_at;
    struct hg_buf in;
    size_t in_max;
    size_t taken; /* bytes at the front of `in` that are gone */
    struct hg_stream_budget *budget;
    size_t held_bytes; /* of `in`, as the budget has it */
    const char *error;
    bool has_handle, is_pipe, is_closing;
    bool is_unknown; /* the name has no address, or it could not be told */
    bool is_wanted;
    bool cannot_send; /* TLS: a part of what was sealed may be gone, so nothing can follow it */
    bool is_securing, is_sending; /* `secured`, `written` follows */
};

/* in_max: bytes that may wait to be taken. */
void hg_stream_init(struct hg_stream *stream, struct hg_loop *loop, size_t in_max,
                    struct hg_stream_budget *budget, const struct hg_stream_calls *calls);
/* HG_PENDING, or an error. Once for each stream. */
int hg_stream_connect(struct hg_stream *stream, const char *host, uint16_t port);
int hg_stream_connect_path(struct hg_stream *stream, const char *path);
/*
 * Takes over tls and shakes hands: HG_PENDING, or an error; HG_EINVAL: bytes have come that nobody has taken, which would pass
 * for protected ones. Once, and not while a write is pending; what is wanted is wanted again afterwards.
 */
int hg_stream_secure(struct hg_stream *stream, struct hg_tls *tls);
/* HG_OK: all of it is with the kernel; HG_PENDING: `written` follows; or an error: HG_ELIMIT, ... Not while one is pending. */
int hg_stream_write(struct hg_stream *stream, struct hg_bytes data);
/* From now on `arrived` is called; until pause. Or what would only be said again: HG_ECLOSED, ... of TLS. */
int hg_stream_want(struct hg_stream *stream);
void hg_stream_pause(struct hg_stream *stream);
/* Open, and the kernel has nothing from the other side: no bytes, no end. */
bool hg_stream_is_quiet(struct hg_stream *stream);
struct hg_bytes hg_stream_bytes(const struct hg_stream *stream);
void hg_stream_take(struct hg_stream *stream, size_t count);
/* Any time after init; `closed` may be called before it returns. */
void hg_stream_close(struct hg_stream *stream);

#endif
