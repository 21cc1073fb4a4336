#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "base/alloc.h"
#include "base/err.h"
#include "cli/args.h"

#define WORDS_MAX 16

/* Splits at spaces into argv; "''" is an empty word. Returns argc. */
static int split(char *line, char *argv[WORDS_MAX])
{
    int argc = 0;
    argv[argc++] = "hgcache";
    for (char *word = strtok(line, " "); word != NULL; word = strtok(NULL, " "))
        argv[argc++] = strcmp(word, "''") == 0 ? "" : word;
    argv[argc] = NULL;
    return argc;
}

static void test_good_lines_are_understood(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        enum hg_command_id id;
        const char *words; /* joined with a space */
        const char *node, *token_file, *ttl;
        bool key64, json;
    } rows[] = {
        {"run a.lua", HG_COMMAND_RUN, "a.lua", NULL, NULL, NULL, false, false},
        {"run a.lua port=8001 api=1", HG_COMMAND_RUN, "a.lua port=8001 api=1", NULL, NULL, NULL,
         false, false},
        {"run -- -odd.lua --x=1", HG_COMMAND_RUN, "-odd.lua --x=1", NULL, NULL, NULL, false, false},
        {"check a.lua", HG_COMMAND_CHECK, "a.lua", NULL, NULL, NULL, false, false},
        {"get g k", HG_COMMAND_GET, "g k", NULL, NULL, NULL, false, false},
        {"--node http://h:1 get g k", HG_COMMAND_GET, "g k", "http://h:1", NULL, NULL, false,
         false},
        {"get --node=unix:/s g --key64 k --json", HG_COMMAND_GET, "g k", "unix:/s", NULL, NULL,
         true, true},
        {"get --token-file f g k", HG_COMMAND_GET, "g k", NULL, "f", NULL, false, false},
        {"set g k v --ttl 10s", HG_COMMAND_SET, "g k v", NULL, NULL, "10s", false, false},
        {"set g k - --ttl=1.5h", HG_COMMAND_SET, "g k -", NULL, NULL, "1.5h", false, false},
        {"set g k -- --ttl", HG_COMMAND_SET, "g k --ttl", NULL, NULL, NULL, false, false},
        {"set g k ''", HG_COMMAND_SET, "g k ", NULL, NULL, NULL, false, false},
        {"del g k", HG_COMMAND_DEL, "g k", NULL, NULL, NULL, false, false},
        {"stats --json", HG_COMMAND_STATS, "", NULL, NULL, NULL, false, true},
        {"reload --json", HG_COMMAND_RELOAD, "", NULL, NULL, NULL, false, true},
        {"drain", HG_COMMAND_DRAIN, "", NULL, NULL, NULL, false, false},
        {"hot --json", HG_COMMAND_HOT, "", NULL, NULL, NULL, false, true},
        {"ring", HG_COMMAND_RING, "", NULL, NULL, NULL, false, false},
        {"explain g k", HG_COMMAND_EXPLAIN, "g k", NULL, NULL, NULL, false, false},
        {"init d", HG_COMMAND_INIT, "d", NULL, NULL, NULL, false, false},
        {"test", HG_COMMAND_TEST, "", NULL, NULL, NULL, false, false},
        {"test -o TAP --json -- spec --help", HG_COMMAND_TEST, "-o TAP --json -- spec --help", NULL,
         NULL, NULL, false, false},
        {"version", HG_COMMAND_VERSION, "", NULL, NULL, NULL, false, false},
        {"--version", HG_COMMAND_VERSION, "", NULL, NULL, NULL, false, false},
        {"help", HG_COMMAND_HELP, "", NULL, NULL, NULL, false, false},
        {"--help", HG_COMMAND_HELP, "", NULL, NULL, NULL, false, false},
        {"-h", HG_COMMAND_HELP, "", NULL, NULL, NULL, false, false},
        {"help get", HG_COMMAND_HELP, "get", NULL, NULL, NULL, false, false},
        {"get --help", HG_COMMAND_HELP, "get", NULL, NULL, NULL, false, false},
        {"-h run", HG_COMMAND_HELP, "run", NULL, NULL, NULL, false, false},
        {"get g -h", HG_COMMAND_HELP, "get", NULL, NULL, NULL, false, false},
    };
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        char line[256], words[256] = "", *argv[WORDS_MAX];
        snprintf(line, sizeof line, "%s", rows[i].line);
        int argc = split(line, argv);
        struct hg_args args;
        int rc = hg_args_parse(&args, argc, argv);
        if (rc != HG_OK)
            fail_msg("\"%s\": %s", rows[i].line, args.error);
        for (size_t w = 0; w < args.word_count; w++) {
            strcat(words, w == 0 ? "" : " ");
            strcat(words, args.words[w]);
        }
        assert_int_equal(args.command->id, rows[i].id);
        assert_string_equal(words, rows[i].words);
        assert_string_equal(args.node == NULL ? "" : args.node,
                            rows[i].node == NULL ? "" : rows[i].node);
        assert_string_equal(args.token_file == NULL ? "" : args.token_file,
                            rows[i].token_file == NULL ? "" : rows[i].token_file);
        assert_string_equal(args.ttl == NULL ? "" : args.ttl,
                            rows[i].ttl == NULL ? "" : rows[i].ttl);
        assert_int_equal(args.key64, rows[i].key64);
        assert_int_equal(args.json, rows[i].json);
        hg_args_finish(&args);
    }
}

