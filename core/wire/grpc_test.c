#include "wire/grpc.h"

#include "base/testing.h"

#define B(text)                                                                                    \
    {                                                                                              \
        text, sizeof(text) - 1                                                                     \
    }

static void test_message_is_read_whole_and_cut_at_each_byte(void **state)
{
    (void)state;
    static const char body[] = "\0\0\0\0\5hello";
    struct hg_bytes message = HG_BYTES_NONE;
    for (size_t len = 0; len < sizeof(body) - 1; len++)
        assert_int_equal(hg_grpc_message_read(hg_bytes(body, len), 5, &message), HG_EPROTO);
    assert_null(message.data);
    assert_int_equal(hg_grpc_message_read(hg_bytes(body, 10), 5, &message), HG_OK);
    assert_true(hg_bytes_eq(message, HG_BYTES("hello")));
}

static void test_message_of_no_bytes_is_a_message(void **state)
{
    (void)state;
    struct hg_bytes message;
    assert_int_equal(hg_grpc_message_read(hg_bytes("\0\0\0\0\0", 5), 5, &message), HG_OK);
    assert_int_equal(message.len, 0);
}

static void test_hostile_bodies_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        struct hg_bytes body;
        int err;
    } rows[] = {
        {"nothing", B(""), HG_EPROTO},
        {"more than declared", B("\0\0\0\0\1ab"), HG_EPROTO},
        {"two messages", B("\0\0\0\0\1a\0\0\0\0\1b"), HG_EPROTO},
        {"a byte over the maximum", B("\0\0\0\0\6abcdef"), HG_ETOOBIG},
        {"4 GiB, and nothing behind it", B("\0\xff\xff\xff\xff"), HG_ETOOBIG},
        {"4 GiB, compressed", B("\1\xff\xff\xff\xff"), HG_ETOOBIG},
        {"compressed", B("\1\0\0\0\1a"), HG_EINVAL},
        {"flags of none", B("\2\0\0\0\1a"), HG_EPROTO},
        {"all flags", B("\xff\0\0\0\1a"), HG_EPROTO},
        {"flags of none alone", B("\2"), HG_EPROTO},
    };
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        struct hg_bytes message;
        int err = hg_grpc_message_read(rows[i].body, 5, &message);
        if (err != rows[i].err)
            fail_msg("%s: %s", rows[i].what, hg_err_name(err));
    }
}

static void test_prefix_written_is_read_back(void **state)
{
    (void)state;
    static const size_t lens[] = {0, 1, 255, 256, 65535, 65536, 16777215, 16777216, 0xffffffff};
    for (size_t i = 0; i < HG_COUNT(lens); i++) {
        char text[HG_GRPC_PREFIX];
        struct hg_grpc_prefix prefix;
        hg_grpc_prefix_write(lens[i], text);
        assert_int_equal(hg_grpc_prefix_read(hg_bytes(text, sizeof(text)), &prefix), HG_OK);
        assert_false(prefix.is_compressed);
        assert_int_equal(prefix.len, lens[i]);
    }
}

static void test_timeouts_are_read(void **state)
{
    (void)state;
    static const struct {
        struct hg_bytes text;
        uint64_t ms;
    } good[] = {
        {B("1m"), 1},        {B("250m"), 250},   {B("1S"), 1000},
        {B("2M"), 120000},   {B("1H"), 3600000}, {B("0S"), 0},
        {B("1u"), 1},        {B("1000u"), 1},    {B("1001u"), 2},
        {B("1n"), 1},        {B("1000000n"), 1}, {B("99999999H"), 359999996400000},
        {B("00000001m"), 1},
    };
    static const struct hg_bytes bad[] = {
        B(""),           B("1"),  B("S"),   B("-1S"), B("+1S"), B("1.5S"), B("99999999999H"),
        B("123456789S"), B("1s"), B("1 S"), B("1SS"), B(" 1S"), B("\0S"),  B("1\0"),
        B("1h"),
    };
    for (size_t i = 0; i < HG_COUNT(good); i++) {
        uint64_t ms = 77;
        assert_int_equal(hg_grpc_timeout_read(good[i].text, &ms), HG_OK);
        assert_int_equal(ms, good[i].ms);
    }
    for (size_t i = 0; i < HG_COUNT(bad); i++) {
        uint64_t ms = 77;
        assert_int_equal(hg_grpc_timeout_read(bad[i], &ms), HG_EPROTO);
        assert_int_equal(ms, 77);
    }
}

