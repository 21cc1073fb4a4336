#include "group/group_impl.h"

#include "base/bug.h"
#include "base/err.h"
#include "base/hash.h"
#include "group/freshness.h"

/* Rows of the table, of about eight entries each, looked at before the lock is given back once. */
#define SLICE 128

static void fence(struct hg_load *load, uint64_t number)
{
    if (load->fence_number <= load->start_number)
        load->fence_number = number; /* the first since its start */
}

/* What is under way for this key was begun before: it is not to be stored. */
static void fence_locked(struct hg_shard *shard, uint64_t hash, struct hg_bytes key,
                         uint64_t number)
{
    static const enum hg_flight_kind kinds[] = {HG_FLIGHT_LOCAL, HG_FLIGHT_REMOTE};

    for (size_t i = 0; i < HG_COUNT(kinds); i++) {
        struct hg_load *load = hg_load_of(hg_flight_find(&shard->flights, kinds[i], hash, key));
        if (load != NULL)
            fence(load, number);
    }
}

int hg_group_set(struct hg_group *group, struct hg_value *value, uint64_t now_ms)
{
    struct hg_groups *groups = group->groups;
    const struct hg_source *source = groups->source;
    struct hg_bytes key = hg_value_key(value);
    bool is_mine = hg_view_is_mine(hg_groups_view(groups), key);
    struct hg_value_more more = hg_value_more(value);
    uint64_t life_ms = more.has_ttl ? more.ttl_ms : hg_config_of(group)->ttl_ms;
    struct hg_value *stored = value;
    int err = HG_OK;

    if (hg_value_status(value) != HG_STATUS_VALUE || key.len == 0)
        return HG_EINVAL;
    if (key.len > groups->config.key_max || hg_value_data_len(value) > groups->config.value_max)
        return HG_ETOOBIG;

    if (life_ms > 0)
        life_ms = hg_life_jittered(life_ms, hg_config_of(group)->ttl_jitter, source->random(source->ctx));
    if (!is_mine && life_ms > groups->config.lease_ms)
        life_ms = groups->config.lease_ms;
    bool is_stored = life_ms > 0 && !more.uncacheable && (is_mine || group->budget.hot_limit > 0);
    hg_group_changes(group, now_ms);
    if (is_stored && !hg_value_fill_windows(value, hg_config_of(group), !is_mine)) {
        stored = hg_value_copy_windows(value, hg_config_of(group), !is_mine);
        if (stored == NULL)
            return HG_ENOMEM;
    }

    uint64_t hash = hg_hash(key);
    struct hg_shard *shard = hg_group_shard(group, hash);
    hg_shard_lock(shard);
    if (!hg_bug(HG_BUG_SET_NO_FENCE))
        fence_locked(shard, hash, key, hg_groups_next_number(groups));
    if (is_stored)
        err = hg_shard_put(shard, group->shards, group->shard_count, stored,
                           is_mine ? HG_TIER_MAIN : HG_TIER_HOT, now_ms,
                           hg_time_add(now_ms, life_ms));
    if (!is_stored || err < 0)
        hg_store_remove(&shard->store, hash, key, HG_EVICT_REPLACED);
    hg_shard_unlock(shard);
    if (stored != value)
        hg_value_unref(stored);
    return err;
}

bool hg_group_remove(struct hg_group *group, struct hg_bytes key, uint64_t now_ms)
{
    uint64_t hash = hg_hash(key);
    struct hg_shard *shard = hg_group_shard(group, hash);

    hg_group_changes(group, now_ms);
    hg_shard_lock(shard);
    fence_locked(shard, hash, key, hg_groups_next_number(group->groups));
    struct hg_value *entry = hg_store_peek(&shard->store, hash, key);
    bool is_skipped = hg_bug(HG_BUG_SKIP_COPY) && entry != NULL && entry->tier == HG_TIER_HOT;
    bool was_there = is_skipped || hg_store_remove(&shard->store, hash, key, HG_EVICT_REMOVED);
    hg_shard_unlock(shard);
    return was_there;
}

