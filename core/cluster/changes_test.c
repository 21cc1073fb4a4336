#include "cluster/test_groups.h"

#define BYTES_MAX ((size_t)64 << 10)

struct answer {
    struct hg_buf body;
    struct hg_peer_changes changes;
    void *owner;
};

static void ask(struct test_node *node, struct hg_changes_place place, size_t bytes_max,
                struct answer *answer)
{
    hg_buf_init(&answer->body, 1 << 20);
    answer->owner = NULL;
    assert_int_equal(hg_changes_answer(node->changes, &place, bytes_max, &answer->body), HG_OK);
    assert_int_equal(
        hg_peer_changes_decode(hg_buf_bytes(&answer->body), &answer->changes, &answer->owner),
        HG_OK);
}

static void answer_finish(struct answer *answer)
{
    hg_peer_message_free(answer->owner);
    hg_buf_finish(&answer->body);
}

static struct answer space; /* too big for a stack under the sanitizer's redzones */

static void test_each_op_does_what_it_says(void **state)
{
    (void)state;
    struct test_node node;
    test_node_start(&node, 1, 16);
    uint64_t sequence = 0;

    test_put(&node, "a", NULL, 1000);
    test_put(&node, "b", "t", 1000);
    test_put(&node, "c", "t", 1000);
    test_put(&node, "d", NULL, 1000);
    struct hg_peer_change change = test_change(9, ++sequence, HG_CHANGE_REMOVE, "a");
    assert_int_equal(test_apply(&node, &change, false), HG_OK);
    assert_false(test_has(&node, "a", 1000));
    change = test_change(9, ++sequence, HG_CHANGE_REMOVE_TAG, "t");
    assert_int_equal(test_apply(&node, &change, false), HG_OK);
    assert_false(test_has(&node, "b", 1000) || test_has(&node, "c", 1000));
    assert_true(test_has(&node, "d", 1000));
    change = test_change(9, ++sequence, HG_CHANGE_EXPIRE, "d");
    assert_int_equal(test_apply(&node, &change, false), HG_OK);
    assert_false(test_has(&node, "d", 1001));
    test_put(&node, "e", "t", 1000);
    change = test_change(9, ++sequence, HG_CHANGE_EXPIRE_TAG, "t");
    assert_int_equal(test_apply(&node, &change, false), HG_OK);
    assert_false(test_has(&node, "e", 1001));
    test_put(&node, "f", NULL, 1000);
    change = test_change(9, ++sequence, HG_CHANGE_FLUSH, "");
    assert_int_equal(test_apply(&node, &change, false), HG_OK);
    assert_false(test_has(&node, "f", 1000));
    change = test_change(9, ++sequence, HG_CHANGE_SET, "g"); /* without its value: a remove */
    test_put(&node, "g", NULL, 1000);
    assert_int_equal(test_apply(&node, &change, false), HG_OK);
    assert_false(test_has(&node, "g", 1000));
    test_node_stop(&node);
}

static void test_a_set_brings_its_value(void **state)
{
    (void)state;
    struct test_node node;
    struct hg_buf body;
    struct hg_peer_response response = {.status = HG_STATUS_VALUE, .value = HG_BYTES("v")};
    test_node_start(&node, 1, 16);
    hg_buf_init(&body, 1 << 16);
    assert_int_equal(hg_peer_response_encode(&response, &body), HG_OK);
    struct hg_peer_change change = test_change(9, 1, HG_CHANGE_SET, "k");
    change.value = hg_buf_bytes(&body);
    assert_int_equal(test_apply(&node, &change, false), HG_OK);
    assert_true(test_has(&node, "k", 1000));

    change.sequence = 2;
    change.value = HG_BYTES("\x08"); /* cut short */
    assert_int_equal(test_apply(&node, &change, false), HG_EINVAL);
    hg_buf_clear(&body);
    response.status = HG_STATUS_NOT_FOUND;
    assert_int_equal(hg_peer_response_encode(&response, &body), HG_OK);
    change.sequence = 3;
    change.value = hg_buf_bytes(&body);
    assert_int_equal(test_apply(&node, &change, false), HG_EINVAL);
    assert_true(test_has(&node, "k", 1000)); /* bad input costs nothing that is stored */
    hg_buf_finish(&body);
    test_node_stop(&node);
}

