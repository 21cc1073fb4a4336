#include "cache/store.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/bug.h"
#include "base/err.h"

#define FIRST_BUCKETS  16
#define SLOT_BYTES     (2 * sizeof(struct hg_value *)) /* an entry's share of a half-full table */
#define BUCKETS_MOVED  4                               /* at most, by one operation */
#define SHRINK_DIVISOR 4 /* shrinks below an entry for so many buckets */

const char *hg_evict_reason_name(enum hg_evict_reason reason)
{
    static const char *const names[] = {
        [HG_EVICT_CAPACITY] = "capacity",
        [HG_EVICT_EXPIRED] = "expired",
        [HG_EVICT_REMOVED] = "removed",
        [HG_EVICT_REPLACED] = "replaced",
    };
    return (size_t)reason < HG_COUNT(names) ? names[reason] : "unknown";
}

const char *hg_tier_name(enum hg_tier tier)
{
    static const char *const names[HG_TIER_COUNT] = {"main", "hot", "negative"};
    return (size_t)tier < HG_COUNT(names) ? names[tier] : "unknown";
}

/* ---- table ----
 *
 * Resizing doubles or halves. The smaller table's bucket s and the larger one's s and s + small are
 * the same entries; move_index says up to which s they have moved, so a look-up goes to one bucket
 * of one table. A new table is not even cleared: each bucket is written when its entries move in.
 */

/* Folded, so that it does not matter which bits of the hash chose the shard. */
static size_t fold(uint64_t hash)
{
    return (size_t)(hash ^ hash >> 32);
}

static size_t small_mask(const struct hg_store *store)
{
    return store->mask < store->old_mask ? store->mask : store->old_mask;
}

static bool is_moved(const struct hg_store *store, size_t slot)
{
    return store->old_table == NULL || (slot & small_mask(store)) < store->move_index;
}

static struct hg_value **bucket_of(const struct hg_store *store, uint64_t hash)
{
    size_t slot = fold(hash);
    if (is_moved(store, slot))
        return &store->table[slot & store->mask];
    return &store->old_table[slot & store->old_mask];
}

/* The link that holds the entry, or the NULL where it would be. */
static struct hg_value **find(const struct hg_store *store, uint64_t hash, struct hg_bytes key)
{
    struct hg_value **link = bucket_of(store, hash);
    for (struct hg_value *value = *link; value != NULL; link = &value->chain, value = *link) {
        if (value->hash == hash && hg_bytes_eq(hg_bytes(value->bytes, value->key_len), key))
            break;
    }
    return link;
}

static void chain_move(struct hg_store *store, struct hg_value *chain)
{
    for (struct hg_value *value = chain, *next; value != NULL; value = next) {
        struct hg_value **link = &store->table[fold(value->hash) & store->mask];
        next = value->chain;
        value->chain = *link;
        *link = value;
    }
}

static void table_move(struct hg_store *store, size_t max_buckets)
{
    size_t small = small_mask(store);
    bool is_growing = store->mask > store->old_mask;
    for (size_t n = 0; n < max_buckets; n++) {
        size_t slot = store->move_index++;
        store->table[slot] = NULL;
        if (is_growing)
            store->table[slot + small + 1] = NULL;
        chain_move(store, store->old_table[slot]);
        if (!is_growing)
            chain_move(store, store->old_table[slot + small + 1]);
        if (slot == small) {
            hg_free(store->old_table);
            store->old_table = NULL;
            store->move_index = 0;
            return;
        }
    }
}

/* Without memory the table stays as it is: chains get longer, nothing else. */
static void table_resize(struct hg_store *store, size_t bucket_count)
{
    size_t bytes;
    if (!hg_size_mul(bucket_count, sizeof(struct hg_value *), &bytes))
        return;
    struct hg_value **table = hg_malloc(bytes);
    if (table == NULL)
        return;
    store->old_table = store->table;
    store->old_mask = store->mask;
    store->table = table;
    store->mask = bucket_count - 1;
    store->move_index = 0;
}

/* The share of one operation in keeping the table in shape. Links found before it are void after
 * it. */
