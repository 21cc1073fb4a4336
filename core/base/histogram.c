#include "base/histogram.h"

const uint64_t hg_histogram_bounds_ms[HG_HISTOGRAM_BUCKETS - 1] = HG_HISTOGRAM_BOUNDS_MS;

void hg_histogram_note(struct hg_histogram *histogram, uint64_t took_ms)
{
    unsigned bucket = 0;

    while (bucket < HG_HISTOGRAM_BUCKETS - 1 && took_ms > hg_histogram_bounds_ms[bucket])
        bucket++;
    histogram->buckets[bucket]++;
    histogram->sum_ms += took_ms;
}

void hg_histogram_add(struct hg_histogram *to, const struct hg_histogram *from)
{
    for (unsigned i = 0; i < HG_HISTOGRAM_BUCKETS; i++)
        to->buckets[i] += from->buckets[i];
    to->sum_ms += from->sum_ms;
}
