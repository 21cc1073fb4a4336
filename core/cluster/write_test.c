#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/units.h"
#include "cluster/write.h"

#define MEMBERS  4
#define SELF     0
#define LEASE_MS 2000

/* What was told, in order: "1" to member 1, "1c" copies only, "0!" applied here, "v" with the value. */
static char told[256];
static bool fails_at_once[MEMBERS];
static int apply_err;

static int on_tell(void *ctx, size_t member, unsigned round, const struct hg_peer_change *change)
{
    (void)ctx;
    assert_int_equal(change->is_copies, round > 0);
    size_t len = strlen(told);
    snprintf(told + len, sizeof(told) - len, "%zu%s%s ", member, change->is_copies ? "c" : "",
             change->value.len > 0 ? "v" : "");
    return fails_at_once[member] ? HG_EPEER : HG_OK;
}

static int on_apply(void *ctx, const struct hg_peer_change *change, bool *out_was_there)
{
    (void)ctx;
    size_t len = strlen(told);
    snprintf(told + len, sizeof(told) - len, "0!%s%s ", change->is_copies ? "c" : "",
             change->value.len > 0 ? "v" : "");
    *out_was_there = false;
    return apply_err;
}

static const struct hg_write_ops ops = {.tell = on_tell, .apply = on_apply};

static struct hg_write *begin(enum hg_change_op op, size_t owner, size_t members)
{
    struct hg_write *write = calloc(1, hg_write_size(members));
    assert_non_null(write);
    told[0] = '\0';
    memset(fails_at_once, 0, sizeof(fails_at_once));
    apply_err = HG_OK;
    write->change = (struct hg_peer_change){.op = op, .name = HG_BYTES("k")};
    if (op == HG_CHANGE_SET)
        write->change.value = HG_BYTES("v");
    write->ops = &ops;
    write->self = SELF;
    write->owner = owner;
    write->member_count = members;
    write->lease_ms = LEASE_MS;
    return write;
}

static void know(struct hg_write *write, size_t member, unsigned round, uint64_t now_ms)
{
    hg_write_told(write, member, round, true, true, now_ms);
}

static void silent(struct hg_write *write, size_t member, unsigned round, uint64_t now_ms)
{
    hg_write_told(write, member, round, false, false, now_ms);
}

static void assert_told(const char *expected)
{
    assert_string_equal(told, expected);
    told[0] = '\0';
}

static void test_alone_it_is_over_at_once(void **state)
{
    (void)state;
    static const enum hg_change_op all[] = {HG_CHANGE_SET, HG_CHANGE_REMOVE, HG_CHANGE_FLUSH};
    for (size_t i = 0; i < HG_COUNT(all); i++) {
        struct hg_write *write =
            begin(all[i], all[i] == HG_CHANGE_FLUSH ? HG_WRITE_NO_OWNER : 0, 1);
        hg_write_start(write, 100);
        assert_true(write->is_over);
        assert_int_equal(write->err, HG_OK);
        assert_true(hg_write_is_acknowledged(write, 0));
        free(write);
    }
}

static void test_the_owner_hears_first(void **state)
{
    (void)state;
    struct hg_write *write = begin(HG_CHANGE_REMOVE, 2, MEMBERS);
    hg_write_start(write, 100);
    assert_told("2 ");
    know(write, 2, 0, 110);
    assert_told("0! 1 3 ");
    know(write, 3, 0, 120);
    assert_false(write->is_over);
    know(write, 1, 0, 130);
    assert_true(write->is_over);
    assert_told(""); /* no second round: the owner knew before the others */
    assert_true(write->was_there);
    for (size_t i = 0; i < MEMBERS; i++)
        assert_true(hg_write_is_acknowledged(write, i));
    free(write);
}

static void test_a_set_goes_to_its_owner_and_drops_copies(void **state)
{
    (void)state;
    struct hg_write *write = begin(HG_CHANGE_SET, 2, MEMBERS);
    hg_write_start(write, 100);
    assert_told("2v ");
    know(write, 2, 0, 110);
    assert_told("0! 1 3 ");
    free(write);

    write = begin(HG_CHANGE_SET, SELF, MEMBERS);
    hg_write_start(write, 100);
    assert_told("0!v 1 2 3 ");
    free(write);
}

