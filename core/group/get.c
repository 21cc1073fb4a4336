#include "group/group_impl.h"

#include "base/bug.h"
#include "base/err.h"
#include "base/hash.h"
#include "group/chain.h"
#include "group/freshness.h"
#include "group/held.h"
#include "group/hot.h"

/* One look-up, as far as it is known. */
struct lookup {
    struct hg_group *group;
    struct hg_shard *shard;
    const struct hg_get *get;
    const struct hg_view *view; /* read before the lock */
    uint64_t hash;
    uint64_t random; /* for the early refresh; drawn before the lock */
    struct hg_bytes chain;
    const struct hg_guard *held[HG_DEPTH_MAX]; /* by who asks from another node */
    unsigned held_count;
    struct hg_turn turn;
};

static int fail(struct hg_result *out_result, int err)
{
    out_result->err = err;
    if (err == HG_ELIMIT)
        out_result->retry_after_ms = HG_LIMIT_RETRY_MS;
    return err;
}

static int check(const struct hg_group *group, const struct hg_get *get,
                 const struct hg_waiter *waiter)
{
    if (get->key.len == 0)
        return HG_EINVAL;
    if (get->key.len > group->groups->config.key_max)
        return HG_ETOOBIG;
    if (get->is_peek)
        return HG_OK;
    if (waiter == NULL)
        return HG_EINVAL;
    return get->parent == NULL && hg_chain_depth(get->chain) < 0 ? HG_EINVAL : HG_OK;
}

/* Whether the entry, fresh before until_ms, answers now; counts it. */
static bool count_hit(struct hg_group_stats *counters, const struct hg_value *value,
                      uint64_t until_ms, uint64_t now_ms, enum hg_how *out_how)
{
    if (hg_is_fresh(until_ms, now_ms)) {
        if (hg_value_status(value) == HG_STATUS_NOT_FOUND) {
            counters->negative_hits++;
            *out_how = HG_HOW_NEGATIVE;
        } else if (hg_value_status(value) == HG_STATUS_ERROR) {
            counters->error_hits++;
            *out_how = HG_HOW_ERROR;
        } else if (value->tier == HG_TIER_HOT) {
            counters->hot_hits++;
            *out_how = HG_HOW_HOT;
        } else {
            counters->hits++;
            *out_how = HG_HOW_HIT;
        }
        return true;
    }
    if (hg_value_status(value) != HG_STATUS_VALUE ||
        !hg_is_within(until_ms, hg_value_more(value).stale_while_revalidate_ms, now_ms))
        return false;
    counters->stale_hits++;
    *out_how = HG_HOW_STALE;
    return true;
}

static void lend(struct hg_value *value, enum hg_how how, uint64_t until_ms,
                 struct hg_result *out_result, struct hg_hold *out_hold)
{
    hg_hold_set(out_hold, value);
    out_result->err = HG_OK;
    out_result->how = how;
    out_result->value = out_hold->value;
    out_result->created_ms = hg_value_created_ms(value);
    out_result->expires_ms = until_ms;
    out_result->retry_after_ms =
        hg_value_status(value) == HG_STATUS_ERROR ? hg_value_more(value).retry_after_ms : 0;
}

static int peek(struct lookup *lookup, struct hg_result *out_result, struct hg_hold *out_hold)
{
    struct hg_group_stats uncounted = {0};
    uint64_t until_ms = 0;
    enum hg_how how;

    hg_shard_lock(lookup->shard);
    struct hg_value *value =
        hg_group_peek_locked(lookup->group, lookup->shard, lookup->hash, lookup->get->key);
    if (value != NULL)
        until_ms = hg_group_until(lookup->group, value);
    bool is_hit =
        value != NULL && count_hit(&uncounted, value, until_ms, lookup->get->now_ms, &how);
    if (is_hit)
        lend(value, how, until_ms, out_result, out_hold);
    hg_shard_unlock(lookup->shard);
    return is_hit ? HG_OK : fail(out_result, HG_ENOENT);
}

