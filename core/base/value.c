#include "base/value.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/hash.h"

#define MORE_FROM                                                                                  \
    256 /* data of so many bytes always comes with `more`, so that windows can be filled in */

static_assert(offsetof(struct hg_value, bytes) == 64, "one cache line, and the key behind it");
static_assert(sizeof(struct hg_value_more) == 40, "packed well");
static_assert(HG_TAGS_MAX * (HG_TAG_MAX + 1) <= UINT16_MAX, "tags_len holds all tags");
static_assert(HG_TAGS_MAX <= UINT8_MAX, "tag_count holds them");
static_assert(HG_TYPE_MAX <= UINT8_MAX && HG_META_MAX <= UINT16_MAX, "lengths fit");
static_assert(HG_STATUS_NO_GROUP < 8 && HG_CLASS_TOO_LARGE < 8 && HG_TIER_COUNT <= 4,
              "bits suffice");

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

static char *append(char *at, struct hg_bytes bytes)
{
    if (bytes.len > 0)
        memcpy(at, bytes.data, bytes.len);
    return at + bytes.len;
}

static size_t version_len(size_t data_len)
{
    return data_len > HG_VERSION_INLINE ? sizeof(uint64_t) : 0;
}

static bool needs_more(const struct hg_value_spec *spec)
{
    bool has_text = spec->type.len + spec->etag.len + spec->meta.len + spec->tag_count > 0;
    bool has_flag = spec->has_ttl || spec->has_swr || spec->has_sie || spec->uncacheable;
    uint64_t times_ms = spec->ttl_ms | spec->stale_while_revalidate_ms | spec->stale_if_error_ms |
                        spec->retry_after_ms;
    return has_text || has_flag || times_ms != 0 || spec->data.len >= MORE_FROM;
}

struct hg_value *hg_value_create(const struct hg_value_spec *spec)
{
    size_t tags_len;
    if (spec->key.len > UINT16_MAX || spec->type.len > HG_TYPE_MAX ||
        spec->etag.len > HG_TYPE_MAX || spec->meta.len > HG_META_MAX ||
        spec->data.len > UINT32_MAX || !tags_measure(spec, &tags_len))
        return NULL;

    bool has_more = needs_more(spec);
    size_t more_len = has_more ? sizeof(struct hg_value_more) : 0;
    /* No overflow: the sum of the maxima is far from 2^63. */
    struct hg_value *value =
        hg_malloc(sizeof(struct hg_value) + spec->key.len + version_len(spec->data.len) + more_len +
                  spec->type.len + spec->etag.len + spec->meta.len + tags_len + spec->data.len);
    if (value == NULL)
        return NULL;
    *value = (struct hg_value){
        .expires_ms = HG_FOREVER,
        .status = (uint8_t)spec->status,
        .klass = (uint8_t)spec->klass,
        .has_more = has_more,
        .key_len = (uint16_t)spec->key.len,
        .data_len = (uint32_t)spec->data.len,
        .hash = spec->hash != 0 ? spec->hash : hg_hash(spec->key),
    };
    atomic_init(&value->refs, 1);
    hg_list_init(&value->order);

