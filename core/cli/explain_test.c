#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "cli/explain.h"

static void assert_shown(const char *json, bool colour, const char *expected)
{
    json_error_t error;
    json_t *page = json_loads(json, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (page == NULL)
        fail_msg("%s", error.text);
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    assert_int_equal(hg_explain_show(page, colour, out), HG_OK);
    fclose(out);
    json_decref(page);
    assert_string_equal(text, expected);
    free(text);
}

static void test_each_node_has_a_row_and_what_happened_there(void **state)
{
    (void)state;
    assert_shown(
        "{\"group\":\"test\",\"key\":\"Tom\",\"owner\":\"b\",\"mine\":false,\"nodes\":["
        "{\"member\":\"a\",\"mine\":false,\"stored\":true,\"tier\":\"hot\",\"status\":\"value\","
        "\"age_ms\":900,\"ttl_ms\":1100,\"stale_while_revalidate_ms\":0,\"stale_if_error_ms\":0,"
        "\"size_bytes\":3,\"tags\":[],\"rate\":6000,"
        "\"load\":{\"kind\":\"remote\",\"status\":\"value\",\"age_ms\":900,\"took_ms\":2}},"
        "{\"member\":\"b\",\"mine\":true,\"stored\":true,\"tier\":\"main\",\"status\":\"value\","
        "\"age_ms\":125000,\"ttl_ms\":-5000,\"stale_while_revalidate_ms\":10000,"
        "\"stale_if_error_ms\":7200000,\"size_bytes\":3,\"tags\":[\"t1\",\"t2\"],\"rate\":0,"
        "\"flight\":{\"kind\":\"local\",\"reason\":\"refresh\",\"age_ms\":1500,\"waiters\":2},"
        "\"error\":{\"class\":\"unavailable\",\"message\":\"db \\u001b is "
        "away\",\"age_ms\":90000000},"
        "\"eviction\":{\"reason\":\"capacity\",\"age_ms\":3700000}},"
        "{\"member\":\"c\",\"mine\":false,\"stored\":false,\"rate\":0},"
        "{\"member\":\"d\",\"unreachable\":\"timed out\"}]}",
        false,
        "group  test\n"
        "key    Tom\n"
        "owner  b\n"
        "\n"
        "node  has          age        left        stale (swr / sie)  bytes  tags\n"
        "a     a copy       900ms      1.1s        none                   3\n"
        "b     the value    2m5s       stale 5.0s  10.0s / 2h0m           3  t1, t2\n"
        "c     nothing\n"
        "d     unreachable  timed out\n"
        "\n"
        "a  loaded     900ms ago, took 2ms: asks the owner, value\n"
        "a  asked for  about 6000 times a minute\n"
        "b  loading    the getter (refresh) for 1.5s, 2 wait\n"
        "b  failed     1d1h ago: unavailable: db \\x1b is away\n"
        "b  left       1h1m ago: capacity\n");
}

static void test_lives_without_end_and_entries_that_are_no_values(void **state)
{
    (void)state;
    assert_shown("{\"group\":\"g\",\"key64\":\"/w==\",\"owner\":\"n1\",\"nodes\":["
                 "{\"member\":\"n1\",\"stored\":true,\"tier\":\"main\",\"status\":\"value\","
                 "\"age_ms\":0,\"ttl_ms\":null,\"size_bytes\":0,\"tags\":[],\"rate\":0}]}",
                 false,
                 "group  g\nkey64  /w==\nowner  n1\n\n"
                 "node  has        age  left      stale (swr / sie)  bytes  tags\n"
                 "n1    the value  0ms  for ever  none                   0\n");
    assert_shown("{\"group\":\"g\",\"key\":\"k\",\"owner\":\"n1\",\"nodes\":["
                 "{\"member\":\"n1\",\"stored\":true,\"tier\":\"negative\",\"status\":"
                 "\"not_found\",\"age_ms\":0,\"ttl_ms\":10,\"size_bytes\":0,\"trusted\":true}]}",
                 true,
                 "group  g\nkey    k\nowner  n1\n\n"
                 "\033[1mnode  has        age  left  stale (swr / sie)  bytes  tags\033[0m\n"
                 "n1    not found  0ms  10ms  none                   0\n");
}

static void test_what_is_not_answered_for_now_is_said_so(void **state)
{
    (void)state;
    assert_shown("{\"group\":\"g\",\"key\":\"k\",\"owner\":\"n1\",\"nodes\":["
                 "{\"member\":\"n1\",\"stored\":true,\"tier\":\"main\",\"status\":\"value\","
                 "\"age_ms\":0,\"ttl_ms\":10,\"size_bytes\":1,\"trusted\":false}]}",
                 false,
                 "group  g\nkey    k\nowner  n1\n\n"
                 "node  has          age  left  stale (swr / sie)  bytes  tags\n"
                 "n1    not trusted  0ms  10ms  none                   1\n");
}

static void test_pages_of_another_shape_are_shown_as_they_are(void **state)
{
    (void)state;
    assert_shown("{\"group\":\"g\",\"nodes\":3}", false, "group  g\nnodes  3\n");
    assert_shown("{\"nodes\":[1,{}]}", false,
                 "group\nkey64\nowner\n\n"
                 "node  has      age  left  stale (swr / sie)  bytes  tags\n"
                 "      nothing\n      nothing\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_node_has_a_row_and_what_happened_there),
        cmocka_unit_test(test_lives_without_end_and_entries_that_are_no_values),
        cmocka_unit_test(test_what_is_not_answered_for_now_is_said_so),
        cmocka_unit_test(test_pages_of_another_shape_are_shown_as_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
