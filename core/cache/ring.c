#include "cache/ring.h"

#include <assert.h>
#include <endian.h>
#include <stdio.h>
#include <xxhash.h>
#include <zlib.h>

#include "base/alloc.h"
#include "base/bug.h"
#include "base/err.h"
#include "base/hash.h"

static_assert(HG_RING_MEMBERS_MAX <= UINT16_MAX, "members are numbered in 16 bits");

static const struct hg_ring_preset presets[] = {
    {"default", HG_RING_XXH64, 2048},
    {"hgcache", HG_RING_CRC32, 100},
    {"groupcache", HG_RING_CRC32, 50},
};

/*
 * Points lie in two arrays, so that the binary search walks through hashes only. Equal hashes are
 * in the order in which they win: the first point >= a hash is always the owner's, and the first of
 * another member behind it is the one that would own the key without that owner.
 */
struct hg_ring {
    struct hg_ring_preset preset;
    size_t member_count, point_count;
    struct hg_bytes *names; /* as given; the bytes are in text */
    uint16_t *sorted;       /* members by name */
    double *shares;
    uint64_t *hashes; /* of the points */
    uint16_t *owners; /* of the points */
    char *text;
    uint64_t fingerprint;
};

const struct hg_ring_preset *hg_ring_preset_find(struct hg_bytes name)
{
    for (size_t i = 0; i < HG_COUNT(presets); i++) {
        if (hg_bytes_eq(name, hg_bytes_str(presets[i].name)))
            return &presets[i];
    }
    return NULL;
}

/* The name of the preset may lie in memory of the caller's. */
static struct hg_ring_preset preset_copy(const struct hg_ring_preset *preset)
{
    const struct hg_ring_preset *known = hg_ring_preset_find(hg_bytes_str(preset->name));
    bool is_known = known != NULL && known->hash == preset->hash && known->points == preset->points;
    struct hg_ring_preset copy = *preset;
    copy.name = is_known ? known->name : "custom";
    return copy;
}

static int names_copy(struct hg_ring *ring, const struct hg_bytes *names)
{
    size_t text_len = 0;
    for (size_t i = 0; i < ring->member_count; i++) {
        if (names[i].len == 0)
            return HG_EINVAL;
        if (!hg_size_add(text_len, names[i].len, &text_len))
            return HG_ENOMEM;
    }
    ring->text = hg_malloc(text_len);
    ring->names = hg_calloc(ring->member_count, sizeof(*ring->names));
    ring->sorted = hg_calloc(ring->member_count, sizeof(*ring->sorted));
    ring->shares = hg_calloc(ring->member_count, sizeof(*ring->shares));
    if (ring->text == NULL || ring->names == NULL || ring->sorted == NULL || ring->shares == NULL)
        return HG_ENOMEM;

    char *at = ring->text;
    for (size_t i = 0; i < ring->member_count; i++) {
        memcpy(at, names[i].data, names[i].len);
        ring->names[i] = hg_bytes(at, names[i].len);
        at += names[i].len;
    }
    return HG_OK;
}

/* By insertion: a thousand at most, and nearly always sorted already. */
static int names_sort(struct hg_ring *ring)
{
    for (size_t i = 0; i < ring->member_count; i++) {
        size_t at = i;
        for (; at > 0; at--) {
            int order = hg_bytes_cmp(ring->names[ring->sorted[at - 1]], ring->names[i]);
            if (order == 0)
                return HG_EINVAL;
            if (order < 0)
                break;
            ring->sorted[at] = ring->sorted[at - 1];
        }
        ring->sorted[at] = (uint16_t)i;
    }
    return HG_OK;
}

static uint64_t point_hash(enum hg_ring_hash hash, unsigned index, struct hg_bytes name)
{
    char digits[16];
    size_t len = (size_t)snprintf(digits, sizeof(digits), "%u", index);
    if (hash == HG_RING_CRC32) {
        uLong crc = crc32_z(0, (const Bytef *)digits, len);
        return crc32_z(crc, (const Bytef *)name.data, name.len);
    }
    XXH64_state_t state;
    XXH64_reset(&state, 0);
    XXH64_update(&state, digits, len + 1); /* with its NUL: "1" "23" and "12" "3" differ */
    XXH64_update(&state, name.data, name.len);
    return XXH64_digest(&state);
}

/* Stable, byte by byte from the lowest; the two halves of each array take turns as source and
 * target. */
