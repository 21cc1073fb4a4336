/*
 * Keeps this node in step with the others' changes (cluster/contact.h): the first worker asks every member each
 * quarter lease, GET <base_path>?changes=PLACE. Also how a standstill of this node is noticed (group/trust.h).
 */
#include "base/alloc.h"
#include "cluster/contact.h"
#include "node/node_impl.h"

#define TICK_MS_MIN 5

struct hg_node_contact {
    struct hg_node *node;
    struct hg_worker *worker;
    struct hg_contact *contact;
    const struct hg_view *view; /* held: whom it asks */
    uv_timer_t tick;
    size_t outstanding;
    void (*closed)(void *ctx); /* NULL: not closing */
    void *closed_ctx;
};

struct inquiry {
    struct hg_node_contact *contact;
    const struct hg_view *view; /* held: the one that member is of */
    size_t member;
};

static void inquire(struct hg_node_contact *contact, size_t member);

static void free_if_done(struct hg_node_contact *contact)
{
    if (contact->closed == NULL || contact->outstanding > 0)
        return;
    contact->closed(contact->closed_ctx);
    hg_contact_destroy(contact->contact);
    hg_view_release(contact->view);
    hg_free(contact);
}

static void publish(struct hg_node_contact *contact)
{
    struct hg_contact_stats stats = hg_contact_stats(contact->contact);
    struct hg_node_counters *counters = &contact->node->counters;
    atomic_store_explicit(&counters->changes_missed, stats.missed, memory_order_relaxed);
    atomic_store_explicit(&counters->changes_flushed, stats.flushed, memory_order_relaxed);
    atomic_store_explicit(&counters->changes_unanswered, stats.failed, memory_order_relaxed);
}

static void on_answer(void *ctx, const struct hg_fetch_response *response)
{
    struct inquiry *inquiry = ctx;
    struct hg_node_contact *contact = inquiry->contact;
    size_t member = inquiry->member;
    bool is_good = response->err == HG_OK && response->status == 200;
    bool is_current = inquiry->view == contact->view; /* else the member is another by now */
    hg_view_release(inquiry->view);
    hg_free(inquiry);
    bool goes_on = is_current && hg_contact_answered(contact->contact, member,
                                                     is_good ? response->body : HG_BYTES_NONE,
                                                     hg_loop_now(&contact->worker->loop));
    publish(contact);
    if (goes_on && contact->closed == NULL)
        inquire(contact, member);
    contact->outstanding--;
    free_if_done(contact);
}

static void inquire(struct hg_node_contact *contact, size_t member)
{
    const struct hg_config *config = contact->node->config;
    uint64_t now_ms = hg_loop_now(&contact->worker->loop);
    struct hg_changes_place place;
    struct hg_buf path;
    if (!hg_contact_ask(contact->contact, member, now_ms, &place))
        return;
    struct inquiry *inquiry = hg_malloc(sizeof(*inquiry));
    hg_buf_init(&path, 64 << 10);
    int err = inquiry == NULL ? HG_ENOMEM : hg_buf_printf(&path, "%s?changes=", config->base_path);
    if (err == HG_OK)
        err = hg_changes_place_format(&place, &path);
    if (err == HG_OK)
        err = hg_buf_append_char(&path, '\0');
    if (err == HG_OK) {
        *inquiry = (struct inquiry){.contact = contact, .view = contact->view, .member = member};
        err = contact->worker->client == NULL
                  ? HG_ECANCELED
                  : hg_peer_client_send(contact->worker->client, contact->view->peers[member],
                                        "GET", path.data, HG_BYTES_NONE, config->lease_ms,
                                        on_answer, inquiry);
    }
    hg_buf_finish(&path);
    if (err == HG_OK) {
        hg_view_hold(inquiry->view);
        contact->outstanding++;
        return;
    }
    hg_free(inquiry);
    hg_contact_answered(contact->contact, member, HG_BYTES_NONE, now_ms);
    publish(contact);
}

static void on_tick(uv_timer_t *timer)
{
    struct hg_node_contact *contact = hg_container_of(timer, struct hg_node_contact, tick);
    hg_node_contact_follow(contact->node);
    const struct hg_view *view = contact->view;
    hg_contact_tick(contact->contact, hg_loop_now(&contact->worker->loop));
    for (size_t i = 0; i < hg_ring_member_count(view->ring); i++) {
        if (i != (size_t)view->self)
            inquire(contact, i);
    }
}

/* A contact with the members that there are now. */
static int follow(struct hg_node_contact *contact)
{
    struct hg_node *node = contact->node;
    const struct hg_view *view = hg_node_view(node), *before = contact->view;
    struct hg_contact *next;
    size_t count = hg_ring_member_count(view->ring);
    size_t *was = hg_calloc(count, sizeof(*was));
    if (was == NULL)
        return HG_ENOMEM;
    int err = hg_contact_create(node->groups, node->changes, count, (size_t)view->self, &next);
    if (err == HG_OK && before != NULL) {
        for (size_t i = 0; i < count; i++) {
            long index = hg_ring_find(before->ring, hg_ring_member(view->ring, i));
            was[i] = index < 0 ? SIZE_MAX : (size_t)index;
        }
        hg_contact_inherit(next, contact->contact, was);
    }
    hg_free(was);
    if (err < 0)
        return err;
    hg_contact_destroy(contact->contact);
    contact->contact = next;
    hg_view_hold(view);
    hg_view_release(before);
    contact->view = view;
    return HG_OK;
}

void hg_node_contact_follow(struct hg_node *node)
{
    static struct hg_log_limit limit;
    if (node->contact == NULL || node->contact->view == hg_node_view(node))
        return;
    /* The old members are asked until the next tick tries again. */
    if (follow(node->contact) < 0)
        hg_log_limited(&limit, 1, HG_LOG_WARN, "members followed later err=\"%s\"",
                       hg_err_text(HG_ENOMEM));
}

int hg_node_contact_start(struct hg_worker *worker, struct hg_node *node)
{
    uint64_t tick_ms = node->config->lease_ms / 4;
    if (hg_node_view(node) == NULL)
        return HG_OK;
    struct hg_node_contact *contact = hg_calloc(1, sizeof(*contact));
    if (contact == NULL)
        return HG_ENOMEM;
    contact->node = node;
    contact->worker = worker;
    int err = follow(contact);
    if (err == HG_OK)
        err = hg_err_from_uv(uv_timer_init(&worker->loop.uv, &contact->tick));
    if (err < 0) {
        hg_contact_destroy(contact->contact);
        hg_view_release(contact->view);
        hg_free(contact);
        return err;
    }
    node->contact = contact;
    return hg_err_from_uv(
        uv_timer_start(&contact->tick, on_tick, 0, tick_ms < TICK_MS_MIN ? TICK_MS_MIN : tick_ms));
}

static void on_tick_closed(uv_handle_t *handle)
{
    struct hg_node_contact *contact = hg_container_of(handle, struct hg_node_contact, tick);
    contact->outstanding--;
    free_if_done(contact);
}

void hg_node_contact_close(struct hg_node *node, void (*closed)(void *ctx), void *ctx)
{
    struct hg_node_contact *contact = node->contact;
    node->contact = NULL;
    contact->closed = closed;
    contact->closed_ctx = ctx;
    contact->outstanding++;
    uv_close((uv_handle_t *)&contact->tick, on_tick_closed);
}
