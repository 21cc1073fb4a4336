/*
 * peer_ask - one loop's asks to other nodes. What a peer is asked for in one turn of the loop travels together
 * (cluster/many.h), alone as GET <group>/<key>, or as POST ?many.
 *
 *   hg_peer_client_ask -> waits -> on_turn_over -> call -> fetch -> on_answer --------------------> hg_load_asked
 *                                                                '-> on_data -> on_landed, each ---'
 *                                                                '-> on_many_answer: the rest -----'
 */
#include <assert.h>

#include "base/alloc.h"
#include "cluster/answer.h"
#include "cluster/many.h"
#include "net/clock.h"
#include "net/log.h"
#include "net/peers_impl.h"
#include "wire/query.h"

#define ASK_SLACK_MS 250 /* the owner says itself, typed, that the deadline passed */
#define HEADER_MAX   65536
/* What libcurl may read at one go, before any of it is used: a hundred buffers of 16 KiB, and some. */
#define BURST_MAX ((size_t)4 << 20)

static const char MANY_QUERY[] = "?many";

struct ask {
    struct hg_ask common;
    struct hg_peer_member *member;
    uint64_t ring;
    uint64_t sent_ms;
};

/* A request under way. */
struct call {
    struct hg_list link; /* of member->calls */
    struct hg_peer_member *member;
    struct hg_fetch *fetch;
    struct ask *ask;         /* alone; else NULL */
    struct hg_many *many;    /* of several; else NULL */
    uint64_t silence_number; /* of the peer when it was started */
    bool is_given_up;        /* canceled because of what happened to others */
};

static struct ask *ask_of(struct hg_ask *common)
{
    return hg_container_of(common, struct ask, common);
}

static uint64_t wall_ns(void)
{
    return (uint64_t)(hg_clock_wall_s() * 1e9);
}

static void report(struct ask *ask, const struct hg_ask_answer *told)
{
    struct hg_load *load = ask->common.load;
    struct hg_loop *loop = ask->member->client->loop;
    struct hg_ask_answer answer = *told;
    uint64_t now_ms = hg_loop_now(loop);

    if (answer.outcome != HG_ASK_TYPED)
        hg_peer_count_error(ask->member->peer);
    hg_peer_took(ask->member->peer, now_ms > ask->sent_ms ? now_ms - ask->sent_ms : 0);
    answer.sent_ms = ask->sent_ms;
    hg_free(ask);
    hg_load_asked(load, &answer, now_ms, loop);
}

static void report_failure(struct ask *ask, enum hg_ask_outcome outcome)
{
    struct hg_ask_answer answer = {.outcome = outcome};
    report(ask, &answer);
}

static enum hg_ask_outcome outcome_of_err(const struct ask *ask, int err, uint64_t now_ms)
{
    if (err == HG_ECANCELED)
        return HG_ASK_DEADLINE; /* we are closing: no fallback */
    if (err == HG_ETIMEDOUT && now_ms >= ask->common.load->deadline_ms)
        return HG_ASK_DEADLINE;
    return HG_ASK_TRANSPORT;
}

/* --- answers --- */

/*
 * A body that just ends with its connection may have been cut anywhere, and a cut message may still
 * decode.
 */
static bool is_framed(const struct hg_fetch_response *response)
{
    return hg_fetch_header(response, "Content-Length").len > 0 ||
           hg_fetch_header(response, "Transfer-Encoding").len > 0;
}

/* The call is over; whatever it asked for is still to be reported. */
static void call_end(struct call *call, const struct hg_fetch_response *response)
{
    struct hg_peer_member *member = call->member;
    uint64_t now_ms = hg_loop_now(member->client->loop);

    hg_list_remove(&call->link);
    hg_peer_done(member->peer, now_ms);
    if (!call->is_given_up)
        hg_peer_member_note(member, response, now_ms);
}

static void on_answer(void *ctx, const struct hg_fetch_response *response)
{
    struct call *call = ctx;
    struct ask *ask = call->ask;
    struct hg_ask_answer answer = {.outcome = HG_ASK_TRANSPORT};

    call_end(call, response);
    if (response->err != HG_OK) {
        answer.outcome =
            outcome_of_err(ask, response->err, hg_loop_now(call->member->client->loop));
    } else if (is_framed(response) &&
               hg_answer_from_http(response->status, response->body, ask->common.load->flight.key,
                                   wall_ns(), &answer) < 0) {
        answer = (struct hg_ask_answer){.outcome = HG_ASK_TRANSPORT};
    }
    hg_free(call);
    report(ask, &answer);
}

static void on_landed(void *ctx, struct hg_ask *ask, const struct hg_ask_answer *answer)
{
    (void)ctx;
    report(ask_of(ask), answer);
}

