#include "group/history.h"

#include "base/alloc.h"
#include "base/err.h"

#define WAYS          4
#define EVICTIONS_MAX 512
#define EVICTIONS_MIN 16
#define RATIO         4 /* evictions for each load */

static size_t size_of(size_t evictions)
{
    return evictions * sizeof(struct hg_past_eviction) +
           evictions / RATIO * sizeof(struct hg_past_load);
}

_Static_assert(EVICTIONS_MAX * sizeof(struct hg_past_eviction) +
                       EVICTIONS_MAX / RATIO * sizeof(struct hg_past_load) <=
                   HG_HISTORY_BYTES_MAX,
               "the largest history");

int hg_history_init(struct hg_history *history, size_t bytes)
{
    size_t evictions = EVICTIONS_MAX;

    while (evictions > EVICTIONS_MIN && size_of(evictions) > bytes)
        evictions /= 2;
    struct hg_past_load *loads = hg_calloc(1, size_of(evictions));
    if (loads == NULL)
        return HG_ENOMEM;
    history->loads = loads;
    history->load_count = evictions / RATIO;
    history->evictions = (struct hg_past_eviction *)(void *)(loads + history->load_count);
    history->eviction_count = evictions;
    return HG_OK;
}

void hg_history_finish(struct hg_history *history)
{
    hg_free(history->loads);
    *history = (struct hg_history){0};
}

/* The record of this key, else the one to give way: a free one, or the one touched longest ago. */
static void *record_of(void *table, size_t count, size_t size, uint64_t hash)
{
    char *set = (char *)table + (hash & (count / WAYS - 1)) * WAYS * size;
    struct hg_past *found = (struct hg_past *)(void *)set;

    for (size_t i = 0; i < WAYS; i++) {
        struct hg_past *past = (struct hg_past *)(void *)(set + i * size);
        if (past->hash == hash)
            return past;
        if (found->hash != 0 && (past->hash == 0 || past->touched_ms < found->touched_ms))
            found = past;
    }
    return found;
}

static bool is_of(const struct hg_past *past, uint64_t hash)
{
    return hash != 0 && past->hash == hash;
}

void hg_history_loaded(struct hg_history *history, uint64_t hash, int kind,
                       const struct hg_value *result, uint64_t took_ms, uint64_t now_ms)
{
    struct hg_past_load *load = record_of(history->loads, history->load_count, sizeof(*load), hash);

    if (!is_of(&load->past, hash))
        *load = (struct hg_past_load){.past = {.hash = hash}};
    load->past.touched_ms = now_ms;
    load->ended_ms = now_ms;
    load->took_ms = took_ms < UINT32_MAX ? (uint32_t)took_ms : UINT32_MAX;
    load->kind = (uint8_t)kind;
    load->status = hg_value_status(result);
    if (hg_value_status(result) != HG_STATUS_ERROR)
        return;
    struct hg_bytes message = hg_value_data(result);
    if (message.len > HG_HISTORY_MESSAGE)
        message.len = HG_HISTORY_MESSAGE;
    load->has_failed = true;
    load->failed_ms = now_ms;
    load->klass = hg_value_class(result);
    load->message_len = (uint8_t)message.len;
    if (message.len > 0)
        memcpy(load->message, message.data, message.len);
}

void hg_history_evicted(struct hg_history *history, uint64_t hash, enum hg_evict_reason reason,
                        uint64_t now_ms)
{
    struct hg_past_eviction *eviction =
        record_of(history->evictions, history->eviction_count, sizeof(*eviction), hash);

    *eviction = (struct hg_past_eviction){.past = {.hash = hash, .touched_ms = now_ms},
                                          .reason = (uint8_t)reason};
}

const struct hg_past_load *hg_history_load(const struct hg_history *history, uint64_t hash)
{
    const struct hg_past_load *load =
        record_of(history->loads, history->load_count, sizeof(*load), hash);

    return is_of(&load->past, hash) ? load : NULL;
}

const struct hg_past_eviction *hg_history_eviction(const struct hg_history *history, uint64_t hash)
{
    const struct hg_past_eviction *eviction =
        record_of(history->evictions, history->eviction_count, sizeof(*eviction), hash);

    return is_of(&eviction->past, hash) ? eviction : NULL;
}
