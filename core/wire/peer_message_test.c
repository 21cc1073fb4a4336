#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/hash.h"
#include "wire/peer_message.h"

#define MAX ((size_t)16 << 20)

static uint64_t random_state;

static uint64_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static const struct hg_peer_request full_request = {
    .group = HG_BYTES("te\0st"),
    .key = HG_BYTES("Tom\0\xff/ +"),
    .origin = HG_BYTES("http://127.0.0.1:8001"),
    .deadline_ms = 12345,
    .ring = 0x8000000000000001u,
    .chain = {HG_BYTES("test\0a"), HG_BYTES("test\0b")},
    .chain_count = 2,
    .wire_version = HG_WIRE_VERSION,
    .is_peek = true,
    .takes_over = true,
};

static const struct hg_peer_response full_response = {
    .status = HG_STATUS_VALUE,
    .value = HG_BYTES("6\0"
                      "30"),
    .type = HG_BYTES("text/plain"),
    .etag = HG_BYTES("v1"),
    .meta = HG_BYTES("\0m"),
    .error_class = HG_BYTES("timeout"),
    .error_message = HG_BYTES("too slow"),
    .tags = {HG_BYTES("a"), HG_BYTES("b\0c")},
    .tag_count = 2,
    .has_ttl = true,
    .has_key_hash = true,
    .ttl_ms = HG_FOREVER,
    .age_ms = 7,
    .version = 0xfedcba9876543210u,
    .retry_after_ms = 1500,
    .key_hash = 42,
    .expire_unix_ns = -5,
    .minute_qps = 1.5,
    .number = 300,
};

static void assert_bytes(struct hg_bytes a, struct hg_bytes b)
{
    assert_int_equal(a.len, b.len);
    assert_true(hg_bytes_eq(a, b));
}

static void assert_same_request(const struct hg_peer_request *a, const struct hg_peer_request *b)
{
    assert_bytes(a->group, b->group);
    assert_bytes(a->key, b->key);
    assert_bytes(a->origin, b->origin);
    assert_true(a->deadline_ms == b->deadline_ms && a->ring == b->ring &&
                a->wire_version == b->wire_version);
    assert_true(a->is_peek == b->is_peek && a->takes_over == b->takes_over);
    assert_int_equal(a->chain_count, b->chain_count);
    for (size_t i = 0; i < a->chain_count; i++)
        assert_bytes(a->chain[i], b->chain[i]);
}

static void assert_same_response(const struct hg_peer_response *a, const struct hg_peer_response *b)
{
    assert_int_equal(a->status, b->status);
    assert_bytes(a->value, b->value);
    assert_bytes(a->type, b->type);
    assert_bytes(a->etag, b->etag);
    assert_bytes(a->meta, b->meta);
    assert_bytes(a->error_class, b->error_class);
    assert_bytes(a->error_message, b->error_message);
    assert_int_equal(a->tag_count, b->tag_count);
    for (size_t i = 0; i < a->tag_count; i++)
        assert_bytes(a->tags[i], b->tags[i]);
    assert_true(a->has_ttl == b->has_ttl && a->has_key_hash == b->has_key_hash);
    assert_true(a->ttl_ms == b->ttl_ms && a->age_ms == b->age_ms && a->version == b->version);
    assert_true(a->retry_after_ms == b->retry_after_ms && a->key_hash == b->key_hash);
    assert_true(a->expire_unix_ns == b->expire_unix_ns && a->minute_qps == b->minute_qps);
    assert_int_equal(a->number, b->number);
}

static void test_requests_come_back_as_they_were(void **state)
{
    static const struct hg_peer_request empty;
    const struct hg_peer_request *const rows[] = {&full_request, &empty};
    (void)state;
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        struct hg_peer_request back;
        struct hg_buf buf;
        void *owner = NULL;
        hg_buf_init(&buf, MAX);
        assert_int_equal(hg_peer_request_encode(rows[i], &buf), HG_OK);
        assert_int_equal(hg_peer_request_decode(hg_buf_bytes(&buf), &back, &owner), HG_OK);
        hg_buf_finish(&buf); /* the spans are the owner's */
        assert_same_request(rows[i], &back);
        hg_peer_message_free(owner);
    }
    hg_peer_message_free(NULL);
}

