#include "net/test_dns.h"

#include "base/err.h"
#include "net/dns.h"

static void ask_for(struct hg_dns_question *question, const struct dns_server *server,
                    enum hg_dns_type type, const char *name)
{
    memset(question, 0, sizeof(*question));
    question->type = type;
    snprintf(question->name, sizeof(question->name), "%s", name);
    snprintf(question->server, sizeof(question->server), "127.0.0.1:%u", server->port);
}

/* One who waits, and what it was told. */
struct asker {
    struct hg_dns_waiter waiter;
    struct hg_loop *loop;
    unsigned count;
    int err;
    struct hg_buf found;
    const char *error;
    bool was_refused;             /* an allocation */
    struct asker *cancels, *asks; /* when it is told */
};

static void on_told(struct hg_dns_waiter *waiter, int err, struct hg_bytes found,
                    const char *error);

/* All addresses. */
static int begin(struct asker *asker, const char *host)
{
    return hg_dns_resolve_host(asker->loop, host, &asker->waiter, on_told, &asker->error);
}

static void on_told(struct hg_dns_waiter *waiter, int err, struct hg_bytes found, const char *error)
{
    struct asker *asker = hg_container_of(waiter, struct asker, waiter);
    asker->count++;
    asker->was_refused = hg_alloc_fail_clear();
    asker->err = err;
    asker->error = error;
    if (asker->cancels != NULL)
        hg_dns_cancel(&asker->cancels->waiter);
    if (asker->asks != NULL)
        assert_int_equal(begin(asker->asks, "name.x"), HG_PENDING);
    hg_buf_init(&asker->found, SIZE_MAX);
    assert_int_equal(hg_buf_append_bytes(&asker->found, found), HG_OK);
}

typedef int (*ask_fn)(struct hg_loop *loop, const struct hg_dns_question *question,
                      struct hg_dns_waiter *waiter, hg_dns_fn told, const char **out_error);

/* On a loop of its own, of which nothing is left. asker->found is to be finished. */
static void ask_with(ask_fn call, const struct hg_dns_question *question, struct asker *asker)
{
    struct hg_loop loop;
    size_t live_bytes = hg_alloc_live_bytes();
    assert_int_equal(hg_loop_init(&loop, "test"), HG_OK);
    *asker = (struct asker){.loop = &loop};
    asker->err = call(&loop, question, &asker->waiter, on_told, &asker->error);
    assert_int_equal(asker->count, 0); /* never before it returned */
    if (asker->err == HG_PENDING) {
        test_wait(&loop, asker->count > 0);
        assert_null(asker->waiter.dns);
    }
    assert_int_equal(loop.look_up_count, 0);
    assert_int_equal(hg_loop_finish(&loop), 0);
    assert_int_equal(hg_alloc_live_bytes(), live_bytes + asker->found.capacity);
}

/* Asks, and what was told; error is empty where there was none. */
static int ask(const struct hg_dns_question *question, struct dns_records *told, char *error,
               size_t error_size)
{
    struct asker asker;
    memset(told, 0, sizeof(*told));
    ask_with(hg_dns_ask, question, &asker);
    snprintf(error, error_size, "%s", asker.err < 0 ? asker.error : "");
    int err = asker.err < 0
                  ? asker.err
                  : hg_dns_read(hg_buf_bytes(&asker.found), question->type, dns_note_record, told);
    hg_buf_finish(&asker.found);
    return err;
}

/* Each address with a blank behind it. */
static void write_addresses(const struct hg_buf *found, char *out, size_t size)
{
    assert_true(found->len < size);
    memset(out, 0, size);
    for (size_t i = 0; i < found->len; i++)
        out[i] = found->data[i] == '\0' ? ' ' : found->data[i];
}

/* Likewise its addresses. */
static int resolve(const struct hg_dns_question *question, char *out, size_t size, char *error,
                   size_t error_size)
{
    struct asker asker;
    ask_with(hg_dns_resolve, question, &asker);
    snprintf(error, error_size, "%s", asker.err < 0 ? asker.error : "");
    write_addresses(&asker.found, out, size);
    hg_buf_finish(&asker.found);
    return asker.err;
}

