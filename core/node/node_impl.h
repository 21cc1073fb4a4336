/*
 * node_impl - the parts of a running node that its files share. Not for other floors.
 *
 *   node.c      start and stop              request.c   a client's request: route, key, get, answer
 *   generation.c  what one loading of the configuration made; scripts.c its threads; publish.c, reload.c how the next one comes to serve
 *   workers.c   worker loops, accept        serve.c     answers of hg.serve
 *   drain.c     signals, leaving            call.c      function routes, pages of errors; call_origin.c  origins
 *   source.c    what groups need from us    peer_side.c what peers ask of us
 *   contact.c   what others changed         peer_grpc.c over gRPC; peer_many.c many keys in one message; peer_changes.c changes
 *   change.c    writes across the cluster   admin.c     the admin listener; admin_reload.c, stats.c, metrics.c, ring_page.c, hot.c, explain.c its pages
 */
#ifndef HG_NODE_NODE_IMPL_H
#define HG_NODE_NODE_IMPL_H

#include "cluster/changes.h"
#include "cluster/mismatches.h"
#include "net/listener.h"
#include "net/peers.h"
#include "net/server.h"
#include "net/timer.h"
#include "node/generation.h"
#include "node/origins.h"
#include "node/retired.h"
#include "wire/route.h"

struct hg_node;
struct hg_node_options;

/* A loop that serves connections: a worker, or the control loop (admin only). */
struct hg_front {
    struct hg_node *node;
    struct hg_generation *generation; /* held: what requests are answered with; changes between two callbacks (reload.c) */
    struct hg_loop *loop;
    struct hg_server *server;
    struct hg_buf headers, body;      /* scratch of one answer */
    char *key;                        /* scratch of one key: limits.key + 1 bytes */
    struct hg_request *spare;         /* the waiter of the next miss, made before it is needed */
    struct hg_hold hold;              /* scratch of one hit */
    struct hg_origins *origins;       /* what cors.origin said */
    struct hg_list askings;           /* call_origin.c: what it is asked now */
};

/* hg_exchange.marks */
#define HG_MARK_APPROVED 1u           /* cors.origin said that this origin may */
#define HG_MARK_PAGES    2u           /* errors may have pages of http.errors: a client's, and not in one already */
#define HG_MARK_UNKNOWN  4u           /* cors.origin said nothing: the answer is for now only */

struct hg_worker {
    struct hg_loop loop;
    char name[16];
    struct hg_front front;
    struct hg_peer_client *client;    /* NULL once the worker stops */
    struct hg_mail stop, drain;       /* posted by the control thread */
    struct hg_mail adopt;             /* likewise: another generation serves */
    atomic_bool adopt_posted;
    bool is_closed;                   /* server and client are gone */
    unsigned closing;                 /* close callbacks still awaited */
    _Atomic size_t busy;              /* exchanges in work, as last seen by its own loop */
    uv_timer_t tick;
};

/* A route of the configuration, compiled. */
struct hg_node_route {
    const struct hg_config_route *config;
    struct hg_group *group;           /* NULL: {query.group} */
    struct hg_template *key;
    struct hg_cors *cors;             /* the route's own or the top's; NULL = none */
    bool owns_cors;
    struct hg_buf headers;            /* its fixed header lines */
    bool has_type;                    /* and Content-Type is among them */
};

#define HG_NODE_COUNTERS(X)                                                                        \
    X(connections_refused) X(unauthorized) X(peer_bad_requests) X(peer_self_requests) X(peer_other_versions) X(peer_ring_mismatches) X(peer_grpc_requests) X(peer_many_requests) X(peer_many_keys) X(peer_many_left_out) X(peer_many_refused) X(handed_over) X(handover_failures) X(handover_left_out) X(handover_cut) X(no_memory) X(client_timeouts) X(origins_unasked) X(changes) X(changes_missed) X(changes_flushed) X(changes_unanswered)
struct hg_node_counters {
#define X(name) _Atomic uint64_t name;
    HG_NODE_COUNTERS(X)
#undef X
};

