/*
 * peers - asking other nodes: hgcache.cache.GroupCache/Get over gRPC, or GET <peer><base_path><group>/<key> over HTTP/1.1; where
 * several keys are asked of one peer in one turn of the loop, POST <peer><base_path>?many (cluster/many.h), over HTTP/2 or HTTP/1.1. A peer
 * that does not take such a message (an older node, a Go node) is asked key by key, for a minute; that is no mark on its health.
 *
 * Transport  auto: HTTP/2 is tried first. A peer that answers its preface with something else, or closes, is talked to over HTTP/1.1
 * from then on; what waited for the connection goes there too. HTTP/2 is tried again, beside the requests, after timeout_ms, then
 * after twice as long each time, up to a minute, and when the peer was down. grpc: HTTP/2 only. http: HTTP/1.1 only. There is no TLS between nodes.
 *
 * struct hg_peer is one member, shared by all loops: its health is decided by the pure cluster/health under a mutex.
 * struct hg_peer_client is one loop's connections.
 *
 * A slow peer is not a dead one: while asks to a peer are outstanding and nothing was heard from it for half of timeout_ms, it is
 * asked for a sign of life (over HTTP/2 a PING, else a probe on a second connection). Silence for timeout_ms, since the later of the
 * last sign of life and the ask, fails all its outstanding asks (HG_ASK_TRANSPORT) and marks it down. Over HTTP/1.1 a call fails by
 * itself, without a mark, when nothing came on its own connection for timeout_ms and no probe that was begun meanwhile was answered.
 * While down, asks are not made (is_up false); a probe each timeout_ms, off the request path, marks it up again: any answer over
 * HTTP/1.1, even a closed connection; with grpc one over HTTP/2. Connect errors (250 ms) and resets count at once, but for those of a
 * probe that was begun for a single call while others hear of the peer.
 *
 * Threads    hg_peer: any. Client functions: its loop.
 */
#ifndef HG_NET_PEERS_H
#define HG_NET_PEERS_H

#include "base/histogram.h"
#include "group/source.h"
#include "net/fetch.h"

struct hg_peer;
struct hg_peer_client;

enum hg_transport {
    HG_TRANSPORT_HTTP,
    HG_TRANSPORT_GRPC,
    HG_TRANSPORT_AUTO,
};

struct hg_peers_config {
    enum hg_transport transport;
    const char *self;       /* our member string: the Request's origin */
    const char *base_path;  /* "/_hgcache/" */
    uint64_t timeout_ms;    /* cluster.timeout */
    size_t message_max;     /* limits.peer_message */
    const char *token;      /* newest; NULL = none */
    const char *pick_log;   /* format with one %s for the hop's log line at info level, "Pick peer %s" */
};

/* name: the member string, as listed: "http://host:port" or "host:port". HG_EINVAL with a message. */
int hg_peer_create(struct hg_bytes name, const struct hg_peers_config *config /* outlives it */, struct hg_peer **out_peer,
                   char *error, size_t error_size);
void hg_peer_destroy(struct hg_peer *peer);
bool hg_peer_is_up(const struct hg_peer *peer);
const char *hg_peer_name(const struct hg_peer *peer);
struct hg_peer_stats {
    /* Counters. asks are keys; asks + asks_again = many_keys + messages - many: what travelled in messages of many keys, and
     * what alone. asks_again: those that had gone in a message of many and were left out of its answer. */
    uint64_t asks, asks_again, messages, many, many_keys, errors, probes, downs;
    /* Over HTTP/2: connections made, requests that a leaving or refusing peer did not look at, those that found too many waiting. */
    uint64_t http2_connections, http2_unprocessed, http2_refused;
    bool is_up;
    const char *transport; /* "grpc", "http"; "unknown": not found out yet */
    uint64_t outstanding, last_heard_ms;
    struct hg_histogram time; /* from an ask to its end, answered or not */
};
void hg_peer_stats(const struct hg_peer *peer, struct hg_peer_stats *out_stats);

int hg_peer_client_create(struct hg_loop *loop, const struct hg_peers_config *config, struct hg_peer_client **out_client);
void hg_peer_client_close(struct hg_peer_client *client, void (*closed)(void *ctx), void *ctx);
/*
 * Asks `peer` for load->flight.key of load->group (name given); reports by hg_load_asked on this loop. Remaining time = load->deadline_ms - now.
 * ring: fingerprint to send.
 */
int hg_peer_client_ask(struct hg_peer_client *client, struct hg_peer *peer, struct hg_load *load, const char *group_name,
                       uint64_t ring);
/* Any other request to the peer (invalidation; a GET that fails is no mark on its health): path begins with '/'; sends the token and the origin header "Hgcache-Origin". */
int hg_peer_client_send(struct hg_peer_client *client, struct hg_peer *peer, const char *method, const char *path,
                        struct hg_bytes body, uint64_t timeout_ms, hg_fetch_fn done, void *ctx);

#endif
