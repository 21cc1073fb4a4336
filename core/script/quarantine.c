#include "script/quarantine.h"

#include "base/alloc.h"

void hg_quarantine_init(struct hg_quarantine *quarantine)
{
    memset(quarantine->rows, 0, sizeof(quarantine->rows));
    atomic_init(&quarantine->count, 0);
    pthread_mutex_init(&quarantine->lock, NULL);
}

void hg_quarantine_finish(struct hg_quarantine *quarantine)
{
    for (size_t i = 0; i < atomic_load(&quarantine->count); i++)
        hg_free(quarantine->rows[i].key);
    atomic_store(&quarantine->count, 0);
    pthread_mutex_destroy(&quarantine->lock);
}

static struct hg_quarantined *find(struct hg_quarantine *quarantine, size_t group_index,
                                   struct hg_bytes key)
{
    size_t count = atomic_load(&quarantine->count);
    for (size_t i = 0; i < count; i++) {
        struct hg_quarantined *row = &quarantine->rows[i];
        if (row->group_index == group_index && hg_bytes_eq(hg_bytes(row->key, row->key_len), key))
            return row;
    }
    return NULL;
}

/* Room for one more row: a new one, one that is forgotten, or the one that ends first. */
static struct hg_quarantined *make_row(struct hg_quarantine *quarantine, uint64_t now_ms)
{
    size_t count = atomic_load(&quarantine->count);
    struct hg_quarantined *first = NULL;

    for (size_t i = 0; i < count; i++) {
        struct hg_quarantined *row = &quarantine->rows[i];
        if (row->forget_ms <= now_ms)
            return row;
        if (first == NULL || row->until_ms < first->until_ms)
            first = row;
    }
    if (count == HG_QUARANTINE_MAX)
        return first;
    atomic_store(&quarantine->count, count + 1);
    return &quarantine->rows[count];
}

uint64_t hg_quarantine_add(struct hg_quarantine *quarantine, size_t group_index,
                           struct hg_bytes key, uint64_t now_ms)
{
    char *copy = hg_strndup(key.data, key.len);
    if (copy == NULL)
        return 0;

    pthread_mutex_lock(&quarantine->lock);
    struct hg_quarantined *row = find(quarantine, group_index, key);
    uint64_t length_ms = HG_QUARANTINE_MS;
    if (row != NULL && row->forget_ms > now_ms)
        length_ms =
            row->length_ms * 2 > HG_QUARANTINE_MS_MAX ? HG_QUARANTINE_MS_MAX : row->length_ms * 2;
    if (row == NULL)
        row = make_row(quarantine, now_ms);
    hg_free(row->key);
    *row = (struct hg_quarantined){
        .key = copy,
        .key_len = key.len,
        .group_index = group_index,
        .until_ms = now_ms + length_ms,
        .forget_ms = now_ms + length_ms * 4,
        .length_ms = length_ms,
    };
    pthread_mutex_unlock(&quarantine->lock);
    return length_ms;
}

uint64_t hg_quarantine_left(struct hg_quarantine *quarantine, size_t group_index,
                            struct hg_bytes key, uint64_t now_ms)
{
    uint64_t left_ms = 0;

    if (atomic_load_explicit(&quarantine->count, memory_order_relaxed) == 0)
        return 0;
    pthread_mutex_lock(&quarantine->lock);
    const struct hg_quarantined *row = find(quarantine, group_index, key);
    if (row != NULL && row->until_ms > now_ms)
        left_ms = row->until_ms - now_ms;
    pthread_mutex_unlock(&quarantine->lock);
    return left_ms;
}
