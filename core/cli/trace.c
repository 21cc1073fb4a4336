#include "cli/trace.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>
#include <zlib.h>

#include "base/alloc.h"
#include "base/err.h"

#define BUFFER_BYTES (2 * HG_TRACE_LINE_MAX)

/* ---- one line ---- */

/* Up to the next `mark`, which is taken, too. False: there is none, nothing is taken. */
static bool take_until(struct hg_bytes *rest, char mark, struct hg_bytes *out_part)
{
    const char *at = rest->len == 0 ? NULL : memchr(rest->data, mark, rest->len);
    if (at == NULL)
        return false;
    *out_part = hg_bytes(rest->data, (size_t)(at - rest->data));
    *rest = hg_bytes(at + 1, rest->len - out_part->len - 1);
    return true;
}

/* addr - user [time] "request" status bytes ..., the parts that matter. */
static bool split_access_line(struct hg_bytes rest, struct hg_bytes *out_request,
                              struct hg_bytes *out_bytes)
{
    struct hg_bytes part, status;
    if (!take_until(&rest, '[', &part) || part.len < 3 || part.data[part.len - 1] != ' ')
        return false;
    if (!take_until(&rest, ']', &part) || part.len == 0)
        return false;
    if (!take_until(&rest, '"', &part) || part.len != 1 || part.data[0] != ' ')
        return false;
    if (!take_until(&rest, '"', out_request))
        return false;
    if (!take_until(&rest, ' ', &part) || part.len != 0 || !take_until(&rest, ' ', &status))
        return false;
    unsigned long long number;
    if (status.len != 3 || !hg_bytes_to_u64(status, &number))
        return false;
    if (!take_until(&rest, ' ', out_bytes))
        *out_bytes = rest; /* "common" ends here */
    return out_bytes->len > 0;
}

/* METHOD target HTTP/x: the target, or nothing where it is no request. */
static struct hg_bytes target_of(struct hg_bytes request)
{
    struct hg_bytes method, target;
    if (!take_until(&request, ' ', &method) || !take_until(&request, ' ', &target) ||
        !hg_bytes_has_prefix(request, HG_BYTES("HTTP/")))
        return HG_BYTES_NONE;
    for (size_t i = 0; i < method.len; i++) {
        if (method.data[i] < 'A' || method.data[i] > 'Z')
            return HG_BYTES_NONE;
    }
    return method.len == 0 ? HG_BYTES_NONE : target;
}

static int parse_access_line(struct hg_bytes line, struct hg_trace_request *out_request,
                             const char **out_error)
{
    struct hg_bytes request, bytes;
    unsigned long long size_bytes = 0;
    if (!split_access_line(line, &request, &bytes)) {
        *out_error = "is no line of an access log in the combined format";
        return HG_EINVAL;
    }
    if (!hg_bytes_eq(bytes, HG_BYTES("-")) && !hg_bytes_to_u64(bytes, &size_bytes)) {
        *out_error = "has no number of body bytes";
        return HG_EINVAL;
    }
    struct hg_bytes target = target_of(request);
    if (target.len == 0 || target.len > HG_TRACE_KEY_MAX)
        return 0;
    *out_request = (struct hg_trace_request){target, size_bytes};
    return 1;
}

static int parse_plain_line(struct hg_bytes line, struct hg_trace_request *out_request,
                            const char **out_error)
{
    struct hg_bytes key = line, size = HG_BYTES_NONE;
    unsigned long long size_bytes = 0;
    for (size_t i = 0; i < line.len; i++) {
        if (line.data[i] == ' ' || line.data[i] == '\t') {
            key.len = i;
            size = hg_bytes_trim(hg_bytes(line.data + i, line.len - i));
            break;
        }
    }
    if (key.len == 0) {
        *out_error = "has no key (expected `key` or `key size`)";
        return HG_EINVAL;
    }
    if (key.len > HG_TRACE_KEY_MAX) {
        *out_error = "has a key of more than 8192 bytes";
        return HG_EINVAL;
    }
    if (size.len > 0 && !hg_bytes_to_u64(size, &size_bytes)) {
        *out_error = "has no decimal size behind its key (expected `key` or `key size`)";
        return HG_EINVAL;
    }
    *out_request = (struct hg_trace_request){key, size_bytes};
    return 1;
}

