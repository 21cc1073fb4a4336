#include "cluster/contact.h"
#include "cluster/test_groups.h"

#define TICK_MS (TEST_LEASE_MS / 4)

/* Two nodes; a asks b. */
struct pair {
    struct test_node a, b;
    struct hg_contact *contact;
    uint64_t now_ms;
};

static void start(struct pair *pair, size_t kept)
{
    pair->now_ms = 1000;
    test_node_start(&pair->a, 1, 64);
    test_node_start(&pair->b, 2, kept);
    assert_int_equal(hg_contact_create(pair->a.groups, pair->a.changes, 2, 0, &pair->contact),
                     HG_OK);
}

static void stop(struct pair *pair)
{
    hg_contact_destroy(pair->contact);
    test_node_stop(&pair->a);
    test_node_stop(&pair->b);
}

static void restart_b(struct pair *pair, uint64_t boot)
{
    test_node_stop(&pair->b);
    test_node_start(&pair->b, boot, 64);
}

static bool ask_once(struct pair *pair)
{
    struct hg_changes_place place;
    struct hg_buf body;
    assert_true(hg_contact_ask(pair->contact, 1, pair->now_ms, &place));
    assert_false(hg_contact_ask(pair->contact, 1, pair->now_ms, &place)); /* one at a time */
    hg_buf_init(&body, 1 << 20);
    assert_int_equal(hg_changes_answer(pair->b.changes, &place, 4096, &body), HG_OK);
    bool is_more = hg_contact_answered(pair->contact, 1, hg_buf_bytes(&body), pair->now_ms);
    hg_buf_finish(&body);
    return is_more;
}

static void tick(struct pair *pair, uint64_t after_ms)
{
    pair->now_ms += after_ms;
    hg_contact_tick(pair->contact, pair->now_ms);
    while (ask_once(pair))
        ;
}

static void remove_at_b(struct pair *pair, uint64_t sequence, const char *key)
{
    struct hg_peer_change change = test_change(2, sequence, HG_CHANGE_REMOVE, key);
    assert_int_equal(test_apply(&pair->b, &change, false), HG_OK);
}

static void test_a_change_that_was_not_told_is_learnt(void **state)
{
    (void)state;
    struct pair pair;
    start(&pair, 64);
    tick(&pair, 0);
    test_put(&pair.a, "k", NULL, pair.now_ms);
    test_put(&pair.a, "other", NULL, pair.now_ms);
    remove_at_b(&pair, 1, "k");
    tick(&pair, TICK_MS);
    assert_false(test_has(&pair.a, "k", pair.now_ms));
    assert_true(test_has(&pair.a, "other", pair.now_ms));
    assert_int_equal(hg_contact_stats(pair.contact).missed, 1);
    tick(&pair, TICK_MS); /* and once only */
    assert_int_equal(hg_contact_stats(pair.contact).missed, 1);
    stop(&pair);
}

static void test_what_was_told_is_not_done_again(void **state)
{
    (void)state;
    struct pair pair;
    start(&pair, 64);
    tick(&pair, 0);
    struct hg_peer_change change = test_change(2, 1, HG_CHANGE_REMOVE, "k");
    assert_int_equal(test_apply(&pair.b, &change, false), HG_OK);
    assert_int_equal(test_apply(&pair.a, &change, false), HG_OK);
    test_put(&pair.a, "k", NULL, pair.now_ms);
    tick(&pair, TICK_MS);
    assert_true(test_has(&pair.a, "k", pair.now_ms));
    assert_int_equal(hg_contact_stats(pair.contact).missed, 0);
    stop(&pair);
}

static void test_an_empty_node_takes_the_newest_number(void **state)
{
    (void)state;
    struct pair pair;
    start(&pair, 64);
    for (uint64_t i = 1; i <= 20; i++)
        remove_at_b(&pair, i, "k");
    tick(&pair, 0);
    assert_int_equal(hg_contact_stats(pair.contact).missed, 0);
    test_put(&pair.a, "k", NULL, pair.now_ms);
    remove_at_b(&pair, 21, "k");
    tick(&pair, TICK_MS);
    assert_int_equal(hg_contact_stats(pair.contact).missed, 1);
    stop(&pair);
}

static void test_what_was_stored_while_it_asked_counts(void **state)
{
    (void)state;
    struct pair pair;
    struct hg_changes_place place;
    struct hg_buf body;
    start(&pair, 64);
    hg_contact_tick(pair.contact, pair.now_ms);
    assert_true(hg_contact_ask(pair.contact, 1, pair.now_ms, &place));
    assert_true(place.is_now);
    test_put(&pair.a, "k", NULL, pair.now_ms);
    remove_at_b(&pair, 1, "k"); /* after it was stored, before the answer */
    hg_buf_init(&body, 1 << 20);
    assert_int_equal(hg_changes_answer(pair.b.changes, &place, 4096, &body), HG_OK);
    assert_true(hg_contact_answered(pair.contact, 1, hg_buf_bytes(&body), pair.now_ms));
    hg_buf_finish(&body);
    while (ask_once(&pair))
        ;
    assert_false(test_has(&pair.a, "k", pair.now_ms));
    stop(&pair);
}

