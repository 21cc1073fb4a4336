/*
 * route - "METHOD /pattern" to target: immutable table, the most specific pattern wins.
 *
 * A pattern is literal segments, ":name" (one non-empty segment) and a last "*rest" (the remainder, may be empty).
 * Literal beats ":name" beats "*rest", segment by segment from the left. Literal segments are compared after
 * percent-decoding the request's segment once. HEAD matches GET where it has no route of its own.
 */
#ifndef HG_WIRE_ROUTE_H
#define HG_WIRE_ROUTE_H

#include "wire/template.h"

struct hg_routes;

int hg_routes_create(struct hg_routes **out_routes);
void hg_routes_destroy(struct hg_routes *routes);
/* target is the caller's. HG_EINVAL with a message: bad method, pattern not beginning with '/', double name, twice the same route. */
int hg_routes_add(struct hg_routes *routes, struct hg_bytes method_and_pattern, void *target, char *error, size_t error_size);
/* Names that a pattern captures, for hg_template_unknown_path. Returns the count (at most 16). */
size_t hg_route_param_names(struct hg_bytes method_and_pattern, struct hg_bytes names[16]);

struct hg_route_match {
    void *target;             /* NULL: none for this method */
    struct hg_path_params params;
    /* Bit per enum hg_method with a route for this path; 0 = no such path. Complete where target is NULL. */
    unsigned allowed_methods;
};
/* HG_OK (see match), HG_EPROTO: badly percent-encoded path. */
int hg_routes_match(const struct hg_routes *routes, enum hg_method method, struct hg_bytes raw_path, struct hg_route_match *out_match);
/* "GET, HEAD" for Allow; GET implies HEAD, and OPTIONS is always there. Returns buf. */
char *hg_methods_format(unsigned methods, char *buf, size_t size);

#endif
