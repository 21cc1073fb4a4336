/* lru: the least recently used goes first. The store moves entries itself on a hit (its other tiers are lru, too). */
#include "cache/policy.h"

#include "base/err.h"

static int add(struct hg_policy *policy, struct hg_value *value, const struct hg_policy_past *past)
{
    (void)past;
    hg_order_push_front(policy->order, value);
    return HG_OK;
}

static void hit(struct hg_policy *policy, struct hg_value *value)
{
    hg_order_to_front(policy->order, value);
}

static struct hg_value *victim(struct hg_policy *policy)
{
    return policy->order->last;
}

static void leave(struct hg_policy *policy, struct hg_value *value)
{
    hg_order_remove(policy->order, value);
}

const struct hg_policy_ops hg_policy_lru = {
    .name = "lru",
    .size = sizeof(struct hg_policy),
    .uses_max = HG_USES_CALL,
    .is_one_list = true,
    .add = add,
    .hit = hit,
    .victim = victim,
    .remove = leave,
};
