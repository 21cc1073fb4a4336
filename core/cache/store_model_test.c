/*
 * The store against a stupid model: one array of entries in order of use, searched from end to end.
 * Both take the same seeded steps; contents, order of use, bytes and every callback must agree.
 */
#include "cache/store.h"
#include "base/hash.h"
#include "base/testing.h"

#include <stdio.h>

#define KEYS     120
#define LOG_MAX  1000
#define DATA_MAX 700

struct entry {
    size_t key, cost;
    enum hg_tier tier;
    uint64_t created_ms, expires_ms, window_ms, version;
};

struct event {
    size_t key;
    enum hg_evict_reason reason;
};

struct events {
    struct event lines[LOG_MAX];
    size_t count;
};

struct model {
    struct entry entries[KEYS]; /* least recently used first, tiers mixed */
    size_t count;
    size_t capacity, limits[HG_TIER_COUNT];
    struct events expected, actual;
    uint64_t evictions, expirations, rejected;
    uint64_t seed;
    int step;
};

static struct hg_bytes key_make(char buf[16], size_t key)
{
    return hg_bytes(buf, (size_t)snprintf(buf, 16, "key%zu", key));
}

static uint64_t hash_limit; /* hashes below it: they collide; 0 = real ones */

static uint64_t hash_of(struct hg_bytes key)
{
    return hash_limit > 0 ? 1 + hg_hash(key) % hash_limit : hg_hash(key);
}

static void note(struct events *events, size_t key, enum hg_evict_reason reason)
{
    assert_true(events->count < LOG_MAX);
    events->lines[events->count++] = (struct event){key, reason};
}

static void on_evict(void *ctx, struct hg_value *value, enum hg_evict_reason reason)
{
    struct model *model = ctx;
    unsigned long long key;
    struct hg_bytes text = hg_value_key(value);
    assert_true(hg_bytes_to_u64(hg_bytes(text.data + 3, text.len - 3), &key));
    note(&model->actual, key, reason);
}

/* ---- the model ---- */

static size_t model_find(const struct model *model, size_t key)
{
    size_t i = 0;
    while (i < model->count && model->entries[i].key != key)
        i++;
    return i;
}

static size_t model_used(const struct model *model, int tier)
{
    size_t sum = 0;
    for (size_t i = 0; i < model->count; i++) {
        if (tier < 0 || (int)model->entries[i].tier == tier)
            sum += model->entries[i].cost;
    }
    return sum;
}

static void model_drop(struct model *model, size_t index, enum hg_evict_reason reason)
{
    note(&model->expected, model->entries[index].key, reason);
    model->evictions += reason == HG_EVICT_CAPACITY;
    model->expirations += reason == HG_EVICT_EXPIRED;
    memmove(&model->entries[index], &model->entries[index + 1],
            (model->count - index - 1) * sizeof(struct entry));
    model->count--;
}

static void model_use(struct model *model, size_t index)
{
    struct entry entry = model->entries[index];
    memmove(&model->entries[index], &model->entries[index + 1],
            (model->count - index - 1) * sizeof(struct entry));
    model->entries[model->count - 1] = entry;
}

static size_t model_evict_last(struct model *model, enum hg_tier tier)
{
    for (size_t i = 0; i < model->count; i++) {
        if (model->entries[i].tier == tier) {
            size_t cost = model->entries[i].cost;
            model_drop(model, i, HG_EVICT_CAPACITY);
            return cost;
        }
    }
    return 0;
}

static int model_put(struct model *model, struct entry entry)
{
    size_t index = model_find(model, entry.key);
    if (index < model->count)
        model_drop(model, index, HG_EVICT_REPLACED);
    if (entry.cost > model->limits[entry.tier]) {
        model->rejected++;
        return HG_ETOOBIG;
    }
    while (entry.tier != HG_TIER_MAIN &&
           model_used(model, (int)entry.tier) + entry.cost > model->limits[entry.tier])
        model_evict_last(model, entry.tier);
    while (model_used(model, -1) + entry.cost > model->capacity) {
        if (model_evict_last(model, HG_TIER_MAIN) == 0 && model_evict_last(model, HG_TIER_HOT) == 0)
            assert_true(model_evict_last(model, HG_TIER_NEGATIVE) > 0);
    }
    model->entries[model->count++] = entry;
    return HG_OK;
}

static bool model_is_dead(const struct entry *entry, uint64_t now_ms)
{
    return entry->expires_ms != HG_FOREVER && entry->expires_ms + entry->window_ms <= now_ms;
}

/* ---- both ---- */

static void compare_events(struct model *model)
{
    assert_int_equal(model->actual.count, model->expected.count);
    for (size_t i = 0; i < model->actual.count; i++) {
        assert_int_equal(model->actual.lines[i].key, model->expected.lines[i].key);
        assert_int_equal(model->actual.lines[i].reason, model->expected.lines[i].reason);
    }
    model->actual.count = model->expected.count = 0;
}

