/*
 * prefetch - has a cache line fetched that will be read, or written, soon. Any address will do: one that is not mapped costs
 * time only.
 *
 * GCC takes a function that does nothing but __builtin_prefetch for one without effect, and drops calls of it; the empty
 * instruction tells it otherwise.
 */
#ifndef HG_BASE_PREFETCH_H
#define HG_BASE_PREFETCH_H

static inline void hg_prefetch(const void *address)
{
    __builtin_prefetch(address);
    __asm__ volatile("");
}

static inline void hg_prefetch_to_write(const void *address)
{
    __builtin_prefetch(address, 1);
    __asm__ volatile("");
}

#endif
