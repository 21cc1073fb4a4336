/*
 * core.resolve: the addresses of a name, as the system knows them (/etc/hosts, DNS).
 * core.records: the records of a name, as DNS servers have them.
 *
 *   either -> uv_queue_work: net/dns.h on a thread of libuv's ... on_asked -> the task goes on, or it is gone and nobody is told
 *
 * net/dns.h has the time-out; the thread of the task outlives the look-up (resolve_count).
 */
#include "script/runtime_impl.h"

#include "base/alloc.h"
#include "net/dns.h"

/* One more than a ring takes: too many are refused there, not cut here. */
#define ADDRESSES_MAX (HG_RING_MEMBERS_MAX + 1)

/* The name at index, or raises. */
static const char *check_name(lua_State *L, int index)
{
    size_t len;
    const char *name = luaL_checklstring(L, index, &len);
    luaL_argcheck(L, len > 0 && len <= HG_DNS_NAME_MAX && strlen(name) == len, index,
                  "expected a name");
    return name;
}

struct asking {
    struct hg_op op;
    uv_work_t request;
    struct hg_thread *thread;
    struct hg_dns_question question;
    bool is_resolve;
    int err;
    struct hg_bytes found; /* owned: the addresses, or the message */
    char error[128];
};

/* It cannot be called back, but ends soon: on_asked comes and frees it. */
static bool stop_asking(struct hg_op *op)
{
    atomic_store(&hg_container_of(op, struct asking, op)->question.is_over, true);
    return false;
}

static void destroy_asking(struct hg_op *op)
{
    struct asking *asking = hg_container_of(op, struct asking, op);
    hg_free((void *)asking->found.data);
    hg_free(asking);
}

/* Of the pool. */
static void on_work(uv_work_t *request)
{
    struct asking *asking = hg_container_of(request, struct asking, request);
    asking->err = (asking->is_resolve ? hg_dns_resolve : hg_dns_ask)(
        &asking->question, &asking->found, asking->error, sizeof(asking->error));
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

static int push_addresses(lua_State *L, struct hg_task *task, void *ud)
{
    const struct asking *asking = ud;
    struct hg_bytes rest = asking->found;
    (void)task;

    if (asking->err < 0) {
        lua_pushnil(L);
        lua_pushstring(L, asking->error);
        return 2;
    }
    lua_newtable(L);
    for (int count = 1; rest.len > 0 && count <= ADDRESSES_MAX; count++) {
        size_t len = strlen(rest.data);
        lua_pushlstring(L, rest.data, len);
        lua_rawseti(L, -2, count);
        rest = hg_bytes(rest.data + len + 1, rest.len - len - 1);
    }
    return 1;
}

static int push_records(lua_State *L, struct hg_task *task, void *ud)
{
    const struct asking *asking = ud;
    const char *why = asking->error;
    int err = asking->err;
    (void)task;

    lua_newtable(L);
    if (err == HG_OK) {
        err = hg_dns_read(asking->found, asking->question.type, push_record, L);
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
        hg_task_resume(task, asking->is_resolve ? push_addresses : push_records, asking);
    destroy_asking(&asking->op);
}

/* Takes over asking, which has its question. */
static int start(lua_State *L, struct hg_task *task, struct asking *asking)
{
    asking->op.give_up = stop_asking;
    asking->op.destroy = destroy_asking;
    asking->thread = task->thread;
    uv_queue_work(&task->thread->loop.uv, &asking->request, on_work, on_asked);
    atomic_fetch_add(&task->thread->resolve_count, 1);
    return hg_task_wait(L, task, &asking->op, HG_FOREVER);
}

/* resolve(name, family: 4 | 6) -> list of addresses | nil, message      [-2, +1|+2, v] */
static int l_resolve(lua_State *L)
{
    const char *name = check_name(L, 1);
    lua_Integer family = luaL_checkinteger(L, 2);
    luaL_argcheck(L, family == 4 || family == 6, 2, "expected 4 or 6");
    struct hg_task *task = hg_task_check_wait(L, "resolve");
    struct asking *asking = hg_calloc(1, sizeof(*asking));

    if (asking == NULL)
        return luaL_error(L, "out of memory");
    asking->is_resolve = true;
    asking->question.type = family == 6 ? HG_DNS_AAAA : HG_DNS_A;
    snprintf(asking->question.name, sizeof(asking->question.name), "%s", name);
    return start(L, task, asking);
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
    asking->question.type = types[type];
    asking->question.searches = server_len == 0;
    asking->question.is_tcp = lua_toboolean(L, 4);
    snprintf(asking->question.name, sizeof(asking->question.name), "%s", name);
    snprintf(asking->question.server, sizeof(asking->question.server), "%s", server);
    return start(L, task, asking);
}

void hg_lib_dns_open(lua_State *L)
{
    lua_pushcfunction(L, l_records);
    lua_setfield(L, -2, "records");
    lua_pushcfunction(L, l_resolve);
    lua_setfield(L, -2, "resolve");
}
