/*
 * Real threads on one group: four loops get, cancel, remove and look at counters while a pool of two runs the
 * getters. Meant for the thread sanitizer; without it, it is one more test of "answered exactly once".
 */
#include "group/fake_source.h"

#include <sched.h>

#define LOOPS   4
#define GETTERS 2
#define KEYS    24
#define GETS    30000

struct pool {
    pthread_mutex_t lock;
    struct hg_list loads;
    bool is_closing;
};

struct world;

/* A loop is known to the group by its address only, so it may be ours. */
struct thread {
    struct hg_loop loop; /* mail: under `lock` */
    pthread_mutex_t lock;
    pthread_t id;
    struct world *world;
    uint64_t seed;
    unsigned pending, answered, cancelled;
};

struct world {
    struct hg_source source;
    struct pool pool;
    struct hg_groups *groups;
    struct hg_group *group, *other;
    struct hg_guard guard;
    struct thread loops[LOOPS];
    pthread_t getters[GETTERS];
    atomic_uint_fast64_t clock_ms, seed;
    struct hg_ring *ring;
    struct hg_view view;
};

static int pool_load(void *ctx, struct hg_load *load)
{
    struct world *world = ctx;

    pthread_mutex_lock(&world->pool.lock);
    hg_list_push_back(&world->pool.loads, &load->link);
    pthread_mutex_unlock(&world->pool.lock);
    return HG_OK;
}

static bool never_up(void *ctx, const struct hg_view *view, size_t member)
{
    (void)ctx;
    (void)view;
    return member == 99;
}

static void wake_thread(void *ctx, struct hg_loop *loop, struct hg_list *waiters)
{
    struct thread *thread = hg_container_of(loop, struct thread, loop);

    (void)ctx;
    pthread_mutex_lock(&thread->lock);
    hg_list_splice_back(&thread->loop.mail, waiters);
    pthread_mutex_unlock(&thread->lock);
}

static uint64_t any_random(void *ctx)
{
    struct world *world = ctx;
    uint64_t seed = atomic_fetch_add(&world->seed, 1);
    return fake_next(&seed);
}

struct call {
    struct hg_waiter waiter;
    struct thread *thread;
    struct hg_list link; /* the thread's open calls */
};

static void on_call_answer(struct hg_waiter *waiter, const struct hg_result *result)
{
    struct call *call = hg_container_of(waiter, struct call, waiter);

    assert_true(result->err == HG_OK);
    assert_true(hg_value_status(result->value) != HG_STATUS_NONE);
    call->thread->pending--;
    call->thread->answered++;
    hg_list_remove(&call->link);
    free(call);
}

static void thread_reads_mail(struct thread *thread)
{
    struct hg_list mail = HG_LIST_INIT(mail);
    struct hg_list *node;

    pthread_mutex_lock(&thread->lock);
    hg_list_splice_back(&mail, &thread->loop.mail);
    pthread_mutex_unlock(&thread->lock);
    while ((node = hg_list_pop_front(&mail)) != NULL)
        hg_waiter_deliver(hg_container_of(node, struct hg_waiter, link));
}

static void thread_gets(struct thread *thread, struct hg_list *open, const char *key,
                        uint64_t now_ms)
{
    struct world *world = thread->world;
    struct call *call = calloc(1, sizeof(*call));
    struct hg_get get = {.key = hg_bytes_str(key),
                         .now_ms = now_ms,
                         .deadline_ms = now_ms + 1000,
                         .loop = &thread->loop};
    struct hg_result result;
    struct hg_hold hold;

    call->thread = thread;
    call->waiter.loop = &thread->loop;
    call->waiter.answer = on_call_answer;
    hg_list_push_back(open, &call->link);
    thread->pending++;
    get.from_peer = fake_next(&thread->seed) % 8 == 0;
    int rc = hg_group_get(world->group, &get, &call->waiter, &result, &hold);
    if (rc == HG_PENDING)
        return;
    thread->pending--;
    hg_list_remove(&call->link);
    free(call);
    if (rc == HG_OK) {
        thread->answered++;
        if (hg_value_status(hold.value) == HG_STATUS_VALUE)
            assert_true(
                hg_bytes_eq(hg_value_data(hold.value), get.key)); /* read outside the lock */
        hg_hold_release(&hold);
    } else {
        assert_int_equal(rc, HG_ELIMIT);
        thread->cancelled++;
    }
}

