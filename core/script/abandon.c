/*
 * Giving a script thread up that does not come back: what it owes is failed, a fresh thread takes
 * its slot, and if it ever returns it finds itself dead, ends quietly and is freed.
 */
#include "script/runtime_impl.h"

#include <sched.h>
#include <stdio.h>
#include <sys/resource.h>
#include "base/alloc.h"
#include "net/clock.h"
#include "net/log.h"

/* Abandoned threads of this process that have not come back; a reload does not forget them. */
static atomic_uint alive_count;

struct owed {
    struct hg_list loads;  /* by hg_load.link */
    struct hg_mail *calls; /* by mail.next */
};

static void take_locked(struct hg_task *task, struct owed *owed)
{
    struct hg_load *load;
    struct hg_route_call *call;

    hg_task_take_locked(task, &load, &call);
    if (load != NULL)
        hg_list_push_back(&owed->loads, &load->link);
    if (call != NULL) {
        call->mail.next = owed->calls;
        owed->calls = &call->mail;
    }
}

static void report(struct hg_runtime *runtime, struct owed *owed, const char *message,
                   bool is_own_fault)
{
    for (struct hg_list *it = hg_list_pop_front(&owed->loads); it != NULL;
         it = hg_list_pop_front(&owed->loads)) {
        atomic_fetch_sub(&runtime->task_count, 1);
        struct hg_load *load = hg_container_of(it, struct hg_load, link);
        hg_runtime_note_load(runtime, load->group, true);
        load->is_own_fault = is_own_fault;
        hg_load_report_error(load, HG_CLASS_TIMEOUT, message, 0, NULL);
    }
    while (owed->calls != NULL) {
        struct hg_route_call *call = hg_container_of(owed->calls, struct hg_route_call, mail);
        owed->calls = owed->calls->next;
        atomic_fetch_sub(&runtime->task_count, 1);
        hg_route_report(call, 504, message);
    }
}

static void quarantine(struct hg_runtime *runtime, struct hg_group *group, struct hg_bytes key,
                       unsigned abandoned)
{
    char text[128];
    uint64_t length_ms =
        hg_quarantine_add(&runtime->quarantine, hg_group_index(group), key, hg_clock_boot_ms());

    HG_RUNTIME_COUNT(runtime, quarantined);
    hg_log(HG_LOG_ERROR, "script thread abandoned group=%s key=%s quarantine_s=%llu abandoned=%u",
           hg_group_name(group), hg_bytes_escape(key, text, sizeof(text)),
           (unsigned long long)(length_ms / 1000), abandoned);
}

/* Last in line for the CPU from now on. */
static void demote(const struct hg_thread *thread)
{
    struct sched_param none = {0};
    if (sched_setscheduler(thread->tid, SCHED_IDLE, &none) != 0)
        setpriority(PRIO_PROCESS, (id_t)thread->tid, 19);
}

static void refuse_pool(struct hg_pool *pool)
{
    struct hg_list pending;

    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->is_refusing, true);
    pthread_mutex_unlock(&pool->lock);
    hg_log(HG_LOG_ERROR, "script pool refuses work: too many abandoned threads pool=%s",
           pool->name);
    hg_list_init(&pending);
    hg_pool_take_expired(pool, HG_FOREVER, &pending);
    for (struct hg_list *it = hg_list_pop_front(&pending); it != NULL;
         it = hg_list_pop_front(&pending)) {
        struct hg_task *task = hg_container_of(it, struct hg_task, link);
        if (task->load != NULL || task->call != NULL)
            atomic_fetch_sub(&pool->runtime->task_count, 1);
        if (task->load != NULL)
            hg_load_report_error(task->load, HG_CLASS_UNAVAILABLE,
                                 "the script pool has abandoned threads", HG_QUARANTINE_MS, NULL);
        if (task->call != NULL)
            hg_route_report(task->call, 503, "the script pool has abandoned threads");
        hg_task_free(task);
    }
}

static void replace_thread(struct hg_pool *pool, unsigned slot, unsigned abandoned)
{
    struct hg_thread *fresh = NULL;
    char *error = NULL;

    if (atomic_load(&pool->runtime->is_stopping))
        return;
    if (abandoned > HG_ABANDONED_MAX) {
        refuse_pool(pool);
        return;
    }
    int err = hg_thread_create(pool, slot, &fresh, &error);
    if (err < 0) {
        hg_log(HG_LOG_ERROR, "script thread cannot be replaced pool=%s err=%s", pool->name,
               error != NULL ? error : hg_err_text(err));
        hg_free(error);
        bool has_any = false;
        for (unsigned i = 0; i < pool->thread_count; i++)
            has_any |= pool->threads[i] != NULL;
        if (!has_any)
            refuse_pool(pool);
        return;
    }
    pthread_mutex_lock(&pool->lock);
    pool->threads[slot] = fresh;
    hg_thread_wake(fresh); /* it may have jobs */
    pthread_mutex_unlock(&pool->lock);
    hg_pool_nudge(pool);
}

