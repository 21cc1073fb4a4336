#include "cluster/mismatches.h"

void hg_mismatches_init(struct hg_mismatches *mismatches)
{
    memset(mismatches->items, 0, sizeof(mismatches->items));
    pthread_mutex_init(&mismatches->lock, NULL);
    atomic_init(&mismatches->count, 0);
}

void hg_mismatches_finish(struct hg_mismatches *mismatches)
{
    pthread_mutex_destroy(&mismatches->lock);
}

static struct hg_bytes name_of(const struct hg_mismatch *item)
{
    return hg_bytes(item->name, item->name_len);
}

static struct hg_mismatch *find(struct hg_mismatches *mismatches, struct hg_bytes name)
{
    for (size_t i = 0; i < mismatches->count; i++) {
        if (hg_bytes_eq(name_of(&mismatches->items[i]), name))
            return &mismatches->items[i];
    }
    return NULL;
}

static void drop(struct hg_mismatches *mismatches, struct hg_mismatch *item)
{
    *item = mismatches->items[mismatches->count - 1];
    mismatches->count--;
}

/* A place for a name that is not there. */
static struct hg_mismatch *add(struct hg_mismatches *mismatches, struct hg_bytes name)
{
    struct hg_mismatch *item = &mismatches->items[0];
    if (mismatches->count < HG_MISMATCHES_MAX) {
        item = &mismatches->items[mismatches->count++];
    } else {
        for (size_t i = 1; i < HG_MISMATCHES_MAX; i++) {
            if (mismatches->items[i].last_ms < item->last_ms)
                item = &mismatches->items[i];
        }
    }
    *item = (struct hg_mismatch){.name_len = name.len};
    memcpy(item->name, name.data, name.len);
    return item;
}

bool hg_mismatches_note(struct hg_mismatches *mismatches, struct hg_bytes name, uint64_t theirs,
                        uint64_t ours, uint64_t now_ms, bool *out_is_news)
{
    bool is_other = theirs != ours && theirs != 0 && name.len > 0;
    *out_is_news = false;
    if (!is_other && atomic_load_explicit(&mismatches->count, memory_order_relaxed) == 0)
        return false;
    if (name.len > HG_MISMATCH_NAME_MAX)
        name.len = HG_MISMATCH_NAME_MAX;
    pthread_mutex_lock(&mismatches->lock);
    struct hg_mismatch *item = find(mismatches, name);
    if (is_other) {
        if (item == NULL)
            item = add(mismatches, name);
        *out_is_news = item->fingerprint != theirs;
        item->fingerprint = theirs;
        item->count++;
        item->last_ms = now_ms;
    } else if (item != NULL && theirs == ours) {
        drop(mismatches, item);
    }
    pthread_mutex_unlock(&mismatches->lock);
    return is_other;
}

size_t hg_mismatches_list(struct hg_mismatches *mismatches, uint64_t ours, uint64_t now_ms,
                          struct hg_mismatch *out_items)
{
    size_t count = 0;
    pthread_mutex_lock(&mismatches->lock);
    for (size_t i = mismatches->count; i-- > 0;) {
        struct hg_mismatch *item = &mismatches->items[i];
        if (item->last_ms + HG_MISMATCH_KEPT_MS < now_ms)
            drop(mismatches, item);
        else if (item->fingerprint != ours)
            out_items[count++] = *item;
    }
    pthread_mutex_unlock(&mismatches->lock);
    return count;
}
