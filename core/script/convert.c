/*
 * What a getter returned, as the core's values (INTERFACES "Getter"). Raw reads only: no script
 * runs here.
 */
#include "script/runtime_impl.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

/* Every double up to here that is whole prints exactly. */
#define EXACT_MAX 9007199254740992.0

void hg_outcome_error(struct hg_outcome *outcome, enum hg_class klass, const char *format, ...)
{
    va_list args;
    outcome->kind = HG_OUTCOME_ERROR;
    outcome->klass = klass;
    va_start(args, format);
    vsnprintf(outcome->message, sizeof(outcome->message), format, args);
    va_end(args);
}

/* Pushes table[name], raw.   [-0, +1, m] */
static int push_field(lua_State *L, int table, const char *name)
{
    lua_pushstring(L, name);
    lua_rawget(L, table);
    return lua_type(L, -1);
}

static const char *type_name(lua_State *L, int index)
{
    if (lua_islightuserdata(L, index) && lua_touserdata(L, index) == NULL)
        return "hg.null";
    return luaL_typename(L, index);
}

bool hg_convert_data(lua_State *L, int index, char scratch[40], struct hg_bytes *out_data,
                     char *error, size_t error_size)
{
    if (lua_type(L, index) == LUA_TSTRING) {
        size_t len;
        const char *data = lua_tolstring(L, index, &len);
        *out_data = hg_bytes(data, len);
        return true;
    }
    if (lua_type(L, index) != LUA_TNUMBER) {
        snprintf(error, error_size, "expected a string or a number, found %s%s",
                 type_name(L, index),
                 lua_istable(L, index) ? " (encode it, for example with hg.json.encode)" : "");
        return false;
    }
    double number = lua_tonumber(L, index);
    if (isnan(number) || isinf(number)) {
        snprintf(error, error_size, "expected a string or a number, found %s",
                 isnan(number) ? "NaN" : "an infinite number");
        return false;
    }
    if (number == 0)
        number = 0; /* not "-0" */
    bool is_whole = fabs(number) <= EXACT_MAX && floor(number) == number;
    int len = snprintf(scratch, 40, is_whole ? "%.0f" : "%.14g", number);
    *out_data = hg_bytes(scratch, (size_t)len);
    return true;
}

const char *hg_convert_duration(lua_State *L, int index, uint64_t *out_ms)
{
    static const char expected[] = "expected a number of seconds, not negative, or a duration such "
                                   "as \"250ms\", or false for ever";
    int type = lua_type(L, index);
    int err = HG_EINVAL;

    if (type == LUA_TBOOLEAN && !lua_toboolean(L, index)) {
        *out_ms = HG_FOREVER;
        return NULL;
    }
    if (type == LUA_TNUMBER) {
        err = hg_duration_from_seconds(lua_tonumber(L, index), out_ms);
    } else if (type == LUA_TSTRING) {
        size_t len;
        const char *text = lua_tolstring(L, index, &len);
        err = hg_duration_parse(hg_bytes(text, len), out_ms);
    }
    return err < 0 ? expected : NULL;
}

static bool has_control(struct hg_bytes text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.data[i] < 0x20 || (unsigned char)text.data[i] == 0x7f)
            return true;
    return false;
}

/* The string at the top into out; NULL or what is wrong. */
static const char *read_text(lua_State *L, size_t max, struct hg_bytes *out, char *error,
                             size_t error_size)
{
    size_t len;
    if (lua_type(L, -1) != LUA_TSTRING) {
        snprintf(error, error_size, "expected a string, found %s", type_name(L, -1));
        return error;
    }
    const char *text = lua_tolstring(L, -1, &len);
    if (len > max) {
        snprintf(error, error_size, "expected at most %zu bytes, found %zu", max, len);
        return error;
    }
    *out = hg_bytes(text, len);
    return NULL;
}

static const char *read_header_text(lua_State *L, struct hg_bytes *out, char *error,
                                    size_t error_size)
{
    const char *wrong = read_text(L, HG_TYPE_MAX, out, error, error_size);
    if (wrong == NULL && has_control(*out))
        return "expected no control characters";
    return wrong;
}

static const char *read_tags(lua_State *L, struct hg_value_spec *spec, struct hg_bytes *tags,
                             char *error, size_t error_size)
{
    if (!lua_istable(L, -1))
        return "expected a list of strings";
    int list = lua_gettop(L);
    size_t count = lua_objlen(L, list);
    if (count > HG_TAGS_MAX) {
        snprintf(error, error_size, "expected at most %d tags, found %zu", HG_TAGS_MAX, count);
        return error;
    }
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, list, (int)i + 1);
        const char *wrong = read_text(L, HG_TAG_MAX, &tags[i], error, error_size);
        if (wrong != NULL)
            return wrong;
        if (tags[i].len == 0)
            return "expected tags that are not empty";
        lua_pop(L, 1);
    }
    spec->tags = tags;
    spec->tag_count = count;
    return NULL;
}