bool hg_abandon(struct hg_thread *thread, uint64_t run, bool replace)
{
    struct hg_runtime *runtime = thread->runtime;
    struct hg_pool *pool = thread->pool;
    struct owed owed = {0};
    struct hg_group *group = NULL;
    char *key = NULL;
    size_t key_len = 0;
    unsigned slot = 0;

    hg_list_init(&owed.loads);
    pthread_mutex_lock(&pool->lock);
    pthread_mutex_lock(&thread->lock);
    /*
     * Only out of a run, and not in the core: elsewhere a thread may look at what is about to go.
     */
    uint64_t now_on = atomic_load(&thread->run);
    if ((run != 0 && now_on != run) || (now_on & 1) == 0 || atomic_load(&thread->is_in_core)) {
        pthread_mutex_unlock(&thread->lock);
        pthread_mutex_unlock(&pool->lock);
        return false;
    }
    atomic_store(&thread->is_dead, true);
    struct hg_task *held_by = atomic_load(&thread->running);
    if (held_by != NULL && held_by->load != NULL) {
        group = held_by->load->group;
        key_len = held_by->load->flight.key.len;
        key = hg_strndup(held_by->load->flight.key.data, key_len);
    }
    hg_list_for_each(it, &thread->tasks)
    {
        struct hg_task *task = hg_container_of(it, struct hg_task, link);
        take_locked(task, &owed);
        if (task->kind == HG_TASK_SCORE)
            hg_score_forget(runtime, task);
        if (task->kind == HG_TASK_JOB && task == held_by)
            hg_job_forget(runtime, task);
    }
    while (slot < pool->thread_count && pool->threads[slot] != thread)
        slot++;
    if (slot < pool->thread_count)
        pool->threads[slot] = NULL;
    pthread_mutex_unlock(&thread->lock);
    pthread_mutex_unlock(&pool->lock);

    unsigned abandoned = atomic_fetch_add(&alive_count, 1) + 1;
    HG_RUNTIME_COUNT(runtime, abandoned);
    hg_list_push_back(&runtime->abandoned, &thread->link);
    demote(thread);
    if (replace && key != NULL)
        quarantine(runtime, group, hg_bytes(key, key_len), abandoned);
    else
        hg_log(HG_LOG_ERROR, "script thread abandoned pool=%s abandoned=%u", pool->name, abandoned);
    hg_free(key);
    report(runtime, &owed, replace ? "script thread abandoned" : "draining", true);
    if (replace && slot < pool->thread_count)
        replace_thread(pool, slot, abandoned);
    return true;
}

void hg_abandon_expired(struct hg_thread *thread, uint64_t now_ms)
{
    struct owed owed = {0};

    hg_list_init(&owed.loads);
    pthread_mutex_lock(&thread->lock);
    if (atomic_load(&thread->run) == thread->seen_run && !atomic_load(&thread->is_in_core)) {
        hg_list_for_each(it, &thread->tasks)
        {
            struct hg_task *task = hg_container_of(it, struct hg_task, link);
            if (!task->is_taken && (task->load != NULL || task->call != NULL) &&
                (now_ms >= task->deadline_ms || now_ms >= task->run_deadline_ms))
                take_locked(task, &owed);
        }
    }
    pthread_mutex_unlock(&thread->lock);
    report(thread->runtime, &owed, "getter timed out", false);
}

static void reap(struct hg_thread *thread)
{
    hg_list_remove(&thread->link);
    hg_loop_join(&thread->loop);
    atomic_fetch_sub(&alive_count, 1);
    hg_thread_destroy(thread);
}

void hg_abandoned_reap(struct hg_runtime *runtime)
{
    hg_list_for_each_safe(it, &runtime->abandoned)
    {
        struct hg_thread *thread = hg_container_of(it, struct hg_thread, link);
        if (atomic_load(&thread->has_returned) && atomic_load(&thread->change_count) == 0) {
            hg_log(HG_LOG_WARN, "abandoned script thread came back pool=%s", thread->pool->name);
            reap(thread);
        }
    }
}

void hg_abandoned_leave(struct hg_runtime *runtime)
{
    hg_abandoned_reap(runtime);
    for (struct hg_list *it = hg_list_pop_front(&runtime->abandoned); it != NULL;
         it = hg_list_pop_front(&runtime->abandoned)) {
        struct hg_thread *thread = hg_container_of(it, struct hg_thread, link);
        pthread_detach(thread->loop.thread);
    }
}
