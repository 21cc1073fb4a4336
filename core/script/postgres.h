/*
 * postgres - connections to a PostgreSQL server that the tasks of a script thread share.
 *
 *   hg_postgres_acquire -> (waits for a connection) -> hg_postgres_ask -> (waits for the answer) -> back to the pool
 *
 * A task has one turn at a time: the place in the queue, then the connection. Its end, by whatever, ends the turn; a statement that is
 * under way is cancelled then and its connection closed, never given to the next.
 *
 * Limits     connection_max connections of a pool, HG_POSTGRES_MAX of a thread; HG_POSTGRES_WAITING_MAX turns that wait for one.
 * Failure    where no connection is left and none can be made, all who wait are told so; where there are others, they wait for those.
 * Threads    the script thread's; give_up of an op any, under the thread's lock.
 */
#ifndef HG_SCRIPT_POSTGRES_H
#define HG_SCRIPT_POSTGRES_H

#include "net/pg.h"
#include "net/timer.h"
#include "script/runtime_impl.h"

#define HG_POSTGRES_MAX         1024
#define HG_POSTGRES_WAITING_MAX 4096

struct hg_postgres {     /* a pool */
    struct hg_list link; /* thread->postgres */
    struct hg_thread *thread;
    struct hg_pg_config *config; /* a reference */
    unsigned connection_max, ref_count;
    uint64_t timeout_ms, idle_ms;
    size_t max_bytes;
    struct hg_list idle, busy, connecting; /* struct connection; idle: last used first */
    struct hg_list waiting;                /* struct hg_postgres_turn, in order of time */
    unsigned connection_count, connecting_count, waiting_count;
    struct hg_timer timer; /* of idle and connecting ones */
    bool timer_open, is_closed, is_woken;
};

struct hg_postgres_connection;

struct hg_postgres_turn {
    struct hg_op op;
    struct hg_list link; /* pool->waiting */
    struct hg_postgres *pool;
    struct hg_task *task;
    struct hg_postgres_connection *connection; /* NULL: it waits for one */
    uint64_t deadline_ms;
};

/* What a task is answered; error is NULL where it is well. */
struct hg_postgres_answer {
    const char *error, *code;
    char sqlstate[6]; /* the server's, or "" */
    const struct hg_pg_answer *rows;
    char text[512];
};

/* A pool of thread, with one reference. NULL: out of memory. */
struct hg_postgres *hg_postgres_create(struct hg_thread *thread, struct hg_pg_config *config);
/* The script's hold on it is gone: its connections close as soon as nobody uses them. */
void hg_postgres_release(struct hg_postgres *pool);
/*
 * HG_OK: task->postgres_turn has a connection; HG_PENDING: wait for its op, answered by push_acquired; or an error: HG_ELIMIT (with words
 * in answer), HG_ENOMEM, ... In the core.
 */
int hg_postgres_acquire(struct hg_task *task, struct hg_postgres *pool,
                        struct hg_postgres_answer *answer);
/* HG_PENDING: wait for the op of task->postgres_turn, or an error with words in answer; the turn is over then. In the core. */
int hg_postgres_ask(struct hg_task *task, const char *sql, const struct hg_pg_parameter *parameters,
                    size_t count, struct hg_postgres_answer *answer);
/* lib_postgres.c: what a script is answered; ud: struct hg_postgres_answer. */
int hg_postgres_push_acquired(lua_State *L, struct hg_task *task,
                              void *ud); /* true | nil, message, code   [-0, +1|+3, m] */
int hg_postgres_push_answer(lua_State *L, struct hg_task *task,
                            void *ud); /* rows | nil, message, code, sqlstate   [-0, +1|+4, m] */

#endif
