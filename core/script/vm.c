#include "script/vm_impl.h"

#include <errno.h>
#include <luajit.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include "base/alloc.h"
#include "base/hash.h"
#include "net/log.h"

/* A string that no allocation is needed for. */
static const char out_of_memory[] = "not enough memory";

struct hg_vm *hg_vm_of(lua_State *L)
{
    void *ud;
    lua_getallocf(L, &ud);
    return hg_container_of((struct hg_alloc_cap *)ud, struct hg_vm, cap);
}

lua_State *hg_vm_state(struct hg_vm *vm)
{
    return vm->L;
}

size_t hg_vm_memory(const struct hg_vm *vm)
{
    return atomic_load_explicit(&vm->cap.used_bytes, memory_order_relaxed);
}

/* Reached only by an error outside hg_vm_enter: our own mistake. */
static int on_panic(lua_State *L)
{
    const char *message = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "unknown";
    fprintf(stderr, "hgcache: unprotected error in Lua: %s\n", message);
    abort();
}

static int run_entered(lua_State *L)
{
    struct hg_vm *vm = hg_vm_of(L);
    lua_CFunction fn = vm->entered;
    lua_pushlightuserdata(L, vm->entered_ud);
    return fn(L);
}

/*
 * lua_cpcall makes a function each time, and never lets the collector take a step: a script that only waits
 * would fill its memory with them.
 */
int hg_vm_enter(struct hg_vm *vm, lua_CFunction fn, void *ud)
{
    lua_State *L = vm->L;
    int top = lua_gettop(L);
    int rc;

    if (vm->enter_ref == 0) {
        rc = lua_cpcall(L, fn, ud);
    } else {
        vm->entered = fn;
        vm->entered_ud = ud;
        lua_rawgeti(L, LUA_REGISTRYINDEX, vm->enter_ref);
        rc = lua_pcall(L, 0, 0, 0);
    }

    if (rc != 0) {
        const char *message = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : out_of_memory;
        snprintf(vm->error, sizeof(vm->error), "%s", message);
    }
    lua_settop(L, top);
    return rc;
}

int hg_vm_enter_reserve(struct hg_vm *vm, lua_CFunction fn, void *ud)
{
    vm->cap.limit_bytes += HG_VM_RESERVE;
    int rc = hg_vm_enter(vm, fn, ud);
    vm->cap.limit_bytes -= HG_VM_RESERVE;
    return rc;
}

static int to_string(lua_State *L)
{
    if (luaL_callmeta(L, 1, "__tostring") && lua_type(L, -1) == LUA_TSTRING)
        return 1;
    return 0;
}

void hg_vm_push_error_text(lua_State *L, int index)
{
    if (index < 0)
        index = lua_gettop(L) + index + 1;
    int type = lua_type(L, index);
    if (type == LUA_TSTRING || type == LUA_TNUMBER) {
        lua_pushvalue(L, index);
        lua_tostring(L, -1);
        return;
    }
    if (luaL_getmetafield(L, index, "__tostring")) {
        lua_pop(L, 1);
        lua_pushcfunction(L, to_string);
        lua_pushvalue(L, index);
        if (lua_pcall(L, 1, 1, 0) == 0 && lua_type(L, -1) == LUA_TSTRING)
            return;
        lua_pop(L, 1);
        lua_pushfstring(L, "error object is a %s value whose __tostring failed",
                        lua_typename(L, type));
        return;
    }
    lua_pushfstring(L, "error object is a %s value", lua_typename(L, type));
}

static int on_error(lua_State *L)
{
    hg_vm_push_error_text(L, 1);
    return 1;
}

int hg_vm_pcall(lua_State *L, int arg_count, int result_count)
{
    int base = lua_gettop(L) - arg_count;
    lua_pushcfunction(L, on_error);
    lua_insert(L, base);
    int rc = lua_pcall(L, arg_count, result_count, base);
    lua_remove(L, base);
    return rc;
}

struct open {
    struct hg_vm *vm;
    const struct hg_script_args *args;
    bool is_spec;
};

static int open_state(lua_State *L)
{
    struct open *open = lua_touserdata(L, 1);
    struct hg_vm *vm = open->vm;

    lua_newtable(L);
    vm->anchors_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushcfunction(L, run_entered);
    vm->enter_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    hg_vm_open_libs(vm, open->args, open->is_spec);
    return 0;
}

