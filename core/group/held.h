/*
 * held - guards that the ancestors of a peer's request hold, on whatever node they run.
 *
 * A getter there gets a key of ours: the load of that key is nested under a slot of that node's guard. Nodes have
 * equal configurations, so the guards of the groups that the chain names count as held here. If only slots of this
 * node counted, nodes whose slots are all taken by such getters would wait for each other's queues until the deadline.
 */
#ifndef HG_GROUP_HELD_H
#define HG_GROUP_HELD_H

#include "group/group.h"

/*
 * The guards of the groups named in the chain, each once, at most HG_DEPTH_MAX. A chain is a peer's word: only what may
 * speak on the peer listener can name one.
 */
unsigned hg_held_by_chain(struct hg_groups *groups, struct hg_bytes chain,
                          const struct hg_guard *out_held[HG_DEPTH_MAX]);

#endif
