#include "base/shared.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include "base/alloc.h"
#include "base/err.h"
#include "base/expiry_heap.h"
#include "base/hash.h"
#include "base/units.h"

#define SHARDS        8
#define BUCKETS_FIRST 16
/* Expired entries that one write frees in its own shard, and in each shard when there is no room. */
#define SWEEP_MAX      4
#define SWEEP_FULL_MAX 256
/* Of each entry, for its places in buckets and heap, which grow by doubling. */
#define PLACES_BYTES (4 * sizeof(void *))

struct entry {
    struct entry *next;
    uint64_t hash;
    struct hg_expiry_item expiry; /* in the heap unless it has no end */
    double number;
    uint32_t key_len, value_len;
    enum hg_shared_kind kind;
    char data[]; /* key, then value */
};

struct shard {
    pthread_mutex_t lock;
    struct entry **buckets; /* a power of two, or none yet */
    size_t bucket_count, entry_count;
    struct hg_expiry_heap heap;
};

struct hg_shared_table {
    struct hg_shared_config config;
    char name[HG_SHARED_NAME_MAX + 1];
    atomic_size_t bytes, entries;
    atomic_uint_fast64_t full, too_big, expired;
    struct shard shards[SHARDS];
};

struct hg_shared {
    struct hg_shared_config config;
    pthread_mutex_t lock;
    struct hg_shared_table *tables[HG_SHARED_TABLES_MAX];
    size_t table_count;
};

/* ---- buckets ---- */

static struct shard *shard_of(struct hg_shared_table *table, uint64_t hash)
{
    return &table->shards[hash >> 61]; /* buckets take the low bits */
}

static struct hg_bytes key_of(const struct entry *entry)
{
    return hg_bytes(entry->data, entry->key_len);
}

/* Where the key's entry hangs, or NULL. */
static struct entry **find(struct shard *shard, struct hg_bytes key, uint64_t hash)
{
    if (shard->bucket_count == 0)
        return NULL;
    struct entry **at = &shard->buckets[hash & (shard->bucket_count - 1)];
    for (; *at != NULL; at = &(*at)->next)
        if ((*at)->hash == hash && hg_bytes_eq(key_of(*at), key))
            return at;
    return NULL;
}

static void hang(struct shard *shard, struct entry *entry)
{
    struct entry **at = &shard->buckets[entry->hash & (shard->bucket_count - 1)];
    entry->next = *at;
    *at = entry;
}

/* Room for one more; without memory for it the chains get longer, unless there are none. */
static int buckets_reserve(struct shard *shard)
{
    if (shard->entry_count < shard->bucket_count)
        return HG_OK;
    size_t before = shard->bucket_count, count = before == 0 ? BUCKETS_FIRST : 2 * before;
    struct entry **old = shard->buckets;
    struct entry **buckets = hg_calloc(count, sizeof(struct entry *));
    if (buckets == NULL)
        return before == 0 ? HG_ENOMEM : HG_OK;
    shard->buckets = buckets;
    shard->bucket_count = count;
    for (size_t i = 0; i < before; i++) {
        for (struct entry *entry = old[i], *next; entry != NULL; entry = next) {
            next = entry->next;
            hang(shard, entry);
        }
    }
    hg_free(old);
    return HG_OK;
}

/* ---- room ---- */

static size_t cost_of(size_t key_len, size_t value_len)
{
    return hg_alloc_size(sizeof(struct entry) + key_len + value_len) + PLACES_BYTES;
}

static void drop(struct hg_shared_table *table, struct shard *shard, struct entry **at)
{
    struct entry *entry = *at;

    *at = entry->next;
    hg_expiry_heap_remove(&shard->heap, &entry->expiry);
    shard->entry_count--;
    atomic_fetch_sub(&table->entries, 1);
    atomic_fetch_sub(&table->bytes, cost_of(entry->key_len, entry->value_len));
    hg_free(entry);
}

/* At most `max` of those whose time is over; how many they were. */
static size_t sweep(struct hg_shared_table *table, struct shard *shard, uint64_t now_ms, size_t max)
{
    struct hg_expiry_item *due;
    size_t freed = 0;

    for (; freed < max && (due = hg_expiry_heap_due(&shard->heap, now_ms)) != NULL; freed++) {
        struct entry *entry = hg_container_of(due, struct entry, expiry);
        drop(table, shard, find(shard, key_of(entry), entry->hash));
    }
    atomic_fetch_add(&table->expired, freed);
    return freed;
}

static bool reserve(atomic_size_t *used, size_t more, size_t max)
{
    size_t now = atomic_load(used);
    do {
        if (more > max || now > max - more)
            return false;
    } while (!atomic_compare_exchange_weak(used, &now, now + more));
    return true;
}