static void table_tend(struct hg_store *store)
{
    size_t bucket_count = store->mask + 1;
    if (store->old_table != NULL)
        table_move(store, BUCKETS_MOVED);
    else if (store->entry_count > bucket_count)
        table_resize(store, bucket_count * 2);
    else if (bucket_count > FIRST_BUCKETS && store->entry_count < bucket_count / SHRINK_DIVISOR)
        table_resize(store, bucket_count / 2);
}

/* ---- entries ---- */

static size_t memory_cost(const struct hg_value *value, size_t share_bytes)
{
    size_t cost_bytes = 0;
    if (!hg_size_add(hg_alloc_size(hg_value_size(value)), share_bytes, &cost_bytes))
        return SIZE_MAX;
    return cost_bytes;
}

size_t hg_store_cost(const struct hg_value *value)
{
    return memory_cost(value, SLOT_BYTES);
}

size_t hg_store_entry_cost(const struct hg_store *store, const struct hg_value *value)
{
    return hg_policy_cost(store->policy, value);
}

/* Takes the entry out of table, order and budget, tells, and drops our reference. */
static void drop(struct hg_store *store, struct hg_value **link, enum hg_evict_reason reason,
                 bool tell)
{
    struct hg_value *value = *link;
    enum hg_tier tier = (enum hg_tier)value->tier;
    *link = value->chain;
    value->chain = NULL;
    if (tier != HG_TIER_MAIN || store->is_lru)
        hg_list_remove(&value->order);
    else
        store->policy->ops->remove(store->policy, value);
    value->stored = false;
    store->entry_count--;
    store->tier_count[tier]--;
    bool is_short = hg_bug(HG_BUG_FORGET_BYTE) && reason == HG_EVICT_REPLACED;
    hg_budget_release(store->budget, tier, hg_store_entry_cost(store, value) - is_short);
    if (reason == HG_EVICT_CAPACITY)
        store->counters.evictions++;
    if (reason == HG_EVICT_EXPIRED)
        store->counters.expirations++;
    if (tell && store->on_evict != NULL)
        store->on_evict(store->on_evict_ctx, value, reason);
    hg_value_unref(value);
}

/* Evicts one; returns the bytes freed, 0 when the tier has no entry here. */
static size_t evict_next(struct hg_store *store, enum hg_tier tier)
{
    struct hg_value *value = tier == HG_TIER_MAIN && !store->is_lru
                                 ? store->policy->ops->victim(store->policy)
                                 : hg_policy_last(&store->order[tier]);
    if (value == NULL)
        return 0;
    size_t cost_bytes = hg_store_entry_cost(store, value);
    struct hg_value **link = bucket_of(store, value->hash);
    while (*link != value)
        link = &(*link)->chain;
    drop(store, link, HG_EVICT_CAPACITY, true);
    return cost_bytes;
}

/*
 * When all is full, main is over its share: hot and negative never pass their limits, so what is
 * over went to main, which uses what they leave. They go only where this shard has no main entry.
 */
static bool evict_one(struct hg_store *store, enum hg_tier tier, enum hg_budget_verdict verdict)
{
    if (verdict == HG_TIER_IS_FULL)
        return evict_next(store, tier) > 0;
    return evict_next(store, HG_TIER_MAIN) > 0 || evict_next(store, HG_TIER_HOT) > 0 ||
           evict_next(store, HG_TIER_NEGATIVE) > 0;
}

static int make_room(struct hg_store *store, enum hg_tier tier, size_t cost_bytes)
{
    for (;;) {
        enum hg_budget_verdict verdict = hg_budget_reserve(store->budget, tier, cost_bytes);
        if (verdict == HG_FITS)
            return HG_OK;
        if (!evict_one(store, tier, verdict))
            return hg_bug(HG_BUG_NO_BUDGET) ? HG_OK : HG_ELIMIT;
    }
}

int hg_store_init(struct hg_store *store, struct hg_budget *budget, hg_evict_fn on_evict,
                  void *on_evict_ctx)
{
    return hg_store_init_policy(store, budget, &hg_policy_lru, 0, on_evict, on_evict_ctx);
}

