#include "cache/flight.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/err.h"

#define FIRST_BUCKETS 64

/* Folded, so that it does not matter which bits of the hash chose the shard. */
static size_t slot_of(const struct hg_flights *flights, uint64_t hash)
{
    return (size_t)(hash ^ hash >> 32) & flights->mask;
}

int hg_flights_init(struct hg_flights *flights)
{
    struct hg_flight **table = hg_calloc(FIRST_BUCKETS, sizeof(struct hg_flight *));
    if (table == NULL)
        return HG_ENOMEM;
    *flights = (struct hg_flights){.table = table, .mask = FIRST_BUCKETS - 1};
    return HG_OK;
}

void hg_flights_finish(struct hg_flights *flights)
{
    if (flights == NULL)
        return;
    assert(flights->count == 0);
    hg_free(flights->table);
    *flights = (struct hg_flights){0};
}

void hg_flight_init(struct hg_flight *flight, enum hg_flight_kind kind, uint64_t hash,
                    struct hg_bytes key)
{
    *flight = (struct hg_flight){.hash = hash, .key = key, .kind = (uint8_t)kind};
    hg_list_init(&flight->waiters);
}

struct hg_flight *hg_flight_find(const struct hg_flights *flights, enum hg_flight_kind kind,
                                 uint64_t hash, struct hg_bytes key)
{
    struct hg_flight *flight = flights->table[slot_of(flights, hash)];
    while (flight != NULL && (flight->hash != hash || flight->kind != (uint8_t)kind ||
                              !hg_bytes_eq(flight->key, key)))
        flight = flight->chain;
    return flight;
}

/* All at once: the node's flights are limited, so this is too. Without memory the chains stay as
 * they are. */
static void grow(struct hg_flights *flights)
{
    size_t old_count = flights->mask + 1;
    struct hg_flight **old = flights->table;
    struct hg_flight **table = hg_calloc(old_count * 2, sizeof(struct hg_flight *));
    if (table == NULL)
        return;
    flights->table = table;
    flights->mask = old_count * 2 - 1;
    for (size_t i = 0; i < old_count; i++) {
        for (struct hg_flight *flight = old[i], *next; flight != NULL; flight = next) {
            struct hg_flight **slot = &table[slot_of(flights, flight->hash)];
            next = flight->chain;
            flight->chain = *slot;
            *slot = flight;
        }
    }
    hg_free(old);
}

void hg_flight_begin(struct hg_flights *flights, struct hg_flight *flight)
{
    assert(!flight->listed);
    assert(hg_flight_find(flights, (enum hg_flight_kind)flight->kind, flight->hash, flight->key) ==
           NULL);
    if (flights->count > flights->mask)
        grow(flights);
    struct hg_flight **slot = &flights->table[slot_of(flights, flight->hash)];
    flight->chain = *slot;
    flight->listed = true;
    *slot = flight;
    flights->count++;
}

void hg_flight_end(struct hg_flights *flights, struct hg_flight *flight)
{
    assert(flight->listed);
    struct hg_flight **link = &flights->table[slot_of(flights, flight->hash)];
    while (*link != flight) {
        assert(*link != NULL);
        link = &(*link)->chain;
    }
    *link = flight->chain;
    flight->chain = NULL;
    flight->listed = false;
    flights->count--;
}

void hg_flight_join(struct hg_flight *flight, struct hg_list *waiter)
{
    hg_list_push_back(&flight->waiters, waiter);
    flight->waiter_count++;
}

void hg_flight_leave(struct hg_flight *flight, struct hg_list *waiter)
{
    assert(flight->waiter_count > 0);
    hg_list_remove(waiter);
    flight->waiter_count--;
}

void hg_flight_splice(struct hg_flight *to, struct hg_flight *from)
{
    assert(to != from);
    hg_list_splice_back(&to->waiters, &from->waiters);
    to->waiter_count += from->waiter_count;
    from->waiter_count = 0;
}

static bool is_flight_valid(const struct hg_flight *flight)
{
    uint32_t count = 0;
    hg_list_for_each(waiter, &flight->waiters)
    {
        if (waiter->next->prev != waiter || waiter->prev->next != waiter)
            return false;
        count++;
    }
    return flight->listed && count == flight->waiter_count;
}

bool hg_flights_validate(const struct hg_flights *flights)
{
    size_t count = 0;
    for (size_t i = 0; i <= flights->mask; i++) {
        for (const struct hg_flight *flight = flights->table[i]; flight != NULL;
             flight = flight->chain) {
            if (slot_of(flights, flight->hash) != i || !is_flight_valid(flight))
                return false;
            if (hg_flight_find(flights, (enum hg_flight_kind)flight->kind, flight->hash,
                               flight->key) != flight)
                return false; /* a second one of its key and kind */
            if (++count > flights->count)
                return false;
        }
    }
    return count == flights->count;
}
