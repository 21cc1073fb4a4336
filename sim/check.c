/* Invariants. The numbers are those of sim/README.md; a check that cannot fail is worth nothing (hgsim --bugs). */
#include "world.h"

#define TICK_MS  2 /* of rounding between two clocks */
#define CHECK_AT 64

/* ---- every answer ---- */

/* A span of a node's clock in true milliseconds, at most. */
static uint64_t at_most(const struct world *world, uint64_t clock_ms)
{
    return clock_ms + clock_ms * 2 * world->options.drift_ppm / 1000000 + TICK_MS;
}

/* An answer by way of the owner is mailed twice: there, and here. */
static uint64_t lags(const struct world *world)
{
    return world->lag_read + world->lag_net + 2 * world->lag_mail + world->lag_pause + TICK_MS;
}

/* When it ceased to be so; NEVER: it is. */
static uint64_t version_end(const struct world *world, unsigned key, uint64_t version)
{
    const struct key *it = &world->keys[key];
    return version == it->version ? NEVER : it->since[version + 1];
}

static void check_value(struct client *client, const struct hg_result *result, bool is_at_once)
{
    struct world *world = client->node->world;
    struct sample sample = value_read(world, result->value, client->key);
    uint64_t life_ms = sample.ttl_ms, end = version_end(world, client->key, sample.version);

    must(world, "I10", !sample.is_oversized, "key %u: a value over the limit was answered",
         client->key);
    must(world, "I11", sample.version >= client->floor,
         "key %u at node %s: version %llu, but %llu was acknowledged before the get", client->key,
         client->node->name, (unsigned long long)sample.version, (unsigned long long)client->floor);
    if (life_ms == HG_FOREVER)
        return;
    if (life_ms < world->options.ttl_ms)
        life_ms = world->options.ttl_ms; /* hg.keep may give it */
    bool is_hot = is_at_once && result->how == HG_HOW_HOT;
    uint64_t bound = at_most(world, life_ms + (is_hot ? 0 : sample.window_ms)) + lags(world);
    must(world, is_hot ? "I3 hot" : "I3", end >= world->now || world->now - end <= bound,
         "key %u at node %s: version %llu ended %llu ms ago, at most %llu are allowed (how %d)",
         client->key, client->node->name, (unsigned long long)sample.version,
         (unsigned long long)(world->now - end), (unsigned long long)bound, (int)result->how);
}

static uint64_t error_ttl_max(const struct world *world)
{
    const struct options *o = &world->options;
    return o->error_ttl_max_ms > o->error_ttl_ms ? o->error_ttl_max_ms : o->error_ttl_ms;
}

/* That there was nothing must have been true within negative_ttl, and after the last acknowledged change. */
static void check_not_found(struct client *client, const struct hg_result *result)
{
    struct world *world = client->node->world;
    uint64_t bound = at_most(world, world->options.negative_ttl_ms) + lags(world);
    uint64_t version = world->keys[client->key].version;

    (void)result;
    for (;; version--) {
        uint64_t end = version_end(world, client->key, version);
        must(world, "I10", end >= world->now || world->now - end <= bound,
             "key %u at node %s is said not to exist, which is not so since more than %llu ms",
             client->key, client->node->name, (unsigned long long)bound);
        if (key_is_absent(world, client->key, version))
            return;
        must(world, "I11", version > client->floor_absent,
             "key %u at node %s is said not to exist, which was so before version %llu only",
             client->key, client->node->name, (unsigned long long)client->floor_absent);
    }
}

