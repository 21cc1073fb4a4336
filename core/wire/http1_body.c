/*
 * The chunked coding, decoded by hand and strictly: a lenient size or line end is how requests are
 * smuggled.
 *
 *   SIZE -(;)-> EXTENSION_NAME -> EXTENSION -(CR)-> SIZE_LF -> DATA -> DATA_CR -> DATA_LF -> SIZE
 *   after the chunk of size 0:                      SIZE_LF -> LINE -(name)-> NAME -> VALUE ->
 * VALUE_LF -> LINE LINE -(CR)-> END_LF, done
 */
#include "base/err.h"
#include "wire/http1_internal.h"

enum {
    SIZE, /* zero: where a body begins */
    EXTENSION_NAME,
    EXTENSION,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    LINE,
    NAME,
    VALUE,
    VALUE_LF,
    END_LF,
};

#define SIZE_DIGITS_MAX 16

static enum hg_http1_step stop(struct hg_http1_fault *out_fault, int status, const char *text)
{
    *out_fault = (struct hg_http1_fault){status, text};
    return HG_STEP_FAULT;
}

bool hg_http1_body_append(struct hg_buf *body, struct hg_bytes bytes,
                          struct hg_http1_fault *out_fault)
{
    int err = hg_buf_append_bytes(body, bytes);
    if (err == HG_OK)
        return true;
    *out_fault = err == HG_ENOMEM ? (struct hg_http1_fault){503, "out of memory"}
                                  : (struct hg_http1_fault){413, "request body too large"};
    return false;
}

