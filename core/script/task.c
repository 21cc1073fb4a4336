/*
 * One coroutine's life. The only file that resumes.
 *
 *   adopt -> (begin) run -> WAITING -> resume -> ... -> ended -> reported by its kind -> end
 *
 * The coroutine is anchored in the VM under its own address. A binding that waits yields `token`;
 * what it waits for (its timer, an op) resumes the task's coroutine, never an inner one
 * (lua/hgcache/boot.lua).
 */
#include "script/runtime_impl.h"

#include <stdio.h>
#include "base/alloc.h"
#include "net/clock.h"
#include "net/log.h"

/* Bytes of a traceback that go into the log. */
#define TRACE_MAX 2048

const char hg_task_token = 0;

static void on_timer(struct hg_timer *timer);

struct hg_task *hg_task_create(struct hg_runtime *runtime, enum hg_task_kind kind)
{
    struct hg_task *task = hg_calloc(1, sizeof(*task));
    if (task == NULL)
        return NULL;
    hg_list_init(&task->link);
    hg_list_init(&task->sockets);
    hg_list_init(&task->transfers);
    task->kind = kind;
    task->runtime = runtime;
    task->deadline_ms = task->run_deadline_ms = task->wait_deadline_ms = HG_FOREVER;
    return task;
}

void hg_task_free(struct hg_task *task)
{
    hg_value_unref(task->value);
    hg_free(task);
}

static void on_timer_closed(struct hg_timer *timer)
{
    hg_task_free(hg_container_of(timer, struct hg_task, timer));
}

static void link_task(struct hg_thread *thread, struct hg_task *task)
{
    task->thread = thread;
    hg_timer_init(&task->timer, &thread->loop);
    task->timer_open = true;
    pthread_mutex_lock(&thread->lock);
    hg_list_push_back(&thread->tasks, &task->link);
    if (task->kind != HG_TASK_JOB) /* which waits most of the time, and makes its thread no busier */
        atomic_fetch_add(&thread->task_count, 1);
    pthread_mutex_unlock(&thread->lock);
}

void hg_task_adopt(struct hg_thread *thread, struct hg_task *task)
{
    link_task(thread, task);
    if (task->kind == HG_TASK_LOAD)
        hg_load_begin(task);
    else if (task->kind == HG_TASK_ROUTE)
        hg_route_begin(task);
    else if (task->kind == HG_TASK_SCORE)
        hg_score_begin(task);
    else if (task->kind == HG_TASK_EVICT)
        hg_evict_begin(task);
}

static void drop_op_locked(struct hg_task *task)
{
    struct hg_op *op = task->op;
    if (op == NULL)
        return;
    task->op = NULL;
    op->task = NULL;
    if (op->give_up(op))
        op->destroy(op);
}

void hg_task_take_locked(struct hg_task *task, struct hg_load **out_load,
                         struct hg_route_call **out_call)
{
    *out_load = task->load;
    *out_call = task->call;
    task->load = NULL;
    task->call = NULL;
    task->is_taken = true;
    hg_transfers_release_locked(task);
    drop_op_locked(task);
}

static void unlink_locked(struct hg_task *task)
{
    if (hg_list_is_empty(&task->link))
        return;
    hg_list_remove(&task->link);
    if (task->kind != HG_TASK_JOB)
        atomic_fetch_sub(&task->thread->task_count, 1);
    if (task->kind == HG_TASK_SPAWN)
        atomic_fetch_sub(&task->thread->spawned_count, 1);
}

static int unanchor(lua_State *L)
{
    struct hg_task *task = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, task->thread->vm->anchors_ref);
    lua_pushlightuserdata(L, task->co);
    lua_pushnil(L);
    lua_rawset(L, -3);
    return 0;
}

/* One whose function has returned can run another one; nothing is left in it but who its globals are. */
static bool keep_coroutine(struct hg_task *task)
{
    struct hg_vm *vm = task->thread->vm;

    if (lua_status(task->co) != 0 || vm->spare_count == HG_SPARES_MAX)
        return false;
    lua_settop(task->co, 0);
    vm->spares[vm->spare_count++] = task->co;
    return true;
}

static void drop_coroutine(struct hg_task *task)
{
    if (task->co != NULL && task->thread->vm != NULL && !keep_coroutine(task))
        hg_vm_enter_reserve(task->thread->vm, unanchor, task);
    task->co = NULL;
}

void hg_task_end(struct hg_task *task)
{
    struct hg_thread *thread = task->thread;

    pthread_mutex_lock(&thread->lock);
    unlink_locked(task);
    drop_op_locked(task);
    pthread_mutex_unlock(&thread->lock);
    hg_sockets_close_of(task);
    hg_transfers_close_of(task);
    hg_postgres_end_turn(task);
    drop_coroutine(task);
    task->state = HG_TASK_ENDED;
    if (task->timer_open) {
        task->timer_open = false;
        hg_timer_close(&task->timer, on_timer_closed);
    }
}

