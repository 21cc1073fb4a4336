#include "net/test_dns.h"

#include <sys/un.h>
#include "net/stream.h"

struct client {
    struct hg_stream stream;
    unsigned connected, arrived, written, closed;
    int connect_err, read_err, write_err;
    bool closes_in_callback;
};

static struct client *client_of(struct hg_stream *stream)
{
    return hg_container_of(stream, struct client, stream);
}

static void on_connected(struct hg_stream *stream, int err)
{
    struct client *client = client_of(stream);
    client->connected++;
    client->connect_err = err;
    if (client->closes_in_callback)
        hg_stream_close(stream);
}

static void on_arrived(struct hg_stream *stream, int err)
{
    struct client *client = client_of(stream);
    client->arrived++;
    if (err < 0)
        client->read_err = err;
    if (client->closes_in_callback)
        hg_stream_close(stream);
}

static void on_written(struct hg_stream *stream, int err)
{
    client_of(stream)->written++;
    client_of(stream)->write_err = err;
}

static void on_closed(struct hg_stream *stream)
{
    client_of(stream)->closed++;
}

static const struct hg_stream_calls calls = {
    .connected = on_connected, .arrived = on_arrived, .written = on_written, .closed = on_closed};

struct setting {
    struct hg_loop loop;
    struct client client;
    struct hg_stream_budget budget;
    int listener, peer;
    uint16_t port;
    size_t live_bytes;
};

static void open_setting(struct setting *setting, size_t in_max)
{
    memset(setting, 0, sizeof(*setting));
    setting->live_bytes = hg_alloc_live_bytes();
    assert_int_equal(hg_loop_init(&setting->loop, "test"), HG_OK);
    setting->listener = test_listen(&setting->port);
    setting->peer = -1;
    setting->budget.max_bytes = SIZE_MAX;
    hg_stream_init(&setting->client.stream, &setting->loop, in_max, &setting->budget, &calls);
}

static void close_setting(struct setting *setting)
{
    hg_stream_close(&setting->client.stream);
    test_wait(&setting->loop, setting->client.closed == 1);
    if (setting->peer >= 0)
        close(setting->peer);
    close(setting->listener);
    assert_int_equal(hg_loop_finish(&setting->loop), 0);
    assert_int_equal(setting->budget.used_bytes, 0);
    assert_int_equal(hg_alloc_live_bytes(), setting->live_bytes);
}

static void meet(struct setting *setting, const char *host)
{
    assert_int_equal(hg_stream_connect(&setting->client.stream, host, setting->port), HG_PENDING);
    assert_int_equal(setting->client.connected, 0); /* never before connect returned */
    test_wait(&setting->loop, setting->client.connected == 1);
    assert_int_equal(setting->client.connect_err, HG_OK);
    setting->peer = accept(setting->listener, NULL, NULL);
    assert_true(setting->peer >= 0);
}

static void say(struct setting *setting, const char *text)
{
    assert_int_equal(send(setting->peer, text, strlen(text), 0), strlen(text));
}

static size_t waiting(struct setting *setting)
{
    return hg_stream_bytes(&setting->client.stream).len;
}

static void test_bytes_go_both_ways(void **state)
{
    struct setting setting;
    char heard[16];
    (void)state;
    open_setting(&setting, 1000);
    meet(&setting, "127.0.0.1");
    struct hg_stream *stream = &setting.client.stream;
    assert_int_equal(hg_stream_write(stream, HG_BYTES("hello")), HG_OK);
    assert_int_equal(recv(setting.peer, heard, sizeof(heard), 0), 5);
    assert_memory_equal(heard, "hello", 5);
    assert_true(hg_stream_is_quiet(stream));
    say(&setting, "one two");
    test_wait(&setting.loop, !hg_stream_is_quiet(stream));
    assert_int_equal(setting.client.arrived, 0); /* not wanted yet */
    assert_int_equal(hg_stream_want(stream), HG_OK);
    test_wait(&setting.loop, waiting(&setting) == 7);
    hg_stream_take(stream, 4);
    assert_memory_equal(hg_stream_bytes(stream).data, "two", 3);
    say(&setting, " three");
    test_wait(&setting.loop, waiting(&setting) == 9);
    assert_memory_equal(hg_stream_bytes(stream).data, "two three", 9);
    hg_stream_take(stream, 9);
    assert_int_equal(waiting(&setting), 0);
    close(setting.peer);
    setting.peer = -1;
    test_wait(&setting.loop, setting.client.read_err == HG_ECLOSED);
    assert_string_equal(stream->error, "closed");
    close_setting(&setting);
}

