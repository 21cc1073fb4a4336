#include "wire/utf8.h"

static bool is_tail(unsigned char c)
{
    return (c & 0xc0) == 0x80;
}

size_t hg_utf8_char(struct hg_bytes bytes)
{
    const unsigned char *at = (const unsigned char *)bytes.data;
    if (bytes.len == 0)
        return 0;
    if (at[0] < 0x80)
        return 1;
    if (at[0] < 0xc2 || at[0] > 0xf4)
        return 0;
    if (bytes.len < 2 || !is_tail(at[1]))
        return 0;
    if (at[0] < 0xe0)
        return 2;
    if (bytes.len < 3 || !is_tail(at[2]))
        return 0;
    if (at[0] < 0xf0) /* no overlong form, no surrogate */
        return (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] >= 0xa0) ? 0 : 3;
    if (bytes.len < 4 || !is_tail(at[3]))
        return 0;
    return (at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] >= 0x90) ? 0 : 4;
}

size_t hg_utf8_clean(struct hg_bytes bytes, char *out)
{
    size_t len = 0;
    for (size_t i = 0; i < bytes.len;) {
        size_t size = hg_utf8_char(hg_bytes(bytes.data + i, bytes.len - i));
        if (size == 0 || bytes.data[i] == '\0') {
            memcpy(out + len, HG_UTF8_REPLACEMENT, 3);
            len += 3;
            i++;
            continue;
        }
        memcpy(out + len, bytes.data + i, size);
        len += size;
        i += size;
    }
    out[len] = '\0';
    return len;
}
