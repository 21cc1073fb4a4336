/*
 * Before we leave: the keys that we own, hottest first, are told to the members that own them next (the ring's second point), and
 * those that we have from before their owners came to these,
 * POST <base_path>?many with takes_over. They fetch them from us as they would any copy, and keep them as their own
 * (group/handover.c), so our going costs the source next to nothing.
 *
 *   next_round -> keys of so many shards that a message is full -> one message to each member -> all answered -> next_round, until all
 *   that was gathered is told -> gather
 *
 * All on the first worker's loop, which has a peer client. Who does not answer, or does not know this, is told no more.
 */
#include <stdio.h>

#include "base/alloc.h"
#include "node/node_impl.h"
#include "wire/peer_many.h"

#define KEYS_MAX  262144 /* of a node, all groups together */
#define BYTES_MAX ((size_t)64 << 20) /* gathered for one member */
#define ROUND_MS  5000   /* of one message; the drain's own limit ends all of it */
#define DOWN_MS   1000   /* of one to a member that was down when last seen: it may be the one that has just come back */

struct member {
    struct hg_buf asks; /* gathered */
    size_t count;       /* of them */
    size_t told;        /* bytes of asks */
    bool is_lost;
};

struct handover {
    struct hg_mail mail;
    struct hg_node *node;
    const struct hg_view *view; /* held */
    void (*done)(struct hg_node *node);
    size_t group;
    unsigned shard;
    size_t outstanding;
    struct member *members;
};

struct message {
    struct handover *handover;
    size_t member, count;
};

static struct hg_worker *worker_of(const struct handover *handover)
{
    return &handover->node->workers[0];
}

static size_t member_count(const struct handover *handover)
{
    return hg_ring_member_count(handover->view->ring);
}

static void finish(struct handover *handover)
{
    struct hg_node *node = handover->node;
    for (size_t i = 0; i < member_count(handover); i++)
        hg_buf_finish(&handover->members[i].asks);
    hg_log(HG_LOG_INFO, "keys handed over name=%s keys=%llu", node->config->name,
           (unsigned long long)atomic_load(&node->counters.handed_over));
    void (*done)(struct hg_node * node) = handover->done;
    hg_view_release(handover->view);
    hg_free(handover->members);
    hg_free(handover);
    done(node);
}

static void next_round(struct handover *handover);

static void lose(struct handover *handover, size_t index, const char *why)
{
    struct hg_bytes name = hg_ring_member(handover->view->ring, index);
    handover->members[index].is_lost = true;
    HG_COUNT_UP(handover->node->counters.handover_failures);
    hg_log(HG_LOG_WARN, "keys not handed over peer=%.*s err=\"%s\"", (int)name.len, name.data, why);
}

/* How many of an Answers are here now. */
static size_t count_taken(struct hg_bytes body)
{
    struct hg_bytes part;
    size_t count = 0;
    while (hg_peer_many_next(&body, &part) == HG_OK) {
        struct hg_peer_response response;
        void *owner = NULL;
        if (hg_peer_response_decode(part, &response, &owner) == HG_OK)
            count += response.status == HG_STATUS_VALUE;
        hg_peer_message_free(owner);
    }
    return count;
}

static void on_answer(void *ctx, const struct hg_fetch_response *response)
{
    struct message *message = ctx;
    struct handover *handover = message->handover;
    char why[64];

    if (response->err == HG_OK && response->status == 200) {
        size_t taken = count_taken(response->body);
        if (taken > message->count)
            taken = message->count;
        atomic_fetch_add_explicit(&handover->node->counters.handed_over, taken,
                                  memory_order_relaxed);
    } else {
        snprintf(why, sizeof(why), "status %d", response->status);
        lose(handover, message->member, response->err < 0 ? hg_err_text(response->err) : why);
    }
    hg_free(message);
    if (--handover->outstanding == 0)
        next_round(handover);
}

static void add_key(void *ctx, struct hg_bytes key)
{
    struct handover *handover = ctx;
    const struct hg_view *view = handover->view;
    struct hg_group *group = hg_groups_at(handover->node->groups, handover->group);
    size_t index = hg_ring_owner(view->ring, key);

    if (index == (size_t)view->self && !hg_view_second(view, key, index, &index))
        return;
    struct member *member = &handover->members[index];
    struct hg_peer_request ask = {
        .group = hg_bytes_str(hg_group_name(group)), .key = key, .takes_over = true};
    if (!member->is_lost && hg_peer_asks_append(&ask, &member->asks) == HG_OK)
        member->count++;
    else
        HG_COUNT_UP(handover->node->counters.handover_left_out);
}

static bool has_gathered_enough(const struct handover *handover)
{
    for (size_t i = 0; i < member_count(handover); i++) {
        if (handover->members[i].count >= HG_MANY_KEYS_MAX)
            return true;
    }
    return false;
}

