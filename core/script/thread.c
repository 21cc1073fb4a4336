#include "script/runtime_impl.h"

#include <sched.h>
#include <stdio.h>
#include <unistd.h>
#include <sys/syscall.h>
#include "base/alloc.h"
#include "net/clock.h"
#include "net/fetch.h"
#include "net/log.h"

/* Between two attempts to make a VM anew. */
#define VM_RETRY_MS 1000
#define STACK_BYTES ((size_t)64 << 20)

static _Thread_local struct hg_thread *current;

struct hg_thread *hg_thread_current(void)
{
    return current;
}

int hg_thread_make_vm(struct hg_runtime *runtime, struct hg_vm **out_vm, char **out_error)
{
    struct hg_vm *vm;
    int err = hg_vm_create(&runtime->vm_config, &vm);
    if (err < 0)
        return err;
    err = hg_vm_load(vm, out_error);
    if (err == HG_OK && runtime->control != NULL && hg_vm_fingerprint(vm) != runtime->fingerprint) {
        *out_error = hg_vm_difference(runtime->control, vm);
        err = HG_EINVAL;
    }
    if (err == HG_OK)
        err = hg_vm_bind_functions(vm, runtime->group_names, runtime->group_count);
    if (err < 0) {
        hg_vm_destroy(vm);
        return err;
    }
    *out_vm = vm;
    return HG_OK;
}

void hg_thread_wake(struct hg_thread *thread)
{
    if (!atomic_exchange(&thread->wake_posted, true))
        hg_loop_post(&thread->loop, &thread->wake);
}

/* Without a VM nothing can run; one is tried again now and then. */
static bool has_vm(struct hg_thread *thread)
{
    char *error = NULL;
    uint64_t now_ms = hg_clock_boot_ms();

    if (thread->vm != NULL)
        return true;
    if (now_ms < thread->vm_retry_ms)
        return false;
    struct hg_vm *vm;
    int err = hg_thread_make_vm(thread->runtime, &vm, &error);
    if (err < 0) {
        hg_log(HG_LOG_ERROR, "script state cannot be made pool=%s err=%s", thread->pool->name,
               error != NULL ? error : hg_err_text(err));
        hg_free(error);
        thread->vm_retry_ms = now_ms + VM_RETRY_MS;
        return false;
    }
    vm->thread = thread;
    thread->vm = vm;
    return true;
}

/* Fails a task that no thread has, with words for a load and a status for a call. */
static void fail_task(struct hg_task *task, enum hg_class klass, const char *message)
{
    if (task->load != NULL || task->call != NULL)
        atomic_fetch_sub(&task->runtime->task_count, 1);
    if (task->load != NULL)
        hg_load_report_error(task->load, klass, message, 0, NULL);
    if (task->call != NULL)
        hg_route_report(task->call, hg_class_http_status(klass), message);
    hg_task_free(task);
}

/* True: there are no more, or none for this thread. */
static bool take_tasks(struct hg_thread *thread)
{
    for (unsigned i = 0; i < HG_TASKS_PER_TURN; i++) {
        if (atomic_load(&thread->is_dead) || atomic_load(&thread->has_stopped))
            return true;
        struct hg_task *task = hg_pool_take(thread->pool);
        if (task == NULL)
            return true;
        if (has_vm(thread))
            hg_task_adopt(thread, task);
        else
            fail_task(task, HG_CLASS_UNAVAILABLE, "the script state could not be made again");
    }
    return false;
}

static void on_wake(struct hg_mail *mail)
{
    struct hg_thread *thread = hg_container_of(mail, struct hg_thread, wake);

    atomic_store(&thread->wake_posted, false);
    if (thread->runs_jobs && !thread->has_jobs && !atomic_load(&thread->is_dead) &&
        !atomic_load(&thread->has_stopped) && atomic_load(&thread->runtime->is_serving) &&
        has_vm(thread))
        hg_jobs_begin(thread);
    if (thread->has_jobs && !atomic_load(&thread->runtime->is_serving) && thread->vm != NULL &&
        !atomic_load(&thread->is_dead) && !atomic_load(&thread->has_stopped))
        hg_jobs_rest(thread);
    if (thread->is_discovery && thread->has_jobs && !thread->has_left && thread->vm != NULL &&
        !atomic_load(&thread->is_dead) && !atomic_load(&thread->has_stopped) &&
        atomic_load(&thread->runtime->is_leaving))
        hg_discovery_leave(thread);
    thread->is_taking = true;
    bool is_over = take_tasks(thread);
    thread->is_taking = false;
    if (!is_over && !atomic_load(&thread->is_dead) && atomic_load(&thread->pool->pending_count) > 0)
        hg_thread_wake(thread);
}

