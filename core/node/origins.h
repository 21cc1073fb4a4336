/*
 * origins - what cors.origin said of which origin, for a while: a table of fixed size, in which a newer one may take an older
 * one's place. Who is forgotten is asked about again.
 *
 * Threads    none of its own: one for each front.
 */
#ifndef HG_NODE_ORIGINS_H
#define HG_NODE_ORIGINS_H

#include "wire/cors.h"

#define HG_ORIGINS_SLOTS 1024
/* Longer ones are not remembered. */
#define HG_ORIGIN_MAX 255

struct hg_origins;

enum hg_origin_word {
    HG_ORIGIN_DENIED,
    HG_ORIGIN_APPROVED,
    HG_ORIGIN_UNKNOWN, /* it failed */
};

int hg_origins_create(struct hg_origins **out_origins);
void hg_origins_destroy(struct hg_origins *origins);
void hg_origins_clear(struct hg_origins *origins); /* nothing is known */
/* What was said of it; false: nothing is known. */
bool hg_origins_find(const struct hg_origins *origins, const struct hg_cors *cors, struct hg_bytes origin,
                     uint64_t now_ms, enum hg_origin_word *out_word);
void hg_origins_note(struct hg_origins *origins, const struct hg_cors *cors, struct hg_bytes origin,
                     enum hg_origin_word word, uint64_t until_ms);

#endif
