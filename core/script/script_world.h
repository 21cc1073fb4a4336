/*
 * script_world - for the tests of this floor: real groups whose source is a real runtime, and a
 * loop of the test's own on which answers arrive. The configuration is a chunk in a temporary file.
 */
#ifndef HG_SCRIPT_SCRIPT_WORLD_H
#define HG_SCRIPT_SCRIPT_WORLD_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include "base/alloc.h"
#include "base/shared.h"
#include "net/clock.h"
#include "net/log.h"
#include "script/runtime_impl.h"

#define UNUSED __attribute__((unused))

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#else
#define UNDER_TSAN 0
#endif

#define SKIP_UNDER_TSAN()                                                                          \
    if (UNDER_TSAN) {                                                                              \
        print_message("skipped: signals are not delivered to a running script under TSan\n");      \
        return;                                                                                    \
    }

struct world {
    /* Set before world_start. */
    const char *groups[4]; /* names; default "test" alone */
    unsigned getter_threads, route_threads;
    uint64_t budget_ms, deadline_ms;
    size_t memory_bytes, value_max;
    struct hg_guard_config guard_config;
    struct hg_group_config group_config;
    bool jit, is_inline; /* is_inline: the test turns the loops */
    struct hg_vm_fakes *fakes;
    struct hg_fetch_limits fetch;
    void (*change)(void *ctx, struct hg_change *change);
    const struct hg_members_ops *members; /* NULL: no discovery */
    uint64_t discovery_every_ms;

    char folder[64], file[96];
    struct hg_loop loop;
    struct hg_source source;
    struct hg_guard guard;
    struct hg_groups *groups_all;
    struct hg_runtime *runtime;
    struct hg_vm *control;
    struct hg_shared *shared;
    size_t live_bytes;
    _Atomic unsigned answered;
};

/* What a get was answered. */
struct answer {
    int err;
    enum hg_how how;
    enum hg_status status;
    enum hg_class klass;
    uint64_t retry_after_ms, ttl_ms, expires_ms, created_ms;
    bool has_ttl, uncacheable;
    char data[600];
    size_t len;
    char type[256], etag[256], meta[257];
    unsigned tag_count;
};

struct asker {
    struct world *world;
    struct hg_waiter waiter;
    struct answer answer;
    sem_t done;
};

static UNUSED uint64_t now_ms(void)
{
    return hg_clock_boot_ms();
}

static int world_load(void *ctx, struct hg_load *load)
{
    return hg_runtime_load(((struct world *)ctx)->runtime, load);
}

static int world_ask(void *ctx, struct hg_load *load)
{
    (void)ctx;
    (void)load;
    return HG_EPEER;
}

static bool world_is_up(void *ctx, const struct hg_view *view, size_t member)
{
    (void)ctx;
    (void)view;
    (void)member;
    return false;
}

static void world_wake(void *ctx, struct hg_loop *loop, struct hg_list *waiters)
{
    (void)ctx;
    hg_loop_post_list(loop, waiters);
}

static void world_evicted(void *ctx, struct hg_group *group, struct hg_value *value, int reason)
{
    hg_runtime_evicted(((struct world *)ctx)->runtime, group, value, reason);
}

static uint64_t world_random(void *ctx)
{
    (void)ctx;
    return hg_random_u64();
}

static void world_on_list(struct hg_loop *loop, struct hg_list *list)
{
    (void)loop;
    for (struct hg_list *it = hg_list_pop_front(list); it != NULL; it = hg_list_pop_front(list))
        hg_waiter_deliver(hg_container_of(it, struct hg_waiter, link));
}

static UNUSED void world_init(struct world *world)
{
    memset(world, 0, sizeof(*world));
    world->live_bytes = hg_alloc_live_bytes();
    world->groups[0] = "test";
    world->getter_threads = world->route_threads = 1;
    world->budget_ms = 100;
    world->memory_bytes = 64 << 20;
    world->value_max = 8 << 20;
    world->guard_config = (struct hg_guard_config){
        .concurrency = 1000, .queue = 10000, .timeout_ms = 5000, .backoff_ms = 10};
    world->group_config = (struct hg_group_config){
        .capacity_bytes = 64 << 20,
        .ttl_ms = 600000,
        .negative_ttl_ms = 5000,
        .deadline_ms = 10000,
    };
}