static void thread_invalidates(struct world *world, uint64_t dice, const char *key, uint64_t now_ms)
{
    struct hg_group_stats stats;
    struct hg_explain explain;
    struct hg_hold hold;

    switch (dice) {
    case 0:
    case 1:
        hg_group_remove(world->group, hg_bytes_str(key), now_ms);
        break;
    case 2:
        hg_group_expire(world->group, hg_bytes_str(key), now_ms);
        break;
    case 3:
        hg_group_remove_tag(world->group, HG_BYTES("t"), dice % 2, now_ms);
        break;
    case 4: {
        struct hg_value_spec spec = spec_of(hg_bytes_str(key), key);
        struct hg_value *value = hg_value_create(&spec);
        hg_group_set(world->group, value, now_ms);
        hg_value_unref(value);
        break;
    }
    case 5:
        hg_group_stats(world->group, &stats);
        assert_int_equal(stats.gets, stats.hits + stats.hot_hits + stats.stale_hits +
                                         stats.negative_hits + stats.error_hits + stats.misses);
        assert_int_equal(stats.misses, stats.loads + stats.loads_deduped + stats.refused);
        break;
    case 6:
        hg_group_explain(world->group, hg_bytes_str(key), now_ms, &explain, &hold);
        hg_hold_release(&hold);
        break;
    case 7:
        hg_group_expire_step(world->group, now_ms, 4);
        break;
    case 8:
        hg_groups_set_view(world->groups, now_ms % 2 == 0 ? NULL : &world->view);
        break;
    default:
        hg_group_flush(world->group, now_ms);
    }
}

/* What an admin page, a peer's request and the exchange between nodes do beside the gets. */
static void thread_looks(struct world *world, const char *key, uint64_t now_ms)
{
    struct hg_hot_key hot[4 * HG_RATES_KEYS];
    struct hg_explain explain;
    struct hg_hold hold;

    assert_true(hg_group_hot_max(world->group) <= HG_COUNT(hot));
    size_t count = hg_group_hot(world->group, now_ms, hot);
    for (size_t i = 0; i < count; i++)
        hg_value_unref(hot[i].value);
    hg_group_explain(world->group, hg_bytes_str(key), now_ms, &explain, &hold);
    hg_hold_release(&hold);
    hg_group_minute(world->group, hg_bytes_str(key), now_ms);
    hg_groups_contact(world->groups, now_ms);
}

static void *thread_runs(void *arg)
{
    struct thread *thread = arg;
    struct world *world = thread->world;
    struct hg_list open = HG_LIST_INIT(open);

    for (int i = 0; i < GETS; i++) {
        uint64_t now_ms = atomic_fetch_add(&world->clock_ms, 1) / 16;
        uint64_t dice = fake_next(&thread->seed) % 300;
        char key[16];

        snprintf(key, sizeof(key), "k%u", (unsigned)(fake_next(&thread->seed) % KEYS));
        thread_gets(thread, &open, key, now_ms);
        if (dice < 10)
            thread_invalidates(world, dice, key, now_ms);
        else if (dice < 20)
            thread_looks(world, key, now_ms);
        if (dice % 5 == 0 && !hg_list_is_empty(&open)) {
            struct call *call = hg_container_of(open.next, struct call, link);
            if (hg_waiter_cancel(&call->waiter, now_ms, NULL)) {
                thread->pending--;
                thread->cancelled++;
                hg_list_remove(&call->link);
                free(call);
            }
        }
        thread_reads_mail(thread);
    }
    while (thread->pending > 0) {
        thread_reads_mail(thread);
        sched_yield();
    }
    return NULL;
}

static void on_nested_answer(struct hg_waiter *waiter, const struct hg_result *result)
{
    (void)waiter;
    (void)result;
}

/* A getter that gets of the other group waits by hand: it has no loop, so it cancels what is not there at once. */
static void getter_nests(struct world *world, struct hg_load *load, uint64_t now_ms,
                         struct thread *here)
{
    struct hg_waiter *waiter = calloc(1, sizeof(*waiter));
    struct hg_get get = {
        .key = HG_BYTES("k0"), .now_ms = now_ms, .deadline_ms = now_ms + 5, .parent = load};
    struct hg_result result;
    struct hg_hold hold;

    waiter->loop = &here->loop;
    waiter->answer = on_nested_answer;
    get.loop = waiter->loop;
    int rc = hg_group_get(world->group, &get, waiter, &result, &hold);
    if (rc == HG_PENDING) {
        while (!hg_waiter_cancel(waiter, now_ms, NULL) && waiter->state != HG_WAITER_DONE)
            thread_reads_mail(here);
    } else if (rc == HG_OK) {
        hg_hold_release(&hold);
    }
    free(waiter);
}

static void *getter_runs(void *arg)
{
    struct world *world = arg;
    static const struct hg_bytes tags[1] = {{"t", 1}};
    struct thread own; /* a script thread's loop */
    uint64_t seed = (uint64_t)(uintptr_t)&own;

    memset(&own, 0, sizeof(own));
    hg_list_init(&own.loop.mail);
    pthread_mutex_init(&own.lock, NULL);
    for (;;) {
        pthread_mutex_lock(&world->pool.lock);
        struct hg_list *node = hg_list_pop_front(&world->pool.loads);
        bool is_closing = world->pool.is_closing;
        pthread_mutex_unlock(&world->pool.lock);
        if (node == NULL && is_closing)
            break;
        if (node == NULL) {
            sched_yield();
            continue;
        }
        struct hg_load *load = hg_container_of(node, struct hg_load, link);
        uint64_t now_ms = atomic_load(&world->clock_ms) / 16;
        uint64_t dice = fake_next(&seed) % 20;
        struct hg_value_spec spec = spec_of(load->flight.key, "");
        spec.data = load->flight.key;
        if (dice < 4) {
            spec.tags = tags;
            spec.tag_count = 1;
        }
        if (dice == 19)
            spec.status = HG_STATUS_NOT_FOUND;
        if (dice == 18)
            spec.status = HG_STATUS_ERROR;
        if (dice > 12)
            getter_nests(world, load, now_ms, &own);
        if (dice == 17 && load->old != NULL)
            hg_load_keep(load, 20, now_ms, NULL);
        else
            hg_load_finish(load, hg_value_create(&spec), now_ms, dice % 2 == 0 ? NULL : &own.loop);
    }
    pthread_mutex_destroy(&own.lock);
    return NULL;
}

