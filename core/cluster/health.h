/*
 * health - when a peer counts as failed (FAULTS A3: silence, not slowness). Pure; the caller has the clock, the
 * connections and the lock.
 */
#ifndef HG_CLUSTER_HEALTH_H
#define HG_CLUSTER_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

struct hg_health {
    uint64_t timeout_ms;
    uint64_t heard_ms;     /* last sign of life */
    uint64_t asked_ms;     /* start of the oldest ask since which nothing was heard; 0 = none outstanding */
    uint64_t probed_ms;    /* start of the last probe */
    unsigned outstanding;
    bool is_up, is_probing;
    uint64_t downs;
};

enum hg_health_step {
    HG_HEALTH_WAIT,   /* nothing to do */
    HG_HEALTH_PROBE,  /* start a probe; report it by heard or probe_failed */
    HG_HEALTH_FAILED, /* it has just been marked down: fail what is outstanding */
};

void hg_health_init(struct hg_health *health, uint64_t timeout_ms, uint64_t now_ms);
void hg_health_asked(struct hg_health *health, uint64_t now_ms);
/* An ask ended, answered or not. */
void hg_health_done(struct hg_health *health, uint64_t now_ms);
/* Any byte from the peer. True: it was down and is up again. */
bool hg_health_heard(struct hg_health *health, uint64_t now_ms);
/* Connect error or reset. True: it was up and is down now. */
bool hg_health_failed(struct hg_health *health, uint64_t now_ms);
/* A probe got no answer. True: it was up and is down now. */
bool hg_health_probe_failed(struct hg_health *health, uint64_t now_ms);
/* The caller probes without having been told to; reported likewise. */
void hg_health_probe(struct hg_health *health, uint64_t now_ms);
/*
 * Of a call on a connection of its own, where answers on other ones say nothing about it. silent_ms: since then nothing came on
 * it, and no probe that was begun later was answered. probed_ms: start of the last probe; 0 = none.
 */
enum hg_health_step hg_health_call_step(uint64_t timeout_ms, uint64_t silent_ms, uint64_t probed_ms, uint64_t now_ms);
/* Call some times per timeout while something is outstanding or the peer is down. */
enum hg_health_step hg_health_tick(struct hg_health *health, uint64_t now_ms);

#endif
