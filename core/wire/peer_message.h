/*
 * peer_message - what nodes say to each other: protobuf Request and Response (proto/hgcache.proto), the path of a
 * peer request, and the Hgcache-Request header. Foreign bytes: every length and count has a maximum; a message is whole or an error (HG_EPROTO), never partial.
 * Repeated fields past their maximum are HG_ELIMIT; more than 1,024 fields in all, or a status of none of ours, HG_EPROTO. Error texts are sent as
 * valid UTF-8 without NUL (wire/utf8.h): Go refuses a message whose strings are not.
 */
#ifndef HG_WIRE_PEER_MESSAGE_H
#define HG_WIRE_PEER_MESSAGE_H

#include "base/buf.h"
#include "base/value.h"

/*
 * Goes up only where a node that knows the old one would take the new one for something else: new fields alone, which others pass
 * over, do not change it. So a node refuses every other one (FAULTS A18).
 */
#define HG_WIRE_VERSION 1
#define HG_CHAIN_MAX    8

struct hg_peer_request {
    struct hg_bytes group, key, origin; /* empty when absent */
    uint64_t deadline_ms;               /* remaining; 0 = none told */
    uint64_t ring;                      /* fingerprint; 0 = none told */
    struct hg_bytes chain[HG_CHAIN_MAX];
    size_t chain_count;
    uint32_t wire_version; /* 0 = none told (a Go node, a client) */
    bool is_peek, takes_over;
};

/* Of our version, or of none. */
bool hg_peer_request_is_ours(const struct hg_peer_request *request);
/* Appends the encoded message. */
int hg_peer_request_encode(const struct hg_peer_request *request, struct hg_buf *buf);
/* Spans point into *out_owner, which the caller frees with hg_peer_message_free. HG_ELIMIT: too long a chain. */
int hg_peer_request_decode(struct hg_bytes message, struct hg_peer_request *out_request, void **out_owner);

struct hg_peer_response {
    enum hg_status status; /* HG_STATUS_NONE: the sender does not know it (a Go node) */
    struct hg_bytes value, type, etag, meta;
    struct hg_bytes error_class, error_message;
    struct hg_bytes tags[HG_TAGS_MAX];
    size_t tag_count;
    bool has_ttl, has_key_hash;
    uint64_t ttl_ms, age_ms, version, retry_after_ms, key_hash; /* ttl_ms HG_FOREVER = without end */
    int64_t expire_unix_ns; /* groupcache-go's, 0 = none */
    double minute_qps;
    uint32_t number; /* in a message of many keys (peer_many.h); else 0 */
};

int hg_peer_response_encode(const struct hg_peer_response *response, struct hg_buf *buf);
int hg_peer_response_decode(struct hg_bytes message, struct hg_peer_response *out_response, void **out_owner);
void hg_peer_message_free(void *owner); /* NULL is fine */

/* Response from a stored or fresh result (value may be of any status). Spans borrow from `value` and `key`. */
void hg_peer_response_from_value(const struct hg_value *value, uint64_t ttl_ms, bool has_ttl, uint64_t age_ms,
                                 struct hg_peer_response *out_response);
/* The other way: a new value for `key`. NULL: out of memory or parts over their maxima. */
struct hg_value *hg_peer_response_to_value(const struct hg_peer_response *response, struct hg_bytes key);

/* "<base_path><group>/<key>", both percent-encoded. base_path begins and ends with '/'. */
int hg_peer_path_encode(struct hg_buf *buf, struct hg_bytes base_path, struct hg_bytes group, struct hg_bytes key);
/*
 * The raw path behind the base path into group and key (decoded, '+' is a space, as Go's QueryEscape means it). A key's "%2F" and a plain
 * further '/' both belong to the key. out needs path.len bytes. HG_EPROTO: no '/', empty group, bad escape.
 */
int hg_peer_path_decode(struct hg_bytes rest, char *out, struct hg_bytes *out_group, struct hg_bytes *out_key);

#endif
