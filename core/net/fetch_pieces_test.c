#include "net/fetch.h"
#include "net/test_world.h"

/* A fetch in pieces of our own server on the same loop. */
struct piecewise {
    struct world *world;
    struct hg_fetcher *fetcher;
    struct hg_fetch *fetch; /* NULL: done */
    char url[128];
    bool is_closed, takes, feeds, cancels;
    unsigned moves, done;
    int err, status;
    size_t heads, got, left, most; /* left: to be fed; most: that waited at a time */
    struct hg_buf in;
};

static void on_done(void *ctx, const struct hg_fetch_response *response)
{
    struct piecewise *p = ctx;
    p->done++;
    p->fetch = NULL;
    p->err = response->err;
    p->status = response->status;
    assert_int_equal(hg_buf_append_bytes(&p->in, response->body), HG_OK);
}

static void take(struct piecewise *p)
{
    struct hg_bytes bytes = hg_fetch_bytes(p->fetch);
    if (bytes.len > p->most)
        p->most = bytes.len;
    assert_int_equal(hg_buf_append_bytes(&p->in, bytes), HG_OK);
    hg_fetch_take(p->fetch, bytes.len);
}

static void feed(struct piecewise *p)
{
    static const char block[10000] = {'x'};
    while (p->left > 0) {
        size_t len = p->left < sizeof(block) ? p->left : sizeof(block);
        ssize_t taken = hg_fetch_feed(p->fetch, hg_bytes(block, len));
        if (taken <= 0)
            return;
        p->left -= (size_t)taken;
    }
    hg_fetch_feed_end(p->fetch);
    p->feeds = false;
}

static void on_moved(void *ctx)
{
    struct piecewise *p = ctx;
    struct hg_fetch_response head;
    p->moves++;
    if (hg_fetch_has_head(p->fetch, &head)) {
        p->heads++;
        assert_int_equal(head.status, 200);
    }
    if (p->cancels)
        hg_fetch_cancel(p->fetch, HG_ECANCELED);
    else if (p->takes)
        take(p);
    if (p->feeds && !p->cancels)
        feed(p);
}

static void open_it(struct piecewise *p)
{
    *p = (struct piecewise){.world = world_open(&usual_limits), .takes = true};
    p->world->big = make_value(BIG_BYTES);
    hg_buf_init(&p->in, (size_t)1 << 30);
    assert_int_equal(hg_fetcher_create(&p->world->loop, &p->fetcher), HG_OK);
}

static void on_closed(void *ctx)
{
    ((struct piecewise *)ctx)->is_closed = true;
}

static void close_it(struct piecewise *p)
{
    hg_fetcher_close(p->fetcher, on_closed, p);
    test_wait(&p->world->loop, p->is_closed);
    hg_buf_finish(&p->in);
    world_close(p->world);
}

static int start(struct piecewise *p, const char *path, struct hg_fetch_options options)
{
    snprintf(p->url, sizeof(p->url), "http://127.0.0.1:%u%s", (unsigned)p->world->port, path);
    options.url = p->url;
    options.moved = on_moved;
    p->done = 0;
    return hg_fetch_start(p->fetcher, &options, on_done, p, &p->fetch);
}

static void test_answer_comes_in_pieces(void **state)
{
    struct piecewise p;
    (void)state;
    open_it(&p);
    assert_int_equal(start(&p, "/big", (struct hg_fetch_options){0}), HG_OK);
    test_wait(&p.world->loop, p.done > 0);
    assert_int_equal(p.err, HG_OK);
    assert_int_equal(p.status, 200);
    assert_true(p.heads > 1);
    assert_int_equal(p.in.len, BIG_BYTES);
    assert_memory_equal(p.in.data, hg_value_data(p.world->big).data, BIG_BYTES);
    close_it(&p);
}

