#include "wire/http2_head.h"

#include "base/err.h"
#include "wire/grpc.h"
#include "wire/http1_internal.h"
#include "wire/reply.h"

void hg_http2_head_init(struct hg_http2_head *head, const struct hg_http1_limits *limits)
{
    *head = (struct hg_http2_head){.limits = limits};
    /* Behind the fields comes the request line, which is made of them. */
    hg_buf_init(&head->text, 3 * limits->head + limits->line);
    hg_buf_init(&head->cookie, limits->head);
}

void hg_http2_head_finish(struct hg_http2_head *head)
{
    hg_buf_finish(&head->text);
    hg_buf_finish(&head->cookie);
}

static int store(struct hg_http2_head *head, struct hg_bytes name, struct hg_bytes value)
{
    uint32_t lens[2] = {(uint32_t)name.len, (uint32_t)value.len};
    int err = hg_buf_reserve(&head->text, sizeof(lens) + name.len + value.len);
    if (err < 0)
        return err;
    hg_buf_append(&head->text, lens, sizeof(lens));
    hg_buf_append_bytes(&head->text, name);
    return hg_buf_append_bytes(&head->text, value);
}

/* HTTP/2 may send a cookie in crumbs (RFC 9113 8.2.3). */
static int store_cookie(struct hg_http2_head *head, struct hg_bytes value)
{
    int err = HG_OK;
    if (head->cookie.data != NULL)
        err = hg_buf_append(&head->cookie, "; ", 2);
    return err == HG_OK ? hg_buf_append_bytes(&head->cookie, value) : err;
}

int hg_http2_head_add(struct hg_http2_head *head, struct hg_bytes name, struct hg_bytes value)
{
    unsigned long long length;

    head->list_bytes += name.len + value.len + HG_HTTP2_FIELD_COST;
    head->count += name.len > 0 && name.data[0] != ':';
    if (head->list_bytes > head->limits->head || head->count > head->limits->fields ||
        head->count > HG_FIELDS_MAX)
        head->status = 431;
    if (head->status != 0)
        return HG_OK;
    if (hg_bytes_eq(name, HG_BYTES("content-type")))
        head->is_grpc = hg_grpc_is_content_type(value);
    else if (hg_bytes_eq(name, HG_BYTES("expect")))
        head->is_expecting = hg_bytes_eq_nocase(value, HG_BYTES("100-continue"));
    else if (hg_bytes_eq(name, HG_BYTES("content-length")) && hg_bytes_to_u64(value, &length))
        head->content_length = length;
    int err = hg_bytes_eq(name, HG_BYTES("cookie")) ? store_cookie(head, value)
                                                    : store(head, name, value);
    if (err == HG_ETOOBIG) {
        head->status = 431;
        err = HG_OK;
    }
    return err;
}

static bool refuse(int status, const char *text, int *out_status, const char **out_text)
{
    *out_status = status;
    *out_text = text;
    return false;
}

struct pseudo {
    struct hg_bytes method, path, authority;
};

/* The fields of the list; those of the pseudo kind go elsewhere. Returns how many. */
static size_t read_fields(struct hg_bytes list, struct pseudo *out_pseudo, struct hg_field *fields)
{
    size_t count = 0;
    while (list.len > 0) {
        uint32_t lens[2];
        memcpy(lens, list.data, sizeof(lens));
        struct hg_bytes name = hg_bytes(list.data + sizeof(lens), lens[0]);
        struct hg_bytes value = hg_bytes(name.data + name.len, lens[1]);
        size_t size = sizeof(lens) + name.len + value.len;
        list = hg_bytes(list.data + size, list.len - size);
        if (hg_bytes_eq(name, HG_BYTES(":method")))
            out_pseudo->method = value;
        else if (hg_bytes_eq(name, HG_BYTES(":path")))
            out_pseudo->path = value;
        else if (hg_bytes_eq(name, HG_BYTES(":authority")))
            out_pseudo->authority = value;
        else if (name.len > 0 && name.data[0] != ':')
            fields[count++] = (struct hg_field){name, hg_bytes_trim(value)};
    }
    return count;
}

