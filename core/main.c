/* The program: arguments in, exit code out. core/cli has the commands, core/node the node. */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/cli.h"

int main(int argc, char **argv)
{
    const char *no_color = getenv("NO_COLOR");
    struct hg_cli_io io = {
        .in = stdin,
        .out = stdout,
        .err = stderr,
        .colour = isatty(STDOUT_FILENO) && (no_color == NULL || no_color[0] == '\0'),
    };
    signal(SIGPIPE, SIG_IGN);
    return hg_cli_main(argc, argv, &io);
}
