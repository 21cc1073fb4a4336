/*
 * random: any entry goes. sampled-lru: of five taken at random, the one that was used longest ago.
 *
 * Both keep their entries in an array, so that one can be drawn; an entry knows its place (slot), and the last one
 * takes the place of one that leaves.
 */
#include "cache/policy.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/err.h"

#define SEATS_MIN 16
#define SAMPLES   5

struct seat {
    struct hg_value *value;
    uint64_t used; /* the clock at its last use; sampled-lru */
};

struct drawn {
    struct hg_policy base;
    struct seat *seats;
    size_t count, capacity;
    uint64_t clock; /* counts uses */
};

static struct drawn *drawn_of(struct hg_policy *policy)
{
    return hg_container_of(policy, struct drawn, base);
}

static void finish(struct hg_policy *policy)
{
    hg_free(drawn_of(policy)->seats);
}

static bool resize(struct drawn *drawn, size_t capacity)
{
    size_t bytes;
    if (!hg_size_mul(capacity, sizeof(struct seat), &bytes) || capacity > UINT32_MAX)
        return false;
    struct seat *seats = hg_realloc(drawn->seats, bytes);
    if (seats == NULL)
        return false;
    drawn->seats = seats;
    drawn->capacity = capacity;
    return true;
}

static int add(struct hg_policy *policy, struct hg_value *value, const struct hg_policy_past *past)
{
    struct drawn *drawn = drawn_of(policy);
    (void)past;
    if (drawn->count == drawn->capacity &&
        !resize(drawn, drawn->capacity == 0 ? SEATS_MIN : drawn->capacity * 2))
        return HG_ENOMEM;
    value->slot = (uint32_t)drawn->count;
    drawn->seats[drawn->count++] = (struct seat){value, ++drawn->clock};
    return HG_OK;
}

static void hit(struct hg_policy *policy, struct hg_value *value)
{
    struct drawn *drawn = drawn_of(policy);
    drawn->seats[value->slot].used = ++drawn->clock;
}

static struct hg_value *any(struct hg_policy *policy)
{
    struct drawn *drawn = drawn_of(policy);
    if (drawn->count == 0)
        return NULL;
    return drawn->seats[hg_policy_random_below(policy, drawn->count)].value;
}

static struct hg_value *oldest_sample(struct hg_policy *policy)
{
    struct drawn *drawn = drawn_of(policy);
    const struct seat *oldest = NULL;
    if (drawn->count == 0)
        return NULL;
    for (int i = 0; i < SAMPLES; i++) {
        const struct seat *seat = &drawn->seats[hg_policy_random_below(policy, drawn->count)];
        if (oldest == NULL || seat->used < oldest->used)
            oldest = seat;
    }
    return oldest->value;
}

static void leave(struct hg_policy *policy, struct hg_value *value)
{
    struct drawn *drawn = drawn_of(policy);
    assert(drawn->seats[value->slot].value == value);
    struct seat *seat = &drawn->seats[value->slot];
    *seat = drawn->seats[--drawn->count];
    seat->value->slot = value->slot;
    if (drawn->capacity > SEATS_MIN && drawn->count < drawn->capacity / 4)
        resize(drawn, drawn->capacity / 2); /* without memory it stays */
}

static bool validate(const struct hg_policy *policy, size_t entry_count)
{
    const struct drawn *drawn = hg_container_of(policy, const struct drawn, base);
    for (size_t i = 0; i < drawn->count; i++) {
        const struct seat *seat = &drawn->seats[i];
        if (seat->value->slot != i || !seat->value->stored || seat->used > drawn->clock)
            return false;
    }
    return drawn->count == entry_count && drawn->count <= drawn->capacity;
}

const struct hg_policy_ops hg_policy_random = {
    .name = "random",
    .size = sizeof(struct drawn),
    .entry_bytes = 2 * sizeof(struct seat),
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
    .finish = finish,
    .add = add,
    .hit = hit,
    .victim = oldest_sample,
    .remove = leave,
    .validate = validate,
};
