/*
 * expiry_heap - who expires first: a binary heap of items that lie in somebody else's structures.
 *
 * Ownership  the heap owns its array only.
 * Threads    none of its own.
 * Errors     HG_ENOMEM, by reserve alone: adding what was reserved for cannot fail.
 */
#ifndef HG_BASE_EXPIRY_HEAP_H
#define HG_BASE_EXPIRY_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hg_expiry_item {
    uint64_t expires_ms;
    size_t index; /* the heap's; HG_EXPIRY_NONE: in no heap */
};
#define HG_EXPIRY_NONE SIZE_MAX

struct hg_expiry_heap {
    struct hg_expiry_item **items; /* the first expires first */
    size_t count, capacity;
};

/* Zeroed memory is an empty heap. */
void hg_expiry_heap_finish(struct hg_expiry_heap *heap);
/* Room for one more. */
int hg_expiry_heap_reserve(struct hg_expiry_heap *heap);
void hg_expiry_heap_add(struct hg_expiry_heap *heap, struct hg_expiry_item *item);
/* In no heap: nothing happens. */
void hg_expiry_heap_remove(struct hg_expiry_heap *heap, struct hg_expiry_item *item);
/* The first whose time is over, or NULL; it stays. */
struct hg_expiry_item *hg_expiry_heap_due(const struct hg_expiry_heap *heap, uint64_t now_ms);
/* For tests: asserts order and indices. */
void hg_expiry_heap_validate(const struct hg_expiry_heap *heap);

#endif
