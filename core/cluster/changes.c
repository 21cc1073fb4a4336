#include "cluster/changes.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/bug.h"
#include "base/err.h"
#include "wire/peer_message.h"

/* A change in the log; its number says which slot it has. */
struct record {
    struct hg_peer_change change; /* spans point into storage */
    uint32_t next;                /* slot + 1 of the next with this hash; 0: none */
    char storage[];
};

struct hg_changes {
    struct hg_groups *groups;
    uint64_t boot;
    atomic_uint_fast64_t sequence;
    pthread_mutex_t lock;
    struct record **slots; /* kept, by number */
    uint32_t *buckets;     /* kept: slot + 1 of the first with this hash */
    size_t kept;
    struct hg_changes_stats stats;
};

int hg_changes_create(struct hg_groups *groups, uint64_t boot, size_t kept,
                      struct hg_changes **out_changes)
{
    assert(boot != 0);
    assert(kept > 0 && (kept & (kept - 1)) == 0);
    struct hg_changes *changes = hg_calloc(1, sizeof(*changes));
    if (changes == NULL)
        return HG_ENOMEM;
    changes->groups = groups;
    changes->boot = boot;
    changes->kept = kept;
    changes->slots = hg_calloc(kept, sizeof(struct record *));
    changes->buckets = hg_calloc(kept, sizeof(uint32_t));
    pthread_mutex_init(&changes->lock, NULL);
    if (changes->slots == NULL || changes->buckets == NULL) {
        hg_changes_destroy(changes);
        return HG_ENOMEM;
    }
    *out_changes = changes;
    return HG_OK;
}

/* ---- the log, under its lock ---- */

static size_t slot_of(const struct hg_changes *changes, uint64_t number)
{
    return (size_t)number & (changes->kept - 1);
}

