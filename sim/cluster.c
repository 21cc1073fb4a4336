/* Nodes: start, crash, pause, leave; their clocks and views. */
#include "world.h"

#include <assert.h>

#define TICKS_A_TIMEOUT 8

uint64_t node_now(const struct node *node)
{
    uint64_t now = node->world->now;
    return node->clock_start + now / 1000000 * node->ppm + now % 1000000 * node->ppm / 1000000;
}

uint64_t node_wait(const struct node *node, uint64_t clock_ms)
{
    if (clock_ms > 1000000000)
        clock_ms = 1000000000;
    return node->ppm == 1000000 ? clock_ms : clock_ms * 1000000 / node->ppm + 2;
}

bool node_is_paused(const struct node *node)
{
    return node->paused_until > node->world->now;
}

struct hg_loop *node_any_loop(struct node *node)
{
    return &node->loops[below(node->world, node->world->options.loops)];
}

/* ---- mailboxes ---- */

static void loop_deliver(struct hg_loop *loop)
{
    struct hg_list *link;
    while ((link = hg_list_pop_front(&loop->mail)) != NULL)
        hg_waiter_deliver(hg_container_of(link, struct hg_waiter, link));
}

static void loop_turns(struct world *world, void *arg)
{
    struct hg_loop *loop = arg;
    (void)world;
    loop->is_posted = false;
    loop_deliver(loop);
}

static void source_wake(void *ctx, struct hg_loop *loop, struct hg_list *waiters)
{
    struct node *node = ctx;
    struct world *world = node->world;
    uint64_t delay = chance(world, 700) ? below(world, 2) : below(world, 8);

    must(world, "I2", !hg_list_is_empty(waiters), "a loop is woken for nobody");
    must(world, "I2", loop != NULL && loop->node == node, "a waiter of another node is mailed");
    hg_list_splice_back(&loop->mail, waiters);
    if (loop->is_posted || !node->is_alive)
        return;
    loop->is_posted = true;
    if (delay > world->lag_mail)
        world->lag_mail = delay;
    after(world, delay, node, loop_turns, loop);
}

static void source_evicted(void *ctx, struct hg_group *group, struct hg_value *value, int reason)
{
    struct node *node = ctx;
    (void)group;
    must(node->world, "I14", value != NULL && reason >= 0, "an eviction without a value");
    node->evicted++;
}

static void source_hot(void *ctx, struct hg_group *group, struct hg_value *value, uint64_t minute)
{
    struct node *node = ctx;
    (void)group;
    must(node->world, "I14",
         value->stored &&
             minute >= (node->world->options.hot_minute == 0 ? HG_HOT_MINUTE
                                                             : node->world->options.hot_minute),
         "node %s tells of a key that is not hot", node->name);
    node->told_hot++;
}

static uint64_t source_random(void *ctx)
{
    return next_u64(((struct node *)ctx)->world);
}

/* ---- views ---- */

static void *make_peer(void *ctx, struct hg_bytes name, char *error, size_t error_size)
{
    struct node *node = ctx;
    (void)error;
    (void)error_size;
    return &node->peers[name.data[name.len - 1] - 'a'];
}

void node_view(struct node *node, unsigned mask)
{
    static const struct hg_ring_preset custom = {"custom", HG_RING_XXH64, 16};
    struct world *world = node->world;
    struct hg_bytes members[NODES_MAX];
    struct hg_view *view;
    char error[128];
    size_t count = 0;

    if (node->view_count == HG_COUNT(node->views) - (world->is_healed ? 0u : 2u))
        return;
    for (unsigned i = 0; i < world->options.nodes; i++) {
        if (!(mask & 1u << i))
            continue;
        members[count++] = hg_bytes_str(world->nodes[i].name);
        size_t other = (size_t)below(world, count);
        struct hg_bytes swap = members[count - 1];
        members[count - 1] = members[other];
        members[other] = swap;
    }
    const struct hg_ring_preset *preset =
        world->seed % 4 == 0 ? hg_ring_preset_find(HG_BYTES("groupcache")) : &custom;
    int err = hg_view_create(preset, members, count, hg_bytes_str(node->name), make_peer, node,
                             &view, error, sizeof(error));
    world->views_differ_at = world->now;
    trace(world, (int)node->index, "view", mask, (uint64_t)(int64_t)err);
    if (err < 0)
        return; /* the last good one is kept */
    node->views[node->view_count++] = view;
    node->view_mask = mask;
    hg_groups_set_view(node->groups, view);
}

