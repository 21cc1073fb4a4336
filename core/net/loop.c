#include "net/loop.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "net/clock.h"
#include "wire/reply.h"

/* What a loop that ends waits for before it counts what is left. */
#define FINISH_TURNS 1000

static _Thread_local struct hg_loop *current;

int hg_err_from_errno(int error_number)
{
    switch (error_number) {
    case 0:
        return HG_OK;
    case ENOMEM:
    case ENOBUFS:
        return HG_ENOMEM;
    case EINVAL:
        return HG_EINVAL;
    case EMFILE:
    case ENFILE:
        return HG_ELIMIT;
    case ECANCELED:
        return HG_ECANCELED;
    case ETIMEDOUT:
        return HG_ETIMEDOUT;
    case EADDRINUSE:
        return HG_EADDRINUSE;
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
    case ENAMETOOLONG:
        return HG_EADDR;
    case EACCES:
    case EPERM:
        return HG_EACCES;
    case ENOENT:
        return HG_ENOENT;
    case EPIPE:
    case ECONNRESET:
    case ECONNABORTED:
    case ECONNREFUSED:
    case EHOSTUNREACH:
    case ENETUNREACH:
        return HG_EPEER;
    default:
        return HG_EIO;
    }
}

int hg_err_from_uv(int uv_error)
{
    if (uv_error >= 0)
        return HG_OK;
    if (uv_error == UV_EOF)
        return HG_ECLOSED;
    return hg_err_from_errno(-uv_error); /* on Unix libuv's codes are negative errnos */
}

/* Newest first as it lies in the inbox; delivered oldest first. */
static void deliver_mail(struct hg_loop *loop)
{
    struct hg_mail *newest = atomic_exchange_explicit(&loop->inbox, NULL, memory_order_acquire);
    struct hg_mail *oldest = NULL;
    while (newest != NULL) {
        struct hg_mail *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest != NULL) {
        struct hg_mail *next = oldest->next; /* deliver may free it */
        oldest->deliver(oldest);
        oldest = next;
    }
}

static bool deliver_lists(struct hg_loop *loop)
{
    struct hg_list due;
    hg_list_init(&due);
    pthread_mutex_lock(&loop->list_lock);
    hg_list_splice_back(&due, &loop->list_inbox);
    pthread_mutex_unlock(&loop->list_lock);
    if (hg_list_is_empty(&due))
        return false;
    assert(loop->on_list != NULL);
    loop->on_list(loop, &due);
    assert(hg_list_is_empty(&due));
    return true;
}

static void on_wakeup(uv_poll_t *wakeup, int status, int events)
{
    struct hg_loop *loop = wakeup->data;
    uint64_t count;
    (void)status;
    (void)events;

    /* First: who posts from here on wakes again. */
    (void)!read(loop->wakeup_fd, &count, sizeof count);
    deliver_lists(loop);
    deliver_mail(loop);
    if (atomic_load_explicit(&loop->stopping, memory_order_acquire))
        uv_stop(&loop->uv);
}

void hg_loop_at_turn_end(struct hg_loop *here, struct hg_turn_end *item, hg_turn_end_fn run)
{
    assert(here == current);
    assert(item->run == NULL);
    item->run = run;
    hg_list_push_back(&here->turn_ends, &item->link);
}

void hg_turn_end_hurry(struct hg_turn_end *item)
{
    hg_turn_end_fn run = item->run;
    if (run == NULL)
        return;
    item->run = NULL;
    hg_list_remove(&item->link);
    run(item);
}

static void on_turn(uv_prepare_t *turn)
{
    struct hg_loop *loop = turn->data;
    while (!hg_list_is_empty(&loop->turn_ends))
        hg_turn_end_hurry(hg_container_of(loop->turn_ends.next, struct hg_turn_end, link));
    atomic_store_explicit(&loop->turned_ms, hg_loop_now(loop), memory_order_relaxed);
}

/*
 * libuv writes without MSG_NOSIGNAL: a client that left must be an error of that write, not the end
 * of the process.
 */
static void ignore_sigpipe(void)
{
    struct sigaction action;
    if (sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_DFL)
        signal(SIGPIPE, SIG_IGN);
}

/*
 * Not by uv_async_send: there the loop that is woken spins until who woke it has left libuv, and that may well have lost its
 * processor to the loop it woke.
 */
static void wake_up(struct hg_loop *loop)
{
    static const uint64_t one = 1;
    ssize_t written;
    do {
        written = write(loop->wakeup_fd, &one, sizeof one);
    } while (written < 0 && errno == EINTR);
    assert(written > 0 || errno == EAGAIN); /* so often already that it is awake */
}