static void check_hit(struct client *client, const struct hg_result *result)
{
    struct world *world = client->node->world;
    uint64_t now_ms = node_now(client->node);

    if (result->how == HG_HOW_STALE) {
        struct sample sample = value_read(world, result->value, client->key);
        must(world, "I3", now_ms < hg_time_add(result->expires_ms, sample.window_ms),
             "key %u: stale since %llu, a window of %llu, answered at %llu", client->key,
             (unsigned long long)result->expires_ms, (unsigned long long)sample.window_ms,
             (unsigned long long)now_ms);
    } else {
        must(world, "I3", now_ms < result->expires_ms, "key %u: expired at %llu, answered at %llu",
             client->key, (unsigned long long)result->expires_ms, (unsigned long long)now_ms);
    }
    if (result->how == HG_HOW_HOT && result->value->slot != 0) {
        uint64_t sent_ms = hg_value_expires_ms(result->value) - result->value->slot;
        uint64_t contact_ms = atomic_load(&client->node->groups->contact_ms);
        must(world, "I3 hot",
             now_ms - sent_ms < world->options.lease_ms ||
                 (contact_ms != 0 && now_ms - contact_ms < world->options.lease_ms),
             "key %u at node %s: a copy of %llu ms, and no contact since %llu ms", client->key,
             client->node->name, (unsigned long long)(now_ms - sent_ms),
             (unsigned long long)(now_ms - contact_ms));
    }
    if (result->how != HG_HOW_ERROR)
        return;
    uint64_t bound = at_most(world, error_ttl_max(world)) + lags(world);
    must(world, "I10", world->now - world->keys[client->key].last_error <= bound,
         "key %u: an error is remembered for more than %llu ms", client->key,
         (unsigned long long)bound);
}

void check_answer(struct client *client, const struct hg_result *result, bool is_at_once)
{
    struct world *world = client->node->world;
    uint64_t late_ms = TICK_MS + at_most(world, world->lag_mail + world->lag_pause);

    must(world, "I2", is_at_once || node_now(client->node) <= client->deadline_ms + late_ms,
         "client %llu was answered %llu ms after its deadline", (unsigned long long)client->number,
         (unsigned long long)(node_now(client->node) - client->deadline_ms));
    if (result->value == NULL) {
        must(world, "I2", result->err != HG_OK, "client %llu got nothing",
             (unsigned long long)client->number);
    } else {
        if (is_at_once)
            check_hit(client, result);
        if (hg_value_status(result->value) == HG_STATUS_VALUE)
            check_value(client, result, is_at_once);
        else if (hg_value_status(result->value) == HG_STATUS_NOT_FOUND)
            check_not_found(client, result);
    }
    if (client->kind == CLIENT_PROOF)
        must(world, "I8", result->err == HG_OK || result->err == HG_ELIMIT,
             "after all has healed node %s answers %s", client->node->name,
             hg_err_name(result->err));
}

/* ---- loads and asks ---- */

void check_load_start(struct node *node, struct hg_load *load, unsigned key)
{
    struct world *world = node->world;
    bool is_strict = world->is_calm || (world->is_proving && key == KEYS_MAX - 1);

    must(world, "I1", node->running[key] == 0, "node %s loads key %u twice at a time", node->name,
         key);
    must(world, "I1", !is_strict || !load->is_fallback,
         "node %s falls back for key %u without a fault", node->name, key);
    for (unsigned i = 0; is_strict && i < world->options.nodes; i++)
        must(world, "I1", world->nodes[i].running[key] == 0, "nodes %s and %s both load key %u",
             node->name, world->nodes[i].name, key);
    must(world, "I6", load->depth <= HG_DEPTH_MAX, "a load of depth %u", load->depth);
}

static void check_remote(struct node *node, const struct hg_load *load)
{
    hg_list_for_each(it, &load->flight.waiters)
        must(node->world, "I6", !hg_container_of(it, struct hg_waiter, link)->from_peer,
             "node %s: a peer's request waits for another peer", node->name);
}

/* A peek waits for nobody's load. */
void check_ask_start(struct node *node, struct hg_load *load)
{
    if (!load->is_peek)
        check_remote(node, load);
}

/* ---- a node ---- */

struct sums {
    size_t bytes, tier_bytes[HG_TIER_COUNT], entries, flights, waiters;
};

