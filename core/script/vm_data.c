#include "script/vm_impl.h"

#include <stdio.h>
#include "base/alloc.h"
#include "base/hash.h"
#include "net/log.h"

void hg_vm_push_canonical(struct hg_vm *vm)
{
    lua_State *L = vm->L;

    lua_getglobal(L, "require");
    lua_pushliteral(L, "hgcache.canon");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "text");
    lua_remove(L, -2);
    hg_vm_push_config(vm);
    lua_call(L, 1, 1);
}

struct canonical {
    struct hg_vm *vm;
    char *text; /* NULL: only its hash is wanted */
    size_t len;
    bool want_text;
    uint64_t hash;
};

static int take_canonical(lua_State *L)
{
    struct canonical *canonical = lua_touserdata(L, 1);

    hg_vm_push_canonical(canonical->vm);
    const char *text = lua_tolstring(L, -1, &canonical->len);
    canonical->hash = hg_xxh64(hg_bytes(text, canonical->len));
    if (canonical->want_text)
        canonical->text = hg_strndup(text, canonical->len);
    return 0;
}

uint64_t hg_vm_fingerprint(struct hg_vm *vm)
{
    struct canonical canonical = {.vm = vm};
    if (hg_vm_enter(vm, take_canonical, &canonical) != 0) {
        hg_log(HG_LOG_ERROR, "configuration has no fingerprint err=%s", vm->error);
        return 0;
    }
    return canonical.hash;
}

/* The next line of a canonical text, without its end. */
static struct hg_bytes next_line(const char **at)
{
    const char *begin = *at;
    const char *end = strchr(begin, '\n');
    if (end == NULL) {
        *at = begin + strlen(begin);
        return hg_bytes(begin, strlen(begin));
    }
    *at = end + 1;
    return hg_bytes(begin, (size_t)(end - begin));
}

char *hg_vm_difference(struct hg_vm *control, struct hg_vm *other)
{
    struct canonical ours = {.vm = control, .want_text = true},
                     theirs = {.vm = other, .want_text = true};
    char line[512] = "the configuration's data differs between Lua states";

    if (hg_vm_enter(control, take_canonical, &ours) == 0 &&
        hg_vm_enter(other, take_canonical, &theirs) == 0 && ours.text != NULL &&
        theirs.text != NULL) {
        const char *a = ours.text, *b = theirs.text;
        while (*a != '\0' || *b != '\0') {
            struct hg_bytes x = next_line(&a), y = next_line(&b);
            if (hg_bytes_eq(x, y))
                continue;
            snprintf(line, sizeof(line),
                     "%s: the chunk must return the same data each time it runs; first it gave "
                     "\"%.*s\", then \"%.*s\"",
                     control->file, (int)(x.len > 120 ? 120 : x.len), x.len > 0 ? x.data : "",
                     (int)(y.len > 120 ? 120 : y.len), y.len > 0 ? y.data : "");
            break;
        }
    }
    hg_free(ours.text);
    hg_free(theirs.text);
    return hg_strndup(line, strlen(line));
}

static int find_warning(lua_State *L)
{
    struct hg_vm *vm = hg_vm_of(L);
    size_t *index = lua_touserdata(L, 1);

    hg_vm_push_config(vm);
    lua_getfield(L, -1, "warnings");
    if (!lua_istable(L, -1))
        return luaL_error(L, "none");
    lua_rawgeti(L, -1, (int)*index + 1);
    if (lua_type(L, -1) != LUA_TSTRING)
        return luaL_error(L, "none");
    /* Stays alive: the configuration holds it. */
    *(const char **)index = lua_tostring(L, -1);
    return 0;
}

const char *hg_vm_warning(struct hg_vm *vm, size_t index)
{
    if (vm->warning[0] != '\0') {
        if (index == 0)
            return vm->warning;
        index--;
    }
    union {
        size_t index;
        const char *text;
    } slot = {.index = index};
    return hg_vm_enter(vm, find_warning, &slot) == 0 ? slot.text : NULL;
}

/*
 * functions = { getter, on_evict, on_hot, get_many, score of group 0, getter of group 1, ... }, false where there
 * is none.
 */