/* HG_OK, or nothing is left open. */
static int init_wakeup(struct hg_loop *loop)
{
    loop->wakeup_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (loop->wakeup_fd < 0)
        return hg_err_from_errno(errno);
    int rc = uv_poll_init(&loop->uv, &loop->wakeup, loop->wakeup_fd);
    if (rc < 0) {
        close(loop->wakeup_fd);
        return hg_err_from_uv(rc);
    }
    loop->wakeup.data = loop;
    uv_poll_start(&loop->wakeup, UV_READABLE, on_wakeup);
    return HG_OK;
}

int hg_loop_init(struct hg_loop *loop, const char *name)
{
    ignore_sigpipe();
    memset(loop, 0, sizeof(*loop));
    loop->name = name;
    hg_list_init(&loop->list_inbox);
    hg_list_init(&loop->held_timers);
    hg_list_init(&loop->look_ups);
    hg_list_init(&loop->turn_ends);
    atomic_init(&loop->inbox, NULL);
    atomic_init(&loop->stopping, false);
    loop->uv_now_seen = UINT64_MAX;
    loop->date_second = INT64_MIN;

    int rc = uv_loop_init(&loop->uv);
    if (rc < 0)
        return hg_err_from_uv(rc);
    int err = init_wakeup(loop);
    if (err < 0) {
        uv_loop_close(&loop->uv);
        return err;
    }
    pthread_mutex_init(&loop->list_lock, NULL);
    uv_prepare_init(&loop->uv, &loop->turn);
    loop->turn.data = loop;
    uv_prepare_start(&loop->turn, on_turn);
    uv_unref((uv_handle_t *)&loop->turn);
    atomic_init(&loop->turned_ms, hg_clock_boot_ms());
    return HG_OK;
}

void hg_loop_run(struct hg_loop *loop)
{
    struct hg_loop *outer = current;
    current = loop;
    while (!atomic_load_explicit(&loop->stopping, memory_order_acquire))
        uv_run(&loop->uv, UV_RUN_DEFAULT);
    atomic_store(&loop->stopping, false);
    current = outer;
}

struct hg_loop *hg_loop_enter(struct hg_loop *loop)
{
    struct hg_loop *outer = current;
    current = loop;
    if (loop != NULL)
        loop->uv_now_seen = UINT64_MAX;
    return outer;
}

void hg_loop_turn(struct hg_loop *loop)
{
    struct hg_loop *outer = hg_loop_enter(loop);
    uv_run(&loop->uv, UV_RUN_NOWAIT);
    hg_loop_enter(outer);
}

bool hg_loop_has_work(const struct hg_loop *loop)
{
    struct pollfd events = {.fd = uv_backend_fd(&loop->uv), .events = POLLIN};
    return uv_backend_timeout(&loop->uv) == 0 || poll(&events, 1, 0) > 0;
}

struct start {
    struct hg_loop *loop;
    void (*begin)(struct hg_loop *loop);
    uv_sem_t is_read;
};

static void *loop_main(void *arg)
{
    struct start *start = arg;
    struct hg_loop *loop = start->loop;
    void (*begin)(struct hg_loop *) = start->begin;
    uv_sem_post(&start->is_read);

    if (loop->name != NULL)
        pthread_setname_np(pthread_self(), loop->name);
    current = loop;
    if (begin != NULL)
        begin(loop);
    hg_loop_run(loop);
    return NULL;
}

int hg_loop_start(struct hg_loop *loop, void (*begin)(struct hg_loop *loop))
{
    struct start start = {.loop = loop, .begin = begin};
    if (uv_sem_init(&start.is_read, 0) < 0)
        return HG_ENOMEM;

    /* The main thread handles these; a thread inherits the mask of who creates it. */
    static const int handled[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE, SIGCHLD, SIGUSR1};
    sigset_t blocked, before;
    sigemptyset(&blocked);
    for (size_t i = 0; i < HG_COUNT(handled); i++)
        sigaddset(&blocked, handled[i]);
    pthread_sigmask(SIG_BLOCK, &blocked, &before);
    int rc = pthread_create(&loop->thread, NULL, loop_main, &start);
    pthread_sigmask(SIG_SETMASK, &before, NULL);

    if (rc == 0) {
        uv_sem_wait(&start.is_read);
        loop->started = true;
    }
    uv_sem_destroy(&start.is_read);
    return rc == 0 ? HG_OK : hg_err_from_errno(rc == EAGAIN ? ENOMEM : rc);
}

void hg_loop_stop(struct hg_loop *loop)
{
    atomic_store_explicit(&loop->stopping, true, memory_order_release);
    wake_up(loop);
}

void hg_loop_heartbeat(struct hg_loop *loop)
{
    wake_up(loop);
}

