/*
 * peer_changes - what nodes tell each other of invalidations: messages Change and Changes (proto/hgcache.proto).
 *
 * Ownership  spans of what was decoded point into *out_owner, freed with hg_peer_message_free.
 * Errors     HG_EPROTO malformed, HG_ELIMIT over HG_PEER_CHANGES_MAX changes, HG_ENOMEM.
 */
#ifndef HG_WIRE_PEER_CHANGES_H
#define HG_WIRE_PEER_CHANGES_H

#include "base/buf.h"

#define HG_PEER_CHANGES_MAX 512 /* in one message */

/* Numbers of the wire. */
enum hg_change_op {
    HG_CHANGE_SET = 1,
    HG_CHANGE_REMOVE,
    HG_CHANGE_EXPIRE,
    HG_CHANGE_REMOVE_TAG,
    HG_CHANGE_EXPIRE_TAG,
    HG_CHANGE_FLUSH,
};

struct hg_peer_change {
    uint64_t origin, sequence; /* together its id */
    enum hg_change_op op;
    struct hg_bytes group;
    struct hg_bytes name;  /* key or tag; empty for a flush */
    struct hg_bytes value; /* set: an encoded Response for the owner; else empty */
    bool is_copies;
};

int hg_peer_change_encode(const struct hg_peer_change *change, struct hg_buf *buf);
/* Also HG_EPROTO: an op that is none, no group, no name where the op wants one. */
int hg_peer_change_decode(struct hg_bytes message, struct hg_peer_change *out_change, void **out_owner);

struct hg_peer_changes {
    uint64_t boot, number;
    bool is_cut, is_behind, is_part;
    struct hg_bytes changes[HG_PEER_CHANGES_MAX]; /* each an encoded Change */
    size_t count;
};

int hg_peer_changes_encode(const struct hg_peer_changes *changes, struct hg_buf *buf);
int hg_peer_changes_decode(struct hg_bytes message, struct hg_peer_changes *out_changes, void **out_owner);

#endif
