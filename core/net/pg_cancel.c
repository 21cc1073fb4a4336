/*
 * A statement is cancelled over a connection of its own, and libpq waits for that. So a few threads do it, which live as long as
 * there is something to cancel, and for which nobody waits: not even the end of the process.
 */
#include "net/pg.h"

#include <pthread.h>
#include <signal.h>
#include "base/alloc.h"
#include "base/list.h"
#include "net/pq_library.h"

#define THREADS_MAX 4
#define STACK_BYTES ((size_t)256 << 10)

struct item {
    struct hg_list link;
    PGcancel *cancel;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct hg_list items = {&items, &items};
static unsigned item_count, thread_count; /* like items, under the lock */

/* The next one, or NULL: then this thread is no more. */
static PGcancel *take_or_leave(void)
{
    PGcancel *cancel = NULL;

    pthread_mutex_lock(&lock);
    struct hg_list *link = hg_list_pop_front(&items);
    if (link == NULL) {
        thread_count--;
    } else {
        struct item *item = hg_container_of(link, struct item, link);
        item_count--;
        cancel = item->cancel;
        hg_free(item);
    }
    pthread_mutex_unlock(&lock);
    return cancel;
}

static void *thread_main(void *arg)
{
    char error[256];
    (void)arg;

    for (PGcancel *cancel; (cancel = take_or_leave()) != NULL;) {
        hg_pq->cancel(cancel, error, sizeof(error));
        hg_pq->freeCancel(cancel);
    }
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

bool hg_pg_cancel(struct pg_cancel *cancel)
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
        hg_list_push_back(&items, &item->link);
        item_count++;
    }
    pthread_mutex_unlock(&lock);
    if (!is_taken) {
        hg_free(item);
        hg_pq->freeCancel(cancel);
    }
    return is_taken;
}
