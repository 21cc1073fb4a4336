#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "cluster/membership.h"

static struct hg_bytes names[HG_RING_MEMBERS_MAX + 1];
static char name_bytes[HG_RING_MEMBERS_MAX + 1][32];

static void name_members(size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int len = snprintf(name_bytes[i], sizeof(name_bytes[i]), "http://n%zu:8001", i);
        names[i] = hg_bytes(name_bytes[i], (size_t)len);
    }
}

struct maker {
    unsigned made;
    size_t fail_at;
};

static void *make_peer(void *ctx, struct hg_bytes name, char *error, size_t error_size)
{
    struct maker *maker = ctx;
    if (maker->made == maker->fail_at) {
        snprintf(error, error_size, "bad peer");
        return NULL;
    }
    maker->made++;
    return (void *)(uintptr_t)name.data; /* what a view knows it by */
}

static const struct hg_ring_preset *preset(void)
{
    return hg_ring_preset_find(HG_BYTES("default"));
}

static int create(size_t count, struct hg_bytes self, struct maker *maker,
                  struct hg_view **out_view, char error[256])
{
    error[0] = '\0';
    return hg_view_create(preset(), names, count, self, make_peer, maker, out_view, error, 256);
}

static void test_view_knows_self_and_makes_the_others(void **state)
{
    (void)state;
    size_t live = hg_alloc_live_bytes();
    struct maker maker = {.fail_at = SIZE_MAX};
    struct hg_view *view;
    char error[256];
    name_members(3);
    assert_int_equal(create(3, names[1], &maker, &view, error), HG_OK);
    assert_int_equal(view->self, 1);
    assert_int_equal(maker.made, 2);
    assert_null(view->peers[1]);
    assert_ptr_equal(view->peers[0], names[0].data);
    assert_ptr_equal(view->peers[2], names[2].data);
    assert_int_equal(hg_ring_member_count(view->ring), 3);
    hg_view_destroy(view);
    hg_view_destroy(NULL);
    assert_int_equal(hg_alloc_live_bytes(), live);
}

static void test_names_are_used_exactly_as_listed(void **state)
{
    (void)state;
    struct maker maker = {.fail_at = SIZE_MAX};
    struct hg_view *view = NULL;
    char error[256];
    static const struct hg_bytes strangers[] = {
        {"http://n1:8001/", 15}, {"n1:8001", 7}, {"HTTP://n1:8001", 14},
        {"http://n1:800", 13},   {"", 0},
    };
    name_members(3);
    for (size_t i = 0; i < HG_COUNT(strangers); i++) {
        assert_int_equal(create(3, strangers[i], &maker, &view, error), HG_ENOENT);
        assert_true(error[0] != '\0');
    }
    assert_null(view);
    assert_int_equal(maker.made, 0);
}

static void test_bad_lists_are_refused_with_a_message(void **state)
{
    (void)state;
    struct maker maker = {.fail_at = SIZE_MAX};
    struct hg_view *view = NULL;
    char error[256];
    assert_int_equal(create(0, HG_BYTES("a"), &maker, &view, error), HG_EINVAL);
    assert_true(error[0] != '\0');
    name_members(3);
    names[2] = names[0];
    assert_int_equal(create(3, names[0], &maker, &view, error), HG_EINVAL);
    assert_non_null(strstr(error, "http://n0:8001"));
    names[2] = HG_BYTES_NONE;
    assert_int_equal(create(3, names[0], &maker, &view, error), HG_EINVAL);
    name_members(HG_RING_MEMBERS_MAX + 1);
    assert_int_equal(create(HG_RING_MEMBERS_MAX + 1, names[0], &maker, &view, error), HG_ELIMIT);
    assert_null(view);
}

static void test_failing_peer_fails_the_view(void **state)
{
    (void)state;
    size_t live = hg_alloc_live_bytes();
    struct maker maker = {.fail_at = 1};
    struct hg_view *view = NULL;
    char error[256];
    name_members(4);
    assert_true(create(4, names[0], &maker, &view, error) < 0);
    assert_string_equal(error, "bad peer");
    assert_null(view);
    assert_int_equal(hg_alloc_live_bytes(), live);
}

static void test_each_failing_allocation_is_survived(void **state)
{
    (void)state;
    size_t live = hg_alloc_live_bytes();
    name_members(3);
    for (size_t nth = 0;; nth++) {
        struct maker maker = {.fail_at = SIZE_MAX};
        struct hg_view *view = NULL;
        char error[256];
        hg_alloc_fail_at(nth, false);
        int err = create(3, names[0], &maker, &view, error);
        bool was_refused = hg_alloc_fail_clear();
        if (!was_refused) {
            assert_int_equal(err, HG_OK);
            assert_true(nth > 0);
            hg_view_destroy(view);
            break;
        }
        assert_int_equal(err, HG_ENOMEM);
        assert_null(view);
        assert_int_equal(hg_alloc_live_bytes(), live);
    }
    assert_int_equal(hg_alloc_live_bytes(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_view_knows_self_and_makes_the_others),
        cmocka_unit_test(test_names_are_used_exactly_as_listed),
        cmocka_unit_test(test_bad_lists_are_refused_with_a_message),
        cmocka_unit_test(test_failing_peer_fails_the_view),
        cmocka_unit_test(test_each_failing_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
