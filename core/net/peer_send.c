/*
 * peer_send - a request to a peer, over the transport that it is talked to: a pool of HTTP/2 connections for each lane, or the
 * client's fetchers.
 */
#include <assert.h>

#include "base/units.h"
#include "net/peers_impl.h"

#define ASK_CONNECTIONS   4
#define QUICK_CONNECTIONS 64 /* what a getter waits for must not wait for getters */

static uint64_t now_of(const struct hg_peer_member *member)
{
    return hg_loop_now(member->client->loop);
}

static void on_heard(void *ctx)
{
    struct hg_peer_member *member = ctx;
    hg_peer_member_heard(member, now_of(member));
}

static void on_found(void *ctx, bool is_http2)
{
    struct hg_peer_member *member = ctx;
    hg_peer_found(member->peer, is_http2, now_of(member));
}

static struct hg_http2_pool *pool_get(struct hg_peer_member *member, enum hg_peer_lane lane)
{
    static const struct hg_http2_pool_ops ops = {.heard = on_heard, .found = on_found};
    struct hg_peer_client *client = member->client;
    const struct hg_http2_pool_config config = {
        .url = hg_peer_base_url(member->peer),
        /* Whether the peer is silent its health says first; this is about a single dead connection. */
        .timeout_ms = hg_time_add(client->config->timeout_ms, client->config->timeout_ms),
        .connections_max = lane == HG_LANE_ASKS ? ASK_CONNECTIONS : QUICK_CONNECTIONS,
        .budget = &client->budget,
        .ops = &ops,
        .ctx = member,
    };
    if (member->pools[lane] == NULL &&
        hg_http2_pool_create(client->loop, &config, &member->pools[lane]) == HG_OK)
        client->open_parts++;
    return member->pools[lane];
}

bool hg_peer_member_is_http2(struct hg_peer_member *member, uint64_t now_ms)
{
    if (hg_peer_try_http2(member->peer, now_ms)) {
        struct hg_http2_pool *pool = pool_get(member, HG_LANE_ASKS);
        if (pool != NULL && hg_http2_pool_try(pool))
            hg_peer_speaks_http2(member->peer);
    }
    return hg_peer_is_http2(member->peer);
}

int hg_peer_member_start(struct hg_peer_member *member, enum hg_peer_lane lane, bool over_http2,
                         bool is_grpc, const struct hg_fetch_options *options, hg_fetch_fn done,
                         void *ctx, struct hg_peer_sent *out_sent)
{
    struct hg_peer_client *client = member->client;
    *out_sent = (struct hg_peer_sent){.fetch = NULL};
    if (!over_http2) {
        assert(!is_grpc);
        return hg_fetch_start(lane == HG_LANE_ASKS ? client->fetcher : client->prober, options,
                              done, ctx, &out_sent->fetch);
    }
    struct hg_http2_pool *pool = pool_get(member, lane);
    if (pool == NULL)
        return HG_ENOMEM;
    int err = hg_http2_fetch_start(pool, options, is_grpc, done, ctx, &out_sent->http2);
    if (err == HG_ELIMIT)
        hg_peer_count_refused(member->peer);
    return err;
}

void hg_peer_sent_cancel(const struct hg_peer_sent *sent, int err)
{
    if (sent->http2 != NULL)
        hg_http2_fetch_cancel(sent->http2, err);
    else
        hg_fetch_cancel(sent->fetch, err);
}

bool hg_peer_sent_has_left(const struct hg_peer_sent *sent)
{
    return sent->http2 != NULL ? hg_http2_fetch_is_sent(sent->http2)
                               : hg_fetch_is_sent(sent->fetch);
}

bool hg_peer_member_may_resend(const struct hg_peer_member *member,
                               const struct hg_fetch_response *response)
{
    if (!response->is_unprocessed)
        return false;
    hg_peer_count_unprocessed(member->peer);
    return member->client->config->transport == HG_TRANSPORT_AUTO && !member->client->is_closing;
}

bool hg_peer_member_ping(struct hg_peer_member *member)
{
    bool is_asked = false;
    for (size_t i = 0; i < HG_LANE_COUNT; i++) {
        if (member->pools[i] == NULL || !hg_http2_pool_is_ready(member->pools[i]))
            continue;
        hg_http2_pool_ping(member->pools[i]);
        is_asked = true;
    }
    return is_asked;
}

bool hg_peer_member_probe(struct hg_peer_member *member)
{
    struct hg_http2_pool *pool = pool_get(member, HG_LANE_ASKS);
    if (pool == NULL)
        return false;
    if (hg_http2_pool_try(pool))
        hg_http2_pool_ping(pool);
    return true;
}

void hg_peer_member_look(struct hg_peer_member *member)
{
    uint64_t silence_number = hg_peer_silence_number(member->peer);
    if (member->silence_number == silence_number)
        return;
    member->silence_number = silence_number;
    for (size_t i = 0; i < HG_LANE_COUNT; i++) {
        if (member->pools[i] != NULL)
            hg_http2_pool_drop(member->pools[i], "silence");
    }
}

void hg_peer_member_close_pools(struct hg_peer_member *member)
{
    for (size_t i = 0; i < HG_LANE_COUNT; i++) {
        if (member->pools[i] != NULL)
            hg_http2_pool_close(member->pools[i], hg_peer_client_part_closed, member->client);
        member->pools[i] = NULL;
    }
}