/* From here on the system's DNS server does that with questions. */
static void open_names(struct dns_server *server, enum dns_mood mood)
{
    dns_start(server);
    atomic_store(&server->mood, mood);
    atomic_store(&dns_of_system, server);
    atomic_store(&dns_channels, 0);
}

static void close_names(struct dns_server *server)
{
    atomic_store(&dns_of_system, NULL);
    dns_stop(server);
}

static void test_names_are_resolved_and_each_address_is_tried(void **state)
{
    struct setting setting;
    struct dns_server server;
    struct sockaddr_in in;
    int len = sizeof(in);
    (void)state;
    open_names(&server, MOOD_HERE);
    open_setting(&setting, 1000);
    meet(&setting, "127.0.0.1");
    close_setting(&setting);
    open_setting(&setting, 1000);
    assert_int_equal(atomic_load(&dns_channels), 0); /* no name, no look-up */
    meet(&setting, "name.x");                        /* 127.0.0.2 first, and nobody listens there */
    assert_int_equal(
        uv_tcp_getpeername(&setting.client.stream.uv.tcp, (struct sockaddr *)&in, &len), 0);
    assert_int_equal(ntohl(in.sin_addr.s_addr), INADDR_LOOPBACK);
    assert_int_equal(atomic_load(&server.udp_count), 2);
    close_setting(&setting);
    open_setting(&setting, 1000);
    meet(&setting, "localhost");
    assert_int_equal(atomic_load(&server.udp_count), 2);
    close_setting(&setting);

    open_setting(&setting, 1000); /* none of them takes it: the last one's words */
    close(setting.listener);
    assert_int_equal(hg_stream_connect(&setting.client.stream, "name.x", setting.port), HG_PENDING);
    test_wait(&setting.loop, setting.client.connected == 1);
    assert_string_equal(setting.client.stream.error, "connection refused");
    assert_false(setting.client.stream.is_unknown);
    setting.listener = dup(0);
    close_setting(&setting);
    close_names(&server);
}

static void test_unknown_names_and_closed_ports_say_so(void **state)
{
    struct setting setting;
    struct dns_server server;
    char long_name[300];
    (void)state;
    open_names(&server, MOOD_RCODE + ns_r_nxdomain);
    open_setting(&setting, 1000);
    assert_int_equal(hg_stream_connect(&setting.client.stream, "name.x", 80), HG_PENDING);
    test_wait(&setting.loop, setting.client.connected == 1);
    assert_int_equal(setting.client.connect_err, HG_ENOENT);
    assert_string_equal(setting.client.stream.error, "Domain name not found");
    assert_true(setting.client.stream.is_unknown);
    close_setting(&setting);

    open_setting(&setting, 1000);
    memset(long_name, 'a', sizeof(long_name));
    long_name[sizeof(long_name) - 1] = '\0';
    assert_int_equal(hg_stream_connect(&setting.client.stream, long_name, 80), HG_EINVAL);
    assert_string_equal(setting.client.stream.error,
                        "a name has at most 255 bytes, this one has more");
    close_setting(&setting);
    close_names(&server);

    open_setting(&setting, 1000);
    close(setting.listener);
    assert_int_equal(hg_stream_connect(&setting.client.stream, "127.0.0.1", setting.port),
                     HG_PENDING);
    test_wait(&setting.loop, setting.client.connected == 1);
    assert_string_equal(setting.client.stream.error, "connection refused");
    setting.listener = dup(0);
    close_setting(&setting);
}

