#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "base/alloc.h"
#include "base/err.h"
#include "wire/route.h"

static struct hg_routes *routes_of(const char *const *patterns, size_t count)
{
    struct hg_routes *routes = NULL;
    char error[200] = "";
    assert_int_equal(hg_routes_create(&routes), HG_OK);
    for (size_t i = 0; i < count; i++) {
        int err = hg_routes_add(routes, hg_bytes_str(patterns[i]), (void *)(uintptr_t)patterns[i],
                                error, sizeof(error));
        if (err != HG_OK)
            fail_msg("%s: %s", patterns[i], error);
    }
    return routes;
}

static void test_the_most_specific_route_wins(void **state)
{
    static const char *const patterns[] = {
        "GET /",         "GET /api",          "GET /users/:id",
        "GET /users/me", "POST /users/:user", "GET /a/:x/c",
        "GET /:y/b/d",   "GET /files/*path",  "GET /files/:one/info",
        "HEAD /api",     "PUT /users/me",     "GET /sp ace/x",
        "GET /*all",     "GET /a//b",         "DELETE /deep/:a/:b/*c",
    };
    static const struct {
        enum hg_method method;
        const char *path, *pattern, *params;
    } rows[] = {
        {HG_GET, "/", "GET /", ""},
        {HG_GET, "/api", "GET /api", ""},
        {HG_HEAD, "/api", "HEAD /api", ""},
        {HG_HEAD, "/users/7", "GET /users/:id", "id=7;"},
        {HG_GET, "/users/7", "GET /users/:id", "id=7;"},
        {HG_POST, "/users/7", "POST /users/:user", "user=7;"},
        {HG_GET, "/users/me", "GET /users/me", ""},
        {HG_GET, "/users/m%65", "GET /users/me", ""},
        {HG_POST, "/users/me", "POST /users/:user", "user=me;"},
        {HG_GET, "/users/a%2Fb", "GET /users/:id", "id=a%2Fb;"},
        {HG_GET, "/users/", "GET /*all", "all=users/;"},
        {HG_GET, "/a/b/c", "GET /a/:x/c", "x=b;"},
        {HG_GET, "/a/b/d", "GET /:y/b/d", "y=a;"},
        {HG_GET, "/files/", "GET /files/*path", "path=;"},
        {HG_GET, "/files/a/b", "GET /files/*path", "path=a/b;"},
        {HG_GET, "/files/a/info", "GET /files/:one/info", "one=a;"},
        {HG_GET, "/files//info", "GET /files/*path", "path=/info;"},
        {HG_GET, "/files", "GET /*all", "all=files;"},
        {HG_GET, "/api/", "GET /*all", "all=api/;"},
        {HG_GET, "/sp%20ace/x", "GET /sp ace/x", ""},
        {HG_GET, "/sp+ace/x", "GET /*all", "all=sp+ace/x;"},
        {HG_GET, "/a//b", "GET /a//b", ""},
        {HG_DELETE, "/deep/1/2/3/4", "DELETE /deep/:a/:b/*c", "a=1;b=2;c=3/4;"},
        {HG_DELETE, "/deep/1/2", NULL, ""},
        {HG_PUT, "/api", NULL, ""},
        {HG_GET, "", NULL, ""},
        {HG_OPTIONS, "*", NULL, ""},
    };
    (void)state;
    struct hg_routes *routes = routes_of(patterns, HG_COUNT(patterns));
    size_t live = hg_alloc_live_count();
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        struct hg_route_match match;
        char params[128] = "";
        assert_int_equal(
            hg_routes_match(routes, rows[i].method, hg_bytes_str(rows[i].path), &match), HG_OK);
        for (size_t k = 0; k < match.params.count; k++) {
            strncat(params, match.params.names[k].data, match.params.names[k].len);
            strcat(params, "=");
            strncat(params, match.params.values[k].data, match.params.values[k].len);
            strcat(params, ";");
        }
        const char *found = match.target;
        if ((found == NULL) != (rows[i].pattern == NULL) ||
            (found != NULL && strcmp(found, rows[i].pattern) != 0))
            fail_msg("%s: %s", rows[i].path, found == NULL ? "none" : found);
        assert_string_equal(params, rows[i].params);
    }
    assert_int_equal(hg_alloc_live_count(), live);
    hg_routes_destroy(routes);
}

