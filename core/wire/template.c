#include "wire/template.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/err.h"
#include "wire/query.h"

#define PARTS_MAX 32
#define TEXT_MAX  4096

enum source { LITERAL, FROM_QUERY, FROM_PATH, FROM_HEADER };

struct part {
    enum source source;
    struct hg_bytes name;    /* of a literal: its text */
    const char *name_text;   /* NUL-terminated name */
    const char *full_name;   /* "query.key" */
    struct hg_bytes standby; /* the default; data NULL without one */
};

struct hg_template {
    size_t count;
    struct part parts[PARTS_MAX];
    char *at;    /* free space in text */
    char text[]; /* every name and literal; at most 3 bytes for each of the source */
};

static const struct {
    const char *prefix;
    enum source source;
} prefixes[] = {{"query.", FROM_QUERY}, {"path.", FROM_PATH}, {"header.", FROM_HEADER}};

static int refuse(char *error, size_t error_size, const char *format, struct hg_bytes found)
{
    char shown[80];
    if (error_size > 0)
        snprintf(error, error_size, format, hg_bytes_escape(found, shown, sizeof(shown)));
    return HG_EINVAL;
}

/* A NUL-terminated copy in the template's own text. */
static struct hg_bytes keep(struct hg_template *tmpl, struct hg_bytes bytes)
{
    struct hg_bytes kept = hg_bytes(tmpl->at, bytes.len);
    if (bytes.len > 0)
        memcpy(tmpl->at, bytes.data, bytes.len);
    tmpl->at[bytes.len] = '\0';
    tmpl->at += bytes.len + 1;
    return kept;
}

static struct part *add_part(struct hg_template *tmpl)
{
    return tmpl->count < PARTS_MAX ? &tmpl->parts[tmpl->count++] : NULL;
}

/* What stands between the braces. */
static int add_reference(struct hg_template *tmpl, struct hg_bytes inside, char *error,
                         size_t error_size)
{
    const char *bar = inside.len == 0 ? NULL : memchr(inside.data, '|', inside.len);
    struct hg_bytes full =
        hg_bytes(inside.data, bar == NULL ? inside.len : (size_t)(bar - inside.data));
    struct part part = {0};
    for (size_t i = 0; i < HG_COUNT(prefixes); i++) {
        struct hg_bytes prefix = hg_bytes_str(prefixes[i].prefix);
        if (hg_bytes_has_prefix(full, prefix) && full.len > prefix.len) {
            part.source = prefixes[i].source;
            part.full_name = keep(tmpl, full).data;
            part.name_text = part.full_name + prefix.len;
            part.name = hg_bytes(part.name_text, full.len - prefix.len);
        }
    }
    if (part.source == LITERAL)
        return refuse(error, error_size, "expected {query.x}, {path.x} or {header.x}, found {%s}",
                      inside);
    if (memchr(part.name.data, '{', part.name.len) != NULL ||
        memchr(part.name.data, '\0', part.name.len) != NULL)
        return refuse(error, error_size, "expected a name, found %s", full);
    if (bar != NULL)
        part.standby = keep(tmpl, hg_bytes(bar + 1, (size_t)(inside.data + inside.len - bar - 1)));
    struct part *slot = add_part(tmpl);
    if (slot == NULL)
        return refuse(error, error_size, "key template has too many parts at {%s}", inside);
    *slot = part;
    return HG_OK;
}

static int compile(struct hg_template *tmpl, struct hg_bytes text, char *error, size_t error_size)
{
    const char *at = text.data, *end = at + text.len;
    while (at < end) {
        if (*at == '{' && (end - at < 2 || at[1] != '{')) {
            const char *close = memchr(at, '}', (size_t)(end - at));
            if (close == NULL)
                return refuse(error, error_size, "expected } to close %s",
                              hg_bytes(at, (size_t)(end - at)));
            int err =
                add_reference(tmpl, hg_bytes(at + 1, (size_t)(close - at - 1)), error, error_size);
            if (err < 0)
                return err;
            at = close + 1;
            continue;
        }
        /* Literal text up to the next reference; doubled braces are single ones. */
        struct part *part = add_part(tmpl);
        if (part == NULL)
            return refuse(error, error_size, "key template has too many parts at %s",
                          hg_bytes(at, (size_t)(end - at)));
        char *begin = tmpl->at;
        while (at < end && (*at != '{' || (end - at >= 2 && at[1] == '{'))) {
            if (*at == '{' || *at == '}') {
                if (end - at < 2 || at[1] != *at)
                    return refuse(error, error_size, "expected }} for a brace, found %s",
                                  hg_bytes(at, (size_t)(end - at)));
                at++;
            }
            *tmpl->at++ = *at++;
        }
        *part =
            (struct part){.source = LITERAL, .name = hg_bytes(begin, (size_t)(tmpl->at - begin))};
        *tmpl->at++ = '\0';
    }
    return HG_OK;
}

