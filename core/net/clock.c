#include "net/clock.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/random.h>
#include <time.h>

static struct timespec clock_read(clockid_t id)
{
    struct timespec ts = {0};
    clock_gettime(id, &ts);
    return ts;
}

static uint64_t boot_ms(void)
{
    struct timespec ts = clock_read(CLOCK_BOOTTIME);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static uint64_t start_ms;

__attribute__((constructor)) static void note_start(void)
{
    start_ms = boot_ms();
}

static _Atomic bool is_held;
static _Atomic uint64_t held_boot_ms, held_wall_ms;

void hg_clock_hold(uint64_t at_boot_ms, uint64_t at_wall_ms)
{
    held_boot_ms = at_boot_ms;
    held_wall_ms = at_wall_ms;
    is_held = true;
}

void hg_clock_release(void)
{
    is_held = false;
}

bool hg_clock_is_held(void)
{
    return atomic_load_explicit(&is_held, memory_order_relaxed);
}

uint64_t hg_clock_boot_ms(void)
{
    if (hg_clock_is_held())
        return held_boot_ms;
    return HG_CLOCK_START_MS + boot_ms() - start_ms;
}

double hg_clock_wall_s(void)
{
    if (hg_clock_is_held())
        return (double)held_wall_ms / 1000;
    struct timespec ts = clock_read(CLOCK_REALTIME);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

int64_t hg_clock_wall_second(void)
{
    return hg_clock_is_held() ? (int64_t)(held_wall_ms / 1000) : (int64_t)time(NULL);
}

double hg_clock_monotonic_s(void)
{
    if (hg_clock_is_held())
        return (double)held_boot_ms / 1000;
    struct timespec ts = clock_read(CLOCK_MONOTONIC);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

void hg_random_bytes(void *out, size_t len)
{
    char *at = out;
    while (len > 0) {
        ssize_t got = getrandom(at, len, 0);
        if (got > 0) {
            at += got;
            len -= (size_t)got;
        } else if (errno != EINTR) {
            /* Only a kernel without getrandom gets here; the clock is better than nothing. */
            struct timespec ts = clock_read(CLOCK_MONOTONIC);
            for (uint64_t mix = (uint64_t)ts.tv_nsec + (uint64_t)(uintptr_t)at; len > 0; len--) {
                mix = mix * 6364136223846793005u + 1442695040888963407u;
                *at++ = (char)(mix >> 56);
            }
        }
    }
}

static uint64_t rotate_left(uint64_t x, int bits)
{
    return (x << bits) | (x >> (64 - bits));
}

/* xoshiro256** (Blackman, Vigna 2018). */
uint64_t hg_random_u64(void)
{
    static _Thread_local uint64_t state[4];
    static _Thread_local bool is_seeded;

    if (!is_seeded) {
        hg_random_bytes(state, sizeof(state));
        state[0] |= 1; /* never all zero */
        is_seeded = true;
    }
    uint64_t result = rotate_left(state[1] * 5, 7) * 9;
    uint64_t shifted = state[1] << 17;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = rotate_left(state[3], 45);
    return result;
}