static size_t on_data(void *ctx, struct hg_bytes bytes)
{
    struct call *call = ctx;
    hg_peer_heard(call->member->peer, hg_loop_now(call->member->client->loop));
    size_t used = hg_many_feed(call->many, bytes, wall_ns(), on_landed, call);
    if (call->many->is_garbage) /* nothing more will land: those that wait fall back now */
        hg_fetch_cancel(call->fetch, HG_EPROTO);
    return used;
}

static void on_turn_over(uv_idle_t *turn_over);

static void wait_for_turn(struct ask *ask)
{
    hg_list_push_back(&ask->member->waiting, &ask->common.link);
    uv_idle_start(&ask->member->client->turn_over, on_turn_over);
}

static void on_many_answer(void *ctx, const struct hg_fetch_response *response)
{
    struct call *call = ctx;
    struct hg_peer_member *member = call->member;
    struct hg_many *many = call->many;
    uint64_t now_ms = hg_loop_now(member->client->loop);
    struct hg_ask *next;
    bool again = false;

    call_end(call, response);
    if (response->err == HG_OK && response->status != 200) {
        if (response->status != 503) /* it has no memory just now */
            hg_peer_refuses_many(member->peer, now_ms);
        again = true;
    } else {
        again = hg_many_end(many, response->err == HG_OK && is_framed(response), response->body);
    }
    while ((next = hg_many_pop(many)) != NULL) {
        struct ask *ask = ask_of(next);
        if (again && !member->client->is_closing) {
            ask->common.is_alone = true;
            wait_for_turn(ask);
        } else if (again) {
            report_failure(ask, HG_ASK_DEADLINE);
        } else {
            report_failure(ask, outcome_of_err(ask, response->err, now_ms));
        }
    }
    hg_many_destroy(many);
    hg_free(call);
}

/* --- requests --- */

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

static int write_alone_url(const struct hg_peer_client *client, const struct hg_peer *peer,
                           const struct hg_ask *ask, struct hg_buf *url)
{
    int err = hg_buf_append_str(url, hg_peer_base_url(peer));
    if (err == HG_OK)
        err = hg_peer_path_encode(url, hg_bytes_str(client->config->base_path), ask->group,
                                  ask->load->flight.key);
    return err == HG_OK ? hg_buf_append_char(url, '\0') : err;
}

static int write_many_url(const struct hg_peer_client *client, const struct hg_peer *peer,
                          struct hg_buf *url)
{
    int err = hg_buf_append_str(url, hg_peer_base_url(peer));
    if (err == HG_OK)
        err = hg_buf_append_str(url, client->config->base_path);
    return err == HG_OK ? hg_buf_append(url, MANY_QUERY, sizeof(MANY_QUERY)) : err;
}

