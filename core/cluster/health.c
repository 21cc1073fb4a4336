#include "cluster/health.h"

#include <assert.h>
#include "base/bug.h"

/* A probe's answer may come until this share of the time-out is over. */
#define PROBE_SHARE 2
/* A prober that went away without a word is forgotten after so many time-outs. */
#define PROBE_LOST 2

/* 0 means "none" in asked_ms. */
static uint64_t moment(uint64_t now_ms)
{
    return now_ms == 0 ? 1 : now_ms;
}

/* Clocks of two threads may be read in another order than they come here. */
static uint64_t since(uint64_t then_ms, uint64_t now_ms)
{
    return now_ms > then_ms ? now_ms - then_ms : 0;
}

void hg_health_init(struct hg_health *health, uint64_t timeout_ms, uint64_t now_ms)
{
    *health = (struct hg_health){
        .timeout_ms = timeout_ms,
        .heard_ms = now_ms,
        .is_up = true,
    };
}

void hg_health_asked(struct hg_health *health, uint64_t now_ms)
{
    health->outstanding++;
    if (health->asked_ms == 0)
        health->asked_ms = moment(now_ms);
}

void hg_health_done(struct hg_health *health, uint64_t now_ms)
{
    (void)now_ms;
    assert(health->outstanding > 0);
    if (--health->outstanding == 0)
        health->asked_ms = 0;
}

bool hg_health_heard(struct hg_health *health, uint64_t now_ms)
{
    bool was_down = !health->is_up;
    health->is_up |= !hg_bug(HG_BUG_STAY_DOWN);
    health->is_probing = false;
    if (now_ms > health->heard_ms)
        health->heard_ms = now_ms;
    /* Silence counts from here again. */
    health->asked_ms = health->outstanding > 0 ? moment(health->heard_ms) : 0;
    return was_down;
}

bool hg_health_failed(struct hg_health *health, uint64_t now_ms)
{
    bool was_up = health->is_up;
    if (was_up) {
        health->is_up = false;
        health->downs++;
        health->probed_ms = now_ms; /* the first probe comes a time-out from now */
    }
    return was_up;
}

bool hg_health_probe_failed(struct hg_health *health, uint64_t now_ms)
{
    health->is_probing = false;
    return hg_health_failed(health, now_ms);
}

void hg_health_probe(struct hg_health *health, uint64_t now_ms)
{
    health->is_probing = true;
    health->probed_ms = now_ms;
}

enum hg_health_step hg_health_call_step(uint64_t timeout_ms, uint64_t silent_ms,
                                        uint64_t probed_ms, uint64_t now_ms)
{
    uint64_t half_ms = timeout_ms / PROBE_SHARE;
    if (probed_ms <= silent_ms)
        return since(silent_ms, now_ms) >= half_ms ? HG_HEALTH_PROBE : HG_HEALTH_WAIT;
    return since(silent_ms, now_ms) >= timeout_ms && since(probed_ms, now_ms) >= half_ms
               ? HG_HEALTH_FAILED
               : HG_HEALTH_WAIT;
}

static enum hg_health_step probe(struct hg_health *health, uint64_t now_ms)
{
    hg_health_probe(health, now_ms);
    return HG_HEALTH_PROBE;
}

enum hg_health_step hg_health_tick(struct hg_health *health, uint64_t now_ms)
{
    uint64_t probe_age_ms = since(health->probed_ms, now_ms);

    if (!health->is_up) {
        uint64_t wait_ms =
            health->is_probing ? health->timeout_ms * PROBE_LOST : health->timeout_ms;
        return probe_age_ms >= wait_ms ? probe(health, now_ms) : HG_HEALTH_WAIT;
    }
    if (health->outstanding == 0)
        return HG_HEALTH_WAIT;

    uint64_t silent_ms = since(health->asked_ms, now_ms);
    uint64_t half_ms = health->timeout_ms / PROBE_SHARE;
    /*
     * Never without a probe that was made in this silence and had its time, however late these
     * ticks come.
     */
    bool is_current = health->is_probing && health->probed_ms >= health->asked_ms;
    if ((is_current || hg_bug(HG_BUG_HASTY)) && silent_ms >= health->timeout_ms &&
        probe_age_ms >= half_ms) {
        health->is_probing = false;
        hg_health_failed(health, now_ms);
        return HG_HEALTH_FAILED;
    }
    bool is_free =
        !health->is_probing || (!is_current && probe_age_ms >= health->timeout_ms * PROBE_LOST);
    return is_free && silent_ms >= half_ms ? probe(health, now_ms) : HG_HEALTH_WAIT;
}
