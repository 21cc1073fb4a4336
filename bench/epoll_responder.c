/*
 * bench_epoll_responder PORT FILE: answers every request with the bytes of FILE. One thread,
 * epoll, no library.
 */
#include "canned.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct conn {
    int fd;
    struct canned_count count;
    size_t owed; /* bytes still to write */
};

static void conn_close(struct conn *conn)
{
    close(conn->fd);
    free(conn);
}

/* Writes what is owed; false when the connection is gone. */
static int conn_write(struct conn *conn)
{
    while (conn->owed > 0) {
        size_t offset = (canned_len - conn->owed % canned_len) % canned_len;
        size_t most = canned_len * CANNED_BATCH - offset;
        ssize_t sent = send(conn->fd, canned_data + offset, conn->owed < most ? conn->owed : most,
                            MSG_NOSIGNAL);
        if (sent < 0)
            return errno == EAGAIN;
        conn->owed -= (size_t)sent;
    }
    return 1;
}

static void on_event(int epoll, struct conn *conn, unsigned events)
{
    static char in[64 * 1024];
    if (events & EPOLLIN) {
        ssize_t got = recv(conn->fd, in, sizeof(in), 0);
        if (got == 0 || (got < 0 && errno != EAGAIN)) {
            conn_close(conn);
            return;
        }
        if (got > 0)
            conn->owed += canned_requests(&conn->count, in, (size_t)got) * canned_len;
    }
    int was_blocked = (events & EPOLLOUT) != 0;
    if (!conn_write(conn)) {
        conn_close(conn);
        return;
    }
    int is_blocked = conn->owed > 0;
    if (is_blocked != was_blocked) {
        struct epoll_event event = {.events = EPOLLIN | (is_blocked ? EPOLLOUT : 0),
                                    .data.ptr = conn};
        epoll_ctl(epoll, EPOLL_CTL_MOD, conn->fd, &event);
    }
}

static void on_accept(int epoll, int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    struct conn *conn = calloc(1, sizeof(*conn));
    if (conn == NULL)
        exit(1);
    conn->fd = fd;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: bench_epoll_responder PORT FILE\n");
        return 2;
    }
    canned_load(argv[2]);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)atoi(argv[1])),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(listener, 4096) < 0) {
        perror("listen");
        return 1;
    }
    int epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        struct epoll_event events[256];
        int count = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == NULL)
                on_accept(epoll, listener);
            else
                on_event(epoll, events[i].data.ptr, events[i].events);
        }
    }
}
