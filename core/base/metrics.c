#include "base/metrics.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/alloc.h"
#include "base/err.h"
#include "base/hash.h"

#define BUCKETS 64 /* of the table of series: at most 16 in a chain, about */
/* A row has its name, the labels and at most this: suffix, braces, bound, number. */
#define ROW_EXTRA 64
/* The labels of a series as text: every byte of a value may be escaped. */
#define TEXT_MAX                                                                                   \
    (HG_METRIC_LABELS_MAX * (HG_METRIC_LABEL_NAME_MAX + 2 * HG_METRIC_LABEL_VALUE_MAX + 4))
#define NUMBER_MAX 32

struct series {
    struct series *next;    /* in its chain */
    struct series *younger; /* in order of making */
    uint64_t hash;
    double value;     /* HISTOGRAM: the sum */
    uint64_t *counts; /* HISTOGRAM: of each bound and the last without, each on its own */
    size_t len;
    char text[]; /* a="x",b="y" */
};

struct hg_metric {
    struct hg_metrics *metrics;
    struct hg_metric_config config; /* its texts are ours */
    pthread_mutex_t lock;
    struct series *chains[BUCKETS], *oldest, *youngest;
    size_t series_count;
};

struct hg_metrics {
    pthread_mutex_t lock;
    struct hg_metric *list[HG_METRICS_MAX];
    size_t count; /* under the lock */
    atomic_size_t text_bytes, series_count;
    atomic_uint_fast64_t dropped;
};

/* ---- definitions ---- */

static bool is_name(const char *name, size_t max)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";
    size_t len = strlen(name);
    return len >= 1 && len <= max && strspn(name, letters) == len &&
           (name[0] < '0' || name[0] > '9');
}

static const char *check_labels(const struct hg_metric_config *config)
{
    for (size_t i = 0; i < config->label_count; i++) {
        const char *label = config->labels[i];
        if (!is_name(label, HG_METRIC_LABEL_NAME_MAX) || strncmp(label, "__", 2) == 0)
            return "expected a label's name of 1 to 64 letters, digits and _, not first a digit or "
                   "__";
        if (config->kind == HG_METRIC_HISTOGRAM && strcmp(label, "le") == 0)
            return "the label \"le\" is the histogram's own";
        for (size_t before = 0; before < i; before++)
            if (strcmp(config->labels[before], label) == 0)
                return "a label stands there twice";
    }
    return NULL;
}

const char *hg_metric_check(const struct hg_metric_config *config)
{
    if (!is_name(config->name, HG_METRIC_NAME_MAX))
        return "expected a metric's name of 1 to 128 letters, digits and _, not first a digit";
    if (strncmp(config->name, "hgcache_", 8) == 0)
        return "names that begin with hgcache_ are the node's own";
    if (strlen(config->help) > HG_METRIC_HELP_MAX)
        return "the help text is longer than 512 bytes";
    const char *wrong = check_labels(config);
    if (wrong != NULL || config->kind != HG_METRIC_HISTOGRAM)
        return wrong;
    for (size_t i = 0; i < config->bound_count; i++)
        if (!isfinite(config->bounds[i]) || (i > 0 && config->bounds[i] <= config->bounds[i - 1]))
            return "expected buckets as finite numbers in ascending order";
    return config->bound_count > 0 ? NULL : "expected at least one bucket";
}

static bool is_same(const struct hg_metric_config *a, const struct hg_metric_config *b)
{
    if (a->kind != b->kind || strcmp(a->help, b->help) != 0 || a->label_count != b->label_count)
        return false;
    for (size_t i = 0; i < a->label_count; i++)
        if (strcmp(a->labels[i], b->labels[i]) != 0)
            return false;
    if (a->kind != HG_METRIC_HISTOGRAM)
        return true;
    if (a->bound_count != b->bound_count)
        return false;
    for (size_t i = 0; i < a->bound_count; i++)
        if (a->bounds[i] < b->bounds[i] || a->bounds[i] > b->bounds[i])
            return false;
    return true;
}

/* Whether `name` is a histogram's name with one of its suffixes. */
static bool is_row_of(const char *name, const struct hg_metric_config *histogram)
{
    size_t len = strlen(histogram->name);
    return histogram->kind == HG_METRIC_HISTOGRAM && strncmp(name, histogram->name, len) == 0 &&
           (strcmp(name + len, "_bucket") == 0 || strcmp(name + len, "_sum") == 0 ||
            strcmp(name + len, "_count") == 0);
}

