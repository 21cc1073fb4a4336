/*
 * peer_ask - one loop's asks to other nodes. What a peer is asked for in one turn of the loop travels together
 * (cluster/many.h), alone as a gRPC Get or GET <group>/<key>, or as POST ?many. What a peer has not looked at goes to it again.
 *
 * Over HTTP/1.1 a lane makes one connection at a time, and what is asked meanwhile waits for it (http2_pool does likewise). One
 * that was made is of use when the peer has shown that it lives, since its oldest call began: a peer that accepts and says nothing
 * costs no second one. Nobody waits for an answer: if others wait, a sign of life is asked for at once, beside the call.
 *
 *   hg_peer_client_ask -> waits -> on_turn_over -> call -> fetch -> on_answer --------------------> hg_load_asked
 *                                                                '-> on_data -> on_landed, each ---'
 *                                                                '-> on_many_answer: the rest -----'
 */
#include <assert.h>

#include "base/alloc.h"
#include "net/log.h"
#include "net/peer_call.h"

static void report(struct hg_peer_ask *ask, const struct hg_ask_answer *told)
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

static void report_failure(struct hg_peer_ask *ask, enum hg_ask_outcome outcome)
{
    struct hg_ask_answer answer = {.outcome = outcome};
    report(ask, &answer);
}

static enum hg_ask_outcome outcome_of_err(const struct hg_peer_ask *ask, int err, uint64_t now_ms)
{
    if (err == HG_ECANCELED)
        return HG_ASK_DEADLINE; /* we are closing: no fallback */
    if (err == HG_ETIMEDOUT && now_ms >= ask->common.load->deadline_ms)
        return HG_ASK_DEADLINE;
    return HG_ASK_TRANSPORT;
}

/* --- waiting --- */

static void on_turn_over(uv_idle_t *turn_over);

static void wait_for_turn(struct hg_peer_ask *ask)
{
    hg_list_push_back(&ask->member->waiting[hg_peer_lane_of(ask->common.load)], &ask->common.link);
    uv_idle_start(&ask->member->client->turn_over, on_turn_over);
}

bool hg_peer_asks_none_waits(const struct hg_peer_member *member)
{
    for (size_t lane = 0; lane < HG_LANE_COUNT; lane++) {
        if (!hg_list_is_empty(&member->waiting[lane]))
            return false;
    }
    return true;
}

/* Those behind the call go on when this turn is over. */
static void opening_end(struct hg_peer_call *call)
{
    struct hg_peer_member *member = call->member;
    if (member->opening[call->lane] != call)
        return;
    member->opening[call->lane] = NULL;
    if (!hg_list_is_empty(&member->waiting[call->lane]) && !member->client->is_closing)
        uv_idle_start(&member->client->turn_over, on_turn_over);
}

/* What waits for a connection to a peer that is down is told so when this turn is over. */
static void openings_end(struct hg_peer_member *member)
{
    for (size_t lane = 0; lane < HG_LANE_COUNT; lane++) {
        if (member->opening[lane] != NULL)
            opening_end(member->opening[lane]);
    }
}

void hg_peer_asks_heard(struct hg_peer_member *member)
{
    member->heard_number++;
    for (size_t lane = 0; lane < HG_LANE_COUNT; lane++) {
        if (member->opening[lane] != NULL && member->opening[lane]->is_connected)
            opening_end(member->opening[lane]);
    }
}

/* --- answers --- */

/* The call is over; whatever it asked for is still to be reported. */
static void call_end(struct hg_peer_call *call, const struct hg_fetch_response *response)
{
    struct hg_peer_member *member = call->member;
    uint64_t now_ms = hg_loop_now(member->client->loop);

    hg_list_remove(&call->link);
    opening_end(call);
    hg_peer_done(member->peer, now_ms);
    if (!call->is_given_up)
        hg_peer_member_note(member, response, now_ms);
}

static void send_again(struct hg_peer_ask *ask)
{
    ask->is_over_http1 = true;
    wait_for_turn(ask);
}

