/*
 * Writes across the cluster.
 *
 *   first at the key's owner, then here and at every other member at once: in the other order a node whose copy has
 *   just been dropped could fetch the old value again from an owner that has not heard of it yet
 *
 * set puts the value at the owner and drops the copies elsewhere. A remove or expire whose owner does not answer is still
 * told to the others.
 *
 * A member that does not acknowledge holds at most copies that live for a lease: the answer waits that long and says so. An
 * owner that does not acknowledge is an error (HG_EPEER), for it holds the value itself.
 *
 * Runs on one worker's loop; handed back to change->home by mail.
 */
#include "base/alloc.h"
#include "node/node_impl.h"
#include "wire/peer_message.h"
#include "wire/reply.h"

#define MEMBER_LIST_MAX (1u << 20)

struct run {
    struct hg_mail mail;
    struct hg_change *change;
    struct hg_node *node;
    struct hg_worker *worker;
    uint64_t started_ms;
    size_t owner, outstanding;
    bool is_timer_open;
    uv_timer_t lease;
    struct hg_buf path, body;
};

/* One member asked. */
struct told {
    struct run *run;
    size_t member;
    bool is_first; /* the owner, for whom all others wait */
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

static void close_list(struct hg_buf *list)
{
    if (list->len == 0)
        hg_buf_append_char(list, '[');
    hg_buf_append_char(list, ']');
}

static void list_member(struct hg_buf *list, struct hg_bytes name)
{
    hg_buf_append_char(list, list->len == 0 ? '[' : ',');
    hg_json_string(list, name);
}

static void run_free(struct run *run)
{
    hg_buf_finish(&run->path);
    hg_buf_finish(&run->body);
    hg_free(run);
}

static void on_lease_closed(uv_handle_t *handle)
{
    run_free(hg_container_of(handle, struct run, lease));
}

static void finish(struct run *run)
{
    struct hg_change *change = run->change;
    close_list(&change->acknowledged);
    close_list(&change->lease_waited);
    change->bound_ms = run->node->config->lease_ms;
    struct hg_node *node = run->node;
    hand_back(change);
    if (run->is_timer_open)
        uv_close((uv_handle_t *)&run->lease, on_lease_closed);
    else
        run_free(run);
    atomic_fetch_sub(&node->changes_running, 1);
}

static void on_lease(uv_timer_t *timer)
{
    finish(hg_container_of(timer, struct run, lease));
}

static struct hg_bytes member_name(const struct run *run, size_t member)
{
    if (run->node->view == NULL)
        return run->node->name;
    return hg_ring_member(run->node->view->ring, member);
}

/* Everybody has answered or failed: wait the lease out where somebody did not. */
static void settle(struct run *run)
{
    uint64_t until_ms = run->started_ms + run->node->config->lease_ms;
    uint64_t now_ms = hg_loop_now(&run->worker->loop);
    if (run->change->lease_waited.len == 0 || now_ms >= until_ms || run->change->err < 0 ||
        uv_timer_init(&run->worker->loop.uv, &run->lease) != 0) {
        finish(run);
        return;
    }
    run->is_timer_open = true;
    uv_timer_start(&run->lease, on_lease, until_ms - now_ms, 0);
}

static void tell_others(struct run *run);

static void on_told(void *ctx, const struct hg_fetch_response *response)
{
    struct told *told = ctx;
    struct run *run = told->run;
    bool is_owner = told->member == run->owner, is_first = told->is_first;
    bool is_set = run->change->op == HG_CHANGE_SET;
    bool is_known = response->err == HG_OK && (response->status == 204 || response->status == 404);
    list_member(is_known ? &run->change->acknowledged : &run->change->lease_waited,
                member_name(run, told->member));
    if (is_known && is_owner && response->status == 204)
        run->change->was_there = true;
    if (!is_known && is_owner)
        run->change->err = HG_EPEER;
    hg_free(told);
    run->outstanding--;
    if (is_first && (is_known || !is_set))
        tell_others(run);
    else if (run->outstanding == 0)
        settle(run);
}

/* Counts as outstanding until on_told; a start failure is a member that did not acknowledge. */
static void tell(struct run *run, size_t member, const char *method, bool is_first)
{
    struct told *told = hg_malloc(sizeof(*told));
    int err = HG_ENOMEM;
    if (told != NULL) {
        *told = (struct told){.run = run, .member = member, .is_first = is_first};
        struct hg_bytes body = hg_bytes_eq(hg_bytes_str(method), HG_BYTES("PUT"))
                                   ? hg_buf_bytes(&run->body)
                                   : HG_BYTES_NONE;
        err = run->worker->client == NULL
                  ? HG_ECANCELED
                  : hg_peer_client_send(run->worker->client, run->node->view->peers[member], method,
                                        run->path.data, body, run->node->config->lease_ms, on_told,
                                        told);
    }
    if (err == HG_OK) {
        run->outstanding++;
        return;
    }
    hg_free(told);
    list_member(&run->change->lease_waited, member_name(run, member));
    if (member == run->owner)
        run->change->err = HG_EPEER;
}

static void apply_here(struct run *run, bool is_owner)
{
    struct hg_change *change = run->change;
    uint64_t now_ms = hg_loop_now(&run->worker->loop);
    int err = HG_OK;
    if (change->op == HG_CHANGE_SET && is_owner)
        err = hg_group_set(change->group, change->value, now_ms);
    else if (change->op == HG_CHANGE_EXPIRE)
        change->was_there |= hg_group_expire(change->group, change->key, now_ms);
    else
        change->was_there |= hg_group_remove(change->group, change->key, now_ms);
    if (err < 0)
        change->err = err;
    else if (run->node->view != NULL)
        list_member(&change->acknowledged, member_name(run, (size_t)run->node->view->self));
    else
        list_member(&change->acknowledged, run->node->name);
}

static void tell_others(struct run *run)
{
    const struct hg_view *view = run->node->view;
    run->started_ms = hg_loop_now(
        &run->worker->loop); /* the last copy of the old value may be as young as this */
    if (run->owner != (size_t)view->self)
        apply_here(run, false);
    for (size_t i = 0; i < hg_ring_member_count(view->ring); i++) {
        if (i != (size_t)view->self && i != run->owner)
            tell(run, i, "DELETE", false);
    }
    if (run->outstanding == 0)
        settle(run);
}

static int encode(struct run *run)
{
    struct hg_change *change = run->change;
    hg_buf_init(&run->path, 64 << 10);
    hg_buf_init(&run->body, run->node->config->limits.peer_message);
    int err = hg_peer_path_encode(&run->path, hg_bytes_str(run->node->config->base_path),
                                  hg_bytes_str(hg_group_name(change->group)), change->key);
    if (err == HG_OK && change->op == HG_CHANGE_EXPIRE)
        err = hg_buf_append_str(&run->path, "?soft=1");
    if (err == HG_OK)
        err = hg_buf_append_char(&run->path, '\0');
    if (err == HG_OK && change->op == HG_CHANGE_SET) {
        struct hg_peer_response response;
        const struct hg_value *value = change->value;
        hg_peer_response_from_value(value, hg_value_more(value).ttl_ms,
                                    hg_value_more(value).has_ttl, 0, &response);
        err = hg_peer_response_encode(&response, &run->body);
    }
    return err;
}

static void on_start(struct hg_mail *mail)
{
    struct run *run = hg_container_of(mail, struct run, mail);
    const struct hg_view *view = run->node->view;
    run->started_ms = hg_loop_now(&run->worker->loop);
    if (view == NULL) {
        apply_here(run, true);
        finish(run);
        return;
    }
    run->owner = hg_ring_owner(view->ring, run->change->key);
    run->change->err = encode(run);
    if (run->change->err < 0) {
        finish(run);
        return;
    }
    if (run->owner == (size_t)view->self) {
        apply_here(run, true);
        if (run->change->err < 0)
            finish(run);
        else
            tell_others(run);
        return;
    }
    bool is_set = run->change->op == HG_CHANGE_SET;
    tell(run, run->owner, is_set ? "PUT" : "DELETE", true);
    if (run->outstanding > 0)
        return;
    if (is_set)
        settle(run);
    else
        tell_others(run);
}

void hg_node_change(void *ctx, struct hg_change *change)
{
    struct hg_node *node = ctx;
    HG_COUNT_UP(node->counters.changes);
    change->err = HG_OK;
    change->was_there = false;
    hg_buf_init(&change->acknowledged, MEMBER_LIST_MAX);
    hg_buf_init(&change->lease_waited, MEMBER_LIST_MAX);
    atomic_fetch_add(&node->changes_running,
                     1); /* before the look at phase: drain.c sees it, or it sees LEAVING */
    bool is_refused = atomic_load(&node->phase) >= HG_NODE_LEAVING;
    struct run *run = is_refused ? NULL : hg_calloc(1, sizeof(*run));
    if (run == NULL) {
        change->err = is_refused ? HG_EDRAINING : HG_ENOMEM;
        hand_back(change);
        atomic_fetch_sub(&node->changes_running, 1);
        return;
    }
    run->mail.deliver = on_start;
    run->change = change;
    run->node = node;
    run->worker = hg_node_any_worker(node);
    hg_loop_post(&run->worker->loop, &run->mail);
}
