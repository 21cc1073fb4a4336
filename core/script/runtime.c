#include "script/runtime_impl.h"

#include <stdio.h>
#include <unistd.h>
#include "base/alloc.h"
#include "net/clock.h"
#include "net/log.h"

/* How long destroy waits for threads to come to their loops, and for writes under way. */
#define STOP_MS      3000
#define STOP_STEP_US 2000

static char *copy_text(const char *text)
{
    return text == NULL ? NULL : hg_strndup(text, strlen(text));
}

static int copy_config(struct hg_runtime *runtime, const struct hg_runtime_config *config)
{
    const struct hg_script_args *args = &config->vm.args;

    runtime->vm_config = config->vm;
    runtime->vm_config.is_control = false;
    runtime->vm_config.file = copy_text(config->vm.file);
    char **names = hg_calloc(args->count + 1, sizeof(char *)),
         **values = hg_calloc(args->count + 1, sizeof(char *));
    runtime->vm_config.args = (struct hg_script_args){(const char *const *)names,
                                                      (const char *const *)values, args->count};
    if (runtime->vm_config.file == NULL || names == NULL || values == NULL)
        return HG_ENOMEM;
    for (size_t i = 0; i < args->count; i++) {
        names[i] = copy_text(args->names[i]);
        values[i] = copy_text(args->values[i]);
        if (names[i] == NULL || values[i] == NULL)
            return HG_ENOMEM;
    }
    return HG_OK;
}

static void free_config(struct hg_runtime *runtime)
{
    struct hg_script_args *args = &runtime->vm_config.args;
    for (size_t i = 0; i < args->count; i++) {
        if (args->names != NULL)
            hg_free((char *)args->names[i]);
        if (args->values != NULL)
            hg_free((char *)args->values[i]);
    }
    hg_free((void *)args->names);
    hg_free((void *)args->values);
    hg_free((char *)runtime->vm_config.file);
}

static struct hg_pool *find_pool(struct hg_runtime *runtime, const char *name)
{
    for (size_t i = 0; i < runtime->pool_count; i++)
        if (name != NULL && strcmp(runtime->pools[i].name, name) == 0)
            return &runtime->pools[i];
    return NULL;
}

static int map_groups(struct hg_runtime *runtime, const struct hg_runtime_config *config,
                      char **out_error)
{
    size_t count = config->group_count;
    char text[256];

    runtime->group_list = hg_calloc(count + 1, sizeof(struct hg_group *));
    runtime->group_names = hg_calloc(count + 1, sizeof(char *));
    runtime->load_counts = hg_calloc(count + 1, sizeof(struct hg_load_counts));
    runtime->group_pools = hg_calloc(count + 1, sizeof(struct hg_pool *));
    runtime->group_evicts = hg_calloc(count + 1, sizeof(bool));
    runtime->group_is_told = hg_calloc(count + 1, sizeof(bool));
    runtime->scoring = hg_calloc(count + 1, sizeof(struct hg_scoring));
    if (runtime->group_list == NULL || runtime->group_names == NULL ||
        runtime->load_counts == NULL || runtime->group_pools == NULL ||
        runtime->group_evicts == NULL || runtime->group_is_told == NULL || runtime->scoring == NULL)
        return HG_ENOMEM;
    runtime->group_count = count;
    for (size_t i = 0; i < count; i++) {
        if (config->group_list[i] == NULL)
            continue;
        runtime->group_list[i] = config->group_list[i];
        runtime->group_names[i] = hg_group_name(config->group_list[i]);
        runtime->group_pools[i] = find_pool(runtime, config->group_pools[i]);
        if (runtime->group_pools[i] != NULL)
            continue;
        snprintf(text, sizeof(text), "group '%.100s': no pool '%.100s'", runtime->group_names[i],
                 config->group_pools[i]);
        *out_error = copy_text(text);
        return HG_EINVAL;
    }
    return HG_OK;
}

static void note_hooks(struct hg_runtime *runtime, struct hg_vm *vm)
{
    for (size_t i = 0; i < runtime->group_count; i++) {
        hg_vm_push_on_evict(vm, i);
        hg_vm_push_on_hot(vm, i);
        runtime->group_evicts[i] = lua_isfunction(vm->L, -2);
        runtime->group_is_told[i] = lua_isfunction(vm->L, -1);
        lua_pop(vm->L, 2);
    }
}

