/*
 * node - one whole hgcache node: configuration, threads, listeners, cluster; from start to drained exit.
 *
 * Threads    hg_node_run turns the control loop on the calling thread (signals, accept, admin) until the node has drained.
 */
#ifndef HG_NODE_NODE_H
#define HG_NODE_NODE_H

#include "script/vm.h"

struct hg_node_options {
    const char *file;           /* configuration chunk */
    struct hg_script_args args; /* name=value pairs */
};

/*
 * Exit codes: 0 drained, 1 failed while starting or running (a port in use) or ended by a second signal or the drain limit,
 * 2 bad configuration. One line on standard error says why; nothing is left half started.
 */
int hg_node_run(const struct hg_node_options *options);

/* `hgcache check`: loads and validates (script VMs too, for data that differs), touches no network; prints the effective configuration and
 * routes on standard output. Exit code 0 or 2. */
int hg_node_check(const struct hg_node_options *options);

/* `hgcache test`: busted with these words, in a Lua state that has hg.testing. Its exit code; 1 where there is no busted. */
int hg_node_test(size_t count, const char *const *words);

#endif
