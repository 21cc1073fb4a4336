/*
 * value - one typed result for one key: a value, "not found" or an error. Immutable and reference-counted,
 * a single allocation shared by store, waiters and sockets.
 *
 *   [ struct hg_value | version | more | key | type | etag | meta | tags | data ]
 *
 * There are millions of them, most are small and plain, so what most do not have takes no room: `more` is there
 * only where one of its members is set (or the data is so big that it makes no difference), `version` only where
 * hashing the data again would take longer than reading it.
 *
 * Everything behind short_data_len up to the bytes belongs to the one store that holds the value (at most one), guarded by
 * that store's lock; the rest never changes after creation. A value is created for its key, so putting it into a store
 * copies nothing.
 *
 * Threads    ref/unref from any thread.
 * Units      times are milliseconds of the clock handed to the core (boot time); HG_FOREVER = without end. In a value they
 *            take 38 bits: an end over HG_VALUE_TIME_MAX (8.7 years) is HG_FOREVER.
 */
#ifndef HG_BASE_VALUE_H
#define HG_BASE_VALUE_H

#include <stdatomic.h>
#include <stdint.h>
#include "base/bytes.h"
#include "base/units.h"

#define HG_META_MAX 256  /* bytes of a value's `meta` */
#define HG_TAGS_MAX 64   /* tags of a value */
#define HG_TAG_MAX  255  /* bytes of a tag */
#define HG_TYPE_MAX 255  /* bytes of a content type, and of the getter's own ETag */
#define HG_SMALL_MAX 1024 /* data up to this is copied out under the lock, above it is reference counted */

/* Numbers are those of the wire (proto/hgcache.proto). */
enum hg_status {
    HG_STATUS_NONE = 0,
    HG_STATUS_VALUE = 1,
    HG_STATUS_NOT_FOUND = 2,
    HG_STATUS_ERROR = 3,
    HG_STATUS_NO_GROUP = 4,
};

/* Error classes: name, HTTP status (INTERFACES, "Getter"). */
#define HG_CLASSES(X)                                                                              \
    X(INTERNAL, "internal", 502)                                                                   \
    X(UNAVAILABLE, "unavailable", 503)                                                             \
    X(TIMEOUT, "timeout", 504)                                                                     \
    X(DENIED, "denied", 403)                                                                       \
    X(TOO_LARGE, "too_large", 502)

enum hg_class {
#define X(name, text, http) HG_CLASS_##name,
    HG_CLASSES(X)
#undef X
};

const char *hg_class_name(enum hg_class klass);
int hg_class_http_status(enum hg_class klass);
/* Unknown names are INTERNAL. */
enum hg_class hg_class_from_name(struct hg_bytes name);

enum hg_tier { HG_TIER_MAIN, HG_TIER_HOT, HG_TIER_NEGATIVE };
#define HG_TIER_COUNT 3

/* Bits of `head`; the rest of it counts references. */
#define HG_VALUE_KIND    0x0fu /* the status, or 8 + the class of an error */
#define HG_VALUE_ERROR   0x08u
#define HG_VALUE_MORE    0x10u /* it has a hg_value_more */
#define HG_VALUE_PRIVATE 0x20u /* a copy that lives in a caller's hg_hold; ref and unref do not apply */
#define HG_VALUE_REF     0x40u /* one reference */

#define HG_VALUE_LONG 255 /* a length of so much or more is in hg_value_more */

#define HG_VALUE_SLOT_MAX ((1u << 20) - 1)
#define HG_VALUE_TIME_MAX ((UINT64_C(1) << 38) - 1)

struct hg_value {
    atomic_uint head;
    uint8_t short_key_len, short_data_len; /* HG_VALUE_LONG: read hg_value_key, hg_value_data_len */
    /* The store's. */
    uint8_t created_high : 6;
    uint8_t tier : 2; /* enum hg_tier */
    uint8_t expires_high : 6;
    uint8_t stored : 1;
    uint32_t created_low, expires_low;
    uint32_t epoch : 8; /* which flush it was put after */
    uint32_t queue : 2; /* the policy's: which list it is on */
    uint32_t uses : 2;  /* the policy's: hits since it was last looked at */
    uint32_t slot : 20; /* main tier: the policy's, where it keeps what it knows of it. Hot tier: length of a hot copy's
                           life, ms (group/hot.h) */
    /* Neighbours in an order (cache/order.h), by address. */
    uint32_t prev_low;
    uint16_t prev_high, next_high;
    uint32_t next_low;
    char bytes[];
};

