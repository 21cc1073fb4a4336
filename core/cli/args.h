/*
 * args - arguments into a command, its options and its words.
 *
 * Options may stand before or behind the command and between words, as `--name value` or
 * `--name=value`; `--` ends them. "-" alone is a word. Ownership: the strings are argv's, the list
 * of words is ours.
 */
#ifndef HG_CLI_ARGS_H
#define HG_CLI_ARGS_H

#include "base/bytes.h"

enum hg_command_id {
    HG_COMMAND_RUN,
    HG_COMMAND_CHECK,
    HG_COMMAND_GET,
    HG_COMMAND_PEEK,
    HG_COMMAND_SET,
    HG_COMMAND_DEL,
    HG_COMMAND_FLUSH,
    HG_COMMAND_UNTAG,
    HG_COMMAND_STATS,
    HG_COMMAND_RING,
    HG_COMMAND_HOT,
    HG_COMMAND_RELOAD,
    HG_COMMAND_DRAIN,
    HG_COMMAND_EXPLAIN,
    HG_COMMAND_REPLAY,
    HG_COMMAND_TEST,
    HG_COMMAND_INIT,
    HG_COMMAND_VERSION,
    HG_COMMAND_HELP,
};

enum hg_option {
    HG_OPTION_NODE = 1,
    HG_OPTION_TOKEN_FILE = 2,
    HG_OPTION_KEY64 = 4,
    HG_OPTION_JSON = 8,
    HG_OPTION_TTL = 16,
    HG_OPTION_POLICY = 32,
    HG_OPTION_OBJECTS = 64,
    HG_OPTION_CAPACITY = 128,
    HG_OPTION_SOFT = 256,
    HG_OPTION_FOREIGN = 512, /* what stands behind the command is another program's, options too */
    HG_OPTION_JOIN = 1024,
    HG_OPTION_LEAVE = 2048
};

struct hg_command {
    const char *name;
    enum hg_command_id id;
    unsigned options;            /* enum hg_option, those that it takes */
    size_t words_min, words_max; /* SIZE_MAX = any number */
    const char *words;           /* "GROUP KEY" */
    const char *summary;         /* one line */
    const char *text;            /* for `help COMMAND`; NULL = the summary says it all */
};

/* Ends with a NULL name. */
extern const struct hg_command hg_commands[];
const struct hg_command *hg_command_find(const char *name); /* NULL: there is none */

struct hg_args {
    const struct hg_command *command;
    const char *node, *token_file, *ttl; /* NULL: not given */
    const char *policy, *objects, *capacity;
    const char *join, *leave;
    bool key64, json, soft;
    const char **words;
    size_t word_count;
    char error[256];
};

/* HG_EINVAL: error says what was expected and found, in one line. HG_ENOMEM. Finish it in any case.
 */
int hg_args_parse(struct hg_args *args, int argc, char *const *argv);
void hg_args_finish(struct hg_args *args);

/* The name=value pair of a word in place: HG_EINVAL without a name or "=". *out_name is to be freed
 * (hg_free). */
int hg_args_pair(const char *word, char **out_name, const char **out_value);

#endif
