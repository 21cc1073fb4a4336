/* Finding out what a peer speaks, and peers of HTTP/2 that behave badly: raw sockets play them. */
#include "net/peers_impl.h"
#include "net/test_peers.h"

static const char SETTINGS[] = "\0\0\0\4\0\0\0\0\0";

struct raw {
    struct world *world;
    struct hg_peer *peer;
    int listener, fd;
    uint16_t port;
};

static void raw_open(struct raw *raw)
{
    raw->world = world_open();
    raw->listener = test_listen(&raw->port);
    raw->peer = make_peer(raw->world, raw->port);
    raw->fd = -1;
}

static void raw_accept(struct raw *raw)
{
    char preface[1024];
    if (raw->fd >= 0)
        close(raw->fd);
    raw->fd = -1;
    test_wait(&raw->world->loop,
              (raw->fd = accept4(raw->listener, NULL, NULL, SOCK_NONBLOCK)) >= 0);
    test_wait(&raw->world->loop, read(raw->fd, preface, sizeof(preface)) > 0);
}

static void raw_say(struct raw *raw, const char *bytes, size_t len)
{
    assert_int_equal(write(raw->fd, bytes, len), (ssize_t)len);
}

static void raw_close(struct raw *raw)
{
    if (raw->fd >= 0)
        close(raw->fd);
    close(raw->listener);
    hg_peer_destroy(raw->peer);
    world_close(raw->world);
}

static const char *transport_of(const struct hg_peer *peer)
{
    struct hg_peer_stats stats;
    hg_peer_stats(peer, &stats);
    return stats.transport;
}

/* An ask whose connection of HTTP/2 has been greeted. */
static struct hg_load_in_test *begin(struct raw *raw, enum hg_transport transport)
{
    test_transport = transport;
    raw_open(raw);
    struct hg_load_in_test *load = ask(raw->world, raw->peer, "k", 20000);
    raw_accept(raw);
    raw_say(raw, SETTINGS, sizeof(SETTINGS) - 1);
    return load;
}

static void must_be_told(struct world *world, struct hg_load_in_test *load,
                         enum hg_ask_outcome outcome)
{
    test_wait(&world->loop, load->told.calls == 1);
    assert_int_equal(load->told.outcome, outcome);
    free(load);
}

static void say_value_over_http1(struct raw *raw)
{
    char answer[256];
    struct hg_buf body;
    encode_value(&body, "k", "found");
    int len = snprintf(answer, sizeof(answer), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n",
                       body.len);
    raw_say(raw, answer, (size_t)len);
    raw_say(raw, body.data, body.len);
    hg_buf_finish(&body);
}

static void raw_say_frame(struct raw *raw, char type, char flags, int id, const char *payload,
                          size_t len)
{
    const char head[] = {0, (char)(len >> 8), (char)(len & 255), type, flags, 0, 0, 0, (char)id};
    raw_say(raw, head, sizeof(head));
    raw_say(raw, payload, len);
}

/* To the first ask of its connection, once that is there. */
static void say_value_over_grpc(struct raw *raw)
{
    char request[4096];
    test_wait(&raw->world->loop, read(raw->fd, request, sizeof(request)) > 50);
    static const char trailers[] = "\0\013grpc-status\0010";
    char message[256];
    struct hg_buf body;
    encode_value(&body, "k", "found");
    hg_grpc_prefix_write(body.len, message);
    memcpy(message + HG_GRPC_PREFIX, body.data, body.len);
    raw_say_frame(raw, 1, 4, 1, "\x88", 1); /* HEADERS: 200 */
    raw_say_frame(raw, 0, 0, 1, message, HG_GRPC_PREFIX + body.len);
    raw_say_frame(raw, 1, 5, 1, trailers, sizeof(trailers) - 1);
    hg_buf_finish(&body);
}

/* The same ask comes over HTTP/1.1 then. */
static void answer_over_http1(struct raw *raw)
{
    raw_accept(raw);
    say_value_over_http1(raw);
}

