/*
 * clock - the only place that reads clocks for the node. Any thread.
 */
#ifndef HG_NET_CLOCK_H
#define HG_NET_CLOCK_H

#include <stddef.h>
#include <stdint.h>

uint64_t hg_clock_boot_ms(void);    /* CLOCK_BOOTTIME: goes on during suspend, never jumps; every expiry uses it */
double hg_clock_wall_s(void);       /* CLOCK_REALTIME, for people */
double hg_clock_monotonic_s(void);
uint64_t hg_random_u64(void);       /* per-thread xoshiro, seeded by getrandom */
void hg_random_bytes(void *out, size_t len); /* getrandom */

#endif
