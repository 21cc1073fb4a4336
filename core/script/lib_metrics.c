/*
 * hg.counter, hg.gauge and hg.histogram: metrics of the scripts' own (base/metrics.h), in /metrics beside the node's.
 * Declared while the chunk loads, so that each is there from the start; every state declares the same.
 */
#include "script/runtime_impl.h"

#include <math.h>
#include <stdio.h>
#include "base/metrics.h"
#include "wire/utf8.h"

/* Prometheus' own default: seconds of requests. */
static const double default_bounds[] = {.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10};

static const char *const types[] = {"hgcache.counter", "hgcache.gauge", "hgcache.histogram"};
static const char *const functions[] = {"hg.counter", "hg.gauge", "hg.histogram"};

struct box {                  /* the userdata */
    struct hg_metric *metric; /* NULL: in a state whose scripts do not run */
    size_t label_count;
    char labels[HG_METRIC_LABELS_MAX][HG_METRIC_LABEL_NAME_MAX + 1];
};

/* A label's value as clean text: a bad byte becomes three. */
struct value {
    char text[3 * HG_METRIC_LABEL_VALUE_MAX + 1];
};

/* ---- declaring ---- */

/* Text at index, UTF-8, on the stack at its place.   [-0, +0, v] */
static const char *check_text(lua_State *L, int index, size_t max, const char *wrong)
{
    size_t len;

    luaL_checktype(L, index, LUA_TSTRING);
    const char *text = lua_tolstring(L, index, &len);
    luaL_argcheck(L, len <= max, index, wrong);
    char *clean = lua_newuserdata(L, 3 * len + 1);
    lua_pushlstring(L, clean, hg_utf8_clean(hg_bytes(text, len), clean));
    lua_replace(L, index);
    lua_pop(L, 1);
    return lua_tostring(L, index);
}

static size_t count_fields(lua_State *L, int index)
{
    size_t count = 0;
    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1))
        count++;
    return count;
}

/* How many items the list at index has.   [-0, +0, v] */
static size_t check_list(lua_State *L, int index, size_t max, const char *wrong)
{
    luaL_checktype(L, index, LUA_TTABLE);
    size_t count = lua_objlen(L, index);
    luaL_argcheck(L, count_fields(L, index) == count, index, "expected a list");
    luaL_argcheck(L, count <= max, index, wrong);
    return count;
}

static void read_labels(lua_State *L, int index, struct hg_metric_config *config)
{
    if (lua_isnoneornil(L, index))
        return;
    size_t count = check_list(L, index, HG_METRIC_LABELS_MAX, "more than 8 labels");
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, index, (int)i + 1);
        /* Stays alive: the list holds it. */
        config->labels[i] = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
        lua_pop(L, 1);
    }
    config->label_count = count;
}

static void read_bounds(lua_State *L, int index, struct hg_metric_config *config)
{
    if (config->kind != HG_METRIC_HISTOGRAM)
        return;
    if (lua_isnoneornil(L, index)) {
        memcpy(config->bounds, default_bounds, sizeof(default_bounds));
        config->bound_count = HG_COUNT(default_bounds);
        return;
    }
    size_t count = check_list(L, index, HG_METRIC_BOUNDS_MAX, "more than 64 buckets");
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, index, (int)i + 1);
        config->bounds[i] = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : (double)NAN;
        lua_pop(L, 1);
    }
    config->bound_count = count;
}

/* declare(name, help, labels, buckets) -> metric. Upvalue: its kind.   [-0, +1, v] */
static int l_declare(lua_State *L)
{
    struct hg_vm *vm = hg_vm_of(L);
    struct hg_metric_config config = {
        .kind = (enum hg_metric_kind)lua_tointeger(L, lua_upvalueindex(1))};
    const char *function = functions[config.kind];
    struct hg_metric *metric = NULL;
    int err = HG_OK;

    if (!vm->is_loading)
        return luaL_error(L, "%s can be used only while the configuration is loading", function);
    lua_settop(L, 4);
    config.name = check_text(L, 1, HG_METRIC_NAME_MAX, "the name is longer than 128 bytes");
    config.help = check_text(L, 2, HG_METRIC_HELP_MAX, "the help text is longer than 512 bytes");
    read_labels(L, 3, &config);
    read_bounds(L, 4, &config);
    const char *wrong = hg_metric_check(&config);
    if (wrong != NULL)
        return luaL_error(L, "%s: %s", function, wrong);
    struct box *box = lua_newuserdata(L, sizeof(*box));
    if (vm->metrics != NULL)
        err = hg_metrics_declare(vm->metrics, &config, &metric);
    if (err == HG_EINVAL)
        return luaL_error(
            L, "%s: there is a metric with this name, or with rows of this name, already",
            function);
    if (err == HG_ELIMIT)
        return luaL_error(L, "%s: more than %d metrics", function, HG_METRICS_MAX);
    if (err < 0)
        return luaL_error(L, "%s: %s", function, hg_err_text(err));
    box->metric = metric;
    box->label_count = config.label_count;
    for (size_t i = 0; i < config.label_count; i++)
        snprintf(box->labels[i], sizeof(box->labels[i]), "%s", config.labels[i]);
    luaL_getmetatable(L, types[config.kind]);
    lua_setmetatable(L, -2);
    return 1;
}

/* ---- noting ---- */

