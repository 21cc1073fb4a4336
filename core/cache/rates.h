/*
 * rates - which keys are asked for most, and how often a minute: a bounded table of counters.
 *
 * Space-Saving (Metwally, Agrawal, El Abbadi: Efficient Computation of Frequent and Top-k Elements in Data Streams,
 * ICDT 2005): a key that is not in the table takes the place of the one with the least count and inherits it as its
 * possible excess. A rate is told without that excess, so it is never much too high. Of the gets one in HG_RATES_SAMPLE is
 * counted, for all of them; all counts are halved each HG_RATES_HALF_MS, so what was asked for long ago weighs little.
 *
 * Cost       a get: one multiplication; a sampled one: a look at HG_RATES_KEYS hashes. Never allocates.
 * Threads    none of its own: the caller holds the shard's lock.
 * Time       now_ms comes from the caller; one that goes back a little is taken for no time.
 * Keys       known by their hash only (keyed, 64 bits). A hash of 0 is never counted.
 */
#ifndef HG_CACHE_RATES_H
#define HG_CACHE_RATES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HG_RATES_KEYS    16
#define HG_RATES_SAMPLE  16 /* a power of two */
#define HG_RATES_HALF_MS 10000
#define HG_RATES_TELL_MS 60000 /* a key is told of no more often */

struct hg_rate {
    uint64_t hash; /* 0: free */
    uint64_t count, excess;
    uint64_t told_ms; /* when somebody was last told; 0: never */
};

/* Zeroed memory is empty. */
struct hg_rates {
    uint64_t lots;
    uint64_t halved_ms;
    struct hg_rate keys[HG_RATES_KEYS];
};

/* Whether this get is one of those that are noted. Knuth's 64-bit congruential generator, top bits. */
static inline bool hg_rates_draw(struct hg_rates *rates)
{
    rates->lots = rates->lots * 6364136223846793005u + 1442695040888963407u;
    return (rates->lots >> 32 & (HG_RATES_SAMPLE - 1)) == 0;
}

/* One sampled get. Returns the key's rate a minute. */
uint64_t hg_rates_note(struct hg_rates *rates, uint64_t hash, uint64_t now_ms);
/* Requests a minute; 0 for a key that is not among the most asked for. */
uint64_t hg_rates_minute(const struct hg_rates *rates, uint64_t hash, uint64_t now_ms);
/* The same by place, 0 <= index < HG_RATES_KEYS; *out_hash may be 0. */
uint64_t hg_rates_at(const struct hg_rates *rates, size_t index, uint64_t now_ms,
                     uint64_t *out_hash);
/* Keys with at least that rate. */
size_t hg_rates_count(const struct hg_rates *rates, uint64_t minute, uint64_t now_ms);
/* True once in HG_RATES_TELL_MS for each key in the table: somebody is to be told of it now. */
bool hg_rates_tell(struct hg_rates *rates, uint64_t hash, uint64_t now_ms);

#endif
