#include "net/test_support.h"

#include <arpa/nameser.h>
#include <pthread.h>
#include "base/err.h"
#include "net/dns.h"

#define MANY 600

/* What the pretended server does with a question. */
enum mood {
    MOOD_GOOD,
    MOOD_CUT,     /* over UDP: cut; over TCP all is told */
    MOOD_CUT_MUM, /* over UDP: cut, over TCP nothing is said */
    MOOD_MUM,
    MOOD_JUNK,   /* bytes that are no answer, then a good one */
    MOOD_SHORT,  /* an answer that ends too soon */
    MOOD_SEARCH, /* knows names in the domain "svc.local" alone */
    MOOD_RCODE   /* and the code */
};

struct server {
    pthread_t thread;
    uint16_t port;
    int udp, tcp, mum; /* mum: a connection that is not answered; -1: none */
    atomic_bool is_over;
    atomic_int mood;
    atomic_uint udp_count, tcp_count;
};

struct message {
    uint8_t data[NS_MAXMSG];
    size_t len;
};

static void put(struct message *out, const void *data, size_t len)
{
    assert_true(out->len + len <= sizeof(out->data));
    memcpy(out->data + out->len, data, len);
    out->len += len;
}

static void put16(struct message *out, unsigned value)
{
    uint8_t bytes[2] = {(uint8_t)(value >> 8), (uint8_t)value};
    put(out, bytes, 2);
}

/* "a.b" as labels. */
static void put_name(struct message *out, const char *name)
{
    uint8_t len;
    for (; *name != '\0'; name += len + (name[len] == '.')) {
        len = (uint8_t)strcspn(name, ".");
        put(out, &len, 1);
        put(out, name, len);
    }
    put(out, "", 1);
}

/* name NULL: that of the question. The length of the data is put in afterwards. */
static size_t begin_record(struct message *out, const char *name, unsigned type)
{
    if (name == NULL)
        put16(out, 0xc00c);
    else
        put_name(out, name);
    put16(out, type);
    put16(out, ns_c_in);
    put16(out, 0);
    put16(out, 30);
    put16(out, 0);
    return out->len;
}

static void end_record(struct message *out, size_t from, unsigned section)
{
    ns_put16((unsigned)(out->len - from), out->data + from - 2);
    uint8_t *count = out->data + 6 + 2 * section;
    ns_put16(ns_get16(count) + 1, count);
}

static void put_srv(struct message *out, unsigned port, const char *target)
{
    size_t from = begin_record(out, NULL, ns_t_srv);
    put16(out, 7);
    put16(out, 9);
    put16(out, port);
    put_name(out, target);
    end_record(out, from, 0);
}

static void put_address(struct message *out, const char *name, const char *text, unsigned section)
{
    uint8_t address[sizeof(struct in6_addr)];
    bool is_ip6 = strchr(text, ':') != NULL;
    size_t from = begin_record(out, name, is_ip6 ? ns_t_aaaa : ns_t_a);
    assert_int_equal(inet_pton(is_ip6 ? AF_INET6 : AF_INET, text, address), 1);
    put(out, address, is_ip6 ? 16 : 4);
    end_record(out, from, section);
}

/* The head and the question of the asker; the rest of it, such as EDNS, is left out. */
static unsigned begin_answer(struct message *out, const uint8_t *question, size_t len,
                             unsigned flags)
{
    size_t at = NS_HFIXEDSZ;
    while (at < len && question[at] != 0)
        at += question[at] + 1U;
    assert_true(at + 5 <= len);
    out->len = 0;
    put(out, question, 2);
    put16(out, 0x8180 | flags);
    put16(out, 1);
    put(out, "\0\0\0\0\0\0", 6);
    put(out, question + NS_HFIXEDSZ, at + 5 - NS_HFIXEDSZ);
    return ns_get16(question + at + 1);
}

static void put_records(struct message *out, unsigned type, bool is_many)
{
    char text[64];
    if (type != ns_t_srv) {
        put_address(out, NULL, type == ns_t_a ? "10.0.0.9" : "fd00::9", 0);
        return;
    }
    for (int i = 0; i < MANY && is_many; i++) {
        snprintf(text, sizeof(text), "n%d.x", i);
        put_srv(out, 1000 + (unsigned)i, text);
    }
    if (is_many)
        return;
    put_srv(out, 8001, "a.x");
    put_srv(out, 8002, "B.X");
    put_srv(out, 0, "");
    put_address(out, "a.x", "10.0.0.1", 2);
    put_address(out, "A.x", "fd00::1", 2);
}

