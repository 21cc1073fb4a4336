#include "script/vm_impl.h"

#include <luajit.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
#include "base/alloc.h"
#include "script/modules.h"

/* Longest folder name that goes into package.path. */
#define FOLDER_MAX 4096
/* C stack that is left for what does not ask, where the thread has that much. */
#define STACK_RESERVE ((size_t)24 << 20)

/* core.module(name) -> loader | nil: a module that is built in.   [-0, +1, e] */
static int l_module(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);

    for (const struct hg_module *module = hg_modules; module->name != NULL; module++) {
        if (strcmp(module->name, name) != 0)
            continue;
        if (luaL_loadbufferx(L, module->text, module->len, module->chunk, "t") != 0)
            return lua_error(L);
        return 1;
    }
    lua_pushnil(L);
    return 1;
}

/* Adds the patterns for a folder and a comma list such as "?.lua;lua/?.lua". */
static void add_folder(luaL_Buffer *path, const char *folder, const char *const *patterns)
{
    for (; *patterns != NULL; patterns++) {
        luaL_addstring(path, folder);
        luaL_addchar(path, '/');
        luaL_addstring(path, *patterns);
        luaL_addchar(path, ';');
    }
}

static void push_path(lua_State *L, const char *file)
{
    static const char *const own[] = {"?.lua", "lua/?.lua", "?/init.lua", "lua/?/init.lua", NULL};
    static const char *const plain[] = {"?.lua", "?/init.lua", NULL};
    static const char *const places[] = {"../share/hgcache/lua", "../share/hgcache/scripts",
                                         "../../lua", "../../scripts", NULL};
    char folder[FOLDER_MAX], program[FOLDER_MAX];
    luaL_Buffer path;

    const char *slash = strrchr(file, '/');
    snprintf(folder, sizeof(folder), "%.*s", slash == NULL ? 1 : (int)(slash - file),
             slash == NULL ? "." : file);
    luaL_buffinit(L, &path);
    add_folder(&path, folder[0] == '\0' ? "/" : folder, own);
    ssize_t len = readlink("/proc/self/exe", program, sizeof(program) - 1);
    if (len > 0) {
        program[len] = '\0';
        char *end = strrchr(program, '/');
        if (end != NULL)
            *end = '\0';
        for (size_t i = 0; places[i] != NULL; i++) {
            char place[FOLDER_MAX + 64];
            snprintf(place, sizeof(place), "%s/%s", program, places[i]);
            if (access(place, F_OK) == 0)
                add_folder(&path, place, plain);
        }
    }
    luaL_pushresult(&path);
}

/* core.unyieldable(+1 | -1): a wrapped resume that cannot pass a yield on begins or ends. */
static int l_unyieldable(lua_State *L)
{
    struct hg_vm *vm = hg_vm_of(L);
    vm->unyieldable += luaL_checkinteger(L, 1) > 0 ? 1u : (unsigned)-1;
    return 0;
}

/*
 * LuaJIT bounds the depth of Lua calls, not of C calls between them: gsub callbacks that call gsub
 * take 80 MiB of C stack before Lua's own limit is met. Those that can nest (gsub, sort, resuming a
 * coroutine) ask here first.
 */
static void check_stack(lua_State *L)
{
    static _Thread_local const char *limit;

    if (limit == NULL) {
        pthread_attr_t attr;
        void *low;
        size_t size;
        if (pthread_getattr_np(pthread_self(), &attr) != 0)
            return;
        pthread_attr_getstack(&attr, &low, &size);
        pthread_attr_destroy(&attr);
        limit = (const char *)low + (size / 2 < STACK_RESERVE ? size / 2 : STACK_RESERVE);
    }
    if ((const char *)__builtin_frame_address(0) < limit)
        luaL_error(L, "C stack overflow");
}

