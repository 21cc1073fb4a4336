#include "net/fetch_impl.h"
#include "net/test_world.h"

struct told {
    struct hg_fetcher *fetcher;
    struct hg_fetch *fetch;
    unsigned connected, new, done;
    int err;
    bool cancels, closes, is_closed;
};

static void on_closed(void *ctx)
{
    ((struct told *)ctx)->is_closed = true;
}

static void on_connected(void *ctx, bool is_new)
{
    struct told *told = ctx;
    assert_int_equal(told->done, 0);
    told->connected++;
    told->new += is_new;
    if (told->cancels)
        hg_fetch_cancel(told->fetch, HG_EPEER);
    if (told->closes)
        hg_fetcher_close(told->fetcher, on_closed, told);
}

static void on_done(void *ctx, const struct hg_fetch_response *response)
{
    struct told *told = ctx;
    told->done++;
    told->err = response->err;
}

static size_t on_data(void *ctx, struct hg_bytes bytes)
{
    (void)ctx;
    assert_true(bytes.len > 0);
    return bytes.len;
}

static void fetch(struct world *world, struct hg_fetcher *fetcher, uint16_t port, bool is_streamed,
                  struct told *told)
{
    char url[64];
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/x?body", (unsigned)port);
    struct hg_fetch_options options = {
        .url = url, .connected = on_connected, .data = is_streamed ? on_data : NULL};
    told->fetcher = fetcher;
    assert_int_equal(hg_fetch_start(fetcher, &options, on_done, told, &told->fetch), HG_OK);
    assert_int_equal(told->connected, 0); /* never before start returned */
    test_wait(&world->loop, told->done == 1);
}

static void close_all(struct world *world, struct hg_fetcher *fetcher, struct told *told)
{
    if (!told->closes)
        hg_fetcher_close(fetcher, on_closed, told);
    test_wait(&world->loop, told->is_closed);
    world_close(world);
}

static void test_a_connection_is_told_of_before_its_answer(void **state)
{
    (void)state;
    for (int is_streamed = 0; is_streamed < 2; is_streamed++) {
        struct world *world = world_open(&usual_limits);
        struct hg_fetcher *fetcher;
        assert_int_equal(hg_fetcher_create(&world->loop, &fetcher), HG_OK);
        struct told first = {0}, second = {0};
        fetch(world, fetcher, world->port, is_streamed, &first);
        assert_int_equal(first.err, HG_OK);
        assert_int_equal(first.connected, 1);
        assert_int_equal(first.new, 1);
        fetch(world, fetcher, world->port, is_streamed, &second); /* over the same one */
        assert_int_equal(second.err, HG_OK);
        assert_int_equal(second.connected, 1);
        assert_int_equal(second.new, 0);
        close_all(world, fetcher, &second);
    }
}

static void test_a_connection_that_is_refused_is_not_told_of(void **state)
{
    (void)state;
    struct world *world = world_open(&usual_limits);
    struct hg_fetcher *fetcher;
    uint16_t port;
    close(test_listen(&port));
    assert_int_equal(hg_fetcher_create(&world->loop, &fetcher), HG_OK);
    struct told told = {0};
    fetch(world, fetcher, port, false, &told);
    assert_int_equal(told.err, HG_EPEER);
    assert_int_equal(told.connected, 0);
    close_all(world, fetcher, &told);
}

static void test_who_is_told_may_cancel_and_close(void **state)
{
    (void)state;
    for (int closes = 0; closes < 2; closes++) {
        struct world *world = world_open(&usual_limits);
        struct hg_fetcher *fetcher;
        assert_int_equal(hg_fetcher_create(&world->loop, &fetcher), HG_OK);
        struct told told = {.cancels = !closes, .closes = closes};
        fetch(world, fetcher, world->port, true, &told);
        assert_int_equal(told.connected, 1);
        assert_int_equal(told.done, 1);
        assert_int_equal(told.err, closes ? HG_ECANCELED : HG_EPEER);
        close_all(world, fetcher, &told);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_connection_is_told_of_before_its_answer),
        cmocka_unit_test(test_a_connection_that_is_refused_is_not_told_of),
        cmocka_unit_test(test_who_is_told_may_cancel_and_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
