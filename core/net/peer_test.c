#include <pthread.h>

#include "base/units.h"
#include "net/log.h"
#include "net/peer_state.h"
#include "net/test_support.h"

static void test_names_of_peers(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int err;
    } cases[] = {
        {"http://localhost:8001", HG_OK},
        {"localhost:8001", HG_OK},
        {"10.0.0.1:80", HG_OK},
        {"http://[::1]:80", HG_OK},
        {"https://a.example:443", HG_EINVAL}, /* there is no TLS between nodes */
        {"http://a:1/", HG_OK},
        {"", HG_EINVAL},
        {"http://", HG_EINVAL},
        {"http://a b:1", HG_EINVAL},
        {"http://u:p@a:1", HG_EINVAL},
        {"http://a:1/path", HG_EINVAL},
        {"a:1?x", HG_EINVAL},
        {"a:1\r\nX: y", HG_EINVAL},
    };
    struct hg_peers_config config = {.timeout_ms = 100};
    for (size_t i = 0; i < HG_COUNT(cases); i++) {
        struct hg_peer *peer = NULL;
        char error[160] = "";
        int err = hg_peer_create(hg_bytes_str(cases[i].name), &config, &peer, error, sizeof(error));
        if (err != cases[i].err || (err < 0) != (error[0] != '\0'))
            fail_msg("%s: %d %s", cases[i].name, err, error);
        if (err == HG_OK)
            assert_string_equal(hg_peer_name(peer), cases[i].name); /* as listed */
        hg_peer_destroy(peer);
    }
}

static void test_changes_between_up_and_down_are_counted_once(void **state)
{
    (void)state;
    struct hg_peers_config config = {.timeout_ms = 100};
    struct hg_peer *peer;
    struct hg_peer_stats stats;
    char error[160];
    assert_int_equal(hg_peer_create(HG_BYTES("a:1"), &config, &peer, error, sizeof(error)), HG_OK);
    assert_string_equal(hg_peer_base_url(peer), "http://a:1");
    uint64_t now = hg_clock_boot_ms(); /* creation read it too */
    uint64_t number = hg_peer_asked(peer, 1, false, now);
    hg_peer_failed(peer, now + 1, "refused");
    hg_peer_failed(peer, now + 2, "refused");
    assert_false(hg_peer_is_up(peer));
    assert_int_equal(hg_peer_silence_number(peer),
                     number); /* a refusal does not fail what others wait for */
    hg_peer_heard(peer, now + 3);
    hg_peer_heard(peer, now + 4);
    assert_true(hg_peer_is_up(peer));
    assert_int_equal(hg_peer_tick(peer, now + 60), HG_HEALTH_PROBE);
    hg_peer_probe_failed(peer, now + 70, "timeout");
    assert_int_equal(hg_peer_silence_number(peer), number + 1);
    hg_peer_done(peer, now + 80);
    hg_peer_took(peer, 3);
    hg_peer_stats(peer, &stats);
    assert_int_equal(stats.asks, 1);
    assert_int_equal(stats.downs, 2);
    assert_int_equal(stats.probes, 1);
    assert_int_equal(stats.outstanding, 0);
    assert_int_equal(stats.last_heard_ms, now + 4);
    assert_int_equal(stats.time.buckets[2], 1);
    assert_int_equal(stats.time.sum_ms, 3);
    hg_peer_destroy(peer);
}

static void ignore_line(enum hg_log_level level, struct hg_bytes message)
{
    (void)level, (void)message;
}

static void *find_out(void *ctx)
{
    struct hg_peer *peer = ctx;
    uint64_t tried = 0;
    for (uint64_t i = 0; i < 20000; i++) {
        hg_peer_found(peer, false, 0);
        tried += hg_peer_try_http2(peer, HG_FOREVER - 1);
        (void)hg_peer_is_http2(peer);
        if (i % 1000 == 0)
            hg_peer_found(peer, true, 0);
    }
    return (void *)(uintptr_t)tried;
}

/* Loops find out at the same time; each chance to try again is one loop's. */
static void test_loops_find_out_together(void **state)
{
    (void)state;
    struct hg_peers_config config = {.timeout_ms = 100, .transport = HG_TRANSPORT_AUTO};
    struct hg_peer *peer;
    struct hg_peer_stats stats;
    pthread_t threads[3];
    char error[160];
    hg_log_divert(ignore_line, HG_LOG_ERROR); /* it changes often here */
    assert_int_equal(hg_peer_create(HG_BYTES("a:1"), &config, &peer, error, sizeof(error)), HG_OK);
    assert_true(hg_peer_is_http2(peer));
    assert_false(hg_peer_try_http2(peer, 1));
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, find_out, peer), 0);
    for (int i = 0; i < 3; i++) {
        void *tried;
        pthread_join(threads[i], &tried);
        assert_true((uintptr_t)tried > 0);
    }
    hg_peer_stats(peer, &stats);
    assert_int_equal(stats.http2_connections, 60);
    hg_log_divert(NULL, HG_LOG_INFO);
    hg_peer_destroy(peer);
}