static struct box *check_box(lua_State *L, enum hg_metric_kind kind)
{
    struct box *box = luaL_checkudata(L, 1, types[kind]);
    struct hg_vm *vm = hg_vm_of(L);

    if (vm->is_loading || vm->thread == NULL || box->metric == NULL)
        luaL_error(L, "a metric cannot be changed while the configuration is loading");
    return box;
}

static double check_number(lua_State *L, int index)
{
    luaL_checktype(L, index, LUA_TNUMBER);
    double number = lua_tonumber(L, index);
    luaL_argcheck(L, !isnan(number), index, "NaN is no number");
    return number;
}

static struct hg_bytes clean(struct hg_bytes bytes, struct value *value)
{
    if (bytes.len > HG_METRIC_LABEL_VALUE_MAX) /* which is dropped for it */
        return bytes;
    return hg_bytes(value->text, hg_utf8_clean(bytes, value->text));
}

/* The values of the labels table at index, which has each of the metric's and no other.   [-0, +0, v] */
static void check_labels(lua_State *L, int index, const struct box *box, struct value *texts,
                         struct hg_bytes *out_values)
{
    if (box->label_count == 0 && lua_isnoneornil(L, index))
        return;
    luaL_checktype(L, index, LUA_TTABLE);
    for (size_t i = 0; i < box->label_count; i++) {
        struct hg_bytes bytes;
        lua_pushstring(L, box->labels[i]);
        lua_rawget(L, index);
        int type = lua_type(L, -1);
        if (type != LUA_TSTRING && type != LUA_TNUMBER && type != LUA_TBOOLEAN)
            luaL_error(L, "label '%s': expected a string, a number or a boolean, found %s",
                       box->labels[i], luaL_typename(L, -1));
        if (type == LUA_TBOOLEAN)
            bytes = lua_toboolean(L, -1) ? HG_BYTES("true") : HG_BYTES("false");
        else
            bytes.data = lua_tolstring(L, -1, &bytes.len);
        out_values[i] = clean(bytes, &texts[i]);
        /* A long one stays what the table holds; a number is short. */
        lua_pop(L, 1);
    }
    if (count_fields(L, index) != box->label_count)
        luaL_error(L, "the labels have a name that was not declared");
}

typedef int (*note_fn)(struct hg_metric *metric, const struct hg_bytes *values, double number);

/* What cannot be noted is dropped and counted: nobody's request fails for it. */
static int note(lua_State *L, const struct box *box, note_fn note_it, double number)
{
    struct value texts[HG_METRIC_LABELS_MAX];
    struct hg_bytes values[HG_METRIC_LABELS_MAX];
    struct hg_thread *thread = hg_vm_of(L)->thread;

    check_labels(L, 3, box, texts, values);
    if (!hg_thread_enter_core(thread, hg_task_running(L)))
        return luaL_error(L, "this task is over");
    note_it(box->metric, values, number);
    hg_thread_leave_core(thread);
    return 0;
}

/* counter:inc(by = 1, labels)   [-0, +0, v] */
static int l_counter_inc(lua_State *L)
{
    const struct box *box = check_box(L, HG_METRIC_COUNTER);
    double by = lua_isnoneornil(L, 2) ? 1 : check_number(L, 2);
    luaL_argcheck(L, by >= 0 && isfinite(by), 2, "a counter goes up only, by a finite number");
    return note(L, box, hg_metric_add, by);
}

/* gauge:inc(by = 1, labels)   [-0, +0, v] */
static int l_gauge_inc(lua_State *L)
{
    const struct box *box = check_box(L, HG_METRIC_GAUGE);
    double by = lua_isnoneornil(L, 2) ? 1 : check_number(L, 2);
    luaL_argcheck(L, isfinite(by), 2, "expected a finite number");
    return note(L, box, hg_metric_add, by);
}

/* gauge:set(value, labels)   [-0, +0, v] */
static int l_gauge_set(lua_State *L)
{
    const struct box *box = check_box(L, HG_METRIC_GAUGE);
    return note(L, box, hg_metric_set, check_number(L, 2));
}

/* histogram:observe(value, labels)   [-0, +0, v] */
static int l_observe(lua_State *L)
{
    const struct box *box = check_box(L, HG_METRIC_HISTOGRAM);
    double value = check_number(L, 2);
    luaL_argcheck(L, isfinite(value), 2, "expected a finite number");
    return note(L, box, hg_metric_observe, value);
}

static const luaL_Reg counter_methods[] = {{"inc", l_counter_inc}, {NULL, NULL}};
static const luaL_Reg gauge_methods[] = {{"inc", l_gauge_inc}, {"set", l_gauge_set}, {NULL, NULL}};
static const luaL_Reg histogram_methods[] = {{"observe", l_observe}, {NULL, NULL}};

void hg_lib_metrics_open(lua_State *L)
{
    static const luaL_Reg *const methods[] = {counter_methods, gauge_methods, histogram_methods};

    for (size_t kind = 0; kind < HG_COUNT(types); kind++) {
        luaL_newmetatable(L, types[kind]);
        lua_newtable(L);
        luaL_setfuncs(L, methods[kind], 0);
        lua_setfield(L, -2, "__index");
        lua_pushstring(L, types[kind]);
        lua_setfield(L, -2, "__metatable");
        lua_pop(L, 1);
        lua_pushinteger(L, (lua_Integer)kind);
        lua_pushcclosure(L, l_declare, 1);
        lua_setfield(L, -2, functions[kind] + 3);
    }
}
