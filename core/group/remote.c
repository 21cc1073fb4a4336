#include "group/group_impl.h"

#include <assert.h>
#include "base/bug.h"
#include "base/err.h"
#include "group/freshness.h"
#include "group/hot.h"

static bool is_up(const struct hg_groups *groups, const struct hg_view *view, size_t member)
{
    const struct hg_source *source = groups->source;
    return source->is_up == NULL || source->is_up(source->ctx, view, member);
}

static void land_error(struct hg_load *load, enum hg_class klass, struct hg_bytes message,
                       bool stale_wins, struct hg_turn *turn)
{
    struct hg_landing landing = {
        .value = hg_groups_error(load->group->groups, klass, load->flight.key, message, 0),
        .created_ms = turn->now_ms,
        .stale_wins = stale_wins,
    };
    hg_load_land(load, &landing, turn);
}

static void land_timeout(struct hg_load *load, struct hg_turn *turn)
{
    land_error(load, HG_CLASS_TIMEOUT, HG_BYTES("deadline passed"),
               hg_config_of(load->group)->stale_on_timeout, turn);
}

/* Whom a circle would have closed on is told so; the others go on. */
static void answer_circles_locked(struct hg_shard *shard, struct hg_load *load,
                                  struct hg_list *circles, struct hg_turn *turn)
{
    struct hg_list *node;

    while ((node = hg_list_pop_front(circles)) != NULL) {
        struct hg_waiter *waiter = hg_container_of(node, struct hg_waiter, link);
        waiter->result.err = HG_ERECURSIVE;
        waiter->load = NULL;
        waiter->state = HG_WAITER_MAILED;
        load->flight.waiter_count--;
        shard->waiter_count--;
        shard->counters.recursive++;
        hg_list_push_back(&turn->waiters, &waiter->link);
    }
}

bool hg_load_become_local_locked(struct hg_shard *shard, struct hg_load *load, bool is_fallback,
                                 const struct hg_view *view, struct hg_turn *turn)
{
    struct hg_groups *groups = load->group->groups;
    struct hg_list circles = HG_LIST_INIT(circles);
    struct hg_load *other = hg_load_of(
        hg_flight_find(&shard->flights, HG_FLIGHT_LOCAL, load->flight.hash, load->flight.key));

    hg_edges_held(&groups->edges, &load->flight.waiters, load);
    if (other != NULL) {
        hg_edges_move(&groups->edges, &load->flight.waiters, other, &circles);
        answer_circles_locked(shard, load, &circles, turn);
        hg_load_inherit_locked(other, load, turn);
        if (hg_bug(HG_BUG_LOSE_SPLICED)) {
            hg_list_init(&load->flight.waiters);
            load->flight.waiter_count = 0;
        }
        hg_flight_splice(&other->flight, &load->flight);
        return false;
    }
    load->flight.kind = HG_FLIGHT_LOCAL;
    load->is_fallback = is_fallback;
    load->is_second = false;
    hg_load_set_view(load, view);
    load->state = HG_LOAD_BEGUN;
    load->start_number = hg_groups_sequence(groups);
    load->fence_number = 0;
    hg_flight_begin(&shard->flights, &load->flight);
    hg_list_push_back(&turn->begun, &load->link);
    return true;
}

static void become_fallback(struct hg_load *load, struct hg_turn *turn)
{
    struct hg_group *group = load->group;
    struct hg_shard *shard = hg_group_shard(group, load->flight.hash);

    hg_shard_lock(shard);
    shard->counters.fallbacks++;
    hg_flight_end(&shard->flights, &load->flight);
    bool goes_on = hg_load_become_local_locked(shard, load, true, load->view, turn);
    if (!goes_on)
        atomic_fetch_sub(&group->groups->flight_count, 1);
    hg_shard_unlock(shard);
    if (!goes_on)
        hg_load_destroy(load);
}

