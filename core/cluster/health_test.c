#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "base/bytes.h"
#include "cluster/health.h"

#define TIMEOUT 1000

static void test_idle_peer_is_left_alone(void **state)
{
    (void)state;
    struct hg_health health;
    hg_health_init(&health, TIMEOUT, 0);
    assert_true(health.is_up);
    for (uint64_t now = 0; now < 100000; now += 100)
        assert_int_equal(hg_health_tick(&health, now), HG_HEALTH_WAIT);
}

static void test_silence_is_probed_at_half_and_fails_at_the_timeout(void **state)
{
    (void)state;
    struct hg_health health;
    hg_health_init(&health, TIMEOUT, 5000);
    hg_health_asked(&health, 10000);
    hg_health_asked(&health, 10200); /* the oldest counts */
    assert_int_equal(hg_health_tick(&health, 10499), HG_HEALTH_WAIT);
    assert_int_equal(hg_health_tick(&health, 10500), HG_HEALTH_PROBE);
    assert_int_equal(hg_health_tick(&health, 10999), HG_HEALTH_WAIT);
    assert_int_equal(hg_health_tick(&health, 11000), HG_HEALTH_FAILED);
    assert_false(health.is_up);
    assert_int_equal(health.downs, 1);
    assert_int_equal(hg_health_tick(&health, 11001), HG_HEALTH_WAIT); /* said once */
}

static void test_slow_peer_that_answers_probes_stays_up(void **state)
{
    (void)state;
    struct hg_health health;
    unsigned probes = 0;
    hg_health_init(&health, TIMEOUT, 0);
    hg_health_asked(&health, 100);
    for (uint64_t now = 100; now < 60000; now += 50) {
        enum hg_health_step step = hg_health_tick(&health, now);
        assert_int_not_equal(step, HG_HEALTH_FAILED);
        if (step == HG_HEALTH_PROBE) {
            probes++;
            assert_false(hg_health_heard(&health, now + 10));
        }
    }
    assert_true(health.is_up);
    assert_true(probes > 50);
}

static void test_late_ticks_never_fail_without_a_probe(void **state)
{
    (void)state;
    struct hg_health health;
    hg_health_init(&health, TIMEOUT, 0);
    hg_health_asked(&health, 100);
    assert_int_equal(hg_health_tick(&health, 50000),
                     HG_HEALTH_PROBE); /* we stood still, not the peer */
    assert_int_equal(hg_health_tick(&health, 50499), HG_HEALTH_WAIT);
    assert_int_equal(hg_health_tick(&health, 50500), HG_HEALTH_FAILED);
}

static void test_answers_reset_the_silence(void **state)
{
    (void)state;
    struct hg_health health;
    hg_health_init(&health, TIMEOUT, 0);
    hg_health_asked(&health, 100);
    hg_health_asked(&health, 100);
    hg_health_heard(&health, 590);
    hg_health_done(&health, 590);
    assert_int_equal(hg_health_tick(&health, 1089), HG_HEALTH_WAIT);
    assert_int_equal(hg_health_tick(&health, 1090), HG_HEALTH_PROBE);
    hg_health_done(&health, 1100);
    assert_int_equal(hg_health_tick(&health, 9000), HG_HEALTH_WAIT); /* nobody waits */
}

static void test_connect_errors_count_at_once_and_once(void **state)
{
    (void)state;
    struct hg_health health;
    hg_health_init(&health, TIMEOUT, 0);
    hg_health_asked(&health, 100);
    assert_true(hg_health_failed(&health, 110));
    assert_false(hg_health_failed(&health, 120));
    assert_int_equal(health.downs, 1);
}

static void test_down_peer_is_probed_each_timeout_until_it_is_heard(void **state)
{
    (void)state;
    struct hg_health health;
    hg_health_init(&health, TIMEOUT, 0);
    hg_health_failed(&health, 500);
    assert_int_equal(hg_health_tick(&health, 1499), HG_HEALTH_WAIT);
    assert_int_equal(hg_health_tick(&health, 1500), HG_HEALTH_PROBE);
    assert_false(hg_health_probe_failed(&health, 1510)); /* it was down */
    assert_int_equal(hg_health_tick(&health, 2499), HG_HEALTH_WAIT);
    assert_int_equal(hg_health_tick(&health, 2500), HG_HEALTH_PROBE);
    assert_true(hg_health_heard(&health, 2510));
    assert_true(health.is_up);
    assert_int_equal(hg_health_tick(&health, 9999), HG_HEALTH_WAIT);
}

static void test_failing_probe_takes_an_up_peer_down(void **state)
{
    (void)state;
    struct hg_health health;
    hg_health_init(&health, TIMEOUT, 0);
    hg_health_asked(&health, 1);
    assert_int_equal(hg_health_tick(&health, 501), HG_HEALTH_PROBE);
    assert_true(hg_health_probe_failed(&health, 502));
    assert_false(health.is_up);
}

