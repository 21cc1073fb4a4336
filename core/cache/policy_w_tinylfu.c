/*
 * w-tinylfu (Einziger, Friedman, Manes 2017): new entries pass a small lru window (1 %). What falls out of it is
 * compared with the main part's next to go, by how often either key was asked for lately (a sketch, which remembers
 * keys that are gone, too); the rarer one goes. The main part is a segmented lru: what is used there again is
 * protected, up to 80 % of it.
 */
#include "cache/policy.h"

#include "base/err.h"
#include "cache/sketch.h"

enum { WINDOW, PROBATION, PROTECTED, QUEUES };

struct w_tinylfu {
    struct hg_policy base;
    struct hg_queue queues[QUEUES];
    struct hg_sketch sketch;
    uint64_t arriving; /* hash of what arrives; a put is tried again when a neighbour made room */
    bool is_full;      /* room was needed for what arrives */
};

static struct w_tinylfu *w_tinylfu_of(struct hg_policy *policy)
{
    return hg_container_of(policy, struct w_tinylfu, base);
}

static size_t entry_count(const struct w_tinylfu *w)
{
    return w->queues[WINDOW].count + w->queues[PROBATION].count + w->queues[PROTECTED].count;
}

static size_t all_bytes(const struct w_tinylfu *w)
{
    return w->queues[WINDOW].bytes + w->queues[PROBATION].bytes + w->queues[PROTECTED].bytes;
}

static bool is_window_over(const struct w_tinylfu *w)
{
    return w->queues[WINDOW].count > 1 && w->queues[WINDOW].bytes > all_bytes(w) / 100;
}

static int init(struct hg_policy *policy)
{
    struct w_tinylfu *w = w_tinylfu_of(policy);
    for (uint8_t i = 0; i < QUEUES; i++)
        hg_queue_init(&w->queues[i], policy, i);
    return HG_OK;
}

static void finish(struct hg_policy *policy)
{
    hg_sketch_finish(&w_tinylfu_of(policy)->sketch);
}

static void move(struct w_tinylfu *w, struct hg_value *value, uint8_t to)
{
    hg_queue_remove(&w->queues[value->queue], value);
    hg_queue_push(&w->queues[to], value);
}

static void arrive(struct hg_policy *policy, uint64_t hash)
{
    struct w_tinylfu *w = w_tinylfu_of(policy);
    hg_sketch_fit(&w->sketch, entry_count(w) + 1);
    if (w->arriving != hash)
        hg_sketch_add(&w->sketch, hash, entry_count(w));
    w->arriving = hash;
    w->is_full = false;
}

/* As long as there is room, the window's surplus goes on unasked. */
static int add(struct hg_policy *policy, struct hg_value *value, const struct hg_policy_past *past)
{
    struct w_tinylfu *w = w_tinylfu_of(policy);
    hg_queue_push(&w->queues[past == NULL ? WINDOW : past->queue], value);
    while (!w->is_full && is_window_over(w))
        move(w, w->queues[WINDOW].order.last, PROBATION);
    w->arriving = 0;
    return HG_OK;
}

static void hit(struct hg_policy *policy, struct hg_value *value)
{
    struct w_tinylfu *w = w_tinylfu_of(policy);
    hg_sketch_add(&w->sketch, hg_policy_hash(policy, value), entry_count(w));
    if (value->queue != PROBATION) {
        hg_queue_to_front(&w->queues[value->queue], value);
        return;
    }
    move(w, value, PROTECTED);
    size_t main_bytes = w->queues[PROBATION].bytes + w->queues[PROTECTED].bytes;
    while (w->queues[PROTECTED].count > 1 && w->queues[PROTECTED].bytes > main_bytes / 5 * 4)
        move(w, w->queues[PROTECTED].order.last, PROBATION);
}

static struct hg_value *main_victim(const struct w_tinylfu *w)
{
    struct hg_value *value = w->queues[PROBATION].order.last;
    return value != NULL ? value : w->queues[PROTECTED].order.last;
}

static struct hg_value *victim(struct hg_policy *policy)
{
    struct w_tinylfu *w = w_tinylfu_of(policy);
    struct hg_value *candidate = w->queues[WINDOW].order.last, *old = main_victim(w);
    w->is_full = true;
    if (candidate == NULL || old == NULL)
        return candidate != NULL ? candidate : old;
    if (w->queues[WINDOW].bytes < all_bytes(w) / 100)
        return old;
    if (hg_sketch_estimate(&w->sketch, hg_policy_hash(policy, candidate)) <=
        hg_sketch_estimate(&w->sketch, hg_policy_hash(policy, old)))
        return candidate;
    move(w, candidate, PROBATION);
    return old;
}

static void leave(struct hg_policy *policy, struct hg_value *value)
{
    hg_queue_remove(&w_tinylfu_of(policy)->queues[value->queue], value);
}

static bool validate(const struct hg_policy *policy, size_t expected)
{
    const struct w_tinylfu *w = hg_container_of(policy, const struct w_tinylfu, base);
    for (size_t i = 0; i < QUEUES; i++) {
        if (!hg_queue_validate(&w->queues[i]))
            return false;
    }
    return entry_count(w) == expected;
}

const struct hg_policy_ops hg_policy_w_tinylfu = {
    .name = "w-tinylfu",
    .size = sizeof(struct w_tinylfu),
    .entry_bytes = HG_SKETCH_BYTES,
    .uses_max = HG_USES_CALL,
    .init = init,
    .finish = finish,
    .arrive = arrive,
    .add = add,
    .hit = hit,
    .victim = victim,
    .remove = leave,
    .validate = validate,
};
