/* The commands against a server of one thread that notes what it was asked and answers what it was
 * told. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "cli/remote.h"

struct server {
    int fd;
    char url[128];
    const char *answer;
    size_t answer_len;
    char asked[8192]; /* the whole request */
    size_t asked_len;
    pthread_t thread;
};

/* Head and Content-Length body. */
static bool is_complete(const struct server *server)
{
    const char *end = memmem(server->asked, server->asked_len, "\r\n\r\n", 4);
    if (end == NULL)
        return false;
    const char *field = memmem(server->asked, server->asked_len, "Content-Length: ", 16);
    size_t body = field == NULL ? 0 : strtoul(field + 16, NULL, 10);
    return server->asked_len >= (size_t)(end - server->asked) + 4 + body;
}

static void *serve(void *ctx)
{
    struct server *server = ctx;
    int fd = accept(server->fd, NULL, NULL);
    while (!is_complete(server)) {
        ssize_t got = recv(fd, server->asked + server->asked_len,
                           sizeof server->asked - server->asked_len, 0);
        if (got <= 0)
            break;
        server->asked_len += (size_t)got;
    }
    send(fd, server->answer, server->answer_len, MSG_NOSIGNAL);
    close(fd);
    return NULL;
}

static void server_start(struct server *server, const char *socket_path, const char *answer,
                         size_t answer_len)
{
    *server = (struct server){.answer = answer, .answer_len = answer_len};
    if (socket_path != NULL) {
        struct sockaddr_un local = {.sun_family = AF_UNIX};
        snprintf(local.sun_path, sizeof local.sun_path, "%s", socket_path);
        server->fd = socket(AF_UNIX, SOCK_STREAM, 0);
        assert_int_equal(bind(server->fd, (struct sockaddr *)&local, sizeof local), 0);
        snprintf(server->url, sizeof server->url, "unix:%s", socket_path);
    } else {
        struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof any;
        server->fd = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(bind(server->fd, (struct sockaddr *)&any, sizeof any), 0);
        assert_int_equal(getsockname(server->fd, (struct sockaddr *)&any, &len), 0);
        snprintf(server->url, sizeof server->url, "http://127.0.0.1:%u", ntohs(any.sin_port));
    }
    assert_int_equal(listen(server->fd, 1), 0);
    assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

static void server_stop(struct server *server)
{
    pthread_join(server->thread, NULL);
    close(server->fd);
}

struct run {
    int code;
    char *out, *err;
    size_t out_len, err_len;
};

static struct run run_line(const char *url, const char *input, size_t input_len, int count,
                           const char *const *words)
{
    char *argv[16] = {"hgcache", "--node", (char *)url};
    for (int i = 0; i < count; i++)
        argv[3 + i] = (char *)words[i];
    struct run run = {0};
    struct hg_args args;
    if (hg_args_parse(&args, 3 + count, argv) < 0)
        fail_msg("%s", args.error);
    struct hg_cli_io io = {
        .in = input_len > 0 ? fmemopen((void *)input, input_len, "rb") : fopen("/dev/null", "rb"),
        .out = open_memstream(&run.out, &run.out_len),
        .err = open_memstream(&run.err, &run.err_len),
    };
    run.code = hg_remote(&args, &io);
    fclose(io.in);
    fclose(io.out);
    fclose(io.err);
    hg_args_finish(&args);
    return run;
}

static void run_free(struct run *run)
{
    free(run->out);
    free(run->err);
}

#define WORDS(...)                                                                                 \
    (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)), (const char *const[])           \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }
#define ANSWER(text) (text), sizeof(text) - 1
#define OK_HEAD(len) "HTTP/1.1 200 OK\r\nContent-Length: " #len "\r\n\r\n"

static void assert_asked(const struct server *server, const char *first_line)
{
    assert_true(server->asked_len > strlen(first_line) + 2);
    assert_memory_equal(server->asked, first_line, strlen(first_line));
    assert_memory_equal(server->asked + strlen(first_line), "\r\n", 2);
}

