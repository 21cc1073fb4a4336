/*
 * replay - `hgcache replay`: a trace through the store, for several policies and sizes at once.
 *
 * Each line is a look-up; what is missing is put, of the size that the line names. One shard, empty at first, nothing
 * expires. In objects every entry counts one; in bytes it counts what it would cost in a node. The values
 * themselves are not held, only their sizes, so capacities may be larger than this machine's memory.
 */
#ifndef HG_CLI_REPLAY_H
#define HG_CLI_REPLAY_H

#include "cli/args.h"
#include "cli/cli.h"

#define HG_REPLAY_RUNS_MAX 256 /* policies times sizes */

/* Returns the exit code. */
int hg_replay(const struct hg_args *args, const struct hg_cli_io *io);

#endif
