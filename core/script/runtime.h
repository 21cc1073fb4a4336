/*
 * runtime - the script threads of a node: named pools of Lua VMs with their own loops, and the watchdog.
 *
 *   load  ->  least busy thread of the group's pool  ->  coroutine: getter(key, ctx)  ->  hg_load_finish
 *   route ->  least busy thread of pool "routes"     ->  coroutine: handler(req)      ->  call->done on its home loop
 *
 * Budget: CPU a script may use between two waits; past it the watchdog makes the script raise (class timeout). A thread that does
 * not come back from that (compiled loop, C call) within 1.5 s is abandoned: its loads fail with class timeout, it drops to SCHED_IDLE,
 * a fresh thread takes its place, its key is quarantined for 60 s, doubling. At most 4 abandoned threads in the process; after that the
 * pool's loads are refused (unavailable). Never while the thread is inside the core. A thread that merely blocks in C (no CPU used) is left alone, logged
 * and counted, and gets no new work while it blocks.
 *
 * Threads    load, call, evicted and stats from any thread.
 */
#ifndef HG_SCRIPT_RUNTIME_H
#define HG_SCRIPT_RUNTIME_H

#include "group/group.h"
#include "net/change.h"
#include "net/loop.h"
#include "script/vm.h"
#include "wire/template.h"

struct hg_runtime;

struct hg_pool_config {
    const char *name; /* "getters", "routes", own */
    unsigned threads; /* at least 1 */
};

/* What scripts may ask of the world (hg.http); texts are borrowed. */
struct hg_fetch_limits {
    bool has_origins; /* only these; else any */
    const char *const *origins; /* as hg_url has them */
    size_t origin_count;
    size_t concurrency;    /* requests under way in the node; 0 = 256 */
    size_t per_load;       /* of one load or one call of a route; 0 = 1000 */
    size_t body_max;       /* bytes of an answer where the script says nothing; 0 = 8 MiB */
    const char *ca_file;   /* NULL: the system's */
};

/* What discovery says of the members of the cluster, from its own thread. */
struct hg_members_ops {
    /* A list; ignored: what stood beside it and is no member. HG_PENDING: it is the one from now on; HG_OK: it was already; negative: refused, *error says why. */
    int (*propose)(void *ctx, const struct hg_bytes *items, size_t count, size_t ignored,
                   char *error, size_t error_size);
    void (*failed)(void *ctx, const char *why); /* there is no list to be had */
    uint64_t (*identity)(void *ctx);            /* of this life of the node: what <base_path>?who answers */
    void (*give_up)(void *ctx, const char *why); /* this node may not be a member: the process ends with 1 */
};

struct hg_runtime_config {
    struct hg_vm_config vm;            /* file, args, memory, jit; is_control is ignored */
    uint64_t budget_ms;                /* default 100 */
    const struct hg_pool_config *pools;
    size_t pool_count;
    /* The groups of this configuration, borrowed, and the name of each one's pool, by hg_group_index; NULL: none of that index. */
    struct hg_group *const *group_list;
    const char *const *group_pools;
    size_t group_count;
    struct hg_vm *control;             /* whose data every VM's is compared with */
    void (*change)(void *ctx, struct hg_change *change); /* carries out a cluster-wide write */
    void *change_ctx;
    size_t reply_max;                  /* bytes a function route may answer with (limits.value) */
    struct hg_fetch_limits fetch;
    const struct hg_members_ops *members; /* NULL: there is no discovery, and no thread for it */
    void *members_ctx;
    uint64_t discovery_every_ms; /* above 0: how often it runs, or begins anew after it ended */
    /* Of a node under test: no threads and no watchdog; whoever made it turns the loops. A run may use
     * ten times the budget, since tests run in slow places. */
    bool is_inline;
};

/* Starts the threads; each has run the chunk when this returns. HG_EINVAL: *out_error says which data differs or what failed. */
int hg_runtime_create(const struct hg_runtime_config *config, struct hg_runtime **out_runtime, char **out_error);
/* The node answers from now on: hg.at_start and hg.every begin. Nothing runs before it but loads and calls. */
void hg_runtime_serve(struct hg_runtime *runtime);
/* Another runtime serves in its place: jobs and discovery end (runs under way go on), and begin again when it serves again. */
void hg_runtime_rest(struct hg_runtime *runtime);
/* Loads of the group whose getter's result is known, and those of them that failed (not: denied). Counters. */
void hg_runtime_loads(struct hg_runtime *runtime, const struct hg_group *group, uint64_t *out_ended, uint64_t *out_failed);
/* No load, call or coroutine is under way. */
bool hg_runtime_is_idle(struct hg_runtime *runtime);
size_t hg_runtime_running(const struct hg_runtime *runtime); /* loads and calls that were taken on and not reported */

/* hg_source.load: reports by hg_load_finish, hg_load_keep or hg_load_fail exactly once, from a script thread or the watchdog. Retries
 * with backoff as the group's guard says; each run has the guard's timeout_ms. */
int hg_runtime_load(struct hg_runtime *runtime, struct hg_load *load);
/* hg_source.evicted: queues on_evict; dropped and counted under load. */
void hg_runtime_evicted(struct hg_runtime *runtime, struct hg_group *group, struct hg_value *value, int reason);

