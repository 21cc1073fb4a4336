/*
 * The worker threads: each one loop, one server, one peer client. Sockets come from the control thread by turns.
 */
#include <stdio.h>
#include <unistd.h>
#include "base/alloc.h"
#include "node/node_impl.h"

#define SCRATCH_MAX                                                                                \
    (64u << 20) /* of header and body scratch, beside a value: bounded by limits long before */
#define SCRATCH_KEPT     (1u << 20)
#define HEADERS_RESERVED (64u << 10) /* a route's 16 KiB, CORS and our own */
#define TEXT_RESERVED    (4u << 10)

/* An answer to another node has a value in it. */
static void body_init(struct hg_front *front)
{
    hg_buf_init(&front->body, SCRATCH_MAX + front->node->config->limits.value);
}

int hg_front_init(struct hg_front *front, struct hg_node *node, struct hg_loop *loop)
{
    front->node = node;
    front->loop = loop;
    hg_buf_init(&front->headers, SCRATCH_MAX);
    body_init(front);
    hg_hold_init(&front->hold);
    hg_list_init(&front->askings);
    front->key = hg_malloc(node->config->limits.key + 1);
    /* No answer's head or error text is ever cut by a lack of memory. */
    if (front->key == NULL || hg_buf_reserve(&front->headers, HEADERS_RESERVED) < 0 ||
        hg_buf_reserve(&front->body, TEXT_RESERVED) < 0 || hg_origins_create(&front->origins) < 0)
        return HG_ENOMEM;
    if (front->generation == NULL)
        hg_front_adopt(front);
    return hg_server_create(loop, &node->server_limits, &hg_node_server_ops, front, &front->server);
}

void hg_front_adopt(struct hg_front *front)
{
    struct hg_generation *before = front->generation;
    front->generation = hg_generation_now(front->node);
    atomic_fetch_add(&front->generation->fronts, 1);
    if (before == NULL)
        return;
    hg_origins_clear(front->origins); /* what was said is of CORS that may go */
    atomic_fetch_sub(&before->fronts, 1);
    hg_generation_release(before);
}

void hg_front_trim(struct hg_front *front)
{
    if (front->body.capacity <= SCRATCH_KEPT)
        return;
    hg_buf_finish(&front->body);
    body_init(front);
}

void hg_front_finish(struct hg_front *front)
{
    hg_buf_finish(&front->headers);
    hg_buf_finish(&front->body);
    hg_free(front->key);
    hg_free(front->spare);
    hg_origins_destroy(front->origins);
    front->origins = NULL;
    front->key = NULL;
    front->spare = NULL;
}

struct hg_worker *hg_node_worker_of(struct hg_node *node, struct hg_loop *loop)
{
    for (unsigned i = 0; i < node->worker_count; i++) {
        if (&node->workers[i].loop == loop)
            return &node->workers[i];
    }
    return NULL;
}

struct hg_worker *hg_node_any_worker(struct hg_node *node)
{
    unsigned turn = atomic_fetch_add_explicit(&node->next_errand, 1, memory_order_relaxed);
    return &node->workers[turn % node->worker_count];
}

struct adopt_mail {
    struct hg_mail mail;
    struct hg_worker *worker;
    int fd;
    unsigned roles;
};

static void on_adopt(struct hg_mail *mail)
{
    struct adopt_mail *adopt = hg_container_of(mail, struct adopt_mail, mail);
    if (adopt->worker->front.server != NULL) {
        hg_server_adopt(adopt->worker->front.server, adopt->fd, adopt->roles);
    } else {
        close(adopt->fd);
        atomic_fetch_sub_explicit(&adopt->worker->front.node->connections, 1, memory_order_relaxed);
    }
    hg_free(adopt);
}

void hg_node_on_accept(void *ctx, int fd, unsigned roles)
{
    struct hg_node *node = ctx;
    size_t open = atomic_fetch_add_explicit(&node->connections, 1, memory_order_relaxed);
    struct adopt_mail *adopt = NULL;
    bool is_admin =
        roles ==
        HG_ROLE_ADMIN; /* its own reserve, so that a flood of clients cannot shut the operator out */
    if (open < node->connections_max + (is_admin ? 64 : 0)) {
        if (is_admin && node->admin.server != NULL) { /* NULL: the node stops */
            hg_server_adopt(node->admin.server, fd, roles);
            return;
        }
        if (!is_admin)
            adopt = hg_malloc(sizeof(*adopt));
    }
    if (adopt == NULL) {
        static struct hg_log_limit limit;
        close(fd);
        atomic_fetch_sub_explicit(&node->connections, 1, memory_order_relaxed);
        HG_COUNT_UP(node->counters.connections_refused);
        hg_log_limited(&limit, 1, HG_LOG_WARN, "connection refused open=%zu limit=%zu", open,
                       node->connections_max);
        return;
    }
    /* A turn of its own: errands in between must not send every second socket to the same worker. */
    struct hg_worker *worker = &node->workers[node->next_accept++ % node->worker_count];
    *adopt = (struct adopt_mail){
        .mail = {.deliver = on_adopt}, .worker = worker, .fd = fd, .roles = roles};
    hg_loop_post(&adopt->worker->loop, &adopt->mail);
}

