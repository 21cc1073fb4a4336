#include "group/hot.h"

#include <assert.h>
#include "base/alloc.h"
#include "base/err.h"
#include "base/hash.h"

#define SHARDS_MAX    1024
#define HISTORY_SHARE 256 /* of the capacity may be taken, beside it, by what explain remembers */

static const char spare_message[] = "out of memory";

int hg_groups_create(const struct hg_groups_config *config, const struct hg_source *source,
                     struct hg_groups **out_groups)
{
    struct hg_groups *groups = hg_calloc(1, sizeof(*groups));
    if (groups == NULL)
        return HG_ENOMEM;

    groups->config = *config;
    if (groups->config.shards == 0)
        groups->config.shards = 1;
    if (groups->config.hot_minute == 0)
        groups->config.hot_minute = HG_HOT_MINUTE;
    groups->source = source;
    hg_edges_init(&groups->edges);
    for (int klass = 0; klass <= HG_CLASS_TOO_LARGE; klass++) {
        struct hg_value_spec spec = {
            .status = HG_STATUS_ERROR,
            .klass = (enum hg_class)klass,
            .data = HG_BYTES(spare_message),
        };
        groups->spare[klass] = hg_value_create(&spec);
        if (groups->spare[klass] == NULL) {
            hg_groups_destroy(groups);
            return HG_ENOMEM;
        }
    }
    *out_groups = groups;
    return HG_OK;
}

static void group_destroy(struct hg_group *group)
{
    for (unsigned i = 0; i < group->shard_count; i++)
        hg_shard_finish(&group->shards[i]);
    hg_free(group->shard_block);
    hg_free(group->name);
    hg_tags_finish(&group->tags);
    pthread_mutex_destroy(&group->batch_lock);
    hg_free(group);
}

void hg_groups_destroy(struct hg_groups *groups)
{
    if (groups == NULL)
        return;
    assert(atomic_load(&groups->flight_count) == 0);
    for (size_t i = 0; i < groups->count; i++)
        group_destroy(groups->groups[i]);
    for (int klass = 0; klass <= HG_CLASS_TOO_LARGE; klass++)
        hg_value_unref(groups->spare[klass]);
    hg_edges_finish(&groups->edges);
    hg_free(groups->groups);
    hg_free(groups);
}

static void on_evict(void *ctx, struct hg_value *value, enum hg_evict_reason reason)
{
    struct hg_group *group = ctx;
    const struct hg_source *source = group->groups->source;

    if (reason != HG_EVICT_REPLACED) {
        uint64_t hash = hg_hash(hg_value_key(value));
        hg_history_evicted(&hg_group_shard(group, hash)->history, hash, reason,
                           atomic_load_explicit(&group->seen_ms, memory_order_relaxed));
    }
    if (source->evicted != NULL)
        source->evicted(source->ctx, group, value, (int)reason);
}

/* The high bits of the hash choose a shard (the store uses the low ones), so the count is a power of two. */
static unsigned shard_count(const struct hg_groups *groups, const struct hg_group_config *config)
{
    bool is_auto = config->shards == 0;
    unsigned wanted = is_auto ? groups->config.shards : config->shards;
    unsigned count = 1;

    while (count < wanted && count < SHARDS_MAX)
        count *= 2;
    while (is_auto && count > 1 && config->capacity_bytes / count < groups->config.shard_bytes_min)
        count /= 2;
    return count;
}

int hg_groups_add(struct hg_groups *groups, const struct hg_group_config *config,
                  struct hg_group **out_group)
{
    if (config->name == NULL || config->name[0] == '\0')
        return HG_EINVAL;
    if (hg_groups_find(groups, hg_bytes_str(config->name)) != NULL)
        return HG_EINVAL;
    const struct hg_policy_ops *policy = config->policy == NULL ? &hg_policy_lru
                                         : config->samples > 0
                                             ? &hg_policy_sampled
                                             : hg_policy_find(hg_bytes_str(config->policy));
    if (policy == NULL)
        return HG_EINVAL;

    struct hg_group **grown = hg_realloc(groups->groups, (groups->count + 1) * sizeof(*grown));
    if (grown == NULL)
        return HG_ENOMEM;
    groups->groups = grown;