static void test_records_are_told_with_the_addresses_that_came_along(void **state)
{
    struct dns_server server;
    struct hg_dns_question question;
    struct dns_records told;
    char error[128];
    (void)state;
    dns_start(&server);
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
    dns_stop(&server);
}

static void test_an_answer_that_was_cut_is_asked_for_over_tcp(void **state)
{
    struct dns_server server;
    struct hg_dns_question question;
    struct dns_records told;
    char error[128];
    (void)state;
    dns_start(&server);
    atomic_store(&server.mood, MOOD_CUT);
    ask_for(&question, &server, HG_DNS_SRV, "_peer._tcp.x");
    assert_int_equal(ask(&question, &told, error, sizeof(error)), HG_OK);
    assert_int_equal(told.count, DNS_MANY);
    assert_int_equal(atomic_load(&server.udp_count), 1);
    assert_int_equal(atomic_load(&server.tcp_count), 1);
    dns_stop(&server);
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
        struct dns_server server;
        struct hg_dns_question question;
        struct dns_records told;
        char error[128];
        dns_start(&server);
        atomic_store(&server.mood, table[i].mood);
        ask_for(&question, &server, HG_DNS_SRV, "_peer._tcp.x");
        int err = ask(&question, &told, error, sizeof(error));
        assert_int_equal(err, table[i].err);
        assert_string_equal(error, table[i].why);
        dns_stop(&server);
    }
}

static void test_silence_ends_in_time_over_both(void **state)
{
    static const enum dns_mood moods[] = {MOOD_MUM, MOOD_CUT_MUM};
    (void)state;
    for (size_t i = 0; i < HG_COUNT(moods); i++) {
        struct dns_server server;
        struct hg_dns_question question;
        struct dns_records told;
        char error[128];
        dns_start(&server);
        atomic_store(&server.mood, moods[i]);
        ask_for(&question, &server, HG_DNS_SRV, "_peer._tcp.x");
        uint64_t from_ms = hg_clock_boot_ms();
        assert_int_equal(ask(&question, &told, error, sizeof(error)), HG_ETIMEDOUT);
        assert_string_equal(error, "no DNS server answered in time");
        assert_true(hg_clock_boot_ms() - from_ms < HG_DNS_PATIENCE_MS + 2000);
        dns_stop(&server);
    }
}

static void test_a_server_that_is_none_and_a_name_that_is_none(void **state)
{
    struct dns_server server;
    struct hg_dns_question question;
    struct dns_records told;
    char error[128];
    (void)state;
    dns_start(&server);
    ask_for(&question, &server, HG_DNS_SRV, "a..b");
    assert_int_equal(ask(&question, &told, error, sizeof(error)), HG_EINVAL);
    assert_string_equal(error, "Misformatted domain name");
    dns_stop(&server);
    ask_for(&question, &server, HG_DNS_SRV, "_peer._tcp.x"); /* nobody is there any more */
    assert_int_equal(ask(&question, &told, error, sizeof(error)), HG_EPEER);
    assert_non_null(strstr(error, "no DNS server could be reached"));
    snprintf(question.server, sizeof(question.server), "nowhere");
    assert_int_equal(ask(&question, &told, error, sizeof(error)), HG_EADDR);
    assert_string_equal(error, "no address of a DNS server");
}

static void test_search_domains_are_those_of_the_system(void **state)
{
    struct dns_server server;
    struct hg_dns_question question;
    struct dns_records told;
    char error[128];
    (void)state;
    dns_start(&server);
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
    dns_stop(&server);
}

static void test_addresses_are_those_of_the_file_and_then_of_dns(void **state)
{
    struct dns_server server;
    struct hg_dns_question question;
    char text[128], error[128];
    (void)state;
    dns_start(&server);
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
    dns_stop(&server);
}

