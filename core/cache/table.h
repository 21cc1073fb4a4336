/*
 * table - a store's hash table: from a key to its value.
 *
 * Buckets are cache lines of eight slots, with more lines behind where there are more entries; a slot is the value's
 * address and eight bits of its hash, so that a look-up reads one line and then, nearly always, only the value it is for.
 * There are up to eight entries for each bucket (HG_BUCKET_LOAD); then the number of buckets doubles, and halves below
 * two. What is used comes to the first line. A resize goes on by a bucket with each operation, so no pause grows with the number of entries: the smaller table's
 * bucket s and the larger one's s and s + small hold the same entries, and move_index says up to which s they have moved.
 *
 * Ownership  borrows the values.
 * Threads    none of its own: the caller holds the shard's lock.
 * Errors     HG_ENOMEM where an entry does not get in. A resize that gets no memory waits.
 */
#ifndef HG_CACHE_TABLE_H
#define HG_CACHE_TABLE_H

#include "base/prefetch.h"
#include "base/value.h"
#include "cache/tags.h"

#define HG_BUCKET_SLOTS 8
#define HG_BUCKET_LOAD  8

struct hg_bucket {
    uint64_t tags; /* a byte for each slot, never 0; 0: free. Without gaps */
    uint32_t low[HG_BUCKET_SLOTS];
    uint16_t high[HG_BUCKET_SLOTS];
    struct hg_bucket *more; /* only where all slots are taken */
};

typedef uint64_t (*hg_hash_fn)(struct hg_bytes key);

struct hg_table {
    struct hg_bucket *buckets, *old_buckets; /* old_buckets: being moved from, NULL when not resizing */
    size_t mask;
    hg_hash_fn hash; /* hg_hash; tests make keys collide */
    size_t old_mask, move_index;
    size_t count;            /* entries */
    struct hg_bucket *spare; /* for what a resize is moving */
};

int hg_table_init(struct hg_table *table); /* HG_ENOMEM */
void hg_table_finish(struct hg_table *table); /* it is empty */

struct hg_value *hg_table_find(const struct hg_table *table, uint64_t hash, struct hg_bytes key);
/* The same for a use: what is found comes to the first line. */
struct hg_value *hg_table_use(struct hg_table *table, uint64_t hash, struct hg_bytes key);
/*
 * The short way to what hg_table_use nearly always finds, in two steps: the first with its tag in its bucket's first line, and
 * whether that is it. NULL, or false, says nothing.
 */
static inline struct hg_value *hg_table_guess(const struct hg_table *table, uint64_t hash);
static inline bool hg_table_is_guessed(const struct hg_value *value, struct hg_bytes key);
/* Where only the hash is known; of two with one hash it is either. */
struct hg_value *hg_table_find_hash(const struct hg_table *table, uint64_t hash);
/* The key is not there. HG_OK or HG_ENOMEM. */
int hg_table_add(struct hg_table *table, uint64_t hash, struct hg_value *value);
/* It is there. */
void hg_table_remove(struct hg_table *table, uint64_t hash, const struct hg_value *value);

/* The share of one operation in keeping the table in shape. */
void hg_table_tend(struct hg_table *table);
/* The same for look-ups, which never begin a resize. */
void hg_table_move(struct hg_table *table);

/*
 * For who walks all there is: entries by rows. A row holds the same entries whatever a resize has moved, so a walk may rest
 * between rows; when their number changes, it begins anew.
 */
size_t hg_table_row_count(const struct hg_table *table);
/* The n-th entry of a row, from 0; NULL behind the last. When one is removed, another takes its number. */
struct hg_value *hg_table_nth(const struct hg_table *table, size_t row, size_t n);

/*
 * Ahead of a look-up: its bucket's line. Also without the lock, which another thread may hold: where the table is being resized
 * it fetches what is not needed.
 */
static inline void hg_table_fetch_bucket(const struct hg_table *table, uint64_t hash);

/* Tests: all entries are where they are looked for, no key is there twice. */
bool hg_table_validate(const struct hg_table *table);

/* ---- inline: so few instructions that the next look-up begins while this one waits for memory ---- */

/* Folded, so that it does not matter which bits of the hash chose the shard. */
static inline size_t hg_table_fold(uint64_t hash)
{
    return (size_t)(hash ^ hash >> 32);
}

static inline struct hg_value *hg_bucket_value(const struct hg_bucket *bucket, unsigned slot)
{
    return (struct hg_value *)((uintptr_t)bucket->high[slot] << 32 | bucket->low[slot]);
}

/* Buckets and mask may be of different moments, and then it is some address that is fetched. */
static inline void hg_table_fetch_bucket(const struct hg_table *table, uint64_t hash)
{
    struct hg_bucket *buckets = __atomic_load_n(&table->buckets, __ATOMIC_RELAXED);
    size_t mask = __atomic_load_n(&table->mask, __ATOMIC_RELAXED);
    hg_prefetch((const void *)((uintptr_t)buckets + (hg_table_fold(hash) & mask) * sizeof(struct hg_bucket)));
}

static inline struct hg_value *hg_table_guess(const struct hg_table *table, uint64_t hash)
{
    if (table->old_buckets != NULL)
        return NULL;
    const struct hg_bucket *bucket = &table->buckets[hg_table_fold(hash) & table->mask];
    uint64_t found = hg_tags_match(bucket->tags, hg_tag(hash));
    return found == 0 ? NULL : hg_bucket_value(bucket, hg_tags_first(found));
}

/* Of keys that are compared without a call. */
static inline bool hg_table_is_guessed(const struct hg_value *value, struct hg_bytes key)
{
    struct hg_bytes its_key = hg_value_key(value);
    return its_key.len == key.len && hg_bytes_is_short(key.len) &&
           hg_bytes_eq_short(its_key.data, key.data, key.len);
}

#endif
