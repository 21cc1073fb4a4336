/*
 * One thread that looks at every script thread each 10 ms while any runs, and sleeps otherwise.
 *
 *   CPU of the run > budget              signal: its handler hooks the state, the hook raises
 *   until the run is over
 *   still on after 2 budgets + 1 s       abandoned (abandon.c)
 *   100 ms without using CPU             blocked: logged, counted; its overdue tasks are answered
 *
 * A run is timed from when it was first seen, at most 10 ms late, so that starting one reads no
 * clock.
 */
#include "script/runtime_impl.h"

#include <errno.h>
#include <time.h>
#include "base/alloc.h"
#include "net/clock.h"
#include "net/log.h"

#define TICK_MS     10
#define IDLE_TICKS  50 /* quiet ticks before it sleeps until poked */
#define BLOCKED_MS  100
#define ABANDON_MS  1500 /* at most, where the budget allows */
#define STOP_SIGNAL (SIGRTMIN + 5)
/* How often the budget a run may use where there is no watchdog. */
#define INLINE_BUDGETS 10
#define REFUSED_TEXT   "the key is in quarantine, or its script pool has abandoned threads"

static void on_budget(lua_State *L, lua_Debug *debug)
{
    struct hg_thread *thread = hg_vm_of(L)->thread;
    (void)debug;
    if (thread != NULL)
        thread->budget_hit = true;
    luaL_error(L, "script budget exceeded");
}

static uint64_t own_cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void on_count(lua_State *L, lua_Debug *debug)
{
    const struct hg_thread *thread = hg_vm_of(L)->thread;
    if (own_cpu_ns() - thread->seen_cpu_ns > thread->runtime->budget_ms * INLINE_BUDGETS * 1000000)
        on_budget(L, debug);
}

void hg_watchdog_count(struct hg_thread *thread)
{
    thread->seen_cpu_ns = own_cpu_ns();
    lua_sethook(thread->vm->L, on_count, LUA_MASKCOUNT, 10000);
    thread->is_hooked = 1;
}

/* On the script thread, at any instruction: lua_sethook is what may be called here. */
static void on_signal(int number)
{
    struct hg_thread *thread = hg_thread_current();
    (void)number;

    if (thread == NULL || thread->vm == NULL)
        return;
    uint64_t run = atomic_load(&thread->run);
    if ((run & 1) == 0 || run != atomic_load(&thread->stop_run))
        return;
    lua_sethook(thread->vm->L, on_budget, LUA_MASKCOUNT, 1);
    thread->is_hooked = 1;
}

void hg_watchdog_unblock(void)
{
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, STOP_SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &stop, NULL);
}

static uint64_t monotonic_ms(void)
{
    return (uint64_t)(hg_clock_monotonic_s() * 1000);
}

static bool thread_cpu_ns(struct hg_thread *thread, uint64_t *out_ns)
{
    clockid_t clock;
    struct timespec now;
    if (pthread_getcpuclockid(thread->loop.thread, &clock) != 0 || clock_gettime(clock, &now) != 0)
        return false;
    *out_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    return true;
}

static uint64_t abandon_after_ms(uint64_t budget_ms)
{
    uint64_t limit_ms = 2 * budget_ms + 1000;
    if (limit_ms > ABANDON_MS)
        limit_ms = budget_ms + 500 > ABANDON_MS ? budget_ms + 500 : ABANDON_MS;
    return limit_ms;
}

static void log_blocked(struct hg_thread *thread, uint64_t blocked_ms)
{
    static struct hg_log_limit limit;
    char key[128] = "";
    const char *group = "";

    pthread_mutex_lock(&thread->lock);
    struct hg_task *task = atomic_load(&thread->running);
    if (atomic_load(&thread->run) == thread->seen_run && task != NULL && task->load != NULL) {
        group = hg_group_name(task->load->group);
        hg_bytes_escape(task->load->flight.key, key, sizeof(key));
    }
    pthread_mutex_unlock(&thread->lock);
    hg_log_limited(&limit, 5, HG_LOG_WARN, "script thread blocked %llu ms pool=%s group=%s key=%s",
                   (unsigned long long)blocked_ms, thread->pool->name, group, key);
}

