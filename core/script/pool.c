#include "script/runtime_impl.h"

#include "base/alloc.h"

int hg_pool_init(struct hg_pool *pool, struct hg_runtime *runtime,
                 const struct hg_pool_config *config)
{
    pool->runtime = runtime;
    hg_list_init(&pool->pending);
    pool->name = hg_strndup(config->name, strlen(config->name));
    pool->thread_count = config->threads > 0 ? config->threads : 1;
    pool->threads = hg_calloc(pool->thread_count, sizeof(struct hg_thread *));
    if (pool->name == NULL || pool->threads == NULL)
        return HG_ENOMEM;
    pthread_mutex_init(&pool->lock, NULL);
    return HG_OK;
}

void hg_pool_finish(struct hg_pool *pool)
{
    if (pool->name != NULL && pool->threads != NULL)
        pthread_mutex_destroy(&pool->lock);
    hg_free(pool->name);
    hg_free(pool->threads);
}

static bool is_idle(struct hg_thread *thread)
{
    return (atomic_load_explicit(&thread->run, memory_order_relaxed) & 1) == 0;
}

/* Idle before busy, free before blocked, then the one with the fewest tasks. */
static struct hg_thread *pick_locked(struct hg_pool *pool)
{
    struct hg_thread *best = NULL;
    unsigned best_score = 0;

    for (unsigned i = 0; i < pool->thread_count; i++) {
        struct hg_thread *thread = pool->threads[i];
        if (thread == NULL)
            continue;
        unsigned tasks = atomic_load_explicit(&thread->task_count, memory_order_relaxed);
        unsigned score = tasks < 0xffffffu ? tasks : 0xffffffu;
        score += atomic_load_explicit(&thread->wake_posted, memory_order_relaxed) ? 1 : 0;
        score += atomic_load_explicit(&thread->waker_count, memory_order_relaxed);
        if (!is_idle(thread))
            score += atomic_load_explicit(&thread->is_blocked, memory_order_relaxed) ? 0x20000000u
                                                                                     : 0x10000000u;
        if (best == NULL || score < best_score) {
            best = thread;
            best_score = score;
        }
    }
    return best;
}

static void wake(struct hg_thread *thread)
{
    hg_thread_wake(thread);
    atomic_fetch_sub(&thread->waker_count, 1);
}

static void on_turn_end(struct hg_turn_end *item)
{
    wake(hg_container_of(item, struct hg_route_call, wake)->waking);
}

int hg_pool_post(struct hg_pool *pool, struct hg_task *task)
{
    int err = HG_OK;
    struct hg_route_call *call = task->call;
    bool is_call = task->kind == HG_TASK_ROUTE;

    pthread_mutex_lock(&pool->lock);
    struct hg_thread *thread = pick_locked(pool);
    /* With none it waits for the one that is being made, unless there will be none. */
    if (atomic_load(&pool->is_refusing) || atomic_load(&pool->runtime->is_stopping))
        err = HG_EDRAINING;
    else if (is_call ? atomic_load(&pool->pending_calls) >= HG_PENDING_CALLS_MAX
                     : atomic_load(&pool->pending_count) >= HG_PENDING_LOADS_MAX)
        err = HG_ELIMIT;
    if (err == HG_OK) {
        hg_list_push_back(&pool->pending, &task->link);
        atomic_fetch_add(&pool->pending_count, 1);
        if (is_call)
            atomic_fetch_add(&pool->pending_calls, 1);
        if (thread != NULL)
            atomic_fetch_add(&thread->waker_count, 1);
    }
    pthread_mutex_unlock(&pool->lock);
    if (err < 0)
        return err;
    /*
     * Without the lock: who wakes may well take this thread's processor, and wants the lock itself. For calls when this turn's
     * requests are all read: then it takes them together.
     */
    if (thread != NULL && is_call && call->home == hg_loop_current()) {
        call->waking = thread;
        hg_loop_at_turn_end(call->home, &call->wake, on_turn_end);
    } else if (thread != NULL) {
        wake(thread);
    }
    hg_watchdog_poke(pool->runtime);
    return HG_OK;
}

static void unlink_locked(struct hg_pool *pool, struct hg_task *task)
{
    hg_list_remove(&task->link);
    atomic_fetch_sub(&pool->pending_count, 1);
    if (task->kind == HG_TASK_ROUTE)
        atomic_fetch_sub(&pool->pending_calls, 1);
}

struct hg_task *hg_pool_take(struct hg_pool *pool)
{
    struct hg_task *task = NULL;

    if (atomic_load(&pool->pending_count) == 0)
        return NULL;
    pthread_mutex_lock(&pool->lock);
    if (!hg_list_is_empty(&pool->pending)) {
        task = hg_container_of(pool->pending.next, struct hg_task, link);
        unlink_locked(pool, task);
    }
    pthread_mutex_unlock(&pool->lock);
    return task;
}

void hg_pool_nudge(struct hg_pool *pool)
{
    size_t pending = atomic_load(&pool->pending_count);

    if (pending == 0)
        return;
    pthread_mutex_lock(&pool->lock);
    for (unsigned i = 0; i < pool->thread_count && pending > 0; i++) {
        struct hg_thread *thread = pool->threads[i];
        if (thread == NULL || !is_idle(thread))
            continue;
        hg_thread_wake(thread);
        pending--;
    }
    pthread_mutex_unlock(&pool->lock);
}

void hg_pool_take_expired(struct hg_pool *pool, uint64_t now_ms, struct hg_list *out)
{
    if (atomic_load(&pool->pending_count) == 0)
        return;
    pthread_mutex_lock(&pool->lock);
    hg_list_for_each_safe(it, &pool->pending)
    {
        struct hg_task *task = hg_container_of(it, struct hg_task, link);
        if (task->deadline_ms > now_ms)
            continue;
        unlink_locked(pool, task);
        hg_list_push_back(out, &task->link);
    }
    pthread_mutex_unlock(&pool->lock);
}