enum hg_node_phase {
    HG_NODE_STARTING,
    HG_NODE_SERVING,
    HG_NODE_DRAINING,
    HG_NODE_LEAVING, /* no client is left: what scripts still ask for on their own is refused, or it would never end */
    HG_NODE_STOPPING,
};

#define HG_LISTENERS_MAX 3
struct hg_node_listener {
    struct hg_address address;
    int fd;                           /* -1 once a listener owns it */
    unsigned roles;
    struct hg_listener *listener;
};

struct hg_node {
    const struct hg_node_options *options;
    struct hg_config *config;         /* the first one: for what no reload changes (lua/hgcache/reload.lua) */
    struct hg_generation generations[HG_GENERATIONS_MAX];
    _Atomic(struct hg_generation *) generation; /* the one that serves; changed by the control loop */
    atomic_bool wants_evicted, wants_hot;       /* of it */
    struct hg_retired retired;        /* control loop only */
    struct hg_reload *reload;         /* reload.c; NULL under test */
    struct hg_shared *shared;         /* the tables of hg.shared */
    struct hg_vm_fakes *fakes;        /* of a node under test (harness.h); else NULL */
    pthread_mutex_t past_lock;
    struct hg_runtime_stats past;     /* of generations that are gone; under it */
    struct hg_metrics *metrics;       /* those of scripts: hg.counter and its like */
    struct hg_source source;          /* what groups ask of us; they borrow it */
    struct hg_groups *groups;
    struct hg_node_members *members; /* NULL in a cluster of one */
    struct hg_mail follow;           /* to the first worker: the members have changed */
    atomic_bool follow_posted;
    struct hg_changes *changes;      /* invalidations, our own and others' */
    struct hg_node_contact *contact; /* the first worker's; NULL in a cluster of one */
    struct hg_peers_config peers_config;
    struct hg_mismatches mismatches; /* nodes whose ring is another */
    struct hg_loop control;
    struct hg_front admin;            /* on the control loop */
    struct hg_worker *workers;
    unsigned worker_count, workers_started;
    unsigned next_accept;             /* control loop only */
    _Atomic unsigned next_errand;
    struct hg_node_listener listeners[HG_LISTENERS_MAX];
    size_t listener_count;
    struct hg_server_limits server_limits;
    struct hg_bytes name;
    _Atomic size_t connections;
    _Atomic unsigned changes_running; /* writes that wait for the cluster, and explanations */
    size_t connections_max;           /* limits.connections, or less where descriptors are short */
    _Atomic int phase;                /* enum hg_node_phase */
    struct hg_node_counters counters;
    uint64_t started_ms;

    /* drain.c, control loop only */
    uv_signal_t on_term, on_int, on_hup;
    uv_timer_t housekeeping, drain_timer;
    uint64_t drain_until_ms, drain_hand_over_until_ms, drain_listen_until_ms, drain_leave_until_ms, drain_last_until_ms;
    unsigned listeners_closing;
    unsigned control_closing;
    int exit_code;
    bool is_leaving;
    atomic_bool is_handing_over;
};

/* Who the members are; NULL in a cluster of one. To be held (hg_view_hold) by who keeps it beyond a callback. */
static inline const struct hg_view *hg_node_view(const struct hg_node *node)
{
    return hg_groups_view(node->groups);
}

#define HG_COUNT_UP(counter) atomic_fetch_add_explicit(&(counter), 1, memory_order_relaxed)

/* scripts.c: what script threads share; the threads of a generation. HG_EINVAL: *out_error says why (hg_free it). */
int hg_node_scripts_init(struct hg_node *node);
void hg_node_scripts_finish(struct hg_node *node);
int hg_node_scripts_start(struct hg_node *node, const struct hg_node_options *options,
                          struct hg_generation *generation, char **out_error);
struct hg_vm_config hg_node_vm_config(const struct hg_node_options *options);
/* Those of all generations that there were. */
void hg_node_scripts_stats(struct hg_node *node, struct hg_runtime_stats *out_stats);
/* LIVE -> CLOSING, and its counters go on in that sum. False: somebody holds it. */
bool hg_node_scripts_close(struct hg_node *node, struct hg_generation *generation);

