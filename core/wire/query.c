#include "wire/query.h"

#include "base/err.h"

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte at text[*at], decoded, or -1; *at moves behind it. */
static int next_byte(struct hg_bytes text, bool plus_is_space, size_t *at)
{
    char c = text.data[*at];
    if (c == '%') {
        if (text.len - *at < 3)
            return -1;
        int high = hex_value(text.data[*at + 1]), low = hex_value(text.data[*at + 2]);
        if (high < 0 || low < 0)
            return -1;
        *at += 3;
        return high << 4 | low;
    }
    *at += 1;
    return c == '+' && plus_is_space ? ' ' : (unsigned char)c;
}

int hg_percent_decode_into(struct hg_bytes text, bool plus_is_space, char *out, size_t capacity,
                           size_t *out_len)
{
    size_t len = 0;
    for (size_t at = 0; at < text.len;) {
        int byte = next_byte(text, plus_is_space, &at);
        if (byte < 0)
            return HG_EPROTO;
        if (len == capacity)
            return HG_ETOOBIG;
        out[len++] = (char)byte;
    }
    *out_len = len;
    return HG_OK;
}

int hg_percent_decode(struct hg_bytes text, bool plus_is_space, char *out, size_t *out_len)
{
    return hg_percent_decode_into(text, plus_is_space, out, text.len, out_len);
}

bool hg_percent_equals(struct hg_bytes text, bool plus_is_space, struct hg_bytes plain)
{
    size_t len = 0;
    if (text.len < plain.len)
        return false;
    for (size_t at = 0; at < text.len; len++) {
        int byte = next_byte(text, plus_is_space, &at);
        if (byte < 0 || len == plain.len || byte != (unsigned char)plain.data[len])
            return false;
    }
    return len == plain.len;
}

bool hg_percent_is_valid(struct hg_bytes text)
{
    size_t at = 0;
    while (at < text.len) {
        const char *sign = memchr(text.data + at, '%', text.len - at);
        if (sign == NULL)
            return true;
        at = (size_t)(sign - text.data);
        if (next_byte(text, false, &at) < 0)
            return false;
    }
    return true;
}

static bool is_unreserved(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

int hg_percent_encode(struct hg_buf *buf, struct hg_bytes bytes)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t len = 0;
    if (bytes.len == 0)
        return HG_OK;
    for (size_t i = 0; i < bytes.len; i++)
        len += is_unreserved((unsigned char)bytes.data[i]) ? 1 : 3;
    int err = hg_buf_reserve(buf, len);
    if (err < 0)
        return err;
    char *at = buf->data + buf->len;
    for (size_t i = 0; i < bytes.len; i++) {
        unsigned char c = (unsigned char)bytes.data[i];
        if (is_unreserved(c)) {
            *at++ = (char)c;
            continue;
        }
        *at++ = '%';
        *at++ = digits[c >> 4];
        *at++ = digits[c & 15];
    }
    buf->len += len;
    return HG_OK;
}

bool hg_query_next(struct hg_bytes *rest, struct hg_query_pair *out_pair)
{
    while (rest->len > 0) {
        const char *mark = memchr(rest->data, '&', rest->len);
        size_t len = mark == NULL ? rest->len : (size_t)(mark - rest->data);
        struct hg_bytes pair = hg_bytes(rest->data, len);
        size_t taken = mark == NULL ? len : len + 1;
        *rest = hg_bytes(rest->data + taken, rest->len - taken);
        if (len == 0)
            continue;
        const char *equals = memchr(pair.data, '=', len);
        if (equals == NULL) {
            *out_pair = (struct hg_query_pair){.name = pair};
            return true;
        }
        size_t name_len = (size_t)(equals - pair.data);
        *out_pair = (struct hg_query_pair){
            .name = hg_bytes(pair.data, name_len),
            .value = hg_bytes(equals + 1, len - name_len - 1),
        };
        return true;
    }
    return false;
}

int hg_query_find(struct hg_bytes query, struct hg_bytes name, struct hg_bytes *out_value)
{
    struct hg_query_pair pair;
    struct hg_bytes value = HG_BYTES_NONE;
    unsigned count = 0;
    while (hg_query_next(&query, &pair)) {
        if (!hg_percent_is_valid(pair.name))
            return HG_EPROTO;
        if (!hg_percent_equals(pair.name, true, name))
            continue;
        value = pair.value;
        count++;
    }
    if (count == 0)
        return HG_ENOENT;
    if (count > 1)
        return HG_EINVAL;
    *out_value = value;
    return HG_OK;
}
