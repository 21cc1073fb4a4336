/*
 * /metrics: Prometheus text. The label set is fixed; group names come from the configuration only. What scripts declared
 * comes last (base/metrics.h).
 */
#include <stdio.h>
#include "base/alloc.h"
#include "base/metrics.h"
#include "net/clock.h"
#include "net/dns.h"
#include "net/pg.h"
#include "node/node_impl.h"

static int type_line(struct hg_buf *buf, const char *name, const char *type)
{
    return hg_buf_printf(buf, "# TYPE hgcache_%s %s\n", name, type);
}

/* hgcache_<name><suffix>{<label>="...", without what follows the label. */
static int label_row(struct hg_buf *buf, const char *name, const char *suffix, const char *label,
                     const char *text)
{
    int err = hg_buf_printf(buf, "hgcache_%s%s{%s=\"", name, suffix, label);
    for (const char *c = text; *c != 0 && err == HG_OK; c++) {
        if (*c == '"' || *c == '\\')
            err = hg_buf_append_char(buf, '\\');
        if (err == HG_OK)
            err = *c == '\n' ? hg_buf_append_str(buf, "\\n") : hg_buf_append_char(buf, *c);
    }
    return err == HG_OK ? hg_buf_append_char(buf, '"') : err;
}

static int group_row(struct hg_buf *buf, const char *name, const char *suffix, const char *group,
                     uint64_t value)
{
    int err = label_row(buf, name, suffix, "group", group);
    return err == HG_OK ? hg_buf_printf(buf, "} %llu\n", (unsigned long long)value) : err;
}

static int histogram_rows(struct hg_buf *buf, const char *name, const char *label, const char *text,
                          const struct hg_histogram *histogram)
{
    uint64_t so_far = 0;
    int err = HG_OK;
    for (size_t i = 0; i < HG_HISTOGRAM_BUCKETS && err == HG_OK; i++) {
        char bound[32] = "+Inf";
        if (i < HG_HISTOGRAM_BUCKETS - 1)
            snprintf(bound, sizeof(bound), "%g", (double)hg_histogram_bounds_ms[i] / 1000);
        so_far += histogram->buckets[i];
        err = label_row(buf, name, "_bucket", label, text);
        if (err == HG_OK)
            err = hg_buf_printf(buf, ",le=\"%s\"} %llu\n", bound, (unsigned long long)so_far);
    }
    if (err == HG_OK)
        err = label_row(buf, name, "_sum", label, text);
    if (err == HG_OK)
        err = hg_buf_printf(buf, "} %.3f\n", (double)histogram->sum_ms / 1000);
    if (err == HG_OK)
        err = label_row(buf, name, "_count", label, text);
    return err == HG_OK ? hg_buf_printf(buf, "} %llu\n", (unsigned long long)so_far) : err;
}

/* Those that are there now: one list for all rows of a page. To be freed. */
static int list_groups(const struct hg_node *node, struct hg_group ***out_groups, size_t *out_count)
{
    size_t most = hg_groups_count(node->groups), count = 0;
    struct hg_group **groups = hg_calloc(most + 1, sizeof(struct hg_group *));
    if (groups == NULL)
        return HG_ENOMEM;
    for (size_t i = 0; i < most; i++)
        if ((groups[count] = hg_groups_at(node->groups, i)) != NULL)
            count++;
    *out_groups = groups;
    *out_count = count;
    return HG_OK;
}

