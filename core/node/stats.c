/* /stats: counters of the groups, JSON. */
#include "node/node_impl.h"
#include "wire/reply.h"

static int group_stats(struct hg_group *group, struct hg_buf *buf)
{
    struct hg_group_stats stats;
    hg_group_stats(group, &stats);
    int err = hg_json_string(buf, hg_bytes_str(hg_group_name(group)));
    if (err == HG_OK)
        err = hg_buf_append_str(buf, ":{");
    bool is_first = true;
#define X(name)                                                                                    \
    if (err == HG_OK)                                                                              \
        err = hg_buf_printf(buf, "%s\"" #name "\":%llu", is_first ? "" : ",",                      \
                            (unsigned long long)stats.name);                                       \
    is_first = false;
    HG_GROUP_COUNTERS(X)
    HG_GROUP_GAUGES(X)
#undef X
    return err == HG_OK ? hg_buf_append_char(buf, '}') : err;
}

/* The groups behind a source: it has no name of its own. */
static int source_groups(const struct hg_config *config, size_t source, struct hg_buf *buf)
{
    bool is_first = true;
    int err = hg_buf_append_str(buf, "\"groups\":[");
    for (size_t i = 0; i < config->group_count && err == HG_OK; i++) {
        if (config->groups[i].source != source)
            continue;
        if (!is_first)
            err = hg_buf_append_char(buf, ',');
        if (err == HG_OK)
            err = hg_json_string(buf, hg_bytes_str(config->groups[i].group.name));
        is_first = false;
    }
    return err == HG_OK ? hg_buf_append_char(buf, ']') : err;
}

static int source_stats(struct hg_node *node, size_t source, struct hg_buf *buf)
{
    struct hg_guard *guard = &node->guards[source];
    struct hg_guard_state state;
    hg_guard_state(guard, &state);
    int err = hg_buf_append_str(buf, source == 0 ? "{" : ",{");
    if (err == HG_OK)
        err = source_groups(node->config, source, buf);
    if (err == HG_OK)
        err = hg_buf_printf(buf,
                            ",\"running\":%u,\"concurrency\":%u,\"queued\":%u,\"queue\":%u,"
                            "\"breaker\":\"%s\",\"failures\":%u,\"refused\":%llu,\"opened\":%llu}",
                            state.running, guard->config.concurrency, state.queued,
                            guard->config.queue, hg_breaker_name(state.breaker),
                            state.failures_in_a_row, (unsigned long long)state.refused,
                            (unsigned long long)state.opened);
    return err;
}

/* What scripts asked of the world. */
static int fetch_stats(struct hg_node *node, struct hg_buf *buf)
{
    struct hg_runtime_stats stats;
    hg_runtime_stats(node->runtime, &stats);
    int err = hg_buf_append_str(buf, "\"fetch\":{");
#define X(name)                                                                                    \
    if (err == HG_OK)                                                                              \
        err = hg_buf_printf(buf, "\"" #name "\":%llu,", (unsigned long long)stats.fetch.name);
    HG_FETCH_COUNTERS(X)
#undef X
    return err == HG_OK
               ? hg_buf_printf(buf, "\"running\":%llu}", (unsigned long long)stats.fetch.running)
               : err;
}

int hg_stats_format(struct hg_node *node, struct hg_buf *buf)
{
    int err = hg_buf_append_str(buf, "{\"node\":");
    if (err == HG_OK)
        err = hg_json_string(buf, node->name);
    if (err == HG_OK)
        err = hg_buf_append_str(buf, ",\"groups\":{");
    for (size_t i = 0; i < hg_groups_count(node->groups) && err == HG_OK; i++) {
        if (i > 0)
            err = hg_buf_append_char(buf, ',');
        if (err == HG_OK)
            err = group_stats(hg_groups_at(node->groups, i), buf);
    }
    if (err == HG_OK)
        err = hg_buf_append_str(buf, "},\"sources\":[");
    for (size_t i = 0; i < node->config->source_count && err == HG_OK; i++)
        err = source_stats(node, i, buf);
    if (err == HG_OK)
        err = hg_buf_append_str(buf, "],");
    if (err == HG_OK)
        err = fetch_stats(node, buf);
    return err == HG_OK ? hg_buf_append_str(buf, "}\n") : err;
}
