#include "net/fetch.h"
#include "net/test_support.h"

/* A listener that answers each request with the same bytes, on the test's thread. */
#define PACKED_BYTES 10000
static const char packed[] = /* gzip of that many "a" */
    "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xed\xc1\x01\x0d\x00\x00\x00\xc2\xa0\xac\xef\x5f\xc2"
    "\x1c\x6e"
    "\x40\x01\x00\x00\x00\x00\x00\x00\x00\x00\xc0\xbf\x01\x97\xd4\x7e\x46\x10\x27\x00\x00";
static const char head[] =
    "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 46\r\n\r\n";

struct result {
    bool is_done;
    int err;
    size_t len;
};

static void on_done(void *ctx, const struct hg_fetch_response *response)
{
    *(struct result *)ctx = (struct result){true, response->err, response->body.len};
}

/* Accepts, reads what is there and answers once; true when the fetch is done. */
static bool serve(int listen_fd, int *fd, bool *has_answered, const struct result *result)
{
    char request[1024];
    if (*fd < 0)
        *fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (*fd >= 0 && !*has_answered && recv(*fd, request, sizeof(request), 0) > 0) {
        assert_int_equal(send(*fd, head, sizeof(head) - 1, MSG_NOSIGNAL), sizeof(head) - 1);
        assert_int_equal(send(*fd, packed, sizeof(packed) - 1, MSG_NOSIGNAL), sizeof(packed) - 1);
        *has_answered = true;
    }
    return result->is_done;
}

static void on_closed(void *ctx)
{
    *(bool *)ctx = true;
}

static void test_bodies_are_counted_unpacked(void **state)
{
    static const struct {
        size_t body_max;
        bool accept;
        int err;
        size_t len;
    } rows[] = {
        {100, false, HG_OK, sizeof(packed) - 1}, /* not asked for: as it came */
        {45, false, HG_ETOOBIG, 0},
        {100, true, HG_ETOOBIG, 0},
        {PACKED_BYTES - 1, true, HG_ETOOBIG, 0},
        {PACKED_BYTES, true, HG_OK, PACKED_BYTES},
    };
    struct hg_loop loop;
    struct hg_fetcher *fetcher;
    uint16_t port;
    char url[64];
    bool is_closed = false;
    (void)state;
    assert_int_equal(sizeof(packed) - 1, 46);
    assert_int_equal(hg_loop_init(&loop, "test"), HG_OK);
    assert_int_equal(hg_fetcher_create(&loop, &fetcher), HG_OK);
    int listen_fd = test_listen(&port);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/", (unsigned)port);
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        struct hg_fetch_options options = {.url = url,
                                           .body_max = rows[i].body_max,
                                           .accept_compressed = rows[i].accept,
                                           .fresh_connection = true};
        struct result result = {0};
        int fd = -1;
        bool has_answered = false;
        assert_int_equal(hg_fetch_start(fetcher, &options, on_done, &result, NULL), HG_OK);
        test_wait(&loop, serve(listen_fd, &fd, &has_answered, &result));
        assert_int_equal(result.err, rows[i].err);
        assert_int_equal(result.len, rows[i].len);
        close(fd);
    }
    close(listen_fd);
    hg_fetcher_close(fetcher, on_closed, &is_closed);
    test_wait(&loop, is_closed);
    assert_int_equal(hg_loop_finish(&loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bodies_are_counted_unpacked)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
