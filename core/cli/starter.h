/*
 * starter - the project that `hgcache init` writes: examples/starter, built into the program.
 */
#ifndef HG_CLI_STARTER_H
#define HG_CLI_STARTER_H

#include <stddef.h>
#include "cli/args.h"
#include "cli/cli.h"

struct hg_starter_file {
    const char *path; /* "spec/items_spec.lua" */
    const char *text;
    size_t len;
};

/* Ends with a NULL path. Made by cmake/embed.cmake. */
extern const struct hg_starter_file hg_starter_files[];

/* Writes them into the folder that is the only word: a new one, or one that is empty. Exit code. */
int hg_starter_init(const struct hg_args *args, const struct hg_cli_io *io);

#endif
