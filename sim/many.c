/*
 * Asks that travel together, by cluster/many.h. What travels is bytes: a message of Asks, and Answers part by part on one
 * connection, in order. A part may be late, doubled or lost with all that would come behind it; the connection may be
 * cut inside a part, which is then seen as the end that it is.
 */
#include "world.h"

#define ASK_SLACK_MS  250
#define MANY_AGAIN_MS 500

struct bundle {
    struct hg_list link; /* of peer->bundles */
    struct peer *peer;
    struct hg_many *many; /* NULL: over */
    unsigned count;
    unsigned *keys; /* by number - 1, like serves */
    struct served *serves;
    struct hg_bytes header, message, rest;
    unsigned left;       /* there: keys that are not done, and the one who begins them */
    uint64_t arrives_at; /* of the part that was sent last */
    bool is_stalled, is_cut;
};

struct piece {
    struct bundle *bundle;
    struct hg_bytes bytes;
    uint64_t sent;
    bool is_end, is_cut, is_refused;
};

static struct call *call_of(struct hg_ask *ask)
{
    return hg_container_of(ask, struct call, ask);
}

/* ---- the asker ---- */

static void servers_leave(struct world *world, void *arg)
{
    struct bundle *bundle = arg;
    (void)world;
    for (unsigned i = 0; i < bundle->count; i++)
        if (bundle->serves[i].client != NULL)
            client_cancel(bundle->serves[i].client);
}

static void bundle_close(struct bundle *bundle)
{
    struct node *from = bundle->peer->from;

    hg_many_destroy(bundle->many);
    bundle->many = NULL;
    hg_list_remove(&bundle->link);
    hg_health_done(&bundle->peer->health, node_now(from));
}

/* What is missing is asked for alone, or has failed. */
static void bundle_over(struct bundle *bundle, bool again, enum hg_ask_outcome outcome)
{
    struct world *world = bundle->peer->from->world;
    struct hg_ask *ask;

    if (bundle->many->pending_count > 0 && !again && !world->is_healed &&
        chance(world, world->options.p_gone))
        after(world, below(world, 20), &world->nodes[bundle->peer->to], servers_leave, bundle);
    while ((ask = hg_many_pop(bundle->many)) != NULL) {
        struct call *call = call_of(ask);
        call->bundle = NULL;
        if (again) {
            ask->is_alone = true;
            asks_wait(call);
        } else {
            call_fails(call, outcome);
        }
    }
    bundle_close(bundle);
}

void bundles_fail(struct peer *peer, enum hg_ask_outcome outcome)
{
    uint64_t count = 0;

    hg_list_for_each(it, &peer->bundles) count++;
    while (count-- > 0 && !hg_list_is_empty(&peer->bundles)) {
        struct bundle *bundle = hg_container_of(peer->bundles.next, struct bundle, link);
        hg_many_end(bundle->many, false, HG_BYTES_NONE);
        bundle_over(bundle, false, outcome);
    }
}

bool bundle_drop(struct call *call)
{
    struct bundle *bundle = call->bundle;

    if (bundle == NULL)
        return false;
    call->bundle = NULL;
    if (bundle->many->asks[call->ask.number - 1] == &call->ask)
        hg_many_drop(bundle->many, &call->ask);
    return true;
}

/* The last of its keys has had its time; the end may have been lost, too. */
static void bundle_timeout(struct world *world, void *arg)
{
    struct bundle *bundle = arg;
    (void)world;
    if (bundle->many == NULL)
        return;
    hg_many_end(bundle->many, false, bundle->rest);
    bundle_over(bundle, false, HG_ASK_DEADLINE);
}

static void bundle_reset(struct world *world, void *arg)
{
    struct bundle *bundle = arg;
    (void)world;
    if (bundle->many == NULL)
        return;
    hg_health_failed(&bundle->peer->health, node_now(bundle->peer->from));
    hg_many_end(bundle->many, false, bundle->rest);
    bundle_over(bundle, false, HG_ASK_TRANSPORT);
}

