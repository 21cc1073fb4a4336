/*
 * template - key templates "{path.id}:{query.lang|en}" compiled once, expanded per request without Lua.
 *
 * Parts: literal text, {query.x}, {path.x}, {header.x}, each with an optional "|default". "{{" and "}}" are braces.
 * A missing or empty part without default is an error (HG_ENOENT, the name is told); a query parameter given twice
 * HG_EINVAL; bad percent-encoding HG_EPROTO. Path and query parts are percent-decoded once, '+' is a space in queries.
 */
#ifndef HG_WIRE_TEMPLATE_H
#define HG_WIRE_TEMPLATE_H

#include "wire/http1.h"

struct hg_template;

struct hg_path_params { /* what a route's pattern captured: raw, still encoded */
    struct hg_bytes names[16], values[16];
    size_t count;
};

/* HG_EINVAL with a message that says what was expected and found. */
int hg_template_create(struct hg_bytes text, struct hg_template **out_template, char *error, size_t error_size);
void hg_template_destroy(struct hg_template *tmpl);
/* Every {path.x} must be among these names (checked at configuration). NULL or the first that is not. */
const char *hg_template_unknown_path(const struct hg_template *tmpl, const struct hg_bytes *names, size_t count);
/*
 * Expands into out (capacity bytes): HG_ETOOBIG when it does not fit. On HG_ENOENT, HG_EINVAL, HG_EPROTO
 * *out_part is the part at fault ("query.key"), static with the template.
 */
int hg_template_expand(const struct hg_template *tmpl, const struct hg_http1_request *request,
                       const struct hg_path_params *params, char *out, size_t capacity, size_t *out_len,
                       const char **out_part);

#endif
