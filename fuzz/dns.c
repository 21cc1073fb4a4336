/* Answers of DNS servers: a byte that says what was asked for, then the message. What is told is text of its kind. */
#include <arpa/inet.h>
#include "fuzz.h"
#include "net/dns.h"

static void on_record(void *ctx, const struct hg_dns_record *record)
{
    const enum hg_dns_type *asked = ctx;
    uint8_t address[sizeof(struct in6_addr)];
    size_t len = strnlen(record->name, sizeof(record->name));

    must(len < sizeof(record->name));
    for (size_t i = 0; i < len; i++)
        must(record->name[i] > ' ' && record->name[i] < 0x7f &&
             !(record->name[i] >= 'A' && record->name[i] <= 'Z'));
    must(record->type == *asked || (*asked == HG_DNS_SRV && record->type != HG_DNS_SRV));
    if (record->type == HG_DNS_SRV)
        return;
    must(inet_pton(record->type == HG_DNS_A ? AF_INET : AF_INET6, record->address, address) == 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum hg_dns_type types[] = {HG_DNS_A, HG_DNS_AAAA, HG_DNS_SRV};
    if (size == 0)
        return 0;
    enum hg_dns_type type = types[data[0] % HG_COUNT(types)];
    struct hg_bytes rest = hg_bytes(data + 1, size - 1);
    char *copy = fuzz_copy(rest);
    int err = hg_dns_read(hg_bytes(copy, rest.len), type, on_record, &type);
    must(err == HG_OK || err == HG_EPROTO);
    free(copy);
    return 0;
}
