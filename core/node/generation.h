/*
 * generation - what one loading of the configuration made: the control VM, the routes, the script threads, and which groups with which
 * guards belong to it. A node has one that serves; those before it end their work and are freed (reload.c).
 *
 *   EMPTY --load, make--> LIVE --serves--> LIVE, no longer serving --nobody holds it--> CLOSING --> EMPTY
 *
 * A generation lies in one of the node's places, which are never freed: whoever has its address may ask for it with
 * hg_generation_hold, and learns whether it is still there.
 *
 * Ownership  each front holds the generation that it answers with; so does whoever keeps a route or a CORS of it, or calls its
 *            script threads, beyond a callback of that front.
 * Threads    hold and release: any. load, make and clear: one thread at a time for each generation. Once LIVE nothing in it changes.
 */
#ifndef HG_NODE_GENERATION_H
#define HG_NODE_GENERATION_H

#include "node/config.h"

struct hg_node;
struct hg_node_options;
struct hg_node_route;
struct hg_routes;
struct hg_vm_config;

#define HG_GENERATIONS_MAX 8 /* at a time: the one that serves, one being made, and those whose work has not ended */

enum hg_generation_state { HG_GENERATION_EMPTY, HG_GENERATION_LIVE, HG_GENERATION_CLOSING };

struct hg_generation {
    _Atomic int state;
    _Atomic size_t holders, fronts;   /* fronts: those that answer with it, holders too */
    uint64_t number;                  /* from 1; another one each time it comes to serve */
    struct hg_config *config;
    struct hg_vm *control_vm;
    struct hg_runtime *runtime;
    char *settings;                   /* for hg_difference of the next one; NULL under test */
    size_t settings_len;
    struct hg_node_route *node_routes;
    size_t route_count;
    struct hg_routes *routes;
    struct hg_cors *cors;
    bool asks_origins;                /* some CORS is by a function */
    bool wants_evicted, wants_hot;    /* some group has on_evict, on_hot */
    struct hg_guard **guards;         /* of config->sources, each held while it is not cleared; the node frees them */
    size_t guard_count;
    struct hg_group **group_list;     /* by hg_group_index, each held; NULL: none of it */
    const struct hg_config_group **group_configs; /* of those */
    bool *is_new;                     /* made for it, and not to be found before it serves */
    size_t group_count;               /* of these three */
    /* The control loop's own. */
    uint64_t since_ms;                /* serves, or served, since */
    uint64_t retired_ms;              /* does not serve since */
    bool is_kept;                     /* the one after it may be rolled back to it */
};

/* NULL is fine. False: it is not there any more. */
bool hg_generation_hold(struct hg_generation *generation);
void hg_generation_release(struct hg_generation *generation);
/* -> LIVE */
void hg_generation_open(struct hg_generation *generation);
/* LIVE -> CLOSING, where nobody holds it: from then on nobody can. Else false, and who asks meanwhile gets it. */
bool hg_generation_close(struct hg_generation *generation);

/* The one that serves, held. */
struct hg_generation *hg_generation_now(struct hg_node *node);
/* The one that serves if it has the group, else another that has it; held. NULL: none has. */
struct hg_generation *hg_generation_of(struct hg_node *node, const struct hg_group *group);
/* NULL: it has none of that name. */
struct hg_group *hg_generation_group(const struct hg_generation *generation, struct hg_bytes name);

/*
 * The control VM with the chunk run and checked, and its configuration. vm: as a node's, or one under test. Negative: *out_error
 * says why (hg_free it; NULL: out of memory).
 */
int hg_generation_load(struct hg_generation *generation, const struct hg_vm_config *vm, char **out_error);
/* Groups, guards, routes and script threads of what was loaded; LIVE then. before: the one that serves, or NULL. */
int hg_generation_make(struct hg_node *node, const struct hg_node_options *options,
                       const struct hg_generation *before, struct hg_generation *generation, char **out_error);
/* Ends its threads and frees all that it has, except the node's own first configuration. It may wait for seconds. */
void hg_generation_clear(struct hg_node *node, struct hg_generation *generation);
/* When the node ends: the threads of all of them, and then the rest. */
void hg_generations_stop(struct hg_node *node);
void hg_generations_clear(struct hg_node *node);
/* Of all generations, once they are cleared and no group is left. */
void hg_generation_guards_free(struct hg_node *node);

#endif