static void points_sort(uint64_t *hashes, uint16_t *owners, uint64_t *hashes_to,
                        uint16_t *owners_to, size_t count)
{
    for (unsigned shift = 0; shift < 64; shift += 8) {
        size_t starts[256] = {0}, sum = 0;
        for (size_t i = 0; i < count; i++)
            starts[hashes[i] >> shift & 255]++;
        for (size_t digit = 0; digit < 256; digit++) {
            size_t of_digit = starts[digit];
            starts[digit] = sum;
            sum += of_digit;
        }
        for (size_t i = 0; i < count; i++) {
            size_t to = starts[hashes[i] >> shift & 255]++;
            hashes_to[to] = hashes[i];
            owners_to[to] = owners[i];
        }
        uint64_t *hashes_swap = hashes;
        uint16_t *owners_swap = owners;
        hashes = hashes_to;
        owners = owners_to;
        hashes_to = hashes_swap;
        owners_to = owners_swap;
    }
}

static int points_build(struct hg_ring *ring)
{
    size_t count = ring->member_count * ring->preset.points;
    ring->point_count = count;
    ring->hashes = hg_calloc(count, sizeof(*ring->hashes));
    ring->owners = hg_calloc(count, sizeof(*ring->owners));
    uint64_t *spare_hashes = hg_calloc(count, sizeof(*spare_hashes));
    uint16_t *spare_owners = hg_calloc(count, sizeof(*spare_owners));
    int err = HG_ENOMEM;
    if (ring->hashes == NULL || ring->owners == NULL || spare_hashes == NULL ||
        spare_owners == NULL)
        goto free_spare;

    /* In the order in which members win a tie; the sort is stable and keeps it. */
    size_t at = 0;
    for (size_t i = 0; i < ring->member_count; i++) {
        bool greatest_first = ring->preset.hash == HG_RING_CRC32;
        uint16_t member = ring->sorted[greatest_first ? ring->member_count - 1 - i : i];
        for (unsigned point = 0; point < ring->preset.points; point++, at++) {
            ring->hashes[at] = point_hash(ring->preset.hash, point,
                                          ring->names[hg_bug(HG_BUG_RING_BY_LIST) ? i : member]);
            ring->owners[at] = member;
        }
    }
    points_sort(ring->hashes, ring->owners, spare_hashes, spare_owners, count);
    err = HG_OK;

free_spare:
    hg_free(spare_owners);
    hg_free(spare_hashes);
    return err;
}

/* A point owns what lies between the point before it and itself. */
static void shares_measure(struct hg_ring *ring)
{
    double space = ring->preset.hash == HG_RING_CRC32 ? 0x1p32 : 0x1p64;
    uint64_t first = ring->hashes[0], last = ring->hashes[ring->point_count - 1];
    ring->shares[ring->owners[0]] += 1.0 - (double)(last - first) / space;
    for (size_t i = 1; i < ring->point_count; i++) {
        ring->shares[ring->owners[i]] += (double)(ring->hashes[i] - ring->hashes[i - 1]) / space;
    }
}

/*
 * Of what decides where a key goes: hash, points and names. A custom ring that equals a preset has
 * its fingerprint.
 */
static uint64_t fingerprint_of(const struct hg_ring *ring)
{
    uint32_t head[2] = {htole32((uint32_t)ring->preset.hash), htole32(ring->preset.points)};
    XXH64_state_t state;
    XXH64_reset(&state, 0);
    XXH64_update(&state, head, sizeof(head));
    for (size_t i = 0; i < ring->member_count; i++) {
        struct hg_bytes name = ring->names[ring->sorted[i]];
        XXH64_update(&state, name.data, name.len);
        XXH64_update(&state, "", 1);
    }
    return XXH64_digest(&state);
}

int hg_ring_create(const struct hg_ring_preset *preset, const struct hg_bytes *names, size_t count,
                   struct hg_ring **out_ring)
{
    if (count == 0 || preset->points == 0 || preset->points > HG_RING_POINTS_MAX)
        return HG_EINVAL;
    if (count > HG_RING_MEMBERS_MAX)
        return HG_ELIMIT;
    struct hg_ring *ring = hg_calloc(1, sizeof(*ring));
    if (ring == NULL)
        return HG_ENOMEM;
    ring->preset = preset_copy(preset);
    ring->member_count = count;

