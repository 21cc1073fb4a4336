/* Who asks: users, getters that get, peers' requests, and the proof that all is well in the end. */
#include "world.h"

#define MAIL_MS_MAX 8 /* see source_wake */

static void client_close(struct client *client)
{
    client->is_done = true;
    client->is_waiting = false;
    hg_list_remove(&client->link);
    client->node->world->open_clients--;
}

static void client_done(struct client *client, const struct hg_result *result, bool is_at_once)
{
    struct node *node = client->node;
    struct world *world = node->world;

    must(world, "I2", !client->is_done, "client %llu (key %u) was answered twice",
         (unsigned long long)client->number, client->key);
    client_close(client);
    if (!node->is_alive)
        return;
    world->report->answers++;
    trace(world, (int)node->index, "answer", client->key,
          (uint64_t)(int64_t)result->err + 100 * (uint64_t)result->how +
              10000 * (result->value == NULL ? 0u : 1u + hg_value_status(result->value)));
    check_answer(client, result, is_at_once);
    if (client->kind == CLIENT_NESTED)
        job_resume(client->owner);
    else if (client->kind == CLIENT_PEER)
        call_answer(client->owner, node, result);
}

static void on_answer(struct hg_waiter *waiter, const struct hg_result *result)
{
    struct client *client = hg_container_of(waiter, struct client, waiter);
    struct world *world = client->node->world;

    must(world, "I2", client->is_waiting || client->is_done, "client %llu was answered too soon",
         (unsigned long long)client->number);
    client_done(client, result, false);
}

static void must_be_done(struct world *world, void *arg)
{
    struct client *client = arg;
    must(world, "I2", client->is_done, "client %llu: its answer was under way and never came",
         (unsigned long long)client->number);
}

static void expect_mail(struct client *client)
{
    struct node *node = client->node;
    if (client->must_come_by != 0)
        return;
    client->must_come_by = node->world->now + MAIL_MS_MAX;
    after(node->world, MAIL_MS_MAX, node, must_be_done, client);
}

static void on_deadline(struct world *world, void *arg)
{
    struct client *client = arg;
    struct hg_hold stale;

    (void)world;
    if (client->is_done)
        return;
    uint64_t now_ms = node_now(client->node);
    if (!hg_waiter_cancel(&client->waiter, now_ms, &stale)) {
        expect_mail(client);
        return;
    }
    struct hg_result result = {.err = HG_ETIMEDOUT, .how = HG_HOW_MISS};
    if (stale.value != NULL)
        result = (struct hg_result){.err = HG_OK,
                                    .how = HG_HOW_STALE,
                                    .value = stale.value,
                                    .created_ms = hg_value_created_ms(stale.value),
                                    .expires_ms = hg_value_expires_ms(stale.value)};
    client_done(client, &result, false);
    hg_hold_release(&stale);
}

void client_cancel(struct client *client)
{
    if (client->is_done || !client->node->is_alive)
        return;
    if (!hg_waiter_cancel(&client->waiter, node_now(client->node), NULL)) {
        expect_mail(client);
        return;
    }
    trace(client->node->world, (int)client->node->index, "leaves", client->key, 0);
    client_close(client);
}

static void user_leaves(struct world *world, void *arg)
{
    (void)world;
    client_cancel(arg);
}

struct client *client_start(struct node *node, enum client_kind kind, unsigned key,
                            const struct hg_get *with, uint64_t stays_ms, void *owner)
{
    struct world *world = node->world;
    struct client *client = arena_get(world, sizeof(*client));
    struct hg_group *group = node->group[key_group(key)];
    struct hg_get get = *with;
    struct hg_result result;
    struct hg_hold hold;

    client->node = node;
    client->kind = kind;
    client->key = key;
    client->number = ++world->report->gets;
    client->started = world->now;
    client->floor = world->keys[key].floor;
    client->floor_absent = world->keys[key].floor_absent;
    client->owner = owner;
    client->waiter.loop = node_any_loop(node);
    client->waiter.answer = on_answer;
    get.key = key_name(key);
    get.now_ms = node_now(node);
    get.deadline_ms = client->deadline_ms = hg_time_add(get.now_ms, stays_ms);
    get.loop = client->waiter.loop;
    hg_list_push_back(&world->clients, &client->link);
    world->open_clients++;
    trace(world, (int)node->index, get.from_peer ? "peer get" : "get", key, stays_ms);
    node->gets_counted[key_group(key)] += !get.is_peek;
    int rc = hg_group_get(group, &get, &client->waiter, &result, &hold);
    if (rc != HG_PENDING) {
        node->gets_counted[key_group(key)] -= get.takes_over && rc == HG_ENOENT; /* ours */
        must(world, "I2", !client->is_done, "client %llu was called back and answered at once",
             (unsigned long long)client->number);
        client_done(client, &result, true);
        hg_hold_release(&hold);
        return client;
    }
    if (!client->is_done)
        client->is_waiting = true;
    after(world, node_wait(node, stays_ms), node, on_deadline, client);
    return client;
}

