#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "wire/cors.h"
#include "wire/request_fixture.h"

static const struct hg_bytes good_origins[] = {HG_BYTES("https://good.example"),
                                               HG_BYTES("http://localhost:3000")};
static const struct hg_bytes any_origin[] = {HG_BYTES("*")};
static const struct hg_bytes some_methods[] = {HG_BYTES("GET"), HG_BYTES("PUT")};
static const struct hg_bytes some_headers[] = {HG_BYTES("X-Token")};
static const struct hg_bytes some_expose[] = {HG_BYTES("Age"), HG_BYTES("ETag")};

static const struct hg_cors_config exact = {
    .origins = good_origins,
    .origin_count = 2,
    .methods = some_methods,
    .method_count = 2,
    .headers = some_headers,
    .header_count = 1,
    .expose = some_expose,
    .expose_count = 2,
    .credentials = true,
    .max_age_s = 43200,
};

static const struct hg_cors_config any = {
    .origins = any_origin,
    .origin_count = 1,
    .methods = some_methods,
    .method_count = 2,
    .max_age_s = 60,
};

static struct hg_cors *made(const struct hg_cors_config *config)
{
    struct hg_cors *cors = NULL;
    char error[200] = "";
    if (hg_cors_create(config, &cors, error, sizeof(error)) != HG_OK)
        fail_msg("%s", error);
    return cors;
}

static void check(const struct hg_cors *cors, bool is_preflight, const char *line,
                  const char *fields, const char *expected)
{
    struct hg_buf buf;
    const struct hg_http1_request *request = request_of(line, fields);
    hg_buf_init(&buf, 4096);
    int err = is_preflight ? hg_cors_preflight(cors, request, false, &buf)
                           : hg_cors_answer(cors, request, false, &buf);
    assert_int_equal(err, HG_OK);
    if (!hg_bytes_eq(hg_buf_bytes(&buf), hg_bytes_str(expected)))
        fail_msg("%s: %.*s", fields, (int)buf.len, buf.data);
    hg_buf_finish(&buf);
}

#define CREDENTIALS "Access-Control-Allow-Credentials: true\r\n"

static void test_g7_only_the_exact_origin_is_allowed(void **state)
{
    static const struct {
        const char *fields;
        const char *allowed; /* NULL: no CORS field */
    } rows[] = {
        {"Origin: https://good.example\r\n", "https://good.example"},
        {"Origin:   https://good.example \r\n", "https://good.example"},
        {"Origin: http://localhost:3000\r\n", "http://localhost:3000"},
        {"", NULL},
        {"Origin:\r\n", NULL},
        {"Origin: null\r\n", NULL},
        {"Origin: *\r\n", NULL},
        {"Origin: https://good.example.evil.example\r\n", NULL},
        {"Origin: https://evilgood.example\r\n", NULL},
        {"Origin: https://evil.example/https://good.example\r\n", NULL},
        {"Origin: http://good.example\r\n", NULL},
        {"Origin: https://good.example:443\r\n", NULL},
        {"Origin: https://good.example:8443\r\n", NULL},
        {"Origin: http://localhost\r\n", NULL},
        {"Origin: http://localhost:30000\r\n", NULL},
        {"Origin: https://GOOD.example\r\n", NULL},
        {"Origin: HTTPS://good.example\r\n", NULL},
        {"Origin: https://good.example/\r\n", NULL},
        {"Origin: https://good.example.\r\n", NULL},
        {"Origin: https://good.example, *\r\n", NULL},
        {"Origin: https://good.example https://evil.example\r\n", NULL},
        {"Origin: https://good.example\r\nOrigin: https://good.example\r\n", NULL},
        {"Origin: https://good.example\r\nOrigin: https://evil.example\r\n", NULL},
        {"Origin: https://goodxexample\r\n", NULL},
        {"Origin: https://good.exampl\r\n", NULL},
        {"Origin: good.example\r\n", NULL},
        {"Origin: https://user@good.example\r\n", NULL},
        {"Origin: https://good.example\xff\r\n", NULL},
    };
    (void)state;
    struct hg_cors *cors = made(&exact);
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        char expected[300] = "Vary: Origin\r\n";
        if (rows[i].allowed != NULL) {
            snprintf(expected, sizeof(expected),
                     "Vary: Origin\r\nAccess-Control-Allow-Origin: %s\r\n" CREDENTIALS
                     "Access-Control-Expose-Headers: Age, ETag\r\n",
                     rows[i].allowed);
        }
        check(cors, false, "GET /", rows[i].fields, expected);
        if (rows[i].allowed != NULL) {
            snprintf(expected, sizeof(expected),
                     "Vary: Origin\r\nAccess-Control-Allow-Origin: %s\r\n" CREDENTIALS
                     "Access-Control-Allow-Methods: GET, PUT\r\nAccess-Control-Allow-Headers: "
                     "X-Token\r\n"
                     "Access-Control-Max-Age: 43200\r\n",
                     rows[i].allowed);
        }
        check(cors, true, "OPTIONS /", rows[i].fields, expected);
    }
    hg_cors_destroy(cors);
}