/* The member that was asked, or would have been, is not there. True: ask load->member, the second. */
static bool fall_back(struct hg_load *load, struct hg_turn *turn)
{
    const struct hg_groups *groups = load->group->groups;
    size_t second;

    if (turn->now_ms >= load->deadline_ms) {
        land_timeout(load, turn);
        return false;
    }
    if (hg_load_land_stale(load, turn))
        return false;
    if (!load->is_second && hg_view_second(load->view, load->flight.key, load->member, &second) &&
        is_up(groups, load->view, second)) {
        load->is_second = true;
        load->member = second;
        return true;
    }
    become_fallback(load, turn);
    return false;
}

static void count_peer_error(struct hg_shard *shard)
{
    hg_shard_lock(shard);
    shard->counters.peer_errors++;
    hg_shard_unlock(shard);
}

void hg_load_ask(struct hg_load *load, struct hg_turn *turn)
{
    struct hg_group *group = load->group;
    const struct hg_source *source = group->groups->source;
    struct hg_shard *shard = hg_group_shard(group, load->flight.hash);

    do {
        if (!is_up(group->groups, load->view, load->member))
            continue;
        hg_shard_lock(shard);
        load->state = HG_LOAD_STARTED;
        load->run_ms = turn->now_ms;
        load->start_number = hg_groups_sequence(group->groups);
        shard->counters.peer_loads++;
        hg_shard_unlock(shard);
        if (source->ask(source->ctx, load) >= 0)
            return;
        count_peer_error(shard);
    } while (fall_back(load, turn));
}

static void land_copy(struct hg_load *load, const struct hg_ask_answer *answer, bool is_hot,
                      struct hg_turn *turn)
{
    struct hg_group *group = load->group;
    struct hg_groups *groups = group->groups;
    struct hg_value *value = answer->result;
    uint64_t sent_ms = answer->sent_ms < turn->now_ms ? answer->sent_ms : turn->now_ms;
    bool is_value = hg_value_status(value) == HG_STATUS_VALUE;
    is_hot &= is_value && groups->config.lease_ms <= HG_HOT_LEASE_MAX;
    uint64_t life_ms = hg_copy_life(answer->ttl_ms, groups->config.lease_ms, is_hot);
    if (hg_bug(HG_BUG_COPY_FULL_LIFE))
        life_ms = hg_config_of(group)->ttl_ms;
    struct hg_landing landing = {
        .tier = is_value ? HG_TIER_HOT : HG_TIER_NEGATIVE,
        .created_ms = sent_ms > answer->age_ms ? sent_ms - answer->age_ms : 0,
        .expires_ms = hg_time_add(sent_ms, life_ms),
        .hot_life_ms = is_hot ? (uint32_t)life_ms : 0,
    };

    if (is_value && hg_value_data_len(value) > groups->config.value_max) {
        struct hg_shard *shard = hg_group_shard(group, load->flight.hash);
        hg_shard_lock(shard);
        shard->counters.too_large++;
        hg_shard_unlock(shard);
        hg_value_unref(value);
        land_error(load, HG_CLASS_TOO_LARGE, HG_BYTES("the value is over the size limit"), false,
                   turn);
        return;
    }
    bool has_room =
        hg_value_status(value) == HG_STATUS_NOT_FOUND || (is_value && group->budget.hot_limit > 0);
    landing.is_stored = has_room && landing.expires_ms > turn->now_ms &&
                        !hg_value_more(value).uncacheable &&
                        hg_bytes_eq(hg_value_key(value), load->flight.key);
    if (landing.is_stored) {
        struct hg_value *copy = hg_value_with_windows(value, hg_config_of(group), true);
        if (copy == NULL)
            landing.is_stored = false;
        else
            value = copy;
    }
    landing.value = value;
    hg_load_land(load, &landing, turn);
}

