/*
 * test_store - a store with a log of what it told, and short names for what tests do with it.
 */
#ifndef HG_CACHE_TEST_STORE_H
#define HG_CACHE_TEST_STORE_H

#include <stdio.h>

#include "base/hash.h"
#include "base/testing.h"
#include "cache/store.h"

#define LOG_MAX 1000

/* What the store told, in order. */
struct log {
    struct {
        char key[16];
        enum hg_evict_reason reason;
    } lines[LOG_MAX];
    size_t count;
};

struct fixture {
    struct hg_budget budget;
    struct hg_store store;
    struct log log;
};

static inline void on_evict(void *ctx, struct hg_value *value, enum hg_evict_reason reason)
{
    struct log *log = ctx;
    struct hg_bytes key = hg_value_key(value);
    assert_false(value->stored);
    assert_true(log->count < LOG_MAX && key.len < sizeof(log->lines[0].key));
    memcpy(log->lines[log->count].key, key.data, key.len);
    log->lines[log->count].key[key.len] = '\0';
    log->lines[log->count++].reason = reason;
}

static inline void fixture_init(struct fixture *f, size_t capacity, size_t hot, size_t negative)
{
    f->log.count = 0;
    hg_budget_init(&f->budget, capacity, hot, negative);
    assert_int_equal(hg_store_init(&f->store, &f->budget, on_evict, &f->log), HG_OK);
}

static inline void fixture_finish(struct fixture *f)
{
    size_t told = f->log.count;
    hg_store_finish(&f->store);
    assert_int_equal(f->log.count, told); /* finish tells nobody */
    assert_int_equal(atomic_load(&f->budget.used), 0);
    for (size_t tier = 0; tier < HG_TIER_COUNT; tier++)
        assert_int_equal(hg_budget_used(&f->budget, (enum hg_tier)tier), 0);
}

static inline void assert_log(struct log *log, size_t index, const char *key,
                              enum hg_evict_reason reason)
{
    assert_true(index < log->count);
    assert_string_equal(log->lines[index].key, key);
    assert_int_equal(log->lines[index].reason, reason);
}

static inline struct hg_value *make(const char *key, size_t data_len)
{
    static char data[100000];
    assert_true(data_len <= sizeof(data));
    struct hg_value_spec spec = {
        .status = HG_STATUS_VALUE, .key = hg_bytes_str(key), .data = hg_bytes(data, data_len)};
    struct hg_value *value = hg_value_create(&spec);
    assert_non_null(value);
    return value;
}

static inline int put_until(struct fixture *f, const char *key, size_t data_len, enum hg_tier tier,
                            uint64_t expires_ms)
{
    struct hg_value *value = make(key, data_len);
    int err = hg_store_put(&f->store, value, tier, 0, expires_ms);
    assert_int_equal(value->stored, err == HG_OK);
    hg_value_unref(value);
    assert_true(hg_store_validate(&f->store));
    return err;
}

static inline int put(struct fixture *f, const char *key, size_t data_len, enum hg_tier tier)
{
    return put_until(f, key, data_len, tier, HG_FOREVER);
}

static inline struct hg_value *get(struct fixture *f, const char *key)
{
    return hg_store_get(&f->store, hg_hash(hg_bytes_str(key)), hg_bytes_str(key));
}

static inline struct hg_value *peek(struct fixture *f, const char *key)
{
    return hg_store_peek(&f->store, hg_hash(hg_bytes_str(key)), hg_bytes_str(key));
}

static inline bool erase(struct fixture *f, const char *key)
{
    struct hg_bytes bytes = hg_bytes_str(key);
    return hg_store_remove(&f->store, hg_hash(bytes), bytes, HG_EVICT_REMOVED);
}

/* What one entry "a" of data_len bytes costs. */
static inline size_t cost(size_t data_len)
{
    struct hg_value *value = make("a", data_len);
    size_t bytes = hg_store_cost(value);
    assert_true(bytes > hg_alloc_size(hg_value_size(value)));
    hg_value_unref(value);
    return bytes;
}

#endif
