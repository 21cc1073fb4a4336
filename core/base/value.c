#include "base/value.h"

#include <assert.h>
#include <limits.h>

#include "base/alloc.h"
#include "base/hash.h"

#define MORE_FROM HG_VALUE_LONG /* data of so many bytes always comes with `more` */

static_assert(offsetof(struct hg_value, bytes) == 32, "small, and `more` is aligned behind it");
static_assert(sizeof(struct hg_value_more) == 48, "packed well");
static_assert(HG_TAGS_MAX * (HG_TAG_MAX + 1) <= UINT16_MAX, "tags_len holds all tags");
static_assert(HG_TAGS_MAX <= UINT8_MAX, "tag_count holds them");
static_assert(HG_TYPE_MAX <= UINT8_MAX && HG_META_MAX <= UINT16_MAX, "lengths fit");
static_assert(HG_STATUS_NO_GROUP < HG_VALUE_ERROR && HG_CLASS_TOO_LARGE < 8 && HG_TIER_COUNT <= 4,
              "bits suffice");
static_assert(HG_VALUE_LONG > HG_VERSION_INLINE, "a long one has a version");

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

static uint8_t short_len(size_t len)
{
    return len < HG_VALUE_LONG ? (uint8_t)len : HG_VALUE_LONG;
}

static bool needs_more(const struct hg_value_spec *spec)
{
    bool has_text = spec->type.len + spec->etag.len + spec->meta.len + spec->tag_count > 0;
    bool has_flag = spec->has_ttl || spec->has_swr || spec->has_sie || spec->uncacheable;
    uint64_t times_ms = spec->ttl_ms | spec->stale_while_revalidate_ms | spec->stale_if_error_ms |
                        spec->retry_after_ms;
    bool is_long = spec->data.len >= MORE_FROM || spec->key.len >= HG_VALUE_LONG;
    return has_text || has_flag || times_ms != 0 || is_long;
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
    unsigned kind = spec->status == HG_STATUS_ERROR ? HG_VALUE_ERROR | (unsigned)spec->klass
                                                    : (unsigned)spec->status;
    *value = (struct hg_value){
        .short_key_len = short_len(spec->key.len),
        .short_data_len = short_len(spec->data.len),
    };
    atomic_init(&value->head, HG_VALUE_REF | kind | (has_more ? HG_VALUE_MORE : 0));
    hg_value_set_times(value, 0, HG_FOREVER);

    struct hg_value_more more = {
        .ttl_ms = spec->ttl_ms,
        .stale_while_revalidate_ms = spec->stale_while_revalidate_ms,
        .stale_if_error_ms = spec->stale_if_error_ms,
        .retry_after_ms =
            spec->retry_after_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)spec->retry_after_ms,
        .data_len = (uint32_t)spec->data.len,
        .key_len = (uint16_t)spec->key.len,
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
    char *at = value->bytes;
    if (version_len(spec->data.len) > 0) {
        uint64_t version = hg_xxh64(spec->data);
        at = append(at, hg_bytes(&version, sizeof(version)));
    }
    at = append(at, hg_bytes(&more, more_len));
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
    struct hg_value_more more = hg_value_more(value);
    for (size_t i = 0; i < more.tag_count; i++)
        tags[i] = hg_value_tag(value, i);
    *out_spec = (struct hg_value_spec){
        .status = hg_value_status(value),
        .klass = hg_value_class(value),
        .key = hg_value_key(value),
        .data = hg_value_data(value),
        .type = hg_value_type(value),
        .etag = hg_value_etag(value),
        .meta = hg_value_meta(value),
        .tags = tags,
        .tag_count = more.tag_count,
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
    if (!(hg_value_head(value) & HG_VALUE_MORE))
        return stale_while_revalidate_ms == 0 && stale_if_error_ms == 0;
    struct hg_value_more more = hg_value_more(value);
    more.stale_while_revalidate_ms = stale_while_revalidate_ms;
    more.stale_if_error_ms = stale_if_error_ms;
    memcpy(value->bytes + hg_value_more_at(value), &more, sizeof(more));
    return true;
}

struct hg_value *hg_value_ref(struct hg_value *value)
{
    if (value == NULL)
        return NULL;
    unsigned before = atomic_fetch_add_explicit(&value->head, HG_VALUE_REF, memory_order_relaxed);
    assert(!(before & HG_VALUE_PRIVATE));
    assert(before >= HG_VALUE_REF && before < UINT_MAX - HG_VALUE_REF);
    (void)before;
    return value;
}

void hg_value_unref(struct hg_value *value)
{
    if (value == NULL)
        return;
    /* Nobody else has it, so nobody else can come by another reference: no atomic subtraction needed. */
    if (hg_value_refs(value) == 1) {
        assert(!hg_value_is_private(value));
        hg_free(value);
        return;
    }
    /* Release our reads and writes to whoever frees; acquire everybody's before freeing. */
    unsigned before = atomic_fetch_sub_explicit(&value->head, HG_VALUE_REF, memory_order_acq_rel);
    assert(!(before & HG_VALUE_PRIVATE));
    assert(before >= HG_VALUE_REF);
    if (before < 2 * HG_VALUE_REF)
        hg_free(value);
}

/* Where a part begins, counted from bytes. */
struct parts {
    size_t type, etag, meta, tags, data;
};

static struct parts parts_of(const struct hg_value *value)
{
    struct hg_value_more more = hg_value_more(value);
    struct hg_bytes key = hg_value_key(value);
    struct parts at;
    at.type = (size_t)(key.data - value->bytes) + key.len;
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
    return sizeof(*value) + parts_of(value).data + hg_value_data_len(value);
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
    return hg_bytes(value->bytes + parts_of(value).data, hg_value_data_len(value));
}

uint64_t hg_value_version(const struct hg_value *value)
{
    uint64_t version;
    if (hg_value_more_at(value) == 0)
        return hg_xxh64(hg_value_data(value));
    memcpy(&version, value->bytes, sizeof(version));
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
    unsigned kept = hg_value_head(value) & (HG_VALUE_KIND | HG_VALUE_MORE);
    size_t behind = sizeof(value->head);
    memcpy((char *)copy + behind, (const char *)value + behind, size - behind);
    atomic_init(&copy->head, kept | HG_VALUE_PRIVATE | HG_VALUE_REF);
    copy->stored = false;
}

void hg_hold_set(struct hg_hold *hold, struct hg_value *value)
{
    size_t size = hg_value_size(value);
    if (hg_value_data_len(value) <= HG_SMALL_MAX && size <= sizeof(hold->space)) {
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
    if (hold->value != NULL && !hg_value_is_private(hold->value))
        hg_value_unref(hold->value);
    hold->value = NULL;
}