/* workers.c */
int hg_front_init(struct hg_front *front, struct hg_node *node, struct hg_loop *loop);
void hg_front_finish(struct hg_front *front);
void hg_front_trim(struct hg_front *front); /* after an answer that may have been big: its body was copied */
int hg_workers_start(struct hg_node *node);
/* Asks every worker to close its connections and stops and joins them. */
void hg_workers_stop(struct hg_node *node);
void hg_workers_drain(struct hg_node *node);
void hg_node_on_accept(void *ctx, int fd, unsigned roles);
struct hg_worker *hg_node_worker_of(struct hg_node *node, struct hg_loop *loop); /* NULL: not a worker's loop */
struct hg_worker *hg_node_any_worker(struct hg_node *node);

void hg_front_adopt(struct hg_front *front); /* on its loop: the generation that serves */
unsigned hg_node_cpu_count(void);

/* source.c. Groups come with a generation. */
int hg_node_source_init(struct hg_node *node);
void hg_node_source_finish(struct hg_node *node);
void hg_node_deliver(struct hg_loop *loop, struct hg_list *list);

/* request.c: the server's ops */
void hg_node_request(void *ctx, struct hg_exchange *exchange);
void hg_node_gone(void *ctx, struct hg_exchange *exchange);
void hg_node_closed(void *ctx, unsigned roles);
extern const struct hg_server_ops hg_node_server_ops;

/* What hg_exchange.user points to while an exchange is kept: the first member of whoever waits for it. */
struct hg_pending {
    void (*gone)(struct hg_pending *pending, struct hg_exchange *exchange); /* the client left */
};

struct hg_request;
/* `key` is the one asked for: a result's value may be a shared one without it. */
typedef void (*hg_request_reply_fn)(struct hg_front *front, struct hg_exchange *exchange, struct hg_group *group,
                                    struct hg_bytes key, void *target, const struct hg_result *result);
struct hg_request {
    struct hg_pending pending;
    struct hg_waiter waiter;
    struct hg_timer timer;
    void (*release)(void *target);    /* target is needed no more; NULL: nobody cares */
    struct hg_front *front;
    struct hg_generation *generation; /* held once it waits: target is of it */
    struct hg_exchange *exchange;     /* NULL once the client has gone */
    hg_request_reply_fn reply;
    struct hg_group *group;
    void *target;                     /* for reply: the route, or NULL */
    bool timer_open;
    bool is_waiting;                  /* an answer may still come */
    struct hg_bytes key;              /* copy in storage */
    char storage[];
};
/* get, and reply now or later. reply gets target back. `get` is complete but for loop and now. */
void hg_request_get(struct hg_front *front, struct hg_exchange *exchange, struct hg_group *group, struct hg_get *get,
                    uint64_t timeout_ms, hg_request_reply_fn reply, void *target);
/* The same; release(target) is called once, behind reply or when there will be none. */
void hg_request_get_owned(struct hg_front *front, struct hg_exchange *exchange, struct hg_group *group,
                          struct hg_get *get, uint64_t timeout_ms, hg_request_reply_fn reply, void *target,
                          void (*release)(void *target));
/*
 * A waiter's deadline passed. True: it is unlinked, and this is its answer (release out_stale once it is used). False: its
 * answer is in this loop's mailbox.
 */
bool hg_request_give_up(struct hg_front *front, struct hg_waiter *waiter, struct hg_result *out_result,
                        struct hg_hold *out_stale);

/* serve.c */
void hg_serve_request(struct hg_front *front, struct hg_exchange *exchange, struct hg_node_route *route,
                      const struct hg_path_params *params);
/* The answer of a key of a group, with the route's headers. */
void hg_serve_get(struct hg_front *front, struct hg_exchange *exchange, struct hg_group *group, struct hg_get *get,
                  uint64_t timeout_ms, struct hg_node_route *route, void (*release)(void *route));