static void test_a_set_without_its_owner_fails(void **state)
{
    (void)state;
    struct hg_write *write = begin(HG_CHANGE_SET, 2, MEMBERS);
    hg_write_start(write, 100);
    assert_int_equal(hg_write_due(write), HG_FOREVER);
    silent(write, 2, 0, 2100);
    assert_true(write->is_over);
    assert_int_equal(write->err, HG_EPEER);
    assert_told("2v ");
    free(write);

    write = begin(HG_CHANGE_SET, 2, MEMBERS);
    fails_at_once[2] = true;
    hg_write_start(write, 100);
    assert_true(write->is_over);
    assert_int_equal(write->err, HG_EPEER);
    free(write);
}

static void test_a_set_that_does_not_fit_here_is_told_to_nobody(void **state)
{
    (void)state;
    struct hg_write *write = begin(HG_CHANGE_SET, SELF, MEMBERS);
    apply_err = HG_ETOOBIG;
    hg_write_start(write, 100);
    assert_true(write->is_over);
    assert_int_equal(write->err, HG_ETOOBIG);
    assert_told("0!v ");
    free(write);
}

static void test_who_does_not_acknowledge_is_waited_for(void **state)
{
    (void)state;
    struct hg_write *write = begin(HG_CHANGE_REMOVE, 2, MEMBERS);
    hg_write_start(write, 100);
    know(write, 2, 0, 110);
    know(write, 3, 0, 120);
    silent(write, 1, 0, 130);
    assert_int_equal(hg_write_due(write), 110 + LEASE_MS); /* a copy may be as young as that */
    hg_write_tick(write, 109 + LEASE_MS);
    assert_false(write->is_over);
    hg_write_tick(write, 110 + LEASE_MS);
    assert_true(write->is_over);
    assert_int_equal(write->err, HG_OK);
    assert_false(hg_write_is_acknowledged(write, 1));
    assert_true(hg_write_is_acknowledged(write, 3));
    free(write);
}

static void test_an_owner_that_is_silent_holds_nobody_up(void **state)
{
    (void)state;
    struct hg_write *write = begin(HG_CHANGE_REMOVE, 2, MEMBERS);
    hg_write_start(write, 1000);
    assert_told("2 ");
    assert_int_equal(hg_write_due(write), 1000 + LEASE_MS / 8);
    hg_write_tick(write, 1250);
    assert_told("0! 1 3 ");
    know(write, 1, 0, 1260);
    know(write, 3, 0, 1260);
    assert_false(write->is_over);
    /* It may have answered others meanwhile: their copies go once more. */
    assert_int_equal(hg_write_due(write), 2500);
    hg_write_tick(write, 2500);
    assert_told("0!c 1c 3c ");
    know(write, 1, 1, 2510);
    know(write, 3, 1, 2510);
    assert_false(write->is_over);
    assert_int_equal(hg_write_due(write), 1250 + LEASE_MS);
    hg_write_tick(write, 3250);
    assert_true(write->is_over);
    assert_int_equal(write->err, HG_OK);
    assert_false(hg_write_is_acknowledged(write, 2));
    silent(write, 2, 0, 3300); /* comes when all is over */
    assert_int_equal(write->outstanding, 0);
    free(write);
}

static void test_an_owner_that_answers_late_ends_it_with_a_second_round(void **state)
{
    (void)state;
    struct hg_write *write = begin(HG_CHANGE_EXPIRE, 2, MEMBERS);
    hg_write_start(write, 1000);
    hg_write_tick(write, 1250);
    know(write, 1, 0, 1260);
    know(write, 3, 0, 1260);
    told[0] = '\0';
    know(write, 2, 0, 1700);
    assert_told("0!c 1c 2c 3c ");
    know(write, 1, 1, 1710);
    know(write, 2, 1, 1710);
    assert_false(write->is_over);
    know(write, 3, 1, 1710);
    assert_true(write->is_over);
    for (size_t i = 0; i < MEMBERS; i++)
        assert_true(hg_write_is_acknowledged(write, i));
    free(write);
}

