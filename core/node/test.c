/* `hgcache test`: busted within this program, and hg.testing in its specs. */
#include <lauxlib.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include "base/hash.h"
#include "net/clock.h"
#include "node/lib_testing.h"
#include "node/node.h"

/* 2026-01-01T00:00:00Z; each node of a spec has its own time. */
#define START_WALL_MS 1767225600000

struct run {
    size_t count;
    const char *const *words;
    int exit_code;
};

/* hgcache.spec_runner(words) -> exit code */
static int run(lua_State *L)
{
    struct run *run = lua_touserdata(L, 1);
    lua_settop(L, 0);
    hg_lib_testing_preload(L);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "hgcache.spec_runner");
    lua_call(L, 1, 1);
    lua_createtable(L, (int)run->count, 0);
    for (size_t i = 0; i < run->count; i++) {
        lua_pushstring(L, run->words[i]);
        lua_rawseti(L, -2, (int)i + 1);
    }
    lua_call(L, 1, 1);
    run->exit_code = (int)lua_tointeger(L, -1);
    return 0;
}

/* Nodes that nobody refers to any more hold theirs until they are collected. */
static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int hg_node_test(size_t count, const char *const *words)
{
    struct run what = {.count = count, .words = words, .exit_code = 1};
    struct hg_vm_config config = {
        .file = "spec.lua", .memory_bytes = SIZE_MAX / 2, .jit = true, .is_spec = true};
    struct hg_vm *vm;
    uint64_t seed[2];

    raise_file_limit();
    hg_random_bytes(seed, sizeof(seed));
    hg_hash_seed(seed[0], seed[1]);
    hg_clock_hold(HG_CLOCK_START_MS, START_WALL_MS);
    if (hg_vm_create(&config, &vm) < 0) {
        fprintf(stderr, "hgcache: %s\n", hg_err_text(HG_ENOMEM));
        return 1;
    }
    lua_State *L = hg_vm_state(vm);
    if (lua_cpcall(L, run, &what) != 0) {
        const char *message = lua_tostring(L, -1);
        fprintf(stderr, "hgcache: %s\n",
                message != NULL ? message : "the specs ended with an error");
    }
    fflush(stdout);
    hg_vm_destroy(vm);
    return what.exit_code;
}
