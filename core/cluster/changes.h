/*
 * changes - invalidations of the whole cluster as one node knows them: applied to its groups once each, and kept in a
 * bounded log, so that nodes that missed some can learn of them from any node that did not (cluster/contact.h).
 *
 * A change's id is (origin, sequence): the boot id of the node that began it and a number counted there. The log has numbers
 * of its own, in the order in which this node applied; with this node's boot id they tell a peer's place in it.
 *
 * Ownership  one for each node; outlives who uses it. Changes handed in are borrowed for the call.
 * Threads    any; one mutex, a leaf: no group is entered under it.
 * Limits     HG_CHANGES_KEPT changes, HG_CHANGES_BYTES bytes of names; beyond that the oldest are forgotten, and who asks for
 *            them is told that the log is cut. Out of memory cuts it, too.
 * Errors     HG_ENOMEM, HG_EINVAL (a tag over its limit, a value that is none), HG_ETOOBIG and HG_ELIMIT of a set.
 */
#ifndef HG_CLUSTER_CHANGES_H
#define HG_CLUSTER_CHANGES_H

#include "group/group.h"
#include "wire/peer_changes.h"

#define HG_CHANGES_KEPT  16384
#define HG_CHANGES_BYTES ((size_t)4 << 20)

struct hg_changes;

/* boot: random, not 0. kept: HG_CHANGES_KEPT; a power of two, less in tests. */
int hg_changes_create(struct hg_groups *groups, uint64_t boot, size_t kept, struct hg_changes **out_changes);
void hg_changes_destroy(struct hg_changes *changes); /* NULL is fine */

uint64_t hg_changes_boot(const struct hg_changes *changes);
uint64_t hg_changes_next_sequence(struct hg_changes *changes); /* for a change that begins here */

/*
 * Applies it to this node's groups and writes it into the log. One that is in the log already: `is_pulled` (found in a
 * peer's log) nothing is done; told by its node it is done again unless it is a set, so that an answer follows upon an
 * application. A group that this node does not have is no error: there is nothing to drop. A set without a
 * value removes.
 */
int hg_changes_apply(struct hg_changes *changes, const struct hg_peer_change *change, bool is_pulled,
                     uint64_t now_ms, bool *out_was_there);

/*
 * This node missed changes it will never learn, and dropped everything for them: its log has a hole, so who asks for what lies
 * before now is told that it is cut.
 */
void hg_changes_cut(struct hg_changes *changes);

/* What a peer asks for with GET ?changes=: its place in our log. */
struct hg_changes_place {
    uint64_t boot, number;
    bool is_now; /* it has nothing yet: only the number of the newest is wanted */
};
/* The answer, an encoded Changes; bytes_max bounds it. */
int hg_changes_answer(struct hg_changes *changes, const struct hg_changes_place *place, size_t bytes_max,
                      struct hg_buf *out_body);
/* "BOOT.NUMBER", hexadecimal and decimal, or "now". HG_EPROTO. */
int hg_changes_place_parse(struct hg_bytes text, struct hg_changes_place *out_place);
int hg_changes_place_format(const struct hg_changes_place *place, struct hg_buf *buf);

struct hg_changes_stats {
    uint64_t applied, repeated, cut; /* counters: done, known already, forgotten for want of room */
    uint64_t number, kept, bytes;    /* newest number; what is in the log now */
};
void hg_changes_stats(struct hg_changes *changes, struct hg_changes_stats *out_stats);

#endif
