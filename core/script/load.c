/*
 * A getter's run: getter(key, ctx), its attempts, and the report of what it came to.
 */
#include "script/runtime_impl.h"

#include <stdio.h>
#include "base/alloc.h"
#include "net/clock.h"
#include "net/log.h"

/* Of one run where the group has no guard. */
#define RUN_TIMEOUT_MS 5000
/* Backoff never grows past this. */
#define BACKOFF_MS_MAX 30000
#define MESSAGE_MAX    512
#define KEY_LOG_MAX    128

/* ctx.remaining() -> seconds; the deadline is its upvalue. */
static int l_remaining(lua_State *L)
{
    double deadline_ms = lua_tonumber(L, lua_upvalueindex(1));
    double left_ms = deadline_ms - (double)hg_clock_boot_ms();
    lua_pushnumber(L, left_ms > 0 ? left_ms / 1000 : 0);
    return 1;
}

static int l_old_gc(lua_State *L)
{
    struct hg_value **box = lua_touserdata(L, 1);
    struct hg_value *value = *box;
    *box = NULL;
    hg_value_unref(value);
    return 0;
}

/* ctx.old, made a string only when it is looked at. Upvalue: the box. */
static int l_ctx_index(lua_State *L)
{
    struct hg_value **box = lua_touserdata(L, lua_upvalueindex(1));

    if (lua_type(L, 2) != LUA_TSTRING || strcmp(lua_tostring(L, 2), "old") != 0 || *box == NULL)
        return 0;
    struct hg_bytes data = hg_value_data(*box);
    lua_pushlstring(L, data.len > 0 ? data.data : "", data.len);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, -2);
    lua_rawset(L, 1);
    return 1;
}

static void push_etag(lua_State *L, const struct hg_value *value)
{
    struct hg_bytes etag = hg_value_etag(value);
    char made[17];

    if (etag.len > 0) {
        lua_pushlstring(L, etag.data, etag.len);
        return;
    }
    snprintf(made, sizeof(made), "%016llx", (unsigned long long)hg_value_version(value));
    lua_pushstring(L, made);
}

/* What ctx tells about the old value; the table is on top.   [-0, +0, m] */
static void set_old(lua_State *L, struct hg_task *task, uint64_t now_ms)
{
    struct hg_value *old = task->value;
    struct hg_bytes meta = hg_value_meta(old);

    lua_pushnumber(L, now_ms > hg_value_created_ms(old)
                          ? (double)(now_ms - hg_value_created_ms(old)) / 1000
                          : 0);
    lua_setfield(L, -2, "age");
    push_etag(L, old);
    lua_setfield(L, -2, "etag");
    if (meta.len > 0) {
        lua_pushlstring(L, meta.data, meta.len);
        lua_setfield(L, -2, "meta");
    }

    lua_createtable(L, 0, 1);
    struct hg_value **box = lua_newuserdata(L, sizeof(*box));
    *box = NULL;
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, l_old_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    *box = hg_value_ref(old);
    lua_pushcclosure(L, l_ctx_index, 1);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
}

/* ctx.source = { running, queued, breaker }; the table is on top.   [-0, +0, m] */
static void push_source(lua_State *L, struct hg_guard *guard)
{
    struct hg_guard_state state;
    if (guard == NULL)
        return;
    hg_guard_state(guard, &state);
    lua_createtable(L, 0, 3);
    lua_pushinteger(L, (lua_Integer)state.running);
    lua_setfield(L, -2, "running");
    lua_pushinteger(L, (lua_Integer)state.queued);
    lua_setfield(L, -2, "queued");
    lua_pushstring(L, hg_breaker_name(state.breaker));
    lua_setfield(L, -2, "breaker");
    lua_setfield(L, -2, "source");
}

