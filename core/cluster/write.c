#include "cluster/write.h"

#include <assert.h>
#include "base/bug.h"
#include "base/err.h"
#include "base/units.h"

enum stage { STAGE_OWNER, STAGE_OTHERS, STAGE_SWEEP };

#define ROUND_SHIFT 48 /* in a change's sequence */

/* Of a member. */
#define TOLD        1
#define KNOWS       2 /* acknowledged the change */
#define SWEPT       4 /* was told of the second round */
#define KNOWS_SWEEP 8

size_t hg_write_size(size_t member_count)
{
    return sizeof(struct hg_write) + member_count;
}

static bool is_set(const struct hg_write *write)
{
    return write->change.op == HG_CHANGE_SET;
}

static bool all_have(const struct hg_write *write, uint8_t flag)
{
    for (size_t i = 0; i < write->member_count; i++)
        if (!(write->members[i] & flag))
            return false;
    return true;
}

static bool owner_knows(const struct hg_write *write)
{
    if (write->owner == HG_WRITE_NO_OWNER)
        return all_have(write, KNOWS);
    return write->members[write->owner] & KNOWS;
}

static void end(struct hg_write *write, int err)
{
    write->err = err;
    write->is_over = true;
}

/* A further round is a change of its own, so that who misses it learns of it from a log. */
static void of_round(struct hg_peer_change *change, unsigned round)
{
    change->is_copies = round > 0;
    change->sequence += (uint64_t)round << ROUND_SHIFT;
}

static void tell(struct hg_write *write, size_t member, unsigned round)
{
    struct hg_peer_change change = write->change;
    if (member != write->owner)
        change.value = HG_BYTES_NONE;
    of_round(&change, round);
    write->members[member] |= round == 0 ? TOLD : SWEPT;
    if (write->ops->tell(write->ctx, member, round, &change) >= 0)
        write->outstanding++;
}

static int apply(struct hg_write *write, unsigned round)
{
    struct hg_peer_change change = write->change;
    bool was_there = false;
    if (write->self != write->owner)
        change.value = HG_BYTES_NONE;
    of_round(&change, round);
    int err = write->ops->apply(write->ctx, &change, &was_there);
    if (err < 0)
        return err;
    write->was_there |= was_there && round == 0;
    write->members[write->self] |= round == 0 ? TOLD | KNOWS : SWEPT | KNOWS_SWEEP;
    return HG_OK;
}

/* Somebody was told of the last round and has not answered. */
static bool is_sweep_open(const struct hg_write *write)
{
    for (size_t i = 0; i < write->member_count; i++)
        if ((write->members[i] & (SWEPT | KNOWS_SWEEP)) == SWEPT)
            return true;
    return false;
}

/* The moment until which who has not acknowledged is waited for. From when others know: who was not reached learns it
 * from them, however late this node was. */
static uint64_t deadline(const struct hg_write *write)
{
    if (hg_bug(HG_BUG_NOT_WAITED))
        return write->started_ms;
    return hg_time_add(is_sweep_open(write) ? write->sweep_ms : write->others_ms, write->lease_ms);
}

/* A second round is wanted where a copy may have come from who had not heard of it. */
static bool wants_sweep(const struct hg_write *write)
{
    if (hg_bug(HG_BUG_ONE_ROUND))
        return false;
    return write->owner == HG_WRITE_NO_OWNER || write->is_early;
}

static uint64_t sweep_due(const struct hg_write *write)
{
    return hg_time_add(write->others_ms, write->lease_ms / 8 * 5);
}

static void sweep(struct hg_write *write, uint64_t now_ms)
{
    write->stage = STAGE_SWEEP;
    write->sweep_ms = now_ms;
    write->round++;
    for (size_t i = 0; i < write->member_count; i++)
        write->members[i] &= TOLD | KNOWS;
    (void)apply(write, write->round); /* dropping copies does not fail */
    for (size_t i = 0; i < write->member_count; i++)
        if (i != write->self && (write->members[i] & KNOWS))
            tell(write, i, write->round);
}

