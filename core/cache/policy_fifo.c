/* fifo: the oldest goes first; a hit changes nothing. */
#include "cache/policy.h"

#include "base/err.h"

static int add(struct hg_policy *policy, struct hg_value *value, const struct hg_policy_past *past)
{
    (void)past;
    hg_order_push_front(policy->order, value);
    return HG_OK;
}

static struct hg_value *victim(struct hg_policy *policy)
{
    return policy->order->last;
}

static void leave(struct hg_policy *policy, struct hg_value *value)
{
    hg_order_remove(policy->order, value);
}

const struct hg_policy_ops hg_policy_fifo = {
    .name = "fifo",
    .size = sizeof(struct hg_policy),
    .is_one_list = true,
    .add = add,
    .victim = victim,
    .remove = leave,
};
