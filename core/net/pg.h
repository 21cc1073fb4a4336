/*
 * pg - a connection to PostgreSQL: libpq without its waiting.
 *
 *   hg_pg_connect -> (names, net/dns.h) -> connected -> hg_pg_query -> done -> hg_pg_query ... -> hg_pg_close -> closed
 *
 * Callbacks  connected once, done once for each query; lost where the server ended a connection that nobody asks anything. None
 *            of them after hg_pg_close but `closed`, the last. They may close it, and never come before the starter returned.
 * Errors     hg_err; pg->error has the words and pg->sqlstate the server's code, or "".
 *            HG_EINVAL: the server refused the statement, and the connection is as good as before; see hg_pg_is_idle.
 * Limits     rows of an answer, with 4 bytes for each cell or row without any, are at most max_bytes (HG_ETOOBIG). A row that is larger is noticed
 *            while it arrives, by what the kernel has of it: about.
 * Threads    its loop's. A statement that is given up is cancelled by threads of pg_cancel.c.
 */
#ifndef HG_NET_PG_H
#define HG_NET_PG_H

#include <uv.h>
#include "base/buf.h"
#include "net/dns.h"
#include "net/pg_config.h"

#define HG_PG_PARAMETERS_MAX 100
#define HG_PG_COLUMNS_MAX    1600 /* PostgreSQL's own */
#define HG_PG_CANCELS_MAX    1000 /* that wait to be sent, in the process */

/* Types of a column that matter here, by PostgreSQL's numbers. */
#define HG_PG_BOOL  16
#define HG_PG_BYTEA 17

struct hg_pg;

struct hg_pg_calls {
    void (*connected)(struct hg_pg *pg, int err);
    void (*done)(struct hg_pg *pg, int err); /* HG_OK: pg->answer */
    void (*lost)(struct hg_pg *pg);
    void (*closed)(struct hg_pg *pg); /* its memory may be freed */
};

struct hg_pg_column {
    char *name;
    unsigned type;
};

struct hg_pg_answer {
    struct hg_buf cells;          /* row after row; hg_pg_next_cell reads it */
    struct hg_pg_column *columns; /* NULL: the statement returns no rows */
    size_t column_count, row_count;
    uint64_t changed_count; /* rows that were inserted, updated, ... */
};

struct hg_pg_watch;
struct pg_conn;
struct pg_result;
struct pg_cancel;

enum hg_pg_state {
    HG_PG_NEW,
    HG_PG_RESOLVING,
    HG_PG_CONNECTING,
    HG_PG_IDLE,
    HG_PG_ASKING,
    HG_PG_BROKEN,
    HG_PG_CLOSING
};

struct hg_pg {
    struct hg_loop *loop;
    const struct hg_pg_calls *calls;
    struct hg_pg_config *config; /* a reference */
    enum hg_pg_state state;
    struct pg_conn *conn;
    struct hg_pg_watch *watch; /* of its socket */
    unsigned watch_count;      /* not closed yet */
    struct hg_dns_waiter resolving;
    size_t place_index;
    struct hg_buf hosts, addresses, ports; /* for libpq, as far as they are known */
    struct hg_pg_answer answer;
    int answer_err;       /* what went wrong with it so far */
    size_t arrived_bytes; /* since the last whole row */
    size_t max_bytes;
    char sqlstate[6];
    char error[512];
};

struct hg_pg_parameter {
    const char *data; /* NULL: NULL. With a NUL behind it */
    size_t len;
    bool is_binary; /* the bytes are the value; else text as in SQL, without NUL */
};

void hg_pg_init(struct hg_pg *pg, struct hg_loop *loop, struct hg_pg_config *config,
                const struct hg_pg_calls *calls);
/* HG_PENDING, or an error. Once. */
int hg_pg_connect(struct hg_pg *pg);
/* One statement with its parameters, on an idle one. HG_PENDING, or an error. What it is given is not needed any more then. */
int hg_pg_query(struct hg_pg *pg, const char *sql, const struct hg_pg_parameter *parameters,
                size_t count, size_t max_bytes);
/* It can be asked, and remembers no transaction. */
bool hg_pg_is_idle(const struct hg_pg *pg);
/* The same, once more looked at: what the server sent to nobody is read, and its end is noticed. */
bool hg_pg_is_alive(struct hg_pg *pg);
enum hg_pg_ending { HG_PG_NOTHING_ASKED, HG_PG_CANCELLED, HG_PG_NOT_CANCELLED };
/*
 * Any time after init; cancels what it was asked. `closed` may be called before it returns. Whether the statement's cancelling was
 * begun; where too many wait, or there is no memory, the server goes on with it.
 */
enum hg_pg_ending hg_pg_close(struct hg_pg *pg);

/* The next cell; data is NULL for NULL. False: that was the last one. */
bool hg_pg_next_cell(struct hg_bytes *rest, struct hg_bytes *out_cell);

/*
 * pg_cancel.c: asks the server to end a statement, soon, and again where that came before the statement; takes over both. fd: the
 * connection's, a copy; negative: there is none, and its end cannot be seen. False: it is not cancelled, since too many such wait, or
 * for want of memory. Any thread.
 */
bool hg_pg_cancel(struct pg_cancel *cancel, int fd);
uint64_t hg_pg_cancels_again(void); /* how often again, in the process; any thread */

/* pg_rows.c: the answer of a connection, row by row as libpq has it. */
void hg_pg_answer_clear(struct hg_pg_answer *answer);
/* HG_OK, HG_ETOOBIG, HG_ENOMEM. */
int hg_pg_answer_add(struct hg_pg_answer *answer, const struct pg_result *result, size_t max_bytes);

#endif
