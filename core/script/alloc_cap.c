#include "script/alloc_cap.h"

#include <stdlib.h>

static size_t used(const struct hg_alloc_cap *cap)
{
    return atomic_load_explicit(&cap->used_bytes, memory_order_relaxed);
}

static void set_used(struct hg_alloc_cap *cap, size_t bytes)
{
    atomic_store_explicit(&cap->used_bytes, bytes, memory_order_relaxed);
}

void *hg_alloc_cap(void *ud, void *block, size_t old_size, size_t new_size)
{
    struct hg_alloc_cap *cap = ud;

    if (block == NULL)
        old_size = 0;
    if (new_size == 0) {
        free(block);
        set_used(cap, used(cap) - old_size);
        return NULL;
    }
    size_t rest = used(cap) - old_size;
    if (new_size > old_size &&
        (new_size > cap->limit_bytes || rest > cap->limit_bytes - new_size)) {
        cap->refused++;
        return NULL;
    }
    void *moved = block == NULL ? malloc(new_size) : realloc(block, new_size);
    if (moved == NULL)
        return new_size <= old_size ? block : NULL;
    set_used(cap, rest + new_size);
    return moved;
}
