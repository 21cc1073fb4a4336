#include "base/hash.h"

#include <endian.h>
#include <xxhash.h>

/* Unseeded (tests): any constant. */
static uint64_t key0 = 0x0706050403020100u, key1 = 0x0f0e0d0c0b0a0908u;

void hg_hash_seed(uint64_t k0, uint64_t k1)
{
    key0 = k0;
    key1 = k1;
}

static inline uint64_t rotate(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

struct sip {
    uint64_t v0, v1, v2, v3;
};

static inline void sip_round(struct sip *s)
{
    s->v0 += s->v1;
    s->v1 = rotate(s->v1, 13) ^ s->v0;
    s->v0 = rotate(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = rotate(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = rotate(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = rotate(s->v1, 17) ^ s->v2;
    s->v2 = rotate(s->v2, 32);
}

uint64_t hg_hash(struct hg_bytes bytes)
{
    struct sip s = {
        .v0 = key0 ^ 0x736f6d6570736575u,
        .v1 = key1 ^ 0x646f72616e646f6du,
        .v2 = key0 ^ 0x6c7967656e657261u,
        .v3 = key1 ^ 0x7465646279746573u,
    };
    size_t whole = bytes.len & ~(size_t)7;

    for (size_t i = 0; i < whole; i += 8) {
        uint64_t word;
        memcpy(&word, bytes.data + i, 8);
        word = le64toh(word);
        s.v3 ^= word;
        sip_round(&s);
        s.v0 ^= word;
    }

    uint64_t last = (uint64_t)bytes.len << 56;
    for (size_t i = whole; i < bytes.len; i++)
        last |= (uint64_t)(unsigned char)bytes.data[i] << 8 * (i - whole);
    s.v3 ^= last;
    sip_round(&s);
    s.v0 ^= last;

    s.v2 ^= 0xff;
    sip_round(&s);
    sip_round(&s);
    sip_round(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

uint64_t hg_xxh64(struct hg_bytes bytes)
{
    return XXH64(bytes.data, bytes.len, 0);
}
