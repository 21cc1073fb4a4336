/*
 * Signals, housekeeping and leaving.
 *
 *   TERM or INT -> /ready says 503; who owns our keys next fetches them (handover.c)
 *               -> discovery takes our name back; accept goes on for drain_delay, every answer with "Connection: close"
 *               -> listeners take what is queued and close
 *               -> what is in flight finishes, what was accepted gets its answer -> exit 0
 *   a second TERM or INT, or drain_timeout -> exit 1 at once
 *
 * POST /drain is a first TERM. HUP reloads (reload.c).
 */
#include <signal.h>
#include <unistd.h>
#include "node/node_impl.h"

#define HOUSEKEEPING_MS 100
#define LAST_REQUEST_MS                                                                            \
    1000 /* for the request of a connection that was accepted last; idle ones are closed before */
#define LEAVE_MS    3000 /* for discovery to take our name back; a lease does it later */
/* A bounded step of the search for what has expired: of a shard about 4,000 entries, of a group 130,000, some 5 ms. */
#define EXPIRE_ROWS_SHARD 512
#define EXPIRE_ROWS_MAX   16384

void hg_node_exit_now(struct hg_node *node, const char *why)
{
    hg_log(HG_LOG_ERROR, "node ended at once name=%s why=\"%s\"", node->config->name, why);
    hg_log_finish();
    _exit(1);
}

static bool are_workers_idle(const struct hg_node *node)
{
    for (unsigned i = 0; i < node->workers_started; i++) {
        if (atomic_load_explicit(&node->workers[i].busy, memory_order_relaxed) > 0)
            return false;
    }
    return true;
}

static bool is_quiet(struct hg_node *node)
{
    return hg_groups_flight_count(node->groups) == 0 && atomic_load(&node->changes_running) == 0 &&
           hg_server_busy_count(node->admin.server) == 0 && !hg_reload_is_running(node);
}

/* Clients' connections; the admin listener's own are of this loop. */
static size_t client_count(const struct hg_node *node)
{
    return atomic_load_explicit(&node->connections, memory_order_relaxed) -
           hg_server_conn_count(node->admin.server);
}

static void on_listener_closed(void *ctx)
{
    struct hg_node *node = ctx;
    node->listeners_closing--;
}

static void close_listeners(struct hg_node *node)
{
    for (size_t i = 0; i < node->listener_count; i++) {
        struct hg_node_listener *listener = &node->listeners[i];
        if (listener->listener == NULL ||
            (listener->roles == HG_ROLE_ADMIN && node->phase != HG_NODE_STOPPING))
            continue;
        node->listeners_closing++;
        if (strncmp(listener->address.text, "unix:", 5) == 0)
            unlink(listener->address.text + 5); /* while it is surely ours */
        hg_listener_close(listener->listener, on_listener_closed, node);
        listener->listener = NULL;
    }
}

static void on_control_closed(void *ctx)
{
    struct hg_node *node = ctx;
    if (--node->control_closing == 0)
        hg_loop_stop(&node->control);
}

static void on_handle_closed(uv_handle_t *handle)
{
    on_control_closed(handle->data);
}

static void close_handle(struct hg_node *node, uv_handle_t *handle)
{
    handle->data = node;
    node->control_closing++;
    uv_close(handle, on_handle_closed);
}

static void on_late_leave(int signal_number)
{
    (void)signal_number;
    _exit(1);
}

static void stop(struct hg_node *node)
{
    atomic_store(&node->phase, HG_NODE_STOPPING);
    close_listeners(node);
    struct hg_server *server = node->admin.server;
    node->admin.server = NULL;
    node->control_closing = 1;
    close_handle(node, (uv_handle_t *)&node->on_term);
    close_handle(node, (uv_handle_t *)&node->on_int);
    close_handle(node, (uv_handle_t *)&node->on_hup);
    /* libuv gives the signals back to the system: a second one still ends with 1. */
    signal(SIGTERM, on_late_leave);
    signal(SIGINT, on_late_leave);
    signal(SIGHUP, SIG_IGN);
    close_handle(node, (uv_handle_t *)&node->housekeeping);
    close_handle(node, (uv_handle_t *)&node->drain_timer);
    hg_server_close(server, on_control_closed, node);
}

/* On the first worker's loop. */
static void on_handed_over(struct hg_node *node)
{
    atomic_store(&node->is_handing_over, false);
}

static void leave(struct hg_node *node, uint64_t now_ms)
{
    const struct hg_generation *serving = atomic_load(&node->generation);
    node->is_leaving = true;
    node->drain_listen_until_ms = hg_time_add(now_ms, serving->config->drain_delay_ms);
    node->drain_leave_until_ms = now_ms + LEAVE_MS;
    hg_runtime_leave(serving->runtime);
    hg_workers_drain(node);
}