static void test_get_prints_the_raw_bytes(void **state)
{
    (void)state;
    struct server server;
    server_start(&server, NULL, ANSWER(OK_HEAD(5) "a\0\xff\n!"));
    struct run run = run_line(server.url, NULL, 0, WORDS("get", "te st", "a/b+c%\xff"));
    server_stop(&server);
    assert_asked(&server, "GET /keys?group=te%20st&key=a%2Fb%2Bc%25%FF&load=1 HTTP/1.1");
    assert_int_equal(run.code, HG_EXIT_DONE);
    assert_int_equal(run.out_len, 5);
    assert_memory_equal(run.out, "a\0\xff\n!", 5);
    assert_int_equal(run.err_len, 0);
    run_free(&run);
}

static void test_peek_does_not_load(void **state)
{
    (void)state;
    struct server server;
    server_start(&server, NULL, ANSWER(OK_HEAD(0)));
    struct run run = run_line(server.url, NULL, 0, WORDS("peek", "g", "k"));
    server_stop(&server);
    assert_asked(&server, "GET /keys?group=g&key=k HTTP/1.1");
    assert_int_equal(run.code, HG_EXIT_DONE);
    assert_int_equal(run.out_len, 0);
    run_free(&run);
}

static void test_no_such_key_is_three_and_silent(void **state)
{
    (void)state;
    struct server server;
    server_start(&server, NULL,
                 ANSWER("HTTP/1.1 404 Not Found\r\nContent-Length: 12\r\n\r\nno such key\n"));
    struct run run = run_line(server.url, NULL, 0, WORDS("get", "g", "k"));
    server_stop(&server);
    assert_int_equal(run.code, HG_EXIT_NO_KEY);
    assert_int_equal(run.out_len + run.err_len, 0);
    run_free(&run);
}

static void test_no_such_group_is_a_failure(void **state)
{
    (void)state;
    struct server server;
    server_start(&server, NULL,
                 ANSWER("HTTP/1.1 404 Not Found\r\nContent-Length: 14\r\n\r\nno such group\n"));
    struct run run = run_line(server.url, NULL, 0, WORDS("get", "g", "k"));
    server_stop(&server);
    assert_int_equal(run.code, HG_EXIT_FAILED);
    assert_string_equal(run.err, "hgcache: get: 404: no such group\n");
    run_free(&run);
}

static void test_an_error_of_the_node_is_one_line(void **state)
{
    (void)state;
    struct server server;
    server_start(&server, NULL,
                 ANSWER("HTTP/1.1 503 X\r\nContent-Length: 15\r\n\r\n\x1b[1m down\nmore\n"));
    struct run run = run_line(server.url, NULL, 0, WORDS("stats"));
    server_stop(&server);
    assert_int_equal(run.code, HG_EXIT_FAILED);
    assert_string_equal(run.err, "hgcache: stats: 503: \\x1b[1m down\n");
    assert_int_equal(run.out_len, 0);
    run_free(&run);
}

static void test_set_sends_the_value_and_prints_who_knows(void **state)
{
    (void)state;
    struct server server;
    server_start(&server, NULL, ANSWER(OK_HEAD(21) "{\"acknowledged\":[\"a\"]}"));
    struct run run =
        run_line(server.url, NULL, 0, WORDS("set", "g", "k", "a value", "--ttl", "1.5m"));
    server_stop(&server);
    assert_asked(&server, "PUT /keys?group=g&key=k&ttl=1.5m HTTP/1.1");
    server.asked[server.asked_len] = '\0';
    assert_non_null(strstr(server.asked, "\r\nContent-Length: 7\r\n"));
    assert_null(strstr(server.asked, "Expect"));
    assert_string_equal(server.asked + server.asked_len - 11, "\r\n\r\na value");
    assert_int_equal(run.code, HG_EXIT_DONE);
    assert_string_equal(run.out, "{\"acknowledged\":[\"a\"]\n");
    run_free(&run);
}

static void test_set_reads_standard_input(void **state)
{
    (void)state;
    struct server server;
    server_start(&server, NULL, ANSWER("HTTP/1.1 204 No Content\r\n\r\n"));
    struct run run = run_line(server.url, "x\0y\n", 4, WORDS("set", "g", "k", "-"));
    server_stop(&server);
    assert_int_equal(run.code, HG_EXIT_DONE);
    assert_memory_equal(server.asked + server.asked_len - 8, "\r\n\r\nx\0y\n", 8);
    assert_int_equal(run.out_len, 0);
    run_free(&run);
}