bool hg_task_claim(struct hg_task *task)
{
    struct hg_thread *thread = task->thread;

    pthread_mutex_lock(&thread->lock);
    if (atomic_load(&thread->is_dead)) {
        pthread_mutex_unlock(&thread->lock);
        hg_thread_quit(thread);
        return false;
    }
    bool is_taken = task->is_taken;
    drop_op_locked(task);
    unlink_locked(task);
    pthread_mutex_unlock(&thread->lock);
    if (!is_taken)
        return true;
    HG_RUNTIME_COUNT(task->runtime, late_answers);
    hg_task_end(task);
    return false;
}

struct hg_task *hg_task_running(lua_State *L)
{
    struct hg_thread *thread = hg_vm_of(L)->thread;
    return thread == NULL ? NULL : thread->resuming;
}

const char *hg_task_why_no_wait(lua_State *L)
{
    struct hg_vm *vm = hg_vm_of(L);

    if (vm->is_loading || hg_task_running(L) == NULL)
        return "be used while the configuration is loading";
    if (vm->unyieldable > 0 || !lua_isyieldable(L))
        return "wait here: a C function (table.sort, string.gsub, require, ...) is in between";
    return NULL;
}

struct hg_task *hg_task_check_wait(lua_State *L, const char *name)
{
    const char *why = hg_task_why_no_wait(L);

    if (why != NULL)
        luaL_error(L, "%s cannot %s", name, why);
    return hg_task_running(L);
}

/* Its timer rings at the wait's end or the run's, whichever is first. */
static void arm(struct hg_task *task)
{
    uint64_t at_ms = task->wait_deadline_ms < task->run_deadline_ms ? task->wait_deadline_ms
                                                                    : task->run_deadline_ms;
    if (at_ms == HG_FOREVER) {
        hg_timer_stop(&task->timer);
        return;
    }
    uint64_t now_ms = hg_clock_boot_ms();
    uv_update_time(&task->thread->loop.uv); /* the script may have run for a while */
    hg_timer_start(&task->timer, on_timer, at_ms > now_ms ? at_ms - now_ms : 0);
}

int hg_task_wait(lua_State *L, struct hg_task *task, struct hg_op *op, uint64_t deadline_ms)
{
    struct hg_thread *thread = task->thread;

    pthread_mutex_lock(&thread->lock);
    drop_op_locked(task); /* of a wait whose coroutine was lost */
    task->op = op;
    if (op != NULL)
        op->task = task;
    pthread_mutex_unlock(&thread->lock);
    task->wait_deadline_ms = deadline_ms;
    task->state = HG_TASK_WAITING;
    arm(task);
    lua_pushlightuserdata(L, (void *)&hg_task_token);
    return lua_yield(L, 1);
}

struct hg_task *hg_task_answered(struct hg_thread *thread, struct hg_op *op)
{
    pthread_mutex_lock(&thread->lock);
    struct hg_task *task = op->task;
    bool is_dead = atomic_load(&thread->is_dead);
    if (task != NULL) {
        task->op = NULL;
        op->task = NULL;
    }
    if (task == NULL && !is_dead)
        HG_RUNTIME_COUNT(thread->runtime, late_answers);
    pthread_mutex_unlock(&thread->lock);
    if (is_dead || task == NULL)
        return NULL;
    return task;
}

struct step {
    struct hg_task *task;
    hg_task_push_fn push;
    void *ud;
    int status;
    bool is_stray_yield, is_described;
};

/* The coroutine under its own address, so that taking it out allocates nothing. */
static lua_State *make_coroutine(lua_State *L)
{
    struct hg_vm *vm = hg_vm_of(L);
    if (vm->spare_count > 0) {
        lua_State *spare = vm->spares[--vm->spare_count];
        lua_pushvalue(L, LUA_GLOBALSINDEX);
        lua_xmove(L, spare, 1);
        lua_replace(spare, LUA_GLOBALSINDEX);
        return spare;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->anchors_ref);
    lua_State *co = lua_newthread(L);
    lua_pushlightuserdata(L, co);
    lua_insert(L, -2);
    lua_rawset(L, -3);
    lua_pop(L, 1);
    return co;
}

static void log_error(lua_State *L, struct hg_task *task)
{
    static struct hg_log_limit limit;
    char trace[TRACE_MAX];

    luaL_traceback(L, task->co, NULL, 0);
    snprintf(trace, sizeof(trace), "%s", lua_tostring(L, -1));
    for (char *at = trace; *at != '\0'; at++)
        if (*at == '\n' || *at == '\t')
            *at = *at == '\n' ? '|' : ' ';
    if (!hg_thread_enter_core(task->thread, NULL)) /* dead: pool and group may be gone */
        return;
    hg_log_limited(&limit, 20, HG_LOG_WARN, "script error pool=%s%s%s err=%s trace=%s",
                   task->thread->pool->name, task->group != NULL ? " group=" : "",
                   task->group != NULL ? hg_group_name(task->group) : "", task->thread->error,
                   trace);
    hg_thread_leave_core(task->thread);
}

