/*
 * ring - immutable consistent-hash ring: which member owns a key.
 *
 * default     XXH64, seed 0, of "<i>" NUL "<name>", i = 0..2047; key XXH64; 64-bit points
 * hgcache     CRC-32 (IEEE) of decimal i + name, i = 0..99; key CRC-32: places keys as HgCache's Go code does
 * groupcache  the same with 50 points
 * custom      either hash with 1 to 10,000 points
 *
 * Points are sorted by (hash, name); the owner is the first point >= hash, wrapping. For the CRC-32 kinds the
 * greatest name wins a tie, as in Go with an ascending list; for xxh64 the smallest.
 * Not seeded: every node must build the same ring, whatever the order of its list.
 * Source: Karger et al. 1997; golang/groupcache consistenthash.
 *
 * Threads    immutable once created; share freely.
 * Errors     HG_ENOMEM; HG_EINVAL: no member, an empty or a double name; HG_ELIMIT over HG_RING_MEMBERS_MAX.
 */
#ifndef HG_CACHE_RING_H
#define HG_CACHE_RING_H

#include <stdint.h>
#include "base/bytes.h"

#define HG_RING_MEMBERS_MAX 1000
#define HG_RING_POINTS_MAX  10000

enum hg_ring_hash { HG_RING_XXH64, HG_RING_CRC32 };

struct hg_ring_preset {
    const char *name; /* "default", ...; "custom" */
    enum hg_ring_hash hash;
    unsigned points;
};

/* NULL when there is none of that name. */
const struct hg_ring_preset *hg_ring_preset_find(struct hg_bytes name);

struct hg_ring;

/* Copies the names. Members are numbered as given: member i is names[i]. */
int hg_ring_create(const struct hg_ring_preset *preset, const struct hg_bytes *names, size_t count,
                   struct hg_ring **out_ring);
void hg_ring_destroy(struct hg_ring *ring);

/* Index of the member that owns the key. */
size_t hg_ring_owner(const struct hg_ring *ring, struct hg_bytes key);
/* The next different member on the ring after the owner's point; the owner itself if there is only one. */
size_t hg_ring_second(const struct hg_ring *ring, struct hg_bytes key);
size_t hg_ring_member_count(const struct hg_ring *ring);
struct hg_bytes hg_ring_member(const struct hg_ring *ring, size_t index);
/* Index, or -1. */
long hg_ring_find(const struct hg_ring *ring, struct hg_bytes name);
const struct hg_ring_preset *hg_ring_preset_of(const struct hg_ring *ring);
/* XXH64 of the sorted names and the preset: equal on nodes that place keys alike. */
uint64_t hg_ring_fingerprint(const struct hg_ring *ring);
/* Share of the hash space a member owns, 0..1. */
double hg_ring_share(const struct hg_ring *ring, size_t index);
/* The hash of a key on this ring. */
uint64_t hg_ring_hash(const struct hg_ring *ring, struct hg_bytes key);
/*
 * What share of the hash space has another owner on `after`, 0..1; both have one hash. out_lost: for each member of `before`
 * what it gives away; out_gained: for each member of `after` what it gets. A member is the same where its name is.
 */
double hg_ring_moved(const struct hg_ring *before, const struct hg_ring *after, double *out_lost, double *out_gained);

#endif