/* This node stood still itself: nobody could learn from it meanwhile, so that time does not count. */
static void allow_for_lateness(struct hg_write *write, uint64_t now_ms)
{
    uint64_t due_ms = hg_write_due(write);
    if (due_ms == HG_FOREVER || now_ms <= hg_time_add(due_ms, write->lease_ms / 8))
        return;
    write->others_ms = now_ms;
    write->sweep_ms = now_ms;
}

/* Looks where it stands, and goes on. */
static void proceed(struct hg_write *write, uint64_t now_ms)
{
    if (write->is_over || write->stage == STAGE_OWNER)
        return;
    allow_for_lateness(write, now_ms);
    if (write->stage == STAGE_OTHERS && wants_sweep(write) &&
        (all_have(write, KNOWS) || now_ms >= sweep_due(write)))
        sweep(write, now_ms);
    bool is_whole =
        all_have(write, KNOWS) &&
        (write->stage == STAGE_SWEEP ? all_have(write, KNOWS_SWEEP) : !wants_sweep(write));
    if (is_whole || now_ms >= deadline(write))
        end(write, HG_OK);
}

static void tell_others(struct hg_write *write, uint64_t now_ms)
{
    write->stage = STAGE_OTHERS;
    write->others_ms = now_ms;
    write->is_early = write->owner != HG_WRITE_NO_OWNER && write->owner != write->self &&
                      !owner_knows(write) && !hg_bug(HG_BUG_TELL_AT_ONCE);
    if (!(write->members[write->self] & TOLD)) {
        int err = apply(write, 0);
        if (err < 0) {
            end(write, err);
            return;
        }
    }
    for (size_t i = 0; i < write->member_count; i++)
        if (!(write->members[i] & TOLD))
            tell(write, i, 0);
    proceed(write, now_ms);
}

void hg_write_start(struct hg_write *write, uint64_t now_ms)
{
    assert(write->self < write->member_count);
    write->started_ms = now_ms;
    write->stage = STAGE_OWNER;
    if (write->owner == HG_WRITE_NO_OWNER || write->owner == write->self) {
        tell_others(write, now_ms);
        return;
    }
    size_t before = write->outstanding;
    tell(write, write->owner, 0);
    if (hg_bug(HG_BUG_TELL_AT_ONCE) && !is_set(write)) {
        tell_others(write, now_ms);
        return;
    }
    if (write->outstanding > before)
        return;
    if (is_set(write))
        end(write, HG_EPEER);
    else
        tell_others(write, now_ms);
}

void hg_write_told(struct hg_write *write, size_t member, unsigned round, bool is_known,
                   bool was_there, uint64_t now_ms)
{
    assert(write->outstanding > 0);
    write->outstanding--;
    if (write->is_over)
        return;
    if (is_known && round == 0)
        write->members[member] |= KNOWS;
    else if (is_known && round == write->round)
        write->members[member] |= KNOWS_SWEEP;
    if (is_known && round == 0 && member == write->owner)
        write->was_there |= was_there;
    if (write->stage == STAGE_OWNER && member == write->owner) {
        if (!is_known && is_set(write))
            end(write, HG_EPEER);
        else
            tell_others(write, now_ms);
        return;
    }
    if (is_known && round == 0 && write->stage == STAGE_SWEEP)
        sweep(write, now_ms); /* what it answered until now may lie with the others */
    proceed(write, now_ms);
}

uint64_t hg_write_due(const struct hg_write *write)
{
    if (write->is_over)
        return HG_FOREVER;
    if (write->stage == STAGE_OWNER)
        return is_set(write) ? HG_FOREVER : hg_time_add(write->started_ms, write->lease_ms / 8);
    uint64_t at_ms = deadline(write);
    if (write->stage == STAGE_OTHERS && wants_sweep(write) && sweep_due(write) < at_ms)
        at_ms = sweep_due(write);
    return at_ms;
}

void hg_write_tick(struct hg_write *write, uint64_t now_ms)
{
    if (write->is_over || now_ms < hg_write_due(write))
        return;
    if (write->stage == STAGE_OWNER)
        tell_others(write, now_ms);
    else
        proceed(write, now_ms);
}

bool hg_write_is_acknowledged(const struct hg_write *write, size_t member)
{
    uint8_t flags = write->members[member];
    return (flags & KNOWS) && (!(flags & SWEPT) || (flags & KNOWS_SWEEP));
}
