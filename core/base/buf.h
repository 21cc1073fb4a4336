/*
 * buf - growing byte buffer born with a maximum.
 *
 * Ownership  owns its block; hg_buf_take hands it over (free with hg_free).
 * Errors     HG_ENOMEM, HG_ETOOBIG (past max_bytes); the contents stay as they were.
 */
#ifndef HG_BASE_BUF_H
#define HG_BASE_BUF_H

#include <stdint.h>
#include "base/bytes.h"

struct hg_buf {
    char *data; /* NULL until the first byte; not NUL-terminated */
    size_t len;
    size_t capacity;
    size_t max_bytes;
};

void hg_buf_init(struct hg_buf *buf, size_t max_bytes);
void hg_buf_finish(struct hg_buf *buf); /* zeroed memory is fine */
void hg_buf_clear(struct hg_buf *buf);  /* keeps the block */
/* The block (NULL when nothing was ever written) and its length; the buffer is empty afterwards. */
char *hg_buf_take(struct hg_buf *buf, size_t *out_len);
/* Room for `more` bytes behind len, without changing len. */
int hg_buf_reserve(struct hg_buf *buf, size_t more);
int hg_buf_append(struct hg_buf *buf, const void *data, size_t len);
int hg_buf_append_bytes(struct hg_buf *buf, struct hg_bytes bytes);
int hg_buf_append_str(struct hg_buf *buf, const char *text);
int hg_buf_append_char(struct hg_buf *buf, char c);
int hg_buf_append_u64(struct hg_buf *buf, uint64_t number);
int hg_buf_printf(struct hg_buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Drops the first `count` bytes (count <= len). */
void hg_buf_consume(struct hg_buf *buf, size_t count);

static inline struct hg_bytes hg_buf_bytes(const struct hg_buf *buf)
{
    return hg_bytes(buf->data, buf->len);
}

#endif
