/*
 * group - the read-through algorithm: shards, flights, freshness, owners, fallbacks (DESIGN, "The read path").
 *
 * A shard is one mutex around one store and one flight table. Look-up and joining a flight are one critical
 * section; so are put, unlinking the flight and detaching its waiters. Nothing is called out under the lock.
 *
 * Ownership  a waiter belongs to its caller and must stay where it is until its answer or a successful cancel.
 * Threads    every function may be called from any thread unless it says otherwise.
 * Locks      shard lock; then, never the other way round: budget neighbours by trylock only, guard lock, tag lock,
 *            edge lock (each of the last three a leaf).
 * Time       now_ms is boot-time milliseconds from the caller.
 */
#ifndef HG_GROUP_GROUP_H
#define HG_GROUP_GROUP_H

#include "cache/ring.h"
#include "cache/store.h"
#include "group/guard.h"
#include "group/history.h"
#include "base/histogram.h"
#include "group/source.h"

/*
 * A ring snapshot and who we are in it. Immutable but for its holders; published by one atomic pointer; freed by who made it,
 * once nobody holds it and whoever read the pointer before the next one was published is done with it or holds it.
 */
struct hg_view {
    const struct hg_ring *ring;
    long self;               /* our index, or -1: not a member (every key is somebody else's) */
    void *const *peers;      /* what the source knows each member by; peers[self] is NULL */
    _Atomic size_t *holders; /* NULL: not counted, it outlives all */
};

/* Each load holds the view that it was decided on. Any thread; NULL is fine. */
void hg_view_hold(const struct hg_view *view);
void hg_view_release(const struct hg_view *view);
bool hg_view_is_held(const struct hg_view *view);

/* Limits and switches shared by all groups of a node. */
struct hg_groups_config {
    size_t key_max;     /* bytes, default 1024 */
    size_t value_max;   /* default 8 MiB */
    size_t flights_max; /* in the node, default 65536 */
    size_t waiters_max; /* on one flight, default 10000 */
    uint64_t lease_ms;  /* life of copies, default 2000 */
    /* Until then this node is new: what it lacks of its keys is asked for where they were before (handover.c). 0: it is not. */
    uint64_t peek_until_ms;
    uint64_t hot_minute; /* gets a minute from which a key is hot; 0 = HG_HOT_MINUTE (hot.h) */
    unsigned shards;    /* of a group with shards = auto */
    size_t shard_bytes_min; /* it has fewer where each would have less */
};

/* Of a node at a time, those that were dropped and are not freed yet among them. */
#define HG_GROUPS_MAX 2048

/* So many that two workers seldom want the same one; a shard takes some 2 KB. */
#define HG_SHARDS_PER_WORKER 512
#define HG_SHARD_BYTES_MIN   (1 << 20)

struct hg_group_config {
    const char *name;
    size_t capacity_bytes;
    unsigned shards;                        /* 0 = auto */
    const char *policy;                     /* who is evicted first (cache/policy.h); NULL = lru */
    unsigned samples;                       /* policy "sampled": how many a score chooses from; else 0 */
    double hot;                             /* share of capacity, 0 without a cluster */
    uint64_t ttl_ms;                        /* HG_FOREVER = without end; 0 = do not cache */
    double ttl_jitter;                      /* 0..1 */
    uint64_t negative_ttl_ms, error_ttl_ms; /* 0 = do not remember */
    uint64_t error_ttl_max_ms; /* of errors in a row (freshness.h); up to error_ttl_ms: they live no longer */
    uint64_t stale_while_revalidate_ms, stale_if_error_ms;
    double early_refresh; /* XFetch beta, 0 = off */
    uint64_t deadline_ms;
    bool stale_on_timeout; /* on_timeout = "stale" */
    bool expose_errors;
    struct hg_guard *guard; /* borrowed; may be shared */
    /* Loads that one run of get_many may serve together (group/batch.h); 0: the getter takes one key. The source waits
     * batch_window_ms for company before it gathers. */
    unsigned batch_max;
    uint64_t batch_window_ms;
};

/* INTERFACES "/stats", in its order. Sums over shards; they add up at any moment of a scrape. */
/* clang-format off */
#define HG_GROUP_COUNTERS(X)                                                                       \
    X(gets) X(hits) X(hot_hits) X(stale_hits) X(negative_hits) X(error_hits) X(misses) X(loads)    \
    X(loads_deduped) X(refused) X(refreshes) X(local_loads) X(local_load_errors) X(peer_loads)     \
    X(peer_errors) X(fallbacks) X(peer_requests) X(guard_refused) X(evictions) X(expirations)      \
    X(scored_evictions) X(unscored_evictions) X(too_large) X(fenced) X(recursive) X(waiter_timeouts) X(hot_refreshes)      \
    X(peeks) X(peek_hits) X(takeovers)
