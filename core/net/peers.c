/*
 * peers - one loop's dealings with other nodes: members, health, and requests that are no asks (those: peer_ask.c).
 *
 *   tick -> health: probe | silence -> hg_peer_asks_check
 */
#include "net/peers.h"

#include <assert.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/units.h"
#include "net/peer_call.h"

#define TICKS_A_TIMEOUT 8
#define TICK_MS_MIN     5
#define TICK_MS_MAX     250
#define PROBE_MS_MIN    20
#define PROBE_BODY_MAX  65536
#define STREAMS_MEMORY  ((size_t)256 << 20) /* bytes that connections over HTTP/2 hold together */

/* --- members --- */

/* The membership has dropped it, and nothing of it is under way. */
static bool is_over(const struct hg_peer_member *member)
{
    return hg_peer_is_destroyed(member->peer) && hg_list_is_empty(&member->calls) &&
           hg_peer_asks_none_waits(member) && member->probe == NULL && member->sends == 0;
}

struct hg_peer_member *hg_peer_member_get(struct hg_peer_client *client, struct hg_peer *peer)
{
    hg_list_for_each(link, &client->members)
    {
        struct hg_peer_member *member = hg_container_of(link, struct hg_peer_member, link);
        if (member->peer == peer)
            return member;
    }
    struct hg_peer_member *member = hg_calloc(1, sizeof(*member));
    if (member == NULL)
        return NULL;
    member->peer = hg_peer_ref(peer);
    member->client = client;
    member->silence_number = hg_peer_silence_number(peer);
    hg_list_init(&member->calls);
    for (size_t lane = 0; lane < HG_LANE_COUNT; lane++)
        hg_list_init(&member->waiting[lane]);
    hg_list_push_back(&client->members, &member->link);
    return member;
}

const char *hg_peer_client_authorization(const struct hg_peer_client *client)
{
    return client->authorization[0] != '\0' ? client->authorization : NULL;
}

static void member_free(struct hg_peer_member *member)
{
    assert(hg_list_is_empty(&member->calls));
    assert(hg_peer_asks_none_waits(member));
    assert(member->probe == NULL);
    assert(member->sends == 0);
    hg_list_remove(&member->link);
    hg_peer_member_close_pools(member);
    hg_peer_unref(member->peer);
    hg_free(member);
}

/* What an ended exchange says about the peer's health. */
void hg_peer_member_note(struct hg_peer_member *member, const struct hg_fetch_response *response,
                         uint64_t now_ms)
{
    /* It goes to the peer again, and says it then; over gRPC alone it does not. */
    bool is_told_later = member->client->config->transport != HG_TRANSPORT_GRPC;
    if (response->is_unprocessed && (is_told_later || response->err != HG_EPEER))
        return;
    switch (response->err) {
    case HG_OK:
    case HG_EPROTO:
    case HG_ETOOBIG:
        hg_peer_member_heard(member, now_ms);
        break;
    case HG_EPEER:
        hg_peer_failed(member->peer, now_ms, response->err_text);
        hg_peer_asks_give_up_unsent(member);
        hg_peer_client_tick_start(member->client);
        break;
    default: /* time-outs and troubles of our own say nothing */
        break;
    }
}

/* --- other requests --- */

struct sending {
    struct hg_peer_member *member;
    bool
        is_write; /* else its failure says nothing: whether a peer is worth asking, asks and probes find out */
    struct hg_buf url, body; /* body: copied only where it may be sent twice */
    uint64_t due_ms;
    const char *method;
    hg_fetch_fn done;
    void *ctx;
};

static void sending_free(struct sending *sending)
{
    hg_buf_finish(&sending->url);
    hg_buf_finish(&sending->body);
    hg_free(sending);
}

static void on_sent(void *ctx, const struct hg_fetch_response *response);