/* Of further shards, until one member has a message full. False: nothing is left. */
static bool gather(struct handover *handover)
{
    struct hg_node *node = handover->node;
    size_t group_count = hg_groups_count(node->groups);

    for (size_t i = 0; i < member_count(handover); i++) {
        hg_buf_clear(&handover->members[i].asks);
        handover->members[i].count = handover->members[i].told = 0;
    }
    if (handover->group == group_count)
        return false;
    while (handover->group < group_count && !has_gathered_enough(handover)) {
        struct hg_group *group = hg_groups_at(node->groups, handover->group);
        uint64_t now_ms = hg_loop_now(&worker_of(handover)->loop);
        unsigned shard_count = group == NULL ? 0 : hg_group_shard_count(group);
        if (group != NULL && handover->shard == 0 && !hg_group_is_settled(group, now_ms)) {
            hg_log(HG_LOG_INFO, "keys not handed over group=%s err=\"changed a moment ago\"",
                   hg_group_name(group));
            shard_count = 0;
        }
        if (handover->shard < shard_count) {
            size_t each = KEYS_MAX / group_count / shard_count + 1;
            if (hg_group_hottest(group, handover->shard, each, now_ms, add_key, handover) == each)
                HG_COUNT_UP(node->counters.handover_cut);
        }
        if (++handover->shard >= shard_count) {
            handover->shard = 0;
            handover->group++;
        }
    }
    return true;
}

/* The next of what was gathered for a member. */
static int tell(struct handover *handover, size_t index)
{
    struct member *member = &handover->members[index];
    struct hg_worker *worker = worker_of(handover);
    struct hg_peer *peer = handover->view->peers[index];
    struct hg_bytes all = hg_buf_bytes(&member->asks), part;
    struct hg_bytes rest = hg_bytes(all.data + member->told, all.len - member->told), from = rest;
    struct message *message = hg_malloc(sizeof(*message));
    struct hg_buf path;
    size_t count = 0, len = 0;
    int err = message == NULL ? HG_ENOMEM : HG_OK;

    while (count < HG_MANY_KEYS_MAX && hg_peer_many_next(&rest, &part) == HG_OK &&
           from.len - rest.len <= HG_MANY_BYTES_MAX) {
        len = from.len - rest.len;
        count++;
    }
    member->told += len;
    hg_buf_init(&path, 4096);
    if (err == HG_OK)
        err = hg_buf_printf(&path, "%s?many", handover->node->config->base_path);
    if (err == HG_OK)
        err = hg_buf_append_char(&path, '\0');
    if (err == HG_OK && count == 0)
        err = HG_ETOOBIG;
    if (err == HG_OK) {
        *message = (struct message){handover, index, count};
        err = worker->client == NULL
                  ? HG_ECANCELED
                  : hg_peer_client_send(worker->client, peer, "POST", path.data,
                                        hg_bytes(from.data, len),
                                        hg_peer_is_up(peer) ? ROUND_MS : DOWN_MS, on_answer, message);
    }
    hg_buf_finish(&path);
    if (err < 0)
        hg_free(message);
    return err;
}

static void next_round(struct handover *handover)
{
    handover->outstanding = 1; /* ours */
    do {
        for (size_t i = 0; i < member_count(handover); i++) {
            const struct member *member = &handover->members[i];
            if (member->is_lost || member->told == member->asks.len)
                continue;
            int err = tell(handover, i);
            handover->outstanding += err == HG_OK;
            if (err < 0)
                lose(handover, i, hg_err_text(err));
        }
    } while (handover->outstanding == 1 && gather(handover));
    if (--handover->outstanding == 0)
        finish(handover);
}

static void on_begin(struct hg_mail *mail)
{
    next_round(hg_container_of(mail, struct handover, mail));
}

bool hg_handover_start(struct hg_node *node, void (*done)(struct hg_node *node))
{
    const struct hg_view *view = hg_node_view(node);
    if (view == NULL || view->self < 0 || hg_ring_member_count(view->ring) < 2)
        return false;
    struct handover *handover = hg_calloc(1, sizeof(*handover));
    size_t count = hg_ring_member_count(view->ring);
    struct member *members =
        handover == NULL ? NULL : hg_calloc(count, sizeof(*members));
    if (members == NULL) {
        hg_free(handover);
        HG_COUNT_UP(node->counters.no_memory);
        return false;
    }
    for (size_t i = 0; i < count; i++)
        hg_buf_init(&members[i].asks, BYTES_MAX);
    hg_view_hold(view);
    *handover = (struct handover){.mail = {.deliver = on_begin},
                                  .node = node,
                                  .view = view,
                                  .done = done,
                                  .members = members};
    hg_loop_post(&node->workers[0].loop, &handover->mail);
    return true;
}
