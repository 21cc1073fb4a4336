#include "base/testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "cluster/many.h"

#define MAX      ((size_t)1 << 20)
#define PART_MAX 1000
#define KEYS     4

/* Asks for k1, k2, ... and what they were told. */
struct one {
    struct hg_ask ask;
    struct hg_load load;
    char name[8], data[64];
    unsigned told;
    enum hg_ask_outcome outcome;
};

struct world {
    struct one ones[KEYS];
    struct hg_list waiting;
    struct hg_many *many;
    struct hg_buf answers; /* what the peer sends */
    struct one *dropped;   /* by the first that lands */
};

static struct one *one_of(struct hg_ask *ask)
{
    return hg_container_of(ask, struct one, ask);
}

static void init(struct world *world)
{
    memset(world, 0, sizeof(*world));
    hg_list_init(&world->waiting);
    hg_buf_init(&world->answers, MAX);
    for (unsigned i = 0; i < KEYS; i++) {
        struct one *one = &world->ones[i];
        snprintf(one->name, sizeof(one->name), "k%u", i + 1);
        one->load.flight.key = hg_bytes_str(one->name);
        one->load.deadline_ms = 1000 + i;
        one->ask.load = &one->load;
        one->ask.group = HG_BYTES("g");
        hg_list_push_back(&world->waiting, &one->ask.link);
    }
}

static void open_many(struct world *world)
{
    struct hg_list taken;
    init(world);
    hg_list_init(&taken);
    assert_int_equal(hg_asks_take(&world->waiting, 9, MAX, &taken), KEYS);
    world->many = hg_many_create(&taken, KEYS, PART_MAX);
    assert_non_null(world->many);
}

static void close_many(struct world *world)
{
    hg_many_destroy(world->many);
    hg_buf_finish(&world->answers);
}

static void landed(void *ctx, struct hg_ask *ask, const struct hg_ask_answer *answer)
{
    struct world *world = ctx;
    struct one *one = one_of(ask);
    one->told++;
    one->outcome = answer->outcome;
    if (answer->result != NULL) {
        struct hg_bytes data = hg_value_data(answer->result);
        assert_true(hg_bytes_eq(hg_value_key(answer->result), one->load.flight.key));
        snprintf(one->data, sizeof(one->data), "%.*s", (int)data.len, data.data);
        hg_value_unref(answer->result);
    }
    if (world->dropped != NULL)
        hg_many_drop(world->many, &world->dropped->ask);
    world->dropped = NULL;
}

/* The peer: one part more, for `number`, with the hash of `key`. */
static void answer(struct world *world, uint32_t number, const char *key, size_t len)
{
    struct hg_buf one;
    char *data = malloc(len + 1);
    memset(data, 'v', len);
    hg_buf_init(&one, MAX);
    struct hg_peer_response response = {.status = HG_STATUS_VALUE,
                                        .value = hg_bytes(data, len),
                                        .has_key_hash = true,
                                        .key_hash = hg_xxh64(hg_bytes_str(key))};
    assert_int_equal(hg_peer_response_encode(&response, &one), HG_OK);
    assert_int_equal(hg_peer_answers_append(hg_buf_bytes(&one), number, &world->answers), HG_OK);
    hg_buf_finish(&one);
    free(data);
}

static size_t feed(struct world *world)
{
    return hg_many_feed(world->many, hg_buf_bytes(&world->answers), 0, landed, world);
}

static void test_what_has_one_chain_travels_together(void **state)
{
    (void)state;
    struct world world;
    struct hg_list taken;
    init(&world);
    world.ones[1].load.chain = HG_BYTES("\0\3g\0a");
    hg_list_init(&taken);
    assert_int_equal(hg_asks_take(&world.waiting, 9, MAX, &taken), 3);
    hg_list_init(&taken);
    assert_int_equal(hg_asks_take(&world.waiting, 9, MAX, &taken), 1);
    assert_ptr_equal(taken.next, &world.ones[1].ask.link);
    hg_list_init(&taken);
    assert_int_equal(hg_asks_take(&world.waiting, 9, MAX, &taken), 0);
}

