/*
 * held - guards whose slots the ancestors of a peer's request hold on this node.
 *
 * A getter here gets a key of another node, whose getter gets a key of ours: the load of that key is nested under
 * the first one's slot although it came by wire. Its chain names the first one.
 */
#ifndef HG_GROUP_HELD_H
#define HG_GROUP_HELD_H

#include "group/group.h"

/*
 * Of the loads named in the chain, those that run here: their guards, each once, at most HG_DEPTH_MAX. Takes shard
 * locks, one at a time, so the caller holds none. What it finds may end meanwhile: then one load more runs.
 */
unsigned hg_held_by_chain(struct hg_groups *groups, struct hg_bytes chain,
                          const struct hg_guard *out_held[HG_DEPTH_MAX]);

#endif
