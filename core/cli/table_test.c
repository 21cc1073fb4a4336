#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "base/alloc.h"
#include "base/err.h"
#include "cli/table.h"

static void assert_printed(const struct hg_text_table *table, const char *expected)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    hg_text_table_print(table, false, out);
    fclose(out);
    assert_string_equal(text, expected);
    free(text);
}

static void add_all(struct hg_text_table *table, const char *const *cells, size_t count)
{
    for (size_t i = 0; i < count; i++)
        assert_int_equal(hg_text_table_add(table, hg_bytes_str(cells[i])), HG_OK);
}

static void test_numbers_go_right_and_words_left(void **state)
{
    (void)state;
    struct hg_text_table table;
    hg_text_table_init(&table, 3, true);
    add_all(&table,
            (const char *const[]){"name", "n", "note", "a", "1000", "x", "long one", "-2.5", ""},
            9);
    assert_printed(&table, "name         n  note\na         1000  x\nlong one  -2.5\n");
    hg_text_table_finish(&table);
}

static void test_without_a_heading_the_first_row_counts(void **state)
{
    (void)state;
    struct hg_text_table table;
    hg_text_table_init(&table, 2, false);
    add_all(&table, (const char *const[]){"a", "1", "b", "22"}, 4);
    assert_printed(&table, "a   1\nb  22\n");
    hg_text_table_finish(&table);
}

static void test_an_unfinished_row_is_filled(void **state)
{
    (void)state;
    struct hg_text_table table;
    hg_text_table_init(&table, 2, false);
    add_all(&table, (const char *const[]){"a", "b", "c"}, 3);
    assert_printed(&table, "a  b\nc\n");
    hg_text_table_finish(&table);
}

static void test_an_empty_table_prints_nothing(void **state)
{
    (void)state;
    struct hg_text_table table;
    hg_text_table_init(&table, 2, true);
    assert_printed(&table, "");
    hg_text_table_finish(&table);
    hg_text_table_finish(&table);
}

static void test_allocation_sweep(void **state)
{
    (void)state;
    size_t before = hg_alloc_live_bytes();
    bool was_refused = true;
    for (size_t nth = 0; was_refused; nth++) {
        struct hg_text_table table;
        hg_text_table_init(&table, 1, false);
        hg_alloc_fail_at(nth, false);
        int rc = HG_OK;
        size_t added = 0;
        while (added < 200 && rc == HG_OK) {
            rc = hg_text_table_add(&table, HG_BYTES("cell"));
            added += rc == HG_OK;
        }
        was_refused = hg_alloc_fail_clear();
        assert_int_equal(rc, was_refused ? HG_ENOMEM : HG_OK);
        assert_int_equal(table.cell_count, added);
        hg_text_table_finish(&table);
        assert_int_equal(hg_alloc_live_bytes(), before);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_go_right_and_words_left),
        cmocka_unit_test(test_without_a_heading_the_first_row_counts),
        cmocka_unit_test(test_an_unfinished_row_is_filled),
        cmocka_unit_test(test_an_empty_table_prints_nothing),
        cmocka_unit_test(test_allocation_sweep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
