#include "base/testing.h"
#include "wire/http1.h"

static void test_preface_is_recognised_from_its_first_byte(void **state)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    (void)state;
    for (size_t len = 0; len < sizeof(preface) - 1; len++)
        assert_int_equal(hg_http1_is_h2_preface(hg_bytes(preface, len)), 0);
    assert_int_equal(hg_http1_is_h2_preface(HG_BYTES("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")), 1);
    assert_int_equal(hg_http1_is_h2_preface(HG_BYTES("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore")), 1);
    assert_int_equal(hg_http1_is_h2_preface(HG_BYTES("GET / HTTP/1.1\r\n")), -1);
    assert_int_equal(hg_http1_is_h2_preface(HG_BYTES("PRI * HTTP/1")), -1);
}

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
        cmocka_unit_test(test_preface_is_recognised_from_its_first_byte),
        cmocka_unit_test(test_field_is_found_whatever_its_case_and_the_first_counts),
        cmocka_unit_test(test_copy_shares_nothing_with_what_it_copies),
        cmocka_unit_test(test_copy_without_memory_is_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
