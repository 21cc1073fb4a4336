#include "group/group_impl.h"

#include <assert.h>
#include "base/bug.h"
#include "base/err.h"
#include "group/freshness.h"
#include "group/hot.h"
#include "group/score.h"

/*
 * The oldest invalidation since the load's start that concerns its key, the result's tags or the whole group; 0:
 * none. The oldest, because a waiter that joined after any of them must not get what was read before it. Where it
 * is not known exactly it is the number after the start: a waiter too many takes part in the next load.
 */
static uint64_t oldest_fence(const struct hg_shard *shard, struct hg_load *load,
                             const struct hg_value *value)
{
    struct hg_group *group = load->group;
    uint64_t start = load->start_number;
    uint64_t fence =
        load->fence_number > start && !hg_bug(HG_BUG_STORE_AFTER_REMOVE) ? load->fence_number : 0;
    uint64_t flush = atomic_load(&group->flush_number);

    /* A flush has its number, but has not come to this shard yet; or the node stood still. */
    if ((flush > start && flush > shard->flush_number) ||
        atomic_load(&group->groups->trust.fence_number) > start)
        fence = start + 1;
    if (value != NULL && !hg_bug(HG_BUG_TAG_FORGOTTEN)) {
        uint64_t tag = hg_tags_oldest_after(&group->tags, value, start);
        if (tag != 0 && (fence == 0 || tag < fence))
            fence = tag;
    }
    return fence;
}

void hg_waiter_detach_locked(struct hg_shard *shard, struct hg_waiter *waiter, struct hg_load *load,
                             struct hg_turn *turn)
{
    assert(waiter->state == HG_WAITER_LINKED);
    hg_flight_leave(&load->flight, &waiter->link);
    shard->waiter_count--;
    if (waiter->is_nested)
        hg_edges_leave(&load->group->groups->edges, waiter);
    waiter->load = NULL;
    waiter->state = HG_WAITER_MAILED;
    if (hg_bug(HG_BUG_DROP_WAITER) && load->flight.waiter_count == 2)
        return;
    hg_list_push_back(&turn->waiters, &waiter->link);
}

static struct hg_value *put_locked(struct hg_shard *shard, struct hg_load *load,
                                   const struct hg_landing *landing, struct hg_value *value)
{
    struct hg_group *group = load->group;
    const struct hg_source *source = group->groups->source;
    uint64_t now_ms = landing->created_ms;
    if (hg_config_of(group)->samples > 0)
        hg_policy_set_time(shard->store.policy, now_ms,
                           now_ms > load->run_ms ? now_ms - load->run_ms : 0);
    int err = hg_shard_put(shard, group->shards, group->shard_count, value, landing->tier,
                           landing->created_ms, landing->expires_ms);
    if (source->crowded != NULL && hg_group_is_crowded(group))
        source->crowded(source->ctx, group);
    if (err < 0)
        return NULL;
    if (landing->tier == HG_TIER_HOT)
        value->slot = landing->hot_life_ms & HG_VALUE_SLOT_MAX;
    return value;
}

/*
 * What was loaded as a copy, or when another node owned the key, has the windows of its tier: kept in the other
 * tier it is a new value. NULL: out of memory, or it does not fit.
 */
static struct hg_value *move_locked(struct hg_shard *shard, struct hg_load *load,
                                    const struct hg_landing *landing)
{
    struct hg_value *moved =
        hg_value_copy_windows(landing->value, hg_config_of(load->group), landing->tier != HG_TIER_MAIN);
    struct hg_value *entry = moved == NULL ? NULL : put_locked(shard, load, landing, moved);

    hg_value_unref(moved); /* the store has its own */
    return entry;
}

/* The entry, if it is in the store as planned; else NULL. */
static struct hg_value *keep_locked(struct hg_shard *shard, struct hg_load *load,
                                    const struct hg_landing *landing)
{
    struct hg_value *value = landing->value;
    struct hg_value *entry = hg_store_peek(&shard->store, load->flight.hash, load->flight.key);

    if (!landing->keep)
        return put_locked(shard, load, landing, value);
    /* Evicted meanwhile: still good. Another value in its place is newer: leave it. */
    if (entry != value && (entry != NULL || value->stored))
        return NULL;
    if (value->tier != landing->tier && !hg_bug(HG_BUG_KEEP_TIER))
        return move_locked(shard, load, landing);
    if (entry == NULL)
        return put_locked(shard, load, landing, value);
    hg_store_set_expiry(&shard->store, value, landing->expires_ms);
    return value;
}

