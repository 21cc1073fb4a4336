/*
 * mismatches - which nodes place keys otherwise than this one: each request between nodes brings the fingerprint of its
 * sender's ring (cache/ring.h), and who sent another than ours is remembered until it sends ours.
 *
 * Nothing is refused for it: two rings cost a load of a key twice (FAULTS A10), and lists differ for a moment whenever one changes.
 *
 * Threads    any; one mutex, a leaf, for who comes, goes or sends another ring than before. What is known already is counted without
 *            it: at the moment when one makes room, a request of it may be counted with the other. Names are told apart by XXH64.
 * Limits     HG_MISMATCHES_MAX nodes, the longest silent one makes room; names are cut at HG_MISMATCH_NAME_MAX bytes. Who was
 *            silent for HG_MISMATCH_KEPT_MS is forgotten.
 * Errors     none.
 */
#ifndef HG_CLUSTER_MISMATCHES_H
#define HG_CLUSTER_MISMATCHES_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/bytes.h"

#define HG_MISMATCHES_MAX     16
#define HG_MISMATCH_NAME_MAX  256
#define HG_MISMATCH_KEPT_MS   600000

struct hg_mismatch {
    uint64_t fingerprint; /* what it sent last */
    uint64_t count;       /* requests with another ring than ours, since it first differed */
    uint64_t last_ms;
    size_t name_len;
    char name[HG_MISMATCH_NAME_MAX];
};

struct hg_mismatches {
    pthread_mutex_t lock;
    atomic_size_t count;
    struct hg_mismatch_place {
        _Atomic uint64_t hash; /* of the name; 0: nobody is here */
        _Atomic uint64_t fingerprint, count, last_ms;
        size_t name_len; /* these under the lock */
        char name[HG_MISMATCH_NAME_MAX];
    } places[HG_MISMATCHES_MAX];
};

void hg_mismatches_init(struct hg_mismatches *mismatches);
void hg_mismatches_finish(struct hg_mismatches *mismatches);

/*
 * A request of `name` came with the ring `theirs` (0: it says nothing, as Go nodes do) where ours is `ours`. True: they
 * differ. *out_is_news: and did not before, or in another way.
 */
bool hg_mismatches_note(struct hg_mismatches *mismatches, struct hg_bytes name, uint64_t theirs, uint64_t ours,
                        uint64_t now_ms, bool *out_is_news);
/* Those that differ from `ours` now, into HG_MISMATCHES_MAX places. Returns how many. */
size_t hg_mismatches_list(struct hg_mismatches *mismatches, uint64_t ours, uint64_t now_ms,
                          struct hg_mismatch *out_items);

#endif
