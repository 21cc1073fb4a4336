#include "node/config.h"

#include <lauxlib.h>
#include <setjmp.h>
#include <stdio.h>
#include "base/alloc.h"

/* Config memory: blocks freed together. */
struct hg_config_block {
    struct hg_config_block *next;
    _Alignas(max_align_t) char bytes[];
};

struct reader {
    lua_State *L;
    struct hg_config *config;
    char *error;
    size_t error_size;
    jmp_buf fail; /* ours, never Lua's: nothing below calls what can raise */
    int err;
};

static _Noreturn void fail(struct reader *r, int err, const char *what)
{
    snprintf(r->error, r->error_size, "configuration: %s", what);
    r->err = err;
    longjmp(r->fail, 1);
}

static void *take(struct reader *r, size_t size)
{
    struct hg_config_block *block = hg_calloc(1, sizeof(*block) + size);
    if (block == NULL)
        fail(r, HG_ENOMEM, "out of memory");
    block->next = r->config->blocks;
    r->config->blocks = block;
    return block->bytes;
}

static void *take_array(struct reader *r, size_t count, size_t size)
{
    size_t total;
    if (!hg_size_mul(count == 0 ? 1 : count, size, &total))
        fail(r, HG_ENOMEM, "out of memory");
    return take(r, total);
}

/* Pushes the field of the table on top; a missing one is nil. */
static int push(struct reader *r, const char *name)
{
    lua_getfield(r->L, -1, name);
    return lua_type(r->L, -1);
}

static struct hg_bytes copy_text(struct reader *r)
{
    size_t len;
    const char *text = lua_tolstring(r->L, -1, &len);
    char *copy = take(r, len + 1);
    memcpy(copy, text, len);
    return hg_bytes(copy, len);
}

/* NULL when absent. */
static const char *text_or_null(struct reader *r, const char *name)
{
    const char *text = NULL;
    if (push(r, name) == LUA_TSTRING)
        text = copy_text(r).data;
    lua_pop(r->L, 1);
    return text;
}

static const char *text(struct reader *r, const char *name)
{
    const char *found = text_or_null(r, name);
    if (found == NULL)
        fail(r, HG_EINVAL, name);
    return found;
}

static double number(struct reader *r, const char *name)
{
    if (push(r, name) != LUA_TNUMBER)
        fail(r, HG_EINVAL, name);
    double value = lua_tonumber(r->L, -1);
    lua_pop(r->L, 1);
    return value;
}

/* -1 is "for ever". */
static uint64_t whole(struct reader *r, const char *name)
{
    double value = number(r, name);
    return value < 0 ? HG_FOREVER : (uint64_t)value;
}

static bool flag(struct reader *r, const char *name)
{
    push(r, name);
    bool value = lua_toboolean(r->L, -1);
    lua_pop(r->L, 1);
    return value;
}

/* Enters the table of that name; leave with lua_pop. False: absent (and nothing pushed). */
static bool enter(struct reader *r, const char *name)
{
    if (push(r, name) == LUA_TTABLE)
        return true;
    lua_pop(r->L, 1);
    return false;
}

static void enter_or_fail(struct reader *r, const char *name)
{
    if (!enter(r, name))
        fail(r, HG_EINVAL, name);
}

static size_t length(struct reader *r)
{
    return lua_objlen(r->L, -1);
}

static void enter_index(struct reader *r, size_t index)
{
    lua_rawgeti(r->L, -1, (int)index + 1);
}

static struct hg_strings strings(struct reader *r, const char *name)
{
    struct hg_strings list = {NULL, 0};
    if (!enter(r, name))
        return list;
    list.count = length(r);
    struct hg_bytes *items = take_array(r, list.count, sizeof(*items));
    for (size_t i = 0; i < list.count; i++) {
        enter_index(r, i);
        if (lua_type(r->L, -1) != LUA_TSTRING)
            fail(r, HG_EINVAL, name);
        items[i] = copy_text(r);
        lua_pop(r->L, 1);
    }
    list.items = items;
    lua_pop(r->L, 1);
    return list;
}

