/*
 * core.resolve: the addresses of a name, as the system knows them (/etc/hosts, DNS), looked up by a thread of libuv's.
 * core.records: the records of a name, as DNS servers have them (net/dns.h), by such a thread too.
 *
 *   resolve -> uv_getaddrinfo ... on_resolved -> the task goes on, or it is gone and nobody is told
 *   records -> uv_queue_work  ... on_asked    -> likewise
 *
 * The system's resolver has the time-out of the first, net/dns.h that of the second; the thread of the task outlives the look-up
 * (resolve_count).
 */
#include "script/runtime_impl.h"

#include <netdb.h>
#include "base/alloc.h"
#include "net/dns.h"

/* One more than a ring takes: too many are refused there, not cut here. */
#define ADDRESSES_MAX (HG_RING_MEMBERS_MAX + 1)

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

/* The name at index, or raises. */
static const char *check_name(lua_State *L, int index)
{
    size_t len;
    const char *name = luaL_checklstring(L, index, &len);
    luaL_argcheck(L, len > 0 && len <= HG_DNS_NAME_MAX && strlen(name) == len, index,
                  "expected a name");
    return name;
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
    const char *name = check_name(L, 1);
    lua_Integer family = luaL_checkinteger(L, 2);
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

struct asking {
    struct hg_op op;
    uv_work_t request;
    struct hg_thread *thread;
    struct hg_dns_question question;
    int err;
    struct hg_bytes message; /* owned */
    char error[128];
};

/* The same, but it ends soon. */
static bool stop_asking(struct hg_op *op)
{
    atomic_store(&hg_container_of(op, struct asking, op)->question.is_over, true);
    return false;
}

static void destroy_asking(struct hg_op *op)
{
    struct asking *asking = hg_container_of(op, struct asking, op);
    hg_free((void *)asking->message.data);
    hg_free(asking);
}

/* Of the pool. */
static void on_work(uv_work_t *request)
{
    struct asking *asking = hg_container_of(request, struct asking, request);
    asking->err =
        hg_dns_ask(&asking->question, &asking->message, asking->error, sizeof(asking->error));
}

/* The list is on top of the stack. */
static void push_record(void *ctx, const struct hg_dns_record *record)
{
    lua_State *L = ctx;
    lua_createtable(L, 0, 2);
    lua_pushstring(L, record->name);
    lua_setfield(L, -2, "name");
    if (record->type == HG_DNS_SRV) {
        lua_pushinteger(L, record->port);
        lua_setfield(L, -2, "port");
    } else {
        lua_pushstring(L, record->address);
        lua_setfield(L, -2, "address");
    }
    lua_rawseti(L, -2, (int)lua_objlen(L, -2) + 1);
}

static int push_records(lua_State *L, struct hg_task *task, void *ud)
{
    const struct asking *asking = ud;
    const char *why = asking->error;
    int err = asking->err;
    (void)task;

    lua_newtable(L);
    if (err == HG_OK) {
        err = hg_dns_read(asking->message, asking->question.type, push_record, L);
        why = "the answer of the DNS server is broken";
    }
    if (err == HG_OK)
        return 1;
    lua_pushnil(L);
    lua_pushstring(L, why);
    lua_pushstring(L, err == HG_ENOENT ? "none" : "failed");
    return 3;
}

static void on_asked(uv_work_t *request, int status)
{
    struct asking *asking = hg_container_of(request, struct asking, request);
    struct hg_thread *thread = asking->thread;
    (void)status; /* nobody cancels it */

    hg_thread_resolved(thread);
    struct hg_task *task = hg_task_answered(thread, &asking->op);
    if (task != NULL)
        hg_task_resume(task, push_records, asking);
    destroy_asking(&asking->op);
}

/*
 * records(name, type: "A" | "AAAA" | "SRV", server = those of the system, is_tcp)      [-4, +1|+3, v]
 *   -> list of { name =, port = } (SRV) and { name =, address = } | nil, message, "none" (there is no such record) | "failed"
 */
static int l_records(lua_State *L)
{
    static const char *const names[] = {"A", "AAAA", "SRV", NULL};
    static const enum hg_dns_type types[] = {HG_DNS_A, HG_DNS_AAAA, HG_DNS_SRV};
    size_t server_len;
    const char *name = check_name(L, 1);
    int type = luaL_checkoption(L, 2, NULL, names);
    const char *server = luaL_optlstring(L, 3, "", &server_len);
    luaL_argcheck(L, server_len < sizeof(((struct hg_dns_question *)NULL)->server), 3,
                  "expected an address");
    struct hg_task *task = hg_task_check_wait(L, "records");
    struct asking *asking = hg_calloc(1, sizeof(*asking));

    if (asking == NULL)
        return luaL_error(L, "out of memory");
    asking->op.give_up = stop_asking;
    asking->op.destroy = destroy_asking;
    asking->thread = task->thread;
    asking->question.type = types[type];
    asking->question.searches = server_len == 0;
    asking->question.is_tcp = lua_toboolean(L, 4);
    snprintf(asking->question.name, sizeof(asking->question.name), "%s", name);
    snprintf(asking->question.server, sizeof(asking->question.server), "%s", server);
    uv_queue_work(&task->thread->loop.uv, &asking->request, on_work, on_asked);
    atomic_fetch_add(&task->thread->resolve_count, 1);
    return hg_task_wait(L, task, &asking->op, HG_FOREVER);
}

void hg_lib_dns_open(lua_State *L)
{
    lua_pushcfunction(L, l_records);
    lua_setfield(L, -2, "records");
    lua_pushcfunction(L, l_resolve);
    lua_setfield(L, -2, "resolve");
}
