/*
 * metrics - counters, gauges and histograms that scripts keep (hg.counter, ...), written as Prometheus text.
 *
 *   hg_metrics -> metric by name -> series by its label values
 *
 * All script threads of a node add to the same numbers. A series, once there, stays; so every set of label values has a
 * price for ever, and their number is bounded: what would be one too many is dropped and counted.
 *
 * Ownership  everything is copied in. A metric lives as long as the hg_metrics.
 * Threads    everything from any thread: a lock for the list of metrics, one for each metric.
 * Errors     HG_ENOMEM; HG_ELIMIT (one too many); HG_ETOOBIG (a label's value). What was to be noted is dropped then, and counted.
 */
#ifndef HG_BASE_METRICS_H
#define HG_BASE_METRICS_H

#include "base/buf.h"

#define HG_METRICS_MAX            256
#define HG_METRIC_NAME_MAX        128
#define HG_METRIC_HELP_MAX        512
#define HG_METRIC_LABELS_MAX      8
#define HG_METRIC_LABEL_NAME_MAX  64
#define HG_METRIC_LABEL_VALUE_MAX 128
#define HG_METRIC_BOUNDS_MAX      64
/* Sets of label values of one metric. */
#define HG_METRIC_SERIES_MAX 1000
/* Of all rows together, about. */
#define HG_METRICS_TEXT_MAX ((size_t)16 << 20)

struct hg_metrics;
struct hg_metric;

enum hg_metric_kind { HG_METRIC_COUNTER, HG_METRIC_GAUGE, HG_METRIC_HISTOGRAM };

struct hg_metric_config {
    enum hg_metric_kind kind;
    const char *name, *help; /* help is UTF-8 */
    const char *labels[HG_METRIC_LABELS_MAX];
    size_t label_count;
    double bounds
        [HG_METRIC_BOUNDS_MAX]; /* HISTOGRAM: upper bounds, inclusive, ascending; a last one without is added */
    size_t bound_count;
};

int hg_metrics_create(struct hg_metrics **out_metrics);
void hg_metrics_destroy(struct hg_metrics *metrics);

/* NULL, or what is wrong with a definition, for whoever wrote it. Static storage. */
const char *hg_metric_check(const struct hg_metric_config *config);
/*
 * The metric of a checked definition, made when it is declared first. HG_EINVAL: its rows would have the name of another's,
 * or it is there with another definition.
 */
int hg_metrics_declare(struct hg_metrics *metrics, const struct hg_metric_config *config,
                       struct hg_metric **out_metric);

/* values: one for each label of the definition, in its order, UTF-8. */
int hg_metric_add(struct hg_metric *metric, const struct hg_bytes *values, double by);
int hg_metric_set(struct hg_metric *metric, const struct hg_bytes *values, double value);
int hg_metric_observe(struct hg_metric *metric, const struct hg_bytes *values, double value);

/* Appends every metric with its series, in the order they were made. */
int hg_metrics_write(struct hg_metrics *metrics, struct hg_buf *buf);
size_t hg_metrics_series_count(const struct hg_metrics *metrics);
/* Notes that were dropped. */
uint64_t hg_metrics_dropped(const struct hg_metrics *metrics);

#endif
