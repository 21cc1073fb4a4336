#include "group/fake_source.h"

static void test_alone_every_key_is_ours(void **state)
{
    (void)state;
    assert_true(hg_view_is_mine(NULL, HG_BYTES("k")));
}

static void test_owner_self_and_second(void **state)
{
    struct fake fake;
    unsigned mine = 0, second_is_self = 0;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    fake_view(&fake, 3, 1);
    for (int i = 0; i < 3000; i++) {
        char key[16];
        size_t member = 99;
        snprintf(key, sizeof(key), "k%d", i);
        struct hg_bytes bytes = hg_bytes_str(key);
        size_t owner = hg_ring_owner(fake.ring, bytes), second = hg_ring_second(fake.ring, bytes);
        assert_int_equal(hg_view_is_mine(&fake.view, bytes), owner == 1);
        mine += owner == 1;
        bool is_found = hg_view_second(&fake.view, bytes, owner, &member);
        assert_int_equal(is_found, second != 1);
        second_is_self += second == 1;
        if (is_found)
            assert_int_equal(member, second);
        else
            assert_int_equal(member, 99);
        assert_false(
            hg_view_second(&fake.view, bytes, second, &member)); /* it is the one that failed */
    }
    assert_true(mine > 300);
    assert_true(second_is_self > 300);
    fake_finish(&fake);
}

static void test_who_is_no_member_owns_nothing_and_one_member_has_no_second(void **state)
{
    struct fake fake;
    size_t member;

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    fake_view(&fake, 2, -1);
    for (int i = 0; i < 100; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        assert_false(hg_view_is_mine(&fake.view, hg_bytes_str(key)));
        assert_true(hg_view_second(&fake.view, hg_bytes_str(key),
                                   hg_ring_owner(fake.ring, hg_bytes_str(key)), &member));
    }
    fake_view(&fake, 1, -1);
    assert_false(hg_view_second(&fake.view, HG_BYTES("k"), 0, &member));
    fake_finish(&fake);
}

/* A load may outlive the view that it was decided on in everybody's mind but its own. */
static void test_a_view_is_held_while_a_load_of_it_runs(void **state)
{
    struct fake fake;
    struct asker askers[20] = {0};
    struct hg_load *load;
    _Atomic size_t holders = 0;
    char key[16];

    (void)state;
    fake_init(&fake);
    fake_start(&fake);
    fake_view(&fake, 3, 1);
    fake.view.holders = &holders;
    struct hg_view next = fake.view;
    _Atomic size_t next_holders = 0;
    next.holders = &next_holders;
    for (int i = 0; i < 20; i++) { /* local ones and remote ones */
        snprintf(key, sizeof(key), "k%d", i);
        assert_int_equal(ask(&fake, &askers[i], key), HG_PENDING);
    }
    assert_int_equal(holders, 20);
    hg_groups_set_view(fake.groups, &next);
    assert_int_equal(holders, 20);
    while (!hg_list_is_empty(&fake.asks)) {
        load = next_ask(&fake);
        end_ask(&fake, load, HG_ASK_TYPED, value_of(load, "v"), HG_FOREVER);
    }
    assert_true(hg_view_is_held(&fake.view));
    while (!hg_list_is_empty(&fake.loads))
        end_next(&fake, "v");
    assert_false(hg_view_is_held(&fake.view));
    assert_int_equal(holders, 0);
    assert_int_equal(next_holders, 0);
    deliver(&fake.loop);
    fake_finish(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alone_every_key_is_ours),
        cmocka_unit_test(test_owner_self_and_second),
        cmocka_unit_test(test_who_is_no_member_owns_nothing_and_one_member_has_no_second),
        cmocka_unit_test(test_a_view_is_held_while_a_load_of_it_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
