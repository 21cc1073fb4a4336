/*
 * cli - the command line: one function from arguments to an exit code.
 *
 * Results go to `out`, errors to `err` as one line. Exit codes: 0 done, 1 it failed while running,
 * 2 bad usage or bad configuration, 3 no such key.
 */
#ifndef HG_CLI_CLI_H
#define HG_CLI_CLI_H

#include <stdbool.h>
#include <stdio.h>

enum hg_exit { HG_EXIT_DONE = 0, HG_EXIT_FAILED = 1, HG_EXIT_USAGE = 2, HG_EXIT_NO_KEY = 3 };

struct hg_cli_io {
    FILE *in, *out, *err;
    bool colour; /* out is a terminal and nobody said NO_COLOR */
};

int hg_cli_main(int argc, char *const *argv, const struct hg_cli_io *io);

#endif