static int hex_value(unsigned char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool is_control(unsigned char c)
{
    return (c < ' ' && c != '\t') || c == 0x7f;
}

static enum hg_http1_step on_size(struct hg_http1_chunks *chunks,
                                  const struct hg_http1_limits *limits, unsigned char c,
                                  size_t body_len, struct hg_http1_fault *out_fault)
{
    int digit = hex_value(c);
    if (digit >= 0) {
        if (++chunks->digits > SIZE_DIGITS_MAX)
            return stop(out_fault, 400, "chunk size too long");
        chunks->left = chunks->left << 4 | (unsigned)digit;
        return HG_STEP_MORE;
    }
    if (chunks->digits == 0 || (c != ';' && c != '\r'))
        return stop(out_fault, 400, "malformed chunk size");
    if (chunks->left > limits->body - body_len)
        return stop(out_fault, 413, "request body too large");
    chunks->digits = 0;
    chunks->state = c == ';' ? EXTENSION_NAME : SIZE_LF;
    return HG_STEP_MORE;
}

static enum hg_http1_step on_extension(struct hg_http1_chunks *chunks,
                                       const struct hg_http1_limits *limits, unsigned char c,
                                       struct hg_http1_fault *out_fault)
{
    if (chunks->state == EXTENSION_NAME && !hg_http1_token_chars[c])
        return stop(out_fault, 400, "malformed chunk extension");
    if (c == '\r') {
        chunks->state = SIZE_LF;
        return HG_STEP_MORE;
    }
    if (is_control(c))
        return stop(out_fault, 400, "malformed chunk extension");
    if (++chunks->extension_bytes > limits->chunk_extension)
        return stop(out_fault, 400, "chunk extensions too long");
    chunks->state = EXTENSION;
    return HG_STEP_MORE;
}

/* A trailer that says how to frame or route the message it ends is an attack (RFC 9110 6.5.1). */
static bool is_forbidden_trailer(const struct hg_http1_chunks *chunks)
{
    struct hg_bytes name = hg_bytes(chunks->name, chunks->name_len);
    return chunks->name_len <= sizeof(chunks->name) &&
           (hg_bytes_eq(name, HG_BYTES("content-length")) ||
            hg_bytes_eq(name, HG_BYTES("transfer-encoding")) ||
            hg_bytes_eq(name, HG_BYTES("host")));
}

static enum hg_http1_step on_trailer(struct hg_http1_chunks *chunks,
                                     const struct hg_http1_limits *limits, unsigned char c,
                                     struct hg_http1_fault *out_fault)
{
    if (++chunks->trailer_bytes > limits->head)
        return stop(out_fault, 431, "trailers too large");
    switch (chunks->state) {
    case LINE:
        if (c == '\r') {
            chunks->state = END_LF;
            return HG_STEP_MORE;
        }
        if (++chunks->trailers > limits->fields)
            return stop(out_fault, 431, "too many trailers");
        chunks->state = NAME;
        chunks->name_len = 0;
        if (c == ':')
            return stop(out_fault, 400, "empty trailer name");
        /* fall through */
    case NAME:
        if (c == ':') {
            if (is_forbidden_trailer(chunks))
                return stop(out_fault, 400, "forbidden trailer");
            chunks->state = VALUE;
            return HG_STEP_MORE;
        }
        if (!hg_http1_token_chars[c])
            return stop(out_fault, 400, "malformed trailer name");
        if (chunks->name_len < sizeof(chunks->name))
            chunks->name[chunks->name_len] = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
        if (chunks->name_len <= sizeof(chunks->name))
            chunks->name_len++;
        return HG_STEP_MORE;
    case VALUE:
        if (c == '\r')
            chunks->state = VALUE_LF;
        else if (is_control(c))
            return stop(out_fault, 400, "control byte in a trailer");
        return HG_STEP_MORE;
    default: /* VALUE_LF */
        if (c != '\n')
            return stop(out_fault, 400, "trailer line ends without LF");
        chunks->state = LINE;
        return HG_STEP_MORE;
    }
}

static enum hg_http1_step on_byte(struct hg_http1_chunks *chunks,
                                  const struct hg_http1_limits *limits, unsigned char c,
                                  size_t body_len, struct hg_http1_fault *out_fault)
{
    switch (chunks->state) {
    case SIZE:
        return on_size(chunks, limits, c, body_len, out_fault);
    case EXTENSION_NAME:
    case EXTENSION:
        return on_extension(chunks, limits, c, out_fault);
    case SIZE_LF:
        if (c != '\n')
            return stop(out_fault, 400, "chunk line ends without LF");
        chunks->state = chunks->left == 0 ? LINE : DATA;
        return HG_STEP_MORE;
    case DATA_CR:
        if (c != '\r')
            return stop(out_fault, 400, "chunk ends without CR");
        chunks->state = DATA_LF;
        return HG_STEP_MORE;
    case DATA_LF:
        if (c != '\n')
            return stop(out_fault, 400, "chunk ends without LF");
        chunks->state = SIZE;
        return HG_STEP_MORE;
    case END_LF:
        return c == '\n' ? HG_STEP_DONE : stop(out_fault, 400, "last line ends without LF");
    default:
        return on_trailer(chunks, limits, c, out_fault);
    }
}

enum hg_http1_step hg_http1_chunks_feed(struct hg_http1_chunks *chunks,
                                        const struct hg_http1_limits *limits, struct hg_bytes input,
                                        size_t *out_consumed, struct hg_buf *body,
                                        struct hg_http1_fault *out_fault)
{
    size_t at = 0;
    enum hg_http1_step step = HG_STEP_MORE;
    while (at < input.len && step == HG_STEP_MORE) {
        if (chunks->state != DATA) {
            step = on_byte(chunks, limits, (unsigned char)input.data[at], body->len, out_fault);
            at++;
            continue;
        }
        size_t len = input.len - at;
        if (len > chunks->left)
            len = (size_t)chunks->left;
        if (!hg_http1_body_append(body, hg_bytes(input.data + at, len), out_fault))
            return HG_STEP_FAULT;
        at += len;
        chunks->left -= len;
        if (chunks->left == 0)
            chunks->state = DATA_CR;
    }
    *out_consumed = at;
    return step;
}
