#include "base/buf.h"
#include "base/testing.h"

#include <inttypes.h>
#include <stdio.h>

static void assert_buf(const struct hg_buf *buf, struct hg_bytes expected)
{
    assert_int_equal(buf->len, expected.len);
    assert_true(hg_bytes_eq(hg_buf_bytes(buf), expected));
    assert_true(buf->len <= buf->capacity);
    assert_true(buf->capacity <= buf->max_bytes);
}

static void test_appends_of_all_kinds_follow_each_other(void **state)
{
    struct hg_buf buf;
    (void)state;
    hg_buf_init(&buf, 1000);
    assert_null(buf.data);
    assert_int_equal(hg_buf_append(&buf, NULL, 0), HG_OK);
    assert_null(buf.data);
    assert_int_equal(hg_buf_append(&buf, "a\0", 2), HG_OK);
    assert_int_equal(hg_buf_append_bytes(&buf, HG_BYTES("bc")), HG_OK);
    assert_int_equal(hg_buf_append_str(&buf, "de"), HG_OK);
    assert_int_equal(hg_buf_append_char(&buf, 'f'), HG_OK);
    assert_int_equal(hg_buf_append_u64(&buf, 0), HG_OK);
    assert_int_equal(hg_buf_append_char(&buf, ' '), HG_OK);
    assert_int_equal(hg_buf_append_u64(&buf, UINT64_MAX), HG_OK);
    assert_int_equal(hg_buf_printf(&buf, "[%s:%d]", "x", -5), HG_OK);
    assert_buf(&buf, HG_BYTES("a\0bcdef0 18446744073709551615[x:-5]"));
    hg_buf_finish(&buf);
}

static void test_clear_keeps_the_block_and_finish_takes_zeroed_memory(void **state)
{
    struct hg_buf buf;
    (void)state;
    hg_buf_init(&buf, 1000);
    hg_buf_append_str(&buf, "abc");
    char *block = buf.data;
    hg_buf_clear(&buf);
    assert_ptr_equal(buf.data, block);
    assert_int_equal(buf.len, 0);
    hg_buf_finish(&buf);
    hg_buf_finish(&buf);
    hg_buf_finish(NULL);
    memset(&buf, 0, sizeof(buf));
    hg_buf_finish(&buf);
    assert_int_equal(hg_buf_append_char(&buf, 'x'), HG_ETOOBIG);
}

static void test_maximum_is_reached_exactly_and_never_passed(void **state)
{
    static const size_t maxima[] = {1, 2, 255, 256, 257, 300, 511, 512, 513, 1000};
    (void)state;
    for (size_t i = 0; i < HG_COUNT(maxima); i++) {
        struct hg_buf buf;
        hg_buf_init(&buf, maxima[i]);
        for (size_t n = 0; n < maxima[i]; n++)
            assert_int_equal(hg_buf_append_char(&buf, 'x'), HG_OK);
        assert_int_equal(buf.capacity, maxima[i]);
        assert_int_equal(hg_buf_append_char(&buf, 'y'), HG_ETOOBIG);
        assert_int_equal(hg_buf_printf(&buf, "y"), HG_ETOOBIG);
        assert_int_equal(hg_buf_reserve(&buf, SIZE_MAX), HG_ETOOBIG);
        assert_int_equal(buf.len, maxima[i]);
        for (size_t n = 0; n < buf.len; n++)
            assert_int_equal(buf.data[n], 'x');
        hg_buf_finish(&buf);
    }
}

static void test_printf_of_each_length_is_whole(void **state)
{
    (void)state;
    for (int width = 0; width < 400; width++) {
        struct hg_buf buf;
        char expected[512];
        hg_buf_init(&buf, 512);
        assert_int_equal(hg_buf_printf(&buf, "<%*d", width, 7), HG_OK);
        snprintf(expected, sizeof(expected), "<%*d", width, 7);
        assert_buf(&buf, hg_bytes_str(expected));
        hg_buf_finish(&buf);
    }
}

