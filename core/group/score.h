/*
 * score - eviction by a score from above, for groups with policy "sampled" (cache/policy_sampled.h).
 *
 * Over 95 % of the capacity source.crowded is called. Whoever scores then takes samples, config.samples of one shard, thinks about
 * them under no lock, and names the one to go, until the group is crowded no more.
 *
 * Threads    any.
 * Ownership  samples hold references: hg_samples_release.
 */
#ifndef HG_GROUP_SCORE_H
#define HG_GROUP_SCORE_H

#include "cache/policy_sampled.h"
#include "group/group.h"

bool hg_group_is_crowded(const struct hg_group *group);
/* How many: 0 where nothing is stored. */
size_t hg_group_sample(struct hg_group *group, uint64_t now_ms, unsigned *out_shard,
                       struct hg_sample out_samples[HG_SAMPLES_MAX]);
/* False: it changed meanwhile, and stays. */
bool hg_group_evict_sample(struct hg_group *group, unsigned shard, const struct hg_sample *sample);

#endif
