#include "cache/rates.h"

#define MINUTE_MS 60000
#define COUNT_MAX (UINT64_MAX / MINUTE_MS / 2)

/* HG_RATES_KEYS: not there. */
static size_t find(const struct hg_rates *rates, uint64_t hash)
{
    size_t i = 0;

    while (i < HG_RATES_KEYS && (hash == 0 || rates->keys[i].hash != hash))
        i++;
    return i;
}

/* How often counts have to be halved by now. */
static uint64_t halvings(const struct hg_rates *rates, uint64_t now_ms)
{
    return now_ms > rates->halved_ms ? (now_ms - rates->halved_ms) / HG_RATES_HALF_MS : 0;
}

static uint64_t halved(uint64_t count, uint64_t times)
{
    return times >= 64 ? 0 : count >> times;
}

static void decay(struct hg_rates *rates, uint64_t now_ms)
{
    uint64_t times = halvings(rates, now_ms);

    if (times == 0)
        return;
    rates->halved_ms += times * HG_RATES_HALF_MS;
    for (size_t i = 0; i < HG_RATES_KEYS; i++) {
        struct hg_rate *key = &rates->keys[i];
        key->count = halved(key->count, times);
        key->excess = halved(key->excess, times);
        if (key->count == 0)
            *key = (struct hg_rate){0};
    }
}

/*
 * With r requests a millisecond counts are r x HALF_MS after each halving and grow by r x the time since, so
 * count / (HALF_MS + since) is r.
 */
static uint64_t minute_of(const struct hg_rates *rates, const struct hg_rate *key, uint64_t now_ms)
{
    uint64_t times = halvings(rates, now_ms);
    uint64_t since_ms =
        now_ms > rates->halved_ms ? (now_ms - rates->halved_ms) % HG_RATES_HALF_MS : 0;
    uint64_t count = halved(key->count, times) - halved(key->excess, times);

    return count * MINUTE_MS / (HG_RATES_HALF_MS + since_ms);
}

uint64_t hg_rates_note(struct hg_rates *rates, uint64_t hash, uint64_t now_ms)
{
    if (hash == 0)
        return 0;
    decay(rates, now_ms);
    size_t index = find(rates, hash);
    if (index == HG_RATES_KEYS) {
        index = 0;
        for (size_t i = 1; i < HG_RATES_KEYS; i++)
            if (rates->keys[i].count < rates->keys[index].count)
                index = i;
        uint64_t least = rates->keys[index].count;
        rates->keys[index] = (struct hg_rate){.hash = hash, .count = least, .excess = least};
    }
    struct hg_rate *key = &rates->keys[index];
    if (key->count < COUNT_MAX)
        key->count += HG_RATES_SAMPLE;
    return minute_of(rates, key, now_ms);
}

uint64_t hg_rates_minute(const struct hg_rates *rates, uint64_t hash, uint64_t now_ms)
{
    size_t index = find(rates, hash);

    return index == HG_RATES_KEYS ? 0 : minute_of(rates, &rates->keys[index], now_ms);
}

uint64_t hg_rates_at(const struct hg_rates *rates, size_t index, uint64_t now_ms,
                     uint64_t *out_hash)
{
    *out_hash = rates->keys[index].hash;
    return minute_of(rates, &rates->keys[index], now_ms);
}

size_t hg_rates_count(const struct hg_rates *rates, uint64_t minute, uint64_t now_ms)
{
    size_t count = 0;

    for (size_t i = 0; i < HG_RATES_KEYS; i++)
        count += rates->keys[i].hash != 0 && minute_of(rates, &rates->keys[i], now_ms) >= minute;
    return count;
}

bool hg_rates_tell(struct hg_rates *rates, uint64_t hash, uint64_t now_ms)
{
    size_t index = find(rates, hash);

    if (index == HG_RATES_KEYS)
        return false;
    struct hg_rate *key = &rates->keys[index];
    if (key->told_ms != 0 && now_ms < key->told_ms + HG_RATES_TELL_MS)
        return false;
    key->told_ms = now_ms == 0 ? 1 : now_ms;
    return true;
}