static void world_run(struct world *world)
{
    for (int i = 0; i < GETTERS; i++)
        assert_int_equal(pthread_create(&world->getters[i], NULL, getter_runs, world), 0);
    for (int i = 0; i < LOOPS; i++)
        assert_int_equal(pthread_create(&world->loops[i].id, NULL, thread_runs, &world->loops[i]),
                         0);
    for (int i = 0; i < LOOPS; i++)
        pthread_join(world->loops[i].id, NULL);
    while (hg_groups_flight_count(world->groups) > 0)
        sched_yield(); /* loads go on without their callers */
    pthread_mutex_lock(&world->pool.lock);
    world->pool.is_closing = true;
    pthread_mutex_unlock(&world->pool.lock);
    for (int i = 0; i < GETTERS; i++)
        pthread_join(world->getters[i], NULL);
}

static void test_four_loops_and_two_getters_on_one_group(void **state)
{
    static struct world world;
    size_t live = hg_alloc_live_bytes();
    static const struct hg_bytes names[2] = {{"a", 1}, {"b", 1}};
    struct hg_groups_config limits = {.key_max = 100,
                                      .value_max = 1000,
                                      .flights_max = 20,
                                      .waiters_max = 50,
                                      .lease_ms = 10,
                                      .hot_minute = 1,
                                      .shards = 4};
    struct hg_guard_config guard = {
        .concurrency = 4, .queue = 16, .breaker_failures = 4, .breaker_cooldown_ms = 5};
    struct hg_group_stats stats;
    unsigned ended = 0;

    (void)state;
    memset(&world, 0, sizeof(world));
    world.source = (struct hg_source){.ctx = &world,
                                      .load = pool_load,
                                      .is_up = never_up,
                                      .wake = wake_thread,
                                      .random = any_random};
    atomic_init(&world.clock_ms, 16000);
    atomic_init(&world.seed, 1);
    hg_list_init(&world.pool.loads);
    pthread_mutex_init(&world.pool.lock, NULL);
    hg_guard_init(&world.guard, &guard);
    struct hg_group_config config = {.name = "g",
                                     .capacity_bytes = 5000, /* less than all keys need */
                                     .hot = 0.25,
                                     .ttl_ms = 40,
                                     .ttl_jitter = 0.1,
                                     .negative_ttl_ms = 5,
                                     .stale_while_revalidate_ms = 20,
                                     .stale_if_error_ms = 40,
                                     .early_refresh = 1,
                                     .deadline_ms = 100000,
                                     .guard = &world.guard};
    assert_int_equal(hg_groups_create(&limits, &world.source, &world.groups), HG_OK);
    assert_int_equal(hg_groups_add(world.groups, &config, &world.group), HG_OK);
    assert_int_equal(
        hg_ring_create(hg_ring_preset_find(HG_BYTES("groupcache")), names, 2, &world.ring), HG_OK);
    world.view =
        (struct hg_view){.ring = world.ring, .self = 0}; /* b is down: all falls back to us */
    for (int i = 0; i < LOOPS; i++) {
        world.loops[i].world = &world;
        world.loops[i].seed = (uint64_t)i + 1;
        hg_list_init(&world.loops[i].loop.mail);
        pthread_mutex_init(&world.loops[i].lock, NULL);
    }
    world_run(&world);
    for (int i = 0; i < LOOPS; i++) {
        assert_true(hg_list_is_empty(&world.loops[i].loop.mail));
        ended += world.loops[i].answered + world.loops[i].cancelled;
    }
    assert_int_equal(ended, LOOPS * GETS);
    hg_group_stats(world.group, &stats);
    assert_int_equal(stats.waiters, 0);
    assert_true(stats.gets >= LOOPS * GETS);
    assert_true(stats.fallbacks > 0);
    assert_true(stats.fenced > 0);
    print_message("%u hits, %u stale, %u loads, %u shared, %u refused, %u fenced, %u fallbacks, %u "
                  "evictions\n",
                  (unsigned)stats.hits, (unsigned)stats.stale_hits, (unsigned)stats.loads,
                  (unsigned)stats.loads_deduped, (unsigned)stats.refused, (unsigned)stats.fenced,
                  (unsigned)stats.fallbacks, (unsigned)stats.evictions);
    hg_groups_destroy(world.groups);
    hg_guard_finish(&world.guard);
    hg_ring_destroy(world.ring);
    assert_int_equal(hg_alloc_live_bytes(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_four_loops_and_two_getters_on_one_group),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
