/*
 * tags - the newest two invalidation numbers of each tag, in a bounded table.
 *
 * When it is full, everything in it is forgotten and the floor rises to the newest number: a load begun before
 * the floor is treated as if each of its tags had been removed since. Tags are known by their hash; a collision
 * only fences a load too many.
 *
 * Threads    one mutex of its own, a leaf.
 * Errors     none: out of memory raises the floor, too.
 */
#ifndef HG_GROUP_TAGS_H
#define HG_GROUP_TAGS_H

#include <pthread.h>
#include "base/value.h"

#define HG_TAGS_KNOWN_MAX 4096

struct hg_tag_number {
    uint64_t hash, number; /* number 0: free */
    uint64_t before;       /* the newest but one; 0: there was none */
};

struct hg_tags {
    pthread_mutex_t lock;
    struct hg_tag_number *table; /* NULL until the first */
    size_t count;
    uint64_t floor_number;
};

void hg_tags_init(struct hg_tags *tags);
void hg_tags_finish(struct hg_tags *tags);
void hg_tags_note(struct hg_tags *tags, struct hg_bytes tag, uint64_t number);
/*
 * The oldest number after `start` that concerns a result with these tags; 0: none. Where more is not known it
 * is start + 1, which is never too late.
 */
uint64_t hg_tags_oldest_after(struct hg_tags *tags, const struct hg_value *value, uint64_t start);

#endif
