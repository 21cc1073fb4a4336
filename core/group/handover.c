/*
 * Values that move with their keys, so that a node that comes or goes costs the source nothing.
 *
 *   a newcomer   a key of ours misses -> its owner before us, the ring's second point, is asked for what its store has (a peek) -> kept
 *                as our own value                                                                  '-> nothing: the getter
 *   a leaver     tells the second point of its keys -> that one asks for them as for any copy, while the leaver still owns them, and
 *                keeps them as its own (hg_get.takes_over); of others' keys, which it had before they came, it tells their owners
 *
 * An invalidation is told to the owner first. While one is new, a store that was not told of it yet could hand back what it has
 * ended; so for SETTLED leases after one that the group knows of nothing is handed over. By then everybody was told, or lost
 * contact and answers nothing.
 */
#include "group/group_impl.h"

#include "base/bug.h"
#include "base/err.h"
#include "group/freshness.h"

#define PEEK_MS 200 /* a store answers at once */
#define SETTLED 2   /* leases */

/*
 * Where all nodes are new there is nothing to be had: a peek costs 1, one that finds something pays for PAYS more, and who has
 * spent HG_PEEK_CREDIT asks no more.
 */
#define PAYS 16

static void spend(struct hg_group *group)
{
    atomic_fetch_sub_explicit(&group->peek_credit, 1, memory_order_relaxed);
}

static void earn(struct hg_group *group)
{
    if (atomic_load_explicit(&group->peek_credit, memory_order_relaxed) < HG_PEEK_CREDIT)
        atomic_fetch_add_explicit(&group->peek_credit, PAYS, memory_order_relaxed);
}

static bool has_credit(const struct hg_group *group)
{
    return atomic_load_explicit(&group->peek_credit, memory_order_relaxed) > 0;
}

static bool is_settled(struct hg_group *group, uint64_t now_ms)
{
    uint64_t changed_ms = atomic_load_explicit(&group->changed_ms, memory_order_acquire);
    return changed_ms == 0 || hg_bug(HG_BUG_PEEK_UNSETTLED) ||
           now_ms >= hg_time_add(changed_ms, SETTLED * group->groups->config.lease_ms);
}

bool hg_handover_plan(struct hg_load *load, const struct hg_ask_answer *answer, uint64_t now_ms,
                      struct hg_landing *out_landing)
{
    struct hg_group *group = load->group;
    struct hg_value *value = answer->result;
    uint64_t sent_ms = answer->sent_ms < now_ms ? answer->sent_ms : now_ms;
    uint64_t expires_ms = hg_time_add(sent_ms, answer->ttl_ms);

    if (hg_value_status(value) != HG_STATUS_VALUE || expires_ms <= now_ms ||
        hg_value_more(value).uncacheable || !is_settled(group, load->run_ms) ||
        hg_value_data_len(value) > group->groups->config.value_max ||
        !hg_bytes_eq(hg_value_key(value), load->flight.key))
        return false;
    value = hg_value_with_windows(value, hg_config_of(group), false);
    if (value == NULL)
        return false;
    *out_landing = (struct hg_landing){
        .value = value,
        .is_stored = true,
        .tier = HG_TIER_MAIN,
        .created_ms = sent_ms > answer->age_ms ? sent_ms - answer->age_ms : 0,
        .expires_ms = expires_ms,
    };
    return true;
}

bool hg_load_peek(struct hg_load *load, struct hg_turn *turn)
{
    struct hg_group *group = load->group;
    struct hg_groups *groups = group->groups;
    const struct hg_source *source = groups->source;
    struct hg_shard *shard = hg_group_shard(group, load->flight.hash);
    const struct hg_view *view = load->view;
    size_t second;

    if (((turn->now_ms >= groups->config.peek_until_ms || !has_credit(group)) && !load->takes_over) ||
        groups->config.peek_until_ms == 0 || load->has_peeked || load->is_fallback ||
        load->reason != HG_LOAD_MISS || load->old != NULL || view == NULL || view->self < 0 ||
        !hg_view_is_mine(view, load->flight.key) || !is_settled(group, turn->now_ms) ||
        hg_groups_is_behind(groups) ||
        !hg_view_second(view, load->flight.key, (size_t)view->self, &second) ||
        (source->is_up != NULL && !source->is_up(source->ctx, view, second)))
        return false;
    uint64_t peek_until_ms = hg_time_add(turn->now_ms, PEEK_MS);
    hg_shard_lock(shard);
    load->has_peeked = load->is_peek = true;
    load->member = second;
    load->run_ms = turn->now_ms;
    load->start_number = hg_groups_sequence(groups);
    load->whole_deadline_ms = load->deadline_ms;
    if (load->deadline_ms > peek_until_ms)
        load->deadline_ms = peek_until_ms;
    shard->counters.peeks++;
    hg_shard_unlock(shard);
    if (!load->takes_over)
        spend(group);
    if (source->ask(source->ctx, load) >= 0)
        return true;
    load->is_peek = false;
    load->deadline_ms = load->whole_deadline_ms;
    return false;
}