static int group_metrics(struct hg_node *node, struct hg_buf *buf)
{
    struct hg_group **groups;
    size_t count;
    if (list_groups(node, &groups, &count) < 0)
        return HG_ENOMEM;
    struct hg_group_stats *stats = hg_calloc(count + 1, sizeof(*stats));
    if (stats == NULL) {
        hg_free(groups);
        return HG_ENOMEM;
    }
    for (size_t i = 0; i < count; i++)
        hg_group_stats(groups[i], &stats[i]);
    int err = HG_OK;
#define ROWS(name, suffix, type)                                                                   \
    if (err == HG_OK)                                                                              \
        err = type_line(buf, #name suffix, type);                                                  \
    for (size_t i = 0; i < count && err == HG_OK; i++)                                             \
        err = group_row(buf, #name, suffix, hg_group_name(groups[i]),                              \
                        stats[i].name);
#define X(name) ROWS(name, "_total", "counter")
    HG_GROUP_COUNTERS(X)
#undef X
#define X(name) ROWS(name, "", "gauge")
    HG_GROUP_GAUGES(X)
#undef X
#undef ROWS
#define HISTOGRAMS(name, field)                                                                    \
    if (err == HG_OK)                                                                              \
        err = type_line(buf, name, "histogram");                                                   \
    for (size_t i = 0; i < count && err == HG_OK; i++)                                             \
        err = histogram_rows(buf, name, "group", hg_group_name(groups[i]),                         \
                             &stats[i].field);
    HISTOGRAMS("load_seconds", load_time)
    HISTOGRAMS("peer_seconds", peer_time)
#undef HISTOGRAMS
    hg_free(stats);
    hg_free(groups);
    return err;
}

/* The guard of each group; groups that share one show the same. */
static int source_metrics(struct hg_node *node, struct hg_buf *buf)
{
    struct hg_group **groups;
    size_t count;
    int err = list_groups(node, &groups, &count);
    if (err < 0)
        return err;
#define ROWS(metric, suffix, type, number)                                                         \
    if (err == HG_OK)                                                                              \
        err = type_line(buf, metric suffix, type);                                                 \
    for (size_t i = 0; i < count && err == HG_OK; i++) {                                           \
        struct hg_group *group = groups[i];                                                        \
        struct hg_guard_state state;                                                               \
        hg_guard_state(hg_group_config(group)->guard, &state);                                     \
        err = group_row(buf, metric, suffix, hg_group_name(group), number);                        \
    }
    ROWS("source_running", "", "gauge", state.running)
    ROWS("source_queued", "", "gauge", state.queued)
    ROWS("source_breaker_open", "", "gauge", state.breaker != HG_BREAKER_CLOSED)
    ROWS("source_refused", "_total", "counter", state.refused)
    ROWS("source_opened", "_total", "counter", state.opened)
#undef ROWS
    hg_free(groups);
    return err;
}

static int single(struct hg_buf *buf, const char *name, const char *type, uint64_t value)
{
    int err = type_line(buf, name, type);
    return err == HG_OK ? hg_buf_printf(buf, "hgcache_%s %llu\n", name, (unsigned long long)value)
                        : err;
}

static void add_server(const struct hg_server *server, struct hg_server_stats *sum)
{
    struct hg_server_stats one;
    if (server == NULL)
        return;
    hg_server_stats(server, &one);
#define X(name) sum->name += one.name;
    HG_SERVER_COUNTERS(X)
#undef X
    sum->open += one.open;
}

static int server_metrics(struct hg_node *node, struct hg_buf *buf)
{
    struct hg_server_stats sum = {0};
    for (unsigned i = 0; i < node->workers_started; i++)
        add_server(node->workers[i].front.server, &sum);
    add_server(node->admin.server, &sum);
    int err = HG_OK;
#define X(name)                                                                                    \
    if (err == HG_OK)                                                                              \
        err = single(buf, "http_" #name "_total", "counter", sum.name);
    HG_SERVER_COUNTERS(X)
#undef X
    return err == HG_OK ? single(buf, "http_open", "gauge", sum.open) : err;
}

static int runtime_metrics(struct hg_node *node, struct hg_buf *buf)
{
    struct hg_runtime_stats stats;
    hg_node_scripts_stats(node, &stats);
    int err = HG_OK;
#define X(name)                                                                                    \
    if (err == HG_OK)                                                                              \
        err = single(buf, "script_" #name "_total", "counter", stats.name);
    HG_RUNTIME_COUNTERS(X)
#undef X
    if (err == HG_OK)
        err = single(buf, "script_threads", "gauge", stats.threads);
    if (err == HG_OK)
        err = single(buf, "script_running", "gauge", stats.running);
    if (err == HG_OK)
        err = single(buf, "script_sockets", "gauge", stats.sockets);
    if (err == HG_OK)
        err = single(buf, "script_postgres_connections", "gauge", stats.postgres_connections);
    if (err == HG_OK)
        err = single(buf, "script_memory_bytes", "gauge", stats.memory_bytes);
#define X(name)                                                                                    \
    if (err == HG_OK)                                                                              \
        err = single(buf, "fetch_" #name "_total", "counter", stats.fetch.name);
    HG_FETCH_COUNTERS(X)
#undef X
    return err == HG_OK ? single(buf, "fetch_running", "gauge", stats.fetch.running) : err;
}

/* The tables of hg.shared. */
static int shared_metrics(struct hg_node *node, struct hg_buf *buf)
{
    struct hg_shared_table *table;
    int err = HG_OK;
#define ROWS(metric, type, field)                                                                  \
    if (err == HG_OK)                                                                              \
        err = type_line(buf, metric, type);                                                        \
    for (size_t i = 0; err == HG_OK && (table = hg_shared_at(node->shared, i)) != NULL; i++) {     \
        struct hg_shared_stats stats;                                                              \
        hg_shared_stats(table, &stats);                                                            \
        err = hg_buf_printf(buf, "hgcache_%s{table=\"%s\"} %llu\n", metric,                        \
                            hg_shared_table_name(table), (unsigned long long)stats.field);         \
    }
    ROWS("shared_entries", "gauge", entries)
    ROWS("shared_bytes", "gauge", bytes)
    ROWS("shared_full_total", "counter", full)
    ROWS("shared_too_big_total", "counter", too_big)
    ROWS("shared_expired_total", "counter", expired)
#undef ROWS
    return err;
}

/* Peer names are the configuration's member strings. */
static int peer_row(struct hg_buf *buf, const char *metric, const char *peer, uint64_t value)
{
    return hg_buf_printf(buf, "hgcache_%s{peer=\"%s\"} %llu\n", metric, peer,
                         (unsigned long long)value);
}

static int peer_metrics(struct hg_node *node, struct hg_buf *buf)
{
    const struct hg_view *view = hg_node_view(node);
    if (view == NULL)
        return HG_OK;
    size_t count = hg_ring_member_count(view->ring);
    int err = HG_OK;
#define ROWS(metric, type, field)                                                                  \
    if (err == HG_OK)                                                                              \
        err = type_line(buf, metric, type);                                                        \
    for (size_t i = 0; i < count && err == HG_OK; i++) {                                           \
        struct hg_peer_stats stats;                                                                \
        if (i == (size_t)view->self)                                                               \
            continue;                                                                              \
        hg_peer_stats(view->peers[i], &stats);                                                     \
        err = peer_row(buf, metric, hg_peer_name(view->peers[i]), stats.field);                    \
    }
    ROWS("peer_up", "gauge", is_up)
    ROWS("peer_outstanding", "gauge", outstanding)
    ROWS("peer_asks_total", "counter", asks)
    ROWS("peer_asks_again_total", "counter", asks_again)
    ROWS("peer_messages_total", "counter", messages)
    ROWS("peer_many_messages_total", "counter", many)
    ROWS("peer_many_asks_total", "counter", many_keys)
    ROWS("peer_failures_total", "counter", errors)
    ROWS("peer_probes_total", "counter", probes)
    ROWS("peer_downs_total", "counter", downs)
    ROWS("peer_http2_connections_total", "counter", http2_connections)
    ROWS("peer_http2_unprocessed_total", "counter", http2_unprocessed)
    ROWS("peer_http2_refused_total", "counter", http2_refused)
#undef ROWS
    if (err == HG_OK)
        err = type_line(buf, "peer_ask_seconds", "histogram");
    for (size_t i = 0; i < count && err == HG_OK; i++) {
        struct hg_peer_stats stats;
        if (i == (size_t)view->self)
            continue;
        hg_peer_stats(view->peers[i], &stats);
        err = histogram_rows(buf, "peer_ask_seconds", "peer", hg_peer_name(view->peers[i]),
                             &stats.time);
    }
    return err;
}

/* Where its members come from. */
static int member_metrics(struct hg_node *node, struct hg_buf *buf)
{
    const struct hg_view *view = hg_node_view(node);
    if (view == NULL)
        return HG_OK;
    struct hg_node_members_stats stats = hg_node_members_stats(node);
    int err = single(buf, "membership_members", "gauge", hg_ring_member_count(view->ring));
    if (err == HG_OK)
        err = single(buf, "membership_ignored", "gauge", stats.ignored);
    if (err == HG_OK)
        err = single(buf, "membership_views", "gauge", stats.views);
#define X(name)                                                                                    \
    if (err == HG_OK)                                                                              \
        err = single(buf, "membership_" #name "_total", "counter", stats.name);
    HG_NODE_MEMBERS_COUNTERS(X)
#undef X
    if (err == HG_OK)
        err = type_line(buf, "membership_stale_seconds", "gauge");
    return err == HG_OK ? hg_buf_printf(buf, "hgcache_membership_stale_seconds %.3f\n",
                                        (double)stats.age_ms / 1000)
                        : err;
}

/* What this node knows of invalidations. */
static int change_metrics(struct hg_node *node, struct hg_buf *buf)
{
    struct hg_changes_stats stats;
    uint64_t contact_ms = hg_groups_last_contact(node->groups);
    uint64_t now_ms = hg_loop_now(&node->control);
    hg_changes_stats(node->changes, &stats);
    int err = single(buf, "changes_applied_total", "counter", stats.applied);
    if (err == HG_OK)
        err = single(buf, "changes_repeated_total", "counter", stats.repeated);
    if (err == HG_OK)
        err = single(buf, "changes_cut_total", "counter", stats.cut);
    if (err == HG_OK)
        err = single(buf, "changes_kept", "gauge", stats.kept);
    if (err == HG_OK)
        err = single(buf, "standstills_total", "counter", hg_groups_standstills(node->groups));
    if (err == HG_OK)
        err = single(buf, "behind", "gauge", hg_groups_is_behind(node->groups));
    if (err == HG_OK && contact_ms != 0) {
        err = type_line(buf, "contact_age_seconds", "gauge");
        if (err == HG_OK)
            err = hg_buf_printf(buf, "hgcache_contact_age_seconds %.3f\n",
                                now_ms > contact_ms ? (double)(now_ms - contact_ms) / 1000 : 0.0);
    }
    return err;
}

/* The configuration that is served by, and what became of others. */
static int reload_metrics(struct hg_node *node, struct hg_buf *buf)
{
    struct hg_reload_stats stats;
    uint64_t now_ms = hg_clock_boot_ms();
    hg_reload_stats(node, &stats);
    int err = type_line(buf, "reloads_total", "counter");
#define X(name)                                                                                    \
    if (err == HG_OK)                                                                              \
        err = hg_buf_printf(buf, "hgcache_reloads_total{result=\"" #name "\"} %llu\n",            \
                            (unsigned long long)stats.name);
    HG_RELOAD_COUNTERS(X)
#undef X
    if (err == HG_OK)
        err = single(buf, "generation", "gauge", stats.generation);
    if (err == HG_OK)
        err = single(buf, "generations", "gauge", stats.generations);
    if (err == HG_OK)
        err = single(buf, "retired", "gauge", stats.retired);
    if (err == HG_OK)
        err = type_line(buf, "generation_age_seconds", "gauge");
    return err == HG_OK
               ? hg_buf_printf(buf, "hgcache_generation_age_seconds %.3f\n",
                               now_ms > stats.since_ms ? (double)(now_ms - stats.since_ms) / 1000
                                                       : 0.0)
               : err;
}

int hg_metrics_format(struct hg_node *node, struct hg_buf *buf)
{
    int err = group_metrics(node, buf);
    if (err == HG_OK)
        err = source_metrics(node, buf);
    if (err == HG_OK)
        err = server_metrics(node, buf);
    if (err == HG_OK)
        err = runtime_metrics(node, buf);
    if (err == HG_OK)
        err = shared_metrics(node, buf);
    if (err == HG_OK)
        err = peer_metrics(node, buf);
    if (err == HG_OK)
        err = member_metrics(node, buf);
    if (err == HG_OK)
        err = change_metrics(node, buf);
    if (err == HG_OK)
        err = reload_metrics(node, buf);
#define X(name)                                                                                    \
    if (err == HG_OK)                                                                              \
        err = single(buf, #name "_total", "counter",                                               \
                     atomic_load_explicit(&node->counters.name, memory_order_relaxed));
    HG_NODE_COUNTERS(X)
#undef X
    if (err == HG_OK)
        err = single(buf, "log_dropped_total", "counter", hg_log_dropped());
    if (err == HG_OK)
        err = single(buf, "postgres_cancels_again_total", "counter", hg_pg_cancels_again());
    if (err == HG_OK)
        err = single(buf, "look_ups_refused_total", "counter", hg_dns_refused());
    if (err == HG_OK)
        err = single(buf, "connections_open", "gauge",
                     atomic_load_explicit(&node->connections, memory_order_relaxed));
    if (err == HG_OK)
        err = single(buf, "memory_live_bytes", "gauge", hg_alloc_live_bytes());
    if (err == HG_OK)
        err = single(buf, "ready", "gauge", hg_node_not_ready(node)[0] == 0);
    if (err == HG_OK)
        err = single(buf, "metric_series", "gauge", hg_metrics_series_count(node->metrics));
    if (err == HG_OK)
        err = single(buf, "metric_dropped_total", "counter", hg_metrics_dropped(node->metrics));
    if (err == HG_OK)
        err = hg_metrics_write(node->metrics, buf);
    return err;
}
