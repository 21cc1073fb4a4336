/*
 * clock - the only place that reads clocks for the node. Any thread.
 */
#ifndef HG_NET_CLOCK_H
#define HG_NET_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#define HG_CLOCK_START_MS 86400000 /* a day, so that a moment before the start is none before 0 */

/*
 * CLOCK_BOOTTIME: goes on during suspend, never jumps; every expiry uses it. Since this process began, not the machine: a
 * value keeps 8.7 years (base/value.h), and machines may be older.
 */
uint64_t hg_clock_boot_ms(void);
double hg_clock_wall_s(void);       /* CLOCK_REALTIME, for people */
double hg_clock_monotonic_s(void);
uint64_t hg_random_u64(void);       /* per-thread xoshiro, seeded by getrandom */
void hg_random_bytes(void *out, size_t len); /* getrandom */

#endif