static void test_keys_bytes_and_loneliness_bound_what_travels_together(void **state)
{
    (void)state;
    struct world world;
    struct hg_list taken;
    size_t each = 32 + 2 + 1;

    init(&world);
    hg_list_init(&taken);
    assert_int_equal(hg_asks_take(&world.waiting, 3, MAX, &taken), 3);
    assert_int_equal(hg_asks_take(&world.waiting, 3, MAX, &taken), 1);
    init(&world);
    hg_list_init(&taken);
    assert_int_equal(hg_asks_take(&world.waiting, 9, 3 * each - 1, &taken), 2);
    assert_int_equal(hg_asks_take(&world.waiting, 9, 0, &taken), 1); /* one goes always */
    init(&world);
    hg_list_init(&taken);
    world.ones[0].ask.is_alone = world.ones[2].ask.is_alone = true;
    assert_int_equal(hg_asks_take(&world.waiting, 9, MAX, &taken), 1);
    assert_int_equal(hg_asks_take(&world.waiting, 9, MAX, &taken), 2);
    assert_ptr_equal(taken.prev, &world.ones[3].ask.link);
    assert_int_equal(hg_asks_take(&world.waiting, 9, MAX, &taken), 1);
}

static void test_each_ask_carries_its_key_and_what_time_is_left(void **state)
{
    (void)state;
    struct world world;
    struct hg_buf buf;
    open_many(&world);
    hg_buf_init(&buf, MAX);
    world.ones[1].load.deadline_ms = HG_FOREVER;
    world.ones[2].load.deadline_ms = 5;
    world.ones[1].load.is_peek = true;
    assert_int_equal(hg_many_encode(world.many, 900, &buf), HG_OK);
    static const uint64_t left[KEYS] = {100, 0, 1, 103};
    struct hg_bytes rest = hg_buf_bytes(&buf), part;
    for (unsigned i = 0; i < KEYS; i++) {
        struct hg_peer_request request;
        void *owner = NULL;
        assert_int_equal(hg_peer_many_next(&rest, &part), HG_OK);
        assert_int_equal(hg_peer_request_decode(part, &request, &owner), HG_OK);
        assert_true(hg_bytes_eq(request.key, world.ones[i].load.flight.key));
        assert_true(hg_bytes_eq(request.group, HG_BYTES("g")));
        assert_int_equal(request.deadline_ms, left[i]);
        assert_int_equal(request.is_peek, i == 1);
        hg_peer_message_free(owner);
    }
    assert_int_equal(rest.len, 0);
    hg_buf_finish(&buf);
    while (hg_many_pop(world.many) != NULL)
        ;
    close_many(&world);
}

/* In any order, byte by byte, doubled: each once, and as soon as its last byte is there. */
static void test_answers_land_one_by_one(void **state)
{
    (void)state;
    struct world world;
    static const uint32_t order[] = {3, 1, 3, 4, 2};
    size_t ends[HG_COUNT(order)], used = 0, done = 0;
    open_many(&world);
    for (size_t i = 0; i < HG_COUNT(order); i++) {
        answer(&world, order[i], world.ones[order[i] - 1].name, 10 * i);
        ends[i] = world.answers.len;
    }
    for (size_t len = 0; len <= world.answers.len; len++) {
        char *copy = malloc(len - used + 1);
        memcpy(copy, world.answers.data + used, len - used);
        used += hg_many_feed(world.many, hg_bytes(copy, len - used), 0, landed, &world);
        free(copy);
        done += len == ends[done];
        assert_int_equal(used, done == 0 ? 0 : ends[done - 1]);
        for (size_t i = 0; i < done; i++)
            assert_int_equal(world.ones[order[i] - 1].told, 1);
        assert_int_equal(world.many->pending_count, KEYS - (done > 2 ? done - 1 : done));
        if (done == HG_COUNT(order))
            break;
    }
    assert_string_equal(world.ones[0].data, "vvvvvvvvvv");
    assert_string_equal(world.ones[2].data, "");
    assert_true(hg_many_end(world.many, true, HG_BYTES_NONE));
    assert_null(hg_many_pop(world.many));
    close_many(&world);
}