static void test_a_change_is_done_once(void **state)
{
    (void)state;
    struct test_node node;
    struct hg_changes_stats stats;
    struct hg_peer_change change = test_change(9, 1, HG_CHANGE_REMOVE, "k");
    test_node_start(&node, 1, 16);
    assert_int_equal(test_apply(&node, &change, false), HG_OK);
    test_put(&node, "k", NULL, 1000);
    assert_int_equal(test_apply(&node, &change, true), HG_OK); /* found in a log: known */
    assert_true(test_has(&node, "k", 1000));
    assert_int_equal(test_apply(&node, &change, false),
                     HG_OK); /* told: an answer follows upon a deed */
    assert_false(test_has(&node, "k", 1000));
    test_put(&node, "k", NULL, 1000);
    change = test_change(9, 2, HG_CHANGE_SET, "k");
    assert_int_equal(test_apply(&node, &change, false), HG_OK);
    test_put(&node, "k", NULL, 1000); /* a later set */
    assert_int_equal(test_apply(&node, &change, false), HG_OK);
    assert_true(test_has(&node, "k", 1000));
    hg_changes_stats(node.changes, &stats);
    assert_int_equal(stats.applied, 2);
    assert_int_equal(stats.repeated, 3);
    test_node_stop(&node);
}

static void test_an_unknown_group_is_no_error(void **state)
{
    (void)state;
    struct test_node node;
    struct hg_peer_change change = test_change(9, 1, HG_CHANGE_REMOVE, "k");
    bool was_there = true;
    change.group = HG_BYTES("other");
    test_node_start(&node, 1, 16);
    assert_int_equal(hg_changes_apply(node.changes, &change, false, 1000, &was_there), HG_OK);
    assert_false(was_there);
    test_node_stop(&node);
}

static void test_bad_tags_are_refused(void **state)
{
    (void)state;
    struct test_node node;
    static char tag[HG_TAG_MAX + 2];
    test_node_start(&node, 1, 16);
    memset(tag, 't', HG_TAG_MAX + 1);
    struct hg_peer_change change = test_change(9, 1, HG_CHANGE_REMOVE_TAG, tag);
    assert_int_equal(test_apply(&node, &change, false), HG_ETOOBIG);
    test_node_stop(&node);
}

static void test_a_peer_gets_what_lies_beyond_its_place(void **state)
{
    (void)state;
    struct test_node node;
    test_node_start(&node, 7, 16);
    for (uint64_t i = 1; i <= 5; i++) {
        struct hg_peer_change change = test_change(9, i, HG_CHANGE_REMOVE, "k");
        assert_int_equal(test_apply(&node, &change, false), HG_OK);
    }
    static const struct {
        struct hg_changes_place place;
        size_t count;
        bool is_cut;
    } rows[] = {
        {{.boot = 7, .number = 0}, 5, false}, {{.boot = 7, .number = 3}, 2, false},
        {{.boot = 7, .number = 5}, 0, false}, {{.boot = 7, .number = 9}, 0, false},
        {{.boot = 8, .number = 5}, 5, false}, /* of another life of this node: from the beginning */
        {{.is_now = true}, 0, false},
    };
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        ask(&node, rows[i].place, BYTES_MAX, &space);
        assert_int_equal(space.changes.boot, 7);
        assert_int_equal(space.changes.number, 5);
        assert_int_equal(space.changes.count, rows[i].count);
        assert_int_equal(space.changes.is_cut, rows[i].is_cut);
        assert_false(space.changes.is_part);
        answer_finish(&space);
    }
    test_node_stop(&node);
}