static void test_paths_of_other_methods_tell_which(void **state)
{
    static const char *const patterns[] = {"GET /a", "PUT /a", "DELETE /:x", "POST /b"};
    (void)state;
    struct hg_routes *routes = routes_of(patterns, HG_COUNT(patterns));
    struct hg_route_match match;
    char text[64];
    assert_int_equal(hg_routes_match(routes, HG_POST, HG_BYTES("/a"), &match), HG_OK);
    assert_null(match.target);
    assert_int_equal(match.allowed_methods, 1u << HG_GET | 1u << HG_PUT | 1u << HG_DELETE);
    assert_string_equal(hg_methods_format(match.allowed_methods, text, sizeof(text)),
                        "GET, HEAD, PUT, DELETE, OPTIONS");
    assert_int_equal(hg_routes_match(routes, HG_GET, HG_BYTES("/a/b"), &match), HG_OK);
    assert_int_equal(match.allowed_methods, 0);
    assert_string_equal(hg_methods_format(1u << HG_POST, text, sizeof(text)), "POST, OPTIONS");
    assert_string_equal(hg_methods_format(1u << HG_GET, text, 8), "GET");
    hg_routes_destroy(routes);
}

static void test_badly_encoded_paths_are_refused(void **state)
{
    static const char *const patterns[] = {"GET /*all"};
    static const char *const paths[] = {"/%", "/%4", "/%zz", "/a/%g0/b"};
    (void)state;
    struct hg_routes *routes = routes_of(patterns, 1);
    struct hg_route_match match;
    for (size_t i = 0; i < HG_COUNT(paths); i++)
        assert_int_equal(hg_routes_match(routes, HG_GET, hg_bytes_str(paths[i]), &match),
                         HG_EPROTO);
    hg_routes_destroy(routes);
}

static void test_bad_patterns_are_refused_with_a_message(void **state)
{
    static const char *const rows[] = {
        "",
        "GET",
        "/a",
        "GET a",
        "get /a",
        "BREW /a",
        " /a",
        "GET /:",
        "GET /*",
        "GET /:a-b",
        "GET /*a/b",
        "GET /:a/:a",
        "GET /:a/*a",
        "GET /a?b",
        "GET /a#b",
        "GET /known",
        "GET /:other/known",
        "GET /:a/:b/:c/:d/:e/:f/:g/:h/:i/:j/:k/:l/:m/:n/:o/:p/:q",
    };
    static const char *const known[] = {"GET /known", "GET /:x/known"};
    (void)state;
    struct hg_routes *routes = routes_of(known, HG_COUNT(known));
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        char error[200] = "";
        if (hg_routes_add(routes, hg_bytes_str(rows[i]), routes, error, sizeof(error)) !=
                HG_EINVAL ||
            error[0] == '\0')
            fail_msg("accepted: %s", rows[i]);
    }
    hg_routes_destroy(routes);
}

static void test_names_of_a_pattern(void **state)
{
    (void)state;
    struct hg_bytes names[16];
    assert_int_equal(hg_route_param_names(HG_BYTES("GET /a/:id/*rest"), names), 2);
    assert_true(hg_bytes_eq(names[0], HG_BYTES("id")));
    assert_true(hg_bytes_eq(names[1], HG_BYTES("rest")));
    assert_int_equal(hg_route_param_names(HG_BYTES("GET /a"), names), 0);
    assert_int_equal(hg_route_param_names(HG_BYTES("nonsense"), names), 0);
}

static void test_adding_survives_every_allocation_failure(void **state)
{
    (void)state;
    size_t live = hg_alloc_live_bytes();
    bool was_refused = true;
    for (size_t nth = 0; was_refused; nth++) {
        struct hg_routes *routes = NULL;
        struct hg_route_match match;
        char error[80];
        assert_true(nth < 50);
        hg_alloc_fail_at(nth, false);
        int err = hg_routes_create(&routes);
        if (err == HG_OK)
            err = hg_routes_add(routes, HG_BYTES("GET /a/:b/*c"), routes, error, sizeof(error));
        was_refused = hg_alloc_fail_clear();
        assert_int_equal(err, was_refused ? HG_ENOMEM : HG_OK);
        if (routes != NULL &&
            err != HG_OK) { /* nothing half-added is found, and it can be added again */
            assert_int_equal(hg_routes_match(routes, HG_GET, HG_BYTES("/a/1/2"), &match), HG_OK);
            assert_int_equal(match.allowed_methods, 0);
            assert_int_equal(
                hg_routes_add(routes, HG_BYTES("GET /a/:b/*c"), routes, error, sizeof(error)),
                HG_OK);
        }
        hg_routes_destroy(routes);
        assert_int_equal(hg_alloc_live_bytes(), live);
    }
}

