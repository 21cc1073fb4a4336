#include "base/mutex.h"

#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Some 4 us on a processor of today; a sleep and a wake-up take ten times that. */
#define SPINS 100

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

void hg_mutex_wait(struct hg_mutex *mutex)
{
    for (unsigned i = 0; i < SPINS; i++) {
        relax();
        if (__atomic_load_n(&mutex->state, __ATOMIC_RELAXED) == 0 && hg_mutex_trylock(mutex))
            return;
    }
    /* Taken as 2, for others may sleep as well: at worst, one wake-up is for nobody. */
    while (__atomic_exchange_n(&mutex->state, 2, __ATOMIC_ACQUIRE) != 0)
        syscall(SYS_futex, &mutex->state, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
}

void hg_mutex_wake(struct hg_mutex *mutex)
{
    syscall(SYS_futex, &mutex->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