static void test_timeout_written_is_never_longer(void **state)
{
    (void)state;
    struct hg_test_random random = {1};
    for (unsigned i = 0; i < 20000; i++) {
        uint64_t ms = hg_test_u64(&random) >> hg_test_below(&random, 64), again;
        char text[HG_GRPC_TIMEOUT_SIZE];
        size_t len = hg_grpc_timeout_write(ms, text);
        assert_int_equal(hg_grpc_timeout_read(hg_bytes(text, len), &again), HG_OK);
        assert_true(again <= ms);
        if (ms < 100000000)
            assert_int_equal(again, ms);
    }
}

static void test_content_types(void **state)
{
    (void)state;
    static const struct hg_bytes good[] = {B("application/grpc"), B("application/grpc+proto"),
                                           B("Application/gRPC; charset=utf-8")};
    static const struct hg_bytes bad[] = {B(""),
                                          B("application/grpc+json"),
                                          B("application/grpc-web"),
                                          B("application/grpcx"),
                                          B("text/plain"),
                                          B(";")};
    for (size_t i = 0; i < HG_COUNT(good); i++)
        assert_true(hg_grpc_is_content_type(good[i]));
    for (size_t i = 0; i < HG_COUNT(bad); i++)
        assert_false(hg_grpc_is_content_type(bad[i]));
}

static void test_codes_have_names_and_come_from_statuses(void **state)
{
    (void)state;
    static const struct {
        int http, code;
    } rows[] = {{200, 0},  {404, 5},  {400, 3}, {414, 3}, {403, 7},
                {502, 13}, {503, 14}, {504, 4}, {413, 8}};
    for (size_t i = 0; i < HG_COUNT(rows); i++)
        assert_int_equal(hg_grpc_code_from_http(rows[i].http), rows[i].code);
    assert_string_equal(hg_grpc_code_name(5), "NOT_FOUND");
    assert_string_equal(hg_grpc_code_name(16), "UNAUTHENTICATED");
    assert_string_equal(hg_grpc_code_name(17), "UNKNOWN");
    assert_string_equal(hg_grpc_code_name(-1), "UNKNOWN");
}

static void test_text_is_percent_encoded(void **state)
{
    (void)state;
    struct hg_buf buf;
    hg_buf_init(&buf, 4096);
    assert_int_equal(hg_grpc_text_encode(&buf, HG_BYTES("100% of \"this\"\n\xc3\xa9~\x7f"), 100),
                     HG_OK);
    assert_true(hg_bytes_eq(hg_buf_bytes(&buf), HG_BYTES("100%25 of \"this\"%0A%C3%A9~%7F")));
    hg_buf_clear(&buf);
    assert_int_equal(hg_grpc_text_encode(&buf, HG_BYTES("abcdef"), 3), HG_OK);
    assert_true(hg_bytes_eq(hg_buf_bytes(&buf), HG_BYTES("abc")));
    hg_buf_finish(&buf);
}

static int encode_text(void *ctx)
{
    struct hg_buf buf;
    hg_buf_init(&buf, 4096);
    int err = hg_grpc_text_encode(&buf, *(struct hg_bytes *)ctx, 1000);
    assert_true(err == HG_OK || buf.len == 0);
    hg_buf_finish(&buf);
    return err;
}

static void test_refused_allocations_are_reported(void **state)
{
    (void)state;
    struct hg_bytes text = HG_BYTES("no such key: \xff");
    assert_true(hg_test_sweep(encode_text, &text) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_message_is_read_whole_and_cut_at_each_byte),
        cmocka_unit_test(test_message_of_no_bytes_is_a_message),
        cmocka_unit_test(test_hostile_bodies_are_refused),
        cmocka_unit_test(test_prefix_written_is_read_back),
        cmocka_unit_test(test_timeouts_are_read),
        cmocka_unit_test(test_timeout_written_is_never_longer),
        cmocka_unit_test(test_content_types),
        cmocka_unit_test(test_codes_have_names_and_come_from_statuses),
        cmocka_unit_test(test_text_is_percent_encoded),
        cmocka_unit_test(test_refused_allocations_are_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