int hg_template_create(struct hg_bytes text, struct hg_template **out_template, char *error,
                       size_t error_size)
{
    if (text.len == 0 || text.len > TEXT_MAX)
        return refuse(error, error_size, "key template is empty or too long: \"%s\"",
                      hg_bytes(text.data, text.len > 40 ? 40 : text.len));
    struct hg_template *tmpl = hg_malloc(sizeof(*tmpl) + 3 * text.len + 3);
    if (tmpl == NULL)
        return HG_ENOMEM;
    tmpl->count = 0;
    tmpl->at = tmpl->text;
    int err = compile(tmpl, text, error, error_size);
    if (err < 0) {
        hg_free(tmpl);
        return err;
    }
    *out_template = tmpl;
    return HG_OK;
}

void hg_template_destroy(struct hg_template *tmpl)
{
    hg_free(tmpl);
}

const char *hg_template_unknown_path(const struct hg_template *tmpl, const struct hg_bytes *names,
                                     size_t count)
{
    for (size_t i = 0; i < tmpl->count; i++) {
        const struct part *part = &tmpl->parts[i];
        if (part->source != FROM_PATH)
            continue;
        bool is_known = false;
        for (size_t k = 0; k < count && !is_known; k++)
            is_known = hg_bytes_eq(part->name, names[k]);
        if (!is_known)
            return part->name_text;
    }
    return NULL;
}

/* The raw text of a part; data NULL where there is none. */
static int find_raw(const struct part *part, const struct hg_http1_request *request,
                    const struct hg_path_params *params, struct hg_bytes *out_raw)
{
    *out_raw = HG_BYTES_NONE;
    if (part->source == FROM_QUERY) {
        int err = hg_query_find(request->query, part->name, out_raw);
        return err == HG_ENOENT ? HG_OK : err;
    }
    if (part->source == FROM_HEADER) {
        *out_raw = hg_http1_field(request, part->name_text);
        return HG_OK;
    }
    for (size_t i = 0; params != NULL && i < params->count; i++) {
        if (hg_bytes_eq(params->names[i], part->name))
            *out_raw = params->values[i];
    }
    return HG_OK;
}

static int copy_plain(struct hg_bytes bytes, char *out, size_t capacity, size_t *out_len)
{
    if (bytes.len > capacity)
        return HG_ETOOBIG;
    if (bytes.len > 0)
        memcpy(out, bytes.data, bytes.len);
    *out_len = bytes.len;
    return HG_OK;
}

static int expand_part(const struct part *part, const struct hg_http1_request *request,
                       const struct hg_path_params *params, char *out, size_t capacity,
                       size_t *out_len)
{
    struct hg_bytes raw;
    int err = find_raw(part, request, params, &raw);
    if (err < 0)
        return err;
    if (raw.len == 0) {
        if (part->standby.data == NULL)
            return HG_ENOENT;
        return copy_plain(part->standby, out, capacity, out_len);
    }
    if (part->source == FROM_HEADER)
        return copy_plain(raw, out, capacity, out_len);
    return hg_percent_decode_into(raw, part->source == FROM_QUERY, out, capacity, out_len);
}

int hg_template_expand(const struct hg_template *tmpl, const struct hg_http1_request *request,
                       const struct hg_path_params *params, char *out, size_t capacity,
                       size_t *out_len, const char **out_part)
{
    size_t len = 0, more = 0;
    for (size_t i = 0; i < tmpl->count; i++) {
        const struct part *part = &tmpl->parts[i];
        int err = part->source == LITERAL
                      ? copy_plain(part->name, out + len, capacity - len, &more)
                      : expand_part(part, request, params, out + len, capacity - len, &more);
        if (err < 0) {
            if (err != HG_ETOOBIG)
                *out_part = part->full_name;
            return err;
        }
        len += more;
    }
    *out_len = len;
    return HG_OK;
}