static int start_threads(struct hg_runtime *runtime, char **out_error)
{
    for (size_t i = 0; i < runtime->pool_count; i++) {
        struct hg_pool *pool = &runtime->pools[i];
        for (unsigned slot = 0; slot < pool->thread_count; slot++) {
            struct hg_thread *thread;
            int err = hg_thread_create(pool, slot, &thread, out_error);
            if (err < 0)
                return err;
            if (i == 0 && slot == 0)
                note_hooks(runtime, thread->vm);
            pool->threads[slot] = thread;
        }
    }
    for (size_t i = 0; i < runtime->pool_count; i++)
        for (unsigned slot = 0; slot < runtime->pools[i].thread_count; slot++)
            while (!atomic_load(&runtime->pools[i].threads[slot]->has_begun))
                usleep(100);
    return HG_OK;
}

static int add_pool(struct hg_runtime *runtime, const struct hg_pool_config *config)
{
    struct hg_pool *pool = &runtime->pools[runtime->pool_count];
    int err = hg_pool_init(pool, runtime, config);
    if (err == HG_OK)
        runtime->pool_count++;
    else
        hg_pool_finish(pool);
    return err;
}

int hg_runtime_create(const struct hg_runtime_config *config, struct hg_runtime **out_runtime,
                      char **out_error)
{
    *out_error = NULL;
    struct hg_runtime *runtime = hg_calloc(1, sizeof(*runtime));
    if (runtime == NULL)
        return HG_ENOMEM;
    runtime->budget_ms = config->budget_ms > 0 ? config->budget_ms : 100;
    runtime->is_inline = config->is_inline;
    runtime->control = config->control;
    runtime->change = config->change;
    runtime->change_ctx = config->change_ctx;
    runtime->reply_max = config->reply_max > 0 ? config->reply_max : (size_t)8 << 20;
    runtime->fetch_limits = config->fetch;
    if (runtime->fetch_limits.concurrency == 0)
        runtime->fetch_limits.concurrency = 256;
    if (runtime->fetch_limits.per_load == 0)
        runtime->fetch_limits.per_load = 1000;
    if (runtime->fetch_limits.body_max == 0)
        runtime->fetch_limits.body_max = (size_t)8 << 20;
    pthread_mutex_init(&runtime->evict_lock, NULL);
    pthread_mutex_init(&runtime->watch_lock, NULL);
    hg_list_init(&runtime->refused);
    hg_list_init(&runtime->abandoned);
    hg_quarantine_init(&runtime->quarantine);
    if (runtime->control != NULL)
        runtime->fingerprint = hg_vm_fingerprint(runtime->control);

    int err = copy_config(runtime, config);
    runtime->members = config->members;
    runtime->members_ctx = config->members_ctx;
    runtime->discovery_every_ms = config->discovery_every_ms;
    runtime->pools = hg_calloc(config->pool_count + 1, sizeof(struct hg_pool));
    if (err == HG_OK && runtime->pools == NULL)
        err = HG_ENOMEM;
    for (size_t i = 0; err == HG_OK && i < config->pool_count; i++)
        err = add_pool(runtime, &config->pools[i]);
    if (err == HG_OK && config->members != NULL) {
        err = add_pool(runtime, &(struct hg_pool_config){.name = "discovery", .threads = 1});
        if (err == HG_OK)
            runtime->discovery = &runtime->pools[runtime->pool_count - 1];
    }
    if (err == HG_OK)
        err = map_groups(runtime, config, out_error);
    if (err == HG_OK)
        err = start_threads(runtime, out_error);
    if (err == HG_OK && !runtime->is_inline)
        err = hg_watchdog_start(runtime);
    if (err < 0) {
        if (*out_error == NULL)
            *out_error = copy_text(hg_err_text(err));
        hg_runtime_destroy(runtime);
        return err;
    }
    *out_runtime = runtime;
    return HG_OK;
}

void hg_runtime_note_load(struct hg_runtime *runtime, const struct hg_group *group, bool is_failed)
{
    struct hg_load_counts *counts = &runtime->load_counts[hg_group_index(group)];
    atomic_fetch_add_explicit(&counts->ended, 1, memory_order_relaxed);
    if (is_failed)
        atomic_fetch_add_explicit(&counts->failed, 1, memory_order_relaxed);
}

void hg_runtime_loads(struct hg_runtime *runtime, const struct hg_group *group,
                      uint64_t *out_ended, uint64_t *out_failed)
{
    size_t index = hg_group_index(group);
    bool is_here = index < runtime->group_count && runtime->group_list[index] == group;
    *out_failed = is_here ? atomic_load_explicit(&runtime->load_counts[index].failed,
                                                 memory_order_relaxed)
                          : 0;
    *out_ended =
        is_here ? atomic_load_explicit(&runtime->load_counts[index].ended, memory_order_relaxed) : 0;
}