/* text: a chunk that has `hg` as a local already. */
static UNUSED void world_start(struct world *world, const char *text)
{
    char *error = NULL;
    const char *pools[4];
    struct hg_group *list[4];
    size_t count = 0;

    snprintf(world->folder, sizeof(world->folder), "/tmp/hgcache-script-XXXXXX");
    assert_non_null(mkdtemp(world->folder));
    snprintf(world->file, sizeof(world->file), "%s/config.lua", world->folder);
    FILE *out = fopen(world->file, "w");
    assert_non_null(out);
    fprintf(out, "local hg = require 'hgcache'; %s", text);
    fclose(out);

    world->source = (struct hg_source){
        .ctx = world,
        .load = world_load,
        .ask = world_ask,
        .is_up = world_is_up,
        .wake = world_wake,
        .evicted = world_evicted,
        .random = world_random,
    };
    struct hg_groups_config limits = {.key_max = 1024,
                                      .value_max = world->value_max,
                                      .flights_max = 65536,
                                      .waiters_max = 100000,
                                      .lease_ms = 2000,
                                      .shards = 4};
    assert_int_equal(hg_groups_create(&limits, &world->source, &world->groups_all), HG_OK);
    hg_guard_init(&world->guard, &world->guard_config);
    world->group_config.guard = &world->guard;
    for (; count < 4 && world->groups[count] != NULL; count++) {
        struct hg_group *group;
        world->group_config.name = world->groups[count];
        assert_int_equal(hg_groups_add(world->groups_all, &world->group_config, &group), HG_OK);
        list[count] = group;
        pools[count] = "getters";
    }

    struct hg_vm_config vm_config = {
        .file = world->file, .memory_bytes = world->memory_bytes, .jit = world->jit, .fakes = world->fakes};
    struct hg_vm_config control_config = vm_config;
    control_config.is_control = true;
    assert_int_equal(hg_vm_create(&control_config, &world->control), HG_OK);
    if (hg_vm_load(world->control, &error) != HG_OK)
        fail_msg("%s", error);
    struct hg_shared_config shared_config = {1 << 20, 1000};
    assert_int_equal(hg_shared_create(&shared_config, &world->shared), HG_OK);
    vm_config.shared = world->shared;
    struct hg_pool_config pool_config[] = {{"getters", world->getter_threads},
                                           {"routes", world->route_threads}};
    struct hg_runtime_config config = {
        .vm = vm_config,
        .budget_ms = world->budget_ms,
        .pools = pool_config,
        .pool_count = 2,
        .group_list = list,
        .group_pools = pools,
        .group_count = count,
        .control = world->control,
        .change = world->change,
        .change_ctx = world,
        .members = world->members,
        .members_ctx = world,
        .discovery_every_ms = world->discovery_every_ms,
        .reply_max = 1 << 20,
        .fetch = world->fetch,
        .is_inline = world->is_inline,
    };
    assert_int_equal(hg_loop_init(&world->loop, "test"), HG_OK);
    world->loop.on_list = world_on_list;
    world->loop.user = world;
    if (!world->is_inline)
        assert_int_equal(hg_loop_start(&world->loop, NULL), HG_OK);
    if (hg_runtime_create(&config, &world->runtime, &error) != HG_OK)
        fail_msg("%s", error);
}

static UNUSED void world_stop(struct world *world)
{
    char command[128];

    hg_runtime_destroy(world->runtime);
    hg_loop_stop(&world->loop);
    hg_loop_join(&world->loop);
    assert_int_equal(hg_loop_finish(&world->loop), 0);
    hg_shared_destroy(world->shared);
    hg_vm_destroy(world->control);
    hg_groups_destroy(world->groups_all);
    hg_guard_finish(&world->guard);
    snprintf(command, sizeof(command), "rm -rf %s", world->folder);
    assert_int_equal(system(command), 0);
}

/* As world_stop, and everything is back where it was. Not after a thread was left behind. */
static UNUSED void world_finish(struct world *world)
{
    assert_int_equal(hg_groups_flight_count(world->groups_all), 0);
    world_stop(world);
    assert_int_equal(hg_alloc_live_bytes(), world->live_bytes);
}

static void copy_text(char *out, size_t size, struct hg_bytes text)
{
    snprintf(out, size, "%.*s", (int)text.len, text.len > 0 ? text.data : "");
}

