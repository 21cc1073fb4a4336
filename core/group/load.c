#include "group/group_impl.h"

#include <assert.h>
#include "base/alloc.h"
#include "base/bug.h"
#include "base/err.h"
#include "group/batch.h"
#include "group/chain.h"
#include "group/freshness.h"

const char *hg_load_reason_name(enum hg_load_reason reason)
{
    switch (reason) {
    case HG_LOAD_MISS:
        return "miss";
    case HG_LOAD_REFRESH:
        return "refresh";
    case HG_LOAD_EARLY:
        return "early";
    }
    return "unknown";
}

static void take_one(struct hg_load *load, const struct hg_guard *guard)
{
    if (load->held_count < HG_DEPTH_MAX && !hg_guard_is_held(guard, load))
        load->held[load->held_count++] = guard;
}

/* An ancestor's guards, and the slot it holds itself. It is running, so neither changes. */
static void take_held(struct hg_load *load, const struct hg_load *parent)
{
    for (unsigned i = 0; i < parent->held_count; i++)
        take_one(load, parent->held[i]);
    if (parent->has_slot)
        take_one(load, parent->guard);
}

struct hg_load *hg_load_create(struct hg_group *group, enum hg_flight_kind kind, uint64_t hash,
                               struct hg_bytes key, struct hg_bytes chain,
                               const struct hg_load *parent)
{
    struct hg_bytes parent_name = HG_BYTES_NONE;
    size_t chain_len = chain.len;

    if (parent != NULL) {
        parent_name = hg_bytes_str(hg_group_name(parent->group));
        chain = parent->chain;
        chain_len = chain.len + hg_chain_entry_size(parent_name, parent->flight.key);
    }

    struct hg_load *load = hg_malloc(sizeof(*load) + key.len + chain_len);
    if (load == NULL)
        return NULL;
    memset(load, 0, sizeof(*load));
    memcpy(load->storage, key.data, key.len);
    char *chain_at = load->storage + key.len;
    if (chain.len > 0)
        memcpy(chain_at, chain.data, chain.len);
    if (parent != NULL)
        hg_chain_write(chain_at + chain.len, parent_name, parent->flight.key);

    hg_flight_init(&load->flight, kind, hash, hg_bytes(load->storage, key.len));
    load->group = group;
    load->chain = hg_bytes(chain_at, chain_len);
    load->depth = (unsigned)hg_chain_depth(load->chain);
    load->deadline_ms = HG_FOREVER;
    hg_list_init(&load->link);
    hg_list_init(&load->nested);
    hg_list_init(&load->followers);
    if (parent != NULL) {
        load->deadline_ms = parent->deadline_ms;
        take_held(load, parent);
    }
    return load;
}

int hg_load_begin_locked(struct hg_shard *shard, struct hg_load *load, const struct hg_view *view,
                         enum hg_load_reason reason, uint64_t now_ms)
{
    struct hg_groups *groups = load->group->groups;

    if (atomic_fetch_add(&groups->flight_count, 1) >= groups->config.flights_max) {
        atomic_fetch_sub(&groups->flight_count, 1);
        return HG_ELIMIT;
    }
    uint64_t deadline_ms = hg_time_add(now_ms, hg_config_of(load->group)->deadline_ms);
    if (load->deadline_ms > deadline_ms)
        load->deadline_ms = deadline_ms;
    load->state = HG_LOAD_BEGUN;
    load->reason = reason;
    load->started_ms = now_ms;
    hg_load_set_view(load, view);
    load->start_number = hg_groups_sequence(groups);
    if (load->flight.kind == HG_FLIGHT_REMOTE)
        load->member = hg_ring_owner(view->ring, load->flight.key);
    hg_flight_begin(&shard->flights, &load->flight);
    return HG_OK;
}

void hg_load_destroy(struct hg_load *load)
{
    assert(!load->flight.listed);
    assert(load->flight.waiter_count == 0);
    assert(hg_list_is_empty(&load->nested));
    assert(hg_list_is_empty(&load->followers));
    hg_value_unref(load->old);
    hg_view_release(load->view);
    hg_guard_release(load->guard);
    hg_free(load);
}

/* If it queues for a guard that is held, it is let out, and who is in its batch with it. */
static void unqueue_if_held(struct hg_load *load, struct hg_turn *turn)
{
    struct hg_guard *guard = load->guard;
    struct hg_load *leader = hg_load_leader(load);

    if (guard != NULL && hg_guard_is_held(guard, load) && hg_guard_unqueue(guard, leader))
        hg_list_push_back(&turn->ready, &leader->link);
}

