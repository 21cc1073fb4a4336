/*
 * shared - small named tables that all script threads of a node share (hg.shared): values of a few bytes with a
 * life, and numbers that are counted exactly.
 *
 *   hg_shared -> table by name -> shard by the key's hash: one lock, chained buckets, a heap by expiry
 *
 * Nothing is evicted: what is in here may be a lock or a rate limit. A write that finds no room after the expired
 * entries went is refused.
 *
 * Ownership  keys (1 byte at least) and values are copied in and out.
 * Threads    everything from any thread; one shard's lock at a time. Tables live as long as the hg_shared.
 * Time       now_ms is the caller's, of a clock that never jumps.
 * Units      an entry costs key + value + header as the allocator rounds them, and its places in buckets and heap.
 * Errors     HG_ELIMIT: the table is full, or there are HG_SHARED_TABLES_MAX; HG_ETOOBIG: a key or value that can
 *            never fit; HG_EINVAL: not a number; HG_ENOENT; HG_ENOMEM. The entry stays as it was.
 */
#ifndef HG_BASE_SHARED_H
#define HG_BASE_SHARED_H

#include "base/bytes.h"

#define HG_SHARED_TABLES_MAX 64
#define HG_SHARED_NAME_MAX   64
#define HG_SHARED_KEY_MAX    1024

struct hg_shared;
struct hg_shared_table;

struct hg_shared_config {
    size_t capacity_bytes, entries_max; /* of each table */
};

enum hg_shared_kind { HG_SHARED_STRING, HG_SHARED_NUMBER, HG_SHARED_BOOLEAN };
struct hg_shared_value {
    enum hg_shared_kind kind;
    double number;         /* NUMBER; BOOLEAN: 0 or 1 */
    struct hg_bytes bytes; /* STRING */
};

int hg_shared_create(const struct hg_shared_config *config, struct hg_shared **out_shared);
void hg_shared_destroy(struct hg_shared *shared);

/* 1 to HG_SHARED_NAME_MAX letters, digits, - and _: it is a label in /metrics. */
bool hg_shared_is_name(struct hg_bytes name);
/* The table of that name, made when it is asked for first. */
int hg_shared_open(struct hg_shared *shared, const char *name, struct hg_shared_table **out_table);
/* By number, in the order they were made; NULL past the last. */
struct hg_shared_table *hg_shared_at(struct hg_shared *shared, size_t index);
const char *hg_shared_table_name(const struct hg_shared_table *table);

/*
 * HG_OK or HG_ENOENT. The bytes of a string go to buf (size bytes), out_value->bytes points there; if they do not fit its
 * data is NULL and its len what is wanted. out_expires_ms is HG_FOREVER for an entry without end.
 */
int hg_shared_get(struct hg_shared_table *table, struct hg_bytes key, uint64_t now_ms, char *buf,
                  size_t size, struct hg_shared_value *out_value, uint64_t *out_expires_ms);
int hg_shared_set(struct hg_shared_table *table, struct hg_bytes key,
                  const struct hg_shared_value *value, uint64_t expires_ms, uint64_t now_ms);
/* Only where there is none: HG_OK, or HG_PENDING when there is one. */
int hg_shared_add(struct hg_shared_table *table, struct hg_bytes key,
                  const struct hg_shared_value *value, uint64_t expires_ms, uint64_t now_ms);
/* Adds to a number. An absent one begins with init and expires_ms; a present one keeps its end. */
int hg_shared_incr(struct hg_shared_table *table, struct hg_bytes key, double by, double init,
                   uint64_t expires_ms, uint64_t now_ms, double *out_number,
                   uint64_t *out_expires_ms);
/* Whether there was one. */
bool hg_shared_delete(struct hg_shared_table *table, struct hg_bytes key, uint64_t now_ms);

/* gauges, then counters: refused for want of room, keys or values too big, entries whose time was over */
struct hg_shared_stats {
    uint64_t entries, bytes; /* expired ones that nothing has met yet among them */
    uint64_t full, too_big, expired;
};
void hg_shared_stats(struct hg_shared_table *table, struct hg_shared_stats *out_stats);
/* For tests: asserts that buckets, heap and counts agree. No other thread may be at work. */
void hg_shared_validate(struct hg_shared_table *table);

#endif
