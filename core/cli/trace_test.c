#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

#include "base/alloc.h"
#include "base/err.h"
#include "cli/trace.h"

#define LOG_HEAD "10.0.0.1 - - [23/Nov/2026:08:00:00 +0000] "

static char path[64];

static int set_up(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/hg-trace-XXXXXX");
    int fd = mkstemp(path);
    if (fd >= 0)
        close(fd);
    return fd < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
    (void)state;
    return unlink(path);
}

static void write_file(const char *bytes, size_t len, bool is_gzipped)
{
    gzFile file = gzopen(path, is_gzipped ? "wb" : "wbT");
    assert_non_null(file);
    assert_int_equal(gzwrite(file, bytes, (unsigned)len), len);
    assert_int_equal(gzclose(file), Z_OK);
}

/* Reads all; the last result, and "key size;" for each request. */
static int read_all(struct hg_trace *trace, char *out, size_t size)
{
    struct hg_trace_request request;
    int rc = hg_trace_open(trace, path);
    size_t len = 0;
    out[0] = '\0';
    while (rc >= 0 && (rc = hg_trace_next(trace, &request)) == 1 && len < size)
        len += (size_t)snprintf(out + len, size - len, "%.*s %llu;", (int)request.key.len,
                                request.key.data, (unsigned long long)request.size_bytes);
    hg_trace_close(trace);
    return rc;
}

static void test_keys_and_sizes_are_read(void **state)
{
    static const struct {
        const char *text, *expected;
    } rows[] = {
        {"", ""},
        {"a\nb 5\na\n", "a 0;b 5;a 0;"},
        {"a\nb", "a 0;b 0;"},
        {"a 1\r\nb\t22  \r\n", "a 1;b 22;"},
        {"-\n[\n\"x\" 18446744073709551615\n", "- 0;[ 0;\"x\" 18446744073709551615;"},
    };
    (void)state;
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        for (int is_gzipped = 0; is_gzipped < 2; is_gzipped++) {
            struct hg_trace trace;
            char out[256];
            write_file(rows[i].text, strlen(rows[i].text), is_gzipped);
            assert_int_equal(read_all(&trace, out, sizeof out), HG_OK);
            assert_string_equal(out, rows[i].expected);
        }
    }
}

static void test_an_access_log_is_recognised_by_itself(void **state)
{
    static const char text[] =
        LOG_HEAD "\"GET /a?b=c%20d HTTP/1.1\" 200 612 \"-\" \"curl/8.0 (\\x22)\"\n"
                 "::1 - bob [23/Nov/2026:08:00:01 +0000] \"POST / HTTP/2.0\" 304 0 \"http://x/\" "
                 "\"y z\"\n" LOG_HEAD
                 "\"\\x16\\x03\\x01\" 400 157 \"-\" \"-\"\n" /* a TLS hello at a plain port */
        LOG_HEAD "\"\" 400 0 \"-\" \"-\"\n" LOG_HEAD "\"GET /c\" 200 5 \"-\" \"-\"\n" LOG_HEAD
                 "\"GET /d HTTP/1.0\" 200 -\n"; /* "common" */
    struct hg_trace trace;
    char out[256];
    (void)state;
    write_file(text, sizeof text - 1, false);
    assert_int_equal(read_all(&trace, out, sizeof out), HG_OK);
    assert_string_equal(out, "/a?b=c%20d 612;/ 0;/d 0;");
    assert_int_equal(trace.format, HG_TRACE_ACCESS_LOG);
    assert_int_equal(trace.skipped_count, 3);
}

static void test_a_bad_line_is_named_by_its_number(void **state)
{
    static const struct {
        const char *text, *expected;
    } rows[] = {
        {"a\n\nb\n", ":2: the line has no key"},
        {"a 1\nb x\n", ":2: the line has no decimal size"},
        {"a -1\n", ":1: the line has no decimal size"},
        {"a 1 2\n", ":1: the line has no decimal size"},
        {"a 18446744073709551616\n", ":1: the line has no decimal size"},
        {" a\n", ":1: the line has no key"},
        {LOG_HEAD "\"GET / HTTP/1.1\" 200 1 \"-\" \"-\"\n/x 5\n",
         ":2: the line is no line of an access log"},
        {LOG_HEAD "\"GET / HTTP/1.1\" 200 1\n" LOG_HEAD "\"GET / HTTP/1.1\" 200 x \"-\"\n",
         ":2: the line has no number of body bytes"},
        {LOG_HEAD "\"GET / HTTP/1.1\" 200 1\n" LOG_HEAD "\"GET / HTTP/1.1\" 20 1 \"-\"\n",
         ":2: the line is no line of an access log"},
    };
    (void)state;
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        struct hg_trace trace;
        char out[256];
        write_file(rows[i].text, strlen(rows[i].text), false);
        assert_int_equal(read_all(&trace, out, sizeof out), HG_EINVAL);
        if (strstr(trace.error, rows[i].expected) == NULL)
            fail_msg("row %zu: %s", i, trace.error);
    }
}