/* What few values have. */
struct hg_value_more {
    uint64_t ttl_ms; /* life asked for by the getter; HG_FOREVER = without end; see has_ttl */
    uint64_t stale_while_revalidate_ms, stale_if_error_ms; /* windows after its end */
    uint32_t retry_after_ms;
    uint32_t data_len;
    uint16_t key_len, meta_len;
    uint16_t tags_len; /* each tag: one length byte, its bytes */
    uint8_t type_len, etag_len, tag_count;
    bool has_ttl : 1, has_swr : 1, has_sie : 1; /* the getter gave them; else the group's apply */
    bool uncacheable : 1;                       /* never stored; serves all who were waiting */
};

#define HG_VERSION_INLINE 64 /* data up to this is hashed when its version is asked for */

/* What a value is made of; everything borrowed. Zero fields mean absent. */
struct hg_value_spec {
    enum hg_status status;
    enum hg_class klass;
    struct hg_bytes key, data; /* data of an error is its message */
    struct hg_bytes type, etag, meta;
    const struct hg_bytes *tags;
    size_t tag_count;
    uint64_t ttl_ms, stale_while_revalidate_ms, stale_if_error_ms;
    uint64_t retry_after_ms; /* kept up to UINT32_MAX */
    bool has_ttl, has_swr, has_sie, uncacheable;
};

/* NULL: out of memory, or a part is over its maximum (callers check those first for a good message). */
struct hg_value *hg_value_create(const struct hg_value_spec *spec);
/* A copy of `value` with other windows or life, e.g. the group's defaults filled in, is made by building a spec from it. */
void hg_value_spec_from(const struct hg_value *value, struct hg_value_spec *out_spec, struct hg_bytes tags[HG_TAGS_MAX]);
/* NULL is allowed for both. */
struct hg_value *hg_value_ref(struct hg_value *value);
void hg_value_unref(struct hg_value *value);

static inline unsigned hg_value_head(const struct hg_value *value)
{
    return atomic_load_explicit(&value->head, memory_order_relaxed);
}

static inline enum hg_status hg_value_status(const struct hg_value *value)
{
    unsigned kind = hg_value_head(value) & HG_VALUE_KIND;
    return kind & HG_VALUE_ERROR ? HG_STATUS_ERROR : (enum hg_status)kind;
}

/* Of an error. */
static inline enum hg_class hg_value_class(const struct hg_value *value)
{
    unsigned kind = hg_value_head(value) & HG_VALUE_KIND;
    return kind & HG_VALUE_ERROR ? (enum hg_class)(kind & ~HG_VALUE_ERROR) : HG_CLASS_INTERNAL;
}

static inline bool hg_value_is_private(const struct hg_value *value)
{
    return (hg_value_head(value) & HG_VALUE_PRIVATE) != 0;
}

/* With acquire: who sees 1 is alone with it. */
static inline unsigned hg_value_refs(const struct hg_value *value)
{
    return atomic_load_explicit(&value->head, memory_order_acquire) / HG_VALUE_REF;
}

/* When it was loaded at its source (a copy: when the owner did). */
static inline uint64_t hg_value_created_ms(const struct hg_value *value)
{
    return (uint64_t)value->created_high << 32 | value->created_low;
}

/* Fresh before this. */
static inline uint64_t hg_value_expires_ms(const struct hg_value *value)
{
    uint64_t expires_ms = (uint64_t)value->expires_high << 32 | value->expires_low;
    return expires_ms == HG_VALUE_TIME_MAX ? HG_FOREVER : expires_ms;
}

