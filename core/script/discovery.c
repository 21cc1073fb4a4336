/*
 * Who the members of the cluster are, as lua/hgcache/discovery.lua finds out: on a thread of its own, a pool of one, watched and
 * replaced like any script thread. Its one job runs at once and then each discovery_every_ms; another one takes this node's
 * name back when it leaves.
 *
 *   job "discovery" -> core.members.propose(list) -> the node: a view, or refused
 *                  \-> core.members.failed(why)
 *
 * The getters' limits of hg.http are not its own: a membership must not wait for loads.
 */
#include "script/runtime_impl.h"

#include <stdio.h>
#include "net/clock.h"

void hg_discovery_wake(struct hg_runtime *runtime)
{
    struct hg_pool *pool = runtime->discovery;

    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->lock);
    if (pool->threads[0] != NULL)
        hg_thread_wake(pool->threads[0]);
    pthread_mutex_unlock(&pool->lock);
}

void hg_discovery_begin(struct hg_thread *thread)
{
    struct hg_vm *vm = thread->vm;
    struct hg_job *job = &vm->jobs[HG_JOB_DISCOVERY], *leave = &vm->jobs[HG_JOB_LEAVE];

    job->every_ms = thread->runtime->discovery_every_ms;
    leave->every_ms = 0;
    snprintf(job->where, sizeof(job->where), "%.70s", vm->file);
    snprintf(leave->where, sizeof(leave->where), "%.70s", vm->file);
    thread->has_left = false;
    hg_job_start(thread, HG_JOB_DISCOVERY, 0);
}

void hg_discovery_leave(struct hg_thread *thread)
{
    thread->has_left = true;
    if (!hg_job_start(thread, HG_JOB_LEAVE, 0))
        atomic_store(&thread->runtime->has_left, true);
}

void hg_runtime_leave(struct hg_runtime *runtime)
{
    atomic_store(&runtime->is_leaving, true);
    hg_discovery_wake(runtime);
}

bool hg_runtime_has_left(const struct hg_runtime *runtime)
{
    return runtime->discovery == NULL || atomic_load(&runtime->has_left);
}

/* Of discovery's thread, in whose core the caller is then; raises elsewhere. */
static struct hg_thread *enter(lua_State *L, const char *name)
{
    struct hg_thread *thread = hg_vm_of(L)->thread;
    struct hg_task *task = hg_task_running(L);

    if (thread == NULL || !thread->is_discovery || task == NULL)
        luaL_error(L, "%s is of the thread of discovery", name);
    if (!hg_thread_enter_core(thread, task))
        luaL_error(L, "this run is over");
    return thread;
}

/* propose(list, ignored) -> true: it is new | false: it is the one there is | nil, message      [-2, +1|+2, v] */
static int l_propose(lua_State *L)
{
    char error[256] = "";
    luaL_checktype(L, 1, LUA_TTABLE);
    size_t count = lua_objlen(L, 1);
    double ignored = luaL_optnumber(L, 2, 0);
    luaL_argcheck(L, ignored >= 0 && ignored <= 1e9, 2, "expected a number");
    luaL_argcheck(L, count <= HG_RING_MEMBERS_MAX, 1, "too many members");
    struct hg_bytes *items = lua_newuserdata(L, (count + 1) * sizeof(*items));

    for (size_t i = 0; i < count; i++) {
        size_t len;
        lua_rawgeti(L, 1, (int)i + 1); /* stays in the list */
        luaL_argcheck(L, lua_type(L, -1) == LUA_TSTRING, 1, "expected a list of members");
        const char *item = lua_tolstring(L, -1, &len);
        items[i] = hg_bytes(item, len);
        lua_pop(L, 1);
    }
    struct hg_thread *thread = enter(L, "propose");
    struct hg_runtime *runtime = thread->runtime;
    int err = runtime->members->propose(runtime->members_ctx, items, count, (size_t)ignored, error,
                                        sizeof(error));
    hg_thread_leave_core(thread);
    if (err < 0) {
        lua_pushnil(L);
        lua_pushstring(L, error);
        return 2;
    }
    lua_pushboolean(L, err == HG_PENDING);
    return 1;
}

/* failed(why): there is no list to be had now      [-1, +0, v] */
static int l_failed(lua_State *L)
{
    const char *why = luaL_checkstring(L, 1);
    struct hg_thread *thread = enter(L, "failed");

    thread->runtime->members->failed(thread->runtime->members_ctx, why);
    hg_thread_leave_core(thread);
    return 0;
}

/* identity() -> what this node's own address answers to ?who      [-0, +1, v] */
static int l_identity(lua_State *L)
{
    char text[32];
    struct hg_thread *thread = enter(L, "identity");
    uint64_t identity = thread->runtime->members->identity(thread->runtime->members_ctx);
    hg_thread_leave_core(thread);
    snprintf(text, sizeof(text), "%016llx", (unsigned long long)identity);
    lua_pushstring(L, text);
    return 1;
}

/* give_up(why): ends the process      [-1, +0, v] */
static int l_give_up(lua_State *L)
{
    const char *why = luaL_checkstring(L, 1);
    struct hg_thread *thread = enter(L, "give_up");

    thread->runtime->members->give_up(thread->runtime->members_ctx, why);
    hg_thread_leave_core(thread);
    return 0;
}

static const luaL_Reg functions[] = {{"propose", l_propose},
                                     {"failed", l_failed},
                                     {"identity", l_identity},
                                     {"give_up", l_give_up},
                                     {NULL, NULL}};

void hg_lib_members_open(lua_State *L)
{
    lua_newtable(L);
    luaL_setfuncs(L, functions, 0);
    lua_setfield(L, -2, "members");
}
