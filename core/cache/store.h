/*
 * store - one shard's byte-budgeted key/value map: eviction policy, TTL, three tiers.
 *
 *   main      values this node owns; who goes first is the policy's choice (cache/policy.h)
 *   hot       copies of other owners' values (at most budget->hot_limit); exact LRU
 *   negative  not-found and errors (at most budget->negative_limit); exact LRU
 *
 * Ownership  holds one reference on each value; get lends it while the caller holds the shard's lock.
 * Threads    none of its own: the caller holds the shard's lock. Only the budget is shared, by atomics.
 * Time       now_ms comes from the caller; never read here.
 * Units      bytes = allocator-rounded value + its share of the table and of what the policy remembers: what an
 *            entry really costs (or what budget->cost says).
 * Errors     HG_ETOOBIG (never fits: nothing was evicted for it), HG_ELIMIT (this shard has nothing
 *            left to evict and the group's budget is still full: evict in a neighbour and try again), HG_ENOMEM.
 *
 * The table grows and shrinks incrementally (no pause grows with the number of entries). Look-ups are by
 * hg_hash of the key. Not found is NULL, not an error.
 */
#ifndef HG_CACHE_STORE_H
#define HG_CACHE_STORE_H

#include "cache/budget.h"
#include "cache/order.h"
#include "cache/table.h"
#include "cache/policy.h"

enum hg_evict_reason { HG_EVICT_CAPACITY, HG_EVICT_EXPIRED, HG_EVICT_REMOVED, HG_EVICT_REPLACED };
const char *hg_evict_reason_name(enum hg_evict_reason reason); /* "capacity", ... */

const char *hg_tier_name(enum hg_tier tier); /* "main", "hot", "negative" */

/* Called under the shard's lock: must not call back into the store; may take a reference. */
typedef void (*hg_evict_fn)(void *ctx, struct hg_value *value, enum hg_evict_reason reason);

struct hg_store_counters {
    uint64_t evictions;   /* for capacity */
    uint64_t expirations;
    uint64_t rejected;    /* HG_ETOOBIG */
};

#define HG_LATE_USES 4

struct hg_store {
    /* What every look-up writes to; with a lock before it, it is one cache line. */
    uint8_t late_count;
    uint8_t uses_max;                     /* of the policy */
    bool is_lru;                          /* of the main tier, too */
    uint8_t epoch;                        /* flushes, modulo 256; of what is put */
    struct hg_value *late[HG_LATE_USES];  /* the last uses, the newest last, that order does not show yet */
    struct hg_order order[HG_TIER_COUNT]; /* lru: first = most recently used; by hg_store_order */

    struct hg_table table;
    struct hg_budget *budget; /* borrowed */
    hg_evict_fn on_evict;     /* may be NULL */
    void *on_evict_ctx;
    size_t tier_count[HG_TIER_COUNT]; /* their sum is table.count */
    struct hg_policy *policy;         /* of the main tier */
    size_t made_bytes;                    /* of main, evicted for the put under way */
    bool is_making_room;
    size_t flushed_count;                 /* entries of earlier epochs, yet to be freed */
    size_t sweep_row;                     /* expiry hand */
    struct hg_store_counters counters;
};

/* The main tier's policy is lru. */
int hg_store_init(struct hg_store *store, struct hg_budget *budget, hg_evict_fn on_evict, void *on_evict_ctx);
/* `seed` is for policies that draw lots. */
int hg_store_init_policy(struct hg_store *store, struct hg_budget *budget, const struct hg_policy_ops *policy,
                         uint64_t seed, hg_evict_fn on_evict, void *on_evict_ctx);
void hg_store_finish(struct hg_store *store); /* drops every entry, no callback; zeroed memory is fine */

/* Fresh or stale, whatever is there; counts as a use. The caller compares expires_ms. */
struct hg_value *hg_store_get(struct hg_store *store, uint64_t hash, struct hg_bytes key);
/* Ahead of a get, without the lock: what it looks at first is fetched. It changes nothing. */
static inline void hg_store_fetch(const struct hg_store *store, uint64_t hash)
{
    hg_table_fetch_bucket(&store->table, hash);
}
/* The same for many: what they lie in is fetched ahead for all. NULL where there is none. */
void hg_store_get_many(struct hg_store *store, const uint64_t *hashes, const struct hg_bytes *keys, size_t count,
                       struct hg_value **out_values);
/* As get, without counting as a use. */
struct hg_value *hg_store_peek(const struct hg_store *store, uint64_t hash, struct hg_bytes key);
/* The same where only the hash of the key is known; of two with one hash it is either. */
struct hg_value *hg_store_peek_hash(const struct hg_store *store, uint64_t hash);

/*
 * Stores a reference of its own on `value` until expires_ms. An older entry of the key goes first
 * (HG_EVICT_REPLACED), also when the new one then does not fit. value->stored must be false.
 */
int hg_store_put(struct hg_store *store, struct hg_value *value, enum hg_tier tier, uint64_t created_ms,
                 uint64_t expires_ms);
/* True if there was one. */
bool hg_store_remove(struct hg_store *store, uint64_t hash, struct hg_bytes key, enum hg_evict_reason reason);
/* Moves the moment from which the entry is stale; a hot copy is an ordinary one then. */
void hg_store_set_expiry(struct hg_store *store, struct hg_value *value, uint64_t expires_ms);
/* A tier's entries, the last to go first: of main only where its policy has one list. Good until the next operation. */
const struct hg_order *hg_store_order(struct hg_store *store, enum hg_tier tier);
/* Evicts entries of one tier, as its policy says, until `bytes` are freed or none is left; returns bytes freed. */
size_t hg_store_evict(struct hg_store *store, enum hg_tier tier, size_t bytes);
/*
 * Looks at up to max_rows rows of the table from where the last call stopped and frees entries that are past expiry and
 * every stale window (expires_ms + the larger of the value's windows). Returns entries freed.
 */
size_t hg_store_expire_step(struct hg_store *store, uint64_t now_ms, size_t max_rows);
/*
 * In constant time: what is stored is no longer found. It goes, with HG_EVICT_REMOVED, when a sweep or an eviction comes
 * by, before anything that is found, and is charged until then. (Once in 256 flushes all is freed at once: the number of the
 * flush begins anew.)
 */
void hg_store_flush(struct hg_store *store);
/* Frees all of it now, each told as HG_EVICT_REMOVED. */
void hg_store_clear(struct hg_store *store);

/* Tests: links, counts and bytes all agree. */
bool hg_store_validate(const struct hg_store *store);
/* What putting it here would charge, and the part of that which is the same for every policy. */
size_t hg_store_entry_cost(const struct hg_store *store, const struct hg_value *value);
size_t hg_store_cost(const struct hg_value *value);

#endif
