/*
 * hot - hot keys: who is one, and how long a copy of one lives, is served and is renewed.
 *
 * A key is hot where it is asked for HG_HOT_MINUTE times a minute, as its owner says with its answer or as this node
 * counts itself (a copy hides from the owner who asks for it). Its copy lives for up to HG_HOT_LEASES leases, and never
 * longer than the owner's value:
 *
 *      sent          + lease              + life          life = min(4 leases, life left at the owner)
 *       |--------------|---------------------|
 *       served anyway    served while the last contact is younger than a lease
 *
 * An ordinary copy ends with the lease, so that is how long an invalidation that did not reach us can be missed. A
 * longer one keeps that bound by contact: hg_groups_contact says that all invalidations up to a moment are known here.
 * Shortly before its end the first hit asks the owner again, once for each copy; hits go on meanwhile.
 *
 * Where the lease is over HG_HOT_LEASE_MAX no copy is a longer one.
 *
 * Threads    pure functions; what has _locked in its name wants the shard's lock.
 * Memory     the length of a hot copy's life lies in its `slot`, which a list tier does not use; 0 = an ordinary copy.
 */
#ifndef HG_GROUP_HOT_H
#define HG_GROUP_HOT_H

#include "group/group_impl.h"

#define HG_HOT_LEASES    4
#define HG_HOT_LEASE_MAX (HG_VALUE_SLOT_MAX / HG_HOT_LEASES) /* 262 s */
#define HG_HOT_MINUTE 600 /* where hg_groups_config.hot_minute is 0 */

/* A copy's life from when it was asked for; is_hot only where the lease is at most HG_HOT_LEASE_MAX. */
uint64_t hg_copy_life(uint64_t ttl_ms, uint64_t lease_ms, bool is_hot);

/* The one decision whether a copy may be older than the lease: it is fresh before this. */
uint64_t hg_copy_until(const struct hg_value *copy, uint64_t lease_ms, uint64_t contact_ms);

/* An entry is fresh before this. */
static inline uint64_t hg_group_until(const struct hg_group *group, const struct hg_value *value)
{
    if (value->tier != HG_TIER_HOT || value->slot == 0)
        return hg_value_expires_ms(value);
    return hg_copy_until(value, group->groups->config.lease_ms,
                         atomic_load_explicit(&group->groups->contact_ms, memory_order_relaxed));
}

/* Whether a hit, now, is to renew the hot copy that is served until `until_ms`. */
bool hg_copy_is_due(const struct hg_value *copy, uint64_t until_ms, uint64_t lease_ms,
                    uint64_t now_ms);

/* A sampled get of a key. `value`: its entry, or NULL. */
void hg_hot_note_locked(struct hg_group *group, struct hg_shard *shard, uint64_t hash,
                        struct hg_value *value, uint64_t now_ms);

#endif