static void test_a_log_that_is_full_forgets_the_oldest_and_says_so(void **state)
{
    (void)state;
    struct test_node node;
    struct hg_changes_stats stats;
    test_node_start(&node, 7, 4);
    for (uint64_t i = 1; i <= 10; i++) {
        struct hg_peer_change change = test_change(9, i, HG_CHANGE_REMOVE, "k");
        assert_int_equal(test_apply(&node, &change, false), HG_OK);
    }
    hg_changes_stats(node.changes, &stats);
    assert_int_equal(stats.kept, 4);
    assert_int_equal(stats.cut, 6);
    ask(&node, (struct hg_changes_place){.boot = 7, .number = 5}, BYTES_MAX, &space);
    assert_true(space.changes.is_cut);
    assert_int_equal(space.changes.number, 10);
    answer_finish(&space);
    ask(&node, (struct hg_changes_place){.boot = 7, .number = 6}, BYTES_MAX, &space);
    assert_false(space.changes.is_cut);
    assert_int_equal(space.changes.count, 4);
    answer_finish(&space);
    test_node_stop(&node);
}

static void test_long_names_are_bounded_by_bytes(void **state)
{
    (void)state;
    struct test_node node;
    struct hg_changes_stats stats;
    static char name[60001];
    test_node_start(&node, 7, 1024);
    memset(name, 'n', sizeof(name) - 1);
    for (uint64_t i = 1; i <= 100; i++) {
        struct hg_peer_change change = test_change(9, i, HG_CHANGE_REMOVE, name);
        assert_int_equal(test_apply(&node, &change, false), HG_OK);
    }
    hg_changes_stats(node.changes, &stats);
    assert_true(stats.bytes <= HG_CHANGES_BYTES);
    assert_true(stats.kept >= 60 && stats.kept < 100);
    test_node_stop(&node);
}

static void test_a_long_answer_comes_in_parts(void **state)
{
    (void)state;
    struct test_node node;
    test_node_start(&node, 7, 2048);
    for (uint64_t i = 1; i <= 1500; i++) {
        struct hg_peer_change change = test_change(9, i, HG_CHANGE_REMOVE, "k");
        assert_int_equal(test_apply(&node, &change, false), HG_OK);
    }
    static const size_t limits[] = {1, 300, BYTES_MAX};
    for (size_t l = 0; l < HG_COUNT(limits); l++) {
        struct hg_changes_place place = {.boot = 7};
        uint64_t seen = 0;
        bool is_part = true;
        while (is_part) {
            ask(&node, place, limits[l], &space);
            assert_true(space.changes.count > 0);
            for (size_t i = 0; i < space.changes.count; i++) {
                struct hg_peer_change change;
                void *owner = NULL;
                assert_int_equal(hg_peer_change_decode(space.changes.changes[i], &change, &owner),
                                 HG_OK);
                assert_int_equal(change.sequence, ++seen);
                hg_peer_message_free(owner);
            }
            place.number = space.changes.number;
            is_part = space.changes.is_part;
            answer_finish(&space);
        }
        assert_int_equal(seen, 1500);
    }
    test_node_stop(&node);
}

static void test_places_come_back_and_nonsense_does_not(void **state)
{
    (void)state;
    static const struct hg_changes_place places[] = {
        {.boot = 1}, {.boot = UINT64_MAX, .number = UINT64_MAX}, {.is_now = true}};
    for (size_t i = 0; i < HG_COUNT(places); i++) {
        struct hg_changes_place place = {.boot = 5};
        struct hg_buf text;
        hg_buf_init(&text, 64);
        assert_int_equal(hg_changes_place_format(&places[i], &text), HG_OK);
        assert_int_equal(hg_changes_place_parse(hg_buf_bytes(&text), &place), HG_OK);
        assert_int_equal(place.is_now, places[i].is_now);
        assert_true(place.boot == places[i].boot && place.number == places[i].number);
        hg_buf_finish(&text);
    }
    static const char *const bad[] = {"",
                                      "now ",
                                      "1.1",
                                      "0000000000000001",
                                      "0000000000000001.",
                                      "000000000000000g.1",
                                      "0000000000000001.-1",
                                      "0000000000000001.1x",
                                      "0000000000000001,11",
                                      "0000000000000001.123456789012345678901"};
    for (size_t i = 0; i < HG_COUNT(bad); i++) {
        struct hg_changes_place place = {.boot = 5};
        assert_int_equal(hg_changes_place_parse(hg_bytes_str(bad[i]), &place), HG_EPROTO);
        assert_int_equal(place.boot, 5);
    }
}