/* The error object is on top of the dead coroutine: its text goes to thread->error, it stays. */
static bool describe_error(lua_State *L, struct hg_task *task)
{
    struct hg_thread *thread = task->thread;

    lua_settop(L, 0);
    lua_xmove(task->co, L, 1);
    bool is_ours = false;
    if (lua_istable(L, 1)) {
        lua_pushliteral(L, "__hgcache");
        lua_rawget(L, 1);
        is_ours = lua_type(L, -1) == LUA_TSTRING;
        lua_settop(L, 1);
    }
    hg_vm_push_error_text(L, 1);
    size_t len;
    const char *text = lua_tolstring(L, -1, &len);
    snprintf(thread->error, sizeof(thread->error), "%.*s", (int)(len < 512 ? len : 512), text);
    if (!is_ours && !thread->budget_hit)
        log_error(L, task);
    lua_settop(L, 1);
    lua_xmove(L, task->co, 1);
    return is_ours;
}

static int run_step(lua_State *L)
{
    struct step *step = lua_touserdata(L, 1);
    struct hg_task *task = step->task;
    struct hg_thread *thread = task->thread;

    lua_settop(L, 0);
    int count = step->push != NULL ? step->push(L, task, step->ud) : 0;
    if (task->co == NULL) {
        task->co = make_coroutine(L);
        lua_xmove(L, task->co, count + 1);
        HG_RUNTIME_COUNT(task->runtime, tasks);
    } else {
        lua_xmove(L, task->co, count);
    }
    task->state = HG_TASK_RUNNING;
    thread->budget_hit = false;
    thread->resuming = task;
    hg_thread_run_begin(thread, task);
    hg_thread_leave_core(thread);
    step->status = lua_resume(task->co, count);
    if (step->status == LUA_YIELD) {
        step->is_stray_yield = task->state != HG_TASK_WAITING || lua_gettop(task->co) != 1 ||
                               lua_touserdata(task->co, 1) != &hg_task_token;
        if (!step->is_stray_yield)
            lua_settop(task->co, 0);
    } else if (step->status != 0) {
        step->is_described = describe_error(L, task);
    }
    return 0;
}

static void dispatch_end(struct hg_task *task, const struct hg_ending *ending)
{
    struct hg_thread *thread = task->thread;
    bool is_memory = ending->is_memory;

    hg_timer_stop(&task->timer);
    if (ending->is_error)
        HG_RUNTIME_COUNT(task->runtime, errors);
    if (is_memory)
        HG_RUNTIME_COUNT(task->runtime, memory_errors);
    if (task->kind == HG_TASK_LOAD)
        hg_load_ended(task, ending);
    else if (task->kind == HG_TASK_ROUTE)
        hg_route_ended(task, ending);
    else if (task->kind == HG_TASK_SCORE)
        hg_score_ended(task, ending);
    else if (task->kind == HG_TASK_JOB)
        hg_job_ended(task, ending);
    else
        hg_evict_ended(task, ending);
    if (is_memory && !atomic_load(&thread->is_dead))
        hg_thread_relieve(thread);
}

static void step_task(struct hg_task *task, hg_task_push_fn push, void *ud)
{
    struct hg_thread *thread = task->thread;
    struct step step = {.task = task, .push = push, .ud = ud};

    int rc = hg_vm_enter(thread->vm, run_step, &step);
    hg_thread_run_end(thread);
    thread->resuming = NULL;
    hg_thread_leave_core(thread);

    /*
     * Work that was posted while this script held the thread. Under the lock: a dead thread has no
     * pool any more.
     */
    pthread_mutex_lock(&thread->lock);
    bool is_dead = atomic_load(&thread->is_dead);
    if (!is_dead && !thread->is_taking && atomic_load(&thread->pool->pending_count) > 0)
        hg_thread_wake(thread);
    bool is_taken = task->is_taken;
    pthread_mutex_unlock(&thread->lock);
    if (is_dead) {
        hg_thread_quit(thread);
        return;
    }

    struct hg_ending ending = {0};
    if (rc != 0) {
        ending.is_error = true;
        ending.is_memory = rc == LUA_ERRMEM;
        ending.message = thread->vm->error;
    } else if (step.status == LUA_YIELD && !step.is_stray_yield) {
        if (!is_taken)
            return;
        ending.is_error = ending.is_timeout = true;
        ending.message = "";
    } else if (step.status == LUA_YIELD) {
        ending.is_error = true;
        ending.message = "coroutine.yield was called outside of a coroutine of the script's own";
    } else if (step.status != 0) {
        ending.is_error = ending.has_object = true;
        ending.is_memory = step.status == LUA_ERRMEM;
        ending.is_budget = thread->budget_hit;
        ending.is_described = step.is_described && !thread->budget_hit;
        ending.message = thread->error;
    } else {
        ending.result_count = lua_gettop(task->co);
    }
    dispatch_end(task, &ending);
}

