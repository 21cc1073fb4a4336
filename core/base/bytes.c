#include "base/bytes.h"

#include <limits.h>

static unsigned char fold(char c)
{
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

bool hg_bytes_eq_nocase(struct hg_bytes a, struct hg_bytes b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++) {
        if (fold(a.data[i]) != fold(b.data[i]))
            return false;
    }
    return true;
}

int hg_bytes_cmp(struct hg_bytes a, struct hg_bytes b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common == 0 ? 0 : memcmp(a.data, b.data, common);
    if (order != 0)
        return order;
    return (a.len > b.len) - (a.len < b.len);
}

bool hg_bytes_has_prefix(struct hg_bytes bytes, struct hg_bytes prefix)
{
    return bytes.len >= prefix.len && hg_bytes_eq(hg_bytes(bytes.data, prefix.len), prefix);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct hg_bytes hg_bytes_trim(struct hg_bytes bytes)
{
    while (bytes.len > 0 && is_blank(bytes.data[0])) {
        bytes.data++;
        bytes.len--;
    }
    while (bytes.len > 0 && is_blank(bytes.data[bytes.len - 1]))
        bytes.len--;
    return bytes;
}

bool hg_bytes_to_u64(struct hg_bytes bytes, unsigned long long *out)
{
    unsigned long long number = 0;
    if (bytes.len == 0)
        return false;
    for (size_t i = 0; i < bytes.len; i++) {
        if (bytes.data[i] < '0' || bytes.data[i] > '9')
            return false;
        unsigned digit = (unsigned)(bytes.data[i] - '0');
        if (number > (ULLONG_MAX - digit) / 10)
            return false;
        number = number * 10 + digit;
    }
    *out = number;
    return true;
}

bool hg_bytes_eq_secret(struct hg_bytes a, struct hg_bytes b)
{
    if (a.len != b.len)
        return false;
    /* volatile, so that the compiler does not leave the loop at the first difference */
    volatile unsigned char difference = 0;
    for (size_t i = 0; i < a.len; i++)
        difference = (unsigned char)(difference | (a.data[i] ^ b.data[i]));
    return difference == 0;
}

char *hg_bytes_escape(struct hg_bytes bytes, char *buf, size_t size)
{
    static const char hex[] = "0123456789abcdef";
    size_t used = 0, cut = 0; /* cut: the last place where "..." still fits */
    if (size == 0)
        return buf;
    for (size_t i = 0; i < bytes.len; i++) {
        unsigned char c = (unsigned char)bytes.data[i];
        bool is_plain = c >= 0x20 && c < 0x7f;
        if (used + 3 < size)
            cut = used;
        if (used + (is_plain ? 1 : 4) >= size) {
            for (used = cut; used < cut + 3 && used + 1 < size; used++)
                buf[used] = '.';
            break;
        }
        if (is_plain) {
            buf[used++] = (char)c;
        } else {
            buf[used++] = '\\';
            buf[used++] = 'x';
            buf[used++] = hex[c >> 4];
            buf[used++] = hex[c & 15];
        }
    }
    buf[used] = '\0';
    return buf;
}