static void test_after_a_standstill_it_catches_up_before_it_answers(void **state)
{
    (void)state;
    struct pair pair;
    start(&pair, 64);
    tick(&pair, 0);
    test_put(&pair.a, "old", NULL, pair.now_ms);
    test_put(&pair.a, "good", NULL, pair.now_ms);
    remove_at_b(&pair, 1, "old");
    pair.now_ms += TEST_LEASE_MS;
    assert_false(test_has(&pair.a, "old", pair.now_ms));
    assert_false(test_has(&pair.a, "good", pair.now_ms));
    tick(&pair, 0);
    assert_false(test_has(&pair.a, "old", pair.now_ms));
    assert_true(test_has(&pair.a, "good", pair.now_ms));
    assert_int_equal(hg_contact_stats(pair.contact).flushed, 0);
    stop(&pair);
}

static void test_who_is_behind_is_nobody_to_catch_up_with(void **state)
{
    (void)state;
    struct pair pair;
    start(&pair, 64);
    tick(&pair, 0);
    test_put(&pair.a, "k", NULL, pair.now_ms);
    hg_groups_alive(pair.b.groups, pair.now_ms);
    tick(&pair, TEST_LEASE_MS);
    assert_true(test_has(&pair.a, "k", pair.now_ms)); /* b ran on */
    uint64_t b_distrust = hg_groups_alive(pair.b.groups, pair.now_ms);
    assert_true(b_distrust != 0);
    tick(&pair, TEST_LEASE_MS);
    assert_false(test_has(&pair.a, "k", pair.now_ms));
    hg_groups_caught_up(pair.b.groups, b_distrust);
    tick(&pair, TICK_MS);
    assert_true(test_has(&pair.a, "k", pair.now_ms));
    stop(&pair);
}

static void test_a_log_that_was_cut_costs_the_store(void **state)
{
    (void)state;
    struct pair pair;
    start(&pair, 4);
    tick(&pair, 0);
    test_put(&pair.a, "k", NULL, pair.now_ms);
    for (uint64_t i = 1; i <= 5; i++)
        remove_at_b(&pair, i, "other");
    tick(&pair, TICK_MS);
    assert_false(test_has(&pair.a, "k", pair.now_ms));
    assert_int_equal(hg_contact_stats(pair.contact).flushed, 1);
    test_put(&pair.a, "k", NULL, pair.now_ms);
    tick(&pair, TICK_MS);
    assert_true(test_has(&pair.a, "k", pair.now_ms));
    stop(&pair);
}

/* b, whose log a cannot have whole, was the only one to know: a must not vouch for it to a third. */
static void test_who_dropped_everything_has_a_hole_in_its_log(void **state)
{
    (void)state;
    struct pair pair;
    struct hg_changes_place place = {.boot = 1};
    struct hg_peer_changes *answer = malloc(sizeof(*answer));
    struct hg_buf body;
    void *owner = NULL;
    start(&pair, 4);
    tick(&pair, 0);
    test_put(&pair.a, "k", NULL, pair.now_ms);
    for (uint64_t i = 1; i <= 5; i++)
        remove_at_b(&pair, i, "other");
    tick(&pair, TICK_MS);
    hg_buf_init(&body, 1 << 20);
    assert_int_equal(hg_changes_answer(pair.a.changes, &place, 4096, &body), HG_OK);
    assert_int_equal(hg_peer_changes_decode(hg_buf_bytes(&body), answer, &owner), HG_OK);
    assert_true(answer->is_cut);
    assert_false(answer->is_behind);
    hg_peer_message_free(owner);
    hg_buf_finish(&body);
    free(answer);
    stop(&pair);
}

static void test_a_peer_that_restarted_costs_nothing_unless_we_stood_still(void **state)
{
    (void)state;
    struct pair pair;
    start(&pair, 64);
    tick(&pair, 0);
    test_put(&pair.a, "k", NULL, pair.now_ms);
    restart_b(&pair, 3);
    tick(&pair, TICK_MS);
    assert_true(test_has(&pair.a, "k", pair.now_ms));
    restart_b(&pair, 4);
    tick(&pair, TEST_LEASE_MS);
    assert_false(test_has(&pair.a, "k", pair.now_ms)); /* what it knew went with it */
    assert_int_equal(hg_contact_stats(pair.contact).flushed, 1);
    assert_false(hg_groups_is_behind(pair.a.groups));
    stop(&pair);
}