static void test_null_matches_only_where_it_is_listed(void **state)
{
    (void)state;
    const struct hg_bytes origins[] = {HG_BYTES("null")};
    struct hg_cors *cors = made(&(struct hg_cors_config){.origins = origins, .origin_count = 1});
    check(cors, false, "GET /", "Origin: null\r\n",
          "Vary: Origin\r\nAccess-Control-Allow-Origin: null\r\n");
    check(cors, false, "GET /", "Origin: https://null\r\n", "Vary: Origin\r\n");
    hg_cors_destroy(cors);
}

static void test_any_origin_is_literal_without_vary(void **state)
{
    (void)state;
    struct hg_cors *cors = made(&any);
    check(cors, false, "GET /", "Origin: https://x.example\r\n",
          "Access-Control-Allow-Origin: *\r\n");
    check(cors, false, "GET /", "", "Access-Control-Allow-Origin: *\r\n");
    check(cors, true, "OPTIONS /", "Origin: https://x.example\r\n",
          "Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Methods: GET, "
          "PUT\r\nAccess-Control-Max-Age: 60\r\n");
    hg_cors_destroy(cors);
}

static void test_without_cors_nothing_is_added(void **state)
{
    (void)state;
    check(NULL, false, "GET /", "Origin: https://good.example\r\n", "");
    check(NULL, true, "OPTIONS /", "Origin: https://good.example\r\n", "");
    hg_cors_destroy(NULL);
}

static void test_g8_and_other_bad_configurations_are_refused(void **state)
{
#define ORIGINS(...)                                                                               \
    (const struct hg_bytes[])                                                                      \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }
    const struct hg_cors_config rows[] = {
        {.origins = any_origin, .origin_count = 1, .credentials = true},
        {.origins = ORIGINS(HG_BYTES("*"), HG_BYTES("https://a")), .origin_count = 2},
        {.origins = ORIGINS(HG_BYTES("https://a"), HG_BYTES("*")), .origin_count = 2},
        {.origins = NULL, .origin_count = 0},
        {.origins = ORIGINS(HG_BYTES("")), .origin_count = 1},
        {.origins = ORIGINS(HG_BYTES("example.com")), .origin_count = 1},
        {.origins = ORIGINS(HG_BYTES("https://a/")), .origin_count = 1},
        {.origins = ORIGINS(HG_BYTES("https://a/b")), .origin_count = 1},
        {.origins = ORIGINS(HG_BYTES("https://*.a")), .origin_count = 1},
        {.origins = ORIGINS(HG_BYTES("https://A")), .origin_count = 1},
        {.origins = ORIGINS(HG_BYTES("https://")), .origin_count = 1},
        {.origins = ORIGINS(HG_BYTES("://a")), .origin_count = 1},
        {.origins = ORIGINS(HG_BYTES("https://a, https://b")), .origin_count = 1},
        {.origins = ORIGINS(HG_BYTES("https://a\r\nX: y")), .origin_count = 1},
        {.origins = ORIGINS(HG_BYTES("https://a\0b")), .origin_count = 1},
        {.origins = good_origins,
         .origin_count = 2,
         .methods = ORIGINS(HG_BYTES("GET, PUT")),
         .method_count = 1},
        {.origins = good_origins,
         .origin_count = 2,
         .headers = ORIGINS(HG_BYTES("X\r\nY")),
         .header_count = 1},
        {.origins = good_origins,
         .origin_count = 2,
         .expose = ORIGINS(HG_BYTES("")),
         .expose_count = 1},
    };
    (void)state;
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        struct hg_cors *cors = NULL;
        char error[200] = "";
        if (hg_cors_create(&rows[i], &cors, error, sizeof(error)) != HG_EINVAL ||
            error[0] == '\0' || cors != NULL)
            fail_msg("accepted row %zu", i);
    }
}

