#include "base/testing.h"

#include <stdio.h>
#include <stdlib.h>
#include "wire/piece.h"

static struct hg_piece until(struct hg_bytes pattern, size_t size, bool is_inclusive)
{
    return (struct hg_piece){
        .kind = HG_PIECE_UNTIL, .pattern = pattern, .size = size, .is_inclusive = is_inclusive};
}

/* Cuts all of a text that arrives in parts of `step` bytes; answers are joined with '|', the last part before a pattern ends with '.'. */
static void cut(struct hg_piece piece, struct hg_bytes text, size_t step, char *out)
{
    size_t taken = 0, arrived = 0;
    char *end = out;

    for (;;) {
        struct hg_piece one = piece;
        struct hg_piece_found found;
        bool has_ended = false;
        while (
            !hg_piece_find(&one, hg_bytes(text.data + taken, arrived - taken), has_ended, &found)) {
            if (has_ended) {
                *end = '\0';
                return;
            }
            has_ended = arrived == text.len;
            arrived = arrived + step < text.len ? arrived + step : text.len;
        }
        assert_true(found.len <= arrived - taken);
        assert_true(found.skip <= arrived - taken);
        memcpy(end, text.data + taken, found.len);
        end += found.len;
        if (found.is_end && piece.kind == HG_PIECE_UNTIL)
            *end++ = '.';
        *end++ = '|';
        taken += found.skip;
        if (piece.kind == HG_PIECE_ALL) {
            *end = '\0';
            return;
        }
    }
}

static void test_pieces_are_the_same_however_they_arrive(void **state)
{
    static const struct {
        struct hg_piece piece;
        struct hg_bytes text;
        const char *pieces;
    } rows[] = {
        {{.kind = HG_PIECE_LINE}, HG_BYTES("a\nbc\r\n\nrest"), "a|bc\r||"},
        {{.kind = HG_PIECE_BYTES, .size = 3}, HG_BYTES("abcdefgh"), "abc|def|"},
        {{.kind = HG_PIECE_ALL}, HG_BYTES("all\nof it"), "all\nof it|"},
        {{.kind = HG_PIECE_ALL}, HG_BYTES(""), "|"},
        {{.kind = HG_PIECE_UNTIL, .pattern = HG_BYTES("--")},
         HG_BYTES("a--b-c----d-"),
         "a.|b-c.|.|"},
        {{.kind = HG_PIECE_UNTIL, .pattern = HG_BYTES("--"), .is_inclusive = true},
         HG_BYTES("a--b-c----d-"),
         "a--.|b-c--.|--.|"},
        {{.kind = HG_PIECE_UNTIL, .pattern = HG_BYTES("aab")}, HG_BYTES("aaab"), "a.|"},
        {{.kind = HG_PIECE_UNTIL, .pattern = HG_BYTES("abcabd")}, HG_BYTES("abcabcabd"), "abc.|"},
        {{.kind = HG_PIECE_UNTIL, .pattern = HG_BYTES("\r\n--abcedhb"), .size = 4},
         HG_BYTES("hello, world! -agentzh\r\n--abcedhb"),
         "hell|o, w|orld|! -a|gent|zh.|"},
        {{.kind = HG_PIECE_UNTIL, .pattern = HG_BYTES("--"), .size = 4},
         HG_BYTES("abcd--ef--"),
         "abcd|.|ef.|"},
        {{.kind = HG_PIECE_UNTIL, .pattern = HG_BYTES("--"), .size = 4, .is_inclusive = true},
         HG_BYTES("abcdef--"),
         "abcd|ef--.|"},
        {{.kind = HG_PIECE_UNTIL, .pattern = HG_BYTES("--"), .size = 1},
         HG_BYTES("a-b---"),
         "a|-|b|.|"},
    };
    char out[64];
    (void)state;
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        for (size_t step = 1; step <= rows[i].text.len + 1; step++) {
            cut(rows[i].piece, rows[i].text, step, out);
            if (strcmp(out, rows[i].pieces) != 0)
                fail_msg("row %zu in steps of %zu: '%s', not '%s'", i, step, out, rows[i].pieces);
        }
    }
}

