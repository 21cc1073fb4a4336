#include "wire/peer_message.h"

#include "base/alloc.h"
#include "base/bug.h"
#include "base/err.h"
#include "base/hash.h"
#include "hgcache.pb-c.h"
#include "wire/protobuf.h"
#include "wire/utf8.h"

void hg_peer_message_free(void *owner)
{
    hg_protobuf_free(owner);
}

/* --- requests --- */

bool hg_peer_request_is_ours(const struct hg_peer_request *request)
{
    return request->wire_version == 0 || request->wire_version == HG_WIRE_VERSION;
}

int hg_peer_request_encode(const struct hg_peer_request *request, struct hg_buf *buf)
{
    Hgcache__Cache__Request message = HGCACHE__CACHE__REQUEST__INIT;
    ProtobufCBinaryData chain[HG_CHAIN_MAX];
    if (request->chain_count > HG_CHAIN_MAX)
        return HG_ELIMIT;
    for (size_t i = 0; i < request->chain_count; i++)
        chain[i] = hg_protobuf_binary(request->chain[i]);
    message.group = hg_protobuf_binary(request->group);
    message.key = hg_protobuf_binary(request->key);
    message.deadline_ms = request->deadline_ms;
    message.origin = hg_protobuf_binary(request->origin);
    message.ring = request->ring;
    message.n_chain = request->chain_count;
    message.chain = chain;
    message.wire_version = request->wire_version;
    message.is_peek = request->is_peek;
    message.takes_over = request->takes_over;
    return hg_protobuf_pack(&message.base, buf);
}

int hg_peer_request_decode(struct hg_bytes message, struct hg_peer_request *out_request,
                           void **out_owner)
{
    ProtobufCMessage *unpacked;
    int err = hg_protobuf_unpack(message, &hgcache__cache__request__descriptor, 13, HG_CHAIN_MAX,
                                 &unpacked);
    if (err < 0)
        return err;
    const Hgcache__Cache__Request *request = (const Hgcache__Cache__Request *)unpacked;
    *out_request = (struct hg_peer_request){
        .group = hg_protobuf_span(&request->group),
        .key = hg_protobuf_span(&request->key),
        .origin = hg_protobuf_span(&request->origin),
        .deadline_ms = request->deadline_ms,
        .ring = request->ring,
        .chain_count = request->n_chain,
        .wire_version = request->wire_version,
        .is_peek = request->is_peek,
        .takes_over = request->takes_over,
    };
    for (size_t i = 0; i < request->n_chain; i++)
        out_request->chain[i] = hg_protobuf_span(&request->chain[i]);
    *out_owner = unpacked;
    return HG_OK;
}

/* --- responses --- */

/* Both strings, made valid and NUL-terminated, in one block; NULL: out of memory. */
static char *clean_strings(struct hg_bytes first, struct hg_bytes second, char **out_second)
{
    size_t size;
    if (first.len > HG_PROTOBUF_MAX || second.len > HG_PROTOBUF_MAX ||
        !hg_size_mul(first.len + second.len, 3, &size))
        return NULL;
    char *block = hg_malloc(size + 2);
    if (block == NULL)
        return NULL;
    *out_second = block + hg_utf8_clean(first, block) + 1;
    hg_utf8_clean(second, *out_second);
    return block;
}

int hg_peer_response_encode(const struct hg_peer_response *response, struct hg_buf *buf)
{
    Hgcache__Cache__Response message = HGCACHE__CACHE__RESPONSE__INIT;
    ProtobufCBinaryData tags[HG_TAGS_MAX];
    char *strings = NULL;
    if (response->tag_count > HG_TAGS_MAX)
        return HG_ELIMIT;
    if (response->error_class.len > 0 || response->error_message.len > 0) {
        strings =
            clean_strings(response->error_class, response->error_message, &message.error_message);
        if (strings == NULL)
            return HG_ENOMEM;
        message.error_class = strings;
    }
    for (size_t i = 0; i < response->tag_count; i++)
        tags[i] = hg_protobuf_binary(response->tags[i]);
    message.value = hg_protobuf_binary(response->value);
    message.minute_qps = response->minute_qps;
    message.expire = response->expire_unix_ns;
    message.status = (uint32_t)response->status;
    if (response->has_ttl) {
        message.ttl_case = HGCACHE__CACHE__RESPONSE__TTL_TTL_MS;
        message.ttl_ms = response->ttl_ms;
    }
    message.age_ms = response->age_ms;
    message.version = response->version;
    message.retry_after_ms = response->retry_after_ms;
    if (response->has_key_hash) {
        message.hashed_case = HGCACHE__CACHE__RESPONSE__HASHED_KEY_HASH;
        message.key_hash = response->key_hash;
    }
    message.type = hg_protobuf_binary(response->type);
    message.etag = hg_protobuf_binary(response->etag);
    message.meta = hg_protobuf_binary(response->meta);
    message.n_tags = response->tag_count;
    message.tags = tags;
    message.number = response->number;
    int err = hg_protobuf_pack(&message.base, buf);
    hg_free(strings);
    return err;
}