bool views_agree(const struct world *world)
{
    for (unsigned i = 0; i < world->options.nodes; i++) {
        const struct node *node = &world->nodes[i];
        if (!node->is_alive || node->view_mask != (1u << world->options.nodes) - 1)
            return false;
    }
    return true;
}

int cluster_owner(const struct world *world, unsigned key)
{
    if (!views_agree(world) || world->options.nodes == 1)
        return -1;
    const struct hg_view *view = hg_groups_view(world->nodes[0].groups);
    size_t owner = hg_ring_owner(view->ring, key_name(key));
    return hg_ring_member(view->ring, owner).data[5] - 'a';
}

/* ---- life ---- */

void node_init(struct world *world, unsigned index)
{
    struct node *node = &world->nodes[index];
    *node = (struct node){.world = world, .index = index};
    snprintf(node->name, sizeof(node->name), "node-%c", (char)('a' + index));
    node->source = (struct hg_source){
        .ctx = node,
        .load = source_load,
        .ask = source_ask,
        .is_up = source_is_up,
        .wake = source_wake,
        .evicted = source_evicted,
        .hot = source_hot,
        .random = source_random,
    };
    hg_list_init(&node->loops[0].mail);
    for (unsigned i = 0; i < LOOPS_MAX; i++) {
        node->loops[i] = (struct hg_loop){.node = node, .index = i};
        hg_list_init(&node->loops[i].mail);
    }
    for (unsigned i = 0; i < NODES_MAX; i++) {
        node->peers[i].from = node;
        node->peers[i].to = i;
        hg_list_init(&node->peers[i].waiting);
        hg_list_init(&node->peers[i].calls);
        hg_list_init(&node->peers[i].bundles);
    }
}

static void set_clock(struct node *node)
{
    struct world *world = node->world;
    static const uint64_t starts[] = {100000, 100000, 100000,     5000000,
                                      0,      100000, 1ull << 36, (1ull << 32) - 3000};

    node->clock_start =
        starts[world->options.clock_high] + below(world, 1000) * (world->options.clock_high != 4);
    node->ppm = 1000000;
    if (world->options.drift_ppm > 0)
        node->ppm += below(world, 2 * world->options.drift_ppm) - world->options.drift_ppm;
}

void node_start(struct node *node)
{
    static const char *const names[GROUPS] = {"g", "h h"};
    struct world *world = node->world;
    const struct options *o = &world->options;
    struct hg_groups_config limits = {
        .key_max = 100,
        .value_max = (size_t)o->value_max,
        .flights_max = (size_t)o->flights_max,
        .waiters_max = (size_t)o->waiters_max,
        .lease_ms = o->lease_ms,
        .hot_minute = o->hot_minute,
        .peek_until_ms = o->new_ms == 0 ? 0 : node_now(node) + o->new_ms,
        .shards = (unsigned)o->shards,
    };
    struct hg_guard_config guard = {
        .concurrency = (unsigned)o->guard_concurrency,
        .queue = (unsigned)o->guard_queue,
        .breaker_failures = (unsigned)o->breaker,
        .breaker_cooldown_ms = 200,
    };
    struct hg_group_config config = {
        .capacity_bytes = (size_t)o->capacity,
        .hot = (double)o->hot / 100,
        .ttl_ms = o->ttl_ms,
        .ttl_jitter = (double)o->jitter / 100,
        .negative_ttl_ms = o->negative_ttl_ms,
        .error_ttl_ms = o->error_ttl_ms,
        .error_ttl_max_ms = o->error_ttl_max_ms,
        .stale_while_revalidate_ms = o->swr_ms,
        .stale_if_error_ms = o->sie_ms,
        .early_refresh = (double)o->early,
        .deadline_ms = o->deadline_ms,
        .stale_on_timeout = o->stale_on_timeout != 0,
        .expose_errors = true,
        .guard = o->guard != 0 ? &node->guard : NULL,
        .batch_max = (unsigned)o->batch,
        .policy = hg_policy_at((size_t)o->policy)->name,
    };

    hg_alloc_fail_clear(); /* starting may give up; that is not looked into here */
    node->epoch++;
    node->is_alive = true;
    node->is_draining = false;
    node->paused_until = 0;
    set_clock(node);
    hg_guard_init(&node->guard, &guard);
    for (unsigned i = 0; i < world->options.nodes; i++) {
        hg_health_init(&node->peers[i].health, o->health_ms, node_now(node));
        node->peers[i].many_again_at = 0;
    }
    if (hg_groups_create(&limits, &node->source, &node->groups) != HG_OK)
        world_fail(world, "sim", "groups");
    for (unsigned g = 0; g < GROUPS; g++) {
        config.name = names[g];
        if (hg_groups_add(node->groups, &config, &node->group[g]) != HG_OK)
            world_fail(world, "sim", "group");
        node->gets_counted[g] = node->loads_counted[g] = node->asks_counted[g] = 0;
    }
    if (o->nodes > 1)
        node_view(node, world->members | 1u << node->index);
    else
        node->view_mask = 1;
    after(world, o->health_ms / TICKS_A_TIMEOUT, node, node_ticks, node);
    contact_start(node);
    trace(world, (int)node->index, "start", node_now(node), 0);
}

