/* A head: finding its end within the limits, llhttp over it, and the checks that llhttp leaves to
 * its user. */
#include "wire/http1_internal.h"

static bool fail(struct hg_http1_fault *out_fault, int status, const char *text)
{
    *out_fault = (struct hg_http1_fault){status, text};
    return false;
}

static enum hg_http1_step stop(struct hg_http1_fault *out_fault, int status, const char *text)
{
    fail(out_fault, status, text);
    return HG_STEP_FAULT;
}

/* One line without its CRLF, which begins at scan->line. */
static enum hg_http1_step scan_line(const struct hg_http1_limits *limits, struct hg_bytes line,
                                    struct hg_http1_scan *scan, struct hg_http1_fault *out_fault)
{
    if (!scan->has_request_line) {
        if (line.len == 0) { /* RFC 9112 2.2: some clients send one CRLF too many */
            if (scan->has_blank_line)
                return stop(out_fault, 400, "more than one blank line before a request");
            scan->has_blank_line = true;
            scan->start = scan->line + 2;
            return HG_STEP_MORE;
        }
        struct hg_http1_request request;
        scan->has_request_line = true;
        return hg_http1_parse_line(line, &request, out_fault) ? HG_STEP_MORE : HG_STEP_FAULT;
    }
    if (line.len == 0)
        return HG_STEP_DONE;
    if (++scan->fields > limits->fields || scan->fields > HG_FIELDS_MAX)
        return stop(out_fault, 431, "too many header fields");
    if (line.data[0] == ' ' || line.data[0] == '\t')
        return stop(out_fault, 400, "folded header line");
    return HG_STEP_MORE;
}

enum hg_http1_step hg_http1_scan_head(const struct hg_http1_limits *limits, struct hg_bytes bytes,
                                      struct hg_http1_scan *scan, size_t *out_end,
                                      struct hg_http1_fault *out_fault)
{
    size_t line_max =
        limits->line + 1 < limits->head ? limits->line + 1 : limits->head; /* with its CR */

    while (scan->seen < bytes.len) {
        const char *found = memchr(bytes.data + scan->seen, '\n', bytes.len - scan->seen);
        /* At a line end or at the end of the input, the same tests in the same order. */
        size_t at = found == NULL ? bytes.len : (size_t)(found - bytes.data);
        if (!scan->has_request_line && at - scan->line > line_max)
            return stop(out_fault, 414, "request line too long");
        if (at + (found != NULL) - scan->start > limits->head)
            return stop(out_fault, 431, "request head too large");
        scan->seen = at;
        if (found == NULL)
            return HG_STEP_MORE;

        if (at == scan->line || bytes.data[at - 1] != '\r')
            return stop(out_fault, 400, "line ends without CR");
        struct hg_bytes line = hg_bytes(bytes.data + scan->line, at - 1 - scan->line);
        enum hg_http1_step step = scan_line(limits, line, scan, out_fault);
        scan->line = scan->seen = at + 1;
        if (step == HG_STEP_DONE)
            *out_end = at + 1;
        if (step != HG_STEP_MORE)
            return step;
    }
    return HG_STEP_MORE;
}

static int on_header_field(llhttp_t *llhttp, const char *at, size_t len)
{
    struct hg_http1_scratch *scratch = llhttp->data;
    if (scratch->field_count == HG_FIELDS_MAX) {
        scratch->is_full = true;
        return -1;
    }
    scratch->fields[scratch->field_count++] = (struct hg_field){{at, len}, {at + len, 0}};
    return 0;
}

static int on_header_value(llhttp_t *llhttp, const char *at, size_t len)
{
    struct hg_http1_scratch *scratch = llhttp->data;
    if (scratch->field_count == 0)
        return -1;
    struct hg_bytes *value = &scratch->fields[scratch->field_count - 1].value;
    if (value->len == 0)
        *value = hg_bytes(at, len);
    else /* a value that llhttp hands out in parts is contiguous all the same */
        value->len = (size_t)(at + len - value->data);
    return 0;
}

/* Stops before llhttp decides anything about a body: framing is decided below. */
static int on_headers_complete(llhttp_t *llhttp)
{
    ((struct hg_http1_scratch *)llhttp->data)->is_whole = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_headers_complete = on_headers_complete,
};

/* Tokens of a Connection field. */
static void note_connection(struct hg_http1_facts *facts, struct hg_bytes value)
{
    while (value.len > 0) {
        const char *comma = memchr(value.data, ',', value.len);
        size_t len = comma == NULL ? value.len : (size_t)(comma - value.data);
        struct hg_bytes option = hg_bytes_trim(hg_bytes(value.data, len));
        if (hg_bytes_eq_nocase(option, HG_BYTES("close")))
            facts->says_close = true;
        else if (hg_bytes_eq_nocase(option, HG_BYTES("keep-alive")))
            facts->says_keep_alive = true;
        size_t taken = comma == NULL ? len : len + 1;
        value = hg_bytes(value.data + taken, value.len - taken);
    }
}

static bool is_named(const struct hg_field *field, struct hg_bytes name)
{
    return hg_bytes_eq_nocase(field->name, name);
}

static void note_first(struct hg_bytes *slot, struct hg_bytes value)
{
    if (slot->data == NULL)
        *slot = value;
}

