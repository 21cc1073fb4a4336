#include "cache/ring.h"
#include "base/testing.h"

#include <stdio.h>
#include <xxhash.h>
#include <zlib.h>

#define NAME_MAX_BYTES 64

static const struct hg_ring_preset *preset(const char *name)
{
    const struct hg_ring_preset *found = hg_ring_preset_find(hg_bytes_str(name));
    assert_non_null(found);
    return found;
}

static struct hg_ring *ring_of(const struct hg_ring_preset *of, const struct hg_bytes *names,
                               size_t count)
{
    struct hg_ring *ring = NULL;
    assert_int_equal(hg_ring_create(of, names, count, &ring), HG_OK);
    return ring;
}

/* node-0, node-1, ... */
static void names_make(char text[][NAME_MAX_BYTES], struct hg_bytes *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        snprintf(text[i], NAME_MAX_BYTES, "http://node-%zu:8001", i);
        names[i] = hg_bytes_str(text[i]);
    }
}

static struct hg_bytes key_make(char buf[32], size_t number)
{
    snprintf(buf, 32, "key-%zu", number);
    return hg_bytes_str(buf);
}

static void assert_near(double is, double wanted)
{
    if (is - wanted > 1e-9 || wanted - is > 1e-9)
        fail_msg("%.12f, wanted %.12f", is, wanted);
}

/* ---- the same rules, searched through point by point ---- */

static uint64_t naive_hash(enum hg_ring_hash hash, const void *data, size_t len)
{
    return hash == HG_RING_CRC32 ? crc32(0, data, (uInt)len) : XXH64(data, len, 0);
}

static uint64_t naive_point(const struct hg_ring_preset *of, unsigned index, struct hg_bytes name)
{
    char text[NAME_MAX_BYTES + 16];
    int len = snprintf(text, sizeof(text), "%u", index);
    if (of->hash == HG_RING_XXH64)
        text[len++] = '\0';
    memcpy(text + len, name.data, name.len);
    return naive_hash(of->hash, text, (size_t)len + name.len);
}

/* The member whose point comes first at or after the key's hash; `without` is as if it were not
 * there. */
static long naive_owner(const struct hg_ring_preset *of, const struct hg_bytes *names, size_t count,
                        struct hg_bytes key, long without)
{
    uint64_t mask = of->hash == HG_RING_CRC32 ? UINT32_MAX : UINT64_MAX;
    uint64_t hash =
        key.len == 0 ? naive_hash(of->hash, "", 0) : naive_hash(of->hash, key.data, key.len);
    uint64_t best_distance = 0;
    long best = -1;
    for (size_t i = 0; i < count; i++) {
        for (unsigned point = 0; point < of->points && (long)i != without; point++) {
            uint64_t distance = (naive_point(of, point, names[i]) - hash) & mask;
            bool wins_tie = false;
            if (best >= 0 && distance == best_distance) {
                int order = hg_bytes_cmp(names[i], names[best]);
                wins_tie = of->hash == HG_RING_CRC32 ? order > 0 : order < 0;
            }
            if (best < 0 || distance < best_distance || wins_tie) {
                best = (long)i;
                best_distance = distance;
            }
        }
    }
    return best;
}

static void compare_with_naive(const struct hg_ring_preset *of, const struct hg_bytes *names,
                               size_t count, size_t keys)
{
    struct hg_ring *ring = ring_of(of, names, count);
    for (size_t i = 0; i < keys; i++) {
        char buf[32];
        struct hg_bytes key = i == 0 ? HG_BYTES_NONE : key_make(buf, i);
        long owner = naive_owner(of, names, count, key, -1);
        assert_int_equal(hg_ring_owner(ring, key), owner);
        /* The second is who owns the key once the owner has gone. */
        long second = count == 1 ? owner : naive_owner(of, names, count, key, owner);
        assert_int_equal(hg_ring_second(ring, key), second);
    }
    hg_ring_destroy(ring);
}

static void test_owners_agree_with_a_naive_search(void **state)
{
    static const struct hg_ring_preset small[] = {
        {"custom", HG_RING_XXH64, 1},
        {"custom", HG_RING_CRC32, 1},
        {"custom", HG_RING_XXH64, 7},
        {"custom", HG_RING_CRC32, 7},
    };
    char text[8][NAME_MAX_BYTES];
    struct hg_bytes names[8];
    (void)state;
    names_make(text, names, 8);
    for (size_t count = 1; count <= 8; count++) {
        for (size_t i = 0; i < HG_COUNT(small); i++)
            compare_with_naive(&small[i], names, count, 300);
    }
    compare_with_naive(preset("groupcache"), names, 5, 300);
    compare_with_naive(preset("hgcache"), names, 3, 300);
    compare_with_naive(preset("hgcache"), names, 8, 100);
    compare_with_naive(preset("default"), names, 3, 20);
}