int hg_trace_parse(struct hg_bytes line, enum hg_trace_format *format,
                   struct hg_trace_request *out_request, const char **out_error)
{
    if (line.len > 0 && line.data[line.len - 1] == '\r')
        line.len--;
    if (*format == HG_TRACE_UNKNOWN) {
        struct hg_bytes request, bytes;
        *format = split_access_line(line, &request, &bytes) ? HG_TRACE_ACCESS_LOG : HG_TRACE_PLAIN;
    }
    return *format == HG_TRACE_ACCESS_LOG ? parse_access_line(line, out_request, out_error)
                                          : parse_plain_line(line, out_request, out_error);
}

/* ---- the file ---- */

int hg_trace_open(struct hg_trace *trace, const char *path)
{
    *trace = (struct hg_trace){.path = path};
    trace->buffer = hg_malloc(BUFFER_BYTES);
    if (trace->buffer == NULL) {
        snprintf(trace->error, sizeof trace->error, "%s", hg_err_text(HG_ENOMEM));
        return HG_ENOMEM;
    }
    errno = 0;
    if (strcmp(path, "-") == 0) {
        int fd = dup(STDIN_FILENO);
        trace->file = fd < 0 ? NULL : gzdopen(fd, "rb");
        trace->path = "standard input";
    } else {
        trace->file = gzopen(path, "rb");
    }
    if (trace->file != NULL)
        return HG_OK;
    snprintf(trace->error, sizeof trace->error, "%.180s: %s", path,
             errno == 0 ? hg_err_text(HG_ENOMEM) : strerror(errno));
    hg_free(trace->buffer);
    trace->buffer = NULL;
    return HG_ENOENT;
}

void hg_trace_close(struct hg_trace *trace)
{
    if (trace->file != NULL)
        gzclose((gzFile)trace->file);
    hg_free(trace->buffer);
    trace->file = NULL;
    trace->buffer = NULL;
}

static int fail_line(struct hg_trace *trace, const char *what)
{
    snprintf(trace->error, sizeof trace->error, "%.120s:%llu: the line %s", trace->path,
             (unsigned long long)trace->line_number, what);
    return HG_EINVAL;
}

static int read_more(struct hg_trace *trace)
{
    if (trace->begin > 0) {
        memmove(trace->buffer, trace->buffer + trace->begin, trace->end - trace->begin);
        trace->end -= trace->begin;
        trace->begin = 0;
    }
    unsigned room = (unsigned)(BUFFER_BYTES - trace->end);
    int len = gzread((gzFile)trace->file, trace->buffer + trace->end, room);
    int code = Z_OK;
    const char *text = gzerror((gzFile)trace->file, &code);
    /* A gzip file that ends too early is Z_BUF_ERROR, with what there was. */
    if (len < 0 || (len < (int)room && code == Z_BUF_ERROR)) {
        bool is_cut = code == Z_BUF_ERROR;
        snprintf(trace->error, sizeof trace->error, "%.120s: after line %llu: %.80s", trace->path,
                 (unsigned long long)trace->line_number,
                 is_cut            ? "the gzip file ends too early"
                 : code == Z_ERRNO ? strerror(errno)
                                   : text);
        return HG_EIO;
    }
    trace->end += (size_t)len;
    trace->is_last = len == 0;
    return HG_OK;
}

/* 1: a line, without its end; 0: the end; else an error. */
static int next_line(struct hg_trace *trace, struct hg_bytes *out_line)
{
    size_t looked_at = 0;
    for (;;) {
        const char *start = trace->buffer + trace->begin;
        size_t len = trace->end - trace->begin;
        const char *end =
            len == looked_at ? NULL : memchr(start + looked_at, '\n', len - looked_at);
        if (end != NULL || (trace->is_last && len > 0)) {
            trace->line_number++;
            *out_line = hg_bytes(start, end == NULL ? len : (size_t)(end - start));
            trace->begin += out_line->len + (end == NULL ? 0 : 1);
            return out_line->len > HG_TRACE_LINE_MAX
                       ? fail_line(trace, "is longer than 65536 bytes")
                       : 1;
        }
        if (trace->is_last)
            return 0;
        if (len > HG_TRACE_LINE_MAX) {
            trace->line_number++;
            return fail_line(trace, "is longer than 65536 bytes");
        }
        looked_at = len;
        int rc = read_more(trace);
        if (rc < 0)
            return rc;
    }
}

int hg_trace_next(struct hg_trace *trace, struct hg_trace_request *out_request)
{
    for (;;) {
        struct hg_bytes line;
        const char *what = NULL;
        int rc = next_line(trace, &line);
        if (rc <= 0)
            return rc;
        rc = hg_trace_parse(line, &trace->format, out_request, &what);
        if (rc > 0)
            return 1;
        if (rc < 0)
            return fail_line(trace, what);
        trace->skipped_count++;
    }
}
