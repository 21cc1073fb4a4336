/*
 * hash - the keyed hash of tables: XXH3 with a secret of its own, made of a 128-bit seed.
 *
 * Seeded once a process, so that a client cannot aim keys at one bucket: as in wyhash, what is multiplied is the input
 * with the secret added, which nobody outside knows. Rings must not use it:
 * every node has to build the same ring (cache/ring.h uses XXH64 and CRC-32).
 */
#ifndef HG_BASE_HASH_H
#define HG_BASE_HASH_H

#include <stdint.h>
#include "base/bytes.h"

/* Call once at start, before any table exists, with random bits handed in from above. Tests may leave it alone. */
void hg_hash_seed(uint64_t k0, uint64_t k1);
uint64_t hg_hash(struct hg_bytes bytes);

/* XXH64, seed 0: rings, ETags, key_hash on the wire. Not for tables. */
uint64_t hg_xxh64(struct hg_bytes bytes);

#endif
