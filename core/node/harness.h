/*
 * harness - a whole node on one thread, in held time and without a world: what `hgcache test` runs loaders in.
 *
 *   spec -> hg_harness_call ----> task in the getters' Lua state -> group, flight, guard, getter   all as they run in a node
 *   spec -> hg_harness_request -> worker: server, route, group or function route
 *             turns all loops until nothing moves; then the clocks go on to the first timer that is due, until there is an answer
 *
 * One worker, one script thread for each pool; their loops are turned here. Nothing listens, and nobody is asked: what a script
 * wants of the world comes to `ask`, what it wants of another member to `peer`. ttl_jitter and early_refresh are left out
 * of the configuration, so that lives are exact, and scripts are not compiled.
 *
 * Threads    one, for all harnesses of the process: the clocks are held for it (net/clock.h).
 */
#ifndef HG_NODE_HARNESS_H
#define HG_NODE_HARNESS_H

#include "base/buf.h"
#include "base/value.h"
#include "node/node.h"

struct hg_harness;

/* What a fake member answers. */
struct hg_harness_peer {
    enum hg_status status;
    enum hg_class klass; /* of an error */
    bool is_down;        /* it cannot be reached */
    struct hg_buf data;  /* value, or message */
    uint64_t ttl_ms;     /* life that is left there; HG_FOREVER */
};

/* Called while a node runs, and may not use that node. */
struct hg_harness_spec {
    void *ctx;
    /* Values packed (script/pack.h). HG_EINVAL with a message that the script gets as an error. */
    int (*ask)(void *ctx, struct hg_bytes question, struct hg_buf *answer, char *error,
               size_t error_size);
    /* A getter runs for this key; is_next: one more of the same run. */
    void (*runs)(void *ctx, const char *group, struct hg_bytes key, bool is_next);
    /* NULL: the cluster of the configuration is left out, this node owns every key. */
    void (*peer)(void *ctx, struct hg_bytes member, const char *group, struct hg_bytes key,
                 struct hg_harness_peer *answer);
    /* Where the configuration has its members found: this node and these. */
    const struct hg_bytes *found;
    size_t found_count;
};

/* time_ms: since 1970, of the wall clock. HG_EINVAL or another error: *out_error says why (hg_free it). */
int hg_harness_create(const struct hg_node_options *options, uint64_t time_ms,
                      const struct hg_harness_spec *spec, struct hg_harness **out_harness,
                      char **out_error);
/* Not while it runs. Clocks and log are then as they were: another one may be running. */
void hg_harness_destroy(struct hg_harness *harness);
/* A fake of it is asked. */
bool hg_harness_is_running(const struct hg_harness *harness);

/*
 * What hgcache.fakes is to do, packed; *out_results are its results, packed, until the next call. HG_ELIMIT: a fake used its own
 * node; HG_ETIMEDOUT: nothing is left that could ever answer; HG_ECANCELED: what would have answered is gone; HG_ENOMEM.
 */
int hg_harness_call(struct hg_harness *harness, struct hg_bytes arguments,
                    struct hg_bytes *out_results);
/* The bytes of a request with "Connection: close", and of its answer. As call. */
int hg_harness_request(struct hg_harness *harness, struct hg_bytes request,
                       struct hg_buf *response);
/* The clocks go on, and what is due meanwhile happens. As call. */
int hg_harness_advance(struct hg_harness *harness, uint64_t ms);
uint64_t hg_harness_now(const struct hg_harness *harness); /* of the wall clock, ms since 1970 */
/* What was logged since the last look, a line each; at most 1 MiB, and then a line that says so. */
struct hg_bytes hg_harness_take_log(struct hg_harness *harness);
struct hg_bytes hg_harness_log(const struct hg_harness *harness); /* the same, and it is no look */

#endif
