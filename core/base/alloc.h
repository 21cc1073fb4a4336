/*
 * alloc - counted allocation with a fail hook.
 *
 * Every allocation of the core goes through here. Live bytes are counted as the allocator rounds
 * them (jemalloc's nallocx where there is jemalloc), so the count is what memory really costs.
 *
 * Threads    all of it is thread-safe; counters are atomic.
 * Errors     NULL when memory is out or the hook said so.
 */
#ifndef HG_BASE_ALLOC_H
#define HG_BASE_ALLOC_H

#include <stdbool.h>
#include <stddef.h>

void *hg_malloc(size_t size);
void *hg_calloc(size_t count, size_t size);
/* As realloc; on failure the old block stays. */
void *hg_realloc(void *block, size_t size);
/* NULL is allowed. */
void hg_free(void *block);
/* A NUL-terminated copy of len bytes. */
char *hg_strndup(const char *text, size_t len);

/* What a block of this size really takes, without allocating it. */
size_t hg_alloc_size(size_t size);
/* Bytes alive now, rounded as the allocator does. */
size_t hg_alloc_live_bytes(void);
size_t hg_alloc_live_count(void);

/* a + b and a * b into *out; false on overflow, *out untouched. */
bool hg_size_add(size_t a, size_t b, size_t *out);
bool hg_size_mul(size_t a, size_t b, size_t *out);

/*
 * Test hook: the nth allocation from now (0 = the next) fails, and with `sticky` all after it too.
 * hg_alloc_fail_clear ends it and says whether any allocation was refused. Process-wide.
 */
void hg_alloc_fail_at(size_t nth, bool sticky);
bool hg_alloc_fail_clear(void);

#endif
