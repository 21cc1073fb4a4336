#include "script/socket.h"

#include "base/alloc.h"
#include "net/clock.h"

/* Beyond the longest piece: the line's end, the pattern, and what tells "all" from "too much". */
#define BEYOND_BYTES (HG_SOCKET_PATTERN_MAX + 4096)

static void on_idle_timer(uv_timer_t *timer);

static bool give_up(struct hg_op *op)
{
    (void)op;
    return true;
}

/* It is a part of its socket. */
static void destroy_op(struct hg_op *op)
{
    (void)op;
}

static void own(struct hg_socket *socket, struct hg_task *task, struct hg_socket_holder *holder)
{
    hg_list_push_back(&task->sockets, &socket->link);
    socket->owner = task;
    socket->holder = holder;
    *holder = (struct hg_socket_holder){.socket = socket};
}

/* Room for one more: the longest idle one may have to go. */
static bool make_room(struct hg_thread *thread)
{
    if (atomic_load(&thread->socket_count) < HG_SOCKETS_MAX)
        return true;
    if (hg_list_is_empty(&thread->idle_sockets))
        return false;
    HG_RUNTIME_COUNT(thread->runtime, sockets_pool_full);
    hg_socket_close(hg_container_of(thread->idle_sockets.prev, struct hg_socket, link));
    return true;
}

int hg_socket_open(struct hg_task *task, const struct hg_socket_place *place,
                   struct hg_socket_holder *holder)
{
    struct hg_thread *thread = task->thread;

    if (!make_room(thread)) {
        HG_RUNTIME_COUNT(thread->runtime, sockets_refused);
        return HG_ELIMIT;
    }
    struct hg_socket *socket = hg_calloc(1, sizeof(*socket));
    char *name = hg_strndup(place->pool.data, place->pool.len);
    char *host = hg_strndup(place->host, strlen(place->host));
    if (socket == NULL || name == NULL || host == NULL) {
        hg_free(socket);
        hg_free(name);
        hg_free(host);
        return HG_ENOMEM;
    }
    socket->piece_max = thread->runtime->reply_max;
    hg_stream_init(&socket->stream, &thread->loop, socket->piece_max + BEYOND_BYTES,
                   &thread->socket_budget, &hg_socket_calls);
    hg_list_init(&socket->link);
    socket->thread = thread;
    socket->pool = name;
    socket->pool_size = place->pool_size;
    socket->host = host;
    socket->port = place->port;
    socket->read.give_up = socket->write.give_up = give_up;
    socket->read.destroy = socket->write.destroy = destroy_op;
    socket->read.expired = hg_socket_read_expired;
    socket->write.expired = hg_socket_write_expired;
    own(socket, task, holder);
    atomic_fetch_add(&thread->socket_count, 1);
    HG_RUNTIME_COUNT(thread->runtime, sockets_opened);
    return HG_OK;
}

static bool is_of_pool(const struct hg_socket *socket, struct hg_bytes pool)
{
    return hg_bytes_eq(hg_bytes_str(socket->pool), pool);
}

bool hg_socket_reuse(struct hg_task *task, struct hg_bytes pool, struct hg_socket_holder *holder)
{
    hg_list_for_each_safe(it, &task->thread->idle_sockets)
    {
        struct hg_socket *socket = hg_container_of(it, struct hg_socket, link);
        if (!is_of_pool(socket, pool))
            continue;
        if (!hg_stream_is_quiet(&socket->stream)) { /* the loop has not been told yet */
            hg_socket_close(socket);
            continue;
        }
        hg_stream_pause(&socket->stream);
        hg_list_remove(&socket->link);
        own(socket, task, holder);
        socket->reused_count++;
        socket->is_fresh = true;
        HG_RUNTIME_COUNT(task->runtime, sockets_reused);
        return true;
    }
    return false;
}

static void disown(struct hg_socket *socket)
{
    hg_list_remove(&socket->link);
    socket->owner = NULL;
    if (socket->holder != NULL)
        socket->holder->socket = NULL;
    socket->holder = NULL;
}

/* The timer rings when the first of the idle ones has been idle for long enough. */
static void arm(struct hg_thread *thread, uint64_t at_ms)
{
    uv_timer_t *timer = &thread->idle_timer;
    uint64_t now_ms = hg_clock_boot_ms();

    if (at_ms == HG_FOREVER)
        return;
    uint64_t wait_ms = at_ms > now_ms ? at_ms - now_ms : 0;
    uv_update_time(&thread->loop.uv);
    if (!uv_is_active((uv_handle_t *)timer) || wait_ms < uv_timer_get_due_in(timer))
        uv_timer_start(timer, on_idle_timer, wait_ms, 0);
}

