#include "cache/policy_sampled.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/err.h"

#define SEATS_MIN 16
#define SAMPLES   5

struct seat {
    struct hg_value *value;
    uint64_t used; /* the clock at its last use */
    uint64_t used_ms;
    uint32_t hits, cost_ms;
};

struct sampled {
    struct hg_policy base;
    struct seat *seats;
    size_t count, capacity;
    uint64_t clock; /* counts uses */
    uint64_t unscored;
};

static struct sampled *sampled_of(struct hg_policy *policy)
{
    return hg_container_of(policy, struct sampled, base);
}

static void finish(struct hg_policy *policy)
{
    hg_free(sampled_of(policy)->seats);
}

static bool resize(struct sampled *sampled, size_t capacity)
{
    size_t bytes;
    if (!hg_size_mul(capacity, sizeof(struct seat), &bytes) || capacity > UINT32_MAX)
        return false;
    struct seat *seats = hg_realloc(sampled->seats, bytes);
    if (seats == NULL)
        return false;
    sampled->seats = seats;
    sampled->capacity = capacity;
    return true;
}

/* A new value of a key keeps its hits: that is what `past` is asked for. */
static uint32_t hits_of(const struct hg_policy *policy, const struct hg_value *value)
{
    return hg_container_of(policy, const struct sampled, base)->seats[value->slot].hits;
}

static int add(struct hg_policy *policy, struct hg_value *value, const struct hg_policy_past *past)
{
    struct sampled *sampled = sampled_of(policy);
    uint64_t cost_ms = policy->load_ms;
    if (sampled->count == sampled->capacity &&
        !resize(sampled, sampled->capacity == 0 ? SEATS_MIN : sampled->capacity * 2))
        return HG_ENOMEM;
    value->slot = (uint32_t)sampled->count;
    sampled->seats[sampled->count++] = (struct seat){
        .value = value,
        .used = ++sampled->clock,
        .used_ms = policy->now_ms,
        .hits = past == NULL ? 0 : past->count,
        .cost_ms = cost_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)cost_ms,
    };
    return HG_OK;
}

static void hit(struct hg_policy *policy, struct hg_value *value)
{
    struct sampled *sampled = sampled_of(policy);
    struct seat *seat = &sampled->seats[value->slot];
    seat->used = ++sampled->clock;
    seat->used_ms = policy->now_ms;
    seat->hits += seat->hits < UINT32_MAX;
}

static struct seat *draw(struct sampled *sampled)
{
    return &sampled->seats[hg_policy_random_below(&sampled->base, sampled->count)];
}

static struct hg_value *victim(struct hg_policy *policy)
{
    struct sampled *sampled = sampled_of(policy);
    const struct seat *oldest = NULL;
    if (sampled->count == 0)
        return NULL;
    for (int i = 0; i < SAMPLES; i++) {
        const struct seat *seat = draw(sampled);
        if (oldest == NULL || seat->used < oldest->used)
            oldest = seat;
    }
    sampled->unscored++;
    return oldest->value;
}

static void leave(struct hg_policy *policy, struct hg_value *value)
{
    struct sampled *sampled = sampled_of(policy);
    struct seat *seat = &sampled->seats[value->slot];
    assert(seat->value == value);
    *seat = sampled->seats[--sampled->count];
    seat->value->slot = value->slot;
    if (sampled->capacity > SEATS_MIN && sampled->count < sampled->capacity / 4)
        resize(sampled, sampled->capacity / 2); /* without memory it stays */
}

static bool validate(const struct hg_policy *policy, size_t entry_count)
{
    const struct sampled *sampled = hg_container_of(policy, const struct sampled, base);
    for (size_t i = 0; i < sampled->count; i++) {
        const struct seat *seat = &sampled->seats[i];
        if (seat->value->slot != i || !seat->value->stored || seat->used > sampled->clock)
            return false;
    }
    return sampled->count == entry_count && sampled->count <= sampled->capacity;
}

static uint64_t since(uint64_t then_ms, uint64_t now_ms)
{
    return now_ms > then_ms ? now_ms - then_ms : 0;
}

size_t hg_policy_sampled_take(struct hg_policy *policy, size_t wanted,
                              struct hg_sample *out_samples)
{
    struct sampled *sampled = sampled_of(policy);
    uint64_t now_ms = policy->now_ms;
    size_t count = 0;
    for (; count < wanted && count < HG_SAMPLES_MAX && sampled->count > 0; count++) {
        const struct seat *seat = draw(sampled);
        struct hg_value *value = seat->value;
        out_samples[count] = (struct hg_sample){
            .value = hg_value_ref(value),
            .used = seat->used,
            .size_bytes = hg_policy_cost(policy, value),
            .age_ms = since(value->created_ms, now_ms),
            .idle_ms = since(seat->used_ms, now_ms),
            .hits = seat->hits,
            .cost_ms = seat->cost_ms,
            .ttl_ms =
                value->expires_ms == HG_FOREVER ? HG_FOREVER : since(now_ms, value->expires_ms),
        };
    }
    return count;
}

bool hg_policy_sampled_is_unchanged(const struct hg_policy *policy, const struct hg_sample *sample)
{
    const struct sampled *sampled = hg_container_of(policy, const struct sampled, base);
    const struct hg_value *value = sample->value;
    return value->stored && value->tier == HG_TIER_MAIN && value->slot < sampled->count &&
           sampled->seats[value->slot].value == value &&
           sampled->seats[value->slot].used == sample->used;
}

uint64_t hg_policy_sampled_unscored(const struct hg_policy *policy)
{
    return hg_container_of(policy, const struct sampled, base)->unscored;
}

void hg_samples_release(struct hg_sample *samples, size_t count)
{
    for (size_t i = 0; i < count; i++)
        hg_value_unref(samples[i].value);
}

const struct hg_policy_ops hg_policy_sampled = {
    .name = "sampled",
    .size = sizeof(struct sampled),
    .entry_bytes = 2 * sizeof(struct seat),
    .uses_max = HG_USES_CALL,
    .finish = finish,
    .add = add,
    .hit = hit,
    .victim = victim,
    .remove = leave,
    .count = hits_of,
    .validate = validate,
};
