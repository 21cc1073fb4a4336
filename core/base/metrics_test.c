#include "base/metrics.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include "base/testing.h"

#define VALUES(...) ((const struct hg_bytes[]){__VA_ARGS__})

static struct hg_metrics *create(void)
{
    struct hg_metrics *metrics;
    assert_int_equal(hg_metrics_create(&metrics), HG_OK);
    return metrics;
}

static struct hg_metric *declare(struct hg_metrics *metrics, struct hg_metric_config config)
{
    struct hg_metric *metric = NULL;
    assert_null(hg_metric_check(&config));
    assert_int_equal(hg_metrics_declare(metrics, &config, &metric), HG_OK);
    return metric;
}

static void assert_page(struct hg_metrics *metrics, const char *wanted)
{
    struct hg_buf buf;
    hg_buf_init(&buf, 1 << 20);
    assert_int_equal(hg_metrics_write(metrics, &buf), HG_OK);
    assert_int_equal(hg_buf_append_char(&buf, '\0'), HG_OK);
    assert_string_equal(buf.data, wanted);
    hg_buf_finish(&buf);
}

static void test_the_page_has_every_kind(void **state)
{
    (void)state;
    struct hg_metrics *metrics = create();
    struct hg_metric *jobs = declare(metrics, (struct hg_metric_config){.kind = HG_METRIC_COUNTER,
                                                                        .name = "jobs_total",
                                                                        .help = "What was done.",
                                                                        .labels = {"kind", "how"},
                                                                        .label_count = 2});
    struct hg_metric *depth =
        declare(metrics, (struct hg_metric_config){
                             .kind = HG_METRIC_GAUGE, .name = "depth", .help = "\\ and\nline"});
    struct hg_metric *took = declare(metrics, (struct hg_metric_config){.kind = HG_METRIC_HISTOGRAM,
                                                                        .name = "took_seconds",
                                                                        .help = "",
                                                                        .labels = {"of"},
                                                                        .label_count = 1,
                                                                        .bounds = {0.1, 1, 2.5},
                                                                        .bound_count = 3});
    struct hg_metric *plain =
        declare(metrics, (struct hg_metric_config){.kind = HG_METRIC_HISTOGRAM,
                                                   .name = "plain",
                                                   .help = "",
                                                   .bounds = {1},
                                                   .bound_count = 1});

    hg_metric_add(jobs, VALUES(HG_BYTES("a"), HG_BYTES("x")), 1);
    hg_metric_add(jobs, VALUES(HG_BYTES("b\"\\\n"), HG_BYTES("")), 0.5);
    hg_metric_add(jobs, VALUES(HG_BYTES("a"), HG_BYTES("x")), 2);
    hg_metric_set(depth, NULL, -3);
    hg_metric_add(depth, NULL, 0.1);
    hg_metric_observe(took, VALUES(HG_BYTES("a")), 0.1);
    hg_metric_observe(took, VALUES(HG_BYTES("a")), 0.5);
    hg_metric_observe(took, VALUES(HG_BYTES("a")), 100);
    (void)plain;
    assert_page(metrics, "# HELP jobs_total What was done.\n"
                         "# TYPE jobs_total counter\n"
                         "jobs_total{kind=\"a\",how=\"x\"} 3\n"
                         "jobs_total{kind=\"b\\\"\\\\\\n\",how=\"\"} 0.5\n"
                         "# HELP depth \\\\ and\\nline\n"
                         "# TYPE depth gauge\n"
                         "depth -2.9\n"
                         "# HELP took_seconds \n"
                         "# TYPE took_seconds histogram\n"
                         "took_seconds_bucket{of=\"a\",le=\"0.1\"} 1\n"
                         "took_seconds_bucket{of=\"a\",le=\"1\"} 2\n"
                         "took_seconds_bucket{of=\"a\",le=\"2.5\"} 2\n"
                         "took_seconds_bucket{of=\"a\",le=\"+Inf\"} 3\n"
                         "took_seconds_count{of=\"a\"} 3\n"
                         "took_seconds_sum{of=\"a\"} 100.6\n"
                         "# HELP plain \n"
                         "# TYPE plain histogram\n"
                         "plain_bucket{le=\"1\"} 0\n"
                         "plain_bucket{le=\"+Inf\"} 0\n"
                         "plain_count 0\n"
                         "plain_sum 0\n");
    assert_int_equal(hg_metrics_series_count(metrics), 5);
    assert_int_equal(hg_metrics_dropped(metrics), 0);
    hg_metrics_destroy(metrics);
    hg_metrics_destroy(NULL);
}

