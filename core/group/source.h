/*
 * source - what the read path needs from the floors above: load a key, ask a peer, wake a loop, randomness.
 *
 * Production hands in script pools, HTTP peers and mailboxes; the simulator hands in its event heap. Time is an
 * argument everywhere and never asked for.
 *
 * Start contract: load() and ask() return HG_OK and then report exactly once, later, by hg_load_finish or
 * hg_load_asked (never before they returned), or return a negative error and never report.
 */
#ifndef HG_GROUP_SOURCE_H
#define HG_GROUP_SOURCE_H

#include <stdatomic.h>
#include "base/value.h"
#include "cache/flight.h"

struct hg_group;
struct hg_guard;
struct hg_view;
struct hg_hold;

/* A thread that waits for answers. Opaque here: its address is all that the core compares. */
struct hg_loop;

#define HG_DEPTH_MAX 8 /* nested loads, across nodes */

enum hg_load_reason { HG_LOAD_MISS, HG_LOAD_REFRESH, HG_LOAD_EARLY };
const char *hg_load_reason_name(enum hg_load_reason reason); /* "miss", "refresh", "early" */

/*
 * One load: a flight with what drives it. Created and freed by the group; the source may read the fields of
 * the first part and use `link` and `above` as it likes between start and report.
 */
struct hg_load {
    struct hg_flight flight; /* key, hash, kind, waiters (waiters: under the shard's lock only) */
    struct hg_group *group;  /* borrowed; outlives every load */
    struct hg_loop *loop;    /* where it was started, NULL if on none; a hint for ask() */
    enum hg_load_reason reason;
    struct hg_value *old; /* stale value for ctx.old, or NULL; the load's reference */
    uint64_t started_ms;
    uint64_t deadline_ms; /* of the whole load; a source gives up then at the latest */
    unsigned depth;       /* 0 for one that no getter asked for */
    /* ancestors, outermost first: each a length byte pair (big-endian 16 bit) and group NUL key */
    struct hg_bytes chain;
    struct hg_list link; /* the source's own, or the guard's queue */
    void *above;             /* the source's own */
    bool is_own_fault;       /* set by the source before it reports an error that says nothing about what is behind it (a
                                script that loops): no mark on the breaker */

    /* The group's own. */
    const struct hg_view *view; /* the ring it was decided on */
    size_t member;              /* whom it asks (remote) */
    bool is_second;             /* asking the second point after the owner failed */
    bool is_fallback;           /* local load of a key of another owner: hot tier, at most 10 s */
    bool is_peek;               /* member, who owned it before, is asked for what its store has (group/handover.c) */
    bool has_peeked;
    bool takes_over;            /* what comes is kept as our own value; where nothing comes it is no fault of anybody's */
    uint64_t whole_deadline_ms; /* behind a peek */
    struct hg_guard *guard;     /* held: the group's when it was started; NULL: none, or not started yet */
    bool has_slot;         /* holds a guard slot */
    uint64_t start_number; /* invalidations up to here were before it */
    /* oldest invalidation of this very key, or flush, since; older than the start: none */
    uint64_t fence_number;
    const struct hg_guard *held[HG_DEPTH_MAX];
    unsigned held_count;
    /* waiters this load's getter has on other flights (edges, under edge lock) */
    struct hg_list nested;
    uint8_t state;             /* enum in group_impl.h; catches a second report */
    bool is_queued;            /* in the guard's queue, under the guard's lock */
    uint64_t run_ms;           /* when the getter was called, or the peer asked */
    /* Of a batch (group/batch.h): the first of its loads leads, the others are on its list. */
    _Atomic(struct hg_load *) leader; /* of a follower; NULL: it leads, or is alone */
    struct hg_list followers;         /* of a leader, by link; under the group's batch lock until gathered */
    unsigned follower_count;
    bool is_gathered;
    uint64_t walk_number;      /* edge lock: last walk of the edges that came by */
    struct hg_load *walk_next; /* edge lock: still to be looked at by this walk */
    char storage[];            /* key, chain */
};

/* An ask that is to cause no load. */
static inline bool hg_load_asks_store(const struct hg_load *load)
{
    return load->is_peek || load->takes_over;
}

