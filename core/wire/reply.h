/*
 * reply - pieces of HTTP answers: status lines, ETag, conditional requests, Cache-Status, the v2 envelope, Go-style errors.
 * Builders write into caller memory and never allocate unless they take a buf.
 */
#ifndef HG_WIRE_REPLY_H
#define HG_WIRE_REPLY_H

#include "base/buf.h"
#include "base/value.h"

/* "HTTP/1.1 200 OK\r\n" and its length; unknown statuses get the class's text. Static for known ones. */
struct hg_bytes hg_status_line(int status);
const char *hg_status_text(int status);

/* "\"0123456789abcdef\"" (18 bytes, no NUL counted) from a value's version, or the getter's own tag quoted if it is not yet. Returns length. */
#define HG_ETAG_SPACE (HG_TYPE_MAX + 8)
size_t hg_etag_format(const struct hg_value *value, char out[HG_ETAG_SPACE]);
/* RFC 9110 13.1.2: weak comparison against a list, or "*". */
bool hg_etag_matches(struct hg_bytes if_none_match, struct hg_bytes etag);

enum hg_cache_status { HG_CS_HIT, HG_CS_STALE, HG_CS_MISS, HG_CS_COLLAPSED };
/*
 * Appends at out (at most 160 bytes + name): "NAME; hit; ttl=N", "NAME; hit; ttl=-N", "NAME; fwd=miss[; collapsed]" (RFC 9211). ttl in ms, may be
 * negative; has_ttl false leaves it out. Returns length.
 */
size_t hg_cache_status_format(struct hg_bytes node_name, enum hg_cache_status how, bool has_ttl, int64_t ttl_ms, char *out);
/* True when a name needs no quoting as an RFC 8941 token; otherwise it is sent as a quoted string. */

/* {"data":"..."}: JSON string escaping; bytes that are not UTF-8 become U+FFFD. */
int hg_envelope_data(struct hg_buf *buf, struct hg_bytes data);
/* {"code":100004,"message":"Page not found"} and its kin for an HTTP status. */
int hg_envelope_error(struct hg_buf *buf, int http_status);
/* A JSON string with quotes, as above. */
int hg_json_string(struct hg_buf *buf, struct hg_bytes text);
/* A member of an object: "name":"text", or "name64":"base64" where the bytes are not UTF-8. */
int hg_json_bytes(struct hg_buf *buf, const char *name, struct hg_bytes bytes);

/* A header name or value that can be sent: a token; no control characters but the tab (E16). */
bool hg_field_name_is_valid(struct hg_bytes name);
bool hg_field_value_is_valid(struct hg_bytes value);
/* Appends "Name: value\r\n"; HG_EINVAL when either cannot be sent. */
int hg_field_append(struct hg_buf *buf, struct hg_bytes name, struct hg_bytes value);

/* IMF-fixdate of unix seconds, 29 bytes + NUL. */
void hg_http_date(int64_t unix_s, char out[30]);

#endif
