#include "node/generation.h"

#include <assert.h>
#include <stdio.h>
#include "base/alloc.h"
#include "node/node.h"
#include "node/node_impl.h"

/* In `holders`: whoever comes is turned away. One word, so that nobody is while somebody else holds it. */
#define CLOSED (SIZE_MAX / 2 + 1)

bool hg_generation_hold(struct hg_generation *generation)
{
    if (generation == NULL)
        return false;
    size_t before = atomic_fetch_add(&generation->holders, 1);
    if ((before & CLOSED) == 0 && atomic_load(&generation->state) == HG_GENERATION_LIVE)
        return true;
    atomic_fetch_sub(&generation->holders, 1);
    return false;
}

void hg_generation_release(struct hg_generation *generation)
{
    if (generation != NULL)
        atomic_fetch_sub(&generation->holders, 1);
}

struct hg_generation *hg_generation_now(struct hg_node *node)
{
    struct hg_generation *generation;
    do
        generation = atomic_load(&node->generation);
    while (!hg_generation_hold(generation)); /* another one serves by now */
    return generation;
}

void hg_generation_open(struct hg_generation *generation)
{
    atomic_fetch_and(&generation->holders, ~CLOSED);
    atomic_store(&generation->state, HG_GENERATION_LIVE);
}

bool hg_generation_close(struct hg_generation *generation)
{
    size_t nobody = 0;
    if (atomic_load(&generation->state) != HG_GENERATION_LIVE ||
        !atomic_compare_exchange_strong(&generation->holders, &nobody, CLOSED))
        return false;
    atomic_store(&generation->state, HG_GENERATION_CLOSING);
    return true;
}

static bool has_group(const struct hg_generation *generation, const struct hg_group *group)
{
    size_t index = hg_group_index(group);
    return index < generation->group_count && generation->group_list[index] == group;
}

struct hg_generation *hg_generation_of(struct hg_node *node, const struct hg_group *group)
{
    struct hg_generation *generation = hg_generation_now(node);
    if (has_group(generation, group))
        return generation;
    hg_generation_release(generation);
    for (size_t i = 0; i < HG_GENERATIONS_MAX; i++) {
        generation = &node->generations[i];
        if (!hg_generation_hold(generation))
            continue;
        if (has_group(generation, group))
            return generation;
        hg_generation_release(generation);
    }
    return NULL;
}

struct hg_group *hg_generation_group(const struct hg_generation *generation, struct hg_bytes name)
{
    for (size_t i = 0; i < generation->group_count; i++) {
        struct hg_group *group = generation->group_list[i];
        if (group != NULL && hg_bytes_eq(name, hg_bytes_str(hg_group_name(group))))
            return group;
    }
    return NULL;
}

int hg_generation_load(struct hg_generation *generation, const struct hg_vm_config *vm,
                       char **out_error)
{
    char text[256] = "";
    int err = hg_vm_create(vm, &generation->control_vm);
    if (err == HG_OK)
        err = hg_vm_load(generation->control_vm, out_error);
    if (err < 0)
        return err;
    err = hg_config_read(generation->control_vm, &generation->config, text, sizeof(text));
    if (err < 0)
        *out_error = hg_strndup(text, strlen(text));
    return err;
}

static bool is_same_guard(const struct hg_guard_config *a, const struct hg_guard_config *b)
{
    return a->concurrency == b->concurrency && a->queue == b->queue &&
           a->timeout_ms == b->timeout_ms && a->retries == b->retries &&
           a->backoff_ms == b->backoff_ms && a->breaker_failures == b->breaker_failures &&
           a->breaker_cooldown_ms == b->breaker_cooldown_ms;
}

static const struct hg_config_group *config_group(const struct hg_config *config, const char *name)
{
    for (size_t i = 0; i < config->group_count; i++)
        if (strcmp(config->groups[i].group.name, name) == 0)
            return &config->groups[i];
    return NULL;
}

/*
 * The guard goes on where the same groups stand behind it with the same limits; NULL: there is none like that. Groups that came
 * or went make no difference.
 */
static struct hg_guard *same_guard(const struct hg_generation *before,
                                   const struct hg_config *config, size_t source)
{
    struct hg_guard *guard = NULL;
    for (size_t i = 0; i < config->group_count; i++) {
        const struct hg_config_group *old =
            config_group(before->config, config->groups[i].group.name);
        if (old == NULL)
            continue;
        bool is_behind = config->groups[i].source == source;
        struct hg_guard *its = before->guards[old->source];
        if (is_behind && guard == NULL)
            guard = its;
        if (is_behind && guard != its)
            return NULL;
    }
    for (size_t i = 0; i < config->group_count && guard != NULL; i++) {
        const struct hg_config_group *old =
            config_group(before->config, config->groups[i].group.name);
        if (old != NULL && config->groups[i].source != source &&
            before->guards[old->source] == guard)
            return NULL;
    }
    return guard != NULL && is_same_guard(&guard->config, &config->sources[source]) ? guard : NULL;
}