static void test_g9_a_preflight_is_options_with_origin_and_method(void **state)
{
    (void)state;
    assert_true(hg_cors_is_preflight(
        request_of("OPTIONS /", "Origin: https://a\r\nAccess-Control-Request-Method: PUT\r\n")));
    assert_true(hg_cors_is_preflight(
        request_of("OPTIONS *", "access-control-request-method: X\r\norigin: https://a\r\n")));
    assert_false(hg_cors_is_preflight(request_of("OPTIONS /", "Origin: https://a\r\n")));
    assert_false(
        hg_cors_is_preflight(request_of("OPTIONS /", "Access-Control-Request-Method: PUT\r\n")));
    assert_false(hg_cors_is_preflight(
        request_of("GET /", "Origin: https://a\r\nAccess-Control-Request-Method: PUT\r\n")));
}

static void test_g9_whatever_is_asked_for_the_lists_are_exact(void **state)
{
    static const char lists[] =
        "Vary: Origin\r\nAccess-Control-Allow-Origin: https://good.example\r\n" CREDENTIALS
        "Access-Control-Allow-Methods: GET, PUT\r\nAccess-Control-Allow-Headers: X-Token\r\n"
        "Access-Control-Max-Age: 43200\r\n";
    (void)state;
    struct hg_cors *cors = made(&exact);
    static char many[15000];
    strcpy(many, "Origin: https://good.example\r\nAccess-Control-Request-Method: "
                 "DELETE\r\nAccess-Control-Request-Headers: ");
    memset(many + strlen(many), 'a', 12000);
    strcat(many, "\r\n");
    check(cors, true, "OPTIONS /",
          "Origin: https://good.example\r\nAccess-Control-Request-Method: DELETE\r\n", lists);
    check(cors, true, "OPTIONS /",
          "Origin: https://good.example\r\nAccess-Control-Request-Method: "
          "GET\r\nAccess-Control-Request-Headers: x-evil\r\n",
          lists);
    check(cors, true, "OPTIONS /", many, lists);
    check(cors, true, "OPTIONS /", "Access-Control-Request-Method: GET\r\n", "Vary: Origin\r\n");
    check(cors, true, "OPTIONS /", "", "Vary: Origin\r\n");
    hg_cors_destroy(cors);
    cors = made(&any);
    check(cors, true, "OPTIONS /", "Access-Control-Request-Method: GET\r\n", "");
    hg_cors_destroy(cors);
}