static void compare_entry(const struct entry *entry, const struct hg_value *value)
{
    char buf[16];
    assert_non_null(value);
    assert_true(hg_bytes_eq(hg_value_key(value), key_make(buf, entry->key)));
    assert_int_equal(value->tier, entry->tier);
    assert_int_equal(hg_store_cost(value), entry->cost);
    assert_int_equal(hg_value_created_ms(value), entry->created_ms);
    assert_true(hg_value_expires_ms(value) == entry->expires_ms);
    assert_true(hg_value_version(value) == entry->version);
}

/* Contents and order of use, tier by tier, and the bytes counted afresh. */
static void compare_all(struct model *model, struct hg_store *store)
{
    assert_true(hg_store_validate(store));
    assert_int_equal(store->table.count, model->count);
    for (int tier = 0; tier < HG_TIER_COUNT; tier++) {
        const struct hg_value *value = hg_store_order(store, (enum hg_tier)tier)->last;
        for (size_t i = 0; i < model->count; i++) {
            const struct entry *entry = &model->entries[i];
            if ((int)entry->tier != tier)
                continue;
            compare_entry(entry, value);
            value = hg_order_prev(value);
        }
        assert_null(value);
        assert_int_equal(hg_budget_used(store->budget, (enum hg_tier)tier),
                         model_used(model, tier));
    }
    assert_int_equal(atomic_load(&store->budget->used), model_used(model, -1));
    assert_true(model_used(model, -1) <= model->capacity);
    assert_int_equal(store->counters.evictions, model->evictions);
    assert_int_equal(store->counters.expirations, model->expirations);
    assert_int_equal(store->counters.rejected, model->rejected);
}

static void step_look_up(struct model *model, struct hg_store *store, size_t key, bool is_use)
{
    char buf[16];
    struct hg_bytes text = key_make(buf, key);
    uint64_t hash = hash_of(text);
    struct hg_value *value =
        is_use ? hg_store_get(store, hash, text) : hg_store_peek(store, hash, text);
    size_t index = model_find(model, key);
    if (index == model->count) {
        assert_null(value);
        return;
    }
    compare_entry(&model->entries[index], value);
    if (is_use)
        model_use(model, index);
}

static void step_put(struct model *model, struct hg_store *store, size_t key,
                     struct hg_test_random *random, uint64_t now_ms)
{
    static const char data[DATA_MAX];
    char buf[16], number[24];
    struct hg_bytes text = key_make(buf, key);
    bool is_big = hg_test_below(random, 50) == 0;
    size_t data_len = hg_test_below(random, is_big ? DATA_MAX : DATA_MAX / 5);
    snprintf(number, sizeof(number), "%d", model->step); /* a tag, so that sizes vary twice */
    struct hg_bytes tag = hg_bytes_str(number);
    uint64_t windows[2] = {hg_test_below(random, 30), hg_test_below(random, 30)};
    struct hg_value_spec spec = {
        .status = HG_STATUS_VALUE,
        .key = text,
        .data = hg_bytes(data, data_len),
        .tags = &tag,
        .tag_count = 1,
        .stale_while_revalidate_ms = windows[0],
        .stale_if_error_ms = windows[1],
    };
    struct hg_value *value = hg_value_create(&spec);
    struct entry entry = {
        .key = key,
        .cost = hg_store_cost(value),
        .tier = (enum hg_tier)hg_test_below(random, HG_TIER_COUNT),
        .created_ms = now_ms,
        .expires_ms =
            hg_test_below(random, 5) == 0 ? HG_FOREVER : now_ms + hg_test_below(random, 300),
        .window_ms = windows[0] > windows[1] ? windows[0] : windows[1],
        .version = hg_value_version(value),
    };
    int err = hg_store_put(store, value, entry.tier, entry.created_ms, entry.expires_ms);
    assert_int_equal(err, model_put(model, entry));
    hg_value_unref(value);
}

static void step_remove(struct model *model, struct hg_store *store, size_t key)
{
    char buf[16];
    struct hg_bytes text = key_make(buf, key);
    size_t index = model_find(model, key);
    bool found = index < model->count;
    if (found)
        model_drop(model, index, HG_EVICT_REMOVED);
    assert_int_equal(hg_store_remove(store, hash_of(text), text, HG_EVICT_REMOVED), found);
}

static void step_evict(struct model *model, struct hg_store *store, enum hg_tier tier, size_t bytes)
{
    size_t freed = 0, last = 1;
    while (freed < bytes && last > 0)
        freed += last = model_evict_last(model, tier);
    assert_int_equal(hg_store_evict(store, tier, bytes), freed);
}

/* Which buckets the hand meets is the store's affair: all it frees must be dead, and a full round
 * frees all. */