/* { key, ... } of a batch.   [-0, +1, m] */
static void push_keys(lua_State *L, struct hg_task *task)
{
    struct hg_load *leader = task->load;
    int index = 0;

    lua_createtable(L, (int)task->batch_count, 0);
    lua_pushlstring(L, leader->flight.key.data, leader->flight.key.len);
    lua_rawseti(L, -2, ++index);
    hg_list_for_each(it, &leader->followers)
    {
        struct hg_bytes key = hg_container_of(it, struct hg_load, link)->flight.key;
        lua_pushlstring(L, key.data, key.len);
        lua_rawseti(L, -2, ++index);
    }
}

static void note_run(struct hg_vm_fakes *fakes, const struct hg_load *leader)
{
    const char *group = hg_group_name(leader->group);

    fakes->runs(fakes, group, leader->flight.key, false);
    hg_list_for_each(it, &leader->followers)
        fakes->runs(fakes, group, hg_container_of(it, struct hg_load, link)->flight.key, true);
}

static int push_getter(lua_State *L, struct hg_task *task, void *ud)
{
    struct hg_load *load = task->load;
    (void)ud;

    if (task->batch_count > 0)
        hg_vm_push_get_many(task->thread->vm, hg_group_index(load->group));
    else
        hg_vm_push_getter(task->thread->vm, hg_group_index(load->group));
    if (!lua_isfunction(L, -1))
        return luaL_error(L, "the group has no getter in this script state");
    if (task->thread->vm->fakes != NULL)
        note_run(task->thread->vm->fakes, load);
    if (task->batch_count > 0)
        push_keys(L, task);
    else
        lua_pushlstring(L, load->flight.key.data, load->flight.key.len);
    lua_createtable(L, 0, 8);
    lua_pushstring(L, hg_group_name(load->group));
    lua_setfield(L, -2, "group");
    lua_pushstring(L, hg_load_reason_name(load->reason));
    lua_setfield(L, -2, "reason");
    lua_pushinteger(L, (lua_Integer)task->attempt);
    lua_setfield(L, -2, "attempt");
    push_source(L, load->guard);
    lua_pushnumber(L, (double)task->run_deadline_ms);
    lua_pushcclosure(L, l_remaining, 1);
    lua_setfield(L, -2, "remaining");
    if (task->value != NULL)
        set_old(L, task, hg_clock_boot_ms());
    return 2;
}

/* By what it says of the source: denied is an answer (group/guard.h). */
static void count(const struct hg_task *task, const struct hg_outcome *outcome)
{
    for (size_t i = 0; outcome->kind == HG_OUTCOME_MANY && i < outcome->result_count; i++) {
        const struct hg_value *result = outcome->results[i];
        hg_runtime_note_load(task->runtime, task->load->group,
                             hg_value_status(result) == HG_STATUS_ERROR &&
                                 hg_value_class(result) != HG_CLASS_DENIED);
    }
    if (outcome->kind != HG_OUTCOME_MANY)
        hg_runtime_note_load(task->runtime, task->load->group,
                             outcome->kind == HG_OUTCOME_ERROR &&
                                 outcome->klass != HG_CLASS_DENIED);
}

static void report(struct hg_task *task, struct hg_outcome *outcome)
{
    struct hg_load *load = task->load;
    struct hg_loop *here = &task->thread->loop;
    struct hg_runtime *runtime = task->runtime;

    count(task, outcome);
    task->load = NULL;
    hg_task_end(task);
    atomic_fetch_sub(&runtime->task_count, 1);
    load->is_own_fault = outcome->kind == HG_OUTCOME_ERROR && outcome->is_final;
    if (outcome->kind == HG_OUTCOME_MANY) {
        hg_load_finish_many(load, outcome->results, outcome->result_count, hg_clock_boot_ms(),
                            here);
        hg_free(outcome->results);
    } else if (outcome->kind == HG_OUTCOME_RESULT) {
        hg_load_finish(load, outcome->result, hg_clock_boot_ms(), here);
    } else if (outcome->kind == HG_OUTCOME_KEEP) {
        hg_load_keep(load, outcome->keep_ms, hg_clock_boot_ms(), here);
    } else {
        hg_load_report_error(load, outcome->klass, outcome->message, outcome->retry_after_ms, here);
    }
}

