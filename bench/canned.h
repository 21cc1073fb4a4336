/*
 * canned - what both responders share: the answer from a file, and how many requests some bytes
 * are.
 *
 * They parse nothing. All requests of a connection are equally long, so the first one tells the
 * length and from then on requests are counted by dividing.
 */
#ifndef HG_BENCH_CANNED_H
#define HG_BENCH_CANNED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CANNED_BATCH 64 /* answers written at once, at most */

static char *canned_data; /* CANNED_BATCH times the answer */
static size_t canned_len; /* of one answer */

static inline void canned_load(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        exit(1);
    }
    static char answer[1024 * 1024];
    canned_len = fread(answer, 1, sizeof(answer), file);
    fclose(file);
    canned_data = malloc(canned_len * CANNED_BATCH);
    if (canned_len == 0 || canned_data == NULL)
        exit(1);
    for (size_t i = 0; i < CANNED_BATCH; i++)
        memcpy(canned_data + i * canned_len, answer, canned_len);
}

struct canned_count {
    size_t request_len; /* 0: not known yet */
    size_t pending;     /* bytes of a request that is not complete */
};

static inline size_t canned_requests(struct canned_count *count, const char *data, size_t len)
{
    if (count->request_len == 0) {
        const char *end = memmem(data, len, "\r\n\r\n", 4);
        if (end == NULL)
            return 0;
        count->request_len = (size_t)(end - data) + 4;
    }
    count->pending += len;
    size_t requests = count->pending / count->request_len;
    count->pending %= count->request_len;
    return requests;
}

#endif
