/*
 * bytes - a borrowed run of bytes. Never NUL-terminated by contract; data may be NULL when len is 0.
 */
#ifndef HG_BASE_BYTES_H
#define HG_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct hg_bytes {
    const char *data;
    size_t len;
};

/* From a string literal, or an array whose last byte is not part of it. */
#define HG_BYTES(literal) ((struct hg_bytes){(literal), sizeof(literal) - 1})
#define HG_BYTES_NONE     ((struct hg_bytes){NULL, 0})

#define hg_container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define HG_COUNT(array)                    (sizeof(array) / sizeof((array)[0]))

static inline struct hg_bytes hg_bytes(const void *data, size_t len)
{
    return (struct hg_bytes){(const char *)data, len};
}

static inline struct hg_bytes hg_bytes_str(const char *text)
{
    return (struct hg_bytes){text, text == NULL ? 0 : strlen(text)};
}

/* Most keys are: two words, which may overlap, hold all of it. */
static inline bool hg_bytes_is_short(size_t len)
{
    return len - 8 <= 8;
}

/* Without a call; len is short. */
static inline bool hg_bytes_eq_short(const char *a, const char *b, size_t len)
{
    uint64_t a_first, a_last, b_first, b_last;
    memcpy(&a_first, a, 8);
    memcpy(&b_first, b, 8);
    memcpy(&a_last, a + len - 8, 8);
    memcpy(&b_last, b + len - 8, 8);
    return ((a_first ^ b_first) | (a_last ^ b_last)) == 0;
}

static inline bool hg_bytes_eq(struct hg_bytes a, struct hg_bytes b)
{
    if (a.len != b.len)
        return false;
    if (hg_bytes_is_short(a.len))
        return hg_bytes_eq_short(a.data, b.data, a.len);
    return a.len == 0 || memcmp(a.data, b.data, a.len) == 0;
}

/* ASCII case folded. */
bool hg_bytes_eq_nocase(struct hg_bytes a, struct hg_bytes b);
/* memcmp order, shorter first on a common prefix. */
int hg_bytes_cmp(struct hg_bytes a, struct hg_bytes b);
bool hg_bytes_has_prefix(struct hg_bytes bytes, struct hg_bytes prefix);
/* Without leading and trailing spaces and tabs. */
struct hg_bytes hg_bytes_trim(struct hg_bytes bytes);
/* Decimal digits only, no sign, no overflow; false otherwise and *out untouched. */
bool hg_bytes_to_u64(struct hg_bytes bytes, unsigned long long *out);
/* Equal in constant time for equal lengths (for secrets). */
bool hg_bytes_eq_secret(struct hg_bytes a, struct hg_bytes b);

/*
 * For logs: printable ASCII as it is, the rest as \xNN, cut with "..." when it does not fit.
 * Always NUL-terminated when size > 0. Returns buf.
 */
char *hg_bytes_escape(struct hg_bytes bytes, char *buf, size_t size);

#endif
