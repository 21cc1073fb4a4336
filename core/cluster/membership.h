/*
 * membership - from a list of member strings to a published view: ring, self, peers. Pure.
 *
 * Names are used exactly as listed (a ring name is never normalised). self must stand in the list exactly (HG_ENOENT).
 */
#ifndef HG_CLUSTER_MEMBERSHIP_H
#define HG_CLUSTER_MEMBERSHIP_H

#include "group/group.h"

/* Makes the thing a view's peers[] point to; called for every member but self. NULL: failure, with *error set. */
typedef void *(*hg_member_fn)(void *ctx, struct hg_bytes name, char *error, size_t error_size);

int hg_view_create(const struct hg_ring_preset *preset, const struct hg_bytes *members, size_t count, struct hg_bytes self,
                   hg_member_fn make_peer, void *ctx, struct hg_view **out_view, char *error, size_t error_size);
/* Frees view and ring; the peers are the caller's. */
void hg_view_destroy(struct hg_view *view);

#endif
