#include "cache/table.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/hash.h"

#define FIRST_BUCKETS  2
#define SHRINK_DIVISOR 4 /* shrinks below a quarter of what makes it grow */

static_assert(sizeof(struct hg_bucket) == 64, "a cache line");

static size_t small_mask(const struct hg_table *table)
{
    return table->mask < table->old_mask ? table->mask : table->old_mask;
}

static bool is_moved(const struct hg_table *table, size_t index)
{
    return table->old_buckets == NULL || (index & small_mask(table)) < table->move_index;
}

static struct hg_bucket *bucket_of(const struct hg_table *table, uint64_t hash)
{
    size_t index = hg_table_fold(hash);
    if (is_moved(table, index))
        return &table->buckets[index & table->mask];
    return &table->old_buckets[index & table->old_mask];
}

static uint64_t tag_at(const struct hg_bucket *bucket, unsigned slot)
{
    return bucket->tags >> slot * 8 & 0xff;
}

static void slot_set(struct hg_bucket *bucket, unsigned slot, const struct hg_value *value,
                     uint64_t tag)
{
    assert((uintptr_t)value >> 48 == 0);
    unsigned at = slot * HG_TAG_BITS;
    bucket->low[slot] = (uint32_t)(uintptr_t)value;
    bucket->high[slot] = (uint16_t)((uintptr_t)value >> 32);
    bucket->tags = (bucket->tags & ~(UINT64_C(0xff) << at)) | tag << at;
}

static unsigned used_of(const struct hg_bucket *bucket)
{
    return bucket->tags == 0 ? 0 : HG_BUCKET_SLOTS - (unsigned)__builtin_clzll(bucket->tags) / 8;
}

struct place {
    struct hg_bucket *bucket;
    unsigned slot;
};

/* False: it is not there. */
static bool find(const struct hg_table *table, uint64_t hash, struct hg_bytes key,
                 struct place *out_place)
{
    uint64_t tag = hg_tag(hash);
    struct hg_bucket *bucket = bucket_of(table, hash);
    do {
        for (uint64_t found = hg_tags_match(bucket->tags, tag); found != 0; found &= found - 1) {
            unsigned slot = hg_tags_first(found);
            if (hg_bytes_eq(hg_value_key(hg_bucket_value(bucket, slot)), key)) {
                *out_place = (struct place){bucket, slot};
                return true;
            }
        }
        bucket = bucket->more;
    } while (bucket != NULL);
    return false;
}

struct hg_value *hg_table_find(const struct hg_table *table, uint64_t hash, struct hg_bytes key)
{
    const struct hg_bucket *bucket = bucket_of(table, hash);
    struct place at;
    if (bucket->more == NULL && hg_tags_match(bucket->tags, hg_tag(hash)) == 0)
        return NULL; /* as nearly always, when what is not there is put */
    return find(table, hash, key, &at) ? hg_bucket_value(at.bucket, at.slot) : NULL;
}

static void swap_slots(struct hg_bucket *a, unsigned slot_a, struct hg_bucket *b, unsigned slot_b)
{
    const struct hg_value *value = hg_bucket_value(a, slot_a);
    uint64_t tag = tag_at(a, slot_a);
    slot_set(a, slot_a, hg_bucket_value(b, slot_b), tag_at(b, slot_b));
    slot_set(b, slot_b, value, tag);
}

struct hg_value *hg_table_use(struct hg_table *table, uint64_t hash, struct hg_bytes key)
{
    struct place at;
    if (!find(table, hash, key, &at))
        return NULL;
    struct hg_value *value = hg_bucket_value(at.bucket, at.slot);
    struct hg_bucket *first = bucket_of(table, hash);
    if (at.bucket != first)
        swap_slots(at.bucket, at.slot, first, at.slot);
    return value;
}

struct hg_value *hg_table_find_hash(const struct hg_table *table, uint64_t hash)
{
    uint64_t tag = hg_tag(hash);
    for (const struct hg_bucket *bucket = bucket_of(table, hash); bucket != NULL;
         bucket = bucket->more) {
        for (uint64_t found = hg_tags_match(bucket->tags, tag); found != 0; found &= found - 1) {
            struct hg_value *value = hg_bucket_value(bucket, hg_tags_first(found));
            if (table->hash(hg_value_key(value)) == hash)
                return value;
        }
    }
    return NULL;
}

