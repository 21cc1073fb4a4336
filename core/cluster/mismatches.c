#include "cluster/mismatches.h"

#include "base/hash.h"

void hg_mismatches_init(struct hg_mismatches *mismatches)
{
    memset(mismatches->places, 0, sizeof(mismatches->places));
    pthread_mutex_init(&mismatches->lock, NULL);
    atomic_init(&mismatches->count, 0);
}

void hg_mismatches_finish(struct hg_mismatches *mismatches)
{
    pthread_mutex_destroy(&mismatches->lock);
}

static uint64_t hash_of(struct hg_bytes name)
{
    uint64_t hash = hg_xxh64(name);
    return hash == 0 ? 1 : hash;
}

static struct hg_mismatch_place *find(struct hg_mismatches *mismatches, uint64_t hash)
{
    for (size_t i = 0; i < HG_MISMATCHES_MAX; i++) {
        struct hg_mismatch_place *place = &mismatches->places[i];
        if (atomic_load_explicit(&place->hash, memory_order_acquire) == hash)
            return place;
    }
    return NULL;
}

static void drop(struct hg_mismatches *mismatches, struct hg_mismatch_place *place)
{
    place->hash = 0;
    mismatches->count--;
}

/* A place for a name that is not there. */
static struct hg_mismatch_place *add(struct hg_mismatches *mismatches, struct hg_bytes name,
                                     uint64_t hash)
{
    struct hg_mismatch_place *place = find(mismatches, 0);
    if (place != NULL) {
        mismatches->count++;
    } else {
        place = &mismatches->places[0];
        for (size_t i = 1; i < HG_MISMATCHES_MAX; i++) {
            if (mismatches->places[i].last_ms < place->last_ms)
                place = &mismatches->places[i];
        }
        place->hash = 0;
    }
    place->fingerprint = place->count = 0;
    place->name_len = name.len;
    memcpy(place->name, name.data, name.len);
    place->hash = hash;
    return place;
}

static void count(struct hg_mismatch_place *place, uint64_t now_ms)
{
    atomic_fetch_add_explicit(&place->count, 1, memory_order_relaxed);
    atomic_store_explicit(&place->last_ms, now_ms, memory_order_relaxed);
}

bool hg_mismatches_note(struct hg_mismatches *mismatches, struct hg_bytes name, uint64_t theirs,
                        uint64_t ours, uint64_t now_ms, bool *out_is_news)
{
    bool is_other = theirs != ours && theirs != 0 && name.len > 0;
    *out_is_news = false;
    if (!is_other &&
        (theirs == 0 || atomic_load_explicit(&mismatches->count, memory_order_relaxed) == 0))
        return false;
    if (name.len > HG_MISMATCH_NAME_MAX)
        name.len = HG_MISMATCH_NAME_MAX;
    uint64_t hash = hash_of(name);
    struct hg_mismatch_place *place = find(mismatches, hash);
    if (is_other && place != NULL && place->fingerprint == theirs) {
        count(place, now_ms);
        return true;
    }
    if (!is_other && place == NULL)
        return false;
    pthread_mutex_lock(&mismatches->lock);
    place = find(mismatches, hash);
    if (is_other) {
        if (place == NULL)
            place = add(mismatches, name, hash);
        *out_is_news = place->fingerprint != theirs;
        place->fingerprint = theirs;
        count(place, now_ms);
    } else if (place != NULL) {
        drop(mismatches, place);
    }
    pthread_mutex_unlock(&mismatches->lock);
    return is_other;
}

size_t hg_mismatches_list(struct hg_mismatches *mismatches, uint64_t ours, uint64_t now_ms,
                          struct hg_mismatch *out_items)
{
    size_t count = 0;
    pthread_mutex_lock(&mismatches->lock);
    for (size_t i = 0; i < HG_MISMATCHES_MAX; i++) {
        struct hg_mismatch_place *place = &mismatches->places[i];
        if (place->hash == 0)
            continue;
        if (place->last_ms + HG_MISMATCH_KEPT_MS < now_ms) {
            drop(mismatches, place);
        } else if (place->fingerprint != ours) {
            struct hg_mismatch *item = &out_items[count++];
            *item = (struct hg_mismatch){.fingerprint = place->fingerprint,
                                         .count = place->count,
                                         .last_ms = place->last_ms,
                                         .name_len = place->name_len};
            memcpy(item->name, place->name, place->name_len);
        }
    }
    pthread_mutex_unlock(&mismatches->lock);
    return count;
}