/* A flight for this key, begun; NULL with *out_err. `value` is what the store has, maybe NULL. */
static struct hg_load *begin_locked(struct lookup *lookup, enum hg_flight_kind kind, bool is_mine,
                                    enum hg_load_reason reason, struct hg_value *value,
                                    int *out_err)
{
    const struct hg_get *get = lookup->get;
    bool is_miss = reason == HG_LOAD_MISS;

    struct hg_load *load =
        hg_load_create(lookup->group, kind, lookup->hash, get->key,
                       is_miss ? lookup->chain : HG_BYTES_NONE, is_miss ? get->parent : NULL);
    if (load == NULL) {
        *out_err = HG_ENOMEM;
        return NULL;
    }
    load->loop = get->loop;
    load->takes_over = get->takes_over && is_miss;
    load->is_fallback = kind == HG_FLIGHT_LOCAL && !is_mine;
    if (value != NULL && hg_value_status(value) == HG_STATUS_VALUE)
        load->old = hg_value_ref(value);
    *out_err = hg_load_begin_locked(lookup->shard, load, lookup->view, reason, get->now_ms);
    if (*out_err < 0) {
        hg_load_destroy(load);
        return NULL;
    }
    hg_list_push_back(&lookup->turn.begun, &load->link);
    return load;
}

/* A flight that no waiter needs, unless one flies already. Failing is silent: the next stale hit tries again. */
static bool refresh_locked(struct lookup *lookup, struct hg_value *value,
                           enum hg_load_reason reason)
{
    const struct hg_get *get = lookup->get;
    bool is_mine = hg_view_is_mine(lookup->view, get->key);
    enum hg_flight_kind kind = is_mine || get->from_peer ? HG_FLIGHT_LOCAL : HG_FLIGHT_REMOTE;
    int err;

    if (hg_flight_find(&lookup->shard->flights, kind, lookup->hash, get->key) != NULL &&
        !hg_bug(HG_BUG_RENEW_ALWAYS))
        return false;
    hg_turn_init(&lookup->turn, lookup->group->groups, get->now_ms, NULL);
    if (begin_locked(lookup, kind, is_mine, reason, value, &err) == NULL)
        return false;
    lookup->shard->counters.refreshes++;
    return true;
}

/* The last load failed a short while ago; who is served stale meanwhile need not ask again. */
static bool has_just_failed(const struct lookup *lookup, uint64_t until_ms)
{
    const struct hg_past_load *last = hg_history_load(&lookup->shard->history, lookup->hash);

    return last != NULL && last->status == HG_STATUS_ERROR &&
           !hg_is_retry_due(until_ms, last->failed_ms, lookup->get->now_ms);
}

/* Once for each copy: whether or not the owner answers, it is an ordinary one then. */
static bool renew_locked(struct lookup *lookup, struct hg_value *copy, uint64_t until_ms)
{
    if (!hg_bug(HG_BUG_RENEW_ALWAYS))
        hg_store_set_expiry(&lookup->shard->store, copy, until_ms);
    bool is_begun = refresh_locked(lookup, copy, HG_LOAD_EARLY);
    lookup->shard->counters.hot_refreshes += is_begun;
    return is_begun;
}

static void join_locked(struct lookup *lookup, struct hg_waiter *waiter, struct hg_load *load,
                        enum hg_how how)
{
    waiter->hash = lookup->hash;
    waiter->takes_over = lookup->get->takes_over;
    if (!waiter->is_nested) /* else hg_edges_join set it, under the lock of those who read it */
        waiter->load = load;
    waiter->state = HG_WAITER_LINKED;
    waiter->from_peer = lookup->get->from_peer;
    waiter->deadline_ms = lookup->get->deadline_ms;
    waiter->join_number = hg_groups_sequence(lookup->group->groups);
    waiter->result = (struct hg_result){.how = how};
    atomic_store_explicit(&waiter->group, lookup->group, memory_order_relaxed);
    hg_flight_join(&load->flight, &waiter->link);
    lookup->shard->waiter_count++;
}