/* A running load gave its guards to its children already; only one that is still to run can learn. */
void hg_load_hold_locked(struct hg_load *load, const struct hg_guard *const *held, unsigned count,
                         struct hg_turn *turn)
{
    if (load->state != HG_LOAD_BEGUN)
        return;
    for (unsigned i = 0; i < count; i++)
        take_one(load, held[i]);
    unqueue_if_held(load, turn);
}

void hg_load_inherit_locked(struct hg_load *load, const struct hg_load *parent,
                            struct hg_turn *turn)
{
    if (load->state != HG_LOAD_BEGUN)
        return;
    take_held(load, parent);
    unqueue_if_held(load, turn);
}

/* The group's guard as it is now: it may be another one by the time the load is done. */
static struct hg_guard *take_guard(struct hg_load *load)
{
    struct hg_guard *guard = hg_config_of(load->group)->guard;
    if (guard != load->guard) {
        hg_guard_hold(guard);
        hg_guard_release(load->guard);
        load->guard = guard;
    }
    return guard;
}

void hg_load_start(struct hg_load *load, struct hg_turn *turn)
{
    struct hg_guard *guard;
    struct hg_shard *shard = hg_group_shard(load->group, load->flight.hash);
    enum hg_guard_verdict verdict = HG_GUARD_RUN;
    uint64_t retry_ms = HG_LIMIT_RETRY_MS;

    if (load->flight.kind == HG_FLIGHT_REMOTE) {
        hg_load_ask(load, turn);
        return;
    }
    if (hg_load_peek(load, turn) || hg_load_end_unwanted(load, turn))
        return;

    /* Under the lock, so that a nested get that joins sees it either before it is queued or in the queue. */
    hg_shard_lock(shard);
    guard = take_guard(load);
    bool is_slotless = guard == NULL || hg_guard_is_held(guard, load);
    bool leads = hg_batch_join_locked(load, is_slotless);
    if (leads && !is_slotless)
        verdict = hg_guard_enter(guard, load, turn->now_ms, &retry_ms);
    hg_shard_unlock(shard);
    if (!leads)
        return;

    /* Once queued it may be run, done and gone already. */
    if (verdict == HG_GUARD_RUN)
        hg_load_run(load, turn);
    else if (verdict == HG_GUARD_FULL)
        hg_load_refuse(load, HG_BYTES("guard full"), retry_ms, turn);
    else if (verdict == HG_GUARD_OPEN)
        hg_load_refuse(load, HG_BYTES("breaker open"), retry_ms, turn);
}

static void land_error(struct hg_load *load, enum hg_class klass, struct hg_bytes message,
                       uint64_t retry_ms, struct hg_turn *turn)
{
    struct hg_landing landing = {
        .value = hg_groups_error(load->group->groups, klass, load->flight.key, message, retry_ms),
        .created_ms = turn->now_ms,
        .stale_wins = true,
    };
    hg_load_land(load, &landing, turn);
}

/* Out of its batch: it may begin again, for waiters that came too late for this result. */
static void leave_batch(struct hg_load *load)
{
    atomic_store_explicit(&load->leader, NULL, memory_order_release);
    load->follower_count = 0;
    load->is_gathered = false;
}

/* Those who were to be loaded with it end as it does. */
static void land_followers(struct hg_load *leader, enum hg_class klass, struct hg_bytes message,
                           uint64_t retry_ms, struct hg_turn *turn)
{
    struct hg_list followers, *node;

    if (!hg_is_batched(leader))
        return;
    hg_batch_close(leader, &followers);
    while ((node = hg_list_pop_front(&followers)) != NULL) {
        struct hg_load *load = hg_container_of(node, struct hg_load, link);
        struct hg_shard *shard = hg_group_shard(load->group, load->flight.hash);
        hg_shard_lock(shard);
        shard->counters.local_load_errors += load->state == HG_LOAD_STARTED;
        load->state = HG_LOAD_REPORTED;
        hg_shard_unlock(shard);
        leave_batch(load);
        land_error(load, klass, message, retry_ms, turn);
    }
    leave_batch(leader);
}

