#include "cli/args.h"

#include <stdint.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/err.h"
#include "base/units.h"
#include "cli/nearest.h"

static const struct option {
    const char *name;
    enum hg_option option;
    bool has_value;
} options[] = {
    {"--node", HG_OPTION_NODE, true},       {"--token-file", HG_OPTION_TOKEN_FILE, true},
    {"--key64", HG_OPTION_KEY64, false},    {"--json", HG_OPTION_JSON, false},
    {"--ttl", HG_OPTION_TTL, true},         {"--policy", HG_OPTION_POLICY, true},
    {"--objects", HG_OPTION_OBJECTS, true}, {"--capacity", HG_OPTION_CAPACITY, true},
    {"--soft", HG_OPTION_SOFT, false},      {"--join", HG_OPTION_JOIN, true},
    {"--leave", HG_OPTION_LEAVE, true},
};

/* A word for an error message: printable, and short enough for one line. */
static const char *shown(struct hg_bytes word, char *space, size_t size)
{
    return hg_bytes_escape(word, space, size);
}

static int fail_unknown_command(struct hg_args *args, const char *name)
{
    char space[64];
    const char *known[32];
    size_t known_count = 0;
    for (const struct hg_command *command = hg_commands; command->name != NULL; command++)
        known[known_count++] = command->name;
    shown(hg_bytes_str(name), space, sizeof space);
    const char *near = hg_nearest(name, known, known_count);
    if (near != NULL)
        snprintf(args->error, sizeof args->error, "unknown command \"%s\"; did you mean \"%s\"?",
                 space, near);
    else
        snprintf(args->error, sizeof args->error,
                 "unknown command \"%s\"; `hgcache help` lists them", space);
    return HG_EINVAL;
}

static int fail_unknown_option(struct hg_args *args, struct hg_bytes word)
{
    char space[64], name[HG_NEAREST_MAX + 2];
    const char *known[HG_COUNT(options) + 2];
    for (size_t i = 0; i < HG_COUNT(options); i++)
        known[i] = options[i].name;
    known[HG_COUNT(options)] = "--help";
    known[HG_COUNT(options) + 1] = "--version";
    shown(word, space, sizeof space);
    snprintf(name, sizeof name, "%.*s", (int)(word.len < sizeof name ? word.len : sizeof name - 1),
             word.data);
    const char *near = word.len > 2 ? hg_nearest(name, known, HG_COUNT(known)) : NULL;
    if (near != NULL)
        snprintf(args->error, sizeof args->error, "unknown option \"%s\"; did you mean \"%s\"?",
                 space, near);
    else
        snprintf(args->error, sizeof args->error,
                 "unknown option \"%s\" (put -- before a word that starts with a dash)", space);
    return HG_EINVAL;
}

/* Takes one option at argv[*index]; *index is its last argument afterwards. */
static int take_option(struct hg_args *args, int argc, char *const *argv, int *index,
                       unsigned *given)
{
    const char *word = argv[*index];
    const char *equals = strchr(word, '=');
    struct hg_bytes name =
        equals == NULL ? hg_bytes_str(word) : hg_bytes(word, (size_t)(equals - word));
    const struct option *option = NULL;
    for (size_t i = 0; i < HG_COUNT(options) && option == NULL; i++)
        if (hg_bytes_eq(name, hg_bytes_str(options[i].name)))
            option = &options[i];
    if (option == NULL)
        return fail_unknown_option(args, name);
    if (*given & option->option) {
        snprintf(args->error, sizeof args->error, "%s is given twice", option->name);
        return HG_EINVAL;
    }
    *given |= option->option;

    const char *value = NULL;
    if (!option->has_value && equals != NULL) {
        snprintf(args->error, sizeof args->error, "%s takes no value", option->name);
        return HG_EINVAL;
    }
    if (option->has_value) {
        if (equals != NULL)
            value = equals + 1;
        else if (*index + 1 < argc)
            value = argv[++*index];
        if (value == NULL || value[0] == '\0') {
            snprintf(args->error, sizeof args->error, "%s needs a value", option->name);
            return HG_EINVAL;
        }
    }
    switch (option->option) {
    case HG_OPTION_NODE:
        args->node = value;
        break;
    case HG_OPTION_TOKEN_FILE:
        args->token_file = value;
        break;
    case HG_OPTION_TTL:
        args->ttl = value;
        break;
    case HG_OPTION_POLICY:
        args->policy = value;
        break;
    case HG_OPTION_OBJECTS:
        args->objects = value;
        break;
    case HG_OPTION_CAPACITY:
        args->capacity = value;
        break;
    case HG_OPTION_JOIN:
        args->join = value;
        break;
    case HG_OPTION_LEAVE:
        args->leave = value;
        break;
    case HG_OPTION_KEY64:
        args->key64 = true;
        break;
    case HG_OPTION_JSON:
        args->json = true;
        break;
    case HG_OPTION_SOFT:
        args->soft = true;
        break;
    case HG_OPTION_FOREIGN: /* has no name */
        break;
    }
    return HG_OK;
}