/* Into the first free slot; a new bucket behind a full one comes from the spare ones. */
static int insert(struct hg_table *table, struct hg_bucket *bucket, const struct hg_value *value,
                  uint64_t tag)
{
    unsigned used;
    while ((used = used_of(bucket)) == HG_BUCKET_SLOTS) {
        if (bucket->more == NULL) {
            struct hg_bucket *more = table->spare;
            if (more == NULL)
                more = hg_malloc(sizeof(*more));
            else
                table->spare = more->more;
            if (more == NULL)
                return HG_ENOMEM;
            *more = (struct hg_bucket){0};
            bucket->more = more;
        }
        bucket = bucket->more;
    }
    slot_set(bucket, used, value, tag);
    return HG_OK;
}

int hg_table_add(struct hg_table *table, uint64_t hash, struct hg_value *value)
{
    int err = insert(table, bucket_of(table, hash), value, hg_tag(hash));
    table->count += err == HG_OK;
    return err;
}

/* In this line. HG_BUCKET_SLOTS: it is not there. */
static unsigned slot_of(const struct hg_bucket *bucket, uint64_t tag, const struct hg_value *value)
{
    for (uint64_t found = hg_tags_match(bucket->tags, tag); found != 0; found &= found - 1) {
        unsigned slot = hg_tags_first(found);
        if (hg_bucket_value(bucket, slot) == value)
            return slot;
    }
    return HG_BUCKET_SLOTS;
}

/* The last one takes the place of the one that goes. */
void hg_table_remove(struct hg_table *table, uint64_t hash, const struct hg_value *value)
{
    struct hg_bucket *bucket = bucket_of(table, hash), *before = NULL;
    unsigned slot;
    while ((slot = slot_of(bucket, hg_tag(hash), value)) == HG_BUCKET_SLOTS) {
        assert(bucket->more != NULL);
        before = bucket;
        bucket = bucket->more;
    }
    struct hg_bucket *last = bucket;
    for (; last->more != NULL; last = last->more)
        before = last;
    unsigned last_slot = used_of(last) - 1;
    slot_set(bucket, slot, hg_bucket_value(last, last_slot), tag_at(last, last_slot));
    last->tags &=
        ~(UINT64_C(0xff) << last_slot * HG_TAG_BITS); /* what its place holds means nothing */
    table->count--;
    if (last_slot == 0 && before != NULL) {
        before->more = NULL;
        hg_free(last);
    }
}

/* ---- resize ---- */

static void spare_push(struct hg_table *table, struct hg_bucket *bucket)
{
    bucket->more = table->spare;
    table->spare = bucket;
}

/* Of a bucket and those behind it. */
static size_t entries_of(const struct hg_bucket *bucket, size_t *out_more)
{
    size_t count = used_of(bucket);
    for (*out_more = 0; bucket->more != NULL; (*out_more)++) {
        bucket = bucket->more;
        count += used_of(bucket);
    }
    return count;
}

/* Buckets for all entries of the two, which in the worst case are one's; what they have themselves is used again. */
static bool reserve(struct hg_table *table, const struct hg_bucket *a, const struct hg_bucket *b)
{
    size_t more_a, more_b = 0;
    size_t count = entries_of(a, &more_a) + (b == NULL ? 0 : entries_of(b, &more_b));
    size_t wanted = (count + HG_BUCKET_SLOTS - 1) / HG_BUCKET_SLOTS;
    for (size_t have = 1 + more_a + more_b; have < wanted; have++) {
        struct hg_bucket *bucket = hg_malloc(sizeof(*bucket));
        if (bucket == NULL)
            return false;
        spare_push(table, bucket);
    }
    return true;
}

static void spare_free(struct hg_table *table)
{
    for (struct hg_bucket *bucket = table->spare, *next; bucket != NULL; bucket = next) {
        next = bucket->more;
        hg_free(bucket);
    }
    table->spare = NULL;
}

static void move_entries(struct hg_table *table, struct hg_bucket *from)
{
    bool is_first = true;
    while (from != NULL) {
        struct hg_bucket moved = *from;
        if (!is_first)
            spare_push(table, from);
        is_first = false;
        unsigned used = used_of(&moved);
        for (unsigned slot = 0; slot < used; slot++) {
            const struct hg_value *value = hg_bucket_value(&moved, slot);
            uint64_t hash = table->hash(hg_value_key(value));
            int err = insert(table, &table->buckets[hg_table_fold(hash) & table->mask], value,
                             hg_tag(hash));
            assert(err == HG_OK); /* reserved */
            (void)err;
        }
        from = moved.more;
    }
}

void hg_table_move(struct hg_table *table)
{
    if (table->old_buckets == NULL)
        return;
    size_t small = small_mask(table), index = table->move_index;
    bool is_growing = table->mask > table->old_mask;
    struct hg_bucket *from = &table->old_buckets[index];
    struct hg_bucket *second = is_growing ? NULL : &table->old_buckets[index + small + 1];
    bool is_reserved = reserve(table, from, second);
    if (is_reserved) {
        /* A new table is not cleared: each bucket is written when its entries move in. */
        table->buckets[index] = (struct hg_bucket){0};
        if (is_growing)
            table->buckets[index + small + 1] = (struct hg_bucket){0};
        move_entries(table, from);
        if (second != NULL)
            move_entries(table, second);
        table->move_index++;
    }
    spare_free(table);
    if (table->move_index > small) {
        hg_free(table->old_buckets);
        table->old_buckets = NULL;
        table->move_index = 0;
    }
}

