/*
 * The trace reader of `hgcache replay`: one line, a plain file, the same file gzipped, and foreign bytes as a gzip file.
 * Whatever way a file comes, the requests are the same, and those of its lines taken one by one.
 */
#include "fuzz.h"

#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#include "base/hash.h"
#include "cli/trace.h"

#define REPEATS_MAX 64 /* so that the reader's buffer wraps */

/* How reading a trace went: all that a user can see of it. */
struct outcome {
    int err;
    uint64_t requests, lines, skipped, hash;
};

static void take(struct outcome *outcome, const struct hg_trace_request *request)
{
    must(request->key.len > 0 && request->key.len <= HG_TRACE_KEY_MAX);
    must(memchr(request->key.data, '\n', request->key.len) == NULL);
    outcome->requests++;
    outcome->hash = outcome->hash * 31 + hg_xxh64(request->key) + request->size_bytes;
}

static struct outcome by_lines(struct hg_bytes text)
{
    struct outcome outcome = {0};
    enum hg_trace_format format = HG_TRACE_UNKNOWN;
    while (text.len > 0 && outcome.err >= 0) {
        struct hg_bytes line = fuzz_line(&text);
        char *copy = fuzz_copy(line);
        struct hg_trace_request request;
        const char *error = NULL;
        outcome.lines++;
        outcome.err = line.len > HG_TRACE_LINE_MAX
                          ? HG_EINVAL
                          : hg_trace_parse(hg_bytes(copy, line.len), &format, &request, &error);
        must(format != HG_TRACE_UNKNOWN || line.len > HG_TRACE_LINE_MAX);
        must(outcome.err != HG_EINVAL || error != NULL || line.len > HG_TRACE_LINE_MAX);
        if (outcome.err > 0)
            take(&outcome, &request);
        else if (outcome.err == 0)
            outcome.skipped++;
        free(copy);
    }
    if (outcome.err > 0)
        outcome.err = 0;
    return outcome;
}

static struct outcome by_file(struct hg_bytes content)
{
    struct outcome outcome = {0};
    struct hg_trace_request request;
    struct hg_trace trace;
    char path[64];
    int fd = memfd_create("trace", MFD_CLOEXEC);
    must(fd >= 0);
    for (size_t at = 0; at < content.len;) {
        ssize_t written = write(fd, content.data + at, content.len - at);
        must(written > 0);
        at += (size_t)written;
    }
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    must(hg_trace_open(&trace, path) == HG_OK);
    while ((outcome.err = hg_trace_next(&trace, &request)) > 0)
        take(&outcome, &request);
    must(outcome.err == 0 || trace.error[0] != '\0');
    outcome.lines = trace.line_number;
    outcome.skipped = trace.skipped_count;
    hg_trace_close(&trace);
    close(fd);
    return outcome;
}

static struct hg_bytes gzipped(struct hg_bytes text)
{
    z_stream stream = {0};
    must(deflateInit2(&stream, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    size_t room = deflateBound(&stream, text.len) + 64;
    char *out = malloc(room);
    must(out != NULL);
    stream.next_in = (Bytef *)(uintptr_t)text.data;
    stream.avail_in = (uInt)text.len;
    stream.next_out = (Bytef *)out;
    stream.avail_out = (uInt)room;
    must(deflate(&stream, Z_FINISH) == Z_STREAM_END);
    size_t len = stream.total_out;
    deflateEnd(&stream);
    return hg_bytes(out, len);
}

static bool is_gzip(struct hg_bytes text)
{
    return text.len >= 2 && memcmp(text.data, "\x1f\x8b", 2) == 0;
}

static void compare(struct hg_bytes text)
{
    struct outcome lines = by_lines(text), file = by_file(text);
    struct hg_bytes packed = gzipped(text);
    struct outcome gzip = by_file(packed);
    must(memcmp(&file, &gzip, sizeof(file)) == 0 || is_gzip(text));
    must(memcmp(&lines, &file, sizeof(file)) == 0 || is_gzip(text));
    free((char *)(uintptr_t)packed.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    size_t live = hg_alloc_live_count();
    struct hg_bytes text = hg_bytes(data + 1, size - 1);
    if (data[0] % 4 == 0) {
        by_file(text); /* a damaged gzip file, or anything */
    } else if (data[0] % 4 == 1) {
        size_t repeats = data[0] / 4 % REPEATS_MAX + 1;
        char *many = malloc(text.len * repeats + 1);
        must(many != NULL);
        for (size_t i = 0; i < repeats && text.len > 0; i++)
            memcpy(many + i * text.len, text.data, text.len);
        compare(hg_bytes(many, text.len * repeats));
        free(many);
    } else {
        compare(text);
    }
    must(hg_alloc_live_count() == live);
    return 0;
}