/* What HgCache v1's three example nodes give; computed with Python's zlib.crc32. */
static void test_hgcache_preset_places_keys_as_the_go_code(void **state)
{
    static const struct {
        const char *key;
        size_t owner;
    } table[] = {
        {"Tom", 1},     {"Jack", 0}, {"Sam", 1},   {"a", 0},
        {"unknown", 2}, {"kkk", 1},  {"12345", 2}, {"", 0},
    };
    static const struct hg_bytes names[] = {
        HG_BYTES("http://localhost:8001"),
        HG_BYTES("http://localhost:8002"),
        HG_BYTES("http://localhost:8003"),
    };
    (void)state;
    struct hg_ring *ring = ring_of(preset("hgcache"), names, 3);
    for (size_t i = 0; i < HG_COUNT(table); i++)
        assert_int_equal(hg_ring_owner(ring, hg_bytes_str(table[i].key)), table[i].owner);
    hg_ring_destroy(ring);
    compare_with_naive(preset("hgcache"), names, 3, 500);
}

/* "0dhnpgfdsw" and "0qmqphzuho" have one CRC-32, 0xe9a11545. */
static void test_greatest_name_wins_a_crc_tie(void **state)
{
    static const struct hg_ring_preset one_point = {"custom", HG_RING_CRC32, 1};
    static const struct hg_bytes names[] = {HG_BYTES("qmqphzuho"), HG_BYTES("dhnpgfdsw")};
    static const struct hg_bytes turned[] = {HG_BYTES("dhnpgfdsw"), HG_BYTES("qmqphzuho")};
    (void)state;
    assert_int_equal(crc32(0, (const Bytef *)"0dhnpgfdsw", 10),
                     crc32(0, (const Bytef *)"0qmqphzuho", 10));
    struct hg_ring *ring = ring_of(&one_point, names, 2);
    struct hg_ring *other = ring_of(&one_point, turned, 2);
    for (size_t i = 0; i < 200; i++) {
        char buf[32];
        struct hg_bytes key = key_make(buf, i);
        assert_int_equal(hg_ring_owner(ring, key), 0);
        assert_int_equal(hg_ring_second(ring, key), 1);
        assert_int_equal(hg_ring_owner(other, key), 1);
        assert_int_equal(hg_ring_second(other, key), 0);
    }
    assert_true(hg_ring_share(ring, 0) == 1.0);
    assert_true(hg_ring_share(ring, 1) == 0.0);
    hg_ring_destroy(other);
    hg_ring_destroy(ring);
    compare_with_naive(&one_point, names, 2, 100);
}

/* Owner is the first point >= the hash, so a key that hits a point belongs to it. */
static void test_a_key_on_a_point_belongs_to_that_point(void **state)
{
    static const char *const presets[] = {"default", "hgcache", "groupcache"};
    char text[6][NAME_MAX_BYTES];
    struct hg_bytes names[6];
    (void)state;
    names_make(text, names, 6);
    for (size_t p = 0; p < HG_COUNT(presets); p++) {
        const struct hg_ring_preset *of = preset(presets[p]);
        struct hg_ring *ring = ring_of(of, names, 6);
        for (unsigned i = 0; i < of->points; i++) {
            for (size_t member = 0; member < 6; member++) {
                char key[NAME_MAX_BYTES + 16];
                int len = snprintf(key, sizeof(key), "%u", i);
                if (of->hash == HG_RING_XXH64)
                    key[len++] = '\0';
                memcpy(key + len, names[member].data, names[member].len);
                struct hg_bytes bytes = hg_bytes(key, (size_t)len + names[member].len);
                assert_true(hg_ring_hash(ring, bytes) == naive_point(of, i, names[member]));
                assert_int_equal(hg_ring_owner(ring, bytes), member);
            }
        }
        hg_ring_destroy(ring);
    }
}

