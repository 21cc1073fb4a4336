/*
 * What the groups need from us (group/source.h): loads go to script pools, asks to a worker's peer client, waiters to
 * their loops' mailboxes.
 */
#include "base/alloc.h"
#include "net/clock.h"
#include "node/node_impl.h"

#define NEW_MS 600000 /* by then what was loaded before us is of little use */

/* What a load waits for is still fetched. Its flight is counted already: drain.c sees it, or it sees LEAVING. */
static bool is_refused(const struct hg_node *node, const struct hg_load *load)
{
    return load->depth == 0 && atomic_load(&node->phase) >= HG_NODE_LEAVING;
}

static int source_load(void *ctx, struct hg_load *load)
{
    struct hg_node *node = ctx;
    if (is_refused(node, load))
        return HG_EDRAINING;
    struct hg_generation *generation = hg_generation_of(node, load->group);
    int err = generation == NULL ? HG_ENOENT : hg_runtime_load(generation->runtime, load);
    hg_generation_release(generation);
    return err;
}

/* An ask that begins on a script thread, or on none, is carried to a worker. */
struct ask_mail {
    struct hg_mail mail;
    struct hg_worker *worker;
    struct hg_load *load;
};

static int ask_on(struct hg_worker *worker, struct hg_load *load)
{
    const struct hg_view *view = load->view;
    if (worker->client == NULL)
        return HG_ECANCELED;
    return hg_peer_client_ask(worker->client, view->peers[load->member], load,
                              hg_group_name(load->group), hg_ring_fingerprint(view->ring));
}

static void on_ask_mail(struct hg_mail *mail)
{
    struct ask_mail *ask = hg_container_of(mail, struct ask_mail, mail);
    struct hg_load *load = ask->load;
    struct hg_loop *loop = &ask->worker->loop;
    int err = ask_on(ask->worker, load);
    hg_free(ask);
    if (err < 0) {
        uint64_t now_ms = hg_loop_now(loop);
        struct hg_ask_answer answer = {.outcome = HG_ASK_TRANSPORT, .sent_ms = now_ms};
        hg_load_asked(load, &answer, now_ms, loop);
    }
}

/* What one thread asks of one peer goes by one worker, so that it can travel together. */
static struct hg_worker *worker_for(struct hg_node *node, const struct hg_load *load)
{
    uintptr_t thread = (uintptr_t)load->loop / sizeof(struct hg_loop);
    if (load->loop == NULL)
        return hg_node_any_worker(node);
    return &node->workers[(thread + load->member) % node->worker_count];
}

static int source_ask(void *ctx, struct hg_load *load)
{
    struct hg_node *node = ctx;
    if (is_refused(node, load))
        return HG_EDRAINING;
    struct hg_worker *worker = hg_node_worker_of(node, load->loop);
    if (worker != NULL && load->loop == hg_loop_current())
        return ask_on(worker, load);
    struct ask_mail *ask = hg_malloc(sizeof(*ask));
    if (ask == NULL)
        return HG_ENOMEM;
    *ask = (struct ask_mail){
        .mail = {.deliver = on_ask_mail}, .worker = worker_for(node, load), .load = load};
    hg_loop_post_together(&ask->worker->loop, &ask->mail);
    return HG_OK;
}

static bool source_is_up(void *ctx, const struct hg_view *view, size_t member)
{
    (void)ctx;
    return hg_peer_is_up(view->peers[member]);
}

static void source_wake(void *ctx, struct hg_loop *loop, struct hg_list *waiters)
{
    (void)ctx;
    hg_loop_post_list(loop, waiters);
}

static void source_evicted(void *ctx, struct hg_group *group, struct hg_value *value, int reason)
{
    struct hg_node *node = ctx;
    if (!atomic_load_explicit(&node->wants_evicted, memory_order_relaxed))
        return;
    struct hg_generation *generation = hg_generation_now(node);
    hg_runtime_evicted(generation->runtime, group, value, reason);
    hg_generation_release(generation);
}

static void source_hot(void *ctx, struct hg_group *group, struct hg_value *value, uint64_t minute)
{
    struct hg_node *node = ctx;
    if (!atomic_load_explicit(&node->wants_hot, memory_order_relaxed))
        return;
    struct hg_generation *generation = hg_generation_now(node);
    hg_runtime_hot(generation->runtime, group, value, minute);
    hg_generation_release(generation);
}

static void source_crowded(void *ctx, struct hg_group *group)
{
    struct hg_generation *generation = hg_generation_now(ctx);
    hg_runtime_crowded(generation->runtime, group);
    hg_generation_release(generation);
}

static uint64_t source_random(void *ctx)
{
    (void)ctx;
    return hg_random_u64();
}

void hg_node_deliver(struct hg_loop *loop, struct hg_list *list)
{
    (void)loop;
    struct hg_list *link;
    while ((link = hg_list_pop_front(list)) != NULL)
        hg_waiter_deliver(hg_container_of(link, struct hg_waiter, link));
}

void hg_node_source_finish(struct hg_node *node)
{
    hg_changes_destroy(node->changes);
    hg_mismatches_finish(&node->mismatches);
    hg_groups_destroy(node->groups);
    hg_node_members_finish(node);
    hg_generation_guards_free(node);
}

/* A Go node that is asked asks the owner, who is us. A spec's fake peers were there before its node, and say what they are told to. */
static bool may_peek(const struct hg_node *node)
{
    const struct hg_config *config = node->config;
    return node->fakes == NULL && config->has_cluster && config->ring.hash == HG_RING_XXH64;
}

int hg_node_source_init(struct hg_node *node)
{
    const struct hg_config *config = node->config;
    hg_retired_init(&node->retired);
    hg_mismatches_init(&node->mismatches);
    node->source = (struct hg_source){
        .ctx = node,
        .load = source_load,
        .ask = source_ask,
        .is_up = source_is_up,
        .wake = source_wake,
        .evicted = source_evicted,
        .hot = source_hot,
        .crowded = source_crowded,
        .random = source_random,
    };
    struct hg_groups_config groups_config = {
        .key_max = config->limits.key,
        .value_max = config->limits.value,
        .flights_max = config->limits.flights,
        .waiters_max = config->limits.waiters,
        .lease_ms = config->lease_ms,
        .peek_until_ms = may_peek(node) ? hg_clock_boot_ms() + NEW_MS : 0,
        .shards = node->worker_count == 1 ? 1 : node->worker_count * HG_SHARDS_PER_WORKER,
        .shard_bytes_min = HG_SHARD_BYTES_MIN,
    };
    int err = hg_groups_create(&groups_config, &node->source, &node->groups);
    if (err < 0)
        return err;
    /* Alone nobody asks for it: the log is as good as none. */
    err = hg_changes_create(node->groups, hg_random_u64() | 1,
                            config->has_cluster ? HG_CHANGES_KEPT : 1, &node->changes);
    if (err < 0)
        return err;

    return hg_node_members_init(node);
}