static int sending_start(struct sending *sending, bool over_http2, struct hg_bytes body)
{
    struct hg_peer_client *client = sending->member->client;
    uint64_t now_ms = hg_loop_now(client->loop);
    const char *headers[] = {client->origin, hg_peer_client_authorization(client), NULL};
    struct hg_peer_sent sent;
    struct hg_fetch_options options = {
        .method = sending->method,
        .url = sending->url.data,
        .headers = headers,
        .body = body,
        .timeout_ms = sending->due_ms > now_ms ? sending->due_ms - now_ms : 1,
        .body_max = client->config->message_max,
    };
    /* Its connections are not those of the asks: an invalidation must not queue behind slow loads. */
    return hg_peer_member_start(sending->member, HG_LANE_QUICK, over_http2, false, &options,
                                on_sent, sending, &sent);
}

static void on_sent(void *ctx, const struct hg_fetch_response *response)
{
    struct sending *sending = ctx;
    struct hg_peer_member *member = sending->member;

    if (hg_peer_member_may_resend(member, response) &&
        sending_start(sending, false, hg_buf_bytes(&sending->body)) == HG_OK)
        return;
    member->sends--;
    if (sending->is_write || response->err == HG_OK)
        hg_peer_member_note(member, response, hg_loop_now(member->client->loop));
    struct hg_fetch_response told = *response;
    if (told.err == HG_OK && hg_peer_answer_is_grpc(response))
        told.status = 501; /* its 200 is only gRPC's way to say that it knows no such thing */
    hg_fetch_fn done = sending->done;
    void *done_ctx = sending->ctx;
    sending_free(sending);
    done(done_ctx, &told);
}

int hg_peer_client_send(struct hg_peer_client *client, struct hg_peer *peer, const char *method,
                        const char *path, struct hg_bytes body, uint64_t timeout_ms,
                        hg_fetch_fn done, void *ctx)
{
    if (client->is_closing)
        return HG_ECANCELED;
    uint64_t now_ms = hg_loop_now(client->loop);
    struct hg_peer_member *member = hg_peer_member_get(client, peer);
    struct sending *sending = member == NULL ? NULL : hg_malloc(sizeof(*sending));
    if (sending == NULL)
        return HG_ENOMEM;
    *sending = (struct sending){
        .member = member,
        .is_write = strcmp(method, "GET") != 0,
        .method = method,
        .due_ms = timeout_ms == 0 ? HG_FOREVER : hg_time_add(now_ms, timeout_ms),
        .done = done,
        .ctx = ctx,
    };
    hg_peer_member_look(member);
    bool over_http2 = hg_peer_member_is_http2(member, now_ms);
    hg_buf_init(&sending->url, HG_PEER_URL_MAX + strlen(path));
    hg_buf_init(&sending->body, SIZE_MAX);
    int err = hg_buf_append_str(&sending->url, hg_peer_base_url(peer));
    if (err == HG_OK)
        err = hg_buf_append(&sending->url, path, strlen(path) + 1);
    if (err == HG_OK && over_http2 && body.len > 0)
        err = hg_buf_append_bytes(&sending->body, body);
    if (err == HG_OK)
        err = sending_start(sending, over_http2, body);
    if (err < 0)
        sending_free(sending);
    else
        member->sends++;
    return err;
}

/* --- health --- */

static void on_probe(void *ctx, const struct hg_fetch_response *response)
{
    struct hg_peer_member *member = ctx;
    uint64_t now_ms = hg_loop_now(member->client->loop);
    bool is_ours =
        response->err == HG_ECANCELED || response->err == HG_ENOMEM || response->err == HG_ELIMIT;
    bool is_dead = response->err == HG_ETIMEDOUT || response->is_connect_error;
    bool is_closed = response->err == HG_EPEER && !is_dead;
    /*
     * Begun though others may be answered: it lives, whatever became of this connection; or it may just have died, as
     * the asks are told themselves.
     */
    bool is_no_verdict =
        member->is_probe_for_asks &&
        (is_closed || (is_dead && hg_peer_heard_ms(member->peer) > member->probed_ms));

    member->probe = NULL;
    if (is_ours || (is_no_verdict && response->is_connect_error)) /* nobody was asked: again */
        member->probed_ms = 0;
    else if (!is_dead)
        member->answered_ms = member->probed_ms;
    if (is_ours || is_no_verdict)
        hg_peer_probe_forget(member->peer);
    else if (is_dead)
        hg_peer_probe_failed(member->peer, now_ms, response->err_text);
    else
        hg_peer_member_heard(member, now_ms); /* any answer, even a closed connection */
}

