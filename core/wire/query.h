/*
 * query - percent-encoding and query strings. Keys are bytes: decoded exactly once, after splitting; every
 * byte is allowed, NUL included; malformed escapes are HG_EPROTO. Nothing is normalised.
 */
#ifndef HG_WIRE_QUERY_H
#define HG_WIRE_QUERY_H

#include "base/buf.h"

/* Decodes into out (at least text.len bytes; may be text.data itself is not allowed). plus_is_space: query rules. */
int hg_percent_decode(struct hg_bytes text, bool plus_is_space, char *out, size_t *out_len);
/* The same into at most `capacity` bytes, however long the text: HG_ETOOBIG when it does not fit. */
int hg_percent_decode_into(struct hg_bytes text, bool plus_is_space, char *out, size_t capacity, size_t *out_len);
/* Whether the text decodes to exactly `plain`, without a buffer; false for malformed escapes. */
bool hg_percent_equals(struct hg_bytes text, bool plus_is_space, struct hg_bytes plain);
/* Every '%' is followed by two hex digits. */
bool hg_percent_is_valid(struct hg_bytes text);
/* Encodes all but unreserved characters (A-Z a-z 0-9 - . _ ~): space is %20, + is %2B, / is %2F. */
int hg_percent_encode(struct hg_buf *buf, struct hg_bytes bytes);

struct hg_query_pair {
    struct hg_bytes name, value; /* raw; value.data NULL without '=' */
};
/* Takes the next pair off *rest; false at the end. Separator is '&' only. Empty pairs are skipped. */
bool hg_query_next(struct hg_bytes *rest, struct hg_query_pair *out_pair);
/*
 * The raw value of the parameter whose decoded name is `name`: HG_OK, HG_ENOENT, HG_EINVAL when it stands twice,
 * HG_EPROTO when a name is badly encoded.
 */
int hg_query_find(struct hg_bytes query, struct hg_bytes name, struct hg_bytes *out_value);

/* Standard alphabet with padding (RFC 4648 section 4). Decoding: HG_EPROTO on anything else; out holds at least len * 3 / 4 + 3. */
int hg_base64_encode(struct hg_buf *buf, struct hg_bytes bytes);
int hg_base64_decode(struct hg_bytes text, char *out, size_t *out_len);

#endif