static void test_a_look_up_ends_in_time(void **state)
{
    struct dns_server server;
    struct hg_dns_question question;
    char text[128], error[128];
    (void)state;
    dns_start(&server);
    atomic_store(&server.mood, MOOD_CUT_MUM); /* the system's resolver hangs there */
    ask_for(&question, &server, HG_DNS_A, "hgcache.x");
    uint64_t from_ms = hg_clock_boot_ms();
    assert_int_equal(resolve(&question, text, sizeof(text), error, sizeof(error)), HG_ETIMEDOUT);
    assert_string_equal(error, "no DNS server answered in time");
    assert_true(hg_clock_boot_ms() - from_ms < HG_DNS_PATIENCE_MS + 2000);
    assert_true(atomic_load(&server.tcp_count) > 0);
    dns_stop(&server);
}

/* Names, with the pretended server as that of the system. */
struct setting {
    struct dns_server server;
    struct hg_loop loop;
    struct asker askers[4];
    size_t live_bytes;
};

static void open_setting(struct setting *setting, enum dns_mood mood)
{
    memset(setting, 0, sizeof(*setting));
    setting->live_bytes = hg_alloc_live_bytes();
    dns_start(&setting->server);
    atomic_store(&setting->server.mood, mood);
    atomic_store(&dns_of_system, &setting->server);
    atomic_store(&dns_channels, 0);
    assert_int_equal(hg_loop_init(&setting->loop, "test"), HG_OK);
    for (size_t i = 0; i < HG_COUNT(setting->askers); i++)
        setting->askers[i].loop = &setting->loop;
}

static void close_setting(struct setting *setting)
{
    for (size_t i = 0; i < HG_COUNT(setting->askers); i++) {
        hg_dns_cancel(&setting->askers[i].waiter);
        hg_buf_finish(&setting->askers[i].found);
    }
    assert_int_equal(setting->loop.look_up_count, 0);
    assert_int_equal(hg_loop_finish(&setting->loop), 0);
    atomic_store(&dns_of_system, NULL);
    dns_stop(&setting->server);
    assert_int_equal(hg_alloc_live_bytes(), setting->live_bytes);
}

static void assert_addresses(const struct asker *asker, const char *expected)
{
    char text[128];
    assert_int_equal(asker->count, 1);
    assert_int_equal(asker->err, HG_OK);
    write_addresses(&asker->found, text, sizeof(text));
    assert_string_equal(text, expected);
}

static void test_all_addresses_come_in_the_order_to_be_tried(void **state)
{
    struct setting setting;
    (void)state;
    open_setting(&setting, MOOD_HERE);
    assert_int_equal(begin(&setting.askers[0], "name.x"), HG_PENDING);
    test_wait(&setting.loop, setting.askers[0].count > 0);
    assert_addresses(&setting.askers[0], "127.0.0.2 127.0.0.1 ");
    close_setting(&setting);

    open_setting(&setting, MOOD_GOOD); /* A and AAAA */
    assert_int_equal(begin(&setting.askers[0], "name.x"), HG_PENDING);
    test_wait(&setting.loop, setting.askers[0].count > 0);
    assert_int_equal(setting.askers[0].found.len, sizeof("10.0.0.9") + sizeof("fd00::9"));
    assert_int_equal(atomic_load(&setting.server.udp_count), 2);
    close_setting(&setting);

    open_setting(&setting, MOOD_RCODE + ns_r_nxdomain);
    assert_int_equal(begin(&setting.askers[0], "name.x"), HG_PENDING);
    test_wait(&setting.loop, setting.askers[0].count > 0);
    assert_int_equal(setting.askers[0].err, HG_ENOENT);
    assert_string_equal(setting.askers[0].error, "Domain name not found");
    close_setting(&setting);
}