static void test_nothing_more_is_read_than_is_held(void **state)
{
    struct piecewise p;
    (void)state;
    open_it(&p);
    p.takes = false;
    assert_int_equal(start(&p, "/big", (struct hg_fetch_options){0}), HG_OK);
    test_wait(&p.world->loop, p.heads > 0 && hg_fetch_bytes(p.fetch).len >= HG_FETCH_HELD_BYTES);
    for (unsigned i = 0; i < 50; i++)
        uv_run(&p.world->loop.uv, UV_RUN_NOWAIT);
    assert_true(hg_fetch_bytes(p.fetch).len <= HG_FETCH_HELD_BYTES + 16384);
    p.takes = true;
    take(&p);
    test_wait(&p.world->loop, p.done > 0);
    assert_int_equal(p.err, HG_OK);
    assert_int_equal(p.in.len, BIG_BYTES);
    assert_memory_equal(p.in.data, hg_value_data(p.world->big).data, BIG_BYTES);
    close_it(&p);
}

static void test_body_is_fed(void **state)
{
    static const size_t sizes[] = {0, 1, 65536, 65537, 1000000};
    struct piecewise p;
    (void)state;
    open_it(&p);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (unsigned is_known = 0; is_known < 2; is_known++) {
            p.left = sizes[i];
            p.feeds = true;
            hg_buf_clear(&p.in);
            assert_int_equal(start(&p, "/x?query",
                                   (struct hg_fetch_options){
                                       .method = "POST",
                                       .is_fed = true,
                                       .fed_bytes = is_known ? sizes[i] : HG_FETCH_LENGTH_UNKNOWN}),
                             HG_OK);
            test_wait(&p.world->loop, p.done > 0);
            assert_int_equal(p.err, HG_OK);
            assert_int_equal(p.in.len, sizes[i] > 0 ? sizes[i] : 5); /* the body, or the query */
        }
    }
    close_it(&p);
}

static void test_size_is_of_all_that_came(void **state)
{
    struct piecewise p;
    (void)state;
    open_it(&p);
    assert_int_equal(start(&p, "/big", (struct hg_fetch_options){.body_max = BIG_BYTES - 1}),
                     HG_OK);
    test_wait(&p.world->loop, p.done > 0);
    assert_int_equal(p.err, HG_ETOOBIG);
    assert_int_equal(start(&p, "/big", (struct hg_fetch_options){.body_max = BIG_BYTES}), HG_OK);
    test_wait(&p.world->loop, p.done > 0);
    assert_int_equal(p.err, HG_OK);
    close_it(&p);
}

static void test_time_goes_on_while_paused(void **state)
{
    struct piecewise p;
    (void)state;
    open_it(&p);
    p.takes = false;
    assert_int_equal(start(&p, "/big", (struct hg_fetch_options){.timeout_ms = 100}), HG_OK);
    test_wait(&p.world->loop, p.done > 0);
    assert_int_equal(p.err, HG_ETIMEDOUT);
    close_it(&p);
}

static void test_canceling_inside_and_outside(void **state)
{
    struct piecewise p;
    (void)state;
    open_it(&p);
    p.cancels = true;
    assert_int_equal(start(&p, "/big", (struct hg_fetch_options){0}), HG_OK);
    test_wait(&p.world->loop, p.done > 0);
    assert_int_equal(p.err, HG_ECANCELED);
    p.cancels = false;
    p.takes = false;
    p.moves = 0;
    assert_int_equal(start(&p, "/big", (struct hg_fetch_options){0}), HG_OK);
    test_wait(&p.world->loop, p.moves > 0);
    hg_fetch_cancel(p.fetch, HG_ECANCELED);
    hg_fetch_take(p.fetch, 0); /* of no use, and no harm */
    assert_int_equal(p.done, 0);
    test_wait(&p.world->loop, p.done > 0);
    assert_int_equal(p.err, HG_ECANCELED);
    p.world->answers_in_gone = true;
    assert_int_equal(start(&p, "/late", (struct hg_fetch_options){0}), HG_OK);
    test_wait(&p.world->loop, p.world->late_count == 1);
    close_it(&p); /* with one under way */
    assert_int_equal(p.err, HG_ECANCELED);
}