/* True while a run is on. */
static bool watch(struct hg_runtime *runtime, struct hg_thread *thread)
{
    uint64_t run = atomic_load(&thread->run), cpu_ns;

    if ((run & 1) == 0) {
        atomic_store(&thread->is_blocked, false);
        return false;
    }
    if (!thread_cpu_ns(thread, &cpu_ns))
        return true;
    uint64_t now_ms = monotonic_ms();
    if (run != thread->seen_run) {
        thread->seen_run = run;
        thread->seen_cpu_ns = thread->last_cpu_ns = cpu_ns;
        thread->seen_ms = now_ms;
        thread->is_counted = false;
        atomic_store(&thread->is_blocked, false);
        return true;
    }

    uint64_t used_ms = (cpu_ns - thread->seen_cpu_ns) / 1000000, wall_ms = now_ms - thread->seen_ms;
    bool is_working = cpu_ns - thread->last_cpu_ns > 500000;
    thread->last_cpu_ns = cpu_ns;
    if (used_ms >= runtime->budget_ms) {
        atomic_store(&thread->stop_run, run);
        if (!thread->is_counted)
            HG_RUNTIME_COUNT(runtime, budget_exceeded);
        thread->is_counted = true;
        pthread_kill(thread->loop.thread,
                     STOP_SIGNAL); /* again each tick: the state may just have saved its old hook */
        if (is_working && wall_ms >= abandon_after_ms(runtime->budget_ms) &&
            hg_abandon(thread, run, true))
            return true;
    }
    if (wall_ms >= BLOCKED_MS && used_ms * 4 < wall_ms && !atomic_load(&thread->is_blocked)) {
        atomic_store(&thread->is_blocked, true);
        HG_RUNTIME_COUNT(runtime, blocked);
        log_blocked(thread, wall_ms);
    }
    if (wall_ms >= BLOCKED_MS)
        hg_abandon_expired(thread, hg_clock_boot_ms());
    return true;
}

static void fail_expired(struct hg_pool *pool)
{
    struct hg_list expired;

    hg_list_init(&expired);
    hg_pool_take_expired(pool, hg_clock_boot_ms(), &expired);
    for (struct hg_list *it = hg_list_pop_front(&expired); it != NULL;
         it = hg_list_pop_front(&expired)) {
        struct hg_task *task = hg_container_of(it, struct hg_task, link);
        if (task->load != NULL || task->call != NULL)
            atomic_fetch_sub(&pool->runtime->task_count, 1);
        if (task->load != NULL)
            hg_load_report_error(task->load, HG_CLASS_TIMEOUT,
                                 "deadline passed before the getter ran", 0, NULL);
        if (task->call != NULL)
            hg_route_report(task->call, 504, "deadline passed before the script ran");
        hg_task_free(task);
    }
}

static void fail_refused(struct hg_runtime *runtime)
{
    struct hg_list due;

    hg_list_init(&due);
    pthread_mutex_lock(&runtime->watch_lock);
    hg_list_splice_back(&due, &runtime->refused);
    pthread_mutex_unlock(&runtime->watch_lock);
    for (struct hg_list *it = hg_list_pop_front(&due); it != NULL; it = hg_list_pop_front(&due)) {
        struct hg_load *load = hg_container_of(it, struct hg_load, link);
        uint64_t retry_ms = (uint64_t)(uintptr_t)load->above;
        atomic_fetch_sub(&runtime->task_count, 1);
        load->is_own_fault = true;
        hg_load_report_error(load, HG_CLASS_UNAVAILABLE, REFUSED_TEXT, retry_ms, NULL);
    }
}