/* The load begins once more for the waiters that are left: those that joined after the fence. */
static bool restart_locked(struct hg_shard *shard, struct hg_load *load, struct hg_turn *turn)
{
    struct hg_group *group = load->group;
    const struct hg_view *view = hg_groups_view(group->groups);
    bool is_nested = false;

    hg_list_for_each(it, &load->flight.waiters) is_nested |=
        hg_container_of(it, struct hg_waiter, link)->is_nested;
    if (!is_nested) {
        load->chain.len = 0;
        load->depth = 0;
    }
    hg_edges_held(&group->groups->edges, &load->flight.waiters, load);

    load->reason = HG_LOAD_REFRESH;
    load->started_ms = turn->now_ms;
    load->deadline_ms = hg_time_add(turn->now_ms, hg_config_of(group)->deadline_ms);
    load->start_number = hg_groups_sequence(group->groups);
    load->fence_number = 0;
    load->is_second = load->takes_over = false;
    load->state = HG_LOAD_BEGUN;
    shard->counters.refreshes++;
    if (load->flight.kind == HG_FLIGHT_REMOTE) {
        if (hg_view_is_mine(view, load->flight.key))
            return hg_load_become_local_locked(shard, load, false, view, turn);
        hg_load_set_view(load, view);
        load->member = hg_ring_owner(view->ring, load->flight.key);
    }
    hg_flight_begin(&shard->flights, &load->flight);
    hg_list_push_back(&turn->begun, &load->link);
    return true;
}

/* What is no error and is not stored ends a row of errors: the next one is a first again. */
static void forget_error_locked(struct hg_shard *shard, const struct hg_load *load)
{
    const struct hg_value *entry =
        hg_store_peek(&shard->store, load->flight.hash, load->flight.key);

    if (entry != NULL && hg_value_status(entry) == HG_STATUS_ERROR)
        hg_store_remove(&shard->store, load->flight.hash, load->flight.key, HG_EVICT_REPLACED);
}

static bool land(struct hg_load *load, struct hg_landing *landing, bool only_stale,
                 struct hg_turn *turn)
{
    struct hg_group *group = load->group;
    struct hg_shard *shard = hg_group_shard(group, load->flight.hash);
    struct hg_value *serve = landing->value, *old = NULL;
    struct hg_result result = {.err = HG_OK, .created_ms = landing->created_ms};
    bool is_stale = false, goes_on = false;

    hg_groups_watch(group->groups, turn->now_ms);
    hg_shard_lock(shard);
    hg_group_saw(group, turn->now_ms);
    struct hg_value *entry =
        hg_group_peek_locked(group, shard, load->flight.hash, load->flight.key);
    bool has_entry = landing->stale_wins && entry != NULL &&
                     hg_value_is_good_on_error(entry, hg_group_until(group, entry), turn->now_ms);
    if (only_stale && !has_entry) {
        hg_shard_unlock(shard);
        return false;
    }

    if (landing->value != NULL)
        hg_history_loaded(&shard->history, load->flight.hash, load->flight.kind, landing->value,
                          turn->now_ms > load->started_ms ? turn->now_ms - load->started_ms : 0,
                          turn->now_ms);
    uint64_t fence = oldest_fence(shard, load, landing->value);
    bool is_fenced = fence != 0;
    if (is_fenced)
        shard->counters.fenced++;
    if (has_entry) {
        serve = entry;
        result.created_ms = hg_value_created_ms(entry);
        result.expires_ms = hg_group_until(group, entry);
        is_stale = !hg_is_fresh(result.expires_ms, turn->now_ms);
    } else if (landing->is_stored && !is_fenced &&
               (entry = keep_locked(shard, load, landing)) != NULL) {
        result.created_ms = hg_value_created_ms(entry);
        result.expires_ms = hg_group_until(group, entry);
    } else if (hg_value_status(serve) != HG_STATUS_ERROR) {
        forget_error_locked(shard, load);
    }

    hg_flight_end(&shard->flights, &load->flight);
    hg_list_for_each_safe(it, &load->flight.waiters)
    {
        struct hg_waiter *waiter = hg_container_of(it, struct hg_waiter, link);
        if (is_fenced && waiter->join_number >= fence && !hg_bug(HG_BUG_YOUNG_GET_OLD))
            continue;
        enum hg_how how = is_stale ? HG_HOW_STALE : waiter->result.how;
        waiter->result = result;
        waiter->result.how = how;
        waiter->result.value = hg_value_ref(serve);
        if (hg_value_status(serve) == HG_STATUS_ERROR)
            waiter->result.retry_after_ms = hg_value_more(serve).retry_after_ms;
        hg_waiter_detach_locked(shard, waiter, load, turn);
    }
    if (load->flight.waiter_count > 0) {
        old = load->old; /* what was invalidated is not offered again */
        load->old = NULL;
        goes_on = restart_locked(shard, load, turn);
    }
    if (!goes_on && !(hg_bug(HG_BUG_LEAK_FLIGHT) && load->reason == HG_LOAD_REFRESH))
        atomic_fetch_sub(&group->groups->flight_count, 1);
    hg_shard_unlock(shard);

    if (!goes_on)
        hg_load_destroy(load);
    hg_value_unref(old);
    hg_value_unref(landing->value);
    return true;
}

void hg_load_land(struct hg_load *load, struct hg_landing *landing, struct hg_turn *turn)
{
    land(load, landing, false, turn);
}

bool hg_load_land_stale(struct hg_load *load, struct hg_turn *turn)
{
    struct hg_landing landing = {.stale_wins = true};

    return land(load, &landing, true, turn);
}
