#include "node/difference.h"

#include <lauxlib.h>
#include "base/alloc.h"
#include "base/buf.h"

struct asked {
    struct hg_vm *vm;
    const char *function;
    struct hg_bytes before; /* of compare */
};

/* asked -> what the function of lua/hgcache/reload.lua returns   [-1, +*, v] */
static int call(lua_State *L)
{
    const struct asked *asked = lua_touserdata(L, 1);
    int count = 1;

    lua_settop(L, 0);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "hgcache.reload");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, asked->function);
    lua_remove(L, 1);
    if (asked->before.data != NULL) {
        lua_pushlstring(L, asked->before.data, asked->before.len);
        count = 2;
    }
    hg_vm_push_config(asked->vm);
    lua_call(L, count, LUA_MULTRET);
    return lua_gettop(L);
}

/* The strings of the list at index, with `between` between them. NULL: out of memory. */
static char *join(lua_State *L, int index, const char *between)
{
    struct hg_buf text;
    size_t len;
    int err = HG_OK;

    hg_buf_init(&text, SIZE_MAX);
    for (int i = 1; err == HG_OK && i <= (int)lua_objlen(L, index); i++) {
        lua_rawgeti(L, index, i);
        const char *line = lua_tolstring(L, -1, &len);
        if (i > 1)
            err = hg_buf_append_str(&text, between);
        if (err == HG_OK)
            err = hg_buf_append(&text, line, len);
        lua_pop(L, 1);
    }
    if (err == HG_OK)
        err = hg_buf_append_char(&text, '\0');
    if (err == HG_OK)
        return hg_buf_take(&text, &len);
    hg_buf_finish(&text);
    return NULL;
}

static bool ask(struct hg_vm *vm, struct asked *asked)
{
    lua_State *L = hg_vm_state(vm);
    lua_pushcfunction(L, call);
    lua_pushlightuserdata(L, asked);
    return lua_pcall(L, 1, LUA_MULTRET, 0) == 0;
}

char *hg_difference_settings(struct hg_vm *vm, size_t *out_len)
{
    lua_State *L = hg_vm_state(vm);
    struct asked asked = {.vm = vm, .function = "settings"};
    int top = lua_gettop(L);
    char *settings = NULL;

    if (ask(vm, &asked)) {
        const char *text = lua_tolstring(L, -1, out_len);
        settings = hg_strndup(text, *out_len);
    }
    lua_settop(L, top);
    return settings;
}

int hg_difference(struct hg_vm *vm, struct hg_bytes before, char **out_refused, char **out_changes)
{
    lua_State *L = hg_vm_state(vm);
    struct asked asked = {.vm = vm, .function = "compare", .before = before};
    int top = lua_gettop(L), err = HG_ENOMEM;

    if (ask(vm, &asked)) {
        bool is_refused = lua_objlen(L, top + 1) > 0;
        char *text = is_refused ? join(L, top + 1, "; ") : join(L, top + 2, "\n");
        *(is_refused ? out_refused : out_changes) = text;
        if (text != NULL)
            err = is_refused ? HG_EINVAL : HG_OK;
    }
    lua_settop(L, top);
    return err;
}
