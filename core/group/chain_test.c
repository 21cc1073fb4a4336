#include "group/fake_source.h"
#include "group/chain.h"

static void test_written_entries_are_found(void **state)
{
    char bytes[64];
    size_t one = hg_chain_entry_size(HG_BYTES("g"), HG_BYTES("key"));
    size_t two = hg_chain_entry_size(HG_BYTES("other"), HG_BYTES("k\0z"));

    (void)state;
    assert_int_equal(one, 2 + 1 + 1 + 3);
    hg_chain_write(bytes, HG_BYTES("g"), HG_BYTES("key"));
    hg_chain_write(bytes + one, HG_BYTES("other"), HG_BYTES("k\0z"));
    assert_memory_equal(bytes, "\0\5g\0key", 7);
    struct hg_bytes chain = hg_bytes(bytes, one + two);
    assert_int_equal(hg_chain_depth(chain), 2);
    assert_true(hg_chain_has(chain, HG_BYTES("g"), HG_BYTES("key")));
    assert_true(hg_chain_has(chain, HG_BYTES("other"), HG_BYTES("k\0z")));
    assert_false(hg_chain_has(chain, HG_BYTES("g"), HG_BYTES("ke")));
    assert_false(hg_chain_has(chain, HG_BYTES("other"), HG_BYTES("key")));
    assert_false(hg_chain_has(chain, HG_BYTES("other\0k"), HG_BYTES("z!")));
    assert_int_equal(hg_chain_depth(HG_BYTES_NONE), 0);
}

static void test_cut_chains_are_malformed_at_every_byte(void **state)
{
    char bytes[64];
    size_t size = hg_chain_entry_size(HG_BYTES("g"), HG_BYTES("key"));

    (void)state;
    hg_chain_write(bytes, HG_BYTES("g"), HG_BYTES("key"));
    hg_chain_write(bytes + size, HG_BYTES("g"), HG_BYTES("abc"));
    for (size_t len = 0; len <= 2 * size; len++) {
        char *cut = malloc(len == 0 ? 1 : len); /* exactly as long, for the sanitizer */
        memcpy(cut, bytes, len);
        int depth = hg_chain_depth(hg_bytes(cut, len));
        assert_int_equal(depth, len % size == 0 ? (int)(len / size) : HG_EINVAL);
        assert_int_equal(hg_chain_has(hg_bytes(cut, len), HG_BYTES("g"), HG_BYTES("abc")),
                         len == 2 * size);
        free(cut);
    }
}

static void test_long_keys_use_both_length_bytes(void **state)
{
    static char key[1000], bytes[1100];
    struct hg_bytes long_key = hg_bytes(key, sizeof(key));
    size_t size = hg_chain_entry_size(HG_BYTES("g"), long_key);

    (void)state;
    hg_chain_write(bytes, HG_BYTES("g"), long_key);
    assert_int_equal((unsigned char)bytes[0], 3);
    assert_int_equal((unsigned char)bytes[1], 1002 - 3 * 256);
    assert_true(hg_chain_has(hg_bytes(bytes, size), HG_BYTES("g"), long_key));
}

static void test_random_bytes_are_never_read_past(void **state)
{
    uint64_t seed = 9;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        size_t len = fake_next(&seed) % 40;
        char *bytes = malloc(len + 1);
        for (size_t at = 0; at < len; at++)
            bytes[at] = (char)(fake_next(&seed) % 5);
        char *exact = malloc(len == 0 ? 1 : len);
        memcpy(exact, bytes, len);
        int depth = hg_chain_depth(hg_bytes(exact, len));
        assert_true(depth == HG_EINVAL || (depth >= 0 && (size_t)depth <= len / 2));
        hg_chain_has(hg_bytes(exact, len), HG_BYTES("\1"), HG_BYTES("\2"));
        free(exact);
        free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_written_entries_are_found),
        cmocka_unit_test(test_cut_chains_are_malformed_at_every_byte),
        cmocka_unit_test(test_long_keys_use_both_length_bytes),
        cmocka_unit_test(test_random_bytes_are_never_read_past),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
