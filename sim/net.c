/*
 * Links, asks and health. What travels is bytes: the path and the Request that peers.c would send, and the
 * Response of cluster/answer.h. A message that was damaged on its way goes through the decoders, which have to
 * survive it, and is then refused as a checksum or a missing end would refuse it.
 */
#include "world.h"

#include "wire/query.h"

#define ASK_SLACK_MS 250
#define BASE_PATH    HG_BYTES("/hgcache/")

struct packet {
    struct call *call;
    struct hg_bytes body;
    int status;
    uint64_t sent; /* true time */
    bool is_damaged, is_untyped;
};

unsigned link_fate(struct world *world, unsigned from, unsigned to, uint64_t out_delays[2])
{
    const struct options *o = &world->options;
    unsigned count = 1;

    for (unsigned i = 0; i < 2; i++)
        out_delays[i] = below(world, o->delay_ms + 1);
    if (world->is_healed)
        return 1;
    for (unsigned i = 0; i < 2; i++)
        if (chance(world, o->p_slow_link))
            out_delays[i] += below(world, 1500);
    if (chance(world, o->p_duplicate))
        count = 2;
    return world->is_cut[from][to] || chance(world, o->p_loss) ? 0 : count;
}

struct hg_bytes call_damage(struct world *world, struct hg_bytes bytes)
{
    struct hg_bytes copy = arena_copy(world, bytes);
    char *data = (char *)(uintptr_t)copy.data;
    if (copy.len == 0)
        return copy;
    if (chance(world, 500))
        copy.len = (size_t)below(world, copy.len);
    else
        for (uint64_t flips = 1 + below(world, 3); flips > 0; flips--) {
            uint64_t at = below(world, copy.len);
            data[at] = (char)(data[at] ^ 1 << below(world, 8));
        }
    return copy;
}

bool call_is_damaged(struct world *world)
{
    return !world->is_healed &&
           (chance(world, world->options.p_flip) || chance(world, world->options.p_cut_short));
}

/* ---- the asker ---- */

static struct hg_load *call_close(struct call *call)
{
    struct node *from = call->peer->from;
    struct hg_load *load = call->ask.load;

    call->is_over = true;
    call->ask.load = NULL;
    if (!bundle_drop(call))
        hg_list_remove(&call->ask.link);
    if (!hg_list_is_empty(&call->link)) {
        hg_list_remove(&call->link);
        hg_health_done(&call->peer->health, node_now(from));
    }
    from->calls--;
    if (!load->is_peek) /* that one's flight is another */
        from->is_asking[call->key] = false;
    from->world->open_calls--;
    return load;
}

static void server_leaves(struct world *world, void *arg)
{
    struct call *call = arg;
    (void)world;
    if (call->alone.client != NULL)
        client_cancel(call->alone.client);
}

/* What is fenced begins anew, and that may fall back. */
static bool has_fallen_back(struct node *node, unsigned key, const struct hg_group_stats *before)
{
    struct hg_group_stats stats;
    hg_group_stats(node->group[key_group(key)], &stats);
    return stats.fallbacks != before->fallbacks && stats.fenced == before->fenced;
}

void call_report(struct call *call, const struct hg_ask_answer *told)
{
    struct node *from = call->peer->from;
    struct world *world = from->world;
    struct hg_ask_answer answer = *told;
    struct hg_group_stats before;
    struct hg_loop *here = chance(world, 700) ? node_any_loop(from) : NULL;

    struct hg_load *load = call_close(call);
    trace(world, (int)from->index, "asked", call->key, (uint64_t)answer.outcome);
    answer.sent_ms = call->sent_ms;
    if (answer.outcome != HG_ASK_TYPED && !world->is_healed && call->bundle == NULL &&
        chance(world, world->options.p_gone))
        after(world, below(world, 20), &world->nodes[call->peer->to], server_leaves, call);
    hg_group_stats(from->group[key_group(call->key)], &before);
    hg_load_asked(load, &answer, node_now(from), from->is_alive ? here : NULL);
    must(world, "A3",
         answer.outcome != HG_ASK_DEADLINE || !has_fallen_back(from, call->key, &before),
         "node %s: a deadline is taken for a failed peer", from->name);
}