static void on_list(struct hg_loop *loop, struct hg_list *list)
{
    (void)loop;
    for (struct hg_list *it = hg_list_pop_front(list); it != NULL; it = hg_list_pop_front(list))
        hg_waiter_deliver(hg_container_of(it, struct hg_waiter, link));
}

struct report {
    struct hg_load *load;
    struct hg_route_call *call;
};

/* Ends every task: takes what they owe first, so that an answer to one of them resumes nobody. */
static void fail_all(struct hg_thread *thread, enum hg_class klass, const char *message)
{
    struct hg_list loads, ended;
    struct hg_mail *calls = NULL;

    hg_list_init(&loads);
    hg_list_init(&ended);
    pthread_mutex_lock(&thread->lock);
    hg_list_for_each(it, &thread->tasks)
    {
        struct report report;
        hg_task_take_locked(hg_container_of(it, struct hg_task, link), &report.load, &report.call);
        if (report.load != NULL)
            hg_list_push_back(&loads, &report.load->link);
        if (report.call != NULL) {
            report.call->mail.next = calls;
            calls = &report.call->mail;
        }
    }
    hg_list_splice_back(&ended, &thread->tasks);
    pthread_mutex_unlock(&thread->lock);

    hg_list_for_each_safe(it, &ended) hg_task_end(hg_container_of(it, struct hg_task, link));
    for (struct hg_list *it = hg_list_pop_front(&loads); it != NULL;
         it = hg_list_pop_front(&loads)) {
        atomic_fetch_sub(&thread->runtime->task_count, 1);
        struct hg_load *load = hg_container_of(it, struct hg_load, link);
        load->is_own_fault = true;
        hg_load_report_error(load, klass, message, 0, NULL);
    }
    while (calls != NULL) {
        struct hg_route_call *call = hg_container_of(calls, struct hg_route_call, mail);
        calls = calls->next;
        atomic_fetch_sub(&thread->runtime->task_count, 1);
        hg_route_report(call, hg_class_http_status(klass), message);
    }
}

static int collect(lua_State *L)
{
    /* What a finalizer still held goes the second time. */
    lua_gc(L, LUA_GCCOLLECT, 0);
    lua_gc(L, LUA_GCCOLLECT, 0);
    return 0;
}

void hg_thread_relieve(struct hg_thread *thread)
{
    if (thread->vm == NULL)
        return;
    if (!hg_thread_enter_core(thread, NULL)) {
        hg_thread_quit(thread);
        return;
    }
    hg_thread_run_begin(thread, NULL); /* finalizers are scripts too */
    hg_thread_leave_core(thread);
    hg_vm_enter_reserve(thread->vm, collect, NULL);
    hg_thread_run_end(thread);
    pthread_mutex_lock(&thread->lock);
    bool is_dead = atomic_load(&thread->is_dead);
    pthread_mutex_unlock(&thread->lock);
    if (is_dead) {
        hg_thread_quit(thread);
        return;
    }
    if (hg_vm_memory(thread->vm) <= thread->vm->cap.limit_bytes / 2)
        return;

    static struct hg_log_limit limit;
    hg_log_limited(&limit, 5, HG_LOG_WARN, "script state discarded pool=%s bytes=%zu limit=%zu",
                   thread->pool->name, hg_vm_memory(thread->vm), thread->vm->cap.limit_bytes);
    HG_RUNTIME_COUNT(thread->runtime, states_discarded);
    fail_all(thread, HG_CLASS_INTERNAL, "script memory limit reached");
    hg_vm_destroy(thread->vm);
    thread->vm = NULL;
    thread->has_jobs = false;
    if (has_vm(thread) && thread->runs_jobs)
        hg_thread_wake(thread);
}

void hg_thread_quit(struct hg_thread *thread)
{
    if (!atomic_exchange(&thread->has_returned, true))
        hg_loop_stop(&thread->loop);
}

static void on_stop(struct hg_mail *mail)
{
    struct hg_thread *thread = hg_container_of(mail, struct hg_thread, stop);

    if (atomic_load(&thread->is_dead)) {
        hg_thread_quit(thread);
        return;
    }
    fail_all(thread, HG_CLASS_UNAVAILABLE, "draining");
    atomic_store(&thread->has_stopped, true);
    hg_thread_stop_if_done(thread);
}

void hg_thread_stop_if_done(struct hg_thread *thread)
{
    /* A write under way comes back to this loop. */
    if (atomic_load(&thread->has_stopped) && atomic_load(&thread->change_count) == 0)
        hg_loop_stop(&thread->loop);
}

void hg_thread_run_begin(struct hg_thread *thread, struct hg_task *task)
{
    atomic_store_explicit(&thread->running, task, memory_order_relaxed);
    atomic_fetch_add(&thread->run, 1);
    if (thread->runtime->is_inline)
        hg_watchdog_count(thread);
    else
        hg_watchdog_poke(thread->runtime);
}