/* For an entry that takes more_entries (0 or 1) and more_bytes. */
static bool try_room(struct hg_shared_table *table, size_t more_entries, size_t more_bytes)
{
    if (!reserve(&table->entries, more_entries, table->config.entries_max))
        return false;
    if (reserve(&table->bytes, more_bytes, table->config.capacity_bytes))
        return true;
    atomic_fetch_sub(&table->entries, more_entries);
    return false;
}

/* Frees some of what has expired everywhere, one shard's lock at a time. False: there was nothing. */
static bool sweep_all(struct hg_shared_table *table, uint64_t now_ms)
{
    size_t freed = 0;
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *shard = &table->shards[i];
        pthread_mutex_lock(&shard->lock);
        freed += sweep(table, shard, now_ms, SWEEP_FULL_MAX);
        pthread_mutex_unlock(&shard->lock);
    }
    return freed > 0;
}

/* ---- what the operations share ---- */

static size_t value_len(const struct hg_shared_value *value)
{
    return value->kind == HG_SHARED_STRING ? value->bytes.len : 0;
}

static int check_size(struct hg_shared_table *table, struct hg_bytes key, size_t value_bytes)
{
    if (key.len <= HG_SHARED_KEY_MAX && value_bytes <= table->config.capacity_bytes &&
        value_bytes <= UINT32_MAX && cost_of(key.len, value_bytes) <= table->config.capacity_bytes)
        return HG_OK;
    atomic_fetch_add(&table->too_big, 1);
    return HG_ETOOBIG;
}

/* The key's entry while its time is not over. */
static struct entry **find_alive(struct hg_shared_table *table, struct shard *shard,
                                 struct hg_bytes key, uint64_t hash, uint64_t now_ms)
{
    struct entry **at = find(shard, key, hash);
    if (at == NULL || (*at)->expiry.expires_ms > now_ms)
        return at;
    drop(table, shard, at);
    atomic_fetch_add(&table->expired, 1);
    return NULL;
}

/* Takes the place of *at, or is new when at is NULL. HG_ELIMIT, HG_ENOMEM: nothing has changed. */
static int put(struct hg_shared_table *table, struct shard *shard, struct entry **at,
               struct hg_bytes key, uint64_t hash, const struct hg_shared_value *value,
               uint64_t expires_ms)
{
    size_t len = value_len(value), cost = cost_of(key.len, len);
    struct entry *old = at == NULL ? NULL : *at;
    size_t old_cost = old == NULL ? 0 : cost_of(old->key_len, old->value_len);
    size_t more = cost > old_cost ? cost - old_cost : 0;
    struct entry *entry = old;

    if (!try_room(table, old == NULL ? 1 : 0, more))
        return HG_ELIMIT;
    int err = expires_ms == HG_FOREVER ? HG_OK : hg_expiry_heap_reserve(&shard->heap);
    if (err == HG_OK && old == NULL)
        err = buckets_reserve(shard);
    if (err == HG_OK && (old == NULL || old->value_len != len)) {
        entry = hg_malloc(sizeof(*entry) + key.len + len);
        err = entry == NULL ? HG_ENOMEM : HG_OK;
    }
    if (err < 0) {
        atomic_fetch_sub(&table->entries, old == NULL ? 1 : 0);
        atomic_fetch_sub(&table->bytes, more);
        return err;
    }
    if (old != NULL)
        hg_expiry_heap_remove(&shard->heap, &old->expiry);
    if (entry != old) {
        entry->hash = hash;
        entry->key_len = (uint32_t)key.len;
        entry->value_len = (uint32_t)len;
        memcpy(entry->data, key.data, key.len);
        entry->next = old == NULL ? NULL : old->next;
        if (old != NULL)
            *at = entry;
        else
            hang(shard, entry);
        shard->entry_count += old == NULL ? 1 : 0;
        hg_free(old);
    }
    if (len > 0)
        memcpy(entry->data + key.len, value->bytes.data, len);
    entry->kind = value->kind;
    entry->number = value->number;
    entry->expiry = (struct hg_expiry_item){.expires_ms = expires_ms, .index = HG_EXPIRY_NONE};
    if (expires_ms != HG_FOREVER)
        hg_expiry_heap_add(&shard->heap, &entry->expiry);
    if (old_cost > cost)
        atomic_fetch_sub(&table->bytes, old_cost - cost);
    return HG_OK;
}

/* One write: its step runs under the shard's lock, and once more when room could be made. */
struct write {
    struct hg_bytes key;
    uint64_t hash, expires_ms, now_ms;
    const struct hg_shared_value *value;
    bool is_add, is_incr;
    double by;
    /* incr: what it came to */
    double number;
    uint64_t ends_ms;
};