static int copy_config(struct hg_metric *metric, const struct hg_metric_config *config)
{
    struct hg_metric_config *own = &metric->config;

    *own = *config;
    own->name = hg_strndup(config->name, strlen(config->name));
    own->help = hg_strndup(config->help, strlen(config->help));
    bool has_all = own->name != NULL && own->help != NULL;
    for (size_t i = 0; i < config->label_count; i++) {
        own->labels[i] = hg_strndup(config->labels[i], strlen(config->labels[i]));
        has_all &= own->labels[i] != NULL;
    }
    return has_all ? HG_OK : HG_ENOMEM;
}

static void metric_destroy(struct hg_metric *metric)
{
    for (struct series *series = metric->oldest, *younger; series != NULL; series = younger) {
        younger = series->younger;
        hg_free(series->counts);
        hg_free(series);
    }
    hg_free((char *)metric->config.name);
    hg_free((char *)metric->config.help);
    for (size_t i = 0; i < metric->config.label_count; i++)
        hg_free((char *)metric->config.labels[i]);
    pthread_mutex_destroy(&metric->lock);
    hg_free(metric);
}

/* ---- series ---- */

static size_t escape(struct hg_bytes value, char *out)
{
    size_t len = 0;

    for (size_t i = 0; i < value.len; i++) {
        char c = value.data[i];
        if (c == '\\' || c == '"' || c == '\n')
            out[len++] = '\\';
        out[len++] = c == '\n' ? 'n' : c;
    }
    return len;
}

/* The labels as text. HG_ETOOBIG: a value is. */
static int render(const struct hg_metric *metric, const struct hg_bytes *values, char *out,
                  size_t *out_len)
{
    size_t len = 0;

    for (size_t i = 0; i < metric->config.label_count; i++) {
        size_t name_len = strlen(metric->config.labels[i]);
        if (values[i].len > HG_METRIC_LABEL_VALUE_MAX)
            return HG_ETOOBIG;
        if (i > 0)
            out[len++] = ',';
        memcpy(out + len, metric->config.labels[i], name_len);
        len += name_len;
        out[len++] = '=';
        out[len++] = '"';
        len += escape(values[i], out + len);
        out[len++] = '"';
    }
    *out_len = len;
    return HG_OK;
}

/* Room for the rows of one more series in the page. */
static bool reserve_text(struct hg_metric *metric, size_t len)
{
    const struct hg_metric_config *config = &metric->config;
    size_t rows = config->kind == HG_METRIC_HISTOGRAM ? config->bound_count + 3 : 1;
    size_t more = rows * (strlen(config->name) + len + ROW_EXTRA);
    size_t now = atomic_load(&metric->metrics->text_bytes);

    do {
        if (now + more > HG_METRICS_TEXT_MAX)
            return false;
    } while (!atomic_compare_exchange_weak(&metric->metrics->text_bytes, &now, now + more));
    return true;
}

static int make_series(struct hg_metric *metric, struct hg_bytes text, uint64_t hash,
                       struct series **out_series)
{
    size_t count = metric->config.bound_count + 1;
    struct series *series = hg_malloc(sizeof(*series) + text.len);
    uint64_t *counts =
        metric->config.kind == HG_METRIC_HISTOGRAM ? hg_calloc(count, sizeof(*counts)) : NULL;
    int err = series == NULL || (metric->config.kind == HG_METRIC_HISTOGRAM && counts == NULL)
                  ? HG_ENOMEM
                  : HG_OK;

    if (err == HG_OK &&
        (metric->series_count == HG_METRIC_SERIES_MAX || !reserve_text(metric, text.len)))
        err = HG_ELIMIT;
    if (err < 0) {
        hg_free(series);
        hg_free(counts);
        return err;
    }
    *series = (struct series){.hash = hash, .counts = counts, .len = text.len};
    if (text.len > 0)
        memcpy(series->text, text.data, text.len);
    series->next = metric->chains[hash % BUCKETS];
    metric->chains[hash % BUCKETS] = series;
    if (metric->youngest != NULL)
        metric->youngest->younger = series;
    else
        metric->oldest = series;
    metric->youngest = series;
    metric->series_count++;
    atomic_fetch_add(&metric->metrics->series_count, 1);
    *out_series = series;
    return HG_OK;
}

static int find_locked(struct hg_metric *metric, struct hg_bytes text, uint64_t hash,
                       struct series **out_series)
{
    for (struct series *at = metric->chains[hash % BUCKETS]; at != NULL; at = at->next) {
        if (at->hash != hash || !hg_bytes_eq(hg_bytes(at->text, at->len), text))
            continue;
        *out_series = at;
        return HG_OK;
    }
    return make_series(metric, text, hash, out_series);
}