static struct hg_config_cors read_cors(struct reader *r)
{
    struct hg_config_cors cors = {0};
    int type = push(r, "cors");
    if (type == LUA_TBOOLEAN && !lua_toboolean(r->L, -1)) {
        cors.is_set = cors.is_off = true;
    } else if (type == LUA_TTABLE) {
        cors.is_set = true;
        cors.origins = strings(r, "origins");
        cors.methods = strings(r, "methods");
        cors.headers = strings(r, "headers");
        cors.expose = strings(r, "expose");
        cors.credentials = flag(r, "credentials");
        cors.by_function = flag(r, "by_function");
        cors.max_age_s = whole(r, "max_age");
    }
    lua_pop(r->L, 1);
    return cors;
}

static void read_http(struct reader *r)
{
    struct hg_fetch_limits *fetch = &r->config->fetch;
    enter_or_fail(r, "http");
    fetch->has_origins = push(r, "origins") == LUA_TTABLE;
    lua_pop(r->L, 1);
    struct hg_strings origins = strings(r, "origins");
    const char **texts = take_array(r, origins.count, sizeof(*texts));
    for (size_t i = 0; i < origins.count; i++)
        texts[i] = origins.items[i].data;
    fetch->origins = texts;
    fetch->origin_count = origins.count;
    fetch->concurrency = whole(r, "concurrency");
    fetch->per_load = whole(r, "per_load");
    fetch->ca_file = text_or_null(r, "ca");
    fetch->body_max = r->config->limits.value;
    lua_pop(r->L, 1);
}

static void read_node(struct reader *r)
{
    struct hg_config *c = r->config;
    enter_or_fail(r, "node");
    c->name = text(r, "name");
    c->workers = (unsigned)whole(r, "workers");
    c->drain_timeout_ms = whole(r, "drain_timeout");
    c->drain_delay_ms = whole(r, "drain_delay");
    c->insecure = flag(r, "insecure");
    if (enter(r, "reload_guard")) {
        c->reload_errors = number(r, "errors");
        c->reload_window_ms = whole(r, "window");
        lua_pop(r->L, 1);
    }

    enter_or_fail(r, "pools");
    c->pool_count = length(r);
    c->pools = take_array(r, c->pool_count, sizeof(*c->pools));
    for (size_t i = 0; i < c->pool_count; i++) {
        enter_index(r, i);
        c->pools[i].name = text(r, "name");
        c->pools[i].threads = (unsigned)whole(r, "threads");
        lua_pop(r->L, 1);
    }
    lua_pop(r->L, 1);

    enter_or_fail(r, "listen");
    c->listen_peer = text_or_null(r, "peer");
    c->listen_api = text_or_null(r, "api");
    c->listen_admin = text_or_null(r, "admin");
    lua_pop(r->L, 1);

    enter_or_fail(r, "log");
    int level = hg_log_level_from_name(hg_bytes_str(text(r, "level")));
    c->log_level = level < 0 ? HG_LOG_INFO : (enum hg_log_level)level;
    c->log_format = strcmp(text(r, "format"), "json") == 0 ? HG_LOG_JSON : HG_LOG_TEXT;
    c->log_access = flag(r, "access");
    lua_pop(r->L, 1);

    enter_or_fail(r, "limits");
    c->limits.key = whole(r, "key");
    c->limits.value = whole(r, "value");
    c->limits.headers = whole(r, "headers");
    c->limits.fields = whole(r, "fields");
    c->limits.body = whole(r, "body");
    c->limits.connections = whole(r, "connections");
    c->limits.pipeline = whole(r, "pipeline");
    c->limits.streams = whole(r, "streams");
    c->limits.flights = whole(r, "flights");
    c->limits.waiters = whole(r, "waiters");
    c->limits.peer_message = whole(r, "peer_message");
    c->limits.header_timeout_ms = whole(r, "header_timeout");
    c->limits.idle_timeout_ms = whole(r, "idle_timeout");
    c->limits.write_timeout_ms = whole(r, "write_timeout");
    lua_pop(r->L, 1);

    enter_or_fail(r, "script");
    c->script_memory = whole(r, "memory");
    c->script_budget_ms = whole(r, "budget");
    c->script_jit = flag(r, "jit");
    lua_pop(r->L, 1);
    read_http(r);

    enter_or_fail(r, "shared");
    c->shared.capacity_bytes = whole(r, "capacity");
    c->shared.entries_max = whole(r, "entries");
    lua_pop(r->L, 1);

    enter_or_fail(r, "admin");
    c->admin_tokens = strings(r, "tokens");
    c->admin_hosts = strings(r, "hosts");
    lua_pop(r->L, 1);
    lua_pop(r->L, 1);
}