static const char *const functions[] = {"getter", "on_evict", "on_hot", "get_many", "score"};
enum { GETTER, ON_EVICT, ON_HOT, GET_MANY, SCORE, FUNCTIONS };

struct bind {
    struct hg_vm *vm;
    const char *const *names;
    size_t count;
};

static void bind_one(lua_State *L, int groups, int list, const char *group, const char *field,
                     int index)
{
    if (group != NULL)
        lua_getfield(L, groups, group);
    else
        lua_pushnil(L); /* no group of this index */
    if (lua_istable(L, -1) && strcmp(field, functions[SCORE]) == 0) { /* of hg.policy.sampled{} */
        lua_getfield(L, -1, "policy");
        lua_remove(L, -2);
    }
    if (lua_istable(L, -1)) {
        lua_getfield(L, -1, field);
        lua_remove(L, -2);
    }
    if (!lua_isfunction(L, -1)) {
        lua_pop(L, 1);
        lua_pushboolean(L, 0);
    }
    lua_rawseti(L, list, index);
}

static int bind_functions(lua_State *L)
{
    struct bind *bind = lua_touserdata(L, 1);
    struct hg_vm *vm = bind->vm;

    lua_settop(L, 0);
    lua_createtable(L, (int)bind->count * FUNCTIONS, 0);
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->raw_ref);
    lua_getfield(L, 2, "groups");
    if (lua_istable(L, 3)) {
        for (int i = 0; i < (int)bind->count * FUNCTIONS; i++)
            bind_one(L, 3, 1, bind->names[i / FUNCTIONS], functions[i % FUNCTIONS], i + 1);
    }
    lua_settop(L, 1);
    if (vm->functions_ref == LUA_NOREF)
        vm->functions_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    else
        lua_rawseti(L, LUA_REGISTRYINDEX, vm->functions_ref);
    return 0;
}

int hg_vm_bind_functions(struct hg_vm *vm, const char *const *group_names, size_t group_count)
{
    struct bind bind = {.vm = vm, .names = group_names, .count = group_count};
    return hg_vm_enter(vm, bind_functions, &bind) == 0 ? HG_OK : HG_ENOMEM;
}

static void push_function(struct hg_vm *vm, size_t number)
{
    lua_rawgeti(vm->L, LUA_REGISTRYINDEX, vm->functions_ref);
    lua_rawgeti(vm->L, -1, (int)number + 1);
    lua_remove(vm->L, -2);
}

void hg_vm_push_getter(struct hg_vm *vm, size_t group_index)
{
    push_function(vm, group_index * FUNCTIONS + GETTER);
}

void hg_vm_push_get_many(struct hg_vm *vm, size_t group_index)
{
    push_function(vm, group_index * FUNCTIONS + GET_MANY);
}

void hg_vm_push_score(struct hg_vm *vm, size_t group_index)
{
    push_function(vm, group_index * FUNCTIONS + SCORE);
}

void hg_vm_push_on_evict(struct hg_vm *vm, size_t group_index)
{
    push_function(vm, group_index * FUNCTIONS + ON_EVICT);
}

void hg_vm_push_on_hot(struct hg_vm *vm, size_t group_index)
{
    push_function(vm, group_index * FUNCTIONS + ON_HOT);
}

/* find(config, name), by lua/hgcache/handlers.lua.   [-0, +1, m] */
static void find_handler(struct hg_vm *vm, const char *name)
{
    lua_State *L = vm->L;

    lua_getglobal(L, "require");
    lua_pushliteral(L, "hgcache.handlers");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "find");
    lua_remove(L, -2);
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->raw_ref);
    lua_pushstring(L, name);
    lua_call(L, 2, 1);
}

void hg_vm_push_handler(struct hg_vm *vm, const char *name)
{
    lua_State *L = vm->L;

    if (vm->handlers_ref == LUA_NOREF) {
        lua_newtable(L);
        vm->handlers_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->handlers_ref);
    lua_getfield(L, -1, name);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        find_handler(vm, name);
        lua_pushvalue(L, -1);
        lua_setfield(L, -3, name);
    }
    lua_remove(L, -2);
}
