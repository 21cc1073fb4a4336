/*
 * world - a cluster of whole nodes in one thread, drawn from one 64-bit seed.
 *
 *   world.c    event heap, random numbers, trace, failing      options.c  what a seed switches on
 *   cluster.c  nodes: start, crash, pause, views, clocks       origin.c   keys, versions, getters
 *   client.c   who asks: clients, getters, peers' requests     net.c      links, asks, health
 *   many.c     asks that travel together                       check.c    invariants I1..I14
 *   change.c   writes that reach the whole cluster             main.c     command line, processes
 *   run.c      one seed from birth to silence
 *
 * Time       `now` is true virtual milliseconds; each node has a clock of its own (node_now).
 * Memory     objects of the simulator live in an arena until the seed is over, so events may refer to what has
 *            ended; everything of the core comes from base/alloc.h and is counted.
 * Determinism  no address, no real clock and no hash seed of the process decides anything; nor does the order in which
 *            a compiler evaluates arguments: one expression draws one random number.
 */
#ifndef HG_SIM_WORLD_H
#define HG_SIM_WORLD_H

#include <stdio.h>
#include "base/alloc.h"
#include "base/err.h"
#include "base/hash.h"
#include "cluster/answer.h"
#include "cluster/contact.h"
#include "cluster/health.h"
#include "cluster/many.h"
#include "cluster/membership.h"
#include "cluster/write.h"
#include "group/hot.h"
#include "wire/peer_message.h"

#define NODES_MAX    8
#define LOOPS_MAX    4
#define GROUPS       2
#define KEYS_MAX     64
#define VERSIONS_MAX 512
#define TAGS         3
#define ALL_KEYS     (GROUPS * KEYS_MAX)
#define QUIET_MS     30000 /* after the faults, all is still within */
#define NEVER        UINT64_MAX

/* Percent or permille (p_), milliseconds (_ms), counts. Printed with a failing seed. */
#define OPTIONS(X)                                                                                 \
    X(nodes) X(loops) X(shards) X(keys) X(duration_ms) X(gets_each_ms) X(zipf) X(capacity)         \
    X(value_max) X(flights_max) X(waiters_max) X(policy) X(lease_ms) X(hot) X(ttl_ms) X(jitter)              \
    X(negative_ttl_ms) X(error_ttl_ms) X(swr_ms) X(sie_ms) X(early) X(deadline_ms)                 \
    X(stale_on_timeout) X(guard) X(guard_concurrency) X(guard_queue) X(guard_timeout_ms)           \
    X(breaker) X(delay_ms) X(p_loss) X(p_duplicate) X(p_flip) X(p_cut_short) X(p_reset)            \
    X(p_untyped) X(p_crossed) X(p_slow_link) X(partition_each_ms) X(crash_each_ms)                 \
    X(pause_each_ms) X(leave_each_ms) X(view_each_ms) X(drift_ppm) X(clock_high) X(p_no_memory)    \
    X(load_ms) X(p_load_slow) X(p_load_never) X(p_load_fails) X(p_load_unstarted) X(p_oversized)   \
    X(p_odd_ttl) X(p_odd_end) X(p_keep) X(p_absent) X(p_nested) X(is_dag) X(write_each_ms) X(p_silent_write)    \
    X(change_each_ms) X(p_cancel) X(p_short) X(p_burst) X(p_peek) X(big_values) X(health_ms)       \
    X(p_gone) X(p_take_over) X(new_ms) X(hot_minute) X(contact_ms) X(changes_kept) X(batch) X(error_ttl_max_ms)             \
    X(p_many) X(many_keys) X(p_left_out)

struct options {
#define X(name) uint64_t name;
    OPTIONS(X)
#undef X
};

struct world;
struct node;
struct client;
struct job;
struct bundle;
struct call;

typedef void (*event_fn)(struct world *world, void *arg);

struct event {
    uint64_t at, number;
    event_fn happen;
    void *arg;
    int node;       /* -1: the world's own; else it waits while that node is paused */
    unsigned epoch; /* of the node; of an older one: it never happens */
};

/* A virtual event loop. */
struct hg_loop {
    struct node *node;
    unsigned index;
    struct hg_list mail;
    bool is_posted;
};

struct peer {
    struct node *from;
    unsigned to;
    struct hg_health health;
    struct hg_list waiting; /* asks that have not left, by call.ask.link */
    struct hg_list calls;   /* those that travel alone, by call.link */
    struct hg_list bundles; /* messages of several */
    bool is_sending;
    uint64_t many_again_at; /* until then it is asked key by key */
    uint64_t probed_at, silent_since; /* it was last heard, or asked when nothing was to be heard */
};

