/* clock: fifo with a bit. What was used since it last came to the tail goes round once more. */
#include "cache/policy.h"

#include "base/err.h"

static int add(struct hg_policy *policy, struct hg_value *value, const struct hg_policy_past *past)
{
    value->uses = past == NULL ? 0 : past->uses & 3;
    hg_order_push_front(policy->order, value);
    return HG_OK;
}

/* Ends: each entry is passed over at most once, for its bit is clear then. */
static struct hg_value *victim(struct hg_policy *policy)
{
    struct hg_value *value = policy->order->last;
    while (value != NULL && value->uses > 0) {
        value->uses = 0;
        hg_order_to_front(policy->order, value);
        value = policy->order->last;
    }
    return value;
}

static void leave(struct hg_policy *policy, struct hg_value *value)
{
    hg_order_remove(policy->order, value);
}

const struct hg_policy_ops hg_policy_clock = {
    .name = "clock",
    .size = sizeof(struct hg_policy),
    .uses_max = 1,
    .is_one_list = true,
    .add = add,
    .victim = victim,
    .remove = leave,
};