static struct hg_peer *create_auto(struct hg_peers_config *config)
{
    struct hg_peer *peer;
    char error[160];
    *config = (struct hg_peers_config){.timeout_ms = 100, .transport = HG_TRANSPORT_AUTO};
    assert_int_equal(hg_peer_create(HG_BYTES("a:1"), config, &peer, error, sizeof(error)), HG_OK);
    hg_log_divert(ignore_line, HG_LOG_ERROR);
    return peer;
}

static void destroy_auto(struct hg_peer *peer)
{
    hg_log_divert(NULL, HG_LOG_INFO);
    hg_peer_destroy(peer);
}

static void test_peer_without_http2_is_tried_ever_more_rarely(void **state)
{
    (void)state;
    struct hg_peers_config config;
    struct hg_peer *peer = create_auto(&config);
    uint64_t now = 1000, wait = config.timeout_ms;
    for (int i = 0; i < 20; i++) {
        hg_peer_found(peer, false, now);
        assert_false(hg_peer_is_http2(peer));
        hg_peer_found(peer, false, now + 1); /* of another loop, at the same time */
        assert_false(hg_peer_try_http2(peer, now + wait - 1));
        assert_true(hg_peer_try_http2(peer, now + wait));
        assert_false(hg_peer_try_http2(peer, now + wait)); /* somebody is at it */
        now += wait + 5;
        wait = 2 * wait < 60000 ? 2 * wait : 60000;
    }
    assert_int_equal(wait, 60000);
    destroy_auto(peer);
}

/* Its old connections close on several loops while it begins anew. */
static void test_peer_that_closed_is_tried_again_soon(void **state)
{
    (void)state;
    struct hg_peers_config config;
    struct hg_peer *peer = create_auto(&config);
    hg_peer_found(peer, true, 900);
    hg_peer_found(peer, false, 1000);
    hg_peer_found(peer, false, 1001);
    hg_peer_found(peer, false, 1090);
    assert_false(hg_peer_is_http2(peer));
    assert_false(hg_peer_try_http2(peer, 1099));
    assert_true(hg_peer_try_http2(peer, 1100));
    hg_peer_found(peer, true, 1101);
    assert_true(hg_peer_is_http2(peer));
    destroy_auto(peer);
}

/* A loop that hears late of what happened before the peer was down changes nothing. */
static void test_peer_that_was_down_is_tried_at_once(void **state)
{
    (void)state;
    struct hg_peers_config config;
    struct hg_peer *peer = create_auto(&config);
    hg_peer_found(peer, true, 900);
    hg_peer_found(peer, false, 1000);
    hg_peer_failed(peer, 1001, "a test");
    hg_peer_found(peer, false, 1002);
    assert_false(hg_peer_try_http2(peer, 1003)); /* nobody is there who could say */
    hg_peer_heard(peer, 1004);
    assert_true(hg_peer_try_http2(peer, 1005));
    destroy_auto(peer);
}

static void test_try_that_found_nothing_is_made_again_soon(void **state)
{
    (void)state;
    struct hg_peers_config config;
    struct hg_peer *peer = create_auto(&config);
    hg_peer_found(peer, true, 900);
    hg_peer_found(peer, false, 1000);
    assert_true(hg_peer_try_http2(peer, 1100));
    assert_false(
        hg_peer_try_http2(peer, 1549)); /* as long as a connection and its SETTINGS may take */
    assert_true(hg_peer_try_http2(peer, 1550));
    destroy_auto(peer);
}

static void test_each_failing_allocation_is_survived(void **state)
{
    (void)state;
    struct hg_peers_config config = {.timeout_ms = 100};
    size_t live = hg_alloc_live_bytes();
    for (size_t nth = 0;; nth++) {
        struct hg_peer *peer = NULL;
        char error[160];
        hg_alloc_fail_at(nth, false);
        int err = hg_peer_create(HG_BYTES("http://a:1"), &config, &peer, error, sizeof(error));
        if (!hg_alloc_fail_clear()) {
            assert_int_equal(err, HG_OK);
            assert_int_equal(nth, 2);
            hg_peer_destroy(peer);
            break;
        }
        assert_int_equal(err, HG_ENOMEM);
        assert_null(peer);
        assert_int_equal(hg_alloc_live_bytes(), live);
    }
    assert_int_equal(hg_alloc_live_bytes(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_of_peers),
        cmocka_unit_test(test_changes_between_up_and_down_are_counted_once),
        cmocka_unit_test(test_loops_find_out_together),
        cmocka_unit_test(test_peer_without_http2_is_tried_ever_more_rarely),
        cmocka_unit_test(test_peer_that_closed_is_tried_again_soon),
        cmocka_unit_test(test_peer_that_was_down_is_tried_at_once),
        cmocka_unit_test(test_try_that_found_nothing_is_made_again_soon),
        cmocka_unit_test(test_each_failing_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