/* Against a list that forgets nothing. */
static void test_random_changes_agree_with_a_model(void **state)
{
    (void)state;
    static uint64_t known[4000];
    size_t count = 0;
    uint64_t seed = 12345;
    struct test_node node;
    test_node_start(&node, 7, 64);
    for (int step = 0; step < 4000; step++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        uint64_t sequence = (seed >> 33) % 500;
        struct hg_changes_stats before, after;
        struct hg_peer_change change = test_change(3, sequence, HG_CHANGE_REMOVE, "k");
        bool is_known = false;
        for (size_t i = count > 64 ? count - 64 : 0; i < count; i++)
            is_known |= known[i] == sequence;
        hg_changes_stats(node.changes, &before);
        assert_int_equal(test_apply(&node, &change, true), HG_OK);
        hg_changes_stats(node.changes, &after);
        if (after.applied - before.applied != !is_known)
            fail_msg("step %d: sequence %llu", step, (unsigned long long)sequence);
        if (!is_known)
            known[count++] = sequence;
        assert_int_equal(after.number, count);
        assert_int_equal(after.kept, count < 64 ? count : 64);
    }
    test_node_stop(&node);
}

static void test_without_memory_the_log_is_cut(void **state)
{
    (void)state;
    struct test_node node;
    test_node_start(&node, 7, 16);
    struct hg_peer_change change = test_change(9, 1, HG_CHANGE_REMOVE, "k");
    assert_int_equal(test_apply(&node, &change, false), HG_OK);
    change.sequence = 2;
    hg_alloc_fail_at(0, false);
    assert_int_equal(test_apply(&node, &change, false), HG_OK); /* done all the same */
    assert_true(hg_alloc_fail_clear());
    ask(&node, (struct hg_changes_place){.boot = 7, .number = 1}, BYTES_MAX, &space);
    assert_true(space.changes.is_cut);
    assert_int_equal(space.changes.number, 2);
    answer_finish(&space);
    test_node_stop(&node);
}

static void test_every_allocation_of_create_and_answer_may_fail(void **state)
{
    (void)state;
    struct test_node node;
    test_node_start(&node, 7, 16);
    struct hg_peer_change change = test_change(9, 1, HG_CHANGE_REMOVE, "k");
    assert_int_equal(test_apply(&node, &change, false), HG_OK);
    size_t live_bytes = hg_alloc_live_bytes();
    for (size_t nth = 0;; nth++) {
        struct hg_changes *changes = NULL;
        struct hg_changes_place place = {.boot = 7};
        struct hg_buf body;
        hg_buf_init(&body, 1 << 16);
        hg_alloc_fail_at(nth, false);
        int err = hg_changes_create(node.groups, 8, 16, &changes);
        if (err == HG_OK)
            err = hg_changes_answer(node.changes, &place, BYTES_MAX, &body);
        bool was_refused = hg_alloc_fail_clear();
        hg_changes_destroy(changes);
        hg_buf_finish(&body);
        assert_int_equal(hg_alloc_live_bytes(), live_bytes);
        if (!was_refused) {
            assert_int_equal(err, HG_OK);
            break;
        }
        assert_int_equal(err, HG_ENOMEM);
    }
    test_node_stop(&node);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_op_does_what_it_says),
        cmocka_unit_test(test_a_set_brings_its_value),
        cmocka_unit_test(test_a_change_is_done_once),
        cmocka_unit_test(test_an_unknown_group_is_no_error),
        cmocka_unit_test(test_bad_tags_are_refused),
        cmocka_unit_test(test_a_peer_gets_what_lies_beyond_its_place),
        cmocka_unit_test(test_a_log_that_is_full_forgets_the_oldest_and_says_so),
        cmocka_unit_test(test_long_names_are_bounded_by_bytes),
        cmocka_unit_test(test_a_long_answer_comes_in_parts),
        cmocka_unit_test(test_places_come_back_and_nonsense_does_not),
        cmocka_unit_test(test_random_changes_agree_with_a_model),
        cmocka_unit_test(test_without_memory_the_log_is_cut),
        cmocka_unit_test(test_every_allocation_of_create_and_answer_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
