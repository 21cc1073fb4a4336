/*
 * order - a list of values by the links that they have for their store: who was used when, who came when.
 *
 * Links are addresses of 48 bits, as user space has them on x86-64 and AArch64, so that two of them take 12 bytes.
 *
 * Ownership  borrows; a value is in one order at most.
 * Threads    none of its own: the caller holds the shard's lock.
 */
#ifndef HG_CACHE_ORDER_H
#define HG_CACHE_ORDER_H

#include "base/value.h"

struct hg_order {
    struct hg_value *first, *last; /* NULL: empty */
};

static inline struct hg_value *hg_order_prev(const struct hg_value *value)
{
    return (struct hg_value *)((uintptr_t)value->prev_high << 32 | value->prev_low);
}

static inline struct hg_value *hg_order_next(const struct hg_value *value)
{
    return (struct hg_value *)((uintptr_t)value->next_high << 32 | value->next_low);
}

static inline void hg_order_set_prev(struct hg_value *value, const struct hg_value *prev)
{
    value->prev_low = (uint32_t)(uintptr_t)prev;
    value->prev_high = (uint16_t)((uintptr_t)prev >> 32);
}

static inline void hg_order_set_next(struct hg_value *value, const struct hg_value *next)
{
    value->next_low = (uint32_t)(uintptr_t)next;
    value->next_high = (uint16_t)((uintptr_t)next >> 32);
}

/* Both at once, with as few writes as it takes: a list move waits for them. */
static inline void hg_order_set(struct hg_value *value, const struct hg_value *prev,
                                const struct hg_value *next)
{
    uint64_t low = (uintptr_t)prev | (uint64_t)((uintptr_t)next >> 32) << 48;
    value->prev_low = (uint32_t)low;
    value->prev_high = (uint16_t)(low >> 32);
    value->next_high = (uint16_t)(low >> 48);
    value->next_low = (uint32_t)(uintptr_t)next;
}

/* Between two neighbours; NULL is an end. */
static inline void hg_order_insert(struct hg_order *order, struct hg_value *value,
                                   struct hg_value *prev, struct hg_value *next)
{
    hg_order_set(value, prev, next);
    if (prev != NULL)
        hg_order_set_next(prev, value);
    else
        order->first = value;
    if (next != NULL)
        hg_order_set_prev(next, value);
    else
        order->last = value;
}

static inline void hg_order_push_front(struct hg_order *order, struct hg_value *value)
{
    hg_order_insert(order, value, NULL, order->first);
}

static inline void hg_order_remove(struct hg_order *order, struct hg_value *value)
{
    struct hg_value *prev = hg_order_prev(value), *next = hg_order_next(value);
    if (prev != NULL)
        hg_order_set_next(prev, next);
    else
        order->first = next;
    if (next != NULL)
        hg_order_set_prev(next, prev);
    else
        order->last = prev;
}

static inline void hg_order_to_front(struct hg_order *order, struct hg_value *value)
{
    if (order->first == value)
        return;
    hg_order_remove(order, value);
    hg_order_push_front(order, value);
}

/* Tests: whether the links agree both ways and there are `count`. */
static inline bool hg_order_validate(const struct hg_order *order, size_t count)
{
    const struct hg_value *before = NULL;
    for (const struct hg_value *value = order->first; value != NULL;
         before = value, value = hg_order_next(value)) {
        if (hg_order_prev(value) != before || !value->stored || count-- == 0)
            return false;
    }
    return before == order->last && count == 0;
}

#endif
