/*
 * Writes across the cluster: cluster/write.h decides whom to tell when; this file carries its messages and timers.
 *
 *   maker --mail--> a worker: hg_write --POST <base_path>?changes--> members --> hg_write ... over --mail--> maker
 *
 * A set whose owner does not acknowledge is an error (HG_EPEER): it may have the value or not, and nobody else is told.
 * Whoever else does not is named in the answer, which comes when its lease is over.
 */
#include "base/alloc.h"
#include "cluster/write.h"
#include "node/node_impl.h"
#include "wire/peer_message.h"
#include "wire/reply.h"

#define MEMBER_LIST_MAX (1u << 20)

struct run {
    struct hg_mail mail;
    struct hg_change *change; /* NULL once handed back */
    struct hg_node *node;
    struct hg_worker *worker;
    const struct hg_view *view; /* held: its members are told; NULL in a cluster of one */
    struct hg_timer timer;
    struct hg_buf value;   /* set: the encoded Response */
    struct hg_write write; /* the last: it has members behind it */
};

/* One member asked. */
struct told {
    struct run *run;
    size_t member;
    unsigned round;
};

static void on_home(struct hg_mail *mail)
{
    struct hg_change *change = hg_container_of(mail, struct hg_change, mail);
    change->done(change);
}

static void hand_back(struct hg_change *change)
{
    change->mail.deliver = on_home;
    hg_loop_post(change->home, &change->mail);
}

static struct hg_bytes member_name(const struct run *run, size_t member)
{
    if (run->view == NULL)
        return run->node->name;
    return hg_ring_member(run->view->ring, member);
}

static void list_members(const struct run *run, bool is_acknowledged, struct hg_buf *list)
{
    bool is_first = true;
    hg_buf_append_char(list, '[');
    for (size_t i = 0; i < run->write.member_count; i++) {
        if (hg_write_is_acknowledged(&run->write, i) != is_acknowledged)
            continue;
        if (!is_first)
            hg_buf_append_char(list, ',');
        hg_json_string(list, member_name(run, i));
        is_first = false;
    }
    hg_buf_append_char(list, ']');
}

static void on_timer_closed(struct hg_timer *timer)
{
    struct run *run = hg_container_of(timer, struct run, timer);
    hg_buf_finish(&run->value);
    hg_view_release(run->view);
    hg_free(run);
}

static void on_due(struct hg_timer *timer);

/* After every step: hands the results back, waits for what is due, ends when nobody will report any more. */
static void look(struct run *run)
{
    const struct hg_write *write = &run->write;
    struct hg_node *node = run->node;
    if (!write->is_over) {
        uint64_t due_ms = hg_write_due(write), now_ms = hg_loop_now(&run->worker->loop);
        if (due_ms != HG_FOREVER)
            hg_timer_start(&run->timer, on_due, due_ms > now_ms ? due_ms - now_ms : 0);
        return;
    }
    if (run->change != NULL) {
        struct hg_change *change = run->change;
        run->change = NULL;
        change->err = write->err;
        change->was_there = write->was_there;
        change->bound_ms = node->config->lease_ms;
        list_members(run, true, &change->acknowledged);
        list_members(run, false, &change->lease_waited);
        hand_back(change);
    }
    if (write->outstanding > 0)
        return;
    hg_timer_close(&run->timer, on_timer_closed);
    atomic_fetch_sub(&node->changes_running, 1);
}

static void on_due(struct hg_timer *timer)
{
    struct run *run = hg_container_of(timer, struct run, timer);
    hg_write_tick(&run->write, hg_loop_now(&run->worker->loop));
    look(run);
}

static void on_told(void *ctx, const struct hg_fetch_response *response)
{
    struct told *told = ctx;
    struct run *run = told->run;
    bool is_known = response->err == HG_OK && (response->status == HG_CHANGE_WAS_THERE ||
                                               response->status == HG_CHANGE_NOT_THERE);
    hg_write_told(&run->write, told->member, told->round, is_known,
                  response->status == HG_CHANGE_WAS_THERE, hg_loop_now(&run->worker->loop));
    hg_free(told);
    look(run);
}

