/*
 * core.resolve: the addresses of a name, as the system knows them (/etc/hosts, DNS), looked up by a thread of libuv's.
 *
 *   resolve -> uv_getaddrinfo ... on_resolved -> the task goes on, or it is gone and nobody is told
 *
 * The system's resolver has the time-out; the thread of the task outlives the look-up (resolve_count).
 */
#include "script/runtime_impl.h"

#include <netdb.h>
#include "base/alloc.h"

#define NAME_MAX_BYTES 255
#define ADDRESSES_MAX  1000

struct lookup {
    struct hg_op op;
    uv_getaddrinfo_t request;
    struct hg_thread *thread;
};

struct found {
    int status;
    const struct addrinfo *addresses;
};

/* It cannot be called back: on_resolved comes and frees it. */
static bool give_up(struct hg_op *op)
{
    (void)op;
    return false;
}

static void destroy(struct hg_op *op)
{
    hg_free(hg_container_of(op, struct lookup, op));
}

static int push_found(lua_State *L, struct hg_task *task, void *ud)
{
    const struct found *found = ud;
    char text[64];
    int count = 0;
    (void)task;

    if (found->status < 0) {
        lua_pushnil(L);
        lua_pushstring(L, uv_strerror(found->status));
        return 2;
    }
    lua_newtable(L);
    for (const struct addrinfo *it = found->addresses; it != NULL && count < ADDRESSES_MAX;
         it = it->ai_next) {
        int rc = it->ai_family == AF_INET6
                     ? uv_ip6_name((const struct sockaddr_in6 *)it->ai_addr, text, sizeof(text))
                     : uv_ip4_name((const struct sockaddr_in *)it->ai_addr, text, sizeof(text));
        if (rc != 0)
            continue;
        lua_pushstring(L, text);
        lua_rawseti(L, -2, ++count);
    }
    return 1;
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *addresses)
{
    struct lookup *lookup = hg_container_of(request, struct lookup, request);
    struct hg_thread *thread = lookup->thread;
    struct found found = {status, addresses};

    hg_thread_resolved(thread);
    struct hg_task *task = hg_task_answered(thread, &lookup->op);
    if (task != NULL)
        hg_task_resume(task, push_found, &found);
    uv_freeaddrinfo(addresses);
    destroy(&lookup->op);
}

/* resolve(name, family: 4 | 6) -> list of addresses | nil, message      [-2, +1|+2, v] */
static int l_resolve(lua_State *L)
{
    size_t len;
    const char *name = luaL_checklstring(L, 1, &len);
    lua_Integer family = luaL_checkinteger(L, 2);
    luaL_argcheck(L, len > 0 && len <= NAME_MAX_BYTES && strlen(name) == len, 1, "expected a name");
    luaL_argcheck(L, family == 4 || family == 6, 2, "expected 4 or 6");
    struct hg_task *task = hg_task_check_wait(L, "resolve");
    struct addrinfo hints = {.ai_family = family == 6 ? AF_INET6 : AF_INET,
                             .ai_socktype = SOCK_STREAM};
    struct lookup *lookup = hg_calloc(1, sizeof(*lookup));
    int rc = UV_ENOMEM;

    if (lookup != NULL) {
        lookup->op.give_up = give_up;
        lookup->op.destroy = destroy;
        lookup->thread = task->thread;
        rc = uv_getaddrinfo(&task->thread->loop.uv, &lookup->request, on_resolved, name, NULL,
                            &hints);
    }
    if (rc < 0) {
        hg_free(lookup);
        lua_pushnil(L);
        lua_pushstring(L, uv_strerror(rc));
        return 2;
    }
    atomic_fetch_add(&task->thread->resolve_count, 1);
    return hg_task_wait(L, task, &lookup->op, HG_FOREVER);
}

void hg_lib_dns_open(lua_State *L)
{
    lua_pushcfunction(L, l_resolve);
    lua_setfield(L, -2, "resolve");
}
