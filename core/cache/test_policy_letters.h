/*
 * test_policy_letters - a store of a few entries of cost 1 under one policy, asked for keys of one letter: enough to
 * show what a policy is by hand. Models, bytes and memory are policy_test.c's.
 */
#ifndef HG_CACHE_TEST_POLICY_LETTERS_H
#define HG_CACHE_TEST_POLICY_LETTERS_H

#include "base/hash.h"
#include "base/testing.h"
#include "cache/store.h"

struct letters {
    struct hg_budget budget;
    struct hg_store store;
};

static inline size_t letters_cost(const struct hg_value *value, size_t share_bytes)
{
    (void)value;
    (void)share_bytes;
    return 1;
}

static inline void letters_open(struct letters *letters, const char *policy, size_t capacity, uint64_t seed)
{
    hg_budget_init(&letters->budget, capacity, 0, 0);
    letters->budget.cost = letters_cost;
    assert_int_equal(hg_store_init_policy(&letters->store, &letters->budget, hg_policy_find(hg_bytes_str(policy)), seed,
                                          NULL, NULL),
                     HG_OK);
}

static inline bool letters_has(struct letters *letters, char letter)
{
    struct hg_bytes key = hg_bytes(&letter, 1);
    return hg_store_peek(&letters->store, hg_hash(key), key) != NULL;
}

/* Looks each key up and puts what is missing; returns the misses. */
static inline size_t letters_ask(struct letters *letters, const char *keys)
{
    size_t misses = 0;
    for (const char *at = keys; *at != '\0'; at++) {
        struct hg_bytes key = hg_bytes(at, 1);
        if (hg_store_get(&letters->store, hg_hash(key), key) != NULL)
            continue;
        struct hg_value_spec spec = {.status = HG_STATUS_VALUE, .key = key};
        struct hg_value *value = hg_value_create(&spec);
        assert_non_null(value);
        assert_int_equal(hg_store_put(&letters->store, value, HG_TIER_MAIN, 0, HG_FOREVER), HG_OK);
        hg_value_unref(value);
        misses++;
    }
    assert_true(hg_store_validate(&letters->store));
    return misses;
}

/* Whether exactly these keys of a to z are there. */
static inline void letters_expect(struct letters *letters, const char *keys)
{
    char found[27];
    size_t count = 0;
    for (char letter = 'a'; letter <= 'z'; letter++) {
        if (letters_has(letters, letter))
            found[count++] = letter;
    }
    found[count] = '\0';
    assert_string_equal(found, keys);
}

static inline void letters_close(struct letters *letters)
{
    hg_store_finish(&letters->store);
}

#endif