int hg_runtime_load(struct hg_runtime *runtime, struct hg_load *load)
{
    size_t index = hg_group_index(load->group);
    struct hg_pool *pool = index < runtime->group_count ? runtime->group_pools[index] : NULL;

    if (pool == NULL) /* the group went with a configuration, or came with the next one */
        return HG_ENOENT;
    if (atomic_load(&runtime->is_stopping) ||
        (atomic_load(&runtime->is_draining) && load->depth == 0))
        return HG_EDRAINING;
    uint64_t left_ms =
        hg_quarantine_left(&runtime->quarantine, index, load->flight.key, hg_clock_boot_ms());
    if (atomic_load(&pool->is_refusing))
        left_ms = HG_QUARANTINE_MS;
    if (left_ms > 0) {
        atomic_fetch_add(&runtime->task_count, 1);
        hg_watchdog_refuse(runtime, load, left_ms);
        return HG_OK;
    }
    struct hg_task *task = hg_task_create(runtime, HG_TASK_LOAD);
    if (task == NULL)
        return HG_ENOMEM;
    task->load = load;
    task->group = load->group;
    task->deadline_ms = load->deadline_ms;
    atomic_fetch_add(&runtime->task_count, 1);
    int err = hg_pool_post(pool, task);
    if (err < 0) {
        atomic_fetch_sub(&runtime->task_count, 1);
        hg_task_free(task);
    }
    return err;
}

size_t hg_runtime_loops(struct hg_runtime *runtime, struct hg_loop **out_loops, size_t max)
{
    size_t count = 0;
    for (size_t i = 0; i < runtime->pool_count; i++)
        for (unsigned slot = 0; slot < runtime->pools[i].thread_count && count < max; slot++)
            out_loops[count++] = &runtime->pools[i].threads[slot]->loop;
    return count;
}

bool hg_runtime_dispatch(struct hg_runtime *runtime)
{
    bool has_scores = atomic_load(&runtime->score_wanted);
    bool has_hooks = atomic_load(&runtime->evict_count) > 0;
    if (has_scores)
        hg_score_dispatch(runtime);
    if (has_hooks)
        hg_evict_dispatch(runtime);
    return has_scores || has_hooks;
}

int hg_runtime_enter(struct hg_runtime *runtime, lua_CFunction fn, void *ud)
{
    struct hg_vm *vm = runtime->pools[0].threads[0]->vm;
    if (vm == NULL)
        return HG_ENOMEM;
    if (hg_vm_enter(vm, fn, ud) == 0)
        return HG_OK;
    hg_log(HG_LOG_ERROR, "script state err=%s", vm->error);
    return HG_ENOMEM;
}

/* While the threads come to their end. */
static void wait_a_step(struct hg_runtime *runtime)
{
    for (size_t i = 0; runtime->is_inline && i < runtime->pool_count; i++)
        for (unsigned slot = 0; slot < runtime->pools[i].thread_count; slot++)
            if (runtime->pools[i].threads[slot] != NULL)
                hg_loop_turn(&runtime->pools[i].threads[slot]->loop);
    if (!runtime->is_inline)
        usleep(STOP_STEP_US);
}

void hg_runtime_stats(struct hg_runtime *runtime, struct hg_runtime_stats *out_stats)
{
    memset(out_stats, 0, sizeof(*out_stats));
#define X(name)                                                                                    \
    out_stats->name = atomic_load_explicit(&runtime->counters.name, memory_order_relaxed);
    HG_RUNTIME_COUNTERS(X)
#undef X
#define X(name)                                                                                    \
    out_stats->fetch.name = atomic_load_explicit(&runtime->fetch.name, memory_order_relaxed);
    HG_FETCH_COUNTERS(X)
#undef X
    out_stats->fetch.running = atomic_load(&runtime->fetch.running);
    out_stats->running = atomic_load(&runtime->task_count);
    for (size_t i = 0; i < runtime->pool_count; i++) {
        struct hg_pool *pool = &runtime->pools[i];
        pthread_mutex_lock(&pool->lock);
        for (unsigned slot = 0; slot < pool->thread_count; slot++) {
            if (pool->threads[slot] == NULL)
                continue;
            out_stats->threads++;
            out_stats->memory_bytes +=
                atomic_load_explicit(&pool->threads[slot]->memory_bytes, memory_order_relaxed);
            out_stats->sockets += atomic_load(&pool->threads[slot]->socket_count);
            out_stats->postgres_connections += atomic_load(&pool->threads[slot]->postgres_count);
        }
        pthread_mutex_unlock(&pool->lock);
    }
}

size_t hg_runtime_running(const struct hg_runtime *runtime)
{
    return atomic_load(&runtime->task_count);
}

