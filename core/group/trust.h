/*
 * trust - a node that stood still may have missed invalidations (SIGSTOP, a suspended machine, a loop that did not turn).
 *
 * Where there are other members, whoever keeps contact with them calls hg_groups_alive each quarter lease. A gap of more
 * than three quarters of a lease between that and now is a standstill: a lease and no more is how long the others
 * wait for who does not answer, so a shorter one ends while they still wait. It is noticed by whoever comes first, a
 * get or the next hg_groups_alive. From then on what was loaded before is neither answered nor kept as a stale
 * reserve, and what is being loaded is not stored, until hg_groups_caught_up: missed changes were learnt from a peer.
 * What is loaded meanwhile is good.
 *
 * Threads    any; two atomics, read on each get.
 */
#ifndef HG_GROUP_TRUST_H
#define HG_GROUP_TRUST_H

#include <stdatomic.h>
#include "base/value.h"

struct hg_trust {
    atomic_uint_fast64_t alive_ms;     /* last sign of running, and one more; 0: nobody watches */
    atomic_uint_fast64_t before_ms;    /* what was loaded before is not trusted; 0: all is */
    atomic_uint_fast64_t fence_number; /* invalidation number of the last standstill */
    atomic_uint_fast64_t count;        /* standstills: a counter */
};

struct hg_groups;
/* Called where the gap is found: starts the distrust. */
void hg_trust_lose(struct hg_groups *groups, uint64_t now_ms);

static inline bool hg_trust_is_gap(const struct hg_trust *trust, uint64_t lease_ms, uint64_t now_ms)
{
    uint64_t alive_ms = atomic_load_explicit(&trust->alive_ms, memory_order_relaxed);
    return alive_ms != 0 && now_ms >= alive_ms && now_ms - alive_ms >= lease_ms - lease_ms / 4;
}

/* Whether an entry may be answered. */
static inline bool hg_trust_has(const struct hg_trust *trust, const struct hg_value *value)
{
    return hg_value_created_ms(value) >= atomic_load_explicit(&trust->before_ms, memory_order_acquire);
}

#endif