/* Where cors.origin said nothing, nobody is to keep the answer: the one Cache-Control in front->headers says so. */
void hg_front_no_store(struct hg_front *front, const struct hg_exchange *exchange);
/* Appends the fields of cors, which may be NULL, to front->headers, and no_store. */
void hg_front_cors(struct hg_front *front, const struct hg_exchange *exchange, const struct hg_cors *cors);
/* The text of http.errors for what was no request, as hg_server_ops.page; ctx is the front. */
const char *hg_front_page(void *ctx, unsigned roles, int status, const char **out_type);
/* An error: its page of http.errors, or one line of plain text; front->headers holds further lines. */
void hg_front_error_more(struct hg_front *front, struct hg_exchange *exchange, struct hg_node_route *route, int status,
                         const char *message);
/* The same without further lines but the CORS fields of the route. */
void hg_front_error(struct hg_front *front, struct hg_exchange *exchange, struct hg_node_route *route, int status,
                    const char *message);

/* call.c */
void hg_call_request(struct hg_front *front, struct hg_exchange *exchange, struct hg_node_route *route,
                     const struct hg_path_params *params);

/* NULL: begun, and it will be answered. Else nothing is, and the exchange, perhaps kept by now, is to be answered by the caller. */
struct hg_exchange *hg_call_page(struct hg_front *front, struct hg_exchange *exchange, int status, const char *message);

/* call_origin.c. What was asked is known: go on with the exchange, which is kept. */
typedef void (*hg_called_fn)(struct hg_front *front, struct hg_exchange *exchange, enum hg_origin_word word);
/* NULL: next follows. Else nobody is asked (counted), and the exchange, perhaps kept by now, is the caller's. */
struct hg_exchange *hg_call_origin(struct hg_front *front, struct hg_exchange *exchange, struct hg_node_route *route,
                                   const struct hg_cors *cors, hg_called_fn next);

/* peer_side.c */
void hg_peer_side_answer(struct hg_front *front, struct hg_exchange *exchange, int status, const struct hg_buf *body,
                         uint64_t retry_after_s); /* an encoded message */
void hg_peer_side_no_memory(struct hg_front *front, struct hg_exchange *exchange);
void hg_peer_side_refuse(struct hg_front *front, struct hg_exchange *exchange, int status, const char *why);
#define HG_PEER_IS_MYSELF "the request's origin is this very node: two nodes have the same cluster.self"
struct hg_peer_request;
#define HG_PEER_IS_OTHER "the request is of another wire version than this node's"
/*
 * What goes with a key: appends the chain as hg_load.chain has it. Counted and logged: HG_ECANCELED, it is from ourselves; HG_EACCES, it
 * is of another wire version.
 */
int hg_peer_side_take(struct hg_front *front, const struct hg_peer_request *peer, struct hg_buf *chain);
/* Header Hgcache-Request: the keys whose getters wait as hg_load.chain has them, the time that is left; sets from_peer and is_peek.
 * False: answered. */
bool hg_peer_side_header(struct hg_front *front, struct hg_exchange *exchange, struct hg_buf *chain,
                         uint64_t *out_timeout_ms, struct hg_get *out_get);
/*
 * Who does not say which node it is, where the ring is none of the Go nodes', is no node: any node that it asks asks the owner for it,
 * as for a client of the API. A Go node would ask us for what we think is its own, and it would go round.
 */
bool hg_peer_side_is_client(const struct hg_node *node, struct hg_bytes origin);
bool hg_peer_side_is_path(const struct hg_node *node, struct hg_bytes path, struct hg_bytes *out_rest);
void hg_peer_side_request(struct hg_front *front, struct hg_exchange *exchange, struct hg_bytes rest);

/* peer_grpc.c. A gRPC call, or what wants to be one. */
bool hg_peer_grpc_is_asked(const struct hg_exchange *exchange);
void hg_peer_grpc_request(struct hg_front *front, struct hg_exchange *exchange);

/* peer_many.c */
bool hg_peer_many_is_asked(const struct hg_http1_request *request);
void hg_peer_many_request(struct hg_front *front, struct hg_exchange *exchange);

