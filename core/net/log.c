#include "net/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/err.h"

#define LINE_MAX_BYTES  8192
#define RING_BYTES      (1024 * 1024)
#define CHUNK_PIPE      4096 /* PIPE_BUF: a pipe that polls writable takes as much at once */
#define CHUNK_FILE      65536
#define POLL_MS         100
#define FINISH_MS       1000
#define FINISH_EXTRA_MS 300 /* for a writer that sits in write() itself */

/*
 *   hg_log (any thread) -> ring, under the mutex -> writer thread -> poll, write
 *
 * The writer holds the mutex only to copy a chunk out, so nobody waits for the descriptor.
 */
struct logger {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* something to write, or stopping */
    pthread_t thread;
    int fd;
    size_t chunk_max;
    bool stopping; /* under lock */
    struct timespec stop_by;
    size_t start, len; /* of the ring */
    uint64_t dropped_said;
    char chunk[CHUNK_FILE]; /* the writer's own */
    char ring[RING_BYTES];
};

static pthread_mutex_t current_lock = PTHREAD_MUTEX_INITIALIZER; /* then logger.lock */
static struct logger *current;
static _Atomic int level_now = HG_LOG_INFO;
static _Atomic int format_now = HG_LOG_TEXT;
static _Atomic uint64_t dropped_count;
static _Atomic(hg_log_fn) diverted;

static const char *const level_names[] = {"debug", "info", "warn", "error"};

int hg_log_level_from_name(struct hg_bytes name)
{
    for (size_t i = 0; i < HG_COUNT(level_names); i++) {
        if (hg_bytes_eq(name, hg_bytes_str(level_names[i])))
            return (int)i;
    }
    return -1;
}

void hg_log_set_level(enum hg_log_level level)
{
    level_now = level;
}

bool hg_log_is_on(enum hg_log_level level)
{
    return (int)level >= level_now;
}

uint64_t hg_log_dropped(void)
{
    return dropped_count;
}

static size_t format_time(char out[32])
{
    struct timespec ts;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    size_t len = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &tm);
    len += (size_t)snprintf(out + len, 32 - len, ".%03dZ", (int)(ts.tv_nsec / 1000000));
    return len;
}

/* A whole line with its newline; out holds 2 * LINE_MAX_BYTES + 128. */
static size_t format_line(enum hg_log_level level, struct hg_bytes message, char *out)
{
    char when[32], escaped[LINE_MAX_BYTES];
    format_time(when);

    if (format_now == HG_LOG_TEXT) {
        int len = sprintf(out, "%s %-5s ", when, level_names[level]);
        hg_bytes_escape(message, out + len, LINE_MAX_BYTES - (size_t)len - 1);
        size_t end = (size_t)len + strlen(out + len);
        out[end++] = '\n';
        return end;
    }
    size_t len = (size_t)sprintf(out, "{\"time\":\"%s\",\"level\":\"%s\",\"message\":\"", when,
                                 level_names[level]);
    hg_bytes_escape(message, escaped, LINE_MAX_BYTES - len - 4);
    for (const char *c = escaped; *c != '\0'; c++) {
        if (*c == '"' || *c == '\\')
            out[len++] = '\\';
        out[len++] = *c;
    }
    memcpy(out + len, "\"}\n", 3);
    return len + 3;
}

static void write_directly(const char *line, size_t len)
{
    while (len > 0) {
        ssize_t wrote = write(STDERR_FILENO, line, len);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return;
        line += wrote;
        len -= (size_t)wrote;
    }
}

/* Under the logger's lock; false: it does not fit. */
static bool ring_push(struct logger *logger, const char *line, size_t len)
{
    if (len > RING_BYTES - logger->len)
        return false;
    size_t at = (logger->start + logger->len) % RING_BYTES;
    size_t first = len < RING_BYTES - at ? len : RING_BYTES - at;
    memcpy(logger->ring + at, line, first);
    memcpy(logger->ring, line + first, len - first);
    logger->len += len;
    return true;
}

static size_t ring_take(struct logger *logger, char *out, size_t max)
{
    size_t len = logger->len < max ? logger->len : max;
    size_t first = len < RING_BYTES - logger->start ? len : RING_BYTES - logger->start;
    memcpy(out, logger->ring + logger->start, first);
    memcpy(out + first, logger->ring, len - first);
    logger->start = (logger->start + len) % RING_BYTES;
    logger->len -= len;
    return len;
}