static void landed(void *ctx, struct hg_ask *ask, const struct hg_ask_answer *answer)
{
    (void)ctx;
    call_report(call_of(ask), answer);
}

/* All but what is used stays for the next piece. */
static void feed(struct bundle *bundle, size_t len)
{
    struct hg_bytes bytes = hg_bytes(bundle->rest.data, len);
    size_t used = hg_many_feed(bundle->many, bytes, 0, landed, NULL);
    bundle->rest = hg_bytes(bundle->rest.data + used, bundle->rest.len - used);
}

static void piece_arrives(struct world *world, void *arg)
{
    struct piece *piece = arg;
    struct bundle *bundle = piece->bundle;
    struct peer *peer = bundle->peer;

    if (bundle->many == NULL)
        return;
    if (world->now - piece->sent > world->lag_net)
        world->lag_net = world->now - piece->sent;
    hg_health_heard(&peer->health, node_now(peer->from));
    peer->silent_since = world->now;
    if (piece->is_refused) {
        peer->many_again_at = world->now + MANY_AGAIN_MS;
        bundle_over(bundle, true, HG_ASK_TRANSPORT);
        return;
    }
    char *all = arena_get(world, bundle->rest.len + piece->bytes.len + 1);
    memcpy(all, bundle->rest.data == NULL ? "" : bundle->rest.data, bundle->rest.len);
    memcpy(all + bundle->rest.len, piece->bytes.data == NULL ? "" : piece->bytes.data,
           piece->bytes.len);
    bundle->rest = hg_bytes(all, bundle->rest.len + piece->bytes.len);
    feed(bundle, (size_t)below(world, bundle->rest.len + 1));
    feed(bundle, bundle->rest.len);
    must(world, "I9", !bundle->many->is_garbage, "whole answers are taken for garbage");
    if (piece->is_end)
        bundle_over(bundle, hg_many_end(bundle->many, true, bundle->rest), HG_ASK_TRANSPORT);
    else if (piece->is_cut)
        bundle_reset(world, bundle);
}

static void bundle_lands(struct world *world, void *arg);

/* Takes the asks over, or leaves them and fails. */
static int bundle_send(struct peer *peer, struct hg_list *asks, size_t count)
{
    struct node *node = peer->from;
    struct world *world = node->world;
    struct bundle *bundle = arena_get(world, sizeof(*bundle));
    uint64_t now_ms = node_now(node), longest_ms = 0, delays[2];
    struct hg_buf message;

    bundle->peer = peer;
    bundle->many = hg_many_create(asks, count, 1 << 20);
    if (bundle->many == NULL)
        return HG_ENOMEM;
    hg_buf_init(&message, HG_MANY_BYTES_MAX);
    int err = hg_many_encode(bundle->many, now_ms, &message);
    if (err == HG_OK)
        err = call_encode(node, bundle->many->asks[0]->load, &bundle->header, NULL);
    bundle->message = arena_copy(world, hg_buf_bytes(&message));
    hg_buf_finish(&message);
    if (err < 0) {
        hg_many_undo(bundle->many, asks);
        return err;
    }
    trace(world, (int)node->index, "ask many", count, peer->to);
    hg_list_push_back(&peer->bundles, &bundle->link);
    if (peer->health.outstanding == 0)
        peer->silent_since = world->now;
    hg_health_asked(&peer->health, now_ms);
    bundle->count = (unsigned)count;
    bundle->keys = arena_get(world, count * sizeof(*bundle->keys));
    bundle->serves = arena_get(world, count * sizeof(*bundle->serves));
    for (unsigned i = 0; i < count; i++) {
        struct call *call = call_of(bundle->many->asks[i]);
        call->bundle = bundle;
        bundle->keys[i] = call->key;
        bundle->serves[i] = (struct served){.call = call, .bundle = bundle, .number = i + 1};
        uint64_t wait_ms = node_wait(node, call->ask.load->deadline_ms - now_ms + ASK_SLACK_MS);
        if (wait_ms > longest_ms)
            longest_ms = wait_ms;
        after(world, wait_ms, node, call_deadline, call);
    }
    after(world, longest_ms, node, bundle_timeout, bundle);
    bool is_lost = link_fate(world, node->index, peer->to, delays) == 0;
    if (!world->is_healed && chance(world, world->options.p_reset))
        after(world, delays[0], node, bundle_reset, bundle);
    else if (!is_lost)
        after(world, delays[0], NULL, bundle_lands, bundle);
    return HG_OK;
}

