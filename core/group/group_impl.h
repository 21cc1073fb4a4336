/*
 * group_impl - what the files of this floor share and nobody above sees.
 *
 *   get.c       look up, join or begin          edges.c     who waits on whom, recursion
 *   load.c      start, finish, keep             chain.c     ancestors of a load, held.c their slots
 *   remote.c    asks and their fallbacks        tags.c      invalidation numbers of tags
 *   landing.c   put, unlink, detach             freshness.c lives, windows, early refresh
 *   turn.c      what happens after unlocking    shard.c     one lock, its store and flights
 *   hot.c       hot keys and their copies       invalidate.c set, remove, tags, flush
 *   trust.c     after standing still            batch.c     loads that one run serves
 *   score.c     eviction by a score from above     handover.c  values that move with their keys
 *
 * A function whose name ends in _locked wants the shard's lock held and calls nothing out.
 */
#ifndef HG_GROUP_GROUP_IMPL_H
#define HG_GROUP_GROUP_IMPL_H

#include "group/edges.h"
#include "group/group.h"
#include "group/shard.h"
#include "group/tags.h"
#include "group/trust.h"
#include "group/turn.h"

/* What a node loads and does not own is kept at most this long. */
#define HG_FALLBACK_MS_MAX 10000
/* Retry-After where a flight, waiter or guard limit was met. */
#define HG_LIMIT_RETRY_MS 1000
/* Peeks of a group that may find nothing (handover.c). */
#define HG_PEEK_CREDIT 256
/* Message of an error result, cut. */
#define HG_MESSAGE_MAX 512

enum hg_load_state {
    HG_LOAD_BEGUN = 1, /* in the flight table, nothing asked of the source yet */
    HG_LOAD_STARTED,   /* the source has it and owes one report */
    HG_LOAD_REPORTED,
};

struct hg_groups {
    struct hg_groups_config config;
    const struct hg_source *source; /* borrowed */
    _Atomic(struct hg_group *) listed[HG_GROUPS_MAX]; /* by index; NULL: none, or not to be found (regroup.c) */
    atomic_size_t count;                 /* no index is as high */
    struct hg_group *taken[HG_GROUPS_MAX]; /* whose each index is; of the thread that makes groups */
    _Atomic(const struct hg_view *) view; /* borrowed */
    atomic_size_t flight_count;
    atomic_uint_fast64_t contact_ms; /* 0: none yet */
    atomic_uint_fast64_t sequence; /* invalidations of this node, numbered from 1 */
    struct hg_trust trust;
    struct hg_edges edges;
    struct hg_value *spare[HG_CLASS_TOO_LARGE + 1]; /* error results for when memory is out */
};

struct hg_group {
    struct hg_groups *groups;
    _Atomic(const struct hg_group_config *) config; /* ours; replaced in one piece (regroup.c) */
    _Atomic size_t holders;
    char *name;
    size_t index;
    struct hg_budget budget;
    /* holds the shards, one more than needed so that they start on a cache line */
    void *shard_block;
    struct hg_shard *shards;
    unsigned shard_count;
    atomic_uint_fast64_t flush_number;
    atomic_uint_fast64_t seen_ms; /* about now (hg_group_saw) */
    atomic_uint_fast64_t changed_ms; /* the last invalidation or set; 0: none yet */
    atomic_int peek_credit;          /* handover.c; up to 0: peeks are of no use */
    struct hg_tags tags;
    pthread_mutex_t batch_lock;         /* a leaf: taken under a shard's lock or none */
    struct hg_load *open_batch[2];      /* who leads the batch that may be joined: with a slot of its own, without */
};

/* As it is now. It may be another one the next time, and lives for as long as hg_group_set_config says. */
static inline const struct hg_group_config *hg_config_of(const struct hg_group *group)
{
    return atomic_load_explicit(&group->config, memory_order_acquire);
}

/* Called by who may evict, or drop, before it does. */
static inline void hg_group_saw(struct hg_group *group, uint64_t now_ms)
{
    atomic_store_explicit(&group->seen_ms, now_ms, memory_order_relaxed);
}

/* Something of the group is set or invalidated: before its number is drawn. */
static inline void hg_group_changes(struct hg_group *group, uint64_t now_ms)
{
    hg_group_saw(group, now_ms);
    atomic_store_explicit(&group->changed_ms, now_ms + (now_ms == 0), memory_order_release);
}

static inline struct hg_load *hg_load_of(struct hg_flight *flight)
{
    return flight == NULL ? NULL : hg_container_of(flight, struct hg_load, flight);
}

/* groups.c */
/* What its capacity is divided into. */
void hg_group_limits(const struct hg_group_config *config, size_t *out_hot, size_t *out_negative);
struct hg_shard *hg_group_shard(struct hg_group *group, uint64_t hash);
uint64_t hg_groups_sequence(struct hg_groups *groups);
uint64_t hg_groups_next_number(struct hg_groups *groups); /* of an invalidation */
/* Wherever a time comes in with which something is answered or stored. */
static inline void hg_groups_watch(struct hg_groups *groups, uint64_t now_ms)
{
    if (hg_trust_is_gap(&groups->trust, groups->config.lease_ms, now_ms))
        hg_trust_lose(groups, now_ms);
}
/* The entry, fresh or not, unless what is stored is not to be trusted (group/trust.h); NULL: none. */
struct hg_value *hg_group_peek_locked(struct hg_group *group, struct hg_shard *shard, uint64_t hash,
                                      struct hg_bytes key);
