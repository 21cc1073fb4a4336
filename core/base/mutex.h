/*
 * mutex - a lock of four bytes, for structures that have thousands of them and short critical sections.
 *
 * It shares a cache line with what it guards, which a mutex of the C library (40 bytes) would fill. Who finds it taken spins
 * for a few microseconds, since its holder is nearly always done by then, and sleeps after that.
 *
 * Source     U. Drepper, "Futexes Are Tricky" (2011), the last mutex, which takes it as 2 after a wait.
 * Threads    any; not recursive, and whoever locked it unlocks it. Zeroed memory is an unlocked one; nothing to finish.
 * Errors     none.
 */
#ifndef HG_BASE_MUTEX_H
#define HG_BASE_MUTEX_H

#include <stdbool.h>
#include <stdint.h>

struct hg_mutex {
    uint32_t state; /* 0: free, 1: taken, 2: taken, and somebody may sleep */
};

void hg_mutex_wait(struct hg_mutex *mutex); /* the rest of lock */
void hg_mutex_wake(struct hg_mutex *mutex); /* the rest of unlock */

static inline bool hg_mutex_trylock(struct hg_mutex *mutex)
{
    uint32_t expected = 0;
    return __atomic_compare_exchange_n(&mutex->state, &expected, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

static inline void hg_mutex_lock(struct hg_mutex *mutex)
{
    if (!hg_mutex_trylock(mutex))
        hg_mutex_wait(mutex);
}

static inline void hg_mutex_unlock(struct hg_mutex *mutex)
{
    if (__atomic_exchange_n(&mutex->state, 0, __ATOMIC_RELEASE) == 2)
        hg_mutex_wake(mutex);
}

#endif