static void make_stale_locked(struct hg_shard *shard, struct hg_value *value, uint64_t now_ms)
{
    if (hg_is_fresh(hg_value_expires_ms(value), now_ms))
        hg_store_set_expiry(&shard->store, value, now_ms);
}

bool hg_group_expire(struct hg_group *group, struct hg_bytes key, uint64_t now_ms)
{
    uint64_t hash = hg_hash(key);
    struct hg_shard *shard = hg_group_shard(group, hash);

    hg_group_changes(group, now_ms);
    hg_shard_lock(shard);
    fence_locked(shard, hash, key, hg_groups_next_number(group->groups));
    struct hg_value *value = hg_store_peek(&shard->store, hash, key);
    if (value != NULL)
        make_stale_locked(shard, value, now_ms);
    hg_shard_unlock(shard);
    return value != NULL;
}

#define FOUND_MAX 64

/* One row's tagged entries: out, or stale from now. False: there are more to remove in it. */
static bool untag_row_locked(struct hg_shard *shard, size_t row, struct hg_bytes tag, bool soft,
                             uint64_t now_ms)
{
    struct hg_value *found[FOUND_MAX], *value;
    size_t count = 0;
    bool is_full = false;

    for (size_t n = 0; (value = hg_table_nth(&shard->store.table, row, n)) != NULL; n++) {
        if (!hg_value_has_tag(value, tag))
            continue;
        if (soft)
            make_stale_locked(shard, value, now_ms);
        else if (count < FOUND_MAX)
            found[count++] = value;
        else
            is_full = true;
    }
    /* Removing may go on with a resize, so the walk is over before it. */
    for (size_t i = 0; i < count; i++)
        hg_store_remove(&shard->store, hg_hash(hg_value_key(found[i])), hg_value_key(found[i]),
                        HG_EVICT_REMOVED);
    return !is_full;
}

/*
 * Row by row, with a rest for others in between. Not along an order: a policy may have several. When the number of rows
 * changes, the walk begins anew.
 */
static void untag_shard(struct hg_shard *shard, struct hg_bytes tag, bool soft, uint64_t now_ms)
{
    const struct hg_table *table = &shard->store.table;
    size_t row = 0;

    hg_shard_lock(shard);
    size_t row_count = hg_table_row_count(table);
    while (row < row_count) {
        for (size_t seen = 0; row < row_count && seen < SLICE; seen++) {
            row += untag_row_locked(shard, row, tag, soft, now_ms);
            if (hg_table_row_count(table) != row_count)
                row = 0;
            row_count = hg_table_row_count(table);
        }
        hg_shard_unlock(shard);
        hg_shard_lock(shard);
        if (hg_table_row_count(table) != row_count)
            row = 0;
        row_count = hg_table_row_count(table);
    }
    hg_shard_unlock(shard);
}

int hg_group_remove_tag(struct hg_group *group, struct hg_bytes tag, bool soft, uint64_t now_ms)
{
    if (tag.len == 0)
        return HG_EINVAL;
    if (tag.len > HG_TAG_MAX)
        return HG_ETOOBIG;

    hg_group_changes(group, now_ms);
    /* Noted before the walk: what lands behind the walker's back sees the number. */
    hg_tags_note(&group->tags, tag, hg_groups_next_number(group->groups));
    for (unsigned i = 0; i < group->shard_count; i++)
        untag_shard(&group->shards[i], tag, soft, now_ms);
    return HG_OK;
}

/* Whatever is stored is out at once; it is freed when a sweep comes by. */
static void flush_shard(struct hg_shard *shard, uint64_t number)
{
    hg_shard_lock(shard);
    if (shard->flush_number < number)
        shard->flush_number = number;
    for (size_t i = 0; i <= shard->flights.mask; i++)
        for (struct hg_flight *flight = shard->flights.table[i]; flight != NULL;
             flight = flight->chain)
            fence(hg_load_of(flight), number);
    hg_store_flush(&shard->store);
    hg_shard_unlock(shard);
}