static int on_tell(void *ctx, size_t member, unsigned round, const struct hg_peer_change *change)
{
    struct run *run = ctx;
    const struct hg_config *config = run->node->config;
    struct hg_buf path, body;
    struct told *told = hg_malloc(sizeof(*told));
    if (told == NULL)
        return HG_ENOMEM;
    *told = (struct told){.run = run, .member = member, .round = round};
    hg_buf_init(&path, 64 << 10);
    hg_buf_init(&body, config->limits.peer_message);
    int err = hg_buf_printf(&path, "%s?changes%c", config->base_path, '\0');
    if (err == HG_OK)
        err = hg_peer_change_encode(change, &body);
    if (err == HG_OK)
        err = run->worker->client == NULL
                  ? HG_ECANCELED
                  : hg_peer_client_send(run->worker->client, run->view->peers[member], "POST",
                                        path.data, hg_buf_bytes(&body), config->lease_ms, on_told,
                                        told);
    hg_buf_finish(&path);
    hg_buf_finish(&body);
    if (err < 0)
        hg_free(told);
    return err;
}

static int on_apply(void *ctx, const struct hg_peer_change *change, bool *out_was_there)
{
    struct run *run = ctx;
    return hg_changes_apply(run->node->changes, change, false, hg_loop_now(&run->worker->loop),
                            out_was_there);
}

static const struct hg_write_ops write_ops = {.tell = on_tell, .apply = on_apply};

static int encode_value(struct run *run)
{
    const struct hg_value *value = run->change->value;
    struct hg_value_more more = hg_value_more(value);
    struct hg_peer_response response;
    hg_peer_response_from_value(value, more.ttl_ms, more.has_ttl, 0, &response);
    int err = hg_peer_response_encode(&response, &run->value);
    run->write.change.value = hg_buf_bytes(&run->value);
    return err;
}

static void on_start(struct hg_mail *mail)
{
    struct run *run = hg_container_of(mail, struct run, mail);
    struct hg_change *change = run->change;
    struct hg_write *write = &run->write;
    const struct hg_view *view = run->view;
    bool is_of_key = change->op <= HG_CHANGE_EXPIRE;
    int err = HG_OK;
    hg_timer_init(&run->timer, &run->worker->loop);
    write->change = (struct hg_peer_change){
        .origin = hg_changes_boot(run->node->changes),
        .sequence = hg_changes_next_sequence(run->node->changes),
        .op = change->op,
        .group = hg_bytes_str(hg_group_name(change->group)),
        .name = change->key,
    };
    write->self = view == NULL ? 0 : (size_t)view->self;
    write->owner = HG_WRITE_NO_OWNER;
    if (is_of_key)
        write->owner = view == NULL ? 0 : hg_ring_owner(view->ring, change->key);
    write->lease_ms = run->node->config->lease_ms;
    if (err == HG_OK && change->op == HG_CHANGE_SET)
        err = encode_value(run);
    if (err == HG_OK) {
        hg_write_start(write, hg_loop_now(&run->worker->loop));
    } else {
        write->err = err;
        write->is_over = true;
    }
    look(run);
}

void hg_node_change(void *ctx, struct hg_change *change)
{
    struct hg_node *node = ctx;
    const struct hg_view *view = hg_node_view(node);
    size_t member_count = view == NULL ? 1 : hg_ring_member_count(view->ring);
    HG_COUNT_UP(node->counters.changes);
    change->err = HG_OK;
    change->was_there = false;
    hg_buf_init(&change->acknowledged, MEMBER_LIST_MAX);
    hg_buf_init(&change->lease_waited, MEMBER_LIST_MAX);
    atomic_fetch_add(&node->changes_running,
                     1); /* before the look at phase: drain.c sees it, or it sees LEAVING */
    bool is_refused = atomic_load(&node->phase) >= HG_NODE_LEAVING;
    size_t size = sizeof(struct run) - sizeof(struct hg_write) + hg_write_size(member_count);
    struct run *run = is_refused ? NULL : hg_calloc(1, size);
    if (run == NULL) {
        change->err = is_refused ? HG_EDRAINING : HG_ENOMEM;
        hand_back(change);
        atomic_fetch_sub(&node->changes_running, 1);
        return;
    }
    run->mail.deliver = on_start;
    run->change = change;
    run->node = node;
    run->view = view;
    hg_view_hold(view);
    run->worker = hg_node_any_worker(node);
    hg_buf_init(&run->value, node->config->limits.peer_message);
    run->write.ops = &write_ops;
    run->write.ctx = run;
    run->write.member_count = member_count;
    hg_loop_post(&run->worker->loop, &run->mail);
}
