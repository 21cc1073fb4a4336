/*
 * vm - one Lua state: capped memory, the hgcache library, and the configuration chunk run once in it.
 *
 * Threads    one at a time; a script thread owns its own, the control VM belongs to the thread that made it.
 * Memory     everything Lua allocates counts against memory_bytes (under ASan malloc is the allocator; still counted).
 */
#ifndef HG_SCRIPT_VM_H
#define HG_SCRIPT_VM_H

#include <lua.h>
#include <stdint.h>
#include "base/bytes.h"
#include "base/err.h"

struct hg_vm;
struct hg_shared;
struct hg_metrics;

struct hg_script_args { /* name=value of the command line, for hg.args */
    const char *const *names, *const *values;
    size_t count;
};

/* What a node under test has in the place of the world: the table of C functions gets `fake`, and hgcache.fakes runs. */
struct hg_vm_fakes {
    /* core.fake(...), as a C function of that state. May raise. */
    int (*call)(struct hg_vm_fakes *fakes, lua_State *L);
    /* A getter begins to run for this key; is_next: one more key of the same run. */
    void (*runs)(struct hg_vm_fakes *fakes, const char *group, struct hg_bytes key, bool is_next);
};

struct hg_vm_config {
    const char *file;  /* configuration chunk */
    /* Borrowed: what another VM read of it (hg_vm_text), so that all have the same; data NULL: the file is read. */
    struct hg_bytes text;
    struct hg_script_args args;
    size_t memory_bytes;
    bool jit;
    bool is_control;   /* the VM whose data counts */
    bool is_check;     /* `hgcache check`: the schema's role is "check" */
    /* Borrowed: the tables of hg.shared, and the metrics of hg.counter and its like. NULL where no script runs. */
    struct hg_shared *shared;
    struct hg_metrics *metrics;
    struct hg_vm_fakes *fakes; /* borrowed; NULL: the world is real */
    bool is_spec;              /* it runs specs and no configuration: nothing is closed to them */
};

/* With the library open and no chunk run. */
int hg_vm_create(const struct hg_vm_config *config, struct hg_vm **out_vm);
void hg_vm_destroy(struct hg_vm *vm);
lua_State *hg_vm_state(struct hg_vm *vm);
/*
 * Loads the chunk (text only), runs it, checks it against the schema (lua/hgcache/config.lua). HG_EINVAL: *out_error is one line with
 * file, line where Lua gives one, what was expected and found (hg_free it).
 */
int hg_vm_load(struct hg_vm *vm, char **out_error);
/* The chunk as it was loaded; a control VM keeps it. */
struct hg_bytes hg_vm_text(const struct hg_vm *vm);
/* Pushes the checked, normalised table (shape: lua/hgcache/config.lua). */
void hg_vm_push_config(struct hg_vm *vm);
/* XXH64 over the data of the configuration: equal in every VM, or it is a configuration error. */
uint64_t hg_vm_fingerprint(struct hg_vm *vm);
/* After a difference: one line naming the first key that differs between the two (hg_free it). */
char *hg_vm_difference(struct hg_vm *control, struct hg_vm *other);
size_t hg_vm_memory(const struct hg_vm *vm);

/* A configuration-time warning's text by index, or NULL (a script writable by everybody, ...). */
const char *hg_vm_warning(struct hg_vm *vm, size_t index);

#endif
