/*
 * peer_call - asks as they travel: a gRPC Get, GET <group>/<key> or POST ?many, and what comes of them. For peer_ask.c.
 */
#ifndef HG_NET_PEER_CALL_H
#define HG_NET_PEER_CALL_H

#include "cluster/many.h"
#include "net/peers_impl.h"

#define HG_ASK_SLACK_MS 250 /* the owner says itself, typed, that the deadline passed */

struct hg_peer_ask {
    struct hg_ask common;
    struct hg_peer_member *member;
    uint64_t ring;
    uint64_t sent_ms;
    bool is_over_http1; /* a peer of HTTP/2 would not look at it */
};

/* A request under way. */
struct hg_peer_call {
    struct hg_list link; /* of member->calls */
    struct hg_peer_member *member;
    enum hg_peer_lane lane;
    struct hg_peer_sent sent;
    struct hg_peer_ask *ask;         /* alone; else NULL */
    struct hg_many *many;    /* of several; else NULL */
    uint64_t silence_number; /* of the peer when it was started */
    bool is_given_up;        /* canceled because of what happened to others */
    uint64_t heard_number;   /* the member's when it was started */
    bool is_connected;       /* over HTTP/1.1 */
    bool has_asked_life;     /* for those behind it */
    bool is_grpc;
};

static inline struct hg_peer_ask *hg_peer_ask_of(struct hg_ask *common)
{
    return hg_container_of(common, struct hg_peer_ask, common);
}

/* What a getter waits for must not queue behind asks that wait for getters: both ends could stand still. */
static inline enum hg_peer_lane hg_peer_lane_of(const struct hg_load *load)
{
    return load->depth > 0 ? HG_LANE_QUICK : HG_LANE_ASKS;
}

/* Into request->chain. HG_EINVAL, HG_ELIMIT. */
int hg_peer_split_chain(struct hg_bytes chain, struct hg_peer_request *request);
uint64_t hg_peer_wall_ns(void);

/* Each fills in call->sent; the start contract of fetch, with the call as ctx. connected: over HTTP/1.1. */
int hg_peer_call_grpc(struct hg_peer_call *call, hg_fetch_fn done, uint64_t now_ms);
int hg_peer_call_http(struct hg_peer_call *call, hg_fetch_connected_fn connected, hg_fetch_fn done,
                      uint64_t now_ms);
int hg_peer_call_many(struct hg_peer_call *call, bool over_http2, hg_fetch_connected_fn connected,
                      hg_fetch_data_fn data, hg_fetch_fn done, uint64_t now_ms);

/* Of a call alone, whose answer has come. HG_ENOMEM. */
int hg_peer_answer_read(const struct hg_peer_call *call, const struct hg_fetch_response *response,
                        struct hg_ask_answer *out_answer);
/* Of a server of gRPC, that knows nothing else. */
bool hg_peer_answer_is_grpc(const struct hg_fetch_response *response);
bool hg_peer_answer_is_framed(const struct hg_fetch_response *response);

#endif
