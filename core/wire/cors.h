/*
 * cors - cross-origin answers without Lua. Exact origins are echoed with "Vary: Origin" always; "*" is literal, without Vary;
 * "*" is sent on every answer, with or without Origin, so that shared caches stay right; it stands alone in the list.
 * "*" with credentials is a configuration error; an origin that is not listed gets no CORS field (but Vary stays). "null" is only matched if listed.
 * Source: Fetch standard, "CORS protocol".
 */
#ifndef HG_WIRE_CORS_H
#define HG_WIRE_CORS_H

#include "wire/http1.h"

struct hg_cors_config {
    const struct hg_bytes *origins, *methods, *headers, *expose;
    size_t origin_count, method_count, header_count, expose_count;
    bool credentials;
    bool by_function; /* no origins: somebody else decides who may, for each answer */
    uint64_t max_age_s;
};

struct hg_cors;
int hg_cors_create(const struct hg_cors_config *config, struct hg_cors **out_cors, char *error, size_t error_size);
void hg_cors_destroy(struct hg_cors *cors);
/* Whether it is to be asked of somebody if this request's origin may. NULL: no. */
bool hg_cors_is_asking(const struct hg_cors *cors, const struct hg_http1_request *request);
/* Whether this is a preflight: OPTIONS with Origin and Access-Control-Request-Method. */
bool hg_cors_is_preflight(const struct hg_http1_request *request);
/*
 * Appends header lines ("Name: value\r\n") for an actual answer. cors may be NULL: nothing. is_approved: what was said where it was
 * asking; else of no meaning.
 */
int hg_cors_answer(const struct hg_cors *cors, const struct hg_http1_request *request, bool is_approved,
                   struct hg_buf *headers);
/* The same for a preflight, whose status is 204. */
int hg_cors_preflight(const struct hg_cors *cors, const struct hg_http1_request *request, bool is_approved,
                      struct hg_buf *headers);

#endif
