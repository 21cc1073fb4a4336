/*
 * dns - the records of a name, as DNS servers have them: SRV, A and AAAA; and its addresses, as the system knows them. c-ares asks, on
 * the loop (the system's resolver has no time-out over TCP, and may hang for ever), the C library reads.
 *
 *   hg_dns_ask, hg_dns_resolve -> (a look-up of its own, or one of the same that is under way) -> told
 *
 * Servers    those of /etc/resolv.conf, which is read anew for each look-up, or one that is named. Over UDP, and over TCP what was too
 *            long for that; or over TCP alone.
 * Errors     HG_ENOENT: there is no such name, or it has no such record; all others say nothing of the name: HG_ETIMEDOUT, HG_EPEER
 *            (no server knows better), HG_EPROTO (an answer that is none), HG_EADDR (of the server), HG_EINVAL (of the name),
 *            HG_ETOOBIG, HG_ENOMEM, HG_ELIMIT. The words to each last for ever.
 * Limits     HG_DNS_PATIENCE_MS for a look-up, HG_DNS_LOOK_UPS_MAX of them at a time on a loop: HG_ELIMIT, counted.
 * Memory     a look-up has a channel of c-ares, with a socket for each server that it asks, until its end.
 * Threads    a loop's own.
 */
#ifndef HG_NET_DNS_H
#define HG_NET_DNS_H

#include <netinet/in.h>
#include "base/bytes.h"
#include "net/loop.h"

#define HG_DNS_NAME_MAX        255   /* bytes of a name that is asked for */
#define HG_DNS_PATIENCE_MS     10000 /* with all servers, attempts and search domains */
#define HG_DNS_LOOK_UPS_MAX    256   /* of different questions */
#define HG_DNS_ADDRESSES_BYTES ((size_t)128 << 10) /* more than fit into a message */

/* HG_DNS_ADDRESS: A and AAAA, for hg_dns_resolve alone. */
enum hg_dns_type { HG_DNS_ADDRESS = 0, HG_DNS_A = 1, HG_DNS_AAAA = 28, HG_DNS_SRV = 33 };

struct hg_dns_question {
    enum hg_dns_type type;
    char name[HG_DNS_NAME_MAX + 1];
    char server[64]; /* "127.0.0.1:8600", "[::1]:53"; empty: those of the system */
    bool searches;   /* in the search domains of /etc/resolv.conf, too; false: as the name stands */
    bool is_tcp;     /* not over UDP: some servers cut there, and do not say so */
};

struct hg_dns;

/*
 * Who waits for a look-up; embedded, zeroed before the first. `told` is called once for each HG_PENDING, on the loop, unless it was
 * cancelled; it may start and cancel whatever it likes. found is lent: the message, of at most 64 KiB, or the addresses, each as text
 * with a NUL behind it; or there are none, and error says why.
 */
struct hg_dns_waiter;
typedef void (*hg_dns_fn)(struct hg_dns_waiter *waiter, int err, struct hg_bytes found,
                          const char *error);
struct hg_dns_waiter {
    struct hg_list link; /* of the look-up */
    struct hg_dns *dns;  /* NULL: it waits for nothing */
    hg_dns_fn told;
};

/*
 * The addresses of a name, of the type's families: its own, where it is one; those of /etc/hosts; or else of DNS, in the search
 * domains too, whatever question->searches says. "localhost" is 127.0.0.1 and ::1, and so are names that end with
 * ".localhost" where /etc/hosts does not have them. HG_DNS_ADDRESS: in the order in which they should be tried (RFC 6724); others in none.
 * HG_PENDING, or an error.
 */
int hg_dns_resolve(struct hg_loop *loop, const struct hg_dns_question *question,
                   struct hg_dns_waiter *waiter, hg_dns_fn told, const char **out_error);
/* All addresses of a host, in that order. HG_PENDING, or an error: HG_EINVAL, as the name is longer than HG_DNS_NAME_MAX, ... */
int hg_dns_resolve_host(struct hg_loop *loop, const char *host, struct hg_dns_waiter *waiter,
                        hg_dns_fn told, const char **out_error);
/* The message as it came. HG_PENDING, or an error. */
int hg_dns_ask(struct hg_loop *loop, const struct hg_dns_question *question,
               struct hg_dns_waiter *waiter, hg_dns_fn told, const char **out_error);
/* It is not told any more. One that waits for nothing is fine. */
void hg_dns_cancel(struct hg_dns_waiter *waiter);

/* Look-ups of the process that were not begun, because of HG_DNS_LOOK_UPS_MAX. Any thread. */
uint64_t hg_dns_refused(void);

struct hg_dns_record {
    enum hg_dns_type type;
    uint16_t port;                  /* of SRV */
    char address[INET6_ADDRSTRLEN]; /* of A and AAAA */
    /* SRV: the target, empty where the record says that there is none; others: whose address. Small letters, no dot at the end. */
    char name[1025];
};

typedef void (*hg_dns_record_fn)(void *ctx, const struct hg_dns_record *record);

/*
 * dns_read.c: each record of that type in the answer, and with SRV the addresses that came along. HG_EPROTO: the message is broken;
 * then on_record may have seen a part. on_record may leave by a jump. Any thread.
 */
int hg_dns_read(struct hg_bytes message, enum hg_dns_type type, hg_dns_record_fn on_record,
                void *ctx);

#endif
