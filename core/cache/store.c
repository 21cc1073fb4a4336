#include "cache/store.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/bug.h"
#include "base/err.h"

#define FLUSHED_SWEPT 16 /* rows looked through for what was flushed before an entry is evicted */
#define TOGETHER      16 /* look-ups that are fetched ahead together */
#define FETCHED_BYTES 64 /* of each value: head, short key, and the data that is to be copied */
/* An entry's share of the table: a line for four to eight of them, and some have more lines. */
#define SHARE_BYTES 14

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

static size_t memory_cost(const struct hg_value *value, size_t share_bytes)
{
    size_t cost_bytes = 0;
    if (!hg_size_add(hg_alloc_size(hg_value_size(value)), share_bytes, &cost_bytes))
        return SIZE_MAX;
    return cost_bytes;
}

size_t hg_store_cost(const struct hg_value *value)
{
    return memory_cost(value, SHARE_BYTES);
}

size_t hg_store_entry_cost(const struct hg_store *store, const struct hg_value *value)
{
    return hg_policy_cost(store->policy, value);
}

static inline bool is_flushed(const struct hg_store *store, const struct hg_value *value)
{
    return value->epoch != store->epoch;
}

/*
 * A use moves an entry to the front of its list, and so writes to it and to both neighbours, which for a big store are not
 * in the processor's cache, or in another's. They are fetched when it is used and written to some uses later, a few entries
 * together; whoever looks at the order has what is late done first. So the order is exact.
 */
static __attribute__((noinline)) void order_catch_up(struct hg_store *store)
{
    for (unsigned i = 0; i < store->late_count; i++) {
        struct hg_value *late = store->late[i];
        if (late != NULL)
            hg_order_to_front(&store->order[hg_value_tier(late)], late);
    }
    store->late_count = 0;
}

static inline void order_use(struct hg_store *store, struct hg_value *value)
{
    if (store->late_count > 0 && store->late[store->late_count - 1] == value)
        return;
    if (store->late_count == HG_LATE_USES)
        order_catch_up(store);
    hg_prefetch_to_write(hg_order_prev(value));
    hg_prefetch_to_write(hg_order_next(value));
    store->late[store->late_count++] = value;
}

/* A new entry is at the front at once, and late too: what is late before it must not end up in front of it. */
static void order_enter(struct hg_store *store, struct hg_value *value)
{
    hg_order_push_front(&store->order[hg_value_tier(value)], value);
    order_use(store, value);
}

static bool is_late(const struct hg_store *store, const struct hg_value *value)
{
    bool found = false;
    for (size_t i = 0; i < store->late_count; i++)
        found |= store->late[i] == value;
    return found;
}

/* Its late uses are of no interest any more. */
static void order_leave(struct hg_store *store, struct hg_value *value)
{
    for (size_t i = 0; i < store->late_count; i++) {
        if (store->late[i] == value)
            store->late[i] = NULL;
    }
    hg_order_remove(&store->order[hg_value_tier(value)], value);
}

/* Late uses are all of others, unless the last one was used itself: then it is not the last. */
static struct hg_value *order_last(struct hg_store *store, enum hg_tier tier)
{
    struct hg_value *value = store->order[tier].last;
    if (value != NULL && is_late(store, value)) {
        order_catch_up(store);
        value = store->order[tier].last;
    }
    if (value != NULL)
        hg_policy_fetch_ahead(store->policy, hg_order_prev(value));
    return value;
}

const struct hg_order *hg_store_order(struct hg_store *store, enum hg_tier tier)
{
    order_catch_up(store);
    return &store->order[tier];
}

/* To the budget, or to the put that makes room here. */
static void give_back(struct hg_store *store, enum hg_tier tier, size_t bytes)
{
    if (store->is_making_room && tier == HG_TIER_MAIN)
        store->made_bytes += bytes;
    else
        hg_budget_release(store->budget, tier, bytes);
}

