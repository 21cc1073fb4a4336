#include "wire/reply.h"

#include <stdio.h>
#include <time.h>

#include "base/err.h"
#include "wire/http1_internal.h"

#define STATUSES(X)                                                                                \
    X(100, "Continue")                                                                             \
    X(200, "OK")                                                                                   \
    X(201, "Created")                                                                              \
    X(202, "Accepted")                                                                             \
    X(204, "No Content")                                                                           \
    X(206, "Partial Content")                                                                      \
    X(301, "Moved Permanently")                                                                    \
    X(302, "Found")                                                                                \
    X(303, "See Other")                                                                            \
    X(304, "Not Modified")                                                                         \
    X(307, "Temporary Redirect")                                                                   \
    X(308, "Permanent Redirect")                                                                   \
    X(400, "Bad Request")                                                                          \
    X(401, "Unauthorized")                                                                         \
    X(403, "Forbidden")                                                                            \
    X(404, "Not Found")                                                                            \
    X(405, "Method Not Allowed")                                                                   \
    X(406, "Not Acceptable")                                                                       \
    X(408, "Request Timeout")                                                                      \
    X(409, "Conflict")                                                                             \
    X(410, "Gone")                                                                                 \
    X(411, "Length Required")                                                                      \
    X(412, "Precondition Failed")                                                                  \
    X(413, "Content Too Large")                                                                    \
    X(414, "URI Too Long")                                                                         \
    X(415, "Unsupported Media Type")                                                               \
    X(417, "Expectation Failed")                                                                   \
    X(418, "I'm a teapot")                                                                         \
    X(421, "Misdirected Request")                                                                  \
    X(422, "Unprocessable Content")                                                                \
    X(425, "Too Early")                                                                            \
    X(426, "Upgrade Required")                                                                     \
    X(428, "Precondition Required")                                                                \
    X(429, "Too Many Requests")                                                                    \
    X(431, "Request Header Fields Too Large")                                                      \
    X(451, "Unavailable For Legal Reasons")                                                        \
    X(500, "Internal Server Error")                                                                \
    X(501, "Not Implemented")                                                                      \
    X(502, "Bad Gateway")                                                                          \
    X(503, "Service Unavailable")                                                                  \
    X(504, "Gateway Timeout")                                                                      \
    X(505, "HTTP Version Not Supported")                                                           \
    X(507, "Insufficient Storage")                                                                 \
    X(508, "Loop Detected")                                                                        \
    X(511, "Network Authentication Required")

const char *hg_status_text(int status)
{
    switch (status) {
#define X(number, text)                                                                            \
    case number:                                                                                   \
        return text;
        STATUSES(X)
#undef X
    default:
        return status < 200   ? "Informational"
               : status < 300 ? "Success"
               : status < 400 ? "Redirection"
               : status < 500 ? "Client Error"
                              : "Server Error";
    }
}

/* Every other number has its class's text; written out here, so that no line is made at run time.
 */
#define CLASS_1       "Informational"
#define CLASS_2       "Success"
#define CLASS_3       "Redirection"
#define CLASS_4       "Client Error"
#define CLASS_5       "Server Error"
#define LINE(a, b, c) "HTTP/1.1 " #a #b #c " " CLASS_##a "\r\n",
#define FIVE(a, b, c, d, e, f, g)                                                                  \
    LINE(a, b, c) LINE(a, b, d) LINE(a, b, e) LINE(a, b, f) LINE(a, b, g)
#define TEN(a, b)               FIVE(a, b, 0, 1, 2, 3, 4) FIVE(a, b, 5, 6, 7, 8, 9)
#define FIFTY(a, b, c, d, e, f) TEN(a, b) TEN(a, c) TEN(a, d) TEN(a, e) TEN(a, f)
#define HUNDRED(a)              FIFTY(a, 0, 1, 2, 3, 4) FIFTY(a, 5, 6, 7, 8, 9)
static const char *const class_lines[] = {HUNDRED(1) HUNDRED(2) HUNDRED(3) HUNDRED(4) HUNDRED(5)};

struct hg_bytes hg_status_line(int status)
{
    switch (status) {
#define X(number, text)                                                                            \
    case number:                                                                                   \
        return HG_BYTES("HTTP/1.1 " #number " " text "\r\n");
        STATUSES(X)
#undef X
    default:
        if (status < 100 || status > 599)
            status = 500;
        return hg_bytes_str(class_lines[status - 100]);
    }
}

/* etagc of RFC 9110 8.8.3, so that a getter's own tag can neither end early nor split the answer.
 */
static bool is_etag_text(struct hg_bytes text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c <= ' ' || c == '"' || c == 0x7f)
            return false;
    }
    return true;
}

size_t hg_etag_format(const struct hg_value *value, char out[HG_ETAG_SPACE])
{
    static const char digits[] = "0123456789abcdef";
    struct hg_bytes own = hg_value_etag(value), inside = own;
    size_t prefix = hg_bytes_has_prefix(own, HG_BYTES("W/\"")) ? 2 : 0;
    bool is_quoted =
        own.len >= prefix + 2 && own.data[prefix] == '"' && own.data[own.len - 1] == '"';
    if (is_quoted)
        inside = hg_bytes(own.data + prefix + 1, own.len - prefix - 2);
    if (own.len > 0 && is_etag_text(inside)) {
        size_t len = 0;
        if (is_quoted && prefix > 0) {
            memcpy(out, "W/", 2);
            len = 2;
        }
        out[len++] = '"';
        memcpy(out + len, inside.data, inside.len);
        len += inside.len;
        out[len++] = '"';
        return len;
    }
    uint64_t version = hg_value_version(value);
    out[0] = out[17] = '"';
    for (int i = 0; i < 16; i++)
        out[1 + i] = digits[version >> (60 - 4 * i) & 15];
    return 18;
}

