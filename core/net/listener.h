/*
 * listener - accepts on one loop and gives the sockets away. On EMFILE it frees a reserve descriptor to turn one client
 * away, pauses 100 ms and goes on. close(l, closed): no further on_accept.
 */
#ifndef HG_NET_LISTENER_H
#define HG_NET_LISTENER_H

#include "net/address.h"
#include "net/loop.h"

struct hg_listener;
typedef void (*hg_accept_fn)(void *ctx, int fd, unsigned roles); /* owns fd from then on */
typedef void (*hg_listener_closed_fn)(void *ctx);

/* Takes over fd (from hg_address_listen). */
int hg_listener_open(struct hg_loop *loop, int fd, unsigned roles, hg_accept_fn on_accept, void *ctx,
                     struct hg_listener **out_listener);
/* What is queued in the backlog is accepted first. closed may be NULL; the listener is freed after it. */
void hg_listener_close(struct hg_listener *listener, hg_listener_closed_fn closed, void *closed_ctx);
uint64_t hg_listener_pauses(const struct hg_listener *listener); /* counter */

#endif