static void step_expire(struct model *model, struct hg_store *store, uint64_t now_ms,
                        size_t max_rows)
{
    size_t freed = hg_store_expire_step(store, now_ms, max_rows);
    assert_int_equal(model->actual.count, freed);
    for (size_t i = 0; i < freed; i++) {
        size_t index = model_find(model, model->actual.lines[i].key);
        assert_true(index < model->count);
        assert_true(model_is_dead(&model->entries[index], now_ms));
        model_drop(model, index, HG_EVICT_EXPIRED);
    }
    for (size_t i = 0; i < model->count && max_rows == SIZE_MAX; i++)
        assert_false(model_is_dead(&model->entries[i], now_ms));
}

static void step_set_expiry(struct model *model, struct hg_store *store, size_t key,
                            uint64_t expires_ms)
{
    char buf[16];
    struct hg_bytes text = key_make(buf, key);
    size_t index = model_find(model, key);
    if (index == model->count)
        return;
    model->entries[index].expires_ms = expires_ms;
    hg_store_set_expiry(store, hg_store_peek(store, hash_of(text), text), expires_ms);
}

static void step_clear(struct model *model, struct hg_store *store)
{
    for (size_t i = 0; i < model->actual.count; i++)
        fail();
    hg_store_clear(store);
    assert_int_equal(model->actual.count, model->count);
    model->actual.count = model->count = 0;
}

static void step(struct model *model, struct hg_store *store, struct hg_test_random *random)
{
    uint64_t now_ms = (uint64_t)model->step;
    /* Phases of filling and of emptying, so that the table grows and shrinks. */
    bool is_filling = model->step / 500 % 2 == 0;
    size_t key = hg_test_below(random, KEYS);
    size_t choice = hg_test_below(random, 100);
    if (choice < (is_filling ? 45 : 10))
        step_put(model, store, key, random, now_ms);
    else if (choice < 65)
        step_look_up(model, store, key, true);
    else if (choice < 75)
        step_look_up(model, store, key, false);
    else if (choice < (is_filling ? 78 : 88))
        step_remove(model, store, key);
    else if (choice < 91)
        step_set_expiry(model, store, key, now_ms + hg_test_below(random, 100));
    else if (choice < 98)
        step_expire(model, store, now_ms,
                    hg_test_below(random, 3) == 0 ? SIZE_MAX : hg_test_below(random, 20));
    else if (choice < 99 || hg_test_below(random, 10) > 0)
        step_evict(model, store, (enum hg_tier)hg_test_below(random, HG_TIER_COUNT),
                   hg_test_below(random, 1000));
    else
        step_clear(model, store);
}

static void run_random_steps(uint64_t seed, size_t capacity, size_t hot, size_t negative,
                             uint64_t limit)
{
    static struct model model;
    struct hg_test_random random = {seed};
    struct hg_budget budget;
    struct hg_store store;
    size_t live_bytes = hg_alloc_live_bytes();
    model = (struct model){
        .capacity = capacity,
        .limits = {capacity, hot, negative},
        .seed = seed,
    };
    print_message("seed %d, capacity %zu, hashes %d\n", (int)seed, capacity, (int)limit);
    hash_limit = limit;
    hg_budget_init(&budget, capacity, hot, negative);
    assert_int_equal(hg_store_init(&store, &budget, on_evict, &model), HG_OK);
    store.table.hash = hash_of;
    for (model.step = 0; model.step < 5000; model.step++) {
        step(&model, &store, &random);
        compare_events(&model);
        if (model.step % 25 == 0 || model.step < 500)
            compare_all(&model, &store);
    }
    compare_all(&model, &store);
    hg_store_finish(&store);
    assert_int_equal(atomic_load(&budget.used), 0);
    assert_int_equal(hg_alloc_live_bytes(), live_bytes);
}

static void test_random_steps_agree_with_a_model(void **state)
{
    static const struct {
        size_t capacity, hot, negative;
    } sizes[] = {
        {1 << 20, 1 << 20, 1 << 20}, /* never full */
        {16000, 4000, 1000},
        {8000, 1000, 500},
        {4000, 3000, 3000}, /* limits that together pass the capacity */
        {1000, 0, 250},
        {400, 400, 400},
    };
    (void)state;
    for (size_t i = 0; i < HG_COUNT(sizes); i++) {
        for (uint64_t seed = 1; seed <= 4; seed++)
            run_random_steps(seed + 10 * i, sizes[i].capacity, sizes[i].hot, sizes[i].negative, 0);
    }
}

static void test_colliding_hashes_agree_with_the_model_too(void **state)
{
    (void)state;
    for (uint64_t seed = 101; seed <= 104; seed++) {
        run_random_steps(seed, 16000, 4000, 2000, 1);
        run_random_steps(seed, 16000, 4000, 2000, 7);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_steps_agree_with_a_model),
        cmocka_unit_test(test_colliding_hashes_agree_with_the_model_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
