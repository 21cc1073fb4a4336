/*
 * tags - eight tags of a byte each in one word, looked through at once. What has a hash in one of eight places is found by
 * its tag without touching the others (as in Swiss tables, and F14).
 */
#ifndef HG_CACHE_TAGS_H
#define HG_CACHE_TAGS_H

#include <stdint.h>

#define HG_TAG_BITS 8

/* Of a hash: 1 to 255, so that 0 can stand for a free place. The upper bits: they choose neither shard nor bucket. */
static inline uint64_t hg_tag(uint64_t hash)
{
    uint64_t tag = hash >> 56;
    return tag + (tag == 0);
}

/* The top bit of each byte that is the tag. */
static inline uint64_t hg_tags_match(uint64_t tags, uint64_t tag)
{
    const uint64_t low_bits = UINT64_C(0x7f7f7f7f7f7f7f7f);
    uint64_t differ = tags ^ tag * UINT64_C(0x0101010101010101);
    return ~(((differ & low_bits) + low_bits) | differ | low_bits);
}

/* The place of the first match; there is one. */
static inline unsigned hg_tags_first(uint64_t found)
{
    return (unsigned)__builtin_ctzll(found) / HG_TAG_BITS;
}

#endif