void hg_group_flush(struct hg_group *group, uint64_t now_ms)
{
    hg_group_changes(group, now_ms);
    uint64_t number = hg_groups_next_number(group->groups);
    uint64_t newest = atomic_load(&group->flush_number);

    while (newest < number && !atomic_compare_exchange_weak(&group->flush_number, &newest, number))
        ;
    for (unsigned i = 0; i + hg_bug(HG_BUG_FLUSH_MISSES_SHARD) < group->shard_count; i++)
        flush_shard(&group->shards[i], number);
}

/* ---- copies only: the second round of an invalidation, when every owner knows of it ---- */

/* No tag: all of the tier. */
static void drop_tier_locked(struct hg_shard *shard, enum hg_tier tier, struct hg_bytes tag)
{
    for (struct hg_value *value = hg_store_order(&shard->store, tier)->first, *next; value != NULL;
         value = next) {
        next = hg_order_next(value);
        if (tag.len == 0 || hg_value_has_tag(value, tag))
            hg_store_remove(&shard->store, hg_hash(hg_value_key(value)), hg_value_key(value),
                            HG_EVICT_REMOVED);
    }
}

/* A shard's copies go in one piece: they are its part of small shares. What is said not to exist may be one, too. */
static void drop_copies(struct hg_shard *shard, struct hg_bytes tag)
{
    hg_shard_lock(shard);
    drop_tier_locked(shard, HG_TIER_HOT, tag);
    if (tag.len == 0)
        drop_tier_locked(shard, HG_TIER_NEGATIVE, tag);
    hg_shard_unlock(shard);
}

bool hg_group_remove_copy(struct hg_group *group, struct hg_bytes key, uint64_t now_ms)
{
    uint64_t hash = hg_hash(key);
    struct hg_shard *shard = hg_group_shard(group, hash);

    (void)now_ms;
    hg_shard_lock(shard);
    struct hg_load *load = hg_load_of(hg_flight_find(&shard->flights, HG_FLIGHT_REMOTE, hash, key));
    if (load != NULL)
        fence(load, hg_groups_next_number(group->groups));
    struct hg_value *entry = hg_store_peek(&shard->store, hash, key);
    bool was_there = entry != NULL && entry->tier != HG_TIER_MAIN;
    if (was_there)
        hg_store_remove(&shard->store, hash, key, HG_EVICT_REMOVED);
    hg_shard_unlock(shard);
    return was_there;
}

static void fence_asks(struct hg_shard *shard, uint64_t number)
{
    hg_shard_lock(shard);
    for (size_t i = 0; i <= shard->flights.mask; i++)
        for (struct hg_flight *flight = shard->flights.table[i]; flight != NULL;
             flight = flight->chain)
            if (flight->kind == HG_FLIGHT_REMOTE)
                fence(hg_load_of(flight), number);
    hg_shard_unlock(shard);
}

int hg_group_remove_tag_copies(struct hg_group *group, struct hg_bytes tag, uint64_t now_ms)
{
    (void)now_ms;
    if (tag.len == 0)
        return HG_EINVAL;
    if (tag.len > HG_TAG_MAX)
        return HG_ETOOBIG;
    hg_tags_note(&group->tags, tag, hg_groups_next_number(group->groups));
    for (unsigned i = 0; i < group->shard_count; i++)
        drop_copies(&group->shards[i], tag);
    return HG_OK;
}

void hg_group_flush_copies(struct hg_group *group, uint64_t now_ms)
{
    uint64_t number = hg_groups_next_number(group->groups);

    (void)now_ms;
    for (unsigned i = 0; i < group->shard_count; i++) {
        fence_asks(&group->shards[i], number);
        drop_copies(&group->shards[i], HG_BYTES_NONE);
    }
}