void hg_log_divert(hg_log_fn fn, enum hg_log_level level)
{
    diverted = fn;
    level_now = (int)level;
}

static void emit(enum hg_log_level level, struct hg_bytes message)
{
    char line[2 * LINE_MAX_BYTES + 128];
    hg_log_fn divert = diverted;
    if (divert != NULL) {
        divert(level, message);
        return;
    }
    size_t len = format_line(level, message, line);

    pthread_mutex_lock(&current_lock);
    struct logger *logger = current;
    if (logger == NULL) {
        pthread_mutex_unlock(&current_lock);
        write_directly(line, len);
        return;
    }
    pthread_mutex_lock(&logger->lock);
    if (!ring_push(logger, line, len))
        atomic_fetch_add(&dropped_count, 1);
    pthread_cond_broadcast(&logger->changed);
    pthread_mutex_unlock(&logger->lock);
    pthread_mutex_unlock(&current_lock);
}

static bool is_past(const struct timespec *moment)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec > moment->tv_sec ||
           (now.tv_sec == moment->tv_sec && now.tv_nsec >= moment->tv_nsec);
}

static uint64_t count_lines(const char *text, size_t len)
{
    uint64_t count = 0;
    for (size_t i = 0; i < len; i++)
        count += text[i] == '\n';
    return count;
}

/* Whether the writer has to give up: finish was called and its second is over. */
static bool is_out_of_time(struct logger *logger)
{
    pthread_mutex_lock(&logger->lock);
    bool is_out = logger->stopping && is_past(&logger->stop_by);
    pthread_mutex_unlock(&logger->lock);
    return is_out;
}

static void write_chunk(struct logger *logger, const char *chunk, size_t len)
{
    while (len > 0) {
        struct pollfd ready = {.fd = logger->fd, .events = POLLOUT};
        int rc = poll(&ready, 1, POLL_MS);
        ssize_t wrote = -1;
        if (rc > 0) {
            wrote = write(logger->fd, chunk, len);
            if (wrote < 0 && errno != EINTR && errno != EAGAIN) {
                /* A closed pipe, a full disk: these lines are lost, later ones may not be. */
                atomic_fetch_add(&dropped_count, count_lines(chunk, len));
                return;
            }
        }
        if (wrote > 0) {
            chunk += wrote;
            len -= (size_t)wrote;
        } else if (is_out_of_time(logger)) {
            atomic_fetch_add(&dropped_count, count_lines(chunk, len));
            return;
        }
    }
}

/* Says what was lost, once there is room again. Under the lock. */
static void note_dropped(struct logger *logger)
{
    uint64_t dropped = dropped_count;
    if (dropped == logger->dropped_said || logger->len > RING_BYTES / 2)
        return;
    char message[64], line[2 * LINE_MAX_BYTES + 128];
    int len = snprintf(message, sizeof(message), "log lines dropped count=%llu",
                       (unsigned long long)(dropped - logger->dropped_said));
    if (ring_push(logger, line, format_line(HG_LOG_WARN, hg_bytes(message, (size_t)len), line)))
        logger->dropped_said = dropped;
}

static void *writer_main(void *arg)
{
    struct logger *logger = arg;

    pthread_setname_np(pthread_self(), "hg-log");
    pthread_mutex_lock(&logger->lock);
    for (;;) {
        while (logger->len == 0 && !logger->stopping)
            pthread_cond_wait(&logger->changed, &logger->lock);
        if (logger->len == 0 || (logger->stopping && is_past(&logger->stop_by)))
            break;
        size_t len = ring_take(logger, logger->chunk, logger->chunk_max);
        pthread_mutex_unlock(&logger->lock);
        write_chunk(logger, logger->chunk, len);
        pthread_mutex_lock(&logger->lock);
        note_dropped(logger);
    }
    pthread_mutex_unlock(&logger->lock);
    return NULL;
}