/*
 * Takes the entry out of table, order and budget, tells, and drops our reference; returns what it cost. What was flushed is told
 * as removed, whatever it is that happens to come by.
 */
static size_t drop(struct hg_store *store, uint64_t hash, struct hg_value *value,
                 enum hg_evict_reason reason, bool tell)
{
    enum hg_tier tier = hg_value_tier(value);
    size_t cost_bytes = hg_store_entry_cost(store, value);
    bool is_short = hg_bug(HG_BUG_FORGET_BYTE) && reason == HG_EVICT_REPLACED;
    if (is_flushed(store, value)) {
        reason = HG_EVICT_REMOVED;
        store->flushed_count--;
    }
    hg_table_remove(&store->table, hash, value);
    if (tier != HG_TIER_MAIN || store->is_lru) {
        order_leave(store, value);
    } else {
        store->policy->ops->remove(store->policy, value);
    }
    hg_policy_forget(store->policy, value);
    value->stored = false;
    store->tier_count[tier]--;
    give_back(store, tier, cost_bytes - is_short);
    if (reason == HG_EVICT_CAPACITY)
        store->counters.evictions++;
    if (reason == HG_EVICT_EXPIRED)
        store->counters.expirations++;
    if (tell && store->on_evict != NULL)
        store->on_evict(store->on_evict_ctx, value, reason);
    hg_value_unref(value);
    return cost_bytes;
}

