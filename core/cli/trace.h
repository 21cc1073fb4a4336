/*
 * trace - a file of requests, read one after the other.
 *
 * Two formats, told apart by the first line:
 *   plain       key[ size]            one request a line; size in bytes, decimal, absent = 0
 *   access log  nginx's "combined":   addr - user [time] "GET /target HTTP/1.1" status bytes "referer" "agent"
 *               key = the target, size = bytes. Lines whose request is no request (a port scan, "-") are passed
 *               over and counted.
 *
 * Plain or gzipped; "-" is standard input. LF or CRLF; the last line may lack it.
 *
 * Errors     HG_ENOENT (cannot be opened), HG_EIO, HG_EINVAL, HG_ENOMEM; error says it in one line, with the number of
 *            the line where there is one.
 */
#ifndef HG_CLI_TRACE_H
#define HG_CLI_TRACE_H

#include <stdint.h>

#include "base/bytes.h"

#define HG_TRACE_LINE_MAX 65536 /* bytes of a line, without its end */
#define HG_TRACE_KEY_MAX  8192

enum hg_trace_format { HG_TRACE_UNKNOWN, HG_TRACE_PLAIN, HG_TRACE_ACCESS_LOG };

struct hg_trace_request {
    struct hg_bytes key; /* in the trace's buffer, until the next call */
    uint64_t size_bytes;
};

struct hg_trace {
    const char *path; /* borrowed */
    void *file;       /* zlib's */
    char *buffer;
    size_t begin, end; /* what is read and not yet taken */
    bool is_last;      /* the file has no more */
    enum hg_trace_format format;
    uint64_t line_number, skipped_count;
    char error[256];
};

int hg_trace_open(struct hg_trace *trace, const char *path);
/* 1: a request; 0: the end; else an error. */
int hg_trace_next(struct hg_trace *trace, struct hg_trace_request *out_request);
void hg_trace_close(struct hg_trace *trace); /* zeroed memory is fine */

/*
 * One line without its end. *format is set by the first. 1: a request; 0: passed over; HG_EINVAL: *out_error says what
 * is wrong.
 */
int hg_trace_parse(struct hg_bytes line, enum hg_trace_format *format,
                   struct hg_trace_request *out_request, const char **out_error);

#endif
