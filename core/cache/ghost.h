/*
 * ghost - keys that are gone but not forgotten: a bounded first-in, first-out list of hashes with look-up.
 *
 * Ownership  one block of memory that grows with what there is to remember: none before the first.
 * Threads    none of its own.
 * Errors     none: without memory it remembers fewer, and a resize that fails changes nothing.
 * Hashes     64 bits stand for the key; two keys of one hash are taken for each other, at worst a wrong guess.
 */
#ifndef HG_CACHE_GHOST_H
#define HG_CACHE_GHOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What it takes for each, a link and two slots with their tags; half as much again, since it grows by half. */
#define HG_GHOST_BYTES ((16 + 2 * 4 + 3) * 3 / 2)

struct hg_ghost {
    struct hg_ghost_link *links; /* the block */
    uint64_t *tags;
    uint32_t *slots; /* of a bucket: where its links are */
    uint32_t bucket_count;
    uint32_t capacity; /* 0: nothing was ever remembered */
    uint32_t count, free, oldest, newest;
};

void hg_ghost_finish(struct hg_ghost *ghost); /* zeroed memory is fine, and is how it begins */

/* Shrinks when an eighth of its capacity would do for `wanted`. Forgets the oldest. */
void hg_ghost_trim(struct hg_ghost *ghost, size_t wanted);
/* A step ahead of the others: the lines that the hash belongs in. */
void hg_ghost_fetch(const struct hg_ghost *ghost, uint64_t hash);
bool hg_ghost_has(const struct hg_ghost *ghost, uint64_t hash);
/* True if it was there. */
bool hg_ghost_remove(struct hg_ghost *ghost, uint64_t hash);
/* Remembers it, which it does not yet, as the newest and forgets the oldest beyond `limit` (and beyond what memory there is for). */
void hg_ghost_push(struct hg_ghost *ghost, uint64_t hash, size_t limit);
/* False: it is empty. */
bool hg_ghost_forget_oldest(struct hg_ghost *ghost);
bool hg_ghost_validate(const struct hg_ghost *ghost);

#endif