static void test_unix_sockets(void **state)
{
    struct setting setting;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char long_path[200];
    (void)state;
    open_setting(&setting, 1000);
    snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/hgcache-stream-%d", (int)getpid());
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(listener, 8), 0);
    assert_int_equal(hg_stream_connect_path(&setting.client.stream, address.sun_path), HG_PENDING);
    test_wait(&setting.loop, setting.client.connected == 1);
    assert_int_equal(setting.client.connect_err, HG_OK);
    setting.peer = accept(listener, NULL, NULL);
    say(&setting, "x");
    assert_int_equal(hg_stream_want(&setting.client.stream), HG_OK);
    test_wait(&setting.loop, waiting(&setting) == 1);
    close(listener);
    unlink(address.sun_path);
    close_setting(&setting);

    open_setting(&setting, 1000);
    assert_int_equal(hg_stream_connect_path(&setting.client.stream, "/tmp/nobody is here"),
                     HG_PENDING);
    test_wait(&setting.loop, setting.client.connected == 1);
    assert_string_equal(setting.client.stream.error, "no such file or directory");
    close_setting(&setting);

    open_setting(&setting, 1000);
    memset(long_path, 'x', sizeof(long_path) - 1);
    long_path[sizeof(long_path) - 1] = '\0';
    assert_true(hg_stream_connect_path(&setting.client.stream, long_path) < 0);
    close_setting(&setting);
}

static void test_buffer_has_a_maximum(void **state)
{
    struct setting setting;
    (void)state;
    open_setting(&setting, 10);
    meet(&setting, "127.0.0.1");
    assert_int_equal(hg_stream_want(&setting.client.stream), HG_OK);
    say(&setting, "0123456789");
    test_wait(&setting.loop, waiting(&setting) == 10);
    say(&setting, "x");
    test_wait(&setting.loop, setting.client.read_err == HG_ETOOBIG);
    assert_string_equal(setting.client.stream.error, "too large");
    close_setting(&setting);
}

static void test_big_write_goes_on_when_there_is_room(void **state)
{
    enum { LEN = 8 << 20 };
    struct setting setting;
    (void)state;
    open_setting(&setting, 1000);
    meet(&setting, "127.0.0.1");
    char *data = malloc(LEN);
    memset(data, 'x', LEN);
    assert_int_equal(hg_stream_write(&setting.client.stream, hg_bytes(data, LEN)), HG_PENDING);
    struct test_client peer;
    test_client_init(&peer, setting.peer);
    assert_int_equal(fcntl(setting.peer, F_SETFL, O_NONBLOCK), 0);
    test_wait(&setting.loop, (test_client_poll(&peer), peer.in.len == LEN));
    test_wait(&setting.loop, setting.client.written == 1);
    assert_int_equal(setting.client.write_err, HG_OK);
    hg_buf_finish(&peer.in);

    /* One that is closed while it is under way says nothing more. */
    assert_int_equal(hg_stream_write(&setting.client.stream, hg_bytes(data, LEN)), HG_PENDING);
    free(data);
    close_setting(&setting);
    assert_int_equal(setting.client.written, 1);
}

static void test_budget_refuses_to_hold_more(void **state)
{
    enum { LEN = 8 << 20 };
    struct setting setting;
    (void)state;
    open_setting(&setting, 1 << 20);
    setting.budget.max_bytes = 10000;
    meet(&setting, "127.0.0.1");
    char *data = calloc(1, LEN);
    assert_int_equal(hg_stream_write(&setting.client.stream, hg_bytes(data, LEN)), HG_PENDING);
    assert_true(setting.budget.used_bytes > 10000); /* the one that passes it */
    assert_int_equal(hg_stream_want(&setting.client.stream), HG_OK);
    say(&setting, "x");
    test_wait(&setting.loop, setting.client.read_err == HG_ELIMIT);
    assert_string_equal(setting.client.stream.error, "too much data in sockets");
    close_setting(&setting);

    open_setting(&setting, 1 << 20);
    setting.budget.used_bytes = setting.budget.max_bytes = 1; /* others' */
    meet(&setting, "127.0.0.1");
    assert_int_equal(hg_stream_write(&setting.client.stream, HG_BYTES("fits the kernel")), HG_OK);
    assert_int_equal(hg_stream_write(&setting.client.stream, hg_bytes(data, LEN)), HG_ELIMIT);
    setting.budget.used_bytes -= 1;
    free(data);
    close_setting(&setting);
}

