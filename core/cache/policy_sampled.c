#include "cache/policy_sampled.h"

#include "base/err.h"
#include "cache/seats.h"

#define SAMPLES 5

struct seat {
    struct hg_seat base;
    uint64_t used; /* the clock at its last use */
    uint64_t used_ms;
    uint32_t hits, cost_ms;
};

struct sampled {
    struct hg_policy base;
    struct hg_seats seats;
    uint64_t clock; /* counts uses */
    uint64_t unscored;
};

static struct sampled *sampled_of(struct hg_policy *policy)
{
    return hg_container_of(policy, struct sampled, base);
}

static struct seat *seat_of(const struct hg_policy *policy, const struct hg_value *value)
{
    return hg_seats_of(&hg_container_of(policy, const struct sampled, base)->seats, value);
}

static int init(struct hg_policy *policy)
{
    hg_seats_init(&sampled_of(policy)->seats, sizeof(struct seat));
    return HG_OK;
}

static void finish(struct hg_policy *policy)
{
    hg_seats_finish(&sampled_of(policy)->seats);
}

/* A new value of a key keeps its hits: that is what `past` is asked for. */
static uint32_t hits_of(const struct hg_policy *policy, const struct hg_value *value)
{
    return seat_of(policy, value)->hits;
}

static int add(struct hg_policy *policy, struct hg_value *value, const struct hg_policy_past *past)
{
    struct sampled *sampled = sampled_of(policy);
    struct seat *seat = hg_seats_add(&sampled->seats, value);
    uint64_t cost_ms = policy->load_ms;
    if (seat == NULL)
        return HG_ENOMEM;
    seat->used = ++sampled->clock;
    seat->used_ms = policy->now_ms;
    seat->hits = past == NULL ? 0 : past->count;
    seat->cost_ms = cost_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)cost_ms;
    return HG_OK;
}

static void hit(struct hg_policy *policy, struct hg_value *value)
{
    struct seat *seat = seat_of(policy, value);
    seat->used = ++sampled_of(policy)->clock;
    seat->used_ms = policy->now_ms;
    seat->hits += seat->hits < UINT32_MAX;
}

static struct hg_value *victim(struct hg_policy *policy)
{
    struct sampled *sampled = sampled_of(policy);
    const struct seat *oldest = hg_seats_draw(&sampled->seats, policy);
    if (oldest == NULL)
        return NULL;
    for (int i = 1; i < SAMPLES; i++) {
        const struct seat *seat = hg_seats_draw(&sampled->seats, policy);
        if (seat->used < oldest->used)
            oldest = seat;
    }
    sampled->unscored++;
    return oldest->base.value;
}

static void leave(struct hg_policy *policy, struct hg_value *value)
{
    hg_seats_remove(&sampled_of(policy)->seats, value);
}

static bool validate(const struct hg_policy *policy, size_t entry_count)
{
    const struct sampled *sampled = hg_container_of(policy, const struct sampled, base);
    for (size_t i = 0; i < sampled->seats.count; i++) {
        const struct seat *seat = hg_seats_at(&sampled->seats, i);
        if (seat->used > sampled->clock)
            return false;
    }
    return hg_seats_validate(&sampled->seats, entry_count);
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
    for (; count < wanted && count < HG_SAMPLES_MAX && sampled->seats.count > 0; count++) {
        const struct seat *seat = hg_seats_draw(&sampled->seats, policy);
        struct hg_value *value = seat->base.value;
        uint64_t expires_ms = hg_value_expires_ms(value);
        out_samples[count] = (struct hg_sample){
            .value = hg_value_ref(value),
            .used = seat->used,
            .size_bytes = hg_policy_cost(policy, value),
            .age_ms = since(hg_value_created_ms(value), now_ms),
            .idle_ms = since(seat->used_ms, now_ms),
            .hits = seat->hits,
            .cost_ms = seat->cost_ms,
            .ttl_ms = expires_ms == HG_FOREVER ? HG_FOREVER : since(now_ms, expires_ms),
        };
    }
    return count;
}

bool hg_policy_sampled_is_unchanged(const struct hg_policy *policy, const struct hg_sample *sample)
{
    const struct hg_value *value = sample->value;
    if (!value->stored || hg_value_tier(value) != HG_TIER_MAIN)
        return false;
    const struct seat *seat = seat_of(policy, value);
    return seat != NULL && seat->used == sample->used;
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
    .init = init,
    .finish = finish,
    .add = add,
    .hit = hit,
    .victim = victim,
    .remove = leave,
    .count = hits_of,
    .validate = validate,
};