static void test_order_of_the_list_does_not_matter(void **state)
{
    static const char *const presets[] = {"default", "hgcache", "groupcache"};
    char text[9][NAME_MAX_BYTES];
    struct hg_bytes names[9], shuffled[9];
    struct hg_test_random random = {5};
    (void)state;
    names_make(text, names, 9);
    memcpy(shuffled, names, sizeof(names));
    for (size_t p = 0; p < HG_COUNT(presets); p++) {
        struct hg_ring *ring = ring_of(preset(presets[p]), names, 9);
        for (size_t round = 0; round < 3; round++) {
            for (size_t i = 8; i > 0; i--) {
                size_t j = hg_test_below(&random, i + 1);
                struct hg_bytes swap = shuffled[i];
                shuffled[i] = shuffled[j];
                shuffled[j] = swap;
            }
            struct hg_ring *other = ring_of(preset(presets[p]), shuffled, 9);
            assert_true(hg_ring_fingerprint(ring) == hg_ring_fingerprint(other));
            for (size_t i = 0; i < 500; i++) {
                char buf[32];
                struct hg_bytes key = key_make(buf, i);
                assert_true(hg_bytes_eq(hg_ring_member(ring, hg_ring_owner(ring, key)),
                                        hg_ring_member(other, hg_ring_owner(other, key))));
                assert_true(hg_bytes_eq(hg_ring_member(ring, hg_ring_second(ring, key)),
                                        hg_ring_member(other, hg_ring_second(other, key))));
            }
            hg_ring_destroy(other);
        }
        hg_ring_destroy(ring);
    }
}

static void test_a_new_node_takes_keys_and_nobody_else_does(void **state)
{
    static const char *const presets[] = {"default", "hgcache", "groupcache"};
    char text[9][NAME_MAX_BYTES];
    struct hg_bytes names[9];
    (void)state;
    names_make(text, names, 9);
    for (size_t p = 0; p < HG_COUNT(presets); p++) {
        for (size_t count = 1; count < 9; count++) {
            struct hg_ring *before = ring_of(preset(presets[p]), names, count);
            struct hg_ring *after = ring_of(preset(presets[p]), names, count + 1);
            size_t moved = 0;
            for (size_t i = 0; i < 2000; i++) {
                char buf[32];
                struct hg_bytes key = key_make(buf, i);
                size_t owner = hg_ring_owner(after, key);
                if (owner != hg_ring_owner(before, key)) {
                    assert_int_equal(owner, count);
                    moved++;
                }
            }
            /* About its share, and never nothing. */
            double expected = 2000 * hg_ring_share(after, count);
            double off = (double)moved - expected;
            assert_true(off * off < 36 * expected); /* six standard deviations */
            assert_true(moved > 0);
            hg_ring_destroy(after);
            hg_ring_destroy(before);
        }
    }
}

static void test_shares_add_up_and_the_default_ring_is_even(void **state)
{
    static const char *const presets[] = {"default", "hgcache", "groupcache"};
    char text[16][NAME_MAX_BYTES];
    struct hg_bytes names[16];
    (void)state;
    names_make(text, names, 16);
    for (size_t p = 0; p < HG_COUNT(presets); p++) {
        for (size_t count = 1; count <= 16; count++) {
            struct hg_ring *ring = ring_of(preset(presets[p]), names, count);
            double sum = 0, peak = 0;
            for (size_t i = 0; i < count; i++) {
                double share = hg_ring_share(ring, i);
                sum += share;
                peak = share > peak ? share : peak;
            }
            assert_true(sum > 1.0 - 1e-9 && sum < 1.0 + 1e-9);
            if (p == 0)
                assert_true(peak * (double)count < 1.15);
            hg_ring_destroy(ring);
        }
    }
}

static void test_shares_are_what_keys_get(void **state)
{
    enum { COUNT = 5, KEYS = 100000 };
    char text[COUNT][NAME_MAX_BYTES];
    struct hg_bytes names[COUNT];
    size_t counts[COUNT] = {0};
    (void)state;
    names_make(text, names, COUNT);
    struct hg_ring *ring = ring_of(preset("groupcache"), names, COUNT);
    struct hg_test_random random = {3};
    for (size_t i = 0; i < KEYS; i++) {
        uint64_t key = hg_test_u64(&random);
        counts[hg_ring_owner(ring, hg_bytes(&key, sizeof(key)))]++;
    }
    for (size_t i = 0; i < COUNT; i++) {
        double off = (double)counts[i] / KEYS - hg_ring_share(ring, i);
        assert_true(off > -0.01 && off < 0.01);
    }
    hg_ring_destroy(ring);
}

