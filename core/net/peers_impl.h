/*
 * peers_impl - inside of peers: what peers.c (members, health, the client) and peer_ask.c (asks) and
 * peer_send.c (over which transport a request goes) share.
 */
#ifndef HG_NET_PEERS_IMPL_H
#define HG_NET_PEERS_IMPL_H

#include "net/fetch_impl.h"
#include "net/http2_pool.h"
#include "net/peer_state.h"

#define HG_PEER_URL_MAX          16384
#define HG_PEER_TOKEN_HEADER_MAX 4096

enum hg_peer_lane {
    HG_LANE_ASKS,
    HG_LANE_QUICK, /* probes, changes and nested asks are never behind asks */
    HG_LANE_COUNT,
};

/* A request under way: one of them. */
struct hg_peer_sent {
    struct hg_fetch *fetch;
    struct hg_http2_fetch *http2;
};

struct hg_peer_client {
    struct hg_loop *loop;
    const struct hg_peers_config *config;
    struct hg_fetcher *fetcher;
    struct hg_fetcher *prober; /* of the quick lane: as many connections as it takes */
    struct hg_stream_budget budget; /* of the connections of all pools */
    uv_timer_t tick;
    uv_idle_t turn_over;    /* on while asks wait for the end of this turn */
    struct hg_list members; /* struct hg_peer_member: the peers it has had to do with */
    uint64_t tick_ms, ticked_ms;
    unsigned open_parts; /* fetchers and handles, when closing; pools always */
    bool is_closing;
    char authorization[HG_PEER_TOKEN_HEADER_MAX];
    char origin[HG_PEER_TOKEN_HEADER_MAX];
    void (*asks_closed)(struct hg_peer_client *client);
    void (*closed)(void *ctx);
    void *closed_ctx;
};

/* What one client has under way with one peer. */
struct hg_peer_member {
    struct hg_list link;
    struct hg_peer *peer; /* a reference */
    struct hg_peer_client *client;
    struct hg_list waiting[HG_LANE_COUNT]; /* asks of this turn, and those behind `opening` */
    struct hg_peer_call *opening[HG_LANE_COUNT]; /* over HTTP/1.1, without a connection that is of use. NULL: none */
    struct hg_list calls;   /* requests under way for asks, the oldest first */
    uint64_t heard_number;  /* of signs of life that came to this loop */
    struct hg_fetch *probe; /* NULL: none of ours */
    uint64_t probed_ms;     /* start of the last one that says something; 0 = none */
    uint64_t answered_ms;   /* start of the last one that was answered */
    bool is_probe_for_asks; /* not the health's */
    size_t sends;           /* other requests under way */
    uint64_t silence_number; /* of the peer, when its connections were last looked at */
    struct hg_http2_pool *pools[HG_LANE_COUNT]; /* NULL: none yet */
};

/* peers.c */
struct hg_peer_member *hg_peer_member_get(struct hg_peer_client *client, struct hg_peer *peer); /* NULL: no memory */
/* What an ended exchange says about the peer's health. */
void hg_peer_member_note(struct hg_peer_member *member, const struct hg_fetch_response *response, uint64_t now_ms);
/* A sign of life has come to this loop. */
void hg_peer_member_heard(struct hg_peer_member *member, uint64_t now_ms);
/*
 * Asks for a sign of life on a connection of HTTP/1.1, if that is not under way. Of a peer that is down too: what another loop hears
 * of it says nothing about the connections of this one.
 */
void hg_peer_member_ask_life(struct hg_peer_member *member, uint64_t timeout_ms, uint64_t now_ms);
void hg_peer_client_tick_start(struct hg_peer_client *client);
/* "Authorization: ..." or NULL. */
const char *hg_peer_client_authorization(const struct hg_peer_client *client);

void hg_peer_client_part_closed(void *client);

/* peer_send.c */
/* Whether a request that is made now goes over HTTP/2. May begin to find out, beside it. */
bool hg_peer_member_is_http2(struct hg_peer_member *member, uint64_t now_ms);
/* The start contract of fetch. is_grpc: over HTTP/2 only. HG_ELIMIT is counted. */
int hg_peer_member_start(struct hg_peer_member *member, enum hg_peer_lane lane, bool over_http2, bool is_grpc,
                         const struct hg_fetch_options *options, hg_fetch_fn done, void *ctx,
                         struct hg_peer_sent *out_sent);
void hg_peer_sent_cancel(const struct hg_peer_sent *sent, int err);
bool hg_peer_sent_has_left(const struct hg_peer_sent *sent);
/* The peer has not looked at it, and may do so over HTTP/1.1. */
bool hg_peer_member_may_resend(const struct hg_peer_member *member, const struct hg_fetch_response *response);
/* Asks for a sign of life over the connections there are; false: there is none. */
bool hg_peer_member_ping(struct hg_peer_member *member);
/* Asks for one over HTTP/2, on a connection there is or a new one: what comes is heard. False: no memory. */
bool hg_peer_member_probe(struct hg_peer_member *member);
/* Connections that are older than the peer's last silence are given up; for whoever begins something, and each tick. */
void hg_peer_member_look(struct hg_peer_member *member);
void hg_peer_member_close_pools(struct hg_peer_member *member);

/* peer_ask.c */
void hg_peer_asks_init(struct hg_peer_client *client);
/* The peer has failed: those of us that wait for a connection to it need not try as well. */
void hg_peer_asks_give_up_unsent(struct hg_peer_member *member);
/* The peer lives: a connection that was made is of use. */
void hg_peer_asks_heard(struct hg_peer_member *member);
bool hg_peer_asks_none_waits(const struct hg_peer_member *member);
/* Cancels asks that silence has failed, or that libcurl has let pass their deadline. has_stalled: we stood still, answers may lie unread. */
void hg_peer_asks_check(struct hg_peer_member *member, bool has_stalled, uint64_t now_ms);
/* Closes the handle; asks that wait still are told so, then `closed` is called. */
void hg_peer_asks_close(struct hg_peer_client *client, void (*closed)(struct hg_peer_client *client));

#endif
