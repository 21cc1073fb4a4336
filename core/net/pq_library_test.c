#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "net/pq_library.h"

static void test_libpq_is_loaded_once(void **state)
{
    (void)state;
    assert_null(hg_pq);
    assert_int_equal(hg_pq_load(), HG_OK);
    const struct hg_pq *first = hg_pq;
    assert_non_null(first);
    assert_int_equal(hg_pq_load(), HG_OK);
    assert_ptr_equal(hg_pq, first);
}

static void test_its_functions_work(void **state)
{
    char *error = NULL;
    (void)state;
    assert_int_equal(hg_pq_load(), HG_OK);
    assert_null(hg_pq->conninfoParse("nonsense", &error));
    assert_non_null(error);
    hg_pq->freemem(error);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_libpq_is_loaded_once),
        cmocka_unit_test(test_its_functions_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