/* The C function that is its upvalue, unless the C stack is nearly used up.   [-?, +?, v] */
static int l_nesting(lua_State *L)
{
    lua_CFunction original = lua_tocfunction(L, lua_upvalueindex(1));
    check_stack(L);
    if (original != NULL)
        return original(L);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

static void guard_nesting(lua_State *L, const char *library, const char *name)
{
    lua_getglobal(L, library);
    lua_getfield(L, -1, name);
    lua_pushcclosure(L, l_nesting, 1);
    lua_setfield(L, -2, name);
    lua_pop(L, 1);
}

/* core.is_task(coroutine): whether it is a task's own, which nobody but the runtime may resume. */
static int l_is_task(lua_State *L)
{
    lua_State *co = lua_tothread(L, 1);
    check_stack(L);
    if (co == NULL)
        return 0;
    lua_rawgeti(L, LUA_REGISTRYINDEX, hg_vm_of(L)->anchors_ref);
    lua_pushlightuserdata(L, co);
    lua_rawget(L, -2);
    return 1;
}

static int l_isyieldable(lua_State *L)
{
    lua_pushboolean(L, lua_isyieldable(L));
    return 1;
}

/* core.fake(what, ...): asks the spec, where the world would have been asked.   [-?, +?, v] */
static int l_fake(lua_State *L)
{
    struct hg_vm_fakes *fakes = hg_vm_of(L)->fakes;
    return fakes->call(fakes, L);
}

static void push_args(lua_State *L, const struct hg_script_args *args)
{
    lua_createtable(L, 0, (int)args->count);
    for (size_t i = 0; i < args->count; i++) {
        lua_pushstring(L, args->names[i]);
        lua_pushstring(L, args->values[i]);
        lua_rawset(L, -3);
    }
}

static const luaL_Reg functions[] = {
    {"module", l_module},   {"unyieldable", l_unyieldable},
    {"is_task", l_is_task}, {"isyieldable", l_isyieldable},
    {NULL, NULL},
};

void hg_vm_keep_libraries(struct hg_vm *vm)
{
    static const char prefix[] = "LOADLIB: ";
    lua_State *L = vm->L;

    lua_pushnil(L);
    while (lua_next(L, LUA_REGISTRYINDEX) != 0) {
        void **library = lua_touserdata(L, -1);
        if (library != NULL && lua_type(L, -2) == LUA_TSTRING &&
            strncmp(lua_tostring(L, -2), prefix, sizeof(prefix) - 1) == 0)
            *library = NULL;
        lua_pop(L, 1);
    }
}

void hg_vm_open_libs(struct hg_vm *vm, const struct hg_script_args *args, bool is_spec)
{
    lua_State *L = vm->L;
    int top = lua_gettop(L);

    luaL_openlibs(L);
    guard_nesting(L, "string", "gsub");
    guard_nesting(L, "table", "sort");
    /*
     * A compiled loop ignores every hook, and getter-like code gains nothing from being compiled.
     */
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | (vm->jit ? LUAJIT_MODE_ON : LUAJIT_MODE_OFF));

    lua_newtable(L);
    luaL_setfuncs(L, functions, 0);
    push_path(L, vm->file);
    lua_setfield(L, -2, "path");
    lua_pushboolean(L, vm->jit);
    lua_setfield(L, -2, "jit");
    lua_pushboolean(L, is_spec);
    lua_setfield(L, -2, "is_spec");
    lua_pushboolean(L, vm->is_check);
    lua_setfield(L, -2, "is_check");
    if (vm->fakes != NULL) {
        lua_pushcfunction(L, l_fake);
        lua_setfield(L, -2, "fake");
    }
    push_args(L, args);
    lua_setfield(L, -2, "args");
    hg_lib_core_open(L);
    hg_lib_group_open(L);
    hg_lib_http_open(L);
    hg_lib_transfer_open(L);
    hg_lib_socket_open(L);
    hg_lib_postgres_open(L);
    hg_lib_file_open(L);
    hg_lib_shared_open(L);
    hg_lib_jobs_open(L);
    hg_lib_members_open(L);
    hg_lib_dns_open(L);
    hg_lib_metrics_open(L);

    /* boot.lua(core) closes what a script must not have and puts core into package.loaded. */
    lua_pushcfunction(L, l_module);
    lua_pushliteral(L, "hgcache.boot");
    lua_call(L, 1, 1);
    lua_pushvalue(L, -2);
    lua_call(L, 1, 0);
    lua_settop(L, top);
}