static void test_by_function_the_word_counts(void **state)
{
    static const struct {
        const char *fields;
        bool is_asking;
    } rows[] = {
        {"Origin: https://good.example\r\n", true},
        {"Origin: null\r\n", true},
        {"", false},
        {"Origin: *\r\n", false},
        {"Origin: https://good.example/\r\n", false},
        {"Origin: https://good.example\r\nOrigin: https://good.example\r\n", false},
    };
    (void)state;
    struct hg_cors *cors = made(&(struct hg_cors_config){.by_function = true, .credentials = true});
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        const struct hg_http1_request *request = request_of("GET /", rows[i].fields);
        struct hg_buf buf;
        assert_int_equal(hg_cors_is_asking(cors, request), rows[i].is_asking);
        assert_false(hg_cors_is_asking(NULL, request));
        check(cors, false, "GET /", rows[i].fields, "Vary: Origin\r\n"); /* without a word: no */
        hg_buf_init(&buf, 4096);
        request = request_of("GET /", rows[i].fields);
        assert_int_equal(hg_cors_answer(cors, request, true, &buf), HG_OK);
        assert_int_equal(memmem(buf.data, buf.len, "Allow-Origin", 12) != NULL, rows[i].is_asking);
        hg_buf_finish(&buf);
    }
    hg_cors_destroy(cors);
    cors = made(&exact); /* with a list it has nothing to say */
    const struct hg_http1_request *request =
        request_of("GET /", "Origin: https://evil.example\r\n");
    struct hg_buf buf;
    assert_false(hg_cors_is_asking(cors, request));
    hg_buf_init(&buf, 4096);
    assert_int_equal(hg_cors_answer(cors, request, true, &buf), HG_OK);
    assert_null(memmem(buf.data, buf.len, "Allow-Origin", 12));
    hg_buf_finish(&buf);
    hg_cors_destroy(cors);
}

static void test_a_full_buffer_keeps_what_it_had(void **state)
{
    (void)state;
    struct hg_cors *cors = made(&exact);
    const struct hg_http1_request *request =
        request_of("GET /", "Origin: https://good.example\r\n");
    for (size_t max = 2; max < 400; max++) {
        struct hg_buf buf;
        hg_buf_init(&buf, max);
        assert_int_equal(hg_buf_append_str(&buf, "ab"), HG_OK);
        int err = hg_cors_answer(cors, request, false, &buf);
        assert_true(err == HG_OK || (err == HG_ETOOBIG && buf.len == 2));
        if (max == 399)
            assert_int_equal(err, HG_OK);
        hg_buf_finish(&buf);
    }
    hg_cors_destroy(cors);
}

static void test_creation_survives_every_allocation_failure(void **state)
{
    (void)state;
    size_t live = hg_alloc_live_bytes();
    int err = HG_ENOMEM;
    for (size_t nth = 0; err != HG_OK; nth++) {
        struct hg_cors *cors = NULL;
        char error[80];
        assert_true(nth < 20);
        hg_alloc_fail_at(nth, false);
        err = hg_cors_create(&exact, &cors, error, sizeof(error));
        assert_int_equal(err, hg_alloc_fail_clear() ? HG_ENOMEM : HG_OK);
        hg_cors_destroy(cors);
        assert_int_equal(hg_alloc_live_bytes(), live);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_g7_only_the_exact_origin_is_allowed),
        cmocka_unit_test(test_null_matches_only_where_it_is_listed),
        cmocka_unit_test(test_any_origin_is_literal_without_vary),
        cmocka_unit_test(test_without_cors_nothing_is_added),
        cmocka_unit_test(test_g8_and_other_bad_configurations_are_refused),
        cmocka_unit_test(test_g9_a_preflight_is_options_with_origin_and_method),
        cmocka_unit_test(test_g9_whatever_is_asked_for_the_lists_are_exact),
        cmocka_unit_test(test_by_function_the_word_counts),
        cmocka_unit_test(test_a_full_buffer_keeps_what_it_had),
        cmocka_unit_test(test_creation_survives_every_allocation_failure),
    };
    return cmocka_run_group_tests(tests, NULL, request_fixture_end);
}