/* The rule as the header states it, over a list: candidates that fit, then segment by segment from the left. */
static bool fits(const char *pattern, const char *path)
{
    while (true) {
        size_t a = strcspn(pattern, "/"), b = strcspn(path, "/");
        if (pattern[0] == '*')
            return true;
        if (pattern[0] == ':' ? b == 0 : a != b || memcmp(pattern, path, a) != 0)
            return false;
        pattern += a;
        path += b;
        if (*pattern == '\0' || *path == '\0')
            return *pattern == *path;
        pattern++;
        path++;
    }
}

static int compare_ranks(const char *a, const char *b)
{
    /* Both fit the same path; the first segment of another kind decides. */
    for (;; a++, b++) {
        char first = *a == '*' || *a == ':' ? *a : 'l', second = *b == '*' || *b == ':' ? *b : 'l';
        if (first != second)
            return first == 'l' || second == '*' ? 1 : -1;
        a += strcspn(a, "/");
        b += strcspn(b, "/");
        if (*a == '\0' || *b == '\0')
            return 0;
    }
}

static void test_random_tables_agree_with_the_rule(void **state)
{
    static const char *const segments[] = {"a", "b", ":x", "c"};
    (void)state;
    uint64_t random = 7;
    for (int round = 0; round < 3000; round++) {
        char patterns[12][64], error[200];
        size_t count = 0;
        struct hg_routes *routes;
        assert_int_equal(hg_routes_create(&routes), HG_OK);
        for (int i = 0; i < 12; i++) {
            char text[64] = "GET ";
            size_t depth;
            random = random * 6364136223846793005u + 1442695040888963407u;
            depth = 1 + (random >> 60) % 4;
            for (size_t k = 0; k < depth; k++) {
                char segment[8];
                size_t kind = (random >> (20 + 8 * k)) % 5;
                if (kind == 4 && k + 1 == depth)
                    strcpy(segment, "*r");
                else if (kind % 4 == 2)
                    sprintf(segment, ":x%zu", k);
                else
                    strcpy(segment, segments[kind % 4]);
                strcat(text, "/");
                strcat(text, segment);
            }
            if (hg_routes_add(routes, hg_bytes_str(text), patterns[count], error, sizeof(error)) ==
                HG_OK)
                strcpy(patterns[count++], text + 5);
        }
        for (int i = 0; i < 20; i++) {
            char path[32] = "";
            struct hg_route_match match;
            const char *best = NULL;
            random = random * 6364136223846793005u + 1442695040888963407u;
            for (size_t k = 0; k <= (random >> 60) % 4; k++) {
                static const char *const parts[] = {"/a", "/b", "/c", "/z", "/"};
                strcat(path, parts[(random >> (20 + 8 * k)) % 5]);
            }
            for (size_t k = 0; k < count; k++) {
                if (fits(patterns[k], path + 1) &&
                    (best == NULL || compare_ranks(patterns[k], best) > 0))
                    best = patterns[k];
            }
            assert_int_equal(hg_routes_match(routes, HG_GET, hg_bytes_str(path), &match), HG_OK);
            if (match.target != best)
                fail_msg("round %d, %s: found %s, expected %s", round, path,
                         match.target == NULL ? "none" : (char *)match.target,
                         best == NULL ? "none" : best);
        }
        hg_routes_destroy(routes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_most_specific_route_wins),
        cmocka_unit_test(test_paths_of_other_methods_tell_which),
        cmocka_unit_test(test_badly_encoded_paths_are_refused),
        cmocka_unit_test(test_bad_patterns_are_refused_with_a_message),
        cmocka_unit_test(test_names_of_a_pattern),
        cmocka_unit_test(test_adding_survives_every_allocation_failure),
        cmocka_unit_test(test_random_tables_agree_with_the_rule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
