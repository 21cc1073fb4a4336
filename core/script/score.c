/*
 * hg.policy.sampled: a group that is over 95 % full has entries scored by the user's function on a script thread, and the lowest of
 * each few goes. Under no lock: samples are copies, and who was used meanwhile stays.
 *
 *   group --crowded--> flag --watchdog--> task: hgcache.score(score, take, evict) --> hg_group_evict_sample
 *
 * One task at a time for a group, at most ROUNDS_MAX choices each. A score that fails is logged, counted, and left alone
 * for RETRY_MS: until then the least recently used go.
 */
#include "script/runtime_impl.h"

#include <math.h>
#include "group/score.h"
#include "net/clock.h"
#include "net/log.h"

#define ROUNDS_MAX 64
#define RETRY_MS   1000

enum { SCORE_IDLE, SCORE_WANTED, SCORE_RUNNING };

/* What lies between take and evict; a userdata. */
struct hand {
    struct hg_group *group;
    unsigned shard, rounds;
    size_t count;
    struct hg_sample samples[HG_SAMPLES_MAX];
};

void hg_runtime_crowded(struct hg_runtime *runtime, struct hg_group *group)
{
    int idle = SCORE_IDLE;
    if (hg_group_index(group) >= runtime->group_count)
        return;
    struct hg_scoring *scoring = &runtime->scoring[hg_group_index(group)];

    if (!atomic_compare_exchange_strong(&scoring->state, &idle, SCORE_WANTED))
        return;
    atomic_store(&runtime->score_wanted, true);
    hg_watchdog_poke(runtime);
}

void hg_score_dispatch(struct hg_runtime *runtime)
{
    uint64_t now_ms = hg_clock_boot_ms();

    atomic_store(&runtime->score_wanted, false);
    for (size_t i = 0; i < runtime->group_count; i++) {
        struct hg_scoring *scoring = &runtime->scoring[i];
        if (atomic_load(&scoring->state) != SCORE_WANTED || runtime->group_list[i] == NULL)
            continue;
        struct hg_task *task =
            now_ms < atomic_load(&scoring->retry_ms) || atomic_load(&runtime->is_stopping)
                ? NULL
                : hg_task_create(runtime, HG_TASK_SCORE);
        atomic_store(&scoring->state, task == NULL ? SCORE_IDLE : SCORE_RUNNING);
        if (task == NULL)
            continue;
        task->group = runtime->group_list[i];
        if (hg_pool_post(runtime->group_pools[i], task) < 0) {
            hg_task_free(task);
            atomic_store(&scoring->state, SCORE_IDLE);
        }
    }
}

static int l_hand_gc(lua_State *L)
{
    struct hand *hand = lua_touserdata(L, 1);
    hg_samples_release(hand->samples, hand->count);
    hand->count = 0;
    return 0;
}

static void set_number(lua_State *L, const char *field, double number)
{
    lua_pushnumber(L, number);
    lua_setfield(L, -2, field);
}

/* take() -> list of { size, age, idle, hits, cost, ttl }, or nil: there is room again   [-0, +1, v] */
static int l_take(lua_State *L)
{
    struct hand *hand = lua_touserdata(L, lua_upvalueindex(1));
    struct hg_task *task = hg_task_running(L);

    hg_samples_release(hand->samples, hand->count);
    hand->count = 0;
    if (task == NULL || !hg_thread_enter_core(task->thread, task))
        return luaL_error(L, "this task is over");
    if (hand->rounds++ < ROUNDS_MAX && hg_group_is_crowded(hand->group))
        hand->count = hg_group_sample(hand->group, hg_clock_boot_ms(), &hand->shard, hand->samples);
    hg_thread_leave_core(task->thread);
    if (hand->count == 0)
        return 0;
    lua_createtable(L, (int)hand->count, 0);
    for (size_t i = 0; i < hand->count; i++) {
        const struct hg_sample *sample = &hand->samples[i];
        lua_createtable(L, 0, 6);
        set_number(L, "size", (double)sample->size_bytes);
        set_number(L, "age", (double)sample->age_ms / 1000);
        set_number(L, "idle", (double)sample->idle_ms / 1000);
        set_number(L, "hits", (double)sample->hits);
        set_number(L, "cost", (double)sample->cost_ms / 1000);
        set_number(L, "ttl",
                   sample->ttl_ms == HG_FOREVER ? (double)INFINITY : (double)sample->ttl_ms / 1000);
        lua_rawseti(L, -2, (int)i + 1);
    }
    return 1;
}

/* evict(index)   [-1, +0, v] */
static int l_evict(lua_State *L)
{
    struct hand *hand = lua_touserdata(L, lua_upvalueindex(1));
    lua_Integer index = luaL_checkinteger(L, 1);
    struct hg_task *task = hg_task_running(L);

    luaL_argcheck(L, index >= 1 && (size_t)index <= hand->count, 1, "no such sample");
    if (task == NULL || !hg_thread_enter_core(task->thread, task))
        return luaL_error(L, "this task is over");
    hg_group_evict_sample(hand->group, hand->shard, &hand->samples[index - 1]);
    hg_thread_leave_core(task->thread);
    return 0;
}

static int push_score(lua_State *L, struct hg_task *task, void *ud)
{
    (void)ud;
    lua_getglobal(L, "require");
    lua_pushliteral(L, "hgcache.score");
    lua_call(L, 1, 1);
    hg_vm_push_score(task->thread->vm, hg_group_index(task->group));
    struct hand *hand = lua_newuserdata(L, sizeof(*hand));
    hand->group = task->group;
    hand->count = 0;
    hand->rounds = 0;
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, l_hand_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_pushcclosure(L, l_take, 1);
    lua_insert(L, -2);
    lua_pushcclosure(L, l_evict, 1);
    return 3;
}

void hg_score_begin(struct hg_task *task)
{
    if (!hg_thread_enter_core(task->thread, task)) {
        hg_task_claim(task);
        return;
    }
    task->run_deadline_ms = hg_clock_boot_ms() + HG_EVICT_TIMEOUT_MS;
    hg_task_run(task, push_score, NULL);
}

void hg_score_forget(struct hg_runtime *runtime, struct hg_task *task)
{
    struct hg_scoring *scoring = &runtime->scoring[hg_group_index(task->group)];

    HG_RUNTIME_COUNT(runtime, score_errors);
    atomic_store(&scoring->retry_ms, hg_clock_boot_ms() + HG_QUARANTINE_MS);
    atomic_store(&scoring->state, SCORE_IDLE);
}

void hg_score_ended(struct hg_task *task, const struct hg_ending *ending)
{
    static struct hg_log_limit limit;
    struct hg_runtime *runtime = task->runtime;
    struct hg_group *group = task->group;

    if (!hg_task_claim(task)) /* given up: hg_score_forget has seen to it */
        return;
    struct hg_scoring *scoring = &runtime->scoring[hg_group_index(group)];
    if (ending->is_error) {
        const char *why = ending->is_timeout  ? "timed out"
                          : ending->is_budget ? "script budget exceeded"
                                              : ending->message;
        HG_RUNTIME_COUNT(runtime, score_errors);
        atomic_store(&scoring->retry_ms, hg_clock_boot_ms() + RETRY_MS);
        hg_log_limited(&limit, 10, HG_LOG_WARN, "score failed group=%s err=%s",
                       hg_group_name(group), why);
    }
    hg_task_end(task);
    atomic_store(&scoring->state, SCORE_IDLE);
    if (hg_group_is_crowded(group))
        hg_runtime_crowded(runtime, group);
}