/* False: nothing is said. */
static bool answer(struct server *server, const uint8_t *question, size_t len, bool is_tcp,
                   struct message *out)
{
    int mood = atomic_load(&server->mood);
    if (mood == MOOD_MUM || (mood == MOOD_CUT_MUM && is_tcp))
        return false;
    if (mood >= MOOD_RCODE) {
        begin_answer(out, question, len, (unsigned)(mood - MOOD_RCODE));
    } else if (!is_tcp && (mood == MOOD_CUT || mood == MOOD_CUT_MUM)) {
        begin_answer(out, question, len, 0x200);
        put_srv(out, 1, "part.x");
    } else if (mood == MOOD_SEARCH && memmem(question, len, "\3svc\5local", 11) == NULL) {
        begin_answer(out, question, len, ns_r_nxdomain);
    } else {
        put_records(out, begin_answer(out, question, len, 0), mood == MOOD_CUT);
        if (mood == MOOD_SHORT)
            out->len -= 9;
    }
    return true;
}

static void serve_udp(struct server *server, struct message *in, struct message *out)
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
        begin_answer(out, in->data, (size_t)got, 0);
        out->data[0] ^= 1; /* of another question */
        sendto(server->udp, out->data, out->len, 0, (struct sockaddr *)&from, from_len);
    }
    if (answer(server, in->data, (size_t)got, false, out))
        sendto(server->udp, out->data, out->len, 0, (struct sockaddr *)&from, from_len);
}