static inline enum hg_tier hg_value_tier(const struct hg_value *value)
{
    return (enum hg_tier)value->tier;
}

/* Under the lock of the store that holds it. */
static inline void hg_value_set_times(struct hg_value *value, uint64_t created_ms, uint64_t expires_ms)
{
    if (created_ms > HG_VALUE_TIME_MAX)
        created_ms = HG_VALUE_TIME_MAX;
    if (expires_ms > HG_VALUE_TIME_MAX)
        expires_ms = HG_VALUE_TIME_MAX;
    value->created_high = (uint8_t)(created_ms >> 32 & 0x3f);
    value->created_low = (uint32_t)created_ms;
    value->expires_high = (uint8_t)(expires_ms >> 32 & 0x3f);
    value->expires_low = (uint32_t)expires_ms;
}

/* Where `more` begins in bytes, if there is one: behind the version. */
static inline size_t hg_value_more_at(const struct hg_value *value)
{
    return value->short_data_len > HG_VERSION_INLINE ? sizeof(uint64_t) : 0;
}

/* Of a value without: all zero. */
static inline struct hg_value_more hg_value_more(const struct hg_value *value)
{
    struct hg_value_more more = {0};
    if (hg_value_head(value) & HG_VALUE_MORE)
        memcpy(&more, value->bytes + hg_value_more_at(value), sizeof(more));
    return more;
}

static inline struct hg_bytes hg_value_key(const struct hg_value *value)
{
    size_t at = hg_value_more_at(value);
    size_t len = value->short_key_len;
    if (hg_value_head(value) & HG_VALUE_MORE) {
        if (len == HG_VALUE_LONG)
            len = ((const struct hg_value_more *)(const void *)(value->bytes + at))->key_len;
        at += sizeof(struct hg_value_more);
    }
    return hg_bytes(value->bytes + at, len);
}

static inline size_t hg_value_data_len(const struct hg_value *value)
{
    size_t len = value->short_data_len;
    return len == HG_VALUE_LONG ? hg_value_more(value).data_len : len;
}

size_t hg_value_size(const struct hg_value *value); /* of the allocation, before rounding */
struct hg_bytes hg_value_type(const struct hg_value *value);
struct hg_bytes hg_value_etag(const struct hg_value *value); /* the getter's own; empty = use version */
struct hg_bytes hg_value_meta(const struct hg_value *value);
struct hg_bytes hg_value_data(const struct hg_value *value);
/* XXH64 of the data: the ETag unless the getter gave its own. */
uint64_t hg_value_version(const struct hg_value *value);
/* Before anybody else has it. False: it has no room for them (and they are not zero). */
bool hg_value_set_windows(struct hg_value *value, uint64_t stale_while_revalidate_ms,
                          uint64_t stale_if_error_ms);
/* The index-th tag; index < tag_count. */
struct hg_bytes hg_value_tag(const struct hg_value *value, size_t index);
bool hg_value_has_tag(const struct hg_value *value, struct hg_bytes tag);

/*
 * hold - how a look-up hands a value out: small ones as a private copy (no shared counter is touched on a
 * hit), bigger ones as a reference. Lives on the caller's stack or in its request and is not moved while it
 * holds (the value may lie inside); release it once. ref and unref refuse a private copy: who wants to keep
 * one longer than the hold makes a value of its own (hg_value_spec_from, hg_value_create).
 */
#define HG_HOLD_SPACE (sizeof(struct hg_value) + 1024 + 1024) /* key + attributes + small data */
struct hg_hold {
    struct hg_value *value; /* NULL: nothing held */
    _Alignas(struct hg_value) char space[HG_HOLD_SPACE];
};
static inline void hg_hold_init(struct hg_hold *hold)
{
    hold->value = NULL;
}
/* Copies when the whole fits and its data is at most HG_SMALL_MAX, else takes a reference. Cannot fail. */
void hg_hold_set(struct hg_hold *hold, struct hg_value *value);
/* Takes over the caller's reference. */
void hg_hold_take(struct hg_hold *hold, struct hg_value *value);
void hg_hold_release(struct hg_hold *hold);

#endif
