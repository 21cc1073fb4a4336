/*
 * quarantine - keys whose getter hung a thread: refused for 60 s, doubled each time it happens
 * again, at most an hour.
 *
 * Threads    any; one mutex of its own, a leaf. Bounds: 256 keys; past that the one that ends
 *            first makes room.
 */
#ifndef HG_SCRIPT_QUARANTINE_H
#define HG_SCRIPT_QUARANTINE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include "base/bytes.h"

#define HG_QUARANTINE_MAX    256
#define HG_QUARANTINE_MS     60000
#define HG_QUARANTINE_MS_MAX 3600000

struct hg_quarantined {
    char *key;
    size_t key_len, group_index;
    uint64_t until_ms, forget_ms;
    uint64_t length_ms;
};

struct hg_quarantine {
    pthread_mutex_t lock;
    atomic_size_t count; /* 0: nobody needs the lock */
    struct hg_quarantined rows[HG_QUARANTINE_MAX];
};

void hg_quarantine_init(struct hg_quarantine *quarantine);
void hg_quarantine_finish(struct hg_quarantine *quarantine);
/* Returns for how long. 0: out of memory. */
uint64_t hg_quarantine_add(struct hg_quarantine *quarantine, size_t group_index,
                           struct hg_bytes key, uint64_t now_ms);
/* Milliseconds until the key is let in again; 0 = it is. */
uint64_t hg_quarantine_left(struct hg_quarantine *quarantine, size_t group_index,
                            struct hg_bytes key, uint64_t now_ms);

#endif
