/*
 * flight - table of loads in progress, keyed by (key, kind), each with the waiters that joined it.
 *
 * Ownership  intrusive: the caller allocates what embeds struct hg_flight and keeps it alive while it is in
 *            the table. Waiters are intrusive too, so joining never allocates.
 * Threads    none of its own: the caller holds the shard's lock.
 *
 * Kind is fixed when a flight begins: local (this node's getter) or remote (asking the owner). A peer's request
 * looks for local ones only (law 4).
 */
#ifndef HG_CACHE_FLIGHT_H
#define HG_CACHE_FLIGHT_H

#include <stdint.h>
#include "base/bytes.h"
#include "base/list.h"

enum hg_flight_kind { HG_FLIGHT_LOCAL, HG_FLIGHT_REMOTE };

struct hg_flight {
    struct hg_flight *chain;
    uint64_t hash;
    struct hg_bytes key; /* borrowed from what embeds it */
    uint8_t kind;        /* enum hg_flight_kind */
    bool listed;         /* in a table */
    uint32_t waiter_count;
    struct hg_list waiters; /* in order of joining */
};

struct hg_flights {
    struct hg_flight **table;
    size_t mask, count;
};

int hg_flights_init(struct hg_flights *flights);
void hg_flights_finish(struct hg_flights *flights); /* must be empty */
void hg_flight_init(struct hg_flight *flight, enum hg_flight_kind kind, uint64_t hash, struct hg_bytes key);

struct hg_flight *hg_flight_find(const struct hg_flights *flights, enum hg_flight_kind kind, uint64_t hash,
                                 struct hg_bytes key);
/* There must be none of that key and kind. Never fails: growing is best effort, chains get longer without it. */
void hg_flight_begin(struct hg_flights *flights, struct hg_flight *flight);
/* Out of the table; waiters stay on the flight. */
void hg_flight_end(struct hg_flights *flights, struct hg_flight *flight);
void hg_flight_join(struct hg_flight *flight, struct hg_list *waiter);
void hg_flight_leave(struct hg_flight *flight, struct hg_list *waiter);
/* All waiters of `from` behind those of `to`. */
void hg_flight_splice(struct hg_flight *to, struct hg_flight *from);

bool hg_flights_validate(const struct hg_flights *flights);

#endif
