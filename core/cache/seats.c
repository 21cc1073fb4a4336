#include "cache/seats.h"

#include <assert.h>

#include "base/alloc.h"

#define CAPACITY_MIN 16

static void set_index(struct hg_value *value, size_t index)
{
    value->prev_low = (uint32_t)index;
    value->next_low = (uint32_t)(index >> 32);
}

static size_t index_of(const struct hg_value *value)
{
    return (size_t)value->next_low << 32 | value->prev_low;
}

void hg_seats_init(struct hg_seats *seats, size_t seat_bytes)
{
    *seats = (struct hg_seats){.seat_bytes = seat_bytes};
}

void hg_seats_finish(struct hg_seats *seats)
{
    hg_free(seats->bytes);
}

void *hg_seats_at(const struct hg_seats *seats, size_t index)
{
    return seats->bytes + index * seats->seat_bytes;
}

static bool resize(struct hg_seats *seats, size_t capacity)
{
    size_t size;
    if (!hg_size_mul(capacity, seats->seat_bytes, &size))
        return false;
    char *bytes = hg_realloc(seats->bytes, size);
    if (bytes == NULL)
        return false;
    seats->bytes = bytes;
    seats->capacity = capacity;
    return true;
}

void *hg_seats_add(struct hg_seats *seats, struct hg_value *value)
{
    if (seats->count == seats->capacity &&
        !resize(seats, seats->capacity == 0 ? CAPACITY_MIN : seats->capacity * 2))
        return NULL;
    struct hg_seat *seat = hg_seats_at(seats, seats->count);
    set_index(value, seats->count++);
    seat->value = value;
    return seat;
}

void hg_seats_remove(struct hg_seats *seats, struct hg_value *value)
{
    struct hg_seat *seat = hg_seats_at(seats, index_of(value));
    const struct hg_seat *last = hg_seats_at(seats, --seats->count);
    assert(seat->value == value);
    set_index(last->value, index_of(value));
    if (seat != last)
        memcpy(seat, last, seats->seat_bytes);
    if (seats->capacity > CAPACITY_MIN && seats->count < seats->capacity / 4)
        resize(seats, seats->capacity / 2); /* without memory it stays */
}

void *hg_seats_of(const struct hg_seats *seats, const struct hg_value *value)
{
    if (index_of(value) >= seats->count)
        return NULL;
    struct hg_seat *seat = hg_seats_at(seats, index_of(value));
    return seat->value == value ? seat : NULL;
}

void *hg_seats_draw(const struct hg_seats *seats, struct hg_policy *policy)
{
    if (seats->count == 0)
        return NULL;
    return hg_seats_at(seats, hg_policy_random_below(policy, seats->count));
}

bool hg_seats_validate(const struct hg_seats *seats, size_t value_count)
{
    for (size_t i = 0; i < seats->count; i++) {
        const struct hg_seat *seat = hg_seats_at(seats, i);
        if (index_of(seat->value) != i || !seat->value->stored)
            return false;
    }
    return seats->count == value_count && seats->count <= seats->capacity;
}