static void test_names_of_this_machine_are_asked_of_nobody(void **state)
{
    static const struct {
        const char *name;
        enum hg_dns_type type;
        const char *found;
    } table[] = {
        {"localhost", HG_DNS_ADDRESS, "127.0.0.1 ::1 "},
        {"LocalHost.", HG_DNS_A, "127.0.0.1 "},
        {"localhost", HG_DNS_AAAA, "::1 "},
        {"db.localhost", HG_DNS_ADDRESS, "127.0.0.1 ::1 "},
        {"db.localhost.", HG_DNS_A, "127.0.0.1 "},
        {"db.LOCALHOST", HG_DNS_AAAA, "::1 "},
    };
    struct setting setting;
    (void)state;
    open_setting(&setting, MOOD_GOOD);
    for (size_t i = 0; i < HG_COUNT(table); i++) {
        struct hg_dns_question question = {.type = table[i].type};
        char text[128], error[128];
        snprintf(question.name, sizeof(question.name), "%s", table[i].name);
        assert_int_equal(resolve(&question, text, sizeof(text), error, sizeof(error)), HG_OK);
        assert_string_equal(text, table[i].found);
    }
    assert_int_equal(atomic_load(&dns_channels),
                     3); /* for /etc/hosts, not for "localhost" itself */
    assert_int_equal(atomic_load(&setting.server.udp_count), 0);
    assert_int_equal(begin(&setting.askers[0], "notlocalhost"), HG_PENDING);
    test_wait(&setting.loop, setting.askers[0].count > 0);
    assert_true(atomic_load(&setting.server.udp_count) > 0);
    close_setting(&setting);
}

static void test_who_asks_the_same_shares_one_look_up(void **state)
{
    struct setting setting;
    struct asker *askers = setting.askers;
    (void)state;
    open_setting(&setting, MOOD_HERE);
    askers[0].cancels = &askers[1]; /* which is not told then */
    askers[2].asks = &askers[3];    /* and that is a new one */
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(begin(&askers[i], "name.x"), HG_PENDING);
    assert_int_equal(setting.loop.look_up_count, 1);
    test_wait(&setting.loop, askers[3].count > 0);
    assert_addresses(&askers[0], "127.0.0.2 127.0.0.1 ");
    assert_int_equal(askers[1].count, 0);
    assert_addresses(&askers[2], "127.0.0.2 127.0.0.1 ");
    assert_addresses(&askers[3], "127.0.0.2 127.0.0.1 ");
    assert_int_equal(atomic_load(&dns_channels), 2);
    close_setting(&setting);

    open_setting(&setting, MOOD_HERE); /* one who leaves does not end it, the last one does */
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(begin(&askers[i], i < 2 ? "name.x" : "hung.x"), HG_PENDING);
    assert_int_equal(setting.loop.look_up_count, 2);
    hg_dns_cancel(&askers[0].waiter);
    hg_dns_cancel(&askers[2].waiter);
    assert_int_equal(setting.loop.look_up_count, 1);
    test_wait(&setting.loop, askers[1].count > 0);
    assert_addresses(&askers[1], "127.0.0.2 127.0.0.1 ");
    assert_int_equal(askers[0].count + askers[2].count, 0);
    close_setting(&setting);
}

static void test_as_many_as_there_may_be_hang_and_others_are_refused(void **state)
{
    static struct asker hung[HG_DNS_LOOK_UPS_MAX];
    struct setting setting;
    char name[32];
    (void)state;
    open_setting(&setting, MOOD_HERE);
    uint64_t refused = hg_dns_refused();
    for (size_t i = 0; i < HG_COUNT(hung); i++) {
        hung[i] = (struct asker){.loop = &setting.loop};
        snprintf(name, sizeof(name), "hung%zu.x", i);
        assert_int_equal(begin(&hung[i], name), HG_PENDING);
        if (i == HG_COUNT(hung) - 2) { /* others go on */
            assert_int_equal(begin(&setting.askers[0], "name.x"), HG_PENDING);
            test_wait(&setting.loop, setting.askers[0].count > 0);
            assert_addresses(&setting.askers[0], "127.0.0.2 127.0.0.1 ");
        }
    }
    assert_int_equal(begin(&setting.askers[1], "name.x"), HG_ELIMIT);
    assert_string_equal(setting.askers[1].error, "too many names are being looked up");
    assert_int_equal(hg_dns_refused(), refused + 1);
    assert_int_equal(begin(&setting.askers[2], "hung0.x"), HG_PENDING); /* it is there already */
    hg_dns_cancel(&hung[1].waiter);
    assert_int_equal(begin(&setting.askers[1], "name.x"), HG_PENDING);
    test_wait(&setting.loop, setting.askers[1].count > 0);
    assert_addresses(&setting.askers[1], "127.0.0.2 127.0.0.1 ");
    for (size_t i = 0; i < HG_COUNT(hung); i++)
        hg_dns_cancel(&hung[i].waiter);
    close_setting(&setting);
}