int hg_store_init_policy(struct hg_store *store, struct hg_budget *budget,
                         const struct hg_policy_ops *policy, uint64_t seed, hg_evict_fn on_evict,
                         void *on_evict_ctx)
{
    struct hg_value **table = hg_calloc(FIRST_BUCKETS, sizeof(struct hg_value *));
    if (table == NULL)
        return HG_ENOMEM;
    *store = (struct hg_store){
        .budget = budget,
        .on_evict = on_evict,
        .on_evict_ctx = on_evict_ctx,
        .table = table,
        .mask = FIRST_BUCKETS - 1,
        .uses_max = policy->uses_max,
        .is_lru = policy == &hg_policy_lru,
    };
    for (size_t tier = 0; tier < HG_TIER_COUNT; tier++)
        hg_list_init(&store->order[tier]);
    int err = hg_policy_create(policy, &store->order[HG_TIER_MAIN],
                               budget->cost == NULL ? memory_cost : budget->cost, SLOT_BYTES, seed,
                               &store->policy);
    if (err < 0) {
        hg_free(table);
        *store = (struct hg_store){0};
    }
    return err;
}

static inline bool is_flushed(const struct hg_store *store, const struct hg_value *value)
{
    return value->created_ms < store->alive_from_ms;
}

void hg_store_flush(struct hg_store *store)
{
    store->alive_from_ms = hg_time_add(store->newest_ms, 1);
}

/* A use costs a move in a list or a small counter; only some policies have more to do. */
static inline void use(struct hg_store *store, struct hg_value *value)
{
    if (value->tier == HG_TIER_MAIN && !store->is_lru) {
        if (store->uses_max == HG_USES_CALL)
            store->policy->ops->hit(store->policy, value);
        else if (value->uses < store->uses_max)
            value->uses++;
        return;
    }
    struct hg_list *order = &store->order[value->tier];
    if (order->next != &value->order) {
        hg_list_remove(&value->order);
        hg_list_push_front(order, &value->order);
    }
}

struct hg_value *hg_store_get(struct hg_store *store, uint64_t hash, struct hg_bytes key)
{
    if (store->old_table != NULL)
        table_move(store, BUCKETS_MOVED);
    struct hg_value *value = *find(store, hash, key);
    if (value == NULL || is_flushed(store, value))
        return NULL;
    use(store, value);
    return value;
}

struct hg_value *hg_store_peek(const struct hg_store *store, uint64_t hash, struct hg_bytes key)
{
    struct hg_value *value = *find(store, hash, key);
    return value != NULL && !is_flushed(store, value) ? value : NULL;
}

struct hg_value *hg_store_peek_hash(const struct hg_store *store, uint64_t hash)
{
    struct hg_value *value = *bucket_of(store, hash);
    while (value != NULL && value->hash != hash)
        value = value->chain;
    return value;
}

/* What the policy knows of an entry whose successor is about to be put. */
static struct hg_policy_past past_of(const struct hg_store *store, const struct hg_value *value)
{
    const struct hg_policy_ops *ops = store->policy->ops;
    return (struct hg_policy_past){
        .queue = value->queue,
        .uses = value->uses,
        .count = ops->count == NULL ? 0 : ops->count(store->policy, value),
    };
}

/* Into its tier's order. HG_OK or HG_ENOMEM. */
static int order_add(struct hg_store *store, struct hg_value *value,
                     const struct hg_policy_past *past)
{
    if (value->tier == HG_TIER_MAIN && !store->is_lru)
        return store->policy->ops->add(store->policy, value, past);
    value->slot = 0;
    hg_list_push_front(&store->order[value->tier], &value->order);
    return HG_OK;
}