static void test_the_answer_to_another_key_fails_that_key_alone(void **state)
{
    (void)state;
    struct world world;
    open_many(&world);
    answer(&world, 1, "k2", 3);
    answer(&world, 2, "k2", 3);
    assert_int_equal(feed(&world), world.answers.len);
    assert_int_equal(world.ones[0].outcome, HG_ASK_TRANSPORT);
    assert_int_equal(world.ones[1].outcome, HG_ASK_TYPED);
    assert_true(hg_many_end(world.many, true, HG_BYTES_NONE));
    assert_ptr_equal(hg_many_pop(world.many), &world.ones[2].ask);
    assert_ptr_equal(hg_many_pop(world.many), &world.ones[3].ask);
    assert_null(hg_many_pop(world.many));
    close_many(&world);
}

static void test_a_part_over_the_limit_costs_its_key_alone(void **state)
{
    (void)state;
    struct world world;
    size_t used = 0;
    open_many(&world);
    answer(&world, 1, "k1", 3);
    answer(&world, 2, "k2", 5 * PART_MAX);
    answer(&world, 3, "k3", 3);
    /* In pieces, so that the skipped part comes in several. */
    for (size_t len = 0; len <= world.answers.len; len += 700) {
        used += hg_many_feed(world.many, hg_bytes(world.answers.data + used, len - used), 0, landed,
                             &world);
        assert_true(len - used < PART_MAX);
    }
    used += hg_many_feed(world.many, hg_bytes(world.answers.data + used, world.answers.len - used),
                         0, landed, &world);
    assert_int_equal(used, world.answers.len);
    assert_int_equal(world.ones[0].told, 1);
    assert_int_equal(world.ones[1].told, 0);
    assert_int_equal(world.ones[2].told, 1);
    assert_true(hg_many_end(world.many, true, HG_BYTES_NONE));
    assert_ptr_equal(hg_many_pop(world.many), &world.ones[1].ask);
    assert_ptr_equal(hg_many_pop(world.many), &world.ones[3].ask);
    close_many(&world);
}

static void test_a_cut_answer_fails_what_is_missing(void **state)
{
    (void)state;
    for (unsigned how = 0; how < 4; how++) {
        struct world world;
        open_many(&world);
        answer(&world, 4, "k4", 3);
        size_t whole = world.answers.len;
        answer(&world, 1, "k1", how == 3 ? 5 * PART_MAX : 3);
        if (how == 1) /* between two parts, but not by the end of the message */
            world.answers.len = whole;
        else if (how >= 2)
            world.answers.len -= 2;
        size_t used = feed(&world);
        struct hg_bytes rest = hg_bytes(world.answers.data + used, world.answers.len - used);
        assert_false(hg_many_end(world.many, how >= 2, rest));
        assert_int_equal(world.many->pending_count, how == 0 ? 2 : 3);
        while (hg_many_pop(world.many) != NULL)
            ;
        close_many(&world);
    }
}

static void test_garbage_ends_it_and_what_landed_stays(void **state)
{
    (void)state;
    static const struct hg_bytes garbage[] = {
        HG_BYTES("HTTP"), HG_BYTES("\x0a\x02\xff\xff"), HG_BYTES("\x0a\0"),
        HG_BYTES("\x0a\x03\xb0\x01\x05"), /* a number that was not asked for */
    };
    for (size_t i = 0; i < HG_COUNT(garbage); i++) {
        struct world world;
        open_many(&world);
        answer(&world, 2, "k2", 3);
        assert_int_equal(hg_buf_append_bytes(&world.answers, garbage[i]), HG_OK);
        answer(&world, 3, "k3", 3);
        assert_int_equal(feed(&world), world.answers.len);
        assert_int_equal(feed(&world), world.answers.len);
        assert_int_equal(world.ones[1].told, 1);
        assert_int_equal(world.ones[2].told, 0);
        assert_false(hg_many_end(world.many, true, HG_BYTES_NONE));
        while (hg_many_pop(world.many) != NULL)
            ;
        close_many(&world);
    }
}