static void on_answer(void *ctx, const struct hg_fetch_response *response)
{
    struct hg_peer_call *call = ctx;
    struct hg_peer_ask *ask = call->ask;
    struct hg_ask_answer answer = {.outcome = HG_ASK_TRANSPORT};

    call_end(call, response);
    if (hg_peer_member_may_resend(call->member, response)) {
        hg_free(call);
        send_again(ask);
        return;
    }
    if (response->err != HG_OK) {
        answer.outcome =
            outcome_of_err(ask, response->err, hg_loop_now(call->member->client->loop));
    } else if (hg_peer_answer_is_framed(response) &&
               hg_peer_answer_read(call, response, &answer) < 0) {
        answer = (struct hg_ask_answer){.outcome = HG_ASK_TRANSPORT};
    }
    hg_free(call);
    report(ask, &answer);
}

static void on_landed(void *ctx, struct hg_ask *ask, const struct hg_ask_answer *answer)
{
    (void)ctx;
    report(hg_peer_ask_of(ask), answer);
}

static size_t on_data(void *ctx, struct hg_bytes bytes)
{
    struct hg_peer_call *call = ctx;
    hg_peer_member_heard(call->member, hg_loop_now(call->member->client->loop));
    size_t used = hg_many_feed(call->many, bytes, hg_peer_wall_ns(), on_landed, call);
    if (call->many->is_garbage) /* nothing more will land: those that wait fall back now */
        hg_peer_sent_cancel(&call->sent, HG_EPROTO);
    return used;
}

