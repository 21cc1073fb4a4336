#include "net/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/alloc.h"
#include "net/log.h"

#define PAUSE_MS         100
#define ACCEPTS_A_TURN   64    /* then other handles of the loop get their turn */
#define ACCEPTS_AT_CLOSE 65536 /* more than any backlog */

struct hg_listener {
    uv_poll_t poll;
    uv_timer_t pause;
    int fd, reserve_fd;
    unsigned roles, open_handles;
    bool is_closing;
    _Atomic uint64_t pauses;
    hg_accept_fn on_accept;
    void *ctx;
    hg_listener_closed_fn closed;
    void *closed_ctx;
};

static void on_connection(uv_poll_t *poll, int status, int events);

static int reserve_open(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void on_pause_over(uv_timer_t *pause)
{
    struct hg_listener *listener = pause->data;
    if (listener->reserve_fd < 0)
        listener->reserve_fd = reserve_open();
    uv_poll_start(&listener->poll, UV_READABLE, on_connection);
}

/*
 * Out of descriptors. The client at the head of the backlog would keep the socket readable and the
 * loop busy for ever: with the reserve given up it can be accepted and turned away.
 */
static void listener_pause(struct hg_listener *listener, int error_number)
{
    static struct hg_log_limit limit;

    atomic_fetch_add_explicit(&listener->pauses, 1, memory_order_relaxed);
    hg_log_limited(&limit, 1, HG_LOG_WARN, "accept paused err=%s pause_ms=%d",
                   uv_err_name(-error_number), PAUSE_MS);
    if (listener->reserve_fd >= 0) {
        close(listener->reserve_fd);
        int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            close(fd);
        listener->reserve_fd = reserve_open();
    }
    if (listener->is_closing)
        return;
    uv_poll_stop(&listener->poll);
    uv_timer_start(&listener->pause, on_pause_over, PAUSE_MS, 0);
}

static void listener_accept(struct hg_listener *listener, unsigned count_max)
{
    for (unsigned count = 0; count < count_max; count++) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            listener->on_accept(listener->ctx, fd, listener->roles);
            if (listener->is_closing && count_max == ACCEPTS_A_TURN)
                return; /* closed inside on_accept, which took the rest */
            continue;
        }
        switch (errno) {
        case EMFILE:
        case ENFILE:
        case ENOBUFS:
        case ENOMEM:
            listener_pause(listener, errno);
            return;
        case EINTR:
        case ECONNABORTED:
        case EPROTO:
        case EPERM: /* refused by a firewall rule */
        case ENETDOWN:
        case EHOSTUNREACH:
        case ENETUNREACH:
            continue;
        default: /* EAGAIN: none left */
            return;
        }
    }
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
    (void)status; /* accept says what is wrong */
    (void)events;
    listener_accept(poll->data, ACCEPTS_A_TURN);
}

int hg_listener_open(struct hg_loop *loop, int fd, unsigned roles, hg_accept_fn on_accept,
                     void *ctx, struct hg_listener **out_listener)
{
    struct hg_listener *listener = hg_calloc(1, sizeof(*listener));
    int rc = UV_ENOMEM;
    if (listener == NULL)
        goto close_fd;
    rc = uv_poll_init(&loop->uv, &listener->poll, fd);
    if (rc < 0)
        goto free_listener;

    uv_timer_init(&loop->uv, &listener->pause);
    listener->poll.data = listener->pause.data = listener;
    listener->open_handles = 2;
    listener->fd = fd;
    listener->reserve_fd = reserve_open();
    listener->roles = roles;
    listener->on_accept = on_accept;
    listener->ctx = ctx;
    uv_poll_start(&listener->poll, UV_READABLE, on_connection);
    *out_listener = listener;
    return HG_OK;

free_listener:
    hg_free(listener);
close_fd:
    close(fd);
    return hg_err_from_uv(rc);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct hg_listener *listener = handle->data;
    if (--listener->open_handles > 0)
        return;
    listener_accept(
        listener, ACCEPTS_AT_CLOSE); /* who came since; the system resets what is queued at close */
    close(listener->fd);
    if (listener->reserve_fd >= 0)
        close(listener->reserve_fd);
    hg_listener_closed_fn closed = listener->closed;
    void *closed_ctx = listener->closed_ctx;
    hg_free(listener);
    if (closed != NULL)
        closed(closed_ctx);
}

void hg_listener_close(struct hg_listener *listener, hg_listener_closed_fn closed, void *closed_ctx)
{
    if (listener->is_closing)
        return;
    listener->is_closing = true;
    listener->closed = closed;
    listener->closed_ctx = closed_ctx;
    listener_accept(listener, ACCEPTS_AT_CLOSE);
    uv_close((uv_handle_t *)&listener->poll, on_handle_closed);
    uv_close((uv_handle_t *)&listener->pause, on_handle_closed);
}

uint64_t hg_listener_pauses(const struct hg_listener *listener)
{
    return atomic_load_explicit(&listener->pauses, memory_order_relaxed);
}