/* The option's value is at the top. */
static const char *read_option(lua_State *L, const char *name, struct hg_value_spec *spec,
                               struct hg_bytes *tags, char *error, size_t error_size)
{
    const char *wrong = NULL;
    if (strcmp(name, "ttl") == 0) {
        wrong = hg_convert_duration(L, -1, &spec->ttl_ms);
        spec->has_ttl = true;
    } else if (strcmp(name, "stale_while_revalidate") == 0) {
        wrong = hg_convert_duration(L, -1, &spec->stale_while_revalidate_ms);
        spec->has_swr = true;
    } else if (strcmp(name, "stale_if_error") == 0) {
        wrong = hg_convert_duration(L, -1, &spec->stale_if_error_ms);
        spec->has_sie = true;
    } else if (strcmp(name, "tags") == 0) {
        wrong = read_tags(L, spec, tags, error, error_size);
    } else if (strcmp(name, "type") == 0) {
        wrong = read_header_text(L, &spec->type, error, error_size);
    } else if (strcmp(name, "etag") == 0) {
        wrong = read_header_text(L, &spec->etag, error, error_size);
        if (wrong == NULL && spec->etag.len > 0 &&
            memchr(spec->etag.data, '"', spec->etag.len) != NULL)
            wrong = "expected an entity tag without quotes";
    } else if (strcmp(name, "meta") == 0) {
        wrong = read_text(L, HG_META_MAX, &spec->meta, error, error_size);
    } else if (strcmp(name, "uncacheable") == 0) {
        if (!lua_isboolean(L, -1))
            wrong = "expected true or false";
        spec->uncacheable = lua_toboolean(L, -1);
    } else if (strcmp(name, "how") != 0 && strcmp(name, "stale") != 0 && strcmp(name, "age") != 0) {
        /* Those three are of the second result of group:get, which a getter may return as it is. */
        wrong = "is not an option";
    }
    return wrong;
}

const char *hg_convert_options(lua_State *L, int index, struct hg_value_spec *spec,
                               struct hg_bytes *tags, char *error, size_t error_size)
{
    int top = lua_gettop(L);
    if (index < 0)
        index = top + index + 1;
    if (index > top || lua_isnil(L, index))
        return NULL;
    if (!lua_istable(L, index)) {
        snprintf(error, error_size, "the options: expected a table, found %s", type_name(L, index));
        return error;
    }
    for (lua_pushnil(L); lua_next(L, index); lua_settop(L, top + 1)) {
        char why[160];
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        const char *wrong = read_option(L, name, spec, tags, why, sizeof(why));
        if (wrong == NULL)
            continue;
        char copy[160];
        snprintf(copy, sizeof(copy), "%s", wrong);
        snprintf(error, error_size, "option '%.40s': %s", name, copy);
        lua_settop(L, top);
        return error;
    }
    lua_settop(L, top);
    return NULL;
}

static void contract_error(struct hg_outcome *outcome, const char *what, const char *wrong)
{
    hg_outcome_error(outcome, HG_CLASS_INTERNAL, "%s: %s", what, wrong);
    outcome->is_final = true;
}

static void make_value(struct hg_outcome *outcome, const struct hg_value_spec *spec)
{
    outcome->kind = HG_OUTCOME_RESULT;
    outcome->result = hg_value_create(spec);
    if (outcome->result == NULL)
        hg_outcome_error(outcome, HG_CLASS_UNAVAILABLE, "out of memory");
}

static void convert_value(lua_State *L, int value, int options, struct hg_value_spec *spec,
                          struct hg_outcome *outcome)
{
    struct hg_bytes tags[HG_TAGS_MAX];
    char scratch[40], error[256];

    spec->status = HG_STATUS_VALUE;
    if (!hg_convert_data(L, value, scratch, &spec->data, error, sizeof(error))) {
        contract_error(outcome, "the getter's result", error);
        return;
    }
    const char *wrong = hg_convert_options(L, options, spec, tags, error, sizeof(error));
    if (wrong != NULL) {
        contract_error(outcome, "the getter's result", wrong);
        return;
    }
    make_value(outcome, spec);
}

static void convert_fail(lua_State *L, int table, struct hg_outcome *outcome)
{
    enum hg_class klass = HG_CLASS_INTERNAL;
    uint64_t retry_ms = 0;

    if (push_field(L, table, "class") != LUA_TNIL) {
        size_t len;
        const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &len) : NULL;
        if (name != NULL)
            klass = hg_class_from_name(hg_bytes(name, len));
        if (name == NULL || strcmp(hg_class_name(klass), name) != 0) {
            contract_error(outcome, "hg.fail",
                           "expected class = \"internal\", \"unavailable\", \"timeout\", "
                           "\"denied\" or \"too_large\"");
            return;
        }
    }
    if (push_field(L, table, "retry_after") != LUA_TNIL) {
        const char *wrong = hg_convert_duration(L, -1, &retry_ms);
        if (wrong != NULL || retry_ms == HG_FOREVER) {
            contract_error(outcome, "hg.fail: retry_after",
                           "expected a number of seconds or a duration");
            return;
        }
    }
    int retry = push_field(L, table, "retry");
    if (retry != LUA_TNIL && retry != LUA_TBOOLEAN) {
        contract_error(outcome, "hg.fail: retry", "expected true or false");
        return;
    }
    bool is_final = retry == LUA_TBOOLEAN && !lua_toboolean(L, -1);
    int type = push_field(L, table, "message");
    if (type == LUA_TNIL) {
        lua_pop(L, 1);
        lua_pushliteral(L, "the getter failed");
    } else if (type != LUA_TSTRING) {
        hg_vm_push_error_text(L, -1);
    }
    size_t len;
    const char *message = lua_tolstring(L, -1, &len);
    hg_outcome_error(outcome, klass, "%.*s", (int)(len < 512 ? len : 512), message);
    outcome->retry_after_ms = retry_ms;
    outcome->is_final = is_final;
}

