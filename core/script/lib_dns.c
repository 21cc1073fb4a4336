/*
 * core.resolve: the addresses of a name, as the system knows them (/etc/hosts, DNS).
 * core.records: the records of a name, as DNS servers have them.
 *
 *   either -> net/dns.h on the thread's own loop ... on_told -> the task goes on
 *
 * A task that ends first gives its look-up up, perhaps from the watchdog's thread. Only the thread itself may touch it, so that posts
 * a mail to it, which frees.
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
    struct hg_thread *thread;
    struct hg_dns_question question;
    struct hg_dns_waiter waiter;
    struct hg_mail stop; /* once given up */
    bool is_resolve;
    bool is_given_up; /* under the thread's lock */
};

static void destroy_asking(struct hg_op *op)
{
    hg_free(hg_container_of(op, struct asking, op));
}

static void on_stop(struct hg_mail *mail)
{
    struct asking *asking = hg_container_of(mail, struct asking, stop);

    hg_dns_cancel(&asking->waiter);
    destroy_asking(&asking->op);
}

static bool stop_asking(struct hg_op *op)
{
    struct asking *asking = hg_container_of(op, struct asking, op);

    asking->is_given_up = true;
    asking->stop.deliver = on_stop;
    hg_loop_post(&asking->thread->loop, &asking->stop);
    return false;
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

struct answer {
    const struct asking *asking;
    int err;
    struct hg_bytes found;
    const char *error;
};

/* nil, message, "none" | "failed"   [-0, +3, m] */
static int push_failure(lua_State *L, int err, const char *text)
{
    lua_pushnil(L);
    lua_pushstring(L, text);
    lua_pushstring(L, err == HG_ENOENT ? "none" : "failed");
    return 3;
}

static int push_addresses(lua_State *L, struct hg_task *task, void *ud)
{
    const struct answer *answer = ud;
    struct hg_bytes rest = answer->found;
    (void)task;

    if (answer->err < 0)
        return push_failure(L, answer->err, answer->error);
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
    const struct answer *answer = ud;
    const char *why = answer->error;
    int err = answer->err;
    (void)task;

    if (err == HG_OK) {
        lua_newtable(L);
        err = hg_dns_read(answer->found, answer->asking->question.type, push_record, L);
        why = "the answer of the DNS server is broken";
    }
    return err == HG_OK ? 1 : push_failure(L, err, why);
}

static void on_told(struct hg_dns_waiter *waiter, int err, struct hg_bytes found, const char *error)
{
    struct asking *asking = hg_container_of(waiter, struct asking, waiter);
    struct hg_thread *thread = asking->thread;
    struct answer answer = {asking, err, found, error};

    struct hg_task *task = hg_task_answered(thread, &asking->op);
    pthread_mutex_lock(&thread->lock);
    bool is_given_up = asking->is_given_up;
    pthread_mutex_unlock(&thread->lock);
    if (task != NULL)
        hg_task_resume(task, asking->is_resolve ? push_addresses : push_records, &answer);
    if (!is_given_up) /* or else the mail is under way */
        destroy_asking(&asking->op);
}

/* Takes over asking, which has its question. */
static int start(lua_State *L, struct hg_task *task, struct asking *asking)
{
    struct hg_loop *loop = &task->thread->loop;
    const char *error;
    char text[128];

    asking->op.give_up = stop_asking;
    asking->op.destroy = destroy_asking;
    asking->thread = task->thread;
    int err = (asking->is_resolve ? hg_dns_resolve : hg_dns_ask)(loop, &asking->question,
                                                                 &asking->waiter, on_told, &error);
    if (err == HG_PENDING)
        return hg_task_wait(L, task, &asking->op, HG_FOREVER);
    if (err == HG_EADDR)
        snprintf(text, sizeof(text), "%s is %s", asking->question.server, error);
    else
        snprintf(text, sizeof(text), "%s", error);
    destroy_asking(&asking->op); /* first: what follows may raise */
    return push_failure(L, err, text);
}

/* resolve(name, family: 4 | 6) -> list of addresses | nil, message, "none" | "failed"      [-2, +1|+3, v] */
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