/* True when there is a reason to look again soon. */
static bool tick(struct hg_runtime *runtime)
{
    bool is_active = false;

    fail_refused(runtime);
    for (size_t i = 0; i < runtime->pool_count; i++) {
        struct hg_pool *pool = &runtime->pools[i];
        /* Slots change on this thread only, once it runs. */
        for (unsigned slot = 0; slot < pool->thread_count; slot++)
            if (pool->threads[slot] != NULL)
                is_active |= watch(runtime, pool->threads[slot]);
        if (atomic_load(&pool->pending_count) > 0) {
            is_active = true;
            fail_expired(pool);
            hg_pool_nudge(pool);
        }
    }
    if (atomic_load(&runtime->evict_count) > 0) {
        is_active = true;
        hg_evict_dispatch(runtime);
    }
    if (atomic_load(&runtime->score_wanted)) {
        is_active = true;
        hg_score_dispatch(runtime);
    }
    if (!hg_list_is_empty(&runtime->abandoned)) {
        is_active = true;
        hg_abandoned_reap(runtime);
    }
    return is_active;
}

static struct timespec after_ms(uint64_t ms)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += (time_t)(ms / 1000);
    at.tv_nsec += (long)(ms % 1000) * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_nsec -= 1000000000;
        at.tv_sec++;
    }
    return at;
}

static void *watchdog_main(void *arg)
{
    struct hg_runtime *runtime = arg;
    unsigned quiet = 0;

    pthread_setname_np(pthread_self(), "watchdog");
    pthread_mutex_lock(&runtime->watch_lock);
    while (!runtime->watch_stop) {
        pthread_mutex_unlock(&runtime->watch_lock);
        bool is_active = tick(runtime);
        quiet = is_active ? 0 : quiet + 1;
        bool may_sleep = quiet > IDLE_TICKS;
        if (may_sleep) {
            /* Said before the last look: what begins from now on pokes. */
            atomic_store(&runtime->watch_asleep, true);
            may_sleep = !tick(runtime);
        }
        pthread_mutex_lock(&runtime->watch_lock);
        if (!runtime->watch_stop && hg_list_is_empty(&runtime->refused)) {
            struct timespec at = after_ms(may_sleep ? 1000 : TICK_MS);
            pthread_cond_timedwait(&runtime->watch_changed, &runtime->watch_lock, &at);
        }
        atomic_store(&runtime->watch_asleep, false);
    }
    pthread_mutex_unlock(&runtime->watch_lock);
    fail_refused(runtime);
    return NULL;
}

void hg_watchdog_wake(struct hg_runtime *runtime)
{
    pthread_mutex_lock(&runtime->watch_lock);
    pthread_cond_signal(&runtime->watch_changed);
    pthread_mutex_unlock(&runtime->watch_lock);
}

void hg_watchdog_refuse(struct hg_runtime *runtime, struct hg_load *load, uint64_t retry_after_ms)
{
    load->above = (void *)(uintptr_t)retry_after_ms;
    pthread_mutex_lock(&runtime->watch_lock);
    hg_list_push_back(&runtime->refused, &load->link);
    pthread_cond_signal(&runtime->watch_changed);
    pthread_mutex_unlock(&runtime->watch_lock);
}

int hg_watchdog_start(struct hg_runtime *runtime)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    pthread_condattr_t attr;
    sigset_t all, before;

    sigemptyset(&action.sa_mask);
    sigaction(STOP_SIGNAL, &action, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&runtime->watch_changed, &attr);
    pthread_condattr_destroy(&attr);
    /* Signals of the process are the control thread's. */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int rc = pthread_create(&runtime->watchdog, NULL, watchdog_main, runtime);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    runtime->watchdog_started = rc == 0;
    return rc == 0 ? HG_OK : HG_ENOMEM;
}

void hg_watchdog_stop(struct hg_runtime *runtime)
{
    if (!runtime->watchdog_started)
        return;
    pthread_mutex_lock(&runtime->watch_lock);
    runtime->watch_stop = true;
    pthread_cond_signal(&runtime->watch_changed);
    pthread_mutex_unlock(&runtime->watch_lock);
    pthread_join(runtime->watchdog, NULL);
    runtime->watchdog_started = false;
    pthread_cond_destroy(&runtime->watch_changed);
}