static void test_ask_survives_a_peer_that_speaks_something_else(void **state)
{
    (void)state;
    static const char *const words[] = {"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
                                        "\x15\x03\x01\x02\x02\x02\x16 no", ""};
    for (size_t i = 0; i < HG_COUNT(words); i++) {
        struct raw raw;
        test_transport = HG_TRANSPORT_AUTO;
        raw_open(&raw);
        assert_string_equal(transport_of(raw.peer), "unknown");
        struct hg_load_in_test *load = ask(raw.world, raw.peer, "k", 20000);
        raw_accept(&raw);
        if (words[i][0] != '\0')
            raw_say(&raw, words[i], strlen(words[i]));
        else
            close(raw.fd), raw.fd = -1; /* at once */
        answer_over_http1(&raw);
        must_be_told(raw.world, load, HG_ASK_TYPED);
        assert_string_equal(transport_of(raw.peer), "http");
        assert_true(hg_peer_is_up(raw.peer));
        struct hg_peer_stats stats;
        hg_peer_stats(raw.peer, &stats);
        assert_int_equal(stats.asks, 1);
        assert_int_equal(stats.asks_again, 1);
        assert_int_equal(stats.errors, 0);
        assert_int_equal(stats.http2_unprocessed, 1);
        raw_close(&raw);
    }
}

static bool starts_with(const char *text, ssize_t len, const char *with)
{
    return len >= (ssize_t)strlen(with) && memcmp(text, with, strlen(with)) == 0;
}

/* It takes the preface, says nothing, and answers HTTP/1.1 on other connections. */
static void test_peer_that_ignores_the_preface_is_asked_over_http1(void **state)
{
    (void)state;
    struct raw raw;
    int open[64];
    size_t count = 0;
    test_transport = HG_TRANSPORT_AUTO;
    raw_open(&raw);
    struct hg_load_in_test *load = ask(raw.world, raw.peer, "k", 20000);
    while (load->told.calls == 0) {
        char head[4096] = "", answer[512];
        int fd = -1;
        ssize_t len = 0;
        test_wait(&raw.world->loop, load->told.calls > 0 || (fd = accept4(raw.listener, NULL, NULL,
                                                                          SOCK_NONBLOCK)) >= 0);
        if (fd < 0)
            break;
        assert_true(count < HG_COUNT(open));
        open[count++] = fd;
        test_wait(&raw.world->loop, (len = read(fd, head, sizeof(head))) > 0);
        if (starts_with(head, len, "GET /_hgcache/g/k")) {
            struct hg_buf body;
            encode_value(&body, "k", "found");
            int head_len = snprintf(answer, sizeof(answer),
                                    "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", body.len);
            (void)!write(fd, answer, (size_t)head_len);
            (void)!write(fd, body.data, body.len);
            hg_buf_finish(&body);
        } else if (starts_with(head, len, "GET")) { /* a probe */
            (void)!write(fd, "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", 38);
        }
    }
    must_be_told(raw.world, load, HG_ASK_TYPED);
    assert_string_equal(transport_of(raw.peer), "http");
    assert_true(hg_peer_is_up(raw.peer));
    for (size_t i = 0; i < count; i++)
        close(open[i]);
    raw_close(&raw);
}