static struct hg_bytes strong_part(struct hg_bytes etag)
{
    return hg_bytes_has_prefix(etag, HG_BYTES("W/")) ? hg_bytes(etag.data + 2, etag.len - 2) : etag;
}

bool hg_etag_matches(struct hg_bytes if_none_match, struct hg_bytes etag)
{
    struct hg_bytes rest = hg_bytes_trim(if_none_match), wanted = strong_part(etag);
    if (rest.len == 1 && rest.data[0] == '*')
        return true;
    while (rest.len > 0) {
        struct hg_bytes tag = strong_part(rest);
        if (tag.len == 0)
            return false;
        if (tag.data[0] == ',' || tag.data[0] == ' ' || tag.data[0] == '\t') {
            rest = hg_bytes(tag.data + 1, tag.len - 1);
            continue;
        }
        /* A comma may stand inside the quotes. */
        const char *close =
            tag.data[0] == '"' && tag.len > 1 ? memchr(tag.data + 1, '"', tag.len - 1) : NULL;
        if (close == NULL)
            return false;
        size_t len = (size_t)(close - tag.data) + 1;
        if (hg_bytes_eq(hg_bytes(tag.data, len), wanted))
            return true;
        rest = hg_bytes(tag.data + len, tag.len - len);
    }
    return false;
}

static bool is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* sf-token of RFC 8941 3.3.4. */
static bool is_sf_token(struct hg_bytes name)
{
    if (name.len == 0 || (!is_alpha(name.data[0]) && name.data[0] != '*'))
        return false;
    for (size_t i = 1; i < name.len; i++) {
        if (!hg_http1_token_chars[(unsigned char)name.data[i]] && name.data[i] != ':' &&
            name.data[i] != '/')
            return false;
    }
    return true;
}

/* A structured string takes printable ASCII only; escapes are bounded so that the caller's space is
 * enough. */
static size_t format_name(struct hg_bytes name, char *out)
{
    size_t len = 0, spare = 80;
    if (is_sf_token(name)) {
        memcpy(out, name.data, name.len);
        return name.len;
    }
    out[len++] = '"';
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        if ((c == '"' || c == '\\') && spare > 0) {
            out[len++] = '\\';
            spare--;
        } else if (c < ' ' || c > '~' || c == '"' || c == '\\') {
            c = '_';
        }
        out[len++] = c;
    }
    out[len++] = '"';
    return len;
}

static size_t put_text(char *out, size_t len, const char *text)
{
    size_t size = strlen(text);
    memcpy(out + len, text, size);
    return len + size;
}

static size_t put_number(char *out, size_t len, int64_t number)
{
    char digits[20];
    size_t count = 0;
    uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    if (number < 0)
        out[len++] = '-';
    do {
        digits[count++] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    while (count > 0)
        out[len++] = digits[--count];
    return len;
}

size_t hg_cache_status_format(struct hg_bytes node_name, enum hg_cache_status how, bool has_ttl,
                              int64_t ttl_ms, char *out)
{
    size_t len = format_name(node_name, out);
    if (how == HG_CS_MISS || how == HG_CS_COLLAPSED)
        return put_text(out, len, how == HG_CS_MISS ? "; fwd=miss" : "; fwd=miss; collapsed");
    len = put_text(out, len, "; hit");
    if (!has_ttl)
        return len;
    /* Rounded down: whatever is stale, if only by a millisecond, shows a negative number. */
    int64_t seconds = ttl_ms / 1000 - (ttl_ms % 1000 < 0 ? 1 : 0);
    return put_number(out, put_text(out, len, "; ttl="), seconds);
}

bool hg_field_name_is_valid(struct hg_bytes name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (!hg_http1_token_chars[(unsigned char)name.data[i]])
            return false;
    }
    return name.len > 0;
}

bool hg_field_value_is_valid(struct hg_bytes value)
{
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.data[i];
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

int hg_field_append(struct hg_buf *buf, struct hg_bytes name, struct hg_bytes value)
{
    if (!hg_field_name_is_valid(name) || !hg_field_value_is_valid(value))
        return HG_EINVAL;
    if (name.len > SIZE_MAX / 4 || value.len > SIZE_MAX / 4)
        return HG_ETOOBIG;
    int err = hg_buf_reserve(buf, name.len + value.len + 4);
    if (err < 0)
        return err;
    hg_buf_append_bytes(buf, name);
    hg_buf_append(buf, ": ", 2);
    hg_buf_append_bytes(buf, value);
    return hg_buf_append(buf, "\r\n", 2);
}

void hg_http_date(int64_t unix_s, char out[30])
{
    static const char days[] = "SunMonTueWedThuFriSat",
                      months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    const int64_t last = 253402300799; /* of the year 9999: four digits is all there is */
    time_t seconds = (time_t)(unix_s < 0 ? 0 : unix_s > last ? last : unix_s);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    char text[64];
    snprintf(text, sizeof(text), "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT", days + 3 * tm.tm_wday,
             tm.tm_mday, months + 3 * tm.tm_mon, tm.tm_year + 1900, tm.tm_hour, tm.tm_min,
             tm.tm_sec);
    memcpy(out, text, 29);
    out[29] = '\0';
}
