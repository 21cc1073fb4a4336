/*
 * fake_world - three nodes in one thread for nodes_test: clients, getters that get, a network that is slow, loses
 * and garbles, views that cross, invalidations that reach every node at once. Everything is drawn from one seed.
 */
#ifndef HG_GROUP_FAKE_WORLD_H
#define HG_GROUP_FAKE_WORLD_H

#include "group/fake_source.h"

#define NODES 3
#define KEYS  10
#define VIEWS 4

struct sim;
struct node;

struct event {
    uint64_t at_ms, number;
    void (*happen)(struct sim *sim, void *arg);
    void *arg;
};

struct node {
    struct sim *sim;
    unsigned index;
    struct hg_source source;
    struct hg_guard guard;
    struct hg_groups *groups;
    struct hg_group *group;
    struct hg_loop loops[2];
    struct hg_view views[VIEWS];
    unsigned running[KEYS];
};

struct rules {
    bool has_guard, is_dag, nests, has_views, loses;
    uint64_t hot; /* percent */
};

struct sim {
    uint64_t now_ms, seed, number;
    const struct rules *rules;
    struct node nodes[NODES];
    struct hg_ring *rings[VIEWS];
    void *peers[VIEWS][NODES];
    struct event *heap;
    size_t count, room;
    unsigned version[KEYS];
    unsigned open_clients, answered, cancelled, values, recursions, keeps, timeouts,
        nested_timeouts, asks;
};

static uint64_t below(struct sim *sim, uint64_t limit)
{
    return fake_next(&sim->seed) % limit;
}

static bool chance(struct sim *sim, unsigned percent)
{
    return below(sim, 100) < percent;
}

/* ---- events: a binary heap by (time, number) ---- */

static bool is_before(const struct event *a, const struct event *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->number < b->number;
}

static void after(struct sim *sim, uint64_t delay_ms, void (*happen)(struct sim *, void *),
                  void *arg)
{
    if (sim->count == sim->room) {
        sim->room = sim->room == 0 ? 256 : sim->room * 2;
        sim->heap = realloc(sim->heap, sim->room * sizeof(*sim->heap));
        assert_non_null(sim->heap);
    }
    size_t at = sim->count++;
    sim->heap[at] = (struct event){sim->now_ms + delay_ms, ++sim->number, happen, arg};
    for (; at > 0 && is_before(&sim->heap[at], &sim->heap[(at - 1) / 2]); at = (at - 1) / 2) {
        struct event swap = sim->heap[at];
        sim->heap[at] = sim->heap[(at - 1) / 2];
        sim->heap[(at - 1) / 2] = swap;
    }
}

static bool step(struct sim *sim)
{
    if (sim->count == 0)
        return false;
    struct event first = sim->heap[0];
    sim->heap[0] = sim->heap[--sim->count];
    for (size_t at = 0;;) {
        size_t least = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < sim->count; child++)
            if (is_before(&sim->heap[child], &sim->heap[least]))
                least = child;
        if (least == at)
            break;
        struct event swap = sim->heap[at];
        sim->heap[at] = sim->heap[least];
        sim->heap[least] = swap;
        at = least;
    }
    sim->now_ms = first.at_ms;
    first.happen(sim, first.arg);
    return true;
}

/* ---- keys and values ---- */

static const char *key_name(unsigned key)
{
    static const char *const names[KEYS] = {"k0", "k1", "k2", "k3", "k4",
                                            "k5", "k6", "k7", "k8", "k9"};
    return names[key];
}

static unsigned key_index(struct hg_bytes key)
{
    assert_int_equal(key.len, 2);
    return (unsigned)(key.data[1] - '0');
}

static struct hg_value *make_value(unsigned key, unsigned version)
{
    static const struct hg_bytes tags[3] = {{"t0", 2}, {"t1", 2}, {"t2", 2}};
    char data[32];

    snprintf(data, sizeof(data), "%u:%u", key, version);
    struct hg_value_spec spec = spec_of(hg_bytes_str(key_name(key)), data);
    if (key % 4 != 3) {
        spec.tags = &tags[key % 4];
        spec.tag_count = 1;
    }
    struct hg_value *value = hg_value_create(&spec);
    assert_non_null(value);
    return value;
}

static unsigned version_of(const struct hg_value *value, unsigned key)
{
    unsigned in_key, version;
    char data[32];
    struct hg_bytes bytes = hg_value_data(value);

    snprintf(data, sizeof(data), "%.*s", (int)bytes.len, bytes.data);
    assert_int_equal(sscanf(data, "%u:%u", &in_key, &version), 2);
    assert_int_equal(in_key, key);
    return version;
}

