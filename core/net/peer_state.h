/*
 * peer_state - inside of peers: what all loops share of one peer, its health under a mutex. For peers.c and peer.c only.
 *
 * Counted, because a loop may still have an ask under way when the membership drops the peer. Changes between up
 * and down are logged here, once each.
 */
#ifndef HG_NET_PEER_STATE_H
#define HG_NET_PEER_STATE_H

#include "cluster/health.h"
#include "net/peers.h"

struct hg_peer *hg_peer_ref(struct hg_peer *peer);
void hg_peer_unref(struct hg_peer *peer);
bool hg_peer_is_destroyed(const struct hg_peer *peer);
const char *hg_peer_base_url(const struct hg_peer *peer); /* "http://host:port" */

/*
 * One message left, with so many keys; again: how many of them had been sent before. Returns the silence
 * number: a message whose number is not the current one any more has failed.
 */
uint64_t hg_peer_asked(struct hg_peer *peer, size_t keys, size_t again, uint64_t now_ms);
void hg_peer_done(struct hg_peer *peer, uint64_t now_ms);
void hg_peer_heard(struct hg_peer *peer, uint64_t now_ms);
uint64_t hg_peer_heard_ms(struct hg_peer *peer); /* when anybody heard of it last */
void hg_peer_failed(struct hg_peer *peer, uint64_t now_ms, const char *why);
void hg_peer_probe_failed(struct hg_peer *peer, uint64_t now_ms, const char *why);
void hg_peer_probe_forget(struct hg_peer *peer); /* it ended for reasons of our own */
/* It is asked for a sign of life now, though nobody has waited long. */
void hg_peer_probe(struct hg_peer *peer, uint64_t now_ms);
enum hg_health_step hg_peer_tick(struct hg_peer *peer, uint64_t now_ms);
uint64_t hg_peer_silence_number(struct hg_peer *peer);
void hg_peer_count_error(struct hg_peer *peer);
void hg_peer_took(struct hg_peer *peer, uint64_t took_ms); /* an ask is over, answered or not */
/* Whether it takes messages of many keys, as far as is known; what it once refused is tried again after a minute. */
bool hg_peer_takes_many(const struct hg_peer *peer, uint64_t now_ms);
void hg_peer_refuses_many(struct hg_peer *peer, uint64_t now_ms);

/* Whether it is talked to over HTTP/2; auto: unless it is known not to speak it. */
bool hg_peer_is_http2(const struct hg_peer *peer);
/* True, once in a while and to one caller: it is time to find out again whether it speaks HTTP/2. */
bool hg_peer_try_http2(struct hg_peer *peer, uint64_t now_ms);
/* What a new connection to it has shown. */
void hg_peer_found(struct hg_peer *peer, bool is_http2, uint64_t now_ms);
/* What an older one that is still of use shows. */
void hg_peer_speaks_http2(struct hg_peer *peer);
void hg_peer_count_unprocessed(struct hg_peer *peer);
void hg_peer_count_refused(struct hg_peer *peer);

#endif
