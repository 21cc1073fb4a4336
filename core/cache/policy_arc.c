/*
 * arc (Megiddo, Modha, FAST'03, figure 4): T1 holds what was asked for once, T2 what was asked for again, both lru;
 * B1 and B2 are ghosts of what left them. A hit in a ghost moves the share of T1 (`target`) towards that side.
 *
 * Shares are counted in entries, as in the paper; the size of the cache, its c, is what T1 and T2 hold when room is
 * needed.
 */
#include "cache/policy.h"

#include "base/err.h"
#include "cache/ghost.h"

enum { ONCE, AGAIN };
enum came { NEW, FROM_ONCE, FROM_AGAIN };

struct arc {
    struct hg_policy base;
    struct hg_queue queues[2]; /* T1, T2 */
    struct hg_ghost ghosts[2]; /* B1, B2 */
    double target;             /* entries that T1 should hold: the paper's p */
    uint64_t arriving; /* hash of what arrives; a put is tried again when a neighbour made room */
    enum came came;
};

static struct arc *arc_of(struct hg_policy *policy)
{
    return hg_container_of(policy, struct arc, base);
}

static size_t entry_count(const struct arc *arc)
{
    return arc->queues[ONCE].count + arc->queues[AGAIN].count;
}

static int init(struct hg_policy *policy)
{
    struct arc *arc = arc_of(policy);
    hg_queue_init(&arc->queues[ONCE], policy, ONCE);
    hg_queue_init(&arc->queues[AGAIN], policy, AGAIN);
    return HG_OK;
}

static void finish(struct hg_policy *policy)
{
    hg_ghost_finish(&arc_of(policy)->ghosts[ONCE]);
    hg_ghost_finish(&arc_of(policy)->ghosts[AGAIN]);
}

/* How far one hit among `mine` ghosts moves the target, with the sizes before it is taken out. */
static double step(size_t mine, size_t others)
{
    return others > mine ? (double)others / (double)mine : 1;
}

static void arrive(struct hg_policy *policy, uint64_t hash)
{
    struct arc *arc = arc_of(policy);
    size_t once = arc->ghosts[ONCE].count, again = arc->ghosts[AGAIN].count;
    double size = (double)entry_count(arc);
    if (hg_ghost_remove(&arc->ghosts[ONCE], hash)) {
        arc->target += step(once, again);
        if (arc->target > size)
            arc->target = size;
        arc->came = FROM_ONCE;
    } else if (hg_ghost_remove(&arc->ghosts[AGAIN], hash)) {
        arc->target -= step(again, once);
        if (arc->target < 0)
            arc->target = 0;
        arc->came = FROM_AGAIN;
    } else if (arc->arriving != hash) {
        arc->came = NEW;
    }
    arc->arriving = hash;
}

static int add(struct hg_policy *policy, struct hg_value *value, const struct hg_policy_past *past)
{
    struct arc *arc = arc_of(policy);
    bool is_again = past != NULL ? past->queue == AGAIN : arc->came != NEW;
    hg_queue_push(&arc->queues[is_again ? AGAIN : ONCE], value);
    arc->came = NEW;
    arc->arriving = 0;
    return HG_OK;
}

static void hit(struct hg_policy *policy, struct hg_value *value)
{
    struct arc *arc = arc_of(policy);
    if (value->queue == AGAIN) {
        hg_queue_to_front(&arc->queues[AGAIN], value);
    } else {
        hg_queue_remove(&arc->queues[ONCE], value);
        hg_queue_push(&arc->queues[AGAIN], value);
    }
}

/* The paper's REPLACE. */
static struct hg_value *replace(struct arc *arc, size_t size)
{
    double once = (double)arc->queues[ONCE].count;
    bool is_over = once > arc->target || (arc->came == FROM_AGAIN && once == arc->target);
    int from = once > 0 && (is_over || arc->queues[AGAIN].count == 0) ? ONCE : AGAIN;
    struct hg_value *value = arc->queues[from].order.last;
    if (value != NULL)
        hg_ghost_push(&arc->ghosts[from], hg_policy_hash(&arc->base, value), size);
    return value;
}

static struct hg_value *victim(struct hg_policy *policy)
{
    struct arc *arc = arc_of(policy);
    struct hg_ghost *once = &arc->ghosts[ONCE], *again = &arc->ghosts[AGAIN];
    size_t size = entry_count(arc);
    /* With ghosts of what arrives gone, room is left for one more; else the paper's case IV. */
    size_t room = arc->came == NEW ? 1 : 0;
    if (arc->came == NEW && arc->queues[ONCE].count + once->count >= size && once->count == 0)
        return arc->queues[ONCE].order.last;
    while (arc->queues[ONCE].count + once->count + room > size && hg_ghost_forget_oldest(once))
        ;
    while (size + once->count + again->count + room > 2 * size && hg_ghost_forget_oldest(again))
        ;
    return replace(arc, size);
}

static void leave(struct hg_policy *policy, struct hg_value *value)
{
    struct arc *arc = arc_of(policy);
    hg_queue_remove(&arc->queues[value->queue], value);
    hg_ghost_trim(&arc->ghosts[ONCE], entry_count(arc));
    hg_ghost_trim(&arc->ghosts[AGAIN], entry_count(arc));
}

static bool validate(const struct hg_policy *policy, size_t expected)
{
    const struct arc *arc = hg_container_of(policy, const struct arc, base);
    return hg_queue_validate(&arc->queues[ONCE]) && hg_queue_validate(&arc->queues[AGAIN]) &&
           entry_count(arc) == expected && hg_ghost_validate(&arc->ghosts[ONCE]) &&
           hg_ghost_validate(&arc->ghosts[AGAIN]) && arc->target >= 0;
}

const struct hg_policy_ops hg_policy_arc = {
    .name = "arc",
    .size = sizeof(struct arc),
    .entry_bytes = 2 * HG_GHOST_BYTES,
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