static void read_cluster(struct reader *r)
{
    struct hg_config *c = r->config;
    c->base_path = "/_hgcache/";
    c->lease_ms = 2000;
    c->peer_timeout_ms = 1000;
    c->min_peers = 1;
    if (!enter(r, "cluster"))
        return;
    c->has_cluster = true;
    c->self = text(r, "self");
    c->peers = strings(r, "peers");
    const char *transport = text(r, "transport");
    c->transport = strcmp(transport, "http") == 0   ? HG_TRANSPORT_HTTP
                   : strcmp(transport, "grpc") == 0 ? HG_TRANSPORT_GRPC
                                                    : HG_TRANSPORT_AUTO;
    c->discovery = text_or_null(r, "discovery");
    c->discovery_every_ms = whole(r, "every");
    c->base_path = text(r, "base_path");
    c->default_group = text_or_null(r, "default_group");
    c->peer_tokens = strings(r, "tokens");
    c->peer_timeout_ms = whole(r, "timeout");
    c->lease_ms = whole(r, "lease");
    c->min_peers = whole(r, "min_peers");
    enter_or_fail(r, "ring");
    c->ring.name = text(r, "name");
    c->ring.hash = strcmp(text(r, "hash"), "crc32") == 0 ? HG_RING_CRC32 : HG_RING_XXH64;
    c->ring.points = (unsigned)whole(r, "points");
    lua_pop(r->L, 2);
}

static void read_sources(struct reader *r)
{
    struct hg_config *c = r->config;
    enter_or_fail(r, "sources");
    c->source_count = length(r);
    c->sources = take_array(r, c->source_count, sizeof(*c->sources));
    for (size_t i = 0; i < c->source_count; i++) {
        enter_index(r, i);
        c->sources[i] = (struct hg_guard_config){
            .concurrency = (unsigned)whole(r, "concurrency"),
            .queue = (unsigned)whole(r, "queue"),
            .timeout_ms = whole(r, "timeout"),
            .retries = (unsigned)whole(r, "retries"),
            .backoff_ms = whole(r, "backoff"),
            .breaker_failures = (unsigned)whole(r, "breaker_failures"),
            .breaker_cooldown_ms = whole(r, "breaker_cooldown"),
        };
        lua_pop(r->L, 1);
    }
    lua_pop(r->L, 1);
}

static void read_groups(struct reader *r)
{
    struct hg_config *c = r->config;
    enter_or_fail(r, "groups");
    c->group_count = length(r);
    c->groups = take_array(r, c->group_count, sizeof(*c->groups));
    for (size_t i = 0; i < c->group_count; i++) {
        enter_index(r, i);
        struct hg_config_group *g = &c->groups[i];
        g->group = (struct hg_group_config){
            .name = text(r, "name"),
            .capacity_bytes = whole(r, "capacity"),
            .shards = (unsigned)whole(r, "shards"),
            .policy = text(r, "policy"),
            .samples = (unsigned)whole(r, "samples"),
            .hot = number(r, "hot"),
            .ttl_ms = whole(r, "ttl"),
            .ttl_jitter = number(r, "ttl_jitter"),
            .negative_ttl_ms = whole(r, "negative_ttl"),
            .error_ttl_ms = whole(r, "error_ttl"),
            .error_ttl_max_ms = whole(r, "error_ttl_max"),
            .stale_while_revalidate_ms = whole(r, "stale_while_revalidate"),
            .stale_if_error_ms = whole(r, "stale_if_error"),
            .early_refresh = number(r, "early_refresh"),
            .deadline_ms = whole(r, "deadline"),
            .stale_on_timeout = strcmp(text(r, "on_timeout"), "stale") == 0,
            .expose_errors = flag(r, "expose_errors"),
            .batch_max = (unsigned)whole(r, "batch_max"),
            .batch_window_ms = whole(r, "batch_window"),
        };
        g->pool = text(r, "pool");
        g->source = whole(r, "source") - 1;
        if (g->source >= c->source_count)
            fail(r, HG_EINVAL, "source");
        g->has_on_evict = flag(r, "has_on_evict");
        g->has_on_hot = flag(r, "has_on_hot");
        lua_pop(r->L, 1);
    }
    lua_pop(r->L, 1);
}

