/*
 * peers - one loop's asks to other nodes.
 *
 *   hg_peer_client_ask -> fetch -> on_answer -> hg_load_asked
 *                 tick  -> health: probe | silence -> cancel -> on_answer
 */
#include "net/peers.h"

#include <assert.h>
#include <stdio.h>

#include "base/alloc.h"
#include "cluster/answer.h"
#include "net/clock.h"
#include "net/fetch_impl.h"
#include "net/log.h"
#include "net/peer_state.h"
#include "wire/query.h"

#define ASK_SLACK_MS     250 /* the owner says itself, typed, that the deadline passed */
#define URL_MAX          16384
#define HEADER_MAX       65536
#define TICKS_A_TIMEOUT  8
#define TICK_MS_MIN      5
#define TICK_MS_MAX      250
#define PROBE_MS_MIN     20
#define PROBE_BODY_MAX   65536
#define TOKEN_HEADER_MAX 4096

struct hg_peer_client {
    struct hg_loop *loop;
    const struct hg_peers_config *config;
    struct hg_fetcher *fetcher;
    struct hg_fetcher *
        prober; /* as many connections as it takes: probes, changes and nested asks are never behind asks */
    uv_timer_t tick;
    struct hg_list members; /* struct member: the peers it has had to do with */
    uint64_t tick_ms, ticked_ms;
    unsigned open_parts; /* fetchers and timer, when closing */
    bool is_closing;
    char authorization[TOKEN_HEADER_MAX];
    char origin[TOKEN_HEADER_MAX];
    void (*closed)(void *ctx);
    void *closed_ctx;
};

/* What one client has under way with one peer. */
struct member {
    struct hg_list link;
    struct hg_peer *peer; /* a reference */
    struct hg_peer_client *client;
    struct hg_list asks;
    struct hg_fetch *probe; /* NULL: none of ours */
};

struct ask {
    struct hg_list link;
    struct member *member;
    struct hg_load *load;
    struct hg_fetch *fetch;
    uint64_t sent_ms;
    uint64_t silence_number; /* of the peer when it was started */
    bool is_given_up;        /* canceled because of what happened to others */
};

static void client_tick_start(struct hg_peer_client *client);

/* --- members --- */

static struct member *member_get(struct hg_peer_client *client, struct hg_peer *peer)
{
    hg_list_for_each(link, &client->members)
    {
        struct member *member = hg_container_of(link, struct member, link);
        if (member->peer == peer)
            return member;
    }
    struct member *member = hg_calloc(1, sizeof(*member));
    if (member == NULL)
        return NULL;
    member->peer = hg_peer_ref(peer);
    member->client = client;
    hg_list_init(&member->asks);
    hg_list_push_back(&client->members, &member->link);
    return member;
}

static void member_free(struct member *member)
{
    assert(hg_list_is_empty(&member->asks));
    assert(member->probe == NULL);
    hg_list_remove(&member->link);
    hg_peer_unref(member->peer);
    hg_free(member);
}

/* --- asks --- */

static enum hg_ask_outcome outcome_of_err(const struct ask *ask, int err, uint64_t now_ms)
{
    if (err == HG_ECANCELED)
        return HG_ASK_DEADLINE; /* we are closing: no fallback */
    if (err == HG_ETIMEDOUT && now_ms >= ask->load->deadline_ms)
        return HG_ASK_DEADLINE;
    return HG_ASK_TRANSPORT;
}

/*
 * One could not connect: those of us that wait for a connection to the same peer need not try as
 * well.
 */
static void member_give_up_unsent(struct member *member)
{
    hg_list_for_each(link, &member->asks)
    {
        struct ask *ask = hg_container_of(link, struct ask, link);
        if (ask->is_given_up || hg_fetch_is_sent(ask->fetch))
            continue;
        ask->is_given_up = true;
        hg_fetch_cancel(ask->fetch, HG_EPEER);
    }
}

/* What an ended exchange says about the peer's health. */
static void member_note(struct member *member, const struct hg_fetch_response *response,
                        uint64_t now_ms)
{
    switch (response->err) {
    case HG_OK:
    case HG_EPROTO:
    case HG_ETOOBIG:
        hg_peer_heard(member->peer, now_ms);
        break;
    case HG_EPEER:
        hg_peer_failed(member->peer, now_ms, response->err_text);
        if (response->is_connect_error)
            member_give_up_unsent(member);
        client_tick_start(member->client);
        break;
    default: /* time-outs and troubles of our own say nothing */
        break;
    }
}