static void note_add(struct hg_metric *metric, struct series *series, double by)
{
    (void)metric;
    series->value += by;
}

static void note_set(struct hg_metric *metric, struct series *series, double value)
{
    (void)metric;
    series->value = value;
}

static void note_observe(struct hg_metric *metric, struct series *series, double value)
{
    size_t at = 0;
    while (at < metric->config.bound_count && value > metric->config.bounds[at])
        at++;
    series->counts[at]++;
    series->value += value;
}

static int note(struct hg_metric *metric, const struct hg_bytes *values, double number,
                void (*how)(struct hg_metric *metric, struct series *series, double number))
{
    char text[TEXT_MAX];
    size_t len;
    struct series *series;

    int err = render(metric, values, text, &len);
    if (err == HG_OK) {
        struct hg_bytes bytes = hg_bytes(text, len);
        uint64_t hash = hg_hash(bytes);
        pthread_mutex_lock(&metric->lock);
        err = find_locked(metric, bytes, hash, &series);
        if (err == HG_OK)
            how(metric, series, number);
        pthread_mutex_unlock(&metric->lock);
    }
    if (err < 0)
        atomic_fetch_add(&metric->metrics->dropped, 1);
    return err;
}

int hg_metric_add(struct hg_metric *metric, const struct hg_bytes *values, double by)
{
    return note(metric, values, by, note_add);
}

int hg_metric_set(struct hg_metric *metric, const struct hg_bytes *values, double value)
{
    return note(metric, values, value, note_set);
}

int hg_metric_observe(struct hg_metric *metric, const struct hg_bytes *values, double value)
{
    return note(metric, values, value, note_observe);
}

/* ---- the set ---- */

int hg_metrics_create(struct hg_metrics **out_metrics)
{
    struct hg_metrics *metrics = hg_calloc(1, sizeof(*metrics));
    if (metrics == NULL)
        return HG_ENOMEM;
    pthread_mutex_init(&metrics->lock, NULL);
    *out_metrics = metrics;
    return HG_OK;
}

void hg_metrics_destroy(struct hg_metrics *metrics)
{
    if (metrics == NULL)
        return;
    for (size_t i = 0; i < metrics->count; i++)
        metric_destroy(metrics->list[i]);
    pthread_mutex_destroy(&metrics->lock);
    hg_free(metrics);
}

/* One without labels has its row from the beginning. */
static int make_metric(struct hg_metrics *metrics, const struct hg_metric_config *config,
                       struct hg_metric **out_metric)
{
    struct hg_metric *metric = hg_calloc(1, sizeof(*metric));
    struct series *series;
    if (metric == NULL)
        return HG_ENOMEM;
    metric->metrics = metrics;
    pthread_mutex_init(&metric->lock, NULL);
    int err = copy_config(metric, config);
    if (err == HG_OK && config->label_count == 0)
        err = make_series(metric, HG_BYTES_NONE, hg_hash(HG_BYTES("")), &series);
    if (err < 0) {
        metric_destroy(metric);
        return err;
    }
    metrics->list[metrics->count++] = metric;
    *out_metric = metric;
    return HG_OK;
}

static int declare_locked(struct hg_metrics *metrics, const struct hg_metric_config *config,
                          struct hg_metric **out_metric)
{
    for (size_t i = 0; i < metrics->count; i++) {
        struct hg_metric_config *other = &metrics->list[i]->config;
        if (strcmp(other->name, config->name) == 0) {
            *out_metric = metrics->list[i];
            return is_same(other, config) ? HG_OK : HG_EINVAL;
        }
        if (is_row_of(config->name, other) || is_row_of(other->name, config))
            return HG_EINVAL;
    }
    if (metrics->count == HG_METRICS_MAX)
        return HG_ELIMIT;
    return make_metric(metrics, config, out_metric);
}

int hg_metrics_declare(struct hg_metrics *metrics, const struct hg_metric_config *config,
                       struct hg_metric **out_metric)
{
    struct hg_metric *metric = NULL;

    pthread_mutex_lock(&metrics->lock);
    int err = declare_locked(metrics, config, &metric);
    pthread_mutex_unlock(&metrics->lock);
    if (err == HG_OK)
        *out_metric = metric;
    return err;
}

/* ---- the text ---- */