static void test_numbers_are_written_exactly(void **state)
{
    (void)state;
    static const struct {
        double number;
        const char *text;
    } rows[] = {
        {0, "0"},
        {1e15, "1e+15"},
        {123456789012345, "123456789012345"},
        {9007199254740992, "9007199254740992"},
        {0.1, "0.1"},
        {1.0 / 3, "0.33333333333333331"},
        {INFINITY, "+Inf"},
        {-INFINITY, "-Inf"},
        {NAN, "NaN"},
    };
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        struct hg_metrics *metrics = create();
        struct hg_metric *gauge = declare(
            metrics, (struct hg_metric_config){.kind = HG_METRIC_GAUGE, .name = "g", .help = "h"});
        char wanted[128];
        hg_metric_set(gauge, NULL, rows[i].number);
        snprintf(wanted, sizeof(wanted), "# HELP g h\n# TYPE g gauge\ng %s\n", rows[i].text);
        assert_page(metrics, wanted);
        hg_metrics_destroy(metrics);
    }
}

static void assert_wrong(struct hg_metric_config config, const char *part)
{
    const char *wrong = hg_metric_check(&config);
    if (wrong == NULL || strstr(wrong, part) == NULL)
        fail_msg("wanted '%s', found '%s'", part, wrong == NULL ? "nothing" : wrong);
}

