/*
 * fake_source - for the tests of this floor: a source whose loads and asks lie in queues until the test ends
 * them, loops that are plain structs, and askers that note what they were answered.
 */
#ifndef HG_GROUP_FAKE_SOURCE_H
#define HG_GROUP_FAKE_SOURCE_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/alloc.h"
#include "base/err.h"
#include "base/hash.h"
#include "group/group_impl.h"

#define MEMBERS_MAX 8
#define UNUSED      __attribute__((unused))

struct hg_loop {
    struct hg_list mail;
    unsigned wakes;
};

struct fake {
    struct hg_source source;
    struct hg_list loads, asks; /* started, by hg_load.link, oldest first */
    struct hg_loop loop, other; /* where askers wait */
    bool is_down[MEMBERS_MAX];
    int load_fails, ask_fails; /* how many of the next starts fail */
    uint64_t seed;
    unsigned evicted, loads_started, asks_sent;
    struct hg_groups_config limits;
    struct hg_group_config config;
    struct hg_guard_config guard_config;
    bool has_guard;
    struct hg_guard guard;
    struct hg_groups *groups;
    struct hg_group *group;
    struct hg_ring *ring;
    struct hg_view view;
    void *peers[MEMBERS_MAX];
    uint64_t now_ms;
    size_t live_bytes;
};

struct asker {
    struct hg_waiter waiter;
    unsigned answers;
    int err;
    enum hg_how how;
    enum hg_status status;
    enum hg_class klass;
    uint64_t created_ms, expires_ms, retry_after_ms;
    char data[64];
    struct hg_loop *answered_on;
};

