/*
 * contact - keeps one node in step with the others' invalidations: each quarter lease it asks every member for what that one's
 * log has beyond its place in it, and applies what it had not heard of (cluster/changes.h). So a message that was lost costs
 * a quarter lease, and a node that was away or stood still catches up before it answers from its store (group/trust.h):
 *
 *   a log that no longer reaches back, or of a node that has restarted while we stood still: everything is dropped
 *   a member that may lack changes itself does not count as one to have caught up with
 *   a node whose store is empty has missed nothing: it takes the newest number as its place
 *
 * Pure: asking is done by the caller. Also tells the groups of contact (hg_groups_contact): all that any member knew up
 * to then has arrived.
 *
 * Threads    one loop's.
 * Errors     hg_contact_create: HG_ENOMEM. An answer that does not decode, or holds a change that does not, is as none.
 */
#ifndef HG_CLUSTER_CONTACT_H
#define HG_CLUSTER_CONTACT_H

#include "cluster/changes.h"

struct hg_contact;

int hg_contact_create(struct hg_groups *groups, struct hg_changes *changes, size_t member_count, size_t self,
                      struct hg_contact **out_contact);
void hg_contact_destroy(struct hg_contact *contact); /* NULL is fine */

/*
 * The members have changed: takes over from `before` what was learnt. was[i]: the index that member i had there, SIZE_MAX: none.
 * Asks under way stay `before`'s own; their answers are for it, or to be dropped.
 */
void hg_contact_inherit(struct hg_contact *contact, const struct hg_contact *before,
                        const size_t *was);

/* Each quarter lease, before asking. */
void hg_contact_tick(struct hg_contact *contact, uint64_t now_ms);
/* Whether to ask that member now, for what; then hg_contact_answered follows once. False: an ask is under way. */
bool hg_contact_ask(struct hg_contact *contact, size_t member, uint64_t now_ms, struct hg_changes_place *out_place);
/* body: HG_BYTES_NONE when none came. True: there is more; ask it again at once. */
bool hg_contact_answered(struct hg_contact *contact, size_t member, struct hg_bytes body, uint64_t now_ms);

struct hg_contact_stats {
    uint64_t missed;  /* changes that were learnt from a log */
    uint64_t flushed; /* times that everything was dropped */
    uint64_t failed;  /* asks without a good answer */
};
struct hg_contact_stats hg_contact_stats(const struct hg_contact *contact);

#endif
