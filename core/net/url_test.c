#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/err.h"
#include "net/url.h"

static void expect(const char *base, const char *text, const char *origin, const char *whole)
{
    struct hg_url url = {0};
    const char *error = NULL;
    if (hg_url_parse(base, text, &url, &error) < 0)
        fail_msg("%s: %s", text, error);
    assert_string_equal(url.origin, origin);
    assert_string_equal(url.text, whole);
    hg_url_finish(&url);
}

static void test_origin_is_in_one_form(void **state)
{
    (void)state;
    expect(NULL, "http://Example.COM:80/a?b#c", "http://example.com",
           "http://Example.COM:80/a?b#c");
    expect(NULL, "https://example.com:443", "https://example.com", "https://example.com:443/");
    expect(NULL, "https://example.com:80/", "https://example.com:80", "https://example.com:80/");
    expect(NULL, "HTTP://[::1]:8080/x", "http://[::1]:8080", "http://[::1]:8080/x");
    expect(NULL, "http://0x7f.1/", "http://127.0.0.1", "http://127.0.0.1/");
    expect(NULL, "http://a/x/../y", "http://a", "http://a/x/../y"); /* a key may be ".." */
}

static void test_relative_ones_are_completed(void **state)
{
    (void)state;
    expect("http://a:81/x/y?z", "/b", "http://a:81", "http://a:81/b");
    expect("http://a:81/x/y?z", "b", "http://a:81", "http://a:81/x/b");
    expect("http://a:81/x", "//evil/b", "http://evil", "http://evil/b");
    expect("http://a:81/x", "https://b/", "https://b", "https://b/");
}

static void test_what_is_no_url_of_ours_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "example.com/x",
        "/x",
        "file:///etc/passwd",
        "ftp://a/",
        "gopher://a",
        "http://",
        "http://a b/",
        "http://a/\r\nX: y",
        "http://u:p@a/",
        "http://u@a",
        "http://a:99999/",
        "http://a:b/",
        "javascript:1",
        "dict://a/",
        "http://a/ü\x01",
        "http://a\x7f/",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        struct hg_url url = {0};
        const char *error = NULL;
        if (hg_url_parse(NULL, bad[i], &url, &error) != HG_EINVAL)
            fail_msg("taken: %s", bad[i]);
        assert_non_null(error);
        assert_null(url.text);
        const char *base = "http://a/";
        if (strstr(bad[i], "://") != NULL && strncmp(bad[i], "http", 4) != 0)
            assert_int_equal(hg_url_parse(base, bad[i], &url, &error), HG_EINVAL);
    }
}

static void test_whom_a_url_is_asked_of(void **state)
{
    static const struct {
        const char *text, *host;
        uint16_t port;
    } good[] = {{"http://a:8001", "a", 8001}, {"https://b/x", "b", 443}, {"http://[::1]:7", "::1", 7}};
    size_t live = hg_alloc_live_bytes();
    char *host;
    uint16_t port;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(hg_url_host(good[i].text, &host, &port), HG_OK);
        assert_string_equal(host, good[i].host);
        assert_int_equal(port, good[i].port);
        hg_free(host);
        hg_alloc_fail_at(0, true);
        assert_int_equal(hg_url_host(good[i].text, &host, &port), HG_ENOMEM);
        hg_alloc_fail_clear();
    }
    assert_int_equal(hg_url_host("http://a:65536", &host, &port), HG_EINVAL);
    assert_int_equal(hg_alloc_live_bytes(), live);
}

static void test_length_is_bounded(void **state)
{
    struct hg_url url = {0};
    const char *error = NULL;
    char *text = malloc(HG_URL_MAX + 2);
    (void)state;
    memset(text, 'a', HG_URL_MAX + 1);
    memcpy(text, "http://a/", 9);
    text[HG_URL_MAX + 1] = '\0';
    assert_int_equal(hg_url_parse(NULL, text, &url, &error), HG_EINVAL);
    text[HG_URL_MAX] = '\0';
    assert_int_equal(hg_url_parse(NULL, text, &url, &error), HG_OK);
    hg_url_finish(&url);
    free(text);
}

static void test_schemes_are_compared_whole(void **state)
{
    struct hg_url http = {0}, https = {0}, other = {0};
    const char *error;
    (void)state;
    assert_int_equal(hg_url_parse(NULL, "http://a/", &http, &error), HG_OK);
    assert_int_equal(hg_url_parse(NULL, "https://a/", &https, &error), HG_OK);
    assert_int_equal(hg_url_parse(NULL, "http://b:1/", &other, &error), HG_OK);
    assert_false(hg_url_is_same_scheme(&http, &https));
    assert_false(hg_url_is_same_scheme(&https, &http));
    assert_true(hg_url_is_same_scheme(&http, &other));
    hg_url_finish(&http);
    hg_url_finish(&https);
    hg_url_finish(&other);
}

static void test_each_allocation_may_fail(void **state)
{
    size_t before = hg_alloc_live_bytes();
    int err = HG_ENOMEM;
    (void)state;
    for (size_t n = 0; err == HG_ENOMEM; n++) {
        struct hg_url url = {0};
        const char *error;
        hg_alloc_fail_at(n, true);
        err = hg_url_parse("http://a/", "b", &url, &error);
        hg_alloc_fail_clear();
        hg_url_finish(&url);
        assert_int_equal(hg_alloc_live_bytes(), before);
        assert_true(n < 10);
    }
    assert_int_equal(err, HG_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_origin_is_in_one_form),
        cmocka_unit_test(test_relative_ones_are_completed),
        cmocka_unit_test(test_what_is_no_url_of_ours_is_refused),
        cmocka_unit_test(test_whom_a_url_is_asked_of),
        cmocka_unit_test(test_length_is_bounded),
        cmocka_unit_test(test_schemes_are_compared_whole),
        cmocka_unit_test(test_each_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
