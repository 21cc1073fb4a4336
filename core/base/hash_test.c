#include "base/hash.h"
#include "base/testing.h"

static void test_the_seed_decides_and_nothing_else(void **state)
{
    static const uint64_t seeds[][2] = {{1, 2}, {2, 1}, {1, 3}, {0, 0}};
    char input[302]; /* and from an odd address */
    uint64_t first[300];
    (void)state;
    for (size_t i = 0; i < sizeof(input); i++)
        input[i] = (char)(i * 7);
    for (size_t i = 0; i < HG_COUNT(seeds); i++) {
        hg_hash_seed(seeds[i][0], seeds[i][1]);
        for (size_t len = 0; len < HG_COUNT(first); len++) {
            char moved[301];
            uint64_t hash = hg_hash(hg_bytes(input, len));
            memcpy(moved + 1, input, len);
            assert_true(hash == hg_hash(hg_bytes(moved + 1, len)));
            assert_true(i == 0 || hash != first[len]);
            if (i == 0)
                first[len] = hash;
        }
    }
    hg_hash_seed(1, 2);
    assert_true(hg_hash(HG_BYTES_NONE) == first[0]);
    for (size_t len = 0; len < HG_COUNT(first); len++)
        assert_true(hg_hash(hg_bytes(input, len)) == first[len]);
}

static void test_every_bit_of_the_input_counts(void **state)
{
    char input[300] = {0};
    (void)state;
    for (size_t len = 1; len < sizeof(input); len += len < 40 ? 1 : 37) {
        uint64_t plain = hg_hash(hg_bytes(input, len));
        for (size_t bit = 0; bit < len * 8; bit++) {
            input[bit / 8] ^= (char)(1 << bit % 8);
            assert_true(hg_hash(hg_bytes(input, len)) != plain);
            input[bit / 8] ^= (char)(1 << bit % 8);
        }
    }
}

static void test_xxh64_gives_known_answers(void **state)
{
    (void)state;
    assert_true(hg_xxh64(HG_BYTES("")) == 0xef46db3751d8e999u);
    assert_true(hg_xxh64(HG_BYTES_NONE) == 0xef46db3751d8e999u);
    assert_true(hg_xxh64(HG_BYTES("a")) == 0xd24ec4f1a98c6e5bu);
    assert_true(hg_xxh64(HG_BYTES("abc")) == 0x44bc2cf5ad770999u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_seed_decides_and_nothing_else),
        cmocka_unit_test(test_every_bit_of_the_input_counts),
        cmocka_unit_test(test_xxh64_gives_known_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