/* clang-format on */
#define HG_GROUP_GAUGES(X) X(entries) X(bytes) X(capacity) X(flights) X(waiters) X(hot_keys)

struct hg_group_stats {
#define X(name) uint64_t name;
    HG_GROUP_COUNTERS(X)
    HG_GROUP_GAUGES(X)
#undef X
    struct hg_histogram load_time; /* of getter runs, retries and waiting for a thread included */
    struct hg_histogram peer_time; /* of asks */
};

/* How an answer came about: Cache-Status and counters. */
enum hg_how {
    HG_HOW_HIT, /* fresh, main tier */
    HG_HOW_HOT, /* fresh copy */
    HG_HOW_STALE,
    HG_HOW_NEGATIVE,  /* remembered not-found */
    HG_HOW_ERROR,     /* remembered error */
    HG_HOW_MISS,      /* began a load */
    HG_HOW_COLLAPSED, /* joined one */
};

/* What a get ends with. `value` is lent for the call or held by the caller's hold. */
struct hg_result {
    /* HG_OK: value is set and typed. Else HG_ETOOBIG, HG_EINVAL (empty key, malformed chain), HG_ENOENT (peek),
     * HG_ELIMIT (flights or waiters), HG_ENOMEM, HG_ERECURSIVE, HG_ETIMEDOUT, HG_ECANCELED. */
    int err;
    enum hg_how how;
    struct hg_value *value;
    /* of the entry; expires_ms 0 = not stored. Read under the lock */
    uint64_t created_ms, expires_ms;
    uint64_t retry_after_ms;
};

enum hg_waiter_state { HG_WAITER_IDLE, HG_WAITER_LINKED, HG_WAITER_MAILED, HG_WAITER_DONE };

struct hg_waiter;
/* On the waiter's own loop, exactly once, never before hg_group_get returned. result->value is lent for the call
 * (take a reference to keep it). The waiter may be freed inside. */
typedef void (*hg_answer_fn)(struct hg_waiter *waiter, const struct hg_result *result);

/* Zeroed by the caller before its first use; may be used again once answered or cancelled. */
struct hg_waiter {
    struct hg_list link;
    struct hg_loop *loop; /* the loop that waits; set by the caller before get */
    hg_answer_fn answer;  /* set by the caller before get */
    /* The group's own from here. */
    _Atomic(struct hg_group *) group; /* NULL unless waiting */
    uint64_t hash;                    /* finds the shard */
    struct hg_load *load;             /* whose flight it is on, while linked */
    uint8_t state;                    /* enum hg_waiter_state; under the shard's lock */
    bool from_peer;
    bool is_nested;          /* a getter waits: there is an edge to take back */
    bool takes_over;         /* wants the entry here, and no load for it */
    uint64_t deadline_ms;    /* of this get; for the counter of timeouts */
    uint64_t join_number;    /* invalidations up to here were before it */
    struct hg_load *parent;  /* the load whose getter waits here, or NULL */
    struct hg_list edge;     /* on parent->nested */
    struct hg_result result; /* value is a reference until delivered */
};

struct hg_get {
    struct hg_bytes key;
    /* absolute; the caller also runs a timer and calls hg_waiter_cancel then */
    uint64_t now_ms, deadline_ms;
    bool from_peer; /* local flights only, never forwarded */
    bool is_peek;   /* the store only: a miss is HG_ENOENT, no load, not counted */
    /* A key of another owner who is about to leave: kept as our own value, whatever copy there is. HG_ENOENT: it is ours
     * already; where we lack it the one who leaves may be asked for it, and nobody waits for that. */
    bool takes_over;
    /* The load whose getter asks, or NULL. Not yet reported; waiters it leaves behind are still answered. */
    struct hg_load *parent;
    /* from the wire (encoded as hg_load.chain); with parent set it is taken from there */
    struct hg_bytes chain;
    struct hg_loop *loop; /* where this runs; NULL = on none */
};

/* all groups of a node: name -> group, node-wide limits, edges, invalidation numbers */
struct hg_groups;

int hg_groups_create(const struct hg_groups_config *config, const struct hg_source *source,
                     struct hg_groups **out_groups);
void hg_groups_destroy(struct hg_groups *groups); /* no flight may be left; NULL is fine */
/*
 * Made, and found by its name from now on. One thread at a time makes, lists, drops and destroys groups. HG_EINVAL: no name, a name
 * or a policy that is taken or unknown; HG_ELIMIT: HG_GROUPS_MAX.
 */
int hg_groups_add(struct hg_groups *groups, const struct hg_group_config *config,
                  struct hg_group **out_group);