/* ttl of hg.not_found and hg.keep. False: it is wrong. */
static bool read_ttl(lua_State *L, int table, const char *what, bool *out_has, uint64_t *out_ms,
                     struct hg_outcome *outcome)
{
    *out_has = push_field(L, table, "ttl") != LUA_TNIL;
    if (!*out_has)
        return true;
    const char *wrong = hg_convert_duration(L, -1, out_ms);
    if (wrong != NULL)
        contract_error(outcome, what, wrong);
    return wrong == NULL;
}

/* A table of the library's. False: it is none. */
static bool convert_described(lua_State *L, int table, struct hg_value_spec *spec,
                              struct hg_outcome *outcome)
{
    bool has_ttl;
    uint64_t ttl_ms = HG_TTL_OF_GROUP;

    if (push_field(L, table, "__hgcache") != LUA_TSTRING)
        return false;
    const char *kind = lua_tostring(L, -1);
    if (strcmp(kind, "not_found") == 0) {
        if (read_ttl(L, table, "hg.not_found: ttl", &spec->has_ttl, &spec->ttl_ms, outcome)) {
            spec->status = HG_STATUS_NOT_FOUND;
            make_value(outcome, spec);
        }
    } else if (strcmp(kind, "keep") == 0) {
        if (read_ttl(L, table, "hg.keep: ttl", &has_ttl, &ttl_ms, outcome)) {
            outcome->kind = HG_OUTCOME_KEEP;
            outcome->keep_ms = ttl_ms;
        }
    } else if (strcmp(kind, "fail") == 0) {
        convert_fail(L, table, outcome);
    } else if (strcmp(kind, "value") == 0) {
        push_field(L, table, "value");
        push_field(L, table, "options");
        convert_value(L, lua_gettop(L) - 1, lua_gettop(L), spec, outcome);
    } else {
        hg_outcome_error(outcome, HG_CLASS_INTERNAL,
                         "the getter's result: hg.%.20s is nothing that a getter returns", kind);
        outcome->is_final = true;
    }
    return true;
}

/* nil, message[, code]: code is what group:get gives, so that its results may be returned as they are. */
static void convert_nil(lua_State *L, int first, struct hg_value_spec *spec,
                        struct hg_outcome *outcome)
{
    enum hg_class klass = HG_CLASS_INTERNAL;
    size_t len;

    if (lua_type(L, first + 2) == LUA_TSTRING) {
        const char *code = lua_tolstring(L, first + 2, &len);
        if (strcmp(code, "not_found") == 0) {
            spec->status = HG_STATUS_NOT_FOUND;
            make_value(outcome, spec);
            return;
        }
        klass = hg_class_from_name(hg_bytes(code, len));
    }
    hg_vm_push_error_text(L, first + 1);
    const char *message = lua_tolstring(L, -1, &len);
    hg_outcome_error(outcome, klass, "%.*s", (int)(len < 512 ? len : 512), message);
}

void hg_convert_result(lua_State *L, int first, int count, struct hg_bytes key,
                       struct hg_outcome *outcome)
{
    struct hg_value_spec spec = {.key = key, .klass = HG_CLASS_INTERNAL};

    /* Three results, nil for those that there were not. */
    lua_settop(L, first + (count < 3 ? count : 3) - 1);
    while (lua_gettop(L) < first + 2)
        lua_pushnil(L);

    if (lua_islightuserdata(L, first) && lua_touserdata(L, first) == NULL) {
        spec.status = HG_STATUS_NOT_FOUND;
        make_value(outcome, &spec);
        return;
    }
    if (lua_isnil(L, first)) {
        if (lua_isnil(L, first + 1)) {
            spec.status = HG_STATUS_NOT_FOUND;
            make_value(outcome, &spec);
            return;
        }
        if (lua_istable(L, first + 1) && !luaL_getmetafield(L, first + 1, "__tostring")) {
            if (!convert_described(L, first + 1, &spec, outcome))
                contract_error(
                    outcome, "the getter's result",
                    "nil takes no options; a missing key with a ttl is hg.not_found{ ttl = ... }");
            return;
        }
        convert_nil(L, first, &spec, outcome);
        return;
    }
    if (lua_istable(L, first) && convert_described(L, first, &spec, outcome))
        return;
    lua_settop(L, first + 1);
    convert_value(L, first, first + 1, &spec, outcome);
}
