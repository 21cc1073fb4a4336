#include "base/value.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/hash.h"

static_assert(HG_TAGS_MAX * (HG_TAG_MAX + 1) <= UINT16_MAX, "tags_len holds all tags");
static_assert(HG_TYPE_MAX <= UINT16_MAX && HG_META_MAX <= UINT16_MAX, "lengths fit");

#define X(name, text, http) {text, http},
static const struct {
    const char *name;
    int http_status;
} classes[] = {HG_CLASSES(X)};
#undef X

const char *hg_class_name(enum hg_class klass)
{
    return classes[(size_t)klass < HG_COUNT(classes) ? klass : HG_CLASS_INTERNAL].name;
}

int hg_class_http_status(enum hg_class klass)
{
    return classes[(size_t)klass < HG_COUNT(classes) ? klass : HG_CLASS_INTERNAL].http_status;
}

enum hg_class hg_class_from_name(struct hg_bytes name)
{
    for (size_t i = 0; i < HG_COUNT(classes); i++) {
        if (hg_bytes_eq(name, hg_bytes_str(classes[i].name)))
            return (enum hg_class)i;
    }
    return HG_CLASS_INTERNAL;
}

/* Bytes of the tags as stored; false when a limit is passed. */
static bool tags_measure(const struct hg_value_spec *spec, size_t *out_len)
{
    size_t len = 0;
    if (spec->tag_count > HG_TAGS_MAX)
        return false;
    for (size_t i = 0; i < spec->tag_count; i++) {
        if (spec->tags[i].len > HG_TAG_MAX)
            return false;
        len += 1 + spec->tags[i].len;
    }
    *out_len = len;
    return true;
}

static size_t size_with(size_t payload_bytes)
{
    size_t size = offsetof(struct hg_value, bytes) + payload_bytes;
    return size < sizeof(struct hg_value) ? sizeof(struct hg_value) : size;
}

static char *append(char *at, struct hg_bytes bytes)
{
    if (bytes.len > 0)
        memcpy(at, bytes.data, bytes.len);
    return at + bytes.len;
}

struct hg_value *hg_value_create(const struct hg_value_spec *spec)
{
    size_t tags_len;
    if (spec->key.len > UINT16_MAX || spec->type.len > HG_TYPE_MAX ||
        spec->etag.len > HG_TYPE_MAX || spec->meta.len > HG_META_MAX ||
        spec->data.len > UINT32_MAX || !tags_measure(spec, &tags_len))
        return NULL;

    /* No overflow: the sum of the maxima is far from 2^63. */
    struct hg_value *value = hg_malloc(size_with(spec->key.len + spec->type.len + spec->etag.len +
                                                 spec->meta.len + tags_len + spec->data.len));
    if (value == NULL)
        return NULL;
    *value = (struct hg_value){
        .expires_ms = HG_FOREVER,
        .status = (uint8_t)spec->status,
        .klass = (uint8_t)spec->klass,
        .uncacheable = spec->uncacheable,
        .key_len = (uint16_t)spec->key.len,
        .type_len = (uint16_t)spec->type.len,
        .etag_len = (uint16_t)spec->etag.len,
        .meta_len = (uint16_t)spec->meta.len,
        .tag_count = (uint16_t)spec->tag_count,
        .tags_len = (uint16_t)tags_len,
        .data_len = (uint32_t)spec->data.len,
        .hash = spec->hash != 0 ? spec->hash : hg_hash(spec->key),
        .version = hg_xxh64(spec->data),
        .ttl_ms = spec->ttl_ms,
        .stale_while_revalidate_ms = spec->stale_while_revalidate_ms,
        .stale_if_error_ms = spec->stale_if_error_ms,
        .retry_after_ms = spec->retry_after_ms,
        .has_ttl = spec->has_ttl,
        .has_swr = spec->has_swr,
        .has_sie = spec->has_sie,
    };
    atomic_init(&value->refs, 1);
    hg_list_init(&value->order);

    char *at = value->bytes;
    at = append(at, spec->key);
    at = append(at, spec->type);
    at = append(at, spec->etag);
    at = append(at, spec->meta);
    for (size_t i = 0; i < spec->tag_count; i++) {
        *at++ = (char)(unsigned char)spec->tags[i].len;
        at = append(at, spec->tags[i]);
    }
    append(at, spec->data);
    return value;
}

