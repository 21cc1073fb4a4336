/*
 * conn - inside of the server: one client connection. For server.c, conn*.c and exchange.c only.
 *
 *   OPEN     reads requests, answers them
 *   LAST     the last answer is queued: reads no more requests, sends what is left
 *   LINGER   all is sent and our side shut: swallows what the client still sends, so that it sees the answer
 *            instead of a reset
 *   CLOSING  the handle is being closed
 *
 * conn_close is the one way out. Whatever changes a connection ends in conn_pump, which sends, goes on with kept
 * input, and decides about reading, closing and time-outs.
 */
#ifndef HG_NET_CONN_H
#define HG_NET_CONN_H

#include <assert.h>
#include "net/address.h"
#include "net/out.h"
#include "base/buf.h"
#include "net/server.h"
#include "wire/http2.h"

#define HG_CONN_READ_BYTES                                                                         \
    65536 /* the shared read buffer, and so the most that is kept unread of one connection */
#define HG_WHEEL_SLOTS 64
#define HG_WHEEL_MS    100

enum hg_conn_state { HG_CONN_OPEN, HG_CONN_LAST, HG_CONN_LINGER, HG_CONN_CLOSING };

struct hg_conn {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } uv;
    struct hg_server *server;
    struct hg_http1 parser;
    struct hg_http2 *http2; /* NULL: it speaks HTTP/1.1, or has not said yet */
    struct hg_out out;
    struct hg_list queue;   /* kept exchanges, in the order of their requests */
    struct hg_list link;    /* server->conns */
    struct hg_list timer;   /* a slot of the wheel */
    struct hg_list dirty;   /* server->dirty: to be pumped at the end of this turn */
    struct hg_list blocked; /* server->blocked: the socket does not take more now */
    char *kept;             /* input not parsed yet, NULL when there is none */
    uint32_t kept_start, kept_end;
    uint64_t slot_due_ms; /* what the wheel has */
    uint64_t active_ms;   /* last request or answer */
    uint64_t head_ms;     /* when the request being received began; 0 = none */
    uint64_t body_ms;     /* when its body began; 0 = in the head */
    uint64_t progress_ms; /* of the pending write; in LINGER: its end */
    uint64_t blocked_ms;
    size_t blocked_sent;   /* bytes since then */
    size_t unsent_seen;    /* at the last look at the pending write */
    size_t body_bytes;     /* received of this body; in LINGER: swallowed */
    size_t writing_bytes;  /* of the pending write */
    size_t pinned_counted; /* part of server->pinned */
    unsigned turn_read;    /* the turn in which a full buffer was read */
    unsigned roles;
    unsigned work_count; /* length of queue */
    char remote[HG_PEER_TEXT_MAX]; /* who it is of; empty until somebody asks */
    uint8_t preface_len; /* bytes that have come and could be the beginning of HTTP/2's preface */
    uint8_t state;
    bool is_unix : 1, is_reading : 1, is_writing : 1, is_pumping : 1, has_eof : 1;
    bool is_fresh : 1;        /* it is not known yet which protocol it speaks */
    bool is_leaving : 1;      /* HTTP/2: the last GOAWAY is out */
    bool owes_continue : 1;   /* 100 Continue, once its turn comes */
    bool is_last_request : 1; /* what follows on this connection is not a request of ours */
    bool has_more_input : 1;  /* behind the request being handled */
};

struct hg_server_counters {
#define X(name) _Atomic uint64_t name;
    HG_SERVER_COUNTERS(X)
#undef X
    _Atomic uint64_t open;
};

