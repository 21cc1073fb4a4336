/* What can be done with a request that has been parsed. */
#include "base/alloc.h"
#include "wire/http1.h"

struct hg_bytes hg_http1_field(const struct hg_http1_request *request, const char *name)
{
    struct hg_bytes wanted = hg_bytes_str(name);
    for (size_t i = 0; i < request->field_count; i++) {
        if (hg_bytes_eq_nocase(request->fields[i].name, wanted))
            return request->fields[i].value;
    }
    return HG_BYTES_NONE;
}

/* Every span but those of the fields. */
#define SPANS(X)                                                                                   \
    X(target)                                                                                      \
    X(path) X(query) X(host) X(body) X(if_none_match) X(origin) X(authorization) X(peer_request)

static struct hg_bytes copy_span(char **at, struct hg_bytes span)
{
    if (span.data == NULL)
        return HG_BYTES_NONE;
    struct hg_bytes copy = hg_bytes(*at, span.len);
    if (span.len > 0)
        memcpy(*at, span.data, span.len);
    *at += span.len;
    return copy;
}

struct hg_http1_request *hg_http1_request_copy(const struct hg_http1_request *request)
{
    size_t count = request->field_count, fields_size, size;
    if (!hg_size_mul(count, sizeof(struct hg_field), &fields_size) ||
        !hg_size_add(sizeof(*request), fields_size, &size))
        return NULL;
#define X(span)                                                                                    \
    if (!hg_size_add(size, request->span.len, &size))                                              \
        return NULL;
    SPANS(X)
#undef X
    for (size_t i = 0; i < count; i++) {
        const struct hg_field *field = &request->fields[i];
        if (!hg_size_add(size, field->name.len, &size) ||
            !hg_size_add(size, field->value.len, &size))
            return NULL;
    }

    struct hg_http1_request *copy = hg_malloc(size);
    if (copy == NULL)
        return NULL;
    *copy = *request;
    struct hg_field *fields = (struct hg_field *)(copy + 1);
    char *at = (char *)(fields + count);
#define X(span) copy->span = copy_span(&at, request->span);
    SPANS(X)
#undef X
    for (size_t i = 0; i < count; i++) {
        fields[i].name = copy_span(&at, request->fields[i].name);
        fields[i].value = copy_span(&at, request->fields[i].value);
    }
    copy->fields = fields;
    return copy;
}
