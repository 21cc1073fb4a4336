#include "base/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/err.h"

#define FIRST_CAPACITY 256

void hg_buf_init(struct hg_buf *buf, size_t max_bytes)
{
    *buf = (struct hg_buf){.max_bytes = max_bytes};
}

void hg_buf_finish(struct hg_buf *buf)
{
    if (buf == NULL)
        return;
    hg_free(buf->data);
    buf->data = NULL;
    buf->len = buf->capacity = 0;
}

void hg_buf_clear(struct hg_buf *buf)
{
    buf->len = 0;
}

char *hg_buf_take(struct hg_buf *buf, size_t *out_len)
{
    char *data = buf->data;
    *out_len = buf->len;
    buf->data = NULL;
    buf->len = buf->capacity = 0;
    return data;
}

int hg_buf_reserve(struct hg_buf *buf, size_t more)
{
    if (more <= buf->capacity - buf->len)
        return HG_OK;
    if (buf->len > buf->max_bytes || more > buf->max_bytes - buf->len)
        return HG_ETOOBIG;

    /* Doubling keeps appending linear; never past the maximum. */
    size_t needed = buf->len + more;
    size_t capacity = buf->capacity == 0 ? FIRST_CAPACITY : buf->capacity;
    while (capacity < needed && capacity <= buf->max_bytes / 2)
        capacity *= 2;
    if (capacity < needed || capacity > buf->max_bytes)
        capacity = buf->max_bytes;

    char *data = hg_realloc(buf->data, capacity);
    if (data == NULL)
        return HG_ENOMEM;
    buf->data = data;
    buf->capacity = capacity;
    return HG_OK;
}

int hg_buf_append(struct hg_buf *buf, const void *data, size_t len)
{
    if (len == 0)
        return HG_OK;
    int err = hg_buf_reserve(buf, len);
    if (err < 0)
        return err;
    memcpy(buf->data + buf->len, data, len);
    buf->len += len;
    return HG_OK;
}

int hg_buf_append_bytes(struct hg_buf *buf, struct hg_bytes bytes)
{
    return hg_buf_append(buf, bytes.data, bytes.len);
}

int hg_buf_append_str(struct hg_buf *buf, const char *text)
{
    return hg_buf_append(buf, text, strlen(text));
}

int hg_buf_append_char(struct hg_buf *buf, char c)
{
    return hg_buf_append(buf, &c, 1);
}

int hg_buf_append_u64(struct hg_buf *buf, uint64_t number)
{
    char digits[20];
    size_t first = sizeof(digits);
    do {
        digits[--first] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    return hg_buf_append(buf, digits + first, sizeof(digits) - first);
}

int hg_buf_printf(struct hg_buf *buf, const char *format, ...)
{
    char small[128];
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int err = HG_EINVAL;

    int printed = vsnprintf(small, sizeof(small), format, args);
    if (printed < 0)
        goto end;
    size_t len = (size_t)printed;
    if (len < sizeof(small)) {
        err = hg_buf_append(buf, small, len);
        goto end;
    }

    /* vsnprintf wants a byte more for its NUL, which may lie past max_bytes: print beside and
     * append. */
    char *text = hg_malloc(len + 1);
    if (text == NULL) {
        err = HG_ENOMEM;
        goto end;
    }
    vsnprintf(text, len + 1, format, again);
    err = hg_buf_append(buf, text, len);
    hg_free(text);
end:
    va_end(again);
    va_end(args);
    return err;
}

void hg_buf_consume(struct hg_buf *buf, size_t count)
{
    assert(count <= buf->len);
    if (count == 0)
        return;
    buf->len -= count;
    if (buf->len > 0)
        memmove(buf->data, buf->data + count, buf->len);
}