static void test_what_came_in_time_counts_although_the_loop_stood_still(void **state)
{
    struct setting setting;
    (void)state;
    open_setting(&setting, MOOD_HERE);
    assert_int_equal(begin(&setting.askers[0], "name.x"), HG_PENDING);
    usleep(2200 * 1000); /* longer than a server has */
    assert_int_equal(atomic_load(&setting.server.udp_count), 2);
    test_wait(&setting.loop, setting.askers[0].count > 0);
    assert_addresses(&setting.askers[0], "127.0.0.2 127.0.0.1 ");
    assert_int_equal(atomic_load(&setting.server.udp_count), 2); /* not asked again */
    close_setting(&setting);
}

static void test_addresses_that_came_count_when_patience_ends(void **state)
{
    struct setting setting;
    struct asker *askers = setting.askers;
    (void)state;
    open_setting(&setting, MOOD_HALF);
    atomic_store(&setting.server.is_twice, true); /* all their attempts are longer than patience */
    uint64_t from_ms = hg_clock_boot_ms();
    assert_int_equal(begin(&askers[0], "name.x"), HG_PENDING);
    assert_int_equal(begin(&askers[1], "hung.x"), HG_PENDING);
    test_wait(&setting.loop, askers[0].count > 0 && askers[1].count > 0);
    assert_true(hg_clock_boot_ms() - from_ms >= HG_DNS_PATIENCE_MS);
    assert_addresses(&askers[0], "127.0.0.2 127.0.0.1 ");
    assert_int_equal(askers[1].err, HG_ETIMEDOUT);
    assert_string_equal(askers[1].error, "no DNS server answered in time");
    close_setting(&setting);
}

static void test_each_allocation_may_fail(void **state)
{
    static const char *const names[] = {"name.x", "localhost", "db.localhost", "hung.x"};
    (void)state;
    for (size_t i = 0; i < HG_COUNT(names); i++) {
        bool was_refused = true;
        for (unsigned n = 0; was_refused; n++) {
            struct setting setting;
            struct asker *asker = &setting.askers[0];
            open_setting(&setting, MOOD_HERE);
            hg_alloc_fail_at(n, false);
            int err = begin(asker, names[i]);
            test_wait(&setting.loop, err < 0 || asker->count > 0 ||
                                         (i == 3 && atomic_load(&setting.server.udp_count) > 0));
            was_refused = hg_alloc_fail_clear() || asker->was_refused;
            if (was_refused)
                assert_int_equal(err < 0 ? err : asker->err, HG_ENOMEM);
            else
                assert_int_equal(asker->count, i < 3);
            close_setting(&setting);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records_are_told_with_the_addresses_that_came_along),
        cmocka_unit_test(test_an_answer_that_was_cut_is_asked_for_over_tcp),
        cmocka_unit_test(test_what_else_a_server_says_is_an_error_with_a_name),
        cmocka_unit_test(test_silence_ends_in_time_over_both),
        cmocka_unit_test(test_a_server_that_is_none_and_a_name_that_is_none),
        cmocka_unit_test(test_search_domains_are_those_of_the_system),
        cmocka_unit_test(test_addresses_are_those_of_the_file_and_then_of_dns),
        cmocka_unit_test(test_a_look_up_ends_in_time),
        cmocka_unit_test(test_all_addresses_come_in_the_order_to_be_tried),
        cmocka_unit_test(test_names_of_this_machine_are_asked_of_nobody),
        cmocka_unit_test(test_who_asks_the_same_shares_one_look_up),
        cmocka_unit_test(test_as_many_as_there_may_be_hang_and_others_are_refused),
        cmocka_unit_test(test_what_came_in_time_counts_although_the_loop_stood_still),
        cmocka_unit_test(test_addresses_that_came_count_when_patience_ends),
        cmocka_unit_test(test_each_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