int hg_peer_response_decode(struct hg_bytes message, struct hg_peer_response *out_response,
                            void **out_owner)
{
    ProtobufCMessage *unpacked;
    int err = hg_protobuf_unpack(message, &hgcache__cache__response__descriptor, 21, HG_TAGS_MAX,
                                 &unpacked);
    if (err < 0)
        return err;
    const Hgcache__Cache__Response *response = (const Hgcache__Cache__Response *)unpacked;
    if (response->status > HG_STATUS_NO_GROUP) {
        hg_protobuf_free(unpacked);
        return HG_EPROTO;
    }
    *out_response = (struct hg_peer_response){
        .status = (enum hg_status)response->status,
        .value = hg_protobuf_span(&response->value),
        .type = hg_protobuf_span(&response->type),
        .etag = hg_protobuf_span(&response->etag),
        .meta = hg_protobuf_span(&response->meta),
        .error_class = hg_bytes_str(response->error_class),
        .error_message = hg_bytes_str(response->error_message),
        .tag_count = response->n_tags,
        .has_ttl = response->ttl_case == HGCACHE__CACHE__RESPONSE__TTL_TTL_MS,
        .has_key_hash = response->hashed_case == HGCACHE__CACHE__RESPONSE__HASHED_KEY_HASH,
        .ttl_ms = response->ttl_ms,
        .age_ms = response->age_ms,
        .version = response->version,
        .retry_after_ms = response->retry_after_ms,
        .key_hash = response->key_hash,
        .expire_unix_ns = response->expire,
        .minute_qps = response->minute_qps,
        .number = response->number,
    };
    for (size_t i = 0; i < response->n_tags; i++)
        out_response->tags[i] = hg_protobuf_span(&response->tags[i]);
    *out_owner = unpacked;
    return HG_OK;
}

void hg_peer_response_from_value(const struct hg_value *value, uint64_t ttl_ms, bool has_ttl,
                                 uint64_t age_ms, struct hg_peer_response *out_response)
{
    struct hg_bytes data = hg_value_data(value);
    struct hg_value_more more = hg_value_more(value);
    *out_response = (struct hg_peer_response){
        .status = hg_value_status(value),
        .type = hg_value_type(value),
        .etag = hg_value_etag(value),
        .meta = hg_value_meta(value),
        .tag_count = hg_bug(HG_BUG_LOSE_TAGS) ? 0 : more.tag_count,
        .has_ttl = has_ttl,
        .has_key_hash = true,
        .ttl_ms = ttl_ms,
        .age_ms = age_ms,
        .version = hg_value_version(value),
        .retry_after_ms = more.retry_after_ms,
        .key_hash = hg_xxh64(hg_value_key(value)),
    };
    if (hg_value_status(value) == HG_STATUS_ERROR) {
        out_response->error_class = hg_bytes_str(hg_class_name(hg_value_class(value)));
        out_response->error_message = data;
    } else {
        out_response->value = data;
    }
    for (size_t i = 0; i < more.tag_count; i++)
        out_response->tags[i] = hg_value_tag(value, i);
}

struct hg_value *hg_peer_response_to_value(const struct hg_peer_response *response,
                                           struct hg_bytes key)
{
    bool is_error = response->status == HG_STATUS_ERROR;
    struct hg_value_spec spec = {
        .status = response->status == HG_STATUS_NONE ? HG_STATUS_VALUE : response->status,
        .klass = is_error ? hg_class_from_name(response->error_class) : HG_CLASS_INTERNAL,
        .key = key,
        .data = is_error ? response->error_message : response->value,
        .type = response->type,
        .etag = response->etag,
        .meta = response->meta,
        .tags = response->tags,
        .tag_count = response->tag_count,
        .ttl_ms = response->ttl_ms,
        .has_ttl = response->has_ttl,
        .retry_after_ms = response->retry_after_ms,
    };
    return hg_value_create(&spec);
}