void hg_load_run(struct hg_load *load, struct hg_turn *turn)
{
    struct hg_group *group = load->group;
    struct hg_guard *guard = load->guard;
    const struct hg_source *source = group->groups->source;
    struct hg_shard *shard = hg_group_shard(group, load->flight.hash);
    const struct hg_bytes not_started = HG_BYTES("the load could not be started");
    bool had_slot = load->has_slot;

    hg_shard_lock(shard);
    if (load->reason == HG_LOAD_MISS && load->flight.waiter_count == 0 && !hg_is_batched(load)) {
        /* All left while it was queued. */
        hg_flight_end(&shard->flights, &load->flight);
        atomic_fetch_sub(&group->groups->flight_count, 1);
        hg_shard_unlock(shard);
        hg_load_destroy(load);
        if (had_slot && !hg_bug(HG_BUG_KEEP_SLOT))
            hg_guard_drop(guard, turn->now_ms, &turn->ready);
        return;
    }
    bool is_late = turn->now_ms >= load->deadline_ms && !hg_is_batched(load);
    load->state = HG_LOAD_STARTED;
    load->run_ms = turn->now_ms;
    if (!is_late) {
        /* What was invalidated while it queued is not read yet. */
        load->start_number = hg_groups_sequence(group->groups);
        shard->counters.local_loads++;
    }
    hg_shard_unlock(shard);

    if (!is_late && source->load(source->ctx, load) >= 0)
        return;
    hg_shard_lock(shard);
    load->state = HG_LOAD_REPORTED;
    load->has_slot = false;
    shard->counters.local_load_errors += !is_late;
    hg_shard_unlock(shard);
    if (is_late)
        land_error(load, HG_CLASS_TIMEOUT, HG_BYTES("deadline passed in the queue"), 0, turn);
    else {
        land_followers(load, HG_CLASS_UNAVAILABLE, not_started, 0, turn);
        land_error(load, HG_CLASS_UNAVAILABLE, not_started, 0, turn);
    }
    if (had_slot)
        hg_guard_drop(guard, turn->now_ms, &turn->ready);
}

void hg_load_refuse(struct hg_load *load, struct hg_bytes why, uint64_t retry_after_ms,
                    struct hg_turn *turn)
{
    struct hg_shard *shard = hg_group_shard(load->group, load->flight.hash);

    hg_shard_lock(shard);
    shard->counters.guard_refused++;
    hg_shard_unlock(shard);
    land_followers(load, HG_CLASS_UNAVAILABLE, why, retry_after_ms, turn);
    land_error(load, HG_CLASS_UNAVAILABLE, why, retry_after_ms, turn);
}

/* How long an error is remembered: longer where it is not the first in a row. */
static uint64_t error_life(struct hg_load *load, uint64_t now_ms)
{
    struct hg_group *group = load->group;
    const struct hg_group_config *config = hg_config_of(group);
    const struct hg_source *source = group->groups->source;
    struct hg_shard *shard = hg_group_shard(group, load->flight.hash);

    if (config->error_ttl_max_ms <= config->error_ttl_ms)
        return config->error_ttl_ms;
    hg_shard_lock(shard);
    uint64_t last_ms = hg_error_last_life(
        hg_group_peek_locked(group, shard, load->flight.hash, load->flight.key), now_ms);
    hg_shard_unlock(shard);
    return hg_error_life(config->error_ttl_ms, config->error_ttl_max_ms, last_ms,
                         source->random(source->ctx));
}

/* How long and where the result of this node's getter is kept. */
static void plan_store(struct hg_load *load, const struct hg_value *value, uint64_t now_ms,
                       struct hg_landing *landing)
{
    const struct hg_group_config *config = hg_config_of(load->group);
    const struct hg_source *source = load->group->groups->source;
    uint64_t life_ms = config->ttl_ms;

    landing->tier = load->is_fallback ? HG_TIER_HOT : HG_TIER_MAIN;
    landing->created_ms = now_ms;
    if (hg_value_status(value) != HG_STATUS_VALUE) {
        life_ms = hg_value_status(value) == HG_STATUS_NOT_FOUND ? config->negative_ttl_ms
                                                                : error_life(load, now_ms);
        if (hg_bug(HG_BUG_CACHE_ERROR) && hg_value_status(value) == HG_STATUS_ERROR)
            life_ms = config->ttl_ms;
        if (hg_bug(HG_BUG_CACHE_ABSENCE) && hg_value_status(value) == HG_STATUS_NOT_FOUND)
            life_ms = config->ttl_ms;
        landing->tier = HG_TIER_NEGATIVE;
    }
    struct hg_value_more more = hg_value_more(value);
    if (more.has_ttl)
        life_ms = more.ttl_ms;
    if (hg_value_status(value) == HG_STATUS_VALUE && life_ms > 0)
        life_ms = hg_life_jittered(life_ms, config->ttl_jitter, source->random(source->ctx));
    if (load->is_fallback && life_ms > HG_FALLBACK_MS_MAX && !hg_bug(HG_BUG_FALLBACK_FOREVER))
        life_ms = HG_FALLBACK_MS_MAX;
    landing->is_stored = life_ms > 0 && !more.uncacheable;
    landing->expires_ms = hg_time_add(now_ms, life_ms);
}

