/*
 * on_evict and on_hot: the group queues under the shard's lock, the watchdog makes tasks of it, a script
 * thread runs them.
 */
#include "script/runtime_impl.h"

#include "net/clock.h"
#include "net/log.h"

static void count_dropped(struct hg_runtime *runtime, bool is_hot)
{
    if (is_hot)
        HG_RUNTIME_COUNT(runtime, hot_dropped);
    else
        HG_RUNTIME_COUNT(runtime, evict_dropped);
}

static void queue(struct hg_runtime *runtime, struct hg_evicted evicted)
{
    pthread_mutex_lock(&runtime->evict_lock);
    size_t count = atomic_load(&runtime->evict_count);
    bool has_room = count < HG_EVICTED_MAX && !atomic_load(&runtime->is_stopping);
    if (has_room) {
        hg_value_ref(evicted.value);
        runtime->evicted[(runtime->evict_head + count) % HG_EVICTED_MAX] = evicted;
        atomic_store(&runtime->evict_count, count + 1);
    } else {
        count_dropped(runtime, evicted.minute > 0);
    }
    pthread_mutex_unlock(&runtime->evict_lock);
    if (has_room)
        hg_watchdog_poke(runtime);
}

void hg_runtime_evicted(struct hg_runtime *runtime, struct hg_group *group, struct hg_value *value,
                        int reason)
{
    size_t index = hg_group_index(group);
    if (index < runtime->group_count && runtime->group_evicts[index] &&
        hg_value_status(value) == HG_STATUS_VALUE)
        queue(runtime, (struct hg_evicted){.group = group, .value = value, .reason = reason});
}

void hg_runtime_hot(struct hg_runtime *runtime, struct hg_group *group, struct hg_value *value,
                    uint64_t minute)
{
    size_t index = hg_group_index(group);
    if (index < runtime->group_count && runtime->group_is_told[index] && minute > 0)
        queue(runtime, (struct hg_evicted){.group = group, .value = value, .minute = minute});
}

static bool take(struct hg_runtime *runtime, struct hg_evicted *out)
{
    pthread_mutex_lock(&runtime->evict_lock);
    size_t count = atomic_load(&runtime->evict_count);
    if (count > 0) {
        *out = runtime->evicted[runtime->evict_head];
        runtime->evict_head = (runtime->evict_head + 1) % HG_EVICTED_MAX;
        atomic_store(&runtime->evict_count, count - 1);
    }
    pthread_mutex_unlock(&runtime->evict_lock);
    return count > 0;
}

void hg_evict_dispatch(struct hg_runtime *runtime)
{
    struct hg_evicted evicted;

    while (atomic_load(&runtime->evict_count) > 0 && take(runtime, &evicted)) {
        struct hg_pool *pool = runtime->group_pools[hg_group_index(evicted.group)];
        struct hg_task *task = atomic_load(&pool->pending_count) < HG_EVICTED_MAX
                                   ? hg_task_create(runtime, HG_TASK_EVICT)
                                   : NULL;
        if (task == NULL) {
            hg_value_unref(evicted.value);
            count_dropped(runtime, evicted.minute > 0);
            continue;
        }
        task->group = evicted.group;
        task->value = evicted.value;
        task->reason = evicted.reason;
        task->minute = evicted.minute;
        if (hg_pool_post(pool, task) < 0) {
            hg_task_free(task);
            count_dropped(runtime, evicted.minute > 0);
        }
    }
}

void hg_evict_drop(struct hg_runtime *runtime)
{
    struct hg_evicted evicted;
    while (take(runtime, &evicted))
        hg_value_unref(evicted.value);
}

static int push_evict(lua_State *L, struct hg_task *task, void *ud)
{
    (void)ud;
    struct hg_bytes key = hg_value_key(task->value), data = hg_value_data(task->value);
    if (task->minute > 0) {
        hg_vm_push_on_hot(task->thread->vm, hg_group_index(task->group));
        lua_pushlstring(L, key.data, key.len);
        lua_pushnumber(L, (lua_Number)task->minute);
        return 2;
    }
    hg_vm_push_on_evict(task->thread->vm, hg_group_index(task->group));
    lua_pushlstring(L, key.data, key.len);
    lua_pushlstring(L, data.data != NULL ? data.data : "", data.len);
    lua_pushstring(L, hg_evict_reason_name(task->reason));
    return 3;
}

void hg_evict_begin(struct hg_task *task)
{
    if (!hg_thread_enter_core(task->thread, task)) {
        hg_task_claim(task);
        return;
    }
    task->run_deadline_ms = hg_clock_boot_ms() + HG_EVICT_TIMEOUT_MS;
    hg_task_run(task, push_evict, NULL);
}

/* Of on_evict, on_hot and hg.spawn: nobody waits, so what went wrong is only logged. */
void hg_evict_ended(struct hg_task *task, const struct hg_ending *ending)
{
    static struct hg_log_limit limit;

    if (ending->is_error) {
        const char *what = task->kind != HG_TASK_EVICT ? "hg.spawn"
                           : task->minute > 0          ? "on_hot"
                                                       : "on_evict";
        const char *why = ending->is_timeout  ? "timed out"
                          : ending->is_budget ? "script budget exceeded"
                                              : ending->message;
        hg_log_limited(&limit, 10, HG_LOG_WARN, "%s failed pool=%s err=%s", what,
                       task->thread->pool->name, why);
    }
    if (hg_task_claim(task))
        hg_task_end(task);
}