/* BENCH's promise: over a million random keys no member has more than 1.10 of the mean. */
static void test_the_default_ring_is_even_for_a_million_keys(void **state)
{
    enum { COUNT_MAX = 64, KEYS = 1000000 };
    static char text[COUNT_MAX][NAME_MAX_BYTES];
    static uint64_t keys[KEYS];
    struct hg_bytes names[COUNT_MAX];
    struct hg_test_random random = {5};
    (void)state;
    names_make(text, names, COUNT_MAX);
    for (size_t i = 0; i < KEYS; i++)
        keys[i] = hg_test_u64(&random);
    for (size_t count = 3; count <= COUNT_MAX; count++) {
        struct hg_ring *ring = ring_of(preset("default"), names, count);
        size_t counts[COUNT_MAX] = {0}, peak = 0;
        for (size_t i = 0; i < count; i++)
            assert_true(hg_ring_share(ring, i) * (double)count < 1.10);
        for (size_t i = 0; i < KEYS && (count < 8 || count % 8 == 0); i++)
            counts[hg_ring_owner(ring, hg_bytes(&keys[i], sizeof(keys[i])))]++;
        for (size_t i = 0; i < count; i++)
            peak = counts[i] > peak ? counts[i] : peak;
        if ((double)peak * (double)count > 1.10 * KEYS)
            fail_msg("%zu members: peak to mean %.4f", count, (double)peak * (double)count / KEYS);
        hg_ring_destroy(ring);
    }
}

static void test_a_join_moves_little_more_than_its_part(void **state)
{
    enum { COUNT_MAX = 64, KEYS = 1000000 };
    static char text[COUNT_MAX][NAME_MAX_BYTES];
    struct hg_bytes names[COUNT_MAX];
    double lost[COUNT_MAX], gained[COUNT_MAX];
    struct hg_test_random random = {6};
    (void)state;
    names_make(text, names, COUNT_MAX);
    for (size_t count = 2; count < COUNT_MAX; count++) {
        struct hg_ring *before = ring_of(preset("default"), names, count);
        struct hg_ring *after = ring_of(preset("default"), names, count + 1);
        double most = 1.2 / (double)(count + 1), moved = hg_ring_moved(before, after, lost, gained);
        if (moved > most)
            fail_msg("from %zu to %zu members: %.4f of the keys", count, count + 1, moved);
        assert_true(moved > 0.8 / (double)(count + 1));
        if (count % 8 == 2) { /* and as keys say it */
            size_t keys = 0;
            for (size_t i = 0; i < KEYS; i++) {
                uint64_t key = hg_test_u64(&random);
                struct hg_bytes bytes = hg_bytes(&key, sizeof(key));
                keys += hg_ring_owner(before, bytes) != hg_ring_owner(after, bytes);
            }
            double off = (double)keys / KEYS - moved;
            assert_true((double)keys / KEYS <= most);
            assert_true(off > -0.003 && off < 0.003);
        }
        hg_ring_destroy(after);
        hg_ring_destroy(before);
    }
}

static void test_what_moves_is_between_the_shares_before_and_after(void **state)
{
    static const char *const presets[] = {"default", "hgcache", "groupcache"};
    char text[9][NAME_MAX_BYTES];
    struct hg_bytes names[9];
    double lost[9], gained[9];
    (void)state;
    names_make(text, names, 9);
    for (size_t p = 0; p < HG_COUNT(presets); p++) {
        for (size_t count = 1; count < 9; count++) {
            struct hg_ring *less = ring_of(preset(presets[p]), names, count);
            struct hg_ring *more = ring_of(preset(presets[p]), names, count + 1);
            double sum = 0, moved = hg_ring_moved(less, more, lost, gained);
            assert_near(moved, hg_ring_share(more, count));
            assert_near(gained[count], moved);
            for (size_t i = 0; i < count; i++) {
                assert_near(lost[i], hg_ring_share(less, i) - hg_ring_share(more, i));
                assert_true(gained[i] == 0);
                sum += lost[i];
            }
            assert_near(sum, moved);
            /* The way back: what the leaver had goes to those who get it. */
            assert_near(hg_ring_moved(more, less, lost, gained), moved);
            assert_near(lost[count], moved);
            assert_near(gained[0], hg_ring_share(less, 0) - hg_ring_share(more, 0));
            assert_true(hg_ring_moved(less, less, lost, gained) == 0);
            hg_ring_destroy(more);
            hg_ring_destroy(less);
        }
    }
}

