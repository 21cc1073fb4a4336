/*
 * loop - one thread's libuv loop with a mailbox.
 *
 * Mail is intrusive and posting never allocates, fails or waits; a batch of any size costs one wake-up. A loop's
 * address is what the core knows as struct hg_loop.
 *
 * Threads    post, post_list, stop and heartbeat from any thread; everything else on the loop's own.
 */
#ifndef HG_NET_LOOP_H
#define HG_NET_LOOP_H

#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>
#include "base/err.h"
#include "base/list.h"

struct hg_mail;
typedef void (*hg_mail_fn)(struct hg_mail *mail); /* on the receiving loop; may free the mail */
struct hg_mail {
    struct hg_mail *next;
    hg_mail_fn deliver;
    struct hg_loop *to; /* while it is held */
};

struct hg_loop;
/* A list handed over by hg_loop_post_list (waiters); the receiver empties it. */
typedef void (*hg_loop_list_fn)(struct hg_loop *loop, struct hg_list *list);

/* Work for the end of a turn; zeroed: not due. */
struct hg_turn_end;
typedef void (*hg_turn_end_fn)(struct hg_turn_end *item); /* may free it */
struct hg_turn_end {
    struct hg_list link;
    hg_turn_end_fn run;
};

struct hg_loop {
    uv_loop_t uv;
    int wakeup_fd; /* an eventfd */
    uv_poll_t wakeup;
    uv_prepare_t turn; /* the end of each turn */
    struct hg_list turn_ends;
    _Atomic(struct hg_mail *) inbox;
    pthread_mutex_t list_lock;
    struct hg_list list_inbox;
    hg_loop_list_fn on_list; /* set before start */
    const char *name;        /* borrowed; thread name, at most 15 characters */
    pthread_t thread;
    bool started;
    uint64_t now_ms, uv_now_seen;
    int64_t date_second;
    char date[30];
    _Atomic uint64_t turned_ms; /* boot time of the last turn: the watchdog reads it */
    _Atomic bool stopping;
    struct hg_list held_timers; /* net/timer.h */
    struct hg_list look_ups;    /* net/dns.h */
    unsigned look_up_count;
    bool is_holding;         /* its own thread only, like held */
    struct hg_mail *held;    /* newest first */
    void *user;              /* the owner's */
};

int hg_loop_init(struct hg_loop *loop, const char *name);
/* Starts the thread; it runs `begin` (may be NULL) first and turns until hg_loop_stop. */
int hg_loop_start(struct hg_loop *loop, void (*begin)(struct hg_loop *loop));
/* Or turns on the calling thread until hg_loop_stop. */
void hg_loop_run(struct hg_loop *loop);
/* Or turns once, without waiting, each time it is told to; has_work: whether there is something to turn for. */
void hg_loop_turn(struct hg_loop *loop);
bool hg_loop_has_work(const struct hg_loop *loop);
/* Makes it the loop that this thread runs (NULL: none), and has it read the time again. Returns the one before it. */
struct hg_loop *hg_loop_enter(struct hg_loop *loop);
void hg_loop_stop(struct hg_loop *loop);
/* Makes it turn once, so that turned_ms tells an idle loop from a stuck one. */
void hg_loop_heartbeat(struct hg_loop *loop);
void hg_loop_join(struct hg_loop *loop);
/* After the thread has ended: delivers what mail is left, closes its own handles, runs close callbacks. Returns the number
 * of foreign handles still open (0 in a clean shutdown). */
int hg_loop_finish(struct hg_loop *loop);

void hg_loop_post(struct hg_loop *loop, struct hg_mail *mail);
void hg_loop_post_list(struct hg_loop *loop, struct hg_list *list);
/*
 * On `here`, the loop this thread runs: until the release, what it posts together is held back. Then each loop gets all of
 * its own in one turn. Holds do not nest. `loop` has to outlive the hold.
 */
void hg_loop_post_together(struct hg_loop *loop, struct hg_mail *mail);
void hg_loop_hold(struct hg_loop *here);
void hg_loop_release(struct hg_loop *here);

/* On `here`, the loop this thread runs: `run` once, when this turn is done and before the loop waits. */
void hg_loop_at_turn_end(struct hg_loop *here, struct hg_turn_end *item, hg_turn_end_fn run);
/* Now, where it is still due. */
void hg_turn_end_hurry(struct hg_turn_end *item);

/* The loop this thread runs, or NULL. */
struct hg_loop *hg_loop_current(void);
/* Boot time in ms: read once a turn. */
uint64_t hg_loop_now(struct hg_loop *loop);
/* The Date header's value, made once a second. */
struct hg_bytes hg_loop_date(struct hg_loop *loop);

int hg_err_from_uv(int uv_error);
int hg_err_from_errno(int error_number);

#endif
