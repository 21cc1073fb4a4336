/*
 * http2_head - the fields of an HTTP/2 request as they come, and then the request they are: the same struct, and the same
 * refusals, as of HTTP/1.1. nghttp2 has refused what breaks RFC 9113 already: pseudo-fields twice, late or unknown,
 * names in upper case, fields of a connection, a Content-Length that is not the body's.
 *
 * Ownership  the request's spans point into the head and the body.
 * Threads    none of its own.  Time  none.
 */
#ifndef HG_WIRE_HTTP2_HEAD_H
#define HG_WIRE_HTTP2_HEAD_H

#include "wire/http1.h"

#define HG_HTTP2_FIELD_COST 32 /* beside name and value, as RFC 9113 10.5.1 counts */

struct hg_http2_head {
    const struct hg_http1_limits *limits; /* borrowed */
    struct hg_buf text;                   /* the fields, each behind its two lengths */
    struct hg_buf cookie;                 /* cookie fields, joined again */
    size_t list_bytes;
    unsigned count;
    int status; /* why it is refused, once it is; else 0 */
    bool is_grpc, is_expecting;
    uint64_t content_length;
};

void hg_http2_head_init(struct hg_http2_head *head, const struct hg_http1_limits *limits);
void hg_http2_head_finish(struct hg_http2_head *head);
/* HG_ENOMEM. Past the limits it only notes the status. */
int hg_http2_head_add(struct hg_http2_head *head, struct hg_bytes name, struct hg_bytes value);
/*
 * The request. fields: room for HG_FIELDS_MAX, which the request borrows. False with a status and its text (static).
 */
bool hg_http2_head_request(struct hg_http2_head *head, struct hg_bytes body, struct hg_field *fields,
                           struct hg_http1_request *out_request, int *out_status, const char **out_text);

#endif