/* Evicts one; returns the bytes freed, 0 when the tier has no entry here. */
static size_t evict_next(struct hg_store *store, enum hg_tier tier)
{
    struct hg_value *value = tier == HG_TIER_MAIN && !store->is_lru
                                 ? store->policy->ops->victim(store->policy)
                                 : order_last(store, tier);
    if (value == NULL)
        return 0;
    return drop(store, hg_policy_hash(store->policy, value), value, HG_EVICT_CAPACITY, true);
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

static bool is_dead(const struct hg_value *value, uint64_t now_ms)
{
    struct hg_value_more more = hg_value_more(value);
    uint64_t window_ms = more.stale_while_revalidate_ms > more.stale_if_error_ms
                             ? more.stale_while_revalidate_ms
                             : more.stale_if_error_ms;
    uint64_t end_ms = hg_time_add(hg_value_expires_ms(value), window_ms);
    return end_ms != HG_FOREVER && now_ms >= end_ms;
}

/* What was flushed, or is dead, in so many rows of the table; entries freed. */
static size_t sweep(struct hg_store *store, uint64_t now_ms, size_t max_rows)
{
    size_t row_count = hg_table_row_count(&store->table), freed = 0;
    if (max_rows > row_count)
        max_rows = row_count;
    for (size_t n = 0; n < max_rows; n++) {
        if (store->sweep_row >= row_count)
            store->sweep_row = 0;
        size_t row = store->sweep_row++;
        struct hg_value *value;
        for (size_t i = 0; (value = hg_table_nth(&store->table, row, i)) != NULL;) {
            if (is_flushed(store, value) || is_dead(value, now_ms)) {
                drop(store, hg_policy_hash(store->policy, value), value, HG_EVICT_EXPIRED, true);
                freed++;
            } else {
                i++;
            }
        }
    }
    return freed;
}

/*
 * Reserves. What is evicted from main for main is kept rather than given back and reserved again: that would be two atomic
 * operations, and a moment for others to take what was made here.
 */
static int make_room(struct hg_store *store, enum hg_tier tier, size_t cost_bytes)
{
    store->made_bytes = 0;
    while (store->made_bytes < cost_bytes) {
        size_t missing_bytes = cost_bytes - store->made_bytes;
        enum hg_budget_verdict verdict = hg_budget_reserve(store->budget, tier, missing_bytes);
        if (verdict == HG_FITS)
            return HG_OK;
        store->is_making_room = tier == HG_TIER_MAIN && !hg_budget_is_over(store->budget);
        bool is_made = (store->flushed_count > 0 && sweep(store, 0, FLUSHED_SWEPT) > 0) ||
                       evict_one(store, tier, verdict);
        store->is_making_room = false;
        if (!is_made) {
            hg_budget_release(store->budget, HG_TIER_MAIN, store->made_bytes);
            return hg_bug(HG_BUG_NO_BUDGET) ? HG_OK : HG_ELIMIT;
        }
    }
    if (store->made_bytes > cost_bytes)
        hg_budget_release(store->budget, HG_TIER_MAIN, store->made_bytes - cost_bytes);
    return HG_OK;
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
    *store = (struct hg_store){
        .budget = budget,
        .on_evict = on_evict,
        .on_evict_ctx = on_evict_ctx,
        .uses_max = policy->uses_max,
        .is_lru = policy == &hg_policy_lru,
    };
    int err = hg_table_init(&store->table);
    if (err < 0)
        return err;
    err = hg_policy_create(policy, &store->table, &store->order[HG_TIER_MAIN],
                           budget->cost == NULL ? memory_cost : budget->cost, SHARE_BYTES, seed,
                           &store->policy);
    if (err < 0) {
        hg_table_finish(&store->table);
        *store = (struct hg_store){0};
    }
    return err;
}

void hg_store_flush(struct hg_store *store)
{
    if (store->epoch == UINT8_MAX)
        hg_store_clear(
            store); /* else what is left of an epoch would be found when its number comes again */
    store->epoch++;
    store->flushed_count = store->table.count;
}

/* Those who go by a list or a small counter need no call for a use. */
static inline bool is_use_small(const struct hg_store *store, const struct hg_value *value)
{
    return store->is_lru || store->uses_max != HG_USES_CALL || hg_value_tier(value) != HG_TIER_MAIN;
}

static inline void use_small(struct hg_store *store, struct hg_value *value)
{
    if (store->is_lru || hg_value_tier(value) != HG_TIER_MAIN)
        order_use(store, value);
    else /* without a branch, which would wait for the value's line */
        value->uses += (value->uses < store->uses_max) & 3;
}

static __attribute__((noinline)) struct hg_value *get_any(struct hg_store *store, uint64_t hash,
                                                          struct hg_bytes key)
{
    if (store->table.old_buckets != NULL)
        hg_table_move(&store->table);
    struct hg_value *value = hg_table_use(&store->table, hash, key);
    if (value == NULL || is_flushed(store, value))
        return NULL;
    if (is_use_small(store, value))
        use_small(store, value);
    else
        store->policy->ops->hit(store->policy, value);
    return value;
}

/* The rest of a look-up whose guess is known, or NULL. */
static inline struct hg_value *get_guessed(struct hg_store *store, struct hg_value *guess,
                                           uint64_t hash, struct hg_bytes key)
{
    if (guess == NULL || !hg_table_is_guessed(guess, key) || is_flushed(store, guess) ||
        !is_use_small(store, guess))
        return get_any(store, hash, key);
    use_small(store, guess);
    return guess;
}

struct hg_value *hg_store_get(struct hg_store *store, uint64_t hash, struct hg_bytes key)
{
    if (!hg_bytes_is_short(key.len)) /* asked here, or each of several threads is slower by a twentieth */
        return get_any(store, hash, key);
    return get_guessed(store, hg_table_guess(&store->table, hash), hash, key);
}

void hg_store_get_many(struct hg_store *store, const uint64_t *hashes, const struct hg_bytes *keys,
                       size_t count, struct hg_value **out_values)
{
    for (size_t first = 0; first < count; first += TOGETHER) {
        size_t end = count - first < TOGETHER ? count : first + TOGETHER;
        for (size_t i = first; i < end; i++)
            hg_table_fetch_bucket(&store->table, hashes[i]);
        for (size_t i = first; i < end; i++) {
            struct hg_value *guess = hg_table_guess(&store->table, hashes[i]);
            out_values[i] = guess;
            if (guess != NULL) {
                hg_prefetch(guess);
                hg_prefetch((const char *)guess + FETCHED_BYTES - 1);
            }
        }
        for (size_t i = first; i < end; i++)
            out_values[i] = get_guessed(store, out_values[i], hashes[i], keys[i]);
    }
}

struct hg_value *hg_store_peek(const struct hg_store *store, uint64_t hash, struct hg_bytes key)
{
    struct hg_value *value = hg_table_find(&store->table, hash, key);
    return value != NULL && !is_flushed(store, value) ? value : NULL;
}

struct hg_value *hg_store_peek_hash(const struct hg_store *store, uint64_t hash)
{
    struct hg_value *value = hg_table_find_hash(&store->table, hash);
    return value != NULL && !is_flushed(store, value) ? value : NULL;
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

/* Into its bucket and its tier's order. HG_OK or HG_ENOMEM. */
static int enter(struct hg_store *store, struct hg_value *value, uint64_t hash,
                 const struct hg_policy_past *past)
{
    enum hg_tier tier = hg_value_tier(value);
    int err = hg_table_add(&store->table, hash, value);
    if (err < 0)
        return err;
    value->queue = value->uses = 0;
    if (tier != HG_TIER_MAIN || store->is_lru) {
        order_enter(store, value);
    } else {
        err = store->policy->ops->add(store->policy, value, past);
    }
    if (err < 0)
        hg_table_remove(&store->table, hash, value);
    return err;
}

int hg_store_put(struct hg_store *store, struct hg_value *value, enum hg_tier tier,
                 uint64_t created_ms, uint64_t expires_ms)
{
    assert(!value->stored);
    assert(!hg_value_is_private(value));
    size_t cost_bytes = hg_store_entry_cost(store, value);
    struct hg_bytes key = hg_value_key(value);
    uint64_t hash = store->table.hash(key);
    bool is_known = false;
    struct hg_policy_past past = {0};
    int err = HG_OK;

    struct hg_value *older = hg_table_find(&store->table, hash, key);
    if (older != NULL) {
        is_known = hg_value_tier(older) == HG_TIER_MAIN && !is_flushed(store, older);
        if (is_known)
            past = past_of(store, older);
        drop(store, hash, older, HG_EVICT_REPLACED, true);
    }

    if (cost_bytes > hg_budget_limit(store->budget, tier)) {
        store->counters.rejected++;
        err = HG_ETOOBIG;
        goto tend;
    }
    if (tier == HG_TIER_MAIN && !is_known && store->policy->ops->arrive != NULL)
        store->policy->ops->arrive(store->policy, hash);
    err = make_room(store, tier, cost_bytes);
    if (err < 0)
        goto tend;

    hg_value_set_times(value, created_ms, expires_ms);
    value->tier = (uint8_t)tier & 3;
    value->slot = 0;
    value->epoch = store->epoch;
    value->stored = true;
    err = enter(store, value, hash, is_known ? &past : NULL);
    if (err < 0) {
        value->stored = false;
        hg_budget_release(store->budget, tier, cost_bytes);
        goto tend;
    }
    store->tier_count[tier]++;
    hg_value_ref(value);

tend:
    hg_table_tend(&store->table);
    return err;
}

bool hg_store_remove(struct hg_store *store, uint64_t hash, struct hg_bytes key,
                     enum hg_evict_reason reason)
{
    struct hg_value *value = hg_table_find(&store->table, hash, key);
    bool found = value != NULL && !is_flushed(store, value);
    if (value != NULL)
        drop(store, hash, value, reason, true);
    hg_table_tend(&store->table);
    return found;
}

void hg_store_set_expiry(struct hg_store *store, struct hg_value *value, uint64_t expires_ms)
{
    assert(value->stored);
    if (hg_value_tier(value) != HG_TIER_MAIN || store->is_lru)
        value->slot = 0;
    hg_value_set_times(value, hg_value_created_ms(value), expires_ms);
}

size_t hg_store_evict(struct hg_store *store, enum hg_tier tier, size_t bytes)
{
    size_t freed = 0;
    while (freed < bytes) {
        size_t cost_bytes = evict_next(store, tier);
        if (cost_bytes == 0)
            break;
        freed += cost_bytes;
        hg_table_tend(&store->table);
    }
    return freed;
}

size_t hg_store_expire_step(struct hg_store *store, uint64_t now_ms, size_t max_rows)
{
    size_t freed = sweep(store, now_ms, max_rows);
    hg_table_tend(&store->table);
    return freed;
}

/* By the table, not by the policy: nobody asked for room, so no ghost is made. */
static void drop_all(struct hg_store *store, bool tell)
{
    for (size_t row = hg_table_row_count(&store->table); row-- > 0;) {
        struct hg_value *value;
        while ((value = hg_table_nth(&store->table, row, 0)) != NULL)
            drop(store, hg_policy_hash(store->policy, value), value, HG_EVICT_REMOVED, tell);
    }
    assert(store->table.count == 0);
}

void hg_store_finish(struct hg_store *store)
{
    if (store == NULL || store->table.buckets == NULL)
        return;
    drop_all(store, false);
    hg_policy_destroy(store->policy);
    hg_table_finish(&store->table);
    *store = (struct hg_store){0};
}

void hg_store_clear(struct hg_store *store)
{
    drop_all(store, true);
    hg_table_tend(&store->table);
}

/* ---- validation ---- */

struct recount {
    size_t entries, flushed, ahead, tiers[HG_TIER_COUNT], bytes[HG_TIER_COUNT];
};

static size_t count_ahead(const struct hg_policy *policy)
{
    size_t count = 0;
    for (size_t i = 0; i < HG_COUNT(policy->ahead); i++)
        count += policy->ahead[i].value != NULL;
    return count;
}

static size_t count_ahead_of(const struct hg_policy *policy, const struct hg_value *value)
{
    size_t count = 0;
    for (size_t i = 0; i < HG_COUNT(policy->ahead); i++)
        count += policy->ahead[i].value == value &&
                 policy->ahead[i].hash == policy->table->hash(hg_value_key(value));
    return count;
}

static bool row_recount(const struct hg_store *store, size_t row, struct recount *sums)
{
    const struct hg_value *value;
    for (size_t i = 0; (value = hg_table_nth(&store->table, row, i)) != NULL; i++) {
        enum hg_tier tier = hg_value_tier(value);
        if (!value->stored || tier >= HG_TIER_COUNT || hg_value_refs(value) == 0)
            return false;
        sums->entries++;
        sums->flushed += is_flushed(store, value);
        sums->ahead += count_ahead_of(store->policy, value);
        sums->tiers[tier]++;
        sums->bytes[tier] += hg_store_entry_cost(store, value);
    }
    return true;
}

static bool is_order_valid(const struct hg_store *store, enum hg_tier tier)
{
    const struct hg_order *order = &store->order[tier];
    if (!hg_order_validate(order, store->tier_count[tier]))
        return false;
    for (const struct hg_value *value = order->first; value != NULL; value = hg_order_next(value)) {
        if (hg_value_tier(value) != tier)
            return false;
    }
    return true;
}

bool hg_store_validate(const struct hg_store *store)
{
    struct recount sums = {0};
    size_t all_bytes = 0;
    if (!hg_table_validate(&store->table))
        return false;
    for (size_t row = 0; row < hg_table_row_count(&store->table); row++) {
        if (!row_recount(store, row, &sums))
            return false;
    }
    for (size_t tier = 0; tier < HG_TIER_COUNT; tier++) {
        size_t used = hg_budget_used(store->budget, (enum hg_tier)tier);
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
    return sums.entries == store->table.count && sums.flushed == store->flushed_count &&
           sums.ahead == count_ahead(store->policy) && all_bytes <= used &&
           used <= store->budget->capacity;
}