struct hg_value *hg_load_error_value(const struct hg_load *load, enum hg_class klass,
                                     const char *message, uint64_t retry_after_ms)
{
    size_t len = strlen(message);
    struct hg_value_spec spec = {
        .status = HG_STATUS_ERROR,
        .klass = klass,
        .key = load->flight.key,
        .data = hg_bytes(message, len < MESSAGE_MAX ? len : MESSAGE_MAX),
        .retry_after_ms = retry_after_ms,
    };
    return hg_value_create(&spec);
}

void hg_load_report_error(struct hg_load *load, enum hg_class klass, const char *message,
                          uint64_t retry_after_ms, struct hg_loop *here)
{
    struct hg_value *error = hg_load_error_value(load, klass, message, retry_after_ms);
    if (error == NULL)
        hg_load_fail(load, klass, HG_BYTES("out of memory"), hg_clock_boot_ms(), here);
    else
        hg_load_finish(load, error, hg_clock_boot_ms(), here);
}

void hg_load_begin(struct hg_task *task)
{
    struct hg_thread *thread = task->thread;
    uint64_t now_ms = hg_clock_boot_ms();

    if (!hg_thread_enter_core(thread, task)) {
        hg_task_claim(task);
        return;
    }
    struct hg_load *load = task->load;
    const struct hg_guard *guard = load->guard;
    uint64_t timeout_ms = guard != NULL ? guard->config.timeout_ms : RUN_TIMEOUT_MS;
    if (timeout_ms == 0) /* 0 means "do not" */
        timeout_ms = HG_FOREVER;
    uint64_t left_ms = hg_quarantine_left(&task->runtime->quarantine, hg_group_index(load->group),
                                          load->flight.key, now_ms);

    if (now_ms >= load->deadline_ms || left_ms > 0 || thread->vm == NULL) {
        struct hg_outcome outcome = {.retry_after_ms = left_ms};
        if (thread->vm == NULL)
            hg_outcome_error(&outcome, HG_CLASS_UNAVAILABLE,
                             "the script state could not be made again");
        else if (left_ms > 0)
            hg_outcome_error(&outcome, HG_CLASS_UNAVAILABLE,
                             "the key is in quarantine: its getter hung a script thread");
        else
            hg_outcome_error(&outcome, HG_CLASS_TIMEOUT, "deadline passed before the getter ran");
        hg_thread_leave_core(thread);
        if (hg_task_claim(task))
            report(task, &outcome);
        return;
    }
    const struct hg_group_config *config = hg_group_config(load->group);
    if (config->batch_max > 0 && task->batch_count == 0) {
        if (config->batch_window_ms > 0 && config->batch_max > 1 && !task->has_waited) {
            task->has_waited = true;
            hg_thread_leave_core(thread);
            hg_task_backoff(task, config->batch_window_ms);
            return;
        }
        task->batch_count = hg_load_gather(load, now_ms);
    }
    if (task->attempt == 0 && load->old != NULL && task->batch_count == 0)
        task->value = hg_value_ref(load->old);
    task->attempt++;
    task->group = load->group;
    task->deadline_ms = load->deadline_ms;
    task->run_deadline_ms = hg_time_add(now_ms, timeout_ms);
    if (task->run_deadline_ms > load->deadline_ms)
        task->run_deadline_ms = load->deadline_ms;
    hg_task_run(task, push_getter, NULL);
}

struct conversion {
    struct hg_task *task;
    const struct hg_ending *ending;
    struct hg_outcome *outcome;
};

static int convert(lua_State *L)
{
    struct conversion *conversion = lua_touserdata(L, 1);
    struct hg_task *task = conversion->task;
    int count = conversion->ending->has_object ? 1 : conversion->ending->result_count;

    /* Results beyond the third mean nothing. */
    if (count > 3) {
        lua_settop(task->co, 3);
        count = 3;
    }
    lua_settop(L, 0);
    lua_xmove(task->co, L, count);
    if (task->batch_count > 0)
        hg_convert_many(L, count, task->load, task->batch_count, conversion->outcome);
    else
        hg_convert_result(L, 1, count, task->load->flight.key, conversion->outcome);
    return 0;
}

