/*
 * config - the checked configuration as C reads it: made once from the control VM's normalised table
 * (lua/hgcache/config.lua has its shape), immutable afterwards.
 *
 * Ownership  everything lives in the config's own memory until hg_config_destroy.
 * Units      bytes and milliseconds; HG_FOREVER for "for ever".
 */
#ifndef HG_NODE_CONFIG_H
#define HG_NODE_CONFIG_H

#include "base/shared.h"
#include "cluster/membership.h"
#include "net/log.h"
#include "net/peers.h"
#include "script/runtime.h"
#include "wire/cors.h"

enum hg_role { HG_ROLE_PEER = 1, HG_ROLE_API = 2, HG_ROLE_ADMIN = 4 };

struct hg_strings {
    const struct hg_bytes *items; /* each NUL-terminated behind its end */
    size_t count;
};

struct hg_config_cors {
    bool is_set, is_off; /* a route's: not set = the top's; off = none */
    struct hg_strings origins, methods, headers, expose;
    bool credentials;
    bool by_function; /* cors.origin instead of origins */
    uint64_t max_age_s;
};

/* Of http.errors. */
struct hg_config_page {
    int status;
    const char *text; /* NULL: a function */
};

struct hg_config_group {
    struct hg_group_config group; /* guard is filled in by the node */
    const char *pool;
    size_t source;                /* index into sources */
    bool has_on_evict, has_on_hot;
};

enum hg_serve_as { HG_AS_RAW, HG_AS_ENVELOPE };

struct hg_config_route {
    const char *route;   /* "GET /api" */
    bool is_function;
    bool has_before;     /* of hg.serve: a script is asked first */
    const char *group;   /* NULL: {query.group}, or the only one */
    const char *key;     /* template */
    enum hg_serve_as as;
    const char *type;    /* NULL: the value's */
    struct hg_strings header_names, header_values;
    bool cache_control;
    uint64_t timeout_ms; /* 0 = the group's */
    struct hg_config_cors cors;
};

struct hg_config {
    const char *name;
    unsigned workers; /* 0 = auto */
    struct hg_pool_config *pools; /* threads 0 = auto */
    size_t pool_count;
    const char *listen_peer, *listen_api, *listen_admin; /* NULL = not served */
    uint64_t drain_timeout_ms, drain_delay_ms;
    enum hg_log_level log_level;
    enum hg_log_format log_format;
    bool log_access;
    struct {
        size_t key, value, headers, fields, body, connections, pipeline, streams, flights, waiters, peer_message;
        uint64_t header_timeout_ms, idle_timeout_ms, write_timeout_ms;
    } limits;
    size_t script_memory;
    uint64_t script_budget_ms;
    bool script_jit;
    struct hg_fetch_limits fetch; /* body_max is limits.value */
    struct hg_shared_config shared; /* of each table of hg.shared */
    struct hg_strings admin_tokens, admin_hosts;
    bool insecure;
    double reload_errors;      /* node.reload_guard */
    uint64_t reload_window_ms; /* 0: there is none */

    bool has_cluster;
    const char *self, *base_path, *default_group; /* default_group may be NULL */
    enum hg_transport transport;
    const char *discovery;       /* who lists the members: "etcd", ...; NULL: peers does */
    uint64_t discovery_every_ms; /* how often it runs */
    struct hg_strings peers, peer_tokens;
    struct hg_ring_preset ring;
    uint64_t peer_timeout_ms, lease_ms;
    size_t min_peers;

    struct hg_config_group *groups;
    size_t group_count;
    struct hg_guard_config *sources;
    size_t source_count;
    struct hg_config_route *routes;
    size_t route_count;
    struct hg_config_cors cors; /* is_set false: none */
    struct hg_config_page *pages;
    size_t page_count;

    struct hg_config_block *blocks; /* its memory */
};

/* Reads what hg_vm_push_config pushes. HG_ENOMEM, HG_EINVAL when the table is not of the agreed shape (our own mistake; named in *error). */
int hg_config_read(struct hg_vm *control, struct hg_config **out_config, char *error, size_t error_size);
void hg_config_destroy(struct hg_config *config);

#endif