/* Whether this get comes from a getter of the same key, here or on another node, or from too deep. */
static bool is_recursive(const struct lookup *lookup)
{
    const struct hg_get *get = lookup->get;
    const struct hg_load *parent = get->parent;
    unsigned depth = parent != NULL ? parent->depth + 1 : (unsigned)hg_chain_depth(lookup->chain);

    if (depth > HG_DEPTH_MAX)
        return true;
    if (parent != NULL && parent->group == lookup->group &&
        hg_bytes_eq(parent->flight.key, get->key))
        return true;
    return lookup->chain.len > 0 &&
           hg_chain_has(lookup->chain, hg_bytes_str(lookup->group->name), get->key);
}

/* Joins the key's flight or begins it. Negative: refused. */
static int wait_locked(struct lookup *lookup, struct hg_waiter *waiter, struct hg_value *value)
{
    struct hg_groups *groups = lookup->group->groups;
    struct hg_group_stats *counters = &lookup->shard->counters;
    const struct hg_get *get = lookup->get;
    int err = HG_OK;

    if (is_recursive(lookup))
        return HG_ERECURSIVE;
    hg_list_init(&waiter->link);
    hg_list_init(&waiter->edge);
    waiter->parent = NULL;
    waiter->is_nested = false;

    bool is_mine = hg_view_is_mine(lookup->view, get->key);
    enum hg_flight_kind kind = is_mine || get->from_peer ? HG_FLIGHT_LOCAL : HG_FLIGHT_REMOTE;
    if (hg_bug(HG_BUG_FORWARD_TWICE) && !is_mine)
        kind = HG_FLIGHT_REMOTE;
    struct hg_load *load =
        hg_load_of(hg_flight_find(&lookup->shard->flights, kind, lookup->hash, get->key));
    if (hg_bug(HG_BUG_JOIN_REMOTE) && load == NULL)
        load = hg_load_of(
            hg_flight_find(&lookup->shard->flights, HG_FLIGHT_REMOTE, lookup->hash, get->key));
    if (load == NULL || (hg_bug(HG_BUG_TWO_LOADS) && load->flight.waiter_count > 1)) {
        load = begin_locked(lookup, kind, is_mine, HG_LOAD_MISS, value, &err);
        if (load == NULL)
            return err;
        if (get->parent != NULL)
            hg_edges_join(&groups->edges, waiter, get->parent, HG_BYTES_NONE, load);
        hg_load_hold_locked(load, lookup->held, lookup->held_count, &lookup->turn);
        counters->loads++;
        join_locked(lookup, waiter, load, HG_HOW_MISS);
        return HG_PENDING;
    }

    if (load->flight.waiter_count >= groups->config.waiters_max)
        return HG_ELIMIT;
    if ((get->parent != NULL || lookup->chain.len > 0) &&
        hg_edges_join(&groups->edges, waiter, get->parent, lookup->chain, load))
        return HG_ERECURSIVE;
    if (get->parent != NULL && kind == HG_FLIGHT_LOCAL)
        hg_load_inherit_locked(load, get->parent, &lookup->turn);
    hg_load_hold_locked(load, lookup->held, lookup->held_count, &lookup->turn);
    counters->loads_deduped += !hg_bug(HG_BUG_MISCOUNT);
    join_locked(lookup, waiter, load, HG_HOW_COLLAPSED);
    return HG_PENDING;
}

/* Ends with the lock given back and whatever was begun, started. */
static int miss(struct lookup *lookup, struct hg_waiter *waiter, struct hg_value *value,
                struct hg_result *out_result)
{
    struct hg_group_stats *counters = &lookup->shard->counters;

    hg_turn_init(&lookup->turn, lookup->group->groups, lookup->get->now_ms, NULL);
    counters->misses++;
    int rc = wait_locked(lookup, waiter, value);
    if (rc < 0) {
        counters->refused++;
        counters->recursive += rc == HG_ERECURSIVE;
    }
    hg_shard_unlock(lookup->shard);
    hg_turn_run(&lookup->turn);
    return rc < 0 ? fail(out_result, rc) : rc;
}