static void test_grpc_only_does_not_fall_back(void **state)
{
    (void)state;
    struct raw raw;
    test_transport = HG_TRANSPORT_GRPC;
    raw_open(&raw);
    struct hg_load_in_test *load = ask(raw.world, raw.peer, "k", 20000);
    raw_accept(&raw);
    raw_say(&raw, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
    must_be_told(raw.world, load, HG_ASK_TRANSPORT);
    assert_string_equal(transport_of(raw.peer), "grpc");
    raw_close(&raw);
}

/* It is no slow peer and no other program: nothing comes from it. So it is down until HTTP/2 comes from it. */
static void test_grpc_only_peer_that_closes_at_once_is_down(void **state)
{
    (void)state;
    struct hg_peer_stats stats;
    struct raw raw;
    test_transport = HG_TRANSPORT_GRPC;
    raw_open(&raw);
    struct hg_load_in_test *load = ask(raw.world, raw.peer, "k", 20000);
    raw_accept(&raw);
    close(raw.fd), raw.fd = -1;
    must_be_told(raw.world, load, HG_ASK_TRANSPORT);
    assert_false(hg_peer_is_up(raw.peer));
    for (int i = 0; i < 3; i++) { /* probes */
        raw_accept(&raw);
        assert_false(hg_peer_is_up(raw.peer));
        close(raw.fd), raw.fd = -1;
    }
    raw_accept(&raw);
    raw_say(&raw, SETTINGS, sizeof(SETTINGS) - 1);
    test_wait(&raw.world->loop, hg_peer_is_up(raw.peer));
    hg_peer_stats(raw.peer, &stats);
    assert_int_equal(stats.downs, 1);
    load = ask(raw.world, raw.peer, "k", 20000);
    say_value_over_grpc(&raw);
    must_be_told(raw.world, load, HG_ASK_TYPED);
    raw_close(&raw);
}

/* A3: the connection stands, and nothing answers a PING. */
static void test_silence_is_noticed_within_the_timeout(void **state)
{
    (void)state;
    struct raw raw;
    struct hg_load_in_test *load = begin(&raw, HG_TRANSPORT_GRPC);
    uint64_t begun = hg_clock_boot_ms();
    must_be_told(raw.world, load, HG_ASK_TRANSPORT);
    uint64_t took = hg_clock_boot_ms() - begun;
    assert_true(took >= TIMEOUT_MS - 20 && took < 2 * TIMEOUT_MS);
    assert_false(hg_peer_is_up(raw.peer));
    /* Its connection is given up: whatever is asked next has another. */
    char rest[4096];
    ssize_t len;
    test_wait(&raw.world->loop, (len = read(raw.fd, rest, sizeof(rest))) == 0);
    raw_close(&raw);
}

/* A9, and a server that leaves whenever one comes: that is no reason to come for ever. */
static void test_leaving_peer_is_tried_a_few_times(void **state)
{
    (void)state;
    static const char goaway[] = "\0\0\x08\7\0\0\0\0\0\0\0\0\0\0\0\0\0";
    struct raw raw;
    struct hg_load_in_test *load = begin(&raw, HG_TRANSPORT_AUTO);
    raw_say(&raw, goaway, sizeof(goaway) - 1);
    for (int fd = raw.fd; raw.fd == fd;) { /* HTTP/2 once more, or HTTP/1.1 already */
        char head[4] = "";
        int next = -1;
        test_wait(&raw.world->loop, (next = accept4(raw.listener, NULL, NULL, SOCK_NONBLOCK)) >= 0);
        test_wait(&raw.world->loop, read(next, head, 3) == 3);
        if (memcmp(head, "GET", 3) == 0) {
            raw.fd = next;
            close(fd);
        } else {
            (void)!write(next, SETTINGS, sizeof(SETTINGS) - 1);
            (void)!write(next, goaway, sizeof(goaway) - 1);
            close(next);
        }
    }
    say_value_over_http1(&raw);
    must_be_told(raw.world, load, HG_ASK_TYPED);
    assert_true(hg_peer_is_up(raw.peer));
    raw_close(&raw);
}

/* A4: garbage in the middle ends the connection, and is no sign of death. */
static void test_garbage_fails_what_is_under_way(void **state)
{
    (void)state;
    static const char garbage[] = "\xff\xff\xff garbage is no frame";
    struct raw raw;
    struct hg_load_in_test *load = begin(&raw, HG_TRANSPORT_GRPC);
    char request[4096];
    test_wait(&raw.world->loop, read(raw.fd, request, sizeof(request)) > 50);
    raw_say(&raw, garbage, sizeof(garbage) - 1);
    must_be_told(raw.world, load, HG_ASK_TRANSPORT);
    assert_true(hg_peer_is_up(raw.peer));
    raw_close(&raw);
}

/* A6, A8: our reset ends the ask; nothing else comes from the peer. */
static void test_answer_that_cannot_become_right_fails_at_once(void **state)
{
    (void)state;
    static const char head[] = "\0\0\1\1\4\0\0\0\1\x88";                           /* :status 200 */
    static const char *const messages[] = {"\0\0\5\0\0\0\0\0\1\0\xff\xff\xff\xff", /* 4 GiB */
                                           "\0\0\5\0\0\0\0\0\1\1\0\0\0\0"};        /* compressed */
    for (size_t i = 0; i < HG_COUNT(messages); i++) {
        struct raw raw;
        char request[4096];
        ssize_t len = 0;
        struct hg_load_in_test *load = begin(&raw, HG_TRANSPORT_GRPC);
        while (len < 60) { /* its SETTINGS, then the ask */
            ssize_t more = -1;
            test_wait(&raw.world->loop, (more = read(raw.fd, request, sizeof(request))) > 0);
            len += more;
        }
        raw_say(&raw, head, sizeof(head) - 1);
        raw_say(&raw, messages[i], 14);
        must_be_told(raw.world, load, HG_ASK_TRANSPORT);
        assert_true(hg_peer_is_up(raw.peer));
        raw_close(&raw);
    }
}

static void test_peer_that_was_http1_is_found_again(void **state)
{
    (void)state;
    struct world *world;
    test_transport = HG_TRANSPORT_AUTO;
    world = world_open();
    hg_peer_found(world->peer, false, hg_clock_boot_ms());
    assert_string_equal(transport_of(world->peer), "http");
    struct hg_load_in_test *load = ask(world, world->peer, "typed", 5000);
    must_be_told(world, load, HG_ASK_TYPED);
    assert_string_equal(transport_of(world->peer), "http");
    hg_peer_failed(world->peer, hg_clock_boot_ms(), "a test");
    hg_peer_heard(world->peer, hg_clock_boot_ms());
    load =
        ask(world, world->peer, "typed", 5000); /* still over HTTP/1.1; beside it, a connection */
    must_be_told(world, load, HG_ASK_TYPED);
    test_wait(&world->loop, strcmp(transport_of(world->peer), "grpc") == 0);
    load = ask(world, world->peer, "typed", 5000);
    must_be_told(world, load, HG_ASK_TYPED);
    world_close(world);
}

/* Another loop's connection closed; ours stands, and says that HTTP/2 is spoken. */
static void test_connection_that_stands_shows_what_is_spoken(void **state)
{
    (void)state;
    struct hg_peer_stats stats;
    test_transport = HG_TRANSPORT_AUTO;
    struct world *world = world_open();
    must_be_told(world, ask(world, world->peer, "typed", 5000), HG_ASK_TYPED);
    assert_string_equal(transport_of(world->peer), "grpc");
    hg_peer_found(world->peer, false, hg_clock_boot_ms());
    assert_string_equal(transport_of(world->peer), "http");
    hg_peer_failed(world->peer, hg_clock_boot_ms(), "a test");
    hg_peer_heard(world->peer, hg_clock_boot_ms());
    must_be_told(world, ask(world, world->peer, "typed", 5000), HG_ASK_TYPED);
    hg_peer_stats(world->peer, &stats);
    assert_string_equal(stats.transport, "grpc");
    assert_int_equal(stats.http2_connections, 1);
    world_close(world);
}

struct sent {
    unsigned calls;
    int err, status;
};

static void on_sent(void *ctx, const struct hg_fetch_response *response)
{
    struct sent *sent = ctx;
    sent->calls++;
    sent->err = response->err;
    sent->status = response->status;
}

/* Another loop has found silence and life since: that is nothing new about the peer, only about our connections. */
static void test_silence_of_before_marks_nothing(void **state)
{
    (void)state;
    struct hg_peer_stats stats;
    struct sent sent = {0};
    struct raw raw;
    char rest[4096];
    ssize_t len = 0;
    struct hg_load_in_test *load = begin(&raw, HG_TRANSPORT_GRPC);
    say_value_over_grpc(&raw);
    must_be_told(raw.world, load, HG_ASK_TYPED);
    int asks = raw.fd;
    raw.fd = -1;
    assert_int_equal(hg_peer_client_send(raw.world->client, raw.peer, "POST", "/x?changes",
                                         HG_BYTES("the body"), 20000, on_sent, &sent),
                     HG_OK);
    raw_accept(&raw);
    raw_say(&raw, SETTINGS, sizeof(SETTINGS) - 1);
    while (len < 8 || memmem(rest, (size_t)len, "the body", 8) == NULL)
        test_wait(&raw.world->loop, (len = read(raw.fd, rest, sizeof(rest))) > 0);
    int sends = raw.fd;
    raw.fd = -1;

    hg_peer_probe_failed(raw.peer, hg_clock_boot_ms(), "a test");
    hg_peer_heard(raw.peer, hg_clock_boot_ms());
    load = ask(raw.world, raw.peer, "k", 20000);
    raw_accept(&raw); /* another connection */
    raw_say(&raw, SETTINGS, sizeof(SETTINGS) - 1);
    test_wait(&raw.world->loop, read(asks, rest, sizeof(rest)) == 0);
    test_wait(&raw.world->loop, read(sends, rest, sizeof(rest)) == 0);
    say_value_over_grpc(&raw);
    must_be_told(raw.world, load, HG_ASK_TYPED);
    assert_int_equal(sent.calls, 1);
    assert_int_equal(sent.err, HG_ETIMEDOUT);
    assert_true(hg_peer_is_up(raw.peer));
    hg_peer_stats(raw.peer, &stats);
    assert_int_equal(stats.downs, 1); /* what the test did */
    close(asks);
    close(sends);
    raw_close(&raw);
}

/* A write that the peer has not looked at is sent again, with its body. */
static void test_other_requests_survive_it_too(void **state)
{
    (void)state;
    struct raw raw;
    struct sent sent = {0};
    char request[4096];
    ssize_t len = 0;
    test_transport = HG_TRANSPORT_AUTO;
    raw_open(&raw);
    assert_int_equal(hg_peer_client_send(raw.world->client, raw.peer, "POST", "/x?changes",
                                         HG_BYTES("the body"), 5000, on_sent, &sent),
                     HG_OK);
    raw_accept(&raw);
    raw_say(&raw, "HTTP/1.1 400 No\r\n\r\n", 19);
    close(raw.fd);
    raw.fd = -1;
    test_wait(&raw.world->loop, (raw.fd = accept4(raw.listener, NULL, NULL, SOCK_NONBLOCK)) >= 0);
    while (len < 8 || memcmp(request + len - 8, "the body", 8) != 0) {
        ssize_t more = -1;
        test_wait(&raw.world->loop,
                  (more = read(raw.fd, request + len, sizeof(request) - (size_t)len)) > 0);
        len += more;
    }
    raw_say(&raw, "HTTP/1.1 204 No Content\r\n\r\n", 27);
    test_wait(&raw.world->loop, sent.calls == 1);
    assert_int_equal(sent.err, HG_OK);
    assert_int_equal(sent.status, 204);
    raw_close(&raw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ask_survives_a_peer_that_speaks_something_else),
        cmocka_unit_test(test_peer_that_ignores_the_preface_is_asked_over_http1),
        cmocka_unit_test(test_grpc_only_does_not_fall_back),
        cmocka_unit_test(test_grpc_only_peer_that_closes_at_once_is_down),
        cmocka_unit_test(test_silence_is_noticed_within_the_timeout),
        cmocka_unit_test(test_leaving_peer_is_tried_a_few_times),
        cmocka_unit_test(test_garbage_fails_what_is_under_way),
        cmocka_unit_test(test_answer_that_cannot_become_right_fails_at_once),
        cmocka_unit_test(test_peer_that_was_http1_is_found_again),
        cmocka_unit_test(test_connection_that_stands_shows_what_is_spoken),
        cmocka_unit_test(test_silence_of_before_marks_nothing),
        cmocka_unit_test(test_other_requests_survive_it_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
