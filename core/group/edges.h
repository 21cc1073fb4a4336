/*
 * edges - which load waits on which, so that getters which get each other's keys end with an error, not a hang.
 *
 *   load --nested--> waiter --load--> the load it waits on
 *
 * Threads    one mutex for the node, a leaf. It is taken only where a getter waits. While it is held no load
 *            that a waiter of another load points to can be freed: its edges have to go first.
 */
#ifndef HG_GROUP_EDGES_H
#define HG_GROUP_EDGES_H

#include <pthread.h>
#include "group/group.h"

struct hg_edges {
    pthread_mutex_t lock;
    uint64_t walk_number;
};

void hg_edges_init(struct hg_edges *edges);
void hg_edges_finish(struct hg_edges *edges);

/*
 * Whether waiting on `target` would close a circle: it is, or waits through others on, `parent` (may be NULL)
 * or a load named in `chain`. If not and parent is set, the edge parent -> waiter -> target is made.
 */
bool hg_edges_join(struct hg_edges *edges, struct hg_waiter *waiter, struct hg_load *parent,
                   struct hg_bytes chain, struct hg_load *target);
/* The waiter no longer waits. */
void hg_edges_leave(struct hg_edges *edges, struct hg_waiter *waiter);
/*
 * These waiters (a list by hg_waiter.link) will wait on `to` instead. Those for whom that would close a circle
 * lose their edge and are moved to `out_circles`.
 */
void hg_edges_move(struct hg_edges *edges, struct hg_list *waiters, struct hg_load *to,
                   struct hg_list *out_circles);
/* Its getter is done: what it still waits on waits for nobody. */
void hg_edges_clear(struct hg_edges *edges, struct hg_load *load);
/* Guards held by the getters that wait on these waiters are put into load->held (in place of what was there). */
void hg_edges_held(struct hg_edges *edges, const struct hg_list *waiters, struct hg_load *load);

#endif
