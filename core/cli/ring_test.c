#include "base/testing.h"
#include "cli/ring.h"

#include <stdlib.h>
#include <string.h>
#include "base/err.h"

static void assert_shown(const char *json, const char *expected)
{
    json_error_t error;
    json_t *page = json_loads(json, 0, &error);
    if (page == NULL)
        fail_msg("%s", error.text);
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    assert_int_equal(hg_ring_show(page, false, out), HG_OK);
    fclose(out);
    json_decref(page);
    assert_string_equal(text, expected);
    free(text);
}

static void test_each_member_has_a_row_with_a_bar(void **state)
{
    (void)state;
    assert_shown(
        "{\"ring\":\"default\",\"hash\":\"xxh64\",\"points\":2048,\"fingerprint\":\"00ff\","
        "\"members\":[{\"name\":\"a:1\",\"self\":true,\"up\":true,\"share\":0.6},"
        "{\"name\":\"b:1\",\"self\":false,\"up\":true,\"share\":0.3,\"heard_seconds\":0.2},"
        "{\"name\":\"c:1\",\"self\":false,\"up\":false,\"share\":0.1,\"heard_seconds\":61}],"
        "\"mismatches\":[],\"source\":\"etcd\",\"known\":true,\"changed_seconds\":3700,\"age_"
        "seconds\":1.5}",
        "ring         default (xxh64, 2048 points each)\n"
        "fingerprint  00ff\n"
        "members      3, etcd, the same for 1h1m, confirmed 1.5s ago\n"
        "\n"
        "member  state      heard     keys\n"
        "a:1     this node          60.0 %  ##############################\n"
        "b:1     up         200ms   30.0 %  ###############\n"
        "c:1     down       1m1s    10.0 %  #####\n");
}

static void test_who_has_another_ring_is_named(void **state)
{
    (void)state;
    assert_shown("{\"ring\":\"hgcache\",\"hash\":\"crc32\",\"points\":100,\"fingerprint\":\"00ff\","
                 "\"members\":[{\"name\":\"a:1\",\"self\":true,\"up\":true,\"share\":1}],"
                 "\"mismatches\":[{\"name\":\"x\\u001b:1\",\"fingerprint\":\"aa\",\"count\":12,"
                 "\"age_seconds\":2}],"
                 "\"source\":\"static\",\"known\":true,\"changed_seconds\":1,\"age_seconds\":null}",
                 "ring         hgcache (crc32, 100 points each)\n"
                 "fingerprint  00ff\n"
                 "members      1, static, the same for 1.0s\n"
                 "\n"
                 "member  state      heard     keys\n"
                 "a:1     this node         100.0 %  ##############################\n"
                 "\n"
                 "has another ring  fingerprint  requests  last\n"
                 "x\\x1b:1           aa                 12  2.0s\n");
}

static void test_a_list_that_is_not_known_yet_says_so(void **state)
{
    (void)state;
    assert_shown("{\"ring\":\"default\",\"hash\":\"xxh64\",\"points\":2048,\"fingerprint\":\"0\","
                 "\"members\":[],"
                 "\"source\":\"dns\",\"known\":false,\"changed_seconds\":1,\"age_seconds\":1}",
                 "ring         default (xxh64, 2048 points each)\n"
                 "fingerprint  0\n"
                 "members      not known yet (dns)\n"
                 "\n"
                 "member  state  heard     keys\n");
}

static void test_a_page_without_a_ring_is_shown_as_any_other(void **state)
{
    (void)state;
    assert_shown("{\"ring\":null,\"members\":[{\"name\":\"n\",\"share\":1}]}",
                 "ring  null\n\nmembers\nname  share\nn         1\n");
    assert_shown("{\"x\":1}", "x  1\n");
}

static void test_bars_fit_whatever_the_parts_are(void **state)
{
    char text[64];
    (void)state;
    assert_string_equal(hg_ring_bar(0, 0, text, sizeof(text)), "");
    assert_string_equal(hg_ring_bar(-1, 1, text, sizeof(text)), "");
    assert_int_equal(strlen(hg_ring_bar(5, 1, text, sizeof(text))), HG_RING_BAR_MAX);
    assert_string_equal(hg_ring_bar(1, 1, text, 4), "###");
    assert_string_equal(hg_ring_percent(0.0625, text, sizeof(text)), "  6.2 %");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_member_has_a_row_with_a_bar),
        cmocka_unit_test(test_who_has_another_ring_is_named),
        cmocka_unit_test(test_a_list_that_is_not_known_yet_says_so),
        cmocka_unit_test(test_a_page_without_a_ring_is_shown_as_any_other),
        cmocka_unit_test(test_bars_fit_whatever_the_parts_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
