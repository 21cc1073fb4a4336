/*
 * timer - rings once, at a moment of a loop.
 *
 * Its time is libuv's. While the clocks are held (net/clock.h) it is theirs: then a timer rings only when hg_loop_ring says
 * so, so that what waits for it can be tested without waiting.
 *
 * Ownership  embedded; the memory may go once `closed` was called, not before.
 * Threads    the loop's.
 */
#ifndef HG_NET_TIMER_H
#define HG_NET_TIMER_H

#include "net/loop.h"

struct hg_timer;
typedef void (*hg_timer_fn)(struct hg_timer *timer);

struct hg_timer {
    uv_timer_t uv;
    struct hg_loop *loop;
    hg_timer_fn ring, closed;
    struct hg_list link; /* loop->held_timers; what is due first stands first */
    uint64_t due_ms;
};

void hg_timer_init(struct hg_timer *timer, struct hg_loop *loop);
/* One that is on begins anew. */
void hg_timer_start(struct hg_timer *timer, hg_timer_fn ring, uint64_t after_ms);
void hg_timer_stop(struct hg_timer *timer);
void hg_timer_close(struct hg_timer *timer, hg_timer_fn closed);

/* While the clocks are held: when the loop's first timer is due, or HG_FOREVER. */
uint64_t hg_loop_due(const struct hg_loop *loop);
/* How many are due by now. */
size_t hg_loop_due_count(const struct hg_loop *loop);
/* Lets that timer ring if it is due by now. */
bool hg_loop_ring(struct hg_loop *loop);

#endif