/*
 * A body that just ends with its connection may have been cut anywhere, and a cut message may still
 * decode.
 */
static bool is_framed(const struct hg_fetch_response *response)
{
    return hg_fetch_header(response, "Content-Length").len > 0 ||
           hg_fetch_header(response, "Transfer-Encoding").len > 0;
}

static void on_answer(void *ctx, const struct hg_fetch_response *response)
{
    struct ask *ask = ctx;
    struct member *member = ask->member;
    struct hg_peer *peer = member->peer;
    struct hg_load *load = ask->load;
    struct hg_loop *loop = member->client->loop;
    uint64_t now_ms = hg_loop_now(loop);
    struct hg_ask_answer answer = {.outcome = HG_ASK_TRANSPORT};

    hg_list_remove(&ask->link);
    hg_peer_done(peer, now_ms);
    if (!ask->is_given_up)
        member_note(member, response, now_ms);
    if (response->err != HG_OK) {
        answer.outcome = outcome_of_err(ask, response->err, now_ms);
    } else if (is_framed(response) &&
               hg_answer_from_http(response->status, response->body, load->flight.key,
                                   (uint64_t)(hg_clock_wall_s() * 1e9), &answer) < 0) {
        answer = (struct hg_ask_answer){.outcome = HG_ASK_TRANSPORT};
    }
    if (answer.outcome != HG_ASK_TYPED)
        hg_peer_count_error(peer);
    answer.sent_ms = ask->sent_ms;
    hg_free(ask);
    hg_load_asked(load, &answer, now_ms, loop);
}

static int split_chain(struct hg_bytes chain, struct hg_peer_request *request)
{
    while (chain.len > 0) {
        if (chain.len < 2)
            return HG_EINVAL;
        const unsigned char *at = (const unsigned char *)chain.data;
        size_t len = (size_t)at[0] << 8 | at[1];
        if (len > chain.len - 2)
            return HG_EINVAL;
        if (request->chain_count == HG_CHAIN_MAX)
            return HG_ELIMIT;
        request->chain[request->chain_count++] = hg_bytes(chain.data + 2, len);
        chain = hg_bytes(chain.data + 2 + len, chain.len - 2 - len);
    }
    return HG_OK;
}

static int write_url(const struct hg_peer_client *client, const struct hg_peer *peer,
                     const char *group_name, struct hg_bytes key, struct hg_buf *url)
{
    int err = hg_buf_append_str(url, hg_peer_base_url(peer));
    if (err == HG_OK)
        err = hg_peer_path_encode(url, hg_bytes_str(client->config->base_path),
                                  hg_bytes_str(group_name), key);
    return err == HG_OK ? hg_buf_append_char(url, '\0') : err;
}

static int write_request_header(const struct hg_peer_client *client, const struct hg_load *load,
                                uint64_t ring, uint64_t remaining_ms, struct hg_buf *header)
{
    struct hg_buf message;
    struct hg_peer_request request = {
        .deadline_ms = remaining_ms == HG_FOREVER ? 0 : remaining_ms,
        .origin = hg_bytes_str(client->config->self),
        .ring = ring,
        .wire_version = HG_WIRE_VERSION,
    };
    hg_buf_init(&message, HEADER_MAX / 2);
    int err = split_chain(load->chain, &request);
    if (err == HG_OK)
        err = hg_peer_request_encode(&request, &message);
    if (err == HG_OK)
        err = hg_buf_append_str(header, "Hgcache-Request: ");
    if (err == HG_OK)
        err = hg_base64_encode(header, hg_buf_bytes(&message));
    if (err == HG_OK)
        err = hg_buf_append_char(header, '\0');
    hg_buf_finish(&message);
    return err;
}

/* "Pick peer %s" */
static void log_pick(const struct hg_peer_client *client, const struct hg_peer *peer)
{
    const char *format = client->config->pick_log;
    const char *mark = format == NULL ? NULL : strstr(format, "%s");
    if (format == NULL || !hg_log_is_on(HG_LOG_INFO))
        return;
    if (mark == NULL)
        hg_log(HG_LOG_INFO, "%s", format);
    else
        hg_log(HG_LOG_INFO, "%.*s%s%s", (int)(mark - format), format, hg_peer_name(peer), mark + 2);
}

