/*
 * log - one line per event to a descriptor, written by a thread of its own so that nobody ever waits for it.
 *
 *   text  2026-01-31T12:00:00.123Z info  peer down name=b err=timeout
 *   json  {"time":"...","level":"info","message":"..."}
 *
 * Control bytes and non-ASCII are escaped (\xNN), lines are cut at 8 KiB. The queue is bounded (1 MiB); what does not
 * fit is dropped and counted. Threads: any. Safe before init (goes to standard error at once) and after finish.
 */
#ifndef HG_NET_LOG_H
#define HG_NET_LOG_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/bytes.h"

enum hg_log_level { HG_LOG_DEBUG, HG_LOG_INFO, HG_LOG_WARN, HG_LOG_ERROR };
enum hg_log_format { HG_LOG_TEXT, HG_LOG_JSON };

int hg_log_init(int fd, enum hg_log_level level, enum hg_log_format format);
/* Writes what is queued, for at most 1 s. */
void hg_log_finish(void);
void hg_log_set_level(enum hg_log_level level); /* any thread */
bool hg_log_is_on(enum hg_log_level level);
int hg_log_level_from_name(struct hg_bytes name); /* "debug".."error"; -1 */

void hg_log(enum hg_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The message may hold any bytes. */
void hg_log_bytes(enum hg_log_level level, struct hg_bytes message);
/* At most `per_s` lines a second of one kind (a static struct hg_log_limit each); what was left out is said with the next line. False: this one was. */
struct hg_log_limit {
    _Atomic uint64_t window_s, count, dropped;
};
bool hg_log_limited(struct hg_log_limit *limit, unsigned per_s, enum hg_log_level level, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
uint64_t hg_log_dropped(void);
/* Gets all that would be written from this level on, without limits a second, on the thread that logs. For a node under test. */
typedef void (*hg_log_fn)(enum hg_log_level level, struct hg_bytes message);
void hg_log_divert(hg_log_fn fn, enum hg_log_level level); /* NULL: written again */

#endif