int hg_log_init(int fd, enum hg_log_level level, enum hg_log_format format)
{
    hg_log_finish();
    struct logger *logger = hg_malloc(sizeof(*logger));
    if (logger == NULL)
        return HG_ENOMEM;
    struct stat stat;
    logger->fd = fd;
    logger->chunk_max = fstat(fd, &stat) == 0 && S_ISREG(stat.st_mode) ? CHUNK_FILE : CHUNK_PIPE;
    logger->stopping = false;
    logger->start = logger->len = 0;
    logger->dropped_said = dropped_count;
    pthread_mutex_init(&logger->lock, NULL);
    pthread_cond_init(&logger->changed, NULL);

    sigset_t all, before; /* a closed pipe must be EPIPE here, not SIGPIPE */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&logger->thread, NULL, writer_main, logger);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        pthread_cond_destroy(&logger->changed);
        pthread_mutex_destroy(&logger->lock);
        hg_free(logger);
        return HG_ENOMEM;
    }
    level_now = (int)level;
    format_now = (int)format;
    pthread_mutex_lock(&current_lock);
    current = logger;
    pthread_mutex_unlock(&current_lock);
    return HG_OK;
}

static struct timespec moment_in(clockid_t clock, long ms)
{
    struct timespec ts;
    clock_gettime(clock, &ts);
    ts.tv_sec += ms / 1000;
    ts.tv_nsec += ms % 1000 * 1000000;
    if (ts.tv_nsec >= 1000000000) {
        ts.tv_sec++;
        ts.tv_nsec -= 1000000000;
    }
    return ts;
}

void hg_log_finish(void)
{
    pthread_mutex_lock(&current_lock);
    struct logger *logger = current;
    current = NULL;
    pthread_mutex_unlock(&current_lock);
    if (logger == NULL)
        return;

    pthread_mutex_lock(&logger->lock);
    logger->stopping = true;
    logger->stop_by = moment_in(CLOCK_MONOTONIC, FINISH_MS);
    pthread_cond_broadcast(&logger->changed);
    pthread_mutex_unlock(&logger->lock);

    struct timespec join_by = moment_in(CLOCK_REALTIME, FINISH_MS + FINISH_EXTRA_MS);
    if (pthread_timedjoin_np(logger->thread, NULL, &join_by) != 0) {
        /* It sits in write() and may never come back; what it uses is left to it. */
        pthread_detach(logger->thread);
        return;
    }
    pthread_cond_destroy(&logger->changed);
    pthread_mutex_destroy(&logger->lock);
    hg_free(logger);
}

void hg_log_bytes(enum hg_log_level level, struct hg_bytes message)
{
    if (hg_log_is_on(level))
        emit(level, message);
}

static void emit_format(enum hg_log_level level, const char *format, va_list args)
{
    char message[LINE_MAX_BYTES];
    int len = vsnprintf(message, sizeof(message), format, args);
    if (len < 0)
        return;
    size_t kept = (size_t)len < sizeof(message) ? (size_t)len : sizeof(message) - 1;
    emit(level, hg_bytes(message, kept));
}

void hg_log(enum hg_log_level level, const char *format, ...)
{
    if (!hg_log_is_on(level))
        return;
    va_list args;
    va_start(args, format);
    emit_format(level, format, args);
    va_end(args);
}

bool hg_log_limited(struct hg_log_limit *limit, unsigned per_s, enum hg_log_level level,
                    const char *format, ...)
{
    if (!hg_log_is_on(level))
        return true;
    if (diverted != NULL) {
        va_list all;
        va_start(all, format);
        emit_format(level, format, all);
        va_end(all);
        return true;
    }
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    uint64_t window = (uint64_t)now.tv_sec + 1; /* 0 is the limit's first state */
    uint64_t seen = atomic_load(&limit->window_s);
    if (seen != window && atomic_compare_exchange_strong(&limit->window_s, &seen, window))
        atomic_store(&limit->count, 0);
    if (atomic_fetch_add(&limit->count, 1) >= per_s) {
        atomic_fetch_add(&limit->dropped, 1);
        return false;
    }

    char message[LINE_MAX_BYTES];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    if (len < 0)
        return true;
    size_t kept = (size_t)len < sizeof(message) ? (size_t)len : sizeof(message) - 1;
    uint64_t left_out = atomic_exchange(&limit->dropped, 0);
    if (left_out > 0 && kept + 48 < sizeof(message))
        kept += (size_t)snprintf(message + kept, sizeof(message) - kept, " left_out=%llu",
                                 (unsigned long long)left_out);
    emit(level, hg_bytes(message, kept));
    return true;
}
