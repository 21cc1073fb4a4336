#include "net/test_support.h"

#include <fnmatch.h>
#include <sys/stat.h>

static char folder[64];
static char path[96];

static int open_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/hg-log-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof(path), "%s/log", folder);
    return 0;
}

static int close_folder(void **state)
{
    (void)state;
    unlink(path);
    rmdir(folder);
    return 0;
}

static char *read_all(void)
{
    struct stat st;
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    char *text = calloc(1, (size_t)st.st_size + 1);
    assert_int_equal(read(fd, text, (size_t)st.st_size), st.st_size);
    close(fd);
    return text;
}

static bool matches(const char *text, const char *pattern)
{
    return fnmatch(pattern, text, FNM_NOESCAPE) == 0;
}

#define D2    "[0-9][0-9]"
#define STAMP D2 D2 "-" D2 "-" D2 "T" D2 ":" D2 ":" D2 "." D2 "[0-9]Z"

static void test_lines_have_time_level_and_escaped_text(void **state)
{
    (void)state;
    int fd = open(path, O_CREAT | O_WRONLY | O_APPEND, 0600);
    assert_int_equal(hg_log_init(fd, HG_LOG_INFO, HG_LOG_TEXT), HG_OK);
    hg_log(HG_LOG_DEBUG, "not shown");
    hg_log(HG_LOG_INFO, "peer down name=%s err=%s", "b", "timeout");
    hg_log_bytes(HG_LOG_WARN, HG_BYTES("a\r\nb\0c\xff\""));
    hg_log_finish();
    close(fd);
    char *text = read_all();
    char *second = strchr(text, '\n') + 1;
    second[-1] = '\0';
    assert_true(matches(text, STAMP " info  peer down name=b err=timeout"));
    assert_true(matches(second, STAMP " warn  a\\x0d\\x0ab\\x00c\\xff\"\n"));
    free(text);
}

static void test_json_lines_are_json(void **state)
{
    (void)state;
    int fd = open(path, O_CREAT | O_WRONLY | O_APPEND, 0600);
    assert_int_equal(hg_log_init(fd, HG_LOG_DEBUG, HG_LOG_JSON), HG_OK);
    hg_log(HG_LOG_DEBUG, "say \"hi\" \\ \n");
    hg_log_finish();
    close(fd);
    char *text = read_all();
    assert_true(matches(text, "{\"time\":\"" STAMP "\",\"level\":\"debug\",\"message\":"
                              "\"say \\\"hi\\\" \\\\ \\\\x0a\"}\n"));
    free(text);
}

static void test_long_lines_are_cut(void **state)
{
    (void)state;
    int fd = open(path, O_CREAT | O_WRONLY | O_APPEND, 0600);
    static char message[100000];
    memset(message, 1, sizeof(message));
    assert_int_equal(hg_log_init(fd, HG_LOG_INFO, HG_LOG_TEXT), HG_OK);
    hg_log_bytes(HG_LOG_INFO, hg_bytes(message, sizeof(message)));
    memset(message, 'x', sizeof(message) - 1);
    message[sizeof(message) - 1] = '\0';
    hg_log(HG_LOG_INFO, "%s", message);
    hg_log_finish();
    close(fd);
    char *text = read_all();
    char *end = strchr(text, '\n');
    assert_true(end - text <= 8192);
    assert_memory_equal(end - 3, "...", 3);
    assert_true(strchr(end + 1, '\n') - end <= 8193);
    free(text);
}

/* D15 */
static void test_blocked_reader_costs_lines_and_never_time(void **state)
{
    (void)state;
    assert_int_equal(mkfifo(path, 0600), 0);
    int reader = open(path, O_RDONLY | O_NONBLOCK);
    int writer = open(path, O_WRONLY);
    uint64_t dropped = hg_log_dropped();
    assert_int_equal(hg_log_init(writer, HG_LOG_INFO, HG_LOG_TEXT), HG_OK);
    uint64_t begun = hg_clock_boot_ms();
    unsigned count = 0;
    while (hg_log_dropped() == dropped) {
        hg_log(HG_LOG_INFO, "%0200u", count++);
        assert_true(count < 1000000);
    }
    assert_true(hg_clock_boot_ms() - begun < TEST_PATIENCE_MS);
    uint64_t finishing = hg_clock_boot_ms();
    hg_log_finish();
    assert_true(hg_clock_boot_ms() - finishing < 3000);
    close(reader);
    close(writer);
}

static void test_closed_pipe_is_survived(void **state)
{
    (void)state;
    int pipe_fds[2];
    assert_int_equal(pipe(pipe_fds), 0);
    close(pipe_fds[0]);
    uint64_t dropped = hg_log_dropped();
    assert_int_equal(hg_log_init(pipe_fds[1], HG_LOG_INFO, HG_LOG_TEXT), HG_OK);
    hg_log(HG_LOG_INFO, "nobody reads this");
    uint64_t until = hg_clock_boot_ms() + TEST_PATIENCE_MS;
    while (hg_log_dropped() == dropped) {
        test_doze();
        assert_true(hg_clock_boot_ms() < until);
    }
    hg_log_finish();
    close(pipe_fds[1]);
}

