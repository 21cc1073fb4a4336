/*
 * change - a write that concerns the whole cluster: a key, a tag or a group wherever it lives, and who knows of it.
 *
 * Made by whoever wants it (admin listener, a script), carried out by the node on a worker, and handed back to
 * `home` when every member has acknowledged or its lease was waited out. Ownership: the maker's, until done is called.
 */
#ifndef HG_NET_CHANGE_H
#define HG_NET_CHANGE_H

#include "base/buf.h"
#include "group/source.h"
#include "net/loop.h"
#include "wire/peer_changes.h"

struct hg_change {
    struct hg_mail mail;
    enum hg_change_op op;
    struct hg_group *group;
    struct hg_value *value; /* SET: the new value (its reference is the maker's); else NULL */
    struct hg_bytes key;    /* or the tag; empty for a flush. Borrowed from the maker */
    struct hg_loop *home;
    void (*done)(struct hg_change *change); /* on home, exactly once */
    /* Results. */
    int err;                /* HG_OK even when some had to be waited out */
    bool was_there;         /* REMOVE: this node or its owner had it */
    struct hg_buf acknowledged, lease_waited; /* JSON arrays of member strings; hg_change_finish frees them */
    uint64_t bound_ms;
    void *above;            /* the node's own */
};

/* Frees the results; `value` stays the maker's. */
static inline void hg_change_finish(struct hg_change *change)
{
    hg_buf_finish(&change->acknowledged);
    hg_buf_finish(&change->lease_waited);
}

#endif