static UNUSED uint64_t fake_next(uint64_t *seed)
{
    uint64_t z = (*seed += 0x9e3779b97f4a7c15u); /* splitmix64 (Steele, Lea, Flood 2014) */
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static UNUSED int fake_load(void *ctx, struct hg_load *load)
{
    struct fake *fake = ctx;
    if (fake->load_fails > 0) {
        fake->load_fails--;
        return HG_ENOMEM;
    }
    fake->loads_started++;
    hg_list_push_back(&fake->loads, &load->link);
    return HG_OK;
}

static UNUSED int fake_ask(void *ctx, struct hg_load *load)
{
    struct fake *fake = ctx;
    if (fake->ask_fails > 0) {
        fake->ask_fails--;
        return HG_EPEER;
    }
    fake->asks_sent++;
    hg_list_push_back(&fake->asks, &load->link);
    return HG_OK;
}

static UNUSED bool fake_is_up(void *ctx, const struct hg_view *view, size_t member)
{
    struct fake *fake = ctx;
    (void)view;
    return !fake->is_down[member];
}

static UNUSED void fake_wake(void *ctx, struct hg_loop *loop, struct hg_list *waiters)
{
    (void)ctx;
    assert_false(hg_list_is_empty(waiters));
    loop->wakes++;
    hg_list_splice_back(&loop->mail, waiters);
}

static UNUSED void fake_evicted(void *ctx, struct hg_group *group, struct hg_value *value,
                                int reason)
{
    struct fake *fake = ctx;
    (void)group;
    (void)value;
    (void)reason;
    fake->evicted++;
}

static UNUSED uint64_t fake_random(void *ctx)
{
    return fake_next(&((struct fake *)ctx)->seed);
}

/* Defaults; the test changes `limits`, `config`, `guard_config` before fake_start. */
static UNUSED void fake_init(struct fake *fake)
{
    memset(fake, 0, sizeof(*fake));
    fake->live_bytes = hg_alloc_live_bytes();
    fake->seed = 1;
    fake->now_ms = 100000;
    hg_list_init(&fake->loads);
    hg_list_init(&fake->asks);
    hg_list_init(&fake->loop.mail);
    hg_list_init(&fake->other.mail);
    fake->source = (struct hg_source){
        .ctx = fake,
        .load = fake_load,
        .ask = fake_ask,
        .is_up = fake_is_up,
        .wake = fake_wake,
        .evicted = fake_evicted,
        .random = fake_random,
    };
    fake->limits = (struct hg_groups_config){
        .key_max = 1024,
        .value_max = 4096,
        .flights_max = 1000,
        .waiters_max = 1000,
        .lease_ms = 2000,
        .shards = 1,
    };
    fake->config = (struct hg_group_config){
        .name = "test",
        .capacity_bytes = 1 << 20,
        .hot = 0.125,
        .ttl_ms = 60000,
        .negative_ttl_ms = 5000,
        .deadline_ms = 10000,
    };
    fake->guard_config = (struct hg_guard_config){
        .concurrency = 2,
        .queue = 2,
        .breaker_failures = 3,
        .breaker_cooldown_ms = 5000,
    };
}

static UNUSED void fake_start(struct fake *fake)
{
    if (fake->has_guard) {
        hg_guard_init(&fake->guard, &fake->guard_config);
        fake->config.guard = &fake->guard;
    }
    assert_int_equal(hg_groups_create(&fake->limits, &fake->source, &fake->groups), HG_OK);
    assert_int_equal(hg_groups_add(fake->groups, &fake->config, &fake->group), HG_OK);
}

/* Members a, b, c, ...; we are `self`. */
static UNUSED void fake_view(struct fake *fake, size_t count, long self)
{
    static const struct hg_bytes names[MEMBERS_MAX] = {
        {"a", 1}, {"b", 1}, {"c", 1}, {"d", 1}, {"e", 1}, {"f", 1}, {"g", 1}, {"h", 1},
    };
    const struct hg_ring_preset *preset = hg_ring_preset_find(HG_BYTES("groupcache"));

    hg_groups_set_view(fake->groups, NULL);
    hg_ring_destroy(fake->ring);
    assert_int_equal(hg_ring_create(preset, names, count, &fake->ring), HG_OK);
    fake->view = (struct hg_view){.ring = fake->ring, .self = self, .peers = fake->peers};
    hg_groups_set_view(fake->groups, &fake->view);
}

static UNUSED void fake_finish(struct fake *fake)
{
    struct hg_group_stats stats;

    assert_true(hg_list_is_empty(&fake->loads));
    assert_true(hg_list_is_empty(&fake->asks));
    assert_true(hg_list_is_empty(&fake->loop.mail));
    assert_true(hg_list_is_empty(&fake->other.mail));
    assert_int_equal(hg_groups_flight_count(fake->groups), 0);
    for (size_t i = 0; i < hg_groups_count(fake->groups); i++) {
        struct hg_group *group = hg_groups_at(fake->groups, i);
        hg_group_stats(group, &stats);
        assert_int_equal(stats.flights, 0);
        assert_int_equal(stats.waiters, 0);
        assert_int_equal(stats.gets, stats.hits + stats.hot_hits + stats.stale_hits +
                                         stats.negative_hits + stats.error_hits + stats.misses);
        assert_int_equal(stats.misses, stats.loads + stats.loads_deduped + stats.refused);
        for (unsigned s = 0; s < group->shard_count; s++) {
            assert_true(hg_store_validate(&group->shards[s].store));
            assert_true(hg_flights_validate(&group->shards[s].flights));
        }
    }
    hg_groups_destroy(fake->groups);
    hg_ring_destroy(fake->ring);
    if (fake->has_guard)
        hg_guard_finish(&fake->guard);
    assert_int_equal(hg_alloc_live_bytes(), fake->live_bytes);
}

static UNUSED void note_result(struct asker *asker, const struct hg_result *result)
{
    asker->answers++;
    asker->err = result->err;
    asker->how = result->how;
    asker->created_ms = result->created_ms;
    asker->expires_ms = result->expires_ms;
    asker->retry_after_ms = result->retry_after_ms;
    asker->status = HG_STATUS_NONE;
    asker->data[0] = '\0';
    if (result->value != NULL) {
        struct hg_bytes data = hg_value_data(result->value);
        asker->status = hg_value_status(result->value);
        asker->klass = hg_value_class(result->value);
        snprintf(asker->data, sizeof(asker->data), "%.*s", (int)data.len, data.data);
    }
}

static UNUSED void on_answer(struct hg_waiter *waiter, const struct hg_result *result)
{
    note_result(hg_container_of(waiter, struct asker, waiter), result);
}

static UNUSED int get_with(struct fake *fake, struct hg_group *group, struct asker *asker,
                           const struct hg_get *get)
{
    struct hg_result result;
    struct hg_hold hold;

    memset(asker, 0, sizeof(*asker));
    asker->waiter.loop = get->loop;
    asker->waiter.answer = on_answer;
    int rc = hg_group_get(group, get, &asker->waiter, &result, &hold);
    if (rc == HG_PENDING) {
        assert_int_equal(asker->answers, 0);
    } else {
        note_result(asker, &result);
        assert_int_equal(asker->err, rc);
        assert_ptr_equal(result.value, hold.value);
        hg_hold_release(&hold);
    }
    (void)fake;
    return rc;
}

static UNUSED struct hg_get get_of(struct fake *fake, const char *key)
{
    return (struct hg_get){
        .key = hg_bytes_str(key),
        .now_ms = fake->now_ms,
        .deadline_ms = fake->now_ms + 10000,
        .loop = &fake->loop,
    };
}

static UNUSED int ask(struct fake *fake, struct asker *asker, const char *key)
{
    struct hg_get get = get_of(fake, key);
    return get_with(fake, fake->group, asker, &get);
}

static UNUSED int ask_as_peer(struct fake *fake, struct asker *asker, const char *key)
{
    struct hg_get get = get_of(fake, key);
    get.from_peer = true;
    return get_with(fake, fake->group, asker, &get);
}

static UNUSED int ask_nested(struct fake *fake, struct hg_group *group, struct asker *asker,
                             const char *key, struct hg_load *parent)
{
    struct hg_get get = get_of(fake, key);
    get.parent = parent;
    return get_with(fake, group, asker, &get);
}

static UNUSED size_t deliver(struct hg_loop *loop)
{
    struct hg_list *node;
    size_t count = 0;

    while ((node = hg_list_pop_front(&loop->mail)) != NULL) {
        hg_waiter_deliver(hg_container_of(node, struct hg_waiter, link));
        count++;
    }
    return count;
}

static UNUSED struct hg_load *next_of(struct hg_list *list)
{
    struct hg_list *node = hg_list_pop_front(list);
    assert_non_null(node);
    return hg_container_of(node, struct hg_load, link);
}

static UNUSED struct hg_load *next_load(struct fake *fake)
{
    return next_of(&fake->loads);
}

static UNUSED struct hg_load *next_ask(struct fake *fake)
{
    return next_of(&fake->asks);
}

static UNUSED struct hg_value_spec spec_of(struct hg_bytes key, const char *data)
{
    return (struct hg_value_spec){
        .status = HG_STATUS_VALUE, .key = key, .data = hg_bytes_str(data)};
}

static UNUSED struct hg_value *value_of(struct hg_load *load, const char *data)
{
    struct hg_value_spec spec = spec_of(load->flight.key, data);
    struct hg_value *value = hg_value_create(&spec);
    assert_non_null(value);
    return value;
}

static UNUSED struct hg_value *missing_of(struct hg_load *load)
{
    struct hg_value_spec spec = {.status = HG_STATUS_NOT_FOUND, .key = load->flight.key};
    struct hg_value *value = hg_value_create(&spec);
    assert_non_null(value);
    return value;
}

static UNUSED struct hg_value *error_of(struct hg_load *load, enum hg_class klass,
                                        const char *message)
{
    struct hg_value_spec spec = {.status = HG_STATUS_ERROR,
                                 .klass = klass,
                                 .key = load->flight.key,
                                 .data = hg_bytes_str(message)};
    struct hg_value *value = hg_value_create(&spec);
    assert_non_null(value);
    return value;
}

/* Ends a load on fake->loop, whose waiters are called directly. */
static UNUSED void end(struct fake *fake, struct hg_load *load, struct hg_value *value)
{
    hg_load_finish(load, value, fake->now_ms, &fake->loop);
}

static UNUSED void end_next(struct fake *fake, const char *data)
{
    struct hg_load *load = next_load(fake);
    end(fake, load, value_of(load, data));
}

static UNUSED void end_ask(struct fake *fake, struct hg_load *load, enum hg_ask_outcome outcome,
                           struct hg_value *result, uint64_t ttl_ms)
{
    struct hg_ask_answer answer = {
        .outcome = outcome, .result = result, .sent_ms = fake->now_ms, .ttl_ms = ttl_ms};
    hg_load_asked(load, &answer, fake->now_ms, &fake->loop);
}

/* Puts a value of this key as the getter would. */
static UNUSED void fill(struct fake *fake, const char *key, const char *data)
{
    struct asker asker;
    assert_int_equal(ask(fake, &asker, key), HG_PENDING);
    end_next(fake, data);
    assert_int_equal(asker.answers, 1);
}

static UNUSED struct hg_group_stats stats_of(struct fake *fake)
{
    struct hg_group_stats stats;
    hg_group_stats(fake->group, &stats);
    return stats;
}

/* A key "k<n>" with this owner and this second on the ring (-1: any). */
static UNUSED const char *key_of(struct fake *fake, long owner, long second)
{
    static char keys[8][16];
    static unsigned turn;
    char *key = keys[turn++ % 8];

    for (unsigned i = 0; i < 100000; i++) {
        snprintf(key, sizeof(keys[0]), "k%u", i);
        if ((long)hg_ring_owner(fake->ring, hg_bytes_str(key)) == owner &&
            (second < 0 || (long)hg_ring_second(fake->ring, hg_bytes_str(key)) == second))
            return key;
    }
    fail_msg("no key of member %ld", owner);
    return NULL;
}

#endif
