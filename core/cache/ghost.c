#include "cache/ghost.h"

#include "base/alloc.h"

#define NONE         UINT32_MAX
#define CAPACITY_MIN 16
#define CAPACITY_MAX (1u << 30)

struct hg_ghost_link {
    uint64_t hash;
    uint32_t older, newer; /* of the list */
    uint32_t chain;        /* of the bucket, or of what is free */
    uint32_t bucket;       /* of the hashes that belong at this index */
};

static uint32_t *bucket_of(const struct hg_ghost *ghost, uint64_t hash)
{
    return &ghost->links[(uint32_t)(hash ^ hash >> 32) & (ghost->capacity - 1)].bucket;
}

void hg_ghost_finish(struct hg_ghost *ghost)
{
    hg_free(ghost->links);
    *ghost = (struct hg_ghost){0};
}

static bool ghost_make(struct hg_ghost *ghost, uint32_t capacity)
{
    size_t bytes;
    if (!hg_size_mul(capacity, sizeof(struct hg_ghost_link), &bytes))
        return false;
    struct hg_ghost_link *links = hg_malloc(bytes);
    if (links == NULL)
        return false;
    *ghost = (struct hg_ghost){
        .links = links,
        .capacity = capacity,
        .oldest = NONE,
        .newest = NONE,
    };
    for (uint32_t i = 0; i < capacity; i++) {
        links[i].bucket = NONE;
        links[i].chain = i + 1 < capacity ? i + 1 : NONE;
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
        hg_ghost_push(&fitted, ghost->links[at].hash, capacity);
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
    while (*link != NONE && ghost->links[*link].hash != hash)
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
    return ghost->count > 0 && hg_ghost_remove(ghost, ghost->links[ghost->oldest].hash);
}

void hg_ghost_push(struct hg_ghost *ghost, uint64_t hash, size_t limit)
{
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
    ghost->links[at].hash = hash;
    ghost->links[at].older = ghost->newest;
    ghost->links[at].newer = NONE;
    ghost->links[at].chain = *bucket;
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
        return ghost->count == 0 && ghost->links == NULL;
    uint32_t count = 0, before = NONE;
    for (uint32_t at = ghost->oldest; at != NONE; before = at, at = ghost->links[at].newer) {
        if (++count > ghost->count || ghost->links[at].older != before ||
            *find(ghost, ghost->links[at].hash) != at)
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