static int incr_present(struct entry *entry, struct write *write)
{
    if (entry->kind != HG_SHARED_NUMBER)
        return HG_EINVAL;
    entry->number += write->by;
    write->number = entry->number;
    write->ends_ms = entry->expiry.expires_ms;
    return HG_OK;
}

static int step(struct hg_shared_table *table, struct shard *shard, struct write *write)
{
    sweep(table, shard, write->now_ms, SWEEP_MAX);
    struct entry **at = find_alive(table, shard, write->key, write->hash, write->now_ms);
    if (at != NULL && write->is_incr)
        return incr_present(*at, write);
    if (at != NULL && write->is_add)
        return HG_PENDING;
    return put(table, shard, at, write->key, write->hash, write->value, write->expires_ms);
}

static int run(struct hg_shared_table *table, struct write *write)
{
    int err = check_size(table, write->key, value_len(write->value));
    if (err < 0)
        return err;
    write->hash = hg_hash(write->key);
    struct shard *shard = shard_of(table, write->hash);
    do {
        pthread_mutex_lock(&shard->lock);
        err = step(table, shard, write);
        pthread_mutex_unlock(&shard->lock);
    } while (err == HG_ELIMIT && sweep_all(table, write->now_ms));
    if (err == HG_ELIMIT)
        atomic_fetch_add(&table->full, 1);
    return err;
}

/* ---- operations ---- */

int hg_shared_get(struct hg_shared_table *table, struct hg_bytes key, uint64_t now_ms, char *buf,
                  size_t size, struct hg_shared_value *out_value, uint64_t *out_expires_ms)
{
    uint64_t hash = hg_hash(key);
    struct shard *shard = shard_of(table, hash);

    pthread_mutex_lock(&shard->lock);
    struct entry **at = find_alive(table, shard, key, hash, now_ms);
    if (at != NULL) {
        const struct entry *entry = *at;
        bool fits = entry->value_len <= size;
        if (fits && entry->value_len > 0)
            memcpy(buf, entry->data + entry->key_len, entry->value_len);
        *out_value = (struct hg_shared_value){
            .kind = entry->kind,
            .number = entry->number,
            .bytes = hg_bytes(fits ? buf : NULL, entry->value_len),
        };
        *out_expires_ms = entry->expiry.expires_ms;
    }
    pthread_mutex_unlock(&shard->lock);
    return at == NULL ? HG_ENOENT : HG_OK;
}

int hg_shared_set(struct hg_shared_table *table, struct hg_bytes key,
                  const struct hg_shared_value *value, uint64_t expires_ms, uint64_t now_ms)
{
    struct write write = {.key = key, .value = value, .expires_ms = expires_ms, .now_ms = now_ms};
    return run(table, &write);
}

int hg_shared_add(struct hg_shared_table *table, struct hg_bytes key,
                  const struct hg_shared_value *value, uint64_t expires_ms, uint64_t now_ms)
{
    struct write write = {
        .key = key, .value = value, .expires_ms = expires_ms, .now_ms = now_ms, .is_add = true};
    return run(table, &write);
}

int hg_shared_incr(struct hg_shared_table *table, struct hg_bytes key, double by, double init,
                   uint64_t expires_ms, uint64_t now_ms, double *out_number,
                   uint64_t *out_expires_ms)
{
    struct hg_shared_value first = {.kind = HG_SHARED_NUMBER, .number = init + by};
    struct write write = {.key = key,
                          .value = &first,
                          .expires_ms = expires_ms,
                          .now_ms = now_ms,
                          .is_incr = true,
                          .by = by,
                          .number = first.number,
                          .ends_ms = expires_ms};
    int err = run(table, &write);
    if (err < 0)
        return err;
    *out_number = write.number;
    *out_expires_ms = write.ends_ms;
    return HG_OK;
}

bool hg_shared_delete(struct hg_shared_table *table, struct hg_bytes key, uint64_t now_ms)
{
    uint64_t hash = hg_hash(key);
    struct shard *shard = shard_of(table, hash);

    pthread_mutex_lock(&shard->lock);
    struct entry **at = find_alive(table, shard, key, hash, now_ms);
    if (at != NULL)
        drop(table, shard, at);
    sweep(table, shard, now_ms, SWEEP_MAX);
    pthread_mutex_unlock(&shard->lock);
    return at != NULL;
}

/* ---- tables ---- */