static void test_responses_come_back_as_they_were(void **state)
{
    static const struct hg_peer_response empty;
    static const struct hg_peer_response zeroes = {
        .status = HG_STATUS_NOT_FOUND, .has_ttl = true, .has_key_hash = true};
    const struct hg_peer_response *const rows[] = {&full_response, &empty, &zeroes};
    (void)state;
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        struct hg_peer_response back;
        struct hg_buf buf;
        void *owner = NULL;
        hg_buf_init(&buf, MAX);
        assert_int_equal(hg_buf_append_str(&buf, "before"), HG_OK);
        assert_int_equal(hg_peer_response_encode(rows[i], &buf), HG_OK);
        struct hg_bytes message = hg_bytes(buf.data + 6, buf.len - 6);
        assert_int_equal(hg_peer_response_decode(message, &back, &owner), HG_OK);
        assert_same_response(rows[i], &back);
        hg_peer_message_free(owner);
        hg_buf_finish(&buf);
    }
}

static void test_the_bytes_are_those_of_groupcache(void **state)
{
    (void)state;
    struct hg_buf buf;
    struct hg_peer_response back;
    void *owner;
    hg_buf_init(&buf, MAX);
    const struct hg_peer_request request = {.group = HG_BYTES("test"), .key = HG_BYTES("Tom")};
    assert_int_equal(hg_peer_request_encode(&request, &buf), HG_OK);
    assert_bytes(hg_buf_bytes(&buf), HG_BYTES("\x0a\x04test\x12\x03Tom"));
    hg_buf_clear(&buf);
    const struct hg_peer_response response = {.status = HG_STATUS_VALUE, .value = HG_BYTES("630")};
    assert_int_equal(hg_peer_response_encode(&response, &buf), HG_OK);
    assert_bytes(hg_buf_bytes(&buf), HG_BYTES("\x0a\x03"
                                              "630\x50\x01"));
    hg_buf_finish(&buf);

    assert_int_equal(hg_peer_response_decode(HG_BYTES("\x0a\x03"
                                                      "630\x11\0\0\0\0\0\0\xf8\x3f"),
                                             &back, &owner),
                     HG_OK);
    assert_int_equal(back.status, HG_STATUS_NONE);
    assert_bytes(back.value, HG_BYTES("630"));
    assert_true(back.minute_qps == 1.5);
    assert_false(back.has_ttl || back.has_key_hash);
    hg_peer_message_free(owner);
}