static void test_definitions_are_checked(void **state)
{
    (void)state;
    char name[HG_METRIC_NAME_MAX + 2], help[HG_METRIC_HELP_MAX + 2];
    memset(name, 'n', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    memset(help, 'h', sizeof(help));
    help[sizeof(help) - 1] = '\0';

    static const char *const names[] = {"", "9a", "a b", "a-b", "a:b", "a{", "\xc3\xa4"};
    for (size_t i = 0; i < HG_COUNT(names); i++)
        assert_wrong(
            (struct hg_metric_config){.kind = HG_METRIC_GAUGE, .name = names[i], .help = ""},
            "a metric's name");
    assert_wrong((struct hg_metric_config){.kind = HG_METRIC_GAUGE, .name = name, .help = ""},
                 "a metric's name");
    assert_wrong(
        (struct hg_metric_config){.kind = HG_METRIC_GAUGE, .name = "hgcache_x", .help = ""},
        "the node's own");
    assert_wrong((struct hg_metric_config){.kind = HG_METRIC_GAUGE, .name = "a", .help = help},
                 "longer than 512");
    static const char *const labels[] = {"", "a b", "1", "__x"};
    for (size_t i = 0; i < HG_COUNT(labels); i++)
        assert_wrong((struct hg_metric_config){.kind = HG_METRIC_GAUGE,
                                               .name = "a",
                                               .help = "",
                                               .labels = {labels[i]},
                                               .label_count = 1},
                     "a label's name");
    assert_wrong((struct hg_metric_config){.kind = HG_METRIC_GAUGE,
                                           .name = "a",
                                           .help = "",
                                           .labels = {"x", "y", "x"},
                                           .label_count = 3},
                 "twice");
    assert_wrong((struct hg_metric_config){.kind = HG_METRIC_HISTOGRAM,
                                           .name = "a",
                                           .help = "",
                                           .labels = {"le"},
                                           .label_count = 1,
                                           .bounds = {1},
                                           .bound_count = 1},
                 "le");
    assert_wrong((struct hg_metric_config){.kind = HG_METRIC_HISTOGRAM, .name = "a", .help = ""},
                 "at least one bucket");
    assert_wrong((struct hg_metric_config){.kind = HG_METRIC_HISTOGRAM,
                                           .name = "a",
                                           .help = "",
                                           .bounds = {1, 1},
                                           .bound_count = 2},
                 "ascending");
    assert_wrong((struct hg_metric_config){.kind = HG_METRIC_HISTOGRAM,
                                           .name = "a",
                                           .help = "",
                                           .bounds = {1, INFINITY},
                                           .bound_count = 2},
                 "finite");
}

static void test_one_name_has_one_definition(void **state)
{
    (void)state;
    struct hg_metrics *metrics = create();
    const struct hg_metric_config first = {.kind = HG_METRIC_HISTOGRAM,
                                           .name = "a",
                                           .help = "help",
                                           .labels = {"x"},
                                           .label_count = 1,
                                           .bounds = {1, 2},
                                           .bound_count = 2};
    struct hg_metric *metric = declare(metrics, first), *again = declare(metrics, first);
    assert_ptr_equal(metric, again);

    struct hg_metric_config others[8];
    for (size_t i = 0; i < HG_COUNT(others); i++)
        others[i] = first;
    others[0].kind = HG_METRIC_GAUGE;
    others[1].help = "other";
    others[2].labels[0] = "y";
    others[3].label_count = 0;
    others[4].bounds[1] = 3;
    others[5].bound_count = 1;
    others[6].name = "a_sum";
    others[7].name = "a_count";
    for (size_t i = 0; i < HG_COUNT(others); i++)
        assert_int_equal(hg_metrics_declare(metrics, &others[i], &again), HG_EINVAL);
    /* The other way round: a histogram whose rows are there already. */
    declare(metrics,
            (struct hg_metric_config){.kind = HG_METRIC_GAUGE, .name = "b_bucket", .help = ""});
    others[0] = first;
    others[0].name = "b";
    assert_int_equal(hg_metrics_declare(metrics, &others[0], &again), HG_EINVAL);
    declare(metrics,
            (struct hg_metric_config){.kind = HG_METRIC_GAUGE, .name = "a_total", .help = ""});
    hg_metrics_destroy(metrics);
}

static void test_metrics_are_bounded(void **state)
{
    (void)state;
    struct hg_metrics *metrics = create();
    struct hg_metric *metric;
    char name[16];

    for (unsigned i = 0; i < HG_METRICS_MAX; i++) {
        snprintf(name, sizeof(name), "m%u", i);
        declare(metrics,
                (struct hg_metric_config){.kind = HG_METRIC_COUNTER, .name = name, .help = ""});
    }
    struct hg_metric_config more = {.kind = HG_METRIC_COUNTER, .name = "more", .help = ""};
    assert_int_equal(hg_metrics_declare(metrics, &more, &metric), HG_ELIMIT);
    hg_metrics_destroy(metrics);
}

static void test_series_are_bounded_and_what_is_dropped_is_counted(void **state)
{
    (void)state;
    struct hg_metrics *metrics = create();
    struct hg_metric *metric = declare(
        metrics,
        (struct hg_metric_config){
            .kind = HG_METRIC_COUNTER, .name = "m", .help = "", .labels = {"x"}, .label_count = 1});
    char value[HG_METRIC_LABEL_VALUE_MAX + 2];

    for (unsigned i = 0; i < HG_METRIC_SERIES_MAX; i++) {
        snprintf(value, sizeof(value), "%u", i);
        assert_int_equal(hg_metric_add(metric, VALUES(hg_bytes_str(value)), 1), HG_OK);
    }
    assert_int_equal(hg_metric_add(metric, VALUES(HG_BYTES("more")), 1), HG_ELIMIT);
    assert_int_equal(hg_metric_add(metric, VALUES(HG_BYTES("7")), 1), HG_OK);
    assert_int_equal(hg_metrics_series_count(metrics), HG_METRIC_SERIES_MAX);
    assert_int_equal(hg_metrics_dropped(metrics), 1);
    memset(value, '"', sizeof(value) - 1); /* escaped, the longest there is */
    value[sizeof(value) - 1] = '\0';
    assert_int_equal(hg_metric_add(metric, VALUES(hg_bytes_str(value)), 1), HG_ETOOBIG);
    value[sizeof(value) - 2] = '\0';
    assert_int_equal(hg_metric_add(metric, VALUES(hg_bytes_str(value)), 1), HG_ELIMIT);
    assert_int_equal(hg_metrics_dropped(metrics), 3);
    hg_metrics_destroy(metrics);
}

/* Whatever scripts do, the page has room for the node's own metrics. */
static void test_the_page_is_bounded(void **state)
{
    (void)state;
    struct hg_metrics *metrics = create();
    struct hg_metric_config config = {.kind = HG_METRIC_HISTOGRAM,
                                      .name = "",
                                      .help = "",
                                      .labels = {"x"},
                                      .label_count = 1,
                                      .bound_count = HG_METRIC_BOUNDS_MAX};
    char name[16], value[128];
    struct hg_buf buf;

    for (size_t i = 0; i < HG_METRIC_BOUNDS_MAX; i++)
        config.bounds[i] = (double)i / 3;
    for (unsigned i = 0; i < 10; i++) {
        snprintf(name, sizeof(name), "metric_%u", i);
        config.name = name;
        struct hg_metric *metric = declare(metrics, config);
        for (unsigned k = 0; k < 1000; k++) {
            int len = snprintf(value, sizeof(value), "%0*u", 100, k);
            hg_metric_observe(metric, VALUES(hg_bytes(value, (size_t)len)), 1);
        }
    }
    assert_true(hg_metrics_dropped(metrics) > 1000);
    hg_buf_init(&buf, HG_METRICS_TEXT_MAX);
    assert_int_equal(hg_metrics_write(metrics, &buf), HG_OK);
    assert_true(buf.len > HG_METRICS_TEXT_MAX / 2);
    hg_buf_finish(&buf);
    hg_metrics_destroy(metrics);
}

#define THREADS 8
#define EACH    20000

struct shared {
    struct hg_metrics *metrics;
    struct hg_metric *counter, *histogram;
};

static void *count_up(void *arg)
{
    struct shared *shared = arg;
    char value[8];

    for (unsigned i = 0; i < EACH; i++) {
        snprintf(value, sizeof(value), "%u", i % 10);
        hg_metric_add(shared->counter, VALUES(hg_bytes_str(value)), 1);
        hg_metric_observe(shared->histogram, NULL, i % 3);
    }
    return NULL;
}

static void test_threads_count_exactly(void **state)
{
    (void)state;
    struct shared shared = {.metrics = create()};
    shared.counter = declare(
        shared.metrics,
        (struct hg_metric_config){
            .kind = HG_METRIC_COUNTER, .name = "c", .help = "", .labels = {"x"}, .label_count = 1});
    shared.histogram = declare(
        shared.metrics,
        (struct hg_metric_config){
            .kind = HG_METRIC_HISTOGRAM, .name = "h", .help = "", .bounds = {1}, .bound_count = 1});
    pthread_t threads[THREADS];
    struct hg_buf buf;
    hg_buf_init(&buf, 1 << 20);

    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_up, &shared), 0);
    for (int i = 0; i < 50; i++) { /* scraped meanwhile */
        hg_buf_clear(&buf);
        assert_int_equal(hg_metrics_write(shared.metrics, &buf), HG_OK);
    }
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    hg_buf_clear(&buf);
    assert_int_equal(hg_metrics_write(shared.metrics, &buf), HG_OK);
    assert_int_equal(hg_buf_append_char(&buf, '\0'), HG_OK);
    for (unsigned i = 0; i < 10; i++) {
        char row[32];
        snprintf(row, sizeof(row), "c{x=\"%u\"} %u\n", i, THREADS * EACH / 10);
        assert_non_null(strstr(buf.data, row));
    }
    assert_non_null(strstr(buf.data, "h_count 160000\n"));
    hg_buf_finish(&buf);
    hg_metrics_destroy(shared.metrics);
}