static void log_failure(struct hg_task *task, const struct hg_outcome *outcome)
{
    static struct hg_log_limit limit;
    char key[KEY_LOG_MAX];

    hg_log_limited(
        &limit, 20, HG_LOG_WARN, "getter failed group=%s key=%s attempt=%u class=%s err=%s",
        hg_group_name(task->load->group), hg_bytes_escape(task->load->flight.key, key, sizeof(key)),
        task->attempt, hg_class_name(outcome->klass), outcome->message);
}

static uint64_t backoff_ms(const struct hg_guard *guard, unsigned attempt)
{
    uint64_t whole_ms = guard->config.backoff_ms;
    for (unsigned i = 1; i < attempt && whole_ms < BACKOFF_MS_MAX; i++)
        whole_ms *= 2;
    if (whole_ms > BACKOFF_MS_MAX)
        whole_ms = BACKOFF_MS_MAX;
    return whole_ms / 2 + hg_random_u64() % (whole_ms / 2 + 1);
}

/*
 * Whether the same getter is worth another run within the load's deadline; *out_wait_ms until then.
 */
static bool may_retry(const struct hg_task *task, const struct hg_outcome *outcome,
                      uint64_t *out_wait_ms)
{
    const struct hg_guard *guard = task->load->guard;

    if (outcome->kind != HG_OUTCOME_ERROR || outcome->is_final || guard == NULL ||
        task->attempt > guard->config.retries)
        return false;
    if (outcome->klass != HG_CLASS_INTERNAL && outcome->klass != HG_CLASS_UNAVAILABLE &&
        outcome->klass != HG_CLASS_TIMEOUT)
        return false;
    if (atomic_load(&task->runtime->is_stopping))
        return false;
    *out_wait_ms = backoff_ms(guard, task->attempt);
    return hg_time_add(hg_clock_boot_ms(), *out_wait_ms) < task->load->deadline_ms;
}

void hg_load_ended(struct hg_task *task, const struct hg_ending *ending)
{
    struct hg_thread *thread = task->thread;
    struct hg_outcome outcome = {0};
    uint64_t wait_ms;

    if (!hg_thread_enter_core(thread, task)) {
        hg_task_claim(task);
        return;
    }
    if (ending->is_timeout) {
        hg_outcome_error(&outcome, HG_CLASS_TIMEOUT, "getter timed out");
    } else if (ending->is_budget) {
        hg_outcome_error(&outcome, HG_CLASS_TIMEOUT, "script budget exceeded");
        outcome.is_final = true;
    } else if (ending->is_memory) {
        hg_outcome_error(&outcome, HG_CLASS_INTERNAL, "script memory limit reached");
        outcome.is_final = true;
    } else if (ending->is_error &&
               !ending->is_described) { /* error(hg.fail{}) is as good as returning it */
        hg_outcome_error(&outcome, HG_CLASS_INTERNAL, "%s", ending->message);
    } else {
        struct conversion conversion = {.task = task, .ending = ending, .outcome = &outcome};
        int rc = hg_vm_enter(thread->vm, convert, &conversion);
        if (rc != 0) {
            hg_outcome_finish(&outcome);
            hg_outcome_error(&outcome, HG_CLASS_INTERNAL, "%s",
                             rc == LUA_ERRMEM ? "script memory limit reached" : thread->vm->error);
            outcome.is_final = true;
        }
    }
    /* What was thrown is in the log already, with its traceback. */
    bool is_logged = ending->has_object && !ending->is_described && !ending->is_budget;
    if (outcome.kind == HG_OUTCOME_ERROR && !is_logged)
        log_failure(task, &outcome);
    bool is_again = may_retry(task, &outcome, &wait_ms);
    hg_thread_leave_core(thread);
    if (is_again) {
        hg_task_backoff(task, wait_ms);
        return;
    }
    if (hg_task_claim(task))
        report(task, &outcome);
    else
        hg_outcome_finish(&outcome);
}
