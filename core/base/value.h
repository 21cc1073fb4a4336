/*
 * value - one typed result for one key: a value, "not found" or an error. Immutable and reference-counted,
 * a single allocation shared by store, waiters and sockets.
 *
 *   [ struct hg_value | key | version | more | type | etag | meta | tags | data ]
 *
 * There are millions of them, most are small and plain, so what most do not have takes no room: `more` is there
 * only where one of its members is set (or the data is so big that it makes no difference), `version` only where
 * hashing the data again would take longer than reading it.
 *
 * The links and clock fields at the top are reserved for the one store that holds the value (at most one,
 * `stored`), guarded by that store's lock; everything else never changes after creation. A value is created
 * for its key, so putting it into a store copies nothing.
 *
 * Threads    ref/unref from any thread.
 * Units      times are milliseconds of the clock handed to the core (boot time); HG_FOREVER = without end.
 */
#ifndef HG_BASE_VALUE_H
#define HG_BASE_VALUE_H

#include <stdatomic.h>
#include <stdint.h>
#include "base/bytes.h"
#include "base/list.h"
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

struct hg_value {
    /* Guarded by the lock of the store that holds it. What a look-up reads lies at the end, beside the key (hash never
     * changes). */
    struct hg_list order;   /* the policy's list */
    uint64_t created_ms;    /* when it was loaded at its source (a copy: when the owner did) */
    uint64_t expires_ms;    /* fresh before this */
    struct hg_value *chain; /* next in the bucket */
    uint64_t hash;          /* hg_hash of the key */
    uint32_t slot;          /* main tier: the policy's, where it keeps what it knows of it. Hot tier: length of a
                               hot copy's life, ms (group/hot.h) */
    uint8_t tier : 2;       /* enum hg_tier */
    uint8_t queue : 2;      /* the policy's: which list it is on */
    uint8_t uses : 2;       /* the policy's: hits since it was last looked at */
    bool stored : 1;

    /* Immutable; a byte of its own, since it is read without the lock. */
    uint8_t : 0;
    uint8_t status : 3;       /* enum hg_status */
    uint8_t klass : 3;        /* enum hg_class, of an error */
    bool has_more : 1;
    bool is_private_copy : 1; /* lives in a caller's hg_hold; ref and unref do not apply */
    uint16_t key_len;
    atomic_uint refs;
    uint32_t data_len;
    char bytes[];
};

/* What few values have. Read it with hg_value_more: it is not aligned. */
struct hg_value_more {
    uint64_t ttl_ms; /* life asked for by the getter; HG_FOREVER = without end; see has_ttl */
    uint64_t stale_while_revalidate_ms, stale_if_error_ms; /* windows after expires_ms */
    uint64_t retry_after_ms;
    uint16_t meta_len;
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
    uint64_t hash; /* hg_hash(key); 0 = computed here */
    uint64_t ttl_ms, stale_while_revalidate_ms, stale_if_error_ms, retry_after_ms;
    bool has_ttl, has_swr, has_sie, uncacheable;
};

/* NULL: out of memory, or a part is over its maximum (callers check those first for a good message). */
struct hg_value *hg_value_create(const struct hg_value_spec *spec);
/* A copy of `value` with other windows or life, e.g. the group's defaults filled in, is made by building a spec from it. */
void hg_value_spec_from(const struct hg_value *value, struct hg_value_spec *out_spec, struct hg_bytes tags[HG_TAGS_MAX]);
/* NULL is allowed for both. */
struct hg_value *hg_value_ref(struct hg_value *value);
void hg_value_unref(struct hg_value *value);

size_t hg_value_size(const struct hg_value *value); /* of the allocation, before rounding */
struct hg_bytes hg_value_key(const struct hg_value *value);
struct hg_bytes hg_value_type(const struct hg_value *value);
struct hg_bytes hg_value_etag(const struct hg_value *value); /* the getter's own; empty = use version */
struct hg_bytes hg_value_meta(const struct hg_value *value);
struct hg_bytes hg_value_data(const struct hg_value *value);
/* XXH64 of the data: the ETag unless the getter gave its own. */
uint64_t hg_value_version(const struct hg_value *value);
/* Of a value without: all zero. */
static inline struct hg_value_more hg_value_more(const struct hg_value *value)
{
    struct hg_value_more more = {0};
    if (value->has_more) {
        size_t version_len = value->data_len > HG_VERSION_INLINE ? sizeof(uint64_t) : 0;
        memcpy(&more, value->bytes + value->key_len + version_len, sizeof(more));
    }
    return more;
}
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
