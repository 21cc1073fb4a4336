#include "net/dns.h"

#include <ares.h>
#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <ctype.h>
#include <poll.h>
#include <stdio.h>
#include "base/alloc.h"
#include "base/buf.h"
#include "base/err.h"
#include "net/clock.h"

#define ATTEMPT_MS 2000 /* for each server; twice as long the second time */
#define ATTEMPTS   2
#define STEP_MS    100 /* after which is_over is seen */

#define SRV_FIXED_BYTES 6 /* priority, weight and port, before the target */

struct asked {
    bool is_done;
    int err, status;       /* status: c-ares's */
    struct hg_bytes found; /* owned: the message, or the addresses */
};

typedef void (*begin_fn)(ares_channel channel, const struct hg_dns_question *question,
                         struct asked *asked);

static int err_from_ares(int status)
{
    switch (status) {
    case ARES_SUCCESS:
        return HG_OK;
    case ARES_ENOTFOUND:
    case ARES_ENODATA:
        return HG_ENOENT;
    case ARES_ETIMEOUT:
        return HG_ETIMEDOUT;
    case ARES_ENOMEM:
        return HG_ENOMEM;
    case ARES_EBADNAME:
        return HG_EINVAL;
    case ARES_EBADRESP:
        return HG_EPROTO;
    case ARES_ECANCELLED:
    case ARES_EDESTRUCTION:
        return HG_ECANCELED;
    default:
        return HG_EPEER;
    }
}

static void on_answer(void *ctx, int status, int timeouts, unsigned char *data, int len)
{
    struct asked *asked = ctx;
    (void)timeouts;

    asked->is_done = true;
    asked->status = status;
    asked->err = err_from_ares(status);
    if (asked->err < 0)
        return;
    char *copy = hg_malloc((size_t)len);
    if (copy == NULL) {
        asked->err = HG_ENOMEM;
        return;
    }
    memcpy(copy, data, (size_t)len);
    asked->found = hg_bytes(copy, (size_t)len);
}

static void begin_records(ares_channel channel, const struct hg_dns_question *question,
                          struct asked *asked)
{
    if (question->searches)
        ares_search(channel, question->name, ns_c_in, (int)question->type, on_answer, asked);
    else
        ares_query(channel, question->name, ns_c_in, (int)question->type, on_answer, asked);
}

static int add_address(struct hg_buf *buf, const struct sockaddr *address)
{
    char text[INET6_ADDRSTRLEN];
    const void *bytes = address->sa_family == AF_INET6
                            ? (const void *)&((const struct sockaddr_in6 *)address)->sin6_addr
                            : (const void *)&((const struct sockaddr_in *)address)->sin_addr;

    inet_ntop(address->sa_family, bytes, text, sizeof(text));
    return hg_buf_append(buf, text, strlen(text) + 1);
}

static void on_addresses(void *ctx, int status, int timeouts, struct ares_addrinfo *found)
{
    struct asked *asked = ctx;
    struct hg_buf buf;
    (void)timeouts;

    asked->is_done = true;
    asked->status = status;
    asked->err = err_from_ares(status);
    if (asked->err < 0)
        return;
    hg_buf_init(&buf, HG_DNS_ADDRESSES_BYTES);
    for (const struct ares_addrinfo_node *it = found->nodes; it != NULL && asked->err == HG_OK;
         it = it->ai_next)
        asked->err = add_address(&buf, it->ai_addr);
    ares_freeaddrinfo(found);
    if (asked->err == HG_OK)
        asked->found.data = hg_buf_take(&buf, &asked->found.len);
    hg_buf_finish(&buf);
}

static void begin_addresses(ares_channel channel, const struct hg_dns_question *question,
                            struct asked *asked)
{
    struct ares_addrinfo_hints hints = {
        .ai_flags = ARES_AI_NOSORT,
        .ai_family = question->type == HG_DNS_AAAA ? AF_INET6 : AF_INET,
    };
    ares_getaddrinfo(channel, question->name, NULL, &hints, on_addresses, asked);
}