static void test_no_answer_and_nonsense_change_nothing(void **state)
{
    (void)state;
    struct pair pair;
    struct hg_changes_place place;
    static const struct hg_bytes bad[] = {
        {NULL, 0}, HG_BYTES("\x08"), HG_BYTES("\x09\1\0\0\0\0\0\0\0\x32\1x"), HG_BYTES("\x10\1")};
    start(&pair, 64);
    tick(&pair, 0);
    test_put(&pair.a, "k", NULL, pair.now_ms);
    pair.now_ms += TEST_LEASE_MS;
    hg_contact_tick(pair.contact, pair.now_ms);
    for (size_t i = 0; i < HG_COUNT(bad); i++) {
        assert_true(hg_contact_ask(pair.contact, 1, pair.now_ms, &place));
        assert_int_equal(place.boot, 2);
        assert_false(hg_contact_answered(pair.contact, 1, bad[i], pair.now_ms));
        assert_true(hg_groups_is_behind(pair.a.groups));
    }
    assert_int_equal(hg_contact_stats(pair.contact).failed, HG_COUNT(bad));
    stop(&pair);
}

static void test_an_answer_to_an_ask_from_before_the_standstill_is_not_enough(void **state)
{
    (void)state;
    struct pair pair;
    struct hg_changes_place place;
    struct hg_buf body;
    start(&pair, 64);
    tick(&pair, 0);
    test_put(&pair.a, "k", NULL, pair.now_ms);
    assert_true(hg_contact_ask(pair.contact, 1, pair.now_ms, &place));
    hg_buf_init(&body, 1 << 20);
    assert_int_equal(hg_changes_answer(pair.b.changes, &place, 4096, &body), HG_OK);
    remove_at_b(&pair, 1, "k");
    pair.now_ms += TEST_LEASE_MS;
    hg_contact_tick(pair.contact, pair.now_ms);
    assert_false(hg_contact_answered(pair.contact, 1, hg_buf_bytes(&body), pair.now_ms));
    hg_buf_finish(&body);
    assert_true(hg_groups_is_behind(pair.a.groups));
    while (ask_once(&pair))
        ;
    assert_false(hg_groups_is_behind(pair.a.groups));
    assert_false(test_has(&pair.a, "k", pair.now_ms));
    stop(&pair);
}

static void test_the_place_in_a_log_outlives_a_change_of_members(void **state)
{
    (void)state;
    struct pair pair;
    struct hg_contact *next;
    struct hg_changes_place place;
    /* Before: a and b. After: a stranger, b, a. */
    const size_t was[] = {SIZE_MAX, 1, 0};
    start(&pair, 4);
    tick(&pair, 0);
    test_put(&pair.a, "k", NULL, pair.now_ms);
    for (uint64_t i = 1; i <= 20; i++) /* more than the log holds */
        remove_at_b(&pair, i, "other");
    tick(&pair, TICK_MS);
    struct hg_contact_stats before = hg_contact_stats(pair.contact);
    test_put(&pair.a, "k", NULL, pair.now_ms);

    assert_int_equal(hg_contact_create(pair.a.groups, pair.a.changes, 3, 2, &next), HG_OK);
    hg_contact_inherit(next, pair.contact, was);
    hg_contact_destroy(pair.contact);
    pair.contact = next;
    assert_int_equal(hg_contact_stats(next).flushed, before.flushed);
    hg_contact_tick(next, pair.now_ms);
    assert_true(hg_contact_ask(next, 0, pair.now_ms, &place));
    assert_int_equal(place.boot, 0); /* nothing is known of it */
    hg_contact_answered(next, 0, HG_BYTES_NONE, pair.now_ms);
    tick(&pair, TICK_MS); /* b, from where it was: a hole would have cost the store */
    assert_int_equal(hg_contact_stats(next).flushed, before.flushed);
    assert_true(test_has(&pair.a, "k", pair.now_ms));
    stop(&pair);
}

static void test_creating_may_run_out_of_memory(void **state)
{
    (void)state;
    struct pair pair;
    struct hg_contact *contact = NULL;
    start(&pair, 64);
    hg_alloc_fail_at(0, false);
    assert_int_equal(hg_contact_create(pair.a.groups, pair.a.changes, 2, 0, &contact), HG_ENOMEM);
    hg_alloc_fail_clear();
    assert_null(contact);
    stop(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_change_that_was_not_told_is_learnt),
        cmocka_unit_test(test_what_was_told_is_not_done_again),
        cmocka_unit_test(test_an_empty_node_takes_the_newest_number),
        cmocka_unit_test(test_what_was_stored_while_it_asked_counts),
        cmocka_unit_test(test_after_a_standstill_it_catches_up_before_it_answers),
        cmocka_unit_test(test_who_is_behind_is_nobody_to_catch_up_with),
        cmocka_unit_test(test_a_log_that_was_cut_costs_the_store),
        cmocka_unit_test(test_who_dropped_everything_has_a_hole_in_its_log),
        cmocka_unit_test(test_a_peer_that_restarted_costs_nothing_unless_we_stood_still),
        cmocka_unit_test(test_no_answer_and_nonsense_change_nothing),
        cmocka_unit_test(test_an_answer_to_an_ask_from_before_the_standstill_is_not_enough),
        cmocka_unit_test(test_the_place_in_a_log_outlives_a_change_of_members),
        cmocka_unit_test(test_creating_may_run_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
