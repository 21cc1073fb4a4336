#include "group/turn.h"

#include "group/group_impl.h"

void hg_turn_init(struct hg_turn *turn, struct hg_groups *groups, uint64_t now_ms,
                  struct hg_loop *here)
{
    turn->groups = groups;
    turn->now_ms = now_ms;
    turn->here = here;
    hg_list_init(&turn->begun);
    hg_list_init(&turn->ready);
    hg_list_init(&turn->refused);
    hg_list_init(&turn->waiters);
}

static struct hg_load *pop_load(struct hg_list *list)
{
    struct hg_list *node = hg_list_pop_front(list);
    return node == NULL ? NULL : hg_container_of(node, struct hg_load, link);
}

/* One batch for each other loop; what belongs to this one is left in *local, in order. */
static void mail(struct hg_turn *turn, struct hg_list *local)
{
    const struct hg_source *source = turn->groups->source;
    struct hg_list *node;

    while ((node = hg_list_pop_front(&turn->waiters)) != NULL) {
        struct hg_loop *loop = hg_container_of(node, struct hg_waiter, link)->loop;
        if (loop != NULL && loop == turn->here) {
            hg_list_push_back(local, node);
            continue;
        }
        struct hg_list batch = HG_LIST_INIT(batch);
        hg_list_push_back(&batch, node);
        hg_list_for_each_safe(it, &turn->waiters)
        {
            if (hg_container_of(it, struct hg_waiter, link)->loop != loop)
                continue;
            hg_list_remove(it);
            hg_list_push_back(&batch, it);
        }
        source->wake(source->ctx, loop, &batch);
    }
}

static bool start_one(struct hg_turn *turn)
{
    struct hg_load *load;

    if ((load = pop_load(&turn->begun)) != NULL) {
        hg_load_start(load, turn);
        return true;
    }
    if ((load = pop_load(&turn->ready)) != NULL) {
        hg_load_run(load, turn);
        return true;
    }
    if ((load = pop_load(&turn->refused)) != NULL) {
        uint64_t retry_ms = load->guard->config.breaker_cooldown_ms;
        hg_load_refuse(load, HG_BYTES("breaker open"), retry_ms, turn);
        return true;
    }
    return false;
}

void hg_turn_run(struct hg_turn *turn)
{
    struct hg_list local = HG_LIST_INIT(local);
    struct hg_list *node;

    /* Answers first: who waited longest goes first. Then what starting may have ended at once. */
    mail(turn, &local);
    while (start_one(turn))
        ;
    mail(turn, &local);

    /* One by one from the front: what is called may cancel others, which says "under way", and may come back. */
    while ((node = hg_list_pop_front(&local)) != NULL)
        hg_waiter_deliver(hg_container_of(node, struct hg_waiter, link));
}
