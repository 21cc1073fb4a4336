#include "base/expiry_heap.h"

#include <assert.h>
#include "base/alloc.h"
#include "base/err.h"

#define CAPACITY_FIRST 16

void hg_expiry_heap_finish(struct hg_expiry_heap *heap)
{
    hg_free(heap->items);
    *heap = (struct hg_expiry_heap){0};
}

int hg_expiry_heap_reserve(struct hg_expiry_heap *heap)
{
    if (heap->count < heap->capacity)
        return HG_OK;
    size_t capacity = heap->capacity == 0 ? CAPACITY_FIRST : 2 * heap->capacity;
    struct hg_expiry_item **items =
        hg_realloc(heap->items, capacity * sizeof(struct hg_expiry_item *));
    if (items == NULL)
        return HG_ENOMEM;
    heap->items = items;
    heap->capacity = capacity;
    return HG_OK;
}

static void place(struct hg_expiry_heap *heap, size_t index, struct hg_expiry_item *item)
{
    heap->items[index] = item;
    item->index = index;
}

static void move_up(struct hg_expiry_heap *heap, size_t index, struct hg_expiry_item *item)
{
    while (index > 0 && item->expires_ms < heap->items[(index - 1) / 2]->expires_ms) {
        place(heap, index, heap->items[(index - 1) / 2]);
        index = (index - 1) / 2;
    }
    place(heap, index, item);
}

static void move_down(struct hg_expiry_heap *heap, size_t index, struct hg_expiry_item *item)
{
    for (;;) {
        size_t child = 2 * index + 1;
        if (child + 1 < heap->count &&
            heap->items[child + 1]->expires_ms < heap->items[child]->expires_ms)
            child++;
        if (child >= heap->count || item->expires_ms <= heap->items[child]->expires_ms)
            break;
        place(heap, index, heap->items[child]);
        index = child;
    }
    place(heap, index, item);
}

void hg_expiry_heap_add(struct hg_expiry_heap *heap, struct hg_expiry_item *item)
{
    assert(heap->count < heap->capacity);
    move_up(heap, heap->count++, item);
}

void hg_expiry_heap_remove(struct hg_expiry_heap *heap, struct hg_expiry_item *item)
{
    size_t index = item->index;
    if (index == HG_EXPIRY_NONE)
        return;
    assert(heap->items[index] == item);
    struct hg_expiry_item *last = heap->items[--heap->count];
    item->index = HG_EXPIRY_NONE;
    if (last == item)
        return;
    move_down(heap, index, last);
    move_up(heap, last->index, last);
}

struct hg_expiry_item *hg_expiry_heap_due(const struct hg_expiry_heap *heap, uint64_t now_ms)
{
    return heap->count > 0 && heap->items[0]->expires_ms <= now_ms ? heap->items[0] : NULL;
}

void hg_expiry_heap_validate(const struct hg_expiry_heap *heap)
{
    assert(heap->count <= heap->capacity);
    for (size_t i = 0; i < heap->count; i++) {
        assert(heap->items[i]->index == i);
        assert(i == 0 || heap->items[(i - 1) / 2]->expires_ms <= heap->items[i]->expires_ms);
    }
}
