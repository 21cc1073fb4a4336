/* The request line, the one line of a request that is parsed by hand: llhttp lets much of it
 * through. */
#include "wire/http1_internal.h"

#define T 1
const unsigned char hg_http1_token_chars[256] = {
    ['!'] = T, ['#'] = T, ['$'] = T, ['%'] = T, ['&'] = T, ['\''] = T, ['*'] = T, ['+'] = T,
    ['-'] = T, ['.'] = T, ['^'] = T, ['_'] = T, ['`'] = T, ['|'] = T,  ['~'] = T, ['0'] = T,
    ['1'] = T, ['2'] = T, ['3'] = T, ['4'] = T, ['5'] = T, ['6'] = T,  ['7'] = T, ['8'] = T,
    ['9'] = T, ['A'] = T, ['B'] = T, ['C'] = T, ['D'] = T, ['E'] = T,  ['F'] = T, ['G'] = T,
    ['H'] = T, ['I'] = T, ['J'] = T, ['K'] = T, ['L'] = T, ['M'] = T,  ['N'] = T, ['O'] = T,
    ['P'] = T, ['Q'] = T, ['R'] = T, ['S'] = T, ['T'] = T, ['U'] = T,  ['V'] = T, ['W'] = T,
    ['X'] = T, ['Y'] = T, ['Z'] = T, ['a'] = T, ['b'] = T, ['c'] = T,  ['d'] = T, ['e'] = T,
    ['f'] = T, ['g'] = T, ['h'] = T, ['i'] = T, ['j'] = T, ['k'] = T,  ['l'] = T, ['m'] = T,
    ['n'] = T, ['o'] = T, ['p'] = T, ['q'] = T, ['r'] = T, ['s'] = T,  ['t'] = T, ['u'] = T,
    ['v'] = T, ['w'] = T, ['x'] = T, ['y'] = T, ['z'] = T,
};
#undef T

static const char *const method_names[HG_METHOD_COUNT] = {
    [HG_GET] = "GET",       [HG_HEAD] = "HEAD",       [HG_POST] = "POST",   [HG_PUT] = "PUT",
    [HG_DELETE] = "DELETE", [HG_OPTIONS] = "OPTIONS", [HG_PATCH] = "PATCH",
};

const char *hg_method_name(enum hg_method method)
{
    return method < HG_METHOD_COUNT ? method_names[method] : "?";
}

enum hg_method hg_method_from_name(struct hg_bytes name)
{
    if (name.len == 3 && memcmp(name.data, "GET", 3) == 0)
        return HG_GET;
    for (enum hg_method method = HG_HEAD; method < HG_METHOD_COUNT; method++) {
        if (hg_bytes_eq(name, hg_bytes_str(method_names[method])))
            return method;
    }
    return HG_METHOD_COUNT;
}

static bool fail(struct hg_http1_fault *out_fault, int status, const char *text)
{
    *out_fault = (struct hg_http1_fault){status, text};
    return false;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* reg-name of RFC 3986 without ','; it is legal there, and a sign of two Hosts folded into one. */
static bool is_host_char(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != '\0' && strchr("-._~%!$&'()*+;=", c) != NULL);
}

bool hg_http1_authority_is_valid(struct hg_bytes authority)
{
    const char *at = authority.data, *end = at + authority.len;
    if (authority.len == 0)
        return false;
    if (*at == '[') { /* an IPv6 address */
        const char *close = memchr(at, ']', authority.len);
        if (close == NULL || close - at < 3)
            return false;
        for (at++; at < close; at++) {
            if (!is_hex(*at) && *at != ':' && *at != '.')
                return false;
        }
        at++;
    } else {
        const char *name = at;
        while (at < end && *at != ':') {
            if (!is_host_char(*at))
                return false;
            at++;
        }
        if (at == name)
            return false;
    }
    if (at == end)
        return true;
    if (*at++ != ':' || end - at > 5)
        return false;
    for (; at < end; at++) {
        if (!is_digit(*at))
            return false;
    }
    return true;
}

/* "http://authority/path?query": the path is what is asked for, the authority is the host. */
static bool parse_absolute(struct hg_bytes target, size_t scheme_len,
                           struct hg_http1_request *out_request, struct hg_http1_fault *out_fault)
{
    const char *begin = target.data + scheme_len, *end = target.data + target.len, *at = begin;
    while (at < end && *at != '/' && *at != '?')
        at++;
    out_request->host = hg_bytes(begin, (size_t)(at - begin));
    if (!hg_http1_authority_is_valid(out_request->host))
        return fail(out_fault, 400, "malformed authority in the request target");
    out_request->path = hg_bytes(at, (size_t)(end - at));
    return true;
}