    int err = names_copy(ring, names);
    if (err == HG_OK)
        err = names_sort(ring);
    if (err == HG_OK)
        err = points_build(ring);
    if (err < 0) {
        hg_ring_destroy(ring);
        return err;
    }
    shares_measure(ring);
    ring->fingerprint = fingerprint_of(ring);
    *out_ring = ring;
    return HG_OK;
}

void hg_ring_destroy(struct hg_ring *ring)
{
    if (ring == NULL)
        return;
    hg_free(ring->owners);
    hg_free(ring->hashes);
    hg_free(ring->shares);
    hg_free(ring->sorted);
    hg_free(ring->names);
    hg_free(ring->text);
    hg_free(ring);
}

uint64_t hg_ring_hash(const struct hg_ring *ring, struct hg_bytes key)
{
    if (ring->preset.hash == HG_RING_CRC32)
        return key.len == 0 ? 0 : crc32_z(0, (const Bytef *)key.data, key.len);
    return hg_xxh64(key);
}

/* Index of the first point >= hash, wrapping. */
static size_t point_of(const struct hg_ring *ring, uint64_t hash)
{
    size_t low = 0, high = ring->point_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (ring->hashes[middle] < hash)
            low = middle + 1;
        else
            high = middle;
    }
    return low == ring->point_count ? 0 : low;
}

size_t hg_ring_owner(const struct hg_ring *ring, struct hg_bytes key)
{
    return ring->owners[point_of(ring, hg_ring_hash(ring, key))];
}

size_t hg_ring_second(const struct hg_ring *ring, struct hg_bytes key)
{
    size_t start = point_of(ring, hg_ring_hash(ring, key));
    uint16_t owner = ring->owners[start];
    if (ring->member_count == 1)
        return owner;
    size_t at = start;
    do {
        at = at + 1 == ring->point_count ? 0 : at + 1;
    } while (ring->owners[at] == owner);
    return ring->owners[at];
}

size_t hg_ring_member_count(const struct hg_ring *ring)
{
    return ring->member_count;
}

struct hg_bytes hg_ring_member(const struct hg_ring *ring, size_t index)
{
    assert(index < ring->member_count);
    return ring->names[index];
}

long hg_ring_find(const struct hg_ring *ring, struct hg_bytes name)
{
    size_t low = 0, high = ring->member_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = hg_bytes_cmp(ring->names[ring->sorted[middle]], name);
        if (order == 0)
            return ring->sorted[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

const struct hg_ring_preset *hg_ring_preset_of(const struct hg_ring *ring)
{
    return &ring->preset;
}

uint64_t hg_ring_fingerprint(const struct hg_ring *ring)
{
    return ring->fingerprint;
}

double hg_ring_share(const struct hg_ring *ring, size_t index)
{
    assert(index < ring->member_count);
    return ring->shares[index];
}

/*
 * All points of both rings in order: between two of them neither changes its owner.
 *
 *   before  ----a-------b------        from the point before it (excluded) to itself (included)
 *   after   ----a---c---b------        the piece up to c was b's and is c's
 */
double hg_ring_moved(const struct hg_ring *before, const struct hg_ring *after, double *out_lost,
                     double *out_gained)
{
    assert(before->preset.hash == after->preset.hash);
    uint64_t last_hash = before->preset.hash == HG_RING_CRC32 ? UINT32_MAX : UINT64_MAX;
    double space = before->preset.hash == HG_RING_CRC32 ? 0x1p32 : 0x1p64, moved = 0;
    size_t b = 0, a = 0;
    uint64_t start = 0; /* of the piece; its first hash is the one behind the last point */
    bool is_done = false;
    memset(out_lost, 0, before->member_count * sizeof(*out_lost));
    memset(out_gained, 0, after->member_count * sizeof(*out_gained));
    while (!is_done) {
        uint64_t end = last_hash;
        if (b < before->point_count && before->hashes[b] < end)
            end = before->hashes[b];
        if (a < after->point_count && after->hashes[a] < end)
            end = after->hashes[a];
        size_t from = before->owners[b < before->point_count ? b : 0];
        size_t to = after->owners[a < after->point_count ? a : 0];
        if (!hg_bytes_eq(before->names[from], after->names[to])) {
            double share = ((double)(end - start) + 1) / space;
            out_lost[from] += share;
            out_gained[to] += share;
            moved += share;
        }
        while (b < before->point_count && before->hashes[b] == end)
            b++;
        while (a < after->point_count && after->hashes[a] == end)
            a++;
        is_done = end == last_hash;
        start = end + 1;
    }
    return moved;
}
