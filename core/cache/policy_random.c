/*
 * random: any entry goes. sampled-lru: of five taken at random, the one that was used longest ago.
 */
#include "base/err.h"
#include "cache/seats.h"

#define SAMPLES 5

struct seat {
    struct hg_seat base;
    uint64_t used; /* the clock at its last use; sampled-lru */
};

struct drawn {
    struct hg_policy base;
    struct hg_seats seats;
    uint64_t clock; /* counts uses */
};

static struct drawn *drawn_of(struct hg_policy *policy)
{
    return hg_container_of(policy, struct drawn, base);
}

static int init(struct hg_policy *policy)
{
    hg_seats_init(&drawn_of(policy)->seats, sizeof(struct seat));
    return HG_OK;
}

static void finish(struct hg_policy *policy)
{
    hg_seats_finish(&drawn_of(policy)->seats);
}

static int add(struct hg_policy *policy, struct hg_value *value, const struct hg_policy_past *past)
{
    struct drawn *drawn = drawn_of(policy);
    struct seat *seat = hg_seats_add(&drawn->seats, value);
    (void)past;
    if (seat == NULL)
        return HG_ENOMEM;
    seat->used = ++drawn->clock;
    return HG_OK;
}

static void hit(struct hg_policy *policy, struct hg_value *value)
{
    struct drawn *drawn = drawn_of(policy);
    struct seat *seat = hg_seats_of(&drawn->seats, value);
    seat->used = ++drawn->clock;
}

static struct hg_value *any(struct hg_policy *policy)
{
    const struct seat *seat = hg_seats_draw(&drawn_of(policy)->seats, policy);
    return seat == NULL ? NULL : seat->base.value;
}

static struct hg_value *oldest_sample(struct hg_policy *policy)
{
    const struct hg_seats *seats = &drawn_of(policy)->seats;
    const struct seat *oldest = hg_seats_draw(seats, policy);
    if (oldest == NULL)
        return NULL;
    for (int i = 1; i < SAMPLES; i++) {
        const struct seat *seat = hg_seats_draw(seats, policy);
        if (seat->used < oldest->used)
            oldest = seat;
    }
    return oldest->base.value;
}

static void leave(struct hg_policy *policy, struct hg_value *value)
{
    hg_seats_remove(&drawn_of(policy)->seats, value);
}

static bool validate(const struct hg_policy *policy, size_t entry_count)
{
    const struct drawn *drawn = hg_container_of(policy, const struct drawn, base);
    for (size_t i = 0; i < drawn->seats.count; i++) {
        const struct seat *seat = hg_seats_at(&drawn->seats, i);
        if (seat->used > drawn->clock)
            return false;
    }
    return hg_seats_validate(&drawn->seats, entry_count);
}

const struct hg_policy_ops hg_policy_random = {
    .name = "random",
    .size = sizeof(struct drawn),
    .entry_bytes = 2 * sizeof(struct seat), /* the array doubles */
    .init = init,
    .finish = finish,
    .add = add,
    .victim = any,
    .remove = leave,
    .validate = validate,
};

const struct hg_policy_ops hg_policy_sampled_lru = {
    .name = "sampled-lru",
    .size = sizeof(struct drawn),
    .entry_bytes = 2 * sizeof(struct seat),
    .uses_max = HG_USES_CALL,
    .init = init,
    .finish = finish,
    .add = add,
    .hit = hit,
    .victim = oldest_sample,
    .remove = leave,
    .validate = validate,
};