/* A key of ours that another node still has from when it was not: a load that peeks, and that nobody waits for. */
static void take_back(struct lookup *lookup)
{
    const struct hg_get *get = lookup->get;
    uint64_t hash = lookup->hash;
    struct hg_load *load = NULL;
    int err;

    hg_turn_init(&lookup->turn, lookup->group->groups, get->now_ms, NULL);
    hg_shard_lock(lookup->shard);
    struct hg_value *value = hg_group_peek_locked(lookup->group, lookup->shard, hash, get->key);
    bool is_wanted = value == NULL && hg_flight_find(&lookup->shard->flights, HG_FLIGHT_LOCAL, hash,
                                                     get->key) == NULL;
    if (is_wanted)
        load = begin_locked(lookup, HG_FLIGHT_LOCAL, true, HG_LOAD_MISS, NULL, &err);
    hg_shard_unlock(lookup->shard);
    if (load != NULL)
        hg_turn_run(&lookup->turn);
}

int hg_group_get(struct hg_group *group, const struct hg_get *get, struct hg_waiter *waiter,
                 struct hg_result *out_result, struct hg_hold *out_hold)
{
    const struct hg_source *source = group->groups->source;
    double beta = hg_config_of(group)->early_refresh;
    enum hg_load_reason reason = HG_LOAD_REFRESH;
    struct lookup lookup;
    enum hg_how how;

    hg_hold_init(out_hold);
    *out_result = (struct hg_result){.err = HG_OK};
    int err = check(group, get, waiter);
    if (err < 0)
        return fail(out_result, err);

    lookup.group = group;
    lookup.get = get;
    lookup.view = hg_groups_view(group->groups);
    lookup.hash = hg_hash(get->key);
    lookup.shard = hg_group_shard(group, lookup.hash);
    lookup.chain = get->parent != NULL ? get->parent->chain : get->chain;
    lookup.random = beta > 0 ? source->random(source->ctx) : 0;
    hg_groups_watch(group->groups, get->now_ms);
    if (get->is_peek)
        return peek(&lookup, out_result, out_hold);
    if (get->takes_over && hg_view_is_mine(lookup.view, get->key)) {
        take_back(&lookup);
        return fail(out_result, HG_ENOENT);
    }
    lookup.held_count = 0;
    if (get->parent == NULL && get->chain.len > 0)
        lookup.held_count = hg_held_by_chain(group->groups, get->chain, lookup.held);

    hg_store_fetch(&lookup.shard->store, lookup.hash);
    hg_shard_lock(lookup.shard);
    lookup.shard->counters.gets++;
    lookup.shard->counters.peer_requests += get->from_peer;
    if (hg_config_of(group)->samples > 0)
        hg_policy_set_time(lookup.shard->store.policy, get->now_ms, 0);
    struct hg_value *value = hg_store_get(&lookup.shard->store, lookup.hash, get->key);
    if (value != NULL && !hg_trust_has(&group->groups->trust, value))
        value = NULL;
    if (hg_rates_draw(&lookup.shard->rates))
        hg_hot_note_locked(group, lookup.shard, lookup.hash, value, get->now_ms);
    uint64_t until_ms = value == NULL ? 0 : hg_group_until(group, value);
    bool is_wanted = get->takes_over && value != NULL && value->tier != HG_TIER_MAIN;
    if (value == NULL || is_wanted || !count_hit(&lookup.shard->counters, value, until_ms, get->now_ms, &how))
        return miss(&lookup, waiter, value, out_result);

    lend(value, how, until_ms, out_result, out_hold);
    bool is_refreshed = how == HG_HOW_STALE;
    if (how == HG_HOW_HIT && beta > 0 &&
        hg_is_early(beta, lookup.shard->load_time_x16, hg_value_expires_ms(value), get->now_ms,
                    lookup.random)) {
        is_refreshed = true;
        reason = HG_LOAD_EARLY;
    }
    if (is_refreshed && reason == HG_LOAD_REFRESH && has_just_failed(&lookup, until_ms))
        is_refreshed = false;
    if (is_refreshed)
        is_refreshed = refresh_locked(&lookup, value, reason);
    else if (how == HG_HOW_HOT && !get->from_peer &&
             hg_copy_is_due(value, until_ms, group->groups->config.lease_ms, get->now_ms))
        is_refreshed = renew_locked(&lookup, value, until_ms);
    hg_shard_unlock(lookup.shard);
    if (is_refreshed)
        hg_turn_run(&lookup.turn);
    return HG_OK;
}
