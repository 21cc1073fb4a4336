/*
 * vm_impl - what the files of this floor share about one Lua state.
 *
 * C enters Lua by hg_vm_enter alone: whatever allocates or raises runs inside it, since an error
 * outside ends the process.
 */
#ifndef HG_SCRIPT_VM_IMPL_H
#define HG_SCRIPT_VM_IMPL_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include "base/buf.h"
#include "script/alloc_cap.h"
#include "script/vm.h"

/* Bytes of an error message kept. */
#define HG_VM_ERROR_MAX 1024
/* Past the cap, for the runtime's own hands only. */
#define HG_VM_RESERVE ((size_t)1 << 20)
/* CPU a chunk may use while it loads, and a bound on its text. */
#define HG_VM_LOAD_MS_MAX 5000
#define HG_VM_CHUNK_MAX   (16u << 20)
/* Names of the library's metatables, without which an object is not ours. */
#define HG_MT_GROUP          "hgcache.group"
#define HG_MT_SOCKET         "hgcache.socket"
#define HG_MT_TLS_SESSION    "hgcache.tls_session"
#define HG_MT_POSTGRES       "hgcache.postgres"
#define HG_MT_POSTGRES_BYTES "hgcache.postgres.bytes"

/* hg.at_start and hg.every: jobs of a configuration, and the longest time between two ticks. */
#define HG_JOBS_MAX 64
/* Behind them, of the thread of discovery alone (discovery.c). */
#define HG_JOB_DISCOVERY HG_JOBS_MAX
#define HG_JOB_LEAVE     (HG_JOBS_MAX + 1)
#define HG_EVERY_MS_MAX  (365ull * 86400 * 1000)

struct hg_thread;

struct hg_job {
    uint64_t every_ms; /* 0: of hg.at_start */
    char where[80];    /* "config.lua:12" */
};

#define HG_SPARES_MAX 64

struct hg_vm {
    lua_State *L;
    struct hg_alloc_cap cap;
    char *file;
    struct hg_bytes given;    /* hg_vm_config.text */
    struct hg_buf text;       /* of a control VM: the chunk */
    bool jit, is_control, is_check;
    bool is_loading;
    struct hg_shared *shared; /* borrowed, as the next; NULL: there are none */
    struct hg_metrics *metrics;
    struct hg_vm_fakes *fakes;
    unsigned unyieldable;     /* wrapped resumes under way that cannot pass a yield on */
    struct hg_thread *thread; /* the script thread that runs it; NULL: none, nothing may wait */
    uint64_t load_cpu_ms;     /* thread CPU clock at which loading ends */
    int raw_ref, config_ref;  /* what the chunk returned; what the schema made of it */
    int enter_ref;            /* the function of every hg_vm_enter; 0: not made yet */
    lua_CFunction entered;    /* what it calls, and with what */
    void *entered_ud;
    int anchors_ref;   /* table: every task's coroutine, and the spare ones, under their addresses */
    lua_State *spares[HG_SPARES_MAX]; /* coroutines of tasks that have returned, for the next ones */
    unsigned spare_count;
    int functions_ref; /* see hg_vm_bind_functions */
    int handlers_ref;  /* table: what hg_vm_push_handler has found */
    int jobs_ref;      /* list: the functions of jobs */
    struct hg_job jobs[HG_JOBS_MAX + 2];
    unsigned job_count;
    char error[HG_VM_ERROR_MAX];
    char warning[512]; /* of our own, before the schema's; empty: none */
};

/* The VM a state (or any coroutine of it) belongs to. */
struct hg_vm *hg_vm_of(lua_State *L);

/*
 * Runs fn(L) protected with lightuserdata ud as its one argument. Returns 0 or LUA_ERRRUN,
 * LUA_ERRMEM, LUA_ERRERR with the message in vm->error. The stack is as it was, and nothing is allocated.
 */
int hg_vm_enter(struct hg_vm *vm, lua_CFunction fn, void *ud);

/*
 * The same for clearing up after the cap was met: with a little more memory than scripts may have.
 */
int hg_vm_enter_reserve(struct hg_vm *vm, lua_CFunction fn, void *ud);

/*
 * As lua_pcall, but an error is always a string: the message, or what kind of object was thrown.
 * [-(n+1), +(r|1), m]
 */
int hg_vm_pcall(lua_State *L, int arg_count, int result_count);

/*
 * Text of the error object at index without raising or running out: strings as they are, objects by
 * __tostring (protected), else "error object is a nil value". Pushes it.   [-0, +1, m]
 */
void hg_vm_push_error_text(lua_State *L, int index);

/*
 * vm_libs.c: opens the libraries, closes what could take the node down, sets package.path. In
 * hg_vm_enter. [-0, +0, e]
 */
void hg_vm_open_libs(struct hg_vm *vm, const struct hg_script_args *args, bool is_spec);
/* lib_*.c: fill the table on top (hgcache.core). [-0, +0, e] */
void hg_lib_core_open(lua_State *L);
void hg_lib_group_open(lua_State *L);
void hg_lib_http_open(lua_State *L);
void hg_lib_transfer_open(lua_State *L);
/* C modules stay in the program when the state is closed: other states, threads of their own and exit handlers may be in them. */
void hg_vm_keep_libraries(struct hg_vm *vm);
void hg_lib_socket_open(lua_State *L);
void hg_lib_tls_open(lua_State *L); /* of core.socket */
void hg_lib_postgres_open(lua_State *L);
void hg_lib_file_open(lua_State *L);
void hg_lib_shared_open(lua_State *L);
void hg_lib_metrics_open(lua_State *L);
void hg_lib_jobs_open(lua_State *L);    /* jobs.c */
void hg_lib_members_open(lua_State *L); /* discovery.c */
void hg_lib_dns_open(lua_State *L);

/*
 * vm_data.c: the canonical text of the configuration's data, one `path = value` a line. Pushes a
 * string. [-0, +1, e]
 */
void hg_vm_push_canonical(struct hg_vm *vm);

/*
 * vm_data.c: looks the functions of the configuration up once, by number: getter, on_evict, on_hot,
 * get_many and the score of the group_names[i], to be pushed by the functions below. HG_OK or HG_ENOMEM.
 */
int hg_vm_bind_functions(struct hg_vm *vm, const char *const *group_names, size_t group_count);
void hg_vm_push_getter(struct hg_vm *vm,
                       size_t group_index); /* nil when there is none   [-0, +1, -] */
void hg_vm_push_score(struct hg_vm *vm, size_t group_index);    /* [-0, +1, -] */
void hg_vm_push_get_many(struct hg_vm *vm, size_t group_index); /* [-0, +1, -] */
void hg_vm_push_on_evict(struct hg_vm *vm, size_t group_index); /* [-0, +1, -] */
void hg_vm_push_on_hot(struct hg_vm *vm, size_t group_index);   /* [-0, +1, -] */
/* By lua/hgcache/handlers.lua, once for each name; nil where there is none.   [-0, +1, m] */
void hg_vm_push_handler(struct hg_vm *vm, const char *name);

#endif
