/*
 * sieve (Zhang et al., NSDI'24): one list and a hand that walks from tail to head. What was used it passes over,
 * clearing the bit; what was not goes, and the hand stays there. Nothing is moved, so new entries that nobody asks
 * for again are found soon while used ones gather behind the hand.
 */
#include "cache/policy.h"

#include "base/err.h"

struct sieve {
    struct hg_policy base;
    struct hg_value *hand; /* NULL: begin at the tail */
};

static struct sieve *sieve_of(struct hg_policy *policy)
{
    return hg_container_of(policy, struct sieve, base);
}

static int add(struct hg_policy *policy, struct hg_value *value, const struct hg_policy_past *past)
{
    value->uses = past == NULL ? 0 : past->uses & 3;
    hg_order_push_front(policy->order, value);
    return HG_OK;
}

static struct hg_value *victim(struct hg_policy *policy)
{
    struct sieve *sieve = sieve_of(policy);
    struct hg_value *hand = sieve->hand == NULL ? policy->order->last : sieve->hand;
    while (hand != NULL && hand->uses > 0) {
        hand->uses = 0;
        hand = hg_order_prev(hand) == NULL ? policy->order->last : hg_order_prev(hand);
    }
    sieve->hand = hand;
    if (hand != NULL)
        hg_policy_fetch_ahead(policy, hg_order_prev(hand));
    return hand; /* remove moves the hand on */
}

static void leave(struct hg_policy *policy, struct hg_value *value)
{
    struct sieve *sieve = sieve_of(policy);
    if (sieve->hand == value)
        sieve->hand = hg_order_prev(value);
    hg_order_remove(policy->order, value);
}

static bool validate(const struct hg_policy *policy, size_t entry_count)
{
    const struct sieve *sieve = hg_container_of(policy, const struct sieve, base);
    bool is_found = sieve->hand == NULL;
    for (const struct hg_value *value = policy->order->first; value != NULL;
         value = hg_order_next(value))
        is_found = is_found || value == sieve->hand;
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