struct hg_server {
    struct hg_loop *loop;
    struct hg_server_limits limits;
    struct hg_server_ops ops;
    void *ctx;
    struct hg_http1_scratch *scratch;
    struct hg_out_pool pool;
    uv_timer_t sweep;
    uv_prepare_t turn_end;
    struct hg_list conns, dirty, blocked;
    struct hg_list orphans; /* kept exchanges whose client has gone */
    struct hg_list wheel[HG_WHEEL_SLOTS];
    uint64_t swept_tick;
    unsigned turn;
    size_t conn_count, kept_count, pinned;
    unsigned open_handles;
    bool is_draining, is_closing;
    void (*closed)(void *ctx);
    void *closed_ctx;
    struct hg_server_counters counters;
    char read_buffer[HG_CONN_READ_BYTES];
};

/* A kept exchange: on its connection's queue until its answer's turn, or on the orphans' list. */
struct hg_kept {
    struct hg_exchange exchange;
    struct hg_http1_request *request; /* owned */
    struct hg_buf answer;   /* head and small body, once answered before its turn */
    struct hg_value *value; /* big body that follows */
    bool close_after;
    bool is_begun; /* answered in pieces; answer: those that came before its turn */
};

static inline struct hg_kept *hg_kept_of(const struct hg_exchange *exchange)
{
    assert(exchange->is_kept);
    return hg_container_of(exchange, struct hg_kept, exchange);
}

/* One writer, the loop: no read-modify-write is needed. */
static inline void hg_counter_add(_Atomic uint64_t *counter, uint64_t amount)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + amount,
                          memory_order_relaxed);
}

/* conn.c */
int hg_conn_open(struct hg_server *server, int fd, unsigned roles);
void hg_conn_close(struct hg_conn *conn);
/* Looks at the clock: closes what is over, returns when to look again. CLOSING: HG_FOREVER. */
uint64_t hg_conn_check(struct hg_conn *conn, uint64_t now_ms);
void hg_conn_pump(struct hg_conn *conn);
/* Pumped at the end of this turn, with whatever else is answered until then. */
void hg_conn_mark_dirty(struct hg_conn *conn);

/* conn_http2.c */
int hg_conn_http2_begin(struct hg_conn *conn);
void hg_conn_http2_input(struct hg_conn *conn, struct hg_bytes input);
/* Moves what it has to send to conn->out, as much as is to lie there. */
void hg_conn_http2_fill(struct hg_conn *conn);
/* Has its client go elsewhere: first asks, then insists. */
void hg_conn_http2_leave(struct hg_conn *conn);
/* Nobody has asked for a long time: says good-bye. */
void hg_conn_http2_stop(struct hg_conn *conn);
/* Of an exchange over HTTP/2. */
void hg_conn_http2_answer(struct hg_exchange *exchange, const struct hg_reply *reply);
void hg_conn_http2_start(struct hg_exchange *exchange, const struct hg_reply *reply);
void hg_conn_http2_piece(struct hg_exchange *exchange, struct hg_bytes piece);
void hg_conn_http2_end(struct hg_exchange *exchange);

/* exchange.c: on and off its connection's queue; frees what it holds. */
void hg_kept_join(struct hg_kept *kept);
void hg_kept_leave(struct hg_kept *kept);
void hg_kept_free(struct hg_kept *kept);
/* It has left the queue and its client has gone: an orphan, unless it was answered. */
void hg_kept_orphan(struct hg_kept *kept);
/* The reply's reference, where it does not go on to the client. */
void hg_reply_release(const struct hg_reply *reply);

/* exchange.c: with everything behind it, as a client would see it. */
void hg_conn_answer_error(struct hg_conn *conn, int status, const char *text);
/* Answers that wait for their turn no longer. */
void hg_conn_queue_advance(struct hg_conn *conn);
/* The client has gone, or there is to be no answer: unanswered ones become orphans and ops->gone is called. */
void hg_conn_queue_drop(struct hg_conn *conn);

/* server.c */
void hg_server_schedule(struct hg_conn *conn, uint64_t due_ms);
void hg_server_conn_gone(struct hg_conn *conn);
/* More of stored values is held by slow readers than limits.pinned_max: closes the slowest. */
void hg_server_check_pinned(struct hg_server *server, uint64_t now_ms);

#endif
