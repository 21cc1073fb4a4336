#include "wire/grpc.h"

#include "base/alloc.h"
#include "base/err.h"

#define TIMEOUT_DIGITS 8
#define TIMEOUT_MAX    99999999u

const char *hg_grpc_code_name(int code)
{
    switch (code) {
#define X(name, number)                                                                            \
    case number:                                                                                   \
        return #name;
        HG_GRPC_CODES(X)
#undef X
    default:
        return "UNKNOWN";
    }
}

enum hg_grpc_code hg_grpc_code_from_http(int http_status)
{
    switch (http_status) {
    case 200:
    case 204:
        return HG_GRPC_OK;
    case 400:
    case 414:
        return HG_GRPC_INVALID_ARGUMENT;
    case 401:
    case 403:
        return HG_GRPC_PERMISSION_DENIED;
    case 404:
        return HG_GRPC_NOT_FOUND;
    case 405:
    case 501:
        return HG_GRPC_UNIMPLEMENTED;
    case 413:
    case 431:
        return HG_GRPC_RESOURCE_EXHAUSTED;
    case 503:
        return HG_GRPC_UNAVAILABLE;
    case 504:
        return HG_GRPC_DEADLINE_EXCEEDED;
    default:
        return HG_GRPC_INTERNAL;
    }
}

bool hg_grpc_is_content_type(struct hg_bytes type)
{
    static const struct hg_bytes names[] = {{"application/grpc", 16},
                                            {"application/grpc+proto", 22}};
    const char *end = type.len == 0 ? NULL : memchr(type.data, ';', type.len);
    if (end != NULL)
        type.len = (size_t)(end - type.data);
    type = hg_bytes_trim(type);
    return hg_bytes_eq_nocase(type, names[0]) || hg_bytes_eq_nocase(type, names[1]);
}

int hg_grpc_prefix_read(struct hg_bytes input, struct hg_grpc_prefix *out_prefix)
{
    const unsigned char *at = (const unsigned char *)input.data;
    if (input.len > 0 && at[0] > 1)
        return HG_EPROTO;
    if (input.len < HG_GRPC_PREFIX)
        return HG_PENDING;
    *out_prefix = (struct hg_grpc_prefix){
        .is_compressed = at[0] == 1,
        .len = (size_t)at[1] << 24 | (size_t)at[2] << 16 | (size_t)at[3] << 8 | at[4],
    };
    return HG_OK;
}

void hg_grpc_prefix_write(size_t len, char out[HG_GRPC_PREFIX])
{
    out[0] = 0;
    out[1] = (char)(len >> 24);
    out[2] = (char)(len >> 16);
    out[3] = (char)(len >> 8);
    out[4] = (char)len;
}

int hg_grpc_message_read(struct hg_bytes body, size_t max, struct hg_bytes *out_message)
{
    struct hg_grpc_prefix prefix;
    if (hg_grpc_prefix_read(body, &prefix) != HG_OK)
        return HG_EPROTO;
    if (prefix.len > max)
        return HG_ETOOBIG;
    if (prefix.is_compressed)
        return HG_EINVAL;
    if (prefix.len != body.len - HG_GRPC_PREFIX)
        return HG_EPROTO;
    *out_message = hg_bytes(body.data + HG_GRPC_PREFIX, prefix.len);
    return HG_OK;
}

int hg_grpc_timeout_read(struct hg_bytes text, uint64_t *out_ms)
{
    unsigned long long number;
    if (text.len < 2 || text.len > TIMEOUT_DIGITS + 1 ||
        !hg_bytes_to_u64(hg_bytes(text.data, text.len - 1), &number))
        return HG_EPROTO;
    switch (text.data[text.len - 1]) {
    case 'H':
        *out_ms = number * 3600000;
        return HG_OK;
    case 'M':
        *out_ms = number * 60000;
        return HG_OK;
    case 'S':
        *out_ms = number * 1000;
        return HG_OK;
    case 'm':
        *out_ms = number;
        return HG_OK;
    case 'u':
        *out_ms = (number + 999) / 1000;
        return HG_OK;
    case 'n':
        *out_ms = (number + 999999) / 1000000;
        return HG_OK;
    default:
        return HG_EPROTO;
    }
}

size_t hg_grpc_timeout_write(uint64_t ms, char out[HG_GRPC_TIMEOUT_SIZE])
{
    static const struct {
        char unit;
        uint64_t ms;
    } units[] = {{'m', 1}, {'S', 1000}, {'M', 60000}, {'H', 3600000}};
    size_t index = 0, len = 0, count = 0;
    while (index + 1 < HG_COUNT(units) && ms / units[index].ms > TIMEOUT_MAX)
        index++;
    uint64_t number = ms / units[index].ms;
    if (number > TIMEOUT_MAX)
        number = TIMEOUT_MAX;
    char digits[TIMEOUT_DIGITS];
    do {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    while (count > 0)
        out[len++] = digits[--count];
    out[len++] = units[index].unit;
    return len;
}

int hg_grpc_text_encode(struct hg_buf *buf, struct hg_bytes text, size_t max)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t len = text.len < max ? text.len : max, room;
    if (!hg_size_mul(len, 3, &room))
        return HG_ETOOBIG;
    int err = hg_buf_reserve(buf, room);
    if (err < 0)
        return err;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        char *at = buf->data + buf->len;
        if (c >= ' ' && c <= '~' && c != '%') {
            *at = (char)c;
            buf->len++;
            continue;
        }
        at[0] = '%';
        at[1] = hex[c >> 4];
        at[2] = hex[c & 15];
        buf->len += 3;
    }
    return HG_OK;
}