void hg_thread_run_end(struct hg_thread *thread)
{
    if ((atomic_load_explicit(&thread->run, memory_order_relaxed) & 1) == 0)
        return;
    /* From here the signal's handler finds that this run is over. */
    atomic_fetch_add(&thread->run, 1);
    if (thread->is_hooked && thread->vm != NULL) {
        lua_sethook(thread->vm->L, NULL, 0, 0);
        thread->is_hooked = 0;
    }
    if (thread->vm != NULL)
        atomic_store_explicit(&thread->memory_bytes, hg_vm_memory(thread->vm),
                              memory_order_relaxed);
    hg_hold_release(&thread->hold);
}

bool hg_thread_enter_core(struct hg_thread *thread, struct hg_task *task)
{
    pthread_mutex_lock(&thread->lock);
    bool may = !atomic_load(&thread->is_dead) && (task == NULL || !task->is_taken);
    if (may)
        atomic_store(&thread->is_in_core, true);
    pthread_mutex_unlock(&thread->lock);
    return may;
}

void hg_thread_leave_core(struct hg_thread *thread)
{
    atomic_store_explicit(&thread->is_in_core, false, memory_order_release);
}

static void on_begin(struct hg_loop *loop)
{
    struct hg_thread *thread = loop->user;
    current = thread;
    thread->tid = (pid_t)syscall(SYS_gettid);
    hg_watchdog_unblock();
    atomic_store(&thread->has_begun, true);
}

/*
 * With a stack of its own size: C calls that Lua nests need far more than the usual 8 MiB
 * (vm_libs.c). Only what is touched is used.
 */
static int start_loop(struct hg_thread *thread)
{
    if (thread->runtime->is_inline) {
        atomic_store(&thread->has_begun, true);
        return HG_OK;
    }
    pthread_attr_t before, large;
    bool is_set = pthread_getattr_default_np(&before) == 0 &&
                  pthread_getattr_default_np(&large) == 0 &&
                  pthread_attr_setstacksize(&large, STACK_BYTES) == 0 &&
                  pthread_setattr_default_np(&large) == 0;

    int err = hg_loop_start(&thread->loop, on_begin);
    if (is_set)
        pthread_setattr_default_np(&before);
    return err;
}

int hg_thread_create(struct hg_pool *pool, unsigned index, struct hg_thread **out_thread,
                     char **out_error)
{
    struct hg_thread *thread = hg_calloc(1, sizeof(*thread));
    if (thread == NULL)
        return HG_ENOMEM;
    thread->runtime = pool->runtime;
    thread->pool = pool;
    thread->is_discovery = pool == pool->runtime->discovery;
    thread->runs_jobs = thread->is_discovery || (pool == &pool->runtime->pools[0] && index == 0);
    hg_list_init(&thread->tasks);
    hg_list_init(&thread->link);
    hg_sockets_init(thread);
    hg_list_init(&thread->postgres);
    hg_hold_init(&thread->hold);
    thread->wake.deliver = on_wake;
    thread->stop.deliver = on_stop;
    snprintf(thread->name, sizeof(thread->name), "%.10s/%u", pool->name, index % 1000);
    int err = hg_thread_make_vm(pool->runtime, &thread->vm, out_error);
    if (err < 0)
        goto free_thread;
    thread->vm->thread = thread;
    err = hg_loop_init(&thread->loop, thread->name);
    if (err < 0)
        goto free_vm;
    thread->loop.on_list = on_list;
    thread->loop.user = thread;
    pthread_mutex_init(&thread->lock, NULL);
    err = start_loop(thread);
    if (err < 0)
        goto finish_loop;
    *out_thread = thread;
    return HG_OK;

finish_loop:
    pthread_mutex_destroy(&thread->lock);
    hg_loop_finish(&thread->loop);
free_vm:
    hg_vm_destroy(thread->vm);
free_thread:
    hg_free(thread);
    return err;
}

bool hg_thread_destroy(struct hg_thread *thread)
{
    if (atomic_load(&thread->change_count) > 0)
        return false;
    while (atomic_load(&thread->waker_count) > 0) /* in hg_pool_post, for a moment */
        sched_yield();
    hg_list_for_each_safe(it, &thread->tasks)
        hg_task_end(hg_container_of(it, struct hg_task, link));
    if (thread->fetcher != NULL)
        hg_fetcher_close(thread->fetcher, NULL, NULL); /* done when the loop has finished */
    hg_sockets_close_idle(thread);
    hg_postgres_close_all(thread);
    hg_loop_finish(&thread->loop);
    hg_tls_context_destroy(thread->tls);
    hg_vm_destroy(thread->vm);
    pthread_mutex_destroy(&thread->lock);
    hg_free(thread->spare_get);
    hg_free(thread);
    return true;
}
