/*
 * seats - an array of a store's values, without gaps, so that one can be drawn. A value knows its seat by its links, since
 * what has a seat is in no order. The last one takes the seat of one that leaves.
 *
 * A policy that keeps more of an entry puts it behind the pointer: all seats have one size.
 *
 * Threads    none of its own: the caller holds the shard's lock.
 */
#ifndef HG_CACHE_SEATS_H
#define HG_CACHE_SEATS_H

#include "cache/policy.h"

/* What each begins with. */
struct hg_seat {
    struct hg_value *value;
};

struct hg_seats {
    char *bytes;
    size_t seat_bytes, count, capacity;
};

void hg_seats_init(struct hg_seats *seats, size_t seat_bytes);
void hg_seats_finish(struct hg_seats *seats);
/* The new seat, the rest of it not set; NULL: no memory. */
void *hg_seats_add(struct hg_seats *seats, struct hg_value *value);
void hg_seats_remove(struct hg_seats *seats, struct hg_value *value);
/* The value's seat, good until the next add or remove. NULL: it has none here. */
void *hg_seats_of(const struct hg_seats *seats, const struct hg_value *value);
/* index < count */
void *hg_seats_at(const struct hg_seats *seats, size_t index);
/* Any, by the policy's lots; NULL: there is none. */
void *hg_seats_draw(const struct hg_seats *seats, struct hg_policy *policy);
/* Tests: each of value_count values knows its seat. */
bool hg_seats_validate(const struct hg_seats *seats, size_t value_count);

#endif
