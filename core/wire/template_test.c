#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "wire/request_fixture.h"
#include "wire/template.h"

static struct hg_template *made(const char *text)
{
    struct hg_template *tmpl = NULL;
    char error[160];
    assert_int_equal(hg_template_create(hg_bytes_str(text), &tmpl, error, sizeof(error)), HG_OK);
    return tmpl;
}

static void test_templates_expand_to_exact_bytes(void **state)
{
    static const struct {
        const char *text, *target, *fields;
        int err;
        struct hg_bytes expected;
        const char *part;
    } rows[] = {
        {"{query.key}", "GET /?key=Tom", "", HG_OK, HG_BYTES("Tom"), NULL},
        {"{query.key}", "GET /?key=a%00b+c%2B", "", HG_OK, HG_BYTES("a\0b c+"), NULL},
        {"{query.key}", "GET /?key=%252e", "", HG_OK, HG_BYTES("%2e"), NULL},
        {"{query.key}", "GET /?k%65y=Tom", "", HG_OK, HG_BYTES("Tom"), NULL},
        {"{query.key}", "GET /", "", HG_ENOENT, {0}, "query.key"},
        {"{query.key}", "GET /?key=", "", HG_ENOENT, {0}, "query.key"},
        {"{query.key}", "GET /?key", "", HG_ENOENT, {0}, "query.key"},
        {"{query.key}", "GET /?key=a&key=a", "", HG_EINVAL, {0}, "query.key"},
        {"{query.key}", "GET /?key=%zz", "", HG_EPROTO, {0}, "query.key"},
        {"{query.key}", "GET /?key=%4", "", HG_EPROTO, {0}, "query.key"},
        {"{path.id}:{query.lang|en}", "GET /", "", HG_OK, HG_BYTES("4 2:en"), NULL},
        {"{path.id}:{query.lang|en}", "GET /?lang=de", "", HG_OK, HG_BYTES("4 2:de"), NULL},
        {"{path.id}:{query.lang|en}", "GET /?lang=", "", HG_OK, HG_BYTES("4 2:en"), NULL},
        {"{path.id}:{query.lang|en}", "GET /?lang=d&lang=e", "", HG_EINVAL, {0}, "query.lang"},
        {"{path.plus}", "GET /", "", HG_OK, HG_BYTES("a+b"), NULL},
        {"{path.empty}", "GET /", "", HG_ENOENT, {0}, "path.empty"},
        {"{path.empty|x}", "GET /", "", HG_OK, HG_BYTES("x"), NULL},
        {"{path.bad}", "GET /", "", HG_EPROTO, {0}, "path.bad"},
        {"{header.X-A}", "GET /", "x-a:  b%20c \r\n", HG_OK, HG_BYTES("b%20c"), NULL},
        {"{header.X-A|}", "GET /", "", HG_OK, HG_BYTES(""), NULL},
        {"{header.X-A}", "GET /", "", HG_ENOENT, {0}, "header.X-A"},
        {"a{{b}}c{query.k|{}", "GET /", "", HG_OK, HG_BYTES("a{b}c{"), NULL},
        {"plain", "GET /", "", HG_OK, HG_BYTES("plain"), NULL},
        {"{query.a}{query.b}", "GET /?a=12&b=34", "", HG_OK, HG_BYTES("1234"), NULL},
    };
    struct hg_path_params params = {
        .names = {HG_BYTES("id"), HG_BYTES("empty"), HG_BYTES("bad"), HG_BYTES("plus")},
        .values = {HG_BYTES("4%202"), HG_BYTES(""), HG_BYTES("%"), HG_BYTES("a+b")},
        .count = 4,
    };
    (void)state;
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        char out[64];
        size_t len = 0;
        const char *part = NULL;
        const struct hg_http1_request *request = request_of(rows[i].target, rows[i].fields);
        struct hg_template *tmpl = made(rows[i].text);
        int err = hg_template_expand(tmpl, request, &params, out, sizeof(out), &len, &part);
        if (err != rows[i].err)
            fail_msg("row %zu (%s): %d", i, rows[i].text, err);
        if (err == HG_OK) {
            if (!hg_bytes_eq(hg_bytes(out, len), rows[i].expected))
                fail_msg("row %zu (%s): %.*s", i, rows[i].text, (int)len, out);
            assert_int_equal(hg_template_expand(tmpl, request, &params, out, len, &len, &part),
                             HG_OK);
            if (len > 0)
                assert_int_equal(
                    hg_template_expand(tmpl, request, &params, out, len - 1, &len, &part),
                    HG_ETOOBIG);
        } else {
            assert_string_equal(part, rows[i].part);
        }
        hg_template_destroy(tmpl);
    }
}

static void test_bad_templates_say_what_was_expected(void **state)
{
    static const char *const rows[] = {
        "",         "{",          "{query.key", "}",           "a}b",  "{}",         "{key}",
        "{query.}", "{cookie.a}", "{Query.a}",  "{query.a{b}", "{|x}", "{{query.a}", "{query.a}}"};
    (void)state;
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        struct hg_template *tmpl = NULL;
        char error[160] = "";
        int err = hg_template_create(hg_bytes_str(rows[i]), &tmpl, error, sizeof(error));
        if (err != HG_EINVAL || error[0] == '\0' || tmpl != NULL)
            fail_msg("accepted: %s", rows[i]);
    }
    char many[32 * 12 + 40] = "";
    struct hg_template *tmpl = NULL;
    char error[160] = "";
    for (int i = 0; i < 33; i++)
        strcat(many, "{query.a|}");
    assert_int_equal(hg_template_create(hg_bytes_str(many), &tmpl, error, sizeof(error)),
                     HG_EINVAL);
    assert_int_equal(hg_template_create(HG_BYTES("{x}"), &tmpl, error, 0), HG_EINVAL);
}

static void test_unknown_path_names_are_found(void **state)
{
    (void)state;
    struct hg_template *tmpl = made("{path.id}{query.other}{path.rest}");
    struct hg_bytes names[] = {HG_BYTES("id"), HG_BYTES("rest")};
    assert_null(hg_template_unknown_path(tmpl, names, 2));
    assert_string_equal(hg_template_unknown_path(tmpl, names, 1), "rest");
    assert_string_equal(hg_template_unknown_path(tmpl, NULL, 0), "id");
    hg_template_destroy(tmpl);
}

static void test_creation_survives_every_allocation_failure(void **state)
{
    (void)state;
    size_t live = hg_alloc_live_bytes();
    int err = HG_ENOMEM;
    for (size_t nth = 0; err != HG_OK; nth++) {
        struct hg_template *tmpl = NULL;
        char error[80];
        assert_true(nth < 10);
        hg_alloc_fail_at(nth, false);
        err = hg_template_create(HG_BYTES("a{query.b|c}"), &tmpl, error, sizeof(error));
        assert_int_equal(hg_alloc_fail_clear(), err != HG_OK);
        assert_true(err == HG_OK || err == HG_ENOMEM);
        hg_template_destroy(tmpl);
        assert_int_equal(hg_alloc_live_bytes(), live);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_templates_expand_to_exact_bytes),
        cmocka_unit_test(test_bad_templates_say_what_was_expected),
        cmocka_unit_test(test_unknown_path_names_are_found),
        cmocka_unit_test(test_creation_survives_every_allocation_failure),
    };
    return cmocka_run_group_tests(tests, NULL, request_fixture_end);
}
