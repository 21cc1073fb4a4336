#include "cache/ghost.h"

#include <string.h>

#include "base/alloc.h"
#include "base/prefetch.h"
#include "cache/tags.h"

#define NONE         UINT32_MAX
#define CAPACITY_MIN 16
#define CAPACITY_MAX (1u << 30)

/*
 * A bucket is one word: seven tags, and in the top byte how many hashes that belong here, or before, went on to a bucket
 * behind because this one was full. So what is not there, as most of what is asked for, is known after a word that is
 * likely in the processor's cache, since there is little more than a byte for each hash.
 */
#define SLOTS        7
#define PASSED       56  /* bits below it */
#define PASSED_MAX   255 /* what has come so far stays: it only makes searches longer */
#define LOAD_PERCENT 50

/* Of the list, by age; what is free is linked by `older`. */
struct hg_ghost_link {
    uint64_t hash;
    uint32_t older, newer;
};

static uint32_t home_of(const struct hg_ghost *ghost, uint64_t hash)
{
    uint32_t folded = (uint32_t)(hash ^ hash >> 32) * 0x9e3779b1u;
    return (uint32_t)((uint64_t)folded * ghost->bucket_count >> 32);
}

static uint32_t next_of(const struct hg_ghost *ghost, uint32_t bucket)
{
    return bucket + 1 == ghost->bucket_count ? 0 : bucket + 1;
}

static uint64_t passed(uint64_t tags)
{
    return tags >> PASSED;
}

/* Places of the tag; 0: of what is free. */
static uint64_t matches(uint64_t tags, uint64_t tag)
{
    return hg_tags_match(tags, tag) & ((UINT64_C(1) << PASSED) - 1);
}

void hg_ghost_finish(struct hg_ghost *ghost)
{
    hg_free(ghost->links);
    *ghost = (struct hg_ghost){0};
}

static bool ghost_make(struct hg_ghost *ghost, uint32_t capacity)
{
    size_t bucket_count = (size_t)capacity * 100 / LOAD_PERCENT / SLOTS + 1;
    size_t links_bytes = capacity * sizeof(struct hg_ghost_link);
    size_t tags_bytes = bucket_count * sizeof(uint64_t);
    char *block = hg_malloc(links_bytes + tags_bytes + bucket_count * SLOTS * sizeof(uint32_t));
    if (block == NULL)
        return false;
    *ghost = (struct hg_ghost){
        .links = (struct hg_ghost_link *)(void *)block,
        .tags = (uint64_t *)(void *)(block + links_bytes),
        .slots = (uint32_t *)(void *)(block + links_bytes + tags_bytes),
        .bucket_count = (uint32_t)bucket_count,
        .capacity = capacity,
        .oldest = NONE,
        .newest = NONE,
    };
    for (uint32_t i = 0; i < capacity; i++)
        ghost->links[i].older = i + 1 < capacity ? i + 1 : NONE;
    memset(ghost->tags, 0, tags_bytes);
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
    if (ghost->capacity <= CAPACITY_MIN || wanted > ghost->capacity / 8)
        return;
    resize(ghost, wanted < CAPACITY_MIN ? CAPACITY_MIN : (uint32_t)wanted);
}

struct place {
    uint32_t bucket;
    unsigned slot;
    uint32_t at; /* its link */
};

static bool find(const struct hg_ghost *ghost, uint64_t hash, struct place *out_place)
{
    uint32_t bucket = ghost->count == 0 ? 0 : home_of(ghost, hash);
    for (uint32_t n = 0; ghost->count > 0 && n < ghost->bucket_count; n++) {
        uint64_t tags = ghost->tags[bucket];
        for (uint64_t found = matches(tags, hg_tag(hash)); found != 0; found &= found - 1) {
            unsigned slot = hg_tags_first(found);
            uint32_t at = ghost->slots[bucket * SLOTS + slot];
            if (ghost->links[at].hash == hash) {
                *out_place = (struct place){bucket, slot, at};
                return true;
            }
        }
        if (passed(tags) == 0)
            return false;
        bucket = next_of(ghost, bucket);
    }
    return false;
}

void hg_ghost_fetch(const struct hg_ghost *ghost, uint64_t hash)
{
    if (ghost->capacity == 0)
        return;
    uint32_t bucket = home_of(ghost, hash);
    hg_prefetch_to_write(&ghost->tags[bucket]);
    hg_prefetch_to_write(&ghost->slots[bucket * SLOTS]);
}

