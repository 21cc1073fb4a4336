#include "base/testing.h"
#include "net/fetch.h"

#include <stdio.h>
#include <stdlib.h>

/* "name=value;" of each field. */
static const char *fields_of(struct hg_bytes raw)
{
    static char text[512];
    struct hg_bytes name, value;
    size_t at = 0;
    text[0] = '\0';
    while (hg_fetch_next_header(&raw, &name, &value))
        at += (size_t)snprintf(text + at, sizeof(text) - at, "%.*s=%.*s;", (int)name.len, name.data,
                               (int)value.len, value.data);
    return text;
}

static void test_fields_come_in_their_order(void **state)
{
    static const struct {
        struct hg_bytes raw;
        const char *fields;
    } rows[] = {
        {HG_BYTES(""), ""},
        {HG_BYTES("A: 1\r\nb:2\r\nA:\t3 \r\n\r\n"), "A=1;b=2;A=3;"},
        {HG_BYTES("A: 1\nB: 2\n\n"), "A=1;B=2;"},
        {HG_BYTES("A: 1"), "A=1;"},
        {HG_BYTES("A:\r\n\r\n"), "A=;"},
        {HG_BYTES("A: b:c\r\n"), "A=b:c;"},
        {HG_BYTES("nothing\r\nA: 1\r\n"), "A=1;"},
        {HG_BYTES(": none\r\n"), "=none;"},
        {HG_BYTES("A: 1\r\n B: 2\r\n\tC: 3\r\nD: 4\r\n"), "A=1;D=4;"},
        {HG_BYTES("A: 1\r\n\r\nTrailer: 2\r\n"), "A=1;"},
        {HG_BYTES("\r\nA: 1\r\n"), ""},
        {HG_BYTES("\r\r\nA: 1\r\n"), ""},
    };
    (void)state;
    for (size_t i = 0; i < HG_COUNT(rows); i++)
        assert_string_equal(fields_of(rows[i].raw), rows[i].fields);
}

static void test_cut_off_at_each_byte_nothing_is_read_beyond(void **state)
{
    static const char raw[] = "A: 1\r\nLong-Name:  value \r\n folded\r\nB:\r\n\r\nC: 3\r\n";
    (void)state;
    for (size_t len = 0; len < sizeof(raw); len++) {
        char *copy = malloc(len + 1); /* its end is watched */
        memcpy(copy, raw, len);
        const char *fields = fields_of(hg_bytes(copy, len));
        assert_true(strncmp("A=1;Long-Name=value;B=;", fields, strlen(fields)) == 0 || len < 30);
        free(copy);
    }
}

static void test_the_first_of_a_name_is_found(void **state)
{
    struct hg_fetch_response response = {.headers = HG_BYTES("X-A: 1\r\nx-a: 2\r\nB: \r\n\r\n")};
    (void)state;
    assert_true(hg_bytes_eq(hg_fetch_header(&response, "x-A"), HG_BYTES("1")));
    assert_int_equal(hg_fetch_header(&response, "b").len, 0);
    assert_int_equal(hg_fetch_header(&response, "X").len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields_come_in_their_order),
        cmocka_unit_test(test_cut_off_at_each_byte_nothing_is_read_beyond),
        cmocka_unit_test(test_the_first_of_a_name_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