/* A reference on an error result; the spare one of its class when memory is out. Never NULL. */
struct hg_value *hg_groups_error(struct hg_groups *groups, enum hg_class klass, struct hg_bytes key,
                                 struct hg_bytes message, uint64_t retry_after_ms);

/* view.c */
void hg_load_set_view(struct hg_load *load,
                      const struct hg_view *view); /* held, instead of the one it had */
bool hg_view_is_mine(const struct hg_view *view, struct hg_bytes key);

/* load.c. Creating takes nothing but memory; the flight is begun by who created it, under the lock. */
struct hg_load *hg_load_create(struct hg_group *group, enum hg_flight_kind kind, uint64_t hash,
                               struct hg_bytes key, struct hg_bytes chain,
                               const struct hg_load *parent);
/* HG_ELIMIT when the node has as many flights as it may. */
int hg_load_begin_locked(struct hg_shard *shard, struct hg_load *load, const struct hg_view *view,
                         enum hg_load_reason reason, uint64_t now_ms);
/* Of a load that is in no table and has no waiters. */
void hg_load_destroy(struct hg_load *load);
/* Starts what was begun: the guard and the getter, or the ask. */
void hg_load_start(struct hg_load *load, struct hg_turn *turn);
/* batch.c. True: it is alone, or leads a batch that it opened: the guard is its to pass. False: it joined one. */
bool hg_batch_join_locked(struct hg_load *load, bool is_slotless);
/* Nobody joins any more. Its followers to `out`, by link. */
void hg_batch_close(struct hg_load *leader, struct hg_list *out_followers);
/* A slot was given to it, or it needs none: runs the getter. */
void hg_load_run(struct hg_load *load, struct hg_turn *turn);
/* The guard ended it. */
void hg_load_refuse(struct hg_load *load, struct hg_bytes why, uint64_t retry_after_ms,
                    struct hg_turn *turn);
/* Under the lock: who waits on it holds these guards already. If it queues for one of them it is let out. */
void hg_load_hold_locked(struct hg_load *load, const struct hg_guard *const *held, unsigned count,
                         struct hg_turn *turn);
/* Under the lock: its waiters now wait on a getter of this node, so a slot that one of them holds is enough. */
void hg_load_inherit_locked(struct hg_load *load, const struct hg_load *parent,
                            struct hg_turn *turn);

/* remote.c */
void hg_load_ask(struct hg_load *load, struct hg_turn *turn);

/* landing.c */
struct hg_landing {
    struct hg_value *value; /* the result, a reference; consumed */
    bool keep;              /* value is the old one: only its expiry moves */
    bool is_stored;         /* store it (unless fenced) in `tier` */
    enum hg_tier tier;
    uint64_t created_ms, expires_ms;
    uint32_t hot_life_ms; /* of a hot copy (hot.h); else 0 */
    bool stale_wins; /* an entry within stale_if_error is the better answer */
};
/* Puts, unlinks, detaches; the load is gone afterwards, or begun anew for waiters younger than a fence. */
void hg_load_land(struct hg_load *load, struct hg_landing *landing, struct hg_turn *turn);
/* Only if an entry within stale_if_error can answer. */
bool hg_load_land_stale(struct hg_load *load, struct hg_turn *turn);
/* Takes a waiter off its flight and puts it on the turn with what its result says. */
void hg_waiter_detach_locked(struct hg_shard *shard, struct hg_waiter *waiter, struct hg_load *load,
                             struct hg_turn *turn);

/* handover.c. True: another node's store is asked, and hg_load_peeked will be called; else go on. */
bool hg_load_peek(struct hg_load *load, struct hg_turn *turn);
/* answer: a typed one, or NULL. */
void hg_load_peeked(struct hg_load *load, const struct hg_ask_answer *answer, struct hg_turn *turn);
/*
 * There is nothing to be taken over: who waits for that is told HG_ENOENT. True: nobody else waits, and the load is gone.
 * False: it goes on for those who ask for the key itself, or was no such load.
 */
bool hg_load_end_unwanted(struct hg_load *load, struct hg_turn *turn);
/* A typed answer as a value of our own; its result is taken over. False: it is none, and nothing has happened. */
bool hg_handover_plan(struct hg_load *load, const struct hg_ask_answer *answer, uint64_t now_ms,
                      struct hg_landing *out_landing);

/*
 * remote.c: the waiters of a remote flight go over to the key's local flight, or to a new one (this very load)
 * if there is none, which is put on the turn. The flight must be out of the table. False: destroy the load.
 */
bool hg_load_become_local_locked(struct hg_shard *shard, struct hg_load *load, bool is_fallback,
                                 const struct hg_view *view, struct hg_turn *turn);

#endif
