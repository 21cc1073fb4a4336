/*
 * chain - the ancestors of a load, outermost first, as they travel on the wire: each a big-endian 16-bit
 * length and that many bytes of group NUL key.
 */
#ifndef HG_GROUP_CHAIN_H
#define HG_GROUP_CHAIN_H

#include "base/bytes.h"

struct hg_load;

/* Takes the first entry off *chain. False at the end, with *out_is_bad where it is cut. */
bool hg_chain_next(struct hg_bytes *chain, struct hg_bytes *out_entry, bool *out_is_bad);
/* Number of ancestors; negative (HG_EINVAL) where it is malformed. */
int hg_chain_depth(struct hg_bytes chain);
bool hg_chain_has(struct hg_bytes chain, struct hg_bytes group, struct hg_bytes key);
size_t hg_chain_entry_size(struct hg_bytes group, struct hg_bytes key);
/* Writes one entry of that size. */
void hg_chain_write(char *out, struct hg_bytes group, struct hg_bytes key);
/* Whether the load's own name stands in it. */
bool hg_chain_has_load(struct hg_bytes chain, const struct hg_load *load);

#endif
