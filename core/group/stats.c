#include "group/group_impl.h"

#include "base/hash.h"
#include "group/hot.h"
#include "group/score.h"

void hg_group_stats(struct hg_group *group, struct hg_group_stats *out_stats)
{
    struct hg_group_stats sum = {0};
    uint64_t seen_ms = atomic_load_explicit(&group->seen_ms, memory_order_relaxed);

    for (unsigned i = 0; i < group->shard_count; i++) {
        struct hg_shard *shard = &group->shards[i];
        hg_shard_lock(shard);
#define X(name) sum.name += shard->counters.name;
        HG_GROUP_COUNTERS(X)
#undef X
        hg_histogram_add(&sum.load_time, &shard->counters.load_time);
        hg_histogram_add(&sum.peer_time, &shard->counters.peer_time);
        sum.evictions += shard->store.counters.evictions;
        if (hg_config_of(group)->samples > 0)
            sum.unscored_evictions += hg_policy_sampled_unscored(shard->store.policy);
        sum.expirations += shard->store.counters.expirations;
        sum.entries += shard->store.table.count;
        sum.flights += shard->flights.count;
        sum.waiters += shard->waiter_count;
        sum.hot_keys += hg_rates_count(&shard->rates, group->groups->config.hot_minute, seen_ms);
        hg_shard_unlock(shard);
    }
    sum.bytes = atomic_load(&group->budget.used);
    sum.capacity = group->budget.capacity;
    *out_stats = sum;
}

size_t hg_group_expire_step(struct hg_group *group, uint64_t now_ms, size_t max_rows)
{
    size_t freed = 0, share = max_rows / group->shard_count;

    hg_group_saw(group, now_ms);
    for (unsigned i = 0; i < group->shard_count; i++) {
        struct hg_shard *shard = &group->shards[i];
        hg_shard_lock(shard);
        freed += hg_store_expire_step(&shard->store, now_ms, share > 0 ? share : 1);
        hg_shard_unlock(shard);
    }
    return freed;
}

/* Milliseconds of life left; negative: since when it is stale. Cut at the ends. */
static int64_t ttl_left(uint64_t expires_ms, uint64_t now_ms)
{
    if (expires_ms >= now_ms)
        return expires_ms - now_ms > INT64_MAX ? INT64_MAX : (int64_t)(expires_ms - now_ms);
    return now_ms - expires_ms > INT64_MAX ? INT64_MIN : -(int64_t)(now_ms - expires_ms);
}

static void explain_entry(const struct hg_group *group, const struct hg_store *store,
                          const struct hg_value *value, uint64_t now_ms, struct hg_explain *out)
{
    out->is_stored = true;
    out->is_trusted = hg_trust_has(&group->groups->trust, value);
    out->tier = (enum hg_tier)value->tier;
    out->status = hg_value_status(value);
    out->age_ms = now_ms > hg_value_created_ms(value) ? now_ms - hg_value_created_ms(value) : 0;
    out->ttl_ms = ttl_left(hg_group_until(group, value), now_ms);
    struct hg_value_more more = {0};
    if (out->status == HG_STATUS_VALUE) /* an error's window is none (freshness.h) */
        more = hg_value_more(value);
    out->stale_while_revalidate_ms = more.stale_while_revalidate_ms;
    out->stale_if_error_ms = more.stale_if_error_ms;
    out->size_bytes = hg_value_data_len(value);
    out->cost_bytes = hg_store_entry_cost(store, value);
}

static uint64_t age_of(uint64_t then_ms, uint64_t now_ms)
{
    return now_ms > then_ms ? now_ms - then_ms : 0;
}

static void explain_past(const struct hg_history *history, uint64_t hash, uint64_t now_ms,
                         struct hg_explain *out)
{
    const struct hg_past_load *load = hg_history_load(history, hash);
    const struct hg_past_eviction *eviction = hg_history_eviction(history, hash);

    out->has_load = load != NULL;
    if (load != NULL) {
        out->load_age_ms = age_of(load->ended_ms, now_ms);
        out->load_took_ms = load->took_ms;
        out->load_kind = (enum hg_flight_kind)load->kind;
        out->load_status = (enum hg_status)load->status;
        out->has_error = load->has_failed;
    }
    if (out->has_error) {
        out->error_age_ms = age_of(load->failed_ms, now_ms);
        out->error_class = (enum hg_class)load->klass;
        out->error_message_len = load->message_len;
        memcpy(out->error_message, load->message, load->message_len);
    }
    out->has_eviction = eviction != NULL;
    if (eviction != NULL) {
        out->eviction_age_ms = age_of(eviction->past.touched_ms, now_ms);
        out->eviction_reason = (enum hg_evict_reason)eviction->reason;
    }
}

void hg_group_explain(struct hg_group *group, struct hg_bytes key, uint64_t now_ms,
                      struct hg_explain *out_explain, struct hg_hold *out_hold)
{
    const struct hg_view *view = hg_groups_view(group->groups);
    struct hg_explain explain = {.is_mine = hg_view_is_mine(view, key)};
    uint64_t hash = hg_hash(key);
    struct hg_shard *shard = hg_group_shard(group, hash);

    hg_hold_init(out_hold);
    if (view != NULL)
        explain.owner = hg_ring_member(view->ring, hg_ring_owner(view->ring, key));

    hg_shard_lock(shard);
    struct hg_value *value = hg_store_peek(&shard->store, hash, key);
    if (value != NULL) {
        explain_entry(group, &shard->store, value, now_ms, &explain);
        hg_hold_set(out_hold, value);
    }
    struct hg_flight *flight = hg_flight_find(&shard->flights, HG_FLIGHT_LOCAL, hash, key);
    if (flight == NULL)
        flight = hg_flight_find(&shard->flights, HG_FLIGHT_REMOTE, hash, key);
    if (flight != NULL) {
        const struct hg_load *load = hg_load_of(flight);
        explain.is_flying = true;
        explain.flight_kind = (enum hg_flight_kind)flight->kind;
        explain.flight_waiters = flight->waiter_count;
        explain.flight_reason = load->reason;
        explain.flight_age_ms = age_of(load->started_ms, now_ms);
    }
    explain.minute = hg_rates_minute(&shard->rates, hash, now_ms);
    explain_past(&shard->history, hash, now_ms, &explain);
    hg_shard_unlock(shard);
    *out_explain = explain;
}
