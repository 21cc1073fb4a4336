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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alone_every_key_is_ours),
        cmocka_unit_test(test_owner_self_and_second),
        cmocka_unit_test(test_who_is_no_member_owns_nothing_and_one_member_has_no_second),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