static void test_kinds_are_limited_and_say_what_they_left_out(void **state)
{
    (void)state;
    static struct hg_log_limit limit;
    int fd = open(path, O_CREAT | O_WRONLY | O_APPEND, 0600);
    assert_int_equal(hg_log_init(fd, HG_LOG_INFO, HG_LOG_TEXT), HG_OK);
    unsigned written = 0;
    for (int i = 0; i < 1000; i++)
        written += hg_log_limited(&limit, 2, HG_LOG_INFO, "flood n=%d", i);
    atomic_store(&limit.window_s, 0); /* as if a second had passed */
    assert_true(hg_log_limited(&limit, 2, HG_LOG_INFO, "flood again"));
    hg_log_finish();
    close(fd);
    char *text = read_all();
    unsigned lines = 0;
    for (char *c = text; *c != '\0'; c++)
        lines += *c == '\n';
    assert_int_equal(lines, written + 1);
    assert_true(lines >= 3 && lines <= 5); /* a second may have ended in between */
    assert_true(matches(text, "*flood again left_out=99[0-9]\n"));
    free(text);
}

static void *flood(void *arg)
{
    for (int i = 0; i < 500; i++)
        hg_log(HG_LOG_INFO, "thread=%d i=%d", (int)(intptr_t)arg, i);
    return NULL;
}

static void test_lines_of_many_threads_stay_whole(void **state)
{
    (void)state;
    pthread_t threads[4];
    int fd = open(path, O_CREAT | O_WRONLY | O_APPEND, 0600);
    assert_int_equal(hg_log_init(fd, HG_LOG_INFO, HG_LOG_TEXT), HG_OK);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, flood, (void *)(intptr_t)i), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    hg_log_finish();
    close(fd);
    char *text = read_all(), *rest = text, *line;
    unsigned lines = 0;
    while ((line = strsep(&rest, "\n")) != NULL && *line != '\0') {
        assert_true(matches(line, STAMP " info  thread=[0-3] i=[0-9]*"));
        lines++;
    }
    assert_int_equal(lines, 2000);
    free(text);
}

static unsigned diverted;

static void on_diverted(enum hg_log_level level, struct hg_bytes message)
{
    assert_int_equal(level, HG_LOG_DEBUG);
    assert_memory_equal(message.data, "line ", 5);
    diverted++;
}

static void test_diverted_lines_come_all_and_are_not_written(void **state)
{
    (void)state;
    static struct hg_log_limit limit;
    int fd = open(path, O_CREAT | O_WRONLY | O_APPEND, 0600);
    assert_int_equal(hg_log_init(fd, HG_LOG_INFO, HG_LOG_TEXT), HG_OK);
    hg_log_divert(on_diverted, HG_LOG_DEBUG);
    for (int i = 0; i < 100; i++)
        hg_log_limited(&limit, 1, HG_LOG_DEBUG, "line %d", i);
    hg_log_bytes(HG_LOG_DEBUG, HG_BYTES("line of bytes"));
    hg_log_divert(NULL, HG_LOG_INFO);
    hg_log(HG_LOG_INFO, "written");
    hg_log_finish();
    close(fd);
    assert_int_equal(diverted, 101);
    char *text = read_all();
    assert_true(matches(text, STAMP " info  written\n"));
    free(text);
}

static void test_level_names(void **state)
{
    (void)state;
    assert_int_equal(hg_log_level_from_name(HG_BYTES("debug")), HG_LOG_DEBUG);
    assert_int_equal(hg_log_level_from_name(HG_BYTES("error")), HG_LOG_ERROR);
    assert_int_equal(hg_log_level_from_name(HG_BYTES("verbose")), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lines_have_time_level_and_escaped_text, open_folder,
                                        close_folder),
        cmocka_unit_test_setup_teardown(test_diverted_lines_come_all_and_are_not_written,
                                        open_folder, close_folder),
        cmocka_unit_test_setup_teardown(test_json_lines_are_json, open_folder, close_folder),
        cmocka_unit_test_setup_teardown(test_long_lines_are_cut, open_folder, close_folder),
        cmocka_unit_test_setup_teardown(test_blocked_reader_costs_lines_and_never_time, open_folder,
                                        close_folder),
        cmocka_unit_test(test_closed_pipe_is_survived),
        cmocka_unit_test_setup_teardown(test_kinds_are_limited_and_say_what_they_left_out,
                                        open_folder, close_folder),
        cmocka_unit_test_setup_teardown(test_lines_of_many_threads_stay_whole, open_folder,
                                        close_folder),
        cmocka_unit_test(test_level_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