/* hg_source.hot: queues on_hot, in the same way. */
void hg_runtime_hot(struct hg_runtime *runtime, struct hg_group *group, struct hg_value *value, uint64_t minute);

/* hg_source.crowded: has entries of the group scored, and the lowest evicted. */
void hg_runtime_crowded(struct hg_runtime *runtime, struct hg_group *group);

/* What is asked of a script thread for a client. */
enum hg_call_kind {
    HG_CALL_ROUTE,
    HG_CALL_ERROR,  /* a page of http.errors */
    HG_CALL_ORIGIN, /* cors.origin */
};

/* A request for a function route. Made and freed by the caller; everything in it stays valid until done. */
struct hg_route_call {
    struct hg_mail mail;
    enum hg_call_kind kind;
    const char *route;               /* as lua/hgcache/handlers.lua finds it: "GET /x", "error 404", "origin" */
    int error_status;                /* ERROR */
    const char *error_message;
    struct hg_bytes origin;          /* ORIGIN */
    const struct hg_http1_request *request;
    struct hg_path_params params;    /* raw */
    const char *remote;
    bool may_serve;                  /* ROUTE: hg.serve can go on where the hooks in front of it let it */
    uint64_t timeout_ms;
    struct hg_loop *home;
    void (*done)(struct hg_route_call *call); /* on home, exactly once */
    /* Result; hg_route_call_finish frees it. */
    int status;                      /* 502 with a safe text when the script failed, 504 on its time-out */
    struct hg_buf headers;           /* whole lines, checked (E16) */
    struct hg_buf body;
    bool has_type;                   /* headers hold a Content-Type */
    bool has_cache_control;          /* and a Cache-Control */
    bool is_failed;                  /* status and body are our own words for what went wrong */
    bool is_native;                  /* ROUTE: hg.serve shall go on */
    bool is_allowed;                 /* ORIGIN */
    char *stored_group;              /* not NULL: the body is this group's value of stored_key */
    struct hg_buf stored_key;
    /* The runtime's own. */
    void *above;
    struct hg_turn_end wake;         /* of `waking`, once this turn of home is done */
    struct hg_thread *waking;
};
/* HG_OK and done follows, or HG_ELIMIT (pool saturated), HG_EDRAINING. */
int hg_runtime_call(struct hg_runtime *runtime, struct hg_route_call *call);
void hg_route_call_finish(struct hg_route_call *call);

#define HG_RUNTIME_COUNTERS(X)                                                                     \
    X(tasks) X(errors) X(budget_exceeded) X(abandoned) X(quarantined) X(blocked) X(memory_errors)  \
    X(states_discarded) X(late_answers) X(evict_dropped) X(hot_dropped) X(score_errors)            \
    X(sockets_opened) X(sockets_reused) X(sockets_refused) X(sockets_pool_full)                    \
    X(sockets_too_large) X(sockets_no_room) X(sockets_pool_mixed)                                  \
    X(tls_handshakes) X(tls_resumed) X(tls_failures)                                               \
    X(postgres_queries) X(postgres_failures) X(postgres_waits) X(postgres_refused)                 \
    X(postgres_opened) X(postgres_connect_failures) X(postgres_lost) X(postgres_cancelled)         \
    X(postgres_cancels_dropped) X(postgres_too_large)                                              \
    X(job_runs) X(job_errors) X(job_ticks_skipped)
/*
 * Of hg.http: requests begun; those without an answer, given up ones too; bytes of bodies as scripts got them; answers over their
 * limit (failures as well); requests not begun: origin not allowed, too many at a time or of one load.
 */
#define HG_FETCH_COUNTERS(X)                                                                       \
    X(requests) X(failures) X(received_bytes) X(too_large) X(refused_origin) X(refused_limit)
struct hg_runtime_stats {
#define X(name) uint64_t name;
    HG_RUNTIME_COUNTERS(X)
#undef X
    uint64_t threads, running, memory_bytes, sockets, postgres_connections; /* gauges */
    struct {
#define X(name) uint64_t name;
        HG_FETCH_COUNTERS(X)
#undef X
        uint64_t running; /* gauge */
    } fetch;
};
void hg_runtime_stats(struct hg_runtime *runtime, struct hg_runtime_stats *out_stats);

/*
 * is_inline: its loops, at most max of them; the number. And what the watchdog does for hooks and scores: true when there was
 * something.
 */
size_t hg_runtime_loops(struct hg_runtime *runtime, struct hg_loop **out_loops, size_t max);
bool hg_runtime_dispatch(struct hg_runtime *runtime);
/* is_inline: fn(L) with ud, protected, in the Lua state of the first thread of the first pool. HG_OK or HG_ENOMEM. */
int hg_runtime_enter(struct hg_runtime *runtime, lua_CFunction fn, void *ud);

/* The node leaves the cluster: discovery takes its name back (lua/hgcache/discovery.lua). */
void hg_runtime_leave(struct hg_runtime *runtime);
bool hg_runtime_has_left(
    const struct hg_runtime *runtime); /* that is over, or there is no discovery */
/* No new work; `true` when nothing is running any more. */
bool hg_runtime_drain(struct hg_runtime *runtime);
/* Fails what is left (class unavailable, "draining"), stops the threads, joins all but abandoned ones. */
void hg_runtime_destroy(struct hg_runtime *runtime);

#endif