/* Accepts and answers once, and reads nothing. */
static bool answer_blindly(const struct piecewise *p, int listener, int *fd, const char *answer)
{
    if (*fd < 0 && (*fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0)
        assert_int_equal(send(*fd, answer, strlen(answer), MSG_NOSIGNAL), strlen(answer));
    return p->done > 0;
}

static void test_whole_answer_is_the_result_before_all_is_sent(void **state)
{
    static const struct {
        const char *answer;
        bool takes;
        int err;
        size_t len;
    } rows[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true, HG_OK, 2},
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false, HG_OK, 2},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", true, HG_OK,
         2},
        {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true, HG_OK, 0},
        {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", true, HG_ETIMEDOUT, 2},
        {"HTTP/1.1 100 Continue\r\n\r\n", true, HG_ETIMEDOUT, 0},
    };
    struct piecewise p;
    uint16_t port, world_port;
    (void)state;
    open_it(&p);
    int listener = test_listen(&port);
    world_port = p.world->port;
    p.world->port = port;
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        int fd = -1;
        bool is_slow = rows[i].err == HG_ETIMEDOUT;
        p.takes = rows[i].takes;
        p.feeds = true;
        p.left = (size_t)1 << 30;
        hg_buf_clear(&p.in);
        assert_int_equal(start(&p, "/",
                               (struct hg_fetch_options){.method = "POST",
                                                         .is_fed = true,
                                                         .fed_bytes = HG_FETCH_LENGTH_UNKNOWN,
                                                         .timeout_ms = is_slow ? 200 : 0}),
                         HG_OK);
        test_wait(&p.world->loop, answer_blindly(&p, listener, &fd, rows[i].answer));
        assert_int_equal(p.err, rows[i].err);
        assert_int_equal(p.status, is_slow ? 0 : 200);
        assert_int_equal(p.in.len, rows[i].len);
        close(fd);
    }
    p.feeds = false;
    p.world->port = world_port;
    close(listener);
    close_it(&p);
}

/* Of ours: the other side only listens. */
static void test_no_memory_is_an_error(void **state)
{
    struct piecewise p;
    bool was_refused = true;
    unsigned failures = 0;
    uint16_t port;
    (void)state;
    open_it(&p);
    uint16_t world_port = p.world->port;
    int listener = test_listen(&port);
    assert_int_equal(start(&p, "/x?hello", (struct hg_fetch_options){0}), HG_OK);
    test_wait(&p.world->loop, p.done > 0); /* libcurl is there */
    for (size_t n = 0; was_refused; n++) {
        p.left = 200000;
        p.feeds = true;
        p.world->port = port;
        hg_alloc_fail_at(n, false);
        int err = start(&p, "/x",
                        (struct hg_fetch_options){.method = "POST",
                                                  .is_fed = true,
                                                  .fed_bytes = HG_FETCH_LENGTH_UNKNOWN,
                                                  .timeout_ms = 30});
        if (err == HG_OK) {
            test_wait(&p.world->loop, p.done > 0);
            err = p.err;
        }
        was_refused = hg_alloc_fail_clear();
        if (was_refused && (err == HG_ENOMEM || p.left > 0))
            failures++;
        else
            assert_int_equal(err, HG_ETIMEDOUT);
        p.feeds = false; /* and the next one finds everything as it was */
        p.world->port = world_port;
        assert_int_equal(start(&p, "/x?hello", (struct hg_fetch_options){0}), HG_OK);
        test_wait(&p.world->loop, p.done > 0);
        assert_int_equal(p.err, HG_OK);
    }
    assert_true(failures >= 3);
    close(listener);
    close_it(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answer_comes_in_pieces),
        cmocka_unit_test(test_nothing_more_is_read_than_is_held),
        cmocka_unit_test(test_body_is_fed),
        cmocka_unit_test(test_size_is_of_all_that_came),
        cmocka_unit_test(test_time_goes_on_while_paused),
        cmocka_unit_test(test_canceling_inside_and_outside),
        cmocka_unit_test(test_whole_answer_is_the_result_before_all_is_sent),
        cmocka_unit_test(test_no_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
