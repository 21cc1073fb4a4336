#include "base/hash.h"

#include <xxhash.h>

#define SHORT_MAX 16 /* bytes; XXH3 has a way of its own for them */

static unsigned char secret[XXH3_SECRET_DEFAULT_SIZE];

void hg_hash_seed(uint64_t k0, uint64_t k1)
{
    const uint64_t seed[] = {k0, k1};
    XXH3_generateSecret(secret, sizeof(secret), seed, sizeof(seed));
}

/* Unseeded (tests): any constant. */
__attribute__((constructor)) static void seed_at_start(void)
{
    hg_hash_seed(0x0706050403020100u, 0x0f0e0d0c0b0a0908u);
}

static __attribute__((noinline)) uint64_t hash_long(struct hg_bytes bytes)
{
    return XXH3_64bits_withSecret(bytes.data, bytes.len, secret, sizeof(secret));
}

/* Short ones without a call: a look-up has hardly more instructions than this. */
__attribute__((flatten)) uint64_t hg_hash(struct hg_bytes bytes)
{
    if (bytes.len > SHORT_MAX)
        return hash_long(bytes);
    return XXH3_64bits_withSecret(bytes.data, bytes.len, secret, sizeof(secret));
}

uint64_t hg_xxh64(struct hg_bytes bytes)
{
    return XXH64(bytes.data, bytes.len, 0);
}
