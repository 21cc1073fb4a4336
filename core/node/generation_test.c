#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "node/node_impl.h"

#define TURNS   20000
#define READERS 3
#define GONE    UINT64_MAX

static struct hg_node *make_node(void)
{
    struct hg_node *node = hg_calloc(1, sizeof(*node));
    assert_non_null(node);
    hg_generation_open(&node->generations[0]);
    atomic_store(&node->generation, &node->generations[0]);
    return node;
}

static void test_only_what_is_there_can_be_held(void **state)
{
    struct hg_node *node = make_node();
    struct hg_generation *first = &node->generations[0];

    (void)state;
    assert_false(hg_generation_hold(NULL));
    assert_false(hg_generation_hold(&node->generations[1]));
    assert_int_equal(atomic_load(&node->generations[1].holders), 0);
    assert_true(hg_generation_hold(first));
    assert_ptr_equal(hg_generation_now(node), first);
    assert_int_equal(atomic_load(&first->holders), 2);
    assert_false(hg_generation_close(first));
    hg_generation_release(first);
    assert_false(hg_generation_close(first));
    assert_true(hg_generation_hold(first)); /* nothing came of it */
    hg_generation_release(first);
    hg_generation_release(first);
    hg_generation_release(NULL);
    assert_true(hg_generation_close(first));
    assert_int_equal(atomic_load(&first->state), HG_GENERATION_CLOSING);
    assert_false(hg_generation_hold(first));
    assert_false(hg_generation_close(first));
    hg_generation_open(first);
    assert_true(hg_generation_hold(first));
    assert_int_equal(atomic_load(&first->holders), 1);
    hg_generation_release(first);
    hg_free(node);
}

static uint64_t no_random(void *ctx)
{
    (void)ctx;
    return 1;
}

static void test_a_group_is_found_in_the_one_that_serves_or_another(void **state)
{
    static const struct hg_source source = {.random = no_random};
    struct hg_groups_config limits = {.key_max = 100, .value_max = 1000, .shards = 1};
    struct hg_group_config config = {.name = "a", .capacity_bytes = 1 << 20};
    struct hg_groups *groups;
    struct hg_group *a, *b, *list[2][2];
    struct hg_node *node = make_node();
    struct hg_generation *now = &node->generations[0], *before = &node->generations[3];

    (void)state;
    assert_int_equal(hg_groups_create(&limits, &source, &groups), HG_OK);
    assert_int_equal(hg_groups_add(groups, &config, &a), HG_OK);
    config.name = "b";
    assert_int_equal(hg_groups_add(groups, &config, &b), HG_OK);
    list[0][0] = a;
    list[0][1] = NULL;
    list[1][0] = a;
    list[1][1] = b;
    now->group_list = list[0];
    before->group_list = list[1];
    now->group_count = before->group_count = 2;
    assert_null(hg_generation_of(node, b)); /* not there yet */
    hg_generation_open(before);
    assert_ptr_equal(hg_generation_of(node, a), now);
    assert_ptr_equal(hg_generation_of(node, b), before);
    assert_int_equal(atomic_load(&now->holders), 1);
    assert_int_equal(atomic_load(&before->holders), 1);
    assert_ptr_equal(hg_generation_group(before, HG_BYTES("b")), b);
    assert_null(hg_generation_group(now, HG_BYTES("b")));
    hg_groups_destroy(groups);
    hg_free(node);
}

struct race {
    struct hg_node *node;
    atomic_bool is_over;
    _Atomic uint64_t reads;
};

static void *read_on(void *arg)
{
    struct race *race = arg;
    while (!atomic_load(&race->is_over)) {
        struct hg_generation *generation = hg_generation_now(race->node);
        /* A plain field: who cleared it meanwhile would be a race. */
        if (generation->number == GONE)
            return race;
        hg_generation_release(generation);
        atomic_fetch_add(&race->reads, 1);
    }
    return NULL;
}

/* One by one another place comes to serve; the one before is cleared when nobody holds it. */
static void test_nobody_holds_what_is_cleared(void **state)
{
    struct race race = {.node = make_node()};
    struct hg_node *node = race.node;
    pthread_t threads[READERS];
    unsigned cleared = 0;

    (void)state;
    for (size_t i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_on, &race), 0);
    for (unsigned turn = 1; turn < TURNS || atomic_load(&race.reads) < 1000; turn++) {
        struct hg_generation *next = &node->generations[turn % HG_GENERATIONS_MAX];
        if (atomic_load(&next->state) == HG_GENERATION_LIVE)
            continue; /* still held */
        next->number = turn;
        hg_generation_open(next);
        atomic_store(&node->generation, next);
        for (size_t i = 0; i < HG_GENERATIONS_MAX; i++) {
            struct hg_generation *old = &node->generations[i];
            if (old == next || !hg_generation_close(old))
                continue;
            old->number = GONE;
            atomic_store(&old->state, HG_GENERATION_EMPTY);
            cleared++;
        }
    }
    atomic_store(&race.is_over, true);
    for (size_t i = 0; i < READERS; i++) {
        void *found;
        pthread_join(threads[i], &found);
        assert_null(found);
    }
    assert_true(cleared > 0);
    hg_free(node);
}

static void *hold_on(void *arg)
{
    struct race *race = arg;
    while (!atomic_load(&race->is_over)) {
        if (!hg_generation_hold(&race->node->generations[0]))
            return race;
        hg_generation_release(&race->node->generations[0]);
        atomic_fetch_add(&race->reads, 1);
    }
    return NULL;
}

/* Calls of a generation that somebody else still needs are no reason to be turned away from it. */
static void test_a_close_in_vain_turns_nobody_away(void **state)
{
    struct race race = {.node = make_node()};
    struct hg_generation *held = &race.node->generations[0];
    pthread_t threads[READERS];

    (void)state;
    assert_true(hg_generation_hold(held));
    for (size_t i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hold_on, &race), 0);
    for (unsigned turn = 0; turn < 10 * TURNS || atomic_load(&race.reads) < 1000; turn++)
        if (hg_generation_close(held))
            break;
    atomic_store(&race.is_over, true);
    for (size_t i = 0; i < READERS; i++) {
        void *turned_away;
        pthread_join(threads[i], &turned_away);
        assert_null(turned_away);
    }
    assert_int_equal(atomic_load(&held->state), HG_GENERATION_LIVE);
    assert_int_equal(atomic_load(&held->holders), 1);
    hg_free(race.node);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_what_is_there_can_be_held),
        cmocka_unit_test(test_a_group_is_found_in_the_one_that_serves_or_another),
        cmocka_unit_test(test_nobody_holds_what_is_cleared),
        cmocka_unit_test(test_a_close_in_vain_turns_nobody_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