bool hg_runtime_is_idle(struct hg_runtime *runtime)
{
    bool is_idle = atomic_load(&runtime->task_count) == 0;
    for (size_t i = 0; i < runtime->pool_count && is_idle; i++) {
        struct hg_pool *pool = &runtime->pools[i];
        pthread_mutex_lock(&pool->lock);
        is_idle = atomic_load(&pool->pending_count) == 0;
        for (unsigned slot = 0; slot < pool->thread_count && is_idle; slot++)
            is_idle = pool->threads[slot] == NULL ||
                      atomic_load(&pool->threads[slot]->task_count) == 0;
        pthread_mutex_unlock(&pool->lock);
    }
    return is_idle;
}

bool hg_runtime_drain(struct hg_runtime *runtime)
{
    atomic_store(&runtime->is_draining, true);
    return atomic_load(&runtime->task_count) == 0;
}

/* Asks each thread to stop; true once all have and nothing of theirs is under way elsewhere. */
static bool stop_threads(struct hg_runtime *runtime)
{
    bool is_done = true;

    for (size_t i = 0; i < runtime->pool_count; i++) {
        struct hg_pool *pool = &runtime->pools[i];
        pthread_mutex_lock(&pool->lock);
        for (unsigned slot = 0; slot < pool->thread_count; slot++) {
            struct hg_thread *thread = pool->threads[slot];
            if (thread == NULL)
                continue;
            if (!thread->stop_posted)
                hg_loop_post(&thread->loop, &thread->stop);
            thread->stop_posted = true;
            is_done &= atomic_load(&thread->has_stopped) &&
                       atomic_load(&thread->change_count) == 0;
        }
        pthread_mutex_unlock(&pool->lock);
    }
    return is_done;
}

static void end_threads(struct hg_pool *pool)
{
    for (unsigned slot = 0; slot < pool->thread_count; slot++) {
        struct hg_thread *thread = pool->threads[slot];
        if (thread == NULL)
            continue;
        /* It blocks in C. In the core it is only for moments. */
        while (!atomic_load(&thread->has_stopped) && !hg_abandon(thread, 0, false))
            usleep(STOP_STEP_US);
        pool->threads[slot] = NULL;
        if (!atomic_load(&thread->has_stopped))
            continue;
        if (atomic_load(
                &thread
                     ->is_dead)) /* it stopped in between, and lies on the list of the abandoned */
            continue;
        hg_loop_stop(&thread->loop); /* also where a write did not come back */
        hg_loop_join(&thread->loop);
        if (!hg_thread_destroy(thread))
            hg_log(HG_LOG_ERROR,
                   "script thread left behind: something of it is still under way pool=%s",
                   pool->name);
    }
}

void hg_runtime_destroy(struct hg_runtime *runtime)
{
    struct hg_list pending;

    if (runtime == NULL)
        return;
    atomic_store(&runtime->is_draining, true);
    atomic_store(&runtime->is_stopping, true);
    for (unsigned waited_us = 0; !stop_threads(runtime) && waited_us < STOP_MS * 1000;
         waited_us += STOP_STEP_US)
        wait_a_step(runtime);
    hg_watchdog_stop(runtime);
    hg_evict_drop(runtime);
    hg_list_init(&pending);
    for (size_t i = 0; i < runtime->pool_count; i++) {
        end_threads(&runtime->pools[i]);
        hg_pool_take_expired(&runtime->pools[i], HG_FOREVER, &pending);
    }
    for (struct hg_list *it = hg_list_pop_front(&pending); it != NULL;
         it = hg_list_pop_front(&pending)) {
        struct hg_task *task = hg_container_of(it, struct hg_task, link);
        if (task->load != NULL)
            hg_load_report_error(task->load, HG_CLASS_UNAVAILABLE, "draining", 0, NULL);
        if (task->call != NULL)
            hg_route_report(task->call, 503, "draining");
        hg_task_free(task);
    }
    hg_abandoned_leave(runtime);
    hg_evict_drop(runtime);

    for (size_t i = 0; i < runtime->pool_count; i++)
        hg_pool_finish(&runtime->pools[i]);
    hg_free(runtime->pools);
    hg_free(runtime->group_list);
    hg_free(runtime->load_counts);
    hg_free((void *)runtime->group_names);
    hg_free(runtime->group_pools);
    hg_free(runtime->group_evicts);
    hg_free(runtime->scoring);
    hg_free(runtime->group_is_told);
    free_config(runtime);
    hg_quarantine_finish(&runtime->quarantine);
    pthread_mutex_destroy(&runtime->evict_lock);
    pthread_mutex_destroy(&runtime->watch_lock);
    hg_free(runtime);
}