/* auth.c: "Authorization: Bearer" against a list, in constant time. An empty list allows all. */
bool hg_auth_is_allowed(const struct hg_http1_request *request, const struct hg_strings *tokens);
/* Whether the client is on this machine: loopback or a unix socket. */
bool hg_auth_is_local(const struct hg_exchange *exchange);

/* What a member answers when told of a change: applied, and there was something, or there was nothing. */
#define HG_CHANGE_WAS_THERE 204
#define HG_CHANGE_NOT_THERE 200

/* peer_changes.c */
bool hg_peer_changes_is_asked(const struct hg_http1_request *request);
void hg_peer_changes_request(struct hg_front *front, struct hg_exchange *exchange);

/* members.c */
#define HG_NODE_REPLACED_MAX 8 /* views that were replaced and are not freed yet */
#define HG_NODE_MEMBERS_COUNTERS(X) X(changes) X(refused) X(deferred) X(failures)
struct hg_node_members_counters {
#define X(name) _Atomic uint64_t name;
    HG_NODE_MEMBERS_COUNTERS(X)
#undef X
};
struct hg_node_members_stats {
    const char *source; /* "static", "etcd", ... */
    uint64_t age_ms;    /* since the last good list; 0 when static */
    uint64_t changed_ms; /* since the list became what it is */
    uint64_t ignored;   /* what stood beside it and is no member */
    uint64_t views;     /* the one there is, and replaced ones that are not freed yet */
#define X(name) uint64_t name;
    HG_NODE_MEMBERS_COUNTERS(X)
#undef X
};
int hg_node_members_init(
    struct hg_node *node); /* once the groups are there, before anything runs */
void hg_node_members_finish(struct hg_node *node); /* once nothing runs and the groups are gone */
/*
 * A list from discovery; ctx is the node, one thread at a time. HG_PENDING: it is published; HG_OK: it is the one that is there;
 * negative: *error says why, and the last good one stays. HG_ELIMIT with HG_NODE_REPLACED_MAX replaced views: it may come again.
 */
int hg_node_members_propose(void *ctx, const struct hg_bytes *items, size_t count, size_t ignored,
                            char *error, size_t error_size);
void hg_node_members_failed(void *ctx, const char *why); /* there is no list to be had */
uint64_t hg_node_members_identity(void *ctx); /* of this life of the node */
void hg_node_members_give_up(void *ctx, const char *why); /* ends the process */
bool hg_node_members_are_known(const struct hg_node *node);
struct hg_node_members_stats hg_node_members_stats(const struct hg_node *node); /* in a cluster */
void hg_node_members_tick(
    struct hg_node *node); /* by housekeeping: frees views that were replaced */

/* contact.c. On the first worker's loop, before it runs; close on it, and only where node->contact is set. */
int hg_node_contact_start(struct hg_worker *worker, struct hg_node *node);
void hg_node_contact_follow(struct hg_node *node); /* on its loop: the members have changed */
void hg_node_contact_close(struct hg_node *node, void (*closed)(void *ctx), void *ctx);

/* change.c */
void hg_node_change(void *ctx, struct hg_change *change); /* ctx is the node; any thread */

/* admin.c. False: not an admin path. */
bool hg_admin_request(struct hg_front *front, struct hg_exchange *exchange);
/* For its pages. NULL: answered. */
struct hg_group *hg_admin_group(struct hg_front *front, struct hg_exchange *exchange);
/* A decoded query parameter; HG_ENOENT, HG_EINVAL (twice), HG_EPROTO, HG_ETOOBIG, HG_ENOMEM. */
int hg_admin_parameter(const struct hg_http1_request *request, const char *name, char *out, size_t size,
                       size_t *out_len);
void hg_admin_answer(struct hg_front *front, struct hg_exchange *exchange, int status, const char *type,
                     const struct hg_buf *body);
void hg_admin_text(struct hg_front *front, struct hg_exchange *exchange, int status, const char *text);

