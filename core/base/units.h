/*
 * units - sizes and durations as people write them (INTERFACES: "64MiB", "250ms").
 *
 * Sizes: a decimal number with B, kB, KB, MB, GB, TB (10^3n) or KiB, MiB, GiB, TiB (2^10n); none means bytes.
 * Durations: a decimal number with ms, s, m, h, d; none means seconds; fractions are allowed ("1.5s").
 * Negative, empty, NaN, infinite, overflowing or followed by anything else: HG_EINVAL.
 */
#ifndef HG_BASE_UNITS_H
#define HG_BASE_UNITS_H

#include <stdint.h>
#include "base/bytes.h"

/* A moment or a span without end. No real moment reaches it, and 0 never means it. */
#define HG_FOREVER UINT64_MAX

int hg_size_parse(struct hg_bytes text, uint64_t *out_bytes);
int hg_duration_parse(struct hg_bytes text, uint64_t *out_ms); /* rounded up to whole ms, never to 0 unless 0 */
int hg_duration_from_seconds(double seconds, uint64_t *out_ms);

/* a + b, HG_FOREVER where either is that or the sum would reach it. */
static inline uint64_t hg_time_add(uint64_t a, uint64_t b)
{
    return a >= HG_FOREVER - b ? HG_FOREVER : a + b;
}

#endif