static void test_an_empty_value_is_a_value(void **state)
{
    (void)state;
    struct server server;
    server_start(&server, NULL, ANSWER(OK_HEAD(3) "{}\n"));
    struct run run = run_line(server.url, NULL, 0, WORDS("set", "g", "k", ""));
    server_stop(&server);
    server.asked[server.asked_len] = '\0';
    assert_non_null(strstr(server.asked, "\r\nContent-Length: 0\r\n"));
    assert_string_equal(run.out, "{}\n");
    run_free(&run);
}

static void test_del_sends_a_delete(void **state)
{
    (void)state;
    struct server server;
    server_start(&server, NULL, ANSWER(OK_HEAD(3) "{}\n"));
    struct run run = run_line(server.url, NULL, 0, WORDS("del", "g", "AP8=", "--key64"));
    server_stop(&server);
    assert_asked(&server, "DELETE /keys?group=g&key=%00%FF HTTP/1.1");
    assert_int_equal(run.code, HG_EXIT_DONE);
    run_free(&run);
}

static void test_json_of_bytes_is_base64(void **state)
{
    (void)state;
    struct server server;
    server_start(&server, NULL, ANSWER(OK_HEAD(2) "\xff\xfe"));
    struct run run = run_line(server.url, NULL, 0, WORDS("get", "g", "k", "--json"));
    server_stop(&server);
    assert_string_equal(run.out, "{\"group\":\"g\",\"key\":\"k\",\"value64\":\"//4=\"}\n");
    run_free(&run);
    server_start(&server, NULL, ANSWER(OK_HEAD(3) "630"));
    run = run_line(server.url, NULL, 0, WORDS("get", "g", "k", "--json"));
    server_stop(&server);
    assert_string_equal(run.out, "{\"group\":\"g\",\"key\":\"k\",\"value\":\"630\"}\n");
    run_free(&run);
}

static void test_stats_are_a_table_or_raw_json(void **state)
{
    (void)state;
    struct server server;
    server_start(&server, NULL,
                 ANSWER(OK_HEAD(43) "{\"node\":\"n\",\"groups\":{\"test\":{\"gets\":123}}}"));
    struct run run = run_line(server.url, NULL, 0, WORDS("stats"));
    server_stop(&server);
    assert_asked(&server, "GET /stats HTTP/1.1");
    assert_string_equal(run.out, "node  n\n\ngroups  test\ngets     123\n");
    run_free(&run);
    server_start(&server, NULL, ANSWER(OK_HEAD(12) "{\"node\":\"n\"}"));
    run = run_line(server.url, NULL, 0, WORDS("stats", "--json"));
    server_stop(&server);
    assert_string_equal(run.out, "{\"node\":\"n\"}\n");
    run_free(&run);
}

static void test_ring_and_explain_ask_their_pages(void **state)
{
    (void)state;
    struct server server;
    server_start(&server, NULL, ANSWER(OK_HEAD(9) "{\"a\":[1]}"));
    struct run run = run_line(server.url, NULL, 0, WORDS("ring"));
    server_stop(&server);
    assert_asked(&server, "GET /ring HTTP/1.1");
    run_free(&run);
    server_start(&server, NULL, ANSWER(OK_HEAD(13) "{\"owner\":\"me\"}"));
    run = run_line(server.url, NULL, 0, WORDS("explain", "g", "k"));
    server_stop(&server);
    assert_asked(&server, "GET /explain?group=g&key=k HTTP/1.1");
    assert_int_equal(run.code, HG_EXIT_FAILED); /* one byte of it is missing */
    run_free(&run);
}

static void test_a_page_that_is_not_json_is_a_failure(void **state)
{
    (void)state;
    struct server server;
    server_start(&server, NULL, ANSWER(OK_HEAD(4) "live"));
    struct run run = run_line(server.url, NULL, 0, WORDS("stats", "--json"));
    server_stop(&server);
    assert_int_equal(run.code, HG_EXIT_FAILED);
    assert_int_equal(run.out_len, 0);
    assert_non_null(strstr(run.err, "expected JSON from the node"));
    run_free(&run);
}