/* admin_write.c */
void hg_admin_write_key(struct hg_front *front, struct hg_exchange *exchange, struct hg_group *group,
                        struct hg_bytes key);
void hg_admin_flush(struct hg_front *front, struct hg_exchange *exchange);
void hg_admin_untag(struct hg_front *front, struct hg_exchange *exchange);

/* "" when ready, else why not. */
const char *hg_node_not_ready(const struct hg_node *node);
/* stats.c, metrics.c: whole bodies. */
int hg_stats_format(struct hg_node *node, struct hg_buf *buf);
/* explain.c. The JSON of this node alone, for a peer that asks. */
int hg_explain_format_part(struct hg_node *node, struct hg_group *group, struct hg_bytes key, uint64_t now_ms,
                           struct hg_buf *buf);
/* On the front's loop, at once or later: front->body holds the JSON of all nodes, or err is negative. The exchange is to
 * be answered. */
typedef void (*hg_explained_fn)(struct hg_front *front, struct hg_exchange *exchange, int err);
void hg_explain_gather(struct hg_front *front, struct hg_exchange *exchange, struct hg_group *group,
                       struct hg_bytes key, hg_explained_fn done);
/* ring_page.c, hot.c */
int hg_ring_format(struct hg_node *node, uint64_t now_ms, struct hg_buf *buf);
int hg_hot_format(struct hg_node *node, uint64_t now_ms, struct hg_buf *buf);
int hg_metrics_format(struct hg_node *node, struct hg_buf *buf);

/*
 * handover.c: before we leave, the members behind us on the ring fetch the hottest keys of ours. Control loop only. `done`
 * is on the first worker's loop, once: no key is left, too many were told of already, or nobody answers. False: nothing to do.
 */
bool hg_handover_start(struct hg_node *node, void (*done)(struct hg_node *node));

/* publish.c, on the control loop: the generation serves from now on. HG_ENOMEM: nothing has changed. */
int hg_generation_publish(struct hg_node *node, struct hg_generation *generation);

/* reload.c */
int hg_reload_init(struct hg_node *node); /* on the control loop */
void hg_reload_finish(struct hg_node *node); /* nothing of it runs any more */
void hg_reload_tick(struct hg_node *node); /* by housekeeping */
void hg_reload_by_signal(struct hg_node *node);
bool hg_reload_is_running(const struct hg_node *node); /* a configuration is being loaded, or a generation ended */
#define HG_RELOAD_COUNTERS(X) X(done) X(refused) X(rolled_back)
struct hg_reload_stats {
    uint64_t generation, since_ms; /* the one that serves, and since when; boot time */
    uint64_t generations;          /* that are there */
    uint64_t retired;              /* what was replaced and is not freed yet */
#define X(name) uint64_t name;
    HG_RELOAD_COUNTERS(X)
#undef X
};
void hg_reload_stats(struct hg_node *node, struct hg_reload_stats *out_stats); /* any thread */
/* admin_reload.c */
void hg_admin_reload(struct hg_front *front, struct hg_exchange *exchange);
void hg_admin_drain(struct hg_front *front, struct hg_exchange *exchange);
/* Who asks for a reload waits for what it came to. On any loop of the node. */
struct hg_reload_ask {
    struct hg_mail mail;
    struct hg_list link;
    struct hg_node *node;
    struct hg_loop *home;
    void (*done)(struct hg_reload_ask *ask); /* on home, exactly once */
    /* Result: of HTTP, and a body of JSON (200) or one line of text. */
    int status;
    struct hg_buf body;
};
void hg_reload_ask(struct hg_reload_ask *ask);

/* drain.c */
int hg_drain_init(struct hg_node *node);  /* signal handlers, housekeeping timer */
void hg_drain_begin(struct hg_node *node);
void hg_node_exit_now(struct hg_node *node, const char *why); /* with 1, from any thread */

/* compile.c: routes and CORS of the configuration. HG_EINVAL with one line. */
int hg_routes_compile(struct hg_generation *generation, char *error, size_t error_size);
void hg_routes_release(struct hg_generation *generation);

#endif
