#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "hgcache.pb-c.h"
#include "wire/protobuf.h"

/* Request: 1 and 2 bytes, 10 varint, 12 fixed64, 13 repeated bytes. */
static int decode(struct hg_bytes message)
{
    ProtobufCMessage *unpacked = NULL;
    int err = hg_protobuf_unpack(message, &hgcache__cache__request__descriptor, 13, 2, &unpacked);
    if (err == HG_OK)
        hg_protobuf_free(unpacked);
    else
        assert_null(unpacked);
    return err;
}

static void test_what_is_malformed_is_seen_before_it_costs_anything(void **state)
{
    (void)state;
    static const struct {
        struct hg_bytes message;
        int err;
    } rows[] = {
        {HG_BYTES(""), HG_OK},
        {HG_BYTES("\x0a\x01g"), HG_OK},
        {HG_BYTES("\xa2\x06\x01x"), HG_OK},                /* field 100: unknown, skipped */
        {HG_BYTES("\x02\x01g"), HG_EPROTO},                /* field 0 */
        {HG_BYTES("\x0b"), HG_EPROTO},                     /* a group begins */
        {HG_BYTES("\x08\x01"), HG_EPROTO},                 /* bytes as a varint */
        {HG_BYTES("\x0a\x02g"), HG_EPROTO},                /* past the end */
        {HG_BYTES("\x0a\xff\xff\xff\xff\x0f"), HG_EPROTO}, /* 4 GiB declared */
        {HG_BYTES("\x50\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"), HG_EPROTO}, /* over 64 bits */
        {HG_BYTES("\x61\x00\x00"), HG_EPROTO},                                 /* half a fixed64 */
        {HG_BYTES("\x6a\x00\x6a\x00"), HG_OK},
        {HG_BYTES("\x6a\x00\x6a\x00\x6a\x00"), HG_ELIMIT}, /* three where two may be */
    };
    for (size_t i = 0; i < HG_COUNT(rows); i++)
        assert_int_equal(decode(rows[i].message), rows[i].err);
}

static void test_fields_are_limited(void **state)
{
    (void)state;
    static char message[2 * 1025];
    for (size_t i = 0; i < sizeof(message); i += 2) {
        message[i] = 0x50; /* field 10, a varint */
        message[i + 1] = 1;
    }
    assert_int_equal(decode(hg_bytes(message, 2 * 1024)), HG_OK);
    assert_int_equal(decode(hg_bytes(message, 2 * 1025)), HG_EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_malformed_is_seen_before_it_costs_anything),
        cmocka_unit_test(test_fields_are_limited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
