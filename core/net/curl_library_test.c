#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "net/curl_library.h"

static void test_libcurl_is_loaded_once(void **state)
{
    (void)state;
    assert_null(hg_curl);
    assert_int_equal(hg_curl_load(), HG_OK);
    const struct hg_curl *first = hg_curl;
    assert_non_null(first);
    assert_int_equal(hg_curl_load(), HG_OK);
    assert_ptr_equal(hg_curl, first);
}

static void test_its_functions_work(void **state)
{
    (void)state;
    assert_int_equal(hg_curl_load(), HG_OK);
    CURL *easy = hg_curl->easy_init();
    assert_non_null(easy);
    assert_int_equal(hg_curl->easy_setopt(easy, CURLOPT_URL, "gopher://127.0.0.1/"), CURLE_OK);
    assert_int_equal(hg_curl->easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http"), CURLE_OK);
    assert_int_equal(hg_curl->easy_perform(easy), CURLE_UNSUPPORTED_PROTOCOL);
    hg_curl->easy_cleanup(easy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_libcurl_is_loaded_once),
        cmocka_unit_test(test_its_functions_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