static void test_the_token_travels_in_the_header_only(void **state)
{
    (void)state;
    char name[] = "/tmp/hgcache-token-XXXXXX";
    int fd = mkstemp(name);
    assert_int_equal(write(fd, "s3cret\n", 7), 7);
    close(fd);
    struct server server;
    server_start(&server, NULL, ANSWER(OK_HEAD(2) "{}"));
    struct run run = run_line(server.url, NULL, 0, WORDS("stats", "--token-file", name));
    server_stop(&server);
    unlink(name);
    server.asked[server.asked_len] = '\0';
    assert_asked(&server, "GET /stats HTTP/1.1");
    assert_non_null(strstr(server.asked, "\r\nAuthorization: Bearer s3cret\r\n"));
    assert_int_equal(run.code, HG_EXIT_DONE);
    run_free(&run);
}

static void test_a_bad_token_file_is_bad_usage(void **state)
{
    (void)state;
    struct run run = run_line("http://127.0.0.1:1", NULL, 0,
                              WORDS("stats", "--token-file", "/nonexistent/token"));
    assert_int_equal(run.code, HG_EXIT_USAGE);
    assert_string_equal(run.err, "hgcache: stats: /nonexistent/token: No such file or directory\n");
    run_free(&run);
    run = run_line("http://127.0.0.1:1", NULL, 0, WORDS("stats", "--token-file", "/dev/null"));
    assert_int_equal(run.code, HG_EXIT_USAGE);
    run_free(&run);
}

static void test_a_node_on_a_unix_socket_is_reached(void **state)
{
    (void)state;
    char folder[] = "/tmp/hgcache-cli-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/s", folder);
    struct server server;
    server_start(&server, path, ANSWER(OK_HEAD(2) "hi"));
    struct run run = run_line(server.url, NULL, 0, WORDS("get", "g", "k"));
    server_stop(&server);
    unlink(path);
    rmdir(folder);
    assert_int_equal(run.code, HG_EXIT_DONE);
    assert_string_equal(run.out, "hi");
    run_free(&run);
}

static void test_nobody_there_is_one_line_and_one(void **state)
{
    (void)state;
    struct run run = run_line("unix:/nonexistent/socket", NULL, 0, WORDS("get", "g", "k"));
    assert_int_equal(run.code, HG_EXIT_FAILED);
    assert_memory_equal(run.err, "hgcache: get: no answer from unix:/nonexistent/socket: ", 55);
    assert_ptr_equal(strchr(run.err, '\n'), run.err + run.err_len - 1);
    run_free(&run);
}

static void test_bad_keys_are_bad_usage(void **state)
{
    (void)state;
    struct run run = run_line("http://127.0.0.1:1", NULL, 0, WORDS("get", "g", "***", "--key64"));
    assert_int_equal(run.code, HG_EXIT_USAGE);
    assert_string_equal(run.err, "hgcache: get: the key is not base64\n");
    run_free(&run);
    run = run_line("http://127.0.0.1:1", NULL, 0, WORDS("get", "g", ""));
    assert_int_equal(run.code, HG_EXIT_USAGE);
    run_free(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_get_prints_the_raw_bytes),
        cmocka_unit_test(test_peek_does_not_load),
        cmocka_unit_test(test_no_such_key_is_three_and_silent),
        cmocka_unit_test(test_no_such_group_is_a_failure),
        cmocka_unit_test(test_an_error_of_the_node_is_one_line),
        cmocka_unit_test(test_set_sends_the_value_and_prints_who_knows),
        cmocka_unit_test(test_set_reads_standard_input),
        cmocka_unit_test(test_an_empty_value_is_a_value),
        cmocka_unit_test(test_del_sends_a_delete),
        cmocka_unit_test(test_json_of_bytes_is_base64),
        cmocka_unit_test(test_stats_are_a_table_or_raw_json),
        cmocka_unit_test(test_ring_and_explain_ask_their_pages),
        cmocka_unit_test(test_a_page_that_is_not_json_is_a_failure),
        cmocka_unit_test(test_the_token_travels_in_the_header_only),
        cmocka_unit_test(test_a_bad_token_file_is_bad_usage),
        cmocka_unit_test(test_a_node_on_a_unix_socket_is_reached),
        cmocka_unit_test(test_nobody_there_is_one_line_and_one),
        cmocka_unit_test(test_bad_keys_are_bad_usage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