static bool parse_target(struct hg_bytes target, struct hg_http1_request *out_request,
                         struct hg_http1_fault *out_fault)
{
    out_request->target = target;
    out_request->host = HG_BYTES_NONE;
    if (target.len == 0)
        return fail(out_fault, 400, "empty request target");
    for (size_t i = 0; i < target.len; i++) {
        unsigned char c = (unsigned char)target.data[i];
        if (c <= ' ' || c >= 0x7f)
            return fail(out_fault, 400, "request target has bytes that must be percent-encoded");
        if (c == '#')
            return fail(out_fault, 400, "request target has a fragment");
    }

    out_request->path = target;
    if (target.data[0] != '/') {
        if (target.len == 1 && target.data[0] == '*') {
            if (out_request->method != HG_OPTIONS)
                return fail(out_fault, 400, "request target * is for OPTIONS only");
            out_request->query = HG_BYTES_NONE;
            return true;
        }
        struct hg_bytes scheme = hg_bytes(target.data, target.len < 7 ? target.len : 7);
        struct hg_bytes longer = hg_bytes(target.data, target.len < 8 ? target.len : 8);
        size_t scheme_len = hg_bytes_eq_nocase(scheme, HG_BYTES("http://"))    ? 7
                            : hg_bytes_eq_nocase(longer, HG_BYTES("https://")) ? 8
                                                                               : 0;
        if (scheme_len == 0)
            return fail(out_fault, 400, "request target is neither a path nor an http URL");
        if (!parse_absolute(target, scheme_len, out_request, out_fault))
            return false;
    }

    struct hg_bytes path = out_request->path;
    const char *mark = path.len == 0 ? NULL : memchr(path.data, '?', path.len);
    out_request->query = HG_BYTES_NONE;
    if (mark != NULL) {
        out_request->query = hg_bytes(mark + 1, (size_t)(path.data + path.len - mark - 1));
        path.len = (size_t)(mark - path.data);
    }
    out_request->path = path.len == 0 ? HG_BYTES("/") : path;
    return true;
}

static bool parse_version(struct hg_bytes text, struct hg_http1_request *out_request,
                          struct hg_http1_fault *out_fault)
{
    if (text.len == 8 && memcmp(text.data, "HTTP/1.", 7) == 0 &&
        (text.data[7] == '1' || text.data[7] == '0')) {
        out_request->is_http10 = text.data[7] == '0';
        return true;
    }
    /* Other numbers are a version we do not speak, anything else is no version. 0.9 never named
     * itself. */
    if (text.len < 8 || memcmp(text.data, "HTTP/", 5) != 0 || text.data[5] == '0')
        return fail(out_fault, 400, "malformed HTTP version");
    unsigned dots = 0;
    for (size_t i = 5; i < text.len; i++) {
        if (text.data[i] == '.' && i > 5 && i + 1 < text.len)
            dots++;
        else if (!is_digit(text.data[i]))
            return fail(out_fault, 400, "malformed HTTP version");
    }
    if (dots != 1)
        return fail(out_fault, 400, "malformed HTTP version");
    return fail(out_fault, 505, "HTTP version is neither 1.0 nor 1.1");
}

bool hg_http1_parse_line(struct hg_bytes line, struct hg_http1_request *out_request,
                         struct hg_http1_fault *out_fault)
{
    const char *end = line.data + line.len;
    const char *space = memchr(line.data, ' ', line.len);
    if (space == NULL || space == line.data)
        return fail(out_fault, 400, "malformed request line");
    struct hg_bytes name = hg_bytes(line.data, (size_t)(space - line.data));
    const char *target = space + 1;
    const char *second = memchr(target, ' ', (size_t)(end - target));
    if (second == NULL)
        return fail(out_fault, 400, "request line without an HTTP version");

    out_request->method = hg_method_from_name(name);
    if (out_request->method == HG_METHOD_COUNT) {
        for (size_t i = 0; i < name.len; i++) {
            if (!hg_http1_token_chars[(unsigned char)name.data[i]])
                return fail(out_fault, 400, "malformed method");
        }
    }
    if (!parse_version(hg_bytes(second + 1, (size_t)(end - second - 1)), out_request, out_fault))
        return false;
    if (out_request->method == HG_METHOD_COUNT) {
        if (hg_bytes_eq(name, HG_BYTES("CONNECT")) || hg_bytes_eq(name, HG_BYTES("TRACE")))
            return fail(out_fault, 405, "method not allowed");
        return fail(out_fault, 501, "unknown method");
    }
    return parse_target(hg_bytes(target, (size_t)(second - target)), out_request, out_fault);
}