/* ---- who asks: a client, a getter, or a peer's request ---- */

struct client;
typedef void (*done_fn)(struct client *client, const struct hg_result *result);

struct client {
    struct hg_waiter waiter;
    struct node *node;
    unsigned key, version; /* of the key when it asked */
    bool is_done;
    done_fn done; /* NULL result: it was cancelled */
    void *arg;
};

static void client_done(struct client *client, const struct hg_result *result)
{
    struct sim *sim = client->node->sim;

    assert_false(client->is_done);
    client->is_done = true;
    if (result == NULL)
        sim->cancelled++;
    else
        sim->answered++;
    if (result != NULL && result->err == HG_ERECURSIVE)
        sim->recursions++;
    if (result != NULL && result->value != NULL && hg_value_status(result->value) == HG_STATUS_VALUE) {
        sim->values++;
        if (version_of(result->value, client->key) < client->version)
            fail_msg("node %u key %u: version %u is older than %u", client->node->index,
                     client->key, version_of(result->value, client->key), client->version);
    }
    if (client->done != NULL)
        client->done(client, result);
}

static void on_client_answer(struct hg_waiter *waiter, const struct hg_result *result)
{
    client_done(hg_container_of(waiter, struct client, waiter), result);
}

/* Its deadline, or it leaves before. Then nothing refers to it any more. */
static void client_ends(struct sim *sim, void *arg)
{
    struct client *client = arg;

    if (!client->is_done && hg_waiter_cancel(&client->waiter, sim->now_ms, NULL))
        client_done(client, NULL);
    if (client->is_done) {
        sim->open_clients--;
        free(client);
        return;
    }
    after(sim, 10, client_ends, client); /* its answer is under way */
}

static void client_start(struct node *node, unsigned key, const struct hg_get *with,
                         uint64_t stays_ms, done_fn done, void *arg)
{
    struct sim *sim = node->sim;
    struct client *client = calloc(1, sizeof(*client));
    struct hg_get get = *with;
    struct hg_result result;
    struct hg_hold hold;

    assert_non_null(client);
    *client = (struct client){
        .node = node, .key = key, .version = sim->version[key], .done = done, .arg = arg};
    client->waiter.loop = &node->loops[below(sim, 2)];
    client->waiter.answer = on_client_answer;
    get.key = hg_bytes_str(key_name(key));
    get.now_ms = sim->now_ms;
    get.deadline_ms = sim->now_ms + stays_ms;
    get.loop = client->waiter.loop;
    sim->open_clients++;
    int rc = hg_group_get(node->group, &get, &client->waiter, &result, &hold);
    after(sim, stays_ms, client_ends, client);
    if (rc == HG_PENDING) {
        assert_false(client->is_done);
        return;
    }
    client_done(client, &result);
    hg_hold_release(&hold);
}

/* ---- getters ---- */

struct job {
    struct node *node;
    struct hg_load *load;
    unsigned key, version;
};

static void job_ends(struct sim *sim, void *arg)
{
    struct job *job = arg;
    struct node *node = job->node;
    struct hg_load *load = job->load;
    struct hg_loop *here = chance(sim, 70) ? &node->loops[below(sim, 2)] : NULL;
    struct hg_value *value = NULL;
    uint64_t dice = below(sim, 100);

    node->running[job->key]--;
    if (dice < 8 && load->old != NULL && version_of(load->old, job->key) == job->version) {
        sim->keeps++;
        hg_load_keep(load, dice < 4 ? HG_TTL_OF_GROUP : 100, sim->now_ms, here);
    } else if (dice < 20) {
        hg_load_fail(load, (enum hg_class)(dice % 4), HG_BYTES("no luck"), sim->now_ms, here);
    } else {
        if (dice < 26)
            value = missing_of(load);
        else if (dice < 98)
            value = make_value(job->key, job->version);
        hg_load_finish(load, value, sim->now_ms, here);
    }
    free(job);
}

static void on_nested(struct client *client, const struct hg_result *result)
{
    struct job *job = client->arg;
    struct sim *sim = job->node->sim;

    if (result == NULL)
        sim->nested_timeouts++;
    after(sim, below(sim, 20), job_ends, job);
}

