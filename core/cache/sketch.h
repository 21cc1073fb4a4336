/*
 * sketch - how often keys were asked for lately: a count-min sketch of four rows of 4-bit counters.
 *
 * An estimate is never too low, up to 15. All counters are halved after ten times as many additions as there are
 * entries, so that what was popular once does not stay so (Einziger, Friedman, Manes: TinyLFU, 2017).
 *
 * Memory     8 bytes for each of a power of two of entries.
 * Errors     none: without memory it stays as small as it is and estimates get coarser.
 */
#ifndef HG_CACHE_SKETCH_H
#define HG_CACHE_SKETCH_H

#include <stddef.h>
#include <stdint.h>

#define HG_SKETCH_BYTES (2 * sizeof(uint64_t)) /* for each entry; twice, since it doubles */
#define HG_SKETCH_MAX   15

struct hg_sketch {
    uint64_t *words; /* 16 counters each: four of each row */
    size_t word_count;
    size_t additions;
};

void hg_sketch_finish(struct hg_sketch *sketch); /* zeroed memory is fine, and is how it begins */
/* Makes it large enough for that many entries (grows only); what it knows stays known. */
void hg_sketch_fit(struct hg_sketch *sketch, size_t entry_count);
/* One more of it; halves all after 10 x entry_count additions. */
void hg_sketch_add(struct hg_sketch *sketch, uint64_t hash, size_t entry_count);
unsigned hg_sketch_estimate(const struct hg_sketch *sketch, uint64_t hash);

#endif
