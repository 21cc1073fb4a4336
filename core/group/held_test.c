#include "group/fake_source.h"
#include "group/chain.h"
#include "group/held.h"

static struct hg_bytes chain_of(char *space, const char *one, const char *two)
{
    struct hg_bytes group = HG_BYTES("test");
    size_t size = hg_chain_entry_size(group, hg_bytes_str(one));

    hg_chain_write(space, group, hg_bytes_str(one));
    hg_chain_write(space + size, group, hg_bytes_str(two));
    return hg_bytes(space, size + hg_chain_entry_size(group, hg_bytes_str(two)));
}

static void test_guard_of_a_named_group_is_held_wherever_the_ancestor_runs(void **state)
{
    struct fake fake;
    const struct hg_guard *held[HG_DEPTH_MAX];
    char space[64];

    (void)state;
    fake_init(&fake);
    fake.has_guard = true;
    fake.guard_config.concurrency = 1;
    fake_start(&fake);
    assert_int_equal(hg_held_by_chain(fake.groups, chain_of(space, "a", "b"), held), 1);
    assert_ptr_equal(held[0], &fake.guard);
    assert_int_equal(hg_held_by_chain(fake.groups, HG_BYTES_NONE, held), 0);
    fake_finish(&fake);
}

/* Two nodes whose only slots are held by getters that get a key of each other. */
static void test_nested_load_of_another_node_does_not_queue_behind_a_full_guard(void **state)
{
    struct fake fake;
    struct asker mine, theirs;
    char space[64];

    (void)state;
    fake_init(&fake);
    fake.has_guard = true;
    fake.guard_config.concurrency = 1;
    fake_start(&fake);
    assert_int_equal(ask(&fake, &mine, "a"),
                     HG_PENDING); /* has the slot, waits for the other node */
    struct hg_load *load_a = next_load(&fake);
    struct hg_get get = get_of(&fake, "b");
    get.from_peer = true;
    get.chain = chain_of(space, "x", "y");
    assert_int_equal(get_with(&fake, fake.group, &theirs, &get), HG_PENDING);
    end_next(&fake, "B"); /* runs beside a */
    assert_string_equal(theirs.data, "B");
    end(&fake, load_a, value_of(load_a, "A"));
    assert_int_equal(fake.guard.running, 0);
    fake_finish(&fake);
}

static void test_guard_of_many_ancestors_counts_once(void **state)
{
    struct fake fake;
    struct asker askers[2];
    const struct hg_guard *held[HG_DEPTH_MAX];
    char space[64];

    (void)state;
    fake_init(&fake);
    fake.has_guard = true;
    fake_start(&fake);
    assert_int_equal(ask(&fake, &askers[0], "a"), HG_PENDING);
    assert_int_equal(ask(&fake, &askers[1], "b"), HG_PENDING);
    assert_int_equal(hg_held_by_chain(fake.groups, chain_of(space, "a", "b"), held), 1);
    end_next(&fake, "A");
    end_next(&fake, "B");
    fake_finish(&fake);
}

static void test_foreign_chains_hold_nothing(void **state)
{
    struct fake fake;
    const struct hg_guard *held[HG_DEPTH_MAX];

    (void)state;
    fake_init(&fake);
    fake.has_guard = true;
    fake_start(&fake);
    assert_int_equal(hg_held_by_chain(fake.groups, HG_BYTES("\0\0\0\1x\0\4no\0k\0\2\0k"), held), 0);
    assert_int_equal(hg_held_by_chain(fake.groups, HG_BYTES("\0\7test\0"), held), 0);
    fake_finish(&fake);
}

/* a here gets x of another node, whose getter gets b of ours: b is nested under a's slot. */
static void test_load_nested_by_wire_takes_no_second_slot(void **state)
{
    (void)state;
    for (int is_queued_before = 0; is_queued_before < 2; is_queued_before++) {
        struct fake fake;
        struct asker a, first, b;
        char space[64];

        fake_init(&fake);
        fake.has_guard = true;
        fake.guard_config.concurrency = 1;
        fake_start(&fake);
        assert_int_equal(ask(&fake, &a, "a"), HG_PENDING);
        struct hg_load *load_a = next_load(&fake);
        if (is_queued_before)
            assert_int_equal(ask(&fake, &first, "b"), HG_PENDING);
        struct hg_get get = get_of(&fake, "b");
        get.from_peer = true;
        get.chain = chain_of(space, "a", "x");
        assert_int_equal(get_with(&fake, fake.group, &b, &get), HG_PENDING);
        end_next(&fake, "B");
        assert_string_equal(b.data, "B");
        if (is_queued_before)
            assert_string_equal(first.data, "B");
        end(&fake, load_a, value_of(load_a, "A"));
        assert_int_equal(fake.guard.running, 0);
        assert_int_equal(fake.guard.queued, 0);
        fake_finish(&fake);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guard_of_a_named_group_is_held_wherever_the_ancestor_runs),
        cmocka_unit_test(test_nested_load_of_another_node_does_not_queue_behind_a_full_guard),
        cmocka_unit_test(test_guard_of_many_ancestors_counts_once),
        cmocka_unit_test(test_foreign_chains_hold_nothing),
        cmocka_unit_test(test_load_nested_by_wire_takes_no_second_slot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
