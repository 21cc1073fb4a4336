/*
 * What specs have of a harness: the table `hgcache.testing.core`. lua/hgcache/testing.lua makes hg.testing of it.
 *
 *   node(file, args, time_ms, dispatcher, peers) -> node        peers: list of names, or nil; raises what is wrong with the configuration
 *   node:call(what, ...), :request(bytes), :advance(ms), :now(), :take_log(), :close()
 *   dispatcher(what, ...): "runs", group, key, is_next; "peer", member, group, key -> value | nil, message, class; else what
 *   hgcache.fakes asks
 */
#include "node/lib_testing.h"

#include <errno.h>
#include <lauxlib.h>
#include <stdio.h>
#include <unistd.h>
#include "base/alloc.h"
#include "node/harness.h"
#include "script/pack.h"

#define MT_NODE "hgcache.testing.node"
/* Nodes made between two full collections: what they hold is nothing to Lua. */
#define NODES_PER_COLLECTION 16
#define RESPONSE_MAX         ((size_t)256 << 20)
#define ARGS_MAX             256
/* What an error shows of a log, from its end. */
#define LOG_TAIL_LINES 5
#define LOG_TAIL_BYTES 2000
/* A node has four for each of its loops, and its configuration is read. */
#define NODE_DESCRIPTORS 32

struct binding {
    lua_State *L; /* of the spec, as it called last */
    int dispatcher_ref,
        failure_ref;            /* failure: the first error of a fake, to be raised in the spec */
    struct hg_harness *harness; /* NULL once closed */
    struct hg_buf arguments, response;
};

/* A protected call of the dispatcher: pushes its arguments, takes its results. */
struct question {
    struct binding *binding;
    struct hg_bytes packed; /* or, with a group, these */
    const char *what, *group;
    struct hg_bytes member, key;
    bool is_next;
    struct hg_buf *answer; /* packed results; NULL: not wanted */
    struct hg_harness_peer *peer;
    const char *kind;
    int err;
};

static void push_bytes(lua_State *L, struct hg_bytes bytes)
{
    lua_pushlstring(L, bytes.len > 0 ? bytes.data : "", bytes.len);
}

/* value [, { ttl = seconds }] | nil [, message, class]; "down" is a class of its own. */
static void take_peer(lua_State *L, struct hg_harness_peer *peer)
{
    size_t len;
    lua_settop(L, 3);
    if (lua_isstring(L, 1)) {
        const char *text = lua_tolstring(L, 1, &len);
        peer->is_down = hg_buf_append(&peer->data, text, len) < 0;
        if (lua_istable(L, 2)) {
            lua_getfield(L, 2, "ttl");
            if (lua_isnumber(L, -1) && lua_tonumber(L, -1) >= 0)
                peer->ttl_ms = (uint64_t)(lua_tonumber(L, -1) * 1000);
        }
    } else if (lua_isnil(L, 2)) {
        peer->status = HG_STATUS_NOT_FOUND;
    } else {
        const char *klass = luaL_optstring(L, 3, "internal");
        const char *message = lua_tolstring(L, 2, &len);
        peer->is_down = strcmp(klass, "down") == 0;
        peer->status = HG_STATUS_ERROR;
        int number = hg_class_from_name(hg_bytes_str(klass));
        peer->klass = number < 0 ? HG_CLASS_INTERNAL : (enum hg_class)number;
        if (message != NULL)
            hg_buf_append(&peer->data, message, len);
    }
}

static int call_dispatcher(lua_State *L)
{
    struct question *question = lua_touserdata(L, 1);
    int count;

    lua_settop(L, 0);
    lua_rawgeti(L, LUA_REGISTRYINDEX, question->binding->dispatcher_ref);
    if (question->what == NULL) {
        count = hg_unpack(L, question->packed);
    } else {
        lua_pushstring(L, question->what);
        push_bytes(L, question->member);
        lua_pushstring(L, question->group);
        push_bytes(L, question->key);
        lua_pushboolean(L, question->is_next);
        count = 5;
    }
    lua_call(L, count, LUA_MULTRET);
    if (question->peer != NULL)
        take_peer(L, question->peer);
    else if (question->answer != NULL)
        question->err = hg_pack(L, 1, question->answer, &question->kind);
    return 0;
}

/* Keeps what lies on top.   [-0, +0, m] */
static void keep_failure(lua_State *L, struct binding *binding)
{
    if (binding->failure_ref != LUA_NOREF)
        return;
    lua_pushvalue(L, -1);
    binding->failure_ref = luaL_ref(L, LUA_REGISTRYINDEX);
}

/* The dispatcher's error goes to `error`, and is kept for the spec. */
static int ask_dispatcher(struct question *question, char *error, size_t error_size)
{
    lua_State *L = question->binding->L;
    int top = lua_gettop(L);

    if (!lua_checkstack(L, 8))
        return HG_ENOMEM;
    if (lua_cpcall(L, call_dispatcher, question) != 0) {
        const char *message = lua_tostring(L, -1);
        snprintf(error, error_size, "%s",
                 message != NULL ? message : "a fake raised an error that is no text");
        question->err = HG_EINVAL;
        keep_failure(L, question->binding);
    } else if (question->err == HG_EINVAL) {
        snprintf(error, error_size, "a fake returned a %s, which cannot pass to its node",
                 question->kind);
        lua_pushstring(L, error);
        keep_failure(L, question->binding);
    }
    lua_settop(L, top);
    return question->err;
}

