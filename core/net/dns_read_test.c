#include "net/test_dns.h"

#include "base/err.h"
#include "net/dns.h"

static int read_bytes(const struct dns_message *message, size_t len, enum hg_dns_type type,
                      struct dns_records *told)
{
    memset(told, 0, sizeof(*told));
    char *copy = hg_malloc(len + 1); /* so that a byte too far is noticed */
    memcpy(copy, message->data, len);
    int err = hg_dns_read(hg_bytes(copy, len), type, dns_note_record, told);
    hg_free(copy);
    return err;
}

static void test_what_is_broken_is_refused_wherever_it_ends(void **state)
{
    static const uint8_t question[] = "\0\0\0\0\0\0\0\0x\0\0!\0";
    static struct dns_message message, broken;
    struct dns_records told;
    (void)state;
    dns_begin_answer(&message, question, sizeof(question) - 1, 0);
    dns_put_records(&message, ns_t_srv, false);
    assert_int_equal(read_bytes(&message, message.len, HG_DNS_SRV, &told), HG_OK);
    assert_int_equal(told.count, 5);
    for (size_t len = 0; len < message.len; len++)
        assert_int_equal(read_bytes(&message, len, HG_DNS_SRV, &told), HG_EPROTO);
    /* Each byte changed: an error or not, but nothing worse. */
    for (size_t i = 0; i < message.len; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            broken = message;
            broken.data[i] ^= (uint8_t)(1U << bit);
            int err = read_bytes(&broken, broken.len, HG_DNS_SRV, &told);
            assert_true(err == HG_OK || err == HG_EPROTO);
        }
    }
    /* Records that are too short for what they are. */
    static const unsigned types[] = {ns_t_srv, ns_t_a, ns_t_aaaa};
    for (size_t i = 0; i < HG_COUNT(types); i++) {
        dns_begin_answer(&message, question, sizeof(question) - 1, 0);
        size_t from = dns_begin_record(&message, NULL, types[i]);
        dns_put(&message, "\0\0\0\0\0", 5);
        dns_end_record(&message, from, 0);
        assert_int_equal(read_bytes(&message, message.len, (enum hg_dns_type)types[i], &told),
                         HG_EPROTO);
    }
    /* A target that points to itself. */
    dns_begin_answer(&message, question, sizeof(question) - 1, 0);
    size_t from = dns_begin_record(&message, NULL, ns_t_srv);
    dns_put(&message, "\0\0\0\0\0\0", 6);
    dns_put16(&message, 0xc000 | (unsigned)message.len);
    dns_end_record(&message, from, 0);
    assert_int_equal(read_bytes(&message, message.len, HG_DNS_SRV, &told), HG_EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_broken_is_refused_wherever_it_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
