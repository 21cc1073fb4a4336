/*
 * test_dns - for tests: a pretended DNS server, which does with questions what a test wants; and what makes it the system's.
 */
#ifndef HG_NET_TEST_DNS_H
#define HG_NET_TEST_DNS_H

#include <ares.h>
#include <arpa/nameser.h>
#include <dlfcn.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include "net/dns.h"
#include "net/test_support.h"

#define DNS_MANY 600

/* What the pretended server does with a question; one for a name that begins with "hung" it never answers. */
enum dns_mood {
    MOOD_GOOD,
    MOOD_CUT,     /* over UDP: cut; over TCP all is told */
    MOOD_CUT_MUM, /* over UDP: cut, over TCP nothing is said */
    MOOD_MUM,
    MOOD_JUNK,   /* bytes that are no answer, then a good one */
    MOOD_SHORT,  /* an answer that ends too soon */
    MOOD_HERE,   /* A is 127.0.0.2 and then 127.0.0.1, and there is no AAAA */
    MOOD_HALF,   /* the same, but of AAAA nothing is said */
    MOOD_SEARCH, /* knows names in the domain "svc.local" alone */
    MOOD_RCODE   /* and the code */
};

struct dns_server {
    pthread_t thread;
    uint16_t port;
    int udp, tcp, mum; /* mum: a connection that is not answered; -1: none */
    atomic_bool is_over;
    atomic_bool is_twice; /* the system has it as two */
    atomic_int mood;
    atomic_uint udp_count, tcp_count;
};

struct dns_message {
    uint8_t data[NS_MAXMSG];
    size_t len;
};

/* What hg_dns_read finds, as text. */
struct dns_records {
    char text[512];
    unsigned count;
};

static inline void dns_note_record(void *ctx, const struct hg_dns_record *record)
{
    struct dns_records *told = ctx;
    char line[128] = "";
    if (record->type == HG_DNS_SRV)
        snprintf(line, sizeof(line), "%.20s:%u ", record->name, record->port);
    else
        snprintf(line, sizeof(line), "%.20s=%s ", record->name, record->address);
    strncat(told->text, line, sizeof(told->text) - strlen(told->text) - 1);
    told->count++;
}

static inline void dns_put(struct dns_message *out, const void *data, size_t len)
{
    assert_true(out->len + len <= sizeof(out->data));
    memcpy(out->data + out->len, data, len);
    out->len += len;
}

static inline void dns_put16(struct dns_message *out, unsigned value)
{
    uint8_t bytes[2] = {(uint8_t)(value >> 8), (uint8_t)value};
    dns_put(out, bytes, 2);
}

/* "a.b" as labels. */
static inline void dns_put_name(struct dns_message *out, const char *name)
{
    uint8_t len;
    for (; *name != '\0'; name += len + (name[len] == '.')) {
        len = (uint8_t)strcspn(name, ".");
        dns_put(out, &len, 1);
        dns_put(out, name, len);
    }
    dns_put(out, "", 1);
}

/* name NULL: that of the question. The length of the data is put in afterwards. */
static inline size_t dns_begin_record(struct dns_message *out, const char *name, unsigned type)
{
    if (name == NULL)
        dns_put16(out, 0xc00c);
    else
        dns_put_name(out, name);
    dns_put16(out, type);
    dns_put16(out, ns_c_in);
    dns_put16(out, 0);
    dns_put16(out, 30);
    dns_put16(out, 0);
    return out->len;
}

static inline void dns_end_record(struct dns_message *out, size_t from, unsigned section)
{
    ns_put16((unsigned)(out->len - from), out->data + from - 2);
    uint8_t *count = out->data + 6 + 2 * section;
    ns_put16(ns_get16(count) + 1, count);
}

static inline void dns_put_srv(struct dns_message *out, unsigned port, const char *target)
{
    size_t from = dns_begin_record(out, NULL, ns_t_srv);
    dns_put16(out, 7);
    dns_put16(out, 9);
    dns_put16(out, port);
    dns_put_name(out, target);
    dns_end_record(out, from, 0);
}

