/*
 * turn - what has to happen after the shard's lock is given back: loads to start, waiters to answer.
 *
 * Collected under locks, run without any. Waiters of `here` are called directly; the others are handed to
 * their loop in one batch each. Starting may fail and land further loads: those join the same turn, so nothing
 * recurses.
 */
#ifndef HG_GROUP_TURN_H
#define HG_GROUP_TURN_H

#include "group/group.h"

struct hg_turn {
    struct hg_groups *groups;
    uint64_t now_ms;
    struct hg_loop *here;   /* NULL: every waiter is mailed */
    struct hg_list begun;   /* loads to be started */
    struct hg_list ready;   /* loads that the guard lets run */
    struct hg_list refused; /* loads whose guard opened its breaker */
    struct hg_list waiters; /* detached, with their results */
};

void hg_turn_init(struct hg_turn *turn, struct hg_groups *groups, uint64_t now_ms,
                  struct hg_loop *here);
void hg_turn_run(struct hg_turn *turn);

#endif