static void job_goes_on(struct sim *sim, void *arg)
{
    struct job *job = arg;
    struct hg_get get = {.parent = job->load};
    unsigned other = (unsigned)below(sim, KEYS);

    if (!sim->rules->nests || chance(sim, 60) || (sim->rules->is_dag && job->key == 0)) {
        job_ends(sim, job);
        return;
    }
    if (sim->rules->is_dag)
        other = (unsigned)below(sim, job->key);
    uint64_t left_ms =
        job->load->deadline_ms > sim->now_ms ? job->load->deadline_ms - sim->now_ms : 1;
    client_start(job->node, other, &get, left_ms, on_nested, job);
}

static int node_load(void *ctx, struct hg_load *load)
{
    struct node *node = ctx;
    struct sim *sim = node->sim;
    unsigned key = key_index(load->flight.key);

    assert_int_equal(node->running[key], 0);
    if (chance(sim, 1))
        return HG_ENOMEM;
    struct job *job = calloc(1, sizeof(*job));
    assert_non_null(job);
    *job = (struct job){.node = node, .load = load, .key = key, .version = sim->version[key]};
    node->running[key]++;
    after(sim, below(sim, 60), job_goes_on, job);
    return HG_OK;
}

/* ---- the network ---- */

struct call {
    struct node *from, *to;
    struct hg_load *load; /* NULL once reported */
    uint64_t sent_ms;
    struct hg_ask_answer answer; /* on its way back */
    unsigned events;             /* that still refer to it */
};

static void call_release(struct call *call)
{
    if (--call->events == 0)
        free(call);
}

static void call_report(struct sim *sim, struct call *call, const struct hg_ask_answer *answer)
{
    struct hg_load *load = call->load;

    call->load = NULL;
    if (load == NULL)
        hg_value_unref(answer->result);
    else
        hg_load_asked(load, answer, sim->now_ms, chance(sim, 70) ? &call->from->loops[0] : NULL);
}

static void call_returns(struct sim *sim, void *arg)
{
    struct call *call = arg;

    call_report(sim, call, &call->answer);
    call_release(call);
}

static void call_deadline(struct sim *sim, void *arg)
{
    struct call *call = arg;
    struct hg_ask_answer answer = {.outcome = HG_ASK_DEADLINE};

    if (call->load != NULL) {
        sim->timeouts++;
        call_report(sim, call, &answer);
    }
    call_release(call);
}

static struct hg_value *over_the_wire(struct hg_bytes key, const struct hg_result *result)
{
    struct hg_bytes tags[HG_TAGS_MAX];
    struct hg_value_spec spec = {
        .status = HG_STATUS_ERROR, .key = key, .data = HG_BYTES("refused")};

    if (result->err == HG_OK)
        hg_value_spec_from(result->value, &spec, tags);
    spec.key = key; /* what memory ran out for has none */
    spec.has_ttl = spec.has_swr = spec.has_sie = false;
    struct hg_value *value = hg_value_create(&spec);
    assert_non_null(value);
    return value;
}

static void on_served(struct client *client, const struct hg_result *result)
{
    struct call *call = client->arg;
    struct sim *sim = client->node->sim;

    call->answer = (struct hg_ask_answer){.outcome = HG_ASK_TRANSPORT, .sent_ms = call->sent_ms};
    if (result != NULL && !(sim->rules->loses && chance(sim, 10))) {
        bool is_untyped = sim->rules->loses && chance(sim, 10);
        call->answer.outcome = is_untyped ? HG_ASK_UNTYPED : HG_ASK_TYPED;
        if (!is_untyped)
            call->answer.result = over_the_wire(hg_bytes_str(key_name(client->key)), result);
        if (result->expires_ms > sim->now_ms)
            call->answer.ttl_ms = result->expires_ms - sim->now_ms;
    }
    after(sim, below(sim, 30), call_returns, call); /* keeps the reference */
}

static void call_arrives(struct sim *sim, void *arg)
{
    struct call *call = arg;
    struct hg_get get = {.from_peer = true};

    if (call->load == NULL) { /* the asker gave up before it got here */
        call_release(call);
        return;
    }
    get.chain = call->load->chain;
    uint64_t left_ms =
        call->load->deadline_ms > sim->now_ms ? call->load->deadline_ms - sim->now_ms : 1;
    client_start(call->to, key_index(call->load->flight.key), &get, left_ms, on_served, call);
}