static void test_bad_lines_say_what_was_expected_and_found(void **state)
{
    (void)state;
    static const struct {
        const char *line, *error;
    } rows[] = {
        {"", "expected a command; `hgcache help` lists them"},
        {"statz", "unknown command \"statz\"; did you mean \"stats\"?"},
        {"chekc a.lua", "unknown command \"chekc\"; did you mean \"check\"?"},
        {"frobnicate", "unknown command \"frobnicate\"; `hgcache help` lists them"},
        {"''", "unknown command \"\"; `hgcache help` lists them"},
        {"relaod", "unknown command \"relaod\"; did you mean \"reload\"?"},
        {"reload now", "reload: one word too many: \"now\"; usage: hgcache reload"},
        {"replay", "replay: too few words; usage: hgcache replay TRACE"},
        {"get g k --objects 5", "get takes no option --objects"},
        {"init", "init: too few words; usage: hgcache init DIR"},
        {"help gte", "unknown command \"gte\"; did you mean \"get\"?"},
        {"get g k --jsno", "unknown option \"--jsno\"; did you mean \"--json\"?"},
        {"get g k --nod=http://x", "unknown option \"--nod\"; did you mean \"--node\"?"},
        {"set g k -5", "unknown option \"-5\" (put -- before a word that starts with a dash)"},
        {"get g k --frobnicate",
         "unknown option \"--frobnicate\" (put -- before a word that starts with a dash)"},
        {"get g k --json=1", "--json takes no value"},
        {"get g k --node", "--node needs a value"},
        {"get g k --node=", "--node needs a value"},
        {"get g k --json --json", "--json is given twice"},
        {"get g k --ttl 1s", "get takes no option --ttl"},
        {"run a.lua --node http://x", "run takes no option --node"},
        {"stats --key64", "stats takes no option --key64"},
        {"version --json", "version takes no option --json"},
        {"get g k --node 127.0.0.1:1",
         "--node: expected http://host:port or unix:/path, found \"127.0.0.1:1\""},
        {"get g k --node ftp://h",
         "--node: expected http://host:port or unix:/path, found \"ftp://h\""},
        {"set g k v --ttl soon",
         "--ttl: expected a duration such as 250ms, 10s, 5m or 1h, found \"soon\""},
        {"set g k v --ttl -1",
         "--ttl: expected a duration such as 250ms, 10s, 5m or 1h, found \"-1\""},
        {"run", "run: too few words; usage: hgcache run FILE [name=value ...]"},
        {"get g", "get: too few words; usage: hgcache get GROUP KEY"},
        {"set g k", "set: too few words; usage: hgcache set GROUP KEY VALUE|-"},
        {"get g k x", "get: one word too many: \"x\"; usage: hgcache get GROUP KEY"},
        {"flush g x", "flush: one word too many: \"x\"; usage: hgcache flush GROUP"},
        {"untag g", "untag: too few words; usage: hgcache untag GROUP TAG"},
        {"flush g --soft", "flush takes no option --soft"},
        {"del g k --soft", "del takes no option --soft"},
        {"stats x", "stats: one word too many: \"x\"; usage: hgcache stats"},
    };
    for (size_t i = 0; i < HG_COUNT(rows); i++) {
        char line[256], *argv[WORDS_MAX];
        snprintf(line, sizeof line, "%s", rows[i].line);
        int argc = split(line, argv);
        struct hg_args args;
        if (hg_args_parse(&args, argc, argv) != HG_EINVAL)
            fail_msg("\"%s\" was taken", rows[i].line);
        assert_string_equal(args.error, rows[i].error);
        hg_args_finish(&args);
    }
}

static void test_hostile_words_stay_one_printable_line(void **state)
{
    (void)state;
    char longest[5000];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    char *words[] = {"a\nb\x1b[31m\xff", longest, "--a\nb=c", "--\x01"};
    for (size_t i = 0; i < HG_COUNT(words); i++) {
        char *argv[] = {"hgcache", words[i], NULL};
        struct hg_args args;
        assert_int_equal(hg_args_parse(&args, 2, argv), HG_EINVAL);
        assert_true(strlen(args.error) > 0);
        for (const char *c = args.error; *c != '\0'; c++)
            assert_in_range((unsigned char)*c, 0x20, 0x7e);
        hg_args_finish(&args);
    }
}

static void test_pairs_are_split_at_the_first_equals_sign(void **state)
{
    (void)state;
    char *name;
    const char *value;
    assert_int_equal(hg_args_pair("port=80=1", &name, &value), HG_OK);
    assert_string_equal(name, "port");
    assert_string_equal(value, "80=1");
    hg_free(name);
    assert_int_equal(hg_args_pair("a=", &name, &value), HG_OK);
    assert_string_equal(value, "");
    hg_free(name);
    assert_int_equal(hg_args_pair("=1", &name, &value), HG_EINVAL);
    assert_int_equal(hg_args_pair("port", &name, &value), HG_EINVAL);
    assert_int_equal(hg_args_pair("", &name, &value), HG_EINVAL);
}

static void test_no_memory_is_an_error(void **state)
{
    (void)state;
    char *argv[] = {"hgcache", "stats", NULL};
    struct hg_args args;
    hg_alloc_fail_at(0, false);
    assert_int_equal(hg_args_parse(&args, 2, argv), HG_ENOMEM);
    assert_true(hg_alloc_fail_clear());
    hg_args_finish(&args);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_lines_are_understood),
        cmocka_unit_test(test_bad_lines_say_what_was_expected_and_found),
        cmocka_unit_test(test_hostile_words_stay_one_printable_line),
        cmocka_unit_test(test_pairs_are_split_at_the_first_equals_sign),
        cmocka_unit_test(test_no_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
