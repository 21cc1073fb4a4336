/* `hgcache check`: the configuration as a node would read it, without touching the network. */
#include <lauxlib.h>
#include <stdio.h>
#include "base/alloc.h"
#include "base/metrics.h"
#include "node/node.h"
#include "node/config.h"

static int fail(char *error, int err)
{
    fprintf(stderr, "hgcache: %s\n", error != NULL ? error : hg_err_text(err));
    hg_free(error);
    return 2;
}

/* The text that lua/hgcache/config.lua makes of the normalised table. */
static void print_description(struct hg_vm *vm)
{
    lua_State *L = hg_vm_state(vm);
    int top = lua_gettop(L);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "hgcache.config");
    if (lua_pcall(L, 1, 1, 0) == 0) {
        lua_getfield(L, -1, "describe");
        hg_vm_push_config(vm);
        if (lua_pcall(L, 1, 1, 0) == 0) {
            size_t len;
            const char *text = lua_tolstring(L, -1, &len);
            fwrite(text, 1, len, stdout);
        }
    }
    lua_settop(L, top);
}

int hg_node_check(const struct hg_node_options *options)
{
    struct hg_vm_config config = {.file = options->file,
                                  .args = options->args,
                                  .memory_bytes = 128u << 20,
                                  .is_control = true,
                                  .is_check = true};
    struct hg_vm *control = NULL, *script = NULL;
    struct hg_config *read = NULL;
    struct hg_metrics *metrics = NULL; /* what scripts declare has to fit together */
    char *error = NULL;
    char text[256] = "";
    int exit_code = 2;
    int err = hg_vm_create(&config, &control);
    if (err == HG_OK)
        err = hg_vm_load(control, &error);
    if (err < 0) {
        fail(error, err);
        goto destroy;
    }
    err = hg_config_read(control, &read, text, sizeof(text));
    if (err < 0) {
        fail(hg_strndup(text, strlen(text)), err);
        goto destroy;
    }
    config.is_control = false;
    err = hg_metrics_create(&metrics);
    config.metrics = metrics;
    if (err == HG_OK)
        err = hg_vm_create(&config, &script);
    if (err == HG_OK)
        err = hg_vm_load(script, &error);
    if (err == HG_OK && hg_vm_fingerprint(control) != hg_vm_fingerprint(script)) {
        error = hg_vm_difference(control, script);
        err = HG_EINVAL;
    }
    if (err < 0) {
        fail(error, err);
        goto destroy;
    }
    for (size_t i = 0; hg_vm_warning(control, i) != NULL; i++)
        fprintf(stderr, "hgcache: warning: %s\n", hg_vm_warning(control, i));
    print_description(control);
    exit_code = 0;

destroy:
    hg_config_destroy(read);
    hg_vm_destroy(script);
    hg_vm_destroy(control);
    hg_metrics_destroy(metrics);
    return exit_code;
}
