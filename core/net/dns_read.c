/*
 * dns_read - the records in a message of a DNS server.
 */
#include "net/dns.h"

#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <ctype.h>
#include <stdio.h>
#include "base/err.h"

#define SRV_FIXED_BYTES 6 /* priority, weight and port, before the target */

/* As it is compared: DNS does not tell great letters from small ones. */
static void fold(char *name)
{
    size_t len = strlen(name);

    if (len > 0 && name[len - 1] == '.')
        name[len - 1] = '\0'; /* the root alone */
    for (; *name != '\0'; name++)
        *name = (char)tolower((unsigned char)*name);
}

static bool parse(const ns_msg *message, const ns_rr *rr, struct hg_dns_record *record)
{
    const uint8_t *data = ns_rr_rdata(*rr);
    size_t len = ns_rr_rdlen(*rr);

    record->type = (enum hg_dns_type)ns_rr_type(*rr);
    if (record->type == HG_DNS_SRV) {
        if (len <= SRV_FIXED_BYTES)
            return false;
        record->port = (uint16_t)ns_get16(data + 4);
        if (ns_name_uncompress(ns_msg_base(*message), ns_msg_end(*message), data + SRV_FIXED_BYTES,
                               record->name, sizeof(record->name)) < 0)
            return false;
    } else {
        bool is_ip6 = record->type == HG_DNS_AAAA;
        if (len != (is_ip6 ? sizeof(struct in6_addr) : sizeof(struct in_addr)))
            return false;
        inet_ntop(is_ip6 ? AF_INET6 : AF_INET, data, record->address, sizeof(record->address));
        snprintf(record->name, sizeof(record->name), "%s", ns_rr_name(*rr));
    }
    fold(record->name);
    return true;
}

int hg_dns_read(struct hg_bytes bytes, enum hg_dns_type type, hg_dns_record_fn on_record, void *ctx)
{
    static const ns_sect sections[] = {ns_s_an, ns_s_ar};
    ns_msg message;
    ns_rr rr;

    if (bytes.len > NS_MAXMSG ||
        ns_initparse((const uint8_t *)bytes.data, (int)bytes.len, &message) < 0)
        return HG_EPROTO;
    for (size_t i = 0; i < HG_COUNT(sections); i++) {
        bool has_more = sections[i] == ns_s_ar;
        for (int at = 0; at < ns_msg_count(message, sections[i]); at++) {
            struct hg_dns_record record = {.port = 0};
            if (ns_parserr(&message, sections[i], at, &rr) < 0)
                return HG_EPROTO;
            int found = ns_rr_type(rr);
            bool is_wanted = has_more
                                 ? type == HG_DNS_SRV && (found == HG_DNS_A || found == HG_DNS_AAAA)
                                 : found == (int)type;
            if (!is_wanted || ns_rr_class(rr) != ns_c_in)
                continue;
            if (!parse(&message, &rr, &record))
                return HG_EPROTO;
            on_record(ctx, &record);
        }
    }
    return HG_OK;
}
