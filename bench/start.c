/*
 * bench_start PORT PATH COMMAND...: starts COMMAND and asks 127.0.0.1:PORT for PATH until there
 * is an answer. Prints `start_ms=X rss_kib=N exit=N`: the time to the first 200, the resident
 * memory 1 s later, and how TERM ended it.
 */
#include <arpa/inet.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LIMIT_MS 10000

static double now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1000 + (double)ts.tv_nsec / 1e6;
}

static bool is_answered(int port, const char *path)
{
    char request[1024], in[4096];
    int len = snprintf(request, sizeof(request),
                       "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", path);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    bool is_ok = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
                 send(fd, request, (size_t)len, MSG_NOSIGNAL) == len &&
                 recv(fd, in, sizeof(in), 0) >= 12 && memcmp(in, "HTTP/1.1 200", 12) == 0;
    close(fd);
    return is_ok;
}

static long rss_kib(pid_t pid)
{
    char path[64], line[256];
    long kib = 0;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL)
        if (strncmp(line, "VmRSS:", 6) == 0)
            kib = atol(line + 6);
    if (file != NULL)
        fclose(file);
    return kib;
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: bench_start PORT PATH COMMAND...\n");
        return 2;
    }
    double start = now_ms();
    pid_t pid = fork();
    if (pid == 0) {
        execvp(argv[3], argv + 3);
        perror(argv[3]);
        _exit(127);
    }
    bool is_ok = false;
    while (!is_ok && now_ms() - start < LIMIT_MS && waitpid(pid, NULL, WNOHANG) == 0) {
        is_ok = is_answered(atoi(argv[1]), argv[2]);
        if (!is_ok)
            usleep(100);
    }
    double took = now_ms() - start;
    if (!is_ok) {
        kill(pid, SIGKILL);
        fprintf(stderr, "no answer\n");
        return 1;
    }
    sleep(1);
    long kib = rss_kib(pid);
    int status = 0;
    kill(pid, SIGTERM);
    waitpid(pid, &status, 0);
    printf("start_ms=%.1f rss_kib=%ld exit=%d\n", took, kib,
           WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    return 0;
}