static int ask_start(struct ask *ask, const char *group_name, uint64_t ring, uint64_t remaining_ms)
{
    struct hg_peer_client *client = ask->member->client;
    struct hg_buf url, header;
    hg_buf_init(&url, URL_MAX);
    hg_buf_init(&header, HEADER_MAX);

    int err = write_url(client, ask->member->peer, group_name, ask->load->flight.key, &url);
    if (err == HG_OK)
        err = write_request_header(client, ask->load, ring, remaining_ms, &header);
    if (err == HG_OK) {
        const char *headers[] = {
            header.data, client->authorization[0] != '\0' ? client->authorization : NULL, NULL};
        struct hg_fetch_options options = {
            .url = url.data,
            .headers = headers,
            .timeout_ms = hg_time_add(remaining_ms, ASK_SLACK_MS),
            .body_max = client->config->message_max,
        };
        /* What a getter waits for must not queue behind asks that wait for getters: both ends could stand still. */
        struct hg_fetcher *fetcher = ask->load->depth > 0 ? client->prober : client->fetcher;
        err = hg_fetch_start(fetcher, &options, on_answer, ask, &ask->fetch);
    }
    hg_buf_finish(&url);
    hg_buf_finish(&header);
    return err;
}

int hg_peer_client_ask(struct hg_peer_client *client, struct hg_peer *peer, struct hg_load *load,
                       const char *group_name, uint64_t ring)
{
    uint64_t now_ms = hg_loop_now(client->loop);
    if (client->is_closing)
        return HG_ECANCELED;
    if (!hg_peer_is_up(peer))
        return HG_EPEER;
    if (now_ms >= load->deadline_ms)
        return HG_ETIMEDOUT;
    struct member *member = member_get(client, peer);
    struct ask *ask = member == NULL ? NULL : hg_calloc(1, sizeof(*ask));
    if (ask == NULL)
        return HG_ENOMEM;

    ask->member = member;
    ask->load = load;
    ask->sent_ms = now_ms;
    hg_list_init(&ask->link);
    int err = ask_start(ask, group_name, ring,
                        load->deadline_ms == HG_FOREVER ? HG_FOREVER : load->deadline_ms - now_ms);
    if (err < 0) {
        hg_free(ask);
        return err;
    }
    hg_list_push_back(&member->asks, &ask->link);
    ask->silence_number = hg_peer_asked(peer, now_ms);
    client_tick_start(client);
    log_pick(client, peer);
    return HG_OK;
}

/* --- other requests --- */

struct sending {
    struct member *member;
    bool
        is_write; /* else its failure says nothing: whether a peer is worth asking, asks and probes find out */
    hg_fetch_fn done;
    void *ctx;
};

static void on_sent(void *ctx, const struct hg_fetch_response *response)
{
    struct sending sending = *(struct sending *)ctx;
    hg_free(ctx);
    if (sending.is_write || response->err == HG_OK)
        member_note(sending.member, response, hg_loop_now(sending.member->client->loop));
    sending.done(sending.ctx, response);
}

int hg_peer_client_send(struct hg_peer_client *client, struct hg_peer *peer, const char *method,
                        const char *path, struct hg_bytes body, uint64_t timeout_ms,
                        hg_fetch_fn done, void *ctx)
{
    if (client->is_closing)
        return HG_ECANCELED;
    struct member *member = member_get(client, peer);
    struct sending *sending = member == NULL ? NULL : hg_malloc(sizeof(*sending));
    struct hg_buf url;
    if (sending == NULL)
        return HG_ENOMEM;
    *sending = (struct sending){
        .member = member, .is_write = strcmp(method, "GET") != 0, .done = done, .ctx = ctx};

    hg_buf_init(&url, URL_MAX + strlen(path));
    int err = hg_buf_append_str(&url, hg_peer_base_url(peer));
    if (err == HG_OK)
        err = hg_buf_append(&url, path, strlen(path) + 1);
    if (err == HG_OK) {
        const char *headers[] = {
            client->origin, client->authorization[0] != '\0' ? client->authorization : NULL, NULL};
        struct hg_fetch_options options = {
            .method = method,
            .url = url.data,
            .headers = headers,
            .body = body,
            .timeout_ms = timeout_ms,
            .body_max = client->config->message_max,
        };
        /*
         * Its connections are not those of the asks: an invalidation must not queue behind slow
         * loads.
         */
        err = hg_fetch_start(client->prober, &options, on_sent, sending, NULL);
    }
    hg_buf_finish(&url);
    if (err < 0)
        hg_free(sending);
    return err;
}

/* --- health --- */