void call_fails(struct call *call, enum hg_ask_outcome outcome)
{
    struct hg_ask_answer answer = {.outcome = outcome};
    if (!call->is_over)
        call_report(call, &answer);
}

/* All that are there now; what is begun meanwhile is not meant. */
static void peer_fails(struct peer *peer, enum hg_ask_outcome outcome)
{
    uint64_t count = 0;
    hg_list_for_each(it, &peer->calls) count++;
    while (count-- > 0 && !hg_list_is_empty(&peer->calls))
        call_fails(hg_container_of(peer->calls.next, struct call, link), outcome);
    bundles_fail(peer, outcome);
}

void calls_end(struct node *node)
{
    for (unsigned i = 0; i < NODES_MAX; i++) {
        struct peer *peer = &node->peers[i];
        peer_fails(peer, HG_ASK_DEADLINE);
        while (!hg_list_is_empty(&peer->waiting))
            call_fails(hg_container_of(peer->waiting.next, struct call, ask.link), HG_ASK_DEADLINE);
        peer->is_sending = false;
    }
}

static void call_reset(struct world *world, void *arg)
{
    struct call *call = arg;
    struct node *from = call->peer->from;
    (void)world;
    if (call->is_over)
        return;
    hg_health_failed(&call->peer->health, node_now(from));
    call_fails(call, HG_ASK_TRANSPORT);
}

void call_deadline(struct world *world, void *arg)
{
    (void)world;
    call_fails(arg, HG_ASK_DEADLINE);
}

static void response_arrives(struct world *world, void *arg)
{
    struct packet *packet = arg;
    struct call *call = packet->call;
    struct hg_ask_answer answer = {.outcome = HG_ASK_TRANSPORT};

    if (call->is_over)
        return;
    if (world->now - packet->sent > world->lag_net)
        world->lag_net = world->now - packet->sent;
    hg_health_heard(&call->peer->health, node_now(call->peer->from));
    call->peer->silent_since = world->now;
    int err = hg_answer_from_http(packet->status, packet->body, key_name(call->key), 0, &answer);
    if (err < 0)
        answer = (struct hg_ask_answer){.outcome = HG_ASK_TRANSPORT};
    if (packet->is_damaged) {
        hg_value_unref(answer.result);
        answer = (struct hg_ask_answer){.outcome = HG_ASK_TRANSPORT};
    } else if (err == HG_OK && answer.result == NULL) {
        must(world, "I9", packet->is_untyped || answer.outcome != HG_ASK_UNTYPED,
             "a typed answer came as an untyped one");
    }
    call_report(call, &answer);
}

/* How often the owner is asked for it. */
double call_minute(struct node *node, unsigned key)
{
    return (double)hg_group_minute(node->group[key_group(key)], key_name(key), node_now(node));
}

int call_encode(struct node *node, const struct hg_load *load, struct hg_bytes *out_message,
                struct hg_bytes *out_path)
{
    struct world *world = node->world;
    struct hg_buf path, message;
    struct hg_bytes chain = load->chain, entry;
    struct hg_peer_request request = {
        .deadline_ms = load->deadline_ms - node_now(node),
        .origin = hg_bytes_str(node->name),
        .ring = hg_ring_fingerprint(load->view->ring),
        .wire_version = HG_WIRE_VERSION,
        .is_peek = hg_load_asks_store(load),
    };
    bool is_bad = false;