static void on_idle_timer(uv_timer_t *timer)
{
    struct hg_thread *thread = timer->data;
    uint64_t now_ms = hg_clock_boot_ms(), next_ms = HG_FOREVER;

    hg_list_for_each_safe(it, &thread->idle_sockets)
    {
        struct hg_socket *socket = hg_container_of(it, struct hg_socket, link);
        if (socket->idle_until_ms <= now_ms)
            hg_socket_close(socket);
        else if (socket->idle_until_ms < next_ms)
            next_ms = socket->idle_until_ms;
    }
    arm(thread, next_ms);
}

/* A script that takes one out of a pool trusts it as it trusted the one it put in. */
static bool is_of_kind(const struct hg_socket *a, const struct hg_socket *b)
{
    const struct hg_tls *tls = a->stream.tls, *other = b->stream.tls;
    return tls == NULL || other == NULL ? tls == other : hg_tls_is_same(tls, other);
}

static void drop_other_kinds(const struct hg_socket *socket)
{
    struct hg_thread *thread = socket->thread;

    hg_list_for_each_safe(it, &thread->idle_sockets)
    {
        struct hg_socket *other = hg_container_of(it, struct hg_socket, link);
        if (!is_of_pool(other, hg_bytes_str(socket->pool)) || is_of_kind(other, socket))
            continue;
        HG_RUNTIME_COUNT(thread->runtime, sockets_pool_mixed);
        hg_socket_close(other);
    }
}

/* The longest idle one of the pool goes where there are too many. */
static void trim(struct hg_thread *thread, struct hg_bytes pool, unsigned pool_size)
{
    struct hg_socket *last = NULL;
    unsigned count = 0;

    hg_list_for_each(it, &thread->idle_sockets)
    {
        struct hg_socket *socket = hg_container_of(it, struct hg_socket, link);
        if (!is_of_pool(socket, pool))
            continue;
        last = socket;
        count++;
    }
    if (count < pool_size)
        return;
    HG_RUNTIME_COUNT(thread->runtime, sockets_pool_full);
    hg_socket_close(last);
}

int hg_socket_keep(struct hg_socket *socket, uint64_t idle_ms, unsigned pool_size)
{
    struct hg_thread *thread = socket->thread;

    int err = hg_stream_want(&socket->stream); /* so that its end is noticed */
    if (err < 0)
        return err;
    drop_other_kinds(socket);
    trim(thread, hg_bytes_str(socket->pool), pool_size);
    disown(socket);
    socket->idle_until_ms = hg_time_add(hg_clock_boot_ms(), idle_ms);
    hg_list_push_front(&thread->idle_sockets, &socket->link);
    if (!thread->idle_timer_open) {
        uv_timer_init(&thread->loop.uv, &thread->idle_timer);
        thread->idle_timer.data = thread;
        thread->idle_timer_open = true;
    }
    arm(thread, socket->idle_until_ms);
    return HG_OK;
}

void hg_socket_close(struct hg_socket *socket)
{
    if (socket == NULL || socket->is_closing)
        return;
    socket->is_closing = true;
    if (socket->stream.is_securing && !atomic_load(&socket->thread->is_dead))
        HG_RUNTIME_COUNT(socket->thread->runtime, tls_failures);
    disown(socket);
    atomic_fetch_sub(&socket->thread->socket_count, 1);
    hg_stream_close(&socket->stream);
}

bool hg_socket_is_waiting(struct hg_socket *socket, const struct hg_op *op)
{
    pthread_mutex_lock(&socket->thread->lock);
    bool is_waiting = op->task != NULL;
    pthread_mutex_unlock(&socket->thread->lock);
    return is_waiting;
}

void hg_socket_let_go(struct hg_socket *socket)
{
    if (socket == NULL)
        return;
    socket->holder = NULL;
    if (!hg_socket_is_waiting(socket, &socket->read) &&
        !hg_socket_is_waiting(socket, &socket->write))
        hg_socket_close(socket);
}

void hg_socket_free(struct hg_socket *socket)
{
    hg_free(socket->pattern);
    hg_free(socket->pool);
    hg_free(socket->host);
    hg_free(socket);
}

void hg_sockets_init(struct hg_thread *thread)
{
    hg_list_init(&thread->idle_sockets);
    thread->socket_budget.max_bytes = thread->runtime->vm_config.memory_bytes;
}

void hg_sockets_close_of(struct hg_task *task)
{
    while (!hg_list_is_empty(&task->sockets)) {
        struct hg_socket *socket = hg_container_of(task->sockets.next, struct hg_socket, link);
        if (socket->holder != NULL)
            socket->holder->is_lost = true;
        hg_socket_close(socket);
    }
}

void hg_sockets_close_idle(struct hg_thread *thread)
{
    while (!hg_list_is_empty(&thread->idle_sockets))
        hg_socket_close(hg_container_of(thread->idle_sockets.next, struct hg_socket, link));
    if (thread->idle_timer_open)
        uv_close((uv_handle_t *)&thread->idle_timer, NULL);
    thread->idle_timer_open = false;
}
