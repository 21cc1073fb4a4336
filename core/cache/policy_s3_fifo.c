/*
 * s3-fifo (Yang et al., SOSP'23): a small queue of a tenth for the new, a main queue for what was asked for again,
 * and a ghost list of what left the small queue unused. What comes back from there goes to the main queue at once.
 * The ghost remembers nine tenths as many keys as there are entries.
 */
#include "cache/policy.h"

#include "base/err.h"
#include "cache/ghost.h"

#define USES_MAX     3
#define USES_TO_MAIN 2
#define GHOST_OF(n)  ((n) - (n + 9) / 10) /* floor(0.9 n) */

enum { SMALL, MAIN };

struct s3_fifo {
    struct hg_policy base;
    struct hg_queue queues[2];
    struct hg_ghost ghost;
    uint64_t arriving; /* hash of what arrives; a put is tried again when a neighbour made room */
    bool is_back;      /* it was in the ghost */
};

static struct s3_fifo *s3_fifo_of(struct hg_policy *policy)
{
    return hg_container_of(policy, struct s3_fifo, base);
}

static int init(struct hg_policy *policy)
{
    struct s3_fifo *s3 = s3_fifo_of(policy);
    hg_queue_init(&s3->queues[SMALL], policy, SMALL);
    hg_queue_init(&s3->queues[MAIN], policy, MAIN);
    return HG_OK;
}

static void finish(struct hg_policy *policy)
{
    hg_ghost_finish(&s3_fifo_of(policy)->ghost);
}

static void arrive(struct hg_policy *policy, uint64_t hash)
{
    struct s3_fifo *s3 = s3_fifo_of(policy);
    bool is_back = hg_ghost_remove(&s3->ghost, hash);
    s3->is_back = is_back || (s3->is_back && s3->arriving == hash);
    s3->arriving = hash;
}

static int add(struct hg_policy *policy, struct hg_value *value, const struct hg_policy_past *past)
{
    struct s3_fifo *s3 = s3_fifo_of(policy);
    if (past == NULL) {
        value->uses = 0;
        hg_queue_push(&s3->queues[s3->is_back ? MAIN : SMALL], value);
    } else {
        value->uses = past->uses & 3;
        hg_queue_push(&s3->queues[past->queue], value);
    }
    s3->is_back = false;
    return HG_OK;
}

static struct hg_value *from_main(struct s3_fifo *s3)
{
    struct hg_queue *queue = &s3->queues[MAIN];
    for (;;) {
        struct hg_value *value = queue->order.last;
        if (value == NULL)
            return NULL;
        /* The next to be looked at, here or for the next victim. */
        hg_prefetch_to_write(hg_order_prev(value));
        if (value->uses == 0)
            return value;
        value->uses--;
        hg_queue_to_front(queue, value);
    }
}

/* NULL: all that was left there went to the main queue. */
static struct hg_value *from_small(struct s3_fifo *s3, size_t ghost_limit)
{
    for (;;) {
        struct hg_value *value = s3->queues[SMALL].order.last;
        if (value == NULL)
            return NULL;
        if (value->uses < USES_TO_MAIN) {
            hg_ghost_fetch(&s3->ghost, hg_policy_fetch_ahead(&s3->base, hg_order_prev(value)));
            hg_ghost_push(&s3->ghost, hg_policy_hash(&s3->base, value), ghost_limit);
            return value;
        }
        hg_prefetch_to_write(hg_order_prev(value));
        hg_queue_remove(&s3->queues[SMALL], value);
        value->uses = 0;
        hg_queue_push(&s3->queues[MAIN], value);
    }
}

static struct hg_value *victim(struct hg_policy *policy)
{
    struct s3_fifo *s3 = s3_fifo_of(policy);
    const struct hg_queue *small = &s3->queues[SMALL], *main = &s3->queues[MAIN];
    size_t bytes = small->bytes + main->bytes, count = small->count + main->count;
    struct hg_value *value = NULL;
    if (main->bytes <= bytes - bytes / 10)
        value = from_small(s3, GHOST_OF(count));
    return value != NULL ? value : from_main(s3);
}

static void leave(struct hg_policy *policy, struct hg_value *value)
{
    struct s3_fifo *s3 = s3_fifo_of(policy);
    hg_queue_remove(&s3->queues[value->queue], value);
    hg_ghost_trim(&s3->ghost, s3->queues[SMALL].count + s3->queues[MAIN].count);
}

static bool validate(const struct hg_policy *policy, size_t entry_count)
{
    const struct s3_fifo *s3 = hg_container_of(policy, const struct s3_fifo, base);
    return hg_queue_validate(&s3->queues[SMALL]) && hg_queue_validate(&s3->queues[MAIN]) &&
           s3->queues[SMALL].count + s3->queues[MAIN].count == entry_count &&
           hg_ghost_validate(&s3->ghost);
}

const struct hg_policy_ops hg_policy_s3_fifo = {
    .name = "s3-fifo",
    .size = sizeof(struct s3_fifo),
    .entry_bytes = HG_GHOST_BYTES,
    .uses_max = USES_MAX,
    .init = init,
    .finish = finish,
    .arrive = arrive,
    .add = add,
    .victim = victim,
    .remove = leave,
    .validate = validate,
};