static int on_ask(void *ctx, struct hg_bytes packed, struct hg_buf *answer, char *error,
                  size_t error_size)
{
    struct question question = {.binding = ctx, .packed = packed, .answer = answer};
    return ask_dispatcher(&question, error, error_size);
}

static void on_runs(void *ctx, const char *group, struct hg_bytes key, bool is_next)
{
    char error[256];
    struct question question = {
        .binding = ctx, .what = "runs", .group = group, .key = key, .is_next = is_next};
    ask_dispatcher(&question, error, sizeof(error));
}

static void on_peer(void *ctx, struct hg_bytes member, const char *group, struct hg_bytes key,
                    struct hg_harness_peer *answer)
{
    char error[512];
    struct question question = {.binding = ctx,
                                .what = "peer",
                                .member = member,
                                .group = group,
                                .key = key,
                                .peer = answer};
    if (ask_dispatcher(&question, error, sizeof(error)) < 0) {
        answer->status = HG_STATUS_ERROR;
        answer->klass = HG_CLASS_INTERNAL;
        hg_buf_clear(&answer->data);
        hg_buf_append_str(&answer->data, error);
    }
}

/* The list at index; its texts stay in it.   [-0, +1, v] */
static const struct hg_bytes *check_names(lua_State *L, int index, size_t *out_count)
{
    luaL_checktype(L, index, LUA_TTABLE);
    size_t count = lua_objlen(L, index);
    struct hg_bytes *items = lua_newuserdata(L, (count + 1) * sizeof(*items));
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, index, (int)i + 1);
        luaL_argcheck(L, lua_type(L, -1) == LUA_TSTRING, index, "expected a list of names");
        items[i].data = lua_tolstring(L, -1, &items[i].len);
        lua_pop(L, 1);
    }
    *out_count = count;
    return items;
}

static struct binding *check_node(lua_State *L)
{
    struct binding *binding = luaL_checkudata(L, 1, MT_NODE);
    if (binding->harness == NULL)
        luaL_error(L, "the node is closed");
    if (!hg_harness_is_running(binding->harness))
        binding->L = L;
    return binding;
}

/* An error of a fake is the spec's, whatever the script made of it. */
static void raise_failure(lua_State *L, struct binding *binding)
{
    int ref = binding->failure_ref;
    if (ref == LUA_NOREF || hg_harness_is_running(binding->harness))
        return;
    binding->failure_ref = LUA_NOREF;
    lua_rawgeti(L, LUA_REGISTRYINDEX, ref);
    luaL_unref(L, LUA_REGISTRYINDEX, ref);
    lua_error(L);
}

static int fail_with_log(lua_State *L, const struct binding *binding, const char *why)
{
    struct hg_bytes log = hg_harness_log(binding->harness);
    size_t from = log.len;
    for (unsigned lines = 0; from > 0 && log.len - from < LOG_TAIL_BYTES; from--)
        if (log.data[from - 1] == '\n' && lines++ == LOG_TAIL_LINES)
            break;
    lua_pushstring(L, why);
    if (from < log.len) {
        lua_pushliteral(L, "; its log:\n");
        lua_pushlstring(L, log.data + from, log.len - from);
        lua_concat(L, 3);
    }
    return lua_error(L);
}

static int fail(lua_State *L, const struct binding *binding, int err)
{
    if (hg_harness_is_running(binding->harness))
        return luaL_error(L, "a fake cannot use the node that asks it");
    if (err == HG_ETIMEDOUT)
        return luaL_error(L, "the node waits for nothing that time could bring");
    if (err == HG_ECANCELED)
        return fail_with_log(L, binding, "the node lost the call");
    return fail_with_log(L, binding, hg_err_text(err));
}

static int l_call(lua_State *L)
{
    struct binding *binding = check_node(L);
    struct hg_bytes results;
    const char *kind = NULL;

    hg_buf_clear(&binding->arguments);
    int err = hg_pack(L, 2, &binding->arguments, &kind);
    if (err == HG_EINVAL)
        return luaL_error(L, "a %s cannot pass to a node", kind);
    if (err == HG_OK)
        err = hg_harness_call(binding->harness, hg_buf_bytes(&binding->arguments), &results);
    raise_failure(L, binding);
    return err < 0 ? fail(L, binding, err) : hg_unpack(L, results);
}

static int l_request(lua_State *L)
{
    struct binding *binding = check_node(L);
    size_t len;
    const char *bytes = luaL_checklstring(L, 2, &len);

    hg_buf_clear(&binding->response);
    int err = hg_harness_request(binding->harness, hg_bytes(bytes, len), &binding->response);
    raise_failure(L, binding);
    if (err < 0)
        return fail(L, binding, err);
    push_bytes(L, hg_buf_bytes(&binding->response));
    return 1;
}

