/*
 * A generation comes to serve: groups that come and change, then the generation, then each worker's front by mail; jobs of the one
 * before end and its own begin. Groups that went are dropped by reload.c, later.
 */
#include "base/alloc.h"
#include "net/clock.h"
#include "node/node_impl.h"

struct change {
    struct hg_group_config *config;
    struct hg_retired_row *row;
};

static void free_changes(struct change *changes, size_t count)
{
    for (size_t i = 0; changes != NULL && i < count; i++) {
        hg_free(changes[i].config);
        hg_retired_row_destroy(changes[i].row);
    }
    hg_free(changes);
}

/* All memory that the groups' new configurations take, so that nothing fails half way. NULL: out of memory. */
static struct change *prepare(const struct hg_generation *generation)
{
    size_t count = generation->group_count;
    struct change *changes = hg_calloc(count + 1, sizeof(*changes));
    for (size_t i = 0; changes != NULL && i < count; i++) {
        struct hg_group *group = generation->group_list[i];
        if (group == NULL || generation->is_new[i])
            continue;
        changes[i].config = hg_group_prepare(group, &generation->group_configs[i]->group);
        changes[i].row = hg_retired_row_create();
        if (changes[i].config != NULL && changes[i].row != NULL)
            continue;
        free_changes(changes, count);
        return NULL;
    }
    return changes;
}

static void publish_groups(struct hg_node *node, struct hg_generation *generation,
                           struct change *changes)
{
    for (size_t i = 0; i < generation->group_count; i++) {
        struct hg_group *group = generation->group_list[i];
        if (group == NULL)
            continue;
        if (changes[i].config != NULL) {
            void *old = hg_group_set_config(group, changes[i].config);
            hg_retired_add_memory(&node->retired, changes[i].row, old);
            changes[i] = (struct change){NULL, NULL};
        }
        /* A roll-back brings groups back that were dropped. */
        if (hg_groups_at(node->groups, i) != group) {
            hg_retired_take_group(&node->retired, group);
            hg_groups_list(node->groups, group);
        }
        generation->is_new[i] = false;
    }
}

static void publish_to_fronts(struct hg_node *node)
{
    for (unsigned i = 0; i < node->workers_started; i++) {
        struct hg_worker *worker = &node->workers[i];
        if (!atomic_exchange(&worker->adopt_posted, true))
            hg_loop_post(&worker->loop, &worker->adopt);
    }
    if (node->admin.generation != NULL)
        hg_front_adopt(&node->admin);
}

int hg_generation_publish(struct hg_node *node, struct hg_generation *generation)
{
    struct hg_generation *before = atomic_load(&node->generation);
    struct change *changes = prepare(generation);
    if (changes == NULL)
        return HG_ENOMEM;

    uint64_t now_ms = hg_clock_boot_ms();
    const struct hg_config *config = generation->config;
    generation->number = before == NULL ? 1 : before->number + 1;
    generation->since_ms = now_ms;
    publish_groups(node, generation, changes);
    free_changes(changes, generation->group_count);
    atomic_store(&node->generation, generation);
    atomic_store(&node->wants_evicted, generation->wants_evicted);
    atomic_store(&node->wants_hot, generation->wants_hot);
    if (before == NULL)
        return HG_OK;

    before->retired_ms = now_ms;
    hg_log_set_level(config->log_level);
    for (size_t i = 0; i < generation->guard_count; i++)
        hg_guard_forgive(generation->guards[i]); /* the failures may have been the script's */
    publish_to_fronts(node);
    hg_runtime_rest(before->runtime);
    hg_runtime_serve(generation->runtime);
    char error[256] = "";
    if (config->has_cluster && config->discovery == NULL)
        hg_node_members_propose(node, config->peers.items, config->peers.count, 0, error,
                                sizeof(error)); /* refused: it is logged */
    return HG_OK;
}