static void on_probe(void *ctx, const struct hg_fetch_response *response)
{
    struct member *member = ctx;
    uint64_t now_ms = hg_loop_now(member->client->loop);
    bool is_ours =
        response->err == HG_ECANCELED || response->err == HG_ENOMEM || response->err == HG_ELIMIT;
    bool is_dead = response->err == HG_ETIMEDOUT || response->is_connect_error;

    member->probe = NULL;
    if (is_ours)
        hg_peer_probe_forget(member->peer);
    else if (is_dead)
        hg_peer_probe_failed(member->peer, now_ms, response->err_text);
    else
        hg_peer_heard(member->peer, now_ms); /* any answer, even a closed connection */
}

static void probe_start(struct member *member, bool is_up)
{
    struct hg_peer_client *client = member->client;
    struct hg_buf url;
    hg_buf_init(&url, URL_MAX);
    int err = HG_EINVAL;
    if (member->probe == NULL)
        err = hg_buf_append_str(&url, hg_peer_base_url(member->peer));
    if (err == HG_OK)
        err = hg_buf_append(&url, client->config->base_path, strlen(client->config->base_path) + 1);
    if (err == HG_OK) {
        uint64_t timeout_ms = is_up ? client->config->timeout_ms / 2 : client->config->timeout_ms;
        const char *headers[] = {client->authorization[0] != '\0' ? client->authorization : NULL,
                                 NULL};
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
    if (err < 0)
        hg_peer_probe_forget(member->peer);
}

/* Cancels asks that silence has failed, or that libcurl has let pass their deadline. */
static void member_check_asks(struct member *member, uint64_t now_ms)
{
    uint64_t silence_number = hg_peer_silence_number(member->peer);
    hg_list_for_each(link, &member->asks)
    {
        struct ask *ask = hg_container_of(link, struct ask, link);
        if (ask->is_given_up)
            continue;
        bool is_silent = ask->silence_number != silence_number;
        if (!is_silent && now_ms < hg_time_add(ask->load->deadline_ms, 2 * ASK_SLACK_MS))
            continue;
        ask->is_given_up = true;
        hg_fetch_cancel(ask->fetch, is_silent ? HG_EPEER : HG_ETIMEDOUT);
    }
}

/* Whether it needs another tick. */
static bool member_tick(struct member *member, bool is_late, uint64_t now_ms)
{
    if (!is_late) {
        bool is_up = hg_peer_is_up(member->peer);
        if (hg_peer_tick(member->peer, now_ms) == HG_HEALTH_PROBE)
            probe_start(member, is_up);
    }
    member_check_asks(member, now_ms);
    return !hg_list_is_empty(&member->asks) || member->probe != NULL ||
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
        struct member *member = hg_container_of(link, struct member, link);
        if (hg_peer_is_destroyed(member->peer) && hg_list_is_empty(&member->asks) &&
            member->probe == NULL)
            continue; /* kept until the client closes: sends may be under way */
        is_needed |= member_tick(member, is_late, now_ms);
    }
    if (!is_needed)
        uv_timer_stop(tick);
}

static void client_tick_start(struct hg_peer_client *client)
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
    if (origin_len >= TOKEN_HEADER_MAX || token_len >= TOKEN_HEADER_MAX)
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
    *out_client = client;
    return HG_OK;

close_fetcher:
    hg_fetcher_close(client->fetcher, NULL, NULL);
free_client:
    hg_free(client);
    return err;
}

static void on_part_closed(void *ctx)
{
    struct hg_peer_client *client = ctx;
    struct hg_list *link;
    if (--client->open_parts > 0)
        return;
    while ((link = client->members.next) != &client->members)
        member_free(hg_container_of(link, struct member, link));
    void (*closed)(void *) = client->closed;
    void *closed_ctx = client->closed_ctx;
    hg_free(client);
    if (closed != NULL)
        closed(closed_ctx);
}

static void on_tick_closed(uv_handle_t *handle)
{
    on_part_closed(handle->data);
}

void hg_peer_client_close(struct hg_peer_client *client, void (*closed)(void *ctx), void *ctx)
{
    if (client->is_closing)
        return;
    client->is_closing = true;
    client->closed = closed;
    client->closed_ctx = ctx;
    client->open_parts = 3;
    hg_fetcher_close(client->fetcher, on_part_closed, client);
    hg_fetcher_close(client->prober, on_part_closed, client);
    uv_close((uv_handle_t *)&client->tick, on_tick_closed);
}