int hg_store_put(struct hg_store *store, struct hg_value *value, enum hg_tier tier,
                 uint64_t created_ms, uint64_t expires_ms)
{
    assert(!value->stored);
    assert(!value->is_private_copy);
    size_t cost_bytes = hg_store_entry_cost(store, value);
    bool is_known = false;
    struct hg_policy_past past = {0};
    int err = HG_OK;

    struct hg_value **link = find(store, value->hash, hg_value_key(value));
    if (*link != NULL) {
        is_known = (*link)->tier == HG_TIER_MAIN;
        if (is_known)
            past = past_of(store, *link);
        drop(store, link, HG_EVICT_REPLACED, true);
    }

    if (cost_bytes > hg_budget_limit(store->budget, tier)) {
        store->counters.rejected++;
        err = HG_ETOOBIG;
        goto tend;
    }
    if (tier == HG_TIER_MAIN && !is_known && store->policy->ops->arrive != NULL)
        store->policy->ops->arrive(store->policy, value->hash);
    err = make_room(store, tier, cost_bytes);
    if (err < 0)
        goto tend;

    if (created_ms < store->alive_from_ms)
        created_ms =
            store->alive_from_ms; /* it came after the flush, whatever clock it was read on */
    if (created_ms > store->newest_ms)
        store->newest_ms = created_ms;
    value->created_ms = created_ms;
    value->expires_ms = expires_ms;
    value->tier = (uint8_t)tier;
    value->stored = true;
    err = order_add(store, value, is_known ? &past : NULL);
    if (err < 0) {
        value->stored = false;
        hg_budget_release(store->budget, tier, cost_bytes);
        goto tend;
    }
    link = bucket_of(store, value->hash);
    value->chain = *link;
    *link = hg_value_ref(value);
    store->entry_count++;
    store->tier_count[tier]++;

tend:
    table_tend(store);
    return err;
}

bool hg_store_remove(struct hg_store *store, uint64_t hash, struct hg_bytes key,
                     enum hg_evict_reason reason)
{
    struct hg_value **link = find(store, hash, key);
    bool found = *link != NULL && !is_flushed(store, *link);
    if (*link != NULL)
        drop(store, link, reason, true);
    table_tend(store);
    return found;
}

void hg_store_set_expiry(struct hg_store *store, struct hg_value *value, uint64_t expires_ms)
{
    assert(value->stored);
    if (value->tier != HG_TIER_MAIN || store->is_lru)
        value->slot = 0;
    value->expires_ms = expires_ms;
}

size_t hg_store_evict(struct hg_store *store, enum hg_tier tier, size_t bytes)
{
    size_t freed = 0;
    while (freed < bytes) {
        size_t cost_bytes = evict_next(store, tier);
        if (cost_bytes == 0)
            break;
        freed += cost_bytes;
        table_tend(store);
    }
    return freed;
}

static bool is_dead(const struct hg_value *value, uint64_t now_ms)
{
    struct hg_value_more more = hg_value_more(value);
    uint64_t window_ms = more.stale_while_revalidate_ms > more.stale_if_error_ms
                             ? more.stale_while_revalidate_ms
                             : more.stale_if_error_ms;
    uint64_t end_ms = hg_time_add(value->expires_ms, window_ms);
    return end_ms != HG_FOREVER && now_ms >= end_ms;
}

/*
 * The hand walks the larger table's buckets. What has halved under it, or lies still in the smaller
 * table, it meets at the lower of the two places; what slips behind the hand that way is seen in
 * the next round.
 */
static struct hg_value **bucket_at(const struct hg_store *store, size_t index)
{
    struct hg_value **table = store->table;
    size_t mask = store->mask;
    if (!is_moved(store, index)) {
        table = store->old_table;
        mask = store->old_mask;
    }
    return index <= mask ? &table[index] : NULL;
}

void hg_store_settle(struct hg_store *store)
{
    if (store->old_table != NULL)
        table_move(store, SIZE_MAX);
}

size_t hg_store_bucket_count(const struct hg_store *store)
{
    bool is_old_larger = store->old_table != NULL && store->old_mask > store->mask;
    return (is_old_larger ? store->old_mask : store->mask) + 1;
}