static void check_entry(struct node *node, unsigned g, const struct hg_value *value)
{
    struct world *world = node->world;
    const struct options *o = &world->options;
    uint64_t now_ms = node_now(node), left_ms = hg_value_expires_ms(value) > now_ms
                                                    ? hg_value_expires_ms(value) - now_ms
                                                    : 0;
    unsigned key;

    if (!key_find(node, node->group[g], hg_value_key(value), &key))
        world_fail(world, "I9", "node %s stores a key that nobody asked for", node->name);
    must(world, "I14", value->tier < HG_TIER_COUNT && value->stored,
         "key %u is stored and does not know it", key);
    switch (hg_value_status(value)) {
    case HG_STATUS_ERROR:
        must(world, "I10", left_ms <= error_ttl_max(world),
             "node %s keeps an error of key %u for %llu ms more", node->name, key,
             (unsigned long long)left_ms);
        break;
    case HG_STATUS_NOT_FOUND:
        must(world, "I10", left_ms <= o->negative_ttl_ms,
             "node %s keeps not-found of key %u for %llu ms more", node->name, key,
             (unsigned long long)left_ms);
        break;
    case HG_STATUS_VALUE: {
        struct sample sample = value_read(world, value, key);
        uint64_t most_ms = sample.ttl_ms > o->ttl_ms ? sample.ttl_ms : o->ttl_ms;
        must(world, "I10", !sample.is_oversized, "node %s stores an oversized value", node->name);
        must(world, "I3", left_ms <= most_ms, "node %s keeps key %u longer than it lives",
             node->name, key);
        if (value->tier != HG_TIER_HOT)
            break;
        uint64_t copy_ms = o->lease_ms * HG_HOT_LEASES;
        if (copy_ms < HG_FALLBACK_MS_MAX)
            copy_ms = HG_FALLBACK_MS_MAX;
        must(world, "I3", left_ms <= copy_ms, "node %s keeps a copy of key %u for %llu ms",
             node->name, key, (unsigned long long)left_ms);
        struct hg_value_more more = hg_value_more(value);
        must(world, "I3", more.stale_while_revalidate_ms == 0 && more.stale_if_error_ms == 0,
             "node %s: a copy of key %u has a stale window", node->name, key);
        break;
    }
    default:
        world_fail(world, "I9", "node %s stores an entry of status %u", node->name,
                   hg_value_status(value));
    }
}

static void check_table(struct node *node, unsigned g, const struct hg_store *store,
                        struct sums *sums)
{
    for (size_t row = 0; row < hg_table_row_count(&store->table); row++) {
        const struct hg_value *value;
        for (size_t n = 0; (value = hg_table_nth(&store->table, row, n)) != NULL; n++) {
            size_t cost_bytes = hg_store_entry_cost(store, value);
            sums->tier_bytes[hg_value_tier(value)] += cost_bytes;
            sums->bytes += cost_bytes;
            sums->entries++;
            check_entry(node, g, value);
        }
    }
}

static void check_shard(struct node *node, unsigned g, struct hg_shard *shard, struct sums *sums)
{
    struct world *world = node->world;

    must(world, "I14", hg_store_validate(&shard->store), "node %s: the store is out of order",
         node->name);
    must(world, "I14", hg_flights_validate(&shard->flights),
         "node %s: the flights are out of order", node->name);
    check_table(node, g, &shard->store, sums);
    for (size_t i = 0; i <= shard->flights.mask; i++)
        for (struct hg_flight *flight = shard->flights.table[i]; flight != NULL;
             flight = flight->chain) {
            sums->flights++;
            if (flight->kind == HG_FLIGHT_REMOTE)
                check_remote(node, hg_load_of(flight));
        }
    sums->waiters += shard->waiter_count;
}

static void check_counters(struct node *node, unsigned g, const struct hg_group_stats *stats)
{
    struct world *world = node->world;

    must(world, "I7",
         stats->gets == stats->hits + stats->hot_hits + stats->stale_hits + stats->negative_hits +
                            stats->error_hits + stats->misses,
         "node %s: gets are not the sum of hits and misses", node->name);
    must(world, "I7", stats->misses == stats->loads + stats->loads_deduped + stats->refused,
         "node %s: misses are not the sum of loads, joined and refused", node->name);
    must(world, "I7", stats->gets == node->gets_counted[g], "node %s counted %llu gets of %llu",
         node->name, (unsigned long long)stats->gets, (unsigned long long)node->gets_counted[g]);
    must(world, "I7", stats->local_loads == node->loads_counted[g],
         "node %s counted %llu loads of %llu", node->name, (unsigned long long)stats->local_loads,
         (unsigned long long)node->loads_counted[g]);
    must(world, "I7", stats->peer_loads + stats->peeks == node->asks_counted[g],
         "node %s counted %llu asks of %llu", node->name, (unsigned long long)stats->peer_loads,
         (unsigned long long)node->asks_counted[g]);
    must(world, "I7", stats->hot_refreshes <= stats->refreshes,
         "node %s renews more than it refreshes", node->name);
    must(world, "I7", !world->is_calm || stats->fallbacks == 0, "node %s fell back on a calm day",
         node->name);
}

