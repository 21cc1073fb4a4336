/*
 * policy - who goes first: the eviction policies of a store's main tier, behind one interface.
 *
 *   lru fifo random clock sampled-lru lfu sieve s3-fifo w-tinylfu arc
 *
 * The store says what happens to its main tier, the policy answers one question: which entry goes next.
 *
 *   arrive   a key that is not there is about to be put; comes before room is made for it
 *   victim   room is needed: the entry to drop; the store drops it at once (remove)
 *   add      the entry is in
 *   hit      it was looked up
 *   remove   it leaves, for whatever reason
 *
 * What evicts by size measures in what entries cost, so shares are shares of bytes (of objects where each costs 1). A
 * policy never asks how big the cache is: victim is called when it is full, so what the entries cost then is its
 * size. That holds for one shard of many, too.
 *
 * Memory     of ghosts and sketches grows with the number of entries and is charged as a part of each entry's
 *            cost (entry_bytes), as its share of the table is. Without memory ghosts and sketches stay as small as
 *            they are; where an entry cannot do without (random, sampled-lru), add is HG_ENOMEM.
 * Ownership  entries are borrowed from the store; of a value only prev, next, slot, queue and uses are the
 *            policy's.
 * Threads    none of its own: the caller holds the shard's lock.
 * Randomness from a generator inside, whose seed is handed in.
 */
#ifndef HG_CACHE_POLICY_H
#define HG_CACHE_POLICY_H

#include "cache/order.h"
#include "cache/table.h"

#define HG_USES_CALL UINT8_MAX /* of uses_max: call hit */

struct hg_policy;

/* What a replaced entry was, so that a new value of a key keeps its rank. */
struct hg_policy_past {
    uint8_t queue, uses;
    uint32_t count; /* lfu */
};

struct hg_policy_ops {
    const char *name;
    size_t size;        /* of the policy's struct */
    size_t entry_bytes; /* an entry's share of ghosts, sketches and arrays */
    /* A hit only counts value->uses up to here; HG_USES_CALL: it calls hit. */
    uint8_t uses_max;
    bool is_one_list; /* its entries are on policy->order, first = newest */

    int (*init)(struct hg_policy *policy);    /* NULL: nothing to do. HG_ENOMEM */
    void (*finish)(struct hg_policy *policy); /* NULL: nothing to do */
    void (*arrive)(struct hg_policy *policy, uint64_t hash); /* may be NULL */
    /* past is NULL for a new key. HG_OK or HG_ENOMEM: it is not in. */
    int (*add)(struct hg_policy *policy, struct hg_value *value, const struct hg_policy_past *past);
    void (*hit)(struct hg_policy *policy, struct hg_value *value); /* NULL unless uses_max says so */
    struct hg_value *(*victim)(struct hg_policy *policy);          /* NULL: no entry */
    void (*remove)(struct hg_policy *policy, struct hg_value *value);
    uint32_t (*count)(const struct hg_policy *policy, const struct hg_value *value); /* for past; may be NULL */
    /* Tests: links, counts and bytes agree with entry_count. NULL for one list. */
    bool (*validate)(const struct hg_policy *policy, size_t entry_count);
};

/* What an entry costs, given its share of the store's table and of what the policy remembers. Always the same for one. */
typedef size_t (*hg_cost_fn)(const struct hg_value *value, size_t share_bytes);

struct hg_policy {
    const struct hg_policy_ops *ops;
    const struct hg_table *table; /* both borrowed from the store */
    struct hg_order *order;
    hg_cost_fn cost;
    size_t share_bytes;
    uint64_t random; /* state of the generator */
    struct hg_policy_ahead {
        const struct hg_value *value; /* hg_policy_forget when it leaves */
        uint64_t hash;
    } ahead[2]; /* the last to be fetched ahead, the newest first */
    /* For policies that look at the time (sampled); others leave them alone. */
    uint64_t now_ms, load_ms;
};

/* Now, and how long what is put next took to load. */
static inline void hg_policy_set_time(struct hg_policy *policy, uint64_t now_ms, uint64_t load_ms)
{
    policy->now_ms = now_ms;
    policy->load_ms = load_ms;
}

static inline size_t hg_policy_cost(const struct hg_policy *policy, const struct hg_value *value)
{
    return policy->cost(value, policy->share_bytes);
}

/* Of the value's key. */
static inline uint64_t hg_policy_hash(const struct hg_policy *policy, const struct hg_value *value)
{
    for (size_t i = 0; i < HG_COUNT(policy->ahead); i++) {
        if (policy->ahead[i].value == value)
            return policy->ahead[i].hash;
    }
    return policy->table->hash(hg_value_key(value));
}

/*
 * Evictions come in a row, so who names one that goes has what the next one needs fetched: its bucket, and the line of the one
 * behind it in turn; its hash is kept. `next` may be NULL. Returns its hash, or 0.
 */
static inline uint64_t hg_policy_fetch_ahead(struct hg_policy *policy, const struct hg_value *next)
{
    if (next == NULL)
        return 0;
    uint64_t hash = hg_policy_hash(policy, next);
    hg_prefetch(hg_order_prev(next));
    hg_table_fetch_bucket(policy->table, hash);
    if (policy->ahead[0].value != next) {
        policy->ahead[1] = policy->ahead[0];
        policy->ahead[0] = (struct hg_policy_ahead){next, hash};
    }
    return hash;
}

/* The value leaves the store; another may come to lie where it was. */
static inline void hg_policy_forget(struct hg_policy *policy, const struct hg_value *value)
{
    for (size_t i = 0; i < HG_COUNT(policy->ahead); i++) {
        if (policy->ahead[i].value == value)
            policy->ahead[i].value = NULL;
    }
}

extern const struct hg_policy_ops hg_policy_lru, hg_policy_fifo, hg_policy_random, hg_policy_clock,
    hg_policy_sampled_lru, hg_policy_lfu, hg_policy_sieve, hg_policy_s3_fifo, hg_policy_w_tinylfu,
    hg_policy_arc;
/* Not among those that have a name to choose by: it wants a score (cache/policy_sampled.h). */
extern const struct hg_policy_ops hg_policy_sampled;

/* By name; NULL: there is none. */
const struct hg_policy_ops *hg_policy_find(struct hg_bytes name);
/* The index-th, in the order above; NULL behind the last. */
const struct hg_policy_ops *hg_policy_at(size_t index);

/* `table` and `order`, which is empty, outlive the policy; table_bytes is an entry's share of the table. HG_ENOMEM. */
int hg_policy_create(const struct hg_policy_ops *ops, const struct hg_table *table, struct hg_order *order,
                     hg_cost_fn cost, size_t table_bytes, uint64_t seed, struct hg_policy **out_policy);
void hg_policy_destroy(struct hg_policy *policy); /* NULL is fine */

/* 0..limit-1, from the policy's generator; limit > 0. */
size_t hg_policy_random_below(struct hg_policy *policy, size_t limit);

/* ---- queue: a list that knows its entries and their bytes; what policies of several lists are made of ---- */

struct hg_queue {
    const struct hg_policy *policy; /* whose it is */
    struct hg_order order;          /* first = newest */
    size_t count, bytes;
    uint8_t id; /* value->queue of its entries */
};

void hg_queue_init(struct hg_queue *queue, const struct hg_policy *policy, uint8_t id);
void hg_queue_push(struct hg_queue *queue, struct hg_value *value); /* to the front */
void hg_queue_remove(struct hg_queue *queue, struct hg_value *value);
void hg_queue_to_front(struct hg_queue *queue, struct hg_value *value);
bool hg_queue_validate(const struct hg_queue *queue);

#endif
