/* /stats: counters of the groups, JSON. */
#include "net/clock.h"
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

static int source_stats(const struct hg_generation *generation, size_t source, struct hg_buf *buf)
{
    struct hg_guard *guard = generation->guards[source];
    struct hg_guard_state state;
    hg_guard_state(guard, &state);
    int err = hg_buf_append_str(buf, source == 0 ? "{" : ",{");
    if (err == HG_OK)
        err = source_groups(generation->config, source, buf);
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
    hg_node_scripts_stats(node, &stats);
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

/* The configuration that is served by, and what became of others. */
static int reload_stats(struct hg_node *node, struct hg_buf *buf)
{
    struct hg_reload_stats stats;
    uint64_t now_ms = hg_clock_boot_ms();
    hg_reload_stats(node, &stats);
    int err = hg_buf_printf(buf, ",\"reload\":{\"generation\":%llu,\"age_seconds\":%.3f",
                            (unsigned long long)stats.generation,
                            now_ms > stats.since_ms ? (double)(now_ms - stats.since_ms) / 1000 : 0);
#define X(name)                                                                                    \
    if (err == HG_OK)                                                                              \
        err = hg_buf_printf(buf, ",\"" #name "\":%llu", (unsigned long long)stats.name);
    HG_RELOAD_COUNTERS(X)
#undef X
    return err == HG_OK ? hg_buf_append_char(buf, '}') : err;
}

int hg_stats_format(struct hg_node *node, struct hg_buf *buf)
{
    bool is_first = true;
    int err = hg_buf_append_str(buf, "{\"node\":");
    if (err == HG_OK)
        err = hg_json_string(buf, node->name);
    if (err == HG_OK)
        err = hg_buf_append_str(buf, ",\"groups\":{");
    for (size_t i = 0; i < hg_groups_count(node->groups) && err == HG_OK; i++) {
        struct hg_group *group = hg_groups_at(node->groups, i);
        if (group == NULL)
            continue;
        if (!is_first)
            err = hg_buf_append_char(buf, ',');
        is_first = false;
        if (err == HG_OK)
            err = group_stats(group, buf);
    }
    if (err == HG_OK)
        err = hg_buf_append_str(buf, "},\"sources\":[");
    struct hg_generation *generation = hg_generation_now(node);
    for (size_t i = 0; i < generation->guard_count && err == HG_OK; i++)
        err = source_stats(generation, i, buf);
    hg_generation_release(generation);
    if (err == HG_OK)
        err = hg_buf_append_str(buf, "],");
    if (err == HG_OK)
        err = fetch_stats(node, buf);
    if (err == HG_OK)
        err = reload_stats(node, buf);
    return err == HG_OK ? hg_buf_append_str(buf, "}\n") : err;
}
