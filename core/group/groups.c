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

void hg_group_destroy(struct hg_group *group)
{
    if (group == NULL)
        return;
    for (unsigned i = 0; i < group->shard_count; i++)
        hg_shard_finish(&group->shards[i]);
    if (group->groups->taken[group->index] == group)
        group->groups->taken[group->index] = NULL;
    hg_free(group->shard_block);
    hg_free(group->name);
    const struct hg_group_config *config = hg_config_of(group);
    if (config != NULL)
        hg_guard_release(config->guard);
    hg_free((void *)(uintptr_t)config);
    hg_tags_finish(&group->tags);
    pthread_mutex_destroy(&group->batch_lock);
    hg_free(group);
}

void hg_groups_destroy(struct hg_groups *groups)
{
    if (groups == NULL)
        return;
    assert(atomic_load(&groups->flight_count) == 0);
    for (size_t i = 0; i < HG_GROUPS_MAX; i++)
        hg_group_destroy(groups->taken[i]);
    for (int klass = 0; klass <= HG_CLASS_TOO_LARGE; klass++)
        hg_value_unref(groups->spare[klass]);
    hg_edges_finish(&groups->edges);
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

void hg_group_limits(const struct hg_group_config *config, size_t *out_hot, size_t *out_negative)
{
    double hot = config->hot > 0 ? config->hot : 0;
    *out_hot = (size_t)((double)config->capacity_bytes * (hot > 1 ? 1 : hot));
    *out_negative = config->capacity_bytes / 16;
}

static int take_index(struct hg_groups *groups, struct hg_group *group)
{
    for (size_t i = 0; i < HG_GROUPS_MAX; i++) {
        if (groups->taken[i] != NULL)
            continue;
        groups->taken[i] = group;
        group->index = i;
        return HG_OK;
    }
    return HG_ELIMIT;
}

static int init_shards(struct hg_group *group, const struct hg_policy_ops *policy)
{
    struct hg_groups *groups = group->groups;
    const struct hg_group_config *config = hg_config_of(group);

    for (unsigned i = 0; i < config->shards; i++) {
        /* lru draws no lots */
        uint64_t seed = policy == &hg_policy_lru ? 0 : groups->source->random(groups->source->ctx);
        int err = hg_shard_init(&group->shards[i], &group->budget, policy, seed,
                                config->capacity_bytes / HISTORY_SHARE / config->shards, on_evict,
                                group);
        if (err < 0)
            return err;
        group->shard_count++;
    }
    return HG_OK;
}

int hg_group_create(struct hg_groups *groups, const struct hg_group_config *config,
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

    struct hg_group *group = hg_calloc(1, sizeof(*group));
    if (group == NULL)
        return HG_ENOMEM;
    hg_tags_init(&group->tags);
    pthread_mutex_init(&group->batch_lock, NULL);
    group->groups = groups;
    atomic_init(&group->peek_credit, HG_PEEK_CREDIT);
    int err = take_index(groups, group);
    if (err < 0) {
        hg_group_destroy(group);
        return err;
    }
    group->name = hg_strndup(config->name, strlen(config->name));
    struct hg_group_config *own = hg_calloc(1, sizeof(*own));
    atomic_init(&group->config, own);
    unsigned count = shard_count(groups, config);
    group->shard_block = hg_calloc(count + 1, sizeof(*group->shards));
    if (group->name == NULL || own == NULL || group->shard_block == NULL) {
        hg_group_destroy(group);
        return HG_ENOMEM;
    }
    uintptr_t address = (uintptr_t)group->shard_block;
    group->shards = (void *)((address + HG_CACHE_LINE - 1) / HG_CACHE_LINE * HG_CACHE_LINE);
    *own = *config;
    hg_guard_hold(own->guard);
    own->name = group->name;
    own->policy = policy->name;
    own->shards = count;

    size_t hot, negative;
    hg_group_limits(config, &hot, &negative);
    hg_budget_init(&group->budget, config->capacity_bytes, hot, negative);
    err = init_shards(group, policy);
    if (err < 0) {
        hg_group_destroy(group);
        return err;
    }
    *out_group = group;
    return HG_OK;
}

int hg_groups_add(struct hg_groups *groups, const struct hg_group_config *config,
                  struct hg_group **out_group)
{
    int err = hg_group_create(groups, config, out_group);
    if (err == HG_OK)
        hg_groups_list(groups, *out_group);
    return err;
}

struct hg_group *hg_groups_find(const struct hg_groups *groups, struct hg_bytes name)
{
    size_t count = hg_groups_count(groups);
    for (size_t i = 0; i < count; i++) {
        struct hg_group *group = hg_groups_at(groups, i);
        if (group != NULL && hg_bytes_eq(name, hg_bytes_str(group->name)))
            return group;
    }
    return NULL;
}

struct hg_group *hg_groups_only(const struct hg_groups *groups)
{
    struct hg_group *only = NULL;
    size_t count = hg_groups_count(groups);
    for (size_t i = 0; i < count; i++) {
        struct hg_group *group = hg_groups_at(groups, i);
        if (group != NULL && only != NULL)
            return NULL;
        only = group != NULL ? group : only;
    }
    return only;
}

size_t hg_groups_count(const struct hg_groups *groups)
{
    return atomic_load_explicit(&groups->count, memory_order_acquire);
}

struct hg_group *hg_groups_at(const struct hg_groups *groups, size_t index)
{
    assert(index < HG_GROUPS_MAX);
    return atomic_load_explicit(&groups->listed[index], memory_order_acquire);
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
    for (size_t i = 0; i < hg_groups_count(groups); i++) {
        const struct hg_group *group = hg_groups_at(groups, i);
        if (group != NULL && atomic_load(&group->budget.used) > 0)
            return false;
    }
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
    return hg_config_of(group);
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