    while (request.chain_count < HG_CHAIN_MAX && chain.len > 2) {
        const unsigned char *at = (const unsigned char *)chain.data;
        entry = hg_bytes(chain.data + 2, (size_t)at[0] << 8 | at[1]);
        chain = hg_bytes(entry.data + entry.len, chain.len - 2 - entry.len);
        request.chain[request.chain_count++] = entry;
        is_bad |= entry.len == 0;
    }
    must(world, "I6", !is_bad && chain.len == 0, "a chain of more than %d loads", HG_CHAIN_MAX);
    hg_buf_init(&path, 16384);
    hg_buf_init(&message, 32768);
    int err = HG_OK;
    if (out_path != NULL)
        err = hg_peer_path_encode(&path, BASE_PATH, hg_bytes_str(hg_group_name(load->group)),
                                  load->flight.key);
    if (err == HG_OK)
        err = hg_peer_request_encode(&request, &message);
    if (err == HG_OK && out_path != NULL)
        *out_path = arena_copy(world, hg_buf_bytes(&path));
    if (err == HG_OK)
        *out_message = arena_copy(world, hg_buf_bytes(&message));
    hg_buf_finish(&path);
    hg_buf_finish(&message);
    return err;
}

static void request_lands(struct world *world, void *arg);

int call_send_alone(struct call *call)
{
    struct peer *peer = call->peer;
    struct node *node = peer->from;
    struct world *world = node->world;
    uint64_t now_ms = node_now(node), delays[2];

    int err = call_encode(node, call->ask.load, &call->message, &call->path);
    if (err < 0)
        return err;
    hg_list_push_back(&peer->calls, &call->link);
    if (peer->health.outstanding == 0)
        peer->silent_since = world->now;
    hg_health_asked(&peer->health, now_ms);
    after(world, node_wait(node, call->ask.load->deadline_ms - now_ms + ASK_SLACK_MS), node,
          call_deadline, call);
    unsigned count = link_fate(world, node->index, peer->to, delays);
    if (!world->is_healed && chance(world, world->options.p_reset)) {
        after(world, delays[0], node, call_reset, call);
        return HG_OK;
    }
    for (unsigned i = 0; i < count; i++) {
        struct packet *packet = arena_get(world, sizeof(*packet));
        *packet = (struct packet){.call = call, .is_damaged = call_is_damaged(world)};
        after(world, delays[i], NULL, request_lands, packet);
    }
    return HG_OK;
}

int source_ask(void *ctx, struct hg_load *load)
{
    struct node *node = ctx;
    struct world *world = node->world;
    struct peer *peer = load->view->peers[load->member];
    uint64_t now_ms = node_now(node);
    unsigned key;

    if (!key_find(node, load->group, load->flight.key, &key))
        world_fail(world, "I9", "an ask for a key that nobody asked for");
    node->asks_counted[key_group(key)]++;
    must(world, "I6", peer != NULL && peer->from == node && peer->to != node->index,
         "node %s asks itself", node->name);
    if (!node->is_alive)
        return HG_ECANCELED;
    must(world, "I1", load->is_peek || !node->is_asking[key], "node %s asks for key %u twice at a time", node->name,
         key);
    check_ask_start(node, load);
    if (!peer->health.is_up)
        return HG_EPEER;
    if (now_ms >= load->deadline_ms)
        return HG_ETIMEDOUT;
    struct call *call = arena_get(world, sizeof(*call));
    *call = (struct call){
        .ask = {.load = load, .group = hg_bytes_str(hg_group_name(load->group))},
        .peer = peer,
        .key = key,
        .sent_ms = now_ms,
        .alone = {.call = call},
    };
    hg_list_init(&call->link);
    if (!load->is_peek)
        node->is_asking[key] = true;
    node->calls++;
    world->open_calls++;
    world->report->asks++;
    trace(world, (int)node->index, "ask", key, peer->to);
    if (cluster_owner(world, key) != (int)peer->to)
        world->odd_at = world->now;
    asks_wait(call);
    return HG_OK;
}

bool source_is_up(void *ctx, const struct hg_view *view, size_t member)
{
    const struct peer *peer = view->peers[member];
    (void)ctx;
    return peer->health.is_up;
}

/* ---- the asked ---- */