static int attempt(void *ctx)
{
    struct hg_metrics *metrics = NULL;
    struct hg_metric *metric;
    const struct hg_metric_config config = {.kind = HG_METRIC_HISTOGRAM,
                                            .name = "h",
                                            .help = "help",
                                            .labels = {"x", "y"},
                                            .label_count = 2,
                                            .bounds = {1},
                                            .bound_count = 1};
    const struct hg_metric_config plain = {.kind = HG_METRIC_GAUGE, .name = "g", .help = "help"};
    (void)ctx;

    int err = hg_metrics_create(&metrics);
    if (err == HG_OK)
        err = hg_metrics_declare(metrics, &plain, &metric);
    if (err == HG_OK)
        err = hg_metrics_declare(metrics, &config, &metric);
    if (err == HG_OK)
        err = hg_metric_observe(metric, VALUES(HG_BYTES("a"), HG_BYTES("b")), 1);
    if (err == HG_OK)
        err = hg_metric_observe(metric, VALUES(HG_BYTES("a"), HG_BYTES("c")), 1);
    hg_metrics_destroy(metrics);
    return err;
}

static void test_every_allocation_may_fail(void **state)
{
    (void)state;
    assert_true(hg_test_sweep(attempt, NULL) > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_page_has_every_kind),
        cmocka_unit_test(test_numbers_are_written_exactly),
        cmocka_unit_test(test_definitions_are_checked),
        cmocka_unit_test(test_one_name_has_one_definition),
        cmocka_unit_test(test_metrics_are_bounded),
        cmocka_unit_test(test_series_are_bounded_and_what_is_dropped_is_counted),
        cmocka_unit_test(test_the_page_is_bounded),
        cmocka_unit_test(test_threads_count_exactly),
        cmocka_unit_test(test_every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
