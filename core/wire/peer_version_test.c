/* FAULTS A18: nodes of two versions beside each other. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "wire/peer_message.h"

static void test_newer_fields_are_passed_over_and_another_version_is_told_apart(void **state)
{
    static const struct {
        const char *what;
        struct hg_bytes message;
        uint32_t version;
        bool is_ours;
    } rows[] = {
        {"none, as a Go node has it", HG_BYTES("\x12\x01k"), 0, true},
        {"ours", HG_BYTES("\x12\x01k\x70\x01"), 1, true},
        {"ours, with what is new", HG_BYTES("\x12\x01k\x70\x01\xc8\x3e\x07\xca\x3e\x02xy"), 1,
         true},
        {"the next", HG_BYTES("\x12\x01k\x70\x02"), 2, false},
        {"the last", HG_BYTES("\x12\x01k\x70\xff\xff\xff\xff\x0f"), UINT32_MAX, false},
    };
    const struct hg_peer_request sent = {.wire_version = HG_WIRE_VERSION};
    (void)state;
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        struct hg_peer_request request;
        void *owner = NULL;
        if (hg_peer_request_decode(rows[i].message, &request, &owner) != HG_OK)
            fail_msg("%s", rows[i].what);
        assert_true(hg_bytes_eq(request.key, HG_BYTES("k")));
        assert_int_equal(request.wire_version, rows[i].version);
        assert_int_equal(hg_peer_request_is_ours(&request), rows[i].is_ours);
        hg_peer_message_free(owner);
    }
    assert_true(hg_peer_request_is_ours(&sent)); /* what we send */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_newer_fields_are_passed_over_and_another_version_is_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
