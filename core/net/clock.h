/*
 * clock - the only place that reads clocks for the node. Any thread.
 */
#ifndef HG_NET_CLOCK_H
#define HG_NET_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HG_CLOCK_START_MS 86400000 /* a day, so that a moment before the start is none before 0 */

/*
 * CLOCK_BOOTTIME: goes on during suspend, never jumps; every expiry uses it. Since this process began, not the machine: a
 * value keeps 8.7 years (base/value.h), and machines may be older.
 */
uint64_t hg_clock_boot_ms(void);
double hg_clock_wall_s(void);       /* CLOCK_REALTIME, for people */
int64_t hg_clock_wall_second(void); /* the same, cheaper */
double hg_clock_monotonic_s(void);
/*
 * From now on the clocks stand still, at these times, in the whole process; again: they are moved. For a node under test, whose
 * timers (net/timer.h) then ring when they are told to.
 */
void hg_clock_hold(uint64_t boot_ms, uint64_t wall_ms);
void hg_clock_release(void);
bool hg_clock_is_held(void);
uint64_t hg_random_u64(void);       /* per-thread xoshiro, seeded by getrandom */
void hg_random_bytes(void *out, size_t len); /* getrandom */

#endif