bool hg_load_end_unwanted(struct hg_load *load, struct hg_turn *turn)
{
    struct hg_shard *shard = hg_group_shard(load->group, load->flight.hash);

    if (!load->takes_over)
        return false;
    hg_shard_lock(shard);
    load->takes_over = false;
    hg_list_for_each_safe(it, &load->flight.waiters)
    {
        struct hg_waiter *waiter = hg_container_of(it, struct hg_waiter, link);
        if (!waiter->takes_over)
            continue;
        waiter->result.err = HG_ENOENT;
        hg_waiter_detach_locked(shard, waiter, load, turn);
    }
    bool is_unwanted = load->flight.waiter_count == 0;
    if (is_unwanted) {
        hg_flight_end(&shard->flights, &load->flight);
        atomic_fetch_sub(&load->group->groups->flight_count, 1);
    }
    hg_shard_unlock(shard);
    if (is_unwanted)
        hg_load_destroy(load);
    return is_unwanted;
}

void hg_load_peeked(struct hg_load *load, const struct hg_ask_answer *answer, struct hg_turn *turn)
{
    struct hg_shard *shard = hg_group_shard(load->group, load->flight.hash);
    struct hg_landing landing;

    load->is_peek = false;
    load->deadline_ms = load->whole_deadline_ms;
    if (answer != NULL && hg_handover_plan(load, answer, turn->now_ms, &landing)) {
        hg_shard_lock(shard);
        shard->counters.peek_hits++;
        hg_shard_unlock(shard);
        earn(load->group);
        hg_load_land(load, &landing, turn);
        return;
    }
    if (answer != NULL)
        hg_value_unref(answer->result);
    hg_load_start(load, turn);
}

/* ---- what a leaver tells of ---- */

#define STEPS(max) (4 * (max) + 4096)

struct hottest {
    const struct hg_group *group;
    uint64_t now_ms;
    size_t left;  /* how many more */
    size_t steps; /* how many entries more are looked at, so that nobody waits for the lock for long */
    hg_hottest_fn each;
    void *ctx;
};

/* Of our own keys, what is fresh for long enough to be fetched. */
static void tell_locked(struct hottest *hottest, struct hg_value *value)
{
    uint64_t lease_ms = hottest->group->groups->config.lease_ms;
    if (value->tier != HG_TIER_MAIN || hg_value_status(value) != HG_STATUS_VALUE ||
        hg_value_expires_ms(value) <= hg_time_add(hottest->now_ms, lease_ms))
        return;
    hottest->left--;
    hottest->each(hottest->ctx, hg_value_key(value));
}

/* The next behind `value` (NULL: the first), by the policy's one list, newest first, or else by the table. */
static struct hg_value *next_locked(struct hg_shard *shard, struct hg_value *value, size_t *row,
                                    size_t *n)
{
    const struct hg_table *table = &shard->store.table;

    if (shard->store.policy->ops->is_one_list)
        return value == NULL ? hg_store_order(&shard->store, HG_TIER_MAIN)->first
                             : hg_order_next(value);
    for (; *row < hg_table_row_count(table); (*row)++, *n = 0) {
        value = hg_table_nth(table, *row, *n);
        if (value != NULL) {
            (*n)++;
            return value;
        }
    }
    return NULL;
}

/* Where the policy counts uses those that were hit, then the others. */
static void walk_locked(struct hg_shard *shard, struct hottest *hottest)
{
    bool counts_uses = shard->store.policy->ops->uses_max > 0;

    for (int was_hit = counts_uses; was_hit >= 0; was_hit--) {
        struct hg_value *value = NULL;
        size_t row = 0, n = 0;
        while (hottest->left > 0 && hottest->steps > 0 &&
               (value = next_locked(shard, value, &row, &n)) != NULL) {
            hottest->steps--;
            if (!counts_uses || (value->uses > 0) == was_hit)
                tell_locked(hottest, value);
        }
    }
}

size_t hg_group_hottest(struct hg_group *group, unsigned shard_index, size_t max, uint64_t now_ms,
                        hg_hottest_fn each, void *ctx)
{
    struct hottest hottest = {group, now_ms, max, STEPS(max), each, ctx};
    struct hg_shard *shard = &group->shards[shard_index];

    if (hg_groups_is_behind(group->groups) || !is_settled(group, now_ms))
        return 0;
    hg_shard_lock(shard);
    walk_locked(shard, &hottest);
    hg_shard_unlock(shard);
    return max - hottest.left;
}

bool hg_group_is_settled(struct hg_group *group, uint64_t now_ms)
{
    return is_settled(group, now_ms);
}

unsigned hg_group_shard_count(const struct hg_group *group)
{
    return group->shard_count;
}
