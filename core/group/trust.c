#include "group/trust.h"

#include "base/bug.h"
#include "group/group_impl.h"

static void raise(atomic_uint_fast64_t *number, uint64_t to)
{
    uint64_t seen = atomic_load(number);
    while (seen < to && !atomic_compare_exchange_weak(number, &seen, to))
        ;
}

/* Two may notice one standstill; the later of them says from when. Distrust is in place before the gap is closed. */
void hg_trust_lose(struct hg_groups *groups, uint64_t now_ms)
{
    struct hg_trust *trust = &groups->trust;

    if (hg_bug(HG_BUG_TRUST_ALWAYS)) {
        raise(&trust->alive_ms, hg_time_add(now_ms, 1));
        return;
    }
    raise(&trust->before_ms, now_ms);
    raise(&trust->fence_number, hg_groups_next_number(groups));
    raise(&trust->alive_ms, hg_time_add(now_ms, 1));
    atomic_fetch_add(&trust->count, 1);
}

uint64_t hg_groups_alive(struct hg_groups *groups, uint64_t now_ms)
{
    struct hg_trust *trust = &groups->trust;

    hg_groups_watch(groups, now_ms);
    raise(&trust->alive_ms, hg_time_add(now_ms, 1));
    return atomic_load(&trust->before_ms);
}

void hg_groups_caught_up(struct hg_groups *groups, uint64_t distrust)
{
    uint_fast64_t seen = distrust;

    if (distrust != 0)
        atomic_compare_exchange_strong(&groups->trust.before_ms, &seen, 0);
}

bool hg_groups_is_behind(const struct hg_groups *groups)
{
    return atomic_load(&groups->trust.before_ms) != 0;
}

uint64_t hg_groups_standstills(const struct hg_groups *groups)
{
    return atomic_load(&groups->trust.count);
}
