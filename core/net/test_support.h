/*
 * test_support - for the tests of this floor: a loop on the test's own thread, conditions to wait for, a plain client.
 */
#ifndef HG_NET_TEST_SUPPORT_H
#define HG_NET_TEST_SUPPORT_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "net/address.h"
#include "net/clock.h"
#include "net/log.h"
#include "net/loop.h"

#define TEST_PATIENCE_MS 20000

/* Turns the loop until the condition holds; the test fails when it does not within TEST_PATIENCE_MS. */
#define test_wait(loop, condition)                                                                 \
    do {                                                                                           \
        uint64_t test_until = hg_clock_boot_ms() + TEST_PATIENCE_MS;                               \
        while (!(condition)) {                                                                     \
            if (hg_clock_boot_ms() > test_until)                                                   \
                fail_msg("waited in vain for: %s", #condition);                                    \
            if (uv_run(&(loop)->uv, UV_RUN_NOWAIT) == 0 || true)                                   \
                test_doze();                                                                       \
        }                                                                                          \
    } while (0)

static inline void test_doze(void)
{
    struct timespec pause = {.tv_nsec = 200000};
    nanosleep(&pause, NULL);
}

static inline uint16_t test_port_of(int fd)
{
    struct sockaddr_in in;
    socklen_t len = sizeof(in);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
    return ntohs(in.sin_port);
}

static inline int test_listen(uint16_t *out_port)
{
    struct hg_address address;
    char error[256];
    int fd;
    assert_int_equal(hg_address_parse(HG_BYTES("127.0.0.1:0"), &address, error, sizeof(error)),
                     HG_OK);
    assert_int_equal(hg_address_listen(&address, 1024, &fd, error, sizeof(error)), HG_OK);
    *out_port = test_port_of(fd);
    return fd;
}

static inline int test_connect(uint16_t port)
{
    struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

/* A client: what it received so far, and whether the other side has ended. */
struct test_client {
    int fd;
    struct hg_buf in;
    bool has_eof, has_reset;
};

static inline void test_client_init(struct test_client *client, int fd)
{
    *client = (struct test_client){.fd = fd};
    hg_buf_init(&client->in, (size_t)1 << 30);
}

static inline void test_client_open(struct test_client *client, uint16_t port)
{
    test_client_init(client, test_connect(port));
}

static inline void test_client_finish(struct test_client *client)
{
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
    hg_buf_finish(&client->in);
}

/* Takes what has arrived; true once the connection has ended. */
static inline bool test_client_poll(struct test_client *client)
{
    char chunk[65536];
    while (!client->has_eof && !client->has_reset) {
        ssize_t got = recv(client->fd, chunk, sizeof(chunk), 0);
        if (got > 0) {
            assert_int_equal(hg_buf_append(&client->in, chunk, (size_t)got), HG_OK);
        } else if (got == 0) {
            client->has_eof = true;
        } else if (errno == EAGAIN) {
            break;
        } else {
            client->has_reset = true;
        }
    }
    return client->has_eof || client->has_reset;
}

/* Sends all of it, turning the loop while the socket is full. */
static inline void test_client_send(struct hg_loop *loop, struct test_client *client,
                                    const char *data, size_t len)
{
    uint64_t until = hg_clock_boot_ms() + TEST_PATIENCE_MS;
    while (len > 0) {
        ssize_t sent = send(client->fd, data, len, MSG_NOSIGNAL);
        if (sent > 0) {
            data += sent;
            len -= (size_t)sent;
            continue;
        }
        assert_int_equal(errno, EAGAIN);
        assert_true(hg_clock_boot_ms() < until);
        uv_run(&loop->uv, UV_RUN_NOWAIT);
        test_client_poll(client);
    }
}

static inline void test_client_say(struct hg_loop *loop, struct test_client *client,
                                   const char *text)
{
    test_client_send(loop, client, text, strlen(text));
}

/* The first whole answer in `in`; takes it off. False: not there yet. */
struct test_answer {
    int status;
    char head[4096];
    struct hg_buf body;
};

static inline void test_answer_finish(struct test_answer *answer)
{
    hg_buf_finish(&answer->body);
}

static inline bool test_answer_take(struct test_client *client, bool is_head,
                                    struct test_answer *out)
{
    test_client_poll(client);
    if (client->in.len == 0)
        return false;
    char *end = memmem(client->in.data, client->in.len, "\r\n\r\n", 4);
    if (end == NULL)
        return false;
    size_t head_len = (size_t)(end - client->in.data) + 4;
    assert_true(head_len < sizeof(out->head));
    char head[4096];
    memcpy(head, client->in.data, head_len);
    head[head_len] = '\0';
    int status = 0;
    assert_int_equal(sscanf(head, "HTTP/1.1 %d ", &status), 1);
    const char *length = strstr(head, "Content-Length: ");
    size_t body_len = length == NULL || is_head ? 0 : strtoul(length + 16, NULL, 10);
    if (client->in.len < head_len + body_len)
        return false;
    memcpy(out->head, head, head_len + 1);
    out->status = status;
    hg_buf_init(&out->body, (size_t)1 << 30);
    assert_int_equal(hg_buf_append(&out->body, client->in.data + head_len, body_len), HG_OK);
    hg_buf_consume(&client->in, head_len + body_len);
    return true;
}

#define test_assert_body(answer, text)                                                             \
    do {                                                                                           \
        assert_int_equal((answer).body.len, strlen(text));                                         \
        assert_memory_equal((answer).body.data, text, strlen(text));                               \
    } while (0)

#endif