static void test_lost_prober_is_replaced(void **state)
{
    (void)state;
    struct hg_health health;
    hg_health_init(&health, TIMEOUT, 0);
    hg_health_failed(&health, 0);
    assert_int_equal(hg_health_tick(&health, 1000), HG_HEALTH_PROBE);
    assert_int_equal(hg_health_tick(&health, 2999), HG_HEALTH_WAIT);
    assert_int_equal(hg_health_tick(&health, 3000), HG_HEALTH_PROBE);
}

/* Silence is noticed in time, and nobody is marked without a probe that just went unanswered. */
static void test_random_lives_keep_the_promise(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 200; seed++) {
        struct hg_health health;
        uint64_t now = 1000, probe_due = 0, unanswered_at = 0;
        bool is_mute = false;
        srand(seed);
        hg_health_init(&health, TIMEOUT, now);
        for (int step = 0; step < 3000; step++, now += (uint64_t)(rand() % 60)) {
            int what = rand() % 8;
            if (what == 0)
                hg_health_asked(&health, now);
            else if (what == 1 && health.outstanding > 0)
                hg_health_done(&health, now);
            if (rand() % 500 == 0)
                is_mute = !is_mute;
            if (probe_due != 0 && now >= probe_due) {
                probe_due = 0;
                if (is_mute)
                    unanswered_at = now; /* and nobody says so: the worst prober */
                else
                    hg_health_heard(&health, now);
            }
            bool was_up = health.is_up;
            enum hg_health_step next = hg_health_tick(&health, now);
            if (next == HG_HEALTH_PROBE)
                probe_due = now + 100;
            if (next == HG_HEALTH_FAILED) {
                if (unanswered_at == 0 || now - unanswered_at > TIMEOUT)
                    fail_msg("seed %u: a living peer was marked at %llu", seed,
                             (unsigned long long)now);
                assert_true(was_up);
            }
            if (health.is_up && health.outstanding > 0 && now - health.asked_ms > 3 * TIMEOUT)
                fail_msg("seed %u: silence went unnoticed", seed);
            assert_true((health.outstanding == 0) == (health.asked_ms == 0));
        }
    }
}

static void test_a_probe_of_ones_own_counts_as_any(void **state)
{
    (void)state;
    struct hg_health health;
    hg_health_init(&health, TIMEOUT, 0);
    hg_health_asked(&health, 100);
    hg_health_probe(&health, 110);
    for (uint64_t now = 110; now < 1100; now += 10)
        assert_int_equal(hg_health_tick(&health, now), HG_HEALTH_WAIT);
    assert_int_equal(hg_health_tick(&health, 1100), HG_HEALTH_FAILED);
    hg_health_probe(&health, 1200);
    assert_true(hg_health_heard(&health, 1210));
}

static void test_a_call_is_probed_at_half_and_fails_at_the_timeout(void **state)
{
    (void)state;
    assert_int_equal(hg_health_call_step(TIMEOUT, 100, 0, 599), HG_HEALTH_WAIT);
    assert_int_equal(hg_health_call_step(TIMEOUT, 100, 0, 600), HG_HEALTH_PROBE);
    /* One that was begun before, or at the same moment, says nothing. */
    assert_int_equal(hg_health_call_step(TIMEOUT, 100, 90, 5000), HG_HEALTH_PROBE);
    assert_int_equal(hg_health_call_step(TIMEOUT, 100, 100, 5000), HG_HEALTH_PROBE);
    assert_int_equal(hg_health_call_step(TIMEOUT, 100, 600, 1099), HG_HEALTH_WAIT);
    assert_int_equal(hg_health_call_step(TIMEOUT, 100, 600, 1100), HG_HEALTH_FAILED);
    /* It has its time, however late these steps come. */
    assert_int_equal(hg_health_call_step(TIMEOUT, 100, 9000, 9499), HG_HEALTH_WAIT);
    assert_int_equal(hg_health_call_step(TIMEOUT, 100, 9000, 9500), HG_HEALTH_FAILED);
    /* Clocks of two threads. */
    assert_int_equal(hg_health_call_step(TIMEOUT, 100, 0, 99), HG_HEALTH_WAIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_idle_peer_is_left_alone),
        cmocka_unit_test(test_silence_is_probed_at_half_and_fails_at_the_timeout),
        cmocka_unit_test(test_slow_peer_that_answers_probes_stays_up),
        cmocka_unit_test(test_late_ticks_never_fail_without_a_probe),
        cmocka_unit_test(test_answers_reset_the_silence),
        cmocka_unit_test(test_connect_errors_count_at_once_and_once),
        cmocka_unit_test(test_down_peer_is_probed_each_timeout_until_it_is_heard),
        cmocka_unit_test(test_failing_probe_takes_an_up_peer_down),
        cmocka_unit_test(test_lost_prober_is_replaced),
        cmocka_unit_test(test_random_lives_keep_the_promise),
        cmocka_unit_test(test_a_probe_of_ones_own_counts_as_any),
        cmocka_unit_test(test_a_call_is_probed_at_half_and_fails_at_the_timeout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