/* A part without a status is no answer of ours. */
static void test_an_untyped_part_is_a_failure_of_its_key(void **state)
{
    (void)state;
    struct world world;
    open_many(&world);
    assert_int_equal(hg_peer_answers_append(HG_BYTES("\x0a\x03"
                                                     "abc"),
                                            2, &world.answers),
                     HG_OK);
    assert_int_equal(feed(&world), world.answers.len);
    assert_int_equal(world.ones[1].outcome, HG_ASK_TRANSPORT);
    while (hg_many_pop(world.many) != NULL)
        ;
    close_many(&world);
}

static void test_who_lands_may_drop_another(void **state)
{
    (void)state;
    struct world world;
    open_many(&world);
    world.dropped = &world.ones[1];
    for (uint32_t i = 1; i <= KEYS; i++)
        answer(&world, i, world.ones[i - 1].name, 3);
    assert_int_equal(feed(&world), world.answers.len);
    assert_int_equal(world.ones[1].told, 0);
    assert_int_equal(world.ones[2].told, 1);
    assert_int_equal(world.many->pending_count, 0);
    close_many(&world);
}

/* Out of memory for one answer is that key's failure, or counts as left out: the others land. */
static void test_every_allocation_may_fail(void **state)
{
    (void)state;
    for (size_t nth = 0;; nth++) {
        struct world world;
        size_t live = hg_alloc_live_count();
        open_many(&world);
        for (uint32_t i = 1; i <= KEYS; i++)
            answer(&world, i, world.ones[i - 1].name, 3);
        hg_alloc_fail_at(nth, false);
        assert_int_equal(feed(&world), world.answers.len);
        bool refused = hg_alloc_fail_clear();
        unsigned typed = 0;
        for (unsigned i = 0; i < KEYS; i++)
            typed += world.ones[i].told == 1 && world.ones[i].outcome == HG_ASK_TYPED;
        assert_int_equal(typed, refused ? KEYS - 1 : KEYS);
        assert_true(hg_many_end(world.many, true, HG_BYTES_NONE));
        while (hg_many_pop(world.many) != NULL)
            ;
        close_many(&world);
        assert_int_equal(hg_alloc_live_count(), live);
        if (!refused)
            break;
    }
}

static int create_and_encode(void *ctx)
{
    struct hg_list taken;
    struct hg_buf buf;
    struct world *world = ctx;
    init(world);
    hg_list_init(&taken);
    hg_buf_init(&buf, MAX);
    size_t count = hg_asks_take(&world->waiting, 9, MAX, &taken);
    struct hg_many *many = hg_many_create(&taken, count, PART_MAX);
    int err = many == NULL ? HG_ENOMEM : hg_many_encode(many, 0, &buf);
    hg_many_undo(many, &taken);
    assert_int_equal(hg_asks_take(&taken, 9, MAX, &world->waiting), KEYS);
    hg_buf_finish(&buf);
    return err;
}

static void test_a_message_that_cannot_be_made_leaves_its_asks(void **state)
{
    (void)state;
    static struct world world;
    assert_true(hg_test_sweep(create_and_encode, &world) >= 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_has_one_chain_travels_together),
        cmocka_unit_test(test_keys_bytes_and_loneliness_bound_what_travels_together),
        cmocka_unit_test(test_each_ask_carries_its_key_and_what_time_is_left),
        cmocka_unit_test(test_answers_land_one_by_one),
        cmocka_unit_test(test_the_answer_to_another_key_fails_that_key_alone),
        cmocka_unit_test(test_a_part_over_the_limit_costs_its_key_alone),
        cmocka_unit_test(test_a_cut_answer_fails_what_is_missing),
        cmocka_unit_test(test_garbage_ends_it_and_what_landed_stays),
        cmocka_unit_test(test_an_untyped_part_is_a_failure_of_its_key),
        cmocka_unit_test(test_who_lands_may_drop_another),
        cmocka_unit_test(test_every_allocation_may_fail),
        cmocka_unit_test(test_a_message_that_cannot_be_made_leaves_its_asks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