static int l_advance(lua_State *L)
{
    struct binding *binding = check_node(L);
    int err = hg_harness_advance(binding->harness, (uint64_t)luaL_checknumber(L, 2));
    raise_failure(L, binding);
    return err < 0 ? fail(L, binding, err) : 0;
}

static int l_now(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)hg_harness_now(check_node(L)->harness) / 1000);
    return 1;
}

static int l_take_log(lua_State *L)
{
    push_bytes(L, hg_harness_take_log(check_node(L)->harness));
    return 1;
}

static void close_node(lua_State *L, struct binding *binding)
{
    struct hg_harness *harness = binding->harness;

    binding->harness = NULL;
    binding->L = L;
    hg_harness_destroy(harness);
    luaL_unref(L, LUA_REGISTRYINDEX, binding->dispatcher_ref);
    luaL_unref(L, LUA_REGISTRYINDEX, binding->failure_ref);
    binding->dispatcher_ref = binding->failure_ref = LUA_NOREF;
    hg_buf_finish(&binding->arguments);
    hg_buf_finish(&binding->response);
}

static bool is_running(const struct binding *binding)
{
    return binding->harness != NULL && hg_harness_is_running(binding->harness);
}

static int l_close(lua_State *L)
{
    struct binding *binding = luaL_checkudata(L, 1, MT_NODE);
    if (is_running(binding))
        return luaL_error(L, "a fake cannot close the node that asks it");
    close_node(L, binding);
    return 0;
}

/* One that runs is collected only where a fake ends the process (os.exit), which then takes it along. */
static int l_gc(lua_State *L)
{
    struct binding *binding = luaL_checkudata(L, 1, MT_NODE);
    if (!is_running(binding))
        close_node(L, binding);
    return 0;
}

static int check_args(lua_State *L, int index, const char **names, const char **values)
{
    int count = 0;
    luaL_checktype(L, index, LUA_TTABLE);
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING)
            luaL_argerror(L, index, "expected names and texts");
        luaL_argcheck(L, count < ARGS_MAX, index, "too many");
        names[count] = lua_tostring(L, -2);
        values[count++] = lua_tostring(L, -1);
        lua_pop(L, 1);
    }
    return count;
}

static bool has_descriptors(void)
{
    int fds[NODE_DESCRIPTORS], count = 0;
    while (count < NODE_DESCRIPTORS && (fds[count] = dup(STDERR_FILENO)) >= 0)
        count++;
    bool has_all = count == NODE_DESCRIPTORS || errno != EMFILE;
    while (count > 0)
        close(fds[--count]);
    return has_all;
}

static int l_node(lua_State *L)
{
    static int made;
    const char *names[ARGS_MAX], *values[ARGS_MAX];
    struct hg_node_options options = {.file = luaL_checkstring(L, 1)};
    options.args.count = (size_t)check_args(L, 2, names, values);
    options.args.names = names;
    options.args.values = values;
    uint64_t time_ms = (uint64_t)luaL_checknumber(L, 3);
    luaL_checktype(L, 4, LUA_TFUNCTION);
    struct hg_harness_spec spec = {.ask = on_ask, .runs = on_runs};
    if (!lua_isnoneornil(L, 5)) {
        spec.peer = on_peer;
        spec.found = check_names(L, 5, &spec.found_count);
    }

    if (++made % NODES_PER_COLLECTION == 0 || !has_descriptors())
        lua_gc(L, LUA_GCCOLLECT, 0);
    if (!has_descriptors())
        return luaL_error(L, "no more files can be opened (ulimit -n): each node has about 12; "
                             "node:close() ends one");
    struct binding *binding = lua_newuserdata(L, sizeof(*binding));
    *binding = (struct binding){.L = L, .dispatcher_ref = LUA_NOREF, .failure_ref = LUA_NOREF};
    hg_buf_init(&binding->arguments, RESPONSE_MAX);
    hg_buf_init(&binding->response, RESPONSE_MAX);
    luaL_getmetatable(L, MT_NODE);
    lua_setmetatable(L, -2);
    lua_pushvalue(L, 4);
    binding->dispatcher_ref = luaL_ref(L, LUA_REGISTRYINDEX);

    spec.ctx = binding;
    char *why;
    int err = hg_harness_create(&options, time_ms, &spec, &binding->harness, &why);
    if (err < 0) {
        lua_pushstring(L, why != NULL && why[0] != '\0' ? why : hg_err_text(err));
        hg_free(why);
        return lua_error(L);
    }
    raise_failure(L, binding);
    return 1;
}

static int open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"call", l_call},         {"request", l_request}, {"advance", l_advance}, {"now", l_now},
        {"take_log", l_take_log}, {"close", l_close},     {"__gc", l_gc},         {NULL, NULL},
    };
    luaL_newmetatable(L, MT_NODE);
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_newtable(L);
    lua_pushcfunction(L, l_node);
    lua_setfield(L, -2, "node");
    return 1;
}

void hg_lib_testing_preload(lua_State *L)
{
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "preload");
    lua_pushcfunction(L, open);
    lua_setfield(L, -2, "hgcache.testing.core");
    lua_pop(L, 2);
}