static void read_headers(struct reader *r, struct hg_config_route *route)
{
    if (!enter(r, "headers"))
        return;
    size_t count = length(r);
    struct hg_bytes *names = take_array(r, count, sizeof(*names));
    struct hg_bytes *values = take_array(r, count, sizeof(*values));
    for (size_t i = 0; i < count; i++) {
        enter_index(r, i);
        enter_index(r, 0);
        names[i] = copy_text(r);
        lua_pop(r->L, 1);
        enter_index(r, 1);
        values[i] = copy_text(r);
        lua_pop(r->L, 2);
    }
    route->header_names = (struct hg_strings){names, count};
    route->header_values = (struct hg_strings){values, count};
    lua_pop(r->L, 1);
}

static void read_routes(struct reader *r)
{
    struct hg_config *c = r->config;
    if (!enter(r, "routes"))
        return;
    c->route_count = length(r);
    c->routes = take_array(r, c->route_count, sizeof(*c->routes));
    for (size_t i = 0; i < c->route_count; i++) {
        enter_index(r, i);
        struct hg_config_route *route = &c->routes[i];
        route->route = text(r, "route");
        route->is_function = strcmp(text(r, "kind"), "function") == 0;
        route->timeout_ms = whole(r, "timeout");
        route->cors = read_cors(r);
        if (!route->is_function) {
            route->has_before = number(r, "before") > 0;
            route->group = text_or_null(r, "group");
            route->key = text(r, "key");
            route->as = strcmp(text(r, "as"), "envelope") == 0 ? HG_AS_ENVELOPE : HG_AS_RAW;
            route->type = text_or_null(r, "type");
            route->cache_control = flag(r, "cache_control");
            read_headers(r, route);
        }
        lua_pop(r->L, 1);
    }
    lua_pop(r->L, 1);
}

/* Pages of errors. */
static void read_pages(struct reader *r)
{
    struct hg_config *c = r->config;
    if (!enter(r, "http") || !enter(r, "errors"))
        fail(r, HG_EINVAL, "http");
    c->page_count = length(r);
    c->pages = take_array(r, c->page_count, sizeof(*c->pages));
    for (size_t i = 0; i < c->page_count; i++) {
        enter_index(r, i);
        c->pages[i].status = (int)number(r, "status");
        c->pages[i].text = text_or_null(r, "text");
        lua_pop(r->L, 1);
    }
    lua_pop(r->L, 2);
}

int hg_config_read(struct hg_vm *control, struct hg_config **out_config, char *error,
                   size_t error_size)
{
    struct hg_config *config = hg_calloc(1, sizeof(*config));
    if (config == NULL) {
        snprintf(error, error_size, "configuration: out of memory");
        return HG_ENOMEM;
    }
    struct reader r = {
        .L = hg_vm_state(control), .config = config, .error = error, .error_size = error_size};
    int top = lua_gettop(r.L);
    hg_vm_push_config(control);
    if (setjmp(r.fail) != 0) {
        lua_settop(r.L, top);
        hg_config_destroy(config);
        return r.err;
    }
    if (!lua_checkstack(r.L, 16))
        fail(&r, HG_ENOMEM, "out of memory");
    read_node(&r);
    read_cluster(&r);
    read_sources(&r);
    read_groups(&r);
    read_routes(&r);
    config->cors = read_cors(&r);
    read_pages(&r);
    lua_settop(r.L, top);
    *out_config = config;
    return HG_OK;
}

void hg_config_destroy(struct hg_config *config)
{
    if (config == NULL)
        return;
    struct hg_config_block *block = config->blocks;
    while (block != NULL) {
        struct hg_config_block *next = block->next;
        hg_free(block);
        block = next;
    }
    hg_free(config);
}
