#include "group/guard.h"

#include <assert.h>
#include "base/bug.h"

void hg_guard_init(struct hg_guard *guard, const struct hg_guard_config *config)
{
    memset(guard, 0, sizeof(*guard));
    guard->config = *config;
    if (guard->config.concurrency == 0)
        guard->config.concurrency = 1;
    pthread_mutex_init(&guard->lock, NULL);
    hg_list_init(&guard->queue);
}

void hg_guard_finish(struct hg_guard *guard)
{
    assert(guard->running == 0);
    assert(guard->queued == 0);
    pthread_mutex_destroy(&guard->lock);
}

void hg_guard_hold(struct hg_guard *guard)
{
    if (guard != NULL)
        atomic_fetch_add_explicit(&guard->holders, 1, memory_order_relaxed);
}

void hg_guard_release(struct hg_guard *guard)
{
    if (guard != NULL)
        atomic_fetch_sub_explicit(&guard->holders, 1, memory_order_release);
}

bool hg_guard_is_idle(struct hg_guard *guard)
{
    pthread_mutex_lock(&guard->lock);
    bool is_idle = guard->running == 0 && guard->queued == 0;
    pthread_mutex_unlock(&guard->lock);
    return is_idle && atomic_load_explicit(&guard->holders, memory_order_acquire) == 0;
}

static void breaker_open(struct hg_guard *guard, uint64_t now_ms)
{
    guard->breaker = HG_BREAKER_OPEN;
    guard->open_until_ms = hg_time_add(now_ms, guard->config.breaker_cooldown_ms);
    guard->opened++;
}

/* Whether the breaker refuses now. Past its cooldown it goes half-open for the caller's load, the one trial. */
static bool breaker_refuses(struct hg_guard *guard, uint64_t now_ms, uint64_t *out_retry_ms)
{
    if (guard->breaker == HG_BREAKER_CLOSED)
        return false;
    if (guard->breaker == HG_BREAKER_OPEN && now_ms >= guard->open_until_ms) {
        guard->breaker = HG_BREAKER_HALF_OPEN;
        return false;
    }
    *out_retry_ms = 1;
    if (guard->breaker == HG_BREAKER_HALF_OPEN)
        *out_retry_ms = guard->config.breaker_cooldown_ms; /* at worst the trial fails now */
    else if (guard->open_until_ms > now_ms)
        *out_retry_ms = guard->open_until_ms - now_ms;
    return true;
}

enum hg_guard_verdict hg_guard_enter(struct hg_guard *guard, struct hg_load *load, uint64_t now_ms,
                                     uint64_t *out_retry_ms)
{
    enum hg_guard_verdict verdict;

    pthread_mutex_lock(&guard->lock);
    if (guard->running >= guard->config.concurrency && guard->breaker != HG_BREAKER_CLOSED &&
        now_ms >= guard->open_until_ms) {
        /* No slot for a trial: the runs from before the breaker opened still hold them all. */
        *out_retry_ms = 1000;
        guard->refused++;
        verdict = HG_GUARD_OPEN;
    } else if (breaker_refuses(guard, now_ms, out_retry_ms)) {
        guard->refused++;
        verdict = HG_GUARD_OPEN;
    } else if (guard->running < guard->config.concurrency + hg_bug(HG_BUG_ONE_TOO_MANY)) {
        guard->running++;
        load->has_slot = true;
        verdict = HG_GUARD_RUN;
    } else if (guard->queued < guard->config.queue) {
        guard->queued++;
        load->is_queued = true;
        hg_list_push_back(&guard->queue, &load->link);
        verdict = HG_GUARD_QUEUED;
    } else {
        *out_retry_ms = 1000;
        guard->refused++;
        verdict = HG_GUARD_FULL;
    }
    pthread_mutex_unlock(&guard->lock);
    return verdict;
}

static struct hg_load *pop(struct hg_guard *guard)
{
    struct hg_list *node = hg_list_pop_front(&guard->queue);
    if (node == NULL)
        return NULL;