/* As short as tells it apart from its neighbours. */
static const char *number_text(double number, char out[NUMBER_MAX])
{
    if (isnan(number))
        return "NaN";
    if (isinf(number))
        return number > 0 ? "+Inf" : "-Inf";
    snprintf(out, NUMBER_MAX, "%.15g", number);
    double back = strtod(out, NULL);
    if (back < number || back > number)
        snprintf(out, NUMBER_MAX, "%.17g", number);
    return out;
}

static int write_row(struct hg_buf *buf, const char *name, const char *suffix,
                     const struct series *series, const char *bound, const char *number)
{
    int err = hg_buf_printf(buf, "%s%s", name, suffix);
    bool has_labels = series->len > 0 || bound != NULL;

    if (err == HG_OK && has_labels)
        err = hg_buf_append_char(buf, '{');
    if (err == HG_OK)
        err = hg_buf_append(buf, series->text, series->len);
    if (err == HG_OK && bound != NULL)
        err = hg_buf_printf(buf, "%sle=\"%s\"", series->len > 0 ? "," : "", bound);
    if (err == HG_OK && has_labels)
        err = hg_buf_append_char(buf, '}');
    return err == HG_OK ? hg_buf_printf(buf, " %s\n", number) : err;
}

static int write_histogram(struct hg_buf *buf, const struct hg_metric_config *config,
                           const struct series *series, const uint64_t *counts, double sum)
{
    char number[NUMBER_MAX], bound[NUMBER_MAX];
    uint64_t so_far = 0;
    int err = HG_OK;

    for (size_t i = 0; i <= config->bound_count && err == HG_OK; i++) {
        so_far += counts[i];
        snprintf(number, sizeof(number), "%llu", (unsigned long long)so_far);
        err = write_row(buf, config->name, "_bucket", series,
                        i < config->bound_count ? number_text(config->bounds[i], bound) : "+Inf",
                        number);
    }
    if (err == HG_OK)
        err = write_row(buf, config->name, "_count", series, NULL, number);
    return err == HG_OK
               ? write_row(buf, config->name, "_sum", series, NULL, number_text(sum, number))
               : err;
}

/* Each series is looked at under the lock and written outside of it. */
static int write_series(struct hg_metric *metric, struct hg_buf *buf)
{
    uint64_t counts[HG_METRIC_BOUNDS_MAX + 1];
    char number[NUMBER_MAX];
    int err = HG_OK;

    pthread_mutex_lock(&metric->lock);
    struct series *series = metric->oldest;
    while (series != NULL && err == HG_OK) {
        double value = series->value;
        struct series *younger = series->younger;
        if (series->counts != NULL)
            memcpy(counts, series->counts, (metric->config.bound_count + 1) * sizeof(*counts));
        pthread_mutex_unlock(&metric->lock);
        err = series->counts != NULL ? write_histogram(buf, &metric->config, series, counts, value)
                                     : write_row(buf, metric->config.name, "", series, NULL,
                                                 number_text(value, number));
        pthread_mutex_lock(&metric->lock);
        series = younger;
    }
    pthread_mutex_unlock(&metric->lock);
    return err;
}

static int write_metric(struct hg_metric *metric, struct hg_buf *buf)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    const struct hg_metric_config *config = &metric->config;
    int err = hg_buf_printf(buf, "# HELP %s ", config->name);

    for (const char *c = config->help; *c != '\0' && err == HG_OK; c++) {
        if (*c == '\\' || *c == '\n')
            err = hg_buf_append_str(buf, *c == '\n' ? "\\n" : "\\\\");
        else
            err = hg_buf_append_char(buf, *c);
    }
    if (err == HG_OK)
        err = hg_buf_printf(buf, "\n# TYPE %s %s\n", config->name, kinds[config->kind]);
    return err == HG_OK ? write_series(metric, buf) : err;
}

int hg_metrics_write(struct hg_metrics *metrics, struct hg_buf *buf)
{
    int err = HG_OK;

    for (size_t i = 0; err == HG_OK; i++) {
        pthread_mutex_lock(&metrics->lock);
        struct hg_metric *metric = i < metrics->count ? metrics->list[i] : NULL;
        pthread_mutex_unlock(&metrics->lock);
        if (metric == NULL)
            break;
        err = write_metric(metric, buf);
    }
    return err;
}

size_t hg_metrics_series_count(const struct hg_metrics *metrics)
{
    return atomic_load(&metrics->series_count);
}

uint64_t hg_metrics_dropped(const struct hg_metrics *metrics)
{
    return atomic_load(&metrics->dropped);
}
