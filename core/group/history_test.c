#include "group/history.h"
#include "base/testing.h"

static struct hg_value *result_of(enum hg_status status, struct hg_bytes data)
{
    struct hg_value_spec spec = {
        .status = status, .klass = HG_CLASS_TIMEOUT, .key = HG_BYTES("k"), .data = data};
    struct hg_value *value = hg_value_create(&spec);
    assert_non_null(value);
    return value;
}

static void test_an_error_stays_known_after_a_good_load(void **state)
{
    struct hg_history history = {0};
    static char text[200] = "slow";
    struct hg_value *error = result_of(HG_STATUS_ERROR, hg_bytes(text, sizeof(text)));
    struct hg_value *value = result_of(HG_STATUS_VALUE, HG_BYTES("v"));

    (void)state;
    assert_int_equal(hg_history_init(&history, SIZE_MAX), HG_OK);
    assert_null(hg_history_load(&history, 7));
    hg_history_loaded(&history, 7, 0, error, 50, 1000);
    hg_history_loaded(&history, 7, 1, value, UINT64_MAX, 2000);
    const struct hg_past_load *load = hg_history_load(&history, 7);
    assert_non_null(load);
    assert_int_equal(load->ended_ms, 2000);
    assert_int_equal(load->took_ms, UINT32_MAX);
    assert_int_equal(load->kind, 1);
    assert_int_equal(load->status, HG_STATUS_VALUE);
    assert_true(load->has_failed);
    assert_int_equal(load->failed_ms, 1000);
    assert_int_equal(load->klass, HG_CLASS_TIMEOUT);
    assert_int_equal(load->message_len, HG_HISTORY_MESSAGE);
    assert_memory_equal(load->message, text, HG_HISTORY_MESSAGE);
    assert_null(hg_history_load(&history, 8));
    assert_null(hg_history_eviction(&history, 7));
    hg_history_finish(&history);
    hg_history_finish(&history);
    hg_value_unref(error);
    hg_value_unref(value);
}

static void test_the_oldest_of_a_set_gives_way(void **state)
{
    struct hg_history history = {0};

    (void)state;
    assert_int_equal(hg_history_init(&history, 0), HG_OK);
    assert_int_equal(history.load_count, 4);
    assert_int_equal(history.eviction_count, 16);
    for (uint64_t i = 1; i <= 4; i++) /* one set: the low bits are equal */
        hg_history_evicted(&history, i << 32, HG_EVICT_CAPACITY, 100 + i);
    hg_history_evicted(&history, 1ull << 32, HG_EVICT_REMOVED, 200);
    hg_history_evicted(&history, 9ull << 32, HG_EVICT_EXPIRED, 201);
    assert_int_equal(hg_history_eviction(&history, 1ull << 32)->reason, HG_EVICT_REMOVED);
    assert_int_equal(hg_history_eviction(&history, 1ull << 32)->past.touched_ms, 200);
    assert_null(hg_history_eviction(&history, 2ull << 32));
    assert_int_equal(hg_history_eviction(&history, 9ull << 32)->reason, HG_EVICT_EXPIRED);
    hg_history_finish(&history);
}

/* What it tells of a key is the last that happened to it, or nothing; and the very last key is always known. */
static void test_random_steps_agree_with_a_model(void **state)
{
    enum { KEYS = 300 };
    struct hg_value *value = result_of(HG_STATUS_VALUE, HG_BYTES("v"));

    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct hg_test_random random = {seed};
        struct hg_history history = {0};
        uint64_t left[KEYS] = {0}, loaded[KEYS] = {0};
        assert_int_equal(hg_history_init(&history, hg_test_below(&random, 40000)), HG_OK);
        for (uint64_t now_ms = 1; now_ms < 5000; now_ms++) {
            uint64_t key = hg_test_below(&random, KEYS), hash = (key + 1) * 0x9e3779b97f4a7c15u;
            if (hg_test_below(&random, 2) == 0) {
                left[key] = now_ms;
                hg_history_evicted(&history, hash, HG_EVICT_CAPACITY, now_ms);
                assert_non_null(hg_history_eviction(&history, hash));
            } else {
                loaded[key] = now_ms;
                hg_history_loaded(&history, hash, 0, value, 1, now_ms);
                assert_non_null(hg_history_load(&history, hash));
            }
            key = hg_test_below(&random, KEYS);
            hash = (key + 1) * 0x9e3779b97f4a7c15u;
            const struct hg_past_eviction *eviction = hg_history_eviction(&history, hash);
            const struct hg_past_load *load = hg_history_load(&history, hash);
            if ((eviction != NULL && eviction->past.touched_ms != left[key]) ||
                (load != NULL && load->ended_ms != loaded[key]))
                fail_msg("seed %d: key %d at %d", (int)seed, (int)key, (int)now_ms);
        }
        hg_history_finish(&history);
    }
    hg_value_unref(value);
}

static int attempt(void *ctx)
{
    struct hg_history history = {0};
    (void)ctx;
    int err = hg_history_init(&history, 1000);
    hg_history_finish(&history);
    return err;
}

static void test_without_memory_there_is_none(void **state)
{
    (void)state;
    assert_int_equal(hg_test_sweep(attempt, NULL), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_error_stays_known_after_a_good_load),
        cmocka_unit_test(test_the_oldest_of_a_set_gives_way),
        cmocka_unit_test(test_random_steps_agree_with_a_model),
        cmocka_unit_test(test_without_memory_there_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
