#include "base/alloc.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef HG_HAVE_JEMALLOC
#include <jemalloc/jemalloc.h>
#else
#include <malloc.h>
#endif

/*
 * One counter for all threads would be the hottest cache line of the process. Each of the first threads has a stripe of its
 * own, which nobody else writes; those that come later share the rest. A read sums them. A block may be freed on
 * another thread than it was born on, so a single stripe may wrap below zero; only the sum means something.
 */
#define STRIPE_COUNT 256
#define OWNED        240 /* the rest is shared */
#define CACHE_LINE   64

struct stripe {
    _Alignas(CACHE_LINE) atomic_size_t bytes;
    atomic_size_t blocks;
};

static struct stripe stripes[STRIPE_COUNT];
static atomic_uint thread_count;
static _Thread_local struct stripe *own_stripe;

static struct {
    atomic_bool armed;
    atomic_bool sticky;
    atomic_bool refused;
    atomic_llong left;
} hook;

static struct stripe *stripe_of_thread(void)
{
    if (own_stripe == NULL) {
        unsigned index = atomic_fetch_add_explicit(&thread_count, 1, memory_order_relaxed);
        own_stripe = &stripes[index < OWNED ? index : OWNED + index % (STRIPE_COUNT - OWNED)];
    }
    return own_stripe;
}

#ifdef HG_HAVE_JEMALLOC
/* What nallocx says, which computes it: of sizes from one step below to this one, which are all in one class. */
#define SMALL_STEP 8
#define SMALL_MAX  1024
static uint16_t small_sizes[SMALL_MAX / SMALL_STEP + 1];

__attribute__((constructor)) static void small_sizes_at_start(void)
{
    for (size_t i = 0; i <= SMALL_MAX / SMALL_STEP; i++)
        small_sizes[i] = (uint16_t)nallocx(i == 0 ? 1 : i * SMALL_STEP, 0);
}
#endif

static size_t block_size(void *block)
{
#ifdef HG_HAVE_JEMALLOC
    return sallocx(block, 0);
#else
    return malloc_usable_size(block);
#endif
}

/* The same of one that has just been made for `size`. */
static size_t block_size_new(void *block, size_t size)
{
#ifdef HG_HAVE_JEMALLOC
    (void)block;
    return hg_alloc_size(size);
#else
    (void)size;
    return malloc_usable_size(block);
#endif
}

static void stripe_add(size_t bytes, size_t blocks)
{
    struct stripe *stripe = stripe_of_thread();
    if (stripe >= &stripes[OWNED]) {
        atomic_fetch_add_explicit(&stripe->bytes, bytes, memory_order_relaxed);
        atomic_fetch_add_explicit(&stripe->blocks, blocks, memory_order_relaxed);
        return;
    }
    bytes += atomic_load_explicit(&stripe->bytes, memory_order_relaxed);
    blocks += atomic_load_explicit(&stripe->blocks, memory_order_relaxed);
    atomic_store_explicit(&stripe->bytes, bytes, memory_order_relaxed);
    atomic_store_explicit(&stripe->blocks, blocks, memory_order_relaxed);
}

static void count_block(size_t bytes)
{
    stripe_add(bytes, 1);
}

static void uncount_block(size_t bytes)
{
    stripe_add(0 - bytes, (size_t)-1);
}

/* Sizes that no allocator has are refused here: sanitizers would end the process over them. */
static bool is_refused(size_t size)
{
    if (size > PTRDIFF_MAX)
        return true;
    if (!atomic_load_explicit(&hook.armed, memory_order_relaxed))
        return false;
    long long left = atomic_fetch_sub(&hook.left, 1);
    if (left > 0 || (left < 0 && !atomic_load(&hook.sticky)))
        return false;
    atomic_store(&hook.refused, true);
    return true;
}

void *hg_malloc(size_t size)
{
    if (is_refused(size))
        return NULL;
    void *block = malloc(size == 0 ? 1 : size);
    if (block != NULL)
        count_block(block_size_new(block, size));
    return block;
}

void *hg_calloc(size_t count, size_t size)
{
    size_t bytes;
    if (!hg_size_mul(count, size, &bytes) || is_refused(bytes))
        return NULL;
    void *block = calloc(1, bytes == 0 ? 1 : bytes);
    if (block != NULL)
        count_block(block_size(block));
    return block;
}

void *hg_realloc(void *block, size_t size)
{
    if (block == NULL)
        return hg_malloc(size);
    if (is_refused(size))
        return NULL;
    size_t old_bytes = block_size(block);
    void *moved = realloc(block, size == 0 ? 1 : size);
    if (moved == NULL)
        return NULL;
    uncount_block(old_bytes);
    count_block(block_size(moved));
    return moved;
}

void hg_free(void *block)
{
    if (block == NULL)
        return;
    size_t bytes = block_size(block);
    uncount_block(bytes);
#ifdef HG_HAVE_JEMALLOC
    sdallocx(block, bytes, 0); /* it need not look the size up again */
#else
    free(block);
#endif
}

char *hg_strndup(const char *text, size_t len)
{
    size_t size;
    if (!hg_size_add(len, 1, &size))
        return NULL;
    char *copy = hg_malloc(size);
    if (copy == NULL)
        return NULL;
    if (len > 0)
        memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

size_t hg_alloc_size(size_t size)
{
    if (size == 0)
        size = 1;
#ifdef HG_HAVE_JEMALLOC
    if (size <= SMALL_MAX)
        return small_sizes[(size + SMALL_STEP - 1) / SMALL_STEP];
    /* Beyond jemalloc's largest class nallocx says 0; nothing of that size can be had. */
    size_t rounded = size > PTRDIFF_MAX ? 0 : nallocx(size, 0);
    return rounded == 0 ? SIZE_MAX : rounded;
#else
    /* As glibc: a size word before the block, chunks of 16 bytes, none under 32. */
    if (size > PTRDIFF_MAX)
        return SIZE_MAX;
    size_t rounded = (size + sizeof(size_t) + 15) & ~(size_t)15;
    return rounded < 32 ? 32 : rounded;
#endif
}

size_t hg_alloc_live_bytes(void)
{
    size_t sum = 0;
    for (size_t i = 0; i < STRIPE_COUNT; i++)
        sum += atomic_load_explicit(&stripes[i].bytes, memory_order_relaxed);
    return sum > PTRDIFF_MAX ? 0 : sum; /* the stripes are not read at one moment */
}

size_t hg_alloc_live_count(void)
{
    size_t sum = 0;
    for (size_t i = 0; i < STRIPE_COUNT; i++)
        sum += atomic_load_explicit(&stripes[i].blocks, memory_order_relaxed);
    return sum > PTRDIFF_MAX ? 0 : sum;
}

bool hg_size_add(size_t a, size_t b, size_t *out)
{
    size_t sum;
    if (__builtin_add_overflow(a, b, &sum))
        return false;
    *out = sum;
    return true;
}

bool hg_size_mul(size_t a, size_t b, size_t *out)
{
    size_t product;
    if (__builtin_mul_overflow(a, b, &product))
        return false;
    *out = product;
    return true;
}

void hg_alloc_fail_at(size_t nth, bool sticky)
{
    atomic_store(&hook.armed, false);
    atomic_store(&hook.refused, false);
    atomic_store(&hook.sticky, sticky);
    atomic_store(&hook.left, nth > INT64_MAX ? INT64_MAX : (long long)nth);
    atomic_store(&hook.armed, true);
}

bool hg_alloc_fail_clear(void)
{
    atomic_store(&hook.armed, false);
    return atomic_exchange(&hook.refused, false);
}
