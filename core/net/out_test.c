#include "net/test_support.h"

#include "net/out.h"

#define STEPS 20000

static struct hg_value *make_value(size_t len, unsigned seed)
{
    char *data = malloc(len + 1);
    for (size_t i = 0; i < len; i++)
        data[i] = (char)('a' + (i * 7 + seed) % 26);
    struct hg_value_spec spec = {
        .status = HG_STATUS_VALUE, .key = HG_BYTES("k"), .data = hg_bytes(data, len)};
    struct hg_value *value = hg_value_create(&spec);
    free(data);
    assert_non_null(value);
    return value;
}

/* What has been queued and not consumed, as one run of bytes. */
struct model {
    struct hg_buf bytes;
};

static void assert_same(const struct hg_out *out, const struct model *model)
{
    uv_buf_t bufs[7];
    size_t bytes, at = 0;
    unsigned count = hg_out_pieces(out, bufs, HG_COUNT(bufs), &bytes);
    assert_int_equal(out->bytes, model->bytes.len);
    assert_true(bytes <= model->bytes.len);
    assert_true(bytes > 0 || model->bytes.len == 0);
    for (unsigned i = 0; i < count; i++) {
        assert_true(bufs[i].len > 0);
        assert_memory_equal(bufs[i].base, model->bytes.data + at, bufs[i].len);
        at += bufs[i].len;
    }
    assert_int_equal(at, bytes);
}

static void test_random_steps_agree_with_one_run_of_bytes(void **state)
{
    (void)state;
    size_t live = hg_alloc_live_bytes();
    struct hg_out out = {0};
    struct hg_out_pool pool = {0};
    struct model model;
    hg_buf_init(&model.bytes, (size_t)1 << 28);
    srand(20260131);
    for (int step = 0; step < STEPS; step++) {
        int what = rand() % 10;
        if (what < 4) {
            char text[600];
            size_t len = (size_t)rand() % sizeof(text);
            memset(text, 'A' + step % 26, len);
            assert_int_equal(hg_out_append(&out, &pool, text, len), HG_OK);
            assert_int_equal(hg_buf_append(&model.bytes, text, len), HG_OK);
        } else if (what < 6) {
            struct hg_value *value = make_value((size_t)rand() % 3000, (unsigned)step);
            assert_int_equal(hg_buf_append_bytes(&model.bytes, hg_value_data(value)), HG_OK);
            assert_int_equal(hg_out_append_value(&out, &pool, value), HG_OK);
        } else if (what == 6 && step % 50 == 0) {
            size_t len = 40000; /* more than a pooled block holds */
            char *at = hg_out_reserve(&out, &pool, len);
            assert_non_null(at);
            memset(at, '#', len);
            hg_out_commit(&out, len);
            assert_int_equal(hg_buf_reserve(&model.bytes, len), HG_OK);
            memset(model.bytes.data + model.bytes.len, '#', len);
            model.bytes.len += len;
        } else if (out.bytes > 0) {
            size_t count = (size_t)rand() % (out.bytes + 1);
            if (what < 9 && count > 2000)
                count = 2000;
            hg_out_consume(&out, &pool, count);
            hg_buf_consume(&model.bytes, count);
        }
        assert_same(&out, &model);
    }
    hg_out_clear(&out, &pool);
    assert_int_equal(out.pinned, 0);
    hg_out_pool_finish(&pool);
    hg_buf_finish(&model.bytes);
    assert_int_equal(hg_alloc_live_bytes(), live);
}

static void test_value_is_released_with_its_last_byte(void **state)
{
    (void)state;
    struct hg_out out = {0};
    struct hg_out_pool pool = {0};
    struct hg_value *value = hg_value_ref(make_value(100, 1));
    assert_int_equal(hg_out_append(&out, &pool, "head", 4), HG_OK);
    assert_int_equal(hg_out_append_value(&out, &pool, value), HG_OK);
    assert_int_equal(out.pinned, 100);
    hg_out_consume(&out, &pool, 103);
    assert_int_equal(hg_value_refs(value), 2);
    assert_int_equal(out.pinned, 100);
    hg_out_consume(&out, &pool, 1);
    assert_int_equal(hg_value_refs(value), 1);
    assert_int_equal(out.pinned, 0);
    assert_null(out.head);
    hg_value_unref(value);
    hg_out_pool_finish(&pool);
}

static void test_no_memory_leaves_it_as_it_was(void **state)
{
    (void)state;
    struct hg_out out = {0};
    struct hg_out_pool pool = {0};
    struct hg_value *value = make_value(10, 1);
    hg_alloc_fail_at(0, true);
    assert_int_equal(hg_out_append(&out, &pool, "x", 1), HG_ENOMEM);
    assert_int_equal(hg_out_append_value(&out, &pool, value), HG_ENOMEM);
    assert_true(hg_alloc_fail_clear());
    assert_int_equal(out.bytes, 0);
    assert_null(out.head);
    assert_int_equal(hg_value_refs(value), 1);
    hg_value_unref(value);
    hg_out_clear(&out, &pool);
    hg_out_pool_finish(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_steps_agree_with_one_run_of_bytes),
        cmocka_unit_test(test_value_is_released_with_its_last_byte),
        cmocka_unit_test(test_no_memory_leaves_it_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