static void test_everything_moves_between_rings_without_a_common_member(void **state)
{
    struct hg_bytes a = HG_BYTES("a"), b = HG_BYTES("b");
    double lost, gained;
    (void)state;
    struct hg_ring *before = ring_of(preset("hgcache"), &a, 1);
    struct hg_ring *after = ring_of(preset("hgcache"), &b, 1);
    assert_near(hg_ring_moved(before, after, &lost, &gained), 1);
    assert_near(lost, 1);
    assert_near(gained, 1);
    hg_ring_destroy(after);
    hg_ring_destroy(before);
}

static void test_members_keep_their_numbers_and_are_copied(void **state)
{
    char text[5][NAME_MAX_BYTES];
    struct hg_bytes names[5];
    (void)state;
    names_make(text, names, 5);
    struct hg_bytes turned[] = {names[3], names[0], names[4], names[1], names[2]};
    struct hg_ring *ring = ring_of(preset("hgcache"), turned, 5);
    struct hg_bytes expected[5];
    char kept[5][NAME_MAX_BYTES];
    for (size_t i = 0; i < 5; i++) {
        memcpy(kept[i], turned[i].data, turned[i].len);
        expected[i] = hg_bytes(kept[i], turned[i].len);
    }
    memset(text, 'x', sizeof(text)); /* the caller's are gone */
    assert_int_equal(hg_ring_member_count(ring), 5);
    for (size_t i = 0; i < 5; i++) {
        assert_true(hg_bytes_eq(hg_ring_member(ring, i), expected[i]));
        assert_int_equal(hg_ring_find(ring, expected[i]), i);
    }
    assert_int_equal(hg_ring_find(ring, HG_BYTES("http://node-0:800")), -1);
    assert_int_equal(hg_ring_find(ring, HG_BYTES("http://node-0:8001/")), -1);
    assert_int_equal(hg_ring_find(ring, HG_BYTES_NONE), -1);
    assert_string_equal(hg_ring_preset_of(ring)->name, "hgcache");
    assert_true(hg_ring_hash(ring, HG_BYTES("Tom")) == crc32(0, (const Bytef *)"Tom", 3));
    hg_ring_destroy(ring);
}

static void test_fingerprints_differ_where_keys_go_elsewhere(void **state)
{
    static const struct hg_bytes lists[][2] = {
        {HG_BYTES("ab"), HG_BYTES("c")},
        {HG_BYTES("a"), HG_BYTES("bc")},
        {HG_BYTES("ab"), HG_BYTES("d")},
        {HG_BYTES("abc"), HG_BYTES("d")},
    };
    static const struct hg_ring_preset presets[] = {
        {"a", HG_RING_XXH64, 100}, {"b", HG_RING_CRC32, 100}, {"c", HG_RING_CRC32, 50}};
    uint64_t seen[16];
    size_t count = 0;
    (void)state;
    for (size_t p = 0; p < HG_COUNT(presets); p++) {
        for (size_t i = 0; i < HG_COUNT(lists); i++) {
            struct hg_ring *ring = ring_of(&presets[p], lists[i], 2);
            seen[count++] = hg_ring_fingerprint(ring);
            hg_ring_destroy(ring);
        }
        struct hg_ring *ring = ring_of(&presets[p], lists[0], 1);
        seen[count++] = hg_ring_fingerprint(ring);
        hg_ring_destroy(ring);
    }
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < i; j++)
            assert_true(seen[i] != seen[j]);
    }
}

static void test_a_custom_ring_equal_to_a_preset_has_its_fingerprint(void **state)
{
    static const struct hg_bytes names[] = {HG_BYTES("a"), HG_BYTES("b")};
    char name[] = "mine";
    struct hg_ring_preset custom = {name, HG_RING_CRC32, 100};
    (void)state;
    struct hg_ring *mine = ring_of(&custom, names, 2),
                   *theirs = ring_of(preset("hgcache"), names, 2);
    name[0] = '\0'; /* the caller's preset is not kept */
    assert_true(hg_ring_fingerprint(mine) == hg_ring_fingerprint(theirs));
    assert_string_equal(hg_ring_preset_of(mine)->name, "custom");
    assert_string_equal(hg_ring_preset_of(theirs)->name, "hgcache");
    hg_ring_destroy(mine);
    hg_ring_destroy(theirs);
}