void hg_value_spec_from(const struct hg_value *value, struct hg_value_spec *out_spec,
                        struct hg_bytes tags[HG_TAGS_MAX])
{
    for (size_t i = 0; i < value->tag_count; i++)
        tags[i] = hg_value_tag(value, i);
    *out_spec = (struct hg_value_spec){
        .status = (enum hg_status)value->status,
        .klass = (enum hg_class)value->klass,
        .key = hg_value_key(value),
        .data = hg_value_data(value),
        .type = hg_value_type(value),
        .etag = hg_value_etag(value),
        .meta = hg_value_meta(value),
        .tags = tags,
        .tag_count = value->tag_count,
        .hash = value->hash,
        .ttl_ms = value->ttl_ms,
        .stale_while_revalidate_ms = value->stale_while_revalidate_ms,
        .stale_if_error_ms = value->stale_if_error_ms,
        .retry_after_ms = value->retry_after_ms,
        .has_ttl = value->has_ttl,
        .has_swr = value->has_swr,
        .has_sie = value->has_sie,
        .uncacheable = value->uncacheable,
    };
}

struct hg_value *hg_value_ref(struct hg_value *value)
{
    if (value == NULL)
        return NULL;
    assert(!value->is_private_copy);
    unsigned before = atomic_fetch_add_explicit(&value->refs, 1, memory_order_relaxed);
    assert(before > 0);
    (void)before;
    return value;
}

void hg_value_unref(struct hg_value *value)
{
    if (value == NULL)
        return;
    assert(!value->is_private_copy);
    /* Release our reads and writes to whoever frees; acquire everybody's before freeing. */
    unsigned before = atomic_fetch_sub_explicit(&value->refs, 1, memory_order_acq_rel);
    assert(before > 0);
    if (before == 1)
        hg_free(value);
}

size_t hg_value_size(const struct hg_value *value)
{
    return size_with((size_t)value->key_len + value->type_len + value->etag_len + value->meta_len +
                     value->tags_len + value->data_len);
}

struct hg_bytes hg_value_key(const struct hg_value *value)
{
    return hg_bytes(value->bytes, value->key_len);
}

struct hg_bytes hg_value_type(const struct hg_value *value)
{
    return hg_bytes(value->bytes + value->key_len, value->type_len);
}

struct hg_bytes hg_value_etag(const struct hg_value *value)
{
    return hg_bytes(value->bytes + value->key_len + value->type_len, value->etag_len);
}

struct hg_bytes hg_value_meta(const struct hg_value *value)
{
    return hg_bytes(value->bytes + value->key_len + value->type_len + value->etag_len,
                    value->meta_len);
}

static const char *tags_of(const struct hg_value *value)
{
    return value->bytes + value->key_len + value->type_len + value->etag_len + value->meta_len;
}

struct hg_bytes hg_value_data(const struct hg_value *value)
{
    return hg_bytes(tags_of(value) + value->tags_len, value->data_len);
}

struct hg_bytes hg_value_tag(const struct hg_value *value, size_t index)
{
    assert(index < value->tag_count);
    const char *at = tags_of(value);
    while (index-- > 0)
        at += 1 + (unsigned char)*at;
    return hg_bytes(at + 1, (unsigned char)*at);
}

bool hg_value_has_tag(const struct hg_value *value, struct hg_bytes tag)
{
    const char *at = tags_of(value);
    for (size_t i = 0; i < value->tag_count; i++) {
        size_t len = (unsigned char)*at;
        if (hg_bytes_eq(hg_bytes(at + 1, len), tag))
            return true;
        at += 1 + len;
    }
    return false;
}

/*
 * The counter is left out of the copy: other threads may be writing it, and it means nothing here.
 */
static void copy_into(struct hg_value *copy, const struct hg_value *value, size_t size)
{
    size_t behind = offsetof(struct hg_value, refs) + sizeof(value->refs);
    memcpy(copy, value, offsetof(struct hg_value, refs));
    memcpy((char *)copy + behind, (const char *)value + behind, size - behind);
    atomic_init(&copy->refs, 1);
    copy->is_private_copy = true;
    copy->chain = NULL;
    copy->stored = false;
    hg_list_init(&copy->order);
}

void hg_hold_set(struct hg_hold *hold, struct hg_value *value)
{
    size_t size = hg_value_size(value);
    if (value->data_len <= HG_SMALL_MAX && size <= sizeof(hold->space)) {
        hold->value = (struct hg_value *)(void *)hold->space;
        copy_into(hold->value, value, size);
    } else {
        hold->value = hg_value_ref(value);
    }
}

void hg_hold_take(struct hg_hold *hold, struct hg_value *value)
{
    hold->value = value;
}

void hg_hold_release(struct hg_hold *hold)
{
    if (hold->value != NULL && !hold->value->is_private_copy)
        hg_value_unref(hold->value);
    hold->value = NULL;
}