/* Rows for a Response: 0x0a value, 0x50 status, 0x58 ttl_ms, 0x69 version, 0x72 error_class. */
static void test_a5_malformed_messages_are_refused_whole(void **state)
{
    static const struct {
        const char *what;
        struct hg_bytes message;
        int err;
    } rows[] = {
        {"empty", HG_BYTES(""), HG_OK},
        {"plain",
         HG_BYTES("\x0a\x03"
                  "630"),
         HG_OK},
        {"truncated bytes",
         HG_BYTES("\x0a\x03"
                  "63"),
         HG_EPROTO},
        {"truncated length", HG_BYTES("\x0a"), HG_EPROTO},
        {"truncated length varint", HG_BYTES("\x0a\x83"), HG_EPROTO},
        {"truncated varint", HG_BYTES("\x50\x80"), HG_EPROTO},
        {"truncated tag",
         HG_BYTES("\x0a\x03"
                  "630\x80"),
         HG_EPROTO},
        {"truncated fixed64", HG_BYTES("\x69\x01\x02\x03"), HG_EPROTO},
        {"truncated fixed32 of an unknown field", HG_BYTES("\xcd\x3e\x01"), HG_EPROTO},
        {"varint of 10 bytes", HG_BYTES("\x58\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), HG_OK},
        {"varint over 64 bits", HG_BYTES("\x58\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"),
         HG_EPROTO},
        {"varint of 11 bytes", HG_BYTES("\x58\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"),
         HG_EPROTO},
        {"overlong tag",
         HG_BYTES("\x8a\x80\x80\x80\x80\x00\x01"
                  "a"),
         HG_EPROTO},
        {"overlong length",
         HG_BYTES("\x0a\x81\x80\x80\x80\x80\x00"
                  "a"),
         HG_EPROTO},
        {"varint where bytes belong", HG_BYTES("\x08\x01"), HG_EPROTO},
        {"bytes where a varint belongs",
         HG_BYTES("\x52\x01"
                  "a"),
         HG_EPROTO},
        {"fixed32 where fixed64 belongs", HG_BYTES("\x6d\x01\x02\x03\x04"), HG_EPROTO},
        {"bytes where a double belongs", HG_BYTES("\x12\x00"), HG_EPROTO},
        {"field 0", HG_BYTES("\x00\x01"), HG_EPROTO},
        {"field 0 as bytes", HG_BYTES("\x02\x00"), HG_EPROTO},
        {"group begins", HG_BYTES("\x0b\x0c"), HG_EPROTO},
        {"group of an unknown field", HG_BYTES("\xcb\x3e\xcc\x3e"), HG_EPROTO},
        {"group ends", HG_BYTES("\x0c"), HG_EPROTO},
        {"wire type 6", HG_BYTES("\x0e"), HG_EPROTO},
        {"wire type 7", HG_BYTES("\x0f"), HG_EPROTO},
        {"length past the end",
         HG_BYTES("\x0a\x7f"
                  "630"),
         HG_EPROTO},
        {"length 2^31",
         HG_BYTES("\x0a\x80\x80\x80\x80\x08"
                  "630"),
         HG_EPROTO},
        {"length 2^32-1",
         HG_BYTES("\x0a\xff\xff\xff\xff\x0f"
                  "630"),
         HG_EPROTO},
        {"length 2^64-1",
         HG_BYTES("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
                  "630"),
         HG_EPROTO},
        {"tag over 32 bits", HG_BYTES("\xff\xff\xff\xff\x7f\x01"), HG_EPROTO},
        {"unknown status", HG_BYTES("\x50\x05"), HG_EPROTO},
        {"duplicates",
         HG_BYTES("\x0a\x01"
                  "a\x50\x02\x0a\x03"
                  "630\x50\x01\x72\x01"
                  "a\x72\x01"
                  "b"),
         HG_OK},
        {"unknown fields",
         HG_BYTES("\x0a\x03"
                  "630\xc8\x3e\x01\xc9\x3e"
                  "12345678\xca\x3e\x02"
                  "ab\xcd\x3e"
                  "1234"),
         HG_OK},
        {"biggest field number", HG_BYTES("\xf8\xff\xff\xff\x0f\x01"), HG_OK},
    };
    (void)state;
    size_t live = hg_alloc_live_bytes();
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        struct hg_peer_response response = {.age_ms = 99};
        void *owner = NULL;
        int err = hg_peer_response_decode(rows[i].message, &response, &owner);
        if (err != rows[i].err)
            fail_msg("%s: %s", rows[i].what, hg_err_name(err));
        assert_true((owner != NULL) == (err == HG_OK));
        if (err != HG_OK)
            assert_int_equal(response.age_ms, 99);
        hg_peer_message_free(owner);
        assert_int_equal(hg_alloc_live_bytes(), live);
    }
}

static void test_a5_the_last_duplicate_wins(void **state)
{
    (void)state;
    struct hg_peer_response response;
    struct hg_peer_request request;
    void *owner;
    assert_int_equal(hg_peer_response_decode(HG_BYTES("\x0a\x01"
                                                      "a\x58\x01\x50\x02\x0a\x03"
                                                      "630\x50\x01\x58\x00\x72\x01"
                                                      "a\x72\x01"
                                                      "b"),
                                             &response, &owner),
                     HG_OK);
    assert_bytes(response.value, HG_BYTES("630"));
    assert_bytes(response.error_class, HG_BYTES("b"));
    assert_int_equal(response.status, HG_STATUS_VALUE);
    assert_true(response.has_ttl && response.ttl_ms == 0);
    hg_peer_message_free(owner);
    assert_int_equal(hg_peer_request_decode(HG_BYTES("\x12\x01"
                                                     "a\x0a\x01g\x12\x02\0\xff"),
                                            &request, &owner),
                     HG_OK);
    assert_bytes(request.key, HG_BYTES("\0\xff"));
    hg_peer_message_free(owner);
}

static void test_counts_have_a_maximum(void **state)
{
    (void)state;
    struct hg_buf buf;
    struct hg_peer_request request;
    struct hg_peer_response response;
    void *owner;
    hg_buf_init(&buf, MAX);
    for (size_t i = 0; i <= HG_CHAIN_MAX; i++) {
        int err = hg_peer_request_decode(hg_buf_bytes(&buf), &request, &owner);
        assert_int_equal(err, HG_OK);
        hg_peer_message_free(owner);
        assert_int_equal(hg_buf_append(&buf,
                                       "\x6a\x01"
                                       "a",
                                       3),
                         HG_OK);
    }
    assert_int_equal(hg_peer_request_decode(hg_buf_bytes(&buf), &request, &owner), HG_ELIMIT);
    hg_buf_clear(&buf);
    for (size_t i = 0; i < HG_TAGS_MAX; i++)
        assert_int_equal(hg_buf_append(&buf,
                                       "\xaa\x01\x01"
                                       "a",
                                       4),
                         HG_OK);
    assert_int_equal(hg_peer_response_decode(hg_buf_bytes(&buf), &response, &owner), HG_OK);
    assert_int_equal(response.tag_count, HG_TAGS_MAX);
    hg_peer_message_free(owner);
    assert_int_equal(hg_buf_append(&buf,
                                   "\xaa\x01\x01"
                                   "a",
                                   4),
                     HG_OK);
    assert_int_equal(hg_peer_response_decode(hg_buf_bytes(&buf), &response, &owner), HG_ELIMIT);
    hg_buf_clear(&buf);
    /* A flood of unknown fields is refused before anything is allocated for it. */
    for (size_t i = 0; i < 100000; i++)
        assert_int_equal(hg_buf_append(&buf, "\xc8\x3e\x01", 3), HG_OK);
    hg_alloc_fail_at(0, true);
    assert_int_equal(hg_peer_response_decode(hg_buf_bytes(&buf), &response, &owner), HG_EPROTO);
    assert_false(hg_alloc_fail_clear());
    hg_buf_finish(&buf);

    hg_buf_init(&buf, MAX);
    request = full_request;
    request.chain_count = HG_CHAIN_MAX + 1;
    assert_int_equal(hg_peer_request_encode(&request, &buf), HG_ELIMIT);
    response = full_response;
    response.tag_count = HG_TAGS_MAX + 1;
    assert_int_equal(hg_peer_response_encode(&response, &buf), HG_ELIMIT);
    hg_buf_finish(&buf);
    hg_buf_init(&buf, 10);
    assert_int_equal(hg_peer_response_encode(&full_response, &buf), HG_ETOOBIG);
    assert_int_equal(buf.len, 0);
    hg_buf_finish(&buf);
}

static void test_messages_of_errors_are_valid_text(void **state)
{
    (void)state;
    struct hg_buf buf;
    struct hg_peer_response response = {.status = HG_STATUS_ERROR,
                                        .error_message = HG_BYTES("a\0b\xff\xc3\xa4")},
                            back;
    void *owner;
    hg_buf_init(&buf, MAX);
    assert_int_equal(hg_peer_response_encode(&response, &buf), HG_OK);
    assert_int_equal(hg_peer_response_decode(hg_buf_bytes(&buf), &back, &owner), HG_OK);
    assert_bytes(back.error_message, HG_BYTES("a\xef\xbf\xbd"
                                              "b\xef\xbf\xbd\xc3\xa4"));
    assert_int_equal(back.error_class.len, 0);
    hg_peer_message_free(owner);
    hg_buf_finish(&buf);
}

static void test_values_travel_in_responses(void **state)
{
    const struct hg_bytes tags[] = {HG_BYTES("t1"), HG_BYTES("t2")};
    const struct hg_value_spec specs[] = {
        {.status = HG_STATUS_VALUE,
         .data = HG_BYTES("6\0"
                          "30"),
         .type = HG_BYTES("text/plain"),
         .etag = HG_BYTES("e"),
         .meta = HG_BYTES("m"),
         .tags = tags,
         .tag_count = 2},
        {.status = HG_STATUS_VALUE},
        {.status = HG_STATUS_NOT_FOUND},
        {.status = HG_STATUS_ERROR,
         .klass = HG_CLASS_TIMEOUT,
         .data = HG_BYTES("too slow"),
         .retry_after_ms = 1500},
        {.status = HG_STATUS_NO_GROUP},
    };
    (void)state;
    for (size_t i = 0; i < HG_COUNT(specs); i++) {
        struct hg_value_spec spec = specs[i];
        struct hg_peer_response response, back;
        struct hg_buf buf;
        void *owner;
        spec.key = HG_BYTES("To\0m");
        struct hg_value *value = hg_value_create(&spec);
        assert_non_null(value);
        hg_peer_response_from_value(value, 5000, true, 7, &response);
        assert_int_equal(response.status, spec.status);
        assert_true(response.has_key_hash && response.key_hash == hg_xxh64(spec.key));
        hg_buf_init(&buf, MAX);
        assert_int_equal(hg_peer_response_encode(&response, &buf), HG_OK);
        assert_int_equal(hg_peer_response_decode(hg_buf_bytes(&buf), &back, &owner), HG_OK);
        assert_int_equal(back.age_ms, 7);
        struct hg_value *copy = hg_peer_response_to_value(&back, spec.key);
        hg_peer_message_free(owner);
        hg_buf_finish(&buf);
        assert_non_null(copy);
        assert_int_equal(hg_value_status(copy), spec.status);
        assert_int_equal(hg_value_class(copy), spec.klass);
        assert_bytes(hg_value_key(copy), spec.key);
        assert_bytes(hg_value_data(copy), spec.data);
        assert_bytes(hg_value_type(copy), spec.type);
        assert_bytes(hg_value_etag(copy), spec.etag);
        assert_bytes(hg_value_meta(copy), spec.meta);
        assert_int_equal(hg_value_more(copy).tag_count, spec.tag_count);
        for (size_t k = 0; k < spec.tag_count; k++)
            assert_bytes(hg_value_tag(copy, k), tags[k]);
        assert_true(hg_value_version(copy) == hg_value_version(value) &&
                    hg_value_more(copy).has_ttl && hg_value_more(copy).ttl_ms == 5000);
        assert_int_equal(hg_value_more(copy).retry_after_ms, spec.retry_after_ms);
        hg_value_unref(copy);
        hg_value_unref(value);
    }
    const struct hg_peer_response from_go = {.value = HG_BYTES("630")};
    struct hg_value *value = hg_peer_response_to_value(&from_go, HG_BYTES("Tom"));
    assert_non_null(value);
    assert_int_equal(hg_value_status(value), HG_STATUS_VALUE);
    assert_false(hg_value_more(value).has_ttl);
    hg_value_unref(value);
}

static void test_every_cut_is_an_error_or_a_message_of_whole_fields(void **state)
{
    (void)state;
    struct hg_buf buf;
    size_t whole = 0;
    hg_buf_init(&buf, MAX);
    assert_int_equal(hg_peer_response_encode(&full_response, &buf), HG_OK);
    for (size_t len = 0; len <= buf.len; len++) {
        struct hg_peer_response response;
        struct hg_buf copy; /* a block of its own size, so that reading past it is caught */
        void *owner = NULL;
        hg_buf_init(&copy, len + 1);
        assert_int_equal(hg_buf_append(&copy, buf.data, len), HG_OK);
        int err = hg_peer_response_decode(hg_buf_bytes(&copy), &response, &owner);
        assert_true(err == HG_OK || err == HG_EPROTO);
        whole += err == HG_OK;
        hg_peer_message_free(owner);
        hg_buf_finish(&copy);
    }
    assert_int_equal(whole, 18); /* fields 1 to 22 with two tags, and nothing at all */
    hg_buf_finish(&buf);
}

static void test_mutated_messages_are_whole_or_errors(void **state)
{
    (void)state;
    struct hg_buf request, response;
    unsigned accepted = 0, refused = 0;
    hg_buf_init(&request, MAX);
    hg_buf_init(&response, MAX);
    assert_int_equal(hg_peer_request_encode(&full_request, &request), HG_OK);
    assert_int_equal(hg_peer_response_encode(&full_response, &response), HG_OK);
    size_t live = hg_alloc_live_count();
    for (uint64_t seed = 1; seed <= 20000; seed++) {
        const struct hg_buf *from = seed % 2 == 0 ? &request : &response;
        size_t len = from->len;
        random_state = seed * 0x9e3779b97f4a7c15u | 1;
        char *data = malloc(len + 16);
        assert_non_null(data);
        memcpy(data, from->data, len);
        for (uint64_t changes = 1 + random_next() % 3; changes > 0; changes--) {
            size_t at = random_next() % len;
            switch (random_next() % 4) {
            case 0:
                data[at] = (char)random_next();
                break;
            case 1:
                data[at] ^= (char)(1u << random_next() % 8);
                break;
            case 2:
                len = at + 1;
                break;
            default:
                memmove(data + at, data + at + 1, len - at - 1);
                len -= len > 1;
            }
        }
        char *exact = malloc(len);
        assert_non_null(exact);
        memcpy(exact, data, len);
        free(data);
        struct hg_peer_request a, b;
        struct hg_peer_response c, d;
        struct hg_buf again;
        void *owner = NULL, *other = NULL;
        hg_buf_init(&again, MAX);
        int err = seed % 2 == 0 ? hg_peer_request_decode(hg_bytes(exact, len), &a, &owner)
                                : hg_peer_response_decode(hg_bytes(exact, len), &c, &owner);
        if (err != HG_OK && err != HG_EPROTO && err != HG_ELIMIT)
            fail_msg("seed %llu: %s", (unsigned long long)seed, hg_err_name(err));
        if (err == HG_OK && seed % 2 == 0) { /* what was accepted says the same when sent on */
            assert_int_equal(hg_peer_request_encode(&a, &again), HG_OK);
            assert_int_equal(hg_peer_request_decode(hg_buf_bytes(&again), &b, &other), HG_OK);
            assert_same_request(&a, &b);
        } else if (err == HG_OK) {
            assert_int_equal(hg_peer_response_encode(&c, &again), HG_OK);
            assert_int_equal(hg_peer_response_decode(hg_buf_bytes(&again), &d, &other), HG_OK);
            assert_bytes(c.value, d.value);
            assert_int_equal(c.tag_count, d.tag_count);
        }
        accepted += err == HG_OK;
        refused += err != HG_OK;
        free(exact);
        hg_peer_message_free(owner);
        hg_peer_message_free(other);
        hg_buf_finish(&again);
        assert_int_equal(hg_alloc_live_count(), live);
    }
    assert_true(accepted > 2000);
    assert_true(refused > 2000);
    hg_buf_finish(&request);
    hg_buf_finish(&response);
}

static void test_every_allocation_failure_is_enomem(void **state)
{
    (void)state;
    size_t live = hg_alloc_live_bytes();
    for (int is_response = 0; is_response < 2; is_response++) {
        int err = HG_ENOMEM;
        for (size_t nth = 0; err != HG_OK; nth++) {
            struct hg_buf buf;
            struct hg_peer_request request;
            struct hg_peer_response response;
            void *owner = NULL;
            assert_true(nth < 100);
            hg_buf_init(&buf, MAX);
            hg_alloc_fail_at(nth, false);
            err = is_response ? hg_peer_response_encode(&full_response, &buf)
                              : hg_peer_request_encode(&full_request, &buf);
            if (err == HG_OK)
                err = is_response ? hg_peer_response_decode(hg_buf_bytes(&buf), &response, &owner)
                                  : hg_peer_request_decode(hg_buf_bytes(&buf), &request, &owner);
            bool was_refused = hg_alloc_fail_clear();
            assert_int_equal(err, was_refused ? HG_ENOMEM : HG_OK);
            hg_peer_message_free(owner);
            hg_buf_finish(&buf);
            assert_int_equal(hg_alloc_live_bytes(), live);
        }
    }
    hg_alloc_fail_at(0, true);
    assert_null(hg_peer_response_to_value(&full_response, HG_BYTES("k")));
    assert_true(hg_alloc_fail_clear());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_come_back_as_they_were),
        cmocka_unit_test(test_responses_come_back_as_they_were),
        cmocka_unit_test(test_the_bytes_are_those_of_groupcache),
        cmocka_unit_test(test_a5_malformed_messages_are_refused_whole),
        cmocka_unit_test(test_a5_the_last_duplicate_wins),
        cmocka_unit_test(test_counts_have_a_maximum),
        cmocka_unit_test(test_messages_of_errors_are_valid_text),
        cmocka_unit_test(test_values_travel_in_responses),
        cmocka_unit_test(test_every_cut_is_an_error_or_a_message_of_whole_fields),
        cmocka_unit_test(test_mutated_messages_are_whole_or_errors),
        cmocka_unit_test(test_every_allocation_failure_is_enomem),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