size_t hg_store_expire_step(struct hg_store *store, uint64_t now_ms, size_t max_buckets)
{
    size_t bucket_count = hg_store_bucket_count(store), freed = 0;
    if (max_buckets > bucket_count)
        max_buckets = bucket_count;
    for (size_t n = 0; n < max_buckets; n++) {
        if (store->sweep_index >= bucket_count)
            store->sweep_index = 0;
        struct hg_value **link = bucket_at(store, store->sweep_index++);
        while (link != NULL && *link != NULL) {
            bool is_out = is_flushed(store, *link);
            if (is_out || is_dead(*link, now_ms)) {
                drop(store, link, is_out ? HG_EVICT_REMOVED : HG_EVICT_EXPIRED, true);
                freed++;
            } else {
                link = &(*link)->chain;
            }
        }
    }
    table_tend(store);
    return freed;
}

/* By the table, not by the policy: nobody asked for room, so no ghost is made. */
static void drop_all(struct hg_store *store, enum hg_evict_reason reason, bool tell)
{
    for (size_t i = hg_store_bucket_count(store); i-- > 0;) {
        struct hg_value **link = bucket_at(store, i);
        while (link != NULL && *link != NULL)
            drop(store, link, reason, tell);
    }
    assert(store->entry_count == 0);
}

void hg_store_finish(struct hg_store *store)
{
    if (store == NULL || store->table == NULL)
        return;
    drop_all(store, HG_EVICT_REMOVED, false);
    hg_policy_destroy(store->policy);
    hg_free(store->old_table);
    hg_free(store->table);
    *store = (struct hg_store){0};
}

void hg_store_clear(struct hg_store *store, enum hg_evict_reason reason)
{
    drop_all(store, reason, true);
    table_tend(store);
}

/* ---- validation ---- */

struct recount {
    size_t entries, tiers[HG_TIER_COUNT], bytes[HG_TIER_COUNT];
};

static bool chain_recount(const struct hg_store *store, size_t index, struct recount *sums)
{
    struct hg_value **bucket = bucket_at(store, index);
    if (bucket == NULL)
        return true;
    for (struct hg_value *value = *bucket; value != NULL; value = value->chain) {
        if (++sums->entries > store->entry_count)
            return false; /* a loop, too */
        if (!value->stored || value->tier >= HG_TIER_COUNT || atomic_load(&value->refs) == 0)
            return false;
        if (bucket_of(store, value->hash) != bucket ||
            *find(store, value->hash, hg_value_key(value)) != value)
            return false; /* in the wrong bucket, or the second one of its key */
        sums->tiers[value->tier]++;
        sums->bytes[value->tier] += hg_store_entry_cost(store, value);
    }
    return true;
}

static bool is_order_valid(const struct hg_store *store, enum hg_tier tier)
{
    size_t count = 0;
    hg_list_for_each(node, &store->order[tier])
    {
        const struct hg_value *value = hg_container_of(node, struct hg_value, order);
        if (node->next->prev != node || node->prev->next != node)
            return false;
        if (value->tier != tier || !value->stored || ++count > store->tier_count[tier])
            return false;
    }
    return count == store->tier_count[tier];
}

bool hg_store_validate(const struct hg_store *store)
{
    struct recount sums = {0};
    size_t all_bytes = 0;
    for (size_t i = 0; i < hg_store_bucket_count(store); i++) {
        if (!chain_recount(store, i, &sums))
            return false;
    }
    for (size_t tier = 0; tier < HG_TIER_COUNT; tier++) {
        size_t used = atomic_load(&store->budget->tier_used[tier]);
        /* Other shards use the same budget, so ours is a part of it. */
        if (sums.bytes[tier] > used || used > hg_budget_limit(store->budget, (enum hg_tier)tier))
            return false;
        if (sums.tiers[tier] != store->tier_count[tier])
            return false;
        if ((tier != HG_TIER_MAIN || store->policy->ops->is_one_list) &&
            !is_order_valid(store, (enum hg_tier)tier))
            return false;
        all_bytes += sums.bytes[tier];
    }
    const struct hg_policy_ops *ops = store->policy->ops;
    if (ops->validate != NULL && !ops->validate(store->policy, store->tier_count[HG_TIER_MAIN]))
        return false;
    size_t used = atomic_load(&store->budget->used);
    return sums.entries == store->entry_count && all_bytes <= used &&
           used <= store->budget->capacity;
}