    struct hg_value_more more = {
        .ttl_ms = spec->ttl_ms,
        .stale_while_revalidate_ms = spec->stale_while_revalidate_ms,
        .stale_if_error_ms = spec->stale_if_error_ms,
        .retry_after_ms = spec->retry_after_ms,
        .meta_len = (uint16_t)spec->meta.len,
        .tags_len = (uint16_t)tags_len,
        .type_len = (uint8_t)spec->type.len,
        .etag_len = (uint8_t)spec->etag.len,
        .tag_count = (uint8_t)spec->tag_count,
        .has_ttl = spec->has_ttl,
        .has_swr = spec->has_swr,
        .has_sie = spec->has_sie,
        .uncacheable = spec->uncacheable,
    };
    char *at = append(value->bytes, spec->key);
    if (version_len(spec->data.len) > 0) {
        uint64_t version = hg_xxh64(spec->data);
        at = append(at, hg_bytes(&version, sizeof(version)));
    }
    at = append(at, hg_bytes(&more, more_len));
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
    struct hg_value_more more = hg_value_more(value);
    for (size_t i = 0; i < more.tag_count; i++)
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
        .tag_count = more.tag_count,
        .hash = value->hash,
        .ttl_ms = more.ttl_ms,
        .stale_while_revalidate_ms = more.stale_while_revalidate_ms,
        .stale_if_error_ms = more.stale_if_error_ms,
        .retry_after_ms = more.retry_after_ms,
        .has_ttl = more.has_ttl,
        .has_swr = more.has_swr,
        .has_sie = more.has_sie,
        .uncacheable = more.uncacheable,
    };
}

bool hg_value_set_windows(struct hg_value *value, uint64_t stale_while_revalidate_ms,
                          uint64_t stale_if_error_ms)
{
    if (!value->has_more)
        return stale_while_revalidate_ms == 0 && stale_if_error_ms == 0;
    struct hg_value_more more = hg_value_more(value);
    more.stale_while_revalidate_ms = stale_while_revalidate_ms;
    more.stale_if_error_ms = stale_if_error_ms;
    memcpy(value->bytes + value->key_len + version_len(value->data_len), &more, sizeof(more));
    return true;
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

/* Where a part begins, counted from bytes. */
struct parts {
    size_t type, etag, meta, tags, data;
};

static struct parts parts_of(const struct hg_value *value)
{
    struct hg_value_more more = hg_value_more(value);
    struct parts at;
    at.type = value->key_len + version_len(value->data_len) + (value->has_more ? sizeof(more) : 0);
    at.etag = at.type + more.type_len;
    at.meta = at.etag + more.etag_len;
    at.tags = at.meta + more.meta_len;
    at.data = at.tags + more.tags_len;
    return at;
}

static struct hg_bytes part(const struct hg_value *value, size_t begin, size_t end)
{
    return hg_bytes(value->bytes + begin, end - begin);
}

size_t hg_value_size(const struct hg_value *value)
{
    return sizeof(*value) + parts_of(value).data + value->data_len;
}

struct hg_bytes hg_value_key(const struct hg_value *value)
{
    return hg_bytes(value->bytes, value->key_len);
}

struct hg_bytes hg_value_type(const struct hg_value *value)
{
    struct parts at = parts_of(value);
    return part(value, at.type, at.etag);
}

struct hg_bytes hg_value_etag(const struct hg_value *value)
{
    struct parts at = parts_of(value);
    return part(value, at.etag, at.meta);
}

struct hg_bytes hg_value_meta(const struct hg_value *value)
{
    struct parts at = parts_of(value);
    return part(value, at.meta, at.tags);
}

struct hg_bytes hg_value_data(const struct hg_value *value)
{
    return hg_bytes(value->bytes + parts_of(value).data, value->data_len);
}

uint64_t hg_value_version(const struct hg_value *value)
{
    uint64_t version;
    if (version_len(value->data_len) == 0)
        return hg_xxh64(hg_value_data(value));
    memcpy(&version, value->bytes + value->key_len, sizeof(version));
    return version;
}

struct hg_bytes hg_value_tag(const struct hg_value *value, size_t index)
{
    assert(index < hg_value_more(value).tag_count);
    const char *at = value->bytes + parts_of(value).tags;
    while (index-- > 0)
        at += 1 + (unsigned char)*at;
    return hg_bytes(at + 1, (unsigned char)*at);
}

bool hg_value_has_tag(const struct hg_value *value, struct hg_bytes tag)
{
    const char *at = value->bytes + parts_of(value).tags;
    size_t tag_count = hg_value_more(value).tag_count;
    for (size_t i = 0; i < tag_count; i++) {
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