static void respond(struct world *world, struct node *node, struct call *call, int status,
                    struct hg_bytes body, bool is_untyped)
{
    struct node *from = call->peer->from;
    uint64_t delays[2];
    unsigned count = link_fate(world, node->index, from->index, delays);

    trace(world, (int)node->index, "respond", call->key, (uint64_t)status);
    for (unsigned i = 0; i < count; i++) {
        struct packet *packet = arena_get(world, sizeof(*packet));
        bool is_hurt = call_is_damaged(world);
        *packet = (struct packet){.call = call,
                                  .body = is_hurt ? call_damage(world, body) : body,
                                  .status = status,
                                  .sent = world->now,
                                  .is_damaged = is_hurt,
                                  .is_untyped = is_untyped};
        after(world, delays[i], from, response_arrives, packet);
    }
}

struct hg_bytes call_crossed(struct world *world, struct node *node, unsigned key,
                             struct hg_bytes body)
{
    struct hg_bytes last = world->last_body[node->index];
    unsigned last_key = world->last_key[node->index];

    world->last_body[node->index] = body;
    world->last_key[node->index] = key;
    if (world->is_healed || !chance(world, world->options.p_crossed) || last.data == NULL ||
        hg_bytes_eq(key_name(last_key), key_name(key)))
        return HG_BYTES_NONE;
    return last;
}

void call_answer(struct served *served, struct node *node, const struct hg_result *result)
{
    struct call *call = served->call;
    struct world *world = node->world;
    struct hg_buf body;
    int status = 0;

    served->client = NULL;
    if (served->bundle != NULL) {
        bundle_answer(served, node, result);
        return;
    }
    if (!world->is_healed && chance(world, world->options.p_untyped)) {
        respond(world, node, call, chance(world, 500) ? 500 : 404, HG_BYTES("500 oops\n"), true);
        return;
    }
    hg_buf_init(&body, 1 << 20);
    int err = hg_answer_to_http(result, key_name(call->key), node_now(node), true,
                                call_minute(node, call->key), &status, &body);
    struct hg_bytes bytes = arena_copy(world, hg_buf_bytes(&body));
    hg_buf_finish(&body);
    if (err < 0) {
        respond(world, node, call, 503, HG_BYTES("out of memory\n"), true);
        return;
    }
    struct hg_bytes other = call_crossed(world, node, call->key, bytes);
    if (other.data != NULL)
        respond(world, node, call, 200, other, false);
    else
        respond(world, node, call, status, bytes, false);
}

int call_decode_chain(const struct hg_peer_request *request, struct hg_buf *chain)
{
    int err = HG_OK;
    for (size_t i = 0; i < request->chain_count && err == HG_OK; i++) {
        struct hg_bytes entry = request->chain[i];
        err = hg_buf_append_char(chain, (char)(entry.len >> 8));
        if (err == HG_OK)
            err = hg_buf_append_char(chain, (char)(entry.len & 255));
        if (err == HG_OK)
            err = hg_buf_append_bytes(chain, entry);
    }
    return err;
}