static void on_many_answer(void *ctx, const struct hg_fetch_response *response)
{
    struct hg_peer_call *call = ctx;
    struct hg_peer_member *member = call->member;
    struct hg_many *many = call->many;
    uint64_t now_ms = hg_loop_now(member->client->loop);
    struct hg_ask *next;
    bool again = false;

    call_end(call, response);
    if (hg_peer_member_may_resend(member, response)) {
        while ((next = hg_many_pop(many)) != NULL)
            send_again(hg_peer_ask_of(next));
        hg_many_destroy(many);
        hg_free(call);
        return;
    }
    bool is_refused = response->err == HG_OK
                          ? response->status != 200 || hg_peer_answer_is_grpc(response)
                          : response->is_reset;
    if (is_refused) {
        if (response->status != 503) /* it has no memory just now */
            hg_peer_refuses_many(member->peer, now_ms);
        again = true;
    } else {
        again = hg_many_end(many, response->err == HG_OK && hg_peer_answer_is_framed(response),
                            response->body);
    }
    while ((next = hg_many_pop(many)) != NULL) {
        struct hg_peer_ask *ask = hg_peer_ask_of(next);
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

/* How many of them had been sent before, and whether they may go over HTTP/2 now. */
static size_t count_again(const struct hg_list *asks, bool *in_out_http2)
{
    size_t count = 0;
    hg_list_for_each(link, asks)
    {
        const struct hg_peer_ask *ask = hg_peer_ask_of(hg_container_of(link, struct hg_ask, link));
        count += ask->common.is_alone || ask->is_over_http1;
        *in_out_http2 &= !ask->is_over_http1;
    }
    return count;
}

static void on_connected(void *ctx, bool is_new);

/* Takes over what is in `asks`, or leaves it there and fails. */
static int call_start(struct hg_peer_member *member, enum hg_peer_lane lane, struct hg_list *asks,
                      size_t count, uint64_t now_ms)
{
    if (!hg_peer_is_up(member->peer))
        return HG_EPEER;
    struct hg_peer_call *call = hg_calloc(1, sizeof(*call));
    if (call == NULL)
        return HG_ENOMEM;
    call->member = member;
    call->lane = lane;
    call->heard_number = member->heard_number;
    hg_list_init(&call->link);

    int err = HG_ENOMEM;
    hg_peer_member_look(member);
    bool over_http2 = hg_peer_member_is_http2(member, now_ms);
    size_t again = count_again(asks, &over_http2);
    if (count == 1) {
        call->ask = hg_peer_ask_of(hg_container_of(hg_list_pop_front(asks), struct hg_ask, link));
        err = over_http2 ? hg_peer_call_grpc(call, on_answer, now_ms)
                         : hg_peer_call_http(call, on_connected, on_answer, now_ms);
        if (err < 0)
            hg_list_push_back(asks, &call->ask->common.link);
    } else {
        call->many = hg_many_create(asks, count, member->client->config->message_max);
        if (call->many != NULL)
            err = hg_peer_call_many(call, over_http2, on_connected, on_data, on_many_answer,
                                    now_ms);
        if (err < 0)
            hg_many_undo(call->many, asks);
    }
    if (err < 0) {
        hg_free(call);
        return err;
    }
    hg_list_push_back(&member->calls, &call->link);
    if (call->sent.fetch != NULL)
        member->opening[lane] = call;
    call->silence_number = hg_peer_asked(member->peer, count, again, now_ms);
    hg_peer_client_tick_start(member->client);
    return HG_OK;
}

static struct hg_peer_ask *pop_ask(struct hg_list *asks)
{
    struct hg_list *link = hg_list_pop_front(asks);
    return link == NULL ? NULL : hg_peer_ask_of(hg_container_of(link, struct hg_ask, link));
}

/* Nobody is asked for what is too late already. Returns how many are left. */
static size_t drop_late(struct hg_list *asks, uint64_t now_ms)
{
    size_t left = 0;
    hg_list_for_each_safe(it, asks)
    {
        struct hg_peer_ask *ask = hg_peer_ask_of(hg_container_of(it, struct hg_ask, link));
        if (now_ms < ask->common.load->deadline_ms) {
            left++;
            continue;
        }
        hg_list_remove(it);
        report_failure(ask, HG_ASK_DEADLINE);
    }
    return left;
}

static void member_send(struct hg_peer_member *member, enum hg_peer_lane lane)
{
    struct hg_peer_client *client = member->client;
    struct hg_list *waiting = &member->waiting[lane];
    uint64_t now_ms = hg_loop_now(client->loop);
    size_t bytes_max = client->config->message_max < HG_MANY_BYTES_MAX ? client->config->message_max
                                                                       : HG_MANY_BYTES_MAX;
    struct hg_list asks = HG_LIST_INIT(asks);
    struct hg_peer_ask *ask;

    while (member->opening[lane] == NULL) {
        size_t keys_max = hg_peer_takes_many(member->peer, now_ms) ? HG_MANY_KEYS_MAX : 1;
        if (hg_asks_take(waiting, keys_max, bytes_max, &asks) == 0)
            return;
        size_t count = drop_late(&asks, now_ms);
        int err = count == 0 ? HG_OK : call_start(member, lane, &asks, count, now_ms);
        while (err < 0 && (ask = pop_ask(&asks)) != NULL)
            report_failure(ask, outcome_of_err(ask, err, now_ms));
    }
    struct hg_peer_call *opening = member->opening[lane];
    if (opening->is_connected && !opening->has_asked_life && !hg_list_is_empty(waiting)) {
        opening->has_asked_life = true;
        hg_peer_member_ask_life(member, client->config->timeout_ms, now_ms);
    }
}

static void on_connected(void *ctx, bool is_new)
{
    struct hg_peer_call *call = ctx;
    struct hg_peer_member *member = call->member;
    const struct hg_peer_call *oldest =
        hg_container_of(member->calls.next, struct hg_peer_call, link);

    if (member->opening[call->lane] != call)
        return;
    call->is_connected = true;
    if (!is_new || oldest->heard_number != member->heard_number)
        member->opening[call->lane] = NULL;
    member_send(member, call->lane);
}

static void on_turn_over(uv_idle_t *turn_over)
{
    struct hg_peer_client *client = turn_over->data;
    uv_idle_stop(turn_over);
    hg_list_for_each_safe(link, &client->members)
    {
        struct hg_peer_member *member = hg_container_of(link, struct hg_peer_member, link);
        for (enum hg_peer_lane lane = 0; lane < HG_LANE_COUNT; lane++)
            member_send(member, lane);
    }
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
    int err = hg_peer_split_chain(load->chain, &chain);
    if (err < 0)
        return err;
    struct hg_peer_member *member = hg_peer_member_get(client, peer);
    struct hg_peer_ask *ask = member == NULL ? NULL : hg_calloc(1, sizeof(*ask));
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
    openings_end(member);
    hg_list_for_each(link, &member->calls)
    {
        struct hg_peer_call *call = hg_container_of(link, struct hg_peer_call, link);
        if (call->is_given_up || hg_peer_sent_has_left(&call->sent))
            continue;
        call->is_given_up = true;
        hg_peer_sent_cancel(&call->sent, HG_EPEER);
    }
}

/* Those of a message of many that are over without an answer. True: none is left to wait for. */
static bool many_check(struct hg_many *many, uint64_t now_ms)
{
    hg_list_for_each_safe(it, &many->pending)
    {
        struct hg_ask *ask = hg_container_of(it, struct hg_ask, link);
        if (now_ms < hg_time_add(ask->load->deadline_ms, 2 * HG_ASK_SLACK_MS))
            continue;
        hg_many_drop(many, ask);
        report_failure(hg_peer_ask_of(ask), HG_ASK_DEADLINE);
        if (many->pending_count == 0)
            return true;
    }
    return false;
}

/*
 * Over HTTP/1.1 each has a connection of its own, which may be dead though the peer lives: an answer to another one is no sign that
 * this will come. One to a probe that was begun meanwhile is.
 */
static bool is_call_silent(const struct hg_peer_call *call, uint64_t now_ms)
{
    struct hg_peer_member *member = call->member;
    uint64_t timeout_ms = member->client->config->timeout_ms;
    if (call->sent.fetch == NULL)
        return false;
    uint64_t heard_ms = call->sent.fetch->heard_ms;
    switch (hg_health_call_step(
        timeout_ms, heard_ms > member->answered_ms ? heard_ms : member->answered_ms,
        member->probed_ms, now_ms)) {
    case HG_HEALTH_FAILED:
        return true;
    case HG_HEALTH_PROBE:
        hg_peer_member_ask_life(member, timeout_ms / 2, now_ms);
        break;
    case HG_HEALTH_WAIT:
        break;
    }
    return false;
}

void hg_peer_asks_check(struct hg_peer_member *member, bool has_stalled, uint64_t now_ms)
{
    uint64_t silence_number = hg_peer_silence_number(member->peer);
    for (size_t lane = 0; lane < HG_LANE_COUNT; lane++)
        drop_late(&member->waiting[lane], now_ms);
    if (!hg_peer_is_up(member->peer)) /* as another loop has found, perhaps */
        openings_end(member);
    hg_list_for_each(link, &member->calls)
    {
        struct hg_peer_call *call = hg_container_of(link, struct hg_peer_call, link);
        if (call->is_given_up)
            continue;
        bool is_silent = call->silence_number != silence_number ||
                         (!has_stalled && is_call_silent(call, now_ms));
        bool is_late =
            !is_silent &&
            (call->many != NULL
                 ? many_check(call->many, now_ms)
                 : now_ms >= hg_time_add(call->ask->common.load->deadline_ms, 2 * HG_ASK_SLACK_MS));
        if (!is_silent && !is_late)
            continue;
        call->is_given_up = true;
        hg_peer_sent_cancel(&call->sent, is_silent ? HG_EPEER : HG_ETIMEDOUT);
    }
}

static void on_idle_closed(uv_handle_t *handle)
{
    struct hg_peer_client *client = handle->data;
    hg_list_for_each(link, &client->members)
    {
        struct hg_peer_member *member = hg_container_of(link, struct hg_peer_member, link);
        struct hg_peer_ask *ask;
        for (size_t lane = 0; lane < HG_LANE_COUNT; lane++) {
            while ((ask = pop_ask(&member->waiting[lane])) != NULL)
                report_failure(ask, HG_ASK_DEADLINE);
        }
    }
    client->asks_closed(client);
}

void hg_peer_asks_close(struct hg_peer_client *client,
                        void (*closed)(struct hg_peer_client *client))
{
    client->asks_closed = closed;
    uv_close((uv_handle_t *)&client->turn_over, on_idle_closed);
}