void hg_peer_member_heard(struct hg_peer_member *member, uint64_t now_ms)
{
    hg_peer_heard(member->peer, now_ms);
    hg_peer_asks_heard(member);
}

static void probe_over_http1(struct hg_peer_member *member, bool is_for_asks, uint64_t timeout_ms,
                             uint64_t now_ms)
{
    struct hg_peer_client *client = member->client;
    struct hg_buf url;
    hg_buf_init(&url, HG_PEER_URL_MAX);
    int err = HG_EINVAL;
    if (member->probe == NULL)
        err = hg_buf_append_str(&url, hg_peer_base_url(member->peer));
    if (err == HG_OK)
        err = hg_buf_append(&url, client->config->base_path, strlen(client->config->base_path) + 1);
    if (err == HG_OK) {
        const char *headers[] = {hg_peer_client_authorization(client), NULL};
        struct hg_fetch_options options = {
            .url = url.data,
            .headers = headers,
            .timeout_ms = timeout_ms < PROBE_MS_MIN ? PROBE_MS_MIN : timeout_ms,
            .body_max = PROBE_BODY_MAX,
            .fresh_connection = true,
        };
        err = hg_fetch_start(client->prober, &options, on_probe, member, &member->probe);
    }
    hg_buf_finish(&url);
    if (err < 0) {
        hg_peer_probe_forget(member->peer);
        return;
    }
    member->is_probe_for_asks = is_for_asks;
    member->probed_ms = now_ms;
}

static void probe_start(struct hg_peer_member *member, bool is_up, uint64_t now_ms)
{
    uint64_t timeout_ms = member->client->config->timeout_ms;
    if (is_up && hg_peer_member_ping(member))
        return;
    if (!is_up && member->client->config->transport == HG_TRANSPORT_GRPC &&
        hg_peer_member_probe(member)) { /* who closes whatever comes is not up */
        hg_peer_probe_forget(member->peer);
        return;
    }
    probe_over_http1(member, false, is_up ? timeout_ms / 2 : timeout_ms, now_ms);
}

void hg_peer_member_ask_life(struct hg_peer_member *member, uint64_t timeout_ms, uint64_t now_ms)
{
    if (member->probe != NULL)
        return;
    hg_peer_probe(member->peer, now_ms);
    probe_over_http1(member, true, timeout_ms, now_ms);
}

/* Whether it needs another tick. */
static bool member_tick(struct hg_peer_member *member, bool is_late, uint64_t now_ms)
{
    if (!is_late) {
        bool is_up = hg_peer_is_up(member->peer);
        if (hg_peer_tick(member->peer, now_ms) == HG_HEALTH_PROBE)
            probe_start(member, is_up, now_ms);
    }
    hg_peer_asks_check(member, is_late, now_ms);
    hg_peer_member_look(member);
    return !hg_list_is_empty(&member->calls) || member->probe != NULL ||
           !hg_peer_is_up(member->peer);
}

static void on_tick(uv_timer_t *tick)
{
    struct hg_peer_client *client = tick->data;
    uint64_t now_ms = hg_loop_now(client->loop);
    /* After a stall of our own, answers may lie unread in the sockets: they come first. */
    bool is_late = now_ms > client->ticked_ms + 3 * client->tick_ms;
    bool is_needed = false;

    client->ticked_ms = now_ms;
    hg_list_for_each_safe(link, &client->members)
    {
        struct hg_peer_member *member = hg_container_of(link, struct hg_peer_member, link);
        if (is_over(member)) {
            member_free(member);
            continue;
        }
        is_needed |= member_tick(member, is_late, now_ms);
    }
    if (!is_needed)
        uv_timer_stop(tick);
}