/* The control thread reads `busy` while draining. */
static void on_tick(uv_timer_t *timer)
{
    struct hg_worker *worker = hg_container_of(timer, struct hg_worker, tick);
    atomic_store_explicit(&worker->busy, hg_server_busy_count(worker->front.server),
                          memory_order_relaxed);
}

static void on_drain(struct hg_mail *mail)
{
    struct hg_worker *worker = hg_container_of(mail, struct hg_worker, drain);
    hg_server_drain(worker->front.server);
    on_tick(&worker->tick);
    uv_timer_start(&worker->tick, on_tick, 5, 5);
}

static void on_adopt_generation(struct hg_mail *mail)
{
    struct hg_worker *worker = hg_container_of(mail, struct hg_worker, adopt);
    atomic_store(&worker->adopt_posted, false);
    hg_front_adopt(&worker->front);
}

static void on_closed(void *ctx)
{
    struct hg_worker *worker = ctx;
    if (--worker->closing == 0)
        hg_loop_stop(&worker->loop);
}

static void on_tick_closed(uv_handle_t *handle)
{
    on_closed(hg_container_of(handle, struct hg_worker, tick));
}

static void on_stop(struct hg_mail *mail)
{
    struct hg_worker *worker = hg_container_of(mail, struct hg_worker, stop);
    struct hg_server *server = worker->front.server;
    worker->front.server = NULL;
    worker->closing = 3;
    if (worker == &worker->front.node->workers[0] && worker->front.node->contact != NULL) {
        worker->closing++;
        hg_node_contact_close(worker->front.node, on_closed, worker);
    }
    uv_close((uv_handle_t *)&worker->tick, on_tick_closed);
    struct hg_peer_client *client = worker->client;
    worker->client = NULL;
    hg_peer_client_close(client, on_closed, worker);
    hg_server_close(server, on_closed, worker);
}

static int worker_start(struct hg_node *node, unsigned index)
{
    struct hg_worker *worker = &node->workers[index];
    snprintf(worker->name, sizeof(worker->name), "worker-%hu", (unsigned short)index);
    int err = hg_loop_init(&worker->loop, worker->name);
    if (err < 0)
        return err;
    worker->loop.on_list = hg_node_deliver;
    worker->loop.user = worker;
    worker->stop.deliver = on_stop;
    worker->drain.deliver = on_drain;
    worker->adopt.deliver = on_adopt_generation;
    err = hg_front_init(&worker->front, node, &worker->loop);
    if (err == HG_OK)
        err = hg_err_from_uv(uv_timer_init(&worker->loop.uv, &worker->tick));
    if (err == HG_OK)
        err = hg_peer_client_create(&worker->loop, &node->peers_config, &worker->client);
    if (err == HG_OK && index == 0)
        err = hg_node_contact_start(worker, node);
    if (err == HG_OK)
        err = hg_loop_start(&worker->loop, NULL);
    return err;
}

/* A failure here ends the process: start-up may give up, and the operating system takes what was begun. */
int hg_workers_start(struct hg_node *node)
{
    for (unsigned i = 0; i < node->worker_count; i++) {
        int err = worker_start(node, i);
        if (err < 0)
            return err;
        node->workers_started++;
    }
    return HG_OK;
}

void hg_workers_drain(struct hg_node *node)
{
    for (unsigned i = 0; i < node->workers_started; i++) {
        atomic_store(&node->workers[i].busy, 1); /* until it says otherwise */
        hg_loop_post(&node->workers[i].loop, &node->workers[i].drain);
    }
}

void hg_workers_stop(struct hg_node *node)
{
    for (unsigned i = 0; i < node->workers_started; i++)
        hg_loop_post(&node->workers[i].loop, &node->workers[i].stop);
    for (unsigned i = 0; i < node->workers_started; i++)
        hg_loop_join(&node->workers[i].loop);
}
