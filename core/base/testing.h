/*
 * testing - what the tests of the pure floors share: cmocka, seeded random numbers, the allocation
 * sweep.
 *
 * Included by x_test.c files only.
 */
#ifndef HG_BASE_TESTING_H
#define HG_BASE_TESTING_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/err.h"

/* splitmix64 (Steele, Lea, Flood 2014): every seed is a good one. */
struct hg_test_random {
    uint64_t state;
};

static inline uint64_t hg_test_u64(struct hg_test_random *random)
{
    uint64_t z = random->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* 0..limit-1 */
static inline size_t hg_test_below(struct hg_test_random *random, size_t limit)
{
    return (size_t)(hg_test_u64(random) % limit);
}

/*
 * Runs `attempt` with its first, second, ... allocation refused until it needs no more. Each time
 * it must return HG_ENOMEM and leave no memory behind; at last HG_OK. Returns how many allocations
 * it makes.
 */
static inline size_t hg_test_sweep(int (*attempt)(void *ctx), void *ctx)
{
    for (size_t nth = 0;; nth++) {
        size_t live_bytes = hg_alloc_live_bytes(), live_count = hg_alloc_live_count();
        hg_alloc_fail_at(nth, false);
        int err = attempt(ctx);
        bool refused = hg_alloc_fail_clear();
        assert_int_equal(hg_alloc_live_bytes(), live_bytes);
        assert_int_equal(hg_alloc_live_count(), live_count);
        assert_int_equal(err, refused ? HG_ENOMEM : HG_OK);
        if (!refused)
            return nth;
    }
}

#endif
