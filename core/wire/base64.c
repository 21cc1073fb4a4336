/* base64 of RFC 4648 section 4; declared in query.h beside the other encodings of bytes as text. */
#include "base/err.h"
#include "wire/query.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

int hg_base64_encode(struct hg_buf *buf, struct hg_bytes bytes)
{
    if (bytes.len > SIZE_MAX / 2)
        return HG_ETOOBIG;
    if (bytes.len == 0)
        return HG_OK;
    size_t len = (bytes.len + 2) / 3 * 4;
    int err = hg_buf_reserve(buf, len);
    if (err < 0)
        return err;
    char *at = buf->data + buf->len;
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t left = bytes.len - i;
        uint32_t group = (uint32_t)(unsigned char)bytes.data[i] << 16;
        if (left > 1)
            group |= (uint32_t)(unsigned char)bytes.data[i + 1] << 8;
        if (left > 2)
            group |= (unsigned char)bytes.data[i + 2];
        *at++ = alphabet[group >> 18];
        *at++ = alphabet[group >> 12 & 63];
        *at++ = left > 1 ? alphabet[group >> 6 & 63] : '=';
        *at++ = left > 2 ? alphabet[group & 63] : '=';
    }
    buf->len += len;
    return HG_OK;
}

static int digit_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int hg_base64_decode(struct hg_bytes text, char *out, size_t *out_len)
{
    if (text.len % 4 != 0)
        return HG_EPROTO;
    size_t padding = 0, len = 0;
    while (padding < 2 && padding < text.len && text.data[text.len - 1 - padding] == '=')
        padding++;
    for (size_t i = 0; i < text.len; i += 4) {
        size_t digits = i + 4 == text.len ? 4 - padding : 4;
        uint32_t group = 0;
        for (size_t k = 0; k < 4; k++) {
            int value = k < digits ? digit_value(text.data[i + k]) : 0;
            if (value < 0)
                return HG_EPROTO;
            group = group << 6 | (uint32_t)value;
        }
        /* Bits that no byte uses must be zero, or one byte string had several spellings. */
        if ((digits == 3 && (group & 0xff) != 0) || (digits == 2 && (group & 0xffff) != 0))
            return HG_EPROTO;
        out[len++] = (char)(group >> 16);
        if (digits > 2)
            out[len++] = (char)(group >> 8);
        if (digits > 3)
            out[len++] = (char)group;
    }
    *out_len = len;
    return HG_OK;
}
