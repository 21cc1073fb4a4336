/*
 * remote - the commands that ask a running node: get, peek, set, del, stats, ring, explain.
 */
#ifndef HG_CLI_REMOTE_H
#define HG_CLI_REMOTE_H

#include "cli/args.h"
#include "cli/cli.h"

/* enum hg_exit. */
int hg_remote(const struct hg_args *args, const struct hg_cli_io *io);

#endif
