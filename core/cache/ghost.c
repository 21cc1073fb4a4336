#include "cache/ghost.h"

#include "base/alloc.h"

#define NONE         UINT32_MAX
#define CAPACITY_MIN 16
#define CAPACITY_MAX (1u << 30)

struct hg_ghost_link {
    uint32_t older, newer; /* of the list */
    uint32_t chain;        /* of the bucket, or of what is free */
};

static uint32_t *bucket_of(const struct hg_ghost *ghost, uint64_t hash)
{
    return &ghost->buckets[(uint32_t)(hash ^ hash >> 32) & (ghost->capacity - 1)];
}

void hg_ghost_finish(struct hg_ghost *ghost)
{
    hg_free(ghost->hashes);
    *ghost = (struct hg_ghost){0};
}

static bool ghost_make(struct hg_ghost *ghost, uint32_t capacity)
{
    size_t bytes;
    size_t each = sizeof(uint64_t) + sizeof(struct hg_ghost_link) + sizeof(uint32_t);
    if (!hg_size_mul(capacity, each, &bytes))
        return false;
    uint64_t *block = hg_malloc(bytes);
    if (block == NULL)
        return false;
    *ghost = (struct hg_ghost){
        .hashes = block,
        .links = (struct hg_ghost_link *)(void *)(block + capacity),
        .capacity = capacity,
        .oldest = NONE,
        .newest = NONE,
    };
    ghost->buckets = (uint32_t *)(void *)(ghost->links + capacity);
    for (uint32_t i = 0; i < capacity; i++) {
        ghost->buckets[i] = NONE;
        ghost->links[i].chain = i + 1 < capacity ? i + 1 : NONE;
    }
    return true;
}

static void resize(struct hg_ghost *ghost, uint32_t capacity)
{
    struct hg_ghost fitted;
    if (!ghost_make(&fitted, capacity))
        return;
    while (ghost->count > capacity)
        hg_ghost_forget_oldest(ghost);
    for (uint32_t at = ghost->count == 0 ? NONE : ghost->oldest; at != NONE;
         at = ghost->links[at].newer)
        hg_ghost_push(&fitted, ghost->hashes[at], capacity);
    hg_ghost_finish(ghost);
    *ghost = fitted;
}

void hg_ghost_trim(struct hg_ghost *ghost, size_t wanted)
{
    uint32_t capacity = CAPACITY_MIN;
    if (ghost->capacity <= CAPACITY_MIN || wanted > ghost->capacity / 8)
        return;
    while (capacity < wanted)
        capacity *= 2;
    resize(ghost, capacity);
}

static uint32_t *find(const struct hg_ghost *ghost, uint64_t hash)
{
    uint32_t *link = bucket_of(ghost, hash);
    while (*link != NONE && ghost->hashes[*link] != hash)
        link = &ghost->links[*link].chain;
    return link;
}

bool hg_ghost_has(const struct hg_ghost *ghost, uint64_t hash)
{
    return ghost->count > 0 && *find(ghost, hash) != NONE;
}

bool hg_ghost_remove(struct hg_ghost *ghost, uint64_t hash)
{
    if (ghost->count == 0)
        return false;
    uint32_t *link = find(ghost, hash);
    uint32_t at = *link;
    if (at == NONE)
        return false;
    struct hg_ghost_link *gone = &ghost->links[at];
    *link = gone->chain;
    if (gone->older == NONE)
        ghost->oldest = gone->newer;
    else
        ghost->links[gone->older].newer = gone->newer;
    if (gone->newer == NONE)
        ghost->newest = gone->older;
    else
        ghost->links[gone->newer].older = gone->older;
    gone->chain = ghost->free;
    ghost->free = at;
    ghost->count--;
    return true;
}

bool hg_ghost_forget_oldest(struct hg_ghost *ghost)
{
    return ghost->count > 0 && hg_ghost_remove(ghost, ghost->hashes[ghost->oldest]);
}

void hg_ghost_push(struct hg_ghost *ghost, uint64_t hash, size_t limit)
{
    hg_ghost_remove(ghost, hash);
    if (ghost->count == ghost->capacity && limit > ghost->capacity &&
        ghost->capacity < CAPACITY_MAX)
        resize(ghost, ghost->capacity == 0 ? CAPACITY_MIN : ghost->capacity * 2);
    if (limit > ghost->capacity)
        limit = ghost->capacity;
    while (ghost->count > 0 && ghost->count >= limit)
        hg_ghost_forget_oldest(ghost);
    if (limit == 0)
        return;
    uint32_t at = ghost->free;
    uint32_t *bucket = bucket_of(ghost, hash);
    ghost->free = ghost->links[at].chain;
    ghost->hashes[at] = hash;
    ghost->links[at] = (struct hg_ghost_link){ghost->newest, NONE, *bucket};
    *bucket = at;
    if (ghost->newest == NONE)
        ghost->oldest = at;
    else
        ghost->links[ghost->newest].newer = at;
    ghost->newest = at;
    ghost->count++;
}

bool hg_ghost_validate(const struct hg_ghost *ghost)
{
    if (ghost->capacity == 0)
        return ghost->count == 0 && ghost->hashes == NULL;
    uint32_t count = 0, before = NONE;
    for (uint32_t at = ghost->oldest; at != NONE; before = at, at = ghost->links[at].newer) {
        if (++count > ghost->count || ghost->links[at].older != before ||
            *find(ghost, ghost->hashes[at]) != at)
            return false;
    }
    uint32_t free_count = 0;
    for (uint32_t at = ghost->free; at != NONE; at = ghost->links[at].chain) {
        if (++free_count > ghost->capacity)
            return false;
    }
    return count == ghost->count && before == ghost->newest &&
           count + free_count == ghost->capacity;
}
