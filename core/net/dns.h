/*
 * dns - the records of a name, as DNS servers have them: SRV, A and AAAA; and its addresses, as the system knows them. c-ares asks
 * (the system's resolver has no time-out over TCP, and may hang for ever), the C library reads.
 *
 * Threads    any; hg_dns_ask and hg_dns_resolve block, for up to HG_DNS_PATIENCE_MS: for the threads of libuv's pool.
 * Servers    those of /etc/resolv.conf, which is read anew each time, or one that is named. Over UDP, and over TCP what was too long
 *            for that; or over TCP alone.
 * Errors     HG_ENOENT: there is no such name, or it has no such record; all others say nothing of the name: HG_ETIMEDOUT, HG_EPEER
 *            (no server knows better), HG_EPROTO (an answer that is none), HG_EADDR (of the server), HG_EINVAL (of the name),
 *            HG_ECANCELED, HG_ENOMEM.
 */
#ifndef HG_NET_DNS_H
#define HG_NET_DNS_H

#include <netinet/in.h>
#include <stdatomic.h>
#include "base/bytes.h"

#define HG_DNS_NAME_MAX    255   /* bytes of a name that is asked for */
#define HG_DNS_PATIENCE_MS 10000 /* with all servers, attempts and search domains */
#define HG_DNS_ADDRESSES_BYTES ((size_t)128 << 10) /* more than fit into a message */

enum hg_dns_type { HG_DNS_A = 1, HG_DNS_AAAA = 28, HG_DNS_SRV = 33 };

struct hg_dns_question {
    enum hg_dns_type type;
    char name[HG_DNS_NAME_MAX + 1];
    char server[64]; /* "127.0.0.1:8600", "[::1]:53"; empty: those of the system */
    bool searches;   /* in the search domains of /etc/resolv.conf, too; false: as the name stands */
    bool is_tcp;     /* not over UDP: some servers cut there, and do not say so */
    atomic_bool is_over; /* another thread sets it: HG_ECANCELED, soon */
};

/*
 * The addresses of a name, of the type's family: its own, where it is one; those of /etc/hosts; or else of DNS, in the search
 * domains too, whatever question->searches says. Each as text with a NUL behind it, in no order, to be freed with hg_free; or why there
 * are none, in error. HG_ETOOBIG: of more than HG_DNS_ADDRESSES_BYTES.
 */
int hg_dns_resolve(struct hg_dns_question *question, struct hg_bytes *out_addresses, char *error,
                   size_t error_size);

/* The message as it came, to be freed with hg_free; or why there is none, in error. out_message->len is at most 64 KiB. */
int hg_dns_ask(struct hg_dns_question *question, struct hg_bytes *out_message, char *error,
               size_t error_size);

struct hg_dns_record {
    enum hg_dns_type type;
    uint16_t port;                  /* of SRV */
    char address[INET6_ADDRSTRLEN]; /* of A and AAAA */
    /* SRV: the target, empty where the record says that there is none; others: whose address. Small letters, no dot at the end. */
    char name[1025];
};

typedef void (*hg_dns_record_fn)(void *ctx, const struct hg_dns_record *record);

/*
 * Each record of that type in the answer, and with SRV the addresses that came along. HG_EPROTO: the message is broken; then
 * on_record may have seen a part. on_record may leave by a jump.
 */
int hg_dns_read(struct hg_bytes message, enum hg_dns_type type, hg_dns_record_fn on_record,
                void *ctx);

#endif
