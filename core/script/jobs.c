/*
 * hg.at_start and hg.every: what a script does of its own accord, on one thread of the node: the first of the first pool.
 *
 *   chunk: hg.every(...) -> vm->jobs
 *   node serves -> thread wakes -> a task for each job -> timer -> coroutine -> ended -> timer of the next tick
 *
 * A job is one task for its whole life, so that its runs never overlap: ticks that fall into a run are skipped and
 * counted. A thread or a state that is replaced begins the jobs of hg.every anew; a job that hung its thread is not
 * begun again.
 */
#include "script/runtime_impl.h"

#include <stdio.h>
#include "net/clock.h"
#include "net/log.h"

static void set_serving(struct hg_runtime *runtime, bool is_serving)
{
    struct hg_pool *pool = &runtime->pools[0];

    atomic_store(&runtime->is_serving, is_serving);
    pthread_mutex_lock(&pool->lock);
    if (pool->threads[0] != NULL)
        hg_thread_wake(pool->threads[0]);
    pthread_mutex_unlock(&pool->lock);
    hg_discovery_wake(runtime);
}

void hg_runtime_serve(struct hg_runtime *runtime)
{
    set_serving(runtime, true);
}

void hg_runtime_rest(struct hg_runtime *runtime)
{
    set_serving(runtime, false);
}

static const char *name_of(const struct hg_vm *vm, unsigned job)
{
    if (job >= HG_JOBS_MAX)
        return "cluster.peers";
    return vm->jobs[job].every_ms > 0 ? "hg.every" : "hg.at_start";
}

bool hg_job_start(struct hg_thread *thread, unsigned index, uint64_t first_ms)
{
    struct hg_runtime *runtime = thread->runtime;
    struct hg_task *task = hg_task_create(runtime, HG_TASK_JOB);
    if (task == NULL) {
        HG_RUNTIME_COUNT(runtime, job_errors);
        hg_log(HG_LOG_ERROR, "%s cannot begin at=%s err=%s", name_of(thread->vm, index),
               thread->vm->jobs[index].where, hg_err_text(HG_ENOMEM));
        return false;
    }
    task->job = index;
    task->due_ms = hg_time_add(hg_clock_boot_ms(), first_ms);
    hg_task_adopt(thread, task);
    /* By its timer, also at once: a run may replace the state that this loop looks at. */
    hg_task_backoff(task, first_ms);
    return true;
}

void hg_jobs_begin(struct hg_thread *thread)
{
    struct hg_runtime *runtime = thread->runtime;
    struct hg_vm *vm = thread->vm;

    thread->has_jobs = true;
    if (thread->is_discovery) {
        hg_discovery_begin(thread);
        return;
    }
    bool is_first = !atomic_exchange(&runtime->is_started, true);
    for (unsigned i = 0; i < vm->job_count; i++) {
        const struct hg_job *job = &vm->jobs[i];
        if (atomic_load(&runtime->job_hung[i]) || (job->every_ms == 0 && !is_first))
            continue;
        hg_job_start(thread, i, job->every_ms);
    }
}

/* What its ended tasks had begun is no longer true (lua/hgcache/discovery.lua). */
static int forget(lua_State *L)
{
    lua_getglobal(L, "require");
    lua_pushliteral(L, "hgcache.discovery");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "forget");
    lua_call(L, 0, 0);
    return 0;
}

/* Those that wait for a tick; of discovery, which may wait for years, all. */
void hg_jobs_rest(struct hg_thread *thread)
{
    thread->has_jobs = false;
    hg_list_for_each_safe(it, &thread->tasks)
    {
        struct hg_task *task = hg_container_of(it, struct hg_task, link);
        if (!thread->is_discovery &&
            (task->kind != HG_TASK_JOB || task->state != HG_TASK_BACKOFF))
            continue;
        if (hg_task_claim(task))
            hg_task_end(task);
    }
    if (thread->is_discovery && hg_vm_enter(thread->vm, forget, NULL) != 0)
        hg_log(HG_LOG_ERROR, "discovery cannot forget err=%s", thread->vm->error);
}

static int push_job(lua_State *L, struct hg_task *task, void *ud)
{
    (void)ud;
    if (task->job >= HG_JOBS_MAX) {
        hg_vm_push_handler(task->thread->vm, task->job == HG_JOB_LEAVE ? "leave" : "discovery");
        return 0;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, task->thread->vm->jobs_ref);
    lua_rawgeti(L, -1, (int)task->job + 1);
    lua_remove(L, -2);
    return 0;
}