/* Whether the getter of `from` waits, through others of this node, on that of `to`. */
static bool reaches(struct node *node, const struct hg_load *from, const struct hg_load *to,
                    unsigned depth)
{
    if (from == to || depth > 64)
        return true;
    hg_list_for_each(it, &from->nested)
    {
        const struct hg_load *next = hg_container_of(it, struct hg_waiter, edge)->load;
        if (next != NULL && reaches(node, next, to, depth + 1))
            return true;
    }
    return false;
}

static void check_waits(struct node *node, size_t waiters)
{
    struct world *world = node->world;
    size_t linked = 0;

    hg_list_for_each(it, &world->clients)
    {
        struct client *client = hg_container_of(it, struct client, link);
        if (client->node != node || client->waiter.state != HG_WAITER_LINKED)
            continue;
        linked++;
        const struct hg_load *target = client->waiter.load;
        must(world, "I2", target != NULL && target->flight.listed, "client %llu waits for nothing",
             (unsigned long long)client->number);
        if (client->waiter.parent != NULL)
            must(world, "I6", !reaches(node, target, client->waiter.parent, 0),
                 "node %s: getters wait in a circle", node->name);
    }
    must(world, "I4", linked == waiters, "node %s counts %zu waiters, %zu wait", node->name,
         waiters, linked);
}

struct job_head { /* see origin.c */
    struct hg_list link;
    struct node *node;
    struct hg_load *load;
};

void check_node(struct node *node)
{
    struct world *world = node->world;
    struct hg_group_stats stats;
    size_t flights = 0, waiters = 0, slots = 0, followers = 0;

    for (unsigned g = 0; g < GROUPS; g++) {
        struct hg_group *group = node->group[g];
        struct sums sums = {0};
        for (unsigned s = 0; s < group->shard_count; s++)
            check_shard(node, g, &group->shards[s], &sums);
        hg_group_stats(group, &stats);
        check_counters(node, g, &stats);
        must(world, "I4",
             stats.bytes == sums.bytes && atomic_load(&group->budget.used) == sums.bytes,
             "node %s: %zu bytes are accounted, %zu are there", node->name,
             atomic_load(&group->budget.used), sums.bytes);
        for (unsigned tier = 0; tier < HG_TIER_COUNT; tier++)
            must(world, "I4",
                 hg_budget_used(&group->budget, (enum hg_tier)tier) == sums.tier_bytes[tier],
                 "node %s: bytes of tier %u", node->name, tier);
        must(world, "I4",
             stats.entries == sums.entries && stats.flights == sums.flights &&
                 stats.waiters == sums.waiters,
             "node %s: entries, flights or waiters are miscounted", node->name);
        flights += sums.flights;
        waiters += sums.waiters;
    }
    hg_list_for_each(it, &world->jobs)
    {
        const struct job_head *job = (const struct job_head *)(const void *)it;
        slots += job->node == node && job->load->has_slot;
        followers += job->node == node ? job->load->follower_count : 0;
    }
    hg_list_for_each(it, &node->guard.queue) followers +=
        hg_container_of(it, struct hg_load, link)->follower_count;
    must(world, "I4", flights == hg_groups_flight_count(node->groups),
         "node %s counts %zu flights, %zu fly", node->name, hg_groups_flight_count(node->groups),
         flights);
    must(world, "I4", flights == node->jobs + node->calls + node->guard.queued + followers,
         "node %s: %zu flights, but %u getters, %u asks, %u queued and %zu with others", node->name,
         flights, node->jobs, node->calls, node->guard.queued, followers);
    must(world, "I4", slots == node->guard.running, "node %s: %zu slots are held, %u are counted",
         node->name, slots, node->guard.running);
    check_waits(node, waiters);
}

void check_all(struct world *world)
{
    world->checked_at = world->report->events;
    for (unsigned i = 0; i < world->options.nodes; i++)
        if (world->nodes[i].is_alive)
            check_node(&world->nodes[i]);
}

