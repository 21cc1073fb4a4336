#include "group/group_impl.h"

#include <assert.h>
#include "base/bug.h"
#include "base/err.h"
#include "base/hash.h"
#include "group/batch.h"
#include "group/freshness.h"
#include "group/hot.h"

/* A load that still queues and that nobody awaits. Its flight is ended; the caller destroys it. */
static bool drop_locked(struct hg_shard *shard, struct hg_load *load)
{
    struct hg_guard *guard = load->guard;

    if (load->flight.waiter_count > 0 || load->flight.kind != HG_FLIGHT_LOCAL || guard == NULL ||
        hg_is_batched(load) || /* gathering lets it go */
        load->state != HG_LOAD_BEGUN || load->reason != HG_LOAD_MISS)
        return false;
    if (!hg_guard_unqueue(guard, load))
        return false;
    hg_flight_end(&shard->flights, &load->flight);
    atomic_fetch_sub(&load->group->groups->flight_count, 1);
    return true;
}

bool hg_waiter_cancel(struct hg_waiter *waiter, uint64_t now_ms, struct hg_hold *out_stale)
{
    struct hg_group *group = atomic_load_explicit(&waiter->group, memory_order_acquire);

    if (out_stale != NULL)
        hg_hold_init(out_stale);
    if (group == NULL)
        return false;

    struct hg_shard *shard = hg_group_shard(group, waiter->hash);
    hg_shard_lock(shard);
    if (waiter->state != HG_WAITER_LINKED) {
        hg_shard_unlock(shard);
        return hg_bug(HG_BUG_ANSWER_TWICE);
    }

    struct hg_load *load = waiter->load;
    hg_flight_leave(&load->flight, &waiter->link);
    shard->waiter_count -= !hg_bug(HG_BUG_LATE_CANCEL);
    if (waiter->is_nested)
        hg_edges_leave(&group->groups->edges, waiter);
    waiter->load = NULL;
    waiter->state = HG_WAITER_IDLE;
    atomic_store_explicit(&waiter->group, NULL, memory_order_relaxed);
    if (now_ms >= waiter->deadline_ms)
        shard->counters.waiter_timeouts++;

    if (out_stale != NULL && hg_config_of(group)->stale_on_timeout) {
        struct hg_value *entry =
            hg_group_peek_locked(group, shard, load->flight.hash, load->flight.key);
        if (entry != NULL &&
            hg_value_is_good_on_timeout(entry, hg_group_until(group, entry), now_ms))
            hg_hold_set(out_stale, entry);
    }
    bool is_dropped = drop_locked(shard, load);
    hg_shard_unlock(shard);

    if (is_dropped)
        hg_load_destroy(load);
    return true;
}

void hg_waiter_deliver(struct hg_waiter *waiter)
{
    struct hg_result result = waiter->result;

    assert(waiter->state == HG_WAITER_MAILED);
    waiter->result.value = NULL;
    waiter->state = HG_WAITER_DONE;
    atomic_store_explicit(&waiter->group, NULL, memory_order_release);
    waiter->answer(waiter, &result); /* may free the waiter */
    if (hg_bug(HG_BUG_LOSE_REFERENCE) && result.how == HG_HOW_COLLAPSED)
        return;
    hg_value_unref(result.value);
}
