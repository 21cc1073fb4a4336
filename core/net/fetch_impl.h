/*
 * fetch_impl - for peers.c: how many connections to one host a fetcher keeps at most.
 */
#ifndef HG_NET_FETCH_IMPL_H
#define HG_NET_FETCH_IMPL_H

#include "net/fetch.h"

/* Before the first fetch. 0 = no limit. Probes need one without: they must not wait behind the very requests they are about. */
void hg_fetcher_limit_host(struct hg_fetcher *fetcher, long connection_count);
/* Whether the request has left (part of it). */
bool hg_fetch_is_sent(const struct hg_fetch *fetch);

#endif
