#include "base/testing.h"
#include "wire/http1.h"

static const struct hg_field fields[] = {
    {{"Accept", 6}, {"a", 1}},
    {{"X-One", 5}, {"first", 5}},
    {{"x-one", 5}, {"second", 6}},
};

static void test_field_is_found_whatever_its_case_and_the_first_counts(void **state)
{
    struct hg_http1_request request = {.fields = fields, .field_count = 3};
    (void)state;
    assert_true(hg_bytes_eq(hg_http1_field(&request, "x-ONE"), HG_BYTES("first")));
    assert_null(hg_http1_field(&request, "x-on").data);
}

static struct hg_http1_request whole(void)
{
    return (struct hg_http1_request){
        .method = HG_PUT,
        .target = HG_BYTES("/a?b"),
        .path = HG_BYTES("/a"),
        .query = HG_BYTES("b"),
        .host = HG_BYTES("here"),
        .fields = fields,
        .field_count = 3,
        .body = HG_BYTES("the\0body"),
        .origin = HG_BYTES("https://o"),
        .origin_count = 1,
        .keep_alive = true,
    };
}

static void test_copy_shares_nothing_with_what_it_copies(void **state)
{
    struct hg_http1_request request = whole();
    char target[] = "/a?b";
    (void)state;
    request.target = hg_bytes(target, 4);
    struct hg_http1_request *copy = hg_http1_request_copy(&request);
    assert_non_null(copy);
    memset(target, 'x', 4);
    assert_true(hg_bytes_eq(copy->target, HG_BYTES("/a?b")));
    assert_true(hg_bytes_eq(copy->body, HG_BYTES("the\0body")));
    assert_true(hg_bytes_eq(copy->origin, HG_BYTES("https://o")));
    assert_null(copy->if_none_match.data);
    assert_int_equal(copy->field_count, 3);
    assert_true(hg_bytes_eq(hg_http1_field(copy, "accept"), HG_BYTES("a")));
    assert_ptr_not_equal(copy->fields, request.fields);
    assert_true(copy->keep_alive);
    hg_free(copy);
}

static void test_copy_without_memory_is_null(void **state)
{
    struct hg_http1_request request = whole();
    (void)state;
    size_t before = hg_alloc_live_bytes();
    hg_alloc_fail_at(0, false);
    assert_null(hg_http1_request_copy(&request));
    assert_true(hg_alloc_fail_clear());
    assert_int_equal(hg_alloc_live_bytes(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_field_is_found_whatever_its_case_and_the_first_counts),
        cmocka_unit_test(test_copy_shares_nothing_with_what_it_copies),
        cmocka_unit_test(test_copy_without_memory_is_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