/* The report is taken: from here the load is the group's again, and a second report is a mistake. */
static void take_report(struct hg_load *load, bool is_error, uint64_t now_ms)
{
    struct hg_shard *shard = hg_group_shard(load->group, load->flight.hash);

    assert(load->flight.kind == HG_FLIGHT_LOCAL);
    assert(load->state == HG_LOAD_STARTED);
    hg_edges_clear(&load->group->groups->edges, load);
    hg_shard_lock(shard);
    load->state = HG_LOAD_REPORTED;
    shard->counters.local_load_errors += is_error;
    uint64_t took_ms = now_ms > load->run_ms ? now_ms - load->run_ms : 0;
    hg_shard_note_load_time(shard, took_ms);
    hg_histogram_note(&shard->counters.load_time, took_ms);
    hg_shard_unlock(shard);
}

/* The run is over: its slot goes back, and `failed` says how the source did. */
static void leave_guard(struct hg_guard *guard, bool is_own_fault, bool failed,
                        struct hg_turn *turn)
{
    if (guard != NULL && is_own_fault)
        hg_guard_drop(guard, turn->now_ms, &turn->ready);
    else if (guard != NULL)
        hg_guard_leave(guard, failed, turn->now_ms, &turn->ready, &turn->refused);
}

static struct hg_guard *take_slot(struct hg_load *load)
{
    struct hg_guard *guard = load->has_slot ? load->guard : NULL;

    load->has_slot = false;
    return guard;
}

static struct hg_value *refuse_size(struct hg_load *load)
{
    struct hg_shard *shard = hg_group_shard(load->group, load->flight.hash);

    hg_shard_lock(shard);
    shard->counters.too_large++;
    hg_shard_unlock(shard);
    return hg_groups_error(load->group->groups, HG_CLASS_TOO_LARGE, load->flight.key,
                           HG_BYTES("the value is over the size limit"), 0);
}

/* One load's result, taken over, stored and given to who waits. Answers whether the source failed. */
static bool land_result(struct hg_load *load, struct hg_value *result, struct hg_turn *turn)
{
    struct hg_group *group = load->group;
    struct hg_groups *groups = group->groups;
    struct hg_landing landing = {0};

    if (result == NULL)
        result = hg_value_ref(groups->spare[HG_CLASS_INTERNAL]);
    if (hg_value_status(result) == HG_STATUS_NONE ||
        hg_value_status(result) == HG_STATUS_NO_GROUP) {
        hg_value_unref(result);
        result = hg_groups_error(groups, HG_CLASS_INTERNAL, load->flight.key,
                                 HG_BYTES("the load ended without a result"), 0);
    }
    bool failed = hg_value_status(result) == HG_STATUS_ERROR &&
                  hg_value_class(result) != HG_CLASS_DENIED &&
                  hg_value_class(result) != HG_CLASS_TOO_LARGE;
    bool is_too_large = hg_value_status(result) == HG_STATUS_VALUE &&
                        hg_value_data_len(result) > groups->config.value_max;
    if (is_too_large && !hg_bug(HG_BUG_STORE_OVERSIZED)) {
        hg_value_unref(result);
        result = refuse_size(load);
    }
    take_report(load, hg_value_status(result) == HG_STATUS_ERROR, turn->now_ms);

    plan_store(load, result, turn->now_ms, &landing);
    /* A value that is not this key's would be found under another key. */
    if (landing.is_stored && !hg_bytes_eq(hg_value_key(result), load->flight.key))
        landing.is_stored = false;
    if (landing.is_stored) {
        bool is_error_in_row = hg_value_status(result) == HG_STATUS_ERROR &&
                               hg_config_of(group)->error_ttl_max_ms > hg_config_of(group)->error_ttl_ms;
        struct hg_value *storable =
            is_error_in_row
                ? hg_error_note_life(result, landing.expires_ms - landing.created_ms)
                : hg_value_with_windows(result, hg_config_of(group), landing.tier != HG_TIER_MAIN);
        if (storable == NULL)
            landing.is_stored = false;
        else
            result = storable;
    }
    landing.stale_wins = hg_value_status(result) == HG_STATUS_ERROR;
    landing.value = result;
    leave_batch(load);
    hg_load_land(load, &landing, turn);
    return failed;
}