int hg_vm_create(const struct hg_vm_config *config, struct hg_vm **out_vm)
{
    struct hg_vm *vm = hg_calloc(1, sizeof(*vm));
    if (vm == NULL)
        return HG_ENOMEM;
    vm->cap.limit_bytes = config->memory_bytes;
    vm->jit = config->jit;
    vm->given = config->text;
    hg_buf_init(&vm->text, HG_VM_CHUNK_MAX);
    vm->is_control = config->is_control;
    vm->is_check = config->is_check;
    vm->shared = config->shared;
    vm->metrics = config->metrics;
    vm->fakes = config->fakes;
    vm->raw_ref = vm->config_ref = vm->functions_ref = vm->handlers_ref = LUA_NOREF;
    vm->file = hg_strndup(config->file, strlen(config->file));
    if (vm->file == NULL)
        goto free_vm;
    vm->L = lua_newstate(hg_alloc_cap, &vm->cap);
    if (vm->L == NULL)
        goto free_vm;
    lua_atpanic(vm->L, on_panic);

    struct open open = {.vm = vm, .args = &config->args, .is_spec = config->is_spec};
    if (hg_vm_enter(vm, open_state, &open) != 0) {
        hg_log(HG_LOG_ERROR, "script library cannot be opened err=%s", vm->error);
        goto free_vm;
    }
    *out_vm = vm;
    return HG_OK;

free_vm:
    hg_vm_destroy(vm);
    return HG_ENOMEM;
}

void hg_vm_destroy(struct hg_vm *vm)
{
    if (vm == NULL)
        return;
    if (vm->L != NULL) {
        hg_vm_keep_libraries(vm);
        lua_close(vm->L);
    }
    hg_buf_finish(&vm->text);
    hg_free(vm->file);
    hg_free(vm);
}

struct hg_bytes hg_vm_text(const struct hg_vm *vm)
{
    return hg_buf_bytes(&vm->text);
}

/* The whole file, with a byte order mark and a first line that begins with '#' made blank. */
static int read_chunk(const char *path, struct hg_buf *buf, bool *out_is_open, char *error,
                      size_t error_size)
{
    struct stat info;
    FILE *file = fopen(path, "rb");
    if (file == NULL || fstat(fileno(file), &info) != 0 || S_ISDIR(info.st_mode)) {
        snprintf(error, error_size, "%s: cannot be read: %s", path,
                 file != NULL ? "it is a folder" : strerror(errno));
        if (file != NULL)
            fclose(file);
        return HG_EINVAL;
    }
    *out_is_open = (info.st_mode & S_IWOTH) != 0;
    int err = HG_OK;
    size_t got = 1;
    while (err == HG_OK && got > 0) {
        char piece[8192];
        got = fread(piece, 1, sizeof(piece), file);
        err = hg_buf_append(buf, piece, got);
    }
    if (err < 0)
        snprintf(error, error_size, "%s: %s", path,
                 err == HG_ETOOBIG ? "is larger than 16 MiB" : hg_err_text(err));
    else if (ferror(file))
        snprintf(error, error_size, "%s: cannot be read: %s", path, strerror(errno));
    if (err == HG_OK && ferror(file))
        err = HG_EINVAL;
    fclose(file);
    if (err < 0)
        return err;

    if (buf->len >= 3 && memcmp(buf->data, "\xef\xbb\xbf", 3) == 0)
        memset(buf->data, ' ', 3);
    size_t at = 0;
    while (at < buf->len && buf->data[at] == ' ')
        at++;
    if (at < buf->len && at <= 3 && buf->data[at] == '#')
        for (; at < buf->len && buf->data[at] != '\n'; at++)
            buf->data[at] = ' ';
    return HG_OK;
}

static uint64_t thread_cpu_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void on_load_count(lua_State *L, lua_Debug *debug)
{
    if (thread_cpu_ms() < hg_vm_of(L)->load_cpu_ms)
        return;
    /* From now on at each instruction: a pcall in a loop catches the first error, what calls it raises the next. */
    lua_sethook(L, on_load_count, LUA_MASKCOUNT, 1);
    lua_getinfo(L, "Sl", debug);
    lua_pushfstring(L, "%s:%d: loading took more than %d s of CPU", debug->short_src,
                    debug->currentline, HG_VM_LOAD_MS_MAX / 1000);
    lua_error(L);
}

struct load {
    struct hg_vm *vm;
    struct hg_buf *text;
    bool is_memory; /* what failed is the cap */
};

/* Errors of a protected call go on, but the caller learns of the cap. */
static void call(lua_State *L, struct load *load, int arg_count, int result_count)
{
    int rc = hg_vm_pcall(L, arg_count, result_count);
    load->is_memory = rc == LUA_ERRMEM;
    if (rc != 0)
        lua_error(L);
}

