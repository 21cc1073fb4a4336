/* One seed: faults for a while, then all heals; it must become quiet, prove itself, and leave nothing behind. */
#include "world.h"

#include <stdlib.h>

#define ARENA_BYTES ((size_t)64 << 20)

static void run_until(struct world *world, uint64_t at)
{
    while (world->count > 0 && world->heap[0].at <= at)
        world_step(world);
    if (world->now < at)
        world->now = at;
}

static void run_until_quiet(struct world *world)
{
    uint64_t latest = world->now + QUIET_MS;
    while (!world_is_quiet(world) && world->count > 0 && world->heap[0].at <= latest)
        world_step(world);
    check_quiet(world);
}

void world_run(uint64_t seed, unsigned nodes_max, bool is_traced, struct report *report)
{
    static struct world *world;
    static char *arena;

    if (world == NULL) {
        world = malloc(sizeof(*world));
        arena = malloc(ARENA_BYTES);
    }
    if (world == NULL || arena == NULL)
        abort();
    memset(world, 0, sizeof(*world));
    memset(report, 0, sizeof(*report));
    report->seed = seed;
    world->seed = world->random = world->hash = seed;
    world->arena = arena;
    world->report = report;
    world->is_traced = is_traced;
    world->live_bytes = hg_alloc_live_bytes();
    world->live_count = hg_alloc_live_count();
    hg_list_init(&world->clients);
    hg_list_init(&world->jobs);
    world->now = 1;
    uint64_t hash_seed = next_u64(world);
    hg_hash_seed(hash_seed, next_u64(world));
    options_draw(world, nodes_max);
    report->options = world->options;
    if (is_traced)
        options_print(stdout, &world->options);

    check_ring(world);
    world->members = (1u << world->options.nodes) - 1;
    for (unsigned i = 0; i < world->options.nodes; i++)
        node_init(world, i);
    for (unsigned i = 0; i < world->options.nodes; i++)
        node_start(&world->nodes[i]);
    clients_start(world);
    changes_start(world);
    cluster_faults(world);
    run_until(world, world->options.duration_ms);

    cluster_heal(world);
    run_until_quiet(world);
    run_until(world,
              world->now +
                  1000); /* breakers close again, and what was under way when it healed comes in */
    run_until_quiet(world);
    world->is_proving = true;
    clients_proof(world);
    run_until_quiet(world);

    world->is_closing = true;
    while (world_step(world))
        ;
    check_quiet(world);
    for (unsigned i = 0; i < world->options.nodes; i++)
        node_stop(&world->nodes[i]);
    must(world, "I8",
         hg_alloc_live_bytes() == world->live_bytes && hg_alloc_live_count() == world->live_count,
         "%zu blocks with %zu bytes are left", hg_alloc_live_count() - world->live_count,
         hg_alloc_live_bytes() - world->live_bytes);
    report->hash = world->hash;
    free(world->heap);
    world->heap = NULL;
}