static void request_served(struct world *world, void *arg)
{
    struct packet *packet = arg;
    struct call *call = packet->call;
    struct node *node = &world->nodes[call->peer->to];
    struct hg_bytes path = packet->is_damaged ? call_damage(world, call->path) : call->path;
    struct hg_bytes message =
        packet->is_damaged ? call_damage(world, call->message) : call->message;
    struct hg_peer_request request;
    struct hg_bytes group = HG_BYTES_NONE, name = HG_BYTES_NONE;
    struct hg_buf chain;
    void *owner = NULL;
    char space[512];
    unsigned key;

    hg_buf_init(&chain, 65536);
    bool has_path =
        path.len >= BASE_PATH.len && path.len - BASE_PATH.len <= sizeof(space) &&
        hg_peer_path_decode(hg_bytes(path.data + BASE_PATH.len, path.len - BASE_PATH.len), space,
                            &group, &name) == HG_OK;
    int err = hg_peer_request_decode(message, &request, &owner);
    if (err == HG_OK)
        err = call_decode_chain(&request, &chain);
    if (packet->is_damaged) {
        respond(world, node, call, 400, HG_BYTES("bad request\n"), true);
    } else if (err < 0) {
        must(world, "I9", err == HG_ENOMEM, "a whole request does not decode: %s",
             hg_err_name(err));
        respond(world, node, call, 503, HG_BYTES("out of memory\n"), true);
    } else {
        struct hg_group *found = hg_groups_find(node->groups, group);
        must(world, "I9",
             has_path && found != NULL && key_find(node, found, name, &key) && key == call->key,
             "a request for key %u came as one for another", call->key);
        struct hg_get get = {
            .from_peer = true, .is_peek = request.is_peek, .chain = hg_buf_bytes(&chain)};
        uint64_t stays_ms = request.deadline_ms;
        if (stays_ms == 0 || stays_ms > world->options.deadline_ms)
            stays_ms = world->options.deadline_ms;
        struct client *client = client_start(node, CLIENT_PEER, key, &get, stays_ms, &call->alone);
        call->alone.client = client->is_done ? NULL : client;
    }
    hg_peer_message_free(owner);
    hg_buf_finish(&chain);
}

static void request_lands(struct world *world, void *arg)
{
    struct packet *packet = arg;
    struct call *call = packet->call;
    struct node *node = &world->nodes[call->peer->to];

    if (node->is_alive)
        after(world, 0, node, request_served, packet);
    else /* nobody listens there */
        after(world, below(world, world->options.delay_ms + 1), call->peer->from, call_reset, call);
}

/* ---- health ---- */

static void fail_all(struct peer *peer)
{
    trace(peer->from->world, (int)peer->from->index, "peer down", peer->to, 0);
    peer_fails(peer, HG_ASK_TRANSPORT);
}

static void probe_answered(struct world *world, void *arg)
{
    struct peer *peer = arg;
    peer->silent_since = world->now;
    if (hg_health_heard(&peer->health, node_now(peer->from)))
        trace(world, (int)peer->from->index, "peer up", peer->to, 0);
}

static void probe_refused(struct world *world, void *arg)
{
    struct peer *peer = arg;
    (void)world;
    if (hg_health_probe_failed(&peer->health, node_now(peer->from)))
        fail_all(peer);
}

static void probe_served(struct world *world, void *arg)
{
    struct peer *peer = arg;
    uint64_t delays[2];
    unsigned count = link_fate(world, peer->to, peer->from->index, delays);
    if (count > 0)
        after(world, delays[0], peer->from, probe_answered, peer);
}

static void probe_lands(struct world *world, void *arg)
{
    struct peer *peer = arg;
    struct node *node = &world->nodes[peer->to];
    if (node->is_alive)
        after(world, 0, node, probe_served, peer);
    else
        after(world, below(world, world->options.delay_ms + 1), peer->from, probe_refused, peer);
}

void peers_tick(struct node *node)
{
    struct world *world = node->world;
    uint64_t delays[2];

    for (unsigned i = 0; i < world->options.nodes; i++) {
        struct peer *peer = &node->peers[i];
        if (i == node->index)
            continue;
        switch (hg_health_tick(&peer->health, node_now(node))) {
        case HG_HEALTH_WAIT:
            break;
        case HG_HEALTH_PROBE:
            trace(world, (int)node->index, "probe", i, 0);
            peer->probed_at = world->now;
            if (link_fate(world, node->index, i, delays) > 0)
                after(world, delays[0], NULL, probe_lands, peer);
            break;
        case HG_HEALTH_FAILED:
            must(world, "I1", !world->is_calm, "a peer is marked down on a calm day");
            must(world, "A3", peer->probed_at >= peer->silent_since,
                 "node %s gives %s up and has not probed it", node->name, world->nodes[i].name);
            fail_all(peer);
            break;
        }
    }
}