static void test_reset_is_an_error_of_its_own(void **state)
{
    struct setting setting;
    struct linger linger = {.l_onoff = 1};
    (void)state;
    open_setting(&setting, 1000);
    meet(&setting, "127.0.0.1");
    assert_int_equal(hg_stream_want(&setting.client.stream), HG_OK);
    setsockopt(setting.peer, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(setting.peer);
    setting.peer = -1;
    test_wait(&setting.loop, setting.client.read_err < 0);
    assert_string_equal(setting.client.stream.error, "connection reset by peer");
    close_setting(&setting);
}

static void test_closing_at_any_moment(void **state)
{
    struct setting setting;
    struct dns_server server;
    (void)state;
    open_setting(&setting, 1000); /* before anything */
    close_setting(&setting);

    open_names(&server, MOOD_MUM); /* while a name is looked up */
    open_setting(&setting, 1000);
    assert_int_equal(hg_stream_connect(&setting.client.stream, "name.x", setting.port), HG_PENDING);
    test_wait(&setting.loop, atomic_load(&server.udp_count) == 2);
    close_setting(&setting);
    assert_int_equal(setting.client.connected, 0);
    close_names(&server);

    open_setting(&setting, 1000); /* while connecting */
    assert_int_equal(hg_stream_connect(&setting.client.stream, "127.0.0.1", setting.port),
                     HG_PENDING);
    close_setting(&setting);
    assert_int_equal(setting.client.connected, 0);

    open_setting(&setting, 1000); /* in `connected` */
    setting.client.closes_in_callback = true;
    assert_int_equal(hg_stream_connect(&setting.client.stream, "localhost", setting.port),
                     HG_PENDING);
    test_wait(&setting.loop, setting.client.closed == 1);
    close_setting(&setting);

    open_setting(&setting, 1000); /* in `arrived` */
    meet(&setting, "127.0.0.1");
    setting.client.closes_in_callback = true;
    assert_int_equal(hg_stream_want(&setting.client.stream), HG_OK);
    say(&setting, "x");
    test_wait(&setting.loop, setting.client.closed == 1);
    assert_int_equal(setting.client.arrived, 1);
    close_setting(&setting);
}

static void test_each_allocation_of_a_look_up_may_fail(void **state)
{
    struct dns_server server;
    bool was_refused = true;
    (void)state;
    open_names(&server, MOOD_HERE);
    for (unsigned n = 0; was_refused; n++) {
        struct setting setting;
        open_setting(&setting, 1000);
        hg_alloc_fail_at(n, false);
        int err = hg_stream_connect(&setting.client.stream, "name.x", setting.port);
        test_wait(&setting.loop, err < 0 || setting.client.connected == 1);
        was_refused = hg_alloc_fail_clear();
        assert_int_equal(err < 0 ? err : setting.client.connect_err,
                         was_refused ? HG_ENOMEM : HG_OK);
        close_setting(&setting);
    }
    close_names(&server);
}

static void test_no_memory_is_an_error(void **state)
{
    enum { LEN = 8 << 20 };
    struct setting setting;
    (void)state;
    open_setting(&setting, 1000);
    meet(&setting, "127.0.0.1");
    char *data = calloc(1, LEN);
    hg_alloc_fail_at(0, true);
    int err = hg_stream_write(&setting.client.stream, hg_bytes(data, LEN));
    assert_true(hg_alloc_fail_clear());
    assert_int_equal(err, HG_ENOMEM);
    free(data);
    assert_int_equal(hg_stream_want(&setting.client.stream), HG_OK);
    say(&setting, "x");
    hg_alloc_fail_at(0, true);
    test_wait(&setting.loop, setting.client.read_err < 0);
    assert_true(hg_alloc_fail_clear());
    assert_int_equal(setting.client.read_err, HG_ENOMEM);
    close_setting(&setting);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_go_both_ways),
        cmocka_unit_test(test_names_are_resolved_and_each_address_is_tried),
        cmocka_unit_test(test_unknown_names_and_closed_ports_say_so),
        cmocka_unit_test(test_unix_sockets),
        cmocka_unit_test(test_buffer_has_a_maximum),
        cmocka_unit_test(test_big_write_goes_on_when_there_is_room),
        cmocka_unit_test(test_budget_refuses_to_hold_more),
        cmocka_unit_test(test_reset_is_an_error_of_its_own),
        cmocka_unit_test(test_closing_at_any_moment),
        cmocka_unit_test(test_each_allocation_of_a_look_up_may_fail),
        cmocka_unit_test(test_no_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