static void asks_leave(struct world *world, void *arg)
{
    struct peer *peer = arg;
    struct node *node = peer->from;
    struct hg_list asks = HG_LIST_INIT(asks);
    size_t count;

    peer->is_sending = false;
    for (;;) {
        bool is_known = world->now >= peer->many_again_at;
        size_t keys_max = is_known ? (size_t)world->options.many_keys : 1;
        count = hg_asks_take(&peer->waiting, keys_max, HG_MANY_BYTES_MAX, &asks);
        if (count == 0)
            return;
        hg_list_for_each_safe(it, &asks)
        {
            struct call *call = call_of(hg_container_of(it, struct hg_ask, link));
            if (node_now(node) < call->ask.load->deadline_ms)
                continue;
            call_fails(call, HG_ASK_DEADLINE);
            count--;
        }
        int err = peer->health.is_up ? HG_OK : HG_EPEER;
        if (err == HG_OK && count > 1)
            err = bundle_send(peer, &asks, count);
        struct hg_list *link;
        while ((link = hg_list_pop_front(&asks)) != NULL) {
            struct call *call = call_of(hg_container_of(link, struct hg_ask, link));
            if (err == HG_OK)
                err = call_send_alone(call);
            if (err < 0)
                call_fails(call, HG_ASK_TRANSPORT);
        }
    }
}

void asks_wait(struct call *call)
{
    struct peer *peer = call->peer;

    hg_list_push_back(&peer->waiting, &call->ask.link);
    if (peer->is_sending)
        return;
    peer->is_sending = true;
    after(peer->from->world, 0, peer->from, asks_leave, peer);
}

/* ---- the asked ---- */

static void piece_send(struct bundle *bundle, struct piece piece)
{
    struct node *from = bundle->peer->from;
    struct world *world = from->world;
    uint64_t delays[2];
    unsigned count = link_fate(world, bundle->peer->to, from->index, delays);

    if (count == 0)
        bundle->is_stalled = true; /* nothing overtakes on a connection */
    if (bundle->is_stalled || bundle->is_cut)
        return;
    if (bundle->arrives_at < world->now + delays[0])
        bundle->arrives_at = world->now + delays[0];
    piece.bundle = bundle;
    piece.sent = world->now;
    if (!piece.is_end && !piece.is_refused && call_is_damaged(world)) {
        struct hg_bytes hurt = call_damage(world, piece.bytes), part;
        struct hg_peer_response response;
        void *owner = NULL;
        if (hg_peer_many_next(&hurt, &part) == HG_OK &&
            hg_peer_response_decode(part, &response, &owner) == HG_OK)
            hg_peer_message_free(owner);
        piece.bytes.len = (size_t)below(world, piece.bytes.len);
        piece.is_cut = bundle->is_cut = true;
    }
    for (unsigned i = 0; i < (piece.is_end ? 1 : count); i++) {
        struct piece *sent = arena_get(world, sizeof(*sent));
        *sent = piece;
        after(world, bundle->arrives_at - world->now, from, piece_arrives, sent);
    }
}

static void one_done(struct bundle *bundle)
{
    if (--bundle->left == 0)
        piece_send(bundle, (struct piece){.is_end = true});
}

