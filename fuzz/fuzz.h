/*
 * fuzz - what the targets share: must() aborts where an invariant does not hold, so that the fuzzer reports it;
 * fuzz_leaks says whether all memory of the core came back.
 */
#ifndef HG_FUZZ_FUZZ_H
#define HG_FUZZ_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/alloc.h"
#include "base/bytes.h"
#include "base/err.h"

#define must(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Up to the next newline, which is taken off, too. */
static inline struct hg_bytes fuzz_line(struct hg_bytes *rest)
{
    const char *end = rest->len == 0 ? NULL : memchr(rest->data, '\n', rest->len);
    struct hg_bytes line = hg_bytes(rest->data, end == NULL ? rest->len : (size_t)(end - rest->data));
    size_t taken = line.len + (end != NULL);
    *rest = hg_bytes(rest->data + taken, rest->len - taken);
    return line;
}

/* In a block of its own, so that reading past it is seen. */
static inline char *fuzz_copy(struct hg_bytes bytes)
{
    char *copy = malloc(bytes.len == 0 ? 1 : bytes.len);
    must(copy != NULL);
    if (bytes.len > 0)
        memcpy(copy, bytes.data, bytes.len);
    return copy;
}

#endif