static uint32_t *bucket_of(struct hg_changes *changes, uint64_t origin, uint64_t sequence)
{
    uint64_t mixed = (origin ^ sequence * 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;
    return &changes->buckets[(size_t)(mixed >> 32) & (changes->kept - 1)];
}

static size_t record_bytes(const struct record *record)
{
    return sizeof(*record) + record->change.group.len + record->change.name.len;
}

static bool is_known(struct hg_changes *changes, const struct hg_peer_change *change)
{
    uint32_t at = *bucket_of(changes, change->origin, change->sequence);
    for (; at != 0; at = changes->slots[at - 1]->next) {
        const struct record *record = changes->slots[at - 1];
        if (record->change.origin == change->origin && record->change.sequence == change->sequence)
            return true;
    }
    return false;
}

static void forget_oldest(struct hg_changes *changes)
{
    size_t slot = slot_of(changes, changes->stats.number - changes->stats.kept + 1);
    struct record *record = changes->slots[slot];
    uint32_t *link = bucket_of(changes, record->change.origin, record->change.sequence);
    while (*link != slot + 1)
        link = &changes->slots[*link - 1]->next;
    *link = record->next;
    changes->slots[slot] = NULL;
    changes->stats.kept--;
    changes->stats.bytes -= record_bytes(record);
    changes->stats.cut++;
    hg_free(record);
}

static struct record *record_create(const struct hg_peer_change *change)
{
    struct record *record = hg_malloc(sizeof(*record) + change->group.len + change->name.len);
    if (record == NULL)
        return NULL;
    memcpy(record->storage, change->group.data, change->group.len);
    if (change->name.len > 0)
        memcpy(record->storage + change->group.len, change->name.data, change->name.len);
    record->change = *change;
    record->change.group = hg_bytes(record->storage, change->group.len);
    record->change.name = hg_bytes(record->storage + change->group.len, change->name.len);
    record->change.value = HG_BYTES_NONE;
    return record;
}

/* Where there is no memory for it the log is cut: who would miss it has to drop everything. */
static void note(struct hg_changes *changes, const struct hg_peer_change *change)
{
    if (hg_bug(HG_BUG_FORGET_CHANGE) && change->op == HG_CHANGE_REMOVE)
        return;
    struct record *record = record_create(change);
    while (changes->stats.kept > 0 &&
           (record == NULL || changes->stats.kept == changes->kept ||
            changes->stats.bytes + record_bytes(record) > HG_CHANGES_BYTES))
        forget_oldest(changes);
    uint64_t number = ++changes->stats.number;
    if (record == NULL) {
        changes->stats.cut++;
        return;
    }
    uint32_t *bucket = bucket_of(changes, change->origin, change->sequence);
    size_t slot = slot_of(changes, number);
    record->next = *bucket;
    *bucket = (uint32_t)slot + 1;
    changes->slots[slot] = record;
    changes->stats.kept++;
    changes->stats.bytes += record_bytes(record);
}

void hg_changes_destroy(struct hg_changes *changes)
{
    if (changes == NULL)
        return;
    while (changes->stats.kept > 0)
        forget_oldest(changes);
    hg_free(changes->slots);
    hg_free(changes->buckets);
    pthread_mutex_destroy(&changes->lock);
    hg_free(changes);
}

uint64_t hg_changes_boot(const struct hg_changes *changes)
{
    return changes->boot;
}

uint64_t hg_changes_next_sequence(struct hg_changes *changes)
{
    return atomic_fetch_add(&changes->sequence, 1) + 1;
}

void hg_changes_stats(struct hg_changes *changes, struct hg_changes_stats *out_stats)
{
    pthread_mutex_lock(&changes->lock);
    *out_stats = changes->stats;
    pthread_mutex_unlock(&changes->lock);
}

void hg_changes_cut(struct hg_changes *changes)
{
    pthread_mutex_lock(&changes->lock);
    while (changes->stats.kept > 0)
        forget_oldest(changes);
    changes->stats.number++;
    pthread_mutex_unlock(&changes->lock);
}

/* ---- applying ---- */

static int set(struct hg_group *group, const struct hg_peer_change *change, uint64_t now_ms)
{
    struct hg_peer_response response;
    struct hg_value *value = NULL;
    void *owner = NULL;

    int err = hg_peer_response_decode(change->value, &response, &owner);
    if (err == HG_OK && response.status != HG_STATUS_VALUE)
        err = HG_EINVAL;
    if (err == HG_OK) {
        value = hg_peer_response_to_value(&response, change->name);
        err = value == NULL ? HG_ENOMEM : hg_group_set(group, value, now_ms);
    }
    hg_peer_message_free(owner);
    hg_value_unref(value);
    return err == HG_EPROTO ? HG_EINVAL : err;
}

static int carry_out(struct hg_group *group, const struct hg_peer_change *change, uint64_t now_ms,
                     bool *out_was_there)
{
    if (change->value.len > 0 && change->op == HG_CHANGE_SET)
        return set(group, change, now_ms);
    switch (change->op) {
    case HG_CHANGE_SET: /* the value went to the owner */
    case HG_CHANGE_REMOVE:
        *out_was_there = change->is_copies ? hg_group_remove_copy(group, change->name, now_ms)
                                           : hg_group_remove(group, change->name, now_ms);
        return HG_OK;
    case HG_CHANGE_EXPIRE:
        *out_was_there = hg_group_expire(group, change->name, now_ms);
        return HG_OK;
    case HG_CHANGE_REMOVE_TAG:
    case HG_CHANGE_EXPIRE_TAG:
        if (change->is_copies)
            return hg_group_remove_tag_copies(group, change->name, now_ms);
        return hg_group_remove_tag(group, change->name, change->op == HG_CHANGE_EXPIRE_TAG, now_ms);
    case HG_CHANGE_FLUSH:
        if (change->is_copies)
            hg_group_flush_copies(group, now_ms);
        else
            hg_group_flush(group, now_ms);
        return HG_OK;
    }
    return HG_EINVAL;
}

int hg_changes_apply(struct hg_changes *changes, const struct hg_peer_change *change,
                     bool is_pulled, uint64_t now_ms, bool *out_was_there)
{
    bool was_there = true;
    int err = HG_OK;

    pthread_mutex_lock(&changes->lock);
    bool is_repeated = is_known(changes, change);
    if (is_repeated)
        changes->stats.repeated++;
    else
        note(changes, change);
    changes->stats.applied += !is_repeated;
    pthread_mutex_unlock(&changes->lock);

    struct hg_group *group = hg_groups_find(changes->groups, change->group);
    if (group != NULL && !(is_repeated && (is_pulled || change->op == HG_CHANGE_SET)))
        err = carry_out(group, change, now_ms, &was_there);
    if (err == HG_OK)
        *out_was_there = was_there && group != NULL;
    return err;
}

/* ---- what others ask for ---- */

/* Numbers from `first` on, as many as fit. HG_ENOMEM, HG_ELIMIT of the buffer. */
static int collect(const struct hg_changes *changes, uint64_t first, size_t bytes_max,
                   struct hg_buf *space, struct hg_peer_changes *out)
{
    size_t ends[HG_PEER_CHANGES_MAX];
    uint64_t number = first;

    for (; number <= changes->stats.number && out->count < HG_PEER_CHANGES_MAX; number++) {
        const struct record *record = changes->slots[slot_of(changes, number)];
        if (out->count > 0 && space->len + record_bytes(record) > bytes_max)
            break;
        int err = hg_peer_change_encode(&record->change, space);
        if (err < 0)
            return err;
        ends[out->count++] = space->len;
    }
    /* Only now, for the buffer moved while it grew. */
    for (size_t i = 0, begin = 0; i < out->count; begin = ends[i++])
        out->changes[i] = hg_bytes(space->data + begin, ends[i] - begin);
    out->number = number - 1;
    out->is_part = out->number < changes->stats.number;
    return HG_OK;
}

int hg_changes_answer(struct hg_changes *changes, const struct hg_changes_place *place,
                      size_t bytes_max, struct hg_buf *out_body)
{
    struct hg_peer_changes *answer = hg_calloc(1, sizeof(*answer));
    struct hg_buf space;
    int err = HG_OK;

    if (answer == NULL)
        return HG_ENOMEM;
    hg_buf_init(&space, 2 * bytes_max + 4096);
    answer->boot = changes->boot;
    answer->is_behind = hg_groups_is_behind(changes->groups);
    uint64_t known = place->boot == changes->boot ? place->number : 0;

    pthread_mutex_lock(&changes->lock);
    answer->is_cut = !place->is_now && known < changes->stats.number - changes->stats.kept &&
                     !hg_bug(HG_BUG_CUT_UNSEEN);
    answer->number = changes->stats.number;
    bool is_wanted = !place->is_now && !answer->is_cut && known < changes->stats.number;
    if (is_wanted && known < changes->stats.number - changes->stats.kept)
        known = changes->stats.number - changes->stats.kept;
    if (is_wanted)
        err = collect(changes, known + 1, bytes_max, &space, answer);
    pthread_mutex_unlock(&changes->lock);

    if (err == HG_OK)
        err = hg_peer_changes_encode(answer, out_body);
    hg_buf_finish(&space);
    hg_free(answer);
    return err;
}

int hg_changes_place_parse(struct hg_bytes text, struct hg_changes_place *out_place)
{
    char digits[48];
    char *end;

    if (hg_bytes_eq(text, HG_BYTES("now"))) {
        *out_place = (struct hg_changes_place){.is_now = true};
        return HG_OK;
    }
    if (text.len >= sizeof(digits) || text.len < 18)
        return HG_EPROTO;
    memcpy(digits, text.data, text.len);
    digits[text.len] = '\0';
    if (strspn(digits, "0123456789abcdef") != 16 || digits[16] != '.' ||
        strspn(digits + 17, "0123456789") != text.len - 17 || text.len > 17 + 20)
        return HG_EPROTO;
    out_place->boot = strtoull(digits, &end, 16);
    out_place->number = strtoull(digits + 17, &end, 10);
    out_place->is_now = false;
    return HG_OK;
}

int hg_changes_place_format(const struct hg_changes_place *place, struct hg_buf *buf)
{
    if (place->is_now)
        return hg_buf_append_str(buf, "now");
    return hg_buf_printf(buf, "%016llx.%llu", (unsigned long long)place->boot,
                         (unsigned long long)place->number);
}