void bundle_answer(struct served *served, struct node *node, const struct hg_result *result)
{
    struct bundle *bundle = served->bundle;
    struct world *world = node->world;
    unsigned key = bundle->keys[served->number - 1];
    struct hg_buf body, part;
    int status;

    trace(world, (int)node->index, "respond one", key, served->number);
    hg_buf_init(&body, 1 << 20);
    hg_buf_init(&part, 1 << 20);
    int err = hg_answer_to_http(result, key_name(key), node_now(node), true, call_minute(node, key),
                                &status, &body);
    if (err == HG_OK) {
        struct hg_bytes bytes = arena_copy(world, hg_buf_bytes(&body));
        struct hg_bytes other = call_crossed(world, node, key, bytes);
        err = hg_peer_answers_append(other.data != NULL ? other : bytes, served->number, &part);
    }
    if (err == HG_OK && !chance(world, world->options.p_left_out))
        piece_send(bundle, (struct piece){.bytes = arena_copy(world, hg_buf_bytes(&part))});
    hg_buf_finish(&part);
    hg_buf_finish(&body);
    one_done(bundle);
}

static void serve_one(struct node *node, struct served *served, const struct hg_peer_request *ask,
                      struct hg_bytes chain)
{
    struct world *world = node->world;
    struct hg_group *group = hg_groups_find(node->groups, ask->group);
    struct hg_get get = {.from_peer = true, .is_peek = ask->is_peek, .chain = chain};
    uint64_t stays_ms = ask->deadline_ms;
    unsigned key;

    must(world, "I9",
         group != NULL && key_find(node, group, ask->key, &key) &&
             key == served->bundle->keys[served->number - 1],
         "an ask for a key came as one for another");
    if (stays_ms == 0 || stays_ms > world->options.deadline_ms)
        stays_ms = world->options.deadline_ms;
    served->bundle->left++;
    struct client *client = client_start(node, CLIENT_PEER, key, &get, stays_ms, served);
    served->client = client->is_done ? NULL : client;
}

/* HG_ENOMEM: some are not begun. */
static int serve_all(struct node *node, struct bundle *bundle, struct hg_bytes header,
                     struct hg_bytes message)
{
    struct hg_peer_request request;
    struct hg_bytes part;
    struct hg_buf chain;
    void *owner = NULL;
    size_t count = 0;

    hg_buf_init(&chain, 65536);
    int err = hg_peer_many_count(message, HG_MANY_KEYS_MAX, &count);
    if (err == HG_OK)
        err = hg_peer_request_decode(header, &request, &owner);
    if (err == HG_OK)
        err = call_decode_chain(&request, &chain);
    hg_peer_message_free(owner);
    must(node->world, "I9", err != HG_OK || count == bundle->count, "a message has lost keys");
    for (unsigned i = 0; i < count && err == HG_OK; i++) {
        owner = NULL;
        hg_peer_many_next(&message, &part);
        err = hg_peer_request_decode(part, &request, &owner);
        if (err == HG_OK)
            serve_one(node, &bundle->serves[i], &request, hg_buf_bytes(&chain));
        hg_peer_message_free(owner);
    }
    hg_buf_finish(&chain);
    return err;
}

static void bundle_served(struct world *world, void *arg)
{
    struct bundle *bundle = arg;
    struct node *node = &world->nodes[bundle->peer->to];
    bool is_damaged = call_is_damaged(world);

    if (is_damaged) { /* through the decoders, and then refused */
        struct hg_bytes hurt = call_damage(world, bundle->message), part;
        struct hg_peer_request request;
        void *owner = NULL;
        if (hg_peer_many_next(&hurt, &part) == HG_OK &&
            hg_peer_request_decode(part, &request, &owner) == HG_OK)
            hg_peer_message_free(owner);
    }
    if (is_damaged || (!world->is_healed && chance(world, world->options.p_untyped))) {
        piece_send(bundle, (struct piece){.is_refused = true});
        return;
    }
    bundle->left = 1;
    int err = serve_all(node, bundle, bundle->header, bundle->message);
    must(world, "I9", err == HG_OK || err == HG_ENOMEM, "a whole message does not decode: %s",
         hg_err_name(err));
    one_done(bundle);
}

static void bundle_lands(struct world *world, void *arg)
{
    struct bundle *bundle = arg;
    struct node *node = &world->nodes[bundle->peer->to];

    if (node->is_alive)
        after(world, 0, node, bundle_served, bundle);
    else
        after(world, below(world, world->options.delay_ms + 1), bundle->peer->from, bundle_reset,
              bundle);
}
