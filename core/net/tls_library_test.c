#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "net/tls_library.h"

static void test_openssl_is_loaded_once(void **state)
{
    (void)state;
    assert_null(hg_ssl);
    assert_int_equal(hg_ssl_load(), HG_OK);
    const struct hg_ssl *first = hg_ssl;
    assert_non_null(first);
    assert_int_equal(hg_ssl_load(), HG_OK);
    assert_ptr_equal(hg_ssl, first);
}

static void test_its_functions_work(void **state)
{
    (void)state;
    assert_int_equal(hg_ssl_load(), HG_OK);
    SSL_CTX *context = hg_ssl->SSL_CTX_new(hg_ssl->TLS_client_method());
    assert_non_null(context);
    hg_ssl->SSL_CTX_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_openssl_is_loaded_once),
        cmocka_unit_test(test_its_functions_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