static int check_options(struct hg_args *args, unsigned given)
{
    for (size_t i = 0; i < HG_COUNT(options); i++) {
        if ((given & options[i].option & ~args->command->options) != 0) {
            snprintf(args->error, sizeof args->error, "%s takes no option %s", args->command->name,
                     options[i].name);
            return HG_EINVAL;
        }
    }
    if (args->join != NULL && args->leave != NULL) {
        snprintf(args->error, sizeof args->error, "expected --join or --leave, found both");
        return HG_EINVAL;
    }
    uint64_t ttl_ms;
    if (args->ttl != NULL && hg_duration_parse(hg_bytes_str(args->ttl), &ttl_ms) < 0) {
        char space[64];
        snprintf(args->error, sizeof args->error,
                 "--ttl: expected a duration such as 250ms, 10s, 5m or 1h, found \"%s\"",
                 shown(hg_bytes_str(args->ttl), space, sizeof space));
        return HG_EINVAL;
    }
    if (args->node != NULL && strncmp(args->node, "http://", 7) != 0 &&
        strncmp(args->node, "https://", 8) != 0 && strncmp(args->node, "unix:/", 6) != 0) {
        char space[64];
        snprintf(args->error, sizeof args->error,
                 "--node: expected http://host:port or unix:/path, found \"%s\"",
                 shown(hg_bytes_str(args->node), space, sizeof space));
        return HG_EINVAL;
    }
    return HG_OK;
}

static int check_words(struct hg_args *args)
{
    const struct hg_command *command = args->command;
    char space[64];
    if (args->word_count < command->words_min) {
        snprintf(args->error, sizeof args->error, "%s: too few words; usage: hgcache %s %s",
                 command->name, command->name, command->words);
        return HG_EINVAL;
    }
    if (args->word_count > command->words_max) {
        snprintf(args->error, sizeof args->error,
                 "%s: one word too many: \"%s\"; usage: hgcache %s%s%s", command->name,
                 shown(hg_bytes_str(args->words[command->words_max]), space, sizeof space),
                 command->name, command->words[0] == '\0' ? "" : " ", command->words);
        return HG_EINVAL;
    }
    return HG_OK;
}

int hg_args_parse(struct hg_args *args, int argc, char *const *argv)
{
    *args = (struct hg_args){0};
    args->words = hg_calloc((size_t)(argc > 0 ? argc : 1) + 1, sizeof *args->words);
    if (args->words == NULL)
        return HG_ENOMEM;

    unsigned given = 0;
    bool is_help = false, are_options_over = false;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (!are_options_over && strcmp(word, "--") == 0) {
            are_options_over = true;
        } else if (!are_options_over && (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)) {
            is_help = true;
        } else if (!are_options_over && args->command == NULL && strcmp(word, "--version") == 0) {
            args->command = hg_command_find("version");
        } else if (!are_options_over && word[0] == '-' && word[1] != '\0') {
            int rc = take_option(args, argc, argv, &i, &given);
            if (rc < 0)
                return rc;
        } else if (args->command == NULL) {
            args->command = hg_command_find(word);
            if (args->command == NULL)
                return fail_unknown_command(args, word);
            are_options_over = (args->command->options & HG_OPTION_FOREIGN) != 0;
        } else {
            args->words[args->word_count++] = word;
        }
    }
    if (is_help) {
        /* `hgcache get --help` is `hgcache help get`. */
        args->word_count = 0;
        if (args->command != NULL && args->command->id != HG_COMMAND_HELP)
            args->words[args->word_count++] = args->command->name;
        args->command = hg_command_find("help");
        return HG_OK;
    }
    if (args->command == NULL) {
        snprintf(args->error, sizeof args->error, "expected a command; `hgcache help` lists them");
        return HG_EINVAL;
    }
    int rc = check_options(args, given);
    if (rc < 0)
        return rc;
    rc = check_words(args);
    if (rc < 0)
        return rc;
    if (args->command->id == HG_COMMAND_HELP && args->word_count == 1 &&
        hg_command_find(args->words[0]) == NULL)
        return fail_unknown_command(args, args->words[0]);
    return HG_OK;
}

void hg_args_finish(struct hg_args *args)
{
    hg_free(args->words);
    args->words = NULL;
}

int hg_args_pair(const char *word, char **out_name, const char **out_value)
{
    const char *equals = strchr(word, '=');
    if (equals == NULL || equals == word)
        return HG_EINVAL;
    char *name = hg_strndup(word, (size_t)(equals - word));
    if (name == NULL)
        return HG_ENOMEM;
    *out_name = name;
    *out_value = equals + 1;
    return HG_OK;
}