void hg_loop_join(struct hg_loop *loop)
{
    if (!loop->started)
        return;
    pthread_join(loop->thread, NULL);
    loop->started = false;
}

struct census {
    const struct hg_loop *loop;
    int foreign, closing;
};

static void count_handle(uv_handle_t *handle, void *arg)
{
    struct census *census = arg;
    if (uv_is_closing(handle))
        census->closing++;
    else if (handle != (const uv_handle_t *)&census->loop->wakeup &&
             handle != (const uv_handle_t *)&census->loop->turn)
        census->foreign++;
}

static struct census take_census(struct hg_loop *loop)
{
    struct census census = {.loop = loop};
    uv_walk(&loop->uv, count_handle, &census);
    return census;
}

int hg_loop_finish(struct hg_loop *loop)
{
    struct hg_loop *outer = current;
    struct census census;

    assert(!loop->started);
    current = loop;
    /* Mail may post mail, and closing handles may post more still. */
    for (int turn = 0; turn < FINISH_TURNS; turn++) {
        bool had_mail = deliver_lists(loop) || atomic_load(&loop->inbox) != NULL;
        deliver_mail(loop);
        census = take_census(loop);
        if (!had_mail && census.closing == 0)
            break;
        uv_run(&loop->uv, UV_RUN_NOWAIT);
    }
    uv_close((uv_handle_t *)&loop->wakeup, NULL);
    uv_close((uv_handle_t *)&loop->turn, NULL);
    for (int turn = 0; turn < FINISH_TURNS && take_census(loop).closing > 0; turn++)
        uv_run(&loop->uv, UV_RUN_NOWAIT);
    close(loop->wakeup_fd);
    census = take_census(loop);
    if (census.foreign == 0 && uv_loop_close(&loop->uv) < 0)
        census.foreign = 1; /* a request, not a handle, is still at work */
    current = outer;
    pthread_mutex_destroy(&loop->list_lock);
    return census.foreign;
}

/* From `newest` on to `oldest`, newest first. */
static void post_chain(struct hg_loop *loop, struct hg_mail *newest, struct hg_mail *oldest)
{
    struct hg_mail *head = atomic_load_explicit(&loop->inbox, memory_order_relaxed);
    do {
        oldest->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&loop->inbox, &head, newest,
                                                    memory_order_release, memory_order_relaxed));
    /* Who found it empty wakes; the others' mail is taken in the same turn. */
    if (head == NULL)
        wake_up(loop);
}

void hg_loop_post(struct hg_loop *loop, struct hg_mail *mail)
{
    post_chain(loop, mail, mail);
}

void hg_loop_post_together(struct hg_loop *loop, struct hg_mail *mail)
{
    if (current == NULL || !current->is_holding) {
        post_chain(loop, mail, mail);
        return;
    }
    mail->to = loop;
    mail->next = current->held;
    current->held = mail;
}

void hg_loop_hold(struct hg_loop *here)
{
    assert(here == current);
    assert(!here->is_holding);
    here->is_holding = true;
}

void hg_loop_release(struct hg_loop *here)
{
    assert(here->is_holding);
    here->is_holding = false;
    while (here->held != NULL) {
        struct hg_mail *newest = here->held, *oldest = NULL;
        struct hg_loop *to = newest->to;
        for (struct hg_mail **at = &here->held; *at != NULL;) {
            struct hg_mail *mail = *at;
            if (mail->to != to) {
                at = &mail->next;
                continue;
            }
            *at = mail->next;
            if (oldest != NULL)
                oldest->next = mail;
            oldest = mail;
        }
        post_chain(to, newest, oldest);
    }
}

void hg_loop_post_list(struct hg_loop *loop, struct hg_list *list)
{
    if (hg_list_is_empty(list))
        return;
    pthread_mutex_lock(&loop->list_lock);
    bool was_empty = hg_list_is_empty(&loop->list_inbox);
    hg_list_splice_back(&loop->list_inbox, list);
    pthread_mutex_unlock(&loop->list_lock);
    if (was_empty)
        wake_up(loop);
}

struct hg_loop *hg_loop_current(void)
{
    return current;
}

uint64_t hg_loop_now(struct hg_loop *loop)
{
    uint64_t uv_now_ms = uv_now(&loop->uv);
    if (uv_now_ms != loop->uv_now_seen) {
        loop->uv_now_seen = uv_now_ms;
        loop->now_ms = hg_clock_boot_ms();
    }
    return loop->now_ms;
}

struct hg_bytes hg_loop_date(struct hg_loop *loop)
{
    int64_t second = hg_clock_wall_second();
    if (second != loop->date_second) {
        loop->date_second = second;
        hg_http_date(second, loop->date);
    }
    return hg_bytes(loop->date, sizeof(loop->date) - 1);
}