struct hg_group *hg_groups_find(const struct hg_groups *groups, struct hg_bytes name);
/* The only one; NULL: there are others. */
struct hg_group *hg_groups_only(const struct hg_groups *groups);
size_t hg_groups_count(const struct hg_groups *groups); /* no index is as high */
/* in the order added; NULL: there is none of that index now */
struct hg_group *hg_groups_at(const struct hg_groups *groups, size_t index);

/*
 * ---- regroup.c: groups that come, change and go while the node runs ----
 *
 * Who has found a group, or read its configuration, uses it until the end of its callback without more ado. What is dropped or
 * replaced therefore is to be freed only once every thread has been through such an end; a group moreover only once it is idle.
 */
/* As hg_groups_add, but it is not found before hg_groups_list. */
int hg_group_create(struct hg_groups *groups, const struct hg_group_config *config, struct hg_group **out_group);
void hg_groups_list(struct hg_groups *groups, struct hg_group *group);
/* No longer found, and what it stored is freed. It may be listed again. */
void hg_groups_drop(struct hg_groups *groups, struct hg_group *group);
/* To be held by who keeps it beyond a callback and is no waiter. Any thread; NULL is fine. */
void hg_group_hold(struct hg_group *group);
void hg_group_release(struct hg_group *group);
/* Of one that was dropped: nobody holds it, waits in it or loads for it. */
bool hg_group_is_idle(struct hg_group *group);
void hg_group_destroy(struct hg_group *group);
/*
 * Another configuration: all of `config` but name, policy, samples and shards, which stay. Made by prepare (NULL: out of memory), its
 * own from set on, which returns the one before, to be freed by hg_free.
 */
struct hg_group_config *hg_group_prepare(const struct hg_group *group, const struct hg_group_config *config);
void *hg_group_set_config(struct hg_group *group, struct hg_group_config *prepared);
/* Evicts what a lower capacity has no room for, a bounded step of each shard; true: there is more. */
bool hg_group_trim(struct hg_group *group, uint64_t now_ms);

/* Publishes a membership; NULL = a cluster of one. The old view must stay alive as long as it may be in use (hg_view). */
void hg_groups_set_view(struct hg_groups *groups, const struct hg_view *view);
const struct hg_view *hg_groups_view(const struct hg_groups *groups);
/*
 * Every invalidation that any node acknowledged before now_ms has been carried out here, those that were missed
 * included: copies of hot keys may be served for another lease from now_ms (hot.h). Never called: they live one lease.
 */
void hg_groups_contact(struct hg_groups *groups, uint64_t now_ms);
/* Flights in the node now: drain waits for 0. */
size_t hg_groups_flight_count(const struct hg_groups *groups);

const char *hg_group_name(const struct hg_group *group);
const struct hg_group_config *hg_group_config(const struct hg_group *group);
/* For the floors above: an index for their own tables. */
size_t hg_group_index(const struct hg_group *group);

/*
 * HG_OK: answered at once: *out_result is set and its value, if any, is in out_hold (release it).
 * HG_PENDING: waiter->answer will be called, on waiter->loop.
 * Negative: out_result->err is the same; value may be an error result with class and Retry-After for refusals.
 * waiter may be NULL when is_peek.
 */
int hg_group_get(struct hg_group *group, const struct hg_get *get, struct hg_waiter *waiter,
                 struct hg_result *out_result, struct hg_hold *out_hold);

/*
 * The caller leaves or its deadline passed. True: the waiter is unlinked and will not be called; free it. With
 * `out_stale` (may be NULL) and on_timeout = "stale" a stale value, if any, is put there for the answer.
 * False: an answer is already under way to its loop; wait for it.
 */
bool hg_waiter_cancel(struct hg_waiter *waiter, uint64_t now_ms, struct hg_hold *out_stale);
/* On the waiter's loop, for each waiter that wake() handed over: calls answer. */
void hg_waiter_deliver(struct hg_waiter *waiter);

/* ---- invalidation on this node: numbered, fences loads in flight ---- */

/*
 * Stores a value (status VALUE) for its own or the group's life; a key of another owner as a copy for the lease.
 * `value` is borrowed: where the caller's reference is the only one its windows are filled in and it is stored
 * itself, else a copy is. HG_EINVAL, HG_ENOMEM, HG_ETOOBIG over a limit: nothing happened. HG_ETOOBIG or HG_ELIMIT
 * from the store: it does not fit and the older entry is gone.
 */
int hg_group_set(struct hg_group *group, struct hg_value *value, uint64_t now_ms);
/* True if there was an entry. */
bool hg_group_remove(struct hg_group *group, struct hg_bytes key, uint64_t now_ms);
/* Soft: stale from now, its windows count from now. */
bool hg_group_expire(struct hg_group *group, struct hg_bytes key, uint64_t now_ms);
/* HG_OK; HG_EINVAL for an empty tag, HG_ETOOBIG for one over HG_TAG_MAX. */
int hg_group_remove_tag(struct hg_group *group, struct hg_bytes tag, bool soft, uint64_t now_ms);
void hg_group_flush(struct hg_group *group, uint64_t now_ms);
/* The same for copies of other owners' values only; they go at once (they are few: the group's `hot` share). */
bool hg_group_remove_copy(struct hg_group *group, struct hg_bytes key, uint64_t now_ms);
int hg_group_remove_tag_copies(struct hg_group *group, struct hg_bytes tag, uint64_t now_ms);
void hg_group_flush_copies(struct hg_group *group, uint64_t now_ms);