/* The chunk on top becomes the first of core.check.chunks; push_chunks pushes that list, or nil.   [-0, +0|+1, v] */
static void push_chunks(lua_State *L)
{
    lua_getglobal(L, "require");
    lua_pushliteral(L, "hgcache.core");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "check");
    if (lua_istable(L, -1))
        lua_getfield(L, -1, "chunks");
    else
        lua_pushnil(L);
    lua_replace(L, -3);
    lua_pop(L, 1);
}

static void note_chunk(lua_State *L)
{
    push_chunks(L);
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, 1);
    lua_pop(L, 1);
}

static int run_chunk(lua_State *L)
{
    struct load *load = lua_touserdata(L, 1);
    struct hg_vm *vm = load->vm;
    const char *text = load->text->len > 0 ? load->text->data : "";

    lua_pushfstring(L, "@%s", vm->file);
    if (luaL_loadbufferx(L, text, load->text->len, lua_tostring(L, -1), "t") != 0)
        return lua_error(L);
    if (vm->is_check)
        note_chunk(L);
    call(L, load, 0, 1);
    if (!lua_istable(L, -1)) {
        lua_pushfstring(L, "%s: expected the chunk to return one table, found %s", vm->file,
                        luaL_typename(L, -1));
        return lua_error(L);
    }
    lua_pushvalue(L, -1);
    vm->raw_ref = luaL_ref(L, LUA_REGISTRYINDEX);

    lua_getglobal(L, "require");
    lua_pushliteral(L, "hgcache.config");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "check");
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->raw_ref);
    lua_createtable(L, 0, 3);
    lua_pushstring(L, vm->file);
    lua_setfield(L, -2, "file");
    lua_pushstring(L, vm->is_check ? "check" : "run");
    lua_setfield(L, -2, "role");
    lua_pushlstring(L, text, load->text->len);
    lua_setfield(L, -2, "source_text");
    push_chunks(L);
    lua_setfield(L, -2, "chunks");
    call(L, load, 2, 2);
    if (!lua_istable(L, -2)) {
        if (lua_type(L, -1) != LUA_TSTRING)
            lua_pushfstring(L, "%s: the configuration is invalid", vm->file);
        return lua_error(L);
    }
    lua_pop(L, 1);
    vm->config_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

int hg_vm_load(struct hg_vm *vm, char **out_error)
{
    struct hg_buf text;
    struct load load = {.vm = vm, .text = &text};

    hg_buf_init(&text, HG_VM_CHUNK_MAX);
    bool is_open = false;
    int err = vm->given.data != NULL
                  ? hg_buf_append_bytes(&text, vm->given)
                  : read_chunk(vm->file, &text, &is_open, vm->error, sizeof(vm->error));
    if (is_open)
        snprintf(vm->warning, sizeof(vm->warning), "%.400s: the script is writable by everybody",
                 vm->file);
    if (err == HG_OK) {
        /* The hook sees interpreted code only, and at this moment its cost does not matter. */
        luaJIT_setmode(vm->L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
        vm->load_cpu_ms = thread_cpu_ms() + HG_VM_LOAD_MS_MAX;
        lua_sethook(vm->L, on_load_count, LUA_MASKCOUNT, 10000);
        vm->is_loading = true;
        int rc = hg_vm_enter(vm, run_chunk, &load);
        vm->is_loading = false;
        lua_sethook(vm->L, NULL, 0, 0);
        if (vm->jit)
            luaJIT_setmode(vm->L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_ON);
        if (rc == LUA_ERRMEM || (rc != 0 && load.is_memory))
            snprintf(vm->error, sizeof(vm->error),
                     "%s: loading reached the script memory limit of %zu bytes", vm->file,
                     vm->cap.limit_bytes);
        err = rc == 0 ? HG_OK : HG_EINVAL;
    }
    if (err == HG_OK && vm->is_control) {
        hg_buf_finish(&vm->text);
        vm->text = text;
        return HG_OK;
    }
    hg_buf_finish(&text);
    if (err == HG_OK)
        return HG_OK;

    if (strstr(vm->error, vm->file) == NULL) {
        char bare[HG_VM_ERROR_MAX];
        memcpy(bare, vm->error, sizeof(bare));
        snprintf(vm->error, sizeof(vm->error), "%.300s: %.700s", vm->file, bare);
    }
    for (char *at = vm->error; *at != '\0'; at++)
        if (*at == '\n' || *at == '\r' || *at == '\t')
            *at = ' ';
    *out_error = hg_strndup(vm->error, strlen(vm->error));
    return *out_error == NULL ? HG_ENOMEM : err;
}

void hg_vm_push_config(struct hg_vm *vm)
{
    lua_rawgeti(vm->L, LUA_REGISTRYINDEX, vm->config_ref);
}
