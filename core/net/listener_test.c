#include "net/test_support.h"

#include <sys/resource.h>

#include "net/listener.h"

struct world {
    struct hg_loop loop;
    struct hg_listener *listener;
    uint16_t port;
    int fds[256];
    unsigned count;
    bool is_closed;
};

static void on_accept(void *ctx, int fd, unsigned roles)
{
    struct world *world = ctx;
    assert_int_equal(roles, 5);
    assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    world->fds[world->count++] = fd;
}

static void on_closed(void *ctx)
{
    ((struct world *)ctx)->is_closed = true;
}

static void world_open(struct world *world)
{
    *world = (struct world){.count = 0};
    assert_int_equal(hg_loop_init(&world->loop, "test"), HG_OK);
    int fd = test_listen(&world->port);
    assert_int_equal(hg_listener_open(&world->loop, fd, 5, on_accept, world, &world->listener),
                     HG_OK);
}

static void world_close(struct world *world)
{
    hg_listener_close(world->listener, on_closed, world);
    test_wait(&world->loop, world->is_closed);
    for (unsigned i = 0; i < world->count; i++)
        close(world->fds[i]);
    assert_int_equal(hg_loop_finish(&world->loop), 0);
}

static void test_sockets_are_given_away(void **state)
{
    (void)state;
    struct world world;
    int clients[20];
    world_open(&world);
    for (int i = 0; i < 20; i++)
        clients[i] = test_connect(world.port);
    test_wait(&world.loop, world.count == 20);
    world_close(&world);
    for (int i = 0; i < 20; i++)
        close(clients[i]);
}

static void test_close_accepts_what_is_queued(void **state)
{
    (void)state;
    struct world world;
    int clients[100];
    world_open(&world);
    for (int i = 0; i < 100; i++)
        clients[i] =
            test_connect(world.port); /* the loop does not turn: they wait in the backlog */
    assert_int_equal(world.count, 0);
    world_close(&world);
    assert_int_equal(world.count, 100);
    for (int i = 0; i < 100; i++)
        close(clients[i]);
}

/* D16 */
static void test_without_descriptors_it_pauses_and_recovers(void **state)
{
    (void)state;
    struct world world;
    struct rlimit before, low;
    int clients[8];
    world_open(&world);
    for (int i = 0; i < 8; i++)
        clients[i] = test_connect(world.port);
    /*
     * Accepting needs the lowest free descriptor: everything above what is open now is forbidden.
     */
    int lowest = dup(0);
    close(lowest);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    low = before;
    low.rlim_cur = (rlim_t)lowest;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    for (int i = 0; i < 50; i++) {
        uv_run(&world.loop.uv, UV_RUN_NOWAIT);
        test_doze();
    }
    uint64_t pauses = hg_listener_pauses(world.listener);
    unsigned accepted = world.count;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_true(pauses >= 1);
    assert_true(pauses <= 3); /* it does not spin */
    assert_int_equal(accepted, 0);
    /* One client a pause was turned away so that its place in the queue is not held for ever. */
    test_wait(&world.loop, world.count + hg_listener_pauses(world.listener) >= 8);
    assert_true(world.count >= 4);
    world_close(&world);
    for (int i = 0; i < 8; i++)
        close(clients[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sockets_are_given_away),
        cmocka_unit_test(test_close_accepts_what_is_queued),
        cmocka_unit_test(test_without_descriptors_it_pauses_and_recovers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