/* As HTTP/1.1 writes it, so that one parser decides about both. */
static int write_line(struct hg_http2_head *head, const struct pseudo *pseudo,
                      struct hg_bytes *out_line)
{
    static const char version[] = " HTTP/1.1";
    size_t start = head->text.len;
    hg_buf_append_bytes(&head->text, pseudo->method);
    hg_buf_append_char(&head->text, ' ');
    hg_buf_append_bytes(&head->text, pseudo->path);
    int err = hg_buf_append(&head->text, version, sizeof(version) - 1);
    *out_line = hg_bytes(head->text.data + start, head->text.len - start);
    return err;
}

/* A client of gRPC that was given several addresses (grpcio's "ipv4:a,b") names them all. */
static bool is_authority(const struct hg_http2_head *head, struct hg_bytes authority)
{
    const char *comma;
    while (head->is_grpc && authority.len > 0 &&
           (comma = memchr(authority.data, ',', authority.len)) != NULL) {
        size_t len = (size_t)(comma - authority.data);
        if (!hg_http1_authority_is_valid(hg_bytes(authority.data, len)))
            return false;
        authority = hg_bytes(comma + 1, authority.len - len - 1);
    }
    return hg_http1_authority_is_valid(authority);
}

bool hg_http2_head_request(struct hg_http2_head *head, struct hg_bytes body,
                           struct hg_field *fields, struct hg_http1_request *out_request,
                           int *out_status, const char **out_text)
{
    struct hg_http1_request request = {0};
    struct hg_http1_facts facts = {0};
    struct hg_http1_fault fault = {503, "out of memory"};
    struct pseudo pseudo = {0};
    struct hg_bytes line;

    if (head->status != 0)
        return refuse(head->status, hg_status_text(head->status), out_status, out_text);
    size_t list_len = head->text.len, line_len = 64;
    read_fields(hg_buf_bytes(&head->text), &pseudo, fields);
    line_len += pseudo.method.len + pseudo.path.len;
    if (pseudo.method.len + pseudo.path.len > head->limits->line)
        return refuse(414, hg_status_text(414), out_status, out_text);
    if (hg_bytes_eq(pseudo.method, HG_BYTES("CONNECT")))
        return refuse(405, "method not allowed", out_status, out_text);
    /* Reserved before any span is taken: the text must not move any more. */
    if (hg_buf_reserve(&head->text, line_len) < 0)
        return refuse(fault.status, fault.text, out_status, out_text);
    size_t count = read_fields(hg_bytes(head->text.data, list_len), &pseudo, fields);
    if (write_line(head, &pseudo, &line) < 0 || !hg_http1_parse_line(line, &request, &fault))
        return refuse(fault.status, fault.text, out_status, out_text);
    if (head->cookie.data != NULL)
        fields[count++] = (struct hg_field){HG_BYTES("cookie"), hg_buf_bytes(&head->cookie)};

    for (size_t i = 0; i < count; i++)
        hg_http1_note_field(&facts, &fields[i], &request);
    struct hg_bytes host = pseudo.authority;
    if (facts.host_count > 1)
        return refuse(400, "more than one Host", out_status, out_text);
    if (host.data == NULL && facts.host_count > 0)
        host = facts.host->value;
    if (!is_authority(head, host))
        return refuse(400, "malformed :authority", out_status, out_text);
    if (facts.host_count > 0 && !hg_bytes_eq_nocase(facts.host->value, host))
        return refuse(400, "Host is not :authority", out_status, out_text);
    request.host = host;
    request.keep_alive = true;
    request.fields = fields;
    request.field_count = count;
    request.body = body;
    *out_request = request;
    return true;
}