/* Until c-ares wants to be called, something arrives, or STEP_MS. */
static void turn(ares_channel channel)
{
    ares_socket_t sockets[ARES_GETSOCK_MAXNUM];
    struct pollfd polled[ARES_GETSOCK_MAXNUM];
    struct timeval most = {.tv_usec = STEP_MS * 1000}, left;
    /* Bits: the lower half to read, the upper to write; c-ares's own macros shift into the sign. */
    unsigned wanted = (unsigned)ares_getsock(channel, sockets, ARES_GETSOCK_MAXNUM);
    nfds_t count = 0;

    for (int i = 0; i < ARES_GETSOCK_MAXNUM; i++) {
        bool reads = (wanted >> i & 1) != 0;
        bool writes = (wanted >> (i + ARES_GETSOCK_MAXNUM) & 1) != 0;
        short events = (short)((reads ? POLLIN : 0) | (writes ? POLLOUT : 0));
        if (events != 0)
            polled[count++] = (struct pollfd){.fd = sockets[i], .events = events};
    }
    const struct timeval *wait = ares_timeout(channel, &most, &left);
    if (poll(polled, count, (int)(wait->tv_sec * 1000 + wait->tv_usec / 1000) + 1) <= 0)
        count = 0;
    for (nfds_t i = 0; i < count; i++) {
        bool is_broken = (polled[i].revents & (POLLERR | POLLHUP | POLLNVAL)) != 0;
        bool can_read = is_broken || (polled[i].revents & POLLIN) != 0;
        bool can_write = is_broken || (polled[i].revents & POLLOUT) != 0;
        ares_process_fd(channel, can_read ? polled[i].fd : ARES_SOCKET_BAD,
                        can_write ? polled[i].fd : ARES_SOCKET_BAD);
    }
    ares_process_fd(channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD); /* what took too long */
}

static int wait_for(ares_channel channel, struct hg_dns_question *question, struct asked *asked)
{
    uint64_t until_ms = hg_clock_boot_ms() + HG_DNS_PATIENCE_MS;
    bool is_late = false;

    while (!asked->is_done) {
        is_late = hg_clock_boot_ms() >= until_ms;
        if (is_late || atomic_load(&question->is_over))
            ares_cancel(channel);
        else
            turn(channel);
    }
    return is_late && asked->err == HG_ECANCELED ? HG_ETIMEDOUT : asked->err;
}

static const char *text_of(int err, int status)
{
    if (err == HG_ETIMEDOUT)
        return "no DNS server answered in time";
    if (err == HG_ENOMEM || err == HG_ETOOBIG)
        return hg_err_text(err);
    /* c-ares has one code for both where it asked several. */
    if (status == ARES_ECONNREFUSED)
        return "no DNS server could be reached, or none that could be has an answer";
    return ares_strerror(status);
}

static int ask(struct hg_dns_question *question, begin_fn begin, struct hg_bytes *out_found,
               char *error, size_t error_size)
{
    bool is_named = question->server[0] != '\0';
    struct ares_options options = {.timeout = ATTEMPT_MS, .tries = ATTEMPTS};
    struct asked asked = {.is_done = false};
    ares_channel channel;

    options.flags = ARES_FLAG_EDNS | (question->is_tcp ? ARES_FLAG_USEVC : 0);
    if (is_named)
        options.flags |= ARES_FLAG_NOCHECKRESP; /* SERVFAIL: there is no other one to be asked */
    int status =
        ares_init_options(&channel, &options, ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES);
    if (status != ARES_SUCCESS) {
        snprintf(error, error_size, "%s", ares_strerror(status));
        return err_from_ares(status);
    }
    if (is_named && ares_set_servers_ports_csv(channel, question->server) != ARES_SUCCESS) {
        ares_destroy(channel);
        snprintf(error, error_size, "%s is no address of a DNS server", question->server);
        return HG_EADDR;
    }
    begin(channel, question, &asked);
    int err = wait_for(channel, question, &asked);
    ares_destroy(channel);
    if (err < 0)
        snprintf(error, error_size, "%s", text_of(err, asked.status));
    else
        *out_found = asked.found;
    return err;
}

int hg_dns_resolve(struct hg_dns_question *question, struct hg_bytes *out_addresses, char *error,
                   size_t error_size)
{
    return ask(question, begin_addresses, out_addresses, error, error_size);
}

int hg_dns_ask(struct hg_dns_question *question, struct hg_bytes *out_message, char *error,
               size_t error_size)
{
    return ask(question, begin_records, out_message, error, error_size);
}

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
