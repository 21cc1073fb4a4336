/* clock: fifo with a bit. What was used since it last came to the tail goes round once more. */
#include "cache/policy.h"

#include "base/err.h"

static int add(struct hg_policy *policy, struct hg_value *value, const struct hg_policy_past *past)
{
    value->uses = past == NULL ? 0 : past->uses;
    hg_list_push_front(policy->order, &value->order);
    return HG_OK;
}

/* Ends: each entry is passed over at most once, for its bit is clear then. */
static struct hg_value *victim(struct hg_policy *policy)
{
    struct hg_value *value = hg_policy_last(policy->order);
    while (value != NULL && value->uses > 0) {
        value->uses = 0;
        hg_list_remove(&value->order);
        hg_list_push_front(policy->order, &value->order);
        value = hg_policy_last(policy->order);
    }
    return value;
}

static void leave(struct hg_policy *policy, struct hg_value *value)
{
    (void)policy;
    hg_list_remove(&value->order);
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
