/*
 * peers_impl - inside of peers: what peers.c (members, health, the client) and peer_ask.c (asks) share.
 */
#ifndef HG_NET_PEERS_IMPL_H
#define HG_NET_PEERS_IMPL_H

#include "net/fetch_impl.h"
#include "net/peer_state.h"

#define HG_PEER_URL_MAX          16384
#define HG_PEER_TOKEN_HEADER_MAX 4096

struct hg_peer_client {
    struct hg_loop *loop;
    const struct hg_peers_config *config;
    struct hg_fetcher *fetcher;
    struct hg_fetcher *
        prober; /* as many connections as it takes: probes, changes and nested asks are never behind asks */
    uv_timer_t tick;
    uv_idle_t turn_over;    /* on while asks wait for the end of this turn */
    struct hg_list members; /* struct hg_peer_member: the peers it has had to do with */
    uint64_t tick_ms, ticked_ms;
    unsigned open_parts; /* fetchers and handles, when closing */
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
    struct hg_list waiting; /* asks of this turn */
    struct hg_list calls;   /* requests under way for asks */
    struct hg_fetch *probe; /* NULL: none of ours */
    size_t sends;           /* other requests under way */
};

/* peers.c */
struct hg_peer_member *hg_peer_member_get(struct hg_peer_client *client, struct hg_peer *peer); /* NULL: no memory */
/* What an ended exchange says about the peer's health. */
void hg_peer_member_note(struct hg_peer_member *member, const struct hg_fetch_response *response, uint64_t now_ms);
void hg_peer_client_tick_start(struct hg_peer_client *client);
/* "Authorization: ..." or NULL. */
const char *hg_peer_client_authorization(const struct hg_peer_client *client);

/* peer_ask.c */
void hg_peer_asks_init(struct hg_peer_client *client);
/* One could not connect: those of us that wait for a connection to the same peer need not try as well. */
void hg_peer_asks_give_up_unsent(struct hg_peer_member *member);
/* Cancels asks that silence has failed, or that libcurl has let pass their deadline. */
void hg_peer_asks_check(struct hg_peer_member *member, uint64_t now_ms);
/* Closes the handle; asks that wait still are told so, then `closed` is called. */
void hg_peer_asks_close(struct hg_peer_client *client, void (*closed)(struct hg_peer_client *client));

#endif