void hg_job_begin(struct hg_task *task)
{
    if (!hg_thread_enter_core(task->thread, task)) {
        hg_task_claim(task);
        return;
    }
    HG_RUNTIME_COUNT(task->runtime, job_runs);
    task->fetch_count = 0; /* node.http.per_load is of each run */
    hg_task_run(task, push_job, NULL);
}

/* The next tick that is still to come. */
static void wait_for_tick(struct hg_task *task, uint64_t every_ms)
{
    uint64_t now_ms = hg_clock_boot_ms();

    task->due_ms += every_ms;
    if (task->due_ms <= now_ms) {
        uint64_t skipped = (now_ms - task->due_ms) / every_ms + 1;
        task->due_ms += skipped * every_ms;
        atomic_fetch_add_explicit(&task->runtime->counters.job_ticks_skipped, skipped,
                                  memory_order_relaxed);
    }
    hg_task_backoff(task, task->due_ms - now_ms);
}

void hg_job_ended(struct hg_task *task, const struct hg_ending *ending)
{
    static struct hg_log_limit limit;
    const struct hg_job *job = &task->thread->vm->jobs[task->job];

    if (ending->is_error) {
        HG_RUNTIME_COUNT(task->runtime, job_errors);
        hg_log_limited(&limit, 10, HG_LOG_WARN, "%s failed at=%s err=%s",
                       name_of(task->thread->vm, task->job), job->where,
                       ending->is_budget ? "script budget exceeded" : ending->message);
    }
    if (task->job == HG_JOB_LEAVE)
        atomic_store(&task->runtime->has_left, true);
    if (job->every_ms > 0 && atomic_load(&task->runtime->is_serving))
        wait_for_tick(task, job->every_ms);
    else if (hg_task_claim(task))
        hg_task_end(task);
}

void hg_job_forget(struct hg_runtime *runtime, struct hg_task *task)
{
    const struct hg_job *job = &task->thread->vm->jobs[task->job];

    bool is_run_again = task->job == HG_JOB_DISCOVERY;

    if (task->job < HG_JOBS_MAX)
        atomic_store(&runtime->job_hung[task->job], true);
    HG_RUNTIME_COUNT(runtime, job_errors);
    hg_log(HG_LOG_ERROR, "%s hung its thread and is %s at=%s", name_of(task->thread->vm, task->job),
           is_run_again ? "begun anew" : "not run again", job->where);
}

/* Keeps the function at the top.   [-1, +0, v] */
static void add_job(lua_State *L, const char *name, uint64_t every_ms)
{
    struct hg_vm *vm = hg_vm_of(L);
    lua_Debug debug;

    if (!vm->is_loading)
        luaL_error(L, "%s can be used only while the configuration is loading", name);
    if (vm->job_count == HG_JOBS_MAX)
        luaL_error(L, "%s: more than %d jobs", name, HG_JOBS_MAX);
    struct hg_job *job = &vm->jobs[vm->job_count];
    lua_pushvalue(L, -1);
    lua_getinfo(L, ">S", &debug);
    snprintf(job->where, sizeof(job->where), "%s:%d", debug.short_src, debug.linedefined);
    job->every_ms = every_ms;
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->jobs_ref);
    lua_insert(L, -2);
    lua_rawseti(L, -2, (int)vm->job_count + 1);
    lua_pop(L, 1);
    vm->job_count++;
}

/* every(duration, fn): runs fn each duration, on one thread of the node   [-2, +0, v] */
static int l_every(lua_State *L)
{
    uint64_t every_ms = 0;
    const char *wrong = hg_convert_duration(L, 1, &every_ms);

    if (wrong != NULL || every_ms == 0 || every_ms > HG_EVERY_MS_MAX)
        return luaL_argerror(
            L, 1, "expected seconds above 0, or a duration such as \"10s\", at most 365 days");
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    add_job(L, "hg.every", every_ms);
    return 0;
}

/* at_start(fn): runs fn once the node serves, on one thread of it   [-1, +0, v] */
static int l_at_start(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    add_job(L, "hg.at_start", 0);
    return 0;
}

void hg_lib_jobs_open(lua_State *L)
{
    lua_newtable(L);
    hg_vm_of(L)->jobs_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushcfunction(L, l_every);
    lua_setfield(L, -2, "every");
    lua_pushcfunction(L, l_at_start);
    lua_setfield(L, -2, "at_start");
}
