#include "cache/policy.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/err.h"

static const struct hg_policy_ops *const policies[] = {
    &hg_policy_lru,         &hg_policy_fifo, &hg_policy_random, &hg_policy_clock,
    &hg_policy_sampled_lru, &hg_policy_lfu,  &hg_policy_sieve,  &hg_policy_s3_fifo,
    &hg_policy_w_tinylfu,   &hg_policy_arc,
};

const struct hg_policy_ops *hg_policy_find(struct hg_bytes name)
{
    for (size_t i = 0; i < HG_COUNT(policies); i++) {
        if (hg_bytes_eq(name, hg_bytes_str(policies[i]->name)))
            return policies[i];
    }
    return NULL;
}

const struct hg_policy_ops *hg_policy_at(size_t index)
{
    return index < HG_COUNT(policies) ? policies[index] : NULL;
}

int hg_policy_create(const struct hg_policy_ops *ops, const struct hg_table *table,
                     struct hg_order *order, hg_cost_fn cost, size_t table_bytes, uint64_t seed,
                     struct hg_policy **out_policy)
{
    struct hg_policy *policy = hg_calloc(1, ops->size);
    if (policy == NULL)
        return HG_ENOMEM;
    policy->ops = ops;
    policy->table = table;
    policy->order = order;
    policy->cost = cost;
    policy->share_bytes = table_bytes + ops->entry_bytes;
    policy->random = seed;
    int err = ops->init == NULL ? HG_OK : ops->init(policy);
    if (err < 0) {
        hg_free(policy);
        return err;
    }
    *out_policy = policy;
    return HG_OK;
}

void hg_policy_destroy(struct hg_policy *policy)
{
    if (policy == NULL)
        return;
    assert(policy->order->first == NULL);
    if (policy->ops->finish != NULL)
        policy->ops->finish(policy);
    hg_free(policy);
}

/* splitmix64 (Steele, Lea, Flood 2014): every seed is a good one. */
size_t hg_policy_random_below(struct hg_policy *policy, size_t limit)
{
    uint64_t z = policy->random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (size_t)((z ^ z >> 31) % limit);
}

/* ---- queue ---- */

void hg_queue_init(struct hg_queue *queue, const struct hg_policy *policy, uint8_t id)
{
    *queue = (struct hg_queue){.policy = policy, .id = id};
}

void hg_queue_push(struct hg_queue *queue, struct hg_value *value)
{
    hg_order_push_front(&queue->order, value);
    value->queue = queue->id & 3;
    queue->count++;
    queue->bytes += hg_policy_cost(queue->policy, value);
}

void hg_queue_remove(struct hg_queue *queue, struct hg_value *value)
{
    assert(value->queue == queue->id);
    hg_order_remove(&queue->order, value);
    queue->count--;
    queue->bytes -= hg_policy_cost(queue->policy, value);
}

void hg_queue_to_front(struct hg_queue *queue, struct hg_value *value)
{
    hg_order_to_front(&queue->order, value);
}

bool hg_queue_validate(const struct hg_queue *queue)
{
    size_t bytes = 0;
    if (!hg_order_validate(&queue->order, queue->count))
        return false;
    for (const struct hg_value *value = queue->order.first; value != NULL;
         value = hg_order_next(value)) {
        if (hg_value_tier(value) != HG_TIER_MAIN || value->queue != queue->id)
            return false;
        bytes += hg_policy_cost(queue->policy, value);
    }
    return bytes == queue->bytes;
}