static void land_typed(struct hg_load *load, const struct hg_ask_answer *answer, bool takes_over,
                       bool is_hot, struct hg_turn *turn)
{
    struct hg_shard *shard = hg_group_shard(load->group, load->flight.hash);
    struct hg_landing landing;

    if (!takes_over || !hg_handover_plan(load, answer, turn->now_ms, &landing)) {
        land_copy(load, answer, is_hot, turn);
        return;
    }
    hg_shard_lock(shard);
    shard->counters.takeovers++;
    hg_shard_unlock(shard);
    hg_load_land(load, &landing, turn);
}

/* Words that are none of a typed answer's count as garbage. */
static enum hg_ask_outcome outcome_of(const struct hg_ask_answer *answer)
{
    if (answer->outcome == HG_ASK_TYPED &&
        (answer->result == NULL || hg_value_status(answer->result) == HG_STATUS_NONE))
        return HG_ASK_TRANSPORT;
    return answer->outcome;
}

void hg_load_asked(struct hg_load *load, const struct hg_ask_answer *answer, uint64_t now_ms,
                   struct hg_loop *here)
{
    struct hg_shard *shard = hg_group_shard(load->group, load->flight.hash);
    enum hg_ask_outcome outcome = outcome_of(answer);
    bool is_no_group =
        outcome == HG_ASK_TYPED && hg_value_status(answer->result) == HG_STATUS_NO_GROUP;
    const struct hg_groups *groups = load->group->groups;
    struct hg_turn turn;

    hg_turn_init(&turn, load->group->groups, now_ms, here);
    hg_shard_lock(shard);
    bool is_hot =
        answer->minute_qps >= (double)groups->config.hot_minute ||
        hg_rates_minute(&shard->rates, load->flight.hash, now_ms) >= groups->config.hot_minute;
    bool is_peek = load->is_peek, takes_over = load->takes_over;
    assert(is_peek ? load->state == HG_LOAD_BEGUN && load->flight.kind == HG_FLIGHT_LOCAL
                   : load->state == HG_LOAD_STARTED && load->flight.kind == HG_FLIGHT_REMOTE);
    if (!is_peek)
        load->state = HG_LOAD_REPORTED;
    hg_histogram_note(&shard->counters.peer_time,
                      now_ms > load->run_ms ? now_ms - load->run_ms : 0);
    shard->counters.peer_errors += !is_peek && (outcome != HG_ASK_TYPED || is_no_group);
    hg_shard_unlock(shard);

    if (outcome != HG_ASK_TYPED || is_no_group)
        hg_value_unref(answer->result);
    bool has_result = outcome == HG_ASK_TYPED && !is_no_group;
    bool has_value = has_result && hg_value_status(answer->result) == HG_STATUS_VALUE;
    if (is_peek) {
        hg_load_peeked(load, has_result ? answer : NULL, &turn);
    } else if (takes_over && !has_value && outcome != HG_ASK_DEADLINE) {
        /* The owner had it no more, or does not answer. Who asks for the key itself has it loaded as always. */
        if (has_result)
            hg_value_unref(answer->result);
        if (!hg_load_end_unwanted(load, &turn))
            hg_load_ask(load, &turn);
    } else if (is_no_group)
        land_error(load, HG_CLASS_INTERNAL, HG_BYTES("no such group at owner"), false, &turn);
    else if (hg_bug(HG_BUG_RETRY_TYPED) && outcome == HG_ASK_TYPED &&
             hg_value_status(answer->result) == HG_STATUS_ERROR) {
        hg_value_unref(answer->result);
        become_fallback(load, &turn);
    } else if (outcome == HG_ASK_TYPED)
        land_typed(load, answer, takes_over, is_hot, &turn);
    else if (outcome == HG_ASK_DEADLINE && hg_bug(HG_BUG_DEADLINE_FALLBACK))
        become_fallback(load, &turn);
    else if (outcome == HG_ASK_DEADLINE)
        land_timeout(load, &turn);
    else if (outcome == HG_ASK_UNTYPED)
        become_fallback(load, &turn);
    else if (fall_back(load, &turn))
        hg_load_ask(load, &turn);
    hg_turn_run(&turn);
}
