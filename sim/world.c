#include "world.h"

#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#define ARENA_BYTES ((size_t)64 << 20)

void world_fail(struct world *world, const char *id, const char *format, ...)
{
    struct failure *failure = &world->report->failure;
    va_list args;

    hg_alloc_fail_clear();
    failure->is_failed = true;
    snprintf(failure->id, sizeof(failure->id), "%s", id);
    int len = snprintf(failure->text, sizeof(failure->text),
                       "at %llu ms: ", (unsigned long long)world->now);
    va_start(args, format);
    vsnprintf(failure->text + len, sizeof(failure->text) - (size_t)len, format, args);
    va_end(args);
    world->report->options = world->options;
    fflush(NULL);
    _exit(3);
}

void *arena_get(struct world *world, size_t size)
{
    size = (size + 15) & ~(size_t)15;
    if (world->arena_used + size > ARENA_BYTES)
        world_fail(world, "sim", "the simulator's arena is full");
    void *block = world->arena + world->arena_used;
    world->arena_used += size;
    memset(block, 0, size);
    return block;
}

struct hg_bytes arena_copy(struct world *world, struct hg_bytes bytes)
{
    char *copy = arena_get(world, bytes.len + 1);
    if (bytes.len > 0)
        memcpy(copy, bytes.data, bytes.len);
    return hg_bytes(copy, bytes.len);
}

uint64_t next_u64(struct world *world)
{
    uint64_t z = (world->random += 0x9e3779b97f4a7c15u); /* splitmix64 (Steele, Lea, Flood 2014) */
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

uint64_t below(struct world *world, uint64_t limit)
{
    return limit == 0 ? 0 : next_u64(world) % limit;
}

bool chance(struct world *world, uint64_t permille)
{
    return permille > 0 && below(world, 1000) < permille;
}

static bool is_before(const struct event *a, const struct event *b)
{
    return a->at != b->at ? a->at < b->at : a->number < b->number;
}

static void push(struct world *world, struct event event)
{
    if (world->count == world->room) {
        world->room = world->room == 0 ? 1024 : world->room * 2;
        world->heap = realloc(world->heap, world->room * sizeof(*world->heap));
        if (world->heap == NULL)
            abort();
    }
    size_t at = world->count++;
    for (; at > 0 && is_before(&event, &world->heap[(at - 1) / 2]); at = (at - 1) / 2)
        world->heap[at] = world->heap[(at - 1) / 2];
    world->heap[at] = event;
}

static struct event pop(struct world *world)
{
    struct event first = world->heap[0], last = world->heap[--world->count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= world->count)
            break;
        if (child + 1 < world->count && is_before(&world->heap[child + 1], &world->heap[child]))
            child++;
        if (!is_before(&world->heap[child], &last))
            break;
        world->heap[at] = world->heap[child];
        at = child;
    }
    world->heap[at] = last;
    return first;
}

void after(struct world *world, uint64_t delay, struct node *node, event_fn happen, void *arg)
{
    push(world, (struct event){.at = world->now + delay,
                               .number = ++world->number,
                               .happen = happen,
                               .arg = arg,
                               .node = node == NULL ? -1 : (int)node->index,
                               .epoch = node == NULL ? 0 : node->epoch});
}

bool world_step(struct world *world)
{
    if (world->count == 0)
        return false;
    struct event event = pop(world);
    world->now = event.at;
    if (event.node >= 0) {
        const struct node *node = &world->nodes[event.node];
        if (event.epoch != node->epoch)
            return true;
        /* It comes when the node goes on, in this order: by its number also before what is due only then. */
        if (node->paused_until > world->now) {
            event.at = node->paused_until;
            push(world, event);
            return true;
        }
    }
    world->report->events++;
    bool is_starved = !world->is_healed && chance(world, world->options.p_no_memory);
    if (is_starved) {
        bool is_sticky = chance(world, 300);
        hg_alloc_fail_at((size_t)below(world, 6), is_sticky);
    }
    event.happen(world, event.arg);
    if (is_starved)
        hg_alloc_fail_clear();
    check_cheap(world);
    return true;
}

void trace(struct world *world, int node, const char *what, uint64_t a, uint64_t b)
{
    uint64_t hash = world->hash;
    for (const char *at = what; *at != '\0'; at++)
        hash = (hash ^ (unsigned char)*at) * 0x100000001b3u;
    uint64_t words[] = {world->now, (uint64_t)(int64_t)node, a, b};
    for (size_t i = 0; i < HG_COUNT(words); i++) {
        hash = (hash ^ words[i]) * 0x9fb21c651e98df25u;
        hash ^= hash >> 29;
    }
    world->hash = hash;
    if (world->is_traced)
        printf("%8llu  %c  %-18s %llu %llu\n", (unsigned long long)world->now,
               node < 0 ? '-' : (char)('a' + node), what, (unsigned long long)a,
               (unsigned long long)b);
}
