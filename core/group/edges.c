#include "group/edges.h"

#include <assert.h>
#include "base/bug.h"
#include "group/batch.h"
#include "group/chain.h"

void hg_edges_init(struct hg_edges *edges)
{
    memset(edges, 0, sizeof(*edges));
    pthread_mutex_init(&edges->lock, NULL);
}

void hg_edges_finish(struct hg_edges *edges)
{
    pthread_mutex_destroy(&edges->lock);
}

/* Depth first, each load once a walk; the stack is threaded through the loads, so the walk needs no memory. */
static bool reaches(struct hg_edges *edges, struct hg_load *from, const struct hg_load *parent,
                    struct hg_bytes chain)
{
    uint64_t number = ++edges->walk_number;

    from = hg_load_leader(from); /* whose getter runs for all of a batch */
    struct hg_load *stack = from;
    from->walk_number = number;
    from->walk_next = NULL;
    while (stack != NULL) {
        struct hg_load *load = stack;
        stack = load->walk_next;
        if (load == parent || hg_chain_has_load(chain, load))
            return true;
        hg_list_for_each(it, &load->nested)
        {
            struct hg_load *next =
                hg_load_leader(hg_container_of(it, struct hg_waiter, edge)->load);
            if (next->walk_number == number)
                continue;
            next->walk_number = number;
            next->walk_next = stack;
            stack = next;
        }
    }
    return false;
}

bool hg_edges_join(struct hg_edges *edges, struct hg_waiter *waiter, struct hg_load *parent,
                   struct hg_bytes chain, struct hg_load *target)
{
    pthread_mutex_lock(&edges->lock);
    bool is_circle = !hg_bug(HG_BUG_CIRCLE) && reaches(edges, target, parent, chain);
    if (!is_circle && parent != NULL) {
        waiter->parent = parent;
        waiter->load = target;
        waiter->is_nested = true;
        hg_list_push_back(&parent->nested, &waiter->edge);
    }
    pthread_mutex_unlock(&edges->lock);
    return is_circle;
}

void hg_edges_leave(struct hg_edges *edges, struct hg_waiter *waiter)
{
    pthread_mutex_lock(&edges->lock);
    hg_list_remove(&waiter->edge);
    waiter->parent = NULL;
    pthread_mutex_unlock(&edges->lock);
}

void hg_edges_move(struct hg_edges *edges, struct hg_list *waiters, struct hg_load *to,
                   struct hg_list *out_circles)
{
    pthread_mutex_lock(&edges->lock);
    hg_list_for_each_safe(it, waiters)
    {
        struct hg_waiter *waiter = hg_container_of(it, struct hg_waiter, link);
        if (waiter->parent != NULL && reaches(edges, to, waiter->parent, HG_BYTES_NONE)) {
            hg_list_remove(&waiter->edge);
            waiter->parent = NULL;
            hg_list_remove(&waiter->link);
            hg_list_push_back(out_circles, &waiter->link);
            continue;
        }
        waiter->load = to;
    }
    pthread_mutex_unlock(&edges->lock);
}

void hg_edges_clear(struct hg_edges *edges, struct hg_load *load)
{
    struct hg_list *node;

    pthread_mutex_lock(&edges->lock);
    while ((node = hg_list_pop_front(&load->nested)) != NULL)
        hg_container_of(node, struct hg_waiter, edge)->parent = NULL;
    pthread_mutex_unlock(&edges->lock);
}

static void hold(struct hg_load *load, const struct hg_guard *guard)
{
    if (guard == NULL || hg_guard_is_held(guard, load) || load->held_count == HG_DEPTH_MAX)
        return;
    load->held[load->held_count++] = guard;
}

void hg_edges_held(struct hg_edges *edges, const struct hg_list *waiters, struct hg_load *load)
{
    load->held_count = 0;
    pthread_mutex_lock(&edges->lock);
    hg_list_for_each(it, waiters)
    {
        const struct hg_load *parent = hg_container_of(it, struct hg_waiter, link)->parent;
        if (parent == NULL)
            continue;
        if (parent->has_slot)
            hold(load, parent->guard);
        for (unsigned i = 0; i < parent->held_count; i++)
            hold(load, parent->held[i]);
    }
    pthread_mutex_unlock(&edges->lock);
}
