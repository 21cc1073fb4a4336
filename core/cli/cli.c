#include "cli/cli.h"

#include "base/alloc.h"
#include "base/err.h"
#include "cli/args.h"
#include "cli/remote.h"
#include "cli/replay.h"
#include "cli/starter.h"
#include "node/node.h"

static void print_help(const struct hg_cli_io *io)
{
    fputs("hgcache - a read-through cache node that you script in Lua\n\nusage: hgcache COMMAND "
          "[options] [words]\n\n",
          io->out);
    for (const struct hg_command *command = hg_commands; command->name != NULL; command++) {
        char left[64];
        snprintf(left, sizeof left, "%s %s", command->name, command->words);
        fprintf(io->out, "  %-29s %s\n", left, command->summary);
    }
    fputs("\nCommands that talk to a node take\n"
          "  --node URL                    its admin listener: http://host:port (default "
          "http://127.0.0.1:8792) or unix:/path\n"
          "  --token-file F                a file with the admin token\n"
          "  --key64                       KEY is base64\n"
          "  --json                        JSON instead of text\n"
          "\nExit codes: 0 done, 1 it failed while running, 2 bad usage or bad configuration, 3 no "
          "such key.\n",
          io->out);
}

static void print_command_help(const struct hg_cli_io *io, const struct hg_command *command)
{
    fprintf(io->out, "usage: hgcache %s%s%s", command->name, command->words[0] == '\0' ? "" : " ",
            command->words);
    fputs(command->options & HG_OPTION_NODE ? " [--node URL] [--token-file F]" : "", io->out);
    fputs(command->options & HG_OPTION_KEY64 ? " [--key64]" : "", io->out);
    fputs(command->options & HG_OPTION_POLICY ? " [--policy P[,P]]" : "", io->out);
    fputs(command->options & HG_OPTION_OBJECTS ? " --objects N[,N]|--capacity SIZE[,SIZE]" : "",
          io->out);
    fputs(command->options & HG_OPTION_JSON ? " [--json]" : "", io->out);
    fputs(command->options & HG_OPTION_JOIN ? " [--join URL|--leave URL]" : "", io->out);
    fputs(command->options & HG_OPTION_SOFT ? " [--soft]" : "", io->out);
    fputs(command->options & HG_OPTION_TTL ? " [--ttl D]" : "", io->out);
    fprintf(io->out, "\n\n%s.\n", command->summary);
    fputs(command->text == NULL ? "" : command->text, io->out);
}

/* run and check: FILE, then pairs. */
static int run_node(const struct hg_args *args, const struct hg_cli_io *io)
{
    size_t count = args->word_count - 1, made = 0;
    int code = HG_EXIT_USAGE;
    char **names = hg_calloc(count + 1, sizeof *names);
    const char **values = hg_calloc(count + 1, sizeof *values);
    if (names == NULL || values == NULL) {
        fprintf(io->err, "hgcache: %s\n", hg_err_text(HG_ENOMEM));
        code = HG_EXIT_FAILED;
        goto free_pairs;
    }
    for (; made < count; made++) {
        const char *word = args->words[made + 1];
        int rc = hg_args_pair(word, &names[made], &values[made]);
        if (rc < 0) {
            char space[64];
            fprintf(io->err, "hgcache: %s: expected name=value, found \"%s\"\n",
                    args->command->name, hg_bytes_escape(hg_bytes_str(word), space, sizeof space));
            goto free_pairs;
        }
    }
    struct hg_node_options options = {
        .file = args->words[0],
        .args = {.names = (const char *const *)names, .values = values, .count = count},
    };
    fflush(io->out);
    code = args->command->id == HG_COMMAND_RUN ? hg_node_run(&options) : hg_node_check(&options);

free_pairs:
    while (made > 0)
        hg_free(names[--made]);
    hg_free(values);
    hg_free(names);
    return code;
}

/* Of a command whose options are somebody else's, who has help of his own. */
static bool asks_for_help(const struct hg_args *args)
{
    for (size_t i = 0; i < args->word_count && strcmp(args->words[i], "--") != 0; i++)
        if (strcmp(args->words[i], "--help") == 0 || strcmp(args->words[i], "-h") == 0)
            return true;
    return false;
}

static int run_command(const struct hg_args *args, const struct hg_cli_io *io)
{
    switch (args->command->id) {
    case HG_COMMAND_RUN:
    case HG_COMMAND_CHECK:
        return run_node(args, io);
    case HG_COMMAND_VERSION:
        fputs("hgcache " HG_VERSION "\n", io->out);
        return HG_EXIT_DONE;
    case HG_COMMAND_INIT:
        return hg_starter_init(args, io);
    case HG_COMMAND_TEST:
        if (asks_for_help(args)) {
            print_command_help(io, args->command);
            fputs("\nThe options of busted:\n\n", io->out);
        }
        fflush(io->out);
        return hg_node_test(args->word_count, (const char *const *)args->words);
    case HG_COMMAND_REPLAY:
        return hg_replay(args, io);
    case HG_COMMAND_HELP:
        if (args->word_count == 0)
            print_help(io);
        else
            print_command_help(io, hg_command_find(args->words[0]));
        return HG_EXIT_DONE;
    default:
        return hg_remote(args, io);
    }
}

int hg_cli_main(int argc, char *const *argv, const struct hg_cli_io *io)
{
    struct hg_args args;
    int rc = hg_args_parse(&args, argc, argv);
    int code = HG_EXIT_USAGE;
    if (rc < 0)
        fprintf(io->err, "hgcache: %s\n", rc == HG_EINVAL ? args.error : hg_err_text(rc));
    else
        code = run_command(&args, io);
    hg_args_finish(&args);
    if (fflush(io->out) != 0 || ferror(io->out)) {
        fprintf(io->err, "hgcache: standard output cannot be written\n");
        return code == HG_EXIT_DONE ? HG_EXIT_FAILED : code;
    }
    return code;
}