/*
 * Standing still (group/trust.h). alive: each quarter lease where there are other members; answers the distrust that
 * holds: 0, or a mark to hand to caught_up once all that a peer knew when asked after this call has been applied.
 */
uint64_t hg_groups_alive(struct hg_groups *groups, uint64_t now_ms);
/* Nothing happens when it stood still again since. */
void hg_groups_caught_up(struct hg_groups *groups, uint64_t distrust);
uint64_t hg_groups_last_contact(const struct hg_groups *groups); /* hg_groups_contact; 0: none yet */
bool hg_groups_is_behind(const struct hg_groups *groups);
uint64_t hg_groups_standstills(const struct hg_groups *groups); /* a counter */
/* Nothing is stored and nothing flies. */
bool hg_groups_is_empty(struct hg_groups *groups);

/*
 * Frees expired entries in at most max_rows rows of its tables together, each shard's share of them and at least one. Call a
 * few times a second. Returns entries freed.
 */
size_t hg_group_expire_step(struct hg_group *group, uint64_t now_ms, size_t max_rows);

void hg_group_stats(struct hg_group *group, struct hg_group_stats *out_stats);

/* Under the shard's lock: it copies the key. */
typedef void (*hg_hottest_fn)(void *ctx, struct hg_bytes key);
/*
 * At most `max` keys of a shard (0..hg_group_shard_count - 1) that are stored as our own and live for more than a lease, the
 * hottest first as far as the policy knows. Returns how many; none of a group that is not settled. Long at the lock where `max` is many.
 */
size_t hg_group_hottest(struct hg_group *group, unsigned shard_index, size_t max, uint64_t now_ms,
                        hg_hottest_fn each, void *ctx);
unsigned hg_group_shard_count(const struct hg_group *group);
/* False: it was changed a moment ago, and none of its values is handed over (handover.c). */
bool hg_group_is_settled(struct hg_group *group, uint64_t now_ms);
/* True with *out_member: the ring's second point, whom to ask when `failed` does not answer, or leaves. False: we ourselves. */
bool hg_view_second(const struct hg_view *view, struct hg_bytes key, size_t failed,
                    size_t *out_member);

/* How often this node, as the key's owner, is asked for it a minute; 0: seldom, or another node owns it. */
uint64_t hg_group_minute(struct hg_group *group, struct hg_bytes key, uint64_t now_ms);

/* One of the keys most asked for. */
struct hg_hot_key {
    struct hg_value *value; /* its entry, a reference */
    enum hg_tier tier;
    uint64_t minute;
    bool is_hot; /* at least hot_minute */
};
/* Those that have an entry, in no order. out_keys has room for hg_group_hot_max. Returns how many. */
size_t hg_group_hot(struct hg_group *group, uint64_t now_ms, struct hg_hot_key *out_keys);
size_t hg_group_hot_max(const struct hg_group *group);

/* Everything `explain` tells about a key on this node. */
struct hg_explain {
    bool is_stored, is_flying, is_mine;
    bool is_trusted; /* of what is stored: false, it is not answered before the node has caught up (group/trust.h) */
    enum hg_tier tier;
    enum hg_status status;
    uint64_t age_ms;
    int64_t ttl_ms; /* negative: stale since */
    uint64_t stale_while_revalidate_ms, stale_if_error_ms;
    size_t size_bytes, cost_bytes;
    uint64_t flight_age_ms, flight_waiters;
    enum hg_flight_kind flight_kind;
    enum hg_load_reason flight_reason;
    uint64_t minute; /* gets a minute here, if among the most asked for; else 0 */
    /* Of the last load that ended, the last that failed, the last time an entry left; as far as remembered
     * (group/history.h). */
    bool has_load, has_error, has_eviction;
    uint64_t load_age_ms, load_took_ms, error_age_ms, eviction_age_ms;
    enum hg_flight_kind load_kind;
    enum hg_status load_status;
    enum hg_class error_class;
    enum hg_evict_reason eviction_reason;
    size_t error_message_len;
    char error_message[HG_HISTORY_MESSAGE];
    struct hg_bytes owner; /* member string; empty in a cluster of one */
};
void hg_group_explain(struct hg_group *group, struct hg_bytes key, uint64_t now_ms,
                      struct hg_explain *out_explain, struct hg_hold *out_hold);

#endif
