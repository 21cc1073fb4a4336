/*
 * change - a write that concerns the whole cluster: set or remove a key wherever it lives, and say who knows.
 *
 * Made by whoever wants it (admin listener, a script), carried out by the node on a worker, and handed back to
 * `home` when every member has acknowledged or its lease was waited out. Ownership: the maker's, until done is called.
 */
#ifndef HG_NET_CHANGE_H
#define HG_NET_CHANGE_H

#include "group/source.h"
#include "net/loop.h"

enum hg_change_op { HG_CHANGE_SET, HG_CHANGE_REMOVE, HG_CHANGE_EXPIRE };

struct hg_change {
    struct hg_mail mail;
    enum hg_change_op op;
    struct hg_group *group;
    struct hg_value *value; /* SET: the new value (its reference is the maker's); else NULL */
    struct hg_bytes key;    /* borrowed from the maker */
    struct hg_loop *home;
    void (*done)(struct hg_change *change); /* on home, exactly once */
    /* Results. */
    int err;                /* HG_OK even when some had to be waited out */
    bool was_there;         /* REMOVE: this node or its owner had it */
    struct hg_bytes acknowledged[1], lease_waited[1]; /* JSON arrays of member strings, hg_malloc'ed by the node, freed by hg_change_finish */
    uint64_t bound_ms;
    void *above;            /* the node's own */
};
void hg_change_finish(struct hg_change *change);

#endif