    struct hg_load *load = hg_container_of(node, struct hg_load, link);
    load->is_queued = false;
    guard->queued--;
    return load;
}

static void fill_slots(struct hg_guard *guard, struct hg_list *out_ready)
{
    struct hg_load *load;

    while (guard->running < guard->config.concurrency && (load = pop(guard)) != NULL) {
        guard->running++;
        load->has_slot = true;
        hg_list_push_back(out_ready, &load->link);
    }
}

void hg_guard_leave(struct hg_guard *guard, bool failed, uint64_t now_ms, struct hg_list *out_ready,
                    struct hg_list *out_refused)
{
    struct hg_load *load;

    pthread_mutex_lock(&guard->lock);
    assert(guard->running > 0);
    guard->running--;
    /* What ran before it opened says nothing new while it is open. */
    if (guard->breaker != HG_BREAKER_OPEN) {
        guard->failures_in_a_row = failed ? guard->failures_in_a_row + 1 : 0;
        if (!failed) {
            guard->breaker = HG_BREAKER_CLOSED;
        } else if (guard->breaker == HG_BREAKER_HALF_OPEN ||
                   (guard->config.breaker_failures > 0 &&
                    guard->failures_in_a_row >= guard->config.breaker_failures)) {
            breaker_open(guard, now_ms);
            while ((load = pop(guard)) != NULL) {
                guard->refused++;
                if (!hg_bug(HG_BUG_FORGET_QUEUED))
                    hg_list_push_back(out_refused, &load->link);
            }
        }
    }
    fill_slots(guard, out_ready);
    pthread_mutex_unlock(&guard->lock);
}

void hg_guard_drop(struct hg_guard *guard, uint64_t now_ms, struct hg_list *out_ready)
{
    pthread_mutex_lock(&guard->lock);
    assert(guard->running > 0);
    guard->running--;
    if (guard->breaker == HG_BREAKER_HALF_OPEN) {
        /* The trial never took place: the next load is one. */
        guard->breaker = HG_BREAKER_OPEN;
        guard->open_until_ms = now_ms;
    }
    fill_slots(guard, out_ready);
    pthread_mutex_unlock(&guard->lock);
}

void hg_guard_forgive(struct hg_guard *guard)
{
    pthread_mutex_lock(&guard->lock);
    guard->breaker = HG_BREAKER_CLOSED;
    guard->failures_in_a_row = 0;
    pthread_mutex_unlock(&guard->lock);
}

bool hg_guard_unqueue(struct hg_guard *guard, struct hg_load *load)
{
    pthread_mutex_lock(&guard->lock);
    bool was_queued = load->is_queued;
    if (was_queued) {
        hg_list_remove(&load->link);
        load->is_queued = false;
        guard->queued--;
    }
    pthread_mutex_unlock(&guard->lock);
    return was_queued;
}

bool hg_guard_is_held(const struct hg_guard *guard, const struct hg_load *load)
{
    for (unsigned i = 0; i < load->held_count; i++)
        if (load->held[i] == guard)
            return true;
    return false;
}

void hg_guard_state(struct hg_guard *guard, struct hg_guard_state *out_state)
{
    pthread_mutex_lock(&guard->lock);
    *out_state = (struct hg_guard_state){
        .running = guard->running,
        .queued = guard->queued,
        .failures_in_a_row = guard->failures_in_a_row,
        .breaker = guard->breaker,
        .refused = guard->refused,
        .opened = guard->opened,
    };
    pthread_mutex_unlock(&guard->lock);
}

const char *hg_breaker_name(enum hg_breaker_state breaker)
{
    switch (breaker) {
    case HG_BREAKER_CLOSED:
        return "closed";
    case HG_BREAKER_OPEN:
        return "open";
    case HG_BREAKER_HALF_OPEN:
        return "half_open";
    }
    return "unknown";
}