/* A key that a peer was asked for, there. */
struct served {
    struct call *call;
    struct bundle *bundle; /* NULL: it came alone */
    unsigned number;       /* in it */
    struct client *client; /* who waits for it, or NULL */
};

/* A key that a peer is asked for. */
struct call {
    struct hg_ask ask; /* load: until it is over */
    struct hg_list link;
    struct peer *peer;
    unsigned key;
    uint64_t sent_ms;
    struct hg_bytes path, message;
    struct served alone;
    struct bundle *bundle; /* whose message it travels in now */
    bool is_over;
};

struct node {
    struct world *world;
    unsigned index;
    char name[16];
    bool is_alive, is_draining;
    unsigned epoch;
    uint64_t paused_until;
    uint64_t clock_start, ppm; /* ppm of 1,000,000 */
    struct hg_source source;
    struct hg_guard guard;
    struct hg_groups *groups;
    struct hg_group *group[GROUPS];
    struct hg_loop loops[LOOPS_MAX];
    struct peer peers[NODES_MAX];
    struct hg_view *views[64];
    unsigned view_count;
    unsigned view_mask; /* members of the view it follows */
    unsigned running[ALL_KEYS];
    bool is_asking[ALL_KEYS];
    unsigned jobs, calls;
    uint64_t gets_counted[GROUPS], loads_counted[GROUPS], asks_counted[GROUPS];
    unsigned evicted, told_hot;
    struct hg_changes *changes;
    struct hg_contact *contact;
};

struct key {
    uint64_t version;               /* current at the origin */
    uint64_t since[VERSIONS_MAX];   /* when each version became so */
    uint64_t floor;                 /* no get begun from now may return an older one */
    uint64_t floor_absent;          /* the same for "not found", which has no tags */
    uint64_t last_error;            /* when a getter last ended with an error that may be kept */
    bool is_changing;               /* a cluster change is under way */
    bool is_unordered;              /* one of unknown outcome was: no order can be asked for */
};

struct failure {
    bool is_failed;
    char id[8];
    char text[400];
};

/* What a seed ended with; lies in memory shared with the parent. */
struct report {
    struct failure failure;
    struct options options;
    uint64_t seed, hash, events, gets, answers, loads, asks;
};

struct world {
    uint64_t seed, random, now, number, hash;
    struct options options;
    bool is_traced, is_calm, is_healed, is_closing, is_crashing;
    struct event *heap;
    size_t count, room;
    char *arena;
    size_t arena_used;
    struct node nodes[NODES_MAX];
    unsigned members; /* mask: who is in the cluster */
    bool is_cut[NODES_MAX][NODES_MAX];
    struct key keys[ALL_KEYS];
    struct hg_list clients, jobs; /* open ones */
    unsigned open_clients, open_jobs, open_calls, open_changes;
    uint64_t lag_read, lag_net, lag_mail, lag_pause; /* the longest so far */
    uint64_t odd_at;                                 /* when last somebody asked who is not the owner */
    uint64_t views_differ_at;
    uint64_t checked_at;
    struct hg_bytes last_body[NODES_MAX];
    unsigned last_key[NODES_MAX];
    bool is_proving; /* the last stage: nothing may go wrong any more */
    struct report *report;
    size_t live_bytes, live_count;
};

/* world.c */
void world_fail(struct world *world, const char *id, const char *format, ...)
    __attribute__((format(printf, 3, 4), noreturn));
#define must(world, id, condition, ...)                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            world_fail(world, id, __VA_ARGS__);                                                    \
    } while (0)
void *arena_get(struct world *world, size_t size); /* zeroed */
struct hg_bytes arena_copy(struct world *world, struct hg_bytes bytes);
uint64_t next_u64(struct world *world);
uint64_t below(struct world *world, uint64_t limit); /* 0 for a limit of 0 */
bool chance(struct world *world, uint64_t permille);
/* In `delay` ms, on a node (NULL: the world's own). */
void after(struct world *world, uint64_t delay, struct node *node, event_fn happen, void *arg);
bool world_step(struct world *world);
/* Into the hash; with --trace onto the terminal. */
void trace(struct world *world, int node, const char *what, uint64_t a, uint64_t b);

/* options.c */
void options_draw(struct world *world, unsigned nodes_max);
void options_print(FILE *out, const struct options *options);