static void test_printf_fits_to_the_last_byte(void **state)
{
    struct hg_buf buf;
    (void)state;
    hg_buf_init(&buf, 200);
    assert_int_equal(hg_buf_printf(&buf, "%201d", 1), HG_ETOOBIG);
    assert_int_equal(buf.len, 0);
    assert_int_equal(hg_buf_printf(&buf, "%200d", 1), HG_OK);
    assert_int_equal(buf.len, 200);
    hg_buf_finish(&buf);
}

static void test_take_hands_the_block_over(void **state)
{
    struct hg_buf buf;
    size_t len;
    (void)state;
    hg_buf_init(&buf, 100);
    assert_null(hg_buf_take(&buf, &len));
    assert_int_equal(len, 0);
    hg_buf_append_str(&buf, "abc");
    char *data = hg_buf_take(&buf, &len);
    assert_int_equal(len, 3);
    assert_memory_equal(data, "abc", 3);
    hg_free(data);
    assert_int_equal(hg_buf_append_char(&buf, 'd'), HG_OK); /* it goes on with a new block */
    assert_buf(&buf, HG_BYTES("d"));
    hg_buf_finish(&buf);
}

/* Against a plain array. */
static void run_random_steps(uint64_t seed)
{
    static char model[4096];
    struct hg_test_random random = {seed};
    size_t model_len = 0, max = 1 + hg_test_below(&random, sizeof(model));
    struct hg_buf buf;
    hg_buf_init(&buf, max);
    for (int step = 0; step < 3000; step++) {
        char chunk[300];
        size_t len = hg_test_below(&random, sizeof(chunk));
        for (size_t i = 0; i < len; i++)
            chunk[i] = (char)hg_test_u64(&random);
        switch (hg_test_below(&random, 5)) {
        case 0:
            if (len > model_len)
                len = model_len;
            hg_buf_consume(&buf, len);
            memmove(model, model + len, model_len - len);
            model_len -= len;
            break;
        case 1:
            if (hg_test_below(&random, 20) == 0) {
                hg_buf_clear(&buf);
                model_len = 0;
            }
            break;
        case 2:
            assert_int_equal(hg_buf_reserve(&buf, len),
                             model_len + len <= max ? HG_OK : HG_ETOOBIG);
            break;
        default:
            if (model_len + len <= max) {
                assert_int_equal(hg_buf_append(&buf, chunk, len), HG_OK);
                memcpy(model + model_len, chunk, len);
                model_len += len;
            } else {
                assert_int_equal(hg_buf_append(&buf, chunk, len), HG_ETOOBIG);
            }
        }
        assert_buf(&buf, hg_bytes(model, model_len));
    }
    hg_buf_finish(&buf);
}

static void test_random_steps_agree_with_an_array(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++)
        run_random_steps(seed);
}

static int fill(void *ctx)
{
    struct hg_buf buf;
    (void)ctx;
    hg_buf_init(&buf, 100000);
    int err = HG_OK;
    size_t len = 0;
    for (int i = 0; i < 40 && err == HG_OK; i++) {
        len = buf.len;
        err = i % 2 == 0 ? hg_buf_printf(&buf, "%*d", i * 20, i)
                         : hg_buf_append_str(&buf, "abcdefgh");
    }
    if (err < 0)
        assert_int_equal(buf.len, len); /* as it was */
    hg_buf_finish(&buf);
    return err;
}

static void test_contents_survive_each_failed_allocation(void **state)
{
    (void)state;
    assert_true(hg_test_sweep(fill, NULL) > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_appends_of_all_kinds_follow_each_other),
        cmocka_unit_test(test_clear_keeps_the_block_and_finish_takes_zeroed_memory),
        cmocka_unit_test(test_maximum_is_reached_exactly_and_never_passed),
        cmocka_unit_test(test_printf_of_each_length_is_whole),
        cmocka_unit_test(test_printf_fits_to_the_last_byte),
        cmocka_unit_test(test_take_hands_the_block_over),
        cmocka_unit_test(test_random_steps_agree_with_an_array),
        cmocka_unit_test(test_contents_survive_each_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
