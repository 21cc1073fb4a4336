#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "cli/show.h"

static void assert_shown(const char *json, bool colour, const char *expected)
{
    json_error_t error;
    json_t *page = json_loads(json, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (page == NULL)
        fail_msg("%s", error.text);
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    assert_int_equal(hg_show(page, colour, out), HG_OK);
    fclose(out);
    json_decref(page);
    assert_string_equal(text, expected);
    free(text);
}

static void test_simple_members_are_lines(void **state)
{
    (void)state;
    assert_shown("{\"node\":\"n1\",\"uptime\":12,\"peers\":[\"a\",\"b\"],\"none\":[],\"up\":true,"
                 "\"x\":null}",
                 false,
                 "node    n1\nuptime  12\npeers   a, b\nnone    -\nup      true\nx       null\n");
}

static void test_objects_side_by_side_are_columns(void **state)
{
    (void)state;
    assert_shown("{\"node\":\"n1\",\"groups\":{\"a\":{\"gets\":1,\"hits\":1000},\"bb\":{\"gets\":"
                 "20,\"late\":3}}}",
                 false,
                 "node  n1\n"
                 "\n"
                 "groups     a  bb\n"
                 "gets       1  20\n"
                 "hits    1000\n"
                 "late           3\n");
}

static void test_more_than_six_objects_go_below_each_other(void **state)
{
    (void)state;
    assert_shown("{\"g\":{\"a\":{\"x\":1},\"b\":{\"x\":2},\"c\":{\"x\":3},\"d\":{\"x\":4},\"e\":{"
                 "\"x\":5},\"f\":{\"x\":6},"
                 "\"h\":{\"x\":7}}}",
                 false, "g  a  b  c  d  e  f\nx  1  2  3  4  5  6\n\n   h\nx  7\n");
}

static void test_lists_of_objects_are_rows(void **state)
{
    (void)state;
    assert_shown("{\"members\":[{\"name\":\"a\",\"share\":0.25},{\"name\":\"long\",\"up\":true}]}",
                 false, "members\nname  share  up\na      0.25\nlong         true\n");
}

static void test_deeper_things_are_sections(void **state)
{
    (void)state;
    assert_shown("{\"a\":1,\"b\":{\"c\":2,\"d\":{\"e\":{\"f\":3}}}}", false,
                 "a  1\n\nb\nc  2\n\nd  e\nf  3\n");
}

static void test_control_bytes_are_shown_and_never_sent_to_a_terminal(void **state)
{
    (void)state;
    assert_shown("{\"k\":\"a\\u001b[31m\\n\\u0000\"}", false, "k  a\\x1b[31m\\x0a\\x00\n");
}

static void test_widths_count_characters(void **state)
{
    (void)state;
    assert_shown("{\"m\":[{\"n\":\"\\u00e4\\u00f6\",\"v\":\"x\"},{\"n\":\"abc\",\"v\":\"y\"}]}",
                 false, "m\nn    v\n\xc3\xa4\xc3\xb6   x\nabc  y\n");
}

static void test_colour_is_only_where_it_is_wanted(void **state)
{
    (void)state;
    assert_shown("{\"m\":[{\"n\":1}]}", true, "\033[1mm\033[0m\n\033[1mn\033[0m\n1\n");
}

static void test_pages_that_are_no_objects_are_shown_too(void **state)
{
    (void)state;
    assert_shown("[]", false, "-\n");
    assert_shown("[1,2]", false, "1, 2\n");
    assert_shown("\"text\"", false, "text\n");
    assert_shown("{}", false, "");
    assert_shown("[{}]", false, "");
}

static void test_deep_pages_end(void **state)
{
    (void)state;
    char json[600] = "";
    for (int i = 0; i < 50; i++)
        strcat(json, "{\"a\":");
    strcat(json, "[[1]]");
    for (int i = 0; i < 50; i++)
        strcat(json, "}");
    assert_shown(json, false, "a\n...\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_simple_members_are_lines),
        cmocka_unit_test(test_objects_side_by_side_are_columns),
        cmocka_unit_test(test_more_than_six_objects_go_below_each_other),
        cmocka_unit_test(test_lists_of_objects_are_rows),
        cmocka_unit_test(test_deeper_things_are_sections),
        cmocka_unit_test(test_control_bytes_are_shown_and_never_sent_to_a_terminal),
        cmocka_unit_test(test_widths_count_characters),
        cmocka_unit_test(test_colour_is_only_where_it_is_wanted),
        cmocka_unit_test(test_pages_that_are_no_objects_are_shown_too),
        cmocka_unit_test(test_deep_pages_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
