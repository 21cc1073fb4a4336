#include "node/origins.h"

#include "base/alloc.h"
#include "base/err.h"
#include "base/hash.h"

struct slot {
    const struct hg_cors *cors;
    uint64_t until_ms;
    enum hg_origin_word word;
    unsigned char len;
    char text[HG_ORIGIN_MAX];
};

struct hg_origins {
    struct slot *slots[HG_ORIGINS_SLOTS]; /* NULL: never used */
};

int hg_origins_create(struct hg_origins **out_origins)
{
    struct hg_origins *origins = hg_calloc(1, sizeof(*origins));
    if (origins == NULL)
        return HG_ENOMEM;
    *out_origins = origins;
    return HG_OK;
}

void hg_origins_clear(struct hg_origins *origins)
{
    for (size_t i = 0; i < HG_ORIGINS_SLOTS; i++) {
        hg_free(origins->slots[i]);
        origins->slots[i] = NULL;
    }
}

void hg_origins_destroy(struct hg_origins *origins)
{
    for (size_t i = 0; origins != NULL && i < HG_ORIGINS_SLOTS; i++)
        hg_free(origins->slots[i]);
    hg_free(origins);
}

/* Not seeded: who aims origins at one slot has one asked about again. */
static size_t place(const struct hg_cors *cors, struct hg_bytes origin)
{
    return (size_t)((hg_xxh64(origin) ^ (uintptr_t)cors >> 4) % HG_ORIGINS_SLOTS);
}

bool hg_origins_find(const struct hg_origins *origins, const struct hg_cors *cors,
                     struct hg_bytes origin, uint64_t now_ms, enum hg_origin_word *out_word)
{
    const struct slot *slot = origins->slots[place(cors, origin)];
    if (slot == NULL || slot->cors != cors || now_ms >= slot->until_ms ||
        !hg_bytes_eq(hg_bytes(slot->text, slot->len), origin))
        return false;
    *out_word = slot->word;
    return true;
}

void hg_origins_note(struct hg_origins *origins, const struct hg_cors *cors, struct hg_bytes origin,
                     enum hg_origin_word word, uint64_t until_ms)
{
    struct slot **slot = &origins->slots[place(cors, origin)];
    if (origin.len > HG_ORIGIN_MAX)
        return;
    if (*slot == NULL && (*slot = hg_malloc(sizeof(**slot))) == NULL)
        return;
    (*slot)->cors = cors;
    (*slot)->until_ms = until_ms;
    (*slot)->word = word;
    (*slot)->len = (unsigned char)origin.len;
    memcpy((*slot)->text, origin.data, origin.len);
}