static bool are_scripts_done(struct hg_node *node)
{
    bool are_done = true;
    for (size_t i = 0; i < HG_GENERATIONS_MAX; i++) {
        struct hg_generation *generation = &node->generations[i];
        if (!hg_generation_hold(generation))
            continue;
        are_done &= hg_runtime_drain(generation->runtime);
        hg_generation_release(generation);
    }
    return are_done;
}

static void on_drain_tick(uv_timer_t *timer)
{
    struct hg_node *node = timer->data;
    const struct hg_generation *serving = atomic_load(&node->generation);
    uint64_t now_ms = hg_loop_now(&node->control);
    if (now_ms >= node->drain_until_ms) {
        hg_node_exit_now(node, "the drain limit passed");
        return;
    }
    if (!node->is_leaving) {
        if (!atomic_load(&node->is_handing_over) || now_ms >= node->drain_hand_over_until_ms)
            leave(node, now_ms);
        return;
    }
    if (now_ms < node->drain_listen_until_ms ||
        (now_ms < node->drain_leave_until_ms && !hg_runtime_has_left(serving->runtime)))
        return;
    if (node->drain_last_until_ms == 0)
        node->drain_last_until_ms = hg_time_add(now_ms, LAST_REQUEST_MS);
    close_listeners(node);
    if (node->listeners_closing > 0 || !are_workers_idle(node))
        return;
    if (client_count(node) > 0 && now_ms < node->drain_last_until_ms)
        return;
    atomic_store(&node->phase, HG_NODE_LEAVING);
    if (!is_quiet(node) || !are_scripts_done(node))
        return;
    uv_timer_stop(timer);
    hg_log(HG_LOG_INFO, "node drained name=%s", node->config->name);
    stop(node);
}

void hg_drain_begin(struct hg_node *node)
{
    const struct hg_generation *serving = atomic_load(&node->generation);
    uint64_t now_ms = hg_loop_now(&node->control);
    atomic_store(&node->phase, HG_NODE_DRAINING);
    node->drain_hand_over_until_ms = hg_time_add(now_ms, serving->config->drain_timeout_ms / 2);
    node->drain_until_ms =
        hg_time_add(now_ms, hg_time_add(serving->config->drain_delay_ms,
                                        serving->config->drain_timeout_ms));
    hg_log(HG_LOG_INFO, "node draining name=%s", node->config->name);
    atomic_store(&node->is_handing_over, true);
    if (!hg_handover_start(node, on_handed_over)) {
        on_handed_over(node);
        leave(node, now_ms);
    }
    uv_timer_start(&node->drain_timer, on_drain_tick, 1, 5);
}

static void on_leave(uv_signal_t *handle, int signal_number)
{
    struct hg_node *node = handle->data;
    (void)signal_number;
    if (atomic_load(&node->phase) == HG_NODE_SERVING)
        hg_drain_begin(node);
    else
        hg_node_exit_now(node, "a second signal");
}

static void on_hup(uv_signal_t *handle, int signal_number)
{
    (void)signal_number;
    hg_reload_by_signal(handle->data);
}

static void on_housekeeping(uv_timer_t *timer)
{
    struct hg_node *node = timer->data;
    uint64_t now_ms = hg_loop_now(&node->control);
    for (size_t i = 0; i < hg_groups_count(node->groups); i++) {
        struct hg_group *group = hg_groups_at(node->groups, i);
        if (group == NULL)
            continue;
        size_t rows = EXPIRE_ROWS_SHARD * (size_t)hg_group_shard_count(group);
        hg_group_expire_step(group, now_ms, rows < EXPIRE_ROWS_MAX ? rows : EXPIRE_ROWS_MAX);
        hg_group_trim(group, now_ms);
    }
    hg_node_members_tick(node);
    hg_reload_tick(node);
}

static int signal_init(struct hg_node *node, uv_signal_t *handle, uv_signal_cb callback, int number)
{
    int rc = uv_signal_init(&node->control.uv, handle);
    handle->data = node;
    return rc == 0 ? hg_err_from_uv(uv_signal_start(handle, callback, number)) : hg_err_from_uv(rc);
}

int hg_drain_init(struct hg_node *node)
{
    int err = signal_init(node, &node->on_term, on_leave, SIGTERM);
    if (err == HG_OK)
        err = signal_init(node, &node->on_int, on_leave, SIGINT);
    if (err == HG_OK)
        err = signal_init(node, &node->on_hup, on_hup, SIGHUP);
    if (err == HG_OK)
        err = hg_err_from_uv(uv_timer_init(&node->control.uv, &node->housekeeping));
    if (err == HG_OK)
        err = hg_err_from_uv(uv_timer_init(&node->control.uv, &node->drain_timer));
    if (err < 0)
        return err;
    node->housekeeping.data = node->drain_timer.data = node;
    return hg_err_from_uv(
        uv_timer_start(&node->housekeeping, on_housekeeping, HOUSEKEEPING_MS, HOUSEKEEPING_MS));
}
