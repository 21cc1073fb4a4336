/*
 * many - what one peer is asked for at one time travels together (wire/peer_many.h), and each key is answered by itself.
 *
 *   ask --> waits until the turn of its loop is over --> hg_asks_take --> alone: a request of its own
 *                                                                    '-> several: hg_many_create, one message
 *   many: hg_many_encode --> peer --> hg_many_feed, bytes as they come --> landed(ask, answer), once for each
 *                                 '-> hg_many_end, then hg_many_pop of those that had none
 *
 * Asks travel together when the same getters wait for them (their chains are equal), whatever their groups and deadlines.
 * A second answer to a key is ignored. A part over part_max is skipped. What the peer left out of a whole answer is to
 * be asked for alone; what is missing from one that was cut, or turned into garbage, has failed as a lone ask would.
 *
 * Ownership  asks and loads are borrowed. hg_many_create takes the list over, the caller has each ask back with landed,
 *            hg_many_drop or hg_many_pop.
 * Threads    none of its own.
 */
#ifndef HG_CLUSTER_MANY_H
#define HG_CLUSTER_MANY_H

#include "group/source.h"
#include "wire/peer_many.h"

/* Part of whatever waits for an answer of a peer. */
struct hg_ask {
    struct hg_list link;
    struct hg_load *load;
    struct hg_bytes group; /* its name */
    uint32_t number; /* in its message */
    bool is_alone;   /* set by the caller: not to travel with others (again) */
};

/*
 * Moves what travels next from `waiting` (struct hg_ask by link) to `out`: the oldest, and those behind it that may go
 * with it, at most keys_max and about bytes_max. Returns how many; 0: none waits.
 */
size_t hg_asks_take(struct hg_list *waiting, size_t keys_max, size_t bytes_max, struct hg_list *out);

struct hg_many {
    struct hg_list pending; /* struct hg_ask by link */
    size_t count;           /* keys asked for */
    size_t pending_count;
    size_t part_max;
    size_t skip; /* bytes still to come of a part over part_max */
    bool is_garbage, is_cut;
    struct hg_ask *asks[]; /* by number; NULL: over */
};

/* NULL: out of memory; `asks` stays as it was. */
struct hg_many *hg_many_create(struct hg_list *asks, size_t count, size_t part_max);
void hg_many_destroy(struct hg_many *many); /* nothing is pending; NULL is fine */
/* It could not be sent: its asks go back to the end of `asks`, and it is destroyed. NULL is fine. */
void hg_many_undo(struct hg_many *many, struct hg_list *asks);
/* Appends the Asks. */
int hg_many_encode(const struct hg_many *many, uint64_t now_ms, struct hg_buf *buf);

typedef void (*hg_many_landed_fn)(void *ctx, struct hg_ask *ask, const struct hg_ask_answer *answer);
/*
 * Returns how many bytes were used; the rest is to be given again, with more behind it. landed may start other asks and
 * drop those of this message. now_unix_ns as for hg_answer_from_http.
 */
size_t hg_many_feed(struct hg_many *many, struct hg_bytes bytes, uint64_t now_unix_ns,
                    hg_many_landed_fn landed, void *ctx);
/* It ended; `rest` is what feed did not use. True: what is missing was left out. False: it has failed. */
bool hg_many_end(struct hg_many *many, bool is_whole, struct hg_bytes rest);
/* The ask is over for another reason (its deadline passed). */
void hg_many_drop(struct hg_many *many, struct hg_ask *ask);
/* The next that has no answer, taken off; NULL: none is left. */
struct hg_ask *hg_many_pop(struct hg_many *many);

#endif