/* cluster.c */
void node_init(struct world *world, unsigned index);
void node_start(struct node *node);
void node_crash(struct node *node);
void node_stop(struct node *node); /* quiet already */
uint64_t node_now(const struct node *node);
/* True milliseconds until the node's clock has gone on by this much. */
uint64_t node_wait(const struct node *node, uint64_t clock_ms);
bool node_is_paused(const struct node *node);
struct hg_loop *node_any_loop(struct node *node);
void node_view(struct node *node, unsigned mask);
void cluster_faults(struct world *world);
void cluster_heal(struct world *world);
bool views_agree(const struct world *world);
/* The owner in everybody's view, or -1 where views differ. */
int cluster_owner(const struct world *world, unsigned key);
void node_ticks(struct world *world, void *arg);

/* origin.c */
unsigned key_group(unsigned key);
struct hg_bytes key_name(unsigned key); /* static storage */
bool key_find(const struct node *node, const struct hg_group *group, struct hg_bytes name, unsigned *out_key);
void key_new_version(struct world *world, unsigned key);
bool key_is_absent(const struct world *world, unsigned key, uint64_t version);
/* NULL: out of memory. */
struct hg_value *origin_value(struct world *world, unsigned key, uint64_t version);
struct sample {
    uint64_t version, ttl_ms, window_ms;
    bool is_oversized;
};
/* Fails with I9 where it is not whole or not this key's. */
struct sample value_read(struct world *world, const struct hg_value *value, unsigned key);
unsigned tag_of(unsigned key); /* TAGS: none */
struct hg_bytes tag_name(unsigned tag);
int source_load(void *ctx, struct hg_load *load);
void job_kill(struct job *job);
void job_resume(struct job *job);

/* client.c */
enum client_kind { CLIENT_USER, CLIENT_NESTED, CLIENT_PEER, CLIENT_PROOF };
struct client {
    struct hg_waiter waiter;
    struct hg_list link;
    struct node *node;
    enum client_kind kind;
    unsigned key;
    uint64_t number, started, floor, floor_absent, deadline_ms /* of the node's clock */;
    uint64_t must_come_by; /* 0: not yet */
    bool is_waiting, is_done;
    void *owner; /* job or served */
};
struct client *client_start(struct node *node, enum client_kind kind, unsigned key, const struct hg_get *with,
                            uint64_t stays_ms, void *owner);
void client_cancel(struct client *client); /* leaves, without an answer */
void clients_start(struct world *world);
void clients_proof(struct world *world);

/* net.c */
int source_ask(void *ctx, struct hg_load *load);
bool source_is_up(void *ctx, const struct hg_view *view, size_t member);
void call_answer(struct served *served, struct node *node, const struct hg_result *result);
/* An ask is over. */
void call_report(struct call *call, const struct hg_ask_answer *answer);
void call_fails(struct call *call, enum hg_ask_outcome outcome);
void call_deadline(struct world *world, void *call);
int call_send_alone(struct call *call);
/* Encodes the Request that goes with asks of this load; the key's path where `path` is not NULL. */
int call_encode(struct node *node, const struct hg_load *load, struct hg_bytes *out_message, struct hg_bytes *path);
int call_decode_chain(const struct hg_peer_request *request, struct hg_buf *chain);
bool call_is_damaged(struct world *world);
struct hg_bytes call_damage(struct world *world, struct hg_bytes bytes);
double call_minute(struct node *node, unsigned key); /* how often it is asked for it */
/* The answer to another key that this node gave lately; data NULL: none. Remembers this one. */
struct hg_bytes call_crossed(struct world *world, struct node *node, unsigned key, struct hg_bytes body);
void calls_end(struct node *node); /* all outstanding ones, by deadline */
void peers_tick(struct node *node);
/* How often it comes (0: lost), and when. */
unsigned link_fate(struct world *world, unsigned from, unsigned to, uint64_t out_delays[2]);

/* many.c */
void asks_wait(struct call *call); /* until the end of this turn */
bool bundle_drop(struct call *call); /* false: it travels in none */
void bundles_fail(struct peer *peer, enum hg_ask_outcome outcome);
void bundle_answer(struct served *served, struct node *node, const struct hg_result *result);

/* change.c */
void changes_start(struct world *world);
/* contact.c */
void contact_start(struct node *node);

/* check.c */
void check_cheap(struct world *world);
void check_node(struct node *node);
void check_all(struct world *world);
void check_answer(struct client *client, const struct hg_result *result, bool is_at_once);
void check_load_start(struct node *node, struct hg_load *load, unsigned key);
void check_ask_start(struct node *node, struct hg_load *load);
void check_quiet(struct world *world);
void check_ring(struct world *world);
bool world_is_quiet(const struct world *world);

/* run.c */
void world_run(uint64_t seed, unsigned nodes_max, bool is_traced, struct report *report);

#endif
