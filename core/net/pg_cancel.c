/*
 * A statement is cancelled over a connection of its own, and libpq waits for that. So a few threads do it, which live as long as
 * there is something to cancel, and for which nobody waits: not even the end of the process.
 *
 * What cancels may overtake the statement, and then the server has nothing to cancel yet. So the statement's own connection, on which
 * libpq has said good-bye, stays open: its end by the server is the end of the statement. Until then it is cancelled again, up to
 * AGAIN_MAX times. A server that has begun something else, or has ended, takes it for nobody's: it knows the connection by a secret.
 * One that cannot be reached is not tried again: each time may keep a thread for minutes.
 */
#include "net/pg.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>
#include "base/alloc.h"
#include "base/list.h"
#include "net/pq_library.h"

#define THREADS_MAX 4
#define STACK_BYTES ((size_t)256 << 10)

#define AGAIN_MAX 2
#define AGAIN_MS  200 /* after which it is cancelled again; longer each time */
#define LONGER    4

struct item {
    struct hg_list link;
    PGcancel *cancel;
    int fd; /* ours; negative: none */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct hg_list items = {&items, &items};
static unsigned item_count, thread_count; /* like items, under the lock */
static _Atomic uint64_t again_count;

uint64_t hg_pg_cancels_again(void)
{
    return atomic_load_explicit(&again_count, memory_order_relaxed);
}

/* The next one. False: there is none, and this thread is no more. */
static bool take_or_leave(struct item *out_item)
{
    pthread_mutex_lock(&lock);
    struct hg_list *link = hg_list_pop_front(&items);
    if (link == NULL) {
        thread_count--;
    } else {
        struct item *item = hg_container_of(link, struct item, link);
        item_count--;
        *out_item = *item;
        hg_free(item);
    }
    pthread_mutex_unlock(&lock);
    return link != NULL;
}

static void close_copy(int fd)
{
    if (fd >= 0)
        close(fd);
}

static void cancel_one(const struct item *item)
{
    struct pollfd end = {.fd = item->fd, .events = POLLRDHUP};
    char error[256];

    bool is_heard = hg_pq->cancel(item->cancel, error, sizeof(error)) != 0;
    for (int i = 0, wait_ms = AGAIN_MS; is_heard && i < AGAIN_MAX && poll(&end, 1, wait_ms) == 0;
         i++) {
        atomic_fetch_add_explicit(&again_count, 1, memory_order_relaxed);
        is_heard = hg_pq->cancel(item->cancel, error, sizeof(error)) != 0;
        wait_ms *= LONGER;
    }
    hg_pq->freeCancel(item->cancel);
    close_copy(item->fd);
}

static void *thread_main(void *arg)
{
    struct item item;
    (void)arg;

    while (take_or_leave(&item))
        cancel_one(&item);
    return NULL;
}

static bool start_thread(void)
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, before;

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    sigfillset(&all); /* signals are for the others */
    pthread_sigmask(SIG_BLOCK, &all, &before);
    bool is_started = pthread_create(&thread, &attr, thread_main, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return is_started;
}

bool hg_pg_cancel(struct pg_cancel *cancel, int fd)
{
    struct item *item = hg_malloc(sizeof(*item));
    bool is_taken = false;

    pthread_mutex_lock(&lock);
    if (item != NULL && item_count < HG_PG_CANCELS_MAX) {
        if (thread_count < THREADS_MAX && start_thread())
            thread_count++;
        is_taken = thread_count > 0;
    }
    if (is_taken) {
        item->cancel = cancel;
        item->fd = fd;
        hg_list_push_back(&items, &item->link);
        item_count++;
    }
    pthread_mutex_unlock(&lock);
    if (!is_taken) {
        hg_free(item);
        hg_pq->freeCancel(cancel);
        close_copy(fd);
    }
    return is_taken;
}
