/*
 * alloc_cap - the allocator of one Lua state: counts what Lua holds and refuses what would pass the
 * cap.
 *
 * Blocks come from the C library and are counted here, not by base/alloc: a script's memory has its
 * own budget, and Lua allocates far too often for a shared counter. A block never fails to shrink
 * or to be freed, so that unwinding an out-of-memory error always succeeds.
 *
 * Threads    the state's own; `used_bytes` may be read from any.
 */
#ifndef HG_SCRIPT_ALLOC_CAP_H
#define HG_SCRIPT_ALLOC_CAP_H

#include <stdatomic.h>
#include <stdint.h>
#include <stddef.h>

struct hg_alloc_cap {
    size_t limit_bytes;
    atomic_size_t used_bytes;
    uint64_t refused; /* allocations past the cap */
};

/* A lua_Alloc; ud is a struct hg_alloc_cap. */
void *hg_alloc_cap(void *ud, void *block, size_t old_size, size_t new_size);

#endif
