/*
 * modules - the Lua modules of lua/hgcache, built into the program: one binary runs anywhere.
 */
#ifndef HG_SCRIPT_MODULES_H
#define HG_SCRIPT_MODULES_H

#include <stddef.h>

struct hg_module {
    const char *name;  /* "hgcache.config" */
    const char *chunk; /* "@lua/hgcache/config.lua" */
    const char *text;
    size_t len;
};

/* Ends with a NULL name. Made by cmake/embed.cmake. */
extern const struct hg_module hg_modules[];

#endif