/* What all of a batch get when its run ends with one result: that error, in each one's own words. */
static void share_error(struct hg_load *leader, const struct hg_value *result, struct hg_turn *turn)
{
    struct hg_groups *groups = leader->group->groups;
    bool is_error = result != NULL && hg_value_status(result) == HG_STATUS_ERROR;
    enum hg_class klass = is_error ? hg_value_class(result) : HG_CLASS_INTERNAL;
    struct hg_bytes message =
        is_error ? hg_value_data(result) : HG_BYTES("the batch ended without a result");
    uint64_t retry_ms = is_error ? hg_value_more(result).retry_after_ms : 0;
    struct hg_list followers, *node;

    if (!hg_is_batched(leader))
        return;
    if (!leader->is_gathered) {
        land_followers(leader, klass, message, retry_ms, turn);
        return;
    }
    hg_batch_close(leader, &followers);
    while ((node = hg_list_pop_front(&followers)) != NULL) {
        struct hg_load *load = hg_container_of(node, struct hg_load, link);
        land_result(load, hg_groups_error(groups, klass, load->flight.key, message, retry_ms),
                    turn);
    }
}

void hg_load_finish(struct hg_load *load, struct hg_value *result, uint64_t now_ms,
                    struct hg_loop *here)
{
    struct hg_guard *guard = take_slot(load);
    bool is_own_fault = load->is_own_fault;
    struct hg_turn turn;

    hg_turn_init(&turn, load->group->groups, now_ms, here);
    share_error(load, result, &turn);
    bool failed = land_result(load, result, &turn);
    leave_guard(guard, is_own_fault, failed, &turn);
    hg_turn_run(&turn);
}

void hg_load_finish_many(struct hg_load *leader, struct hg_value **results, size_t count,
                         uint64_t now_ms, struct hg_loop *here)
{
    struct hg_guard *guard = take_slot(leader);
    bool is_own_fault = leader->is_own_fault, failed = true;
    struct hg_list followers, *node;
    struct hg_turn turn;
    size_t index = 1;

    assert(count == leader->follower_count + 1u);
    hg_turn_init(&turn, leader->group->groups, now_ms, here);
    hg_batch_close(leader, &followers);
    while ((node = hg_list_pop_front(&followers)) != NULL)
        failed &= land_result(hg_container_of(node, struct hg_load, link), results[index++], &turn);
    assert(index == count);
    failed &= land_result(leader, results[0], &turn);
    leave_guard(guard, is_own_fault, failed, &turn);
    if (hg_bug(HG_BUG_SLOT_EACH) && count > 1)
        leave_guard(guard, is_own_fault, failed, &turn);
    hg_turn_run(&turn);
}

void hg_load_keep(struct hg_load *load, uint64_t ttl_ms, uint64_t now_ms, struct hg_loop *here)
{
    const struct hg_group_config *config = hg_config_of(load->group);
    const struct hg_source *source = load->group->groups->source;
    struct hg_turn turn;

    if (load->old == NULL || hg_is_batched(load)) {
        hg_load_fail(load, HG_CLASS_INTERNAL, HG_BYTES("there is no old value to keep"), now_ms,
                     here);
        return;
    }
    hg_turn_init(&turn, load->group->groups, now_ms, here);
    take_report(load, false, now_ms);
    if (ttl_ms == HG_TTL_OF_GROUP)
        ttl_ms = config->ttl_ms;
    if (ttl_ms > 0)
        ttl_ms = hg_life_jittered(ttl_ms, config->ttl_jitter, source->random(source->ctx));
    if (load->is_fallback && ttl_ms > HG_FALLBACK_MS_MAX)
        ttl_ms = HG_FALLBACK_MS_MAX;
    struct hg_landing landing = {
        .value = hg_value_ref(load->old),
        .keep = true,
        .is_stored = ttl_ms > 0,
        .tier = load->is_fallback ? HG_TIER_HOT : HG_TIER_MAIN,
        .created_ms = now_ms,
        .expires_ms = hg_time_add(now_ms, ttl_ms),
    };
    struct hg_guard *guard = take_slot(load);
    hg_load_land(load, &landing, &turn);
    leave_guard(guard, false, false, &turn);
    hg_turn_run(&turn);
}

void hg_load_fail(struct hg_load *load, enum hg_class klass, struct hg_bytes message,
                  uint64_t now_ms, struct hg_loop *here)
{
    struct hg_value *error =
        hg_groups_error(load->group->groups, klass, load->flight.key, message, 0);
    hg_load_finish(load, error, now_ms, here);
}
