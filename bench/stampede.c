/*
 * bench_stampede CONNECTIONS PATH PORT...: opens all connections (spread over the ports of
 * 127.0.0.1), then asks for PATH on all of them at once. Prints `right=N wrong=N first_ms=X
 * last_ms=X`; an answer is right when it is a 200 and complete.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LIMIT_MS 30000

struct conn {
    int fd;
    bool is_done;
    size_t len;
    char in[8192];
};

static double now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1000 + (double)ts.tv_nsec / 1e6;
}

static int open_connection(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        perror("connect");
        exit(1);
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    return fd;
}

/* Head and Content-Length bytes are there. */
static bool is_complete(const struct conn *conn)
{
    const char *end = memmem(conn->in, conn->len, "\r\n\r\n", 4);
    if (end == NULL)
        return false;
    const char *field = memmem(conn->in, conn->len, "Content-Length: ", 16);
    size_t body = field == NULL ? 0 : strtoul(field + 16, NULL, 10);
    return conn->len >= (size_t)(end - conn->in) + 4 + body;
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: bench_stampede CONNECTIONS PATH PORT...\n");
        return 2;
    }
    int count = atoi(argv[1]), port_count = argc - 3;
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);

    char request[1024];
    int request_len =
        snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", argv[2]);
    struct conn *conns = calloc((size_t)count, sizeof(*conns));
    int epoll = epoll_create1(0);
    if (conns == NULL || request_len >= (int)sizeof(request))
        return 1;
    for (int i = 0; i < count; i++) {
        conns[i].fd = open_connection(atoi(argv[3 + i % port_count]));
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &conns[i]};
        epoll_ctl(epoll, EPOLL_CTL_ADD, conns[i].fd, &event);
    }
    usleep(100000); /* all of them are accepted */

    double start = now_ms(), first = 0, last = 0;
    for (int i = 0; i < count; i++)
        if (send(conns[i].fd, request, (size_t)request_len, MSG_NOSIGNAL) != request_len)
            conns[i].is_done = true;
    int right = 0, done = 0;
    for (int i = 0; i < count; i++)
        done += conns[i].is_done;
    while (done < count && now_ms() - start < LIMIT_MS) {
        struct epoll_event events[256];
        int ready = epoll_wait(epoll, events, 256, 1000);
        for (int i = 0; i < ready; i++) {
            struct conn *conn = events[i].data.ptr;
            ssize_t got = recv(conn->fd, conn->in + conn->len, sizeof(conn->in) - conn->len, 0);
            if (got > 0)
                conn->len += (size_t)got;
            bool is_over = got <= 0 || conn->len == sizeof(conn->in);
            if (conn->is_done || !(is_over || is_complete(conn)))
                continue;
            last = now_ms() - start;
            first = first == 0 ? last : first;
            conn->is_done = true;
            done++;
            right += is_complete(conn) && memcmp(conn->in, "HTTP/1.1 200", 12) == 0;
            epoll_ctl(epoll, EPOLL_CTL_DEL, conn->fd, NULL);
        }
    }
    printf("right=%d wrong=%d first_ms=%.1f last_ms=%.1f\n", right, count - right, first, last);
    return 0;
}
