/*
 * histogram - how long something took, in fixed buckets that Prometheus can add up.
 *
 * Threads    none of its own: the lock of whoever has it.  Units  milliseconds.
 */
#ifndef HG_BASE_HISTOGRAM_H
#define HG_BASE_HISTOGRAM_H

#include <stdint.h>

/* Upper bounds, inclusive; the last bucket has none. */
#define HG_HISTOGRAM_BOUNDS_MS {1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000}
#define HG_HISTOGRAM_BUCKETS   14

extern const uint64_t hg_histogram_bounds_ms[HG_HISTOGRAM_BUCKETS - 1];

struct hg_histogram {
    uint64_t buckets[HG_HISTOGRAM_BUCKETS]; /* each on its own, not cumulative */
    uint64_t sum_ms;
};

void hg_histogram_note(struct hg_histogram *histogram, uint64_t took_ms);
void hg_histogram_add(struct hg_histogram *to, const struct hg_histogram *from);

#endif
