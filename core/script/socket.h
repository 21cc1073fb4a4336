/*
 * socket - the connections of a script thread: each belongs to the task that opened it, or waits in a pool for the next.
 *
 *   hg_socket_open -> (task) -> hg_socket_keep -> (idle) -> hg_socket_reuse -> (task) -> hg_socket_close
 *
 * Ends       with its task, by close, after idle_ms in the pool, or when the other side has something to say to an idle one.
 * Limits     HG_SOCKETS_MAX on one thread, idle ones among them: the longest idle one goes first.
 * Threads    the script thread's; give_up of an op any, under the thread's lock.
 */
#ifndef HG_SCRIPT_SOCKET_H
#define HG_SCRIPT_SOCKET_H

#include "net/stream.h"
#include "script/runtime_impl.h"
#include "wire/piece.h"

/* Longest pool name and longest pattern. */
#define HG_SOCKET_POOL_MAX    512
#define HG_SOCKET_PATTERN_MAX 4096

struct hg_socket;

/* A script's one pointer to a connection. */
struct hg_socket_holder {
    struct hg_socket *socket; /* NULL: not connected */
    bool is_lost;             /* because the task that connected it has ended */
};

struct hg_socket {
    struct hg_stream stream;
    struct hg_list link;       /* task->sockets or thread->idle_sockets */
    struct hg_thread *thread;
    struct hg_task *owner;     /* NULL: idle */
    struct hg_socket_holder *holder; /* NULL: gone */
    struct hg_op read, write;  /* who waits in it; connecting is a write */
    bool is_connecting, is_closing; /* shaking hands is connecting too */
    bool is_fresh;                  /* out of a pool, and nothing was sent or read since */
    bool wants_session;             /* of the handshake under way */
    char *host;    /* or path */
    uint16_t port; /* 0: a path */
    struct hg_piece want;
    char *pattern;    /* of want */
    size_t piece_max; /* longest piece */
    size_t sending;   /* bytes of the send that is under way */
    char *pool;
    unsigned pool_size; /* 0: none was given */
    uint64_t reused_count;
    uint64_t idle_until_ms;
};

/* Where a connection goes. */
struct hg_socket_place {
    const char *host; /* or the path of a unix socket */
    uint16_t port;    /* 0: a path */
    struct hg_bytes pool;
    unsigned pool_size;
};

/*
 * Belongs to task, and holder has it until it closes. HG_ELIMIT (counted), HG_ENOMEM. In the core.
 */
int hg_socket_open(struct hg_task *task, const struct hg_socket_place *place, struct hg_socket_holder *holder);
/* An idle one of that pool, for task. False: there is none. In the core. */
bool hg_socket_reuse(struct hg_task *task, struct hg_bytes pool, struct hg_socket_holder *holder);
/*
 * Into its pool, of at most pool_size; the longest idle one of it goes where it is full (counted). A pool is of one kind: idle
 * ones with another kind of TLS, or without, go first (counted). idle_ms: HG_FOREVER is fine. In the core.
 */
int hg_socket_keep(struct hg_socket *socket, uint64_t idle_ms, unsigned pool_size);
/* Who waits in it is answered with "closed", later. NULL is fine. */
void hg_socket_close(struct hg_socket *socket);
/* The script's pointer is gone: closes it unless somebody waits in it. */
void hg_socket_let_go(struct hg_socket *socket);
bool hg_socket_is_waiting(struct hg_socket *socket, const struct hg_op *op);
/* Its stream is closed and nobody waits in it. */
void hg_socket_free(struct hg_socket *socket);
/* socket_answer.c: what its stream and its ops call, and what a script is answered. */
extern const struct hg_stream_calls hg_socket_calls;
void hg_socket_read_expired(struct hg_op *op, struct hg_task *task);
void hg_socket_write_expired(struct hg_op *op, struct hg_task *task);

struct hg_socket_answer {
    struct hg_socket *socket; /* NULL: it is being freed */
    const char *error;        /* NULL: well */
    bool is_timeout;          /* and the connection stays */
    bool is_too_large;
    struct hg_piece_found found;
};
/* Whether the piece it wants is there, or has become longer than it may. */
bool hg_socket_has_piece(struct hg_socket *socket, bool has_ended, struct hg_socket_answer *answer);
void hg_socket_too_large(struct hg_socket_answer *answer);
/* ud: the answer. A session, true, or nil, message   [-0, +1|+2, m] */
int hg_socket_push_secured(lua_State *L, struct hg_task *task, void *ud);
/* nil, message   [-0, +2, m] */
int hg_socket_push_failure(lua_State *L, const char *message);
/* ud: the answer. Bytes sent, or nil, message   [-0, +1|+2, m] */
int hg_socket_push_sent(lua_State *L, struct hg_task *task, void *ud);
/*
 * ud: the answer. data, or nil, message, what arrived. Up to a pattern: data, nil, nil, whether the
 * pattern was met.   [-0, +1|+3|+4, m]
 */
int hg_socket_push_read(lua_State *L, struct hg_task *task, void *ud);

/* lib_socket.c, for lib_tls.c: the userdata. */
struct hg_socket_box {
    struct hg_socket_holder holder;
    uint64_t connect_ms, send_ms, read_ms;
};
struct hg_socket_box *hg_lib_check_socket(lua_State *L); /* argument 1 */
/* The connection, or NULL and why it cannot be used for reading or writing now. */
struct hg_socket *hg_lib_usable_socket(struct hg_socket_box *box, bool reads, bool writes, const char **out_why);
/* Makes a connection, or takes an idle one (HG_OK) where it may; HG_PENDING: the socket's write op. In the core. */
int hg_lib_start_connect(struct hg_task *task, struct hg_socket_box *box, const struct hg_socket_place *place,
                         bool may_reuse);
/* What start_connect came to; waits where it has to.   [-0, +1|+2, v] */
int hg_lib_finish_connect(lua_State *L, struct hg_task *task, struct hg_socket_box *box, int err);

#endif