void node_stop(struct node *node)
{
    struct world *world = node->world;

    must(world, "I8", hg_groups_flight_count(node->groups) == 0, "node %s: %zu flights left",
         node->name, hg_groups_flight_count(node->groups));
    must(world, "I8", node->guard.running == 0 && node->guard.queued == 0,
         "node %s: guard has %u running, %u queued", node->name, node->guard.running,
         node->guard.queued);
    must(world, "I8", node->calls == 0, "node %s: %u asks left", node->name, node->calls);
    calls_end(node); /* messages whose end has not come */
    for (unsigned i = 0; i < LOOPS_MAX; i++)
        must(world, "I8", hg_list_is_empty(&node->loops[i].mail), "node %s: mail left", node->name);
    check_node(node);
    hg_contact_destroy(node->contact);
    hg_changes_destroy(node->changes);
    node->contact = NULL;
    node->changes = NULL;
    hg_groups_destroy(node->groups);
    hg_guard_finish(&node->guard);
    for (unsigned i = 0; i < node->view_count; i++)
        hg_view_destroy(node->views[i]);
    node->groups = NULL;
    node->view_count = 0;
    node->view_mask = 0;
    node->is_alive = false;
    node->epoch++;
    world->views_differ_at = world->now;
    trace(world, (int)node->index, "stop", 0, 0);
}

/* Its clients get nothing any more; its own memory is given back the way a closing node does it. */
void node_crash(struct node *node)
{
    struct world *world = node->world;

    hg_alloc_fail_clear();
    trace(world, (int)node->index, "crash", hg_groups_flight_count(node->groups), 0);
    node->is_alive = false;
    node->epoch++;
    node->paused_until = 0;
    for (unsigned round = 0; round < 1000; round++) {
        hg_list_for_each_safe(it, &world->jobs) job_kill((struct job *)(void *)it);
        calls_end(node);
        for (unsigned i = 0; i < LOOPS_MAX; i++) {
            loop_deliver(&node->loops[i]);
            node->loops[i].is_posted = false;
        }
        if (hg_groups_flight_count(node->groups) == 0)
            break;
    }
    hg_list_for_each_safe(it, &world->clients)
    {
        struct client *client = hg_container_of(it, struct client, link);
        must(world, "I2", client->node != node, "client %llu was forgotten by a node that closed",
             (unsigned long long)client->number);
    }
    node_stop(node);
}

void node_ticks(struct world *world, void *arg)
{
    struct node *node = arg;

    if (world->is_closing)
        return;
    peers_tick(node);
    if (chance(world, 300))
        for (unsigned g = 0; g < GROUPS; g++)
            hg_group_expire_step(node->group[g], node_now(node), 1 + (size_t)below(world, 20));
    after(world, world->options.health_ms / TICKS_A_TIMEOUT, node, node_ticks, node);
}

/* ---- faults ---- */

static struct node *any_node(struct world *world)
{
    return &world->nodes[below(world, world->options.nodes)];
}

static void restart(struct world *world, void *arg)
{
    struct node *node = arg;
    if (!node->is_alive && !world->is_closing)
        node_start(node);
}

static void crashes(struct world *world, void *arg)
{
    struct node *node = any_node(world);
    (void)arg;
    if (world->is_healed)
        return;
    if (node->is_alive) {
        node_crash(node);
        after(world, 1 + below(world, 1500), NULL, restart, node);
    }
    after(world, 1 + below(world, 2 * world->options.crash_each_ms), NULL, crashes, NULL);
}

