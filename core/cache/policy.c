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

int hg_policy_create(const struct hg_policy_ops *ops, struct hg_list *order, hg_cost_fn cost,
                     size_t table_bytes, uint64_t seed, struct hg_policy **out_policy)
{
    struct hg_policy *policy = hg_calloc(1, ops->size);
    if (policy == NULL)
        return HG_ENOMEM;
    policy->ops = ops;
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
    assert(hg_list_is_empty(policy->order));
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
    queue->policy = policy;
    hg_list_init(&queue->list);
    queue->count = queue->bytes = 0;
    queue->id = id;
}

void hg_queue_push(struct hg_queue *queue, struct hg_value *value)
{
    hg_list_push_front(&queue->list, &value->order);
    value->queue = queue->id;
    queue->count++;
    queue->bytes += hg_policy_cost(queue->policy, value);
}

void hg_queue_remove(struct hg_queue *queue, struct hg_value *value)
{
    assert(value->queue == queue->id);
    hg_list_remove(&value->order);
    queue->count--;
    queue->bytes -= hg_policy_cost(queue->policy, value);
}

void hg_queue_to_front(struct hg_queue *queue, struct hg_value *value)
{
    if (queue->list.next == &value->order)
        return;
    hg_list_remove(&value->order);
    hg_list_push_front(&queue->list, &value->order);
}

bool hg_queue_validate(const struct hg_queue *queue)
{
    size_t count = 0, bytes = 0;
    hg_list_for_each(node, &queue->list)
    {
        const struct hg_value *value = hg_container_of(node, struct hg_value, order);
        if (node->next->prev != node || node->prev->next != node || ++count > queue->count)
            return false;
        if (!value->stored || value->tier != HG_TIER_MAIN || value->queue != queue->id)
            return false;
        bytes += hg_policy_cost(queue->policy, value);
    }
    return count == queue->count && bytes == queue->bytes;
}
