/*
 * batch - loads of one group that one run of its getter serves together (get_many).
 *
 *      load --> opens a batch, leads it, goes to the guard --> runs --> source waits its window --> gather
 *      load --> joins the open batch ------------------------------------------------------------^
 *
 * A batch is open from its first load until it is gathered or full, also while it queues for the guard. It takes one
 * slot, makes one mark on the breaker, and fails as one where its getter does; each key keeps its own flight, its own
 * waiters and its own result. Loads that need no slot, because somebody who waits for them holds it, never wait for
 * one: they have batches of their own.
 *
 * Threads    the open batch is guarded by the group's batch lock, a leaf.
 * Limits     group.batch_max loads.
 */
#ifndef HG_GROUP_BATCH_H
#define HG_GROUP_BATCH_H

#include "group/group_impl.h"

static inline bool hg_is_batched(const struct hg_load *load)
{
    return hg_config_of(load->group)->batch_max > 0 && load->flight.kind == HG_FLIGHT_LOCAL;
}

/* A follower's leader, else itself: whose getter it is that both wait for. */
static inline struct hg_load *hg_load_leader(struct hg_load *load)
{
    struct hg_load *leader = atomic_load_explicit(&load->leader, memory_order_acquire);
    return leader != NULL ? leader : load;
}

#endif
