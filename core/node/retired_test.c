#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/err.h"
#include "group/group.h"
#include "node/retired.h"

static uint64_t no_random(void *ctx)
{
    (void)ctx;
    return 1;
}

static const struct hg_source source = {.random = no_random};

static struct hg_groups *make_groups(void)
{
    struct hg_groups_config config = {.key_max = 100, .value_max = 1000, .shards = 1};
    struct hg_groups *groups;
    assert_int_equal(hg_groups_create(&config, &source, &groups), HG_OK);
    return groups;
}

static void tick(struct hg_retired *retired, unsigned times, bool may_free_groups)
{
    for (unsigned i = 0; i < times; i++)
        hg_retired_tick(retired, may_free_groups);
}

static void test_memory_goes_after_so_many_ticks(void **state)
{
    struct hg_retired retired;
    size_t before = hg_alloc_live_bytes();

    (void)state;
    hg_retired_init(&retired);
    hg_retired_add_memory(&retired, hg_retired_row_create(), hg_malloc(10));
    tick(&retired, HG_RETIRED_TICKS, false);
    assert_int_equal(hg_retired_count(&retired), 1);
    tick(&retired, 1, false);
    assert_int_equal(hg_retired_count(&retired), 0);
    assert_int_equal(hg_alloc_live_bytes(), before);
    hg_retired_finish(&retired);
}

static void test_a_guard_stays_while_it_is_held_and_so_long_after(void **state)
{
    struct hg_retired retired;
    struct hg_guard_config config = {.concurrency = 1};
    struct hg_guard *guard = hg_malloc(sizeof(*guard));

    (void)state;
    hg_retired_init(&retired);
    hg_guard_init(guard, &config);
    hg_guard_hold(guard);
    hg_retired_add_guard(&retired, hg_retired_row_create(), guard);
    tick(&retired, 3 * HG_RETIRED_TICKS, true);
    assert_int_equal(hg_retired_count(&retired), 1);
    hg_guard_release(guard);
    tick(&retired, HG_RETIRED_TICKS, true);
    hg_guard_hold(guard); /* once more: it begins anew */
    tick(&retired, 1, true);
    hg_guard_release(guard);
    tick(&retired, HG_RETIRED_TICKS, true);
    assert_int_equal(hg_retired_count(&retired), 1);
    tick(&retired, 1, true);
    assert_int_equal(hg_retired_count(&retired), 0);
    hg_retired_finish(&retired);
}

static void test_a_group_goes_when_groups_may_be_freed_or_comes_back(void **state)
{
    struct hg_retired retired;
    struct hg_groups *groups = make_groups();
    struct hg_group_config config = {.name = "a", .capacity_bytes = 1 << 20, .ttl_ms = 1000};
    struct hg_group *a, *b;

    (void)state;
    hg_retired_init(&retired);
    assert_int_equal(hg_groups_add(groups, &config, &a), HG_OK);
    config.name = "b";
    assert_int_equal(hg_groups_add(groups, &config, &b), HG_OK);
    hg_groups_drop(groups, a);
    hg_groups_drop(groups, b);
    hg_retired_add_group(&retired, hg_retired_row_create(), a);
    hg_retired_add_group(&retired, hg_retired_row_create(), b);
    assert_true(hg_retired_take_group(&retired, b));
    assert_false(hg_retired_take_group(&retired, b));
    tick(&retired, 3 * HG_RETIRED_TICKS, false);
    assert_int_equal(hg_retired_count(&retired), 1);
    tick(&retired, 1, true);
    assert_int_equal(hg_retired_count(&retired), 0);
    hg_groups_list(groups, b);
    assert_ptr_equal(hg_groups_find(groups, HG_BYTES("b")), b);
    hg_retired_finish(&retired);
    hg_groups_destroy(groups);
}

static void test_finish_frees_all_groups_before_guards(void **state)
{
    struct hg_retired retired = {{NULL, NULL}};
    struct hg_groups *groups = make_groups();
    struct hg_guard_config guard_config = {.concurrency = 1};
    struct hg_guard *guard = hg_malloc(sizeof(*guard));
    struct hg_group_config config = {.name = "a", .capacity_bytes = 1 << 20, .guard = guard};
    struct hg_group *group;

    (void)state;
    hg_retired_finish(&retired); /* zeroed memory */
    hg_retired_init(&retired);
    hg_guard_init(guard, &guard_config);
    assert_int_equal(hg_groups_add(groups, &config, &group), HG_OK);
    hg_groups_drop(groups, group);
    hg_retired_add_guard(&retired, hg_retired_row_create(), guard);
    hg_retired_add_group(&retired, hg_retired_row_create(), group);
    hg_retired_add_memory(&retired, hg_retired_row_create(), hg_malloc(10));
    hg_retired_finish(&retired);
    hg_retired_row_destroy(hg_retired_row_create());
    hg_retired_row_destroy(NULL);
    hg_groups_destroy(groups);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_goes_after_so_many_ticks),
        cmocka_unit_test(test_a_guard_stays_while_it_is_held_and_so_long_after),
        cmocka_unit_test(test_a_group_goes_when_groups_may_be_freed_or_comes_back),
        cmocka_unit_test(test_finish_frees_all_groups_before_guards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
