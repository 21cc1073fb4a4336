/*
 * freshness - how long things live: jittered lives, errors in a row, stale windows, early refresh.
 *
 * Pure arithmetic; random bits and times are arguments.
 */
#ifndef HG_GROUP_FRESHNESS_H
#define HG_GROUP_FRESHNESS_H

#include "base/value.h"
#include "group/group.h"

/* Uniform in [ttl x (1 - jitter), ttl]. HG_FOREVER and 0 stay what they are; never shortened to 0. */
uint64_t hg_life_jittered(uint64_t ttl_ms, double jitter, uint64_t random);

/*
 * How long a key's next error is remembered when the last was for last_ms (0: it is the first): ttl_ms, then uniform in
 * [last, 3 x last], about twice as long each time, until that meets max_ms: uniform in [max / 2, max] from there. Never
 * shorter than ttl_ms. Drawn from the last life and not from a count (Brooker: Exponential Backoff and Jitter, AWS 2015), so
 * that there is nothing else to keep.
 */
uint64_t hg_error_life(uint64_t ttl_ms, uint64_t max_ms, uint64_t last_ms, uint64_t random);

/* Past its life, but within the window. now_ms >= expires_ms is taken for granted. */
bool hg_is_within(uint64_t expires_ms, uint64_t window_ms, uint64_t now_ms);
/* until_ms of an entry: hg_group_until (group/hot.h). */
bool hg_is_fresh(uint64_t until_ms, uint64_t now_ms);
/* A value, fresh or within stale_if_error. */
bool hg_value_is_good_on_error(const struct hg_value *value, uint64_t until_ms, uint64_t now_ms);
/* A value, fresh or within the larger of its windows. */
bool hg_value_is_good_on_timeout(const struct hg_value *value, uint64_t until_ms, uint64_t now_ms);

/*
 * Whether a stale entry whose last refresh failed at failed_ms is to be refreshed again: after as long as it was stale
 * by then, so that the time between tries doubles, from HG_RETRY_MIN_MS up to HG_RETRY_MAX_MS.
 */
#define HG_RETRY_MIN_MS 50
#define HG_RETRY_MAX_MS 10000
bool hg_is_retry_due(uint64_t until_ms, uint64_t failed_ms, uint64_t now_ms);

/*
 * XFetch (Vattani, Chierichetti, Lowenstein: Optimal Probabilistic Cache Stampede Prevention, VLDB 2015):
 * refresh now when now - load_time x beta x ln(u) >= expiry, u uniform in (0, 1].
 */
bool hg_is_early(double beta, uint64_t load_time_x16, uint64_t expires_ms, uint64_t now_ms,
                 uint64_t random);

/*
 * The value as a group stores it: windows filled in from the group where the getter gave none, or none at all
 * for a copy. `fill` does it in place and only where the caller's reference is the only one, so that nobody reads
 * it yet; false otherwise. `copy` makes another value; NULL: out of memory.
 */
bool hg_value_fill_windows(struct hg_value *value, const struct hg_group_config *config,
                           bool is_copy);
struct hg_value *hg_value_copy_windows(const struct hg_value *value,
                                       const struct hg_group_config *config, bool is_copy);
/* Either: takes over the reference and returns one, or NULL and the reference stays the caller's. */
struct hg_value *hg_value_with_windows(struct hg_value *value, const struct hg_group_config *config,
                                       bool is_copy);

/*
 * An error in a row is known by its last one, whose entry stays for as long again as it lived: its life is its
 * stale_if_error window, which no error is served in. `note` is to a life what hg_value_with_windows is to windows;
 * `last` answers the life of an entry, 0 where it is none of these or its time is over.
 */
struct hg_value *hg_error_note_life(struct hg_value *error, uint64_t life_ms);
uint64_t hg_error_last_life(const struct hg_value *entry, uint64_t now_ms);

#endif