static void serve_tcp(struct server *server, struct message *in, struct message *out)
{
    uint8_t head[2];
    int fd = accept(server->tcp, NULL, NULL);
    if (fd < 0)
        return;
    atomic_fetch_add(&server->tcp_count, 1);
    if (recv(fd, head, 2, MSG_WAITALL) == 2 &&
        recv(fd, in->data, ns_get16(head), MSG_WAITALL) >= NS_HFIXEDSZ) {
        if (!answer(server, in->data, ns_get16(head), true, out)) {
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

static void *serve(void *ctx)
{
    struct server *server = ctx;
    static struct message in, out;
    while (!atomic_load(&server->is_over)) {
        struct pollfd polled[2] = {{.fd = server->udp, .events = POLLIN},
                                   {.fd = server->tcp, .events = POLLIN}};
        poll(polled, 2, 20);
        if (polled[0].revents != 0)
            serve_udp(server, &in, &out);
        if (polled[1].revents != 0)
            serve_tcp(server, &in, &out);
    }
    return NULL;
}

static void server_start(struct server *server)
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
    assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

static void server_stop(struct server *server)
{
    atomic_store(&server->is_over, true);
    pthread_join(server->thread, NULL);
    close(server->udp);
    close(server->tcp);
    if (server->mum >= 0)
        close(server->mum);
}

static void ask_for(struct hg_dns_question *question, const struct server *server,
                    enum hg_dns_type type, const char *name)
{
    memset(question, 0, sizeof(*question));
    question->type = type;
    snprintf(question->name, sizeof(question->name), "%s", name);
    snprintf(question->server, sizeof(question->server), "127.0.0.1:%u", server->port);
}

struct told {
    char text[512];
    unsigned count;
};

static void on_record(void *ctx, const struct hg_dns_record *record)
{
    struct told *told = ctx;
    char line[128] = "";
    if (record->type == HG_DNS_SRV)
        snprintf(line, sizeof(line), "%.20s:%u ", record->name, record->port);
    else
        snprintf(line, sizeof(line), "%.20s=%s ", record->name, record->address);
    strncat(told->text, line, sizeof(told->text) - strlen(told->text) - 1);
    told->count++;
}

/* Asks, and what was told; error is empty where there was none. */
static int ask(struct hg_dns_question *question, struct told *told, char *error, size_t error_size)
{
    struct hg_bytes message;
    memset(told, 0, sizeof(*told));
    error[0] = '\0';
    int err = hg_dns_ask(question, &message, error, error_size);
    if (err < 0)
        return err;
    err = hg_dns_read(message, question->type, on_record, told);
    hg_free((void *)message.data);
    return err;
}

/* Likewise its addresses, each with a blank behind it. */
static int resolve(struct hg_dns_question *question, char *out, size_t size, char *error,
                   size_t error_size)
{
    struct hg_bytes found;
    error[0] = out[0] = '\0';
    int err = hg_dns_resolve(question, &found, error, error_size);
    if (err < 0)
        return err;
    assert_true(found.len < size);
    memcpy(out, found.data, found.len);
    out[found.len] = '\0';
    for (size_t i = 0; i < found.len; i++)
        out[i] = out[i] == '\0' ? ' ' : out[i];
    hg_free((void *)found.data);
    return HG_OK;
}

static void test_records_are_told_with_the_addresses_that_came_along(void **state)
{
    struct server server;
    struct hg_dns_question question;
    struct told told;
    char error[128];
    (void)state;
    server_start(&server);
    ask_for(&question, &server, HG_DNS_SRV, "_peer._tcp.x");
    assert_int_equal(ask(&question, &told, error, sizeof(error)), HG_OK);
    assert_string_equal(told.text, "a.x:8001 b.x:8002 :0 a.x=10.0.0.1 a.x=fd00::1 ");
    ask_for(&question, &server, HG_DNS_A, "b.x.");
    assert_int_equal(ask(&question, &told, error, sizeof(error)), HG_OK);
    assert_string_equal(told.text, "b.x=10.0.0.9 ");
    ask_for(&question, &server, HG_DNS_AAAA, "b.x");
    assert_int_equal(ask(&question, &told, error, sizeof(error)), HG_OK);
    assert_string_equal(told.text, "b.x=fd00::9 ");
    assert_int_equal(atomic_load(&server.tcp_count), 0);
    question.is_tcp = true;
    assert_int_equal(ask(&question, &told, error, sizeof(error)), HG_OK);
    assert_string_equal(told.text, "b.x=fd00::9 ");
    assert_int_equal(atomic_load(&server.tcp_count), 1);
    server_stop(&server);
}

static void test_an_answer_that_was_cut_is_asked_for_over_tcp(void **state)
{
    struct server server;
    struct hg_dns_question question;
    struct told told;
    char error[128];
    (void)state;
    server_start(&server);
    atomic_store(&server.mood, MOOD_CUT);
    ask_for(&question, &server, HG_DNS_SRV, "_peer._tcp.x");
    assert_int_equal(ask(&question, &told, error, sizeof(error)), HG_OK);
    assert_int_equal(told.count, MANY);
    assert_int_equal(atomic_load(&server.udp_count), 1);
    assert_int_equal(atomic_load(&server.tcp_count), 1);
    server_stop(&server);
}

static void test_what_else_a_server_says_is_an_error_with_a_name(void **state)
{
    static const struct {
        int mood, err;
        const char *why;
    } table[] = {
        {MOOD_RCODE + ns_r_nxdomain, HG_ENOENT, "Domain name not found"},
        {MOOD_RCODE, HG_ENOENT, "DNS server returned answer with no data"},
        {MOOD_RCODE + ns_r_servfail, HG_EPEER, "DNS server returned general failure"},
        {MOOD_RCODE + ns_r_refused, HG_EPEER, "DNS server refused query"},
        {MOOD_RCODE + ns_r_notimpl, HG_EPEER, "DNS server does not implement requested operation"},
        {MOOD_SHORT, HG_EPROTO, ""},
        {MOOD_JUNK, HG_OK, ""}, /* what is no answer is passed over */
    };
    (void)state;
    for (size_t i = 0; i < HG_COUNT(table); i++) {
        struct server server;
        struct hg_dns_question question;
        struct told told;
        char error[128];
        server_start(&server);
        atomic_store(&server.mood, table[i].mood);
        ask_for(&question, &server, HG_DNS_SRV, "_peer._tcp.x");
        int err = ask(&question, &told, error, sizeof(error));
        assert_int_equal(err, table[i].err);
        assert_string_equal(error, table[i].why);
        server_stop(&server);
    }
}

static void test_silence_ends_in_time_over_both(void **state)
{
    static const enum mood moods[] = {MOOD_MUM, MOOD_CUT_MUM};
    (void)state;
    for (size_t i = 0; i < HG_COUNT(moods); i++) {
        struct server server;
        struct hg_dns_question question;
        struct told told;
        char error[128];
        server_start(&server);
        atomic_store(&server.mood, moods[i]);
        ask_for(&question, &server, HG_DNS_SRV, "_peer._tcp.x");
        uint64_t from_ms = hg_clock_boot_ms();
        assert_int_equal(ask(&question, &told, error, sizeof(error)), HG_ETIMEDOUT);
        assert_string_equal(error, "no DNS server answered in time");
        assert_true(hg_clock_boot_ms() - from_ms < HG_DNS_PATIENCE_MS + 2000);
        server_stop(&server);
    }
}

static void *end_soon(void *ctx)
{
    struct hg_dns_question *question = ctx;
    test_doze();
    atomic_store(&question->is_over, true);
    return NULL;
}

static void test_another_thread_ends_it(void **state)
{
    struct server server;
    struct hg_dns_question question;
    struct told told;
    char error[128];
    pthread_t thread;
    (void)state;
    server_start(&server);
    atomic_store(&server.mood, MOOD_MUM);
    ask_for(&question, &server, HG_DNS_SRV, "_peer._tcp.x");
    pthread_create(&thread, NULL, end_soon, &question);
    assert_int_equal(ask(&question, &told, error, sizeof(error)), HG_ECANCELED);
    pthread_join(thread, NULL);
    assert_int_equal(ask(&question, &told, error, sizeof(error)), HG_ECANCELED);
    server_stop(&server);
}

static void test_a_server_that_is_none_and_a_name_that_is_none(void **state)
{
    struct server server;
    struct hg_dns_question question;
    struct told told;
    char error[128];
    (void)state;
    server_start(&server);
    ask_for(&question, &server, HG_DNS_SRV, "a..b");
    assert_int_equal(ask(&question, &told, error, sizeof(error)), HG_EINVAL);
    assert_string_equal(error, "Misformatted domain name");
    server_stop(&server);
    ask_for(&question, &server, HG_DNS_SRV, "_peer._tcp.x"); /* nobody is there any more */
    assert_int_equal(ask(&question, &told, error, sizeof(error)), HG_EPEER);
    assert_non_null(strstr(error, "no DNS server could be reached"));
    snprintf(question.server, sizeof(question.server), "nowhere");
    assert_int_equal(ask(&question, &told, error, sizeof(error)), HG_EADDR);
    assert_string_equal(error, "nowhere is no address of a DNS server");
}

static void test_search_domains_are_those_of_the_system(void **state)
{
    struct server server;
    struct hg_dns_question question;
    struct told told;
    char error[128];
    (void)state;
    server_start(&server);
    atomic_store(&server.mood, MOOD_SEARCH);
    setenv("LOCALDOMAIN", "ns.svc.local svc.local", 1);
    ask_for(&question, &server, HG_DNS_A, "hgcache");
    assert_int_equal(ask(&question, &told, error, sizeof(error)), HG_ENOENT);
    question.searches = true;
    assert_int_equal(ask(&question, &told, error, sizeof(error)), HG_OK);
    assert_string_equal(told.text, "hgcache.ns.svc.local=10.0.0.9 ");
    snprintf(question.name, sizeof(question.name), "hgcache."); /* whole */
    assert_int_equal(ask(&question, &told, error, sizeof(error)), HG_ENOENT);
    unsetenv("LOCALDOMAIN");
    server_stop(&server);
}

static void test_addresses_are_those_of_the_file_and_then_of_dns(void **state)
{
    struct server server;
    struct hg_dns_question question;
    char text[128], error[128];
    (void)state;
    server_start(&server);
    atomic_store(&server.mood, MOOD_SEARCH);
    setenv("LOCALDOMAIN", "ns.svc.local svc.local", 1);
    ask_for(&question, &server, HG_DNS_A, "hgcache");
    assert_int_equal(resolve(&question, text, sizeof(text), error, sizeof(error)), HG_OK);
    assert_string_equal(text, "10.0.0.9 ");
    ask_for(&question, &server, HG_DNS_AAAA, "hgcache");
    assert_int_equal(resolve(&question, text, sizeof(text), error, sizeof(error)), HG_OK);
    assert_string_equal(text, "fd00::9 ");
    snprintf(question.name, sizeof(question.name), "hgcache."); /* whole */
    assert_int_equal(resolve(&question, text, sizeof(text), error, sizeof(error)), HG_ENOENT);
    assert_string_equal(error, "Domain name not found");
    unsetenv("LOCALDOMAIN");
    unsigned asked = atomic_load(&server.udp_count);
    snprintf(question.name, sizeof(question.name), "fd00::7"); /* nobody is asked */
    assert_int_equal(resolve(&question, text, sizeof(text), error, sizeof(error)), HG_OK);
    assert_string_equal(text, "fd00::7 ");
    ask_for(&question, &server, HG_DNS_A, "localhost");
    assert_int_equal(resolve(&question, text, sizeof(text), error, sizeof(error)), HG_OK);
    assert_memory_equal(text, "127.0.0.1 ", 10);
    assert_int_equal(atomic_load(&server.udp_count), asked);
    server_stop(&server);
}

static void test_a_look_up_ends_in_time_and_by_another_thread(void **state)
{
    struct server server;
    struct hg_dns_question question;
    char text[128], error[128];
    pthread_t thread;
    (void)state;
    server_start(&server);
    atomic_store(&server.mood, MOOD_CUT_MUM); /* the system's resolver hangs there */
    ask_for(&question, &server, HG_DNS_A, "hgcache.x");
    uint64_t from_ms = hg_clock_boot_ms();
    assert_int_equal(resolve(&question, text, sizeof(text), error, sizeof(error)), HG_ETIMEDOUT);
    assert_string_equal(error, "no DNS server answered in time");
    assert_true(hg_clock_boot_ms() - from_ms < HG_DNS_PATIENCE_MS + 2000);
    assert_true(atomic_load(&server.tcp_count) > 0);
    pthread_create(&thread, NULL, end_soon, &question);
    assert_int_equal(resolve(&question, text, sizeof(text), error, sizeof(error)), HG_ECANCELED);
    pthread_join(thread, NULL);
    server_stop(&server);
}

static int read_bytes(const struct message *message, size_t len, enum hg_dns_type type,
                      struct told *told)
{
    memset(told, 0, sizeof(*told));
    char *copy = hg_malloc(len + 1); /* so that a byte too far is noticed */
    memcpy(copy, message->data, len);
    int err = hg_dns_read(hg_bytes(copy, len), type, on_record, told);
    hg_free(copy);
    return err;
}

static void test_what_is_broken_is_refused_wherever_it_ends(void **state)
{
    static const uint8_t question[] = "\0\0\0\0\0\0\0\0x\0\0!\0";
    static struct message message, broken;
    struct told told;
    (void)state;
    begin_answer(&message, question, sizeof(question) - 1, 0);
    put_records(&message, ns_t_srv, false);
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
        begin_answer(&message, question, sizeof(question) - 1, 0);
        size_t from = begin_record(&message, NULL, types[i]);
        put(&message, "\0\0\0\0\0", 5);
        end_record(&message, from, 0);
        assert_int_equal(read_bytes(&message, message.len, (enum hg_dns_type)types[i], &told),
                         HG_EPROTO);
    }
    /* A target that points to itself. */
    begin_answer(&message, question, sizeof(question) - 1, 0);
    size_t from = begin_record(&message, NULL, ns_t_srv);
    put(&message, "\0\0\0\0\0\0", 6);
    put16(&message, 0xc000 | (unsigned)message.len);
    end_record(&message, from, 0);
    assert_int_equal(read_bytes(&message, message.len, HG_DNS_SRV, &told), HG_EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records_are_told_with_the_addresses_that_came_along),
        cmocka_unit_test(test_an_answer_that_was_cut_is_asked_for_over_tcp),
        cmocka_unit_test(test_what_else_a_server_says_is_an_error_with_a_name),
        cmocka_unit_test(test_silence_ends_in_time_over_both),
        cmocka_unit_test(test_another_thread_ends_it),
        cmocka_unit_test(test_a_server_that_is_none_and_a_name_that_is_none),
        cmocka_unit_test(test_search_domains_are_those_of_the_system),
        cmocka_unit_test(test_addresses_are_those_of_the_file_and_then_of_dns),
        cmocka_unit_test(test_a_look_up_ends_in_time_and_by_another_thread),
        cmocka_unit_test(test_what_is_broken_is_refused_wherever_it_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