bool hg_ghost_has(const struct hg_ghost *ghost, uint64_t hash)
{
    struct place place;
    return find(ghost, hash, &place);
}

/* Whom it had to pass on its way has one less. */
static void unslot(struct hg_ghost *ghost, uint64_t hash, const struct place *place)
{
    for (uint32_t b = home_of(ghost, hash); b != place->bucket; b = next_of(ghost, b)) {
        if (passed(ghost->tags[b]) < PASSED_MAX)
            ghost->tags[b] -= UINT64_C(1) << PASSED;
    }
    ghost->tags[place->bucket] &= ~(UINT64_C(0xff) << place->slot * HG_TAG_BITS);
}

/* There is a free one: at most every second is taken. */
static void enslot(struct hg_ghost *ghost, uint64_t hash, uint32_t at)
{
    uint32_t bucket = home_of(ghost, hash);
    uint64_t is_free;
    while ((is_free = matches(ghost->tags[bucket], 0)) == 0) {
        if (passed(ghost->tags[bucket]) < PASSED_MAX)
            ghost->tags[bucket] += UINT64_C(1) << PASSED;
        bucket = next_of(ghost, bucket);
    }
    unsigned slot = hg_tags_first(is_free);
    ghost->tags[bucket] |= hg_tag(hash) << slot * HG_TAG_BITS;
    ghost->slots[bucket * SLOTS + slot] = at;
}

bool hg_ghost_remove(struct hg_ghost *ghost, uint64_t hash)
{
    struct place place;
    if (!find(ghost, hash, &place))
        return false;
    unslot(ghost, hash, &place);
    struct hg_ghost_link *gone = &ghost->links[place.at];
    if (gone->older == NONE)
        ghost->oldest = gone->newer;
    else
        ghost->links[gone->older].newer = gone->newer;
    if (gone->newer == NONE)
        ghost->newest = gone->older;
    else
        ghost->links[gone->newer].older = gone->older;
    gone->older = ghost->free;
    ghost->free = place.at;
    ghost->count--;
    return true;
}

bool hg_ghost_forget_oldest(struct hg_ghost *ghost)
{
    if (ghost->count == 0)
        return false;
    hg_ghost_remove(ghost, ghost->links[ghost->oldest].hash);
    if (ghost->count > 0)
        hg_ghost_fetch(ghost, ghost->links[ghost->oldest].hash); /* the next one's turn comes */
    return true;
}

void hg_ghost_push(struct hg_ghost *ghost, uint64_t hash, size_t limit)
{
    if (ghost->count == ghost->capacity && limit > ghost->capacity &&
        ghost->capacity < CAPACITY_MAX)
        resize(ghost, ghost->capacity == 0 ? CAPACITY_MIN : ghost->capacity + ghost->capacity / 2);
    if (limit > ghost->capacity)
        limit = ghost->capacity;
    while (ghost->count > 0 && ghost->count >= limit)
        hg_ghost_forget_oldest(ghost);
    if (limit == 0)
        return;
    uint32_t at = ghost->free;
    enslot(ghost, hash, at);
    ghost->free = ghost->links[at].older;
    ghost->links[at] = (struct hg_ghost_link){hash, ghost->newest, NONE};
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
    uint32_t count = 0, before = NONE, free_slots = 0, free_count = 0;
    struct place place;
    for (uint32_t at = ghost->oldest; at != NONE; before = at, at = ghost->links[at].newer) {
        if (++count > ghost->count || ghost->links[at].older != before ||
            !find(ghost, ghost->links[at].hash, &place) || place.at != at)
            return false;
    }
    for (uint32_t at = ghost->free; at != NONE; at = ghost->links[at].older) {
        if (++free_count > ghost->capacity)
            return false;
    }
    bool is_passed = false;
    for (uint32_t b = 0; b < ghost->bucket_count; b++) {
        free_slots += (uint32_t)__builtin_popcountll(matches(ghost->tags[b], 0));
        is_passed = is_passed || passed(ghost->tags[b]) > 0;
    }
    return count == ghost->count && before == ghost->newest &&
           ghost->bucket_count * SLOTS - free_slots == count && (count > 0 || !is_passed) &&
           count + free_count == ghost->capacity;
}