static bool enter(struct hg_task *task)
{
    if (hg_thread_enter_core(task->thread, task))
        return true;
    hg_task_claim(task); /* dead: quits; taken: counted and freed */
    return false;
}

void hg_task_run(struct hg_task *task, hg_task_push_fn push, void *ud)
{
    /* The core is entered by the caller, which looked at what the task owes; run_step leaves it. */
    step_task(task, push, ud);
}

void hg_task_resume(struct hg_task *task, hg_task_push_fn push, void *ud)
{
    if (task->state != HG_TASK_WAITING || lua_status(task->co) != LUA_YIELD) {
        HG_RUNTIME_COUNT(task->runtime, late_answers);
        return;
    }
    hg_timer_stop(&task->timer);
    if (enter(task))
        step_task(task, push, ud);
}

static void on_timer(struct hg_timer *timer)
{
    struct hg_task *task = hg_container_of(timer, struct hg_task, timer);
    struct hg_thread *thread = task->thread;

    if (atomic_load(&thread->is_dead)) {
        hg_thread_quit(thread);
        return;
    }
    if (task->state == HG_TASK_BACKOFF) {
        if (task->kind == HG_TASK_JOB)
            hg_job_begin(task);
        else
            hg_load_begin(task);
        return;
    }
    if (task->state == HG_TASK_NEW) { /* spawned */
        if (enter(task))
            step_task(task, NULL, NULL);
        return;
    }
    if (task->state != HG_TASK_WAITING)
        return;

    uint64_t now_ms = hg_clock_boot_ms();
    if (now_ms >= task->run_deadline_ms) {
        struct hg_ending ending = {.is_error = true, .is_timeout = true, .message = ""};
        dispatch_end(task, &ending);
        return;
    }
    if (now_ms < task->wait_deadline_ms) {
        arm(task);
        return;
    }
    pthread_mutex_lock(&thread->lock);
    struct hg_op *op = task->op;
    bool is_given_up = op != NULL && op->give_up(op);
    if (is_given_up) {
        task->op = NULL;
        op->task = NULL;
    }
    pthread_mutex_unlock(&thread->lock);
    if (is_given_up) {
        op->expired(op, task);
    } else if (op == NULL) {
        hg_task_resume(task, NULL, NULL);
    } else {
        task->wait_deadline_ms = HG_FOREVER; /* the answer is in the mail */
        arm(task);
    }
}

void hg_task_backoff(struct hg_task *task, uint64_t backoff_ms)
{
    pthread_mutex_lock(&task->thread->lock);
    drop_op_locked(task);
    pthread_mutex_unlock(&task->thread->lock);
    hg_sockets_close_of(task);
    hg_transfers_close_of(task);
    hg_postgres_end_turn(task);
    drop_coroutine(task);
    task->state = HG_TASK_BACKOFF;
    task->wait_deadline_ms = HG_FOREVER;
    uv_update_time(&task->thread->loop.uv);
    hg_timer_start(&task->timer, on_timer, backoff_ms);
}

int hg_task_spawn(lua_State *L, struct hg_thread *thread)
{
    if (atomic_load(&thread->spawned_count) >= HG_SPAWNED_MAX) {
        lua_pop(L, 1);
        return HG_ELIMIT;
    }
    lua_State *co = make_coroutine(L);
    lua_xmove(L, co, 1);
    /* Nothing raises while in the core. */
    struct hg_task *task = NULL;
    int err = hg_thread_enter_core(thread, NULL) ? HG_OK : HG_ECANCELED;
    if (err == HG_OK) {
        task = hg_task_create(thread->runtime, HG_TASK_SPAWN);
        if (task != NULL) {
            task->co = co;
            atomic_fetch_add(&thread->spawned_count, 1);
            HG_RUNTIME_COUNT(thread->runtime, tasks);
            link_task(thread, task);
            uv_update_time(&thread->loop.uv);
            hg_timer_start(&task->timer, on_timer, 0);
        }
        hg_thread_leave_core(thread);
    }
    if (task != NULL)
        return HG_OK;
    /* The anchor goes with the task otherwise. */
    lua_rawgeti(L, LUA_REGISTRYINDEX, thread->vm->anchors_ref);
    lua_pushlightuserdata(L, co);
    lua_pushnil(L);
    lua_rawset(L, -3);
    lua_pop(L, 1);
    return err < 0 ? err : HG_ENOMEM;
}
