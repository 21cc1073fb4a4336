/* Swarm: each seed switches on a subset of what can go wrong, with strengths of its own. */
#include "world.h"

static uint64_t one_of(struct world *world, const uint64_t *values, size_t count)
{
    return values[below(world, count)];
}
#define ONE_OF(world, ...)                                                                         \
    one_of(world, (const uint64_t[]){__VA_ARGS__},                                                 \
           sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

/* 0, or something up to max. */
static uint64_t maybe(struct world *world, uint64_t permille, uint64_t max)
{
    bool is_on = chance(world, permille);
    uint64_t strength = 1 + below(world, max);
    return is_on ? strength : 0;
}

static uint64_t maybe_each(struct world *world, uint64_t permille, uint64_t least, uint64_t more)
{
    uint64_t each = maybe(world, permille, more);
    return each == 0 ? 0 : least + each;
}

static void draw_size(struct world *world, unsigned nodes_max)
{
    struct options *o = &world->options;

    o->nodes = nodes_max;
    if (chance(world, 150))
        o->nodes = 1 + below(world, nodes_max);
    o->loops = 1 + below(world, LOOPS_MAX);
    o->shards = ONE_OF(world, 1, 1, 2, 4, 8);
    o->keys = ONE_OF(world, 1, 2, 4, 8, 16, 40, KEYS_MAX - 1);
    o->duration_ms = ONE_OF(world, 500, 1500, 3000, 6000);
    o->gets_each_ms = o->duration_ms / ONE_OF(world, 50, 120, 250, 400) + 1;
    o->zipf = ONE_OF(world, 0, 0, 1, 1, 2);
    o->capacity = ONE_OF(world, 3000, 8000, 20000, 60000, 1 << 20);
    o->value_max = ONE_OF(world, 1000, 4000);
    o->flights_max = ONE_OF(world, 3, 10, 40, 1000, 1000, 1000);
    o->waiters_max = ONE_OF(world, 2, 10, 1000, 1000, 1000);
    o->policy = maybe(world, 500, 9);
    o->big_values = maybe(world, 400, 300);
}

static void draw_lives(struct world *world)
{
    struct options *o = &world->options;

    o->lease_ms = ONE_OF(world, 100, 300, 1000, 2000);
    o->hot = ONE_OF(world, 0, 12, 12, 50, 100);
    o->ttl_ms = ONE_OF(world, 0, 50, 300, 300, 1000, 1000, 5000, 60000);
    o->jitter = ONE_OF(world, 0, 0, 10, 50, 100);
    o->negative_ttl_ms = ONE_OF(world, 0, 20, 100, 1000);
    o->error_ttl_ms = ONE_OF(world, 0, 0, 20, 200);
    o->swr_ms = ONE_OF(world, 0, 0, 100, 1000);
    o->sie_ms = ONE_OF(world, 0, 0, 300, 2000);
    o->early = ONE_OF(world, 0, 0, 1, 3);
    o->deadline_ms = ONE_OF(world, 300, 1000, 3000, 5000);
    o->stale_on_timeout = below(world, 2);
    o->guard = chance(world, 400);
    o->guard_concurrency = 1 + below(world, 6);
    o->guard_queue = ONE_OF(world, 0, 2, 8, 100);
    o->guard_timeout_ms = ONE_OF(world, 100, 500, 2000);
    o->breaker = ONE_OF(world, 0, 2, 5);
    o->health_ms = ONE_OF(world, 200, 500, 1000);
}

static void draw_origin(struct world *world)
{
    struct options *o = &world->options;

    o->load_ms = ONE_OF(world, 2, 10, 40, 150);
    o->p_load_slow = maybe(world, 300, 200);
    o->p_load_never = maybe(world, 200, 60);
    o->p_load_fails = maybe(world, 400, 400);
    o->p_load_unstarted = maybe(world, 100, 50);
    o->p_oversized = maybe(world, 200, 60);
    o->p_odd_ttl = maybe(world, 300, 400);
    o->p_odd_end = maybe(world, 200, 100);
    o->p_keep = maybe(world, 600, 900);
    o->p_absent = maybe(world, 400, 300);
    o->p_nested = maybe(world, 350, 600);
    o->batch = ONE_OF(world, 0, 0, 0, 2, 3, 20);
    o->is_dag = below(world, 2);
    o->write_each_ms = maybe_each(world, 800, 10, o->duration_ms / 8);
    o->p_silent_write = ONE_OF(world, 0, 300, 1000);
    o->change_each_ms = maybe_each(world, 500, 20, o->duration_ms / 5);
    o->p_cancel = maybe(world, 300, 200);
    o->p_short = maybe(world, 300, 300);
    o->p_burst = maybe(world, 400, 100);
    o->p_peek = maybe(world, 200, 100);
    o->p_take_over = maybe(world, 300, 100);
    o->new_ms = ONE_OF(world, 0, 500, 3000, 20000);
}

/* Nothing but nodes that stand still for long, while others change what they have: a world for cluster/contact. */
static void draw_sleepers(struct world *world)
{
    struct options *o = &world->options;

    o->pause_each_ms = 100 + below(world, 400);
    o->lease_ms = ONE_OF(world, 100, 300, 1000);
    o->contact_ms = o->lease_ms / 4;
    o->ttl_ms = ONE_OF(world, 5000, 60000);
    o->change_each_ms = 20 + below(world, 200);
    o->duration_ms = ONE_OF(world, 3000, 6000);
    o->keys = ONE_OF(world, 2, 4, 8);
    o->health_ms = 1000;
    o->delay_ms = ONE_OF(world, 0, 2);
}

static void draw_faults(struct world *world)
{
    struct options *o = &world->options;
    uint64_t most = o->duration_ms / 2;

    o->delay_ms = ONE_OF(world, 0, 2, 10, 40);
    o->drift_ppm = maybe(world, 300, 20000);
    o->clock_high = below(world, 8);
    world->is_calm = chance(world, 250);
    if (world->is_calm) {
        o->p_load_unstarted = 0;
        return;
    }
    if (chance(world, 100)) {
        draw_sleepers(world);
        return;
    }
    o->p_loss = maybe(world, 250, 200);
    o->p_duplicate = maybe(world, 250, 200);
    o->p_flip = maybe(world, 250, 150);
    o->p_cut_short = maybe(world, 250, 150);
    o->p_reset = maybe(world, 250, 150);
    o->p_untyped = maybe(world, 250, 150);
    o->p_crossed = maybe(world, 250, 150);
    o->p_slow_link = maybe(world, 250, 100);
    o->p_gone = maybe(world, 250, 500);
    o->partition_each_ms = maybe_each(world, 250, 50, most);
    o->crash_each_ms = maybe_each(world, 250, 100, most);
    o->pause_each_ms = maybe_each(world, 250, 50, most);
    o->leave_each_ms = maybe_each(world, 200, 100, most);
    o->view_each_ms = maybe_each(world, 350, 30, most);
    o->p_no_memory = maybe(world, 250, 200);
}

/* Hot keys; how often a node asks the others for changes (0: never), how many they remember. */
static void draw_hot(struct world *world)
{
    struct options *o = &world->options;

    o->hot_minute = ONE_OF(world, 1, 1, 200, 0);
    o->contact_ms = ONE_OF(world, 0, o->lease_ms / 4, o->lease_ms / 4, o->lease_ms / 4);
    o->changes_kept = ONE_OF(world, 4, 16, 256);
}

/* Who asks for several keys at a time, and how many one message may have (1: the peers do not know it). */
static void draw_many(struct world *world)
{
    struct options *o = &world->options;

    o->p_many = maybe(world, 600, 600);
    o->many_keys = ONE_OF(world, 1, 2, 5, HG_MANY_KEYS_MAX, HG_MANY_KEYS_MAX, HG_MANY_KEYS_MAX);
    o->p_left_out = maybe(world, 200, 100);
}

void options_draw(struct world *world, unsigned nodes_max)
{
    draw_size(world, nodes_max);
    draw_lives(world);
    draw_origin(world);
    draw_faults(world);
    draw_hot(world);
    if (world->options.error_ttl_ms > 0)
        world->options.error_ttl_max_ms = ONE_OF(world, 0, 300, 2000);
    draw_many(world);
}

void options_print(FILE *out, const struct options *options)
{
#define X(name)                                                                                    \
    if (options->name != 0)                                                                        \
        fprintf(out, " %s=%llu", #name, (unsigned long long)options->name);
    OPTIONS(X)
#undef X
    fputc('\n', out);
}
