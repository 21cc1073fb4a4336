#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "base/alloc.h"
#include "base/err.h"
#include "wire/peer_changes.h"
#include "wire/peer_message.h"

#define MAX ((size_t)1 << 20)

static const struct hg_peer_change full = {
    .origin = 0x8000000000000001u,
    .sequence = 12345678901u,
    .op = HG_CHANGE_SET,
    .group = HG_BYTES("te\0st"),
    .name = HG_BYTES("Tom\0\xff"),
    .value = HG_BYTES("\0value"),
    .is_copies = true,
};

static void assert_bytes(struct hg_bytes a, struct hg_bytes b)
{
    assert_true(hg_bytes_eq(a, b));
}

static void test_change_comes_back(void **state)
{
    (void)state;
    struct hg_buf buf;
    struct hg_peer_change change;
    void *owner = NULL;
    hg_buf_init(&buf, MAX);
    assert_int_equal(hg_peer_change_encode(&full, &buf), HG_OK);
    assert_int_equal(hg_peer_change_decode(hg_buf_bytes(&buf), &change, &owner), HG_OK);
    assert_true(change.origin == full.origin && change.sequence == full.sequence);
    assert_int_equal(change.op, full.op);
    assert_bytes(change.group, full.group);
    assert_bytes(change.name, full.name);
    assert_bytes(change.value, full.value);
    assert_true(change.is_copies);
    hg_peer_message_free(owner);
    hg_buf_finish(&buf);
}

static void test_unsound_changes_are_malformed(void **state)
{
    (void)state;
    struct hg_peer_change bad[] = {full, full, full, full, full};
    bad[0].op = 0;
    bad[1].op = (enum hg_change_op)7;
    bad[2].group = HG_BYTES_NONE;
    bad[3].name = HG_BYTES_NONE;
    bad[4].op = HG_CHANGE_REMOVE_TAG;
    bad[4].name = HG_BYTES_NONE;
    for (size_t i = 0; i < HG_COUNT(bad); i++) {
        struct hg_buf buf;
        struct hg_peer_change change;
        void *owner = NULL;
        hg_buf_init(&buf, MAX);
        assert_int_equal(hg_peer_change_encode(&bad[i], &buf), HG_OK);
        assert_int_equal(hg_peer_change_decode(hg_buf_bytes(&buf), &change, &owner), HG_EPROTO);
        assert_null(owner);
        hg_buf_finish(&buf);
    }
}

static void fill(struct hg_peer_changes *changes, struct hg_buf *each, size_t count)
{
    *changes = (struct hg_peer_changes){
        .boot = 7, .number = 9, .is_cut = true, .is_behind = true, .is_part = true, .count = count};
    assert_int_equal(hg_peer_change_encode(&full, each), HG_OK);
    for (size_t i = 0; i < count; i++)
        changes->changes[i] = hg_buf_bytes(each);
}

static void test_changes_come_back_at_every_count_up_to_the_limit(void **state)
{
    (void)state;
    static const size_t counts[] = {0, 1, 2, HG_PEER_CHANGES_MAX};
    struct hg_peer_changes *in = malloc(sizeof(*in)), *out = malloc(sizeof(*out));
    for (size_t c = 0; c < HG_COUNT(counts); c++) {
        struct hg_buf each, buf;
        void *owner = NULL;
        hg_buf_init(&each, MAX);
        hg_buf_init(&buf, MAX);
        fill(in, &each, counts[c]);
        assert_int_equal(hg_peer_changes_encode(in, &buf), HG_OK);
        assert_int_equal(hg_peer_changes_decode(hg_buf_bytes(&buf), out, &owner), HG_OK);
        assert_true(out->boot == 7 && out->number == 9);
        assert_true(out->is_cut && out->is_behind && out->is_part);
        assert_int_equal(out->count, counts[c]);
        for (size_t i = 0; i < out->count; i++)
            assert_bytes(out->changes[i], hg_buf_bytes(&each));
        hg_peer_message_free(owner);
        hg_buf_finish(&each);
        hg_buf_finish(&buf);
    }
    free(in);
    free(out);
}

static void test_one_change_too_many_is_refused(void **state)
{
    (void)state;
    struct hg_peer_changes *changes = malloc(sizeof(*changes));
    struct hg_buf each, buf;
    void *owner = NULL;
    hg_buf_init(&each, MAX);
    hg_buf_init(&buf, MAX);
    fill(changes, &each, HG_PEER_CHANGES_MAX);
    assert_int_equal(hg_peer_changes_encode(changes, &buf), HG_OK);
    changes->count++;
    struct hg_buf refused;
    hg_buf_init(&refused, MAX);
    assert_int_equal(hg_peer_changes_encode(changes, &refused), HG_ELIMIT);
    /* One more field 6, empty, behind what may be there. */
    assert_int_equal(hg_buf_append_bytes(&buf, HG_BYTES("\x32\x00")), HG_OK);
    assert_int_equal(hg_peer_changes_decode(hg_buf_bytes(&buf), changes, &owner), HG_ELIMIT);
    hg_buf_finish(&refused);
    hg_buf_finish(&each);
    hg_buf_finish(&buf);
    free(changes);
}

static void test_cut_messages_are_survived(void **state)
{
    (void)state;
    struct hg_peer_changes *changes = malloc(sizeof(*changes));
    struct hg_buf each, buf;
    hg_buf_init(&each, MAX);
    hg_buf_init(&buf, MAX);
    fill(changes, &each, 2);
    assert_int_equal(hg_peer_changes_encode(changes, &buf), HG_OK);
    for (size_t len = 0; len < buf.len; len++) {
        void *owner = NULL;
        /* A copy of its own, so that the sanitizer sees a read beyond it. */
        char *copy = malloc(len == 0 ? 1 : len);
        memcpy(copy, buf.data, len);
        if (hg_peer_changes_decode(hg_bytes(copy, len), changes, &owner) == HG_OK)
            hg_peer_message_free(owner);
        struct hg_peer_change change;
        size_t short_len = len < each.len ? len : each.len;
        memcpy(copy, each.data, short_len);
        owner = NULL;
        if (hg_peer_change_decode(hg_bytes(copy, short_len), &change, &owner) == HG_OK)
            hg_peer_message_free(owner);
        free(copy);
    }
    hg_buf_finish(&each);
    hg_buf_finish(&buf);
    free(changes);
}

static void test_every_allocation_may_fail(void **state)
{
    (void)state;
    size_t live_bytes = hg_alloc_live_bytes();
    for (size_t nth = 0;; nth++) {
        struct hg_peer_change change;
        struct hg_buf buf;
        void *owner = NULL;
        hg_buf_init(&buf, MAX);
        hg_alloc_fail_at(nth, false);
        int err = hg_peer_change_encode(&full, &buf);
        if (err == HG_OK)
            err = hg_peer_change_decode(hg_buf_bytes(&buf), &change, &owner);
        bool was_refused = hg_alloc_fail_clear();
        hg_peer_message_free(owner);
        hg_buf_finish(&buf);
        assert_int_equal(hg_alloc_live_bytes(), live_bytes);
        if (!was_refused) {
            assert_int_equal(err, HG_OK);
            return;
        }
        assert_int_equal(err, HG_ENOMEM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_change_comes_back),
        cmocka_unit_test(test_unsound_changes_are_malformed),
        cmocka_unit_test(test_changes_come_back_at_every_count_up_to_the_limit),
        cmocka_unit_test(test_one_change_too_many_is_refused),
        cmocka_unit_test(test_cut_messages_are_survived),
        cmocka_unit_test(test_every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