/* How an ask ended. */
enum hg_ask_outcome {
    HG_ASK_TYPED,     /* result: value, not_found, error or no_such_group; final */
    HG_ASK_UNTYPED,   /* the peer failed in words that are not ours (a Go node): one local load */
    HG_ASK_TRANSPORT, /* connect error, reset, silence, garbage: stale, second point, local load */
    HG_ASK_DEADLINE, /* the load's own deadline: neither a fallback nor a mark on the peer's health */
};

struct hg_ask_answer {
    enum hg_ask_outcome outcome;
    struct hg_value *result; /* typed only; the reference is taken over */
    uint64_t sent_ms;        /* when the request left: a copy's life counts from here */
    uint64_t ttl_ms, age_ms; /* remaining life at the owner; how old it is */
    double minute_qps;       /* the owner's request rate for the key; 0 = not told */
};

struct hg_source {
    void *ctx;
    /* Run the group's getter for load->flight.key. */
    int (*load)(void *ctx, struct hg_load *load);
    /* Ask load->view's member load->member; where hg_load_asks_store for what it has stored, and nothing else. */
    int (*ask)(void *ctx, struct hg_load *load);
    /* Whether that member is worth asking now (false: marked down; the read path falls back at once). */
    bool (*is_up)(void *ctx, const struct hg_view *view, size_t member);
    /* Hand mailed waiters (list of struct hg_waiter by `link`) to another loop; it calls hg_waiter_deliver on each. */
    void (*wake)(void *ctx, struct hg_loop *loop, struct hg_list *waiters);
    /* on_evict of the configuration; NULL where no group wants it. Under the shard's lock: queue, do not call. */
    void (*evicted)(void *ctx, struct hg_group *group, struct hg_value *value, int reason);
    /* on_hot: a key is asked for that often a minute; about once a minute each. NULL where no group wants it. Under the
     * shard's lock: queue, do not call. */
    void (*hot)(void *ctx, struct hg_group *group, struct hg_value *value, uint64_t minute);
    /* A group with policy "sampled" is over 95 % full; NULL: nobody scores. Under the shard's lock: queue, do not call. */
    void (*crowded)(void *ctx, struct hg_group *group);
    uint64_t (*random)(void *ctx);
};

/*
 * A local load is done. `result` (reference taken over) is a typed result; load is not to be touched again.
 * `here` is the loop this runs on, whose waiters are answered directly, or NULL: all are mailed.
 */
void hg_load_finish(struct hg_load *load, struct hg_value *result, uint64_t now_ms,
                    struct hg_loop *here);
/*
 * Where the group has batches, load() is handed the load that leads one. The source calls gather once, when it begins to
 * run the getter (each run of a retry sees the same): nobody joins any more, and followers (by link, behind the leader) are to be
 * loaded with it. Returns how many loads that are, the leader among them. Then it reports the leader, and by that
 * all of them, exactly once: by hg_load_finish_many with a result for each, the leader's first, or by hg_load_finish,
 * hg_load_fail with an error that all get.
 */
size_t hg_load_gather(struct hg_load *leader, uint64_t now_ms);
/* References on the results are taken over. `count` as gather said. */
void hg_load_finish_many(struct hg_load *leader, struct hg_value **results, size_t count, uint64_t now_ms,
                         struct hg_loop *here);
/* hg.keep: the old value still holds for ttl_ms (HG_FOREVER allowed; UINT64_MAX - 1 = the group's ttl). */
#define HG_TTL_OF_GROUP (UINT64_MAX - 1)
void hg_load_keep(struct hg_load *load, uint64_t ttl_ms, uint64_t now_ms, struct hg_loop *here);
/* An ask is done. */
void hg_load_asked(struct hg_load *load, const struct hg_ask_answer *answer, uint64_t now_ms,
                   struct hg_loop *here);
/* Shorthand: finish with an error result (the message is cut at 512 bytes). Works out of memory too. */
void hg_load_fail(struct hg_load *load, enum hg_class klass, struct hg_bytes message,
                  uint64_t now_ms, struct hg_loop *here);

#endif