void check_cheap(struct world *world)
{
    for (unsigned i = 0; i < world->options.nodes; i++) {
        const struct node *node = &world->nodes[i];
        if (!node->is_alive)
            continue;
        must(world, "I4",
             node->guard.running <= node->guard.config.concurrency &&
                 node->guard.queued <= node->guard.config.queue,
             "node %s: %u getters run, %u queue", node->name, node->guard.running,
             node->guard.queued);
        must(world, "I4", hg_groups_flight_count(node->groups) <= world->options.flights_max,
             "node %s: too many flights", node->name);
        for (unsigned g = 0; g < GROUPS; g++) {
            const struct hg_budget *budget = &node->group[g]->budget;
            must(world, "I4",
                 atomic_load(&budget->used) <= budget->capacity &&
                     hg_budget_used(budget, HG_TIER_HOT) <= budget->hot_limit &&
                     hg_budget_used(budget, HG_TIER_NEGATIVE) <= budget->negative_limit,
                 "node %s: %zu bytes of %zu", node->name, atomic_load(&budget->used),
                 budget->capacity);
        }
    }
    if (world->report->events - world->checked_at >= CHECK_AT)
        check_all(world);
}

/* ---- the end, and the ring ---- */

bool world_is_quiet(const struct world *world)
{
    if (world->open_clients > 0 || world->open_jobs > 0 || world->open_calls > 0 ||
        world->open_changes > 0)
        return false;
    for (unsigned i = 0; i < world->options.nodes; i++) {
        if (node_is_paused(&world->nodes[i]) || hg_groups_flight_count(world->nodes[i].groups) > 0)
            return false;
        for (unsigned p = 0; p < world->options.nodes; p++)
            if (p != i && !world->nodes[i].peers[p].health.is_up)
                return false;
    }
    return true;
}

void check_quiet(struct world *world)
{
    must(world, "I8", world_is_quiet(world),
         "%d s after all has healed: %u clients, %u getters, %u asks, %u changes are open, or a "
         "peer is held for down",
         QUIET_MS / 1000, world->open_clients, world->open_jobs, world->open_calls,
         world->open_changes);
    for (unsigned i = 0; i < world->options.nodes; i++)
        must(world, "I8", world->nodes[i].guard.running == 0 && world->nodes[i].guard.queued == 0,
             "a guard's slot is lost");
    check_all(world);
}

void check_ring(struct world *world)
{
    static const struct hg_bytes names[] = {
        {"node-c", 6}, {"node-a", 6}, {"node-d", 6}, {"node-b", 6}};
    static const struct hg_bytes other[] = {{"node-a", 6}, {"node-b", 6}, {"node-c", 6}};
    const struct hg_ring_preset custom = {"custom", world->seed % 2 ? HG_RING_XXH64 : HG_RING_CRC32,
                                          12};
    struct hg_ring *rings[3] = {NULL, NULL, NULL};
    const struct hg_bytes three[] = {names[0], names[1], names[3]};

    if (hg_ring_create(&custom, three, 3, &rings[0]) < 0 ||
        hg_ring_create(&custom, other, 3, &rings[1]) < 0 ||
        hg_ring_create(&custom, names, 4, &rings[2]) < 0)
        world_fail(world, "sim", "ring");
    must(world, "I5", hg_ring_fingerprint(rings[0]) == hg_ring_fingerprint(rings[1]),
         "the order of the list matters");
    for (unsigned i = 0; i < 24; i++) {
        uint64_t word = next_u64(world);
        struct hg_bytes key = hg_bytes(&word, sizeof(word));
        struct hg_bytes a = hg_ring_member(rings[0], hg_ring_owner(rings[0], key));
        struct hg_bytes b = hg_ring_member(rings[1], hg_ring_owner(rings[1], key));
        struct hg_bytes c = hg_ring_member(rings[2], hg_ring_owner(rings[2], key));
        must(world, "I5", hg_bytes_eq(a, b), "a key's owner depends on the order of the list");
        must(world, "I5", hg_bytes_eq(a, c) || hg_bytes_eq(c, names[2]),
             "a key moved between two that stayed");
    }
    for (size_t i = 0; i < HG_COUNT(rings); i++)
        hg_ring_destroy(rings[i]);
}
