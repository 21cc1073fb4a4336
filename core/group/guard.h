/*
 * guard - stands before a source: at most `concurrency` loads run, `queue` wait, a breaker opens after
 * `failures` in a row for `cooldown` (then one trial load). May be shared by groups.
 *
 * Threads    one mutex of its own; a leaf lock (nothing else is taken under it).
 */
#ifndef HG_GROUP_GUARD_H
#define HG_GROUP_GUARD_H

#include <pthread.h>
#include "group/source.h"

struct hg_guard_config {
    unsigned concurrency;         /* default 64 */
    unsigned queue;               /* default 1024; 0 = none waits */
    uint64_t timeout_ms;          /* of one getter run; default 5000 */
    unsigned retries;             /* default 0; done by the source, not here */
    uint64_t backoff_ms;          /* default 50; doubled with each try, jittered */
    unsigned breaker_failures;    /* default 5; 0 = no breaker */
    uint64_t breaker_cooldown_ms; /* default 5000 */
};

enum hg_guard_verdict { HG_GUARD_RUN, HG_GUARD_QUEUED, HG_GUARD_FULL, HG_GUARD_OPEN };
enum hg_breaker_state { HG_BREAKER_CLOSED, HG_BREAKER_OPEN, HG_BREAKER_HALF_OPEN };

struct hg_guard {
    struct hg_guard_config config; /* never changes */
    _Atomic size_t holders;        /* loads that began with it, groups whose configuration has it, and others */
    pthread_mutex_t lock;
    unsigned running, queued, failures_in_a_row;
    enum hg_breaker_state breaker;
    uint64_t open_until_ms;
    struct hg_list queue;     /* of hg_load.link */
    uint64_t refused, opened; /* counters */
};

/* How it stands. */
struct hg_guard_state {
    unsigned running, queued;
    unsigned failures_in_a_row; /* of the source, since its last success */
    enum hg_breaker_state breaker;
    uint64_t refused, opened; /* counters */
};
void hg_guard_state(struct hg_guard *guard, struct hg_guard_state *out_state);
const char *hg_breaker_name(enum hg_breaker_state breaker); /* "closed", "open", "half_open" */

void hg_guard_init(struct hg_guard *guard, const struct hg_guard_config *config);
void hg_guard_finish(struct hg_guard *guard);
/* Held by each load that was started with it, and by the group while its configuration has it. Any thread; NULL is fine. */
void hg_guard_hold(struct hg_guard *guard);
void hg_guard_release(struct hg_guard *guard);
bool hg_guard_is_idle(struct hg_guard *guard); /* nobody holds it, runs or waits in it */

/* RUN: a slot is held, leave later. QUEUED: a later leave returns it. FULL, OPEN: refused; *out_retry_ms says when to come back. */
enum hg_guard_verdict hg_guard_enter(struct hg_guard *guard, struct hg_load *load, uint64_t now_ms,
                                     uint64_t *out_retry_ms);
/* Gives the slot back; failed: the source failed (errors other than denied; not found is success). Loads that may run now are
 * appended to `out_ready`, each holding a slot; loads that must end because the breaker opened to `out_refused`. */
void hg_guard_leave(struct hg_guard *guard, bool failed, uint64_t now_ms, struct hg_list *out_ready,
                    struct hg_list *out_refused);
/* The same for a load that never ran its getter, or whose script was at fault: says nothing about the source's health. */
void hg_guard_drop(struct hg_guard *guard, uint64_t now_ms, struct hg_list *out_ready);
/* Other scripts ask the source from now on: the breaker is closed, and no failure counts any more. */
void hg_guard_forgive(struct hg_guard *guard);
/* Takes a waiting load out of the queue; false if it does not wait here (any more). */
bool hg_guard_unqueue(struct hg_guard *guard, struct hg_load *load);
/* Whether an ancestor of the load already holds a slot: the load takes none of its own. */
bool hg_guard_is_held(const struct hg_guard *guard, const struct hg_load *load);

#endif
