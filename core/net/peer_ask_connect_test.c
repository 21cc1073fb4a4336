/* FAULTS A16 and A14: how many connections asks make, who waits for one, and what becomes of those that are dead. */
#include "net/peers_impl.h"
#include "net/test_peers.h"

/* A peer that accepts, and resets at once or says nothing. */
struct dead {
    struct hg_peer *peer;
    int listener, fds[16];
    unsigned accepted;
};

static void dead_open(struct world *world, struct dead *dead)
{
    uint16_t port;
    *dead = (struct dead){.listener = test_listen(&port)};
    dead->peer = make_peer(world, port);
}

static void dead_accept(struct dead *dead, bool resets)
{
    int fd;
    while ((fd = accept4(dead->listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        const struct linger at_once = {.l_onoff = 1};
        dead->fds[dead->accepted++] = fd;
        assert_true(dead->accepted < HG_COUNT(dead->fds));
        if (resets) {
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
            close(fd);
            dead->fds[dead->accepted - 1] = -1;
        }
    }
}

static void dead_close(struct dead *dead)
{
    for (unsigned i = 0; i < dead->accepted; i++) {
        if (dead->fds[i] >= 0)
            close(dead->fds[i]);
    }
    close(dead->listener);
    hg_peer_destroy(dead->peer);
}

/* Turn by turn: each could make a connection of its own. */
static void storm(bool resets)
{
    enum { COUNT = 100 };
    struct world *world = world_open();
    struct dead dead;
    struct hg_load_in_test *loads[COUNT];
    unsigned asked = 0;
    dead_open(world, &dead);
    while (asked < COUNT && hg_peer_is_up(dead.peer)) {
        loads[asked++] = ask(world, dead.peer, "k", 20000);
        uv_run(&world->loop.uv, UV_RUN_NOWAIT);
        if (asked > 5)
            dead_accept(&dead, resets);
    }
    assert_true(asked > 5);
    for (unsigned i = 0; i < asked; i++) {
        while (loads[i]->told.calls == 0) {
            dead_accept(&dead, resets);
            uv_run(&world->loop.uv, UV_RUN_NOWAIT);
            test_doze();
        }
        assert_int_equal(loads[i]->told.calls, 1);
        assert_int_equal(loads[i]->told.outcome, HG_ASK_TRANSPORT);
        free(loads[i]);
    }
    struct hg_peer_stats stats;
    hg_peer_stats(dead.peer, &stats);
    dead_accept(&dead, resets);
    /* Who closes a connection of HTTP/2 may speak HTTP/1.1 only: auto finds out. */
    unsigned most = resets && test_transport == HG_TRANSPORT_AUTO ? 2 : 1;
    assert_in_range(dead.accepted - stats.probes, 1, most);
    assert_int_equal(stats.downs, 1);
    assert_int_equal(stats.outstanding, 0);
    dead_close(&dead);
    world_close(world);
}

static void test_a_peer_that_resets_costs_one_connection(void **state)
{
    (void)state;
    storm(true);
}

static void test_a_peer_that_says_nothing_costs_one_connection(void **state)
{
    (void)state;
    storm(false);
}

/* A connection that was made shows nothing yet; a probe beside it does, long before the getter has answered. */
static void test_who_waits_goes_when_the_peer_has_shown_that_it_lives(void **state)
{
    (void)state;
    if (test_transport != HG_TRANSPORT_HTTP)
        skip();
    struct world *world = world_open();
    struct hg_load_in_test *slow = ask(world, world->peer, "slow", 20000);
    test_wait(&world->loop, world->slow_count == 1);
    assert_int_equal(world->probes, 0);
    struct hg_load_in_test *next = ask(world, world->peer, "typed", 20000);
    test_wait(&world->loop, next->told.calls == 1);
    assert_int_equal(next->told.outcome, HG_ASK_TYPED);
    assert_int_equal(world->probes, 1);
    free(next);
    assert_int_equal(slow->told.calls, 0);
    answer_value(world->slow[0], "slow", "at last");
    test_wait(&world->loop, slow->told.calls == 1);
    assert_string_equal(slow->told.data, "at last");
    free(slow);
    world_close(world);
}

static void test_who_waits_has_a_deadline_of_its_own(void **state)
{
    (void)state;
    if (test_transport != HG_TRANSPORT_HTTP)
        skip();
    struct world *world = world_open();
    world->config.timeout_ms = 20000; /* nothing else ends it */
    world->answers_probes = false;
    struct hg_load_in_test *slow = ask(world, world->peer, "slow", 20000);
    test_wait(&world->loop, world->slow_count == 1);
    struct hg_load_in_test *next = ask(world, world->peer, "typed", 50);
    test_wait(&world->loop, next->told.calls == 1);
    assert_int_equal(next->told.outcome, HG_ASK_DEADLINE);
    assert_true(next->told.at_ms >= next->load.deadline_ms);
    assert_int_equal(world->asks, 1);
    assert_int_equal(world->probes, 1);
    struct hg_load_in_test *last = ask(world, world->peer, "typed", 20000);
    uv_run(&world->loop.uv, UV_RUN_NOWAIT);
    world_close_client(world); /* one under way, one that waits */
    assert_int_equal(slow->told.calls, 1);
    assert_int_equal(last->told.calls, 1);
    assert_int_equal(last->told.outcome, HG_ASK_DEADLINE);
    free(slow);
    free(next);
    free(last);
    world_close(world);
}

static void test_without_memory_for_a_probe_the_next_one_helps(void **state)
{
    (void)state;
    if (test_transport != HG_TRANSPORT_HTTP)
        skip();
    for (size_t nth = 0;; nth++) {
        struct world *world = world_open();
        struct hg_load_in_test *slow = ask(world, world->peer, "slow", 20000);
        test_wait(&world->loop, world->slow_count == 1);
        struct hg_load_in_test *next = ask(world, world->peer, "typed", 20000);
        hg_alloc_fail_at(nth, false);
        uv_run(&world->loop.uv, UV_RUN_NOWAIT);
        bool refused = hg_alloc_fail_clear();
        test_wait(&world->loop, next->told.calls == 1);
        assert_int_equal(next->told.outcome, HG_ASK_TYPED);
        assert_int_equal(slow->told.calls, 0);
        world_close_client(world);
        free(slow);
        free(next);
        world_close(world);
        if (!refused)
            break;
        assert_true(nth < 1000);
    }
}

/* Others are answered all the time, on connections of their own. */
static void ask_others_until(struct world *world, const struct hg_load_in_test *load, uint64_t until_ms)
{
    while (load->told.calls == 0 && hg_clock_boot_ms() < until_ms) {
        struct hg_load_in_test *other = ask(world, world->peer, "typed", 20000);
        test_wait(&world->loop, other->told.calls == 1);
        assert_int_equal(other->told.outcome, HG_ASK_TYPED);
        free(other);
    }
}

static void test_a_dead_connection_fails_though_the_peer_lives(void **state)
{
    (void)state;
    if (test_transport != HG_TRANSPORT_HTTP) /* each connection has its PING: wire/http2_client */
        skip();
    struct world *world = world_open();
    uint64_t begun_ms = hg_clock_boot_ms();
    struct hg_load_in_test *load = ask(world, world->peer, "slow", 20000);
    test_wait(&world->loop, world->slow_count == 1);
    struct hg_load_in_test *first = ask(world, world->peer, "typed", 20000);
    test_wait(&world->loop, first->told.calls == 1); /* it waited for a sign of life */
    free(first);
    world->answers_probes = false;
    ask_others_until(world, load, begun_ms + TEST_PATIENCE_MS);
    assert_int_equal(load->told.outcome, HG_ASK_TRANSPORT);
    assert_true(load->told.at_ms >= begun_ms + TIMEOUT_MS - 5);
    struct hg_peer_stats stats;
    hg_peer_stats(world->peer, &stats);
    assert_int_equal(stats.downs, 0); /* the peer has not failed */
    assert_int_equal(stats.errors, 1);
    free(load);
    world_close(world);
}

/* Likewise, where other loops hear of it. */
static void test_a_dead_connection_is_no_mark_on_a_peer_that_others_hear(void **state)
{
    (void)state;
    if (test_transport != HG_TRANSPORT_HTTP)
        skip();
    struct world *world = world_open();
    world->answers_probes = false;
    struct hg_load_in_test *load = ask(world, world->peer, "slow", 20000);
    uint64_t until_ms = hg_clock_boot_ms() + TEST_PATIENCE_MS;
    while (load->told.calls == 0 && hg_clock_boot_ms() < until_ms) {
        hg_peer_heard(world->peer, hg_clock_boot_ms());
        uv_run(&world->loop.uv, UV_RUN_NOWAIT);
        test_doze();
    }
    assert_int_equal(load->told.outcome, HG_ASK_TRANSPORT);
    struct hg_peer_stats stats;
    hg_peer_stats(world->peer, &stats);
    assert_int_equal(stats.downs, 0);
    free(load);
    world_close(world);
}

/* Law 6, beside others. */
static void test_a_slow_answer_is_waited_for_while_probes_are_answered(void **state)
{
    (void)state;
    struct world *world = world_open();
    uint64_t begun_ms = hg_clock_boot_ms();
    struct hg_load_in_test *load = ask(world, world->peer, "slow", 20000);
    test_wait(&world->loop, world->slow_count == 1);
    ask_others_until(world, load, begun_ms + 4 * TIMEOUT_MS);
    assert_int_equal(load->told.calls, 0);
    answer_value(world->slow[0], "slow", "at last");
    test_wait(&world->loop, load->told.calls == 1);
    assert_string_equal(load->told.data, "at last");
    struct hg_peer_stats stats;
    hg_peer_stats(world->peer, &stats);
    assert_int_equal(stats.downs, 0);
    assert_int_equal(stats.errors, 0);
    free(load);
    world_close(world);
}

/* Another loop finds the peer down, by a failure of its own: nobody here waits for a getter then. */
static void test_who_waits_falls_back_when_others_find_the_peer_down(void **state)
{
    (void)state;
    if (test_transport != HG_TRANSPORT_HTTP)
        skip();
    struct world *world = world_open();
    world_close_client(world);
    world->client_closed = false;
    world->config.timeout_ms = 20000; /* nothing else ends it */
    world->answers_probes = false;
    assert_int_equal(hg_peer_client_create(&world->loop, &world->config, &world->client), HG_OK);
    struct hg_load_in_test *slow = ask(world, world->peer, "slow", 20000);
    test_wait(&world->loop, world->slow_count == 1);
    struct hg_load_in_test *next = ask(world, world->peer, "typed", 20000);
    test_wait(&world->loop, world->probes == 1);
    assert_int_equal(next->told.calls, 0);
    hg_peer_failed(world->peer, hg_clock_boot_ms(), "as another loop says");
    test_wait(&world->loop, next->told.calls == 1);
    assert_int_equal(next->told.outcome, HG_ASK_TRANSPORT);
    assert_int_equal(slow->told.calls, 0);
    world_close_client(world);
    free(slow);
    free(next);
    world_close(world);
}

/* It is the only prober of a peer that is down; and the connection of this loop has died too. */
static void test_a_dead_connection_fails_though_another_loop_probes(void **state)
{
    (void)state;
    if (test_transport != HG_TRANSPORT_HTTP)
        skip();
    struct world *world = world_open();
    world->answers_probes = false;
    struct hg_load_in_test *load = ask(world, world->peer, "slow", 20000);
    test_wait(&world->loop, world->slow_count == 1);
    uint64_t until_ms = hg_clock_boot_ms() + TEST_PATIENCE_MS;
    hg_peer_failed(world->peer, hg_clock_boot_ms(), "as another loop says");
    while (load->told.calls == 0 && hg_clock_boot_ms() < until_ms) {
        hg_peer_probe(world->peer, hg_clock_boot_ms());
        uv_run(&world->loop.uv, UV_RUN_NOWAIT);
        test_doze();
    }
    assert_int_equal(load->told.calls, 1);
    assert_int_equal(load->told.outcome, HG_ASK_TRANSPORT);
    free(load);
    world_close(world);
}

/* Its own bytes count, whatever becomes of the probes. */
static void test_an_answer_that_is_coming_is_waited_for(void **state)
{
    (void)state;
    if (test_transport != HG_TRANSPORT_HTTP)
        skip();
    struct world *world = world_open();
    const struct hg_reply reply = {.status = 200};
    struct hg_buf body;
    encode_value(&body, "slow", "piece by piece, as it comes over a slow link; each of them within the time-out");
    world->answers_probes = false;
    struct hg_load_in_test *load = ask(world, world->peer, "slow", 20000);
    test_wait(&world->loop, world->slow_count == 1);
    hg_exchange_begin(world->slow[0], &reply);
    for (size_t i = 0; i < body.len; i++) {
        uint64_t next_ms = hg_clock_boot_ms() + 2 * TIMEOUT_MS / body.len;
        assert_int_equal(load->told.calls, 0);
        assert_non_null(world->slow[0]);
        hg_exchange_piece(world->slow[0], hg_bytes(body.data + i, 1));
        while (hg_clock_boot_ms() < next_ms) {
            hg_peer_heard(world->peer, hg_clock_boot_ms());
            uv_run(&world->loop.uv, UV_RUN_NOWAIT);
            test_doze();
        }
    }
    hg_exchange_end(world->slow[0]);
    test_wait(&world->loop, load->told.calls == 1);
    assert_int_equal(load->told.outcome, HG_ASK_TYPED);
    hg_buf_finish(&body);
    free(load);
    world_close(world);
}

/* The connection of a probe gets lost, as any may; others hear of the peer meanwhile. There is another then. */
static void test_a_probe_without_a_connection_says_nothing_of_a_peer_that_others_hear(void **state)
{
    (void)state;
    if (test_transport != HG_TRANSPORT_HTTP)
        skip();
    struct world *world = world_open();
    struct dead dead;
    struct sockaddr_in address;
    socklen_t size = sizeof(address);
    int fillers[4];
    world->config.timeout_ms = 3 * TIMEOUT_MS; /* half of it is longer than a connection may take */
    dead_open(world, &dead);
    struct hg_load_in_test *load = ask(world, dead.peer, "slow", 20000);
    while (dead.accepted == 0) {
        uv_run(&world->loop.uv, UV_RUN_NOWAIT);
        dead_accept(&dead, false);
        test_doze();
    }
    assert_int_equal(listen(dead.listener, 0), 0); /* what comes is not answered at all */
    assert_int_equal(getsockname(dead.listener, (struct sockaddr *)&address, &size), 0);
    for (size_t i = 0; i < HG_COUNT(fillers); i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        connect(fillers[i], (struct sockaddr *)&address, size);
    }
    uint64_t begun_ms = hg_clock_boot_ms();
    struct hg_peer_stats stats;
    do {
        hg_peer_heard(dead.peer, hg_clock_boot_ms());
        uv_run(&world->loop.uv, UV_RUN_NOWAIT);
        hg_peer_stats(dead.peer, &stats);
        assert_int_equal(load->told.calls, 0);
        assert_int_equal(stats.downs, 0);
        assert_true(hg_clock_boot_ms() < begun_ms + TEST_PATIENCE_MS);
        test_doze();
    } while (stats.probes < 3 || hg_clock_boot_ms() < begun_ms + 2 * world->config.timeout_ms);
    world_close_client(world);
    for (size_t i = 0; i < HG_COUNT(fillers); i++)
        close(fillers[i]);
    free(load);
    dead_close(&dead);
    world_close(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_peer_that_resets_costs_one_connection),
        cmocka_unit_test(test_a_peer_that_says_nothing_costs_one_connection),
        cmocka_unit_test(test_who_waits_goes_when_the_peer_has_shown_that_it_lives),
        cmocka_unit_test(test_who_waits_has_a_deadline_of_its_own),
        cmocka_unit_test(test_without_memory_for_a_probe_the_next_one_helps),
        cmocka_unit_test(test_a_dead_connection_fails_though_the_peer_lives),
        cmocka_unit_test(test_a_dead_connection_is_no_mark_on_a_peer_that_others_hear),
        cmocka_unit_test(test_a_slow_answer_is_waited_for_while_probes_are_answered),
        cmocka_unit_test(test_who_waits_falls_back_when_others_find_the_peer_down),
        cmocka_unit_test(test_a_dead_connection_fails_though_another_loop_probes),
        cmocka_unit_test(test_an_answer_that_is_coming_is_waited_for),
        cmocka_unit_test(test_a_probe_without_a_connection_says_nothing_of_a_peer_that_others_hear),
    };
    return run_over_transports(tests, HG_COUNT(tests));
}
