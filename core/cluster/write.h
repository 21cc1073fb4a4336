/*
 * write - one change on its way through the cluster: whom to tell when, and who knows in the end. Pure: telling, applying
 * and the clock are handed in; node/change.c and the simulator drive it.
 *
 *   a key       its owner first (a copy could be fetched again from an owner that has not heard of it), then everybody else
 *               at once, this node included. After an eighth of a lease the others are told whether or not the owner has
 *               answered; a set waits for its owner and fails without it.
 *   tag, flush  everybody at once; when all have acknowledged, or after five eighths of a lease, once more for copies
 *               only: one may have been fetched from a node that had not heard of it.
 *   a key whose owner did not acknowledge before the others were told: they drop their copies once more when it does, or after
 *               five eighths of a lease, for it learns of it from any of them within a quarter (cluster/contact.h).
 *   who acknowledges after such a round makes another one necessary.
 *
 * Who has not acknowledged in the end holds at most copies, whose life is a lease, stands still, and then catches
 * up before it answers (group/trust.h), or is cut off from everybody. So the lease is waited out, and the answer names them.
 * It comes within 1 1/8 leases of its start, and where the second round fails, within a lease of that round.
 *
 * Ownership  memory is the caller's: hg_write_size(member_count) bytes. It must stay until is_over and outstanding is 0.
 * Threads    one.
 * Contract   tell() returns HG_OK and then reports once, later, by hg_write_told; or a negative error and never reports.
 *            It must give up at the latest after a lease and an eighth.
 */
#ifndef HG_CLUSTER_WRITE_H
#define HG_CLUSTER_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "wire/peer_changes.h"

#define HG_WRITE_NO_OWNER SIZE_MAX

struct hg_write_ops {
    /* Sends `change` to a member; `round` comes back with the report. */
    int (*tell)(void *ctx, size_t member, unsigned round, const struct hg_peer_change *change);
    /* Applies it here. Negative: it failed (a set that does not fit); nobody else is told then. */
    int (*apply)(void *ctx, const struct hg_peer_change *change, bool *out_was_there);
};

struct hg_write {
    struct hg_peer_change change; /* value: for the owner; borrowed */
    const struct hg_write_ops *ops;
    void *ctx;
    size_t self, owner, member_count; /* owner: HG_WRITE_NO_OWNER for tags and flush */
    uint64_t lease_ms;
    /* Results, when is_over. */
    bool is_over, was_there;
    int err; /* HG_EPEER: the owner of a set did not acknowledge; else what apply said */
    size_t outstanding;
    /* Its own. */
    uint64_t started_ms, others_ms, sweep_ms; /* 0: not yet */
    uint8_t stage;
    bool is_early;    /* others were told before the owner had answered */
    unsigned round;   /* 0: the change itself; from 1 on: copies only */
    uint8_t members[]; /* flags */
};

size_t hg_write_size(size_t member_count);
/* `write` is zeroed but for change, ops, ctx, self, owner, member_count and lease_ms. It may be over at once. */
void hg_write_start(struct hg_write *write, uint64_t now_ms);
/* A member's answer; is_known: it applied it. */
void hg_write_told(struct hg_write *write, size_t member, unsigned round, bool is_known, bool was_there,
                   uint64_t now_ms);
/* When to call tick at the latest; HG_FOREVER: when something is told. */
uint64_t hg_write_due(const struct hg_write *write);
void hg_write_tick(struct hg_write *write, uint64_t now_ms);
/* Once over: whether the member acknowledged; else its lease was waited for. */
bool hg_write_is_acknowledged(const struct hg_write *write, size_t member);

#endif