static void test_a_flush_has_two_rounds(void **state)
{
    (void)state;
    struct hg_write *write = begin(HG_CHANGE_FLUSH, HG_WRITE_NO_OWNER, MEMBERS);
    hg_write_start(write, 1000);
    assert_told("0! 1 2 3 ");
    know(write, 1, 0, 1010);
    know(write, 2, 0, 1010);
    know(write, 3, 0, 1010);
    assert_told("0!c 1c 2c 3c ");
    know(write, 1, 1, 1020);
    know(write, 2, 1, 1020);
    silent(write, 3, 1, 1500);
    assert_int_equal(hg_write_due(write), 1010 + LEASE_MS);
    hg_write_tick(write, 1010 + LEASE_MS);
    assert_true(write->is_over);
    assert_false(hg_write_is_acknowledged(write, 3));
    assert_true(hg_write_is_acknowledged(write, 1));
    free(write);
}

static void test_who_acknowledges_after_the_second_round_brings_a_third(void **state)
{
    (void)state;
    struct hg_write *write = begin(HG_CHANGE_REMOVE_TAG, HG_WRITE_NO_OWNER, MEMBERS);
    hg_write_start(write, 1000);
    know(write, 1, 0, 1010);
    know(write, 2, 0, 1010);
    told[0] = '\0';
    hg_write_tick(write, 1000 + LEASE_MS / 8 * 5);
    assert_told("0!c 1c 2c ");
    know(write, 1, 1, 2260);
    know(write, 3, 0, 2300);
    assert_told("0!c 1c 2c 3c ");
    know(write, 2, 1, 2310); /* of the round before: says nothing of this one */
    assert_false(hg_write_is_acknowledged(write, 2));
    know(write, 1, 2, 2320);
    know(write, 3, 2, 2320);
    assert_false(write->is_over);
    know(write, 2, 2, 2330);
    assert_true(write->is_over);
    free(write);
}

static void test_time_in_which_this_node_stood_still_does_not_count(void **state)
{
    (void)state;
    struct hg_write *write = begin(HG_CHANGE_REMOVE, SELF, MEMBERS);
    hg_write_start(write, 1000);
    know(write, 1, 0, 1010);
    know(write, 2, 0, 1010);
    hg_write_tick(write, 9000); /* due at 3000 */
    assert_false(write->is_over);
    assert_int_equal(hg_write_due(write), 9000 + LEASE_MS);
    hg_write_tick(write, 9000 + LEASE_MS);
    assert_true(write->is_over);
    free(write);
}

static void test_when_nobody_can_be_told_the_lease_is_waited_out(void **state)
{
    (void)state;
    struct hg_write *write = begin(HG_CHANGE_REMOVE, 2, MEMBERS);
    for (size_t i = 0; i < MEMBERS; i++)
        fails_at_once[i] = true;
    hg_write_start(write, 1000);
    assert_told("2 0! 1 3 ");
    assert_int_equal(write->outstanding, 0);
    while (!write->is_over)
        hg_write_tick(write, hg_write_due(write));
    assert_true(hg_write_is_acknowledged(write, SELF));
    for (size_t i = 1; i < MEMBERS; i++)
        assert_false(hg_write_is_acknowledged(write, i));
    free(write);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alone_it_is_over_at_once),
        cmocka_unit_test(test_the_owner_hears_first),
        cmocka_unit_test(test_a_set_goes_to_its_owner_and_drops_copies),
        cmocka_unit_test(test_a_set_without_its_owner_fails),
        cmocka_unit_test(test_a_set_that_does_not_fit_here_is_told_to_nobody),
        cmocka_unit_test(test_who_does_not_acknowledge_is_waited_for),
        cmocka_unit_test(test_an_owner_that_is_silent_holds_nobody_up),
        cmocka_unit_test(test_an_owner_that_answers_late_ends_it_with_a_second_round),
        cmocka_unit_test(test_a_flush_has_two_rounds),
        cmocka_unit_test(test_who_acknowledges_after_the_second_round_brings_a_third),
        cmocka_unit_test(test_time_in_which_this_node_stood_still_does_not_count),
        cmocka_unit_test(test_when_nobody_can_be_told_the_lease_is_waited_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