static inline void dns_put_address(struct dns_message *out, const char *name, const char *text,
                                   unsigned section)
{
    uint8_t address[sizeof(struct in6_addr)];
    bool is_ip6 = strchr(text, ':') != NULL;
    size_t from = dns_begin_record(out, name, is_ip6 ? ns_t_aaaa : ns_t_a);
    assert_int_equal(inet_pton(is_ip6 ? AF_INET6 : AF_INET, text, address), 1);
    dns_put(out, address, is_ip6 ? 16 : 4);
    dns_end_record(out, from, section);
}

/* The head and the question of the asker; the rest of it, such as EDNS, is left out. */
static inline unsigned dns_begin_answer(struct dns_message *out, const uint8_t *question,
                                        size_t len, unsigned flags)
{
    size_t at = NS_HFIXEDSZ;
    while (at < len && question[at] != 0)
        at += question[at] + 1U;
    assert_true(at + 5 <= len);
    out->len = 0;
    dns_put(out, question, 2);
    dns_put16(out, 0x8180 | flags);
    dns_put16(out, 1);
    dns_put(out, "\0\0\0\0\0\0", 6);
    dns_put(out, question + NS_HFIXEDSZ, at + 5 - NS_HFIXEDSZ);
    return ns_get16(question + at + 1);
}

static inline void dns_put_records(struct dns_message *out, unsigned type, bool is_many)
{
    char text[64];
    if (type != ns_t_srv) {
        dns_put_address(out, NULL, type == ns_t_a ? "10.0.0.9" : "fd00::9", 0);
        return;
    }
    for (int i = 0; i < DNS_MANY && is_many; i++) {
        snprintf(text, sizeof(text), "n%d.x", i);
        dns_put_srv(out, 1000 + (unsigned)i, text);
    }
    if (is_many)
        return;
    dns_put_srv(out, 8001, "a.x");
    dns_put_srv(out, 8002, "B.X");
    dns_put_srv(out, 0, "");
    dns_put_address(out, "a.x", "10.0.0.1", 2);
    dns_put_address(out, "A.x", "fd00::1", 2);
}

/* False: nothing is said. */
static inline bool dns_answer(struct dns_server *server, const uint8_t *question, size_t len,
                              bool is_tcp, struct dns_message *out)
{
    int mood = atomic_load(&server->mood);
    if (memcmp(question + NS_HFIXEDSZ + 1, "hung", 4) == 0 || mood == MOOD_MUM ||
        (mood == MOOD_CUT_MUM && is_tcp))
        return false;
    if (mood >= MOOD_RCODE) {
        dns_begin_answer(out, question, len, (unsigned)(mood - MOOD_RCODE));
    } else if (!is_tcp && (mood == MOOD_CUT || mood == MOOD_CUT_MUM)) {
        dns_begin_answer(out, question, len, 0x200);
        dns_put_srv(out, 1, "part.x");
    } else if (mood == MOOD_HERE || mood == MOOD_HALF) {
        unsigned type = dns_begin_answer(out, question, len, 0);
        if (mood == MOOD_HALF && type == ns_t_aaaa)
            return false;
        for (const char *const *text = (const char *const[]){"127.0.0.2", "127.0.0.1", NULL};
             *text != NULL && type == ns_t_a; text++)
            dns_put_address(out, NULL, *text, 0);
    } else if (mood == MOOD_SEARCH && memmem(question, len, "\3svc\5local", 11) == NULL) {
        dns_begin_answer(out, question, len, ns_r_nxdomain);
    } else {
        dns_put_records(out, dns_begin_answer(out, question, len, 0), mood == MOOD_CUT);
        if (mood == MOOD_SHORT)
            out->len -= 9;
    }
    return true;
}