static void table_destroy(struct hg_shared_table *table)
{
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *shard = &table->shards[i];
        for (size_t bucket = 0; bucket < shard->bucket_count; bucket++)
            while (shard->buckets[bucket] != NULL)
                drop(table, shard, &shard->buckets[bucket]);
        hg_free(shard->buckets);
        hg_expiry_heap_finish(&shard->heap);
        pthread_mutex_destroy(&shard->lock);
    }
    assert(atomic_load(&table->bytes) == 0);
    assert(atomic_load(&table->entries) == 0);
    hg_free(table);
}

static struct hg_shared_table *table_create(const struct hg_shared_config *config, const char *name)
{
    struct hg_shared_table *table = hg_calloc(1, sizeof(*table));
    if (table == NULL)
        return NULL;
    table->config = *config;
    memcpy(table->name, name, strlen(name));
    for (size_t i = 0; i < SHARDS; i++)
        pthread_mutex_init(&table->shards[i].lock, NULL);
    return table;
}

int hg_shared_create(const struct hg_shared_config *config, struct hg_shared **out_shared)
{
    struct hg_shared *shared = hg_calloc(1, sizeof(*shared));
    if (shared == NULL)
        return HG_ENOMEM;
    shared->config = *config;
    pthread_mutex_init(&shared->lock, NULL);
    *out_shared = shared;
    return HG_OK;
}

void hg_shared_destroy(struct hg_shared *shared)
{
    if (shared == NULL)
        return;
    for (size_t i = 0; i < shared->table_count; i++)
        table_destroy(shared->tables[i]);
    pthread_mutex_destroy(&shared->lock);
    hg_free(shared);
}

bool hg_shared_is_name(struct hg_bytes name)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    for (size_t i = 0; i < name.len; i++)
        if (memchr(letters, name.data[i], sizeof(letters) - 1) == NULL)
            return false;
    return name.len >= 1 && name.len <= HG_SHARED_NAME_MAX;
}

int hg_shared_open(struct hg_shared *shared, const char *name, struct hg_shared_table **out_table)
{
    struct hg_shared_table *table = NULL;
    int err = HG_OK;

    if (!hg_shared_is_name(hg_bytes_str(name)))
        return HG_EINVAL;
    pthread_mutex_lock(&shared->lock);
    for (size_t i = 0; i < shared->table_count && table == NULL; i++)
        if (strcmp(shared->tables[i]->name, name) == 0)
            table = shared->tables[i];
    if (table == NULL && shared->table_count == HG_SHARED_TABLES_MAX) {
        err = HG_ELIMIT;
    } else if (table == NULL) {
        table = table_create(&shared->config, name);
        err = table == NULL ? HG_ENOMEM : HG_OK;
        if (table != NULL)
            shared->tables[shared->table_count++] = table;
    }
    pthread_mutex_unlock(&shared->lock);
    if (err == HG_OK)
        *out_table = table;
    return err;
}

struct hg_shared_table *hg_shared_at(struct hg_shared *shared, size_t index)
{
    pthread_mutex_lock(&shared->lock);
    struct hg_shared_table *table = index < shared->table_count ? shared->tables[index] : NULL;
    pthread_mutex_unlock(&shared->lock);
    return table;
}

const char *hg_shared_table_name(const struct hg_shared_table *table)
{
    return table->name;
}

void hg_shared_stats(struct hg_shared_table *table, struct hg_shared_stats *out_stats)
{
    *out_stats = (struct hg_shared_stats){
        .entries = atomic_load(&table->entries),
        .bytes = atomic_load(&table->bytes),
        .full = atomic_load(&table->full),
        .too_big = atomic_load(&table->too_big),
        .expired = atomic_load(&table->expired),
    };
}

void hg_shared_validate(struct hg_shared_table *table)
{
    size_t entries = 0, bytes = 0;

    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *shard = &table->shards[i];
        size_t here = 0, ending = 0;
        for (size_t bucket = 0; bucket < shard->bucket_count; bucket++) {
            for (struct entry *at = shard->buckets[bucket]; at != NULL; at = at->next) {
                assert((at->hash & (shard->bucket_count - 1)) == bucket);
                assert(shard_of(table, at->hash) == shard);
                here++;
                bytes += cost_of(at->key_len, at->value_len);
                bool has_end = at->expiry.expires_ms != HG_FOREVER;
                assert(has_end == (at->expiry.index != HG_EXPIRY_NONE));
                ending += has_end ? 1 : 0;
            }
        }
        assert(here == shard->entry_count);
        assert(ending == shard->heap.count);
        hg_expiry_heap_validate(&shard->heap);
        entries += here;
    }
    assert(entries == atomic_load(&table->entries));
    assert(bytes == atomic_load(&table->bytes));
}