static void pauses(struct world *world, void *arg)
{
    struct node *node = any_node(world);
    uint64_t for_ms = chance(world, 800) ? 1 + below(world, 300) : 1 + below(world, 3000);
    (void)arg;
    if (world->is_healed)
        return;
    if (node->is_alive && !node_is_paused(node)) {
        node->paused_until = world->now + for_ms;
        world->lag_pause += for_ms; /* one may follow upon another */
        trace(world, (int)node->index, "pause", for_ms, 0);
    }
    after(world, 1 + below(world, 2 * world->options.pause_each_ms), NULL, pauses, NULL);
}

static void cuts(struct world *world, void *arg)
{
    unsigned from = (unsigned)below(world, world->options.nodes);
    unsigned to = (unsigned)below(world, world->options.nodes);
    bool is_cut = chance(world, 500), is_both = chance(world, 500);
    (void)arg;
    if (world->is_healed)
        return;
    world->is_cut[from][to] = is_cut;
    if (is_both)
        world->is_cut[to][from] = is_cut;
    trace(world, (int)from, "cut", to, is_cut);
    after(world, 1 + below(world, 2 * world->options.partition_each_ms), NULL, cuts, NULL);
}

struct proposal {
    struct node *node;
    unsigned mask;
};

static void proposed(struct world *world, void *arg)
{
    struct proposal *proposal = arg;
    if (!world->is_healed && proposal->node->is_alive)
        node_view(proposal->node, proposal->mask);
}

/* Everybody hears of it, later and later, in any order. */
static void propose(struct world *world, unsigned mask)
{
    for (unsigned i = 0; i < world->options.nodes; i++) {
        struct proposal *proposal = arena_get(world, sizeof(*proposal));
        *proposal = (struct proposal){&world->nodes[i], mask};
        after(world, below(world, 400), &world->nodes[i], proposed, proposal);
    }
}

static void views(struct world *world, void *arg)
{
    unsigned all = (1u << world->options.nodes) - 1;
    unsigned mask = chance(world, 500) ? all : (unsigned)below(world, all + 1);
    (void)arg;
    if (world->is_healed)
        return;
    struct proposal proposal = {any_node(world), mask};
    if (chance(world, 500))
        propose(world, mask);
    else
        proposed(world, &proposal);
    after(world, 1 + below(world, 2 * world->options.view_each_ms), NULL, views, NULL);
}

/* Out of the ring first, then no new work, then away when all it accepted is answered (I13). */
static void drained(struct world *world, void *arg)
{
    struct node *node = arg;

    if (!node->is_alive || !node->is_draining)
        return;
    bool is_idle = hg_groups_flight_count(node->groups) == 0;
    hg_list_for_each(it, &world->clients) is_idle &=
        hg_container_of(it, struct client, link)->node != node;
    is_idle &= node->calls == 0;
    if (!is_idle) {
        after(world, 50, node, drained, node);
        return;
    }
    trace(world, (int)node->index, "drained", 0, 0);
    node_stop(node);
    after(world, 1 + below(world, 500), NULL, restart, node);
}

static void leaves(struct world *world, void *arg)
{
    struct node *node = any_node(world);
    (void)arg;
    if (world->is_healed)
        return;
    if (node->is_alive && !node->is_draining && world->options.nodes > 1) {
        node->is_draining = true;
        trace(world, (int)node->index, "leaves", 0, 0);
        propose(world, world->members & ~(1u << node->index));
        after(world, 100 + below(world, 400), node, drained, node);
    }
    after(world, 1 + below(world, 2 * world->options.leave_each_ms), NULL, leaves, NULL);
}

void cluster_faults(struct world *world)
{
    const struct options *o = &world->options;
    const struct {
        uint64_t each_ms;
        event_fn happen;
    } faults[] = {
        {o->crash_each_ms, crashes},  {o->pause_each_ms, pauses},
        {o->partition_each_ms, cuts}, {o->nodes > 1 ? o->view_each_ms : 0, views},
        {o->leave_each_ms, leaves},
    };
    for (size_t i = 0; i < HG_COUNT(faults); i++)
        if (faults[i].each_ms > 0)
            after(world, below(world, 2 * faults[i].each_ms), NULL, faults[i].happen, NULL);
}

void cluster_heal(struct world *world)
{
    trace(world, -1, "heal", 0, 0);
    world->is_healed = true;
    memset(world->is_cut, 0, sizeof(world->is_cut));
    for (unsigned i = 0; i < world->options.nodes; i++) {
        struct node *node = &world->nodes[i];
        node->is_draining = false;
        if (!node->is_alive)
            node_start(node);
        else if (world->options.nodes > 1 && node->view_mask != world->members)
            node_view(node, world->members);
    }
}
