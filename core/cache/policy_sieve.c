/*
 * sieve (Zhang et al., NSDI'24): one list and a hand that walks from tail to head. What was used it passes over,
 * clearing the bit; what was not goes, and the hand stays there. Nothing is moved, so new entries that nobody asks
 * for again are found soon while used ones gather behind the hand.
 */
#include "cache/policy.h"

#include "base/err.h"

struct sieve {
    struct hg_policy base;
    struct hg_list *hand; /* of an entry; NULL: begin at the tail */
};

static struct sieve *sieve_of(struct hg_policy *policy)
{
    return hg_container_of(policy, struct sieve, base);
}

static int add(struct hg_policy *policy, struct hg_value *value, const struct hg_policy_past *past)
{
    value->uses = past == NULL ? 0 : past->uses;
    hg_list_push_front(policy->order, &value->order);
    return HG_OK;
}

static struct hg_value *victim(struct hg_policy *policy)
{
    struct sieve *sieve = sieve_of(policy);
    struct hg_list *order = policy->order;
    struct hg_list *hand = sieve->hand == NULL ? order->prev : sieve->hand;
    if (hand == order)
        return NULL;
    for (;;) {
        struct hg_value *value = hg_container_of(hand, struct hg_value, order);
        if (value->uses == 0) {
            sieve->hand = hand;
            return value; /* remove moves the hand on */
        }
        value->uses = 0;
        hand = hand->prev == order ? order->prev : hand->prev;
    }
}

static void leave(struct hg_policy *policy, struct hg_value *value)
{
    struct sieve *sieve = sieve_of(policy);
    if (sieve->hand == &value->order)
        sieve->hand = value->order.prev == policy->order ? NULL : value->order.prev;
    hg_list_remove(&value->order);
}

static bool validate(const struct hg_policy *policy, size_t entry_count)
{
    const struct sieve *sieve = hg_container_of(policy, const struct sieve, base);
    bool is_found = sieve->hand == NULL;
    hg_list_for_each(node, policy->order)
    {
        is_found = is_found || node == sieve->hand;
    }
    return is_found && (entry_count > 0 || sieve->hand == NULL);
}

const struct hg_policy_ops hg_policy_sieve = {
    .name = "sieve",
    .size = sizeof(struct sieve),
    .uses_max = 1,
    .is_one_list = true,
    .add = add,
    .victim = victim,
    .remove = leave,
    .validate = validate,
};