static int make_guards(const struct hg_generation *before, struct hg_generation *generation)
{
    const struct hg_config *config = generation->config;
    generation->guards = hg_calloc(config->source_count + 1, sizeof(struct hg_guard *));
    if (generation->guards == NULL)
        return HG_ENOMEM;
    for (size_t i = 0; i < config->source_count; i++) {
        struct hg_guard *guard = before == NULL ? NULL : same_guard(before, config, i);
        if (guard == NULL) {
            guard = hg_malloc(sizeof(*guard));
            if (guard == NULL)
                return HG_ENOMEM;
            hg_guard_init(guard, &config->sources[i]);
        }
        hg_guard_hold(guard);
        generation->guards[i] = guard;
        generation->guard_count++;
    }
    return HG_OK;
}

static int make_groups(struct hg_node *node, const struct hg_generation *before,
                       struct hg_generation *generation)
{
    struct hg_config *config = generation->config;
    generation->group_list = hg_calloc(HG_GROUPS_MAX, sizeof(struct hg_group *));
    generation->group_configs = hg_calloc(HG_GROUPS_MAX, sizeof(struct hg_config_group *));
    generation->is_new = hg_calloc(HG_GROUPS_MAX, sizeof(bool));
    if (generation->group_list == NULL || generation->group_configs == NULL ||
        generation->is_new == NULL)
        return HG_ENOMEM;
    for (size_t i = 0; i < config->group_count; i++) {
        struct hg_group *group = NULL;
        config->groups[i].group.guard = generation->guards[config->groups[i].source];
        if (before != NULL)
            group = hg_generation_group(before, hg_bytes_str(config->groups[i].group.name));
        bool is_new = group == NULL;
        int err = is_new ? hg_group_create(node->groups, &config->groups[i].group, &group) : HG_OK;
        if (err < 0)
            return err;
        size_t index = hg_group_index(group);
        hg_group_hold(group);
        generation->group_list[index] = group;
        generation->group_configs[index] = &config->groups[i];
        generation->is_new[index] = is_new;
        generation->wants_evicted |= config->groups[i].has_on_evict;
        generation->wants_hot |= config->groups[i].has_on_hot;
        if (index >= generation->group_count)
            generation->group_count = index + 1;
    }
    return HG_OK;
}

int hg_generation_make(struct hg_node *node, const struct hg_node_options *options,
                       const struct hg_generation *before, struct hg_generation *generation,
                       char **out_error)
{
    char error[256] = "", text[512];
    int err = make_guards(before, generation);
    if (err == HG_OK)
        err = make_groups(node, before, generation);
    if (err < 0)
        return err;
    err = hg_routes_compile(generation, error, sizeof(error));
    if (err < 0) {
        snprintf(text, sizeof(text), "%.200s: %s", options->file, error);
        *out_error = hg_strndup(text, strlen(text));
        return err;
    }
    err = hg_node_scripts_start(node, options, generation, out_error);
    if (err == HG_OK)
        hg_generation_open(generation);
    return err;
}

void hg_generation_clear(struct hg_node *node, struct hg_generation *generation)
{
    hg_runtime_destroy(generation->runtime);
    generation->runtime = NULL;
    hg_routes_release(generation);
    for (size_t i = 0; i < generation->group_count; i++) {
        struct hg_group *group = generation->group_list[i];
        hg_group_release(group);
        if (group != NULL && generation->is_new[i])
            hg_group_destroy(group); /* it never served */
    }
    hg_free(generation->group_list);
    hg_free(generation->group_configs);
    hg_free(generation->is_new);
    for (size_t i = 0; i < generation->guard_count; i++)
        hg_guard_release(generation->guards[i]);
    hg_vm_destroy(generation->control_vm);
    if (generation->config != node->config)
        hg_config_destroy(generation->config);
    hg_free(generation->settings);
    generation->control_vm = NULL;
    generation->config = NULL;
    generation->settings = NULL;
    generation->group_list = NULL;
    generation->group_configs = NULL;
    generation->is_new = NULL;
    generation->group_count = 0;
}

void hg_generations_stop(struct hg_node *node)
{
    for (size_t i = 0; i < HG_GENERATIONS_MAX; i++) {
        hg_runtime_destroy(node->generations[i].runtime);
        node->generations[i].runtime = NULL;
    }
}

void hg_generations_clear(struct hg_node *node)
{
    for (size_t i = 0; i < HG_GENERATIONS_MAX; i++)
        if (node->generations[i].control_vm != NULL)
            hg_generation_clear(node, &node->generations[i]);
}

void hg_generation_guards_free(struct hg_node *node)
{
    for (size_t i = 0; i < HG_GENERATIONS_MAX; i++) {
        struct hg_generation *generation = &node->generations[i];
        for (size_t k = 0; k < generation->guard_count; k++) {
            struct hg_guard *guard = generation->guards[k];
            for (size_t other = i + 1; other < HG_GENERATIONS_MAX; other++)
                for (size_t m = 0; m < node->generations[other].guard_count; m++)
                    if (node->generations[other].guards[m] == guard)
                        guard = NULL;
            if (guard != NULL)
                hg_guard_finish(guard);
            hg_free(guard);
        }
        hg_free(generation->guards);
        generation->guards = NULL;
        generation->guard_count = 0;
    }
}