    struct hg_group *group = hg_calloc(1, sizeof(*group));
    if (group == NULL)
        return HG_ENOMEM;
    hg_tags_init(&group->tags);
    pthread_mutex_init(&group->batch_lock, NULL);
    group->groups = groups;
    atomic_init(&group->peek_credit, HG_PEEK_CREDIT);
    group->config = *config;
    group->index = groups->count;
    group->name = hg_strndup(config->name, strlen(config->name));
    unsigned count = shard_count(groups, config);
    group->shard_block = hg_calloc(count + 1, sizeof(*group->shards));
    if (group->name == NULL || group->shard_block == NULL) {
        group_destroy(group);
        return HG_ENOMEM;
    }
    uintptr_t address = (uintptr_t)group->shard_block;
    group->shards = (void *)((address + HG_CACHE_LINE - 1) / HG_CACHE_LINE * HG_CACHE_LINE);
    group->config.name = group->name;
    group->config.policy = policy->name;
    group->config.shards = count;

    double hot = config->hot > 0 ? config->hot : 0;
    size_t hot_limit = (size_t)((double)config->capacity_bytes * (hot > 1 ? 1 : hot));
    hg_budget_init(&group->budget, config->capacity_bytes, hot_limit, config->capacity_bytes / 16);
    for (unsigned i = 0; i < count; i++) {
        /* lru draws no lots */
        uint64_t seed = policy == &hg_policy_lru ? 0 : groups->source->random(groups->source->ctx);
        int err = hg_shard_init(&group->shards[i], &group->budget, policy, seed,
                                config->capacity_bytes / HISTORY_SHARE / count, on_evict, group);
        if (err < 0) {
            group_destroy(group);
            return err;
        }
        group->shard_count++;
    }
    groups->groups[groups->count++] = group;
    *out_group = group;
    return HG_OK;
}

struct hg_group *hg_groups_find(const struct hg_groups *groups, struct hg_bytes name)
{
    for (size_t i = 0; i < groups->count; i++)
        if (hg_bytes_eq(name, hg_bytes_str(groups->groups[i]->name)))
            return groups->groups[i];
    return NULL;
}

size_t hg_groups_count(const struct hg_groups *groups)
{
    return groups->count;
}

struct hg_group *hg_groups_at(const struct hg_groups *groups, size_t index)
{
    assert(index < groups->count);
    return groups->groups[index];
}

void hg_groups_set_view(struct hg_groups *groups, const struct hg_view *view)
{
    atomic_store_explicit(&groups->view, view, memory_order_release);
}

const struct hg_view *hg_groups_view(const struct hg_groups *groups)
{
    return atomic_load_explicit(&groups->view, memory_order_acquire);
}

size_t hg_groups_flight_count(const struct hg_groups *groups)
{
    return atomic_load(&groups->flight_count);
}

uint64_t hg_groups_sequence(struct hg_groups *groups)
{
    return atomic_load(&groups->sequence);
}

uint64_t hg_groups_next_number(struct hg_groups *groups)
{
    return atomic_fetch_add(&groups->sequence, 1) + 1;
}

uint64_t hg_groups_last_contact(const struct hg_groups *groups)
{
    return atomic_load_explicit(&groups->contact_ms, memory_order_relaxed);
}

bool hg_groups_is_empty(struct hg_groups *groups)
{
    for (size_t i = 0; i < groups->count; i++)
        if (atomic_load(&groups->groups[i]->budget.used) > 0)
            return false;
    return hg_groups_flight_count(groups) == 0;
}

struct hg_value *hg_groups_error(struct hg_groups *groups, enum hg_class klass, struct hg_bytes key,
                                 struct hg_bytes message, uint64_t retry_after_ms)
{
    if (message.len > HG_MESSAGE_MAX)
        message.len = HG_MESSAGE_MAX;
    struct hg_value_spec spec = {
        .status = HG_STATUS_ERROR,
        .klass = klass,
        .key = key,
        .data = message,
        .retry_after_ms = retry_after_ms,
    };
    struct hg_value *value = hg_value_create(&spec);
    return value != NULL ? value : hg_value_ref(groups->spare[klass]);
}

const char *hg_group_name(const struct hg_group *group)
{
    return group->name;
}

const struct hg_group_config *hg_group_config(const struct hg_group *group)
{
    return &group->config;
}

size_t hg_group_index(const struct hg_group *group)
{
    return group->index;
}

struct hg_value *hg_group_peek_locked(struct hg_group *group, struct hg_shard *shard, uint64_t hash,
                                      struct hg_bytes key)
{
    struct hg_value *value = hg_store_peek(&shard->store, hash, key);
    return value != NULL && hg_trust_has(&group->groups->trust, value) ? value : NULL;
}

struct hg_shard *hg_group_shard(struct hg_group *group, uint64_t hash)
{
    return hg_shard_of(group->shards, group->shard_count, hash);
}