static void test_presets_are_those_of_the_interface(void **state)
{
    (void)state;
    assert_int_equal(preset("default")->points, 2048);
    assert_int_equal(preset("default")->hash, HG_RING_XXH64);
    assert_int_equal(preset("hgcache")->points, 100);
    assert_int_equal(preset("hgcache")->hash, HG_RING_CRC32);
    assert_int_equal(preset("groupcache")->points, 50);
    assert_int_equal(preset("groupcache")->hash, HG_RING_CRC32);
    assert_null(hg_ring_preset_find(HG_BYTES("custom")));
    assert_null(hg_ring_preset_find(HG_BYTES_NONE));
}

static void expect_refusal(unsigned points, const struct hg_bytes *names, size_t count, int err)
{
    struct hg_ring_preset custom = {"custom", HG_RING_CRC32, points};
    struct hg_ring *ring = (struct hg_ring *)&custom;
    size_t live_bytes = hg_alloc_live_bytes();
    assert_int_equal(hg_ring_create(&custom, names, count, &ring), err);
    assert_ptr_equal(ring, &custom); /* untouched */
    assert_int_equal(hg_alloc_live_bytes(), live_bytes);
}

static void test_bad_lists_are_refused(void **state)
{
    static char text[HG_RING_MEMBERS_MAX + 1][NAME_MAX_BYTES];
    static struct hg_bytes names[HG_RING_MEMBERS_MAX + 1];
    static const struct hg_bytes doubled[] = {HG_BYTES("a"), HG_BYTES("b"), HG_BYTES("a")};
    static const struct hg_bytes empty[] = {HG_BYTES("a"), HG_BYTES("")};
    (void)state;
    names_make(text, names, HG_RING_MEMBERS_MAX + 1);
    expect_refusal(10, names, 0, HG_EINVAL);
    expect_refusal(10, doubled, 3, HG_EINVAL);
    expect_refusal(10, empty, 2, HG_EINVAL);
    expect_refusal(0, names, 1, HG_EINVAL);
    expect_refusal(HG_RING_POINTS_MAX + 1, names, 1, HG_EINVAL);
    expect_refusal(1, names, HG_RING_MEMBERS_MAX + 1, HG_ELIMIT);
    struct hg_ring_preset most = {"custom", HG_RING_XXH64, HG_RING_POINTS_MAX};
    hg_ring_destroy(ring_of(&most, names, 2));
    most.points = 3;
    hg_ring_destroy(ring_of(&most, names, HG_RING_MEMBERS_MAX));
    hg_ring_destroy(NULL);
}

static int create_ring(void *ctx)
{
    static const struct hg_bytes names[] = {HG_BYTES("a"), HG_BYTES("b"), HG_BYTES("c")};
    struct hg_ring *ring = NULL;
    (void)ctx;
    int err = hg_ring_create(preset("groupcache"), names, 3, &ring);
    if (err < 0)
        assert_null(ring);
    hg_ring_destroy(ring);
    return err;
}

static void test_each_failed_allocation_leaves_nothing_behind(void **state)
{
    (void)state;
    assert_true(hg_test_sweep(create_ring, NULL) >= 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_owners_agree_with_a_naive_search),
        cmocka_unit_test(test_hgcache_preset_places_keys_as_the_go_code),
        cmocka_unit_test(test_greatest_name_wins_a_crc_tie),
        cmocka_unit_test(test_a_key_on_a_point_belongs_to_that_point),
        cmocka_unit_test(test_order_of_the_list_does_not_matter),
        cmocka_unit_test(test_a_new_node_takes_keys_and_nobody_else_does),
        cmocka_unit_test(test_shares_add_up_and_the_default_ring_is_even),
        cmocka_unit_test(test_shares_are_what_keys_get),
        cmocka_unit_test(test_the_default_ring_is_even_for_a_million_keys),
        cmocka_unit_test(test_a_join_moves_little_more_than_its_part),
        cmocka_unit_test(test_what_moves_is_between_the_shares_before_and_after),
        cmocka_unit_test(test_everything_moves_between_rings_without_a_common_member),
        cmocka_unit_test(test_members_keep_their_numbers_and_are_copied),
        cmocka_unit_test(test_fingerprints_differ_where_keys_go_elsewhere),
        cmocka_unit_test(test_a_custom_ring_equal_to_a_preset_has_its_fingerprint),
        cmocka_unit_test(test_presets_are_those_of_the_interface),
        cmocka_unit_test(test_bad_lists_are_refused),
        cmocka_unit_test(test_each_failed_allocation_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