/* remaining_ms 0: not told here. */
static int write_request_header(const struct ask *ask, uint64_t remaining_ms, struct hg_buf *header)
{
    struct hg_buf message;
    struct hg_peer_request request = {
        .deadline_ms = remaining_ms == HG_FOREVER ? 0 : remaining_ms,
        .origin = hg_bytes_str(ask->member->client->config->self),
        .ring = ask->ring,
        .wire_version = HG_WIRE_VERSION,
        .is_peek = ask->common.load->is_peek && remaining_ms != 0, /* of one that goes alone */
    };
    hg_buf_init(&message, HEADER_MAX / 2);
    int err = split_chain(ask->common.load->chain, &request);
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

/* What a getter waits for must not queue behind asks that wait for getters: both ends could stand still. */
static struct hg_fetcher *fetcher_for(const struct ask *ask)
{
    struct hg_peer_client *client = ask->member->client;
    return ask->common.load->depth > 0 ? client->prober : client->fetcher;
}

static int start_alone(struct call *call, uint64_t now_ms)
{
    struct hg_peer_client *client = call->member->client;
    struct ask *ask = call->ask;
    uint64_t deadline_ms = ask->common.load->deadline_ms;
    uint64_t remaining_ms = deadline_ms == HG_FOREVER ? HG_FOREVER : deadline_ms - now_ms;
    struct hg_buf url, header;
    hg_buf_init(&url, HG_PEER_URL_MAX);
    hg_buf_init(&header, HEADER_MAX);

    int err = write_alone_url(client, call->member->peer, &ask->common, &url);
    if (err == HG_OK)
        err = write_request_header(ask, remaining_ms, &header);
    if (err == HG_OK) {
        const char *headers[] = {header.data, hg_peer_client_authorization(client), NULL};
        struct hg_fetch_options options = {
            .url = url.data,
            .headers = headers,
            .timeout_ms = hg_time_add(remaining_ms, ASK_SLACK_MS),
            .body_max = client->config->message_max,
        };
        err = hg_fetch_start(fetcher_for(ask), &options, on_answer, call, &call->fetch);
    }
    hg_buf_finish(&url);
    hg_buf_finish(&header);
    return err;
}

/* Until the last of them has had its time. */
static uint64_t many_remaining_ms(const struct hg_many *many, uint64_t now_ms)
{
    uint64_t last_ms = now_ms;
    for (size_t i = 0; i < many->count; i++) {
        uint64_t deadline_ms = many->asks[i]->load->deadline_ms;
        if (deadline_ms > last_ms)
            last_ms = deadline_ms;
    }
    return last_ms == HG_FOREVER ? HG_FOREVER : last_ms - now_ms;
}

static int start_many(struct call *call, uint64_t now_ms)
{
    struct hg_peer_client *client = call->member->client;
    const struct ask *first = ask_of(call->many->asks[0]);
    struct hg_buf url, header, body;
    hg_buf_init(&url, HG_PEER_URL_MAX);
    hg_buf_init(&header, HEADER_MAX);
    hg_buf_init(&body, HG_MANY_BYTES_MAX);

    int err = write_many_url(client, call->member->peer, &url);
    if (err == HG_OK)
        err = write_request_header(first, 0, &header);
    if (err == HG_OK)
        err = hg_many_encode(call->many, now_ms, &body);
    if (err == HG_OK) {
        const char *headers[] = {header.data, "Content-Type: application/x-protobuf",
                                 hg_peer_client_authorization(client), NULL};
        struct hg_fetch_options options = {
            .method = "POST",
            .url = url.data,
            .headers = headers,
            .body = hg_buf_bytes(&body),
            .timeout_ms = hg_time_add(many_remaining_ms(call->many, now_ms), ASK_SLACK_MS),
            .body_max = client->config->message_max + BURST_MAX,
            .data = on_data,
        };
        err = hg_fetch_start(fetcher_for(first), &options, on_many_answer, call, &call->fetch);
    }
    hg_buf_finish(&url);
    hg_buf_finish(&header);
    hg_buf_finish(&body);
    return err;
}

/* Takes over what is in `asks`, or leaves it there and fails. */
static int call_start(struct hg_peer_member *member, struct hg_list *asks, size_t count,
                      uint64_t now_ms)
{
    if (!hg_peer_is_up(member->peer))
        return HG_EPEER;
    struct call *call = hg_calloc(1, sizeof(*call));
    if (call == NULL)
        return HG_ENOMEM;
    call->member = member;
    hg_list_init(&call->link);

    int err = HG_ENOMEM;
    bool is_again = false;
    if (count == 1) {
        call->ask = ask_of(hg_container_of(hg_list_pop_front(asks), struct hg_ask, link));
        is_again = call->ask->common.is_alone;
        err = start_alone(call, now_ms);
        if (err < 0)
            hg_list_push_back(asks, &call->ask->common.link);
    } else {
        call->many = hg_many_create(asks, count, member->client->config->message_max);
        if (call->many != NULL)
            err = start_many(call, now_ms);
        if (err < 0)
            hg_many_undo(call->many, asks);
    }
    if (err < 0) {
        hg_free(call);
        return err;
    }
    hg_list_push_back(&member->calls, &call->link);
    call->silence_number = hg_peer_asked(member->peer, count, is_again, now_ms);
    hg_peer_client_tick_start(member->client);
    return HG_OK;
}

static struct ask *pop_ask(struct hg_list *asks)
{
    struct hg_list *link = hg_list_pop_front(asks);
    return link == NULL ? NULL : ask_of(hg_container_of(link, struct hg_ask, link));
}

/* Nobody is asked for what is too late already. Returns how many are left. */
static size_t drop_late(struct hg_list *asks, uint64_t now_ms)
{
    size_t left = 0;
    hg_list_for_each_safe(it, asks)
    {
        struct ask *ask = ask_of(hg_container_of(it, struct hg_ask, link));
        if (now_ms < ask->common.load->deadline_ms) {
            left++;
            continue;
        }
        hg_list_remove(it);
        report_failure(ask, HG_ASK_DEADLINE);
    }
    return left;
}

static void member_send(struct hg_peer_member *member)
{
    struct hg_peer_client *client = member->client;
    uint64_t now_ms = hg_loop_now(client->loop);
    size_t bytes_max = client->config->message_max < HG_MANY_BYTES_MAX ? client->config->message_max
                                                                       : HG_MANY_BYTES_MAX;
    struct hg_list asks = HG_LIST_INIT(asks);
    struct ask *ask;

    for (;;) {
        size_t keys_max = hg_peer_takes_many(member->peer, now_ms) ? HG_MANY_KEYS_MAX : 1;
        if (hg_asks_take(&member->waiting, keys_max, bytes_max, &asks) == 0)
            return;
        size_t count = drop_late(&asks, now_ms);
        int err = count == 0 ? HG_OK : call_start(member, &asks, count, now_ms);
        while (err < 0 && (ask = pop_ask(&asks)) != NULL)
            report_failure(ask, outcome_of_err(ask, err, now_ms));
    }
}

static void on_turn_over(uv_idle_t *turn_over)
{
    struct hg_peer_client *client = turn_over->data;
    uv_idle_stop(turn_over);
    hg_list_for_each_safe(link, &client->members)
        member_send(hg_container_of(link, struct hg_peer_member, link));
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

int hg_peer_client_ask(struct hg_peer_client *client, struct hg_peer *peer, struct hg_load *load,
                       const char *group_name, uint64_t ring)
{
    struct hg_peer_request chain = {.chain_count = 0};
    uint64_t now_ms = hg_loop_now(client->loop);
    if (client->is_closing)
        return HG_ECANCELED;
    if (!hg_peer_is_up(peer))
        return HG_EPEER;
    if (now_ms >= load->deadline_ms)
        return HG_ETIMEDOUT;
    int err = split_chain(load->chain, &chain);
    if (err < 0)
        return err;
    struct hg_peer_member *member = hg_peer_member_get(client, peer);
    struct ask *ask = member == NULL ? NULL : hg_calloc(1, sizeof(*ask));
    if (ask == NULL)
        return HG_ENOMEM;

    ask->common.load = load;
    ask->common.group = hg_bytes_str(group_name);
    ask->member = member;
    ask->ring = ring;
    ask->sent_ms = now_ms;
    hg_list_init(&ask->common.link);
    wait_for_turn(ask);
    log_pick(client, peer);
    return HG_OK;
}

/* --- for peers.c --- */

void hg_peer_asks_init(struct hg_peer_client *client)
{
    uv_idle_init(&client->loop->uv, &client->turn_over);
    client->turn_over.data = client;
}

void hg_peer_asks_give_up_unsent(struct hg_peer_member *member)
{
    hg_list_for_each(link, &member->calls)
    {
        struct call *call = hg_container_of(link, struct call, link);
        if (call->is_given_up || hg_fetch_is_sent(call->fetch))
            continue;
        call->is_given_up = true;
        hg_fetch_cancel(call->fetch, HG_EPEER);
    }
}

/* Those of a message of many that are over without an answer. True: none is left to wait for. */
static bool many_check(struct hg_many *many, uint64_t now_ms)
{
    hg_list_for_each_safe(it, &many->pending)
    {
        struct hg_ask *ask = hg_container_of(it, struct hg_ask, link);
        if (now_ms < hg_time_add(ask->load->deadline_ms, 2 * ASK_SLACK_MS))
            continue;
        hg_many_drop(many, ask);
        report_failure(ask_of(ask), HG_ASK_DEADLINE);
        if (many->pending_count == 0)
            return true;
    }
    return false;
}

void hg_peer_asks_check(struct hg_peer_member *member, uint64_t now_ms)
{
    uint64_t silence_number = hg_peer_silence_number(member->peer);
    hg_list_for_each(link, &member->calls)
    {
        struct call *call = hg_container_of(link, struct call, link);
        if (call->is_given_up)
            continue;
        bool is_silent = call->silence_number != silence_number;
        bool is_late =
            !is_silent &&
            (call->many != NULL
                 ? many_check(call->many, now_ms)
                 : now_ms >= hg_time_add(call->ask->common.load->deadline_ms, 2 * ASK_SLACK_MS));
        if (!is_silent && !is_late)
            continue;
        call->is_given_up = true;
        hg_fetch_cancel(call->fetch, is_silent ? HG_EPEER : HG_ETIMEDOUT);
    }
}

static void on_idle_closed(uv_handle_t *handle)
{
    struct hg_peer_client *client = handle->data;
    hg_list_for_each(link, &client->members)
    {
        struct hg_peer_member *member = hg_container_of(link, struct hg_peer_member, link);
        struct ask *ask;
        while ((ask = pop_ask(&member->waiting)) != NULL)
            report_failure(ask, HG_ASK_DEADLINE);
    }
    client->asks_closed(client);
}

void hg_peer_asks_close(struct hg_peer_client *client,
                        void (*closed)(struct hg_peer_client *client))
{
    client->asks_closed = closed;
    uv_close((uv_handle_t *)&client->turn_over, on_idle_closed);
}
