/* HgCache v2's JSON envelope; declared in reply.h. */
#include <stdio.h>

#include "base/err.h"
#include "wire/query.h"
#include "wire/reply.h"
#include "wire/utf8.h"

/* One character into out (at most 6 bytes); returns what was taken of the text. */
static size_t escape_char(struct hg_bytes text, char out[8], size_t *out_len)
{
    unsigned char c = (unsigned char)text.data[0];
    static const char short_forms[] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    if (c == '"' || c == '\\') {
        *out_len = 2;
        out[0] = '\\';
        out[1] = (char)c;
        return 1;
    }
    if (c < 0x20) {
        bool is_short = c < sizeof(short_forms) && short_forms[c] != '\0';
        *out_len = (size_t)(is_short ? snprintf(out, 8, "\\%c", short_forms[c])
                                     : snprintf(out, 8, "\\u%04x", c));
        return 1;
    }
    size_t size = hg_utf8_char(text);
    *out_len = size == 0 ? 3 : size;
    memcpy(out, size == 0 ? HG_UTF8_REPLACEMENT : text.data, *out_len);
    return size == 0 ? 1 : size;
}

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

static int append_string(struct hg_buf *buf, struct hg_bytes text)
{
    int err = hg_buf_append_char(buf, '"');
    size_t at = 0;
    while (at < text.len && err == HG_OK) {
        size_t run = at;
        while (run < text.len && is_plain((unsigned char)text.data[run]))
            run++;
        err = hg_buf_append(buf, text.data + at, run - at);
        at = run;
        if (at < text.len && err == HG_OK) {
            char escaped[8];
            size_t len;
            at += escape_char(hg_bytes(text.data + at, text.len - at), escaped, &len);
            err = hg_buf_append(buf, escaped, len);
        }
    }
    return err == HG_OK ? hg_buf_append_char(buf, '"') : err;
}

int hg_json_string(struct hg_buf *buf, struct hg_bytes text)
{
    size_t before = buf->len;
    int err = append_string(buf, text);
    if (err < 0)
        buf->len = before;
    return err;
}

static bool is_utf8(struct hg_bytes bytes)
{
    while (bytes.len > 0) {
        size_t len = hg_utf8_char(bytes);
        if (len == 0)
            return false;
        bytes = hg_bytes(bytes.data + len, bytes.len - len);
    }
    return true;
}

int hg_json_bytes(struct hg_buf *buf, const char *name, struct hg_bytes bytes)
{
    size_t before = buf->len;
    bool is_text = is_utf8(bytes);
    int err = hg_buf_printf(buf, "\"%s%s\":%s", name, is_text ? "" : "64", is_text ? "" : "\"");
    if (err == HG_OK)
        err = is_text ? append_string(buf, bytes) : hg_base64_encode(buf, bytes);
    if (err == HG_OK && !is_text)
        err = hg_buf_append_char(buf, '"');
    if (err < 0)
        buf->len = before;
    return err;
}

int hg_envelope_data(struct hg_buf *buf, struct hg_bytes data)
{
    size_t before = buf->len;
    int err = hg_buf_append_str(buf, "{\"data\":");
    if (err == HG_OK)
        err = append_string(buf, data);
    if (err == HG_OK)
        err = hg_buf_append_char(buf, '}');
    if (err < 0)
        buf->len = before;
    return err;
}

int hg_envelope_error(struct hg_buf *buf, int http_status)
{
    const char *text = http_status == 404 ? "{\"code\":100004,\"message\":\"Page not found\"}"
                       : http_status >= 500
                           ? "{\"code\":100002,\"message\":\"Internal server error\"}"
                           : "{\"code\":100003,\"message\":\"Validation failed\"}";
    return hg_buf_append_str(buf, text);
}