/* ---- users ---- */

struct visit {
    struct node *node;
    unsigned key;
};

static void visits(struct world *world, void *arg)
{
    struct visit *visit = arg;
    const struct options *o = &world->options;
    struct hg_get get = {.is_peek = chance(world, o->p_peek)};
    get.takes_over = !get.is_peek && chance(world, o->p_take_over);
    uint64_t stays_ms = chance(world, o->p_short) ? 1 + below(world, 50) : o->deadline_ms;
    bool may_leave = chance(world, o->p_cancel);

    if (visit->node->is_draining)
        return; /* not accepted any more (I13) */
    struct client *client =
        client_start(visit->node, CLIENT_USER, visit->key, &get, stays_ms, NULL);
    if (!client->is_done && may_leave)
        after(world, below(world, 100), visit->node, user_leaves, client);
}

static void visit_soon(struct world *world, unsigned key)
{
    struct visit *visit = arena_get(world, sizeof(*visit));
    *visit = (struct visit){&world->nodes[below(world, world->options.nodes)], key};
    if (visit->node->is_alive)
        after(world, below(world, 3), visit->node, visits, visit);
}

/* get_many: several keys, asked for in one turn of one node. */
struct visit_many {
    struct node *node;
    unsigned count, keys[20];
};

static void visits_many(struct world *world, void *arg)
{
    const struct visit_many *many = arg;
    for (unsigned i = 0; i < many->count; i++) {
        struct visit visit = {many->node, many->keys[i]};
        visits(world, &visit);
    }
}

static unsigned any_key(struct world *world)
{
    uint64_t number = below(world, world->options.keys);
    for (uint64_t i = 0; i < world->options.zipf; i++)
        number = below(world, number + 1);
    return (unsigned)below(world, GROUPS) * KEYS_MAX + (unsigned)number;
}

static void visit_many_soon(struct world *world)
{
    struct visit_many *many = arena_get(world, sizeof(*many));
    many->node = &world->nodes[below(world, world->options.nodes)];
    many->count = 2 + (unsigned)below(world, HG_COUNT(many->keys) - 1);
    for (unsigned i = 0; i < many->count; i++)
        many->keys[i] = any_key(world);
    if (many->node->is_alive)
        after(world, below(world, 3), many->node, visits_many, many);
}

static void arrives(struct world *world, void *arg)
{
    unsigned key = any_key(world);
    uint64_t count = chance(world, world->options.p_burst) ? 2 + below(world, 20) : 1;

    (void)arg;
    if (world->is_healed)
        return;
    while (count-- > 0)
        visit_soon(world, key);
    if (chance(world, world->options.p_many))
        visit_many_soon(world);
    after(world, below(world, 2 * world->options.gets_each_ms + 1), NULL, arrives, NULL);
}

void clients_start(struct world *world)
{
    after(world, 0, NULL, arrives, NULL);
}

/* Every node is asked for a key that nobody has asked for before. */
void clients_proof(struct world *world)
{
    struct hg_get get = {.from_peer = false};
    trace(world, -1, "proof", 0, 0);
    for (unsigned i = 0; i < world->options.nodes; i++)
        for (unsigned n = 0; n < 2; n++)
            client_start(&world->nodes[i], CLIENT_PROOF, KEYS_MAX - 1, &get,
                         world->options.deadline_ms, NULL);
}
