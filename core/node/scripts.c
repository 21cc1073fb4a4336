/* What the script threads of all generations share, those of one, and what all of them counted. */
#include "base/alloc.h"
#include "base/metrics.h"
#include "node/node.h"
#include "node/node_impl.h"

struct hg_vm_config hg_node_vm_config(const struct hg_node_options *options)
{
    /* The limits of the configuration are known only after it ran: the control VM has the default cap. */
    return (struct hg_vm_config){.file = options->file,
                                 .args = options->args,
                                 .memory_bytes = 128u << 20,
                                 .is_control = true};
}

static const struct hg_members_ops members_ops = {.propose = hg_node_members_propose,
                                                  .failed = hg_node_members_failed,
                                                  .identity = hg_node_members_identity,
                                                  .give_up = hg_node_members_give_up};

int hg_node_scripts_init(struct hg_node *node)
{
    pthread_mutex_init(&node->past_lock, NULL);
    int err = hg_shared_create(&node->config->shared, &node->shared);
    return err == HG_OK ? hg_metrics_create(&node->metrics) : err;
}

void hg_node_scripts_finish(struct hg_node *node)
{
    hg_shared_destroy(node->shared);
    hg_metrics_destroy(node->metrics);
    pthread_mutex_destroy(&node->past_lock);
}

int hg_node_scripts_start(struct hg_node *node, const struct hg_node_options *options,
                          struct hg_generation *generation, char **out_error)
{
    struct hg_config *config = generation->config;
    for (size_t i = 0; i < config->pool_count; i++) {
        if (config->pools[i].threads == 0)
            config->pools[i].threads = hg_node_cpu_count();
    }
    const char **group_pools = hg_calloc(generation->group_count + 1, sizeof(*group_pools));
    if (group_pools == NULL)
        return HG_ENOMEM;
    for (size_t i = 0; i < generation->group_count; i++)
        if (generation->group_configs[i] != NULL)
            group_pools[i] = generation->group_configs[i]->pool;
    struct hg_runtime_config runtime = {
        .vm = hg_node_vm_config(options),
        .budget_ms = config->script_budget_ms,
        .pools = config->pools,
        .pool_count = config->pool_count,
        .group_list = generation->group_list,
        .group_pools = group_pools,
        .group_count = generation->group_count,
        .control = generation->control_vm,
        .change = hg_node_change,
        .change_ctx = node,
        .reply_max = config->limits.value,
        .fetch = config->fetch,
        .members_ctx = node,
        .discovery_every_ms = config->discovery_every_ms,
        .is_inline = node->fakes != NULL,
    };
    /* A node under test knows its members by its fakes. */
    if (config->has_cluster && config->discovery != NULL && node->fakes == NULL)
        runtime.members = &members_ops;
    runtime.vm.text = hg_vm_text(generation->control_vm);
    runtime.vm.memory_bytes = config->script_memory;
    runtime.vm.jit = config->script_jit;
    runtime.vm.is_control = false;
    runtime.vm.shared = node->shared;
    runtime.vm.metrics = node->metrics;
    runtime.vm.fakes = node->fakes;
    int err = hg_runtime_create(&runtime, &generation->runtime, out_error);
    hg_free(group_pools);
    return err;
}

static void add(struct hg_runtime_stats *sum, const struct hg_runtime_stats *one)
{
#define X(name) sum->name += one->name;
    HG_RUNTIME_COUNTERS(X)
    X(threads) X(running) X(memory_bytes) X(sockets) X(postgres_connections)
#undef X
#define X(name) sum->fetch.name += one->fetch.name;
    HG_FETCH_COUNTERS(X)
    X(running)
#undef X
}

void hg_node_scripts_stats(struct hg_node *node, struct hg_runtime_stats *out_stats)
{
    struct hg_runtime_stats stats;

    pthread_mutex_lock(&node->past_lock);
    *out_stats = node->past;
    for (size_t i = 0; i < HG_GENERATIONS_MAX; i++) {
        struct hg_generation *generation = &node->generations[i];
        if (!hg_generation_hold(generation))
            continue;
        hg_runtime_stats(generation->runtime, &stats);
        add(out_stats, &stats);
        hg_generation_release(generation);
    }
    pthread_mutex_unlock(&node->past_lock);
}

bool hg_node_scripts_close(struct hg_node *node, struct hg_generation *generation)
{
    struct hg_runtime_stats stats;

    pthread_mutex_lock(&node->past_lock);
    bool is_free = hg_generation_close(generation);
    if (is_free) {
        hg_runtime_stats(generation->runtime, &stats);
        stats.threads = stats.running = stats.memory_bytes = stats.sockets = 0;
        stats.postgres_connections = stats.fetch.running = 0;
        add(&node->past, &stats);
    }
    pthread_mutex_unlock(&node->past_lock);
    return is_free;
}