/* By length first: most fields are none of these. */
void hg_http1_note_field(struct hg_http1_facts *facts, const struct hg_field *field,
                         struct hg_http1_request *out)
{
    switch (field->name.len) {
    case 4:
        if (is_named(field, HG_BYTES("host"))) {
            facts->host = field;
            facts->host_count++;
        }
        break;
    case 6:
        if (is_named(field, HG_BYTES("origin"))) {
            note_first(&out->origin, field->value);
            out->origin_count++;
        } else if (is_named(field, HG_BYTES("expect"))) {
            facts->expect = field;
            facts->expect_count++;
        }
        break;
    case 10:
        if (is_named(field, HG_BYTES("connection")))
            note_connection(facts, field->value);
        break;
    case 13:
        if (is_named(field, HG_BYTES("if-none-match")))
            note_first(&out->if_none_match, field->value);
        else if (is_named(field, HG_BYTES("authorization")))
            note_first(&out->authorization, field->value);
        break;
    case 14:
        if (is_named(field, HG_BYTES("content-length"))) {
            facts->length = field;
            facts->length_count++;
        }
        break;
    case 15:
        if (is_named(field, HG_BYTES("hgcache-request")))
            note_first(&out->peer_request, field->value);
        break;
    case 17:
        if (is_named(field, HG_BYTES("transfer-encoding"))) {
            facts->coding = field;
            facts->coding_count++;
        }
        break;
    default:
        break;
    }
}

static bool check_framing(const struct hg_http1_limits *limits, const struct hg_http1_facts *facts,
                          const struct hg_http1_request *request,
                          struct hg_http1_framing *out_framing, struct hg_http1_fault *out_fault)
{
    *out_framing = (struct hg_http1_framing){0};
    if (facts->coding_count > 0) {
        if (facts->length_count > 0)
            return fail(out_fault, 400, "both Transfer-Encoding and Content-Length");
        if (facts->coding_count > 1 ||
            !hg_bytes_eq_nocase(facts->coding->value, HG_BYTES("chunked")))
            return fail(out_fault, 400, "Transfer-Encoding is not exactly chunked");
        if (request->is_http10)
            return fail(out_fault, 400, "Transfer-Encoding with HTTP/1.0");
        if (request->method == HG_GET || request->method == HG_HEAD)
            return fail(out_fault, 400, "Transfer-Encoding on GET or HEAD");
        out_framing->is_chunked = true;
    } else if (facts->length_count > 0) {
        unsigned long long length;
        if (facts->length_count > 1)
            return fail(out_fault, 400, "more than one Content-Length");
        if (!hg_bytes_to_u64(facts->length->value, &length))
            return fail(out_fault, 400, "malformed Content-Length");
        if (length > limits->body)
            return fail(out_fault, 413, "request body too large");
        out_framing->content_length = length;
    }
    if (facts->expect_count > 0 && !request->is_http10) {
        if (facts->expect_count > 1 ||
            !hg_bytes_eq_nocase(facts->expect->value, HG_BYTES("100-continue")))
            return fail(out_fault, 417, "unknown expectation");
        out_framing->expects_continue = out_framing->is_chunked || out_framing->content_length > 0;
    }
    return true;
}

static bool check_host(const struct hg_http1_facts *facts, struct hg_http1_request *request,
                       struct hg_http1_fault *out_fault)
{
    if (facts->host_count > 1)
        return fail(out_fault, 400, "more than one Host");
    if (facts->host_count == 0)
        return request->is_http10 ? true : fail(out_fault, 400, "no Host");
    if (!hg_http1_authority_is_valid(facts->host->value))
        return fail(out_fault, 400, "malformed Host");
    note_first(&request->host, facts->host->value);
    return true;
}

bool hg_http1_parse_head(const struct hg_http1_limits *limits, struct hg_http1_scratch *scratch,
                         struct hg_bytes head, struct hg_http1_request *out_request,
                         struct hg_http1_framing *out_framing, struct hg_http1_fault *out_fault)
{
    const char *line_end = memchr(head.data, '\r', head.len);
    struct hg_http1_request request = {0};
    if (line_end == NULL || line_end[1] != '\n')
        return fail(out_fault, 400, "malformed request line");
    if (!hg_http1_parse_line(hg_bytes(head.data, (size_t)(line_end - head.data)), &request,
                             out_fault))
        return false;

    scratch->field_count = 0;
    scratch->is_whole = scratch->is_full = false;
    llhttp_init(&scratch->llhttp, HTTP_REQUEST, &settings);
    scratch->llhttp.data = scratch;
    llhttp_errno_t error = llhttp_execute(&scratch->llhttp, head.data, head.len);
    if (scratch->is_full)
        return fail(out_fault, 431, "too many header fields");
    if (error != HPE_PAUSED || !scratch->is_whole) {
        const char *reason = llhttp_get_error_reason(&scratch->llhttp);
        return fail(out_fault, 400,
                    reason != NULL && *reason != '\0' ? reason : "malformed request");
    }

    struct hg_http1_facts facts = {0};
    for (size_t i = 0; i < scratch->field_count; i++) {
        struct hg_field *field = &scratch->fields[i];
        if (field->name.len == 0)
            return fail(out_fault, 400, "empty header name");
        for (size_t k = 0; k < field->name.len; k++) {
            if (!hg_http1_token_chars[(unsigned char)field->name.data[k]])
                return fail(out_fault, 400, "malformed header name");
        }
        field->value = hg_bytes_trim(field->value);
        hg_http1_note_field(&facts, field, &request);
    }
    if (!check_host(&facts, &request, out_fault) ||
        !check_framing(limits, &facts, &request, out_framing, out_fault))
        return false;

    request.keep_alive = !facts.says_close && (!request.is_http10 || facts.says_keep_alive);
    request.fields = scratch->fields;
    request.field_count = scratch->field_count;
    *out_request = request;
    return true;
}