/* A log line cut at each byte is a request, passed over or an error, and never more than its bytes are read. */
static void test_a_line_cut_at_each_byte_is_read_within_its_bytes(void **state)
{
    static const char line[] = LOG_HEAD "\"GET /a HTTP/1.1\" 200 612 \"-\" \"curl\"";
    (void)state;
    for (size_t len = 0; len < sizeof line; len++) {
        struct hg_trace_request request;
        const char *error = NULL;
        char *cut = malloc(len > 0 ? len : 1); /* exact: a sanitizer sees one byte too far */
        assert_non_null(cut);
        memcpy(cut, line, len);
        for (int given = HG_TRACE_UNKNOWN; given <= HG_TRACE_ACCESS_LOG; given++) {
            enum hg_trace_format format = (enum hg_trace_format)given;
            int rc = hg_trace_parse(hg_bytes(cut, len), &format, &request, &error);
            assert_true(rc == 1 || rc == 0 || (rc == HG_EINVAL && error != NULL));
            assert_int_not_equal(format, HG_TRACE_UNKNOWN);
        }
        free(cut);
    }
}

static void test_lines_have_a_maximum(void **state)
{
    static char text[3 * HG_TRACE_LINE_MAX];
    struct hg_trace trace;
    char out[256];
    (void)state;
    memset(text, 'k', sizeof text);
    memcpy(text, "a\n", 2);
    write_file(text, sizeof text, true);
    assert_int_equal(read_all(&trace, out, sizeof out), HG_EINVAL);
    assert_non_null(strstr(trace.error, ":2: the line is longer than 65536 bytes"));

    text[2 + HG_TRACE_LINE_MAX] = '\n';
    memset(text + 3, ' ', HG_TRACE_LINE_MAX - 1); /* "k" and spaces: just as long as allowed */
    write_file(text, 3 + HG_TRACE_LINE_MAX, false);
    assert_int_equal(read_all(&trace, out, sizeof out), HG_OK);
    assert_string_equal(out, "a 0;k 0;");

    memset(text + 2, 'k', HG_TRACE_KEY_MAX + 1);
    write_file(text, 2 + HG_TRACE_KEY_MAX + 1, false);
    assert_int_equal(read_all(&trace, out, sizeof out), HG_EINVAL);
    assert_non_null(strstr(trace.error, ":2: the line has a key of more than 8192 bytes"));
}

static void test_lines_may_lie_across_every_edge_of_the_buffer(void **state)
{
    struct hg_trace trace;
    struct hg_trace_request request;
    (void)state;
    gzFile file = gzopen(path, "wb");
    for (unsigned i = 0; i < 60000; i++)
        gzprintf(file, "key%u %u\n", i, i * 7);
    assert_int_equal(gzclose(file), Z_OK);
    assert_int_equal(hg_trace_open(&trace, path), HG_OK);
    for (unsigned i = 0; i < 60000; i++) {
        char key[16];
        assert_int_equal(hg_trace_next(&trace, &request), 1);
        assert_true(
            hg_bytes_eq(request.key, hg_bytes(key, (size_t)snprintf(key, sizeof key, "key%u", i))));
        assert_int_equal(request.size_bytes, i * 7);
    }
    assert_int_equal(hg_trace_next(&trace, &request), 0);
    assert_int_equal(trace.line_number, 60000);
    hg_trace_close(&trace);
}

static void test_a_gzip_file_cut_short_is_an_error(void **state)
{
    struct hg_trace trace;
    static char out[1 << 20], text[60000];
    (void)state;
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = i % 7 == 6 ? '\n' : (char)('a' + i * i % 26);
    write_file(text, sizeof text, true);
    FILE *file = fopen(path, "rb");
    static char packed[60000];
    size_t len = fread(packed, 1, sizeof packed, file);
    fclose(file);
    assert_true(len > 200);
    for (size_t cut = 1; cut < len; cut += len / 50) {
        file = fopen(path, "wb");
        fwrite(packed, 1, len - cut, file);
        fclose(file);
        assert_true(read_all(&trace, out, sizeof out) < 0);
        assert_true(strlen(trace.error) > 0);
    }
}

static void test_a_file_that_is_not_there_is_an_error(void **state)
{
    struct hg_trace trace;
    size_t live_bytes = hg_alloc_live_bytes();
    (void)state;
    assert_int_equal(hg_trace_open(&trace, "/nowhere/at-all"), HG_ENOENT);
    assert_string_equal(trace.error, "/nowhere/at-all: No such file or directory");
    hg_trace_close(&trace);
    hg_alloc_fail_at(0, true);
    assert_int_equal(hg_trace_open(&trace, path), HG_ENOMEM);
    assert_true(hg_alloc_fail_clear());
    assert_int_equal(hg_alloc_live_bytes(), live_bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_keys_and_sizes_are_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_access_log_is_recognised_by_itself, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_bad_line_is_named_by_its_number, set_up, tear_down),
        cmocka_unit_test(test_a_line_cut_at_each_byte_is_read_within_its_bytes),
        cmocka_unit_test_setup_teardown(test_lines_have_a_maximum, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lines_may_lie_across_every_edge_of_the_buffer, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_gzip_file_cut_short_is_an_error, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_file_that_is_not_there_is_an_error, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