static inline void dns_serve_udp(struct dns_server *server, struct dns_message *in,
                                 struct dns_message *out)
{
    struct sockaddr_storage from;
    socklen_t from_len = sizeof(from);
    ssize_t got =
        recvfrom(server->udp, in->data, sizeof(in->data), 0, (struct sockaddr *)&from, &from_len);
    if (got < NS_HFIXEDSZ)
        return;
    atomic_fetch_add(&server->udp_count, 1);
    if (atomic_load(&server->mood) == MOOD_JUNK) {
        sendto(server->udp, "junk", 4, 0, (struct sockaddr *)&from, from_len);
        dns_begin_answer(out, in->data, (size_t)got, 0);
        out->data[0] ^= 1; /* of another question */
        sendto(server->udp, out->data, out->len, 0, (struct sockaddr *)&from, from_len);
    }
    if (dns_answer(server, in->data, (size_t)got, false, out))
        sendto(server->udp, out->data, out->len, 0, (struct sockaddr *)&from, from_len);
}

static inline void dns_serve_tcp(struct dns_server *server, struct dns_message *in,
                                 struct dns_message *out)
{
    uint8_t head[2];
    int fd = accept(server->tcp, NULL, NULL);
    if (fd < 0)
        return;
    atomic_fetch_add(&server->tcp_count, 1);
    if (recv(fd, head, 2, MSG_WAITALL) == 2 &&
        recv(fd, in->data, ns_get16(head), MSG_WAITALL) >= NS_HFIXEDSZ) {
        if (!dns_answer(server, in->data, ns_get16(head), true, out)) {
            if (server->mum >= 0)
                close(server->mum);
            server->mum = fd;
            return;
        }
        ns_put16((unsigned)out->len, head);
        /* In pieces. */
        assert_int_equal(send(fd, head, 2, MSG_NOSIGNAL), 2);
        assert_int_equal(send(fd, out->data, out->len, MSG_NOSIGNAL), (ssize_t)out->len);
    }
    close(fd);
}

static inline void *dns_serve(void *ctx)
{
    struct dns_server *server = ctx;
    static struct dns_message in, out;
    while (!atomic_load(&server->is_over)) {
        struct pollfd polled[2] = {{.fd = server->udp, .events = POLLIN},
                                   {.fd = server->tcp, .events = POLLIN}};
        poll(polled, 2, 20);
        if (polled[0].revents != 0)
            dns_serve_udp(server, &in, &out);
        if (polled[1].revents != 0)
            dns_serve_tcp(server, &in, &out);
    }
    return NULL;
}

static inline void dns_start(struct dns_server *server)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    memset(server, 0, sizeof(*server));
    server->mum = -1;
    for (int i = 0; i < 100; i++) { /* a port that is free in both */
        server->tcp = test_listen(&server->port);
        server->udp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        in.sin_port = htons(server->port);
        if (bind(server->udp, (struct sockaddr *)&in, sizeof(in)) == 0)
            break;
        close(server->tcp);
        close(server->udp);
        assert_int_not_equal(i, 99);
    }
    assert_int_equal(pthread_create(&server->thread, NULL, dns_serve, server), 0);
}

static inline void dns_stop(struct dns_server *server)
{
    atomic_store(&server->is_over, true);
    pthread_join(server->thread, NULL);
    close(server->udp);
    close(server->tcp);
    if (server->mum >= 0)
        close(server->mum);
}

/* In place of c-ares's: where a test says so, the system has that server alone, and no search domain. */
static _Atomic(struct dns_server *) dns_of_system;
static atomic_uint dns_channels; /* made */

int ares_init_options(ares_channel *out_channel, struct ares_options *options, int mask);

int ares_init_options(ares_channel *out_channel, struct ares_options *options, int mask)
{
    const struct dns_server *server = atomic_load(&dns_of_system);
    void *next = dlsym(RTLD_NEXT, "ares_init_options");
    int (*call)(ares_channel *, struct ares_options *, int);
    char text[64];

    memcpy(&call, &next, sizeof(call));
    atomic_fetch_add(&dns_channels, 1);
    int status = call(out_channel, options, mask);
    if (server == NULL || status != ARES_SUCCESS)
        return status;
    if (atomic_load(&server->is_twice))
        snprintf(text, sizeof(text), "127.0.0.1:%u,127.0.0.1:%u", server->port, server->port);
    else
        snprintf(text, sizeof(text), "127.0.0.1:%u", server->port);
    return ares_set_servers_ports_csv(*out_channel, text);
}

#endif