static void note_answer(struct answer *answer, const struct hg_result *result)
{
    const struct hg_value *value = result->value;

    memset(answer, 0, sizeof(*answer));
    answer->err = result->err;
    answer->how = result->how;
    answer->retry_after_ms = result->retry_after_ms;
    answer->expires_ms = result->expires_ms;
    answer->created_ms = result->created_ms;
    if (value == NULL)
        return;
    struct hg_bytes data = hg_value_data(value);
    answer->status = hg_value_status(value);
    answer->klass = hg_value_class(value);
    if (hg_value_more(value).retry_after_ms > 0)
        answer->retry_after_ms = hg_value_more(value).retry_after_ms;
    answer->ttl_ms = hg_value_more(value).ttl_ms;
    answer->has_ttl = hg_value_more(value).has_ttl;
    answer->uncacheable = hg_value_more(value).uncacheable;
    answer->len = data.len;
    size_t kept = data.len < sizeof(answer->data) - 1 ? data.len : sizeof(answer->data) - 1;
    if (kept > 0)
        memcpy(answer->data, data.data, kept);
    copy_text(answer->type, sizeof(answer->type), hg_value_type(value));
    copy_text(answer->etag, sizeof(answer->etag), hg_value_etag(value));
    copy_text(answer->meta, sizeof(answer->meta), hg_value_meta(value));
    answer->tag_count = hg_value_more(value).tag_count;
}

static void on_world_answer(struct hg_waiter *waiter, const struct hg_result *result)
{
    struct asker *asker = hg_container_of(waiter, struct asker, waiter);
    note_answer(&asker->answer, result);
    atomic_fetch_add(&asker->world->answered, 1);
    sem_post(&asker->done);
}

/* Starts a get; asker_wait ends it. */
static UNUSED void asker_get(struct asker *asker, struct world *world, const char *group_name,
                             struct hg_bytes key)
{
    struct hg_group *group = hg_groups_find(world->groups_all, hg_bytes_str(group_name));
    struct hg_result result = {0};
    struct hg_hold hold;

    assert_non_null(group);
    memset(asker, 0, sizeof(*asker));
    asker->world = world;
    sem_init(&asker->done, 0, 0);
    asker->waiter.loop = &world->loop;
    asker->waiter.answer = on_world_answer;
    uint64_t now = now_ms();
    struct hg_get get = {.key = key, .now_ms = now, .deadline_ms = now + 60000};
    hg_hold_init(&hold);
    int rc = hg_group_get(group, &get, &asker->waiter, &result, &hold);
    if (rc == HG_PENDING)
        return;
    note_answer(&asker->answer, &result);
    hg_hold_release(&hold);
    sem_post(&asker->done);
}

static UNUSED struct answer *asker_wait(struct asker *asker)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    if (sem_timedwait(&asker->done, &until) != 0)
        fail_msg("no answer");
    sem_destroy(&asker->done);
    return &asker->answer;
}

static UNUSED struct answer get_bytes(struct world *world, const char *group, struct hg_bytes key)
{
    struct asker asker;
    asker_get(&asker, world, group, key);
    return *asker_wait(&asker);
}

static UNUSED struct answer get(struct world *world, const char *key)
{
    return get_bytes(world, world->groups[0], hg_bytes_str(key));
}

static UNUSED struct hg_runtime_stats stats(struct world *world)
{
    struct hg_runtime_stats out;
    hg_runtime_stats(world->runtime, &out);
    return out;
}

/* The number that a script keeps in hg.shared("s"); 0 where there is none. */
static UNUSED double shared_number(struct world *world, const char *key)
{
    struct hg_shared_table *table;
    struct hg_shared_value value = {0};
    uint64_t ends_ms;

    assert_int_equal(hg_shared_open(world->shared, "s", &table), HG_OK);
    hg_shared_get(table, hg_bytes_str(key), now_ms(), NULL, 0, &value, &ends_ms);
    return value.kind == HG_SHARED_NUMBER ? value.number : 0;
}

/* Polls until the condition holds; fails after 2 min: an abandoned thread is last in line for the CPU. */
#define WAIT_UNTIL(condition)                                                                      \
    do {                                                                                           \
        uint64_t begun_ms = now_ms();                                                              \
        while (!(condition)) {                                                                     \
            if (now_ms() - begun_ms > 120000)                                                       \
                fail_msg("waited in vain for " #condition);                                        \
            usleep(1000);                                                                          \
        }                                                                                          \
    } while (0)

static UNUSED void assert_value(const struct answer *answer, const char *data)
{
    if (answer->err != HG_OK || answer->status != HG_STATUS_VALUE)
        fail_msg("expected value '%s', found err=%s status=%d class=%s: %s", data,
                 hg_err_name(answer->err), (int)answer->status, hg_class_name(answer->klass),
                 answer->data);
    assert_string_equal(answer->data, data);
}

static UNUSED void assert_error(const struct answer *answer, enum hg_class klass, const char *part)
{
    if (answer->status != HG_STATUS_ERROR || answer->klass != klass ||
        strstr(answer->data, part) == NULL)
        fail_msg("expected error %s '%s', found err=%s status=%d class=%s: %s",
                 hg_class_name(klass), part, hg_err_name(answer->err), (int)answer->status,
                 hg_class_name(answer->klass), answer->data);
}

#endif
