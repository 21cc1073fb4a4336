/*
 * lfu: the least often used goes first, among equals the one that reached its count first. Counts begin at 1 and
 * are forgotten with the entry.
 *
 * All entries are on one list, next to go at the tail. Those of one count lie together; a run knows the newest of
 * them, which is where the next one that reaches the count is put in front of:
 *
 *   first  [b a: 7] [c: 2] [e d: 1]  tail         runs, by index: {count, newest entry, lower, higher}
 *
 * A hit moves an entry in front of the next run. Runs lie in an array that grows; when it cannot, a hit is not
 * counted, nor where there are RUNS_MAX. There are never more runs than entries.
 */
#include "cache/policy.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/err.h"

#define NONE     UINT32_MAX
#define RUNS_MIN 16
#define RUNS_MAX (HG_VALUE_SLOT_MAX + 1)

struct run {
    struct hg_value *newest;
    uint32_t count, entry_count;
    uint32_t lower, higher; /* neighbours; higher also links those that are free */
};

struct lfu {
    struct hg_policy base;
    struct run *runs;
    uint32_t run_count; /* of the array */
    uint32_t lowest, free;
};

static struct lfu *lfu_of(struct hg_policy *policy)
{
    return hg_container_of(policy, struct lfu, base);
}

static bool runs_grow(struct lfu *lfu)
{
    uint32_t run_count = lfu->run_count == 0 ? RUNS_MIN : lfu->run_count * 2;
    if (run_count > RUNS_MAX)
        return false;
    struct run *runs = hg_realloc(lfu->runs, run_count * sizeof(*runs));
    if (runs == NULL)
        return false;
    for (uint32_t i = run_count; i-- > lfu->run_count;) {
        runs[i].higher = lfu->free;
        lfu->free = i;
    }
    lfu->runs = runs;
    lfu->run_count = run_count;
    return true;
}

static int init(struct hg_policy *policy)
{
    struct lfu *lfu = lfu_of(policy);
    lfu->lowest = lfu->free = NONE;
    return runs_grow(lfu) ? HG_OK : HG_ENOMEM;
}

static void finish(struct hg_policy *policy)
{
    hg_free(lfu_of(policy)->runs);
}

/* An empty run between the two neighbours, or NONE. */
static uint32_t run_take(struct lfu *lfu, uint32_t count, uint32_t lower, uint32_t higher)
{
    if (lfu->free == NONE && !runs_grow(lfu))
        return NONE;
    uint32_t index = lfu->free;
    lfu->free = lfu->runs[index].higher;
    lfu->runs[index] = (struct run){.count = count, .lower = lower, .higher = higher};
    if (lower == NONE)
        lfu->lowest = index;
    else
        lfu->runs[lower].higher = index;
    if (higher != NONE)
        lfu->runs[higher].lower = index;
    return index;
}

static void run_give(struct lfu *lfu, uint32_t index)
{
    struct run *run = &lfu->runs[index];
    if (run->lower == NONE)
        lfu->lowest = run->higher;
    else
        lfu->runs[run->lower].higher = run->higher;
    if (run->higher != NONE)
        lfu->runs[run->higher].lower = run->lower;
    run->higher = lfu->free;
    lfu->free = index;
}

/* In front of the run's newest; an empty run begins where the lower one ends. */
static void run_push(struct lfu *lfu, uint32_t index, struct hg_value *value)
{
    struct run *run = &lfu->runs[index];
    struct hg_value *next = NULL; /* behind the tail */
    if (run->newest != NULL)
        next = run->newest;
    else if (run->lower != NONE)
        next = lfu->runs[run->lower].newest;
    hg_order_insert(lfu->base.order, value,
                    next == NULL ? lfu->base.order->last : hg_order_prev(next), next);
    run->newest = value;
    run->entry_count++;
    value->slot = index & HG_VALUE_SLOT_MAX;
}

/* The run may be empty afterwards; it still has its place. */
static void run_pull(struct lfu *lfu, struct hg_value *value)
{
    struct run *run = &lfu->runs[value->slot];
    run->entry_count--;
    if (run->newest == value)
        run->newest = run->entry_count == 0 ? NULL : hg_order_next(value);
    hg_order_remove(lfu->base.order, value);
}

/* The run of a count, made where there is none; NONE without memory. */
static uint32_t run_of(struct lfu *lfu, uint32_t count)
{
    uint32_t lower = NONE, at = lfu->lowest;
    while (at != NONE && lfu->runs[at].count < count) {
        lower = at;
        at = lfu->runs[at].higher;
    }
    return at != NONE && lfu->runs[at].count == count ? at : run_take(lfu, count, lower, at);
}

static int add(struct hg_policy *policy, struct hg_value *value, const struct hg_policy_past *past)
{
    struct lfu *lfu = lfu_of(policy);
    uint32_t index = run_of(lfu, past == NULL ? 1 : past->count);
    if (index == NONE)
        return HG_ENOMEM;
    run_push(lfu, index, value);
    return HG_OK;
}

static void hit(struct hg_policy *policy, struct hg_value *value)
{
    struct lfu *lfu = lfu_of(policy);
    uint32_t from = value->slot;
    struct run *run = &lfu->runs[from];
    if (run->count == UINT32_MAX)
        return;
    uint32_t count = run->count + 1, to = run->higher;
    bool is_there = to != NONE && lfu->runs[to].count == count;
    if (!is_there && run->entry_count == 1) {
        run->count = count; /* alone: the run rises with it */
        return;
    }
    if (!is_there)
        to = run_take(lfu, count, from, to);
    if (to == NONE)
        return;
    run_pull(lfu, value);
    if (lfu->runs[from].entry_count == 0)
        run_give(lfu, from);
    run_push(lfu, to, value);
}

static struct hg_value *victim(struct hg_policy *policy)
{
    return policy->order->last;
}

static void leave(struct hg_policy *policy, struct hg_value *value)
{
    struct lfu *lfu = lfu_of(policy);
    run_pull(lfu, value);
    if (lfu->runs[value->slot].entry_count == 0)
        run_give(lfu, value->slot);
}

static uint32_t count_of(const struct hg_policy *policy, const struct hg_value *value)
{
    return hg_container_of(policy, const struct lfu, base)->runs[value->slot].count;
}

static bool validate(const struct hg_policy *policy, size_t entry_count)
{
    const struct lfu *lfu = hg_container_of(policy, const struct lfu, base);
    const struct hg_value *value = policy->order->last;
    uint32_t lower = NONE, last_count = 0;
    size_t seen = 0;
    for (uint32_t at = lfu->lowest; at != NONE; lower = at, at = lfu->runs[at].higher) {
        const struct run *run = &lfu->runs[at];
        if (run->lower != lower || run->count <= last_count || run->entry_count == 0)
            return false;
        last_count = run->count;
        for (uint32_t n = 0; n < run->entry_count; n++, value = hg_order_prev(value)) {
            if (value == NULL || ++seen > entry_count)
                return false;
            if (value->slot != at || (value == run->newest) != (n + 1 == run->entry_count))
                return false;
        }
    }
    return seen == entry_count && value == NULL;
}

const struct hg_policy_ops hg_policy_lfu = {
    .name = "lfu",
    .size = sizeof(struct lfu),
    .entry_bytes = sizeof(struct run),
    .uses_max = HG_USES_CALL,
    .is_one_list = true,
    .init = init,
    .finish = finish,
    .add = add,
    .hit = hit,
    .victim = victim,
    .remove = leave,
    .count = count_of,
    .validate = validate,
};