/* Without memory the table stays as it is: more lines behind a bucket, nothing else. */
static void resize(struct hg_table *table, size_t bucket_count)
{
    size_t bytes;
    if (!hg_size_mul(bucket_count, sizeof(struct hg_bucket), &bytes))
        return;
    struct hg_bucket *buckets = hg_malloc(bytes);
    if (buckets == NULL)
        return;
    table->old_buckets = table->buckets;
    table->old_mask = table->mask;
    __atomic_store_n(&table->buckets, buckets, __ATOMIC_RELAXED); /* hg_table_fetch_bucket */
    __atomic_store_n(&table->mask, bucket_count - 1, __ATOMIC_RELAXED);
    table->move_index = 0;
}

void hg_table_tend(struct hg_table *table)
{
    size_t bucket_count = table->mask + 1;
    if (table->old_buckets != NULL)
        hg_table_move(table);
    else if (table->count > bucket_count * HG_BUCKET_LOAD)
        resize(table, bucket_count * 2);
    else if (bucket_count > FIRST_BUCKETS &&
             table->count < bucket_count * HG_BUCKET_LOAD / SHRINK_DIVISOR)
        resize(table, bucket_count / 2);
}

int hg_table_init(struct hg_table *table)
{
    *table = (struct hg_table){.mask = FIRST_BUCKETS - 1, .hash = hg_hash};
    table->buckets = hg_calloc(FIRST_BUCKETS, sizeof(struct hg_bucket));
    return table->buckets == NULL ? HG_ENOMEM : HG_OK;
}

void hg_table_finish(struct hg_table *table)
{
    assert(table->count == 0);
    hg_free(table->old_buckets);
    hg_free(table->buckets);
    *table = (struct hg_table){0};
}

/* ---- walks ---- */

static size_t row_mask(const struct hg_table *table)
{
    return table->old_buckets == NULL ? table->mask : small_mask(table);
}

size_t hg_table_row_count(const struct hg_table *table)
{
    return row_mask(table) + 1;
}

/* A row's buckets: one, or two of the larger table; the second is NULL then. */
static struct hg_bucket *row_buckets(const struct hg_table *table, size_t row,
                                     struct hg_bucket **out_second)
{
    bool is_new = is_moved(table, row);
    struct hg_bucket *buckets = is_new ? table->buckets : table->old_buckets;
    bool is_larger = (is_new ? table->mask : table->old_mask) > row_mask(table);
    *out_second = is_larger ? &buckets[row + row_mask(table) + 1] : NULL;
    return &buckets[row];
}

struct hg_value *hg_table_nth(const struct hg_table *table, size_t row, size_t n)
{
    struct hg_bucket *second, *bucket = row_buckets(table, row, &second);
    while (bucket != NULL) {
        size_t used = used_of(bucket);
        if (n < used)
            return hg_bucket_value(bucket, (unsigned)n);
        n -= used;
        bucket = bucket->more;
        if (bucket == NULL) {
            bucket = second;
            second = NULL;
        }
    }
    return NULL;
}

static bool is_bucket_valid(const struct hg_table *table, const struct hg_bucket *first,
                            size_t *count)
{
    for (const struct hg_bucket *bucket = first; bucket != NULL; bucket = bucket->more) {
        unsigned used = used_of(bucket);
        if ((bucket->more != NULL && used < HG_BUCKET_SLOTS) || (bucket != first && used == 0))
            return false;
        for (unsigned slot = 0; slot < used; slot++) {
            const struct hg_value *value = hg_bucket_value(bucket, slot);
            uint64_t hash = table->hash(hg_value_key(value));
            if (++*count > table->count || tag_at(bucket, slot) != hg_tag(hash) ||
                bucket_of(table, hash) != first ||
                hg_table_find(table, hash, hg_value_key(value)) != value)
                return false;
        }
    }
    return true;
}

bool hg_table_validate(const struct hg_table *table)
{
    size_t count = 0;
    for (size_t row = 0; row < hg_table_row_count(table); row++) {
        struct hg_bucket *second, *first = row_buckets(table, row, &second);
        if (!is_bucket_valid(table, first, &count) ||
            (second != NULL && !is_bucket_valid(table, second, &count)))
            return false;
    }
    return count == table->count && table->spare == NULL;
}