static int node_ask(void *ctx, struct hg_load *load)
{
    struct node *node = ctx;
    struct sim *sim = node->sim;
    struct node *to = load->view->peers[load->member];

    assert_non_null(to);
    assert_ptr_not_equal(to, node);
    if (sim->rules->loses && chance(sim, 3))
        return HG_EPEER;
    sim->asks++;
    struct call *call = calloc(1, sizeof(*call));
    assert_non_null(call);
    *call =
        (struct call){.from = node, .to = to, .load = load, .sent_ms = sim->now_ms, .events = 2};
    after(sim, load->deadline_ms > sim->now_ms ? load->deadline_ms - sim->now_ms : 1, call_deadline,
          call);
    if (sim->rules->loses && chance(sim, 10)) {
        call->answer.outcome = HG_ASK_TRANSPORT;
        after(sim, 50 + below(sim, 100), call_returns, call);
    } else {
        after(sim, below(sim, 30), call_arrives, call);
    }
    return HG_OK;
}

static bool node_is_up(void *ctx, const struct hg_view *view, size_t member)
{
    struct node *node = ctx;
    (void)view;
    (void)member;
    return !(node->sim->rules->loses && chance(node->sim, 5));
}

static void loop_turns(struct sim *sim, void *arg)
{
    (void)sim;
    deliver(arg);
}

static void node_wake(void *ctx, struct hg_loop *loop, struct hg_list *waiters)
{
    struct node *node = ctx;

    hg_list_splice_back(&loop->mail, waiters);
    after(node->sim, below(node->sim, 5), loop_turns, loop);
}

static uint64_t node_random(void *ctx)
{
    return fake_next(&((struct node *)ctx)->sim->seed);
}

/* ---- the world ---- */

static void world_views(struct sim *sim)
{
    static const unsigned members[VIEWS][NODES] = {{0, 1, 2}, {0, 1, 0}, {1, 2, 0}, {2, 0, 0}};
    static const size_t counts[VIEWS] = {3, 2, 2, 2};
    static const struct hg_bytes names[NODES] = {{"a", 1}, {"b", 1}, {"c", 1}};
    const struct hg_ring_preset *preset = hg_ring_preset_find(HG_BYTES("groupcache"));

    for (int v = 0; v < VIEWS; v++) {
        struct hg_bytes in_view[NODES];
        for (size_t i = 0; i < counts[v]; i++) {
            in_view[i] = names[members[v][i]];
            sim->peers[v][i] = &sim->nodes[members[v][i]];
        }
        assert_int_equal(hg_ring_create(preset, in_view, counts[v], &sim->rings[v]), HG_OK);
        for (int n = 0; n < NODES; n++)
            sim->nodes[n].views[v] = (struct hg_view){.ring = sim->rings[v],
                                                      .self = hg_ring_find(sim->rings[v], names[n]),
                                                      .peers = sim->peers[v]};
    }
}

static void world_init(struct sim *sim, uint64_t seed, const struct rules *rules)
{
    struct hg_groups_config limits = {.key_max = 100,
                                      .value_max = 1000,
                                      .flights_max = 40,
                                      .waiters_max = 25,
                                      .lease_ms = 300,
                                      .shards = 4};
    struct hg_guard_config guard = {
        .concurrency = 2, .queue = 6, .breaker_failures = 4, .breaker_cooldown_ms = 200};

    memset(sim, 0, sizeof(*sim));
    sim->seed = seed;
    sim->rules = rules;
    sim->now_ms = 1000;
    world_views(sim);
    for (unsigned n = 0; n < NODES; n++) {
        struct node *node = &sim->nodes[n];
        node->sim = sim;
        node->index = n;
        hg_list_init(&node->loops[0].mail);
        hg_list_init(&node->loops[1].mail);
        node->source = (struct hg_source){.ctx = node,
                                          .load = node_load,
                                          .ask = node_ask,
                                          .is_up = node_is_up,
                                          .wake = node_wake,
                                          .random = node_random};
        hg_guard_init(&node->guard, &guard);
        struct hg_group_config config = {
            .name = "g",
            .capacity_bytes = 4096, /* evicts now and then */
            .hot = (double)rules->hot / 100,
            .ttl_ms = 500,
            .ttl_jitter = 0.2,
            .negative_ttl_ms = 50,
            .error_ttl_ms = seed % 2 == 0 ? 20 : 0,
            .error_ttl_max_ms = seed % 4 == 0 ? 200 : 0,
            .stale_while_revalidate_ms = 100,
            .stale_if_error_ms = 300,
            .early_refresh = 1,
            .deadline_ms = 3000,
            .stale_on_timeout = seed % 3 == 0,
            .guard = rules->has_guard ? &node->guard : NULL,
        };
        assert_int_equal(hg_groups_create(&limits, &node->source, &node->groups), HG_OK);
        assert_int_equal(hg_groups_add(node->groups, &config, &node->group), HG_OK);
        hg_groups_set_view(node->groups, &node->views[0]);
    }
}

#endif