void hg_peer_client_tick_start(struct hg_peer_client *client)
{
    if (client->is_closing || uv_is_active((uv_handle_t *)&client->tick))
        return;
    client->ticked_ms = hg_loop_now(client->loop);
    uv_timer_start(&client->tick, on_tick, client->tick_ms, client->tick_ms);
}

/* --- the client --- */

int hg_peer_client_create(struct hg_loop *loop, const struct hg_peers_config *config,
                          struct hg_peer_client **out_client)
{
    struct hg_peer_client *client = hg_calloc(1, sizeof(*client));
    if (client == NULL)
        return HG_ENOMEM;
    client->loop = loop;
    client->config = config;
    hg_list_init(&client->members);
    client->budget.max_bytes = STREAMS_MEMORY;
    client->open_parts = 4; /* two fetchers, two handles */
    client->tick_ms = config->timeout_ms / TICKS_A_TIMEOUT;
    if (client->tick_ms < TICK_MS_MIN)
        client->tick_ms = TICK_MS_MIN;
    if (client->tick_ms > TICK_MS_MAX)
        client->tick_ms = TICK_MS_MAX;

    int err = HG_EINVAL;
    int origin_len =
        snprintf(client->origin, sizeof(client->origin), "Hgcache-Origin: %s", config->self);
    int token_len = 0;
    if (config->token != NULL)
        token_len = snprintf(client->authorization, sizeof(client->authorization),
                             "Authorization: Bearer %s", config->token);
    if (origin_len >= HG_PEER_TOKEN_HEADER_MAX || token_len >= HG_PEER_TOKEN_HEADER_MAX)
        goto free_client;
    err = hg_fetcher_create(loop, &client->fetcher);
    if (err < 0)
        goto free_client;
    err = hg_fetcher_create(loop, &client->prober);
    if (err < 0)
        goto close_fetcher;
    hg_fetcher_limit_host(client->prober, 0);
    uv_timer_init(&loop->uv, &client->tick);
    client->tick.data = client;
    hg_peer_asks_init(client);
    *out_client = client;
    return HG_OK;

close_fetcher:
    hg_fetcher_close(client->fetcher, NULL, NULL);
free_client:
    hg_free(client);
    return err;
}

void hg_peer_client_part_closed(void *ctx)
{
    struct hg_peer_client *client = ctx;
    struct hg_list *link;
    if (--client->open_parts > 0)
        return;
    while ((link = client->members.next) != &client->members)
        member_free(hg_container_of(link, struct hg_peer_member, link));
    void (*closed)(void *) = client->closed;
    void *closed_ctx = client->closed_ctx;
    hg_free(client);
    if (closed != NULL)
        closed(closed_ctx);
}

static void on_asks_closed(struct hg_peer_client *client)
{
    hg_peer_client_part_closed(client);
}

static void on_tick_closed(uv_handle_t *handle)
{
    hg_peer_client_part_closed(handle->data);
}

void hg_peer_client_close(struct hg_peer_client *client, void (*closed)(void *ctx), void *ctx)
{
    if (client->is_closing)
        return;
    client->is_closing = true;
    client->closed = closed;
    client->closed_ctx = ctx;
    hg_list_for_each(link, &client->members)
        hg_peer_member_close_pools(hg_container_of(link, struct hg_peer_member, link));
    hg_fetcher_close(client->fetcher, hg_peer_client_part_closed, client);
    hg_fetcher_close(client->prober, hg_peer_client_part_closed, client);
    uv_close((uv_handle_t *)&client->tick, on_tick_closed);
    hg_peer_asks_close(client, on_asks_closed);
}