static void test_any_is_what_there_is(void **state)
{
    struct hg_piece any = {.kind = HG_PIECE_ANY, .size = 4};
    struct hg_piece_found found;
    (void)state;
    assert_false(hg_piece_find(&any, HG_BYTES(""), false, &found));
    assert_true(hg_piece_find(&any, HG_BYTES("ab"), false, &found));
    assert_int_equal(found.len, 2);
    assert_true(hg_piece_find(&any, HG_BYTES("abcdef"), false, &found));
    assert_int_equal(found.len, 4);
}

static void test_nothing_is_found_at_once_where_nothing_is_wanted(void **state)
{
    struct hg_piece none = {.kind = HG_PIECE_BYTES};
    struct hg_piece_found found;
    (void)state;
    assert_true(hg_piece_find(&none, HG_BYTES_NONE, false, &found));
    assert_int_equal(found.len, 0);
}

static void test_partial_keeps_the_beginning_of_a_pattern(void **state)
{
    struct hg_piece piece = until(HG_BYTES("\r\n--x"), 0, false);
    struct hg_piece line = {.kind = HG_PIECE_LINE};
    (void)state;
    assert_int_equal(hg_piece_partial(&piece, HG_BYTES("abc\r\n-")), 3);
    assert_int_equal(hg_piece_partial(&piece, HG_BYTES("abc\r\n-x")), 7);
    assert_int_equal(hg_piece_partial(&piece, HG_BYTES("\r\n--")), 0);
    assert_int_equal(hg_piece_partial(&line, HG_BYTES("abc")), 3);
    assert_int_equal(hg_piece_partial(&line, HG_BYTES_NONE), 0);
}

/* The first place of the pattern by trying each, in what is left of the text. */
static size_t place_of(struct hg_bytes pattern, struct hg_bytes in)
{
    for (size_t at = 0; at + pattern.len <= in.len; at++)
        if (memcmp(in.data + at, pattern.data, pattern.len) == 0)
            return at;
    return SIZE_MAX;
}

static void test_random_texts_agree_with_trying_each_place(void **state)
{
    uint64_t seed = 20261127;
    struct hg_test_random random = {seed};
    (void)state;
    for (unsigned round = 0; round < 20000; round++) {
        char text[40], pattern[5];
        size_t len = hg_test_below(&random, sizeof(text) + 1), arrived = 0;
        for (size_t i = 0; i < len; i++)
            text[i] = (char)('a' + hg_test_below(&random, 2));
        struct hg_bytes wanted = {pattern, 1 + hg_test_below(&random, sizeof(pattern))};
        for (size_t i = 0; i < wanted.len; i++)
            pattern[i] = (char)('a' + hg_test_below(&random, 2));
        struct hg_piece piece = until(wanted, hg_test_below(&random, 6), false);
        struct hg_piece_found found;
        bool is_found;
        while (!(is_found = hg_piece_find(&piece, hg_bytes(text, arrived), false, &found)) &&
               arrived < len)
            arrived += 1 + hg_test_below(&random, len - arrived);
        size_t at = place_of(wanted, hg_bytes(text, len));
        if (at != SIZE_MAX && (piece.size == 0 || at < piece.size)) {
            if (!is_found || !found.is_end || found.len != at || found.skip != at + wanted.len)
                fail_msg("seed %llu round %u: not found at %zu", (unsigned long long)seed, round,
                         at);
        } else if (is_found) {
            if (found.is_end || found.len != piece.size || found.skip != piece.size)
                fail_msg("seed %llu round %u: found at %zu", (unsigned long long)seed, round,
                         found.len);
        } else {
            /* Nothing of what may be given away belongs to a pattern. */
            size_t partial = hg_piece_partial(&piece, hg_bytes(text, len));
            assert_true(len - partial < wanted.len);
            assert_true(piece.size == 0 || partial < piece.size || at == SIZE_MAX);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces_are_the_same_however_they_arrive),
        cmocka_unit_test(test_any_is_what_there_is),
        cmocka_unit_test(test_nothing_is_found_at_once_where_nothing_is_wanted),
        cmocka_unit_test(test_partial_keeps_the_beginning_of_a_pattern),
        cmocka_unit_test(test_random_texts_agree_with_trying_each_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
