#include "group/tags.h"

#include "base/alloc.h"
#include "base/hash.h"

/* Twice the maximum, so that probing stays short. */
#define SLOTS ((size_t)HG_TAGS_KNOWN_MAX * 2)

void hg_tags_init(struct hg_tags *tags)
{
    memset(tags, 0, sizeof(*tags));
    pthread_mutex_init(&tags->lock, NULL);
}

void hg_tags_finish(struct hg_tags *tags)
{
    hg_free(tags->table);
    tags->table = NULL;
    pthread_mutex_destroy(&tags->lock);
}

/* The tag's slot, or the free one where it would go. There is always a free one. */
static struct hg_tag_number *find(const struct hg_tags *tags, uint64_t hash)
{
    size_t index = (size_t)hash & (SLOTS - 1);

    while (tags->table[index].number != 0 && tags->table[index].hash != hash)
        index = (index + 1) & (SLOTS - 1);
    return &tags->table[index];
}

static void raise_floor(struct hg_tags *tags, uint64_t number)
{
    if (tags->floor_number < number)
        tags->floor_number = number;
}

void hg_tags_note(struct hg_tags *tags, struct hg_bytes tag, uint64_t number)
{
    uint64_t hash = hg_hash(tag);

    pthread_mutex_lock(&tags->lock);
    if (tags->table == NULL)
        tags->table = hg_calloc(SLOTS, sizeof(*tags->table));
    if (tags->table == NULL) {
        raise_floor(tags, number);
        pthread_mutex_unlock(&tags->lock);
        return;
    }

    struct hg_tag_number *slot = find(tags, hash);
    if (slot->number == 0 && tags->count == HG_TAGS_KNOWN_MAX) {
        /* Every number in the table is at most as new as this one or one taken at the same time. */
        for (size_t i = 0; i < SLOTS; i++)
            raise_floor(tags, tags->table[i].number);
        raise_floor(tags, number);
        memset(tags->table, 0, SLOTS * sizeof(*tags->table));
        tags->count = 0;
        pthread_mutex_unlock(&tags->lock);
        return;
    }
    if (slot->number == 0) {
        slot->hash = hash;
        tags->count++;
    }
    if (slot->number < number) {
        slot->before = slot->number;
        slot->number = number;
    } else if (slot->before < number) {
        slot->before = number; /* noted late by another thread */
    }
    pthread_mutex_unlock(&tags->lock);
}

/* Of one tag: exact while only its newest number is after the start. */
static uint64_t oldest_of(const struct hg_tag_number *slot, uint64_t start)
{
    if (slot->number <= start)
        return 0;
    return slot->before > start ? start + 1 : slot->number;
}

uint64_t hg_tags_oldest_after(struct hg_tags *tags, const struct hg_value *value, uint64_t start)
{
    uint64_t oldest = 0;

    size_t tag_count = hg_value_more(value).tag_count;
    if (tag_count == 0)
        return 0;
    pthread_mutex_lock(&tags->lock);
    if (tags->floor_number > start)
        oldest = start + 1;
    for (size_t i = 0; tags->count > 0 && i < tag_count; i++) {
        uint64_t number = oldest_of(find(tags, hg_hash(hg_value_tag(value, i))), start);
        if (number != 0 && (oldest == 0 || number < oldest))
            oldest = number;
    }
    pthread_mutex_unlock(&tags->lock);
    return oldest;
}
