#include "wire/http2_meter.h"

#include "base/testing.h"

static size_t frame(char *at, size_t len, unsigned type, unsigned flags)
{
    memset(at, 0, 9 + len);
    at[1] = (char)(len >> 8);
    at[2] = (char)len;
    at[3] = (char)type;
    at[4] = (char)flags;
    return 9 + len;
}

static void begin(struct hg_http2_meter *meter)
{
    hg_http2_meter_init(meter, 1000);
    assert_true(hg_http2_meter_feed(meter, hg_http2_preface(HG_HTTP2_PREFACE_BYTES), 1000));
}

/* How many such frames are let through at one moment. */
static unsigned let_through(unsigned type, unsigned flags, size_t len, unsigned max)
{
    struct hg_http2_meter meter;
    char bytes[64];
    size_t size = frame(bytes, len, type, flags);
    begin(&meter);
    for (unsigned i = 0; i < max; i++) {
        if (!hg_http2_meter_feed(&meter, hg_bytes(bytes, size), 1000))
            return i;
    }
    return max;
}

static void test_each_kind_of_frame_has_its_price(void **state)
{
    (void)state;
    assert_int_equal(let_through(0, 0, 0, 5000), 1000);  /* empty DATA */
    assert_int_equal(let_through(0, 1, 0, 5000), 5000);  /* that ends its stream */
    assert_int_equal(let_through(0, 0, 10, 5000), 5000); /* DATA */
    assert_int_equal(let_through(1, 4, 10, 5000), 5000); /* HEADERS */
    assert_int_equal(let_through(2, 0, 5, 5000), 1000);  /* PRIORITY */
    assert_int_equal(let_through(3, 0, 4, 5000), 200);   /* RST_STREAM */
    assert_int_equal(let_through(4, 0, 0, 5000), 1000);  /* SETTINGS */
    assert_int_equal(let_through(6, 0, 8, 5000), 1000);  /* PING */
    assert_int_equal(let_through(8, 0, 4, 5000), 1000);  /* WINDOW_UPDATE */
    assert_int_equal(let_through(0xfa, 0, 3, 5000), 1000);
}

static void test_tokens_come_back_with_time(void **state)
{
    (void)state;
    struct hg_http2_meter meter;
    char bytes[64];
    size_t size = frame(bytes, 8, 6, 0);
    begin(&meter);
    for (unsigned i = 0; i < 1000; i++)
        assert_true(hg_http2_meter_feed(&meter, hg_bytes(bytes, size), 1000));
    assert_false(hg_http2_meter_feed(&meter, hg_bytes(bytes, size), 1005));
    assert_true(hg_http2_meter_feed(&meter, hg_bytes(bytes, size), 1020));
    assert_false(hg_http2_meter_feed(&meter, hg_bytes(bytes, size), 1020));
    for (unsigned i = 0; i < 1000; i++)
        assert_true(hg_http2_meter_feed(&meter, hg_bytes(bytes, size), 1000000));
    assert_false(hg_http2_meter_feed(&meter, hg_bytes(bytes, size), 1000000));
    assert_false(
        hg_http2_meter_feed(&meter, hg_bytes(bytes, size), 5)); /* a clock never gives some back */
}

static void test_what_leaves_earns_tokens(void **state)
{
    (void)state;
    struct hg_http2_meter meter;
    char bytes[64];
    size_t size = frame(bytes, 4, 8, 0);
    begin(&meter);
    for (unsigned i = 0; i < 100000; i++) {
        if (i % 2 == 0)
            hg_http2_meter_earn(&meter);
        assert_true(hg_http2_meter_feed(&meter, hg_bytes(bytes, size), 1000));
    }
}

static void test_misuse_costs_two_resets(void **state)
{
    (void)state;
    struct hg_http2_meter meter;
    begin(&meter);
    for (unsigned i = 0; i < 100; i++)
        assert_true(hg_http2_meter_misuse(&meter, 1000));
    assert_false(hg_http2_meter_misuse(&meter, 1000));
}

/* Frames at random, cut at random: the same number gets through as when they come whole. */
static void test_cuts_do_not_matter(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct hg_test_random random = {seed};
        static char stream[256 * 1024];
        size_t len = 0, at = 0;
        struct hg_http2_meter whole, cut;
        while (len < 100000)
            len += frame(stream + len, hg_test_below(&random, 3) * hg_test_below(&random, 300),
                         (unsigned)hg_test_below(&random, 11), (unsigned)hg_test_below(&random, 2));
        begin(&whole);
        begin(&cut);
        bool is_let = hg_http2_meter_feed(&whole, hg_bytes(stream, len), 1000), is_cut_let = true;
        while (at < len && is_cut_let) {
            size_t step = 1 + hg_test_below(&random, 1 + seed % 40);
            if (step > len - at)
                step = len - at;
            is_cut_let = hg_http2_meter_feed(&cut, hg_bytes(stream + at, step), 1000);
            at += step;
        }
        if (is_let != is_cut_let || whole.resets.level != cut.resets.level ||
            whole.control.level != cut.control.level)
            fail_msg("seed %llu", (unsigned long long)seed);
    }
}

static void test_preface_is_known_at_each_cut(void **state)
{
    (void)state;
    struct hg_bytes all = hg_http2_preface(HG_HTTP2_PREFACE_BYTES);
    for (size_t seen = 0; seen < all.len; seen++) {
        for (size_t end = seen; end < all.len; end++)
            assert_int_equal(hg_http2_preface_check(seen, hg_bytes(all.data + seen, end - seen)),
                             0);
        assert_int_equal(hg_http2_preface_check(seen, hg_bytes(all.data + seen, all.len - seen)),
                         1);
        assert_int_equal(hg_http2_preface_check(seen, HG_BYTES("x")), -1);
    }
    assert_int_equal(hg_http2_preface_check(0, HG_BYTES("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore")),
                     1);
    assert_int_equal(hg_http2_preface_check(0, HG_BYTES("PRI * HTTP/1")), -1);
    assert_int_equal(hg_http2_preface_check(1, HG_BYTES("OST / HTTP/1.1\r\n")), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_kind_of_frame_has_its_price),
        cmocka_unit_test(test_tokens_come_back_with_time),
        cmocka_unit_test(test_what_leaves_earns_tokens),
        cmocka_unit_test(test_misuse_costs_two_resets),
        cmocka_unit_test(test_cuts_do_not_matter),
        cmocka_unit_test(test_preface_is_known_at_each_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
